//! Gradient boosted trees (Friedman 2001, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29(5)), grown
//! on histograms: see [`super::grow`].
//!
//! Every tree is fitted to the derivatives of the loss at the score so far: log-loss for labels of 0 and 1, from the log-odds of the base
//! rate; the squared error for numbers, from their mean; or the deviance of a Tweedie distribution of power ρ for amounts that are often 0
//! (Jørgensen 1987; log link), from the logarithm of the mean.
//!
//! The number of trees is found on a share of the rows that is held back: when so many more trees as `early_stopping` says have not lowered
//! its loss, the best number is taken, and the model is fitted again on all rows.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::bins::Bins;
use super::grow::{Growth, MOST_ROWS, PIECE, grow};
use super::loss::Loss;
use super::{Task, Training, Tree, TreeEnsemble};
use crate::models::hash::{GOLDEN, split_mix, unit};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec};

/// `model_type = 'gbt'`.
pub static GBT: ModelType = ModelType {
    name: "gbt",
    about: "gradient boosted trees",
    options: &[
        OptionSpec {
            name: "objective",
            default: "auto",
            allowed: Allowed::OneOf(&["auto", "squared", "tweedie"]),
            about: "of a number: tweedie is for amounts that are often 0, and auto takes it where a tenth of them are and none is below",
        },
        OptionSpec {
            name: "tweedie_variance_power",
            default: "1.5",
            allowed: Allowed::Number { least: 1.01, most: 1.99 },
            about: "ρ: the variance of an amount grows with its mean to this power",
        },
        OptionSpec {
            name: "max_iterations",
            default: "300",
            allowed: Allowed::Whole { least: 1, most: 100_000 },
            about: "trees, or with early_stopping the most of them",
        },
        OptionSpec {
            name: "early_stopping",
            default: "20",
            allowed: Allowed::Whole { least: 0, most: 100_000 },
            about: "stops when so many trees have not helped on rows held back, and fits the best number on all rows; 0 = no stop",
        },
        OptionSpec {
            name: "validation_share",
            default: "0.2",
            allowed: Allowed::Number { least: 0.01, most: 0.5 },
            about: "share of the rows that early_stopping holds back",
        },
        OptionSpec {
            name: "learn_rate",
            default: "0.05",
            allowed: Allowed::Number { least: 1e-4, most: 1.0 },
            about: "how much of each tree is added",
        },
        OptionSpec {
            name: "num_leaves",
            default: "7",
            allowed: Allowed::Whole { least: 2, most: 100_000 },
            about: "most leaves of a tree",
        },
        OptionSpec {
            name: "max_depth",
            default: "0",
            allowed: Allowed::Whole { least: 0, most: 1_000 },
            about: "most splits between the root of a tree and a leaf, 0 = any number",
        },
        OptionSpec {
            name: "l2_reg",
            default: "0",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "λ: shrinks the values of leaves, those of few rows most",
        },
        OptionSpec {
            name: "min_child_samples",
            default: "20",
            allowed: Allowed::Whole { least: 1, most: 1_000_000_000 },
            about: "least rows in a leaf",
        },
        OptionSpec {
            name: "subsample",
            default: "0.7",
            allowed: Allowed::Number { least: 0.01, most: 1.0 },
            about: "share of the rows that a tree is grown on",
        },
        OptionSpec {
            name: "colsample",
            default: "0.7",
            allowed: Allowed::Number { least: 0.01, most: 1.0 },
            about: "share of the columns that a tree may split on",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| {
            let params = GbtParams {
                objective: match options.get("objective").to_lowercase().as_str() {
                    "squared" => Objective::Squared,
                    "tweedie" => Objective::Tweedie,
                    _ => Objective::Auto,
                },
                tweedie_variance_power: options.number("tweedie_variance_power"),
                max_iterations: options.whole("max_iterations") as usize,
                early_stopping: options.whole("early_stopping") as usize,
                validation_share: options.number("validation_share"),
                learn_rate: options.number("learn_rate"),
                num_leaves: options.whole("num_leaves") as usize,
                max_depth: options.whole("max_depth") as usize,
                l2_reg: options.number("l2_reg"),
                min_child_samples: options.whole("min_child_samples"),
                subsample: options.number("subsample"),
                colsample: options.number("colsample"),
                seed: options.whole("seed"),
            };
            Ok(Arc::new(fit(training, &params, control)?))
        },
        read: |parts| Ok(Arc::new(TreeEnsemble::from_parts(parts)?)),
    },
};

/// What is minimised where the label is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// The Tweedie deviance where no label is below 0 and at least a tenth of them are 0, and otherwise the squared error.
    Auto,
    Squared,
    Tweedie,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GbtParams {
    pub objective: Objective,
    /// ρ, in (1, 2).
    pub tweedie_variance_power: f64,
    pub max_iterations: usize,
    /// 0 for none.
    pub early_stopping: usize,
    pub validation_share: f64,
    pub learn_rate: f64,
    pub num_leaves: usize,
    /// 0 for any.
    pub max_depth: usize,
    pub l2_reg: f64,
    pub min_child_samples: u64,
    pub subsample: f64,
    pub colsample: f64,
    pub seed: u64,
}

/// Fewer rows are not held back from: the best number of trees would be chance.
const FEWEST_TO_HOLD_BACK: usize = 200;
/// Up to so many rows the trees are fitted again to all of them, those held back included, once their number is found.
const MOST_TO_FIT_AGAIN: usize = 200_000;
/// Least Σ h of a child, as LightGBM's min_sum_hessian_in_leaf.
const MIN_WEIGHT: f64 = 1e-3;

/// # Errors
/// No rows, more than 2²⁶ rows, a Tweedie deviance of labels below 0 or all 0, or cancelled.
pub fn fit(training: Training<'_>, params: &GbtParams, control: &Control) -> Result<TreeEnsemble, ModelError> {
    check_rows(training.x.rows)?;
    let target = Target::of(training, params)?;
    let bins = Bins::of(training.x, params.seed, control)?;
    let boosting = Boosting { bins: &bins, target: &target, params, control };
    let rows = 0..training.x.rows as u32;
    let held_back = params.early_stopping > 0 && training.x.rows >= FEWEST_TO_HOLD_BACK;
    let trees = if held_back {
        let back = |r: &u32| unit_hash(params.seed, *r) < params.validation_share;
        let (validation, rest): (Vec<u32>, Vec<u32>) = rows.clone().partition(back);
        let (mut trees, rounds) = boosting.run(rest, &validation, params.max_iterations, "finding the number of trees")?;
        if training.x.rows > MOST_TO_FIT_AGAIN {
            trees.truncate(rounds);
            trees
        } else {
            boosting.run(rows.collect(), &[], rounds, "fitting")?.0
        }
    } else {
        boosting.run(rows.collect(), &[], params.max_iterations, "fitting")?.0
    };
    Ok(TreeEnsemble {
        link: target.loss.link(),
        baseline: target.baseline,
        scale: target.scale,
        width: training.x.columns.len(),
        trees,
        figures: Vec::new(),
    })
}

/// # Errors
/// No rows, or more than there is room for.
pub(super) fn check_rows(rows: usize) -> Result<(), ModelError> {
    match rows {
        0 => Err(ModelError::TooLittleData("there are no rows with a label; at least one is needed".into())),
        n if n > MOST_ROWS => {
            Err(ModelError::TooLittleData(format!("there are {n} rows; trees take at most {MOST_ROWS}: train on a sample")))
        }
        _ => Ok(()),
    }
}

/// A number in [0, 1) of a row, by its place.
fn unit_hash(seed: u64, row: u32) -> f64 {
    unit(split_mix(seed.wrapping_add((u64::from(row) + 1).wrapping_mul(GOLDEN))))
}

/// Scores of a Tweedie loss are kept within ± this.
const FARTHEST_LOG: f64 = 30.0;

/// The loss of a score and its first two derivatives.
fn loss_at(loss: Loss, score: f64, y: f64) -> (f64, f64, f64) {
    let score = if matches!(loss, Loss::Tweedie(_)) { score.clamp(-FARTHEST_LOG, FARTHEST_LOG) } else { score };
    loss.at(y, score)
}

/// Labels on a scale on which none is large: score = baseline + scale · (start + Σ trees).
pub(super) struct Target {
    loss: Loss,
    pub y: Vec<f64>,
    /// Score of every row before the first tree, which is in `baseline` too.
    start: f64,
    pub baseline: f64,
    pub scale: f64,
}

impl Target {
    fn of(training: Training<'_>, params: &GbtParams) -> Result<Self, ModelError> {
        let n = training.y.len() as f64;
        let number = training.task == Task::Regression;
        let zeros = training.y.iter().filter(|v| **v == 0.0).count() as f64 / n;
        let amounts = number && (0.1..1.0).contains(&zeros) && training.y.iter().all(|v| *v >= 0.0);
        if params.objective == Objective::Tweedie || (params.objective == Objective::Auto && amounts) {
            return Self::tweedie(training, params.tweedie_variance_power);
        }
        if number {
            return Ok(Self::centred(training.y));
        }
        let y = training.y.to_vec();
        // Of one class only, as if half a row were of the other.
        let rate = (y.iter().sum::<f64>() / n).clamp(0.5 / n, 1.0 - 0.5 / n);
        let start = if n > 1.0 { (rate / (1.0 - rate)).ln() } else { 0.0 };
        Ok(Self { loss: Loss::Logistic, y, start, baseline: start, scale: 1.0 })
    }

    /// y = mean + 2^k · (what is learned), which lies in [−2, 2].
    pub fn centred(y: &[f64]) -> Self {
        let most = y.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
        let scale = if most > 0.0 { 2_f64.powi(most.log2().ceil().clamp(-1_000.0, 1_023.0) as i32) } else { 1.0 };
        let mean = y.iter().map(|v| v / scale).sum::<f64>() / y.len() as f64;
        Self { loss: Loss::Squared, y: y.iter().map(|v| v / scale - mean).collect(), start: 0.0, baseline: mean * scale, scale }
    }

    /// y = mean · (what is learned).
    fn tweedie(training: Training<'_>, power: f64) -> Result<Self, ModelError> {
        let refuse = |allowed: String| Err(ModelError::Option { option: "objective".into(), given: "tweedie".into(), allowed });
        if training.task == Task::Classification {
            return refuse("this is for a number to predict; leave it out for a label of 0 and 1".into());
        }
        if let Some(negative) = training.y.iter().find(|v| **v < 0.0) {
            return refuse(format!("labels must not be below 0, and one is {negative}; leave the option out"));
        }
        let most = training.y.iter().fold(0.0_f64, |a, v| a.max(*v));
        if most == 0.0 {
            return refuse("at least one label must be above 0; leave the option out".into());
        }
        let mean = training.y.iter().map(|v| v / most).sum::<f64>() / training.y.len() as f64;
        let y = training.y.iter().map(|v| v / most / mean).collect();
        Ok(Self { loss: Loss::Tweedie(power), y, start: 0.0, baseline: most.ln() + mean.ln(), scale: 1.0 })
    }
}

struct Boosting<'a> {
    bins: &'a Bins,
    target: &'a Target,
    params: &'a GbtParams,
    control: &'a Control,
}

