//! What a lifetime has to say of itself, and its integrals against purchases and discounts.

use std::fmt::Debug;

use super::super::process::MOST_COUNTS;
use super::quadrature::{Integrand, Node, integrate};

/// The distribution of a lifetime over the customers, with survival S and density f = −dS/dt.
pub trait Lifetime: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Name of the model.
    const NAME: &'static str;
    /// Names of its parameters: r, alpha and those of the lifetime.
    const PARAMETERS: &'static [&'static str];
    /// What ln S and ln f at one time are computed from.
    type Point: Copy;

    fn values(&self) -> Vec<f64>;
    fn of_values(values: &[f64]) -> Self;

    /// With ln(rate of departure) larger by `by`.
    fn hastened(&self, by: f64) -> Self;

    /// The remaining lifetime of who is alive at `age`: it is of the same family.
    fn aged(&self, age: f64) -> Self;

    fn point(&self, node: &Node) -> Self::Point;
    fn ln_survival(&self, at: &Self::Point) -> f64;
    /// ln f(t)/f(0).
    fn ln_density(&self, at: &Self::Point) -> f64;
    fn ln_density_at_0(&self) -> f64;

    /// d ln S / dt and d ln f / dt.
    fn survival_slope(&self, t: f64) -> f64;
    fn density_slope(&self, t: f64) -> f64;
    /// The time from which on f does not rise.
    fn peak(&self) -> f64;

    /// Distance of the nearest singularity on the negative axis, or a smaller time over which f changes.
    fn offset(&self) -> f64;
    /// How long a panel from t on may be for the other singularities.
    fn longest(&self, t: f64) -> f64;

    /// E[min(lifetime, h)] = ∫ S over [0, h].
    fn mean_within(&self, h: f64) -> f64 {
        discounted(self, h, 0.0)
    }
}

/// S(t) or f(t)/f(0), times (1 + t/α)^−k e^(−δt).
pub(super) struct Weighted<'a, L> {
    pub lifetime: &'a L,
    /// Whether of f rather than of S.
    pub departing: bool,
    pub k: f64,
    pub alpha: f64,
    pub delta: f64,
}

impl<L: Lifetime> Weighted<'_, L> {
    /// ln of it.
    #[inline]
    pub fn ln_at(&self, node: &Node, point: &L::Point) -> f64 {
        let of_lifetime = if self.departing { self.lifetime.ln_density(point) } else { self.lifetime.ln_survival(point) };
        of_lifetime - self.k * node.log_over(self.alpha) - self.delta * node.t
    }

    fn integral(&self, end: f64) -> f64 {
        integrate(self, end, |node| self.ln_at(node, &self.lifetime.point(node)).exp() * node.dt)
    }
}

impl<L: Lifetime> Integrand for Weighted<'_, L> {
    fn offset(&self) -> f64 {
        self.lifetime.offset().min(self.alpha)
    }

    #[inline]
    fn slope(&self, t: f64) -> f64 {
        let of_lifetime = if self.departing { self.lifetime.density_slope(t) } else { self.lifetime.survival_slope(t) };
        of_lifetime - self.k / (self.alpha + t) - self.delta
    }

    #[inline]
    fn longest(&self, t: f64) -> f64 {
        self.lifetime.longest(t)
    }

    fn ln_bound(&self, t: f64) -> f64 {
        let node = Node::alone(t);
        let here = self.lifetime.point(&node);
        let peak = if self.departing { self.lifetime.peak() } else { 0.0 };
        let rise = if t < peak {
            self.lifetime.ln_density(&self.lifetime.point(&Node::alone(peak))) - self.lifetime.ln_density(&here)
        } else {
            0.0
        };
        self.ln_at(&node, &here) + rise
    }
}

/// ∫ f(t) (1 + t/α)^−k over [0, h], as it enters the odds of having departed.
pub(super) fn departing<L: Lifetime>(lifetime: &L, k: f64, alpha: f64) -> Weighted<'_, L> {
    Weighted { lifetime, departing: true, k, alpha, delta: 0.0 }
}

