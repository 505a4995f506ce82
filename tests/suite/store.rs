//! Database directories: what is kept, what two processes see of each other, damage, and crashes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;
use tenure::{Session, SessionOptions};

const EVENTS: &str = "CREATE VIEW events AS SELECT * FROM simulate_shop(users => 200, days => 200, seed => 1)";
const CREATE_M: &str = "CREATE MODEL m WITH (model_type = 'bg_nbd')";
/// Answers with a number greater than 0 when a version of the model can be used.
const ASK_M: &str = "SELECT count(v) > 0 FROM (SELECT clv(user_id, model => 'm') AS v FROM events LIMIT 50)";

#[test]
fn everything_is_there_after_a_restart_from_another_directory() {
    let db = Db::new();
    put(&db.outside("prices.csv"), b"item,price\ntea,3\n");
    let made = [
        "CREATE EXTERNAL TABLE prices STORED AS CSV LOCATION 'prices.csv' OPTIONS ('format.has_header' 'true')",
        "CREATE VIEW dear AS SELECT price + 1 AS price FROM prices",
        "CREATE TABLE kept AS SELECT 1 AS n",
        "INSERT INTO kept VALUES (2), (3)",
        "INSERT INTO kept SELECT n + 10 FROM kept",
        "SET tenure.discount_rate = '0.2'",
        EVENTS,
        CREATE_M,
    ];
    // The database and the file are named relative to the folder the program runs in.
    let first = db.program("db").current_dir(db.dir.path()).args(made.iter().flat_map(|s| ["-c", s])).output().unwrap();
    assert!(first.status.success(), "{}", text(&first.stderr));

    assert_eq!(db.ask("SELECT price FROM dear"), "4");
    assert_eq!(db.ask("SELECT string_agg(n::text, ' ' ORDER BY n) FROM kept"), "1 2 3 11 12 13");
    assert_eq!(db.ask("SELECT value FROM information_schema.df_settings WHERE name = 'tenure.discount_rate'"), "0.2");
    assert_eq!(db.ask("SELECT concat(name, version, active) FROM models()"), "m1true");
    assert_eq!(db.ask(ASK_M), "true");

    db.ok("RESET tenure.discount_rate; DROP VIEW dear; DROP TABLE kept; DROP TABLE prices; DROP MODEL m");
    assert_eq!(db.ask("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"), "1");
    assert_eq!(db.ask("SELECT value FROM information_schema.df_settings WHERE name = 'tenure.discount_rate'"), "0.1");
    assert_eq!(db.ask("SELECT count(*) FROM models()"), "0");
    assert_eq!(files(&db.path().join("tables")), Vec::<PathBuf>::new());
}

#[test]
fn text_inserted_into_a_table_comes_back() {
    let db = Db::new();
    db.ok("CREATE TABLE t AS SELECT 'é' AS s; INSERT INTO t VALUES ('b'); INSERT INTO t SELECT upper(s) FROM t");
    assert_eq!(db.ask("SELECT string_agg(s, ' ' ORDER BY s) FROM t"), "B b É é");
    db.ok("INSERT INTO t VALUES (NULL)");
    assert_eq!(db.ask("SELECT count(*) FROM t"), "5");
}

