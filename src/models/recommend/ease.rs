//! Embarrassingly shallow autoencoders (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW '19).
//!
//! With X the users × items matrix, the model is the item × item matrix B of zero diagonal that minimises ‖X − XB‖² + λ‖B‖²: with
//! P = (XᵀX + λI)⁻¹, B_ij = −P_ij / P_jj for i ≠ j (equations 6–8). score(u, j) = Σ_{i in history} weight_i · B_ij.

use faer::Mat;
use faer::Side;
use faer::linalg::solvers::DenseSolveCore;
use rayon::prelude::*;

use super::{Csr, History, Recommender, Scores};
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
            name: "max_items",
            default: "10000",
            allowed: Allowed::Whole { least: 1, most: 100_000 },
            about: "refuses more items: a fit takes 20 bytes times their square",
        },
    ],
    in_auto: false,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            Ok(Box::new(Ease::fit(&feedback.weights, options.number("l2"), options.whole("max_items") as usize, control)?))
        },
        read: |parts| Ok(Box::new(Ease::from_parts(parts)?)),
    },
};

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
    pub fn fit(interactions: &Csr, l2: f64, max_items: usize, control: &Control) -> Result<Self, ModelError> {
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
        let by_item = interactions.transpose();
        let rows: Result<Vec<Vec<f64>>, ModelError> =
            (0..n).into_par_iter().map(|i| gram_row(i, &by_item, interactions, control)).collect();
        let rows = rows?;
        let gram = Mat::<f64>::from_fn(n, n, |i, j| if i == j { rows[i][j] + l2 } else { rows[i][j] });
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

/// Row `i` of XᵀX.
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

    fn because(&self, user: History<'_>, item: u32) -> Option<u32> {
        let shares = user.items.iter().zip(user.weights).map(|(&i, &w)| (w * self.row(i)[item as usize], i));
        shares.filter(|(share, _)| *share > 0.0).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, i)| i)
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::new("ease", vec![("weight", Column::F32(self.weights.clone()))])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    fn fit(m: &Csr, l2: f64) -> Ease {
        Ease::fit(m, l2, 10_000, &Control::default()).unwrap()
    }

    /// Each column of B is a ridge regression of its item on all others: its normal equations hold.
    #[test]
    fn every_item_is_the_ridge_regression_on_the_others() {
        let (m, l2) = (check::random(1, 60, 12).weights, 3.0);
        let ease = fit(&m, l2);
        let gram =
            |i: usize, j: usize| (0..m.n_rows()).filter(|&u| [i, j].iter().all(|x| m.row(u).0.contains(&(*x as u32)))).count() as f64;
        for j in 0..12 {
            for i in (0..12).filter(|&i| i != j) {
                let left: f64 = (0..12).filter(|&k| k != j).map(|k| gram(i, k) * f64::from(ease.row(k as u32)[j])).sum();
                let residual = left + l2 * f64::from(ease.row(i as u32)[j]) - gram(i, j);
                assert!(residual.abs() < 1e-4, "{i} {j}: {residual}");
            }
            assert_eq!(ease.row(j as u32)[j], 0.0);
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Box::new(Ease::fit(&f.weights, 10.0, 100, &Control::default())?)), &EASE.make);
    }

    #[test]
    fn too_many_items_are_refused_with_what_they_take_and_what_to_use() {
        let e = Ease::fit(&check::random(3, 5, 30).weights, 1.0, 29, &Control::default()).unwrap_err().to_string();
        assert!(e.contains("30 items") && e.contains("GB") && e.contains("max_items = 30") && e.contains("item_knn"), "{e}");
    }
}
