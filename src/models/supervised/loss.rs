//! Losses of a score, for linear models and for boosting.

use super::Link;

/// A loss by η, the score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Loss {
    /// ½(y − η)².
    Squared,
    /// ln(1 + e^η) − yη, y being 0 or 1.
    Logistic,
    /// Half the Tweedie deviance of a power in (1, 2), without what does not depend on μ = e^η: −y·μ^(1−power)/(1−power) +
    /// μ^(2−power)/(2−power).
    Tweedie(f64),
}

impl Loss {
    /// The scale of η.
    pub(super) fn link(self) -> Link {
        match self {
            Self::Squared => Link::Identity,
            Self::Logistic => Link::Logit,
            Self::Tweedie(_) => Link::Log,
        }
    }

    /// Its value and its first two derivatives by η.
    #[inline]
    pub(super) fn at(self, y: f64, eta: f64) -> (f64, f64, f64) {
        match self {
            Self::Squared => (0.5 * (y - eta).powi(2), eta - y, 1.0),
            Self::Logistic => {
                let e = (-eta.abs()).exp();
                let small = e / (1.0 + e);
                let p = if eta > 0.0 { 1.0 - small } else { small };
                (eta.max(0.0) + e.ln_1p() - y * eta, p - y, small / (1.0 + e))
            }
            Self::Tweedie(power) => {
                let (a, b) = (y * ((1.0 - power) * eta).exp(), ((2.0 - power) * eta).exp());
                (a / (power - 1.0) + b / (2.0 - power), b - a, (power - 1.0) * a + (2.0 - power) * b)
            }
        }
    }
}
