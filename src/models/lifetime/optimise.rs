//! Maximum likelihood in a few parameters: Newton's method with backtracking on log-parameters within a box.
//!
//! The box matters. Data without departures, or with one purchase rate for all, have their maximum at infinity along a ridge; the box ends the walk at
//! parameters which say just that and with which every prediction is still finite.

use std::ops::{AddAssign, MulAssign};

use crate::models::{Control, ModelError};

/// Stop once no free derivative of the mean log-likelihood exceeds this.
const GRADIENT: f64 = 1e-10;
/// A walk that rounding errors end is at the maximum for all purposes if no derivative exceeds this: with n customers the derivative at the true
/// parameters is of the order 1/√n.
const GRADIENT_AT_REST: f64 = 1e-5;
/// Relative loss of the mean log-likelihood that may be rounding: terms of the size of p·x cancel in that of Gamma-Gamma. Such a step is judged by the
/// gradient.
const LOSS: f64 = 1e-9;
/// Relative gain that is no rounding.
const GAIN: f64 = 1e-12;
/// Steps in a row that neither gain nor halve the gradient that end the walk.
const IDLE_STEPS: usize = 4;
/// Longest step in a log-parameter.
const STEP: f64 = 2.0;
const ITERATIONS: usize = 200;
const HALVINGS: usize = 40;
/// The standard error of a log-parameter that the data say nothing of.
const WIDEST: f64 = 2.0;

/// A function with its gradient and its Hessian, as it is summed over customers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Derivatives<const N: usize> {
    pub value: f64,
    pub gradient: [f64; N],
    /// Only the lower triangle, column ≤ row, is read.
    pub hessian: [[f64; N]; N],
}

impl<const N: usize> Derivatives<N> {
    pub fn zero() -> Self {
        Self { value: 0.0, gradient: [0.0; N], hessian: [[0.0; N]; N] }
    }
}

impl<const N: usize> AddAssign<&Self> for Derivatives<N> {
    fn add_assign(&mut self, other: &Self) {
        self.value += other.value;
        for (sum, part) in self.gradient.iter_mut().zip(&other.gradient) {
            *sum += part;
        }
        for (sum, part) in self.hessian.iter_mut().flatten().zip(other.hessian.iter().flatten()) {
            *sum += part;
        }
    }
}

impl<const N: usize> MulAssign<f64> for Derivatives<N> {
    fn mul_assign(&mut self, factor: f64) {
        self.value *= factor;
        self.gradient.iter_mut().for_each(|g| *g *= factor);
        self.hessian.iter_mut().flatten().for_each(|h| *h *= factor);
    }
}

/// The same for any number of parameters, as the search takes it.
#[derive(Clone, Debug)]
pub struct Sums {
    pub value: f64,
    pub gradient: Vec<f64>,
    /// Symmetric.
    pub hessian: Vec<Vec<f64>>,
}

impl<const N: usize> From<Derivatives<N>> for Sums {
    fn from(d: Derivatives<N>) -> Self {
        let hessian = (0..N).map(|i| (0..N).map(|j| d.hessian[i.max(j)][i.min(j)]).collect()).collect();
        Self { value: d.value, gradient: d.gradient.to_vec(), hessian }
    }
}

impl Sums {
    pub fn zero(n: usize) -> Self {
        Self { value: 0.0, gradient: vec![0.0; n], hessian: vec![vec![0.0; n]; n] }
    }

    fn scale(&mut self, factor: f64) {
        self.value *= factor;
        self.gradient.iter_mut().for_each(|g| *g *= factor);
        self.hessian.iter_mut().flatten().for_each(|h| *h *= factor);
    }

    fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient.iter().chain(self.hessian.iter().flatten()).all(|v| v.is_finite())
    }
}

/// What is to be maximised: the log-likelihood of so many customers within bounds of the log-parameters, less ½·l2·Σ(θ − centre)² a customer.
pub(super) struct Problem {
    /// The model's name, for messages and progress.
    pub model: &'static str,
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    pub customers: f64,
    /// By parameter; 0 is plain maximum likelihood.
    pub l2: Vec<f64>,
    pub centre: Vec<f64>,
}

/// Where the walk ended.
pub(super) struct Optimum {
    pub at: Vec<f64>,
    /// The log-likelihood of all customers, without the penalty.
    pub log_likelihood: f64,
    pub evaluations: usize,
    pub gradient_norm: f64,
    /// Whether a parameter lies on a bound that the gradient points beyond.
    pub on_edge: bool,
    /// The principal axes of the uncertainty of the parameters: one standard error each, in log-parameters. Σ axis·axisᵀ is their covariance.
    pub axes: Vec<Vec<f64>>,
}

