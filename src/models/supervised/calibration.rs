//! Making predictions mean what they say: a monotone function of scores, fitted on rows that the model has not learned from. Of probabilities:
//!
//! * Platt (1999), "Probabilistic outputs for support vector machines": P(y = 1 | f) = 1 / (1 + exp(−(a·f + b))), f the log-odds of the prediction. Labels are drawn to
//!   (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), so that a and b are finite whatever the labels; Newton's method as in Lin, Lin & Weng (2007), "A note on Platt's probabilistic
//!   outputs", algorithm 1. Where the fit would turn the order round (a < 0) a is 0 and b the log-odds of (n₊ + 1)/(n + 2).
//!   What comes out has log-odds within ±30, so that log-loss stays finite.
//! * Isotonic (Zadrozny & Elkan 2002, KDD '02): the non-decreasing function of least squares, by pool-adjacent-violators, linear between the ends of its steps and
//!   constant beyond. Rows of equal scores are one, of their mean label. Where all labels of the first step are 0, or all of the last are 1, of n rows, its value is
//!   1/(n + 2) or (n + 1)/(n + 2), but no further in than its neighbour: log-loss stays finite. Within a step and beyond the ends answers rise with the score by less
//!   than 2·10⁻⁹ in all, so that what was ranked stays ranked.
//!
//! Of a number, a line: the level of its season, or its median ([`super::median`]). Where that is 0, answers rise by 10⁻⁹ of the prediction, for the same reason.

use std::fmt;

use super::Link;
use super::median::Median;
use crate::models::{Column, ModelError, Part, part};

/// The ways there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationKind {
    None,
    Platt,
    Isotonic,
    /// Of a number, to its median.
    Linear,
}

/// From a score, on the scale of the model's link, to a probability or a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Calibration {
    /// The prediction as it is.
    None,
    /// Slope (not negative) and intercept on the log-odds of the prediction.
    Platt { a: f64, b: f64 },
    /// Scores, ascending, and their probabilities, never falling and within (0, 1).
    Isotonic { x: Vec<f64>, y: Vec<f64> },
    /// Of a number: slope (not negative) and intercept on the prediction; not below 0 where it is `censored`.
    Linear { slope: f64, intercept: f64, censored: bool },
}

/// Log-odds are kept within this: those of the least probability there is.
const MOST_LOG_ODDS: f64 = 700.0;
/// Log-odds are moved by this at most.
const MOST_SHIFT: f64 = 8.0;
/// Platt's answers are kept this far from 0 and 1: 1 − p is still told from 0.
const MOST_ANSWERED: f64 = 30.0;
/// Newton's method of Lin, Lin & Weng: steps, halvings of a step, ridge of the Hessian, and the gradient at which it ends.
const STEPS: usize = 100;
const LEAST_STEP: f64 = 1e-10;
const RIDGE: f64 = 1e-12;
const GRADIENT: f64 = 1e-9;
/// Answers of one step differ by twice this at most.
const RANKED: f64 = 1e-9;
/// Scores closer than this, relatively, are equal; that of scikit-learn for scores about 1.
const EQUAL: f64 = 1e-15;

impl Calibration {
    /// From the scores of a model and labels, parallel, which are 0/1 but for `Linear`. Probabilities are scores of [`Link::Identity`], log-odds of [`Link::Logit`].
    ///
    /// # Errors
    /// `TooLittleData` without rows.
    pub fn fit(kind: CalibrationKind, link: Link, scores: &[f64], labels: &[f64]) -> Result<Self, ModelError> {
        if scores.is_empty() && kind != CalibrationKind::None {
            return Err(ModelError::TooLittleData(
                "no rows to calibrate on: calibration needs rows that the model has not learned from".into(),
            ));
        }
        Ok(match kind {
            CalibrationKind::None => Self::None,
            CalibrationKind::Linear => {
                let Median { slope, intercept, censored } =
                    Median::fit(&scores.iter().map(|s| link.inverse(*s)).collect::<Vec<_>>(), labels);
                Self::Linear { slope, intercept, censored }
            }
            CalibrationKind::Platt => platt(&scores.iter().map(|s| log_odds(link, *s)).collect::<Vec<_>>(), labels),
            CalibrationKind::Isotonic => isotonic(scores, labels),
        })
    }

