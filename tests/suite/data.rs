//! Real data, when it is there: the folder `TENURE_DATA`, or `../shared/data` beside the crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use tenure::Session;
use tenure::models::metrics::{gini, log_loss, mae, ndcg_at_k, rmse, roc_auc, spearman};

use super::engine::{ask, session, text};

/// A file of the data folder, or `None` with a word that the test is skipped.
fn data(file: &str) -> Option<String> {
    let folder = std::env::var_os("TENURE_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    let path = folder.join(file);
    if !path.exists() {
        eprintln!("skipped: no data ({file})");
        return None;
    }
    Some(path.display().to_string())
}

fn one(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).unwrap()
}

async fn run_script(s: &Session, name: &str, path: &str) -> Vec<Vec<RecordBatch>> {
    let script = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sql").join(name)).unwrap();
    let script = tenure::session::split::substitute(&script, &BTreeMap::from([("path".to_owned(), path.to_owned())])).unwrap();
    s.run_script(&script).await.unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The clean lines of Online Retail II, each once.
const PURCHASES: &str = "SELECT DISTINCT customer_id AS user_id, invoice AS order_id, upper(stock_code) AS item_id, trim(description) AS description, quantity, \
    invoice_date AS ts, price, country, quantity * price AS amount FROM sales \
    WHERE customer_id IS NOT NULL AND regexp_like(invoice, '^[0-9]') AND quantity > 0 AND price > 0 AND regexp_like(upper(stock_code), '^[0-9]{5}')";

/// The same as events.
async fn online_retail_lines() -> Option<Session> {
    let path = data("online_retail_II/online_retail_II.parquet")?;
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(&s, &format!("CREATE TABLE events AS SELECT user_id, order_id, item_id, ts, amount FROM ({PURCHASES})")).await;
    Some(s)
}

/// The clean orders of Online Retail II as events.
async fn online_retail() -> Option<Session> {
    let path = data("online_retail_II/online_retail_II.parquet")?;
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(
        &s,
        &format!("CREATE TABLE orders AS SELECT user_id, order_id, min(ts) AS ts, sum(amount) AS amount FROM ({PURCHASES}) GROUP BY 1, 2"),
    )
    .await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM orders").await;
    Some(s)
}

/// The columns of a query, as numbers.
async fn columns(s: &Session, sql: &str) -> Vec<Vec<f64>> {
    let b = one(&ask(s, sql).await);
    b.columns().iter().map(|c| cast(c, &DataType::Float64).unwrap().as_primitive::<Float64Type>().values().to_vec()).collect()
}

/// Rows of tables in docs/methods.md have these cells, whatever is printed bold.
fn are_documented(rows: &[String]) {
    let methods = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/methods.md")).unwrap();
    let methods = methods.replace("**", "");
    let missing: Vec<&String> = rows.iter().filter(|row| !methods.contains(*row)).collect();
    assert!(missing.is_empty(), "docs/methods.md has no:\n{missing:#?}");
}

fn is_documented(row: &str) {
    are_documented(&[row.into()]);
}

/// The predicted total less the actual one, as it is printed.
fn total(predicted: &[f64], actual: &[f64], digits: usize) -> String {
    let percent = 100.0 * (predicted.iter().sum::<f64>() / actual.iter().sum::<f64>() - 1.0);
    format!("{}{:.digits$} %", if percent < 0.0 { "−" } else { "+" }, percent.abs())
}

/// CDNOW, 39 weeks after 39 weeks: the tables of docs/methods.md, and what `auto` chooses from hold-outs before the cut.
#[tokio::test(flavor = "multi_thread")]
async fn cdnow_is_forecast_as_documented() {
    let (Some(sample), Some(all)) = (data("cdnow/cdnow_sample.csv"), data("cdnow/cdnow_master.csv")) else { return };
    let models = [
        ("BG/NBD", "bg_nbd", ""),
        ("MBG/NBD", "mbg_nbd", ""),
        ("Pareto/NBD", "pareto_nbd", ""),
        ("BG/BB, weeks", "bg_bb", ", period = '7 days'"),
        ("`auto` = BG/NBD with burst", "auto", ""),
        ("the same with `first_order_value`", "bg_nbd_burst", ", covariates = 'first_order_value'"),
        ("own rate so far", "naive_rate", ""),
        ("nothing", "zero", ""),
    ];
    let mut rows: Vec<String> = models.iter().map(|(name, ..)| format!("| {name} |")).collect();
    let mut risen = vec![];
    for (path, user) in [(&sample, "sample_id"), (&all, "customer_id")] {
        let s = session(2, 8192).await;
        ask(&s, &format!("CREATE EXTERNAL TABLE cdnow STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')")).await;
        ask(&s, &format!("CREATE VIEW events AS SELECT {user} AS user_id, date AS ts, sales AS amount FROM cdnow")).await;
        ask(&s, "SET tenure.as_of = '1997-09-30'").await;
        ask(&s, "SET tenure.discount_rate = 0").await;
        let mut asked = String::new();
        for (_, model, options) in models {
            ask(&s, &format!("CREATE MODEL m_{model} WITH (model_type = '{model}'{options})")).await;
            asked += &format!(", expected_purchases(user_id, 273, 'm_{model}')");
        }
        let after = "SELECT user_id, count(DISTINCT ts) AS n, sum(amount) AS v FROM events WHERE ts > '1997-09-30' GROUP BY user_id";
        let figures = columns(&s, &format!(
            "SELECT coalesce(a.n, 0), coalesce(a.v, 0){asked} FROM (SELECT c.user_id AS user_id, a.n AS n, a.v AS v FROM customers() c LEFT JOIN ({after}) a ON a.user_id = c.user_id) a"
        )).await;
        for (row, predicted) in rows.iter_mut().zip(&figures[2..]) {
            *row += &format!(" {:.4} | {} |", rmse(predicted, &figures[0]), total(predicted, &figures[0], 1));
        }
        assert!(text(&s, "SELECT model_type FROM models() WHERE name = 'm_auto'").await.contains("bg_nbd_burst"));
        let likelihood = |m: &str| format!("(SELECT CAST(value AS DOUBLE) FROM model_info('{m}') WHERE property = 'log_likelihood')");
        let rise = columns(&s, &format!("SELECT 2 * ({} - {})", likelihood("m_bg_nbd_burst"), likelihood("m_auto"))).await;
        risen.push(rise[0][0].round());
        if path == &sample {
            ask(&s, "CREATE OR REPLACE MODEL m_bg_nbd_burst WITH (model_type = 'bg_nbd_burst')").await;
            let mut covered = vec![];
            for model in ["bg_nbd", "pareto_nbd", "bg_nbd_burst"] {
                let ends = format!(", clv_low(user_id, 273, 'm_{model}'), clv_high(user_id, 273, 'm_{model}')");
                let c = columns(&s, &format!(
                    "SELECT coalesce(a.v, 0){ends} FROM (SELECT c.user_id AS user_id, a.v AS v FROM customers() c LEFT JOIN ({after}) a ON a.user_id = c.user_id) a"
                )).await;
                let inside = (0..c[0].len()).filter(|&i| c[1][i] - 1e-9 <= c[0][i] && c[0][i] <= c[2][i] + 1e-9).count();
                covered.push(100.0 * inside as f64 / c[0].len() as f64);
                let high = columns(&s, &format!("SELECT s['high'] FROM (SELECT clv_sum(user_id, 273, 'm_{model}') AS s FROM customers())"))
                    .await[0][0];
                assert!(high < c[0].iter().sum::<f64>(), "the total came out above the interval with {model}");
            }
            is_documented(&format!(
                "{:.1} % of customers with BG/NBD, {:.1} % with Pareto/NBD, {:.1} % with the burst",
                covered[0], covered[1], covered[2]
            ));
        }
    }
    rows.iter().for_each(|row| is_documented(row));
    is_documented(&format!("raises twice the log-likelihood by {} on the sample and {} on all", risen[0], risen[1]));
}

/// Spend of the 90 and 180 days after two cut-offs: the table of docs/methods.md.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_spend_is_forecast_as_documented() {
    let Some(s) = online_retail().await else { return };
    ask(&s, "SET tenure.discount_rate = 0").await;
    let models = [
        ("`auto` = BG/NBD × gamma-gamma", "auto"),
        ("`pareto_nbd`", "pareto_nbd"),
        ("`mbg_cnbd_k`", "mbg_cnbd_k"),
        ("`clv_linear` of that horizon", "clv_linear"),
    ];
    let mut rows: Vec<String> = models.iter().map(|(name, _)| format!("| {name} |")).collect();
    for (cut, days) in [("2011-09-10", 90), ("2011-06-12", 180)] {
        ask(&s, &format!("SET tenure.as_of = '{}'", cut.replace("-10", "-09").replace("-12", "-11") + " 23:59:59.999")).await;
        let mut asked = String::new();
        for (_, model) in models {
            let horizon = if model == "clv_linear" { format!(", horizon = '{days} days'") } else { String::new() };
            ask(&s, &format!("CREATE OR REPLACE MODEL m_{model} WITH (model_type = '{model}'{horizon})")).await;
            asked += &format!(", clv(user_id, {days}, 'm_{model}')");
        }
        let spent = format!(
            "SELECT user_id, sum(amount) AS v FROM orders WHERE ts >= '{cut}' AND ts < TIMESTAMP '{cut} 00:00:00' + INTERVAL '{days} days' GROUP BY user_id"
        );
        let figures = columns(&s, &format!(
            "SELECT coalesce(a.v, 0){asked} FROM (SELECT c.user_id AS user_id, l.v AS v FROM customers() c LEFT JOIN ({spent}) l ON l.user_id = c.user_id) a"
        )).await;
        let actual = &figures[0];
        for (row, predicted) in rows.iter_mut().zip(&figures[1..]) {
            let (spearman, gini) = (spearman(predicted, actual), gini(predicted, actual));
            let figures = format!(" {:.1} | {spearman:.4} | {gini:.4} | {} |", mae(predicted, actual), total(predicted, actual, 0));
            *row += &figures.replace("| 0.", "| .");
        }
        assert!(text(&s, "SELECT model_type FROM models() WHERE name = 'm_auto'").await.contains("bg_nbd"));
    }
    rows.iter().for_each(|row| is_documented(row));
}

