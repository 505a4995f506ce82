-- Who will not come back, how good the forecast is, why, and what to do about it: a model written as a window over the future.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 2000, days => 730, seed => 7);

CREATE MODEL churn90 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0
  WITHIN INTERVAL '90 days' FOR EACH user_id WITH (model_type = 'averaged');

-- On the last 90 days, which nothing was learned from; a constant beside.
SELECT metric, round(value, 4) AS value, round(baseline_value, 4) AS baseline FROM evaluate('churn90');
SELECT * FROM lift_table('churn90', slices => 5);
SELECT round(threshold, 3) AS call_from, flagged, round(precision, 3) AS precision, round(recall, 3) AS recall
FROM threshold_table('churn90', cost_fp => 2, cost_fn => 10) WHERE best;

-- Who is worth most and likely to go, and why.
SELECT c.user_id, round(c.clv, 2) AS clv_1y, round(predict_prob('churn90', c.user_id), 3) AS p, e.rank, e.text
FROM (SELECT user_id, clv FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 3) c, LATERAL explain_predict('churn90', c.user_id, 2) e
ORDER BY c.clv DESC, c.user_id, e.rank;

-- Spend, with a feature of one's own, of those who were here in the last half year.
CREATE MODEL spend30 USING FEATURES (count(*) FILTER (WHERE channel = 'email' AND ts > as_of - INTERVAL '60 days') AS mails)
  PREDICT sum(amount) WITHIN INTERVAL '30 days' FOR EACH user_id WHERE recency_days <= 180 WITH (model_type = 'hurdle');
SELECT user_id, round(predict('spend30', user_id), 2) AS spend, round(predict_high('spend30', user_id), 2) AS at_most
FROM customers() ORDER BY 2 DESC NULLS LAST, user_id LIMIT 3;
