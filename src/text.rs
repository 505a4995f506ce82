//! Small helpers on names.

/// The candidate nearest to `given` (edit distance, letter case ignored), if it is near enough to be what was meant.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (distance(&given, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= (given.chars().count().max(c.chars().count()) / 3).max(1))
        .min()
        .map(|(_, c)| c)
}

/// `; did you mean x?` when a candidate is near, else a full stop: the end of a sentence about an unknown name.
/// `before` and `after` stand around the candidate.
pub fn did_you_mean<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>, before: &str, after: &str) -> String {
    nearest(given, candidates).map_or_else(|| ".".to_owned(), |n| format!("; did you mean {before}{n}{after}?"))
}

/// Edits (insert, delete, replace, swap of neighbours) between two strings.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = vec![];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// `,`-separated names in single quotes, for messages.
pub fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typing_errors_and_nothing_far() {
        let known = ["horizon", "model", "user_id"];
        assert_eq!(nearest("horizn", known), Some("horizon"));
        assert_eq!(nearest("Modle", known), Some("model"));
        assert_eq!(nearest("colour", known), None);
    }
}