impl Boosting<'_> {
    /// Trees grown on `rows`, ascending, and how many of them are best on the rows of `validation`, if there are any.
    fn run(&self, rows: Vec<u32>, validation: &[u32], rounds: usize, stage: &str) -> Result<(Vec<Tree>, usize), ModelError> {
        let Self { params, target, .. } = *self;
        let varying = self.bins.varying();
        let growth = Growth {
            max_leaves: params.num_leaves,
            max_depth: if params.max_depth == 0 { usize::MAX } else { params.max_depth },
            l2: params.l2_reg,
            min_rows: params.min_child_samples,
            min_weight: MIN_WEIGHT,
            columns_each: None,
            rate: params.learn_rate,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let mut scores = vec![target.start; target.y.len()];
        let (mut first, mut second) = (scores.clone(), scores.clone());
        let mut trees = Vec::new();
        let (mut best, mut best_rounds) = (self.loss(&scores, validation), 0);
        for round in 0..rounds {
            self.control.check()?;
            self.control.report(stage, round as f64 / rounds as f64);
            self.derive(&scores, &mut first, &mut second);
            let sample = draw(&rows, params.subsample, &mut rng);
            let columns = draw_columns(&varying, params.colsample, &mut rng);
            let grown = grow(self.bins, (&first, &second), sample, &columns, &growth, &mut rng, self.control)?;
            if grown.tree.len() == 1 {
                break;
            }
            grown.add_to(self.bins, &mut scores);
            trees.push(grown.tree);
            if !validation.is_empty() {
                let loss = self.loss(&scores, validation);
                if loss < best {
                    (best, best_rounds) = (loss, trees.len());
                } else if trees.len() >= best_rounds + params.early_stopping {
                    break;
                }
            }
        }
        let rounds = if validation.is_empty() { trees.len() } else { best_rounds };
        Ok((trees, rounds))
    }

    fn derive(&self, scores: &[f64], first: &mut [f64], second: &mut [f64]) {
        let pieces = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
        pieces.zip(scores.par_chunks(PIECE).zip(self.target.y.par_chunks(PIECE))).for_each(|((first, second), (scores, y))| {
            for i in 0..y.len() {
                (_, first[i], second[i]) = loss_at(self.target.loss, scores[i], y[i]);
            }
        });
    }

    /// The sum over some rows.
    fn loss(&self, scores: &[f64], rows: &[u32]) -> f64 {
        let one = |&r: &u32| loss_at(self.target.loss, scores[r as usize], self.target.y[r as usize]).0;
        let pieces: Vec<f64> = rows.par_chunks(PIECE).map(|rows| rows.iter().map(one).sum()).collect();
        pieces.iter().sum()
    }
}

