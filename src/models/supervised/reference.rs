//! What the features looked like in training: what today's are compared with.

use super::Encoder;
use super::table::{NO_LEVEL, Table, Values};
use crate::models::{Column, ModelError, Part, part};

/// Numbers of a feature that are kept: as many quantiles.
const QUANTILES: usize = 500;

/// A sample of each feature, evenly over its distribution: numbers ascending, the unknown ones (NaN) last; or levels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reference {
    pub features: Vec<(String, Sample)>,
}

/// The distribution of one feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    Numbers(Vec<f64>),
    /// Names and their numbers of rows, by name; rows without a level come under `None`.
    Levels(Vec<(Option<String>, u64)>),
}

impl Sample {
    pub fn of(values: &Values) -> Self {
        match values {
            Values::Number(v) => {
                let mut sorted = v.clone();
                sorted.sort_by(f64::total_cmp);
                if sorted.len() > QUANTILES {
                    let last = (sorted.len() - 1) as f64;
                    sorted = (0..QUANTILES).map(|i| sorted[(i as f64 / (QUANTILES - 1) as f64 * last).round() as usize]).collect();
                }
                Self::Numbers(sorted)
            }
            Values::Level { codes, names } => {
                let mut counts = vec![0u64; names.len()];
                codes.iter().filter(|c| **c != NO_LEVEL).for_each(|c| counts[*c as usize] += 1);
                let missing = codes.iter().filter(|c| **c == NO_LEVEL).count() as u64;
                let mut all: Vec<(Option<String>, u64)> =
                    names.iter().zip(counts).filter(|(_, n)| *n > 0).map(|(name, n)| (Some(name.clone()), n)).collect();
                all.extend((missing > 0).then_some((None, missing)));
                all.sort();
                Self::Levels(all)
            }
        }
    }
}

impl Reference {
    /// Of the features of a model.
    pub fn of(encoder: &Encoder, table: &Table) -> Self {
        let one = |f: &super::Feature| table.get(&f.name).map(|v| (f.name.clone(), Sample::of(&f.read(v))));
        Self { features: encoder.features.iter().filter_map(one).collect() }
    }

    pub fn to_part(&self) -> Part {
        let (mut feature, mut level, mut value) = (vec![], vec![], vec![]);
        for (name, sample) in &self.features {
            match sample {
                Sample::Numbers(v) => v.iter().for_each(|&x| {
                    feature.push(name.clone());
                    level.push(String::new());
                    value.push(x);
                }),
                Sample::Levels(v) => v.iter().for_each(|(l, n)| {
                    feature.push(name.clone());
                    level.push(serde_json::to_string(l).unwrap_or_default());
                    value.push(*n as f64);
                }),
            }
        }
        let columns = vec![("feature", Column::Text(feature)), ("level", Column::Text(level)), ("value", Column::F64(value))];
        Part::new("reference", columns)
    }

    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let p = part(parts, "reference")?;
        let mut out = Self::default();
        for ((feature, level), &value) in p.text("feature")?.iter().zip(p.text("level")?).zip(p.f64("value")?) {
            let sample = if level.is_empty() {
                Sample::Numbers(vec![value])
            } else {
                let level = serde_json::from_str(level).map_err(|e| ModelError::Damaged(format!("reference of {feature}: {e}")))?;
                Sample::Levels(vec![(level, value as u64)])
            };
            match (out.features.last_mut().filter(|(name, _)| name == feature), sample) {
                (Some((_, Sample::Numbers(all))), Sample::Numbers(one)) => all.extend(one),
                (Some((_, Sample::Levels(all))), Sample::Levels(one)) => all.extend(one),
                (_, sample) => out.features.push((feature.clone(), sample)),
            }
        }
        Ok(out)
    }
}
