//! Embarrassingly shallow autoencoders (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW '19).
//!
//! With X the users × items matrix, the model is the item × item matrix B of zero diagonal that minimises ‖X − XB‖² + λ‖B‖²: with
//! P = (XᵀX + λI)⁻¹, B_ij = −P_ij / P_jj for i ≠ j (equations 6–8). score(u, j) = Σ_{i in history} weight_i · B_ij.
//!
//! Two options weigh what X says, both 0 in the paper of 2019:
//! * `dropout` p: an item is left out of the input with probability p, in expectation (Steck 2020, "Autoencoders that don't overfit towards the identity",
//!   NeurIPS 33, equation 6), which adds p / (1 − p) · diag(XᵀX) to λI: popular items are shrunk more.
//! * `user_exponent` a: user u counts n_u^−a in XᵀX, n_u the number of their items, scaled so that the mean over interactions is 1 and λ stays what it is.

use std::sync::Arc;

use faer::Mat;
use faer::Side;
use faer::linalg::solvers::DenseSolveCore;
use rayon::prelude::*;

use super::{Csr, History, Recommender, Scores, Shares};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'ease'`.
pub static EASE: ModelType = ModelType {
    name: "ease",
    about: "a linear autoencoder: item weights that together explain each other best",
    options: &[
        OptionSpec {
            name: "l2",
            default: "500",
            allowed: Allowed::Number { least: 1e-3, most: 1e9 },
            about: "λ, the penalty on item weights; more for sparser logs",
        },
        OptionSpec {
            name: "dropout",
            default: "0",
            allowed: Allowed::Number { least: 0.0, most: 0.99 },
            about: "p: how much of the input is left out; shrinks the weights of popular items more",
        },
        OptionSpec {
            name: "user_exponent",
            default: "0",
            allowed: Allowed::Number { least: 0.0, most: 2.0 },
            about: "a: how much less each interaction of a user counts the more the user has, 0 = not at all",
        },
        OptionSpec {
            name: "max_items",
            default: "10000",
            allowed: Allowed::Whole { least: 1, most: 100_000 },
            about: "refuses more items: a fit takes 20 bytes times their square",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = EaseParams {
                l2: options.number("l2"),
                dropout: options.number("dropout"),
                user_exponent: options.number("user_exponent"),
                max_items: options.whole("max_items") as usize,
            };
            Ok(Arc::new(Ease::fit(&feedback.weights, &params, control)?))
        },
        read: |parts| Ok(Arc::new(Ease::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EaseParams {
    /// Above 0.
    pub l2: f64,
    /// In [0, 1).
    pub dropout: f64,
    pub user_exponent: f64,
    pub max_items: usize,
}

/// Item weights B, by rows: row `i` holds what a unit of item `i` in a history adds to every item's score.
#[derive(Debug, PartialEq)]
pub struct Ease {
    n_items: usize,
    weights: Vec<f32>,
}

/// Bytes a fit takes for each pair of items: the Gram matrix and its inverse in f64, the weights in f32.
const BYTES_A_PAIR: usize = 20;

impl Ease {
    /// # Errors
    /// More than `max_items` items, a penalty so small that the Gram matrix cannot be inverted, or cancelled.
    pub fn fit(interactions: &Csr, params: &EaseParams, control: &Control) -> Result<Self, ModelError> {
        let EaseParams { l2, dropout, user_exponent, max_items } = *params;
        let n = interactions.n_cols;
        if n > max_items {
            let gigabytes = (n * n * BYTES_A_PAIR) as f64 / 1e9;
            return Err(ModelError::Option {
                option: "max_items".into(),
                given: max_items.to_string(),
                allowed: format!(
                    "ease keeps a weight for every pair of items, and a fit of these {n} items takes {gigabytes:.1} GB of memory. Allow it with \
                     max_items = {n}, or use model_type = 'item_knn'"
                ),
            });
        }
        control.report("ease: pairs of items", 0.0);
        let by_item = weighted(interactions, user_exponent).transpose();
        let rows: Result<Vec<Vec<f64>>, ModelError> =
            (0..n).into_par_iter().map(|i| gram_row(i, &by_item, interactions, control)).collect();
        let rows = rows?;
        let gram = Mat::<f64>::from_fn(n, n, |i, j| if i == j { rows[i][j] / (1.0 - dropout) + l2 } else { rows[i][j] });
        drop(rows);
        control.check()?;
        control.report("ease: inverse", 0.3);
        let singular = |e| ModelError::NotConverged { model: "ease", detail: format!("{e:?} with l2 = {l2}: raise l2") };
        let inverse = gram.llt(Side::Lower).map_err(singular)?.inverse();
        drop(gram);
        control.check()?;
        let mut weights = vec![0f32; n * n];
        weights.par_chunks_mut(n.max(1)).enumerate().for_each(|(i, row)| {
            for (j, w) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                *w = (-inverse[(i, j)] / inverse[(j, j)]) as f32;
            }
        });
        if weights.iter().any(|w| !w.is_finite()) {
            return Err(ModelError::NotConverged {
                model: "ease",
                detail: format!("weights that are no numbers with l2 = {l2}: raise l2"),
            });
        }
        control.report("ease: inverse", 1.0);
        Ok(Self { n_items: n, weights })
    }

    fn row(&self, item: u32) -> &[f32] {
        &self.weights[item as usize * self.n_items..][..self.n_items]
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let weights = part(parts, "ease")?.f32("weight")?.to_vec();
        let n_items = weights.len().isqrt();
        if n_items * n_items != weights.len() || weights.iter().any(|w| !w.is_finite()) {
            return Err(ModelError::Damaged("weights of items that are not a square of numbers".into()));
        }
        Ok(Self { n_items, weights })
    }
}

/// The interactions of each user times n_u^−exponent, the mean of that over interactions being 1.
fn weighted(interactions: &Csr, exponent: f64) -> Csr {
    let mut out = interactions.clone();
    let of_users: Vec<f64> = interactions.offsets.windows(2).map(|w| ((w[1] - w[0]).max(1) as f64).powf(-exponent)).collect();
    let sum: f64 = of_users.iter().zip(interactions.offsets.windows(2)).map(|(w, o)| w * (o[1] - o[0]) as f64).sum();
    let mean = sum / interactions.columns.len().max(1) as f64;
    for (w, range) in of_users.iter().zip(interactions.offsets.windows(2)) {
        out.values[range[0]..range[1]].iter_mut().for_each(|x| *x = (f64::from(*x) * w / mean) as f32);
    }
    out
}

/// Row `i` of XᵀDX, where `by_item` has the weights D of the users.
fn gram_row(i: usize, by_item: &Csr, by_user: &Csr, control: &Control) -> Result<Vec<f64>, ModelError> {
    control.check()?;
    let mut sums = vec![0f64; by_user.n_cols];
    let (users, values) = by_item.row(i);
    for (&u, &x) in users.iter().zip(values) {
        let (items, others) = by_user.row(u as usize);
        for (&j, &y) in items.iter().zip(others) {
            sums[j as usize] += f64::from(x) * f64::from(y);
        }
    }
    Ok(sums)
}

impl Recommender for Ease {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let all = scores.all(self.n_items);
        for (&i, &w) in user.items.iter().zip(user.weights) {
            for (sum, b) in all.iter_mut().zip(self.row(i)) {
                *sum += w * b;
            }
        }
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let of_items = user.items.iter().zip(user.weights).map(|(&i, &w)| (i, w * self.row(i)[item as usize]));
        Shares { baseline: 0.0, of_items: of_items.collect() }
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::new("ease", vec![("weight", Column::F32(self.weights.clone()))])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const PARAMS: EaseParams = EaseParams { l2: 3.0, dropout: 0.0, user_exponent: 0.0, max_items: 100 };

    /// Each column of B is a ridge regression of its item on all others: its normal equations hold.
    #[test]
    fn every_item_is_the_ridge_regression_on_the_others() {
        let m = check::random(1, 60, 12).weights;
        let n = |u: usize| m.row(u).0.len() as f64;
        for (dropout, user_exponent) in [(0.0, 0.0), (0.3, 0.5)] {
            let ease = Ease::fit(&m, &EaseParams { dropout, user_exponent, ..PARAMS }, &Control::default()).unwrap();
            let mean = (0..60).filter(|&u| n(u) > 0.0).map(|u| n(u).powf(1.0 - user_exponent)).sum::<f64>() / m.columns.len() as f64;
            let gram = |i: usize, j: usize| {
                let both = (0..60).filter(|&u| [i, j].iter().all(|x| m.row(u).0.contains(&(*x as u32))));
                both.map(|u| n(u).powf(-user_exponent) / mean).sum::<f64>()
            };
            for j in 0..12 {
                for i in (0..12).filter(|&i| i != j) {
                    let left: f64 = (0..12).filter(|&k| k != j).map(|k| gram(i, k) * f64::from(ease.row(k as u32)[j])).sum();
                    let penalty = PARAMS.l2 + dropout / (1.0 - dropout) * gram(i, i);
                    let residual = left + penalty * f64::from(ease.row(i as u32)[j]) - gram(i, j);
                    assert!(residual.abs() < 1e-4, "{i} {j}: {residual}");
                }
                assert_eq!(ease.row(j as u32)[j], 0.0);
            }
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Arc::new(Ease::fit(&f.weights, &PARAMS, &Control::default())?)), &EASE.make);
    }

    #[test]
    fn too_many_items_are_refused_with_what_they_take_and_what_to_use() {
        let e = Ease::fit(&check::random(3, 5, 30).weights, &EaseParams { max_items: 29, ..PARAMS }, &Control::default())
            .unwrap_err()
            .to_string();
        assert!(e.contains("30 items") && e.contains("GB") && e.contains("max_items = 30") && e.contains("item_knn"), "{e}");
    }
}
