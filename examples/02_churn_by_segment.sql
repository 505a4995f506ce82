-- Who is leaving, and what is at stake.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1);
SELECT segment(user_id) AS segment, churn_risk(user_id) AS risk, count(*) AS customers, round(sum(clv(user_id)), 2) AS at_stake
FROM customers() WHERE n_orders > 0 GROUP BY 1, 2 ORDER BY at_stake DESC, 1, 2 LIMIT 10;