/// No order within 90 days of 2011-09-10, parameters learned as of 2011-06-12.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_churn() {
    let Some(s) = online_retail().await else { return };
    ask(&s, "SET tenure.as_of = '2011-06-12'").await;
    ask(&s, "CREATE MODEL spring").await;
    ask(&s, "SET tenure.as_of = '2011-09-10'").await;
    let scored = "SELECT c.user_id, churn_prob(c.user_id, 90, 'spring') AS p, l.user_id IS NULL AS churned FROM customers() c LEFT JOIN \
                  (SELECT DISTINCT user_id FROM orders WHERE ts >= '2011-09-10' AND ts < TIMESTAMP '2011-12-09 00:00:00') l ON l.user_id = c.user_id";
    let b = one(&ask(&s, scored).await);
    let p: Vec<f64> = b.column(1).as_primitive::<Float64Type>().values().to_vec();
    let y: Vec<bool> = b.column(2).as_boolean().iter().map(|v| v == Some(true)).collect();
    let (auc, loss) = (roc_auc(&p, &y), log_loss(&p, &y));
    assert!((5200..5300).contains(&p.len()) && auc >= 0.800 && loss <= 0.549, "{} customers, AUC {auc}, log-loss {loss}", p.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_scripts_run_on_their_data() {
    if let Some(path) = data("cdnow/cdnow_master.csv") {
        let s = session(2, 8192).await;
        let results = run_script(&s, "cdnow.sql", &path).await;
        let totals = results.iter().flatten().find(|b| b.schema().field_with_name("expected_purchases").is_ok()).expect("the totals");
        let (expected, actual) =
            (totals.column(1).as_primitive::<Float64Type>().value(0), totals.column(2).as_primitive::<Int64Type>().value(0));
        assert_eq!(actual, 19_684);
        assert!((expected / actual as f64 - 0.857).abs() < 0.005, "{expected} expected, as BG/NBD is known to");
    }
    if let Some(path) = data("online_retail_II/online_retail_II.parquet") {
        let s = session(2, 8192).await;
        run_script(&s, "online_retail.sql", &path).await;
        assert!(text(&s, "SELECT count(*) AS n FROM sales").await.contains("1067370"));
    }
}

/// MovieLens-1M, ratings of 3 and more, 70/10/20 per user.
#[tokio::test(flavor = "multi_thread")]
async fn movielens_is_recommended_as_documented() {
    let Some(train) = data("movielens-1m/lightgcnpp_split/train.parquet") else { return };
    let s = session(2, 8192).await;
    for part in ["train", "valid", "test"] {
        let path = train.replace("train.parquet", &format!("{part}.parquet"));
        ask(&s, &format!("CREATE EXTERNAL TABLE {part} STORED AS PARQUET LOCATION '{path}'")).await;
    }
    ask(
        &s,
        "CREATE VIEW events AS SELECT user_id, item_id, TIMESTAMP '2000-01-01 00:00:00' AS ts, 'rating' AS event_type \
             FROM (SELECT user_id, item_id FROM train UNION ALL SELECT user_id, item_id FROM valid)",
    )
    .await;
    let lists = |sql: String| {
        let s = s.clone();
        async move {
            let b = one(&ask(&s, &sql).await);
            let (users, items) = (b.column(0).as_primitive::<Int64Type>(), b.column(1).as_primitive::<Int64Type>());
            let mut out: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            (0..b.num_rows()).for_each(|i| out.entry(users.value(i)).or_default().push(items.value(i) as u32));
            out
        }
    };
    let truth = lists("SELECT CAST(user_id AS BIGINT) AS u, CAST(item_id AS BIGINT) AS i FROM test ORDER BY 1, 2".into()).await;
    // Vectors of other widths round differently: iALS is compared to three digits.
    let figures = [
        ("'item_knn', similarity = 'tfidf', neighbours = 20", 0.3225, 5e-5),
        ("'user_knn'", 0.3531, 5e-5),
        ("'mf_implicit'", 0.3925, 5e-4),
        ("'ease', l2 = 1000", 0.4007, 5e-5),
    ];
    for (options, wanted, within) in figures {
        ask(&s, &format!("CREATE OR REPLACE MODEL m WITH (model_type = {options}, split = 'none')")).await;
        let keys = "CAST(user_id AS BIGINT) AS u, CAST(item_id AS BIGINT) AS i";
        let got = lists(format!("SELECT {keys} FROM recommend(k => 10, model => 'm') ORDER BY user_id, rank")).await;
        let ndcg = |u: &i64, t: &Vec<u32>| got.get(u).map_or(0.0, |r| ndcg_at_k(r, t, 10));
        let mean = truth.iter().map(|(u, t)| ndcg(u, t)).sum::<f64>() / truth.len() as f64;
        assert!((mean - wanted).abs() < within, "{options}: NDCG@10 {mean}");
    }
}

/// Koren's baselines, in ten sweeps: (μ, b_u, b_i) of (user, item, rating) in codes from 1.
fn baselines(ratings: &[(usize, usize, f64)]) -> (f64, Vec<f64>, Vec<f64>) {
    let mean = ratings.iter().map(|r| r.2).sum::<f64>() / ratings.len() as f64;
    let (mut users, mut items) = (vec![0.0; 2_000], vec![0.0; 2_000]);
    for _ in 0..10 {
        let sweep = |of: &dyn Fn(&(usize, usize, f64)) -> usize, less: &dyn Fn(&(usize, usize, f64)) -> f64, by: f64| {
            let mut sums = vec![(0.0, by); 2_000];
            ratings.iter().for_each(|r| {
                let sum = &mut sums[of(r)];
                *sum = (sum.0 + r.2 - mean - less(r), sum.1 + 1.0);
            });
            sums.into_iter().map(|(sum, n)| sum / n).collect::<Vec<f64>>()
        };
        items = sweep(&|r| r.1, &|r| users[r.0], 10.0);
        users = sweep(&|r| r.0, &|r| items[r.1], 15.0);
    }
    (mean, users, items)
}

/// The five folds of MovieLens-100K; a pair without an answer gets the baseline, as the published figures have it.
#[tokio::test(flavor = "multi_thread")]
async fn movielens_ratings_are_predicted_as_documented() {
    let Some(path) = data("movielens-100k/ratings.csv") else { return };
    let models = [
        ("item_knn", "similarity = 'pearson_baseline', neighbours = 10000", 0.9204),
        ("user_knn", "similarity = 'pearson_baseline', neighbours = 40", 0.9245),
        ("mf_explicit", "seed = 42", 0.9055),
    ];
    let mut squares = [0.0; 3];
    for fold in 1..=5 {
        let s = session(2, 8192).await;
        ask(&s, &format!("CREATE EXTERNAL TABLE all_ratings STORED AS CSV LOCATION '{path}'")).await;
        ask(&s, &format!("CREATE VIEW events AS SELECT user_id, item_id, rating, to_timestamp_seconds(ts) AS ts FROM all_ratings WHERE fold <> {fold}")).await;
        let known = columns(&s, "SELECT user_id, item_id, rating FROM events").await;
        let known: Vec<(usize, usize, f64)> =
            (0..known[0].len()).map(|i| (known[0][i] as usize, known[1][i] as usize, known[2][i])).collect();
        let (mean, users, items) = baselines(&known);
        for (at, (kind, options, _)) in models.iter().enumerate() {
            ask(&s, &format!("CREATE MODEL {kind} WITH (model_type = '{kind}', {options}, split = 'none')")).await;
            let sql = format!(
                "SELECT user_id, item_id, rating, coalesce(predict_rating(user_id, item_id, '{kind}'), 0) FROM all_ratings WHERE fold = {fold}"
            );
            let b = columns(&s, &sql).await;
            let error = |i: usize| {
                let baseline = mean + users[b[0][i] as usize] + items[b[1][i] as usize];
                let predicted = if b[3][i] == 0.0 { baseline.clamp(1.0, 5.0) } else { b[3][i] };
                (predicted - b[2][i]).powi(2)
            };
            squares[at] += ((0..b[0].len()).map(error).sum::<f64>() / b[0].len() as f64).sqrt() / 5.0;
        }
    }
    for ((kind, _, wanted), rmse) in models.iter().zip(squares) {
        assert!((rmse - wanted).abs() < 6e-5, "{kind}: RMSE {rmse}");
    }
}

/// The goods of each order of Online Retail II.
const LINES: &str = "SELECT customer_id AS user_id, invoice AS order_id, upper(stock_code) AS item_id, min(invoice_date) AS ts FROM sales \
    WHERE customer_id IS NOT NULL AND regexp_like(invoice, '^[0-9]') AND quantity > 0 AND price > 0 AND regexp_like(upper(stock_code), '^[0-9]{5}') GROUP BY 1, 2, 3";

/// The last order of customers of four and more, from those before: the table of docs/methods.md.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_next_baskets_as_documented() {
    let Some(path) = data("online_retail_II/online_retail_II.parquet") else { return };
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(&s, &format!("CREATE TABLE lines AS {LINES}")).await;
    ask(&s, "CREATE TABLE orders AS SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY ts DESC, order_id DESC) AS back, count(*) OVER (PARTITION BY user_id) AS orders \
             FROM (SELECT user_id, order_id, max(ts) AS ts FROM lines GROUP BY 1, 2)").await;
    ask(&s, "CREATE TABLE held AS SELECT l.user_id, array_agg(DISTINCT l.item_id) AS truth FROM lines l JOIN orders o ON l.user_id = o.user_id AND l.order_id = o.order_id \
             WHERE o.back = 1 AND o.orders >= 4 GROUP BY 1").await;
    ask(&s, "CREATE TABLE events AS SELECT l.*, 'purchase' AS event_type FROM lines l JOIN orders o ON l.user_id = o.user_id AND l.order_id = o.order_id \
             WHERE o.back > 1 OR o.orders < 4").await;
    let lists = [
        (
            "popularity",
            "SELECT h.user_id, p.b FROM held h CROSS JOIN (SELECT array_agg(item_id ORDER BY n DESC, item_id) AS b FROM ( \
                        SELECT item_id, count(DISTINCT order_id) AS n FROM events GROUP BY 1 ORDER BY n DESC, item_id LIMIT 10)) p",
        ),
        (
            "a customer's own most frequent items",
            "SELECT user_id, array_agg(item_id ORDER BY place) AS b FROM ( \
                        SELECT user_id, item_id, row_number() OVER (PARTITION BY user_id ORDER BY n DESC, everybody DESC, item_id) AS place FROM ( \
                        SELECT user_id, item_id, count(DISTINCT order_id) AS n, sum(count(DISTINCT order_id)) OVER (PARTITION BY item_id) AS everybody \
                        FROM events GROUP BY 1, 2)) WHERE place <= 10 GROUP BY 1",
        ),
        ("`next_basket`", "SELECT user_id, next_basket(user_id, 10) AS b FROM held"),
    ];
    for (name, sql) in lists {
        let f = columns(
            &s,
            &format!("SELECT recall_at(b, truth, 10), ndcg(b, truth, 10), count(*) FROM held h JOIN ({sql}) l ON l.user_id = h.user_id"),
        )
        .await;
        is_documented(&format!("| {name} | {:.4} | {:.4} |", f[0][0], f[1][0]).replace("| 0.", "| ."));
    }
}