impl Problem {
    /// Plain maximum likelihood.
    pub fn plain(model: &'static str, lower: Vec<f64>, upper: Vec<f64>, customers: f64) -> Self {
        let n = lower.len();
        Self { model, lower, upper, customers, l2: vec![0.0; n], centre: vec![0.0; n] }
    }

    /// Maximises `f`, the log-likelihood of all customers, from `start`.
    ///
    /// # Errors
    /// `Cancelled`, or `NotConverged` if the walk ends away from a maximum.
    pub fn maximise(&self, start: &[f64], control: &Control, f: impl Fn(&[f64]) -> Sums) -> Result<Optimum, ModelError> {
        let objective = |at: &[f64]| self.objective(at, &f);
        let mut at = self.clamped(start);
        let mut here = objective(&at);
        let mut evaluations = 1;
        if !here.is_finite() {
            return Err(self.not_converged("the likelihood is not finite at the start; give another start".into()));
        }
        let mut norm = self.free_gradient(&at, &here);
        let first_norm = norm.max(GRADIENT);
        let mut idle = 0;
        for _ in 0..ITERATIONS {
            control.check()?;
            control.report(self.model, ((first_norm / norm).ln() / (first_norm / GRADIENT).ln()).clamp(0.0, 1.0));
            if norm <= GRADIENT || idle == IDLE_STEPS {
                break;
            }
            let Some((next, there)) = self.step(&at, &here, &mut evaluations, &objective) else { break };
            let next_norm = self.free_gradient(&next, &there);
            let gained = there.value - here.value > GAIN * (1.0 + here.value.abs());
            idle = if gained || next_norm <= 0.5 * norm { 0 } else { idle + 1 };
            (at, here, norm) = (next, there, next_norm);
        }
        if norm > GRADIENT_AT_REST {
            return Err(self.not_converged(format!("a slope of {norm:.1e} remains after {evaluations} evaluations; give another start")));
        }
        control.report(self.model, 1.0);
        let free = self.free(&at, &here);
        Ok(Optimum {
            log_likelihood: (here.value + self.penalty(&at)) * self.customers,
            evaluations,
            gradient_norm: norm,
            on_edge: free.contains(&false),
            axes: self.axes(&here, &free),
            at,
        })
    }

    fn penalty(&self, at: &[f64]) -> f64 {
        (0..at.len()).map(|i| 0.5 * self.l2[i] * (at[i] - self.centre[i]).powi(2)).sum()
    }

    /// The mean log-likelihood less the penalty.
    fn objective(&self, at: &[f64], f: &impl Fn(&[f64]) -> Sums) -> Sums {
        let mut sums = f(at);
        sums.scale(1.0 / self.customers);
        sums.value -= self.penalty(at);
        for (i, (at, centre)) in at.iter().zip(&self.centre).enumerate() {
            sums.gradient[i] -= self.l2[i] * (at - centre);
            sums.hessian[i][i] -= self.l2[i];
        }
        sums
    }

    /// The inverse of the observed information among the parameters that are free, by its eigenpairs. Along a ridge, where the data say next to nothing,
    /// a standard error is taken to be [`WIDEST`].
    fn axes(&self, here: &Sums, free: &[bool]) -> Vec<Vec<f64>> {
        let (values, vectors) = eigen(free_part(here, free));
        let axis = |(value, vector): (&f64, &Vec<f64>)| -> Option<Vec<f64>> {
            // The eigenvectors of fixed parameters have no part in the free ones.
            let inside = (0..free.len()).any(|i| free[i] && vector[i].abs() > 1e-9);
            let length = (-value * self.customers).max(WIDEST.powi(-2)).sqrt().recip();
            inside.then(|| (0..free.len()).map(|i| if free[i] { length * vector[i] } else { 0.0 }).collect())
        };
        values.iter().zip(&vectors).filter_map(axis).collect()
    }

