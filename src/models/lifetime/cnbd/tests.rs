use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, Gamma};

use super::super::check::{Customers, derivatives_equal_differences, fit_is_finite, fit_recovers, wild};
use super::super::process::{Likelihood, MOST_COUNTS};
use super::super::{BetaGeometric, BgNbd, Counts, Covariates, Purchases, fit};
use super::*;

const TRUTH: BgCnbdK = BgCnbdK { r: 1.5, alpha: 20.0, a: 0.8, b: 4.0, k: 3 };
const MODIFIED: MbgCnbdK = MbgCnbdK { r: 1.5, alpha: 20.0, a: 0.8, b: 4.0, k: 3 };

/// Customers and their purchases in the `horizon` days after T. Gaps are whole days, and at least one.
fn simulated<const FIRST: u8>(truth: Cnbd<FIRST>, customers: usize, days: u32, horizon: u32, seed: u64) -> (Customers, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (rates, departures) = (Gamma::new(truth.r, 1.0 / truth.alpha).unwrap(), Beta::new(truth.a, truth.b).unwrap());
    let stages = Gamma::new(f64::from(truth.k), 1.0).unwrap();
    let (mut made, mut future) = (Customers::default(), vec![]);
    for _ in 0..customers {
        let t = rng.random_range(days / 2..days);
        let (rate, p) = (rates.sample(&mut rng).max(1e-12), departures.sample(&mut rng));
        let (mut known, mut later) = (vec![0], 0);
        let mut now = 0_u32;
        let mut chances = FIRST;
        loop {
            if chances == 1 && rng.random::<f64>() < p {
                break;
            }
            chances = 1;
            now = now.saturating_add((stages.sample(&mut rng) / rate).round().clamp(1.0, 1e9) as u32);
            if now > t + horizon {
                break;
            }
            if now <= t { known.push(now) } else { later += 1 }
        }
        made.push_days(&known, t);
        future.push(f64::from(later));
    }
    (made, future)
}

fn one_is_beta_geometric<const FIRST: u8>() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..2_000 {
        let mut between = |low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
        let [r, alpha, a, b] = [between(0.05, 8.0), between(0.5, 200.0), between(0.02, 20.0), between(0.05, 60.0)];
        let (old, new) = (BetaGeometric::<FIRST> { r, alpha, a, b }, Cnbd::<FIRST> { r, alpha, a, b, k: 1 });
        let (x, t, h) = ((between(1.0, 1_000.0) - 1.0).floor(), between(1.0, 700.0), between(0.1, 100_000.0));
        let t_x = if x == 0.0 { 0.0 } else { t * between(0.01, 1.0) };
        let close = |name: &str, given: f64, expected: f64| {
            let fine = (given - expected).abs() <= 1e-10 * expected.abs() + 1e-15;
            assert!(fine, "{name} of {new:?} x = {x} t_x = {t_x} t = {t} h = {h}: {given} against {expected}");
        };
        close("log-likelihood", new.log_likelihood(x, t_x, t), old.log_likelihood(x, t_x, t));
        close("P(alive)", new.p_alive(x, t_x, t), old.p_alive(x, t_x, t));
        let (old, new_alive) = (old.alive(x, t_x, t), new.alive(x, t_x, t));
        close("expected", new_alive.expected(h), old.expected(h));
        close("none", new_alive.none(h), old.none(h));
        let (old, new) = (old.counts(h.min(1_000.0)), new_alive.counts(h.min(1_000.0)));
        // A table that is cut off is exact in `Cnbd` only.
        if old.len() < MOST_COUNTS {
            for n in 0..old.len().max(new.len()) {
                let at = |table: &[f64]| table.get(n).copied().unwrap_or(0.0);
                assert!((at(&old) - at(&new)).abs() < 1e-10, "P({n}) of {new_alive:?} h = {h}: {} against {}", at(&new), at(&old));
            }
        }
    }
}

#[test]
fn k_of_one_is_beta_geometric() {
    one_is_beta_geometric::<0>();
    one_is_beta_geometric::<1>();
}

