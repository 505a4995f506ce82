//! Generalised linear models with an elastic net, by Newton's method.
//!
//! Minimised over the intercept β₀ and the coefficients β of standardised terms z is
//!
//! ```text
//! Σ_i w_i·loss(y_i, β₀ + β·z_i) + ½·l2·‖β‖² + l1·‖β‖₁
//! ```
//!
//! which is scikit-learn's objective with l2 = 1/C. A step goes to the minimum of the second-order expansion: a Cholesky solve, or, with l1
//! above 0, coordinate
//! descent on it (Friedman, Hastie & Tibshirani 2010, "Regularization paths for generalized linear models via coordinate descent", J. Stat.
//! Software 33(1)); it is
//! halved while the objective does not fall. The first step starts where a tenth of the rows has its minimum, if they are many.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as triangular_matmul};
use faer::linalg::solvers::Solve;
use faer::traits::pulp::Arch;
use faer::{Accum, Mat, MatRef, Par, Side};
use rayon::prelude::*;

use super::loss::Loss;
use super::scaling::{Design, PIECE, Scaling};
use super::{Contributions, Link, Matrix, Predictor};
use crate::models::{Allowed, Column, Control, ModelError, OptionSpec, Options, Part, part};

/// The option `l1_reg`.
pub const L1_REG: OptionSpec = OptionSpec {
    name: "l1_reg",
    default: "0",
    allowed: Allowed::Number { least: 0.0, most: 1e12 },
    about: "penalty on the absolute size of standardised coefficients: above 0 leaves columns out",
};

/// Steps of Newton's method, halvings of one, and sweeps of coordinate descent.
const STEPS: usize = 100;
const HALVINGS: usize = 40;
const SWEEPS: usize = 10_000;
/// Fits end with a step that moves no coefficient by more: the next would move it by about its square.
const SMALL: f64 = 1e-6;
const SMALL_IN_SWEEPS: f64 = 1e-13;
/// Where there are more rows, the search starts at the minimum of a share of them.
const MANY: usize = 50_000;
const SHARE: usize = 10;
/// Rows are summed in at most so many pieces, each in blocks that fit in cache. Both depend on nothing but the number of rows.
const PIECES: usize = 16;
const BLOCK: usize = 512;
/// Added to the curvature, as a share of its largest, where no penalty keeps it from being singular; it changes the way, not the minimum.
const DAMPING: f64 = 1e-11;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Penalty {
    pub l1: f64,
    pub l2: f64,
}

impl Penalty {
    pub fn of(options: &Options) -> Self {
        Self { l1: options.number("l1_reg"), l2: options.number("l2_reg") }
    }
}

/// The loss, its gradient and (the lower half of) its Hessian by the coefficients, both 0 where they were not asked for; the largest |η|.
struct Sums {
    value: f64,
    gradient: Mat<f64>,
    hessian: Mat<f64>,
    largest: f64,
}

/// sums += b · values
fn add_times(sums: &mut [f64], b: f64, values: &[f64]) {
    Arch::new().dispatch(|| sums.iter_mut().zip(values).for_each(|(sum, z)| *sum += b * z));
}

/// What is minimised.
pub(super) struct Problem<'a> {
    pub model: &'static str,
    pub design: &'a Design,
    pub y: &'a [f64],
    /// Of rows; empty where all count 1.
    pub weights: &'a [f64],
    pub loss: Loss,
    pub penalty: Penalty,
}