/// What customers buy first in the last 90 days: the table of docs/methods.md, the types that add up in one order on every machine.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_first_purchases_as_documented() {
    let Some(path) = data("online_retail_II/online_retail_II.parquet") else { return };
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(&s, &format!("CREATE TABLE events AS SELECT *, 'purchase' AS event_type FROM ({LINES})")).await;
    let models = [
        ("popularity", "'popularity'"),
        ("popularity, half-life of 60 days", "'popularity', half_life = '60 days'"),
        ("`item_knn`", "'item_knn'"),
        ("`item_knn` BM25, K = 100", "'item_knn', similarity = 'bm25', neighbours = 100"),
        ("`user_knn`", "'user_knn'"),
        ("`seq_knn`", "'seq_knn'"),
        ("`ease`", "'ease'"),
        ("`association_rules`, min_support .01", "'association_rules', min_support = 0.01"),
    ];
    for (name, options) in models {
        ask(&s, &format!("CREATE OR REPLACE MODEL m WITH (model_type = {options}, split = 'none')")).await;
        let f = columns(&s, "SELECT ndcg_at_10, recall_at_10, hit_rate_at_10 FROM backtest('m', folds => 1, holdout => 90)").await;
        is_documented(&format!("| {name} | {:.4} | {:.4} | {:.4} |", f[0][0], f[1][0], f[2][0]).replace("| 0.", "| ."));
    }
}

