-- Everything of every customer, from nothing: summary, fits, scores, segments.
--   tenure run benches/sql/cold.sql -v path=sim_tx_10m.parquet
CREATE EXTERNAL TABLE tx STORED AS PARQUET LOCATION :'path';
CREATE VIEW events AS SELECT customer_id AS user_id, ts, amount FROM tx;
SELECT count(*) AS customers, sum(clv) AS clv, avg(churn_prob) AS churn, count(DISTINCT segment) AS segments, sum(n_orders) AS orders, avg(p_alive) AS alive
FROM customers();