impl Problem<'_> {
    fn sums_of(&self, rows: std::ops::Range<usize>, beta: &[f64], curved: bool) -> Sums {
        let Design { rows: n, columns: p, ref values } = *self.design;
        let design = MatRef::from_column_major_slice(values, n, p);
        let mut sums = Sums { value: 0.0, gradient: Mat::zeros(p, 1), hessian: Mat::zeros(p, p), largest: 0.0 };
        let mut weighted = vec![0.0; BLOCK * p];
        for start in rows.clone().step_by(BLOCK) {
            let m = BLOCK.min(rows.end - start);
            let column = |j: usize| &values[j * n + start..][..m];
            let (mut eta, mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
            for (j, b) in beta.iter().enumerate() {
                add_times(&mut eta[..m], *b, column(j));
            }
            for i in 0..m {
                let (value, d1, d2) = self.loss.at(self.y[start + i], eta[i]);
                let w = self.weights.get(start + i).copied().unwrap_or(1.0);
                sums.value += w * value;
                (first[i], second[i]) = (w * d1, w * d2);
                sums.largest = sums.largest.max(eta[i].abs());
            }
            if !curved {
                continue;
            }
            for (j, out) in weighted.chunks_exact_mut(m).take(p).enumerate() {
                let (column, second) = (column(j), &second[..m]);
                Arch::new().dispatch(|| out.iter_mut().zip(column).zip(second).for_each(|((out, z), d)| *out = d * z));
            }
            let block = design.subrows(start, m).transpose();
            let weighted = MatRef::from_column_major_slice(&weighted[..m * p], m, p);
            let slope = MatRef::from_column_major_slice(&first[..m], m, 1);
            matmul(sums.gradient.as_mut(), Accum::Add, block, slope, 1.0, Par::Seq);
            let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
            triangular_matmul(sums.hessian.as_mut(), lower, Accum::Add, block, full, weighted, full, 1.0, Par::Seq);
        }
        sums
    }

    /// At coefficients, the intercept first; the penalties are in. Derivatives only if `curved`.
    fn sums(&self, beta: &[f64], curved: bool, control: &Control) -> Result<Sums, ModelError> {
        control.check()?;
        let n = self.design.rows;
        let piece = n.div_ceil(PIECES).max(PIECE);
        let starts: Vec<usize> = (0..n).step_by(piece).collect();
        let pieces: Vec<Sums> = starts.into_par_iter().map(|start| self.sums_of(start..n.min(start + piece), beta, curved)).collect();
        let sum = |mut all: Sums, one: Sums| {
            all.value += one.value;
            all.gradient += one.gradient;
            all.hessian += one.hessian;
            all.largest = all.largest.max(one.largest);
            all
        };
        let p = beta.len();
        let nothing = Sums { value: 0.0, gradient: Mat::zeros(p, 1), hessian: Mat::zeros(p, p), largest: 0.0 };
        let mut sums = pieces.into_iter().fold(nothing, sum);
        for (j, b) in beta.iter().enumerate().skip(1) {
            sums.value += 0.5 * self.penalty.l2 * b * b + self.penalty.l1 * b.abs();
            sums.gradient[(j, 0)] += self.penalty.l2 * b;
            sums.hessian[(j, j)] += self.penalty.l2;
        }
        Ok(sums)
    }

    /// Where the search starts: at the minimum of some of the rows, or else without what columns add.
    fn start(&self, intercept: f64, control: &Control) -> Vec<f64> {
        let mut plain = vec![0.0; self.design.columns];
        plain[0] = intercept;
        if self.design.rows <= MANY || self.loss == Loss::Squared {
            return plain;
        }
        let rows: Vec<usize> = (0..self.design.rows).step_by(SHARE).collect();
        let of = |values: &[f64]| rows.iter().filter_map(|&r| values.get(r).copied()).collect::<Vec<f64>>();
        let (design, y, weights) = (self.design.take(&rows), of(self.y), of(self.weights));
        let penalty = Penalty { l1: self.penalty.l1 / SHARE as f64, l2: self.penalty.l2 / SHARE as f64 };
        let some = Problem { design: &design, y: &y, weights: &weights, penalty, ..*self };
        some.solve(intercept, control).unwrap_or(plain)
    }

    /// The coefficients at the minimum, the intercept first.
    ///
    /// # Errors
    /// Where there is no minimum: columns without a penalty that tell the classes apart, or a penalty too small for columns that are nearly
    /// equal.
    pub fn solve(&self, intercept: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        let mut beta = self.start(intercept, control);
        let mut sums = self.sums(&beta, true, control)?;
        let mut moved = f64::INFINITY;
        for step in 0..STEPS {
            control.report(self.model, step as f64 / (step + 4) as f64);
            let target = if self.penalty.l1 > 0.0 { self.descended(&beta, &sums, control)? } else { self.solved(&beta, &sums)? };
            if self.loss == Loss::Squared {
                // Its expansion is itself.
                return Ok(target);
            }
            // After this step the next is as good as nothing: what is needed of it is that the loss falls.
            let last = moved * moved <= SMALL;
            let mut share = 1.0;
            let mut halvings = 0;
            let (next, next_sums) = loop {
                let next: Vec<f64> = beta.iter().zip(&target).map(|(b, t)| b + share * (t - b)).collect();
                let at = self.sums(&next, !last, control)?;
                // Sums of many rows are only so exact.
                if at.value <= sums.value + 1e-12 * sums.value.abs() {
                    break (next, at);
                }
                if halvings == HALVINGS {
                    break (beta.clone(), sums);
                }
                share *= 0.5;
                halvings += 1;
            };
            moved = beta.iter().zip(&next).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs() / (1.0 + a.abs())));
            (beta, sums) = (next, next_sums);
            // Of a halved step, as much less.
            if moved <= SMALL * share {
                return if self.runs_away(&sums) { Err(self.separable()) } else { Ok(beta) };
            }
            if last {
                sums = self.sums(&beta, true, control)?;
            }
        }
        Err(if self.runs_away(&sums) { self.separable() } else { self.stuck(&format!("no minimum after {STEPS} steps")) })
    }

    fn solved(&self, beta: &[f64], sums: &Sums) -> Result<Vec<f64>, ModelError> {
        let p = beta.len();
        let mut curvature = sums.hessian.clone();
        if self.penalty.l2 == 0.0 {
            let largest = (0..p).fold(0.0, |m: f64, j| m.max(curvature[(j, j)]));
            (0..p).for_each(|j| curvature[(j, j)] += DAMPING * largest);
        }
        let singular = |_| if self.runs_away(sums) { self.separable() } else { self.stuck("columns that are nearly equal") };
        let step = curvature.llt(Side::Lower).map_err(singular)?.solve(&sums.gradient);
        let target: Vec<f64> = beta.iter().enumerate().map(|(j, b)| b - step[(j, 0)]).collect();
        if target.iter().all(|b| b.is_finite()) { Ok(target) } else { Err(self.stuck("coefficients that are no numbers")) }
    }

    /// The minimum of the expansion with l1, coordinate by coordinate.
    fn descended(&self, beta: &[f64], sums: &Sums, control: &Control) -> Result<Vec<f64>, ModelError> {
        let p = beta.len();
        let hessian = &sums.hessian;
        let mut target = beta.to_vec();
        let mut slope: Vec<f64> = (0..p).map(|j| sums.gradient[(j, 0)]).collect();
        for _ in 0..SWEEPS {
            control.check()?;
            let mut moved: f64 = 0.0;
            for j in 0..p {
                let curvature = hessian[(j, j)];
                if curvature <= 0.0 {
                    continue;
                }
                let free = curvature * target[j] - slope[j];
                let l1 = if j == 0 { 0.0 } else { self.penalty.l1 };
                let next = (free.abs() - l1).max(0.0).copysign(free) / curvature;
                let change = next - target[j];
                if change == 0.0 {
                    continue;
                }
                for (k, s) in slope.iter_mut().enumerate() {
                    *s += change * hessian[(j.max(k), j.min(k))];
                }
                moved = moved.max(change.abs() / (1.0 + next.abs()));
                target[j] = next;
            }
            if moved <= SMALL_IN_SWEEPS {
                break;
            }
        }
        if target.iter().all(|b| b.is_finite()) { Ok(target) } else { Err(self.stuck("coefficients that are no numbers")) }
    }

    /// Whether some row's probability is 0 or 1 for want of a penalty.
    fn runs_away(&self, sums: &Sums) -> bool {
        self.loss == Loss::Logistic && self.penalty == Penalty { l1: 0.0, l2: 0.0 } && sums.largest > 25.0
    }

    fn separable(&self) -> ModelError {
        self.stuck("the columns tell some rows' labels for certain, so that coefficients grow without end")
    }

    fn stuck(&self, what: &str) -> ModelError {
        ModelError::NotConverged { model: self.model, detail: format!("{what} with l2_reg = {}: raise l2_reg", self.penalty.l2) }
    }
}

