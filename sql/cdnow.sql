-- CDNOW: 69,659 transactions of 23,570 customers, all of whom began in the first quarter of 1997.
--   tenure run sql/cdnow.sql -v path=cdnow_master.csv
CREATE EXTERNAL TABLE cdnow STORED AS CSV LOCATION :'path' OPTIONS ('format.has_header' 'true');

CREATE VIEW events AS SELECT customer_id AS user_id, date AS ts, sales AS amount FROM cdnow;

SELECT * FROM readiness() WHERE capability IN ('clv', 'churn') ORDER BY capability, requirement;

-- Learned from the first 39 weeks, and asked of the next 39: what was expected, and what came.
SET tenure.as_of = '1997-09-30';
SET tenure.discount_rate = 0;
CREATE MODEL first_39_weeks WITH (model_type = 'bg_nbd');

SELECT property, round(CAST(value AS DOUBLE), 4) AS value
FROM model_info('first_39_weeks') WHERE section = 'parameter';

SELECT count(*) AS customers,
       round(sum(e.expected), 0) AS expected_purchases, sum(coalesce(a.purchases, 0)) AS actual_purchases,
       round(sum(e.value), 0) AS expected_value, round(sum(coalesce(a.value, 0)), 0) AS actual_value
FROM (SELECT user_id, expected_purchases(user_id, 273, 'first_39_weeks') AS expected, clv(user_id, 273, 'first_39_weeks') AS value
      FROM customers()) e
LEFT JOIN (SELECT user_id, count(DISTINCT ts) AS purchases, sum(amount) AS value FROM events WHERE ts > '1997-09-30' GROUP BY user_id) a
  ON a.user_id = e.user_id;

-- Today, at the end of the log.
RESET tenure.as_of;
RESET tenure.discount_rate;
SELECT user_id, n_orders, segment, round(historic_value, 2) AS realised, round(clv, 2) AS clv_1y, round(churn_prob, 3) AS churn_90d
FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 10;

SELECT segment, count(*) AS customers, round(avg(churn_prob), 3) AS avg_churn_90d, round(sum(clv), 0) AS clv_1y
FROM customers() GROUP BY segment ORDER BY clv_1y DESC, segment;

SELECT name, model_type, metric, round(value, 4) AS value, round(baseline_value, 4) AS baseline FROM models() ORDER BY name;