#[test]
fn an_empty_table_keeps_its_columns() {
    let db = Db::new();
    db.ok("CREATE TABLE t (n INT, s VARCHAR)");
    assert_eq!(db.ask("SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_name = 't'"), "n s");
    db.ok("INSERT INTO t (s) VALUES ('x')");
    assert_eq!(db.ask("SELECT concat(s, n IS NULL) FROM t"), "xtrue");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_follow_what_they_rest_on() {
    let db = Db::new();
    let here = db.session().await;
    for sql in ["CREATE VIEW a AS SELECT 1 AS x", "CREATE VIEW b AS SELECT x + 1 AS y FROM a", "CREATE OR REPLACE VIEW a AS SELECT 5 AS x"]
    {
        one(&here, sql).await;
    }
    assert_eq!((one(&here, "SELECT y FROM b").await, db.ask("SELECT y FROM b")), ("6".to_owned(), "6".to_owned()));

    one(&here, "CREATE TABLE t AS SELECT 1 AS n").await;
    one(&here, "CREATE VIEW c AS SELECT n * 10 AS n FROM t").await;
    one(&here, "CREATE OR REPLACE TABLE t AS SELECT 2 AS n").await;
    assert_eq!((one(&here, "SELECT n FROM c").await, db.ask("SELECT n FROM c")), ("20".to_owned(), "20".to_owned()));
    db.ok("CREATE OR REPLACE TABLE t AS SELECT 3 AS n");
    assert_eq!(one(&here, "SELECT n FROM c").await, "30");

    // A view without its table is named, once, and comes back with it.
    here.sql("DROP TABLE t").await.unwrap();
    assert!(here.warnings().iter().any(|w| w.starts_with("view c cannot be used")));
    assert!(here.sql("SELECT n FROM c").await.is_err());
    one(&here, "CREATE TABLE t AS SELECT 4 AS n").await;
    assert_eq!(one(&here, "SELECT n FROM c").await, "40");
}

#[test]
fn views_with_calls_of_every_form_come_back() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE vip AS SELECT 'u0000001' AS user_id"));
    db.ok("CREATE VIEW worth AS SELECT clv(user_id, model => 'm') AS v FROM vip; \
           CREATE VIEW offers AS SELECT v.user_id, r.item_id FROM vip v, recommend(v.user_id, k => 2) r");
    assert_eq!(db.ask("SELECT concat(count(*), (SELECT count(v) FROM worth)) FROM offers"), "21");
}

#[test]
fn names_are_the_same_names_after_a_restart() {
    let db = Db::new();
    db.ok("CREATE TABLE \"Log\" AS SELECT 1 AS x; CREATE TABLE log AS SELECT 2 AS x; CREATE VIEW \"客 户\" AS SELECT x + 10 AS x FROM \"Log\"");
    assert_eq!(db.ask("SELECT concat(a.x, b.x, c.x) FROM \"Log\" a, log b, \"客 户\" c"), "1211");
    db.ok("CREATE OR REPLACE TABLE public.log AS SELECT 3 AS x; INSERT INTO public.log VALUES (4); DROP TABLE \"Log\"");
    assert_eq!(
        db.ok("SELECT 1"),
        "warning: view \"客 户\" cannot be used: Error during planning: table 'datafusion.public.Log' not found\n"
    );
    db.ok("DROP VIEW \"客 户\"");
    assert_eq!(db.ask("SELECT sum(x) FROM log"), "7");
    db.ok("CREATE SCHEMA \"S 2\"; CREATE TABLE \"S 2\".\"T t\" AS SELECT 5 AS x");
    assert_eq!(db.ask("SELECT x FROM \"S 2\".\"T t\""), "5");
    for (wrong, word) in [("DROP VIEW IF EXISTS log", "is a table"), ("CREATE OR REPLACE VIEW log AS SELECT 1 AS x", "is a table")] {
        let out = db.run(wrong);
        assert!(out.status.code() == Some(1) && text(&out.stderr).contains(word), "{wrong}: {}", text(&out.stderr));
    }
    assert_eq!(db.ask("SELECT sum(x) FROM log"), "7");
    db.ok("DROP TABLE datafusion.public.log; DROP SCHEMA \"S 2\" CASCADE");
    assert_eq!(db.ask("SELECT count(*) FROM information_schema.tables WHERE table_schema <> 'information_schema'"), "0");
}

