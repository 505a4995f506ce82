-- A shop of 20,000 customers over two years, and what tenure knows of it.
--   cargo run -- run sql/demo.sql
CREATE TABLE events AS
SELECT * FROM simulate_shop(users => 20000, days => 730, seed => 7, dirt => 0.001)
WHERE ts >= '2020-01-01';

-- What is wrong with the log (dirt was asked for).
SELECT "check", "column", rows_bad, round(share, 5) AS share, severity
FROM data_quality() WHERE rows_bad > 0 ORDER BY rows_bad DESC, "check", "column";

-- The ten most valuable customers of the coming year.
SELECT user_id, n_orders, segment, round(historic_value, 2) AS realised, round(clv, 2) AS clv_1y, round(churn_prob, 3) AS churn_90d
FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 10;

-- Who is leaving, by segment, and what is at stake.
SELECT segment, count(*) AS customers, round(avg(churn_prob), 3) AS avg_churn_90d,
       count(*) FILTER (WHERE churn_risk = 'high') AS high_risk, round(sum(clv), 0) AS clv_at_stake
FROM customers() WHERE n_orders > 0
GROUP BY segment ORDER BY clv_at_stake DESC, segment;

-- What to offer the three best.
SELECT r.user_id, r.rank, r.item_id, round(r.score, 3) AS score, r.reason, r.source
FROM (SELECT user_id FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 3) best, recommend(best.user_id, k => 3) r
ORDER BY r.user_id, r.rank;

-- The models behind it, each beside a trivial baseline on the last 90 days or on held-out items.
SELECT name, version, model_type, metric, round(value, 4) AS value, round(baseline_value, 4) AS baseline
FROM models() ORDER BY name;

-- For BI tools.
COPY (SELECT * FROM customers() ORDER BY user_id) TO 'customers.parquet' STORED AS PARQUET;
COPY (SELECT * FROM recommend(k => 10) ORDER BY user_id, rank) TO 'recommendations.parquet' STORED AS PARQUET;