#[test]
fn a_fit_with_k_of_one_is_that_of_beta_geometric() {
    let (made, _) = simulated(TRUTH, 2_000, 700, 0, 1);
    let old = fit::<BgNbd>(made.counts(), &FitOptions::default(), &Control::default()).unwrap();
    let new = fit_cnbd::<0>(made.counts(), Some(1), &FitOptions::default(), &Control::default()).unwrap();
    assert!((old.log_likelihood - new.log_likelihood).abs() < 1e-9 * old.log_likelihood.abs());
    for (old, new) in old.params.parameters().iter().zip(new.params.parameters()) {
        assert!((old.value / new.value - 1.0).abs() < 1e-6, "{old:?} against {new:?}");
        assert!((old.error.unwrap() / new.error.unwrap() - 1.0).abs() < 1e-5, "{old:?} against {new:?}");
    }
}

#[test]
fn derivatives_are_those_of_the_likelihood() {
    let (plain, modified) = (simulated(TRUTH, 500, 400, 0, 3).0, simulated(MODIFIED, 500, 400, 0, 3).0);
    for k in [1.0_f64, 2.0, 3.0, 12.0] {
        for at in [[-0.4, 3.0, -0.2, 0.9, k.ln()], [1.5, 0.3, 1.2, -1.0, k.ln()]] {
            derivatives_equal_differences::<BgCnbdK>(&plain, &at, 1e-7);
            derivatives_equal_differences::<MbgCnbdK>(&modified, &at, 1e-7);
        }
    }
}

#[test]
fn recovers_the_truth_whatever_the_order_and_the_threads() {
    fit_recovers(TRUTH, simulated(TRUTH, 40_000, 700, 0, 3).0, 0.1);
    fit_recovers(MODIFIED, simulated(MODIFIED, 40_000, 700, 0, 3).0, 0.1);
}

#[test]
fn data_without_an_inner_maximum_end_at_finite_parameters() {
    for k in [1.0, 3.0, 12.0] {
        fit_is_finite::<BgCnbdK>(&[k]);
        fit_is_finite::<MbgCnbdK>(&[k]);
    }
}

#[test]
fn is_sane_for_wild_parameters() {
    let model = |between: &mut dyn FnMut(f64, f64) -> f64| {
        let [r, alpha, a, b] = std::array::from_fn(|_| between(1e-5, 1e5));
        MbgCnbdK { r, alpha, a, b, k: between(1.0, 12.999) as u32 }
    };
    wild(model);
}

#[test]
fn k_is_recovered_and_needs_days() {
    let control = Control::default();
    for k in [1, 2, 3, 6] {
        let truth = BgCnbdK { alpha: 60.0 / f64::from(k), k, ..TRUTH };
        let (made, _) = simulated(truth, 3_000, 700, 0, u64::from(k));
        let found = fit_cnbd::<0>(made.counts(), None, &FitOptions::default(), &control).unwrap();
        assert_eq!(found.params.base.k, k);
        let parameters = found.params.parameters();
        assert_eq!((parameters[4].name.as_str(), parameters[4].error, found.parameters), ("k", None, 5));
        assert_eq!(Estimated::<BgCnbdK>::from_parts(&found.params.to_parts()).unwrap(), found.params);
        // From the last version, and without days.
        let start: Vec<f64> = parameters.iter().map(|p| p.value).collect();
        let options = FitOptions { start: Some(start), ..FitOptions::default() };
        let again = fit_cnbd::<0>(made.counts(), None, &options, &control).unwrap();
        assert!(again.params.base.k == k && (again.log_likelihood - found.log_likelihood).abs() < 1e-6);
        let blind = Counts { days: None, ..made.counts() };
        assert!(
            fit_cnbd::<0>(blind, None, &options, &control)
                .unwrap_err()
                .to_string()
                .starts_with("bg_cnbd_k learns k from the days of purchase")
        );
        assert_eq!(fit_cnbd::<0>(blind, Some(k), &options, &control).unwrap().params.base, {
            fit_cnbd::<0>(made.counts(), Some(k), &options, &control).unwrap().params.base
        });
        assert!(fit_cnbd::<0>(blind, Some(13), &options, &control).unwrap_err().to_string().starts_with("option 'k' = 13:"));
    }
}

