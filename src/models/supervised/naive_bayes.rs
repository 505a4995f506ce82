//! Naive Bayes: log-odds of a 0/1 label as those of the label itself and, of each column by itself, the log of how much likelier its value
//! is among label 1.
//!
//! A column of more than two values is normal within each label, as scikit-learn's `GaussianNB` has it (variances are raised by 1e-9 of the
//! largest), as it is or by its logarithm, whichever makes it likelier; one of two values is Bernoulli with Laplace smoothing; the levels of one feature are
//! categorical with Laplace smoothing, as `CategoricalNB` has it: the level that a row has counts, once. A number that is not known, or a level that was not
//! seen, counts for nothing (of levels, not known is one where training rows had it). Ranks well; its probabilities are far too sure where columns tell the same twice.

use std::sync::Arc;

use rayon::prelude::*;

use super::glm::{MOST_COLUMNS, shares};
use super::logistic_reg::classes;
use super::scaling::{Kind, PIECE, TRANSFORM, checked_width};
use super::{Contributions, Link, Matrix, Predictor, Training};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, part};

const NAME: &str = "naive_bayes";

/// `model_type = 'naive_bayes'`.
pub static NAIVE_BAYES: ModelType = ModelType {
    name: NAME,
    about: "naive Bayes: how much likelier each column's value is among label 1, multiplied",
    options: &[
        OptionSpec {
            name: "smoothing",
            default: "1",
            allowed: Allowed::Number { least: 1e-6, most: 1e9 },
            about: "rows added to either value of a column of two, and to each level of a feature (Laplace)",
        },
        TRANSFORM,
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(NaiveBayes::fit(training, options, control)?)),
        read: |parts| Ok(Arc::new(NaiveBayes::from_parts(parts)?)),
    },
};

/// Share of the largest variance of a column that is added to each.
const VARIANCE_SMOOTHING: f64 = 1e-9;
/// A value this many standard deviations from the mean counts as one that is just so far.
const FARTHEST: f64 = 1e6;
/// A standard deviation below this share of the largest value is rounding.
const ROUNDING: f64 = 1e-13;

/// How a column is distributed among label 0 and label 1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Likelihood {
    /// Constant, or never known with one of the labels: counts for nothing.
    Nothing,
    Normal {
        kind: Kind,
        mean: [f64; 2],
        deviation: [f64; 2],
    },
    /// `high`: probability of a value of at least `middle`.
    Two {
        middle: f64,
        high: [f64; 2],
    },
    /// One of the levels of a feature: its probability.
    Level {
        share: [f64; 2],
    },
}