#[test]
fn an_insert_is_whole_in_every_form() {
    let db = Db::new();
    db.ok("CREATE TABLE t AS SELECT CAST(1 AS BIGINT) AS x");
    let failing = "SELECT value / (value - 100000) AS x FROM generate_series(1, 200000)";
    for form in ["INSERT INTO t", "INSERT INTO public.t", "PREPARE p AS INSERT INTO t"] {
        let out = db.run(&format!("{form} {failing}{}", if form.starts_with('P') { "; EXECUTE p" } else { "" }));
        assert_eq!(out.status.code(), Some(1), "{form}: {}", text(&out.stderr));
        assert_eq!(db.ask("SELECT count(*) FROM t"), "1", "{form}");
    }
    db.ok("PREPARE p(BIGINT) AS INSERT INTO t VALUES ($1); EXECUTE p(5); EXECUTE p(6)");
    db.ok("CREATE TABLE g AS SELECT value FROM generate_series(1, 3); INSERT INTO g SELECT nullif(value, 2) FROM g");
    assert_eq!(db.ask("SELECT concat(count(*), count(value)) FROM g"), "65");
    db.ok("DROP TABLE g");
    assert_eq!(db.ask("SELECT sum(x) FROM t"), "12");
    assert_eq!(files(&db.path().join("tables")).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_made_meanwhile_is_not_written_over() {
    let db = Db::new();
    db.ok("CREATE TABLE t AS SELECT 1 AS n");
    let here = db.session().await;
    let slow = |sql: &'static str| {
        let here = here.clone();
        tokio::spawn(async move { here.sql(sql).await.map(|_| ()).map_err(|e| e.to_string()) })
    };
    let insert = slow("INSERT INTO t SELECT count(*) FROM generate_series(1, 30000000)");
    let create = slow("CREATE TABLE x AS SELECT count(*) AS n FROM generate_series(1, 30000000)");
    tokio::time::sleep(Duration::from_millis(100)).await;
    db.ok("CREATE OR REPLACE TABLE t AS SELECT 100 AS n; CREATE TABLE x AS SELECT 7 AS n");
    let (insert, create) = (insert.await.unwrap().unwrap_err(), create.await.unwrap().unwrap_err());
    assert!(insert.contains("nothing was inserted") && create.contains("table x exists"), "{insert} {create}");
    assert_eq!(db.ask("SELECT concat(t.n, x.n) FROM t, x"), "1007");

    // A table of the same name that is another by now.
    one(&here, "SELECT * FROM x").await;
    let insert = slow("INSERT INTO x SELECT count(*) FROM generate_series(1, 30000000)");
    tokio::time::sleep(Duration::from_millis(100)).await;
    db.ok("DROP TABLE x; CREATE TABLE x AS SELECT 'text' AS other");
    assert!(insert.await.unwrap().unwrap_err().contains("nothing was inserted"));
    assert_eq!(db.ask("SELECT other FROM x"), "text");
}

#[test]
fn if_not_exists_changes_nothing_that_is_there() {
    let db = Db::new();
    for (file, row) in [("a.csv", "1"), ("b.csv", "2")] {
        put(&db.outside(file), format!("x\n{row}\n").as_bytes());
        let at = db.outside(file).display().to_string();
        db.ok(&format!("CREATE EXTERNAL TABLE IF NOT EXISTS e STORED AS CSV LOCATION '{at}' OPTIONS ('format.has_header' 'true')"));
        db.ok(&format!("CREATE TABLE IF NOT EXISTS t AS SELECT {row} AS x"));
    }
    assert_eq!(db.ask("SELECT concat(e.x, t.x) FROM e, t"), "11");
}

#[test]
fn a_relation_whose_file_has_gone_is_named_and_can_be_dropped() {
    let db = Db::new();
    let file = db.outside("gone.csv");
    put(&file, b"x\n1\n");
    db.ok(&format!("CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{}'; CREATE TABLE t AS SELECT 1 AS n", file.display()));
    fs::remove_file(&file).unwrap();
    let out = db.run("SELECT n FROM t");
    assert!(out.status.success() && text(&out.stderr).contains("gone.csv"), "{}", text(&out.stderr));
    db.ok("DROP TABLE e");
    assert_eq!(db.ok("SELECT n FROM t"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_see_each_others_work() {
    let db = Db::new();
    let here = db.session().await;
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE t AS SELECT 1 AS n"));
    assert_eq!(one(&here, "SELECT concat(name, version) FROM models()").await, "m1");
    assert_eq!(one(&here, ASK_M).await, "true");
    one(&here, "INSERT INTO t VALUES (2)").await;
    one(&here, "REFRESH MODEL m").await;
    assert_eq!(db.ask("SELECT sum(n) FROM t"), "3");
    assert_eq!(db.ask("SELECT max(version) FROM models()"), "2");
    db.ok("CREATE OR REPLACE TABLE t AS SELECT 7 AS n; DROP MODEL m");
    assert_eq!(one(&here, "SELECT sum(n) FROM t").await, "7");
    assert_eq!(one(&here, "SELECT count(*) FROM models()").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_not_disturbed_by_replacements_elsewhere() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE t AS SELECT value FROM generate_series(1, 1000)"));
    let here = db.session().await;
    let turn = "CREATE OR REPLACE MODEL m WITH (model_type = 'bg_nbd');\n\
                CREATE OR REPLACE TABLE t AS SELECT value FROM generate_series(1, 1000);\n";
    let mut writer = db.spawn(&turn.repeat(30));
    while writer.try_wait().unwrap().is_none() {
        assert_eq!(one(&here, ASK_M).await, "true");
        assert_eq!(one(&here, "SELECT count(*) FROM t").await, "1000");
    }
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_held_lock_stops_writers_with_a_message_and_readers_not() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE t AS SELECT 1 AS n"));
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(db.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let started = Instant::now();
    assert_eq!(db.ask(ASK_M), "true");
    assert_eq!(db.ask("SELECT n FROM t"), "1");
    assert!(started.elapsed() < Duration::from_secs(4), "readers waited {:?}", started.elapsed());
    // An auto model is fitted for the answer, and not kept.
    let fitted = db.run("SELECT count(clv(user_id)) > 0 AS answered FROM customers()");
    assert_eq!(text(&fitted.stdout), "answered\ntrue\n", "{}", text(&fitted.stderr));
    assert!(text(&fitted.stderr).contains("auto_lifetime is not kept"), "{}", text(&fitted.stderr));
    // What could not be kept has not happened.
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let here = db.session().await;
        assert!(here.sql("DROP TABLE t").await.is_err() && here.sql("SET tenure.discount_rate = '0.4'").await.is_err());
        assert!(here.sql("CREATE SCHEMA s").await.is_err() && here.sql("CREATE TABLE s.t AS SELECT 1 AS n").await.is_err());
        assert_eq!(one(&here, "SELECT n FROM t").await, "1");
        assert_eq!(one(&here, "SELECT value FROM information_schema.df_settings WHERE name = 'tenure.discount_rate'").await, "0.1");
    });
    let waiting = db.spawn("SET tenure.discount_rate = '0.3'");
    let refused = db.run("REFRESH MODEL m");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is being written by"), "{}", text(&refused.stderr));
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(1));
    lock.unlock().unwrap();
    db.ok("SET tenure.discount_rate = '0.3'");
}

#[test]
fn a_damaged_model_is_named_and_other_versions_and_models_answer() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; REFRESH MODEL m; CREATE MODEL other WITH (model_type = 'bg_nbd')"));
    for file in files(&db.path().join("models/m/v2")) {
        flip(&file);
    }
    let out = db.run(ASK_M);
    let error = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1));
    assert!(error.contains("damaged file") && error.contains(".arrow") && error.contains("SET ACTIVE VERSION"), "{error}");
    assert_eq!(db.ask(&ASK_M.replace("'m'", "'other'")), "true");
    db.ok("ALTER MODEL m SET ACTIVE VERSION 1");
    assert_eq!(db.ask(ASK_M), "true");

    put(&db.path().join("models/m/manifest.json"), b"garbage");
    let out = db.run("SELECT string_agg(name, ' ') AS names FROM models()");
    assert_eq!(text(&out.stdout), "names\nother\n");
    assert!(text(&out.stderr).contains("models/m/manifest.json"), "{}", text(&out.stderr));
}