#[test]
fn covariates_move_the_rate_of_purchases() {
    let (slow, fast) = (simulated(TRUTH, 8_000, 700, 0, 1).0, simulated(TRUTH.shifted(0.5, 0.0), 8_000, 700, 0, 2).0);
    let mut made = Customers::default();
    for half in [slow.counts(), fast.counts()] {
        (0..half.x.len()).for_each(|i| made.push_days(half.days.unwrap().of(i), half.t[i]));
    }
    let cell = (0..16_000).map(|i| u32::from(i >= 8_000)).collect();
    let covariates = Covariates { names: vec!["premium".into()], rows: vec![vec![0.0], vec![1.0]], cell };
    let counts = Counts { covariates: Some(&covariates), ..made.counts() };
    let found = fit_cnbd::<0>(counts, None, &FitOptions::default(), &Control::default()).unwrap();
    let parameters = found.params.parameters();
    assert_eq!((found.params.base.k, parameters[5].name.as_str()), (3, "purchase.premium"));
    let error = parameters[5].error.unwrap();
    assert!(error < 0.05 && (parameters[5].value - 0.5).abs() < 3.5 * error, "{parameters:?}");
}

/// Purchases that come in waves are discounted as a fine sum has it.
#[test]
fn discounting_equals_a_fine_sum_over_days() {
    for (k, x, t_x, t) in [(1, 4.0, 200.0, 230.0), (3, 0.0, 0.0, 90.0), (3, 4.0, 200.0, 230.0), (12, 40.0, 1_200.0, 1_225.0)] {
        let alive = BgCnbdK { k, alpha: 20.0, r: 1.5, a: 0.8, b: 4.0 }.alive(x, t_x, t);
        for (horizon, delta) in [(365.0, 0.0003), (3_650.0, 0.001), (20_000.0, 0.003)] {
            let steps = 40_000;
            let width = horizon / f64::from(steps);
            let at = |i: u32| f64::from(i) * width;
            let gained = |i: u32| alive.expected(at(i + 1)) - alive.expected(at(i));
            let sum: f64 = (0..steps).map(|i| gained(i) * (-delta * (at(i) + 0.5 * width)).exp()).sum();
            let discounted = alive.discounted(horizon, delta);
            assert!((discounted / sum - 1.0).abs() < 1e-6, "k {k} x {x} horizon {horizon}: {discounted} against {sum}");
        }
    }
}