/// ∫ e^(−δt) S(t) over [0, h].
pub(super) fn discounted<L: Lifetime>(lifetime: &L, h: f64, delta: f64) -> f64 {
    if h <= 0.0 {
        return 0.0;
    }
    Weighted { lifetime, departing: false, k: 0.0, alpha: f64::INFINITY, delta }.integral(h)
}

/// A time h without a purchase: ln of the probabilities of being alive at its end, S(h) (1 + h/α)^−k, and of having departed. At its begin the rate of
/// purchases is Gamma(k, rate α) and the customer is alive.
fn ln_outcomes<L: Lifetime>(lifetime: &L, k: f64, alpha: f64, h: f64) -> [f64; 2] {
    if h <= 0.0 {
        return [0.0, f64::NEG_INFINITY];
    }
    let ln_alive = lifetime.ln_survival(&lifetime.point(&Node::alone(h))) - k * (h / alpha).ln_1p();
    [ln_alive, lifetime.ln_density_at_0() + departing(lifetime, k, alpha).integral(h).ln()]
}

/// D of a customer after a time h without a purchase.
pub(super) fn ln_odds_departed<L: Lifetime>(lifetime: &L, k: f64, alpha: f64, h: f64) -> f64 {
    let [alive, departed] = ln_outcomes(lifetime, k, alpha, h);
    departed - alive
}

/// P(no purchase within h).
pub(super) fn p_none<L: Lifetime>(lifetime: &L, k: f64, alpha: f64, h: f64) -> f64 {
    ln_outcomes(lifetime, k, alpha, h).iter().map(|ln| ln.exp()).sum::<f64>().min(1.0)
}

/// f, with panels short enough for the counts of purchases until then.
pub(super) struct Departures<'a, L> {
    lifetime: Weighted<'a, L>,
    k: f64,
}

pub(super) fn departures<L: Lifetime>(lifetime: &L, k: f64, alpha: f64) -> Departures<'_, L> {
    Departures { lifetime: departing(lifetime, 0.0, alpha), k }
}

impl<L: Lifetime> Departures<'_, L> {
    pub fn density(&self, node: &Node) -> f64 {
        let lifetime = self.lifetime.lifetime;
        (lifetime.ln_density_at_0() + lifetime.ln_density(&lifetime.point(node))).exp()
    }
}

impl<L> Departures<'_, L> {
    /// Whether there are more than [`MOST_COUNTS`] purchases until t, but for a chance of e^−50: Chernoff's bound of the Gamma distribution, with room for
    /// twelve standard deviations of Poisson's.
    pub fn beyond(&self, t: f64) -> bool {
        let share = 1.05 * MOST_COUNTS as f64 * self.lifetime.alpha / (self.k * t);
        share < 1.0 && self.k * (1.0 - share + share.ln()) < -50.0
    }
}

impl<L: Lifetime> Integrand for Departures<'_, L> {
    fn offset(&self) -> f64 {
        self.lifetime.offset()
    }

    fn slope(&self, t: f64) -> f64 {
        self.lifetime.slope(t)
    }

    /// y = 2√k arsinh √(t/α) gives the counts a standard deviation of one: as functions of y they are bells of that width.
    fn longest(&self, t: f64) -> f64 {
        const DEVIATIONS: f64 = 6.5;
        let longest = self.lifetime.longest(t);
        if self.beyond(t) {
            return longest;
        }
        let y = (t / self.lifetime.alpha).sqrt().asinh() + 0.5 * DEVIATIONS / self.k.sqrt();
        longest.min(self.lifetime.alpha * y.sinh().powi(2) - t)
    }

    fn ln_bound(&self, t: f64) -> f64 {
        self.lifetime.ln_bound(t) + self.lifetime.lifetime.ln_density_at_0()
    }
}
