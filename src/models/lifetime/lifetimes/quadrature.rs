//! Integrals of a lifetime against e^−(something) over [0, end], to all digits.
//!
//! Gauss–Legendre panels in v = ln(1 + t/c), where −c is the nearest singularity of the integrand on the real line: in v it lies at ±iπ, wherever
//! the scale of t. A panel is so short that neither a singularity nor the fall of the integrand (by no more than e^−16 where it matters) is felt by the rule,
//! and the walk ends where the rest cannot be seen.

/// A positive function F of t ≥ 0.
pub(super) trait Integrand {
    /// c.
    fn offset(&self) -> f64;

    /// d ln F / dt.
    fn slope(&self, t: f64) -> f64;

    /// The longest panel from t on, as far as other singularities allow.
    fn longest(&self, t: f64) -> f64;

    /// ln of what F does not exceed from t on.
    fn ln_bound(&self, t: f64) -> f64;
}

/// A place at which an integrand is asked for.
#[derive(Clone, Copy)]
pub struct Node {
    pub t: f64,
    /// c, or 0 for a place that is not of a rule.
    offset: f64,
    /// v = ln(1 + t/c).
    log: f64,
    /// Its weight.
    pub dt: f64,
}

impl Node {
    /// A place on its own.
    pub fn alone(t: f64) -> Self {
        Self { t, offset: 0.0, log: 0.0, dt: 0.0 }
    }

    /// ln(1 + t/scale).
    #[inline]
    pub fn log_over(&self, scale: f64) -> f64 {
        if scale == self.offset {
            return self.log;
        }
        // ln_1p for arguments that are not tiny, and cheaper.
        let share = self.t / scale;
        let sum = 1.0 + share;
        sum.ln() + (share - (sum - 1.0)) / sum
    }
}

/// Longest panel in v, and the most that ln F may change over one.
const LONGEST: f64 = 4.5;
const FALL: f64 = 16.0;
/// The same for the rule of eight nodes, which also keeps twice the distance from singularities.
const LONGEST_8: f64 = 1.6;
const FALL_8: f64 = 3.5;
/// e^−37 of the whole is its last bit.
const UNSEEN: f64 = -37.0;

/// ∫ F over [0, end] as Σ `add(node)`, which is F(t)·dt.
#[inline]
pub(super) fn integrate(f: &impl Integrand, end: f64, mut add: impl FnMut(&Node) -> f64) -> f64 {
    let offset = f.offset();
    let whole = (end / offset).ln_1p();
    let in_v = |t: f64| (offset + t) * f.slope(t) + 1.0;
    let (mut t, mut from, mut sum) = (0.0, 0.0, 0.0_f64);
    let mut fall = FALL;
    while from < whole {
        let steep = in_v(t).abs();
        let apart = f.longest(t);
        let left = whole - from;
        let mut width = left.min(LONGEST).min((apart / (offset + t)).ln_1p()).min(fall / steep);
        let (next, change) = loop {
            let next = if width < left { offset * (from + width).exp_m1() } else { end };
            let change = in_v(next).abs() * width;
            if change <= 1.1 * fall {
                break (next, change.max(steep * width));
            }
            width *= (fall / change).max(0.2);
        };
        let whole_rise = width.exp_m1();
        let mut panel = |rule: &[(f64, f64)]| {
            for &(place, weight) in rule {
                let rise = (width * place).exp_m1();
                for (place, rise) in [(place, rise), (1.0 - place, (whole_rise - rise) / (1.0 + rise))] {
                    let beyond = (offset + t) * rise;
                    sum += add(&Node { t: t + beyond, offset, log: from + width * place, dt: weight * width * (offset + t + beyond) });
                }
            }
        };
        if change <= FALL_8 && width <= LONGEST_8 && next - t <= 0.25 * apart {
            panel(&GAUSS_LEGENDRE_8)
        } else {
            panel(&GAUSS_LEGENDRE_16)
        }
        if width >= left {
            break;
        }
        (t, from) = (next, from + width);
        let rest = f.ln_bound(t) + (end - t).ln() - sum.ln();
        if rest < UNSEEN {
            break;
        }
        // What has little weight may have less of its digits.
        fall = FALL + 0.4 * (-rest).clamp(0.0, 30.0);
    }
    sum
}

/// Places and weights of the rules on the lower half of [0, 1]; the upper half mirrors it.
const GAUSS_LEGENDRE_8: [(f64, f64); 4] = [
    (0.019855071751231884, 0.05061426814518813),
    (0.10166676129318664, 0.11119051722668724),
    (0.2372337950418355, 0.15685332293894363),
    (0.4082826787521751, 0.181341891689181),
];
const GAUSS_LEGENDRE_16: [(f64, f64); 8] = [
    (0.005299532504175033, 0.013576229705877046),
    (0.02771248846338371, 0.031126761969323947),
    (0.06718439880608412, 0.04757925584124639),
    (0.12229779582249849, 0.06231448562776694),
    (0.19106187779867814, 0.07479799440828837),
    (0.2709916111713863, 0.08457825969750127),
    (0.35919822461037054, 0.09130170752246179),
    (0.4524937450811813, 0.09472530522753425),
];