/// Without an end there is another way than over the time.
#[test]
fn for_ever_is_a_very_long_time() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for case in 0..120_u32 {
        let mut between = |low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
        let k = case % 12 + 1;
        let model = BgCnbdK { r: between(0.05, 8.0), alpha: between(0.5, 200.0), a: between(0.05, 20.0), b: between(0.05, 60.0), k };
        let (x, t) = ((between(1.0, 100.0) - 1.0).floor(), between(1.0, 700.0));
        let alive = model.alive(x, if x > 0.0 { t * between(0.3, 1.0) } else { 0.0 }, t);
        let delta = between(1e-4, 1e-2);
        let (for_ever, long) = (alive.discounted(f64::INFINITY, delta), alive.discounted(44.9 / delta, delta));
        assert!((for_ever / long - 1.0).abs() < 1e-6, "{alive:?} δ = {delta}: {for_ever} against {long}");
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The model that made the data, or was fitted to them, tells their future.
#[test]
fn forecasts_what_regular_buyers_do() {
    let (control, horizon) = (Control::default(), 180.0);
    let (made, future) = simulated(TRUTH, 20_000, 700, 180, 8);
    let regular = fit_cnbd::<0>(made.counts(), None, &FitOptions::default(), &control).unwrap().params;
    let random = fit::<BgNbd>(made.counts(), &FitOptions::default(), &control).unwrap().params;
    let known = Estimated::known(TRUTH);
    let n = future.len() as f64;
    let rmse = |expected: &[f64]| mean(expected.iter().zip(&future).map(|(e, f)| (e - f) * (e - f))).sqrt();
    let expected = known.expected_purchases_all(made.counts(), horizon, &control).unwrap();
    let actual = mean(future.iter().copied());
    let error = rmse(&expected) / n.sqrt();
    let forecast = mean(expected.iter().copied());
    assert!((forecast - actual).abs() < 3.0 * error, "{forecast} expected, {actual} came, ± {error}");
    // By stages passed: of customers who are due and of those who are not.
    for due in [false, true] {
        let counts = made.counts();
        let of = |i: &usize| counts.x[*i] > 3 && (counts.t[*i] - counts.t_x[*i] > counts.t_x[*i] / counts.x[*i]) == due;
        let group: Vec<usize> = (0..future.len()).filter(of).collect();
        let (came, told) = (mean(group.iter().map(|&i| future[i])), mean(group.iter().map(|&i| expected[i])));
        let error = mean(group.iter().map(|&i| (future[i] - expected[i]).powi(2))).sqrt() / (group.len() as f64).sqrt();
        assert!(group.len() > 1_000 && (came - told).abs() < 3.5 * error, "due {due}: {told} expected, {came} came, ± {error}");
    }
    // The probabilities of none and of two purchases, and the next purchase of half of those who come.
    for count in [0, 2] {
        let told = known.p_count_all(made.counts(), count, horizon, &control).unwrap();
        let came = future.iter().filter(|f| **f == f64::from(count)).count() as f64;
        let (sum, spread) = (told.iter().sum::<f64>(), told.iter().map(|p| p * (1.0 - p)).sum::<f64>().sqrt());
        assert!((sum - came).abs() < 3.5 * spread, "{count}: {sum} told, {came} came, ± {spread}");
    }
    let fitted = regular.expected_purchases_all(made.counts(), horizon, &control).unwrap();
    let at_random = random.expected_purchases_all(made.counts(), horizon, &control).unwrap();
    println!(
        "actual {actual:.4}, true {forecast:.4}, fitted {:.4}, BG/NBD {:.4}; RMSE true {:.4}, fitted {:.4}, BG/NBD {:.4}",
        mean(fitted.iter().copied()),
        mean(at_random.iter().copied()),
        rmse(&expected),
        rmse(&fitted),
        rmse(&at_random)
    );
    assert!((mean(fitted.iter().copied()) - actual).abs() < 4.0 * error);
    assert!(rmse(&fitted) < rmse(&at_random) && rmse(&fitted) < 1.01 * rmse(&expected));
}

#[test]
fn model_types_read_their_option_and_their_parts() {
    let (made, _) = simulated(MODIFIED, 1_000, 700, 0, 4);
    let sample = Sample { counts: made.counts(), start: None };
    let Make::Purchases { fit, read } = MBG_CNBD_K.make else { panic!("a model of purchases") };
    for (k, given) in [(3.0, "auto"), (2.0, "2")] {
        let options = Options::new(&MBG_CNBD_K, &[("k".into(), given.into())]).unwrap();
        let model = fit(&sample, &options, &Control::default()).unwrap().params;
        assert_eq!(model.parameters()[4].value, k);
        assert_eq!(read(&model.to_parts()).unwrap().to_parts(), model.to_parts());
        // A move along the axes of uncertainty leaves k alone.
        assert!(model.axes().len() == 4 && model.axes().iter().all(|moved| moved.parameters()[4].value == k));
    }
    assert!(Options::new(&MBG_CNBD_K, &[("k".into(), "13".into())]).is_err());
    let damaged = Part::row("mbg_cnbd_k", &[("r", 1.0), ("alpha", 1.0), ("a", 1.0), ("b", 1.0), ("k", 40.0)]);
    assert!(read(&[damaged]).unwrap_err().to_string().contains("k = 40"));
}