/// Each user's last item in `test`, and what came before it as events.
async fn last_items(folder: &str, parts: &[&str]) -> Option<Session> {
    let train = data(&format!("{folder}/train.parquet"))?;
    let s = session(2, 8192).await;
    for part in parts.iter().chain(&["test"]) {
        let path = train.replace("train.parquet", &format!("{part}.parquet"));
        ask(&s, &format!("CREATE EXTERNAL TABLE {part} STORED AS PARQUET LOCATION '{path}'")).await;
    }
    let before: Vec<String> = parts.iter().map(|part| format!("SELECT user_id, item_id, seq FROM {part}")).collect();
    let events = "SELECT user_id, item_id, to_timestamp_seconds(seq * 60) AS ts, 'purchase' AS event_type";
    ask(&s, &format!("CREATE VIEW events AS {events} FROM ({})", before.join(" UNION ALL "))).await;
    Some(s)
}

/// `seq_knn` by its defaults, each user's last item: the row of docs/methods.md.
#[tokio::test(flavor = "multi_thread")]
async fn last_items_are_recommended_by_seq_knn_as_documented() {
    let (movies, beauty) = ("movielens-1m/gsasrec_parquet", "amazon-5core/beauty_loo");
    let (Some(movies), Some(beauty)) = (last_items(movies, &["train"]).await, last_items(beauty, &["train", "valid"]).await) else {
        return;
    };
    let mut figures = vec![];
    for s in [movies, beauty] {
        ask(&s, "CREATE MODEL seq WITH (model_type = 'seq_knn', split = 'none')").await;
        let sql =
            "SELECT ndcg(b, truth, 10) FROM (SELECT user_id, recommend(user_id, 10, 'seq') AS b, make_array(item_id) AS truth FROM test)";
        figures.push(columns(&s, sql).await[0][0]);
    }
    is_documented(&format!("| `seq_knn` | | {} |", cells(&figures)));
}

