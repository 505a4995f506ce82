//! BG/NBD with a burst of purchases after the first one.
//!
//! New customers often buy faster at first than later on while they stay: on CDNOW 55 repeat purchases a week of a thousand customers in the first weeks, 25
//! after half a year. A model with a constant rate takes the decline for departure and forecasts too little. Here a living customer of age a (time since the
//! first purchase) purchases at rate λ·h(a),
//!
//! ```text
//! h(a) = 1 + B·e^(−(a/τ)²),     H(a) = ∫₀ᵃ h = a + B·τ·(√π/2)·erf(a/τ)
//! ```
//!
//! which is BG/NBD on the clock H: t_x → H(t_x), T → H(T), h → H(T+h) − H(T), and
//!
//! ```text
//! ln L = Σ ln L_BG(x, H(t_x), H(T)) + Σ_d n_d·ln(H(d) − H(d−1)),    n_d repeat purchases at an age of d days
//! ```
//!
//! The burst is kept only where it is worth its two parameters: 2·ΔlnL > 2·ln(customers), the rise that BIC asks for. Else B is as good as nothing and the model
//! is BG/NBD.

use libm::erf;

use super::fit::{Day, log_likelihood};
use super::{AliveBetaGeometric, BgNbd};
use crate::models::lifetime::histories::Histories;
use crate::models::lifetime::optimise::{Derivatives, Sums};
use crate::models::lifetime::process::{Alive, Likelihood, Process};
use crate::models::lifetime::{Estimated, Fit, FitOptions, OPTIONS, Sample, fit};
use crate::models::{AnyPurchases, Control, Make, ModelError, ModelType, Options, Part};

/// `model_type = 'bg_nbd_burst'`.
pub static BG_NBD_BURST: ModelType = ModelType {
    name: "bg_nbd_burst",
    about: "BG/NBD with a burst of purchases after the first one, where the data show one",
    options: OPTIONS,
    in_auto: true,
    baseline: false,
    make: Make::Purchases { fit: fit_any, read: read_any },
};

fn fit_any(data: &Sample<'_>, options: &Options, control: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
    Ok(fit_burst(data, &FitOptions::of(data, options), control)?.map(|model| std::sync::Arc::new(model) as AnyPurchases))
}

fn read_any(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
    Ok(std::sync::Arc::new(Estimated::<BurstBgNbd>::from_parts(parts)?))
}

/// B of a burst that is none.
const NO_BURST: f64 = 1e-9;

/// The parameters of BG/NBD, and of the burst: by how much the rate is higher at first, and for how many days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstBgNbd {
    pub base: BgNbd,
    /// B.
    pub burst: f64,
    /// τ, in days.
    pub burst_days: f64,
}

/// Fits the model, burst or none.
///
/// # Errors
/// As [`fit`]; `Option` without the purchase days.
pub fn fit_burst(data: &Sample<'_>, options: &FitOptions, control: &Control) -> Result<Fit<Estimated<BurstBgNbd>>, ModelError> {
    if data.counts.days.is_none() {
        let allowed = "the days of all purchases, from which the burst is learned".into();
        return Err(ModelError::Option { option: "days".into(), given: "none".into(), allowed });
    }
    let plain = fit::<BgNbd>(data.counts, &FitOptions { start: None, ..options.clone() }, control)?;
    let mut options = options.clone();
    if options.start.is_none() {
        let mut start = plain.params.base.values();
        start.extend(START);
        options.start = Some(start);
    }
    let burst = fit::<BurstBgNbd>(data.counts, &options, control);
    let worth_it = |f: &Fit<_>| 2.0 * (f.log_likelihood - plain.log_likelihood) > 2.0 * (f.customers as f64).ln();
    match burst {
        Err(ModelError::Cancelled) => Err(ModelError::Cancelled),
        Ok(fit) if worth_it(&fit) => Ok(fit),
        _ => {
            let spread = |axis: Vec<f64>| [&axis[..4], &[0.0, 0.0], &axis[4..]].concat();
            Ok(plain.map(|model| Estimated {
                base: BurstBgNbd { base: model.base, burst: NO_BURST, burst_days: START[1] },
                covariates: model.covariates,
                purchase: model.purchase,
                lifetime: model.lifetime,
                axes: model.axes.into_iter().map(spread).collect(),
            }))
        }
    }
}

/// B and τ to start from.
const START: [f64; 2] = [0.7, 42.0];

impl BurstBgNbd {
    /// H(a).
    fn clock(&self, age: f64) -> f64 {
        const HALF_ROOT_PI: f64 = 0.886_226_925_452_758;
        age + self.burst * self.burst_days * HALF_ROOT_PI * erf(age / self.burst_days)
    }
}