impl Likelihood {
    /// Of a value, ln of how much likelier it is among label 1; 0 where it is not known.
    fn ratio(self) -> impl Fn(f64) -> f64 {
        let fixed = match self {
            Self::Nothing => [0.0; 2],
            Self::Normal { deviation, .. } => [(deviation[0] / deviation[1]).ln(); 2],
            Self::Two { high, .. } => [((1.0 - high[1]) / (1.0 - high[0])).ln(), (high[1] / high[0]).ln()],
            Self::Level { share } => [0.0, (share[1] / share[0]).ln()],
        };
        move |x| match self {
            _ if x.is_nan() => 0.0,
            Self::Nothing => 0.0,
            Self::Normal { kind, mean, deviation } => {
                let v = kind.of(x);
                let far = |c: usize| ((v - mean[c]) / deviation[c]).clamp(-FARTHEST, FARTHEST).powi(2);
                fixed[0] + 0.5 * (far(0) - far(1))
            }
            Self::Two { middle, .. } => fixed[usize::from(x >= middle)],
            Self::Level { .. } => fixed[usize::from(x >= 0.5)],
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Normal { kind: Kind::Log, .. } => "ln_normal",
            Self::Normal { .. } => "normal",
            Self::Two { .. } => "two",
            Self::Level { .. } => "level",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct NaiveBayes {
    /// Log-odds of the label itself.
    prior: f64,
    columns: Vec<Likelihood>,
    /// Of a column's ratio over the training rows: its mean, and its mean distance from that.
    mean_ratio: Vec<f64>,
    spread: Vec<f64>,
}

/// Mean and variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count)
}

/// Before variances are raised, with the column's own variance.
fn likelihood(column: &[f64], y: &[f64], options: &Options) -> (Likelihood, f64) {
    const NOTHING: (Likelihood, f64) = (Likelihood::Nothing, 0.0);
    let mut of_label = [vec![], vec![]];
    column.iter().zip(y).filter(|(v, _)| !v.is_nan()).for_each(|(v, y)| of_label[usize::from(*y > 0.5)].push(*v));
    let known = || of_label.iter().flatten().copied();
    let (least, most) = known().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    if least >= most || of_label.iter().any(Vec::is_empty) {
        return NOTHING;
    }
    if known().all(|v| v == least || v == most) {
        let smoothing = options.number("smoothing");
        let high = |values: &Vec<f64>| {
            (values.iter().filter(|v| **v == most).count() as f64 + smoothing) / (values.len() as f64 + 2.0 * smoothing)
        };
        return (Likelihood::Two { middle: 0.5 * least + 0.5 * most, high: of_label.each_ref().map(high) }, 0.0);
    }
    let kind = likelier(Kind::chosen(column, options), &of_label);
    of_label.iter_mut().flatten().for_each(|v| *v = kind.of(*v));
    let [(mean_0, variance_0), (mean_1, variance_1)] = of_label.each_ref().map(|values| moments(values));
    let share = of_label[1].len() as f64 / (of_label[0].len() + of_label[1].len()) as f64;
    let variance = variance_0 + share * (variance_1 - variance_0) + share * (1.0 - share) * (mean_1 - mean_0).powi(2);
    let largest = kind.of(least).abs().max(kind.of(most).abs());
    if variance.sqrt() <= ROUNDING * largest {
        return NOTHING;
    }
    (Likelihood::Normal { kind, mean: [mean_0, mean_1], deviation: [variance_0.sqrt(), variance_1.sqrt()] }, variance)
}

/// The logarithm where it may be taken and makes the values likelier than they are as they are; both normal within each label.
fn likelier(may_be: Kind, of_label: &[Vec<f64>; 2]) -> Kind {
    if may_be == Kind::Value {
        return may_be;
    }
    let spread = |kind: Kind| -> f64 {
        let of = |values: &Vec<f64>| {
            let taken: Vec<f64> = values.iter().map(|v| kind.of(*v)).collect();
            let largest = taken.iter().fold(f64::MIN_POSITIVE, |m: f64, v| m.max(v.abs()));
            // Of equal values, what is left of rounding decides nothing.
            values.len() as f64 * moments(&taken).1.sqrt().max(ROUNDING * largest).ln()
        };
        of_label.iter().map(of).sum()
    };
    // A density of ln(1 + |x|) is one of x by the derivative, 1 / (1 + |x|).
    let derivative: f64 = of_label.iter().flatten().map(|v| v.abs().ln_1p()).sum();
    if spread(Kind::Log) + derivative < spread(Kind::Value) { Kind::Log } else { Kind::Value }
}

/// The levels of a feature: of each, its share among both labels.
fn levels(columns: &[Vec<f64>], y: &[f64], options: &Options) -> Vec<(Likelihood, f64)> {
    let smoothing = options.number("smoothing");
    let count = |column: &Vec<f64>, label: bool| column.iter().zip(y).filter(|(v, y)| **v >= 0.5 && (**y > 0.5) == label).count() as f64;
    let counts: Vec<[f64; 2]> = columns.iter().map(|c| [count(c, false), count(c, true)]).collect();
    let rows = [0, 1].map(|label| counts.iter().map(|c| c[label]).sum::<f64>() + smoothing * columns.len() as f64);
    counts.iter().map(|c| (Likelihood::Level { share: [0, 1].map(|l| (c[l] + smoothing) / rows[l]) }, 0.0)).collect()
}

impl NaiveBayes {
    fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<Self, ModelError> {
        let [negatives, positives] = classes(NAME, training)?;
        let Training { x, y, .. } = training;
        control.report(NAME, 0.0);
        let of_column = |column: &Vec<f64>| control.check().map(|()| likelihood(column, y, options));
        let fitted: Result<Vec<(Likelihood, f64)>, ModelError> = x.columns.par_iter().map(of_column).collect();
        let mut fitted = fitted?;
        training.levels.iter().for_each(|range| fitted[range.clone()].copy_from_slice(&levels(&x.columns[range.clone()], y, options)));
        let raise = VARIANCE_SMOOTHING * fitted.iter().map(|(_, variance)| *variance).fold(0.0, f64::max);
        let raised = |(one, _)| match one {
            Likelihood::Normal { kind, mean, deviation } => {
                Likelihood::Normal { kind, mean, deviation: deviation.map(|s: f64| (s * s + raise).sqrt()) }
            }
            other => other,
        };
        let columns: Vec<Likelihood> = fitted.into_iter().map(raised).collect();
        let rows = x.rows as f64;
        let of_ratios = |(one, values): (&Likelihood, &Vec<f64>)| {
            let ratios: Vec<f64> = values.iter().copied().map(one.ratio()).collect();
            let mean = ratios.iter().sum::<f64>() / rows;
            (mean, ratios.iter().map(|r| (r - mean).abs()).sum::<f64>() / rows)
        };
        let (mean_ratio, spread) = columns.par_iter().zip(&x.columns).map(of_ratios).unzip();
        control.report(NAME, 1.0);
        Ok(Self { prior: (positives / negatives).ln(), columns, mean_ratio, spread })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let table = part(parts, "naive_bayes_columns")?;
        let kinds = table.text("kind")?;
        let [mean_ratio, spread, a0, a1, b0, b1] = [
            table.finite("mean_ratio")?,
            table.finite("spread")?,
            table.finite("a_0")?,
            table.finite("a_1")?,
            table.finite("b_0")?,
            table.finite("b_1")?,
        ];
        let damaged = |what: &str| ModelError::Damaged(format!("{what} in table 'naive_bayes_columns'"));
        if kinds.len() > MOST_COLUMNS || [mean_ratio, spread, a0, a1, b0, b1].iter().any(|c| c.len() != kinds.len()) {
            return Err(damaged("columns of different lengths"));
        }
        let columns: Result<Vec<Likelihood>, ModelError> = (0..kinds.len())
            .map(|j| {
                let (a, b) = ([a0[j], a1[j]], [b0[j], b1[j]]);
                match kinds[j].as_str() {
                    "nothing" => Ok(Likelihood::Nothing),
                    "normal" | "ln_normal" if b.iter().all(|s| *s > 0.0) => {
                        Ok(Likelihood::Normal { kind: if kinds[j] == "normal" { Kind::Value } else { Kind::Log }, mean: a, deviation: b })
                    }
                    "two" if a.iter().all(|p| *p > 0.0 && *p < 1.0) => Ok(Likelihood::Two { middle: b[0], high: a }),
                    "level" if a.iter().all(|p| *p > 0.0 && *p <= 1.0) => Ok(Likelihood::Level { share: a }),
                    _ => Err(damaged("an unknown distribution")),
                }
            })
            .collect();
        if spread.iter().any(|s| *s < 0.0) {
            return Err(damaged("a spread below 0"));
        }
        let prior = part(parts, NAME)?.number("prior")?;
        Ok(Self { prior, columns: columns?, mean_ratio: mean_ratio.to_vec(), spread: spread.to_vec() })
    }
}

impl Predictor for NaiveBayes {
    fn link(&self) -> Link {
        Link::Logit
    }

    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        checked_width(self.columns.len(), x)?;
        let mut scores = vec![self.prior; x.rows];
        scores.par_chunks_mut(PIECE).enumerate().try_for_each(|(piece, out)| {
            control.check()?;
            for (one, values) in self.columns.iter().zip(&x.columns) {
                let ratio = one.ratio();
                out.iter_mut().zip(&values[piece * PIECE..]).for_each(|(s, v)| *s += ratio(*v));
            }
            Ok(())
        })?;
        Ok(scores)
    }

    /// A column's log ratio beside its mean over the training rows; the baseline has those means.
    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError> {
        let width = self.columns.len();
        checked_width(width, x)?;
        let mut values = vec![0.0; x.rows * width];
        values.par_chunks_mut(PIECE * width.max(1)).enumerate().try_for_each(|(piece, out)| {
            control.check()?;
            for (j, one) in self.columns.iter().enumerate() {
                let ratios = x.columns[j][piece * PIECE..].iter().copied().map(one.ratio()).map(|ratio| ratio - self.mean_ratio[j]);
                out.iter_mut().skip(j).step_by(width).zip(ratios).for_each(|(c, ratio)| *c = ratio);
            }
            Ok(())
        })?;
        Ok(Contributions { baseline: self.prior + self.mean_ratio.iter().sum::<f64>(), width, values })
    }

    /// Shares of the mean distance of log ratios from their mean.
    fn importance(&self) -> Vec<f64> {
        shares(self.spread.clone())
    }

    /// Of a normal column, the means and standard deviations (of its logarithm where that is taken) among both labels; of one of two
    /// values, the probability of the higher; of a level, its probability.
    fn parameters(&self, columns: &[String]) -> Vec<(String, f64)> {
        let mut all = vec![("prior_log_odds".to_owned(), self.prior)];
        for (name, one) in columns.iter().zip(&self.columns) {
            match one {
                Likelihood::Nothing => {}
                Likelihood::Normal { kind, mean, deviation } => {
                    let name = kind.name(name);
                    for label in [0, 1] {
                        all.push((format!("{name}.mean_{label}"), mean[label]));
                        all.push((format!("{name}.sd_{label}"), deviation[label]));
                    }
                }
                Likelihood::Two { high: share, .. } | Likelihood::Level { share } => {
                    all.extend([0, 1].map(|label| (format!("{name}.p_{label}"), share[label])));
                }
            }
        }
        all
    }

    fn to_parts(&self) -> Vec<Part> {
        let four = self.columns.iter().map(|one| match *one {
            Likelihood::Nothing => [0.0; 4],
            Likelihood::Normal { mean, deviation, .. } => [mean[0], mean[1], deviation[0], deviation[1]],
            Likelihood::Two { middle, high } => [high[0], high[1], middle, 0.0],
            Likelihood::Level { share } => [share[0], share[1], 0.0, 0.0],
        });
        let of = |i: usize| Column::F64(four.clone().map(|f| f[i]).collect());
        let table = vec![
            ("kind", Column::Text(self.columns.iter().map(|c| c.name().to_owned()).collect())),
            ("a_0", of(0)),
            ("a_1", of(1)),
            ("b_0", of(2)),
            ("b_1", of(3)),
            ("mean_ratio", Column::F64(self.mean_ratio.clone())),
            ("spread", Column::F64(self.spread.clone())),
        ];
        vec![Part::row(NAME, &[("prior", self.prior)]), Part::new("naive_bayes_columns", table)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::Task;
    use crate::models::supervised::linear_check::{fitted, guarantees, table};

    /// scikit-learn 1.9.1, GaussianNB on the columns without gaps.
    #[test]
    fn equals_scikit_learn() {
        let (mut x, y, _, _) = table();
        x.columns.pop();
        let scores =
            fitted(&NAIVE_BAYES, &x, &y, Task::Classification, &[("transform", "none")]).unwrap().scores(&x, &Control::default()).unwrap();
        for (s, expected) in scores.iter().zip([-0.4180559484525901, 1.6552839757231839, 1.7756180569949]) {
            assert!((s - expected).abs() < 1e-9, "{s} against {expected}");
        }
    }

    /// Four rows by hand: a column of two values with one not known.
    #[test]
    fn two_values_are_counted_and_gaps_left_out() {
        let x = Matrix { rows: 4, columns: vec![vec![1.0, 1.0, 0.0, f64::NAN]] };
        let model = fitted(&NAIVE_BAYES, &x, &[1.0, 0.0, 0.0, 1.0], Task::Classification, &[]).unwrap();
        // (1 + 1)/(1 + 2) among label 1, (1 + 1)/(2 + 2) among label 0.
        let high = (4f64 / 3.0).ln();
        let low = (2f64 / 3.0).ln();
        let scores = model.scores(&x, &Control::default()).unwrap();
        assert!(scores.iter().zip([high, high, low, 0.0]).all(|(s, e)| (s - e).abs() < 1e-15));
        let made_of = model.contributions(&x, &Control::default()).unwrap();
        assert!((made_of.baseline - (2.0 * high + low) / 4.0).abs() < 1e-15 && made_of.values.iter().sum::<f64>().abs() < 1e-14);
    }

    /// scikit-learn 1.9.1, CategoricalNB: 5 rows, levels a, b, c.
    #[test]
    fn levels_are_those_of_scikit_learn() {
        let columns = vec![vec![1.0, 0.0, 0.0, 1.0, 0.0], vec![0.0, 1.0, 0.0, 0.0, 1.0], vec![0.0, 0.0, 1.0, 0.0, 0.0]];
        let x = Matrix { rows: 5, columns };
        let levels: Vec<_> = std::iter::once(0..3).collect();
        let training = Training { x: &x, y: &[1.0, 1.0, 0.0, 0.0, 0.0], task: Task::Classification, levels: &levels, forecast: None };
        let model = NaiveBayes::fit(training, &Options::new(&NAIVE_BAYES, &[]).unwrap(), &Control::default()).unwrap();
        let unseen = Matrix { rows: 4, columns: vec![vec![1.0, 0.0, 0.0, 0.0], vec![0.0, 1.0, 0.0, 0.0], vec![0.0, 0.0, 1.0, 0.0]] };
        let scores = model.scores(&unseen, &Control::default()).unwrap();
        // a, b: 2/5 against 2/6; c: 1/5 against 2/6; a level that was not seen: the label's own odds.
        let expected = [(1.2_f64).ln(), (1.2_f64).ln(), (0.6_f64).ln(), 0.0].map(|r| r + (2.0_f64 / 3.0).ln());
        assert!(scores.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-15), "{scores:?}");
        assert_eq!(NaiveBayes::from_parts(&model.to_parts()), Ok(model));
    }

    /// Log-normal values are taken by their logarithm, normal ones as they are.
    #[test]
    fn the_likelier_of_value_and_logarithm() {
        let z: Vec<f64> = (1..200).map(|i| f64::from(i) / 200.0).map(|p| 0.55 * (p / (1.0 - p)).ln()).collect();
        let both = |f: fn(f64) -> f64| [z.iter().map(|z| f(*z)).collect::<Vec<_>>(), z.iter().map(|z| f(*z + 0.5)).collect()];
        assert_eq!(likelier(Kind::Log, &both(|z| (2.0 * z).exp())), Kind::Log);
        assert_eq!(likelier(Kind::Log, &both(|z| 10.0 + z)), Kind::Value);
        assert_eq!(likelier(Kind::Value, &both(|z| (2.0 * z).exp())), Kind::Value);
    }

    #[test]
    fn keeps_the_guarantees() {
        guarantees(&NAIVE_BAYES, Task::Classification);
    }
}
