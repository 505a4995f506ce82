-- A model of one's own: made, refreshed as of an earlier day, rolled back.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1);
CREATE MODEL steady WITH (model_type = 'bg_nbd', holdout = '60 days');
REFRESH MODEL steady AS OF '2024-08-01';
SELECT version, active, as_of, metric, round(value, 3) AS value, round(baseline_value, 3) AS baseline FROM model_versions('steady') ORDER BY version;
ALTER MODEL steady SET ACTIVE VERSION 1;
SELECT round(sum(clv(user_id, model => 'steady')), 2) AS total FROM customers();
DROP MODEL steady;