#[test]
fn a_damaged_catalog_is_named_and_never_overwritten() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE t AS SELECT 1 AS n"));
    let parts = files(&db.path().join("tables"));
    let catalog = db.path().join("catalog.json");
    flip(&catalog);
    let damaged = fs::read(&catalog).unwrap();
    let out = db.run("SELECT count(*) AS models FROM models()");
    assert_eq!(text(&out.stdout), "models\n1\n");
    assert!(text(&out.stderr).contains("catalog.json"), "{}", text(&out.stderr));
    // A statement that writes is refused, or puts the old file aside: what can be repaired is not lost.
    db.run("SET tenure.discount_rate = '0.3'");
    assert!(files(db.path()).iter().any(|f| fs::read(f).unwrap() == damaged), "the damaged catalog has been overwritten");
    assert_eq!(files(&db.path().join("tables")), parts);
    // Nor are the files of tables it no longer knows taken away, however old.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(86_400);
    for part in &parts {
        File::open(part.parent().unwrap()).unwrap().set_modified(long_ago).unwrap();
    }
    db.ok("CREATE TABLE u AS SELECT 1 AS n; CREATE OR REPLACE TABLE u AS SELECT 2 AS n; DROP TABLE u");
    assert!(parts.iter().all(|p| p.exists()));
}