/// `auto` on Amazon Beauty, each user's last item: the figure of docs/methods.md.
#[tokio::test(flavor = "multi_thread")]
async fn beauty_is_recommended_by_auto_as_documented() {
    let Some(s) = last_items("amazon-5core/beauty_loo", &["train", "valid"]).await else { return };
    ask(&s, "CREATE MODEL best WITH (model_type = 'auto', family = 'recommend', max_runtime = 3600)").await;
    let f = columns(
        &s,
        "SELECT ndcg(b, truth, 10) FROM (SELECT user_id, recommend(user_id, 10, 'best') AS b, make_array(item_id) AS truth FROM test)",
    )
    .await;
    assert!((f[0][0] - 0.0630).abs() < 5e-4, "NDCG@10 {}", f[0][0]);
    let f = columns(&s, "SELECT value, baseline_value FROM models() WHERE name = 'best'").await;
    assert!(f[0][0] > 5.0 * f[1][0], "{f:?}");
}

/// Cells of a table: numbers to four places, without a leading 0.
fn cells(figures: &[f64]) -> String {
    let one = |f: &f64| format!("{f:.4}").trim_start_matches('0').to_owned();
    figures.iter().map(one).collect::<Vec<_>>().join(" | ")
}

/// A row of the table of labels in docs/methods.md: what evaluate() says of a model that is made here.
async fn label_row(s: &Session, what: &str, label: &str, kind: &str, more: &str) -> String {
    let model = format!("CREATE OR REPLACE MODEL m PREDICT {label} FOR EACH user_id WITH (model_type = '{kind}'{more})");
    ask(s, &model).await;
    let of = |metric: &str| format!("max(value) FILTER (WHERE metric = '{metric}')");
    let sql = format!("SELECT {} FROM evaluate('m')", ["roc_auc", "pr_auc", "log_loss", "ece"].map(of).join(", "));
    let figures: Vec<f64> = columns(s, &sql).await.iter().map(|f| f[0]).collect();
    let of = more.trim_start_matches(", ").replace('\'', "").replace(" = ", " ");
    let kind = if of.is_empty() { format!("`{kind}`") } else { format!("`{kind}`, {of}") };
    format!("| {what} | {kind} | {} |", cells(&figures))
}

