-- A shop, what is known of it, and its best customers.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1);
SELECT * FROM readiness() ORDER BY capability, requirement;
SELECT user_id, n_orders, segment, round(historic_value, 2) AS realised, round(clv, 2) AS clv_1y
FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 5;
