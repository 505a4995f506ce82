//! What every model has to beat: everybody goes on at their own rate so far, and nobody purchases again.

use std::sync::Arc;

use super::predict::Estimated;
use super::process::{Alive, Process};
use super::{FIRST_PURCHASE, Fit, SPEND, Sample};
use crate::models::{AnyPurchases, Control, Make, ModelError, ModelType, OptionSpec, Options, Part};

static OPTIONS: &[OptionSpec] = &[SPEND, FIRST_PURCHASE];

/// `model_type = 'naive_rate'`.
pub static NAIVE_RATE: ModelType = baseline::<false>("baseline: everybody goes on at their own rate so far, x/T");

/// `model_type = 'zero'`.
pub static ZERO: ModelType = baseline::<true>("baseline: nobody purchases again");

const fn baseline<const NOBODY: bool>(about: &'static str) -> ModelType {
    fn fit_any<const NOBODY: bool>(data: &Sample<'_>, _: &Options, _: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
        Ok(Fit {
            params: Arc::new(Estimated::known(Baseline::<NOBODY> { least_days: 1.0 })),
            log_likelihood: f64::NAN,
            customers: data.counts.x.len() as u64,
            parameters: 0,
            rows: 0,
            evaluations: 0,
            gradient_norm: 0.0,
            on_edge: false,
        })
    }
    fn read_any<const NOBODY: bool>(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
        Ok(Arc::new(Estimated::<Baseline<NOBODY>>::from_parts(parts)?))
    }
    ModelType {
        name: Baseline::<NOBODY>::NAME,
        about,
        options: OPTIONS,
        in_auto: true,
        baseline: true,
        make: Make::Purchases { fit: fit_any::<NOBODY>, read: read_any::<NOBODY> },
    }
}

/// Poisson purchases at the rate x/T, T being `least_days` at least; or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline<const NOBODY: bool> {
    pub least_days: f64,
}

impl<const NOBODY: bool> Process for Baseline<NOBODY> {
    const NAME: &'static str = if NOBODY { "zero" } else { "naive_rate" };
    const PARAMETERS: &'static [&'static str] = &["least_days"];
    type Alive = Steady;

    fn values(&self) -> Vec<f64> {
        vec![self.least_days]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { least_days: values[0] }
    }

    fn p_alive(&self, _: f64, _: f64, _: f64) -> f64 {
        1.0
    }

    fn alive(&self, x: f64, _: f64, t: f64) -> Steady {
        Steady { rate: if NOBODY { 0.0 } else { x / t.max(self.least_days) } }
    }

    fn shifted(&self, _: f64, _: f64) -> Self {
        *self
    }
}

/// Purchases at a known rate.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    rate: f64,
}

impl Alive for Steady {
    fn expected(&self, h: f64) -> f64 {
        self.rate * h.max(0.0)
    }

    fn none(&self, h: f64) -> f64 {
        (-self.expected(h)).exp()
    }

    /// Poisson.
    fn counts(&self, h: f64) -> Vec<f64> {
        super::special::poisson(self.expected(h), super::process::MOST_COUNTS)
    }

    fn scale(&self) -> f64 {
        1.0 / self.rate.max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::lifetime::check::wild;

    #[test]
    fn goes_on_at_its_own_rate_or_stops() {
        let naive = Baseline::<false> { least_days: 1.0 };
        assert_eq!(naive.expected_purchases(3.0, 20.0, 30.0, 90.0), 9.0);
        assert_eq!(Baseline::<true> { least_days: 1.0 }.expected_purchases(3.0, 20.0, 30.0, 90.0), 0.0);
        wild(|between| Baseline::<false> { least_days: between(1.0, 2.0) });
    }
}