const CHURN_90: &str = "count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '90 days'";

/// Labels and spend of Online Retail II: protocols whose test window is the one that is held out.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_labels_as_documented() {
    let Some(s) = online_retail_lines().await else { return };
    ask(&s, "SET tenure.as_of = '2011-12-08 23:59:59.999999'").await;
    let mut rows = vec![];
    for kind in ["logistic_reg", "gbt", "averaged", "closed_form"] {
        rows.push(label_row(&s, "no order in 90 days", CHURN_90, kind, "").await);
    }
    rows.push(label_row(&s, "no order in 90 days", CHURN_90, "averaged", ", calibrate = 'none'").await);
    let buys = "count(*) FILTER (WHERE event_type = 'purchase') > 0 WITHIN INTERVAL '30 days'";
    for kind in ["logistic_reg", "gbt", "averaged"] {
        rows.push(label_row(&s, "an order in 30 days", buys, kind, "").await);
    }
    let kinds = [
        ("hurdle", ""),
        ("tweedie_reg", ""),
        ("gbt", ""),
        ("closed_form", ""),
        ("averaged", ""),
        ("averaged", ", calibrate = 'none'"),
        ("averaged", ", predict = 'median'"),
    ];
    for (days, (kind, more)) in [90, 180].into_iter().flat_map(|days| kinds.map(|kind| (days, kind))) {
        let predict = format!("PREDICT sum(amount) WITHIN INTERVAL '{days} days' FOR EACH user_id");
        ask(&s, &format!("CREATE OR REPLACE MODEL m {predict} WITH (model_type = '{kind}'{more})")).await;
        let of = |metric: &str| format!("max(value) FILTER (WHERE metric = '{metric}')");
        let sql = format!("SELECT {} FROM evaluate('m')", ["mae", "spearman", "gini", "bias_pct"].map(of).join(", "));
        let f: Vec<f64> = columns(&s, &sql).await.iter().map(|f| f[0]).collect();
        let more = more.replace('\'', "").replace(" = ", " ");
        rows.push(format!("| {days} days | `{kind}`{more} | {:.1} | {} | {:.1} % |", f[0], cells(&f[1..3]), f[3]));
    }
    are_documented(&rows);
}

