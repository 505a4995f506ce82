//! The program as its users meet it: arguments, scripts, pipes, signals, a real terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs for hours when nobody ends it.
const HEAVY: &str = "SELECT count(*) FROM generate_series(1,1000000) a, generate_series(1,1000000) b";
/// Prints for hours when nobody ends it.
const LONG: &str = "SELECT * FROM generate_series(1, 100000000000)";

#[test]
fn exit_codes_tell_what_happened() {
    assert_eq!(ends(&["-c", "SELECT 1"]), 0);
    assert_eq!(ends(&["-c", "SELECT 1; SELECT nope"]), 1);
    for wrong in [&["--nope"][..], &["run"], &["--format", "xml"], &["-v", "1x=2"], &["-v", "x"], &["--threads", "0"]] {
        assert_eq!(ends(wrong), 2, "{wrong:?}");
    }
    let out = run(&["run", "no_such.sql"], "");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), ""));
    assert_eq!(text(&out.stderr), "error: cannot read 'no_such.sql': No such file or directory\n");
}

#[test]
fn nothing_after_a_failed_statement_is_run() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a.sql"), "SELECT 1 AS a;\nSELECT\n  nope FROM (SELECT 1 AS b);\nSELECT 2 AS a;\n");
    put(&dir.path().join("b.sql"), "SELECT 3 AS a");
    let out = program().current_dir(dir.path()).args(["--format", "csv", "run", "a.sql", "b.sql"]).output().unwrap();
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), "a\n1\n"));
    let error = text(&out.stderr);
    assert!(error.starts_with("a.sql:3:3: error: ") && error.contains("nope"), "{error}");
    assert!(error.ends_with("\n    nope FROM (SELECT 1 AS b)\n    ^\n"), "{error}");

    let out = run(&["--format", "csv", "-c", "SELECT nope", "-c", "SELECT 1"], "");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), ""));
    let out = run(&["--format", "csv"], "SELECT 1 AS a;\n\nSELECT 2 + AS b;\nSELECT 3;\n");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), "a\n1\n"));
    assert!(text(&out.stderr).starts_with("stdin:3:"), "{}", text(&out.stderr));
}

#[test]
fn errors_go_to_stderr_and_results_to_stdout_and_neither_is_decorated() {
    let fit = "CREATE VIEW events AS SELECT * FROM simulate_shop(users => 100, days => 120, seed => 1);\
               CREATE MODEL m WITH (model_type = 'bg_nbd'); SELECT nope";
    let quiet = run(&["-c", fit], "");
    let loud = program_that_tells().args(["-c", fit]).output().unwrap();
    for out in [&quiet, &loud] {
        let (answer, error) = (text(&out.stdout), text(&out.stderr));
        assert!(answer.contains("bg_nbd") && !answer.contains("rror"), "{answer}");
        assert!(error.contains("error: ") && !error.contains("| m "), "{error}");
        assert!(![&answer, &error].iter().any(|t| t.contains(['\x1b', '\r'])), "{answer}{error}");
        assert!(!answer.contains("row)"), "no footer: {answer}");
    }
    assert_eq!(text(&quiet.stderr).lines().count(), 3, "an error is a line, the source and a caret: {}", text(&quiet.stderr));
}

#[test]
fn what_is_never_closed_is_an_error_and_nothing_is_run() {
    let out = run(&["--format", "csv"], "SELECT 1 AS a;\nSELECT 2 /* open; SELECT 3;\n");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), ""));
    assert_eq!(text(&out.stderr), "stdin:2:10: error: this comment is never closed\n");
}

#[test]
fn nobody_reads_the_errors() {
    let mut child = program().args(["-c", "SELEC 1"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(exit_code(&mut child), Some(1));
}

#[test]
fn variables_are_literals_and_never_text() {
    let attack = "x'; SELECT 'owned' AS o; --";
    let sql = "SELECT :v AS v, ':v' AS quoted, 1::int AS cast -- :v\n";
    let out = run(&["--format", "jsonl", "-v", &format!("v={attack}"), "-c", sql], "");
    assert_eq!(text(&out.stdout), format!("{{\"v\":\"{attack}\",\"quoted\":\":v\",\"cast\":1}}\n"), "{}", text(&out.stderr));
    let out = run(&["--format", "csv"], "\\set name 'two words'\nSELECT :name AS n;\nSELECT :unset AS n;\n");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), "n\ntwo words\n"));
    assert!(text(&out.stderr).contains("stdin:3:") && text(&out.stderr).contains("unset"), "{}", text(&out.stderr));
}

