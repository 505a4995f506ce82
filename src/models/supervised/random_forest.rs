//! Random forests (Breiman 2001, "Random forests", Machine Learning 45): trees on bootstrap samples of the rows, trying a few columns drawn
//! anew at every node, grown on histograms: see [`super::grow`]. A forest predicts the mean over its trees of the mean label in the leaf:
//! for a label of 0 and 1 its probability.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::bins::Bins;
use super::gbt::{Target, check_rows};
use super::grow::{Growth, grow};
use super::{Link, Task, Training, Tree, TreeEnsemble};
use crate::models::metrics::{rmse, roc_auc};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec};

/// `model_type = 'random_forest'`.
pub static RANDOM_FOREST: ModelType = ModelType {
    name: "random_forest",
    about: "random forest: the mean of many deep trees",
    options: &[
        OptionSpec { name: "num_trees", default: "200", allowed: Allowed::Whole { least: 1, most: 100_000 }, about: "how many trees" },
        OptionSpec {
            name: "max_features",
            default: "0",
            allowed: Allowed::Whole { least: 0, most: 1_000_000 },
            about: "columns tried at each node, 0 = the square root of their number",
        },
        OptionSpec {
            name: "max_depth",
            default: "0",
            allowed: Allowed::Whole { least: 0, most: 1_000 },
            about: "most splits between the root of a tree and a leaf, 0 = any number",
        },
        OptionSpec {
            name: "min_leaf",
            default: "0",
            allowed: Allowed::Whole { least: 0, most: 1_000_000_000 },
            about: "least rows in a leaf, 0 = 20 for a label of 0 and 1, and 5 for a number",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| {
            let params = ForestParams {
                num_trees: options.whole("num_trees") as usize,
                max_features: options.whole("max_features") as usize,
                max_depth: options.whole("max_depth") as usize,
                min_leaf: options.whole("min_leaf"),
                seed: options.whole("seed"),
            };
            Ok(Arc::new(fit(training, &params, control)?))
        },
        read: |parts| Ok(Arc::new(TreeEnsemble::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForestParams {
    pub num_trees: usize,
    /// 0 for the square root of the number of columns.
    pub max_features: usize,
    /// 0 for any.
    pub max_depth: usize,
    /// 0 for [`min_leaf`] of the task.
    pub min_leaf: u64,
    pub seed: u64,
}

/// Probabilities want more rows in a leaf than means of amounts, which differ most in few rows.
fn min_leaf(task: Task) -> u64 {
    match task {
        Task::Classification => 20,
        Task::Regression => 5,
    }
}

/// Trees that are grown before their answers to the rows they have not seen are added up, in their order.
const BATCH: usize = 16;

/// # Errors
/// No rows, more than 2²⁶ rows, or cancelled.
pub fn fit(training: Training<'_>, params: &ForestParams, control: &Control) -> Result<TreeEnsemble, ModelError> {
    let Training { x, y, task, .. } = training;
    check_rows(x.rows)?;
    // Labels of 0 and 1 stay as they are, so that no mean of means leaves [0, 1].
    let (learned, baseline, scale) = match task {
        Task::Classification => (y.to_vec(), 0.0, 1.0),
        Task::Regression => {
            let target = Target::centred(y);
            (target.y, target.baseline, target.scale)
        }
    };
    let bins = Bins::of(x, params.seed, control)?;
    let columns = bins.varying();
    let tried = if params.max_features == 0 { (columns.len() as f64).sqrt() as usize } else { params.max_features };
    let growth = Growth {
        max_leaves: usize::MAX,
        max_depth: if params.max_depth == 0 { usize::MAX } else { params.max_depth },
        l2: 0.0,
        min_rows: if params.min_leaf == 0 { min_leaf(task) } else { params.min_leaf },
        min_weight: 0.0,
        columns_each: Some(tried.max(1)),
        rate: 1.0,
    };
    let one = |tree: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        rng.set_stream(tree as u64);
        let mut times = vec![0.0; x.rows];
        (0..x.rows).for_each(|_| times[rng.random_range(0..x.rows)] += 1.0);
        let first: Vec<f64> = learned.iter().zip(&times).map(|(y, w)| -y * w).collect();
        let rows = (0..x.rows as u32).filter(|&r| times[r as usize] > 0.0).collect();
        let tree = grow(&bins, (&first, &times), rows, &columns, &growth, &mut rng, control)?.tree;
        let unseen = (0..x.rows).filter(|&r| times[r] == 0.0).map(|r| (r as u32, tree.value[tree.leaf(x, r)])).collect();
        Ok((tree, unseen))
    };
    let (mut sums, mut counts) = (vec![0.0; x.rows], vec![0_u32; x.rows]);
    let mut trees = Vec::with_capacity(params.num_trees);
    while trees.len() < params.num_trees {
        control.report("growing trees", trees.len() as f64 / params.num_trees as f64);
        let batch = trees.len()..params.num_trees.min(trees.len() + BATCH);
        let grown: Vec<(Tree, Vec<(u32, f64)>)> = batch.into_par_iter().map(one).collect::<Result<_, ModelError>>()?;
        for (tree, unseen) in grown {
            for (row, value) in unseen {
                sums[row as usize] += value;
                counts[row as usize] += 1;
            }
            trees.push(tree);
        }
    }
    let answered: Vec<usize> = (0..x.rows).filter(|&r| counts[r] > 0).collect();
    let predicted: Vec<f64> = answered.iter().map(|&r| baseline + scale * sums[r] / f64::from(counts[r])).collect();
    let (name, figure) = match task {
        Task::Classification => ("out_of_bag_roc_auc", roc_auc(&predicted, &answered.iter().map(|&r| y[r] > 0.5).collect::<Vec<_>>())),
        Task::Regression => ("out_of_bag_rmse", rmse(&predicted, &answered.iter().map(|&r| y[r]).collect::<Vec<_>>())),
    };
    let figures = if figure.is_finite() { vec![(name.to_owned(), figure)] } else { Vec::new() };
    let scale = scale / trees.len() as f64;
    Ok(TreeEnsemble { link: Link::Identity, baseline, scale, width: x.columns.len(), trees, figures })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Control;
    use crate::models::supervised::{Matrix, Predictor};

    /// The label is 1 where the first two columns agree, with a tenth turned over; the third says nothing.
    fn data(seed: u64) -> (Matrix, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut x = Matrix { rows: 800, columns: vec![vec![]; 3] };
        let mut y = vec![];
        for _ in 0..800 {
            let row: [f64; 3] = [rng.random(), rng.random(), rng.random()];
            y.push(f64::from(u8::from(((row[0] > 0.5) == (row[1] > 0.5)) != (rng.random::<f64>() < 0.1))));
            x.columns.iter_mut().zip(row).for_each(|(c, v)| c.push(if rng.random::<f64>() < 0.02 { f64::NAN } else { v }));
        }
        (x, y)
    }

    fn params() -> ForestParams {
        ForestParams { num_trees: 40, max_features: 2, max_depth: 0, min_leaf: 5, seed: 3 }
    }

    #[test]
    fn probabilities_are_good_and_what_is_out_of_the_bag_tells_so() {
        let (x, y) = data(1);
        let control = Control::default();
        let forest = fit(Training { x: &x, y: &y, task: Task::Classification, levels: &[], forecast: None }, &params(), &control).unwrap();
        let (new, truth) = data(2);
        let p = forest.scores(&new, &control).unwrap();
        assert!(p.iter().all(|p| (0.0..=1.0).contains(p)));
        let auc = roc_auc(&p, &truth.iter().map(|y| *y > 0.5).collect::<Vec<_>>());
        let told = forest.figures[0].1;
        assert!(auc > 0.85 && (auc - told).abs() < 0.04, "{auc}, out of bag {told}");
        let parts = forest.contributions(&new, &control).unwrap();
        for (row, p) in parts.values.chunks(3).zip(&p) {
            assert!((parts.baseline + row.iter().sum::<f64>() - p).abs() < 1e-12);
        }
        let importance = forest.importance();
        assert!((importance.iter().sum::<f64>() - 1.0).abs() < 1e-12 && importance[2] < 0.25);
    }

    #[test]
    fn the_same_for_any_number_of_threads_and_a_mean_for_numbers() {
        let (mut x, y) = data(4);
        let large: Vec<f64> = y.iter().map(|y| y * 1e300 + 1e299).collect();
        let training = Training { x: &x, y: &large, task: Task::Regression, levels: &[], forecast: None };
        let forest = fit(training, &params(), &Control::default()).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| fit(training, &params(), &Control::default()).unwrap()), forest);
        let scores = forest.scores(&x, &Control::default()).unwrap();
        assert!(scores.iter().all(|s| (0.99e299..1.11e300).contains(s)));
        // A column in which rows do not differ is never drawn.
        x.columns.insert(0, vec![1.0; x.rows]);
        let more = fit(Training { x: &x, y: &large, task: Task::Regression, levels: &[], forecast: None }, &params(), &Control::default())
            .unwrap();
        assert_eq!(more.scores(&x, &Control::default()).unwrap(), scores);
        let shallow = ForestParams { max_depth: 2, ..params() };
        let shallow =
            fit(Training { x: &x, y: &large, task: Task::Regression, levels: &[], forecast: None }, &shallow, &Control::default()).unwrap();
        assert!(shallow.parameters(&[]).contains(&("depth".into(), 2.0)));
    }
}
