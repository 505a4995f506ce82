//! What must not change an answer, and what must: order, partitions, batch size; `as_of`; an installed context.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use tenure::{Session, SessionOptions};

pub async fn session(threads: usize, batch_size: usize) -> Session {
    let options = SessionOptions { threads: Some(threads), batch_size: Some(batch_size), ..SessionOptions::default() };
    Session::open(options).await.unwrap()
}

pub async fn ask(session: &Session, sql: &str) -> Vec<RecordBatch> {
    session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

pub async fn text(session: &Session, sql: &str) -> String {
    pretty_format_batches(&ask(session, sql).await).unwrap().to_string()
}

const SHOP: &str = "simulate_shop(users => 400, days => 300, seed => 3, dirt => 0.02)";

/// Every kind of answer, without rounding.
const QUESTIONS: &[&str] = &[
    "SELECT * FROM customers() ORDER BY user_id",
    "SELECT * FROM recommend(k => 3) ORDER BY user_id, rank",
    "SELECT user_id, rfm_summary(ts, amount) FROM events WHERE event_type = 'purchase' GROUP BY user_id ORDER BY user_id",
    "SELECT \"check\", \"column\", rows_bad, example FROM data_quality() ORDER BY 1, 2",
    "SELECT property, value FROM model_info('auto_lifetime') WHERE section IN ('parameter', 'evaluation')",
    "SELECT property, value FROM model_info('auto_recommend') WHERE section = 'evaluation'",
];

async fn answers(threads: usize, batch_size: usize, order: &str) -> Vec<String> {
    let s = session(threads, batch_size).await;
    ask(&s, &format!("CREATE TABLE shop AS SELECT * FROM {SHOP} WHERE ts > '2020-01-01' ORDER BY {order}")).await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM shop").await;
    let mut out = vec![];
    for q in QUESTIONS {
        out.push(text(&s, q).await);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn order_partitions_and_batch_size_change_nothing() {
    let reference = answers(1, 8192, "user_id, ts, item_id").await;
    for (threads, batch_size, order) in [(2, 100, "ts DESC, item_id, user_id"), (7, 8192, "item_id, ts, user_id"), (2, 1, "user_id, ts")] {
        let other = answers(threads, batch_size, order).await;
        for ((q, a), b) in QUESTIONS.iter().zip(&reference).zip(&other) {
            assert!(a == b, "{q} with {threads} partitions, batches of {batch_size}, ordered by {order}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_after_as_of_is_used() {
    let day = "2024-07-20 12:00:00";
    let (whole, cut) = (session(2, 8192).await, session(2, 8192).await);
    ask(&whole, &format!("CREATE TABLE events AS SELECT * FROM {SHOP}")).await;
    ask(&cut, &format!("CREATE TABLE events AS SELECT * FROM {SHOP} WHERE ts <= '{day}'")).await;
    for s in [&whole, &cut] {
        // First asked without it, so that a model of the whole log is there to leak.
        text(s, "SELECT * FROM customers()").await;
        text(s, "SELECT * FROM recommend(k => 2)").await;
        ask(s, &format!("SET tenure.as_of = '{day}'")).await;
    }
    for q in QUESTIONS.iter().filter(|q| !q.contains("data_quality") && !q.contains("model_info")) {
        let q = q.replace("events WHERE", &format!("(SELECT * FROM events WHERE ts <= '{day}') WHERE"));
        assert!(text(&whole, &q).await == text(&cut, &q).await, "{q}");
    }
    let named = whole.sql("CREATE MODEL m").await.unwrap().collect().await;
    assert!(named.is_ok());
    ask(&whole, "SET tenure.as_of = '2024-05-01'").await;
    let e = whole.sql("SELECT clv(user_id, model => 'm') FROM customers()").await.unwrap().collect().await.unwrap_err();
    assert!(e.to_string().contains("would use the future"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_context_gives_the_same_answers() {
    let own = session(2, 8192).await;
    let ctx = SessionContext::new();
    tenure::install(&ctx).unwrap();
    assert!(tenure::install(&ctx).is_err());
    let make = format!("CREATE TABLE events AS SELECT * FROM {SHOP} WHERE ts > '2020-01-01'");
    ask(&own, &make).await;
    ctx.sql(&make).await.unwrap().collect().await.unwrap();
    let run = |sql: &'static str| {
        let ctx = ctx.clone();
        async move { pretty_format_batches(&ctx.sql(sql).await.unwrap().collect().await.unwrap()).unwrap().to_string() }
    };
    for sql in [
        "SELECT user_id, clv(user_id) AS v, churn_prob(user_id, horizon => 30) AS c FROM customers() ORDER BY user_id",
        "SELECT * FROM recommend('u0000003', k => 4)",
        "SELECT u.user_id, r.item_id FROM customers() u CROSS JOIN LATERAL recommend(u.user_id, k => 2) r ORDER BY 1, 2",
    ] {
        assert_eq!(run(sql).await, text(&own, sql).await, "{sql}");
    }
    // The DataFrame API and prepared statements.
    use datafusion::prelude::{col, lit};
    let clv = ctx.udf_named("clv");
    let frame = ctx.table("events").await.unwrap().filter(col("user_id").eq(lit("u0000003"))).unwrap();
    let frame = frame.select(vec![clv.call(vec![col("user_id")]).alias("v")]).unwrap().distinct().unwrap();
    let by_frame = pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string();
    assert_eq!(by_frame, run("SELECT clv('u0000003') AS v").await);
    run("PREPARE p(VARCHAR) AS SELECT clv($1) AS v").await;
    assert_eq!(by_frame, run("EXECUTE p('u0000003')").await);
    // The engine optimizes what it prepares: a placeholder used twice moves into a projection, and lateral calls must be lowered by then.
    run("PREPARE twice(DOUBLE) AS SELECT clv(user_id, $1) AS a, churn_prob(user_id, $1) AS b FROM customers() ORDER BY user_id").await;
    let direct = "SELECT clv(user_id, 45) AS a, churn_prob(user_id, 45) AS b FROM customers() ORDER BY user_id";
    assert_eq!(run("EXECUTE twice(45.0)").await, run(direct).await);
    let lists = "SELECT u.user_id, r.item_id FROM customers() u CROSS JOIN LATERAL recommend(u.user_id, k => 2) r ORDER BY 1, 2";
    run("PREPARE lists AS SELECT u.user_id, r.item_id FROM customers() u CROSS JOIN LATERAL recommend(u.user_id, k => 2) r ORDER BY 1, 2")
        .await;
    assert_eq!(run("EXECUTE lists").await, run(lists).await);
}

trait UdfNamed {
    fn udf_named(&self, name: &str) -> Arc<datafusion::logical_expr::ScalarUDF>;
}

impl UdfNamed for SessionContext {
    fn udf_named(&self, name: &str) -> Arc<datafusion::logical_expr::ScalarUDF> {
        self.state().scalar_functions()[name].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_sees_one_snapshot_and_new_events_are_seen_by_the_next() {
    let s = session(2, 8192).await;
    ask(&s, "CREATE TABLE log AS SELECT * FROM simulate_shop(users => 200, days => 200, seed => 5)").await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM log").await;
    let value = "SELECT historic_value('u0000001') AS v, clv('u0000001') AS c";
    let before = text(&s, value).await;
    ask(&s, "INSERT INTO log SELECT user_id, ts, event_type, item_id, category, quantity, amount, 'extra', channel, session_id, rating, referrer_user_id, currency \
             FROM log WHERE user_id = 'u0000001' AND event_type = 'purchase'").await;
    assert_ne!(before, text(&s, value).await, "features come from the current events");
    // EXPLAIN neither reads nor fits.
    let fresh = session(2, 8192).await;
    ask(&fresh, "CREATE VIEW events AS SELECT * FROM simulate_shop(users => 200, days => 200, seed => 5)").await;
    ask(&fresh, "EXPLAIN SELECT clv(user_id) FROM customers()").await;
    assert!(text(&fresh, "SELECT count(*) AS n FROM models()").await.contains("| 0 |"));
    ask(&fresh, "EXPLAIN ANALYZE SELECT clv(user_id) FROM customers()").await;
    assert!(text(&fresh, "SELECT count(*) AS n FROM models()").await.contains("| 1 |"));
}