#[test]
fn included_files_are_found_beside_the_file_that_includes_them() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("parts")).unwrap();
    put(&dir.path().join("main.sql"), "\\i parts/one.sql\nSELECT 'end' AS x;\n");
    put(&dir.path().join("parts/one.sql"), "SELECT 'one' AS x;\n\\i two.sql\n");
    put(&dir.path().join("parts/two.sql"), "SELECT 'two' AS x;\n");
    put(&dir.path().join("loop.sql"), "\\i parts/loop.sql\n");
    put(&dir.path().join("parts/loop.sql"), "SELECT 'in' AS x;\n\\i ../loop.sql\nSELECT 'never' AS x;\n");
    let at = |file: &str| dir.path().join(file).display().to_string();

    let out = run(&["--format", "csv", "run", &at("main.sql")], "");
    assert_eq!(text(&out.stdout), "x\none\nx\ntwo\nx\nend\n", "{}", text(&out.stderr));
    let out = run(&["--format", "csv", "run", &at("loop.sql")], "");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), "x\nin\n"));
    assert!(text(&out.stderr).contains("includes itself"), "{}", text(&out.stderr));
}

#[test]
fn a_model_is_a_file_beside_the_script() {
    let dir = tempfile::tempdir().unwrap();
    let events = "CREATE TABLE events AS SELECT * FROM simulate_shop(users => 100, days => 100)";
    let made = format!("{events}; CREATE MODEL m WITH (model_type = 'bg_nbd'); EXPORT MODEL m TO 'm.tar'");
    let out = program().current_dir(dir.path()).args(["-c", &made]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let asked = format!("{events}; IMPORT MODEL n FROM 'm.tar'; SELECT clv('u0000001', model => 'n') > 0 AS worth");
    let out = program().current_dir(dir.path()).args(["--format", "csv", "-c", &asked]).output().unwrap();
    assert!(text(&out.stdout).ends_with("worth\ntrue\n"), "{} {}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn every_row_is_written_in_every_format() {
    let sql = "SELECT value AS n, CASE WHEN value > 1 THEN 'a,\"b\"' END AS s FROM generate_series(1, 30000) ORDER BY 1";
    let written = |format| text(&run(&["--format", format, "-c", sql], "").stdout);
    let csv = written("csv");
    assert_eq!(csv.lines().count(), 30_001);
    assert!(csv.starts_with("n,s\n1,\n2,\"a,\"\"b\"\"\"\n") && csv.ends_with("\n30000,\"a,\"\"b\"\"\"\n"));
    let jsonl = written("jsonl");
    assert_eq!(jsonl.lines().count(), 30_000);
    assert!(jsonl.starts_with("{\"n\":1,\"s\":null}\n") && jsonl.ends_with("\n{\"n\":30000,\"s\":\"a,\\\"b\\\"\"}\n"));
    let json: Vec<serde_json::Value> = serde_json::from_str(&written("json")).unwrap();
    assert!(json.len() == 30_000 && json.iter().zip(1..).all(|(row, n)| row["n"] == n));
    assert_eq!(written("table").lines().count(), 30_004);
    assert_eq!(text(&run(&["--format", "json", "-c", "SELECT 1 AS n WHERE false"], "").stdout), "[]\n");
}

#[test]
fn columns_of_other_scripts_align() {
    let sql = "SELECT * FROM (VALUES ('绿茶', 1, NULL), ('é', 20, 'a\tb'), ('чай', NULL, '')) AS t(\"名\", n, s)";
    let out = text(&run(&["-c", sql], "").stdout);
    let expected = "\
+------+------+------+
| 名   |    n | s    |
+------+------+------+
| 绿茶 |    1 | NULL |
| é    |   20 | a\\tb |
| чай  | NULL |      |
+------+------+------+
";
    assert_eq!(out, expected);
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    for args in [["--format", "csv", "-c", LONG], ["--format", "json", "-c", LONG], ["--format", "table", "-c", LONG]] {
        let mut child = program().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 64];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let code = exit_code(&mut child);
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert_eq!((code, error.as_str()), (Some(0), ""), "{args:?}");
    }
    // Nobody reads even the first line.
    let mut child = program().args(["-c", "\\?"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert!(!text(&out.stderr).contains("panicked"), "{}", text(&out.stderr));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_script() {
    let repeated = "SELECT count(*) FROM generate_series(1, 1000000);\n".repeat(1000);
    for script in [HEAVY, LONG, &repeated] {
        let mut child = program().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("SELECT 'running';\n{script}").as_bytes()).unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 8]).unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(exit_code(&mut child), Some(130), "{}", &script[..script.len().min(60)]);
        reader.join().unwrap().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut p = terminal(home.path());
    p.exp_string("leaves.").unwrap();

    p.send_line("SELECT 6 *").unwrap();
    p.send_line("7 AS x;").unwrap();
    p.exp_string("| 42 |").unwrap();
    p.exp_string("(1 row)").unwrap();

    p.send_line("SELECT nope;").unwrap();
    p.exp_string("'nope' not found").unwrap();

    p.send_line(&format!("{HEAVY};")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    p.send_control('c').unwrap();
    p.exp_string("interrupted").unwrap();
    p.send_line("SELECT 'still' || 'here';").unwrap();
    p.exp_string("| stillhere").unwrap();

    p.send_line("\\timing").unwrap();
    p.exp_string("timing is on").unwrap();
    p.send_line("CREATE VIEW seen AS SELECT 5 AS five;").unwrap();
    p.exp_string("time: ").unwrap();
    p.send_line("\\d").unwrap();
    p.exp_string("| seen ").unwrap();
    p.send_line("\\d seen").unwrap();
    p.exp_string("| five ").unwrap();
    p.send_line("\\? clv").unwrap();
    p.exp_string("Example: ").unwrap();
    p.send_line("\\?").unwrap();
    p.exp_string("\\q                 leave").unwrap();
    p.send_line("\\nope").unwrap();
    p.exp_string("unknown command").unwrap();
    p.send_line(" SELECT 'secret' || 'ive';").unwrap();
    p.exp_string("| secretive").unwrap();
    // An unfinished statement is given up, not the prompt.
    p.exp_string("tenure> ").unwrap();
    p.send_line("SELECT").unwrap();
    p.exp_string("SELECT").unwrap();
    p.send_control('c').unwrap();
    // What is typed before the new prompt stands goes to the old one.
    p.exp_string("tenure> \r").unwrap();
    p.send_line("\\q").unwrap();
    p.exp_eof().unwrap();

    let history = home.path().join("tenure/history");
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("'still' || 'here'"), "{kept}");
    assert!(!kept.contains("secret"), "lines that begin with a space are not kept: {kept}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);

    // The next prompt knows the last line, which was \q; Ctrl-D leaves too.
    let mut p = terminal(home.path());
    p.exp_string("tenure> ").unwrap();
    p.send_line("\x1b[A").unwrap();
    p.exp_eof().unwrap();
    let mut p = terminal(home.path());
    p.exp_string("tenure> ").unwrap();
    p.send_control('d').unwrap();
    p.exp_eof().unwrap();
}

#[cfg(unix)]
fn terminal(data: &Path) -> rexpect::session::PtySession {
    let mut command = program();
    command.env("TERM", "xterm").env("XDG_DATA_HOME", data);
    rexpect::session::spawn_command(command, Some(15_000)).unwrap()
}

/// Without `--quiet`.
fn program_that_tells() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tenure"));
    program.env_remove("TENURE_DATABASE").args(["--threads", "2"]);
    program
}

fn program() -> Command {
    let mut program = program_that_tells();
    program.arg("--quiet");
    program
}

fn run(args: &[&str], stdin: &str) -> Output {
    let mut child = program().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read its input is none the worse for it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn ends(args: &[&str]) -> i32 {
    run(args, "").status.code().unwrap()
}

/// Waits a few seconds for the program to end; `None` when it had to be killed.
fn exit_code(child: &mut std::process::Child) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn put(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
