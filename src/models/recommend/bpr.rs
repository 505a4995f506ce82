//! Matrix factorisation that learns which of two items a user prefers: BPR-MF (Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009, "BPR: Bayesian
//! personalized ranking from implicit feedback", UAI '09), by their LearnBPR (figure 4).
//!
//! With w_u the factors of a user, y_i and b_i those of an item and its bias, x_ui = w_u·y_i + b_i. A step draws an interaction (u, i) and an item j that u
//! has not had, both uniformly, and with z = 1 / (1 + e^(x_ui − x_uj)) moves θ by η·(z·∂(x_ui − x_uj)/∂θ − λ·θ). How often, how much and when does not count.
//!
//! Only differences between items are learned, so factors and biases are taken from their means: score(u, i) = x_ui above that of an average item.
//! Users are not stored: w_u is learned anew from the history at hand, by the same steps against the items as they are, [`FOLD_PASSES`] times the history,
//! with the mean of w_u over the second half as the answer. It is a sum of steps, each made for an item of the history: their parts of a score are what those
//! items contribute, and with b_i they add up to it.

use std::sync::Arc;

use faer::traits::pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::dense::{self, LANES, Panels, padded};
use super::products::{USERS, best_products};
use super::scores::most;
use super::{Csr, Feedback, Filter, History, Recommender, Scored, Scores, Shares};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'bpr'`.
pub static BPR: ModelType = ModelType {
    name: "bpr",
    about: "matrix factorisation that learns which of two items a user prefers",
    options: &[
        OptionSpec {
            name: "factors",
            default: "64",
            allowed: Allowed::Whole { least: 1, most: 1024 },
            about: "numbers a user or an item is described by",
        },
        OptionSpec {
            name: "epochs",
            default: "60",
            allowed: Allowed::Whole { least: 1, most: 10_000 },
            about: "passes over the interactions",
        },
        OptionSpec {
            name: "learning_rate",
            default: "0.05",
            allowed: Allowed::Number { least: 1e-6, most: 1.0 },
            about: "how far a step goes",
        },
        OptionSpec {
            name: "l2",
            default: "0.01",
            allowed: Allowed::Number { least: 0.0, most: 0.5 },
            about: "λ, the penalty on factors and biases",
        },
    ],
    in_auto: false,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = BprParams {
                factors: options.whole("factors") as usize,
                epochs: options.whole("epochs") as usize,
                learning_rate: options.number("learning_rate"),
                l2: options.number("l2"),
                seed: options.whole("seed"),
            };
            Ok(Arc::new(Bpr::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(Bpr::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BprParams {
    /// At least 1.
    pub factors: usize,
    pub epochs: usize,
    /// η in (0, 1].
    pub learning_rate: f64,
    /// λ, at least 0.
    pub l2: f64,
    pub seed: u64,
}

/// Standard deviation of a factor before the first step.
const INITIAL: f64 = 0.1;
/// How often a history is gone through to fold a user in.
const FOLD_PASSES: usize = 20;
/// How often another item is drawn when the user has had it.
const DRAWS: usize = 20;
/// Interactions between two checks.
const BLOCK: usize = 1 << 16;

/// Item factors, the bias behind them as one more that every user has 1 of.
#[derive(Debug, PartialEq)]
pub struct Bpr {
    factors: usize,
    rows: Vec<f32>,
    panels: Panels,
    step: Step,
    seed: u64,
}

/// η and λ.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    rate: f32,
    l2: f32,
}

impl Step {
    /// η·z of the difference between two items.
    fn pull(self, difference: f32) -> f32 {
        self.rate / (1.0 + difference.exp())
    }
}

/// An item that is not in `items`, if one is found soon.
fn other(items: &[u32], n_items: usize, rng: &mut ChaCha8Rng) -> Option<u32> {
    (0..DRAWS).map(|_| rng.random_range(0..n_items as u32)).find(|j| items.binary_search(j).is_err())
}

/// Steps over interactions drawn at random.
struct Train<'a> {
    interactions: &'a Csr,
    /// The user of each interaction.
    user_of: &'a [u32],
    stride: usize,
    /// Where the bias is.
    bias: usize,
    users: &'a mut [f32],
    items: &'a mut [f32],
    step: Step,
    rng: &'a mut ChaCha8Rng,
    steps: usize,
}

impl WithSimd for Train<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Step { l2, rate } = self.step;
        let keep = 1.0 - rate * l2;
        for _ in 0..self.steps {
            let at = self.rng.random_range(0..self.user_of.len());
            let (u, i) = (self.user_of[at] as usize, self.interactions.columns[at] as usize);
            let Some(j) = other(self.interactions.row(u).0, self.interactions.n_cols, self.rng) else { continue };
            let span = |row: usize| row * self.stride..(row + 1) * self.stride;
            // The user has had one and not the other: they are two.
            let Ok([y, z]) = self.items.get_disjoint_mut([span(i), span(j as usize)]) else { continue };
            let w = &mut self.users[span(u)];
            let pull = self.step.pull(dense::dot(simd, w, y) - dense::dot(simd, w, z));
            for ((w, y), z) in w.iter_mut().zip(y).zip(z) {
                let (a, b, c) = (*w, *y, *z);
                *w = keep * a + pull * (b - c);
                *y = keep * b + pull * a;
                *z = keep * c - pull * a;
            }
            w[self.bias] = 1.0;
        }
    }
}

/// A user's factors learned from a history, as the sum of what was learned for each item of it: rows of `parts`.
struct FoldIn<'a> {
    model: &'a Bpr,
    items: &'a [u32],
    parts: &'a mut [f32],
}

impl WithSimd for FoldIn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (model, items) = (self.model, self.items);
        let (stride, bias, mut rng) = (model.stride(), model.factors, ChaCha8Rng::seed_from_u64(model.seed));
        let keep = 1.0 - model.step.rate * model.step.l2;
        let steps = FOLD_PASSES * items.len();
        let counted = steps - steps / 2;
        // Σ of keep^age over the ages that are in the mean, for each step: from the last step on, one age more at a time, and one less before the half.
        let mut kept = vec![0f32; steps];
        let (mut sum, mut newest, mut oldest) = (0f64, 1f64, 1f64);
        for (step, kept) in kept.iter_mut().enumerate().rev() {
            sum += newest;
            newest *= f64::from(keep);
            if step < steps - counted {
                sum -= oldest;
                oldest *= f64::from(keep);
            }
            *kept = (sum / counted as f64) as f32;
        }
        let mut w = vec![0.0; stride];
        w[bias] = 1.0;
        for (step, kept) in kept.into_iter().enumerate() {
            let at = step % items.len();
            let Some(j) = other(items, model.n_items(), &mut rng) else { continue };
            let (y, z) = (model.row(items[at]), model.row(j));
            let pull = model.step.pull(dense::dot(simd, &w, y) - dense::dot(simd, &w, z));
            let part = &mut self.parts[at * stride..][..stride];
            for ((w, part), (y, z)) in w.iter_mut().zip(part).zip(y.iter().zip(z)) {
                let pulled = pull * (y - z);
                *w = keep * *w + pulled;
                *part += kept * pulled;
            }
            w[bias] = 1.0;
        }
        // Users have no part in the bias.
        self.parts.iter_mut().skip(bias).step_by(stride).for_each(|part| *part = 0.0);
    }
}

impl Bpr {
    /// # Errors
    /// Factors that are no numbers, or cancelled.
    pub fn fit(feedback: &Feedback, params: &BprParams, control: &Control) -> Result<Self, ModelError> {
        let m = &feedback.weights;
        let (k, stride) = (params.factors, padded(params.factors + 1));
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let mut draw = |n: usize, bias: f32| -> Vec<f32> {
            let normal = |rng: &mut ChaCha8Rng| (INITIAL * Distribution::<f64>::sample(&StandardNormal, rng)) as f32;
            let one = |c: usize, rng: &mut ChaCha8Rng| if c < k { normal(rng) } else { f32::from(u8::from(c == k)) * bias };
            (0..n * stride).map(|i| one(i % stride, &mut rng)).collect()
        };
        let (mut users, mut items) = (draw(m.n_rows(), 1.0), draw(m.n_cols, 0.0));
        let user_of: Vec<u32> = (0..m.n_rows()).flat_map(|u| std::iter::repeat_n(u as u32, m.row(u).0.len())).collect();
        let step = Step { rate: params.learning_rate as f32, l2: params.l2 as f32 };
        let (total, mut done) = (params.epochs * user_of.len(), 0);
        while done < total {
            control.check()?;
            control.report("bpr: steps", done as f64 / total as f64);
            let steps = BLOCK.min(total - done);
            let (users, items) = (&mut users, &mut items);
            Arch::new().dispatch(Train { interactions: m, user_of: &user_of, stride, bias: k, users, items, step, rng: &mut rng, steps });
            done += steps;
        }
        control.report("bpr: steps", 1.0);
        if items.iter().any(|x| !x.is_finite()) {
            let detail = format!("factors that are no numbers with learning_rate = {}: lower it", params.learning_rate);
            return Err(ModelError::NotConverged { model: "bpr", detail });
        }
        for c in 0..=k {
            let mean = items.iter().skip(c).step_by(stride).map(|x| f64::from(*x)).sum::<f64>() / m.n_cols.max(1) as f64;
            items.iter_mut().skip(c).step_by(stride).for_each(|x| *x -= mean as f32);
        }
        Ok(Self { factors: k, panels: Panels::new(&items, stride), rows: items, step, seed: params.seed })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let (table, of_items) = (part(parts, "bpr")?, part(parts, "bpr_items")?);
        let step = Step { rate: table.positive("learning_rate")? as f32, l2: table.number("l2")? as f32 };
        let ([seed], [factors]) = (part(parts, "bpr_whole")?.u64("seed")?, part(parts, "bpr_whole")?.u64("factors")?) else {
            return Err(ModelError::Damaged("not one seed and number of factors of bpr".into()));
        };
        let (rows, factors) = (of_items.f32("factor")?.to_vec(), *factors as usize);
        let stride = padded(factors.saturating_add(1).min(1 << 20));
        if rows.len() % stride != 0 || factors >= stride || rows.iter().any(|x| !x.is_finite()) {
            return Err(ModelError::Damaged("factors of items that do not fit together".into()));
        }
        Ok(Self { factors, panels: Panels::new(&rows, stride), rows, step, seed: *seed })
    }

    fn stride(&self) -> usize {
        self.panels.stride()
    }

    fn row(&self, item: u32) -> &[f32] {
        &self.rows[item as usize * self.stride()..][..self.stride()]
    }

    /// What is learned for each item of a history, one row each: their sum is the user.
    fn fold_in(&self, items: &[u32]) -> Vec<f32> {
        let mut parts = vec![0.0; items.len() * self.stride()];
        Arch::new().dispatch(FoldIn { model: self, items, parts: &mut parts });
        parts
    }

    fn user(&self, parts: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        parts.chunks_exact(self.stride()).for_each(|part| out.iter_mut().zip(part).for_each(|(out, x)| *out += x));
        out[self.factors] = 1.0;
    }

    /// What each item of the history contributes to the score of `item`.
    fn shares_of(&self, parts: &[f32], item: u32) -> Vec<f32> {
        let mut shares = vec![0.0; parts.len() / self.stride()];
        dense::times(parts, self.stride(), self.row(item), &mut shares);
        shares
    }

    fn best(&self, users: &[History<'_>], filters: &[Filter<'_>], k: usize, out: &mut [Vec<Scored>]) {
        let mut factors = vec![0.0; users.len() * self.stride()];
        for (user, row) in users.iter().zip(factors.chunks_exact_mut(self.stride())) {
            self.user(&self.fold_in(user.items), row);
        }
        best_products(&self.panels, &factors, filters, k, out);
        for (list, user) in out.iter_mut().zip(users).filter(|(list, _)| !list.is_empty()) {
            let parts = self.fold_in(user.items);
            list.iter_mut().for_each(|s| s.because = most(user.items.iter().copied().zip(self.shares_of(&parts, s.item))));
        }
    }
}

impl Recommender for Bpr {
    fn n_items(&self) -> usize {
        self.rows.len() / self.stride()
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let mut factors = vec![0.0; self.stride()];
        self.user(&self.fold_in(user.items), &mut factors);
        let mut products = vec![0.0; self.panels.len() * LANES];
        self.panels.products(0..self.panels.len(), &factors, &mut products);
        scores.all(self.n_items()).copy_from_slice(&products[..self.n_items()]);
    }

    /// The baseline is the item's bias.
    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let of_items = user.items.iter().copied().zip(self.shares_of(&self.fold_in(user.items), item)).collect();
        Shares { baseline: self.row(item)[self.factors], of_items }
    }

    fn top_k(&self, user: History<'_>, filter: Filter<'_>, k: usize, _: &mut Scores, out: &mut Vec<Scored>) {
        self.best(&[user], &[filter], k, std::slice::from_mut(out));
    }

    fn top_k_many(&self, users: &[History<'_>], filters: &[Filter<'_>], k: usize, _: &mut Scores, out: &mut Vec<Vec<Scored>>) {
        out.resize_with(users.len(), Vec::new);
        for ((users, filters), out) in users.chunks(USERS).zip(filters.chunks(USERS)).zip(out.chunks_mut(USERS)) {
            self.best(users, filters, k, out);
        }
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![
            Part::row("bpr", &[("learning_rate", f64::from(self.step.rate)), ("l2", f64::from(self.step.l2))]),
            Part::new("bpr_whole", vec![("seed", Column::U64(vec![self.seed])), ("factors", Column::U64(vec![self.factors as u64]))]),
            Part::new("bpr_items", vec![("factor", Column::F32(self.rows.clone()))]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const PARAMS: BprParams = BprParams { factors: 20, epochs: 20, learning_rate: 0.05, l2: 0.01, seed: 1 };

    /// Two halves of the users, each with items of their own, are told apart for users that no fit has seen.
    #[test]
    fn tastes_are_told_apart_and_contributions_add_up() {
        let mut m = check::random(3, 80, 20);
        let whole = m.weights.clone();
        m.weights = Csr { n_cols: 40, offsets: vec![0], columns: vec![], values: vec![] };
        for u in 0..80 {
            m.weights.columns.extend(whole.row(u).0.iter().map(|i| i + 20 * (u as u32 % 2)));
            m.weights.offsets.push(m.weights.columns.len());
        }
        m.weights.values = whole.values;
        let model = Bpr::fit(&m, &PARAMS, &Control::default()).unwrap();
        let (mut scores, mut factors) = (vec![0.0; 48], vec![0.0; model.stride()]);
        for (items, own) in [(&[1, 5, 9][..], 0..20), (&[22, 31][..], 20..40)] {
            let parts = model.fold_in(items);
            model.user(&parts, &mut factors);
            model.panels.products(0..3, &factors, &mut scores);
            let mean = |range: std::ops::Range<usize>| scores[range.clone()].iter().sum::<f32>() / range.len() as f32;
            assert!(mean(own.clone()) > 0.2 + mean((own.start + 20) % 40..(own.start + 20) % 40 + 20), "{scores:?}");
            for i in 0..40u32 {
                let shares: f32 = model.shares_of(&parts, i).iter().sum();
                let rest = scores[i as usize] - model.row(i)[model.factors];
                assert!((shares - rest).abs() < 1e-4, "{i}: {shares} {rest}");
            }
            assert!(scores[..40].iter().sum::<f32>().abs() < 1e-3);
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Arc::new(Bpr::fit(f, &PARAMS, &Control::default())?)), &BPR.make);
    }
}