/// A sum of an intercept and coefficients times standardised terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub scaling: Scaling,
    /// The sum at the mean row.
    pub intercept: f64,
    pub coefficients: Vec<f64>,
}

impl Linear {
    /// Of coefficients with the intercept first.
    pub fn new(scaling: Scaling, beta: &[f64]) -> Self {
        Self { scaling, intercept: beta[0], coefficients: beta[1..].to_vec() }
    }

    /// What terms add, for a range of rows: `add(column, coefficient, the rows' values)`.
    fn each(&self, x: &Matrix, start: usize, rows: usize, mut add: impl FnMut(usize, f64, &[f64])) {
        let mut standardised = vec![0.0; rows];
        for (term, b) in self.scaling.terms.iter().zip(&self.coefficients).filter(|(_, b)| **b != 0.0) {
            term.of(&x.columns[term.column][start..start + rows], &mut standardised);
            add(term.column, *b, &standardised);
        }
    }

    pub fn sums(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        self.scaling.check(x)?;
        let mut sums = vec![self.intercept; x.rows];
        sums.par_chunks_mut(PIECE).enumerate().try_for_each(|(piece, out)| {
            control.check()?;
            self.each(x, piece * PIECE, out.len(), |_, b, values| add_times(out, b, values));
            Ok(())
        })?;
        Ok(sums)
    }

