//! What holds for every function: its page, its example, its rows for NULL and unknown users, one value at a time or all
//! at once.

use std::path::Path;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::util::display::array_value_to_string;
use tenure::functions::{ArgKind, Argument, CUSTOMER_FUNCTIONS, Form, FunctionSpec, specs};

use super::engine::{ask, session};

/// The value of a row as text.
fn shown(column: &dyn Array, row: usize) -> String {
    array_value_to_string(column, row).unwrap()
}

fn one(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).unwrap()
}

/// A model of a label for functions that need one.
fn tested(days: u32) -> String {
    format!(
        "CREATE MODEL tested PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '{days} days' FOR EACH user_id \
         WITH (model_type = 'logistic_reg')"
    )
}

fn key_of(spec: &FunctionSpec) -> ArgKind {
    spec.arguments.iter().map(|a| a.kind).find(|k| k.is_key()).expect("a key")
}

/// A call with what must be given: the key, and a model, a count, an item or a change where there must be one.
fn call(spec: &FunctionSpec, key: &str) -> String {
    let first = spec.arguments.iter().position(|a| a.kind.is_key());
    let one = |(i, a): (usize, &Argument)| match a.kind {
        _ if Some(i) == first => key,
        ArgKind::Model => "'tested'",
        ArgKind::Item => "'绿茶'",
        ArgKind::Row => "named_struct('recency_days', 3)",
        _ => "1",
    };
    let last = spec.arguments.iter().rposition(|a| a.default.is_none()).unwrap_or(0);
    let mut given: Vec<&str> = spec.arguments.iter().enumerate().take(last + 1).map(one).collect();
    if spec.name == "explain_churn" {
        given.push("model => 'tested'");
    }
    format!("{}({})", spec.name, given.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_customer_function_alone_together_null_and_unknown() {
    let s = session(2, 8192).await;
    ask(&s, "CREATE TABLE log AS SELECT * FROM simulate_shop(users => 120, days => 200, seed => 9)").await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM log UNION ALL SELECT '客户' AS user_id, ts, event_type, '绿茶' AS item_id, category, quantity, \
             amount, order_id, channel, session_id, rating, referrer_user_id, currency FROM log WHERE user_id = 'u0000001'").await;
    ask(&s, "CREATE TABLE asked AS SELECT * FROM (VALUES (1, 'u0000001', 'P00001'), (2, NULL, NULL), (3, 'nobody', 'nothing'), (4, '客户', '绿茶'), (5, 'u0000001', 'P00001'), \
             (6, 'u0000003', 'P00003'), (7, '', '')) AS t(n, customer, item)").await;
    ask(&s, &tested(30)).await;
    for f in CUSTOMER_FUNCTIONS.iter().filter(|f| f.spec().name != "predict_rows") {
        let name = f.spec().name;
        let (id, alone) = match key_of(f.spec()) {
            ArgKind::Item | ArgKind::Items => ("item", ["'P00001'", "NULL", "'nothing'", "'绿茶'"]),
            _ => ("customer", ["'u0000001'", "NULL", "'nobody'", "'客户'"]),
        };
        let all = one(&ask(&s, &format!("SELECT n, {} AS v FROM asked ORDER BY n", call(f.spec(), id))).await);
        let values = all.column(1);
        assert!(values.is_null(1), "{name}(NULL) is NULL");
        assert_eq!(shown(values, 0), shown(values, 4), "{name}: the same user twice");
        // These say why.
        if !matches!(name, "recommend" | "next_basket" | "explain_churn" | "explain_clv" | "explain_recommendation") {
            assert!(values.is_null(2) && values.is_null(6), "{name} of an unknown user is NULL");
        }
        // A rating of what nobody else has rated is not predicted.
        assert!(values.is_valid(3) || name == "predict_rating", "{name} of a non-ASCII key");
        for (i, key) in alone.iter().enumerate() {
            let single = one(&ask(&s, &format!("SELECT {} AS v", call(f.spec(), key))).await);
            assert_eq!(shown(single.column(0), 0), shown(values, i), "{name}({key}) alone and in a column");
        }
        let none = ask(&s, &format!("SELECT {} AS v FROM asked WHERE n > 100", call(f.spec(), id))).await;
        assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 0, "{name} of no rows");
        let nulls = one(&ask(&s, &format!("SELECT {} AS v FROM asked", call(f.spec(), "CAST(NULL AS VARCHAR)"))).await);
        assert_eq!(nulls.column(0).null_count(), 7, "{name} of NULLs only");
    }
}

/// Numbers are never NaN or infinite, whatever the shop.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_nan_or_infinite() {
    let s = session(2, 8192).await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM simulate_shop(users => 500, days => 400, seed => 4, dirt => 0.3)").await;
    ask(&s, &tested(60)).await;
    for f in CUSTOMER_FUNCTIONS.iter().filter(|f| f.spec().returns == "Float64") {
        let name = f.spec().name;
        let model = if f.spec().arguments[0].kind == ArgKind::Model { "'tested', " } else { "" };
        let horizons: &[&str] = match f.spec().arguments.iter().find(|a| matches!(a.kind, ArgKind::Days | ArgKind::DaysOrInfinity)) {
            _ if f.spec().arguments.get(1).is_some_and(|a| a.kind == ArgKind::Item) => &[", 'P00001'"],
            _ if !model.is_empty() => &[""],
            _ if f.spec().required() > 1 => &[", 0", ", 1", ", 1, 36500", ", 200, 1"],
            Some(a) if a.kind == ArgKind::DaysOrInfinity => &["", ", 1", ", 36500", ", INTERVAL '3 months'", ", 'infinity'"],
            Some(_) => &["", ", 1", ", 36500", ", INTERVAL '3 months'"],
            None => &[""],
        };
        for h in horizons {
            let sql = format!(
                "SELECT count(*) AS n FROM (SELECT {name}({model}user_id{h}) AS v FROM customers()) WHERE isnan(v) OR abs(v) = CAST('inf' AS DOUBLE)"
            );
            let n = one(&ask(&s, &sql).await);
            assert_eq!(shown(n.column(0), 0), "0", "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs() {
    let s = session(2, 8192).await;
    ask(&s, "CREATE VIEW events AS SELECT * FROM simulate_shop(users => 300, days => 200, seed => 7)").await;
    for spec in specs() {
        for statement in tenure::session::split::split(spec.example) {
            ask(&s, &statement.text.replace("CREATE MODEL", "CREATE OR REPLACE MODEL")).await;
        }
    }
}

/// The reference page of a function.
fn page(spec: &FunctionSpec) -> String {
    let mut out = format!("# {}\n\n{}\n\n```sql\n{}\n```\n\n**Form:** {}\n", spec.name, spec.summary, spec.signature(), spec.form);
    if !spec.arguments.is_empty() {
        out.push_str("\n## Arguments\n\n| name | takes | default | meaning |\n|---|---|---|---|\n");
        for a in spec.arguments {
            out.push_str(&format!("| {} | {} | {} | {} |\n", a.name, a.kind.label(), a.default.unwrap_or("needed"), a.about));
        }
    }
    out.push_str("\n## Returns\n\n");
    if !spec.returns.is_empty() {
        out.push_str(&format!("{}\n", spec.returns));
    }
    if !spec.unit.is_empty() {
        out.push_str(&format!("\nUnit: **{}**\n", spec.unit));
    }
    if !spec.columns.is_empty() {
        out.push_str(if spec.form == Form::ScalarAndTable { "\nColumns in FROM:\n\n" } else { "\nColumns:\n\n" });
        out.push_str("| column | type | meaning |\n|---|---|---|\n");
        for (name, t, about) in spec.columns {
            out.push_str(&format!("| {name} | {t} | {about} |\n"));
        }
    }
    if !spec.nulls.is_empty() {
        out.push_str(&format!("\n## NULL, unknown and thin\n\n{}\n", spec.nulls));
    }
    if !spec.behaviour.is_empty() {
        out.push_str("\n## Behaviour\n\n");
        for (i, b) in spec.behaviour.iter().enumerate() {
            out.push_str(&format!("{}. {b}\n", i + 1));
        }
    }
    out.push_str(&format!("\n## Example\n\n```sql\n{};\n```\n", spec.example));
    for (title, body) in [("Method", spec.method), ("Source", spec.source), ("Limits", spec.limits)] {
        if !body.is_empty() {
            out.push_str(&format!("\n## {title}\n\n{body}\n"));
        }
    }
    out
}

/// `UPDATE_DOCS=1 cargo test reference` writes the pages.
#[test]
fn reference_pages_are_those_of_the_specs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let mut index =
        String::from("# Functions\n\nGenerated from the functions' specs; `UPDATE_DOCS=1 cargo test reference` writes these pages.\n");
    let mut pages: Vec<(String, String)> = vec![];
    let mut all: Vec<&FunctionSpec> = specs().collect();
    all.sort_by_key(|s| (s.section, s.name));
    let mut section = "";
    for s in all {
        if s.section != section {
            section = s.section;
            index.push_str(&format!("\n## {section}\n\n| function | form | |\n|---|---|---|\n"));
        }
        index.push_str(&format!("| [{0}]({0}.md) | {1} | {2} |\n", s.name, s.form, s.summary));
        pages.push((format!("{}.md", s.name), page(s)));
    }
    pages.push(("README.md".into(), index));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's output")]
        pages.iter().for_each(|(name, body)| std::fs::write(dir.join(name), body).unwrap());
    }
    for (name, body) in &pages {
        let there = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(&there == body, "docs/reference/{name} is not up to date: UPDATE_DOCS=1 cargo test reference");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), pages.len(), "a page without a function");
}

