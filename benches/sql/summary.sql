-- The customer summary of ten million transactions.
--   tenure -q run benches/sql/summary.sql -v path=sim_tx_10m.parquet
CREATE EXTERNAL TABLE tx STORED AS PARQUET LOCATION :'path';
SELECT count(*) AS customers, sum(s['frequency']) AS frequency, sum(s['recency']) AS recency, sum(s['T']) AS t, sum(s['monetary']) AS monetary
FROM (SELECT customer_id, rfm_summary(ts, amount, '2024-12-29') AS s FROM tx GROUP BY customer_id);
