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

/// The clean orders of Online Retail II as events.
async fn online_retail() -> Option<Session> {
    let path = data("online_retail_II/online_retail_II.parquet")?;
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(&s, "CREATE TABLE orders AS SELECT user_id, invoice AS order_id, min(invoice_date) AS ts, sum(quantity * price) AS amount FROM ( \
             SELECT DISTINCT customer_id AS user_id, invoice, upper(stock_code) AS item_id, trim(description) AS description, quantity, invoice_date, price, country FROM sales) \
             WHERE user_id IS NOT NULL AND regexp_like(invoice, '^[0-9]') AND quantity > 0 AND price > 0 AND regexp_like(item_id, '^[0-9]{5}') GROUP BY 1, 2").await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM orders").await;
    Some(s)
}

/// The columns of a query, as numbers.
async fn columns(s: &Session, sql: &str) -> Vec<Vec<f64>> {
    let b = one(&ask(s, sql).await);
    b.columns().iter().map(|c| cast(c, &DataType::Float64).unwrap().as_primitive::<Float64Type>().values().to_vec()).collect()
}

/// A row of a table in docs/methods.md has these cells, whatever is printed bold.
fn is_documented(row: &str) {
    let methods = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/methods.md")).unwrap();
    assert!(methods.replace("**", "").contains(row), "docs/methods.md has no: {row}");
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
        ("BG/NBD", "bg_nbd"),
        ("MBG/NBD", "mbg_nbd"),
        ("Pareto/NBD", "pareto_nbd"),
        ("BG/BB, weeks", "bg_bb"),
        ("`auto` = BG/NBD with burst", "auto"),
        ("own rate so far", "naive_rate"),
        ("nothing", "zero"),
    ];
    let mut rows: Vec<String> = models.iter().map(|(name, _)| format!("| {name} |")).collect();
    for (path, user) in [(&sample, "sample_id"), (&all, "customer_id")] {
        let s = session(2, 8192).await;
        ask(&s, &format!("CREATE EXTERNAL TABLE cdnow STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')")).await;
        ask(&s, &format!("CREATE VIEW events AS SELECT {user} AS user_id, date AS ts, sales AS amount FROM cdnow")).await;
        ask(&s, "SET tenure.as_of = '1997-09-30'").await;
        ask(&s, "SET tenure.discount_rate = 0").await;
        let mut asked = String::new();
        for (_, model) in models {
            let period = if model == "bg_bb" { ", period = '7 days'" } else { "" };
            ask(&s, &format!("CREATE MODEL m_{model} WITH (model_type = '{model}'{period})")).await;
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
        if path == &sample {
            ask(&s, "CREATE MODEL m_bg_nbd_burst WITH (model_type = 'bg_nbd_burst')").await;
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
    for (options, wanted) in [("'item_knn', similarity = 'tfidf', neighbours = 20", 0.3225), ("'ease', l2 = 1000", 0.4007)] {
        ask(&s, &format!("CREATE OR REPLACE MODEL m WITH (model_type = {options}, split = 'none')")).await;
        let keys = "CAST(user_id AS BIGINT) AS u, CAST(item_id AS BIGINT) AS i";
        let got = lists(format!("SELECT {keys} FROM recommend(k => 10, model => 'm') ORDER BY user_id, rank")).await;
        let ndcg = |u: &i64, t: &Vec<u32>| got.get(u).map_or(0.0, |r| ndcg_at_k(r, t, 10));
        let mean = truth.iter().map(|(u, t)| ndcg(u, t)).sum::<f64>() / truth.len() as f64;
        assert!((mean - wanted).abs() < 5e-5, "{options}: NDCG@10 {mean}");
    }
}
