//! Splits a script into statements, and puts variables into it, by tokens: what stands in strings, quoted names, comments
//! and dollar quotes is never touched.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::text::did_you_mean;

/// One statement of a script, without its `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'a> {
    pub text: &'a str,
    /// Place of its first character, from 1; columns count characters.
    pub line: usize,
    pub column: usize,
    /// Whether a `;` ends it.
    pub terminated: bool,
}

/// What a stretch of a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text of the statement: names, numbers, operators.
    Code,
    Space,
    /// Strings, quoted names, dollar quotes.
    Quoted,
    Comment,
    Semicolon,
}

struct Piece {
    kind: Kind,
    range: Range<usize>,
    /// The end of what it opens was found.
    closed: bool,
}

/// Cuts a script into pieces that cover it.
fn pieces(sql: &str) -> Vec<Piece> {
    let bytes = sql.as_bytes();
    let mut out: Vec<Piece> = vec![];
    let mut at = if sql.starts_with('\u{feff}') { 3 } else { 0 };
    if at > 0 {
        out.push(Piece { kind: Kind::Space, range: 0..at, closed: true });
    }
    while at < bytes.len() {
        let rest = &sql[at..];
        let escapes = matches!(bytes[at], b'e' | b'E') && bytes.get(at + 1) == Some(&b'\'') && !ends_in_name(&out, sql, at);
        let (kind, len, closed) = match bytes[at] {
            b';' => (Kind::Semicolon, 1, true),
            b'\'' => quoted(rest, '\'', false, 1),
            b'"' => quoted(rest, '"', false, 1),
            b'`' => quoted(rest, '`', false, 1),
            _ if escapes => quoted(rest, '\'', true, 2),
            b'-' if rest.starts_with("--") => (Kind::Comment, rest.find('\n').unwrap_or(rest.len()), true),
            b'/' if rest.starts_with("/*") => block_comment(rest),
            b'$' => dollar_quoted(rest).unwrap_or((Kind::Code, 1, true)),
            c if c.is_ascii_whitespace() => {
                (Kind::Space, rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len(), true)
            }
            _ => (Kind::Code, rest.chars().next().map_or(1, char::len_utf8), true),
        };
        out.push(Piece { kind, range: at..at + len, closed });
        at += len;
    }
    out
}

/// Whether the character before `at` belongs to a name, so that what follows is no prefix of a string.
fn ends_in_name(before: &[Piece], sql: &str, at: usize) -> bool {
    before.last().is_some_and(|p| p.kind == Kind::Code) && sql[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn quoted(rest: &str, quote: char, escapes: bool, open: usize) -> (Kind, usize, bool) {
    let mut chars = rest.char_indices().skip(open).peekable();
    while let Some((i, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return (Kind::Quoted, i + 1, true);
            }
        }
    }
    (Kind::Quoted, rest.len(), false)
}

/// `/* ... */`, nested.
fn block_comment(rest: &str) -> (Kind, usize, bool) {
    let (mut depth, mut at, bytes) = (0, 0, rest.as_bytes());
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return (Kind::Comment, at, true);
        }
    }
    (Kind::Comment, rest.len(), false)
}

/// `$$ ... $$` or `$tag$ ... $tag$`; `None` when it is a placeholder such as `$1`.
fn dollar_quoted(rest: &str) -> Option<(Kind, usize, bool)> {
    let end = rest[1..].find('$')? + 1;
    let tag = &rest[1..end];
    let name = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    if !name {
        return None;
    }
    let delimiter = &rest[..=end];
    match rest[end + 1..].find(delimiter) {
        Some(i) => Some((Kind::Quoted, end + 1 + i + delimiter.len(), true)),
        None => Some((Kind::Quoted, rest.len(), false)),
    }
}

/// The statements of a script, in order; stretches of nothing but space and comments are none.
pub fn split(sql: &str) -> Vec<Statement<'_>> {
    let mut out = vec![];
    let mut span: Option<Range<usize>> = None;
    for p in pieces(sql) {
        match p.kind {
            Kind::Semicolon => {
                out.extend(span.take().map(|r| statement(sql, r, true)));
            }
            Kind::Space | Kind::Comment => {}
            Kind::Code | Kind::Quoted => {
                let start = span.as_ref().map_or(p.range.start, |r| r.start);
                span = Some(start..p.range.end);
            }
        }
    }
    out.extend(span.map(|r| statement(sql, r, false)));
    out
}

fn statement(sql: &str, range: Range<usize>, terminated: bool) -> Statement<'_> {
    let before = &sql[..range.start];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let column = before[line_start..].trim_start_matches('\u{feff}').chars().count() + 1;
    Statement { text: &sql[range], line: before.matches('\n').count() + 1, column, terminated }
}

/// Whether the text ends inside a statement, a string or a comment, so that more has to follow.
pub fn is_incomplete(sql: &str) -> bool {
    let pieces = pieces(sql);
    pieces.last().is_some_and(|p| !p.closed) || split(sql).last().is_some_and(|s| !s.terminated)
}

/// Where something was opened that is never closed: line and column from 1, and what it is.
pub fn unclosed(sql: &str) -> Option<(usize, usize, &'static str)> {
    let pieces = pieces(sql);
    let last = pieces.last().filter(|p| !p.closed)?;
    let s = statement(sql, last.range.clone(), false);
    Some((s.line, s.column, if last.kind == Kind::Comment { "comment" } else { "quoted text" }))
}