    /// Of probabilities, with the log-odds moved by as much as makes the mean probability of some scores `rate`.
    pub fn levelled(self, link: Link, scores: &[f64], rate: f64) -> Self {
        let odds: Vec<f64> = scores.iter().map(|s| log_odds(Link::Identity, self.prediction(link, *s))).collect();
        let mean = |b: f64| odds.iter().map(|z| Link::Logit.inverse(z + b)).sum::<f64>() / odds.len().max(1) as f64;
        let (mut low, mut high) = (-MOST_SHIFT, MOST_SHIFT);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if mean(middle) < rate { low = middle } else { high = middle }
        }
        let by = f64::midpoint(low, high);
        match self {
            Self::None => Self::Platt { a: 1.0, b: by },
            Self::Platt { a, b } => Self::Platt { a, b: b + by },
            Self::Isotonic { x, y } => {
                let y = y.iter().map(|p| Link::Logit.inverse(log_odds(Link::Identity, *p) + by)).collect();
                Self::Isotonic { x, y }
            }
            Self::Linear { .. } => self,
        }
    }

    /// The probability or number of a score; of a higher score never a lower one. `link` is that of the fit.
    pub fn prediction(&self, link: Link, score: f64) -> f64 {
        match self {
            Self::None => link.inverse(score),
            Self::Platt { a, b } => Link::Logit.inverse((a * log_odds(link, score) + b).clamp(-MOST_ANSWERED, MOST_ANSWERED)),
            Self::Isotonic { x, y } => {
                let after = x.partition_point(|v| *v < score);
                let odds = log_odds(link, score);
                let rank = RANKED * odds / (1.0 + odds.abs());
                let step = match after {
                    0 => y[0],
                    after if after == x.len() => y[after - 1],
                    after => {
                        let (low, high) = (x[after - 1], x[after]);
                        // Halved first: the distance of two huge scores overflows.
                        let part = (score / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
                        (y[after - 1] + (y[after] - y[after - 1]) * part).min(y[after])
                    }
                };
                step + rank
            }
            Self::Linear { slope, intercept, censored } => {
                let p = link.inverse(score);
                let line = slope * p + intercept;
                let answer = match (*censored, *slope == 0.0) {
                    (true, _) => line.max(0.0) + RANKED * p.max(0.0),
                    (false, true) => line + RANKED * p,
                    (false, false) => line,
                };
                answer.clamp(f64::MIN, f64::MAX)
            }
        }
    }

    pub fn to_parts(&self) -> Vec<Part> {
        let (name, table) = match self {
            Self::None => ("none", None),
            Self::Platt { a, b } => ("platt", Some(Part::row(PLATT, &[("a", *a), ("b", *b)]))),
            Self::Isotonic { x, y } => {
                ("isotonic", Some(Part::new(ISOTONIC, vec![("x", Column::F64(x.clone())), ("y", Column::F64(y.clone()))])))
            }
            Self::Linear { slope, intercept, censored } => {
                let row = [("slope", *slope), ("intercept", *intercept), ("censored", f64::from(u8::from(*censored)))];
                ("linear", Some(Part::row(LINEAR, &row)))
            }
        };
        std::iter::once(Part::new(TABLE, vec![("kind", Column::Text(vec![name.into()]))])).chain(table).collect()
    }

    /// Reads what [`Calibration::to_parts`] wrote.
    ///
    /// # Errors
    /// `Damaged` unless it is a monotone function, of a probability into (0, 1).
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        match part(parts, TABLE)?.text("kind")? {
            [kind] if kind == "none" => Ok(Self::None),
            [kind] if kind == "platt" => {
                let table = part(parts, PLATT)?;
                match (table.number("a")?, table.number("b")?) {
                    (a, _) if a < 0.0 => Err(ModelError::Damaged(format!("a = {a} in table '{PLATT}', which must not be negative"))),
                    (a, b) => Ok(Self::Platt { a, b }),
                }
            }
            [kind] if kind == "isotonic" => {
                let table = part(parts, ISOTONIC)?;
                let (x, y) = (table.finite("x")?.to_vec(), table.finite("y")?.to_vec());
                let rising = x.is_sorted_by(|a, b| a < b) && y.is_sorted();
                if x.len() == y.len() && !x.is_empty() && rising && y[0] > 0.0 && y[y.len() - 1] < 1.0 {
                    Ok(Self::Isotonic { x, y })
                } else {
                    Err(ModelError::Damaged(format!("steps that do not rise within 0 and 1 in table '{ISOTONIC}'")))
                }
            }
            [kind] if kind == "linear" => {
                let table = part(parts, LINEAR)?;
                match table.number("slope")? {
                    slope if slope < 0.0 => {
                        Err(ModelError::Damaged(format!("slope = {slope} in table '{LINEAR}', which must not be negative")))
                    }
                    slope => Ok(Self::Linear { slope, intercept: table.number("intercept")?, censored: table.number("censored")? != 0.0 }),
                }
            }
            kind => Err(ModelError::Damaged(format!("kind = {kind:?} in table '{TABLE}'"))),
        }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Platt { .. } => write!(f, "platt"),
            Self::Isotonic { .. } => write!(f, "isotonic"),
            Self::Linear { slope, intercept, censored: false } => write!(f, "linear: {slope:.4} · prediction + {intercept:.4}"),
            Self::Linear { slope, intercept, censored: true } => write!(f, "linear: max(0, {slope:.4} · prediction + {intercept:.4})"),
        }
    }
}

