//! Maximum likelihood in a few parameters: Newton's method with backtracking on log-parameters within a box.
//!
//! The box matters. Data without departures, or with one purchase rate for all, have their maximum at infinity along a ridge; the box ends the walk at
//! parameters which say just that and with which every prediction is still finite.

use std::ops::AddAssign;

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

/// A function with its gradient and its Hessian.
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

    pub fn scaled(mut self, factor: f64) -> Self {
        self.value *= factor;
        self.gradient.iter_mut().for_each(|g| *g *= factor);
        self.hessian.iter_mut().flatten().for_each(|h| *h *= factor);
        self
    }

    fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient.iter().chain(self.hessian.iter().flatten()).all(|v| v.is_finite())
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

/// What is to be maximised, and within which bounds of the log-parameters.
pub(super) struct Problem<const N: usize> {
    /// The model's name, for messages and progress.
    pub model: &'static str,
    pub lower: [f64; N],
    pub upper: [f64; N],
}

/// Where the walk ended.
pub(super) struct Optimum<const N: usize> {
    pub at: [f64; N],
    pub value: f64,
    pub evaluations: usize,
    pub gradient_norm: f64,
    /// Whether a parameter lies on a bound that the gradient points beyond.
    pub on_edge: bool,
}

impl<const N: usize> Problem<N> {
    /// Maximises `f`, a mean log-likelihood, from `start`.
    ///
    /// # Errors
    /// `Cancelled`, or `NotConverged` if the walk ends away from a maximum.
    pub fn maximise(&self, start: [f64; N], control: &Control, f: impl Fn(&[f64; N]) -> Derivatives<N>) -> Result<Optimum<N>, ModelError> {
        let mut at = self.clamped(start);
        let mut here = f(&at);
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
            let Some((next, there)) = self.step(&at, &here, &mut evaluations, &f) else { break };
            let next_norm = self.free_gradient(&next, &there);
            let gained = there.value - here.value > GAIN * (1.0 + here.value.abs());
            idle = if gained || next_norm <= 0.5 * norm { 0 } else { idle + 1 };
            (at, here, norm) = (next, there, next_norm);
        }
        if norm > GRADIENT_AT_REST {
            return Err(self.not_converged(format!("a slope of {norm:.1e} remains after {evaluations} evaluations; give another start")));
        }
        control.report(self.model, 1.0);
        let on_edge = self.free(&at, &here).contains(&false);
        Ok(Optimum { at, value: here.value, evaluations, gradient_norm: norm, on_edge })
    }

    /// One Newton step with backtracking; `None` if no shorter step gains anything.
    fn step(
        &self,
        at: &[f64; N],
        here: &Derivatives<N>,
        evaluations: &mut usize,
        f: &impl Fn(&[f64; N]) -> Derivatives<N>,
    ) -> Option<([f64; N], Derivatives<N>)> {
        let direction = self.direction(at, here);
        // The walk stops at the first bound it meets: cutting off single coordinates would bend it away from uphill.
        let reach: [f64; N] = std::array::from_fn(|i| match direction[i] {
            d if d > 0.0 => (self.upper[i] - at[i]) / d,
            d if d < 0.0 => (self.lower[i] - at[i]) / d,
            _ => f64::INFINITY,
        });
        let longest = direction.iter().fold(0.0_f64, |m, d| m.max(d.abs()));
        let mut length = reach.iter().fold((STEP / longest).min(1.0), |m, r| m.min(*r));
        for _ in 0..HALVINGS {
            let next = std::array::from_fn(|i| match direction[i] {
                d if length < reach[i] => at[i] + length * d,
                d if d > 0.0 => self.upper[i],
                _ => self.lower[i],
            });
            let slope: f64 = (0..N).map(|i| here.gradient[i] * (next[i] - at[i])).sum();
            let there = f(&next);
            *evaluations += 1;
            if there.is_finite() && there.value >= here.value + 1e-4 * slope - LOSS * (1.0 + here.value.abs()) {
                return Some((next, there));
            }
            length *= 0.4;
        }
        None
    }

    /// Newton's direction among the parameters that it does not push out of the box.
    fn direction(&self, at: &[f64; N], here: &Derivatives<N>) -> [f64; N] {
        let mut free = self.free(at, here);
        loop {
            let direction = newton_direction(here, &free);
            let leaves = |i: usize| at[i] <= self.lower[i] && direction[i] < 0.0 || at[i] >= self.upper[i] && direction[i] > 0.0;
            match (0..N).find(|&i| leaves(i)) {
                Some(i) => free[i] = false,
                None => return direction,
            }
        }
    }

    fn clamped(&self, at: [f64; N]) -> [f64; N] {
        std::array::from_fn(|i| at[i].clamp(self.lower[i], self.upper[i]))
    }

    /// Whether each parameter may move: not if it lies on a bound and the gradient points outwards.
    fn free(&self, at: &[f64; N], here: &Derivatives<N>) -> [bool; N] {
        std::array::from_fn(|i| !(at[i] <= self.lower[i] && here.gradient[i] <= 0.0 || at[i] >= self.upper[i] && here.gradient[i] >= 0.0))
    }

    fn free_gradient(&self, at: &[f64; N], here: &Derivatives<N>) -> f64 {
        let free = self.free(at, here);
        (0..N).filter(|&i| free[i]).fold(0.0, |norm: f64, i| norm.max(here.gradient[i].abs()))
    }

    fn not_converged(&self, detail: String) -> ModelError {
        ModelError::NotConverged { model: self.model, detail }
    }
}