#[test]
fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path, part: &str| {
        let out = program().arg("-d").arg(path).args(["-c", "SELECT 1"]).output().unwrap();
        let error = text(&out.stderr);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), String::new()), "{error}");
        assert!(error.contains(part) && error.contains(path.to_str().unwrap()) && !error.contains("error: error"), "{error}");
    };
    let file = dir.path().join("file");
    put(&file, b"x");
    refused(&file, "a database is a directory");
    refused(dir.path(), "is not a tenure database");
    assert_eq!(files(dir.path()), [file], "a refused directory is left as it is");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        if File::create(closed.join("probe")).is_err() {
            refused(&closed, "ermission denied");
        } else {
            eprintln!("skipped: permissions do not bind this user");
        }
    }
}

#[test]
fn a_killed_writer_leaves_the_old_or_the_new_state() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE MODEL r WITH (model_type = 'bg_nbd'); CREATE TABLE t AS SELECT 0 AS value LIMIT 0"));
    let turn = "REFRESH MODEL m;\n\
                INSERT INTO t SELECT value FROM generate_series(1, 1000);\n\
                CREATE OR REPLACE MODEL r WITH (model_type = 'bg_nbd');\n\
                SET tenure.discount_rate = '0.3';\n";
    let (mut rows, mut version) = (0, 1);
    for round in 0..10 {
        let mut writer = db.spawn(&turn.repeat(500));
        std::thread::sleep(Duration::from_millis(90 + round * 67));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let both =
            format!("{ASK_M}; {}; SELECT count(*) FROM t; SELECT max(version) FROM models() WHERE name = 'm'", ASK_M.replace("'m'", "'r'"));
        let out = db.run(&both);
        assert!(out.status.success() && out.stderr.is_empty(), "round {round}: {}", text(&out.stderr));
        let answers = text(&out.stdout);
        let answers: Vec<&str> = answers.lines().skip(1).step_by(2).collect();
        let numbers: Vec<u64> = answers[2..].iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(&answers[..2], ["true", "true"], "round {round}");
        assert!(numbers[0].is_multiple_of(1000) && numbers[0] >= rows, "round {round}: {} rows, before {rows}", numbers[0]);
        assert!(numbers[1] >= version, "round {round}: version {}, before {version}", numbers[1]);
        (rows, version) = (numbers[0], numbers[1]);
    }
    assert!(rows > 0 && version > 1, "the writer was always killed before its first statement");
    db.ok("REFRESH MODEL m; INSERT INTO t VALUES (1)");
    let left: Vec<PathBuf> = files(db.path()).into_iter().filter(|f| f.to_string_lossy().contains("/.tmp-")).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "unfinished files stay");
}

