//! Real data, when it is there: the folder `TENURE_DATA`, or `../shared/data` beside the crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use tenure::Session;
use tenure::models::metrics::{log_loss, ndcg_at_k, roc_auc};

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

/// No order within 90 days of 2011-09-10, parameters learned as of 2011-06-12.
#[tokio::test(flavor = "multi_thread")]
async fn online_retail_churn() {
    let Some(path) = data("online_retail_II/online_retail_II.parquet") else { return };
    let s = session(2, 8192).await;
    ask(&s, &format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{path}'")).await;
    ask(&s, "CREATE TABLE orders AS SELECT user_id, invoice AS order_id, min(invoice_date) AS ts, sum(quantity * price) AS amount FROM ( \
             SELECT DISTINCT customer_id AS user_id, invoice, upper(stock_code) AS item_id, trim(description) AS description, quantity, invoice_date, price, country FROM sales) \
             WHERE user_id IS NOT NULL AND regexp_like(invoice, '^[0-9]') AND quantity > 0 AND price > 0 AND regexp_like(item_id, '^[0-9]{5}') GROUP BY 1, 2").await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM orders").await;
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
async fn movielens_item_knn() {
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
    ask(&s, "CREATE MODEL knn WITH (model_type = 'item_knn', similarity = 'tfidf', neighbours = 20, split = 'none')").await;
    let lists = |sql: &'static str| {
        let s = s.clone();
        async move {
            let b = one(&ask(&s, sql).await);
            let (users, items) = (b.column(0).as_primitive::<Int64Type>(), b.column(1).as_primitive::<Int64Type>());
            let mut out: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            (0..b.num_rows()).for_each(|i| out.entry(users.value(i)).or_default().push(items.value(i) as u32));
            out
        }
    };
    let truth = lists("SELECT CAST(user_id AS BIGINT) AS u, CAST(item_id AS BIGINT) AS i FROM test ORDER BY 1, 2").await;
    let got = lists(
        "SELECT CAST(user_id AS BIGINT) AS u, CAST(item_id AS BIGINT) AS i FROM recommend(k => 10, model => 'knn') ORDER BY user_id, rank",
    )
    .await;
    let ndcg = |u: &i64, t: &Vec<u32>| got.get(u).map_or(0.0, |r| ndcg_at_k(r, t, 10));
    let mean = truth.iter().map(|(u, t)| ndcg(u, t)).sum::<f64>() / truth.len() as f64;
    assert!(mean >= 0.322, "NDCG@10 {mean}");
}
