//! From features to the columns of a matrix: fitted on what is learned from, and the same for what is scored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::Matrix;
use super::table::{NO_LEVEL, Table, Values};
use crate::models::{Column, ModelError, Part, part};

/// Levels of a feature that have a column of their own; the others share one.
const MOST_LEVELS: usize = 30;
/// The column of the levels beyond, and that of rows without one.
const OTHER: &str = "(other)";
const MISSING: &str = "(missing)";

/// One feature as it is encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    pub name: String,
    /// Of training rows, those where it is not known.
    pub missing_share: f64,
    /// Of a number, over the rows where it is known.
    pub mean: f64,
    /// Of a level: the names that have a column of 0 and 1 each. `None`: a number, a column as it is.
    pub levels: Option<Vec<String>>,
}

impl Feature {
    /// Its values as they are encoded: numbers, where they come as text, as numbers.
    pub fn read<'a>(&self, values: &'a Values) -> Cow<'a, Values> {
        match values {
            Values::Level { codes, names } if self.levels.is_none() => Cow::Owned(Values::Number(as_numbers(codes, names))),
            values => Cow::Borrowed(values),
        }
    }

    fn width(&self) -> usize {
        self.levels.as_ref().map_or(1, Vec::len)
    }

    /// How it becomes columns, in words.
    pub fn encoding(&self) -> String {
        match &self.levels {
            None => "number".into(),
            Some(levels) => format!("one column of 0 and 1 for each of: {}", levels.join(", ")),
        }
    }
}

/// The features of a model, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Encoder {
    pub features: Vec<Feature>,
}

/// A feature that was left out, and why.
pub type LeftOut = (String, &'static str);

impl Encoder {
    /// Decides how each feature is encoded. One without two different values among the rows tells nothing and is left out; so is a text that is nearly
    /// always another one, such as a name or a key.
    pub fn fit(table: &Table) -> (Self, Vec<LeftOut>) {
        let (mut features, mut out) = (vec![], vec![]);
        for (name, values) in &table.columns {
            match Self::feature(name, values, table.rows) {
                Ok(f) => features.push(f),
                Err(why) => out.push((name.clone(), why)),
            }
        }
        (Self { features }, out)
    }

    fn feature(name: &str, values: &Values, rows: usize) -> Result<Feature, &'static str> {
        match values {
            Values::Number(v) => {
                let mut known = v.iter().copied().filter(|x| x.is_finite());
                let n = known.clone().count();
                let Some(first) = known.clone().next() else { return Err("never known") };
                if n == rows && known.clone().all(|x| x == first) {
                    return Err("constant");
                }
                // Of the share that each adds, so that huge values do not overflow.
                let mean = known.by_ref().map(|x| x / n as f64).sum();
                Ok(Feature { name: name.into(), missing_share: (rows - n) as f64 / rows.max(1) as f64, mean, levels: None })
            }
            Values::Level { codes, names } => {
                let mut counts = vec![0usize; names.len()];
                codes.iter().filter(|c| **c != NO_LEVEL).for_each(|c| counts[*c as usize] += 1);
                let missing = codes.iter().filter(|c| **c == NO_LEVEL).count();
                let mut seen: Vec<usize> = (0..names.len()).filter(|&i| counts[i] > 0).collect();
                if seen.is_empty() {
                    return Err("never known");
                }
                if seen.len() == 1 && missing == 0 {
                    return Err("constant");
                }
                if seen.len() > MOST_LEVELS && 2 * seen.len() > rows - missing {
                    if are_amounts(seen.iter().map(|&i| names[i].as_str())) {
                        return Self::feature(name, &Values::Number(as_numbers(codes, names)), rows);
                    }
                    return Err("a text that is hardly ever the same twice");
                }
                seen.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| names[a].cmp(&names[b])));
                let others = seen.len() > MOST_LEVELS;
                seen.truncate(MOST_LEVELS);
                let mut levels: Vec<String> = seen.into_iter().map(|i| names[i].clone()).collect();
                levels.sort_unstable();
                levels.extend(others.then(|| OTHER.to_owned()));
                levels.extend((missing > 0).then(|| MISSING.to_owned()));
                Ok(Feature { name: name.into(), missing_share: missing as f64 / rows.max(1) as f64, mean: 0.0, levels: Some(levels) })
            }
        }
    }

    /// Names of the matrix's columns: `feature`, or `feature=level`.
    pub fn columns(&self) -> Vec<String> {
        let names = self.features.iter().flat_map(|f| match &f.levels {
            None => vec![f.name.clone()],
            Some(levels) => levels.iter().map(|l| format!("{}={l}", f.name)).collect(),
        });
        names.collect()
    }

    /// Which feature each column of the matrix belongs to.
    pub fn owners(&self) -> Vec<usize> {
        self.features.iter().enumerate().flat_map(|(i, f)| std::iter::repeat_n(i, f.width())).collect()
    }

    /// The columns of the levels of each feature that has levels.
    pub fn levels(&self) -> Vec<Range<usize>> {
        let mut from = 0;
        let ranges = self.features.iter().map(|f| {
            from += f.width();
            from - f.width()..from
        });
        ranges.zip(&self.features).filter(|(_, f)| f.levels.is_some()).map(|(range, _)| range).collect()
    }

    /// The matrix of a table: features by name, in any order; one that the table does not have is not known; a level that was not seen in training is
    /// none of the levels, or one of the others where there are such.
    pub fn matrix(&self, table: &Table) -> Matrix {
        let columns = self.features.iter().flat_map(|f| encode(f, table.get(&f.name), table.rows)).collect();
        Matrix { rows: table.rows, columns }
    }

    pub fn to_part(&self) -> Part {
        let f = &self.features;
        let levels = |f: &Feature| serde_json::to_string(&f.levels).unwrap_or_default();
        Part::new(
            "features",
            vec![
                ("name", Column::Text(f.iter().map(|f| f.name.clone()).collect())),
                ("missing_share", Column::F64(f.iter().map(|f| f.missing_share).collect())),
                ("mean", Column::F64(f.iter().map(|f| f.mean).collect())),
                ("levels", Column::Text(f.iter().map(levels).collect())),
            ],
        )
    }

    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let p = part(parts, "features")?;
        let (names, missing, mean, levels) = (p.text("name")?, p.finite("missing_share")?, p.finite("mean")?, p.text("levels")?);
        let one = |(((name, &missing_share), &mean), levels): (((&String, &f64), &f64), &String)| {
            let levels = serde_json::from_str(levels).map_err(|e| ModelError::Damaged(format!("levels of feature {name}: {e}")))?;
            Ok(Feature { name: name.clone(), missing_share, mean, levels })
        };
        Ok(Self { features: names.iter().zip(missing).zip(mean).zip(levels).map(one).collect::<Result<_, _>>()? })
    }
}

