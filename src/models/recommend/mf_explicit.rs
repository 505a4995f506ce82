//! Biased matrix factorisation of ratings (Koren, Bell & Volinsky 2009, "Matrix factorization techniques for recommender systems", IEEE
//! Computer 42(8)).
//!
//! r̂_ui = μ + b_u + b_i + p_u·q_i, by variational Bayes (Lim & Teh 2007, "Variational Bayesian approach to movie rating prediction", KDD
//! Cup), which is alternating least squares that learns its penalties: with the items fixed, the bias and the factors x_u = (b_u, p_u) of a
//! user are together the ridge regression of r − μ − b_i on z_i = (1, q_i),
//!
//!   A = Σ_i (z_i z_iᵀ + diag(0, v_i)) + σ²·diag(1 / prior),   x_u = A⁻¹ Σ_i z_i (r_ui − μ − b_i),   variance of x_ud = σ² / A_dd,
//!
//! where v_i are the variances of q_i, and the other way round. After each sweep σ² becomes the mean of the expected (r − r̂)², and the
//! prior variances of biases and of item factors the means of value² + variance; that of user factors is 1. What little is known of an item
//! so shrinks by itself: there is no penalty to tune.
//!
//! Users are not stored: one asked for is folded in by that regression from the ratings of the history at hand. What an item j of the
//! history contributes to the score of i is z_iᵀ A⁻¹ z_j · (r_uj − μ − b_j).

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::ratings::{Ratings, entries};
use super::{Csr, Feedback, History, Recommender, Scores, Shares};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'mf_explicit'`.
pub static MF_EXPLICIT: ModelType = ModelType {
    name: "mf_explicit",
    about: "factors of ratings: predicts how a user would rate an item",
    options: &[
        OptionSpec {
            name: "factors",
            default: "20",
            allowed: Allowed::Whole { least: 1, most: 512 },
            about: "numbers a user and an item are described by, beside their biases",
        },
        OptionSpec {
            name: "iterations",
            default: "30",
            allowed: Allowed::Whole { least: 1, most: 1_000 },
            about: "how often users and items are each solved for; the penalties are learnt on the way",
        },
    ],
    in_auto: false,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = MfExplicitParams {
                factors: options.whole("factors") as usize,
                iterations: options.whole("iterations") as usize,
                seed: options.whole("seed"),
            };
            Ok(Arc::new(MfExplicit::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(MfExplicit::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MfExplicitParams {
    /// At least 1, as `iterations`.
    pub factors: usize,
    pub iterations: usize,
    pub seed: u64,
}

/// Rows of (bias, factors), one after the other, each of `width` numbers.
#[derive(Debug, PartialEq)]
struct Rows {
    width: usize,
    values: Vec<f64>,
    /// Of each number; 0 in rows that nothing is known of.
    variances: Vec<f64>,
}

/// What is known of items; users are folded in.
#[derive(Debug, PartialEq)]
pub struct MfExplicit {
    mean: f64,
    /// The lowest and the highest rating seen.
    range: (f64, f64),
    /// σ² / prior variance of the bias and the factors of a user.
    penalty: Vec<f64>,
    items: Rows,
}

impl Rows {
    fn row(&self, at: u32) -> &[f64] {
        &self.values[at as usize * self.width..][..self.width]
    }

    fn variances(&self, at: u32) -> &[f64] {
        &self.variances[at as usize * self.width..][..self.width]
    }

    /// Whether anything is known of a row.
    fn is_known(&self, at: u32) -> bool {
        self.variances(at)[0] > 0.0
    }

    /// The mean of value² + variance over the rows known, of each of the numbers.
    fn moments(&self) -> Vec<f64> {
        let (mut sums, mut known) = (vec![0.0; self.width], 0.0);
        for at in (0..self.n() as u32).filter(|&at| self.is_known(at)) {
            known += 1.0;
            sums.iter_mut().zip(self.row(at)).zip(self.variances(at)).for_each(|((sum, x), v)| *sum += x * x + v);
        }
        sums.iter().map(|sum| sum / known).collect()
    }

    fn n(&self) -> usize {
        self.values.len() / self.width
    }
}

/// The normal equations A x = y of the ridge regression of ratings on (1, factors), A as the Cholesky factor of its lower triangle.
struct Ridge {
    width: usize,
    factor: Vec<f64>,
    /// A_dd
    diagonal: Vec<f64>,
    solution: Vec<f64>,
}

impl Ridge {
    /// Of at least one rating by the rows of `others`.
    fn of(rated: impl Iterator<Item = (u32, f32)>, others: &Rows, mean: f64, penalty: &[f64]) -> Option<Self> {
        let width = others.width;
        let (mut a, mut y, mut x, mut penalty) = (vec![0.0; width * width], vec![0.0; width], vec![0.0; width], penalty.to_vec());
        for (other, rating) in rated {
            let row = others.row(other);
            x.copy_from_slice(row);
            x[0] = 1.0;
            let residual = f64::from(rating) - mean - row[0];
            for r in 0..width {
                let (xr, lower) = (x[r], &mut a[r * width..r * width + r + 1]);
                lower.iter_mut().zip(&x).for_each(|(a, x)| *a += xr * x);
                y[r] += xr * residual;
            }
            penalty.iter_mut().zip(others.variances(other)).skip(1).for_each(|(p, v)| *p += v);
        }
        (0..width).for_each(|r| a[r * width + r] += penalty[r]);
        let diagonal = (0..width).map(|r| a[r * width + r]).collect();
        let mut ridge = Self { width, factor: a, diagonal, solution: vec![] };
        ridge.decompose()?;
        ridge.solution = ridge.solve(y);
        Some(ridge)
    }

    /// A = L·Lᵀ in place; `None` where A is not positive definite.
    fn decompose(&mut self) -> Option<()> {
        let width = self.width;
        for r in 0..width {
            let (above, below) = self.factor.split_at_mut(r * width);
            let row = &mut below[..=r];
            for c in 0..r {
                let other = &above[c * width..][..=c];
                let dot: f64 = row[..c].iter().zip(other).map(|(a, b)| a * b).sum();
                row[c] = (row[c] - dot) / other[c];
            }
            let left = row[r] - row[..r].iter().map(|a| a * a).sum::<f64>();
            if left.is_nan() || left <= 0.0 {
                return None;
            }
            row[r] = left.sqrt();
        }
        Some(())
    }

    /// A⁻¹ y.
    fn solve(&self, mut y: Vec<f64>) -> Vec<f64> {
        let row = |r: usize| &self.factor[r * self.width..][..=r];
        for r in 0..self.width {
            let dot: f64 = row(r)[..r].iter().zip(&y).map(|(l, y)| l * y).sum();
            y[r] = (y[r] - dot) / row(r)[r];
        }
        for r in (0..self.width).rev() {
            y[r] /= row(r)[r];
            let (solved, last) = (y[r], row(r));
            y[..r].iter_mut().zip(last).for_each(|(y, l)| *y -= l * solved);
        }
        y
    }
}

/// Variance of biases to begin with, of that of ratings.
const BIAS_SHARE: f64 = 0.2;

impl MfExplicit {
    /// # Errors
    /// Nobody rates, or cancelled.
    pub fn fit(feedback: &Feedback, params: &MfExplicitParams, control: &Control) -> Result<Self, ModelError> {
        let ratings = Ratings::needed_by("model_type = 'mf_explicit'", feedback)?;
        let (width, mean) = (params.factors + 1, ratings.items.mean);
        let rated = &ratings.by_user.values;
        let spread = rated.iter().map(|&r| (f64::from(r) - mean).powi(2)).sum::<f64>() / rated.len() as f64;
        // Ratings that are all the same, or fitted to the last digit, still have some noise.
        let least = (1e-6 * spread).max(1e-12);
        let mut noise = spread.max(least);
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let mut start = |at: usize| if at.is_multiple_of(width) { 0.0 } else { 0.1 * noise.sqrt() * normal(&mut rng) };
        let n = feedback.n_items() * width;
        let factor_prior = noise / params.factors as f64;
        let mut items = Rows { width, values: (0..n).map(&mut start).collect(), variances: vec![factor_prior; n] };
        let (mut user_prior, mut item_prior) = (vec![1.0; width], vec![factor_prior; width]);
        (user_prior[0], item_prior[0]) = (BIAS_SHARE * noise, BIAS_SHARE * noise);
        let penalty = |prior: &[f64], noise: f64| -> Vec<f64> { prior.iter().map(|variance| noise / variance.max(least)).collect() };
        for iteration in 0..params.iterations {
            control.report("mf_explicit: iterations", iteration as f64 / params.iterations as f64);
            let users = solve_all(&ratings.by_user, &items, mean, &penalty(&user_prior, noise), noise, control)?;
            items = solve_all(&ratings.by_item, &users, mean, &penalty(&item_prior, noise), noise, control)?;
            noise = expected_squares(&ratings.by_user, &users, &items, mean).max(least);
            user_prior[0] = users.moments()[0];
            item_prior = items.moments();
        }
        control.report("mf_explicit: iterations", 1.0);
        Ok(Self { mean, range: ratings.items.range, penalty: penalty(&user_prior, noise), items })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let (scale, user) = (part(parts, "mf_explicit")?, part(parts, "mf_explicit_user")?);
        let items = part(parts, "mf_explicit_items")?;
        let (range, penalty) = ((scale.number("lowest")?, scale.number("highest")?), user.finite("penalty")?.to_vec());
        let (width, values, variances) = (penalty.len(), items.finite("value")?.to_vec(), items.finite("variance")?.to_vec());
        let fit = width > 0 && values.len().is_multiple_of(width) && variances.len() == values.len();
        if !fit || range.0 > range.1 || penalty.iter().any(|p| *p <= 0.0) || variances.iter().any(|v| *v < 0.0) {
            return Err(ModelError::Damaged("factors of items that do not fit together".into()));
        }
        Ok(Self { mean: scale.number("mean")?, range, penalty, items: Rows { width, values, variances } })
    }

    /// The regression of what a user rated; `None` without ratings.
    fn fold_in(&self, user: History<'_>) -> Option<Ridge> {
        user.rated().next()?;
        Ridge::of(user.rated(), &self.items, self.mean, &self.penalty)
    }

    /// What makes scores of ratings that can be 0 or below.
    fn shift(&self) -> f64 {
        if self.range.0 > 0.0 { 0.0 } else { 1.0 - self.range.0 }
    }

    /// The rating by a user of bias and factors `user`, not clipped; `None` for an item that nobody rated.
    fn rating(&self, user: &[f64], item: u32) -> Option<f64> {
        let row = self.items.row(item);
        let factors: f64 = row[1..].iter().zip(&user[1..]).map(|(q, p)| q * p).sum();
        self.items.is_known(item).then(|| self.mean + user[0] + row[0] + factors)
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Every row of `ratings` solved for, zeros for one without any.
fn solve_all(ratings: &Csr, others: &Rows, mean: f64, penalty: &[f64], noise: f64, control: &Control) -> Result<Rows, ModelError> {
    let width = others.width;
    let rows = (0..ratings.n_rows())
        .into_par_iter()
        .map(|r| {
            control.check()?;
            let row = ratings.row(r);
            if row.0.is_empty() {
                return Ok((vec![0.0; width], vec![0.0; width]));
            }
            let ridge = Ridge::of(entries(row), others, mean, penalty).ok_or_else(|| ModelError::NotConverged {
                model: "mf_explicit",
                detail: format!("a regression on {} factors has no solution: lower factors", width - 1),
            })?;
            Ok((ridge.solution, ridge.diagonal.iter().map(|a| noise / a).collect()))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let (values, variances): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Ok(Rows { width, values: values.concat(), variances: variances.concat() })
}

/// The mean over ratings of the expectation of (r − r̂)², biases and factors having their variances.
fn expected_squares(by_user: &Csr, users: &Rows, items: &Rows, mean: f64) -> f64 {
    let of = |(p, pv): (&[f64], &[f64]), (q, qv): (&[f64], &[f64]), rating: f32| {
        let (mut error, mut variance) = (f64::from(rating) - mean - p[0] - q[0], pv[0] + qv[0]);
        for d in 1..p.len() {
            error -= p[d] * q[d];
            variance += p[d] * p[d] * qv[d] + q[d] * q[d] * pv[d] + pv[d] * qv[d];
        }
        error * error + variance
    };
    let user = |u: usize| -> f64 {
        let p = (users.row(u as u32), users.variances(u as u32));
        entries(by_user.row(u)).map(|(i, r)| of(p, (items.row(i), items.variances(i)), r)).sum()
    };
    // Added up in the order of users, whatever the threads.
    let sums: Vec<f64> = (0..by_user.n_rows()).into_par_iter().map(user).collect();
    sums.iter().sum::<f64>() / by_user.values.len() as f64
}

impl Recommender for MfExplicit {
    fn n_items(&self) -> usize {
        self.items.n()
    }

    /// The predicted ratings, not clipped; on a scale that goes down to 0 or below, what they are above the lowest rating, plus 1. Nothing
    /// for a user without ratings.
    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let Some(ridge) = self.fold_in(user) else { return };
        let shift = self.shift();
        for (i, score) in scores.all(self.items.n()).iter_mut().enumerate() {
            *score = self.rating(&ridge.solution, i as u32).map_or(0.0, |r| (r + shift) as f32);
        }
    }

    /// The baseline is the mean and the item's bias.
    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let Some(ridge) = self.fold_in(user) else { return Shares::default() };
        let with_one = |i: u32| std::iter::once(1.0).chain(self.items.row(i)[1..].iter().copied());
        let direction = ridge.solve(with_one(item).collect());
        let share = |(j, r): (u32, f32)| {
            let alike: f64 = with_one(j).zip(&direction).map(|(q, d)| q * d).sum();
            (j, (alike * (f64::from(r) - self.mean - self.items.row(j)[0])) as f32)
        };
        let baseline = (self.mean + self.items.row(item)[0] + self.shift()) as f32;
        Shares { baseline, of_items: user.rated().map(share).collect() }
    }

    fn predict_rating(&self, user: History<'_>, item: u32) -> Option<f64> {
        self.rating(&self.fold_in(user)?.solution, item).map(|r| r.clamp(self.range.0, self.range.1))
    }

    fn to_parts(&self) -> Vec<Part> {
        let items = vec![("value", Column::F64(self.items.values.clone())), ("variance", Column::F64(self.items.variances.clone()))];
        vec![
            Part::row("mf_explicit", &[("mean", self.mean), ("lowest", self.range.0), ("highest", self.range.1)]),
            Part::new("mf_explicit_user", vec![("penalty", Column::F64(self.penalty.clone()))]),
            Part::new("mf_explicit_items", items),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::{Filter, check};

    const PARAMS: MfExplicitParams = MfExplicitParams { factors: 4, iterations: 10, seed: 42 };

    fn fit(m: &Feedback) -> MfExplicit {
        MfExplicit::fit(m, &PARAMS, &Control::default()).unwrap()
    }

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Arc::new(MfExplicit::fit(f, &PARAMS, &Control::default())?)), &MF_EXPLICIT.make);
    }

    /// The normal equations hold, and what the items of the history contribute adds up to the prediction.
    #[test]
    fn users_are_ridge_regressions_and_contributions_add_up() {
        let m = check::random(1, 60, 20);
        let mf = fit(&m);
        let z = |i: u32| -> Vec<f64> { std::iter::once(1.0).chain(mf.items.row(i)[1..].iter().copied()).collect() };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for u in 0..60 {
            let user = m.history(u);
            let Some(ridge) = mf.fold_in(user) else { continue };
            for d in 0..5 {
                let mut left = mf.penalty[d] * ridge.solution[d];
                for (i, r) in user.rated() {
                    let error = f64::from(r) - mf.mean - mf.items.row(i)[0] - dot(&z(i), &ridge.solution);
                    left += if d > 0 { mf.items.variances(i)[d] * ridge.solution[d] } else { 0.0 } - z(i)[d] * error;
                }
                assert!(left.abs() < 1e-9, "{u} {d}: {left}");
            }
            for item in 0..20 {
                let share = |(j, r): (u32, f32)| dot(&ridge.solve(z(item)), &z(j)) * (f64::from(r) - mf.mean - mf.items.row(j)[0]);
                let sum = mf.mean + mf.items.row(item)[0] + user.rated().map(share).sum::<f64>();
                assert!((sum - mf.rating(&ridge.solution, item).unwrap()).abs() < 1e-9);
            }
        }
    }

    /// r = 3 + b_u + b_i + p_u·q_i with one factor and hardly any noise: what was held out is found again.
    #[test]
    fn what_was_made_of_a_factor_is_found_again() {
        let mut m = check::random(5, 150, 40);
        let wave = |x: u32, by: f64| (f64::from(x) * by).sin();
        let truth = |u: u32, i: u32| 3.0 + 0.5 * wave(u, 1.3) + 0.5 * wave(i, 2.1) + 1.2 * wave(u, 0.7) * wave(i, 1.9);
        for u in 0..150 {
            for at in m.weights.offsets[u]..m.weights.offsets[u + 1] {
                m.ratings[at] = truth(u as u32, m.weights.columns[at]) as f32;
            }
        }
        let mf = MfExplicit::fit(&m, &MfExplicitParams { iterations: 50, ..PARAMS }, &Control::default()).unwrap();
        let squares = (0..150).flat_map(|u| (0..40).map(move |i| (u, i)));
        let squares: Vec<f64> = squares.filter_map(|(u, i)| Some((mf.predict_rating(m.history(u), i)? - truth(u, i)).powi(2))).collect();
        let rmse = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        assert!(squares.len() > 5_000 && rmse < 0.2, "{rmse}");
    }

    #[test]
    fn scales_that_go_below_zero_are_listed_and_constant_ones_are_borne() {
        let mut m = check::random(2, 40, 15);
        m.ratings.iter_mut().for_each(|r| *r -= 3.0);
        let list = |m: &Feedback| {
            let mut out = vec![];
            fit(m).top_k(m.history(0), Filter::default(), 15, &mut Scores::default(), &mut out);
            out
        };
        let all = list(&m);
        assert_eq!(all.len(), 15);
        let first = fit(&m).predict_rating(m.history(0), all[0].item).unwrap();
        assert!((f64::from(all[0].score) - first - 3.0).abs() < 1e-5);
        m.ratings.fill(4.0);
        assert_eq!((list(&m).len(), fit(&m).predict_rating(m.history(0), 3)), (15, Some(4.0)));
        m.ratings = vec![];
        let e = MfExplicit::fit(&m, &PARAMS, &Control::default()).unwrap_err();
        assert!(matches!(&e, ModelError::TooLittleData(s) if s.contains("'mf_explicit'") && s.contains("rating")), "{e}");
    }
}
