-- Features and predictions of a million customers from ten million transactions (user_id, ts, amount).
--   tenure -d DIR run benches/sql/predict.sql -v path=transactions.parquet; then, timed, in the same database: the last statement by itself
CREATE EXTERNAL TABLE tx STORED AS PARQUET LOCATION :'path';
CREATE VIEW events AS SELECT user_id, ts, amount FROM tx;
CREATE MODEL churn PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '90 days' FOR EACH user_id WITH (model_type = 'logistic_reg', max_rows = 50000);
SELECT count(p), sum(p) FROM (SELECT predict('churn', user_id) AS p FROM customers());
