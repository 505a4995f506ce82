-- How much, how sure, and why: totals with intervals by channel, an explanation, a backtest.
CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 365, seed => 1);
SELECT top_channel, round(s['value']) AS value, round(s['low']) AS low, round(s['high']) AS high, s['customers'] AS customers
FROM (SELECT top_channel, clv_sum(user_id) AS s FROM customers() GROUP BY top_channel) ORDER BY value DESC NULLS LAST;
SELECT r['feature'] AS feature, round(r['contribution'], 2) AS contribution, r['text'] AS why
FROM (SELECT unnest(explain_clv('u0000007')['reasons']) AS r) ORDER BY r['rank'];
SELECT fold, users, round(rmse, 3) AS rmse, round(baseline_rmse, 3) AS baseline, round(bias_pct, 1) AS bias_pct, round(interval_coverage, 3) AS coverage
FROM backtest(folds => 2) ORDER BY fold;
