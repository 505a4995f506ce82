//! The prompt: statements of several lines, history in the user's data folder.

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Config, Editor, Helper, Highlighter, Hinter};

use super::runner::{Runner, Source, Stop};
use super::tell;
use crate::session::split::is_incomplete;

#[derive(Completer, Helper, Highlighter, Hinter)]
struct Statements;

impl Validator for Statements {
    fn validate(&self, cx: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = cx.input();
        let command = text.trim_start().starts_with('\\');
        Ok(if !command && is_incomplete(text) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

/// `$XDG_DATA_HOME/tenure/history`, or below `~/.local/share`.
fn history_file() -> Option<PathBuf> {
    let data = match std::env::var_os("XDG_DATA_HOME").filter(|d| !d.is_empty()) {
        Some(d) => PathBuf::from(d),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/share"),
    };
    let dir = data.join("tenure");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

/// Reads and runs until the user leaves.
pub fn prompt(runner: &mut Runner) -> Result<(), Stop> {
    let config = Config::builder().history_ignore_space(true).auto_add_history(true).max_history_size(10_000).map(|c| c.build());
    let editor = config.and_then(Editor::<Statements, FileHistory>::with_config);
    let mut editor = editor.map_err(|e| {
        tell(&format!("error: cannot read from this terminal: {e}"));
        Stop::Failed
    })?;
    editor.set_helper(Some(Statements));
    let history = history_file();
    if let Some(h) = &history {
        let _ = editor.load_history(h);
    }
    println!("tenure {}. \\? is help, \\q leaves.", env!("CARGO_PKG_VERSION"));
    loop {
        let text = match editor.readline("tenure> ") {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => {
                tell(&format!("error: {e}"));
                return Err(Stop::Failed);
            }
        };
        if let Some(h) = &history
            && editor.append_history(h).is_ok()
        {
            private(h);
        }
        runner.forget_interrupts();
        let done = match text.trim_start().starts_with('\\') {
            true => runner.command(&text, None),
            false => runner.run(&Source { name: "prompt".into(), text, dir: None }),
        };
        if done == Err(Stop::Quit) {
            return Ok(());
        }
    }
}

/// Histories hold data: only their owner may read them.
fn private(path: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
    }
    #[cfg(not(unix))]
    let _ = path;
}
