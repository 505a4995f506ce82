//! Features before they are encoded: numbers and levels, by name.

use std::collections::HashMap;

/// The code of a level that is not known.
pub const NO_LEVEL: u32 = u32::MAX;

/// One feature of every row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// NaN is not known; never infinite.
    Number(Vec<f64>),
    /// Positions in `names`; [`NO_LEVEL`] is not known.
    Level { codes: Vec<u32>, names: Vec<String> },
}

impl Values {
    /// The level of every row, as text; codes in order of first appearance.
    pub fn levels<'a>(rows: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut known: HashMap<&'a str, u32> = HashMap::new();
        let mut names: Vec<String> = vec![];
        let codes = rows.map(|level| {
            level.map_or(NO_LEVEL, |level| {
                *known.entry(level).or_insert_with(|| {
                    names.push(level.to_owned());
                    (names.len() - 1) as u32
                })
            })
        });
        let codes = codes.collect();
        Self::Level { codes, names }
    }

    fn take(&self, rows: &[usize]) -> Self {
        match self {
            Self::Number(v) => Self::Number(rows.iter().map(|&r| v[r]).collect()),
            Self::Level { codes, names } => Self::Level { codes: rows.iter().map(|&r| codes[r]).collect(), names: names.clone() },
        }
    }

    /// The other rows below these. What is a number in one and a level in the other is not known.
    fn append(&mut self, other: Self, rows: usize) {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.extend(b),
            (Self::Level { codes, names }, Self::Level { codes: more, names: other }) => {
                let mut known: HashMap<String, u32> = names.iter().enumerate().map(|(i, n)| (n.clone(), i as u32)).collect();
                let to: Vec<u32> = other
                    .into_iter()
                    .map(|name| {
                        *known.entry(name).or_insert_with_key(|name| {
                            names.push(name.clone());
                            (names.len() - 1) as u32
                        })
                    })
                    .collect();
                codes.extend(more.into_iter().map(|c| if c == NO_LEVEL { c } else { to[c as usize] }));
            }
            (Self::Number(a), Self::Level { .. }) => a.extend(std::iter::repeat_n(f64::NAN, rows)),
            (Self::Level { codes, .. }, Self::Number(_)) => codes.extend(std::iter::repeat_n(NO_LEVEL, rows)),
        }
    }
}

/// Features by name, all of one length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub rows: usize,
    pub columns: Vec<(String, Values)>,
}

impl Table {
    pub fn get(&self, name: &str) -> Option<&Values> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The rows at these places, in their order.
    pub fn take(&self, rows: &[usize]) -> Self {
        Self { rows: rows.len(), columns: self.columns.iter().map(|(n, v)| (n.clone(), v.take(rows))).collect() }
    }

    /// The rows of another table below these, column by name; what only one of them has is not known of the other's rows.
    pub fn append(&mut self, other: Self) {
        if self.columns.is_empty() && self.rows == 0 {
            *self = other;
            return;
        }
        let mut theirs: HashMap<String, Values> = HashMap::new();
        for (name, values) in other.columns {
            if self.get(&name).is_none() {
                let unknown = match &values {
                    Values::Number(_) => Values::Number(vec![f64::NAN; self.rows]),
                    Values::Level { names, .. } => Values::Level { codes: vec![NO_LEVEL; self.rows], names: names.clone() },
                };
                self.columns.push((name.clone(), unknown));
            }
            theirs.insert(name, values);
        }
        for (name, own) in &mut self.columns {
            let more = theirs.remove(name).unwrap_or_else(|| Values::Number(vec![f64::NAN; other.rows]));
            own.append(more, other.rows);
        }
        self.rows += other.rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_meet_by_name_when_tables_are_joined() {
        let one =
            |levels: &[Option<&str>]| Table { rows: levels.len(), columns: vec![("c".into(), Values::levels(levels.iter().copied()))] };
        let mut all = one(&[Some("b"), None, Some("a")]);
        all.append(one(&[Some("a"), Some("客"), None, Some("b")]));
        let Some(Values::Level { codes, names }) = all.get("c") else { panic!("levels") };
        let read: Vec<&str> = codes.iter().map(|&c| if c == NO_LEVEL { "-" } else { names[c as usize].as_str() }).collect();
        assert_eq!((all.rows, read), (7, vec!["b", "-", "a", "a", "客", "-", "b"]));
        assert_eq!(all.take(&[5, 4]).get("c").cloned(), Some(Values::Level { codes: vec![NO_LEVEL, 2], names: names.clone() }));
    }
}
