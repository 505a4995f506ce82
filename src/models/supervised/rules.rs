//! A decision tree in words: its leaves as conditions in SQL, and the whole as indented text.

use super::Tree;

/// A leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The condition in SQL, `TRUE` of a tree without questions: every row meets that of exactly one leaf.
    pub condition: String,
    /// Training rows that meet it, and their share of all.
    pub rows: f64,
    pub share: f64,
    /// What it predicts.
    pub value: f64,
}

/// The values of a column that lead to a node: above `low`, at most `high`, or not known.
#[derive(Debug, Clone, Copy)]
struct Interval {
    column: usize,
    low: Option<f64>,
    high: Option<f64>,
    missing: bool,
}

/// The leaves from left to right. Questions on one column are merged to an interval; columns stand in the order in which the tree asks for them.
pub fn rules(tree: &Tree, columns: &[String]) -> Vec<Rule> {
    let mut out = vec![];
    let mut open: Vec<(usize, Vec<Interval>)> = vec![(0, vec![])];
    while let Some((node, path)) = open.pop() {
        if tree.is_leaf(node) {
            let terms: Vec<String> = path.iter().map(|i| condition(i, &name(columns, i.column))).collect();
            let condition = if terms.is_empty() { "TRUE".into() } else { terms.join(" AND ") };
            out.push(Rule { condition, rows: tree.cover[node], share: tree.cover[node] / tree.cover[0], value: tree.value[node] });
            continue;
        }
        let threshold = tree.threshold[node];
        let step = |left: bool| {
            let mut path = path.clone();
            let column = tree.column[node] as usize;
            let at = path.iter().position(|i| i.column == column).unwrap_or_else(|| {
                path.push(Interval { column, low: None, high: None, missing: true });
                path.len() - 1
            });
            let interval = &mut path[at];
            interval.missing &= left == tree.missing_left[node];
            if left {
                interval.high = Some(interval.high.map_or(threshold, |h| h.min(threshold)));
            } else {
                interval.low = Some(interval.low.map_or(threshold, |l| l.max(threshold)));
            }
            path
        };
        open.push((tree.right[node] as usize, step(false)));
        open.push((tree.left[node] as usize, step(true)));
    }
    out
}

/// f64::MAX is the threshold between what is known and what is not.
fn condition(interval: &Interval, name: &str) -> String {
    let low = interval.low.map(|v| format!("{name} > {}", number(v)));
    let high = interval.high.filter(|v| *v < f64::MAX).map(|v| format!("{name} <= {}", number(v)));
    if interval.low == Some(f64::MAX) {
        return format!("{name} IS NULL");
    }
    match (low, high, interval.missing) {
        (Some(low), Some(high), true) => format!("({low} AND {high} OR {name} IS NULL)"),
        (Some(low), Some(high), false) => format!("{low} AND {high}"),
        (Some(one), None, true) | (None, Some(one), true) => format!("({one} OR {name} IS NULL)"),
        (Some(one), None, false) | (None, Some(one), false) => one,
        (None, None, _) => format!("{name} IS NOT NULL"),
    }
}

/// A question a line, what follows from "yes" below it and from "no" below its `else`; what it leads to as `value (rows)`.
pub fn text(tree: &Tree, columns: &[String]) -> String {
    let mut out = String::new();
    let mut open = vec![(0, 0, String::new())];
    while let Some((node, depth, head)) = open.pop() {
        if !head.is_empty() {
            out.push_str(&"  ".repeat(depth - 1));
            out.push_str(&head);
        }
        if tree.is_leaf(node) {
            out.push_str(&format!("{}{:.4} ({} rows)\n", if head.is_empty() { "" } else { ": " }, tree.value[node], tree.cover[node]));
            continue;
        }
        if !head.is_empty() {
            out.push('\n');
        }
        let (threshold, name) = (tree.threshold[node], name(columns, tree.column[node] as usize));
        let question = if threshold == f64::MAX {
            format!("{name} IS NOT NULL")
        } else if tree.missing_left[node] {
            format!("{name} <= {} OR {name} IS NULL", number(threshold))
        } else {
            format!("{name} <= {}", number(threshold))
        };
        open.push((tree.right[node] as usize, depth + 1, "else".into()));
        open.push((tree.left[node] as usize, depth + 1, question));
    }
    out
}

/// The name as SQL takes it: in double quotes unless it is of small letters, digits and underscores.
fn name(columns: &[String], column: usize) -> String {
    let Some(name) = columns.get(column) else { return format!("column_{column}") };
    let plain = |(i, c): (usize, char)| c.is_ascii_lowercase() || c == '_' || (i > 0 && c.is_ascii_digit());
    if !name.is_empty() && name.chars().enumerate().all(plain) { name.clone() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A number that SQL reads back as it is.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-6..1e15).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}