/// Newton's direction with the curvatures taken as positive: Σ vᵢ (vᵢ·g) / |λᵢ| over the eigenpairs of H among the free parameters.
///
/// Near a saddle it leaves downhill curvature behind instead of going back to it, and along a ridge, flat one way and steep the other, it keeps its stride.
fn newton_direction<const N: usize>(here: &Derivatives<N>, free: &[bool; N]) -> [f64; N] {
    let of_free = |i: usize, j: usize| if free[i] && free[j] { here.hessian[i.max(j)][i.min(j)] } else { 0.0 };
    let curvature: [[f64; N]; N] = std::array::from_fn(|i| std::array::from_fn(|j| of_free(i, j)));
    let (values, vectors) = eigen(curvature);
    let flat = values.iter().fold(1e-12_f64, |m, v| m.max(1e-12 * v.abs()));
    let mut direction = [0.0; N];
    for (value, vector) in values.iter().zip(&vectors) {
        let along: f64 = (0..N).filter(|&i| free[i]).map(|i| vector[i] * here.gradient[i]).sum();
        for (d, v) in direction.iter_mut().zip(vector) {
            *d += v * along / value.abs().max(flat);
        }
    }
    std::array::from_fn(|i| if free[i] { direction[i] } else { 0.0 })
}

/// Eigenvalues and eigenvectors (one a row) of a symmetric matrix by Jacobi's rotations.
fn eigen<const N: usize>(mut matrix: [[f64; N]; N]) -> ([f64; N], [[f64; N]; N]) {
    const SWEEPS: usize = 30;
    let mut vectors: [[f64; N]; N] = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(i == j)));
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for i in 0..N {
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
                    let (at_i, at_j) = (rows[i], rows[j]);
                    rows[i] = std::array::from_fn(|k| cosine * at_i[k] - sine * at_j[k]);
                    rows[j] = std::array::from_fn(|k| sine * at_i[k] + cosine * at_j[k]);
                }
            }
        }
        if !rotated {
            break;
        }
    }
    (std::array::from_fn(|i| matrix[i][i]), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// −(x − 1)² − (y − x²)², a curved valley, with the maximum 0 at (1, 1).
    fn valley(at: &[f64; 2]) -> Derivatives<2> {
        let [x, y] = *at;
        let across = y - x * x;
        Derivatives {
            value: -(x - 1.0).powi(2) - across * across,
            gradient: [-2.0 * (x - 1.0) + 4.0 * x * across, -2.0 * across],
            hessian: [[-2.0 + 4.0 * across - 8.0 * x * x, 4.0 * x], [4.0 * x, -2.0]],
        }
    }

    #[test]
    fn finds_the_maximum_inside_and_on_the_edge_of_the_box() {
        let control = Control::default();
        let wide = Problem { model: "valley", lower: [-9.0; 2], upper: [9.0; 2] };
        let inside = wide.maximise([-2.0, 3.0], &control, valley).unwrap();
        assert!((inside.at[0] - 1.0).abs() < 1e-9 && (inside.at[1] - 1.0).abs() < 1e-9);

        let narrow = Problem { upper: [0.5, 9.0], ..wide };
        let edge = narrow.maximise([-2.0, 3.0], &control, valley).unwrap();
        assert_eq!((edge.at[0], edge.on_edge, inside.on_edge), (0.5, true, false));
        assert!((edge.at[1] - 0.25).abs() < 1e-9);
    }

    #[test]
    fn eigenpairs_put_the_matrix_together_again() {
        let matrix = [[4.0, 1.0, -2.0], [1.0, 2.0, 1e-3], [-2.0, 1e-3, -30.0]];
        let (values, vectors) = eigen(matrix);
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
        let wide = Problem { model: "valley", lower: [-9.0; 2], upper: [9.0; 2] };
        assert_eq!(wide.maximise([-2.0, 3.0], &control, valley).err(), Some(ModelError::Cancelled));
    }
}
