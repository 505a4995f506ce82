-- Offers for the customers at risk, in every form of the call.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1);
CREATE VIEW at_risk AS SELECT user_id FROM customers() WHERE segment = 'at_risk' ORDER BY user_id LIMIT 3;
SELECT * FROM recommend((SELECT user_id FROM at_risk), 2) ORDER BY user_id, rank;
SELECT a.user_id, r.item_id, r.reason FROM at_risk a, recommend(a.user_id, k => 2) r ORDER BY a.user_id, r.rank;
SELECT user_id, unnest(recommend(user_id, 1)) AS offer FROM at_risk ORDER BY user_id;