    /// One Newton step with backtracking; `None` if no shorter step gains anything.
    fn step(&self, at: &[f64], here: &Sums, evaluations: &mut usize, objective: &impl Fn(&[f64]) -> Sums) -> Option<(Vec<f64>, Sums)> {
        let direction = self.direction(at, here);
        // The walk stops at the first bound it meets: cutting off single coordinates would bend it away from uphill.
        let reach = |i: usize| match direction[i] {
            d if d > 0.0 => (self.upper[i] - at[i]) / d,
            d if d < 0.0 => (self.lower[i] - at[i]) / d,
            _ => f64::INFINITY,
        };
        let reach: Vec<f64> = (0..at.len()).map(reach).collect();
        let longest = direction.iter().fold(0.0_f64, |m, d| m.max(d.abs()));
        let mut length = reach.iter().fold((STEP / longest).min(1.0), |m, r| m.min(*r));
        for _ in 0..HALVINGS {
            let moved = |i: usize| match direction[i] {
                d if length < reach[i] => at[i] + length * d,
                d if d > 0.0 => self.upper[i],
                _ => self.lower[i],
            };
            let next: Vec<f64> = (0..at.len()).map(moved).collect();
            let slope: f64 = (0..at.len()).map(|i| here.gradient[i] * (next[i] - at[i])).sum();
            let there = objective(&next);
            *evaluations += 1;
            if there.is_finite() && there.value >= here.value + 1e-4 * slope - LOSS * (1.0 + here.value.abs()) {
                return Some((next, there));
            }
            length *= 0.4;
        }
        None
    }

    /// Newton's direction among the parameters that it does not push out of the box.
    fn direction(&self, at: &[f64], here: &Sums) -> Vec<f64> {
        let mut free = self.free(at, here);
        loop {
            let direction = newton_direction(here, &free);
            let leaves = |i: usize| at[i] <= self.lower[i] && direction[i] < 0.0 || at[i] >= self.upper[i] && direction[i] > 0.0;
            match (0..at.len()).find(|&i| leaves(i)) {
                Some(i) => free[i] = false,
                None => return direction,
            }
        }
    }

    fn clamped(&self, at: &[f64]) -> Vec<f64> {
        (0..at.len()).map(|i| at[i].clamp(self.lower[i], self.upper[i])).collect()
    }

    /// Whether each parameter may move: not if it lies on a bound and the gradient points outwards.
    fn free(&self, at: &[f64], here: &Sums) -> Vec<bool> {
        let stuck = |i: usize| at[i] <= self.lower[i] && here.gradient[i] <= 0.0 || at[i] >= self.upper[i] && here.gradient[i] >= 0.0;
        (0..at.len()).map(|i| !stuck(i)).collect()
    }

    fn free_gradient(&self, at: &[f64], here: &Sums) -> f64 {
        let free = self.free(at, here);
        (0..at.len()).filter(|&i| free[i]).fold(0.0, |norm: f64, i| norm.max(here.gradient[i].abs()))
    }

    fn not_converged(&self, detail: String) -> ModelError {
        ModelError::NotConverged { model: self.model, detail }
    }
}

/// Σ axis·axisᵀ, each row and column times its scale: what the delta method makes of it for parameters whose logarithms the axes move. Empty without axes.
pub(super) fn covariance(axes: &[Vec<f64>], scale: &[f64]) -> Vec<Vec<f64>> {
    if axes.is_empty() {
        return vec![];
    }
    let one = |i: usize, j: usize| axes.iter().map(|axis| axis[i] * axis[j]).sum::<f64>() * scale[i] * scale[j];
    (0..scale.len()).map(|i| (0..scale.len()).map(|j| one(i, j)).collect()).collect()
}

/// The Hessian with the rows and columns of fixed parameters empty.
fn free_part(here: &Sums, free: &[bool]) -> Vec<Vec<f64>> {
    let n = free.len();
    (0..n).map(|i| (0..n).map(|j| if free[i] && free[j] { here.hessian[i][j] } else { 0.0 }).collect()).collect()
}

/// Newton's direction with the curvatures taken as positive: Σ vᵢ (vᵢ·g) / |λᵢ| over the eigenpairs of H among the free parameters.
///
/// Near a saddle it leaves downhill curvature behind instead of going back to it, and along a ridge, flat one way and steep the other, it keeps its stride.
fn newton_direction(here: &Sums, free: &[bool]) -> Vec<f64> {
    let n = free.len();
    let (values, vectors) = eigen(free_part(here, free));
    let flat = values.iter().fold(1e-12_f64, |m, v| m.max(1e-12 * v.abs()));
    let mut direction = vec![0.0; n];
    for (value, vector) in values.iter().zip(&vectors) {
        let along: f64 = (0..n).filter(|&i| free[i]).map(|i| vector[i] * here.gradient[i]).sum();
        for (d, v) in direction.iter_mut().zip(vector) {
            *d += v * along / value.abs().max(flat);
        }
    }
    (0..n).map(|i| if free[i] { direction[i] } else { 0.0 }).collect()
}

