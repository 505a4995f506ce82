//! The Gamma–Gompertz lifetime: the rate of departure rises as e^(bt), from a level that is Gamma(s, rate β) over the customers.
//!
//! With G(t) = β + e^(bt) − 1: S(t) = (β/G)^s and f(t) = s b e^(bt)/G S(t). At age a it has β′ = β e^(−ba) + 1 − e^(−ba).
//! For β < 1 it falls from the start and for b → 0 is Pareto(s, β/b); for β > 1 + s most live until about ln(β)/b.

use super::super::histories::Histories;
use super::super::optimise::{Derivatives, Sums};
use super::Nbd;
use super::fit::{Differentiable, Fitted, log_likelihood};
use super::lifetime::Lifetime;
use super::quadrature::Node;

/// The parameters of the lifetime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GammaGompertz {
    /// A day, as 1/α.
    pub b: f64,
    pub s: f64,
    pub beta: f64,
}

/// At a time t: bt, ln G/β, and shares of G.
#[derive(Clone, Copy)]
pub struct At {
    time: f64,
    log: f64,
    /// e^(bt)/G.
    risen: f64,
    /// β/G, and what is left of it, (e^(bt) − 1)/G.
    first: f64,
    later: f64,
}

/// e^(bt) beyond this is all there is of G.
const ALL: f64 = 500.0;

impl GammaGompertz {
    fn at(&self, t: f64) -> At {
        let time = self.b * t;
        if time > ALL {
            return At { time, log: time - self.beta.ln(), risen: 1.0, first: 0.0, later: 1.0 };
        }
        let rise = time.exp_m1();
        let inverse = 1.0 / (self.beta + rise);
        At { time, log: (rise / self.beta).ln_1p(), risen: (1.0 + rise) * inverse, first: self.beta * inverse, later: rise * inverse }
    }

    /// e^(bt)/G.
    fn risen(&self, t: f64) -> f64 {
        let time = self.b * t;
        if time > ALL {
            return 1.0;
        }
        let rise = time.exp_m1();
        (1.0 + rise) / (self.beta + rise)
    }
}

impl Lifetime for GammaGompertz {
    const NAME: &'static str = "ggompertz_nbd";
    const PARAMETERS: &'static [&'static str] = &["r", "alpha", "b", "s", "beta"];
    type Point = At;

    fn values(&self) -> Vec<f64> {
        vec![self.b, self.s, self.beta]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { b: values[0], s: values[1], beta: values[2] }
    }

    fn hastened(&self, by: f64) -> Self {
        Self { beta: self.beta * (-by).exp(), ..*self }
    }

    fn aged(&self, age: f64) -> Self {
        let time = -self.b * age;
        Self { beta: self.beta * time.exp() - time.exp_m1(), ..*self }
    }

    #[inline]
    fn point(&self, node: &Node) -> At {
        self.at(node.t)
    }

    #[inline]
    fn ln_survival(&self, at: &At) -> f64 {
        -self.s * at.log
    }

    #[inline]
    fn ln_density(&self, at: &At) -> f64 {
        at.time - (self.s + 1.0) * at.log
    }

    fn ln_density_at_0(&self) -> f64 {
        (self.s * self.b / self.beta).ln()
    }

    fn survival_slope(&self, t: f64) -> f64 {
        -self.s * self.b * self.risen(t)
    }

    fn density_slope(&self, t: f64) -> f64 {
        self.b * (1.0 - (self.s + 1.0) * self.risen(t))
    }

    fn peak(&self) -> f64 {
        ((self.beta - 1.0) / self.s).max(1.0).ln() / self.b
    }

    /// G is 0 at t = ln(1 − β)/b for β < 1.
    fn offset(&self) -> f64 {
        (if self.beta < 0.5 { -(-self.beta).ln_1p() } else { 0.7 }) / self.b
    }

    /// G is 0 at ln(1 − β)/b ± 2πi/b as well, and at ln(β − 1)/b ± πi/b for β > 1.
    fn longest(&self, t: f64) -> f64 {
        let (real, apart) = if self.beta < 1.0 { ((-self.beta).ln_1p() / self.b, 10.0) } else { ((self.beta - 1.0).ln() / self.b, 5.0) };
        (apart / self.b).max(if t < real { 0.6 } else { 1.6 } * (t - real).abs())
    }
}

