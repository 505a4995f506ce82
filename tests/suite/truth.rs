//! Against a shop whose truth is known: parameters, calibrated churn, the total of expected value.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};

use super::engine::{ask, session};

fn numbers(batches: &[RecordBatch]) -> Vec<f64> {
    let b = concat_batches(&batches[0].schema(), batches).unwrap();
    let row = |c: usize| match b.column(c).as_primitive_opt::<Float64Type>() {
        Some(a) => a.value(0),
        None => b.column(c).as_primitive::<Int64Type>().value(0) as f64,
    };
    (0..b.num_columns()).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_is_understood() {
    let s = session(2, 8192).await;
    let shop = "users => 20000, days => 730, seed => 11";
    // Purchases only: what is asked here needs no views.
    ask(&s, &format!("CREATE TABLE events AS SELECT user_id, ts, event_type, amount, order_id FROM simulate_shop({shop}) WHERE event_type IN ('purchase', 'refund')")).await;
    ask(&s, &format!("CREATE TABLE truth AS SELECT * FROM simulate_shop_truth({shop})")).await;
    ask(&s, "SET tenure.discount_rate = 0").await;

    let parameter = |name: &str| format!("(SELECT CAST(value AS DOUBLE) FROM model_info('m') WHERE property = '{name}') AS {name}");
    ask(&s, "CREATE MODEL m WITH (model_type = 'bg_nbd')").await;
    let got =
        numbers(&ask(&s, &format!("SELECT {}, {}, {}, {}", parameter("r"), parameter("alpha"), parameter("a"), parameter("b"))).await);
    // The simulator's population, and how near 20,000 customers come to it (a and b are the loosely known ones).
    for ((name, truth, tolerance), got) in
        [("r", 0.7, 0.08), ("alpha", 100.0, 0.08), ("a", 0.5, 0.16), ("b", 1.1, 0.18)].into_iter().zip(got)
    {
        assert!((got / truth - 1.0).abs() < tolerance, "{name}: {got} against {truth}");
    }

    // The next year, as it really came: purchases and net value in total.
    let sums = "SELECT sum(expected_purchases(user_id, 365)), sum(CAST(purchases_next_365d AS DOUBLE)), \
                sum(clv(user_id, 365)), sum(CAST(net_value_next_365d AS DOUBLE)) FROM truth WHERE NOT is_prospect";
    let [purchases, bought, value, paid] = numbers(&ask(&s, sums).await)[..] else { panic!("four sums") };
    assert!((purchases / bought - 1.0).abs() < 0.06, "purchases {purchases} against {bought}");
    assert!((value / paid - 1.0).abs() < 0.07, "value {value} against {paid}");

    // Churn is calibrated: in every fifth of the predictions the share that really left is near the predicted one.
    let bins = "SELECT max(abs(predicted - left_share)) FROM (SELECT bin, avg(p) AS predicted, avg(CASE WHEN n = 0 THEN 1.0 ELSE 0.0 END) AS left_share \
                FROM (SELECT churn_prob(user_id, 90) AS p, purchases_next_90d AS n, ntile(5) OVER (ORDER BY churn_prob(user_id, 90), user_id) AS bin FROM truth WHERE NOT is_prospect) \
                WHERE p IS NOT NULL GROUP BY bin)";
    let worst = numbers(&ask(&s, bins).await)[0];
    assert!(worst < 0.05, "worst of five bins: {worst}");
    // Who is alive is told apart better than by chance, and agrees on average.
    let alive = numbers(
        &ask(
            &s,
            "SELECT avg(p_alive(user_id)), avg(CASE WHEN alive THEN 1.0 ELSE 0.0 END), \
        avg(p_alive(user_id)) FILTER (WHERE alive) - avg(p_alive(user_id)) FILTER (WHERE NOT alive) FROM truth WHERE NOT is_prospect",
        )
        .await,
    );
    assert!((alive[0] - alive[1]).abs() < 0.03 && alive[2] > 0.2, "{alive:?}");

    // Nine intervals in ten hold what came: of single customers, of groups of some 45, and the total.
    let covered = "avg(CASE WHEN v BETWEEN low - 1e-9 AND high + 1e-9 THEN 1.0 ELSE 0.0 END)";
    let paid = "CAST(net_value_next_365d AS DOUBLE)";
    let single = format!(
        "SELECT {covered}, {covered} FILTER (WHERE nothing < 0.9) FROM (SELECT {paid} AS v, clv_low(user_id, 365, 'm') AS low, \
         clv_high(user_id, 365, 'm') AS high, churn_prob(user_id, 365, 'm') AS nothing FROM truth WHERE NOT is_prospect)"
    );
    let groups = format!(
        "SELECT {covered} FROM (SELECT v, s['low'] AS low, s['high'] AS high FROM (SELECT sum({paid}) AS v, clv_sum(user_id, 365, 'm') AS s \
         FROM truth WHERE NOT is_prospect GROUP BY CAST(substr(user_id, 2) AS BIGINT) % 400))"
    );
    let [customers, open] = numbers(&ask(&s, &single).await)[..] else { panic!("two shares") };
    let groups = numbers(&ask(&s, &groups).await)[0];
    for share in [customers, open, groups] {
        assert!((0.88..=0.92).contains(&share), "{customers} of customers covered, {open} where something is likely, {groups} of groups");
    }
    let methods = include_str!("../../docs/methods.md");
    let stated = format!("hold {:.1} % of the customers' values, {:.1} %", 100.0 * customers, 100.0 * groups);
    assert!(methods.contains(&stated), "docs/methods.md does not say: {stated}");
    let total = format!(
        "SELECT v, s['low'], s['high'] FROM (SELECT sum({paid}) AS v, clv_sum(user_id, 365, 'm') AS s FROM truth WHERE NOT is_prospect)"
    );
    let [v, low, high] = numbers(&ask(&s, &total).await)[..] else { panic!("three numbers") };
    assert!(low < v && v < high && high - low < 0.1 * v, "{low} {v} {high}");
}
