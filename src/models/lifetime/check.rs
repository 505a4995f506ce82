//! What every process must pass: one tester for all of them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fit::{FitOptions, fit};
use super::histories::Histories;
use super::process::{Alive, Likelihood, Process};
use super::{Counts, PurchaseDays, Purchases};
use crate::models::Control;

/// Purchase histories made up for a test.
#[derive(Debug, Default)]
pub struct Customers {
    pub x: Vec<u32>,
    pub t_x: Vec<u32>,
    pub t: Vec<u32>,
    /// Purchase days, where they are known: see `PurchaseDays`.
    pub days: Vec<u32>,
    pub ends: Vec<usize>,
}

impl Customers {
    pub fn push(&mut self, x: u32, t_x: u32, t: u32) {
        self.x.push(x);
        self.t_x.push(t_x);
        self.t.push(t);
    }

    /// A customer by their purchase days, 0 first.
    pub fn push_days(&mut self, days: &[u32], t: u32) {
        self.push(days.len() as u32 - 1, days[days.len() - 1], t);
        self.days.extend(days);
        self.ends.push(self.days.len());
    }

    pub fn counts(&self) -> Counts<'_> {
        let days = (!self.ends.is_empty()).then_some(PurchaseDays { ends: &self.ends, days: &self.days });
        Counts { days, ..Counts::new(&self.x, &self.t_x, &self.t) }
    }
}

/// The sums of the likelihood are those over the customers, and their derivatives equal differences; `at` are log-parameters, those that are given included.
pub fn derivatives_equal_differences<M: Likelihood>(made: &Customers, at: &[f64], relative: f64) {
    let histories = Histories::new(M::NAME, made.counts()).unwrap();
    let sums = |at: &[f64]| M::sums(&histories, at);
    let here = sums(at);
    let model = M::of_values(&at.iter().map(|a| a.exp()).collect::<Vec<_>>());
    let by_customer: f64 = (0..made.x.len()).map(|i| model.log_likelihood(made.x[i].into(), made.t_x[i].into(), made.t[i].into())).sum();
    assert!((by_customer - here.value).abs() < 1e-9 * by_customer.abs(), "{by_customer} against {}", here.value);
    let estimated = here.gradient.len();
    for i in 0..estimated {
        let moved = |by: f64| {
            let mut there = at.to_vec();
            there[i] += by;
            sums(&there)
        };
        let (up, down) = (moved(1e-5), moved(-1e-5));
        let slope = (up.value - down.value) / 2e-5;
        assert!((slope - here.gradient[i]).abs() < relative * here.value.abs(), "∂{i}: {slope} against {}", here.gradient[i]);
        for j in 0..estimated {
            let curve = (up.gradient[j] - down.gradient[j]) / 2e-5;
            assert!((curve - here.hessian[i][j]).abs() < relative * here.value.abs(), "∂{i}∂{j}: {curve} against {}", here.hessian[i][j]);
        }
    }
}

/// A fit finds the parameters that made the data, from anywhere, in any order of the customers, on any number of threads.
pub fn fit_recovers<M: Likelihood>(truth: M, mut made: Customers, relative: f64) {
    let control = Control::default();
    let estimated = M::PARAMETERS.len() - M::GIVEN;
    let options = FitOptions { given: truth.values().split_off(estimated), ..FitOptions::default() };
    let found = fit::<M>(made.counts(), &options, &control).unwrap();
    for (name, (found, truth)) in M::PARAMETERS.iter().zip(found.params.base.values().iter().zip(truth.values())) {
        assert!((found / truth - 1.0).abs() < relative, "{name} {found} against {truth}");
    }
    for parameter in &found.params.parameters()[..estimated] {
        assert!(parameter.error.is_some_and(|e| e > 0.0 && e < parameter.value), "{parameter:?}");
    }
    for values in [&mut made.x, &mut made.t_x, &mut made.t] {
        values.reverse();
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| fit::<M>(made.counts(), &options, &control)).unwrap(), found);
    let elsewhere: Vec<f64> = truth.values().iter().enumerate().map(|(i, v)| v * if i % 2 == 0 { 2.5 } else { 0.3 }).collect();
    let from = |start: Vec<f64>| fit::<M>(made.counts(), &FitOptions { start: Some(start), ..options.clone() }, &control).unwrap();
    let again = from(elsewhere);
    assert!((again.log_likelihood - found.log_likelihood).abs() < 1e-6 * found.log_likelihood.abs());
    // From where the last fit ended next to nothing is left to do.
    let warm = from(found.params.base.values());
    assert!(
        warm.evaluations <= 3 && warm.evaluations < found.evaluations,
        "{} evaluations, {} before",
        warm.evaluations,
        found.evaluations
    );
}

