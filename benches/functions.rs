//! Benches named by SQL function: `cargo bench -- clv`. Peers are run beside the program, see docs/performance.md.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenure::models::Control;
use tenure::models::lifetime::{BgNbd, Counts, FitOptions, GammaGamma, Lifetime, MbgNbd, ParetoNbd, Purchases, Refunds, Spending, fit};
use tenure::models::recommend::{Csr, Feedback, ItemKnn, ItemKnnParams, Predict, Similarity};
use tenure::{Session, SessionOptions};
use tokio::runtime::Runtime;

/// Counts of customers, in memory: those of the Parquet file `TENURE_BENCH_SUMMARY` (columns frequency, recency, T, in weeks, as peers have them),
/// or else of 100,000 customers of the simulator.
fn counts(runtime: &Runtime) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::Int64Type;
    let session = runtime.block_on(Session::open(SessionOptions::default())).expect("a session");
    let run = |sql: &str| runtime.block_on(async { session.sql(sql).await?.collect().await }).expect("counts");
    let sql = match std::env::var("TENURE_BENCH_SUMMARY") {
        Ok(path) => {
            run(&format!("CREATE EXTERNAL TABLE summary STORED AS PARQUET LOCATION '{path}'"));
            let days = |c: &str| format!("CAST(round({c} * 7) AS BIGINT)");
            format!("SELECT CAST(frequency AS BIGINT), {}, {} FROM summary", days("recency"), days("\"T\""))
        }
        Err(_) => "SELECT s['frequency'] AS x, s['recency'] AS t_x, s['T'] AS t FROM (SELECT rfm_summary(ts, amount, '2025-12-31') AS s \
                   FROM simulate_shop(users => 100000, days => 730, seed => 7) WHERE event_type = 'purchase' GROUP BY user_id) WHERE s['T'] >= 0"
            .to_owned(),
    };
    let batches = run(&sql);
    let column =
        |i: usize| batches.iter().flat_map(|b| b.column(i).as_primitive::<Int64Type>().values().iter().map(|&v| v as u32)).collect();
    (column(0), column(1), column(2))
}

fn lifetime(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (x, t_x, t) = counts(&runtime);
    let all = || Counts::new(&x, &t_x, &t);
    let mut group = c.benchmark_group("lifetime");
    group.throughput(Throughput::Elements(x.len() as u64)).sample_size(10);
    let (options, control) = (FitOptions::default(), Control::default());
    group.bench_function("fit bg_nbd", |b| b.iter(|| fit::<BgNbd>(all(), &options, &control).expect("a fit")));
    group.bench_function("fit mbg_nbd", |b| b.iter(|| fit::<MbgNbd>(all(), &options, &control).expect("a fit")));
    group.bench_function("fit pareto_nbd", |b| b.iter(|| fit::<ParetoNbd>(all(), &options, &control).expect("a fit")));
    let model = fit::<BgNbd>(all(), &options, &control).expect("a fit").params;
    group.bench_function("expected_purchases and p_alive", |b| {
        b.iter(|| (model.expected_purchases_all(all(), 273.0, &control), model.p_alive_all(all())))
    });
    group.bench_function("churn_prob", |b| b.iter(|| model.p_no_purchase_all(all(), 90.0, &control)));
    group.bench_function("clv", |b| b.iter(|| model.discounted_purchases_all(all(), 365.0, 0.1, &control)));
    let pareto = fit::<ParetoNbd>(all(), &options, &control).expect("a fit").params;
    group.bench_function("expected_purchases and p_alive, pareto_nbd", |b| {
        b.iter(|| (pareto.expected_purchases_all(all(), 273.0, &control), pareto.p_alive_all(all())))
    });

    // Spend that differs from customer to customer, so that nothing is shared but the counts.
    let value: Vec<f64> = (0..x.len()).map(|i| if x[i] > 0 { 5.0 + (i % 9_973) as f64 / 100.0 } else { 0.0 }).collect();
    let (gross, refunded): (Vec<f64>, Vec<f64>) = (0..x.len()).map(|i| (value[i] * f64::from(x[i]), 0.0)).unzip();
    let spending =
        Spending { repeat_valued: &x, mean_value: &value, gross: &gross, refunded: &refunded, valued_days: &x, day_values: None };
    let spend = GammaGamma::fit(&x, &value, None, &control).expect("a fit").params;
    let lifetime = Lifetime {
        purchases: Arc::new(model),
        spend: Some(spend),
        with_first: false,
        mean_value: 55.0,
        value_cv2: 0.3,
        refunds: Refunds::estimate(spending),
        days_a_purchase: 1.0,
        linear: None,
        log_likelihood: 0.0,
        customers: x.len() as u64,
        estimated: 4,
    };
    group.bench_function("clv_low and clv_high", |b| b.iter(|| lifetime.intervals(all(), spending, 365.0, 0.1, 0.9, &control)));
    group.finish();
}

fn look_up(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let session = runtime.block_on(Session::open(SessionOptions::default())).expect("a session");
    let run = |sql: &str| runtime.block_on(async { session.sql(sql).await?.collect().await }).expect("rows");
    run(
        "CREATE TABLE events AS SELECT user_id, ts, amount FROM simulate_shop(users => 50000, days => 365, seed => 7) WHERE event_type = 'purchase'",
    );
    run("SELECT sum(clv(user_id)) FROM events");
    let mut group = c.benchmark_group("sql");
    group.sample_size(10);
    group.bench_function("clv(user_id)", |b| b.iter(|| run("SELECT max(clv(user_id)) FROM events")));
    group.bench_function("customers()", |b| b.iter(|| run("SELECT max(clv), max(churn_prob), max(segment) FROM customers()")));
    group.finish();
}

fn item_knn(c: &mut Criterion) {
    // 20,000 users with 20 of 2,000 items each, in a fixed pattern with popular items.
    let (users, items) = (20_000u64, 2_000u64);
    let mut m = Csr { n_cols: items as usize, offsets: vec![0], columns: vec![], values: vec![] };
    for u in 0..users {
        let mut row: Vec<u32> =
            (0..20u64).map(|k| ((u.wrapping_mul(0x9E37_79B9) >> 7).wrapping_mul(k + 1) % items * ((k % 4) + 1) / 4) as u32).collect();
        row.sort_unstable();
        row.dedup();
        m.values.extend(row.iter().map(|_| 1.0));
        m.columns.extend(row);
        m.offsets.push(m.columns.len());
    }
    let m = Feedback { last_us: vec![0; m.columns.len()], weights: m, ratings: vec![], goals: vec![] };
    let params = ItemKnnParams { similarity: Similarity::TfIdf, neighbours: 20, predict: Predict::Mean, predict_from: 20 };
    let mut group = c.benchmark_group("recommend");
    group.sample_size(10);
    group.bench_function("item_knn fit", |b| b.iter(|| ItemKnn::fit(&m, &params, &Control::default()).expect("a fit")));
    group.finish();
}

criterion_group!(benches, lifetime, look_up, item_knn);
criterion_main!(benches);