/// A text as a number; NaN where it is none.
fn number(text: &str) -> f64 {
    text.trim().parse().ok().filter(|x: &f64| x.is_finite()).unwrap_or(f64::NAN)
}

/// Numbers may come as text.
fn as_numbers(codes: &[u32], names: &[String]) -> Vec<f64> {
    let parsed: Vec<f64> = names.iter().map(|n| number(n)).collect();
    codes.iter().map(|&c| if c == NO_LEVEL { f64::NAN } else { parsed[c as usize] }).collect()
}

/// Whether texts are numbers and blanks, some with a fraction: whole numbers may be keys.
fn are_amounts<'a>(mut texts: impl Iterator<Item = &'a str> + Clone) -> bool {
    texts.clone().any(|t| t.contains('.')) && texts.all(|t| t.trim().is_empty() || !number(t).is_nan())
}

fn encode(feature: &Feature, values: Option<&Values>, rows: usize) -> Vec<Vec<f64>> {
    let Some(levels) = &feature.levels else {
        let number = match values {
            Some(Values::Number(v)) => v.clone(),
            Some(Values::Level { codes, names }) => as_numbers(codes, names),
            None => vec![f64::NAN; rows],
        };
        return vec![number];
    };
    let at: BTreeMap<&str, usize> = levels.iter().enumerate().map(|(i, l)| (l.as_str(), i)).collect();
    let (other, missing) = (at.get(OTHER).copied(), at.get(MISSING).copied());
    let place = |level: Option<&str>| match level {
        None => missing,
        Some(level) => at.get(level).copied().or(other),
    };
    let mut out = vec![vec![0.0; rows]; levels.len()];
    let mut set = |row: usize, place: Option<usize>| {
        if let Some(place) = place {
            out[place][row] = 1.0;
        }
    };
    match values {
        Some(Values::Level { codes, names }) => {
            let places: Vec<Option<usize>> = names.iter().map(|n| place(Some(n))).collect();
            let none = place(None);
            codes.iter().enumerate().for_each(|(row, &c)| set(row, if c == NO_LEVEL { none } else { places[c as usize] }));
        }
        Some(Values::Number(v)) => v.iter().enumerate().for_each(|(row, x)| {
            let text = x.to_string();
            set(row, place((!x.is_nan()).then_some(text.as_str())));
        }),
        None => (0..rows).for_each(|row| set(row, place(None))),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: Vec<(&str, Values)>) -> Table {
        let rows = match &columns[0].1 {
            Values::Number(v) => v.len(),
            Values::Level { codes, .. } => codes.len(),
        };
        Table { rows, columns: columns.into_iter().map(|(n, v)| (n.into(), v)).collect() }
    }

    #[test]
    fn tables_with_columns_missing_extra_reordered_and_of_other_types_are_encoded() {
        let text = |v: &[Option<&str>]| Values::levels(v.iter().copied());
        let trained = table(vec![
            ("age", Values::Number(vec![30.0, f64::NAN, 50.0])),
            ("plan", text(&[Some("b"), Some("a"), None])),
            ("always", Values::Number(vec![1.0; 3])),
            ("nothing", text(&[None, None, None])),
        ]);
        let (encoder, left_out) = Encoder::fit(&trained);
        assert_eq!(left_out, [("always".into(), "constant"), ("nothing".into(), "never known")]);
        assert_eq!(encoder.columns(), ["age", "plan=a", "plan=b", "plan=(missing)"]);
        assert_eq!((encoder.owners(), encoder.features[0].mean), (vec![0, 1, 1, 1], 40.0));
        assert!(encoder.levels().into_iter().eq(std::iter::once(1..4)));
        // Reordered, with an unseen level, an extra column, and the number as text.
        let other = table(vec![
            ("plan", text(&[Some("new"), Some("b"), None])),
            ("extra", Values::Number(vec![0.0; 3])),
            ("age", text(&[Some(" 7 "), Some("old"), Some("inf")])),
        ]);
        let m = encoder.matrix(&other);
        assert_eq!(m.columns[0][0], 7.0);
        assert!(m.columns[0][1].is_nan() && m.columns[0][2].is_nan());
        assert_eq!(m.columns[1..], [vec![0.0; 3], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]]);
        let none = encoder.matrix(&Table { rows: 1, columns: vec![] });
        assert!(none.columns[0][0].is_nan() && none.columns[3] == [1.0]);
        assert_eq!(Encoder::from_parts(&[encoder.to_part()]), Ok(encoder));
    }

    #[test]
    fn texts_that_are_numbers_and_blanks_are_numbers() {
        let texts: Vec<String> = (0..40).map(|i| if i % 8 == 0 { " ".into() } else { format!("{i}.5") }).collect();
        let texts = table(vec![("total", Values::levels(texts.iter().map(|t| Some(t.as_str()))))]);
        let (encoder, left_out) = Encoder::fit(&texts);
        assert!(left_out.is_empty() && encoder.features[0].levels.is_none());
        assert_eq!(encoder.features[0].missing_share, 5.0 / 40.0);
        let x = encoder.matrix(&texts);
        assert!(x.columns[0][0].is_nan() && x.columns[0][39] == 39.5);
        // A few numerals are names.
        let few = table(vec![("grade", Values::levels((0..40).map(|i| Some(["1", "2", "3"][i % 3]))))]);
        assert_eq!(Encoder::fit(&few).0.columns(), ["grade=1", "grade=2", "grade=3"]);
    }

    #[test]
    fn rare_levels_share_a_column_and_keys_are_left_out() {
        let names: Vec<String> = (0..400).map(|i| format!("l{:02}", if i < 300 { i % 30 } else { 30 + i % 50 })).collect();
        let (encoder, _) = Encoder::fit(&table(vec![("level", Values::levels(names.iter().map(|n| Some(n.as_str()))))]));
        assert_eq!(encoder.features[0].levels.as_ref().map(|l| (l.len(), l[30].clone())), Some((31, OTHER.to_owned())));
        let keys: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let (encoder, left_out) = Encoder::fit(&table(vec![("key", Values::levels(keys.iter().map(|n| Some(n.as_str()))))]));
        assert!(encoder.features.is_empty() && left_out.len() == 1);
    }
}
