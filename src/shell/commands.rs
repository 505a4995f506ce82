//! Backslash commands, at the prompt and in scripts.

use crate::functions::{FunctionSpec, spec, specs};
use crate::text::did_you_mean;

/// A command with its argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backslash {
    Quit,
    Help(Option<String>),
    /// Relations, or the columns of one.
    Describe(Option<String>),
    Timing(Option<bool>),
    Include(String),
    Set(Option<(String, String)>),
    Format(Option<String>),
}

const NAMES: [&str; 7] = ["q", "?", "d", "timing", "i", "set", "format"];

/// Reads a line that begins with a backslash.
pub fn parse(line: &str) -> Result<Backslash, String> {
    let line = line.trim().trim_start_matches('\\').trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let argument = (!rest.is_empty()).then(|| rest.to_owned());
    Ok(match name {
        "q" | "quit" => Backslash::Quit,
        "?" | "h" | "help" => Backslash::Help(argument),
        "d" => Backslash::Describe(argument),
        "timing" => match rest {
            "" => Backslash::Timing(None),
            "on" => Backslash::Timing(Some(true)),
            "off" => Backslash::Timing(Some(false)),
            other => return Err(format!("\\timing takes on or off, not '{other}'")),
        },
        "i" => Backslash::Include(argument.ok_or("\\i needs a file")?.trim_matches('\'').to_owned()),
        "set" => Backslash::Set(argument.map(|a| {
            let (name, value) = a.split_once(char::is_whitespace).unwrap_or((&a, ""));
            let value = value.trim();
            let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
            (name.to_owned(), quoted.map_or_else(|| value.to_owned(), |q| q.replace("''", "'")))
        })),
        "format" => Backslash::Format(argument),
        other => {
            let hint = did_you_mean(other, NAMES, "\\", "");
            return Err(format!("unknown command \\{other}{hint} \\? lists them"));
        }
    })
}

/// The text of `\?`.
pub fn help(topic: Option<&str>) -> Result<String, String> {
    let Some(topic) = topic else { return Ok(overview()) };
    let name = topic.trim_end_matches("()");
    match spec(name) {
        Some(s) => Ok(page(s)),
        None => {
            let hint = did_you_mean(name, specs().map(|s| s.name), "", "");
            Err(format!("there is no function {name}{hint}"))
        }
    }
}

fn overview() -> String {
    let mut out = String::from(
        "SQL ends with ; and may take several lines.\n\n\
         \\? [function]      this help, or a function's\n\
         \\d [relation]      relations, or the columns of one\n\
         \\i FILE            run a script\n\
         \\timing [on|off]   show how long statements take\n\
         \\format [NAME]     table, csv, json or jsonl\n\
         \\set [name value]  variables: :name in SQL is a literal\n\
         \\q                 leave (or Ctrl-D); Ctrl-C ends a query\n\n\
         Events: CREATE VIEW events AS SELECT ... AS user_id, ... AS ts, ... AS amount FROM ...\n\
         Models: CREATE MODEL m WITH (model_type = 'bg_nbd'), REFRESH, ALTER, DROP, SHOW MODELS, DESCRIBE MODEL m\n\
         Settings: SET tenure.as_of = '2011-09-10', SHOW tenure.as_of, RESET tenure.as_of\n",
    );
    let mut section = "";
    for s in by_section() {
        if s.section != section {
            section = s.section;
            out.push_str(&format!("\n{section}\n"));
        }
        out.push_str(&format!("  {:<22}{}\n", s.name, s.summary));
    }
    out.trim_end().to_owned()
}

fn by_section() -> Vec<&'static FunctionSpec> {
    let mut all: Vec<&FunctionSpec> = specs().collect();
    all.sort_by_key(|s| (s.section, s.name));
    all
}

fn page(s: &FunctionSpec) -> String {
    let mut out = format!("{}\n  {}\n", s.signature(), s.summary);
    for a in s.arguments {
        out.push_str(&format!("  {:<14}{} ({})\n", a.name, a.about, a.kind.label()));
    }
    if !s.returns.is_empty() {
        out.push_str(&format!("Returns {}{}\n", s.returns, if s.unit.is_empty() { String::new() } else { format!(" ({})", s.unit) }));
    }
    for (name, t, about) in s.columns {
        out.push_str(&format!("  {name:<26}{t:<16}{about}\n"));
    }
    for b in s.behaviour {
        out.push_str(&format!("- {b}\n"));
    }
    if !s.nulls.is_empty() {
        out.push_str(&format!("NULLs: {}\n", s.nulls));
    }
    out.push_str(&format!("Example: {}", s.example));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_slips() {
        assert_eq!(parse("\\q").unwrap(), Backslash::Quit);
        assert_eq!(parse("\\set path 'a b.parquet'").unwrap(), Backslash::Set(Some(("path".into(), "a b.parquet".into()))));
        assert_eq!(parse("\\timing off;").unwrap(), Backslash::Timing(Some(false)));
        assert!(parse("\\timng").unwrap_err().contains("did you mean \\timing?"));
        assert!(help(Some("clv")).unwrap().starts_with("clv(user_id"));
        assert!(help(Some("clw")).unwrap_err().contains("did you mean clv?"));
    }
}