/// Eigenvalues and eigenvectors (one a row) of a symmetric matrix by Jacobi's rotations.
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    const SWEEPS: usize = 30;
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for i in 0..n {
            for j in 0..i {
                if matrix[i][j].abs() <= 1e-17 * (matrix[i][i] * matrix[j][j]).abs().sqrt().max(f64::MIN_POSITIVE) {
                    continue;
                }
                rotated = true;
                let cotangent = (matrix[j][j] - matrix[i][i]) / (2.0 * matrix[i][j]);
                let tangent = cotangent.signum() / (cotangent.abs() + cotangent.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                for row in &mut matrix {
                    (row[i], row[j]) = (cosine * row[i] - sine * row[j], sine * row[i] + cosine * row[j]);
                }
                for rows in [&mut matrix, &mut vectors] {
                    // j < i
                    let (before, from_i) = rows.split_at_mut(i);
                    for (at_i, at_j) in from_i[0].iter_mut().zip(&mut before[j]) {
                        (*at_i, *at_j) = (cosine * *at_i - sine * *at_j, sine * *at_i + cosine * *at_j);
                    }
                }
            }
        }
        if !rotated {
            break;
        }
    }
    ((0..n).map(|i| matrix[i][i]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// −(x − 1)² − (y − x²)², a curved valley, with the maximum 0 at (1, 1).
    fn valley(at: &[f64]) -> Sums {
        let (x, y) = (at[0], at[1]);
        let across = y - x * x;
        let hessian = [[-2.0 + 4.0 * across - 8.0 * x * x, 0.0], [4.0 * x, -2.0]];
        let gradient = [-2.0 * (x - 1.0) + 4.0 * x * across, -2.0 * across];
        Derivatives { value: -(x - 1.0).powi(2) - across * across, gradient, hessian }.into()
    }

    fn within(upper: f64) -> Problem {
        Problem::plain("valley", vec![-9.0; 2], vec![upper, 9.0], 1.0)
    }

    #[test]
    fn finds_the_maximum_inside_and_on_the_edge_of_the_box() {
        let control = Control::default();
        let inside = within(9.0).maximise(&[-2.0, 3.0], &control, valley).unwrap();
        assert!((inside.at[0] - 1.0).abs() < 1e-9 && (inside.at[1] - 1.0).abs() < 1e-9);
        // The inverse of [[10, −4], [−4, 2]].
        let covariance = |i: usize, j: usize| inside.axes.iter().map(|axis| axis[i] * axis[j]).sum::<f64>();
        for (i, j, expected) in [(0, 0, 0.5), (0, 1, 1.0), (1, 1, 2.5)] {
            assert!((covariance(i, j) - expected).abs() < 1e-9);
        }

        let edge = within(0.5).maximise(&[-2.0, 3.0], &control, valley).unwrap();
        assert_eq!((edge.at[0], edge.on_edge, inside.on_edge), (0.5, true, false));
        assert!((edge.at[1] - 0.25).abs() < 1e-9);
        assert!(edge.axes.iter().all(|axis| axis[0] == 0.0));
    }

    #[test]
    fn a_penalty_pulls_towards_its_centre() {
        let problem = Problem { l2: vec![1e6, 0.0], centre: vec![0.25, 0.0], ..within(9.0) };
        let pulled = problem.maximise(&[-2.0, 3.0], &Control::default(), valley).unwrap();
        assert!((pulled.at[0] - 0.25).abs() < 1e-4 && (pulled.at[1] - 0.0625).abs() < 1e-4);
        assert!((pulled.log_likelihood - valley(&pulled.at).value).abs() < 1e-9);
    }

    #[test]
    fn eigenpairs_put_the_matrix_together_again() {
        let matrix = vec![vec![4.0, 1.0, -2.0], vec![1.0, 2.0, 1e-3], vec![-2.0, 1e-3, -30.0]];
        let (values, vectors) = eigen(matrix.clone());
        for i in 0..3 {
            for j in 0..3 {
                let together: f64 = (0..3).map(|k| values[k] * vectors[k][i] * vectors[k][j]).sum();
                assert!((together - matrix[i][j]).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn stops_when_cancelled() {
        let control = Control::default();
        control.cancel();
        assert_eq!(within(9.0).maximise(&[-2.0, 3.0], &control, valley).err(), Some(ModelError::Cancelled));
    }
}