    /// What columns add to the intercept, by rows.
    pub fn addends(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        self.scaling.check(x)?;
        let width = self.scaling.width;
        let mut values = vec![0.0; x.rows * width];
        values.par_chunks_mut(PIECE * width.max(1)).enumerate().try_for_each(|(piece, out)| {
            control.check()?;
            self.each(x, piece * PIECE, out.len() / width, |j, b, values| {
                out.chunks_exact_mut(width).zip(values).for_each(|(row, z)| row[j] += b * z);
            });
            Ok(())
        })?;
        Ok(values)
    }

    /// Σ |coefficient| of a column's standardised terms.
    pub fn sizes(&self) -> Vec<f64> {
        let mut sizes = vec![0.0; self.scaling.width];
        self.scaling.terms.iter().zip(&self.coefficients).for_each(|(t, b)| sizes[t.column] += b.abs());
        sizes
    }

    /// Intercept and coefficients of the terms as they are, not standardised; 0 for columns that are constant.
    pub fn parameters(&self, columns: &[String]) -> Vec<(String, f64)> {
        let terms = self.scaling.terms.iter().zip(&self.coefficients);
        let at_zero = terms.clone().fold(self.intercept, |sum, (t, b)| sum - b * t.mean / t.scale);
        let mut all = vec![("intercept".to_owned(), at_zero)];
        for (j, name) in columns.iter().enumerate() {
            let before = all.len();
            let mine = terms.clone().filter(|(t, _)| t.column == j);
            all.extend(mine.map(|(t, b)| (t.kind.name(name), b / t.scale)));
            if all.len() == before {
                all.push((name.clone(), 0.0));
            }
        }
        all
    }

    pub fn to_parts(&self, name: &str) -> Vec<Part> {
        let row = vec![("columns", Column::U64(vec![self.scaling.width as u64])), ("intercept", Column::F64(vec![self.intercept]))];
        vec![Part::new(name, row), self.scaling.to_part(&format!("{name}_terms"), &self.coefficients)]
    }

    pub fn from_parts(parts: &[Part], name: &str) -> Result<Self, ModelError> {
        let row = part(parts, name)?;
        let &[width] = row.u64("columns")? else {
            return Err(ModelError::Damaged(format!("not one value in column 'columns' in table '{name}'")));
        };
        let width = usize::try_from(width).ok().filter(|w| *w <= MOST_COLUMNS);
        let width = width.ok_or_else(|| ModelError::Damaged(format!("too many columns in table '{name}'")))?;
        let (scaling, coefficients) = Scaling::from_part(parts, &format!("{name}_terms"), width)?;
        Ok(Self { scaling, intercept: row.number("intercept")?, coefficients })
    }
}

/// More columns than this are no model's.
pub(super) const MOST_COLUMNS: usize = 10_000_000;

/// Parts of a whole, which is 1; all 0 where it is nothing.
pub(super) fn shares(mut sizes: Vec<f64>) -> Vec<f64> {
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    if largest > 0.0 {
        let sum: f64 = sizes.iter().map(|s| s / largest).sum();
        sizes.iter_mut().for_each(|s| *s = *s / largest / sum);
    }
    sizes
}

/// A fitted model whose score is a linear sum.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LinearModel {
    /// The model type.
    pub name: &'static str,
    pub link: Link,
    pub linear: Linear,
    /// No score is above it; `f64::MAX` where there is no such bound.
    pub most: f64,
}

impl LinearModel {
    pub fn from_parts(parts: &[Part], name: &'static str, link: Link) -> Result<Self, ModelError> {
        let linear = Linear::from_parts(parts, name)?;
        Ok(Self { name, link, linear, most: part(parts, &format!("{name}_bound"))?.number("most")? })
    }
}

impl Predictor for LinearModel {
    fn link(&self) -> Link {
        self.link
    }

    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        let mut scores = self.linear.sums(x, control)?;
        scores.iter_mut().for_each(|s| *s = s.min(self.most));
        Ok(scores)
    }

    /// The baseline is the score of the mean row. Where a score is at its bound, contributions are scaled to add up to that.
    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError> {
        let width = self.linear.scaling.width;
        let mut values = self.linear.addends(x, control)?;
        let baseline = self.linear.intercept.min(self.most);
        for row in values.chunks_mut(width.max(1)) {
            let sum: f64 = row.iter().sum();
            if sum > self.most - baseline {
                row.iter_mut().for_each(|v| *v *= (self.most - baseline) / sum);
            }
        }
        Ok(Contributions { baseline, width, values })
    }

    fn importance(&self) -> Vec<f64> {
        shares(self.linear.sizes())
    }

    fn parameters(&self, columns: &[String]) -> Vec<(String, f64)> {
        self.linear.parameters(columns)
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.linear.to_parts(self.name);
        parts.push(Part::row(&format!("{}_bound", self.name), &[("most", self.most)]));
        parts
    }
}
