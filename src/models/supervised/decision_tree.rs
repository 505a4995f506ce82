//! `model_type = 'decision_tree'`: one tree of yes-or-no questions (Breiman, Friedman, Olshen & Stone 1984, "Classification and regression trees").
//!
//! Every split is the best of all columns and thresholds, by the decrease of impurity it brings, N_t/N · (i(t) − N_L/N_t · i(L) − N_R/N_t · i(R)):
//!
//! * classification: Gini's index i = 2p(1 − p), p the share of label 1 (chapter 4);
//! * regression: the variance of the label (chapter 8), as a share of its variance over all rows.
//!
//! Of 0 and 1 the variance is p(1 − p), half of Gini's index, so that one search does for both. A threshold is the midpoint of two neighbouring values. Rows whose
//! value is not known go to the side that gains more; where all values were known, to the side with more rows. "Known or not" is a question too.
//! Equal gains: the smaller column, then the smaller threshold.
//!
//! A leaf predicts (k + m·b) / (n + m), of n rows, k of label 1, b the share of label 1 in all rows and m the option `smoothing`; a regression the mean.
//! With `ccp_alpha` α > 0 the tree is pruned to the smallest subtree of least R(T) + α·leaves, R the impurity that is left (§3.3).
//!
//! Columns are sorted once and split stably: O(rows · columns · (ln rows + depth)).

use std::sync::Arc;

use rayon::prelude::*;

use super::{LEAF, Link, Matrix, Task, Training, Tree, TreeEnsemble};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec};