/// Each row with that chance; all of them for 1. A row takes two words of the stream, so that pieces of it can be drawn at once.
fn draw(rows: &[u32], share: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    if share >= 1.0 {
        return rows.to_vec();
    }
    let start = rng.get_word_pos();
    let at = |row: usize| start + 2 * row as u128;
    let piece = |(i, rows): (usize, &[u32])| {
        let mut rng = rng.clone();
        rng.set_word_pos(at(i * PIECE));
        rows.iter().copied().filter(|_| rng.random::<f64>() < share).collect::<Vec<_>>()
    };
    let drawn = rows.par_chunks(PIECE).enumerate().map(piece).collect::<Vec<_>>().concat();
    rng.set_word_pos(at(rows.len()));
    drawn
}

/// That share of the columns, at least one if there is one, ascending.
fn draw_columns(columns: &[u32], share: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let wanted = (columns.len() as f64 * share).ceil() as usize;
    let mut drawn = columns.to_vec();
    if wanted < columns.len() {
        for i in 0..wanted {
            let other = rng.random_range(i..columns.len());
            drawn.swap(i, other);
        }
        drawn.truncate(wanted);
        drawn.sort_unstable();
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::metrics::roc_auc;
    use crate::models::supervised::{Matrix, Predictor};

    #[test]
    fn rows_drawn_in_pieces_are_those_of_one_stream() {
        let rows: Vec<u32> = (0..3 * PIECE as u32 + 17).collect();
        let (mut rng, mut other) = (ChaCha8Rng::seed_from_u64(5), ChaCha8Rng::seed_from_u64(5));
        let one: Vec<u32> = rows.iter().copied().filter(|_| other.random::<f64>() < 0.3).collect();
        assert_eq!((draw(&rows, 0.3, &mut rng), rng.random::<u64>()), (one, other.random::<u64>()));
    }

    /// The parameters of the peer's runs.
    const PEER: GbtParams = GbtParams {
        objective: Objective::Squared,
        tweedie_variance_power: 1.5,
        max_iterations: 12,
        early_stopping: 0,
        validation_share: 0.2,
        learn_rate: 0.1,
        num_leaves: 6,
        max_depth: 0,
        l2_reg: 1.5,
        min_child_samples: 10,
        subsample: 1.0,
        colsample: 1.0,
        seed: 1,
    };

    /// Whole numbers and a figure of them, a value in seven missing.
    fn numbers() -> (Matrix, Vec<f64>) {
        let (mut x, mut z) = (Matrix { rows: 400, columns: vec![vec![]; 3] }, vec![]);
        for i in 0..400_u32 {
            let v = [i * 37 % 101, i * 53 % 89, i * i % 61].map(f64::from);
            let known = i % 7 != 0;
            let middle = if known { v[1] } else { 60.0 };
            z.push(v[0] * 0.02 + (middle - 40.0).abs() * 0.03 - f64::from(u8::from(v[2] > 30.0)) + f64::from(i * 29 % 23) * 0.05);
            x.columns.iter_mut().zip([v[0], if known { v[1] } else { f64::NAN }, v[2]]).for_each(|(c, v)| c.push(v));
        }
        (x, z)
    }

    fn scores(x: &Matrix, y: &[f64], task: Task, params: &GbtParams) -> Vec<f64> {
        fit(Training { x, y, task, levels: &[], forecast: None }, params, &Control::default())
            .unwrap()
            .scores(x, &Control::default())
            .unwrap()
    }

    fn labels(z: &[f64]) -> Vec<f64> {
        z.iter().map(|v| f64::from(u8::from(*v > 1.6))).collect()
    }

    /// Noise: columns and labels that have nothing to do with each other.
    fn noise(rows: usize, columns: usize, seed: u64) -> (Matrix, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let columns = (0..columns).map(|_| (0..rows).map(|_| rng.random()).collect()).collect();
        (Matrix { rows, columns }, (0..rows).map(|_| f64::from(u8::from(rng.random::<bool>()))).collect())
    }

    /// LightGBM 4.7.0: Booster.predict(raw_score=True) and pred_contrib=True of 12 trees, learning_rate .1, num_leaves 6, min_data_in_leaf
    /// 10, min_data_in_bin 1, lambda_l2 1.5; for tweedie min_data_in_leaf 1 and lambda_l2 0 (elsewhere it estimates counts of rows by Σ h).
    #[test]
    fn scores_and_contributions_are_those_of_the_peer() {
        let (x, z) = numbers();
        let spend: Vec<f64> = z.iter().map(|v| (v - 1.0).max(0.0) * 100.0).collect();
        let hundred: Vec<f64> = z.iter().map(|v| v * 100.0).collect();
        let tweedie = GbtParams { objective: Objective::Tweedie, l2_reg: 0.0, min_child_samples: 1, ..PEER };
        let cases = [
            (
                hundred,
                Task::Regression,
                PEER,
                [157.312268, 169.898999, 224.215566, 169.45622, 181.825653],
                [-46.3093864, -3.86177945, 36.0481789, -29.6227983, -3.67755687, 31.7640992, 171.435255],
            ),
            (
                labels(&z),
                Task::Classification,
                PEER,
                [-0.071284378, -0.0648345537, 1.80672543, 0.373766842, 0.81713321],
                [-1.04386527, -0.0919247105, 0.671508648, -0.988502259, -0.12941117, 0.660081921, 0.392996954],
            ),
            (
                spend,
                Task::Regression,
                tweedie,
                [4.21791518, 4.25587268, 4.81463501, 4.27916293, 4.52458046],
                [-0.610618899, -0.0237716371, 0.740072604, -0.31725076, -0.0363033203, 0.497193657, 4.11223311],
            ),
        ];
        for (y, task, params, expected, contributions) in cases {
            let model = fit(Training { x: &x, y: &y, task, levels: &[], forecast: None }, &params, &Control::default()).unwrap();
            let found = model.scores(&x, &Control::default()).unwrap();
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 1e-5 * e.abs().max(1.0), "{task:?}: {f} against {e}");
            }
            let parts = model.contributions(&x, &Control::default()).unwrap();
            for (f, e) in parts.values[..6].iter().chain([&parts.baseline]).zip(contributions) {
                assert!((f - e).abs() < 1e-5 * e.abs().max(1.0), "{task:?}: {f} against {e}");
            }
        }
    }

    #[test]
    fn neither_constant_columns_nor_the_order_of_columns_or_threads_change_the_scores() {
        let (x, y) = noise(500, 4, 3);
        let params = GbtParams { early_stopping: 5, subsample: 0.8, ..PEER };
        let known = scores(&x, &y, Task::Classification, &params);
        let mut other = x.clone();
        other.columns.reverse();
        other.columns.insert(2, vec![7.0; 500]);
        other.columns.push(vec![f64::NAN; 500]);
        assert_eq!(scores(&other, &y, Task::Classification, &params), known);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| scores(&x, &y, Task::Classification, &params)), known);
    }

    #[test]
    fn learns_nothing_from_noise_and_stops_early() {
        let (x, y) = noise(3_000, 5, 4);
        let params = GbtParams { max_iterations: 100, early_stopping: 5, ..PEER };
        let model =
            fit(Training { x: &x, y: &y, task: Task::Classification, levels: &[], forecast: None }, &params, &Control::default()).unwrap();
        assert!(model.trees.len() < 20, "{} trees", model.trees.len());
        let (x, y) = noise(3_000, 5, 5);
        let scores = model.scores(&x, &Control::default()).unwrap();
        assert!((roc_auc(&scores, &y.iter().map(|y| *y > 0.5).collect::<Vec<_>>()) - 0.5).abs() < 0.04);
    }

    #[test]
    fn extreme_data_gives_finite_scores() {
        let wild =
            Matrix { rows: 4, columns: vec![vec![1e300, -1e300, f64::NAN, 0.0], vec![f64::NAN; 4], vec![f64::MAX, f64::MIN, 1.0, 2.0]] };
        let one = GbtParams { min_child_samples: 1, l2_reg: 0.0, objective: Objective::Auto, ..PEER };
        for y in [[1e300, -1e300, 1.0, 0.0], [f64::MAX; 4], [0.0; 4], [f64::MAX, 0.0, 0.0, f64::MIN], [1e300, 0.0, 0.0, 1e-300]] {
            assert!(scores(&wild, &y, Task::Regression, &one).iter().all(|s| s.is_finite()), "{y:?}");
        }
        for y in [[0.0; 4], [1.0; 4], [0.0, 1.0, 1.0, 0.0]] {
            assert!(scores(&wild, &y, Task::Classification, &one).iter().all(|s| s.is_finite()), "{y:?}");
        }
        assert!(scores(&Matrix { rows: 1, columns: vec![vec![3.0]] }, &[1.0], Task::Classification, &one)[0].is_finite());
        assert_eq!(scores(&Matrix { rows: 2, columns: vec![] }, &[1.0, 3.0], Task::Regression, &one), [2.0, 2.0]);
        let refused = |x: &Matrix, y: &[f64], task: Task| {
            let tweedie = GbtParams { objective: Objective::Tweedie, ..PEER };
            fit(Training { x, y, task, levels: &[], forecast: None }, &tweedie, &Control::default()).unwrap_err().to_string()
        };
        assert!(refused(&Matrix::default(), &[], Task::Regression).contains("no rows"));
        assert!(refused(&wild, &[1.0, -2.0, 0.0, 0.0], Task::Regression).contains("-2"));
        assert!(refused(&wild, &[1.0, 0.0, 0.0, 0.0], Task::Classification).contains("leave it out"));
    }
}