const TABLE: &str = "calibration";
const PLATT: &str = "calibration_platt";
const ISOTONIC: &str = "calibration_isotonic";
const LINEAR: &str = "calibration_linear";

/// The log-odds of a prediction, of 0 and 1 too.
fn log_odds(link: Link, score: f64) -> f64 {
    let odds = match link {
        Link::Logit => score,
        Link::Identity | Link::Log => {
            let p = link.inverse(score).clamp(0.0, 1.0);
            p.ln() - (-p).ln_1p()
        }
    };
    odds.clamp(-MOST_LOG_ODDS, MOST_LOG_ODDS)
}

fn platt(f: &[f64], labels: &[f64]) -> Calibration {
    let n = f.len() as f64;
    let positives = labels.iter().filter(|y| **y > 0.5).count() as f64;
    let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (n - positives + 2.0));
    let constant = ((positives + 1.0) / (n - positives + 1.0)).ln();
    // Standardised, or scores far from 0 or close together would leave the Hessian without a digit.
    let mean = f.iter().map(|f| f / n).sum::<f64>();
    let deviation = f.iter().map(|f| (f - mean).powi(2) / n).sum::<f64>().sqrt();
    if deviation <= 1e-12 * (1.0 + mean.abs()) {
        return Calibration::Platt { a: 0.0, b: constant };
    }
    let rows = || f.iter().zip(labels).map(|(f, y)| ((*f - mean) / deviation, if *y > 0.5 { high } else { low }));
    // −t·η + ln(1 + e^η), without overflow.
    let loss = |a: f64, b: f64| -> f64 {
        let one = |(f, t): (f64, f64)| {
            let eta = a * f + b;
            eta.max(0.0) - t * eta + (-eta.abs()).exp().ln_1p()
        };
        rows().map(one).sum()
    };
    let (mut a, mut b) = (0.0, constant);
    let mut value = loss(a, b);
    for _ in 0..STEPS {
        let (mut haa, mut hab, mut hbb, mut ga, mut gb) = (RIDGE, 0.0, RIDGE, 0.0, 0.0);
        for (f, t) in rows() {
            let p = Link::Logit.inverse(a * f + b);
            let (d, w) = (p - t, p * (1.0 - p));
            ga += d * f;
            gb += d;
            haa += w * f * f;
            hab += w * f;
            hbb += w;
        }
        if ga.abs() <= GRADIENT && gb.abs() <= GRADIENT {
            break;
        }
        let determinant = haa * hbb - hab * hab;
        let (da, db) = (-(hbb * ga - hab * gb) / determinant, -(haa * gb - hab * ga) / determinant);
        let slope = ga * da + gb * db;
        let mut step = 1.0;
        let better = loop {
            let next = loss(a + step * da, b + step * db);
            if next < value + 1e-4 * step * slope {
                break Some(next);
            }
            step /= 2.0;
            if step.is_nan() || step < LEAST_STEP {
                break None;
            }
        };
        let Some(next) = better else { break };
        (a, b, value) = (a + step * da, b + step * db, next);
    }
    let (a, b) = (a / deviation, b - a * mean / deviation);
    if a >= 0.0 && a.is_finite() && b.is_finite() { Calibration::Platt { a, b } } else { Calibration::Platt { a: 0.0, b: constant } }
}

/// Rows of one value: the first and last score, rows, and those of label 1.
struct Step {
    first: f64,
    last: f64,
    rows: f64,
    positives: f64,
}

impl Step {
    fn mean(&self) -> f64 {
        self.positives / self.rows
    }
}