impl Fitted for GammaGompertz {
    // As for Pareto, with 1/b up to twenty thousand years, which no shop tells from b = 0: there β/b is the β of Pareto.
    const LOWER: &'static [f64] = &[-12.0, -12.0, -16.0, -12.0, -28.0];
    const UPPER: &'static [f64] = &[12.0, 27.0, 4.0, 12.0, 27.0];
    const BY_PURCHASE: &'static [f64] = &[0.0, -1.0, 0.0, 0.0, 0.0];
    const BY_LIFETIME: &'static [f64] = &[0.0, 0.0, 0.0, 0.0, -1.0];

    fn guess(time: f64) -> Self {
        Self { b: 1.0 / time, s: 0.5, beta: 0.5 }
    }

    fn sums(histories: &Histories, model: &Nbd<Self>) -> Sums {
        log_likelihood(histories, model).into()
    }
}

/// The places of b, s and β among the parameters.
const B: usize = 2;
const S: usize = 3;
const BETA: usize = 4;

impl GammaGompertz {
    /// ln G/β: its derivatives by ln b and ln β, and the second ones.
    #[inline]
    fn log_derivatives(at: &At) -> ([f64; 2], [f64; 3]) {
        let by_b = at.time * at.risen;
        let by_b_twice = by_b + at.time * by_b * (1.0 - at.risen);
        ([by_b, -at.later], [by_b_twice, -by_b * at.first, at.first * at.later])
    }

    /// Those of −times·ln G/β + c·ln s, where `times` is s plus a constant.
    #[inline]
    fn power_derivatives(&self, at: &At, times: f64) -> Derivatives<5> {
        let ([by_b, by_beta], [bb, b_beta, beta_beta]) = Self::log_derivatives(at);
        let mut d = Derivatives::zero();
        d.gradient = [0.0, 0.0, -times * by_b, -self.s * at.log, -times * by_beta];
        d.hessian[B][B] = -times * bb;
        d.hessian[S][B] = -self.s * by_b;
        d.hessian[S][S] = -self.s * at.log;
        d.hessian[BETA][B] = -times * b_beta;
        d.hessian[BETA][S] = -self.s * by_beta;
        d.hessian[BETA][BETA] = -times * beta_beta;
        d
    }
}

impl Differentiable<5> for GammaGompertz {
    fn survival_derivatives(&self, at: &At) -> Derivatives<5> {
        self.power_derivatives(at, self.s)
    }

    /// ln f = ln(s b/β) + bt − (s+1) ln G/β.
    #[inline]
    fn density_derivatives(&self, at: &At) -> Derivatives<5> {
        let mut d = self.power_derivatives(at, self.s + 1.0);
        d.gradient[B] += 1.0 + at.time;
        d.gradient[S] += 1.0;
        d.gradient[BETA] -= 1.0;
        d.hessian[B][B] += at.time;
        d
    }

    /// The derivatives of ln β′ by ln b and ln β are ba(1 − β)e^(−ba)/β′ and βe^(−ba)/β′.
    fn by_own(&self, age: f64, aged: Derivatives<5>) -> Derivatives<5> {
        let time = self.b * age;
        let left = (-time).exp() / self.aged(age).beta;
        let (by_b, by_beta) = (time * (1.0 - self.beta) * left, self.beta * left);
        let mut d = aged;
        let (g, h) = (aged.gradient[BETA], aged.hessian[BETA]);
        d.gradient[B] += by_b * g;
        d.gradient[BETA] *= by_beta;
        for other in [0, 1] {
            d.hessian[B][other] += by_b * h[other];
            d.hessian[BETA][other] *= by_beta;
        }
        d.hessian[S][B] += by_b * h[S];
        d.hessian[BETA][S] *= by_beta;
        d.hessian[B][B] += by_b * (2.0 * h[B] + by_b * h[BETA]) + g * by_b * (1.0 - time - by_b);
        d.hessian[BETA][B] = by_beta * (h[B] + by_b * h[BETA] - g * (time + by_b));
        d.hessian[BETA][BETA] = by_beta * (by_beta * h[BETA] + g * (1.0 - by_beta));
        d
    }
}
