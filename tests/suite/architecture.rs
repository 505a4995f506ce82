//! The rooms and what they may use, read from the `use` lines.

use std::path::{Path, PathBuf};

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Lines of code in `room` that contain one of `words`, tests at the bottom of files left out.
fn uses(room: &str, words: &[&str]) -> Vec<String> {
    let mut files = vec![];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src.join(room), &mut files);
    let mut out = vec![];
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            if words.iter().any(|w| line.contains(w)) {
                out.push(format!("{}: {}", file.strip_prefix(&src).unwrap().display(), line.trim()));
            }
        }
    }
    out
}

#[test]
fn models_know_neither_the_engine_nor_another_room() {
    let words =
        ["datafusion", "crate::events", "crate::features", "crate::functions", "crate::session", "crate::shell", "crate::store", "std::fs"];
    assert_eq!(uses("models", &words), Vec::<String>::new());
}

#[test]
fn functions_never_fit() {
    assert_eq!(uses("functions", &["::fit(", "crate::session", "crate::shell"]), Vec::<String>::new());
}

#[test]
fn nothing_uses_the_shell_and_lower_rooms_know_no_session() {
    for room in ["events", "features", "functions", "models", "simulate", "store", "session"] {
        assert_eq!(uses(room, &["crate::shell"]), Vec::<String>::new(), "{room}");
    }
    for room in ["events", "features", "functions", "models", "simulate", "store"] {
        assert_eq!(uses(room, &["crate::session"]), Vec::<String>::new(), "{room}");
    }
}

#[test]
fn the_shell_plans_nothing() {
    assert_eq!(uses("shell", &["LogicalPlan", "SessionContext", "sqlparser"]), Vec::<String>::new());
}
