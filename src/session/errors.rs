//! Errors as an analyst reads them: where, what, and a caret under the place.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::functions::specs;
use crate::text::did_you_mean;

/// Where a statement stands in its source.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// File name; `None` at the prompt.
    pub file: Option<String>,
    /// Line and column of the statement's first character, from 1.
    pub line: usize,
    pub column: usize,
}

/// The message of an error in `statement`, with file:line:column and a caret when the place is known.
pub fn render_error(error: &DataFusionError, statement: &str, place: &Place) -> String {
    let (at, message) = located(error, statement);
    let message = tidy(&message);
    let Some((line, column)) = at else {
        return format!(
            "{}error: {message}",
            place.file.as_ref().map(|f| format!("{f}:{}:{}: ", place.line, place.column)).unwrap_or_default()
        );
    };
    let source = statement.lines().nth(line - 1).unwrap_or_default();
    let (file_line, file_column) = (place.line.max(1) + line - 1, if line == 1 { place.column.max(1) + column - 1 } else { column });
    let head = match &place.file {
        Some(f) => format!("{f}:{file_line}:{file_column}: error: {message}"),
        None => format!("error at line {file_line}, column {file_column}: {message}"),
    };
    let before: String = source.chars().take(column.saturating_sub(1)).collect();
    let pad = " ".repeat(unicode_width::UnicodeWidthStr::width(before.replace('\t', " ").as_str()));
    format!("{head}\n  {}\n  {pad}^", source.replace('\t', " "))
}

/// Line and column inside the statement (from 1), and the message.
fn located(error: &DataFusionError, statement: &str) -> (Option<(usize, usize)>, String) {
    if let Some(d) = error.diagnostic()
        && let Some(span) = d.span
    {
        let mut message = d.message.clone();
        for help in &d.helps {
            message.push_str(&format!(" ({})", help.message));
        }
        let place = (span.start.line as usize, span.start.column as usize);
        // The engine's own text often says more than its diagnostic.
        let full = plain(error);
        let message = if full.len() > message.len() && full.contains("Valid fields") { full } else { message };
        return (Some(place), message);
    }
    let message = plain(error);
    if let DataFusionError::SQL(e, _) = error.find_root()
        && let ParserError::ParserError(m) | ParserError::TokenizerError(m) = e.as_ref()
        && let Some((text, place)) = parser_place(m)
    {
        return (Some(place), text);
    }
    let message = tidy(&message);
    let place = |name: Option<String>| name.and_then(|n| find(statement, &n));
    (place(named_in_quotes(&message)).or_else(|| place(called(&message))), message)
}

/// `expected: …, found: x at Line: 1, Column: 8`.
fn parser_place(message: &str) -> Option<(String, (usize, usize))> {
    let (text, rest) = message.rsplit_once(" at Line: ")?;
    let (line, column) = rest.split_once(", Column: ")?;
    let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((text.to_owned(), (digits(line)?, digits(column)?)))
}

/// The first name a message of ours speaks of, such as `clv() has no argument horizn`.
fn named_in_quotes(message: &str) -> Option<String> {
    for marker in [
        "has no argument ",
        "has no option ",
        "there is no function ",
        "unknown model_type '",
        "there is no model '",
        "unknown setting tenure.",
    ] {
        if let Some((_, rest)) = message.split_once(marker) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            return Some(name).filter(|n| !n.is_empty());
        }
    }
    None
}

/// The call that a message of ours begins with, such as `clv() takes 1 to 3 arguments`.
fn called(message: &str) -> Option<String> {
    let (name, _) = message.split_once("()")?;
    specs().any(|s| s.name == name).then(|| format!("{name}("))
}

fn find(statement: &str, name: &str) -> Option<(usize, usize)> {
    let (lower, name) = (statement.to_lowercase(), name.to_lowercase());
    let at = lower.find(&name)?;
    let before = &lower[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

/// The message of the innermost error, without the engine's wrapping.
fn plain(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::Plan(m)
        | DataFusionError::Execution(m)
        | DataFusionError::Configuration(m)
        | DataFusionError::NotImplemented(m) => strip(m),
        DataFusionError::External(e) => e.to_string(),
        DataFusionError::SQL(e, _) => match e.as_ref() {
            ParserError::ParserError(m) | ParserError::TokenizerError(m) => m.clone(),
            e => e.to_string(),
        },
        DataFusionError::ResourcesExhausted(m) => {
            format!("out of memory: {}. SET datafusion.runtime.memory_limit = '8G' allows more", strip(m))
        }
        e => strip(&e.strip_backtrace()),
    }
}

fn strip(m: &str) -> String {
    m.split("\n\nbacktrace:").next().unwrap_or(m).to_owned()
}

/// What the engine says of a function it does not know, with the nearest of ours.
fn unknown_function(message: &str) -> Option<String> {
    let rest = message.strip_prefix("Invalid function '").or_else(|| message.strip_prefix("table function '"))?;
    let (name, _) = rest.split_once('\'')?;
    let hint = did_you_mean(name, specs().map(|s| s.name), "", "()");
    Some(format!("there is no function {name}{hint} SELECT * FROM functions() lists ours"))
}

/// One paragraph, first letter small, no prefixes of the engine.
fn tidy(message: &str) -> String {
    let mut m = message.trim();
    if let Some(unknown) = unknown_function(m) {
        return unknown;
    }
    // Our own message stands between what the engine says before and after it.
    if let Some((_, own)) = m.split_once(" user-defined coercion failed with: ") {
        m = own.split(" No function matches the given name").next().unwrap_or(own);
    }
    for prefix in [
        "sql parser error: ",
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
        "External error: ",
        "Invalid or Unsupported Configuration: ",
        "SQL error: ",
    ] {
        m = m.strip_prefix(prefix).unwrap_or(m);
    }
    m.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_ours_that_is_wrong_has_its_place() {
        let e = DataFusionError::Plan("clv() takes 1 to 3 argument(s), not 4".into());
        let text = render_error(&e, "SELECT 1,\n CLV(1, 2, 3, 4)", &Place::default());
        assert!(text.starts_with("error at line 2, column 2: clv() takes"), "{text}");
    }

    #[test]
    fn a_parser_error_has_its_place_in_the_file() {
        let place = Place { file: Some("r.sql".into()), line: 10, column: 3 };
        let sql = "SELECT 1\nFORM t";
        let e = super::super::statement::parse(sql).unwrap_err();
        let text = render_error(&e, sql, &place);
        assert!(text.starts_with("r.sql:11:6: error: "), "{text}");
        assert!(text.ends_with("  FORM t\n       ^"), "{text}");
    }
}