/// `model_type = 'decision_tree'`.
pub static DECISION_TREE: ModelType = ModelType {
    name: "decision_tree",
    about: "one tree of questions that can be read and written as rules",
    options: &[
        OptionSpec {
            name: "max_depth",
            default: "5",
            allowed: Allowed::Whole { least: 1, most: 64 },
            about: "questions from the root to a leaf, at most",
        },
        OptionSpec {
            name: "min_samples_leaf",
            default: "20",
            allowed: Allowed::Whole { least: 1, most: 1_000_000_000 },
            about: "rows of a leaf, at least",
        },
        OptionSpec {
            name: "min_samples_split",
            default: "2",
            allowed: Allowed::Whole { least: 2, most: 1_000_000_000 },
            about: "rows of a node that is split, at least",
        },
        OptionSpec {
            name: "ccp_alpha",
            default: "0",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "what a leaf must at least take off the impurity (Gini's index; of a regression, the share of the variance), 0 = no pruning",
        },
        OptionSpec {
            name: "smoothing",
            default: "1",
            allowed: Allowed::Number { least: 0.0, most: 1e6 },
            about: "draws probabilities to the share of label 1 in all rows, as that many more rows of it in each leaf would",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| {
            let params = TreeParams {
                max_depth: options.whole("max_depth") as usize,
                min_samples_leaf: options.whole("min_samples_leaf") as usize,
                min_samples_split: options.whole("min_samples_split") as usize,
                ccp_alpha: options.number("ccp_alpha"),
                smoothing: options.number("smoothing"),
            };
            Ok(Arc::new(fit(training, &params, control)?))
        },
        read: |parts| Ok(Arc::new(TreeEnsemble::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeParams {
    pub max_depth: usize,
    pub min_samples_leaf: usize,
    pub min_samples_split: usize,
    pub ccp_alpha: f64,
    pub smoothing: f64,
}

/// A gain counts as larger only from this much, relatively, on, and as a gain at all from this share of the impurity of all rows: below is rounding.
const ROUNDING: f64 = 1e-12;

/// The best split of a node by one column.
#[derive(Debug, Clone, Copy)]
struct Split {
    column: usize,
    threshold: f64,
    missing_left: bool,
    /// S_L²/N_L + S_R²/N_R − S²/N, S sums of labels.
    gain: f64,
}

/// Labels and the rows of every column by ascending value, those not known last.
struct Sorted<'a> {
    x: &'a Matrix,
    /// Labels about their mean.
    y: Vec<f64>,
    order: Vec<Vec<u32>>,
}

/// A node in the making: its rows are `start..end` of every column's order.
struct Open {
    start: usize,
    end: usize,
    depth: usize,
    /// The node and whether this is its left child.
    parent: Option<(usize, bool)>,
}

/// One tree; its nodes stand in the order left before right, depth first.
///
/// # Errors
/// `TooLittleData` without rows; `Cancelled`.
pub fn fit(training: Training<'_>, params: &TreeParams, control: &Control) -> Result<TreeEnsemble, ModelError> {
    let Training { x, y, task, .. } = training;
    if y.is_empty() {
        return Err(ModelError::TooLittleData("no rows with a label: decision_tree needs one".into()));
    }
    let n = y.len() as f64;
    // Scaled first: the square of a large label overflows.
    let most = y.iter().fold(0.0_f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let mean = y.iter().map(|v| v / most).sum::<f64>() / n;
    let centred: Vec<f64> = match task {
        Task::Classification => y.iter().map(|v| v / most).collect(),
        Task::Regression => y.iter().map(|v| v / most - mean).collect(),
    };
    // The impurity of all rows times their number, halved where it is Gini's index.
    let total = y.iter().map(|v| (v / most - mean).powi(2)).sum::<f64>();
    let scale = match task {
        Task::Classification => 2.0 / n,
        Task::Regression => 1.0 / total.max(f64::MIN_POSITIVE),
    };
    let constant = y.iter().all(|v| *v == y[0]);
    control.report("decision_tree: sort", 0.0);
    let mut sorted = Sorted { x, order: sorted(x, control)?, y: centred };
    let mut tree = Tree::default();
    let mut impurity = vec![];
    let mut open = vec![Open { start: 0, end: y.len(), depth: 0, parent: None }];
    let mut goes_left = vec![false; y.len()];
    let mut rows: Vec<u32> = (0..y.len() as u32).collect();
    let mut done = 0;
    while let Some(Open { start, end, depth, parent }) = open.pop() {
        control.check()?;
        let mine = &rows[start..end];
        let count = mine.len() as f64;
        let sum: f64 = mine.iter().map(|&r| sorted.y[r as usize]).sum();
        let squares: f64 = mine.iter().map(|&r| (sorted.y[r as usize] - sum / count).powi(2)).sum();
        let raw: f64 = mine.iter().map(|&r| y[r as usize] / most).sum();
        let value = match task {
            Task::Classification => (raw + params.smoothing * mean) / (count + params.smoothing) * most,
            Task::Regression => raw / count * most,
        };
        let node = add_leaf(&mut tree, parent, value, count);
        impurity.push(squares * scale);
        let splittable = !constant && depth < params.max_depth && mine.len() >= params.min_samples_split.max(2 * params.min_samples_leaf);
        let worth = |gain: f64| splittable && gain > ROUNDING * total;
        let best = if worth(squares) { sorted.best(start..end, sum, params.min_samples_leaf) } else { None };
        let Some(split) = best.filter(|s| worth(s.gain)) else {
            done += end - start;
            control.report("decision_tree: split", done as f64 / n);
            continue;
        };
        tree.column[node] = split.column as u32;
        tree.threshold[node] = split.threshold;
        tree.missing_left[node] = split.missing_left;
        tree.gain[node] = split.gain * scale;
        let values = &x.columns[split.column];
        for &r in mine {
            let v = values[r as usize];
            goes_left[r as usize] = if v.is_nan() { split.missing_left } else { v <= split.threshold };
        }
        sorted.order.par_iter_mut().for_each(|order| {
            partition(&mut order[start..end], &goes_left);
        });
        let middle = start + partition(&mut rows[start..end], &goes_left);
        open.push(Open { start: middle, end, depth: depth + 1, parent: Some((node, false)) });
        open.push(Open { start, end: middle, depth: depth + 1, parent: Some((node, true)) });
    }
    let tree = if params.ccp_alpha > 0.0 { pruned(&tree, &impurity, params.ccp_alpha) } else { tree };
    Ok(TreeEnsemble { link: Link::Identity, baseline: 0.0, scale: 1.0, width: x.columns.len(), trees: vec![tree], figures: vec![] })
}

/// The rows of every column by ascending value, then by row; not known last.
fn sorted(x: &Matrix, control: &Control) -> Result<Vec<Vec<u32>>, ModelError> {
    let one = |values: &Vec<f64>| {
        control.check()?;
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        // NaN of either sign is last.
        order.sort_by(|&a, &b| {
            let (a, b) = (values[a as usize], values[b as usize]);
            a.is_nan().cmp(&b.is_nan()).then_with(|| a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal))
        });
        Ok(order)
    };
    x.columns.par_iter().map(one).collect()
}

/// Moves the rows that go left to the front, all in their order, and counts them.
fn partition(rows: &mut [u32], goes_left: &[bool]) -> usize {
    let right: Vec<u32> = rows.iter().copied().filter(|&r| !goes_left[r as usize]).collect();
    let mut at = 0;
    for i in 0..rows.len() {
        if goes_left[rows[i] as usize] {
            rows[at] = rows[i];
            at += 1;
        }
    }
    rows[at..].copy_from_slice(&right);
    at
}

impl Sorted<'_> {
    /// The best split of the rows in `range`, whose labels sum to `sum`.
    fn best(&self, range: std::ops::Range<usize>, sum: f64, least: usize) -> Option<Split> {
        let of_columns: Vec<Option<Split>> =
            (0..self.order.len()).into_par_iter().map(|c| self.best_of(c, &self.order[c][range.clone()], sum, least)).collect();
        of_columns.into_iter().flatten().reduce(|best, split| if larger(split.gain, best.gain) { split } else { best })
    }

    fn best_of(&self, column: usize, rows: &[u32], sum: f64, least: usize) -> Option<Split> {
        let values = &self.x.columns[column];
        let n = rows.len();
        let n_known = rows.partition_point(|&r| !values[r as usize].is_nan());
        let missing: f64 = rows[n_known..].iter().map(|&r| self.y[r as usize]).sum();
        let gain = |left: f64, n_left: usize| {
            let (right, n_right) = (sum - left, n - n_left);
            let between = n_left >= least && n_right >= least && n_left > 0 && n_right > 0;
            between.then(|| left * left / n_left as f64 + right * right / n_right as f64 - sum * sum / n as f64)
        };
        let mut best: Option<Split> = None;
        let mut offer = |threshold: f64, missing_left: bool, gain: Option<f64>| {
            if let Some(gain) = gain
                && best.is_none_or(|b| larger(gain, b.gain))
            {
                best = Some(Split { column, threshold, missing_left, gain });
            }
        };
        let mut left = 0.0;
        for i in 0..n_known.saturating_sub(1) {
            left += self.y[rows[i] as usize];
            let (a, b) = (values[rows[i] as usize], values[rows[i + 1] as usize]);
            if a < b {
                let middle = a / 2.0 + b / 2.0;
                let threshold = if middle < b { middle } else { a };
                let n_left = i + 1;
                if n_known == n {
                    offer(threshold, n_left > n - n_left, gain(left, n_left));
                } else {
                    offer(threshold, false, gain(left, n_left));
                    offer(threshold, true, gain(left + missing, n_left + n - n_known));
                }
            }
        }
        if n_known < n {
            offer(f64::MAX, false, gain(sum - missing, n_known));
        }
        best
    }
}

/// Whether a gain is larger by more than rounding.
fn larger(gain: f64, than: f64) -> bool {
    gain > than + ROUNDING * than.abs()
}

/// The smallest subtree of least Σ impurity of leaves + α · leaves, in one pass from the leaves: a node is cut where it alone costs no more than the best below it.
fn pruned(tree: &Tree, impurity: &[f64], alpha: f64) -> Tree {
    let mut cost: Vec<f64> = impurity.iter().map(|i| i + alpha).collect();
    let mut cut: Vec<bool> = (0..tree.len()).map(|node| tree.is_leaf(node)).collect();
    for node in (0..tree.len()).rev().filter(|&node| !tree.is_leaf(node)) {
        let below = cost[tree.left[node] as usize] + cost[tree.right[node] as usize];
        if cost[node] <= below + ROUNDING {
            cut[node] = true;
        } else {
            cost[node] = below;
        }
    }
    let mut out = Tree::default();
    let mut open = vec![(0, None)];
    while let Some((node, parent)) = open.pop() {
        let at = add_leaf(&mut out, parent, tree.value[node], tree.cover[node]);
        if !cut[node] {
            out.column[at] = tree.column[node];
            out.threshold[at] = tree.threshold[node];
            out.missing_left[at] = tree.missing_left[node];
            out.gain[at] = tree.gain[node];
            open.push((tree.right[node] as usize, Some((at, false))));
            open.push((tree.left[node] as usize, Some((at, true))));
        }
    }
    out
}

/// Adds a leaf below `parent`, as its left child or not, and answers its place.
fn add_leaf(tree: &mut Tree, parent: Option<(usize, bool)>, value: f64, cover: f64) -> usize {
    let node = tree.len();
    if let Some((parent, left)) = parent {
        (if left { &mut tree.left } else { &mut tree.right })[parent] = node as u32;
    }
    tree.column.push(0);
    tree.threshold.push(0.0);
    tree.missing_left.push(false);
    tree.left.push(LEAF);
    tree.right.push(LEAF);
    tree.value.push(value);
    tree.cover.push(cover);
    tree.gain.push(0.0);
    node
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::models::supervised::Predictor;
    use crate::models::supervised::rules::{rules, text};
    use crate::models::{Column, Options};

    const PARAMS: TreeParams = TreeParams { max_depth: 4, min_samples_leaf: 4, min_samples_split: 2, ccp_alpha: 0.0, smoothing: 0.0 };

    fn fit(x: &Matrix, y: &[f64], task: Task, params: TreeParams) -> TreeEnsemble {
        super::fit(Training { x, y, task, levels: &[], forecast: None }, &params, &Control::default()).unwrap()
    }

    fn uniform(n: usize, mut state: u64) -> Vec<f64> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / 16_777_216.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Three columns of 60 rows to thousandths, a label of two of them with noise, and a number.
    fn small() -> (Matrix, Vec<f64>, Vec<f64>, Vec<f64>) {
        let columns: Vec<Vec<f64>> = (1..4).map(|s| uniform(60, s).iter().map(|v| (v * 1000.0).round() / 1000.0).collect()).collect();
        let noise = uniform(60, 4);
        let label = |i: usize| f64::from(u8::from((columns[0][i] + 0.5 * columns[1][i] > 0.8) != (noise[i] < 0.15)));
        let number =
            |i: usize| ((10.0 * columns[0][i] + 3.0 * f64::from(u8::from(columns[1][i] > 0.4)) + noise[i]) * 1000.0).round() / 1000.0;
        let (y, z) = ((0..60).map(label).collect(), (0..60).map(number).collect());
        (Matrix { rows: 60, columns }, y, z, noise)
    }

    fn assert_close(a: &[f64], b: &[f64], within: f64) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= within), "{a:?} against {b:?}");
    }

    /// scikit-learn 1.9.1, DecisionTreeClassifier and DecisionTreeRegressor (thresholds there are of f32).
    #[test]
    fn trees_are_those_of_scikit_learn() {
        let (x, y, z, noise) = small();
        let tree = fit(&x, &y, Task::Classification, PARAMS);
        // scikit-learn splits the node of 8 rows, too, into 4 and 4 of the same share, which gains nothing.
        assert_eq!(tree.trees[0].column, [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(tree.trees[0].cover, [60., 51., 19., 8., 11., 32., 18., 14., 4., 14., 7., 7., 9.]);
        let thresholds = [0.818, 0.319, 0.185, 0., 0., 0.385, 0.639, 0., 0., 0.6985, 0., 0., 0.];
        assert_close(&tree.trees[0].threshold, &thresholds, 1e-6);
        assert_close(&tree.importance(), &[0.7188295165394402, 0.28117048346055984, 0.0], 1e-14);
        assert_eq!(tree.trees[0].value[2], 0.10526315789473684);
        let pruned = fit(&x, &y, Task::Classification, TreeParams { ccp_alpha: 0.012, ..PARAMS });
        assert_eq!(pruned.trees[0].cover, [60., 51., 19., 32., 18., 14., 4., 14., 9.]);
        assert_eq!(pruned.trees[0].column, [0, 0, 0, 1, 0, 0, 0, 0, 0]);
        assert_close(&pruned.importance(), &[0.7359966455568088, 0.2640033544431913, 0.0], 1e-14);
        let mut holes = x.clone();
        holes.columns[1].iter_mut().zip(&noise).filter(|(_, u)| **u > 0.7).for_each(|(v, _)| *v = f64::NAN);
        let tree = fit(&holes, &y, Task::Classification, TreeParams { max_depth: 3, ..PARAMS });
        assert_eq!(tree.trees[0].cover, [60., 51., 19., 8., 11., 32., 20., 12., 9.]);
        assert_eq!((tree.trees[0].column[5], tree.trees[0].missing_left[5]), (1, false));
        let tree = fit(&x, &z, Task::Regression, TreeParams { max_depth: 3, ..PARAMS });
        assert_eq!(tree.trees[0].column, [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
        assert_eq!(tree.trees[0].cover, [60., 27., 10., 4., 6., 17., 8., 9., 33., 17., 10., 7., 16., 9., 7.]);
        assert_close(&tree.importance(), &[0.8097528040333013, 0.1902471959666985, 0.0], 1e-12);
        assert!((tree.trees[0].value[14] - 11.836571428571428).abs() < 1e-12);
        let pruned = fit(&x, &z, Task::Regression, TreeParams { ccp_alpha: 0.01, ..PARAMS });
        assert_eq!(pruned.trees[0].cover, tree.trees[0].cover);
    }

    /// Every root split of a small matrix with holes and ties, by hand.
    #[test]
    fn the_split_is_the_best_of_all_there_are() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..200 {
            let column = |rng: &mut ChaCha8Rng| -> Vec<f64> {
                (0..14).map(|_| if rng.random_bool(0.25) { f64::NAN } else { f64::from(rng.random_range(0..6_u8)) }).collect()
            };
            let x = Matrix { rows: 14, columns: vec![column(&mut rng), column(&mut rng)] };
            let y: Vec<f64> = (0..14).map(|_| f64::from(rng.random_range(0..4_u8))).collect();
            let squares = |rows: &[usize]| {
                let mean = rows.iter().map(|&r| y[r]).sum::<f64>() / rows.len() as f64;
                rows.iter().map(|&r| (y[r] - mean).powi(2)).sum::<f64>()
            };
            let total = squares(&(0..14).collect::<Vec<_>>());
            let mut best = 0.0_f64;
            for values in &x.columns {
                for threshold in [0.5, 1.5, 2.5, 3.5, 4.5, 9.0] {
                    for missing_left in [true, false] {
                        let left = |r: &usize| if values[*r].is_nan() { missing_left } else { values[*r] <= threshold };
                        let (l, r): (Vec<usize>, Vec<usize>) = (0..14).partition(left);
                        if l.len() >= 3 && r.len() >= 3 {
                            best = best.max((total - squares(&l) - squares(&r)) / total);
                        }
                    }
                }
            }
            let params = TreeParams { max_depth: 1, min_samples_leaf: 3, ..PARAMS };
            let tree = fit(&x, &y, Task::Regression, params);
            assert!((tree.trees[0].gain[0] - best).abs() < 1e-12, "{} against {best}", tree.trees[0].gain[0]);
        }
    }

    #[test]
    fn rules_part_the_rows_and_say_what_the_tree_does() {
        let days: Vec<f64> = (0..100).map(f64::from).collect();
        let plan: Vec<f64> = (0..100).map(|i| if i % 4 == 3 { f64::NAN } else { f64::from(i % 2) }).collect();
        let label = |i: usize| f64::from(u8::from((30..60).contains(&i) || i % 4 == 3));
        let x = Matrix { rows: 100, columns: vec![days, plan] };
        let y: Vec<f64> = (0..100).map(label).collect();
        let tree = fit(&x, &y, Task::Classification, PARAMS);
        let names = ["recency_days".to_owned(), "Plan".to_owned()];
        let rules = rules(&tree.trees[0], &names);
        let texts: Vec<&str> = rules.iter().map(|r| r.condition.as_str()).collect();
        assert_eq!(
            texts,
            [
                "\"Plan\" IS NOT NULL AND (recency_days <= 29.5 OR recency_days IS NULL)",
                "\"Plan\" IS NOT NULL AND recency_days > 29.5 AND recency_days <= 59",
                "\"Plan\" IS NOT NULL AND recency_days > 59",
                "\"Plan\" IS NULL",
            ]
        );
        assert_eq!(rules.iter().map(|r| r.rows).sum::<f64>(), 100.0);
        assert_eq!((rules[3].share, rules[3].value), (0.25, 1.0));
        let text = text(&tree.trees[0], &names);
        assert!(text.starts_with("\"Plan\" IS NOT NULL\n") && text.ends_with("else: 1.0000 (25 rows)\n"), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    /// Hostile columns and labels: finite, the same for any number of threads, read back as written.
    #[test]
    fn whatever_comes_the_answer_is_finite_and_reads_back() {
        let columns = vec![
            (0..90).map(|i| if i % 2 == 0 { 1e300 } else { -1e300 } * f64::from(i)).collect(),
            vec![f64::NAN; 90],
            vec![7.0; 90],
            (0..90).map(|i| if i < 40 { -0.0 } else { 0.0 }).collect(),
        ];
        let x = Matrix { rows: 90, columns };
        let one = x.take(&[3]);
        let none = Matrix { rows: 90, columns: vec![] };
        let big: Vec<f64> = (0..90).map(|i| f64::from(i - 45) * 1e306).collect();
        let label: Vec<f64> = (0..90).map(|i| f64::from(i % 2)).collect();
        for (x, y, task) in [
            (&x, &big, Task::Regression),
            (&x, &label, Task::Classification),
            (&x, &vec![0.1; 90], Task::Regression),
            (&x, &vec![0.0; 90], Task::Classification),
            (&one, &vec![1.0], Task::Classification),
            (&none, &label, Task::Classification),
        ] {
            let tree = fit(x, y, task, TreeParams { smoothing: 1.0, ..PARAMS });
            assert_eq!(tree, TreeEnsemble::from_parts(&tree.to_parts()).unwrap());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            assert_eq!(tree, pool.install(|| fit(x, y, task, TreeParams { smoothing: 1.0, ..PARAMS })));
            let scores = tree.scores(x, &Control::default()).unwrap();
            let parts = tree.contributions(x, &Control::default()).unwrap();
            for (r, score) in scores.iter().enumerate() {
                let sum = parts.baseline + parts.values[r * parts.width..(r + 1) * parts.width].iter().sum::<f64>();
                assert!(score.is_finite() && (score - sum).abs() <= 1e-9 * score.abs().max(1.0));
                assert!(task == Task::Regression || (0.0..=1.0).contains(score));
            }
            assert!(tree.importance().iter().all(|i| (0.0..=1.0).contains(i)));
        }
        let options = Options::new(&DECISION_TREE, &[]).unwrap();
        let Make::Supervised { fit, read } = DECISION_TREE.make else { panic!("not supervised") };
        let tree =
            fit(Training { x: &x, y: &label, task: Task::Classification, levels: &[], forecast: None }, &options, &Control::default())
                .unwrap();
        // 45 rows of each label; k + b of n + 1.
        assert_eq!(tree.scores(&x, &Control::default()).unwrap()[0], 0.5 / 46.0);
        let parts = tree.to_parts();
        assert!(read(&parts).is_ok());
        let nodes = parts.iter().position(|p| p.name == "nodes").unwrap();
        for (column, value) in [("left", Column::U32(vec![0; 3])), ("right", Column::U32(vec![1; 3])), ("column", Column::U32(vec![9; 3]))]
        {
            let mut damaged = parts.clone();
            damaged[nodes].columns.iter_mut().filter(|(name, _)| name == column).for_each(|(_, c)| *c = value.clone());
            assert!(matches!(read(&damaged), Err(ModelError::Damaged(_))), "{column}");
        }
    }
}