/// No purchase of the CDNOW cohort within 90 days of 1998-04-01.
#[tokio::test(flavor = "multi_thread")]
async fn cdnow_labels_as_documented() {
    let Some(path) = data("cdnow/cdnow_master.csv") else { return };
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE cdnow STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')")).await;
    ask(&s, "CREATE VIEW events AS SELECT customer_id AS user_id, date AS ts, sales AS amount FROM cdnow").await;
    ask(&s, "SET tenure.as_of = '1998-06-29'").await;
    let mut rows = vec![];
    for kind in ["logistic_reg", "averaged"] {
        rows.push(label_row(&s, "no purchase in 90 days", CHURN_90, kind, "").await);
    }
    are_documented(&rows);
}

/// Telco customers: rows of a table, learned from and judged as the protocol's lists say.
#[tokio::test(flavor = "multi_thread")]
async fn telco_is_foretold_as_documented() {
    let files = ["telco/telco.csv", "../protocols/E_telco_train.csv", "../protocols/E_telco_test.csv"].map(data);
    let [Some(telco), Some(train), Some(test)] = files else { return };
    let s = session(2, 8192).await;
    for (table, path) in [("telco", telco), ("train", train), ("test", test)] {
        ask(&s, &format!("CREATE EXTERNAL TABLE {table} STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')")).await;
    }
    let of = |part: &str| format!("SELECT t.* FROM telco t JOIN {part} p ON p.user_id = t.\"customerID\"");
    let mut rows = vec![];
    for kind in ["logistic_reg", "averaged", "gbt", "decision_tree", "naive_bayes"] {
        ask(&s, &format!("CREATE OR REPLACE MODEL m TARGET \"Churn\" WITH (model_type = '{kind}') AS {}", of("train"))).await;
        let sql = format!(
            "SELECT auc(prediction, c), pr_auc(prediction, c), logloss(prediction, c), ece(prediction, c) FROM \
             (SELECT prediction, \"Churn\" = 'Yes' AS c FROM predict_rows('m', ({})))",
            of("test")
        );
        let figures: Vec<f64> = columns(&s, &sql).await.iter().map(|f| f[0]).collect();
        rows.push(format!("| Telco, leaves | `{kind}` | {} |", cells(&figures)));
    }
    are_documented(&rows);
}