#[test]
fn concurrent_writers_lose_nothing() {
    let db = Db::new();
    db.ok(&format!("{EVENTS}; {CREATE_M}; CREATE TABLE t AS SELECT 0 AS value LIMIT 0"));
    let script = |who: u32| -> String {
        let turn = |i| {
            format!("REFRESH MODEL m; INSERT INTO t SELECT value FROM generate_series(1, 100); CREATE VIEW v_{who}_{i} AS SELECT {i};\n")
        };
        (0..8).map(turn).collect()
    };
    for writer in [db.spawn(&script(1)), db.spawn(&script(2))] {
        let out = writer.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    assert_eq!(db.ask("SELECT count(*) FROM t"), "1600");
    assert_eq!(db.ask("SELECT concat(count(DISTINCT version), ' ', count(*), ' ', max(version)) FROM model_versions('m')"), "17 17 17");
    assert_eq!(db.ask("SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'v\\_%'"), "16");
    assert_eq!(db.ask(ASK_M), "true");
}

#[test]
fn a_directory_may_have_any_name() {
    let db = Db::new();
    let odd = db.outside("a?b*[c] 客");
    let ask = |sql: &str| db.program(&odd).args(["-c", sql]).output().unwrap();
    assert!(ask("CREATE TABLE t AS SELECT 1 AS n; INSERT INTO t VALUES (2)").status.success());
    let out = ask("SELECT sum(n) AS n FROM t");
    assert_eq!(text(&out.stdout), "n\n3\n", "{}", text(&out.stderr));
}

#[test]
fn a_new_database_can_be_opened_by_many_at_once() {
    let db = Db::new();
    let openers: Vec<Child> = (0..6).map(|i| db.spawn(&format!("CREATE TABLE t{i} AS SELECT {i} AS n"))).collect();
    for opener in openers {
        let out = opener.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    assert_eq!(db.ask("SELECT t0.n + t1.n + t2.n + t3.n + t4.n + t5.n FROM t0, t1, t2, t3, t4, t5"), "15");
}

/// A database of a test, and a folder around it.
struct Db {
    dir: TempDir,
    path: PathBuf,
}

impl Db {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("db"), dir }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// A file beside the database.
    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, database: impl AsRef<Path>) -> Command {
        let mut program = program();
        program.arg("-d").arg(database.as_ref());
        program
    }

    fn run(&self, sql: &str) -> Output {
        self.program(&self.path).args(["-c", sql]).output().unwrap()
    }

    /// Runs SQL that must succeed in a process of its own; what it said on stderr.
    fn ok(&self, sql: &str) -> String {
        let out = self.run(sql);
        assert!(out.status.success(), "{sql}\n{}", text(&out.stderr));
        text(&out.stderr)
    }

    /// The one value of a query, asked in a process of its own, which must have nothing to complain about.
    fn ask(&self, sql: &str) -> String {
        let out = self.run(sql);
        assert!(out.status.success() && out.stderr.is_empty(), "{sql}\n{}", text(&out.stderr));
        text(&out.stdout).lines().nth(1).unwrap_or_default().to_owned()
    }

    /// A process that runs a script.
    fn spawn(&self, script: &str) -> Child {
        let mut program = self.program(&self.path);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Dropped at once: the program sees the end of its script.
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child
    }

    async fn session(&self) -> Session {
        let options = SessionOptions { database: Some(self.path.clone()), threads: Some(2), ..SessionOptions::default() };
        Session::open(options).await.unwrap()
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tenure"));
    program.env_remove("TENURE_DATABASE").args(["--quiet", "--format", "csv", "--threads", "2"]);
    program
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The first value of a result, empty when there is none.
async fn one(session: &Session, sql: &str) -> String {
    let answer = async { session.sql(sql).await?.collect().await };
    let batches = answer.await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(session.warnings(), Vec::<String>::new(), "{sql}");
    let Some(batch) = batches.iter().find(|b| b.num_rows() > 0 && b.num_columns() > 0) else { return String::new() };
    ArrayFormatter::try_new(batch.column(0), &FormatOptions::default()).unwrap().value(0).to_string()
}

/// Every file below a folder, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = vec![];
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x01;
    put(path, &bytes);
}
