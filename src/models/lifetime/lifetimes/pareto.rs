//! The Pareto lifetime: exponential with a rate of departure that is Gamma(s, rate β) over the customers.
//!
//! S(t) = (β/(β+t))^s and f(t) = s/(β+t) S(t). At age a it is Pareto(s, β+a).

use super::super::histories::Histories;
use super::super::optimise::{Derivatives, Sums};
use super::Nbd;
use super::fit::{Differentiable, Fitted, log_likelihood};
use super::lifetime::Lifetime;
use super::quadrature::Node;

/// The parameters of the lifetime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pareto {
    pub s: f64,
    /// In days, as α.
    pub beta: f64,
}

/// ln(1 + t/β) and t/(β+t).
#[derive(Clone, Copy)]
pub struct At {
    log: f64,
    share: f64,
}

impl Lifetime for Pareto {
    const NAME: &'static str = "pareto_nbd";
    const PARAMETERS: &'static [&'static str] = &["r", "alpha", "s", "beta"];
    type Point = At;

    fn values(&self) -> Vec<f64> {
        vec![self.s, self.beta]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { s: values[0], beta: values[1] }
    }

    fn hastened(&self, by: f64) -> Self {
        Self { beta: self.beta * (-by).exp(), ..*self }
    }

    fn aged(&self, age: f64) -> Self {
        Self { beta: self.beta + age, ..*self }
    }

    #[inline]
    fn point(&self, node: &Node) -> At {
        At { log: node.log_over(self.beta), share: node.t / (self.beta + node.t) }
    }

    #[inline]
    fn ln_survival(&self, at: &At) -> f64 {
        -self.s * at.log
    }

    #[inline]
    fn ln_density(&self, at: &At) -> f64 {
        -(self.s + 1.0) * at.log
    }

    fn ln_density_at_0(&self) -> f64 {
        (self.s / self.beta).ln()
    }

    #[inline]
    fn survival_slope(&self, t: f64) -> f64 {
        -self.s / (self.beta + t)
    }

    #[inline]
    fn density_slope(&self, t: f64) -> f64 {
        -(self.s + 1.0) / (self.beta + t)
    }

    fn peak(&self) -> f64 {
        0.0
    }

    fn offset(&self) -> f64 {
        self.beta
    }

    fn longest(&self, _: f64) -> f64 {
        f64::INFINITY
    }

    /// β (1 − (β/(β+h))^(s−1)) / (s−1), which is β ln(1 + h/β) for s = 1.
    fn mean_within(&self, h: f64) -> f64 {
        let log = (h / self.beta).ln_1p();
        let power = (1.0 - self.s) * log;
        self.beta * log * if power == 0.0 { 1.0 } else { power.exp_m1() / power }
    }
}

impl Fitted for Pareto {
    // e^±12 for r and s, and for α and β times in days between a fraction of a second and geological ages.
    const LOWER: &'static [f64] = &[-12.0; 4];
    const UPPER: &'static [f64] = &[12.0, 27.0, 12.0, 27.0];
    const BY_PURCHASE: &'static [f64] = &[0.0, -1.0, 0.0, 0.0];
    const BY_LIFETIME: &'static [f64] = &[0.0, 0.0, 0.0, -1.0];

    fn guess(time: f64) -> Self {
        Self { s: 0.5, beta: 0.5 * time }
    }

    fn sums(histories: &Histories, model: &Nbd<Self>) -> Sums {
        log_likelihood(histories, model).into()
    }
}

/// The places of s and β among the parameters.
const S: usize = 2;
const BETA: usize = 3;

impl Differentiable<4> for Pareto {
    fn survival_derivatives(&self, at: &At) -> Derivatives<4> {
        let mut d = Derivatives::zero();
        d.gradient[S] = -self.s * at.log;
        d.gradient[BETA] = self.s * at.share;
        d.hessian[S][S] = d.gradient[S];
        d.hessian[BETA][S] = d.gradient[BETA];
        d.hessian[BETA][BETA] = -self.s * at.share * (1.0 - at.share);
        d
    }

    #[inline]
    fn density_derivatives(&self, at: &At) -> Derivatives<4> {
        let mut d = Derivatives::zero();
        d.gradient[S] = 1.0 - self.s * at.log;
        d.gradient[BETA] = (self.s + 1.0) * at.share - 1.0;
        d.hessian[S][S] = -self.s * at.log;
        d.hessian[BETA][S] = self.s * at.share;
        d.hessian[BETA][BETA] = -(self.s + 1.0) * at.share * (1.0 - at.share);
        d
    }

    /// ∂ ln(β+a) / ∂ ln β = β/(β+a).
    fn by_own(&self, age: f64, mut d: Derivatives<4>) -> Derivatives<4> {
        let share = self.beta / (self.beta + age);
        d.scale_by(BETA, share);
        d
    }
}