impl Process for BurstBgNbd {
    const NAME: &'static str = "bg_nbd_burst";
    const PARAMETERS: &'static [&'static str] = &["r", "alpha", "a", "b", "burst", "burst_days"];
    type Alive = AliveBurst;

    fn values(&self) -> Vec<f64> {
        let mut values = self.base.values();
        values.extend([self.burst, self.burst_days]);
        values
    }

    fn of_values(values: &[f64]) -> Self {
        Self { base: BgNbd::of_values(values), burst: values[4], burst_days: values[5] }
    }

    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        self.base.p_alive(x, self.clock(t_x), self.clock(t))
    }

    fn alive(&self, x: f64, t_x: f64, t: f64) -> AliveBurst {
        AliveBurst { inner: self.base.alive(x, self.clock(t_x), self.clock(t)), model: *self, t }
    }

    fn shifted(&self, purchase: f64, lifetime: f64) -> Self {
        Self { base: self.base.shifted(purchase, lifetime), ..*self }
    }
}

/// A living customer of BG/NBD on the clock H.
#[derive(Clone, Copy, Debug)]
pub struct AliveBurst {
    inner: AliveBetaGeometric,
    model: BurstBgNbd,
    t: f64,
}

impl AliveBurst {
    fn by_the_clock(&self, h: f64) -> f64 {
        (self.model.clock(self.t + h.max(0.0)) - self.model.clock(self.t)).max(0.0)
    }
}

impl Alive for AliveBurst {
    fn expected(&self, h: f64) -> f64 {
        self.inner.expected(self.by_the_clock(h))
    }

    fn none(&self, h: f64) -> f64 {
        self.inner.none(self.by_the_clock(h))
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        self.inner.counts(self.by_the_clock(h))
    }

    fn scale(&self) -> f64 {
        // The burst is as short as τ while it lasts.
        if self.t < 2.0 * self.model.burst_days && self.model.burst > 0.01 {
            self.inner.scale().min(self.model.burst_days)
        } else {
            self.inner.scale()
        }
    }
}

/// Half-width of the differences by ln B and ln τ: with five points the error is of the order of rounding.
const STEP: f64 = 2e-3;

impl Likelihood for BurstBgNbd {
    const LOWER: &'static [f64] = &[-12.0, -12.0, -12.0, -12.0, -7.0, 1.945_910_149];
    const UPPER: &'static [f64] = &[12.0, 27.0, 12.0, 12.0, 3.0, 5.204_006_687];
    const BY_PURCHASE: &'static [f64] = &[0.0, -1.0, 0.0, 0.0, 0.0, 0.0];
    const BY_LIFETIME: &'static [f64] = &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0];

