-- The UCI Online Retail II log (1,067,370 rows, dirty), cleaned in plain SQL.
--   tenure run sql/online_retail.sql -v path=online_retail_II.parquet
CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION :'path';

-- The log as it is: lines, most of them purchases.
CREATE VIEW raw_lines AS
SELECT customer_id AS user_id, invoice_date AS ts, upper(trim(stock_code)) AS item_id, invoice AS order_id,
       trim(description) AS description, quantity, price, quantity * price AS amount
FROM sales;

SELECT "check", "column", rows_bad, round(share, 4) AS share, severity, fix_sql
FROM data_quality('raw_lines') WHERE rows_bad > 0;

-- 22,523 rows of December 2010 stand in both sheets: DISTINCT. Customers are needed; stock codes of five digits are goods,
-- the others postage and corrections. An invoice that begins with C is a cancellation: it nets against value.
CREATE VIEW events AS
SELECT DISTINCT user_id, ts, CASE WHEN order_id LIKE 'C%' THEN 'refund' ELSE 'purchase' END AS event_type,
       item_id, order_id, description, quantity, price, amount
FROM raw_lines
WHERE user_id IS NOT NULL AND price > 0
  AND regexp_like(item_id, '^[0-9]{5}')
  AND ((order_id LIKE 'C%' AND quantity < 0) OR (regexp_like(order_id, '^[0-9]') AND quantity > 0));

SELECT * FROM readiness() ORDER BY capability, requirement;

SELECT user_id, n_orders, segment, round(historic_value, 2) AS realised, round(clv, 2) AS clv_1y, round(churn_prob, 3) AS churn_90d
FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 10;

SELECT segment, count(*) AS customers, round(avg(churn_prob), 3) AS avg_churn_90d, round(sum(historic_value), 0) AS realised,
       round(sum(clv), 0) AS clv_1y
FROM customers() WHERE n_orders > 0 GROUP BY segment ORDER BY clv_1y DESC, segment;

SELECT r.user_id, r.rank, r.item_id, d.description, round(r.score, 3) AS score, r.reason
FROM (SELECT user_id FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 3) best, recommend(best.user_id, k => 3) r
LEFT JOIN (SELECT item_id, max(description) AS description FROM events GROUP BY item_id) d ON d.item_id = r.item_id
ORDER BY r.user_id, r.rank;

SELECT name, model_type, metric, round(value, 4) AS value, round(baseline_value, 4) AS baseline FROM models() ORDER BY name;