/// The tutorial runs as written; only files of the reader's own are left out.
#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_runs() {
    let dir = tempfile::tempdir().unwrap();
    let tutorial = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md")).unwrap();
    let blocks = tutorial.split("```sql\n").skip(1).map(|b| b.split("```").next().unwrap());
    let s = session(2, 8192).await;
    for block in blocks.filter(|b| !b.contains("sales.parquet")) {
        let mut here = block.to_owned();
        for file in ["recommendations.parquet", "steady.tar"] {
            here = here.replace(&format!("'{file}'"), &format!("'{}'", dir.path().join(file).display()));
        }
        for statement in tenure::session::split::split(&here) {
            ask(&s, statement.text).await;
        }
    }
    assert!(dir.path().join("recommendations.parquet").exists());
}

/// The README's example has the answers that stand below its statements.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_tells_the_truth() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let example = readme.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let s = session(2, 8192).await;
    let mut answers = vec![];
    for statement in tenure::session::split::split(example) {
        let batches = ask(&s, statement.text).await;
        for b in batches.iter().filter(|b| b.num_columns() > 1) {
            answers.extend((0..b.num_rows()).map(|i| b.columns().iter().map(|c| shown(c, i)).collect::<Vec<_>>()));
        }
    }
    let rows = example.lines().filter_map(|l| l.strip_prefix("-- |"));
    let cells = |row: &str| row.trim_end_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(answers, rows.map(cells).collect::<Vec<_>>());
}
