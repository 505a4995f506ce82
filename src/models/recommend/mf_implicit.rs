//! Matrix factorisation for implicit feedback by alternating least squares: iALS (Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback
//! datasets", ICDM '08), in the parametrisation of Rendle, Krichene, Zhang & Koren 2022, "Revisiting the performance of iALS on item recommendation
//! benchmarks", RecSys '22. With x_ui the weight of an interaction, w_u and y_i the factors of users and items, it minimises
//!
//! Σ_{observed} x_ui·(1 − w_u·y_i)² + α₀·Σ_{all u, i} (w_u·y_i)² + λ·(Σ_u (n_u + α₀·I)^ν·|w_u|² + Σ_i (n_i + α₀·U)^ν·|y_i|²)
//!
//! where n_u is the number of items of user u, n_i that of users of item i, I and U the numbers of all. score(u, i) = w_u·y_i.
//!
//! Users are not stored: w_u solves (D + Σ_j x_uj·y_j·y_jᵀ)·w_u = Σ_j x_uj·y_j over the user's history at hand, D = α₀·YᵀY + λ·(n_u + α₀·I)^ν. The axes of the
//! factors are turned until YᵀY is diagonal, so D is too; with B the rows √x_uj·D^−½·y_j, w_u = D^−½·Bᵀ·(1 + B·Bᵀ)⁻¹·√x_u = D^−½·(1 + Bᵀ·B)⁻¹·Bᵀ·√x_u: the smaller
//! of the two systems is solved exactly, by Cholesky. An item of the history contributes x_uj·y_iᵀ·(D + Σ x·y·yᵀ)⁻¹·y_j to a score (Hu et al., equation 7).

use std::sync::Arc;