/// Puts variables in: `:name` as a number if it is one and else as a string, `:'name'` as a string, `:"name"` as a quoted
/// name. Never as text, so that a value cannot become part of the statement.
///
/// # Errors
/// A name that is not set; `::type`, slices such as `a[1:2]`, and what is quoted are left alone.
pub fn substitute(sql: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let pieces = pieces(sql);
    let mut out = String::with_capacity(sql.len());
    let mut i = 0;
    while i < pieces.len() {
        let p = &pieces[i];
        let before = out.chars().next_back();
        let colon = p.kind == Kind::Code
            && &sql[p.range.clone()] == ":"
            && !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, ':' | '\'' | '"'));
        if !colon {
            out.push_str(&sql[p.range.clone()]);
            i += 1;
            continue;
        }
        let rest = &sql[p.range.end..];
        let quoted = pieces.get(i + 1).filter(|q| q.kind == Kind::Quoted && q.closed).map(|q| &sql[q.range.clone()]);
        let bare: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Some(name) = quoted.and_then(|q| q.strip_prefix('\'')).and_then(|q| q.strip_suffix('\'')) {
            out.push_str(&literal(value(name, variables)?));
            i += 2;
        } else if let Some(name) = quoted.and_then(|q| q.strip_prefix('"')).and_then(|q| q.strip_suffix('"')) {
            out.push_str(&format!("\"{}\"", value(name, variables)?.replace('"', "\"\"")));
            i += 2;
        } else if bare.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            let v = value(&bare, variables)?;
            // `5 -:n` must not become a comment.
            if v.starts_with('-') && out.ends_with('-') {
                out.push(' ');
            }
            out.push_str(&if is_number(v) { v.to_owned() } else { literal(v) });
            let end = p.range.end + bare.len();
            while pieces.get(i).is_some_and(|q| q.range.start < end) {
                i += 1;
            }
        } else {
            out.push(':');
            i += 1;
        }
    }
    Ok(out)
}

fn value<'a>(name: &str, variables: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    variables.get(name).map(String::as_str).ok_or_else(|| {
        let hint = did_you_mean(name, variables.keys().map(String::as_str), ":", "");
        let known: Vec<&str> = variables.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("variable :{name} is not set{hint} Set are: {known}. Use -v {name}=value, or \\set {name} value")
    })
}

fn literal(v: &str) -> String {
    format!("'{}'", v.replace('\'', "''"))
}

/// An optional minus, digits, at most one point.
fn is_number(v: &str) -> bool {
    let digits = v.strip_prefix('-').unwrap_or(v);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.') && digits.matches('.').count() <= 1;
    plain && digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql).iter().map(|s| s.text).collect()
    }

    #[test]
    fn semicolons_count_only_outside_of_quotes_and_comments() {
        assert_eq!(texts("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(
            texts("SELECT ';', \"a;b\", `c;d` -- ; no\n, 'it''s;' ; /* ; /* ; */ ; */ SELECT 2; -- end;"),
            ["SELECT ';', \"a;b\", `c;d` -- ; no\n, 'it''s;'", "SELECT 2"]
        );
        assert_eq!(
            texts("SELECT $$a;b$$, $t$ ; $$ ; $t$; EXECUTE p($1); SELECT E'\\';', 'x\\'; SELECT 3"),
            ["SELECT $$a;b$$, $t$ ; $$ ; $t$", "EXECUTE p($1)", "SELECT E'\\';', 'x\\'", "SELECT 3"]
        );
        assert_eq!(texts("\u{feff};;\r\n -- nothing\r\n;SELECT 1 /* a */;\n"), ["SELECT 1"]);
        assert_eq!(texts("SELECT price'x;y'; 1"), ["SELECT price'x;y'", "1"]);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let s = split("\u{feff}SELECT 1;\n\n  客; SELECT 3");
        let places: Vec<_> = s.iter().map(|s| (s.line, s.column, s.terminated)).collect();
        assert_eq!(places, [(1, 1, true), (3, 3, true), (3, 6, false)]);
    }

    #[test]
    fn what_is_never_closed_has_its_place() {
        assert_eq!(unclosed("SELECT 1;\n /* open ; SELECT 2"), Some((2, 2, "comment")));
        assert_eq!(unclosed("SELECT 'a"), Some((1, 8, "quoted text")));
        assert_eq!(unclosed("SELECT 1 -- end"), None);
    }

    #[test]
    fn the_prompt_asks_for_more_inside_of_something() {
        for sql in ["SELECT 1", "SELECT 'a;", "SELECT 1; /* x", "SELECT $a$ ;", "SELECT \"a;"] {
            assert!(is_incomplete(sql), "{sql}");
        }
        for sql in ["SELECT 1;", "", "  ", "SELECT 1; -- done", "-- only a comment"] {
            assert!(!is_incomplete(sql), "{sql}");
        }
    }

    #[test]
    fn variables_are_literals_never_text() {
        let v: BTreeMap<String, String> =
            [("path", "it's; DROP TABLE t"), ("n", "-3.5"), ("t", "my\"table"), ("id", "007a")].map(|(k, v)| (k.into(), v.into())).into();
        let sub = |s: &str| substitute(s, &v).unwrap();
        assert_eq!(sub("SELECT :path, :n, :'n', :\"t\" FROM x"), "SELECT 'it''s; DROP TABLE t', -3.5, '-3.5', \"my\"\"table\" FROM x");
        assert_eq!(
            sub("SELECT a::int, b[1:2], ':n', \":n\", x:n, {'k':n} /* :n */ -- :n"),
            "SELECT a::int, b[1:2], ':n', \":n\", x:n, {'k':n} /* :n */ -- :n"
        );
        assert_eq!((sub(":id"), sub("5 -:n")), ("'007a'".to_owned(), "5 - -3.5".to_owned()));
        assert!(substitute("SELECT :pth", &v).unwrap_err().contains("did you mean :path?"));
    }
}
