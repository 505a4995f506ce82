//! Models of a label: features are the SQL that they are shown with.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Float64Type};

use super::engine::{ask, session};

/// Numbers by text: the first two columns of a query.
fn pairs(batches: &[RecordBatch]) -> BTreeMap<String, Option<f64>> {
    let b = concat_batches(&batches[0].schema(), batches).unwrap();
    let (keys, values) = (cast(b.column(0), &DataType::Utf8).unwrap(), cast(b.column(1), &DataType::Float64).unwrap());
    let (keys, values) = (keys.as_string::<i32>(), values.as_primitive::<Float64Type>());
    (0..b.num_rows()).map(|i| (keys.value(i).to_owned(), values.is_valid(i).then(|| values.value(i)))).collect()
}

/// The features of `model_info`, evaluated by the engine over relations made in SQL, are those that `explain_predict` shows the model was given.
#[tokio::test(flavor = "multi_thread")]
async fn features_are_the_sql_that_they_are_shown_with() {
    let s = session(2, 8192).await;
    ask(&s, "CREATE TABLE log AS SELECT * FROM simulate_shop(users => 250, days => 500, seed => 5)").await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM log").await;
    ask(&s, "SET tenure.as_of = '2025-04-30 23:59:59.999999'").await;
    ask(&s, "CREATE MODEL m PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg')").await;
    let day = "CAST(date_trunc('day', ts) AS DATE)";
    ask(&s, &format!("CREATE VIEW known AS SELECT user_id, item_id, channel, event_type, abs(amount) AS amount, CAST({day} - DATE '1970-01-01' AS BIGINT) / 1.0 AS day \
                      FROM log WHERE ts <= TIMESTAMP '2025-04-30 23:59:59.999999'")).await;
    ask(&s, "CREATE VIEW purchases AS SELECT * FROM known WHERE event_type = 'purchase'").await;
    ask(
        &s,
        "CREATE VIEW purchase_days AS SELECT user_id, day, value, day - lag(day) OVER (PARTITION BY user_id ORDER BY day) AS gap FROM \
             (SELECT user_id, day, sum(amount) AS value FROM purchases GROUP BY 1, 2)",
    )
    .await;
    ask(&s, "CREATE VIEW refund_days AS SELECT user_id, day, sum(amount) AS value FROM known WHERE event_type = 'refund' GROUP BY 1, 2")
        .await;
    for (relation, column) in [("first_items", "item_id"), ("first_channels", "channel")] {
        ask(&s, &format!("CREATE VIEW {relation} AS SELECT user_id, {column}, min(day) AS day FROM purchases WHERE {column} IS NOT NULL GROUP BY 1, 2")).await;
    }
    for (relation, kind) in [
        ("views", "view"),
        ("searches", "search"),
        ("carts", "cart"),
        ("reviews", "review"),
        ("shares", "share"),
        ("referrals", "referral"),
    ] {
        ask(&s, &format!("CREATE VIEW {relation} AS SELECT * FROM known WHERE event_type = '{kind}'")).await;
    }
    let as_of_day = pairs(&ask(&s, "SELECT 'd', CAST(DATE '2025-04-30' - DATE '1970-01-01' AS BIGINT)").await)["d"].unwrap();
    let info = ask(&s, "SELECT property, value FROM model_info('m') WHERE section = 'feature' AND value NOT LIKE '%FROM bg_nbd;%'").await;
    let info = concat_batches(&info[0].schema(), &info).unwrap();
    let (names, texts) = (info.column(0).as_string::<i32>(), info.column(1).as_string::<i32>());
    assert!(info.num_rows() > 35, "{} features", info.num_rows());
    let mut compared = 0;
    for (name, text) in names.iter().flatten().zip(texts.iter().flatten()) {
        let (sql, relation) = text.split(';').next().and_then(|t| t.rsplit_once(" FROM ")).unwrap_or_else(|| panic!("{name}: {text}"));
        let sql = sql.replace("as_of_day", &format!("{as_of_day:.1}")).replace("horizon", "30");
        let by_sql = pairs(&ask(&s, &format!("SELECT user_id, CAST({sql} AS DOUBLE) FROM {relation} GROUP BY user_id")).await);
        let given =
            pairs(&ask(&s, &format!("SELECT user_id, CAST(value AS DOUBLE) FROM explain_predict('m') WHERE feature = '{name}'")).await);
        for (user, value) in &given {
            match (by_sql.get(user).copied(), *value) {
                // Without a row in the relation there is nothing: none, or not known.
                (None, v) => assert!(v.is_none_or(|v| v == 0.0), "{name} of {user}: {v:?} of nothing"),
                (Some(None), v) => assert_eq!(v, None, "{name} of {user}"),
                (Some(Some(a)), v) => {
                    let b = v.unwrap_or_else(|| panic!("{name} of {user}: not known, and {a} in SQL"));
                    assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{name} of {user}: {b}, and {a} by {sql}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 4_000, "{compared} values");
}