use faer::{Mat, Side};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::dense::{self, LANES, Panels, padded};
use super::products::{USERS, best_products};
use super::scores::most;
use super::{Csr, Feedback, Filter, History, Recommender, Scored, Scores, Shares};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'mf_implicit'`.
pub static MF_IMPLICIT: ModelType = ModelType {
    name: "mf_implicit",
    about: "matrix factorisation for implicit feedback (iALS): users and items as vectors whose product is the score",
    options: &[
        OptionSpec {
            name: "factors",
            default: "64",
            allowed: Allowed::Whole { least: 1, most: 1024 },
            about: "numbers a user or an item is described by",
        },
        OptionSpec {
            name: "iterations",
            default: "16",
            allowed: Allowed::Whole { least: 1, most: 1000 },
            about: "passes over users and items",
        },
        OptionSpec {
            name: "alpha0",
            default: "0.3",
            allowed: Allowed::Number { least: 1e-6, most: 1e3 },
            about: "how much an item that a user has not had counts, where one that he has had counts 1",
        },
        OptionSpec {
            name: "l2",
            default: "0.007",
            allowed: Allowed::Number { least: 1e-6, most: 1e6 },
            about: "λ, the penalty on factors",
        },
        OptionSpec {
            name: "reg_exp",
            default: "1",
            allowed: Allowed::Number { least: 0.0, most: 2.0 },
            about: "ν: the penalty grows with how often a user or an item is seen, to this power",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = MfImplicitParams {
                factors: options.whole("factors") as usize,
                iterations: options.whole("iterations") as usize,
                alpha0: options.number("alpha0"),
                l2: options.number("l2"),
                reg_exp: options.number("reg_exp"),
                seed: options.whole("seed"),
            };
            Ok(Arc::new(MfImplicit::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(MfImplicit::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MfImplicitParams {
    /// At least 1, as `iterations`.
    pub factors: usize,
    pub iterations: usize,
    /// α₀, λ and ν; the first two above 0.
    pub alpha0: f64,
    pub l2: f64,
    pub reg_exp: f64,
    pub seed: u64,
}

/// Standard deviation of a score between factors drawn at random, times √factors (Rendle et al. 2022).
const INITIAL: f64 = 0.1;
/// Rows that are gathered at once.
const TILE: usize = 64;
/// What a task solves: so many entries, a row counted as [`ROW`] more.
const TASK: usize = 1 << 14;
const ROW: usize = 32;
/// Rows of factors that are added up, or turned, by one task.
const CHUNK: usize = 2048;

/// Item factors and what users are folded in with.
#[derive(Debug, PartialEq)]
pub struct MfImplicit {
    items: Factors,
    panels: Panels,
    penalty: Penalty,
}

/// Rows of factors along the axes in which FᵀF is diagonal.
#[derive(Debug, PartialEq)]
struct Factors {
    stride: usize,
    rows: Vec<f32>,
    /// The diagonal of FᵀF.
    squares: Vec<f32>,
}

/// What D is made of: α₀, λ, ν.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Penalty {
    alpha0: f64,
    l2: f64,
    reg_exp: f64,
}

impl Factors {
    fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    fn row(&self, i: u32) -> &[f32] {
        &self.rows[i as usize * self.stride..][..self.stride]
    }

    /// Prefetches the rows of the first tile of `items`.
    fn prefetch(&self, items: &[u32]) {
        dense::prefetch(&self.rows, self.stride, &items[..items.len().min(TILE)]);
    }

    /// Turns rows into the axes in which their Gram matrix is diagonal.
    fn principal(mut rows: Vec<f32>, stride: usize) -> Result<Self, ModelError> {
        let partial: Vec<Vec<f32>> = rows
            .par_chunks(CHUNK * stride)
            .map(|chunk| {
                let mut gram = vec![0.0; stride * stride];
                dense::add_gram(chunk, stride, &mut gram);
                gram
            })
            .collect();
        let sum = |i: usize, j: usize| partial.iter().map(|g| f64::from(g[i.min(j) * stride + i.max(j)])).sum::<f64>();
        let gram = Mat::<f64>::from_fn(stride, stride, sum);
        let failed = |detail: String| ModelError::NotConverged { model: "mf_implicit", detail };
        if (0..stride).any(|i| !gram[(i, i)].is_finite()) {
            return Err(failed("factors that are no numbers: raise l2 or lower the weights".into()));
        }
        let eigen = gram.self_adjoint_eigen(Side::Lower).map_err(|e| failed(format!("{e:?} of the factors: raise l2")))?;
        // The strongest axis first.
        let axis = |c: usize| stride - 1 - c;
        let vectors: Vec<f32> = (0..stride * stride).map(|i| eigen.U()[(i % stride, axis(i / stride))] as f32).collect();
        let axes = Panels::new(&vectors, stride);
        rows.par_chunks_mut(CHUNK * stride).for_each(|chunk| {
            let left = chunk.to_vec();
            axes.products(0..axes.len(), &left, chunk);
        });
        let squares = (0..stride).map(|c| eigen.S()[axis(c)].max(0.0) as f32).collect();
        Ok(Self { stride, rows, squares })
    }

    /// The factors of the rows of `weights` that best fit these, of which there is one a column, in the memory of `solved`.
    fn solve(&self, weights: &Csr, penalty: Penalty, control: &Control, mut solved: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        solved.resize(weights.n_rows() * self.stride, 0.0);
        let mut tasks = vec![];
        let (mut rest, mut start) = (solved.as_mut_slice(), 0);
        while start < weights.n_rows() {
            let cost = |end: usize| weights.offsets[end] - weights.offsets[start] + ROW * (end - start);
            let end = (start + 1..=weights.n_rows()).find(|&end| cost(end) >= TASK).unwrap_or(weights.n_rows());
            let (task, others) = rest.split_at_mut((end - start) * self.stride);
            tasks.push((start, task));
            (rest, start) = (others, end);
        }
        tasks.into_par_iter().try_for_each_init(Equations::default, |equations, (start, task)| {
            control.check()?;
            for (u, out) in task.chunks_exact_mut(self.stride).enumerate() {
                if start + u + 1 < weights.n_rows() {
                    self.prefetch(weights.row(start + u + 1).0);
                }
                let (items, weights) = weights.row(start + u);
                equations.set(self, penalty, items, weights);
                equations.solve(out);
            }
            Ok(())
        })?;
        Ok(solved)
    }
}

/// The system of one row: 1 + B·Bᵀ or 1 + Bᵀ·B, whichever is smaller, decomposed.
#[derive(Debug, Default)]
struct Equations {
    /// D^−½.
    scale: Vec<f32>,
    /// √x_uj.
    roots: Vec<f32>,
    /// Whether it is 1 + B·Bᵀ.
    by_item: bool,
    /// B, with rows of zeros up to `stride` of them, with `by_item`, else the rows of B that were gathered last.
    tile: Vec<f32>,
    /// Bᵀ, with `by_item`.
    turned: Vec<f32>,
    /// Length of a row of `matrix`.
    stride: usize,
    matrix: Vec<f32>,
    reciprocals: Vec<f32>,
    /// Bᵀ·√x, without `by_item`.
    right: Vec<f32>,
    solution: Vec<f32>,
    shares: Vec<f32>,
}

impl Equations {
    fn set(&mut self, factors: &Factors, penalty: Penalty, items: &[u32], weights: &[f32]) {
        let (k, n) = (factors.stride, items.len());
        let l2 = penalty.l2 * (n as f64 + penalty.alpha0 * factors.len() as f64).powf(penalty.reg_exp);
        let (alpha0, l2) = (penalty.alpha0 as f32, l2 as f32);
        self.scale.clear();
        self.scale.extend(factors.squares.iter().map(|s| 1.0 / (alpha0 * s + l2).sqrt()));
        self.roots.clear();
        self.roots.extend(weights.iter().map(|w| w.sqrt()));
        self.by_item = n < k;
        self.stride = if self.by_item { dense::side(n.max(1)) } else { k };
        self.matrix.clear();
        self.matrix.resize(self.stride * self.stride, 0.0);
        self.tile.clear();
        self.right.clear();
        if self.by_item {
            dense::gather(&factors.rows, &self.scale, items, &self.roots, &mut self.tile);
            self.tile.resize(k * self.stride, 0.0);
            dense::turn(&self.tile, k, &mut self.turned);
            dense::add_gram(&self.turned, self.stride, &mut self.matrix);
        } else {
            self.right.resize(k, 0.0);
            for (t, (chunk, roots)) in items.chunks(TILE).zip(self.roots.chunks(TILE)).enumerate() {
                factors.prefetch(&items[((t + 1) * TILE).min(n)..]);
                self.tile.clear();
                dense::gather(&factors.rows, &self.scale, chunk, roots, &mut self.tile);
                dense::add_gram(&self.tile, k, &mut self.matrix);
                dense::add_rows(&self.tile, k, roots, &mut self.right);
            }
        }
        self.matrix.iter_mut().step_by(self.stride + 1).for_each(|x| *x += 1.0);
        self.reciprocals.resize(self.stride, 0.0);
        dense::cholesky(&mut self.matrix, self.stride, &mut self.reciprocals);
    }

    fn solve_for(&mut self, right: impl Iterator<Item = f32>) {
        self.solution.clear();
        self.solution.extend(right);
        self.solution.resize(self.stride, 0.0);
        dense::solve(&self.matrix, self.stride, &self.reciprocals, &mut self.solution);
    }

    /// The factors of the row; zeros of an empty one.
    fn solve(&mut self, out: &mut [f32]) {
        if self.by_item {
            let roots = std::mem::take(&mut self.roots);
            self.solve_for(roots.iter().copied());
            self.roots = roots;
            out.fill(0.0);
            dense::add_rows(&self.tile, out.len(), &self.solution, out);
        } else {
            let right = std::mem::take(&mut self.right);
            self.solve_for(right.iter().copied());
            self.right = right;
            out.copy_from_slice(&self.solution);
        }
        out.iter_mut().zip(&self.scale).for_each(|(x, scale)| *x *= scale);
    }

    /// What each item of the history contributes to the score of an item with factors `y`, in the order of the history.
    fn shares(&mut self, factors: &Factors, items: &[u32], y: &[f32]) -> &[f32] {
        let scale = std::mem::take(&mut self.scale);
        let scaled = y.iter().zip(&scale).map(|(y, scale)| y * scale);
        self.shares.clear();
        if self.by_item {
            let scaled: Vec<f32> = scaled.collect();
            let mut right = vec![0.0; self.stride];
            dense::times(&self.tile, factors.stride, &scaled, &mut right);
            self.solve_for(right.into_iter());
            self.shares.extend(self.solution.iter().zip(&self.roots).map(|(c, root)| c * root));
        } else {
            self.solve_for(scaled);
            self.solution.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= scale);
            for (&item, root) in items.iter().zip(&self.roots) {
                let mut share = [0.0];
                dense::times(factors.row(item), factors.stride, &self.solution, &mut share);
                self.shares.push(root * root * share[0]);
            }
        }
        self.scale = scale;
        &self.shares
    }

    /// The item that contributes most, if anything does.
    fn because(&mut self, factors: &Factors, items: &[u32], item: u32) -> Option<u32> {
        most(items.iter().copied().zip(self.shares(factors, items, factors.row(item)).iter().copied()))
    }
}

impl MfImplicit {
    /// # Errors
    /// Factors that are no numbers, or cancelled.
    pub fn fit(feedback: &Feedback, params: &MfImplicitParams, control: &Control) -> Result<Self, ModelError> {
        let by_user = &feedback.weights;
        let by_item = by_user.transpose();
        let penalty = Penalty { alpha0: params.alpha0, l2: params.l2, reg_exp: params.reg_exp };
        let (k, stride) = (params.factors, padded(params.factors));
        let (mut rng, deviation) = (ChaCha8Rng::seed_from_u64(params.seed), INITIAL / (k as f64).sqrt());
        let mut draw = |c: usize| if c < k { (deviation * Distribution::<f64>::sample(&StandardNormal, &mut rng)) as f32 } else { 0.0 };
        let initial = (0..feedback.n_items() * stride).map(|i| draw(i % stride)).collect();
        let mut items = Factors::principal(initial, stride)?;
        let mut users = vec![];
        for done in 0..params.iterations {
            control.report("mf_implicit: passes", done as f64 / params.iterations as f64);
            let turned = Factors::principal(items.solve(by_user, penalty, control, users)?, stride)?;
            items = Factors::principal(turned.solve(&by_item, penalty, control, items.rows)?, stride)?;
            users = turned.rows;
        }
        control.report("mf_implicit: passes", 1.0);
        Ok(Self { panels: Panels::new(&items.rows, stride), items, penalty })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let table = part(parts, "mf_implicit")?;
        let penalty = Penalty { alpha0: table.positive("alpha0")?, l2: table.positive("l2")?, reg_exp: table.number("reg_exp")? };
        let squares = part(parts, "mf_implicit_axes")?.f32("square")?.to_vec();
        let rows = part(parts, "mf_implicit_items")?.f32("factor")?.to_vec();
        let stride = squares.len();
        let numbers = rows.iter().all(|x| x.is_finite()) && squares.iter().all(|x| x.is_finite() && *x >= 0.0);
        if stride == 0 || stride % LANES != 0 || rows.len() % stride != 0 || !numbers {
            return Err(ModelError::Damaged("factors of items that do not fit together".into()));
        }
        Ok(Self { panels: Panels::new(&rows, stride), items: Factors { stride, rows, squares }, penalty })
    }

    /// The factors of a user, from the whole history.
    fn fold_in(&self, user: History<'_>, equations: &mut Equations, out: &mut [f32]) {
        equations.set(&self.items, self.penalty, user.items, user.weights);
        equations.solve(out);
    }

    /// The best of at most [`USERS`] users.
    fn best(&self, users: &[History<'_>], filters: &[Filter<'_>], k: usize, out: &mut [Vec<Scored>]) {
        let stride = self.items.stride;
        let mut equations = Equations::default();
        let mut factors = vec![0.0; users.len() * stride];
        for (&user, row) in users.iter().zip(factors.chunks_exact_mut(stride)) {
            self.fold_in(user, &mut equations, row);
        }
        best_products(&self.panels, &factors, filters, k, out);
        for (list, user) in out.iter_mut().zip(users).filter(|(list, _)| !list.is_empty()) {
            equations.set(&self.items, self.penalty, user.items, user.weights);
            list.iter_mut().for_each(|s| s.because = equations.because(&self.items, user.items, s.item));
        }
    }
}

impl Recommender for MfImplicit {
    fn n_items(&self) -> usize {
        self.items.len()
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let mut factors = vec![0.0; self.items.stride];
        self.fold_in(user, &mut Equations::default(), &mut factors);
        let mut products = vec![0.0; self.panels.len() * LANES];
        self.panels.products(0..self.panels.len(), &factors, &mut products);
        scores.all(self.n_items()).copy_from_slice(&products[..self.n_items()]);
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let mut equations = Equations::default();
        equations.set(&self.items, self.penalty, user.items, user.weights);
        let shares = equations.shares(&self.items, user.items, self.items.row(item));
        Shares { baseline: 0.0, of_items: user.items.iter().copied().zip(shares.iter().copied()).collect() }
    }

    /// With a running threshold, and one system solved for all reasons.
    fn top_k(&self, user: History<'_>, filter: Filter<'_>, k: usize, _: &mut Scores, out: &mut Vec<Scored>) {
        self.best(&[user], &[filter], k, std::slice::from_mut(out));
    }

    /// In tiles of users and items.
    fn top_k_many(&self, users: &[History<'_>], filters: &[Filter<'_>], k: usize, _: &mut Scores, out: &mut Vec<Vec<Scored>>) {
        out.resize_with(users.len(), Vec::new);
        for ((users, filters), out) in users.chunks(USERS).zip(filters.chunks(USERS)).zip(out.chunks_mut(USERS)) {
            self.best(users, filters, k, out);
        }
    }

    fn to_parts(&self) -> Vec<Part> {
        let Penalty { alpha0, l2, reg_exp } = self.penalty;
        vec![
            Part::row("mf_implicit", &[("alpha0", alpha0), ("l2", l2), ("reg_exp", reg_exp)]),
            Part::new("mf_implicit_axes", vec![("square", Column::F32(self.items.squares.clone()))]),
            Part::new("mf_implicit_items", vec![("factor", Column::F32(self.items.rows.clone()))]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const PARAMS: MfImplicitParams = MfImplicitParams { factors: 20, iterations: 5, alpha0: 0.3, l2: 0.05, reg_exp: 0.8, seed: 1 };

    /// Users who have few items and many, so that both systems are solved, and one who has none.
    fn feedback() -> Feedback {
        let mut m = check::random(5, 50, 300);
        for u in (0..50).rev().step_by(2) {
            let range = m.weights.offsets[u] + u % 13..m.weights.offsets[u + 1];
            m.weights.columns.drain(range.clone());
            m.last_us.drain(range.clone());
            m.weights.offsets[u + 1..].iter_mut().for_each(|o| *o -= range.len());
        }
        m.weights.values = (0..m.weights.columns.len()).map(|i| (1 + i % 4) as f32 / 2.0).collect();
        m
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// At what was solved last, the loss has no slope: its gradient by w_u is Σ_j x_uj·(w_u·y_j − 1)·y_j + α₀·Σ_i (w_u·y_i)·y_i + λ·(n_u + α₀·I)^ν·w_u.
    #[test]
    fn every_solved_row_is_a_minimum_of_the_loss() {
        let m = feedback();
        let rows = |m: &Csr, others: &Factors| {
            others.solve(m, Penalty { alpha0: 0.3, l2: 0.05, reg_exp: 0.8 }, &Control::default(), vec![]).unwrap()
        };
        let items = MfImplicit::fit(&m, &PARAMS, &Control::default()).unwrap().items;
        let users = Factors::principal(rows(&m.weights, &items), items.stride).unwrap();
        let by_item = m.weights.transpose();
        for (weights, fixed, solved) in [(&m.weights, &items, rows(&m.weights, &items)), (&by_item, &users, rows(&by_item, &users))] {
            let sizes: Vec<usize> = (0..weights.n_rows()).map(|u| weights.row(u).0.len()).collect();
            assert!(sizes.iter().any(|&n| n < 12) && (weights.n_cols < 300 || sizes.iter().any(|&n| n > 40) && sizes.contains(&0)));
            for (u, w) in solved.chunks_exact(fixed.stride).enumerate() {
                let (columns, values) = weights.row(u);
                let l2 = 0.05 * (columns.len() as f64 + 0.3 * weights.n_cols as f64).powf(0.8);
                let mut gradient: Vec<f64> = w.iter().map(|x| l2 * f64::from(*x)).collect();
                let mut add = |i: u32, by: f64| gradient.iter_mut().zip(fixed.row(i)).for_each(|(g, y)| *g += by * f64::from(*y));
                (0..weights.n_cols as u32).for_each(|i| add(i, 0.3 * dot(w, fixed.row(i))));
                columns.iter().zip(values).for_each(|(&j, &x)| add(j, f64::from(x) * (dot(w, fixed.row(j)) - 1.0)));
                assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{u}: {gradient:?}");
            }
        }
    }

    /// The sum of what the history contributes is the score, and a user folded in is the one that was trained.
    #[test]
    fn contributions_add_up_and_folding_in_is_training() {
        let m = feedback();
        let model = MfImplicit::fit(&m, &PARAMS, &Control::default()).unwrap();
        let trained = model.items.solve(&m.weights, model.penalty, &Control::default(), vec![]).unwrap();
        let (mut equations, mut folded) = (Equations::default(), vec![0.0; model.items.stride]);
        for (u, w) in trained.chunks_exact(model.items.stride).enumerate() {
            let user = m.history(u as u32);
            model.fold_in(user, &mut equations, &mut folded);
            assert_eq!(folded, w);
            for i in 0..300 {
                let shares = equations.shares(&model.items, user.items, model.items.row(i)).to_vec();
                assert_eq!(shares.len(), user.items.len());
                let (sum, score) = (shares.iter().map(|s| f64::from(*s)).sum::<f64>(), dot(w, model.items.row(i)));
                assert!((sum - score).abs() < 1e-5, "{u} {i}: {sum} {score}");
            }
        }
    }

    /// Lists of many users are those of each, and the best of all scores.
    #[test]
    fn tiles_change_no_list() {
        let mut m = feedback();
        // More users than a tile, more items than a panel of the last tile, and equal scores.
        let model = MfImplicit::fit(&m, &PARAMS, &Control::default()).unwrap();
        let mut twice = model.items.rows.clone();
        (0..6).for_each(|_| twice.extend_from_slice(&model.items.rows));
        let items = Factors { stride: model.items.stride, rows: twice, squares: model.items.squares.clone() };
        let model = MfImplicit { panels: Panels::new(&items.rows, items.stride), items, penalty: model.penalty };
        m.weights.n_cols = model.n_items();
        let users: Vec<History<'_>> = (0..500).map(|u| m.history(u % 50)).collect();
        let candidates: Vec<bool> = (0..model.n_items()).map(|i| i % 3 > 0).collect();
        let filter = |u: usize| Filter { exclude: users[u].items, candidates: (u.is_multiple_of(2)).then_some(candidates.as_slice()) };
        let filters: Vec<Filter<'_>> = (0..500).map(filter).collect();
        let (scores, mut many, mut one, mut all) = (&mut Scores::default(), vec![vec![]; 3], vec![], vec![]);
        for k in [0, 1, 10, 5000] {
            model.top_k_many(&users, &filters, k, scores, &mut many);
            assert_eq!(many.len(), 500);
            for u in (0..500).step_by(if k > 10 { 100 } else { 3 }) {
                model.top_k(users[u], filters[u], k, scores, &mut one);
                crate::models::recommend::scores::best_scored(&model, users[u], filters[u], k, scores, &mut all);
                assert!(many[u] == one && one == all, "{u} {k}");
            }
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        for factors in [3, 64] {
            let params = MfImplicitParams { factors, ..PARAMS };
            check::guarantees(&|f| Ok(Arc::new(MfImplicit::fit(f, &params, &Control::default())?)), &MF_IMPLICIT.make);
        }
    }
}