/// Whoever bought an item within 7 days: do they buy it again within 30? 35 Mondays of Online Retail II.
#[tokio::test(flavor = "multi_thread")]
async fn bayes_counts_of_replenishment_are_exact() {
    let (Some(s), Some(expected)) = (online_retail_lines().await, data("../protocols/D1_or2_replenish_bayes.csv")) else { return };
    ask(&s, &format!("CREATE EXTERNAL TABLE expected STORED AS CSV LOCATION '{expected}' OPTIONS ('format.has_header' 'true')")).await;
    ask(&s, "SET tenure.as_of = '2011-11-30'").await;
    let f = columns(
        &s,
        "SELECT count(*), count(*) FILTER (WHERE p['n']['trials'] = n_trials AND p['n']['evidence'] = n_bought_past7 AND p['n']['purchase'] = n_buy_next30 AND p['n']['both'] = n_both),
           sum(p['n']['both']), sum(p['n']['evidence']), max(abs(p['posterior'] - bayes_rhs)), max(abs(p['likelihood'] * p['prior'] / p['evidence'] - p['posterior'])), max(abs(p['lift'] - lift))
         FROM (SELECT e.*, bayes_propensity((SELECT min(user_id) FROM events), stock_code, evidence => 'purchase', window => 7, horizon => 30, cutoffs => 35) AS p FROM expected e)",
    )
    .await;
    let figures: Vec<f64> = f.iter().map(|c| c[0]).collect();
    assert_eq!(figures[..4], [3498.0, 3498.0, 27961.0, 239036.0]);
    assert!(figures[4..6].iter().all(|e| *e < 1e-12) && figures[6] < 1e-9, "{figures:?}");
}

/// Whoever views a category: do they buy in it?
#[tokio::test(flavor = "multi_thread")]
async fn bayes_counts_of_categories_are_exact() {
    let files = ["rees46_sample/events.parquet", "../protocols/D2_rees46_category_bayes.csv"].map(data);
    let [Some(path), Some(expected)] = files else { return };
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE log STORED AS PARQUET LOCATION '{path}'")).await;
    ask(
        &s,
        "CREATE VIEW events AS SELECT user_id, product_id AS item_id, event_type, to_timestamp(replace(event_time, ' UTC', '')) AS ts, price AS amount FROM log",
    )
    .await;
    ask(&s, "CREATE VIEW items AS SELECT DISTINCT product_id AS item_id, category_id AS category FROM log").await;
    ask(&s, &format!("CREATE EXTERNAL TABLE expected STORED AS CSV LOCATION '{expected}' OPTIONS ('format.has_header' 'true')")).await;
    let f = columns(
        &s,
        "SELECT count(*), count(*) FILTER (WHERE p['n']['trials'] = n_users AND p['n']['evidence'] = n_viewed AND p['n']['purchase'] = n_bought AND p['n']['both'] = n_view_then_buy),
           max(abs(p['posterior'] - p_buy_given_view)), max(abs(p['smoothed'] - laplace)), max(abs(p['prior'] - p_buy))
         FROM (SELECT e.*, bayes_propensity((SELECT min(user_id) FROM log), category_id, by => 'category', window => 'infinity', horizon => 'infinity') AS p FROM expected e)",
    )
    .await;
    let figures: Vec<f64> = f.iter().map(|c| c[0]).collect();
    assert_eq!(figures[..2], [434.0, 434.0]);
    assert!(figures[2..].iter().all(|e| *e < 1e-12), "{figures:?}");
}