fn isotonic(scores: &[f64], labels: &[f64]) -> Calibration {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut steps: Vec<Step> = vec![];
    let mut at = 0;
    while at < order.len() {
        let first = scores[order[at]];
        let tied = order[at..].iter().take_while(|&&i| scores[i] - first <= EQUAL * first.abs().max(1.0)).count().max(1);
        let positives = order[at..at + tied].iter().filter(|&&i| labels[i] > 0.5).count() as f64;
        let mut step = Step { first, last: first, rows: tied as f64, positives };
        // Means compared as products of counts: exact. Steps of one mean are one.
        while let Some(before) = steps.pop_if(|before| before.positives * step.rows >= step.positives * before.rows) {
            step =
                Step { first: before.first, last: step.last, rows: before.rows + step.rows, positives: before.positives + step.positives };
        }
        steps.push(step);
        at += tied;
    }
    let mut means: Vec<f64> = steps.iter().map(Step::mean).collect();
    let last = steps.len() - 1;
    let (start, end) = (1.0 / (steps[0].rows + 2.0), (steps[last].rows + 1.0) / (steps[last].rows + 2.0));
    if means[0] == 0.0 {
        means[0] = means.get(1).map_or(start, |next| start.min(*next));
    }
    if means[last] == 1.0 {
        means[last] = last.checked_sub(1).map_or(end, |before| end.max(means[before]));
    }
    let (mut x, mut y) = (vec![], vec![]);
    for (step, mean) in steps.iter().zip(means) {
        x.push(step.first);
        y.push(mean);
        if step.last > step.first {
            x.push(step.last);
            y.push(mean);
        }
    }
    Calibration::Isotonic { x, y }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const P: [f64; 12] = [0.93, 0.81, 0.78, 0.7, 0.61, 0.55, 0.52, 0.5, 0.4, 0.3, 0.2, 0.1];
    const Y: [f64; 12] = [1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

    fn fit(kind: CalibrationKind, p: &[f64], y: &[f64]) -> Calibration {
        Calibration::fit(kind, Link::Identity, p, y).unwrap()
    }

    /// scipy's minimize on the same sum to 1e-13; scikit-learn's _SigmoidCalibration agrees to 3e-7.
    #[test]
    fn platt_is_the_minimum_on_either_scale() {
        let Calibration::Platt { a, b } = fit(CalibrationKind::Platt, &P, &Y) else { panic!("not Platt") };
        assert!((a - 0.5905897119379266).abs() < 1e-7 && (b + 0.10125384408476351).abs() < 1e-7, "{a} {b}");
        let odds = P.map(|p| (p / (1.0 - p)).ln());
        let of_odds = Calibration::fit(CalibrationKind::Platt, Link::Logit, &odds, &Y).unwrap();
        assert!((of_odds.prediction(Link::Logit, odds[2]) - Calibration::Platt { a, b }.prediction(Link::Identity, P[2])).abs() < 1e-12);
    }

    /// scikit-learn's IsotonicRegression(out_of_bounds='clip'), but for the ends: 0 of one row is 1/3, 1 of one row is 2/3 and no less than the step before.
    #[test]
    fn isotonic_has_the_steps_of_scikit_learn() {
        let x = [0.1, 0.2, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9];
        let y = [0., 0., 1., 0., 1., 0., 0., 1., 1., 1., 0., 1.];
        let c = fit(CalibrationKind::Isotonic, &x, &y);
        let third = 1.0 / 3.0;
        let (xs, ys) = (vec![0.1, 0.2, 0.5, 0.6, 0.8, 0.9], vec![third, third, third, 0.75, 0.75, 0.75]);
        assert_eq!(c, Calibration::Isotonic { x: xs, y: ys });
        let expected = [(0.0, third), (0.42, third), (0.55, 0.5416666666666669), (0.65, 0.75), (7.0, 0.75)];
        for (at, expected) in expected {
            assert!((c.prediction(Link::Identity, at) - expected).abs() <= RANKED, "{at}");
        }
        // What is ranked stays ranked.
        let of = |at: f64| c.prediction(Link::Identity, at);
        assert!([0.01, 0.05, 0.1, 0.2, 0.21, 0.3, 0.5, 0.6, 0.61, 0.8, 0.9, 0.91, 0.99].windows(2).all(|w| of(w[0]) < of(w[1])));
    }

    /// The max-min formula: the value at i is max over a ≤ i of min over b ≥ i of the mean of a..=b.
    #[test]
    fn isotonic_is_the_max_of_min_of_means() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..50 {
            let y: Vec<f64> = (0..25).map(|i| f64::from(u8::from(rng.random_bool(0.2 + 0.024 * f64::from(i))))).collect();
            let x: Vec<f64> = (0..25).map(|i| f64::from(i) - 12.0).collect();
            let c = Calibration::fit(CalibrationKind::Isotonic, Link::Logit, &x, &y).unwrap();
            for (i, score) in x.iter().enumerate() {
                let mean = |a: usize, b: usize| y[a..=b].iter().sum::<f64>() / (b - a + 1) as f64;
                let value = (0..=i).map(|a| (i..25).map(|b| mean(a, b)).fold(f64::MAX, f64::min)).fold(0.0, f64::max);
                let got = c.prediction(Link::Logit, *score);
                assert!(value == 0.0 || value == 1.0 || (got - value).abs() <= RANKED, "{got} against {value}");
            }
        }
    }

    #[test]
    fn whatever_comes_it_is_monotone_finite_and_reads_back() {
        let huge = [-1e308, -1e300, -3.0, 0.0, 0.0, 1.0, 40.0, 1e300, 1e308];
        let labels: [[f64; 9]; 5] = [
            [0., 0., 0., 0., 1., 0., 1., 1., 1.],
            [1., 1., 1., 0., 0., 0., 0., 0., 0.],
            [0.; 9],
            [1.; 9],
            [0., 0., 0., 1., 1., 1., 1., 1., 1.],
        ];
        for kind in [CalibrationKind::None, CalibrationKind::Platt, CalibrationKind::Isotonic] {
            for y in &labels {
                let c = Calibration::fit(kind, Link::Logit, &huge, y).unwrap();
                assert_eq!(Calibration::from_parts(&c.to_parts()).unwrap(), c);
                let at = [f64::MIN, -1e305, -5.0, -1.0, 0.0, 0.5, 3.0, 50.0, 1e301, f64::MAX];
                let p = at.map(|s| c.prediction(Link::Logit, s));
                assert!(p.is_sorted() && p.iter().all(|p| (0.0..=1.0).contains(p)), "{kind:?} {y:?} {p:?}");
                assert!(kind == CalibrationKind::None || p.iter().all(|p| *p > 0.0 && *p < 1.0));
            }
        }
        for y in [&labels[0][..], &huge] {
            let c = Calibration::fit(CalibrationKind::Linear, Link::Identity, &huge, y).unwrap();
            assert_eq!(Calibration::from_parts(&c.to_parts()).unwrap(), c);
            let at = [f64::MIN, -1e305, -5.0, -1.0, 0.0, 0.5, 3.0, 50.0, 1e301, f64::MAX];
            let p = at.map(|s| c.prediction(Link::Identity, s));
            assert!(p.is_sorted() && p.iter().all(|p| p.is_finite()), "{c}: {p:?}");
        }
        let c = Calibration::Linear { slope: 2.0, intercept: -3.0, censored: true };
        let p = [-1.0, 0.5, 1.0, 2.0].map(|s| c.prediction(Link::Identity, s));
        assert!(p[0] == 0.0 && 0.0 < p[1] && p[1] < p[2] && p[2] < 2e-9 && (p[3] - 1.0).abs() < 1e-8, "what is ranked stays ranked: {p:?}");
        assert!((fit(CalibrationKind::Isotonic, &[0.5], &[1.0]).prediction(Link::Identity, 0.1) - 2.0 / 3.0).abs() <= RANKED);
        assert!(Calibration::fit(CalibrationKind::Platt, Link::Logit, &[], &[]).is_err());
        let damaged = |x: Vec<f64>, y: Vec<f64>| {
            let mut parts = Calibration::Isotonic { x: vec![0.0], y: vec![0.5] }.to_parts();
            parts[1] = Part::new(ISOTONIC, vec![("x", Column::F64(x)), ("y", Column::F64(y))]);
            matches!(Calibration::from_parts(&parts), Err(ModelError::Damaged(_)))
        };
        assert!(damaged(vec![], vec![]) && damaged(vec![0.0, 0.0], vec![0.1, 0.2]) && damaged(vec![0.0, 1.0], vec![0.3, 0.2]));
        assert!(damaged(vec![0.0], vec![1.0]) && damaged(vec![0.0], vec![f64::NAN]) && !damaged(vec![0.0], vec![0.3]));
    }
}