/// Data without an inner maximum end at parameters with which every answer is finite.
pub fn fit_is_finite<M: Likelihood>(given: &[f64]) {
    let cases: [(&[u32], &[u32], &[u32]); 5] = [
        (&[1, 1], &[5, 5], &[5, 5]),
        (&[40, 40, 40], &[40, 40, 40], &[40, 40, 40]),
        (&[1, 1, 0], &[1, 1, 0], &[3_000, 3_000, 3_000]),
        (&[2, 100_000, 0], &[10, 10_950, 0], &[20, 10_957, 0]),
        (&[1, 3, 2_000], &[0, 0, 0], &[0, 0, 0]),
    ];
    let options = FitOptions { given: given.to_vec(), ..FitOptions::default() };
    for (x, t_x, t) in cases {
        let counts = Counts::new(x, t_x, t);
        let fit = fit::<M>(counts, &options, &Control::default()).unwrap_or_else(|e| panic!("{x:?}: {e}"));
        assert!(fit.log_likelihood.is_finite(), "{fit:?}");
        for i in 0..x.len() {
            answers_are_sane(fit.params.base, x[i].into(), t_x[i].into(), t[i].into());
        }
    }
}

/// Finite, within bounds and monotone for parameters far from anything a shop has.
pub fn wild<M: Process>(of: impl Fn(&mut dyn FnMut(f64, f64) -> f64) -> M) {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for _ in 0..50 {
        let mut between = |low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
        let model = of(&mut between);
        for x in [0.0, 1.0, 3.0, 2e3, 1e5] {
            let t = if x == 3.0 { 0.0 } else { between(1.0, 10_957.0) };
            for t_x in if x == 0.0 { vec![0.0] } else { vec![0.0, 0.3 * t, t] } {
                answers_are_sane(model, x, t_x, t);
            }
        }
    }
}

/// Answers about one customer that are finite, within bounds, monotone in the horizon and in agreement with each other.
pub fn answers_are_sane<M: Process>(model: M, x: f64, t_x: f64, t: f64) {
    let p = model.p_alive(x, t_x, t);
    assert!((0.0..=1.0).contains(&p), "{model:?} x = {x} t_x = {t_x} t = {t}: p_alive {p}");
    if t_x > 0.0 {
        assert!(p + 1e-12 >= model.p_alive(x, t_x, 1.1 * t), "{model:?} x = {x} t_x = {t_x} t = {t}: P(alive) grows with time");
    }
    let alive = model.alive(x, t_x, t);
    let (mut before, mut none_before) = (0.0, 1.0);
    for h in [1e-6, 1.0, 90.0, 3_650.0, 1e6] {
        let (expected, none) = (alive.expected(h), alive.none(h));
        assert!(
            expected.is_finite() && expected >= before * (1.0 - 1e-9),
            "{model:?} x = {x} t_x = {t_x} t = {t} h = {h}: {expected} after {before}"
        );
        assert!(
            (0.0..=none_before + 1e-12).contains(&none),
            "{model:?} x = {x} t_x = {t_x} t = {t} h = {h}: none {none} after {none_before}"
        );
        // P(some) ≤ E[N]
        assert!(
            1.0 - none <= expected * (1.0 + 1e-9) + 1e-12,
            "{model:?} x = {x} t_x = {t_x} t = {t} h = {h}: {expected} expected, none {none}"
        );
        (before, none_before) = (expected, none);
    }
    let counts = alive.counts(90.0);
    let total: f64 = counts.iter().sum();
    assert!(counts.iter().all(|p| *p >= -1e-12) && (total <= 1.0 + 1e-9), "{model:?} x = {x} t_x = {t_x} t = {t}: {total} in all");
    if counts.len() < super::process::MOST_COUNTS {
        let mean: f64 = counts.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        let expected = alive.expected(90.0);
        assert!((total - 1.0).abs() < 1e-8, "{model:?} x = {x} t_x = {t_x} t = {t}: {total} in all");
        assert!((mean - expected).abs() <= 1e-6 * expected + 1e-9, "{model:?} x = {x} t_x = {t_x} t = {t}: mean {mean} against {expected}");
        assert!((counts[0] - alive.none(90.0)).abs() < 1e-8, "{model:?} x = {x} t_x = {t_x} t = {t}: none");
    }
    let forever = alive.discounted(f64::INFINITY, 0.0003);
    assert!(forever.is_finite() && forever >= 0.0, "{model:?} x = {x} t_x = {t_x} t = {t}: {forever} for ever");
    assert!(alive.discounted(365.0, 0.0003) <= alive.expected(365.0) * (1.0 + 1e-9));
}