    /// Without what the ages of the purchases add.
    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        self.base.log_likelihood(x, self.clock(t_x), self.clock(t))
    }

    fn start(histories: &Histories, given: &[f64]) -> Vec<f64> {
        let mut start = BgNbd::start(histories, given);
        start.extend(START.map(f64::ln));
        start
    }

    /// Analytic by the parameters of BG/NBD, by five-point differences of that by ln B and ln τ.
    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let base = |b: f64, tau: f64| -> Derivatives<4> {
            let values: Vec<f64> = at[..4].iter().chain(&[at[4] + b, at[5] + tau]).map(|v| v.exp()).collect();
            let model = Self::of_values(&values);
            let days: Vec<f64> = (0..histories.by_t.len()).map(|d| model.clock(d as f64)).collect();
            let table: Vec<Day> = days.iter().map(|d| Day::new(*d, model.base.alpha)).collect();
            let mut sums = log_likelihood::<0>(histories, &model.base, &table);
            sums.value +=
                (1..days.len()).map(|d| histories.ages.get(d).copied().unwrap_or(0) as f64 * (days[d] - days[d - 1]).ln()).sum::<f64>();
            sums
        };
        let here = base(0.0, 0.0);
        let mut out = Sums::zero(6);
        let plain: Sums = here.into();
        out.value = plain.value;
        out.gradient[..4].copy_from_slice(&plain.gradient);
        for i in 0..4 {
            out.hessian[i][..4].copy_from_slice(&plain.hessian[i]);
        }
        let moves: [(usize, &dyn Fn(f64) -> Derivatives<4>); 2] = [(4, &|d| base(d, 0.0)), (5, &|d| base(0.0, d))];
        for (p, moved) in moves {
            let [down2, down, up, up2] = [-2.0 * STEP, -STEP, STEP, 2.0 * STEP].map(moved);
            let first = |of: &dyn Fn(&Derivatives<4>) -> f64| (of(&down2) - 8.0 * of(&down) + 8.0 * of(&up) - of(&up2)) / (12.0 * STEP);
            out.gradient[p] = first(&|d| d.value);
            for i in 0..4 {
                let mixed = first(&|d| d.gradient[i]);
                (out.hessian[p][i], out.hessian[i][p]) = (mixed, mixed);
            }
            out.hessian[p][p] = (-down2.value + 16.0 * down.value - 30.0 * here.value + 16.0 * up.value - up2.value) / (12.0 * STEP * STEP);
        }
        let corner = |b: f64, tau: f64| base(b * STEP, tau * STEP).value;
        let mixed = (corner(1.0, 1.0) - corner(1.0, -1.0) - corner(-1.0, 1.0) + corner(-1.0, -1.0)) / (4.0 * STEP * STEP);
        (out.hessian[4][5], out.hessian[5][4]) = (mixed, mixed);
        out
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Beta, Distribution, Exp1, Gamma};

    use super::*;
    use crate::models::lifetime::check::{Customers, wild};
    use crate::models::lifetime::{Counts, Covariates};

    fn simulated(truth: BurstBgNbd, customers: usize) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let (rates, departures) =
            (Gamma::new(truth.base.r, 1.0 / truth.base.alpha).unwrap(), Beta::new(truth.base.a, truth.base.b).unwrap());
        let mut made = Customers::default();
        for _ in 0..customers {
            let t = rng.random_range(150..400_u32);
            let (rate, p): (f64, f64) = (rates.sample(&mut rng), departures.sample(&mut rng));
            let (mut days, mut clock) = (vec![0], 0.0);
            while days.len() == 1 || rng.random::<f64>() >= p {
                let waited: f64 = Exp1.sample(&mut rng);
                clock += waited / rate.max(1e-12);
                // The day on which the clock shows that.
                let Some(day) = (1..=t).find(|d| truth.clock(f64::from(*d)) >= clock) else { break };
                if days.last() != Some(&day) {
                    days.push(day);
                }
            }
            made.push_days(&days, t);
        }
        made
    }

    const TRUTH: BurstBgNbd = BurstBgNbd { base: BgNbd { r: 0.5, alpha: 60.0, a: 0.6, b: 2.4 }, burst: 0.9, burst_days: 40.0 };

    fn fitted(made: &Customers) -> Fit<Estimated<BurstBgNbd>> {
        fit_burst(&Sample { counts: made.counts(), start: None }, &FitOptions::default(), &Control::default()).unwrap()
    }

    #[test]
    fn finds_a_burst_that_is_there_and_none_that_is_not() {
        let made = simulated(TRUTH, 20_000);
        let found = fitted(&made);
        assert!((found.params.base.burst - 0.9).abs() < 0.35 && (found.params.base.burst_days / 40.0 - 1.0).abs() < 0.3, "{found:?}");
        assert_eq!(found.parameters, 6);

        let made = simulated(BurstBgNbd { burst: NO_BURST, ..TRUTH }, 5_000);
        let none = fitted(&made);
        let plain = fit::<BgNbd>(made.counts(), &FitOptions::default(), &Control::default()).unwrap();
        assert_eq!((none.params.base.base, none.params.base.burst), (plain.params.base, NO_BURST));
        assert_eq!((none.log_likelihood, none.parameters), (plain.log_likelihood, 4));
    }

    #[test]
    fn finds_a_burst_besides_a_covariate() {
        let mut made = simulated(TRUTH, 10_000);
        let other = simulated(TRUTH.shifted(0.8, 0.0), 10_000);
        let cell = [vec![0; 10_000], vec![1; 10_000]].concat();
        for i in 0..10_000_usize {
            let start = i.checked_sub(1).map_or(0, |before| other.ends[before]);
            made.push_days(&other.days[start..other.ends[i]], other.t[i]);
        }
        let covariates = Covariates { names: vec!["fast".into()], rows: vec![vec![0.0], vec![1.0]], cell };
        let counts = Counts { covariates: Some(&covariates), ..made.counts() };
        let found = fit_burst(&Sample { counts, start: None }, &FitOptions::default(), &Control::default()).unwrap().params;
        assert!((found.base.burst - 0.9).abs() < 0.35 && (found.base.burst_days / 40.0 - 1.0).abs() < 0.3, "{found:?}");
        assert!((found.purchase[0] - 0.8).abs() < 0.1 && found.lifetime[0].abs() < 0.15, "{found:?}");
    }

    #[test]
    fn derivatives_equal_differences() {
        let made = simulated(TRUTH, 500);
        let histories = Histories::new("m", made.counts()).unwrap();
        let at = [-0.5, 4.0, -0.3, 0.8, -0.2, 3.6];
        let here = BurstBgNbd::sums(&histories, &at);
        for i in 0..6 {
            let moved = |by: f64| {
                let mut there = at;
                there[i] += by;
                BurstBgNbd::sums(&histories, &there)
            };
            let (up, down) = (moved(1e-4), moved(-1e-4));
            assert!(((up.value - down.value) / 2e-4 - here.gradient[i]).abs() < 1e-7 * here.value.abs());
            for j in 0..6 {
                let curve = (up.gradient[j] - down.gradient[j]) / 2e-4;
                assert!((curve - here.hessian[i][j]).abs() < 1e-5 * here.value.abs(), "{i} {j}: {curve} {}", here.hessian[i][j]);
            }
        }
    }

    #[test]
    fn wild_parameters_have_sane_answers() {
        wild(|between| BurstBgNbd {
            base: BgNbd { r: between(1e-5, 1e5), alpha: between(1e-5, 1e5), a: between(1e-5, 1e5), b: between(1e-5, 1e5) },
            burst: between(1e-9, 20.0),
            burst_days: between(7.0, 182.0),
        });
    }
}
