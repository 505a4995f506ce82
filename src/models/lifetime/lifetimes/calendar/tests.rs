use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma};

use super::super::super::check::Customers;
use super::super::super::histories::Histories;
use super::super::super::process::Likelihood;
use super::super::super::special::integrate;
use super::super::super::{PurchaseDays, fit};
use super::fit::{Logs, purchases_by_day};
use super::*;

const PLAIN: ParetoNbd = ParetoNbd { r: 0.7, alpha: 20.0, lifetime: Pareto { s: 0.8, beta: 90.0 } };

fn calendar(first_day: i64, rows: Vec<Vec<f64>>, today: i64) -> Calendar {
    let names = (0..rows[0].len()).map(|j| format!("z{j}")).collect();
    Calendar { names, first_day, rows, today }
}

fn model(base: ParetoNbd, purchase: &[f64], lifetime: &[f64], calendar: &Calendar) -> CalendarNbd {
    let estimated =
        Estimated { covariates: calendar.names.clone(), purchase: purchase.into(), lifetime: lifetime.into(), ..Estimated::known(base) };
    let usual = Table::new(calendar, &calendar.names).unwrap().mean().to_vec();
    CalendarNbd { estimated, usual }
}

/// Covariates of `days` days: a number of the week, one of the day, a dummy.
fn random_rows(days: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut weekly = 0.0;
    let row = |day: usize| {
        if day.is_multiple_of(7) {
            weekly = rng.random_range(-1.0..1.0);
        }
        vec![5.0 + weekly, rng.random_range(-1.0..1.0), f64::from(u8::from(rng.random::<f64>() < 0.1))]
    };
    (0..days).map(row).collect()
}

/// Customers who purchase on random days.
fn random_customers(customers: usize, longest: u32, rng: &mut ChaCha8Rng) -> Customers {
    let mut made = Customers::default();
    for i in 0..customers {
        let t = if i == 0 { longest } else { rng.random_range(0..=longest) };
        let until = rng.random_range(0..=t);
        let pace = rng.random::<f64>() * 0.3;
        let days: Vec<u32> = (0..=until).filter(|&d| d == 0 || rng.random::<f64>() < pace).collect();
        made.push_days(&days, t);
    }
    made
}

fn with_calendar<'a>(made: &'a Customers, calendar: &'a Calendar) -> Counts<'a> {
    Counts { calendar: Some(calendar), ..made.counts() }
}

/// ln L and its derivatives at log-parameters and γ, with z as they are.
fn sums(counts: Counts<'_>, at: &[f64]) -> super::super::super::optimise::Sums {
    let histories = Histories::new("m", counts).unwrap();
    let calendar = counts.calendar.unwrap();
    let table = Table::new(calendar, &calendar.names).unwrap();
    let purchases = purchases_by_day(counts, histories.by_t.len()).unwrap();
    let after = calendar.today - histories.by_t.len() as i64 + 1;
    Logs::new(&histories, table.stretches(after, calendar.today), &purchases, calendar.names.len()).sums(at)
}

fn near(name: &str, given: f64, expected: f64, relative: f64) {
    assert!((given - expected).abs() <= relative * expected.abs(), "{name}: {given} instead of {expected}");
}

#[test]
fn without_effects_it_is_pareto_nbd() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let made = random_customers(300, 400, &mut rng);
    let calendar = calendar(20_000, random_rows(700, &mut rng), 20_401);
    let counts = with_calendar(&made, &calendar);
    let control = Control::default();
    for base in [PLAIN, ParetoNbd { r: 12.0, alpha: 3.0, lifetime: Pareto { s: 3.0, beta: 0.01 } }] {
        let at: Vec<f64> = base.values().iter().map(|v| v.ln()).collect();
        let plain = ParetoNbd::sums(&Histories::new("m", counts).unwrap(), &at);
        let dated = sums(counts, &[at, vec![0.0; 6]].concat());
        near("ln L", dated.value, plain.value, 1e-11);
        for i in 0..4 {
            near("slope", dated.gradient[i], plain.gradient[i], 1e-8);
            for j in 0..4 {
                assert!((dated.hessian[i][j] - plain.hessian[i][j]).abs() < 1e-9 * plain.value.abs());
            }
        }
        let dated = model(base, &[0.0; 3], &[0.0; 3], &calendar);
        let plain = Estimated::known(base);
        let each = |name: &str, f: &dyn Fn(&dyn Purchases) -> Vec<f64>, absolute: f64| {
            for (given, expected) in f(&dated).iter().zip(f(&plain)) {
                let fine = given.is_nan() && expected.is_nan() || (given - expected).abs() <= 1e-9 * expected.abs() + absolute;
                assert!(fine, "{name}: {given} instead of {expected}");
            }
        };
        each("P(alive)", &|m| m.p_alive_all(counts), 1e-300);
        for horizon in [0.0, 0.25, 90.0, 1000.5] {
            each("expected", &|m| m.expected_purchases_all(counts, horizon, &control).unwrap(), 1e-300);
            each("none", &|m| m.p_no_purchase_all(counts, horizon, &control).unwrap(), 0.0);
            each("discounted", &|m| m.discounted_purchases_all(counts, horizon, 0.1, &control).unwrap(), 1e-300);
        }
        each("DERT", &|m| m.discounted_purchases_all(counts, f64::INFINITY, 0.1, &control).unwrap(), 1e-300);
        for n in [1, 2, 5] {
            // A single run of 90 days has 1e-8 of them; see the brute force for the digits of short runs.
            each("count", &|m| m.p_count_all(counts, n, 90.0, &control).unwrap(), 3e-9);
        }
        each("new", &|m| m.expected_new_all(counts, &control).unwrap(), 0.0);
        each("wait", &|m| m.next_purchase_all(counts, &control).unwrap(), 0.02);
        each("future", &|m| m.futures(counts, 90.0, &control).unwrap().values.concat().iter().map(|p| f64::from(*p)).collect(), 1e-7);
    }
}

/// ∫ f over a day.
fn over_a_day(f: impl Fn(f64) -> f64) -> f64 {
    integrate(1.0, 12, f)
}

#[test]
fn likelihood_and_answers_equal_brute_force() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let rows = random_rows(400, &mut rng);
    let made = random_customers(60, 250, &mut rng);
    // 100 days of the future are known; the log begins after the table does.
    let calendar = calendar(19_999, rows, 20_299);
    let counts = with_calendar(&made, &calendar);
    let control = Control::default();
    let average: Vec<f64> = (0..3).map(|j| calendar.rows.iter().map(|row| row[j]).sum::<f64>() / 400.0).collect();
    let z = |day: i64| usize::try_from(day - calendar.first_day).ok().and_then(|i| calendar.rows.get(i)).unwrap_or(&average);
    for _ in 0..4 {
        let gamma: Vec<f64> = (0..6).map(|_| rng.random_range(-0.9..0.9)).collect();
        let between = |rng: &mut ChaCha8Rng, low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
        let base = ParetoNbd {
            r: between(&mut rng, 0.2, 5.0),
            alpha: between(&mut rng, 1.0, 300.0) * 20.0_f64.powf(gamma[0]),
            lifetime: Pareto { s: between(&mut rng, 0.2, 4.0), beta: between(&mut rng, 1.0, 300.0) },
        };
        let ParetoNbd { r, alpha, lifetime: Pareto { s, beta } } = base;
        let rate = |day: i64, from: usize| gamma[from..from + 3].iter().zip(z(day)).map(|(g, z)| g * z).sum::<f64>().exp();
        // Readings at the begins of days from the day `start` on.
        let clock = |start: i64, days: usize, from: usize| -> Vec<f64> {
            let mut at = vec![0.0];
            (0..days as i64).for_each(|d| at.push(at[d as usize] + rate(start + d + 1, from)));
            at
        };
        let dated = model(base, &gamma[..3], &gamma[3..], &calendar);
        let alive = dated.p_alive_all(counts);
        let horizon = 130;
        let expected = dated.expected_purchases_all(counts, f64::from(horizon), &control).unwrap();
        let none = dated.p_no_purchase_all(counts, f64::from(horizon), &control).unwrap();
        let two = dated.p_count_all(counts, 2, f64::from(horizon), &control).unwrap();
        let discounted = dated.discounted_purchases_all(counts, f64::from(horizon), 0.5, &control).unwrap();
        let new = dated.expected_new_all(counts, &control).unwrap();
        let mut total = 0.0;
        for i in 0..made.x.len() {
            let (x, t_x, t) = (f64::from(made.x[i]), made.t_x[i] as usize, made.t[i] as usize);
            let start = calendar.today - t as i64;
            let (purchase, lifetime) = (clock(start, t, 0), clock(start, t, 3));
            let day = |d: usize, k: f64| {
                let (a, b) = (purchase[d + 1] - purchase[d], lifetime[d + 1] - lifetime[d]);
                over_a_day(|u| s * beta.powf(s) * (beta + lifetime[d] + b * u).powf(-s - 1.0) * b * (alpha + purchase[d] + a * u).powf(-k))
            };
            let k = r + x;
            let survived = (beta / (beta + lifetime[t])).powf(s) * (alpha + purchase[t]).powf(-k);
            let departed: f64 = (t_x..t).map(|d| day(d, k)).sum();
            near("P(alive)", alive[i], survived / (survived + departed), 1e-10);
            let times: f64 = made.counts().days.unwrap().of(i)[1..].iter().map(|&d| rate(start + i64::from(d), 0).ln()).sum();
            let rising: f64 = (0..made.x[i]).map(|j| (r + f64::from(j)).ln()).sum();
            total += rising + r * alpha.ln() + times + (survived + departed).ln();

            let (now, now_lifetime) = (clock(calendar.today, horizon as usize, 0), clock(calendar.today, horizon as usize, 3));
            let (a, b) = (alpha + purchase[t], beta + lifetime[t]);
            let survival = |m: f64| (b / (b + m)).powf(s);
            let over = |f: &dyn Fn(f64, f64, f64, f64, f64) -> f64| -> f64 {
                let day = |d: usize| {
                    let (up, down) = (now[d + 1] - now[d], now_lifetime[d + 1] - now_lifetime[d]);
                    over_a_day(|u| f(now[d] + up * u, now_lifetime[d] + down * u, up, down, d as f64 + u))
                };
                (0..horizon as usize).map(day).sum()
            };
            let end = (now[horizon as usize], now_lifetime[horizon as usize]);
            near("expected", expected[i], alive[i] * k / a * over(&|_, m, up, _, _| survival(m) * up), 1e-9);
            let delta = 1.5_f64.ln() / 365.25;
            near("discounted", discounted[i], alive[i] * k / a * over(&|_, m, up, _, u| survival(m) * up * (-delta * u).exp()), 1e-9);
            let nb = |l: f64, n: i32| {
                let rising: f64 = (0..n).map(|j| (k + f64::from(j)) / f64::from(j + 1)).product();
                rising * (a / (a + l)).powf(k) * (l / (a + l)).powi(n)
            };
            let counted = |n: i32| {
                survival(end.1) * nb(end.0, n) + over(&|l, m, _, down, _| s * b.powf(s) * (b + m).powf(-s - 1.0) * down * nb(l, n))
            };
            near("none", none[i], 1.0 - alive[i] + alive[i] * counted(0), 1e-9);
            near("two", two[i], alive[i] * counted(2), 1e-9);
            let of_new: f64 = (0..t)
                .map(|d| {
                    let (up, down) = (purchase[d + 1] - purchase[d], lifetime[d + 1] - lifetime[d]);
                    over_a_day(|u| (beta / (beta + lifetime[d] + down * u)).powf(s) * up)
                })
                .sum();
            near("new", new[i], r / alpha * of_new, 1e-9);
        }
        let at: Vec<f64> = base.values().iter().map(|v| v.ln()).chain(gamma).collect();
        near("ln L", sums(counts, &at).value, total, 1e-10);
    }
}

#[test]
fn derivatives_equal_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let rows = random_rows(300, &mut rng);
    let made = random_customers(100, 250, &mut rng);
    let calendar = calendar(20_000, rows, 20_280);
    let counts = with_calendar(&made, &calendar);
    for at in [[-0.4, 3.0, -0.2, 4.0, 0.3, -0.5, 0.8, -0.3, 0.2, -0.9], [1.5, 0.3, 1.2, 5.0, -0.1, 1.0, 0.5, 0.4, -0.3, 2.0]] {
        let here = sums(counts, &at);
        for i in 0..at.len() {
            let moved = |by: f64| {
                let mut there = at;
                there[i] += by;
                sums(counts, &there)
            };
            let (up, down) = (moved(1e-5), moved(-1e-5));
            let slope = (up.value - down.value) / 2e-5;
            assert!((slope - here.gradient[i]).abs() < 1e-7 * here.value.abs(), "∂{i}: {slope} against {}", here.gradient[i]);
            for j in 0..at.len() {
                let curve = (up.gradient[j] - down.gradient[j]) / 2e-5;
                assert!((curve - here.hessian[i][j]).abs() < 1e-7 * here.value.abs(), "∂{i}∂{j}: {curve} against {}", here.hessian[i][j]);
            }
        }
    }
}

/// A yearly season, and promotions in one week of ten.
fn season(days: usize) -> Vec<Vec<f64>> {
    let row = |day: usize| vec![(day as f64 * std::f64::consts::TAU / 365.25).sin(), f64::from(u8::from(day % 70 < 7))];
    (0..days).map(row).collect()
}

/// Customers of the days of `calendar` until `until`, with the purchases of each day after `today` until then.
fn simulated(truth: &CalendarNbd, calendar: &Calendar, customers: usize, until: i64) -> (Customers, u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let ParetoNbd { r, alpha, lifetime: Pareto { s, beta } } = truth.estimated.base;
    let (buying, leaving) = (Gamma::new(r, 1.0 / alpha).unwrap(), Gamma::new(s, 1.0 / beta).unwrap());
    let along =
        |by: &[f64], day: i64| by.iter().zip(&calendar.rows[(day - calendar.first_day) as usize]).map(|(g, z)| g * z).sum::<f64>().exp();
    let (mut made, mut later) = (Customers::default(), 0);
    for _ in 0..customers {
        let (rate, departure): (f64, f64) = (buying.sample(&mut rng), leaving.sample(&mut rng));
        let start = calendar.first_day + rng.random_range(0..calendar.today - calendar.first_day);
        let left: f64 = Exp1.sample(&mut rng);
        let (mut days, mut gone) = (vec![0], 0.0);
        for day in start + 1..=until {
            gone += departure * along(&truth.estimated.lifetime, day);
            if gone > left {
                break;
            }
            // At most one purchase a day is seen.
            if rng.random::<f64>() < -(-rate * along(&truth.estimated.purchase, day)).exp_m1() {
                if day <= calendar.today { days.push((day - start) as u32) } else { later += 1 }
            }
        }
        made.push_days(&days, (calendar.today - start) as u32);
    }
    (made, later)
}

#[test]
fn recovers_a_season_and_forecasts_the_next_one() {
    let slow = ParetoNbd { r: 1.0, alpha: 80.0, lifetime: Pareto { s: 0.8, beta: 150.0 } };
    let days = 900;
    // It ends as the season goes down.
    let calendar = calendar(18_000, season(days), 18_000 + 530);
    let truth = model(slow, &[0.6, 0.8], &[-0.4, 0.5], &calendar);
    let until = calendar.today + 180;
    let (made, later) = simulated(&truth, &calendar, 8_000, until);
    let (control, options) = (Control::default(), FitOptions::default());
    let counts = with_calendar(&made, &calendar);
    let sample = Sample { counts, start: None };
    let found = fit_calendar(&sample, &options, &control).unwrap();
    let plain = fit::<ParetoNbd>(counts, &options, &control).unwrap();
    assert!(found.log_likelihood - plain.log_likelihood > 200.0 && !found.on_edge);
    let shown = found.params.parameters();
    for (parameter, truth) in shown.iter().zip(truth.parameters()) {
        let (off, error) = match parameter.log_error {
            Some(error) => ((parameter.value / truth.value).ln(), error),
            None => (parameter.value - truth.value, parameter.error.unwrap()),
        };
        assert!(off.abs() < 3.0 * error, "{parameter:?} against {}", truth.value);
    }
    assert_eq!(shown[4].name, "purchase.z0");
    let total = |m: &dyn Purchases| m.expected_purchases_all(counts, 180.0, &control).unwrap().iter().sum::<f64>();
    let (dated, plain_total) = (total(&found.params), total(&plain.params));
    let actual = later as f64;
    assert!((dated / actual - 1.0).abs() < 0.05 && (plain_total - actual).abs() > 3.0 * (dated - actual).abs());

    // In any order of the customers, from where it was, and with z in other units.
    let mut reversed = Customers::default();
    (0..made.x.len()).rev().for_each(|i| reversed.push_days(counts.days.unwrap().of(i), made.t[i]));
    assert_eq!(fit_calendar(&Sample { counts: with_calendar(&reversed, &calendar), start: None }, &options, &control).unwrap(), found);
    let values: Vec<f64> = shown.iter().map(|p| p.value).collect();
    let again = fit_calendar(&sample, &FitOptions { start: Some(values.clone()), ..options.clone() }, &control).unwrap();
    assert!(again.evaluations <= 4);
    near("again", again.log_likelihood, found.log_likelihood, 1e-11);
    let mut other = calendar.clone();
    other.rows.iter_mut().for_each(|row| row[0] = 290.0 + 10.0 * row[0]);
    let sample = Sample { counts: Counts { calendar: Some(&other), ..counts }, start: None };
    let moved = fit_calendar(&sample, &options, &control).unwrap();
    near("other units", moved.log_likelihood, found.log_likelihood, 1e-11);
    near("other units", total_of(&moved.params, sample.counts), dated, 1e-6);
    near("γ", moved.params.estimated.purchase[0], 0.1 * values[4], 1e-5);
    near("error", moved.params.parameters()[4].error.unwrap(), 0.1 * shown[4].error.unwrap(), 1e-4);
}

fn total_of(model: &CalendarNbd, counts: Counts<'_>) -> f64 {
    model.expected_purchases_all(counts, 180.0, &Control::default()).unwrap().iter().sum()
}

#[test]
fn is_read_back_as_it_was_written() {
    let calendar = calendar(0, season(400), 300);
    let mut model = model(PLAIN, &[0.6, 0.8], &[-0.4, 0.5], &calendar);
    model.estimated.axes = vec![vec![0.1; 8], vec![0.2; 8]];
    assert_eq!(CalendarNbd::from_parts(&model.to_parts()).unwrap(), model);
    assert_eq!((model.calendar(), model.covariance().len(), model.axes().len()), (&calendar.names[..], 8, 2));
    near("moved", model.axes()[1].parameters()[7].value, 0.7, 1e-12);
    let mut parts = model.to_parts();
    parts.pop();
    assert!(CalendarNbd::from_parts(&parts).is_err());
}

#[test]
fn names_what_is_missing() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let made = random_customers(50, 100, &mut rng);
    let whole = calendar(1_000, season(400), 1_200);
    let message = |counts: Counts<'_>| {
        fit_calendar(&Sample { counts, start: None }, &FitOptions::default(), &Control::default()).unwrap_err().to_string()
    };
    assert!(message(made.counts()).starts_with("option 'calendar' = none"));
    assert!(message(Counts { days: None, ..with_calendar(&made, &whole) }).starts_with("option 'days'"));
    for today in [1_050, 1_400] {
        let error = message(with_calendar(&made, &Calendar { today, ..whole.clone() }));
        assert!(error.contains("all days from") && error.contains(&today.to_string()), "{error}");
    }
    let still = Calendar { rows: whole.rows.iter().map(|row| vec![row[0], 1.0]).collect(), ..whole.clone() };
    assert!(message(with_calendar(&made, &still)).contains("covariate z1 is the same on every day"));
    let mut torn = whole.clone();
    torn.rows[7].pop();
    assert!(message(with_calendar(&made, &torn)).contains("a finite number for each of z0, z1"));

    let model = model(PLAIN, &[0.6, 0.8], &[-0.4, 0.5], &whole);
    let renamed = Calendar { names: vec!["z0".into(), "other".into()], ..whole.clone() };
    let error = model.expected_purchases_all(with_calendar(&made, &renamed), 10.0, &Control::default()).unwrap_err().to_string();
    assert!(error.contains("a column z1"), "{error}");
    // Without a calendar every day is as usual.
    let usual = Calendar { rows: vec![model.usual.clone()], ..whole };
    assert_eq!(model.p_alive_all(made.counts()), model.p_alive_all(with_calendar(&made, &usual)));
    let alone = PurchaseDays { ends: &[], days: &[] };
    assert!(message(Counts { days: Some(alone), ..with_calendar(&made, &still) }).starts_with("option 'days'"));
}

#[test]
fn answers_are_sane_far_from_any_shop() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let calendar = calendar(0, random_rows(500, &mut rng), 400);
    let control = Control::default();
    let mut made = Customers::default();
    for (x, t_x, t) in [(0, 0, 0), (0, 0, 300), (1, 100, 300), (2_000, 100, 300), (100_000, 300, 300), (3, 0, 0), (5, 390, 2_000)] {
        made.push(x, t_x, t);
    }
    let counts = with_calendar(&made, &calendar);
    for _ in 0..30 {
        let mut between = |low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
        let lifetime = Pareto { s: between(1e-5, 1e5), beta: between(1e-5, 1e5) };
        let base = ParetoNbd { r: between(1e-5, 1e5), alpha: between(1e-5, 1e5), lifetime };
        let gamma: Vec<f64> = (0..6).map(|_| rng.random_range(-5.0..5.0)).collect();
        let model = model(base, &gamma[..3], &gamma[3..], &calendar);
        let of = |f: &dyn Fn() -> Result<Vec<f64>, ModelError>| f().unwrap();
        let alive = model.p_alive_all(counts);
        assert!(alive.iter().all(|p| (0.0..=1.0).contains(p)), "{model:?}: {alive:?}");
        let mut before = (vec![0.0; alive.len()], vec![1.0; alive.len()]);
        for h in [1e-6, 1.0, 90.0, 3_650.0, 1e6] {
            let expected = of(&|| model.expected_purchases_all(counts, h, &control));
            let none = of(&|| model.p_no_purchase_all(counts, h, &control));
            for i in 0..alive.len() {
                assert!(expected[i].is_finite() && expected[i] >= before.0[i] * (1.0 - 1e-9), "{model:?}, {i}, {h}: {expected:?}");
                assert!((0.0..=before.1[i] + 1e-11).contains(&none[i]), "{model:?}, {i}, {h}: {none:?}");
                assert!(1.0 - none[i] <= expected[i] * (1.0 + 1e-9) + 1e-11, "{model:?}, {i}, {h}: {expected:?} {none:?}");
            }
            before = (expected, none);
        }
        let futures = model.futures(counts, 90.0, &control).unwrap();
        for counts in &futures.values {
            let total: f64 = counts.iter().map(|p| f64::from(*p)).sum();
            assert!((total - 1.0).abs() < 1e-3, "{model:?}: {total}");
        }
        let forever = of(&|| model.discounted_purchases_all(counts, f64::INFINITY, 0.1, &control));
        assert!(forever.iter().all(|v| v.is_finite() && *v >= 0.0), "{model:?}: {forever:?}");
        assert_eq!(of(&|| model.next_purchase_all(counts, &control)).len(), alive.len());
    }
}

/// CLVTools' estimates for its data "apparel" with covariates High.Season, Gender and Channel, and what it computes with them for customers whose Gender and
/// Channel are 0: all first purchased on 2005-01-02, and are observed for 104 weeks.
#[test]
fn meets_clvtools() {
    // Its weeks begin with the day of the first purchase, at whose beginning it lies.
    const SEASONS: [(usize, usize); 12] = [
        (21, 23),
        (39, 48),
        (73, 75),
        (91, 100),
        (125, 127),
        (143, 152),
        (178, 180),
        (196, 205),
        (230, 232),
        (248, 257),
        (282, 284),
        (300, 309),
    ];
    let high = |week: usize| SEASONS.iter().any(|&(from, to)| (from..=to).contains(&week));
    let rows = (0..7 * 313).map(|day: usize| vec![f64::from(u8::from(high(day.saturating_sub(1) / 7)))]).collect();
    let calendar = calendar(0, rows, 728);
    let base = ParetoNbd {
        r: 1.9777409894092832,
        alpha: 7.0 * 115.1779145506357,
        lifetime: Pareto { s: 2.0127328567023923, beta: 7.0 * 158.1817947718384 },
    };
    let model = model(base, &[0.718271261172766], &[-2.482672230676113], &calendar);
    // Purchase days, ln L in weeks, P(alive), and purchases expected in 1450 days.
    let customers: [(&[u32], f64, f64, f64); 5] = [
        (&[0, 247, 381, 458, 546, 640, 653], -25.4133742504562, 0.96582113645111, 4.71523823326992),
        (&[0], -0.833666936967212, 0.223932499379286, 0.271027615611222),
        (&[0, 32, 80, 394], -14.990653751581, 0.492782866300476, 1.50111822110042),
        (&[0, 253, 712], -11.551932841855, 0.980437968879034, 2.38662191736741),
        (&[0, 393], -6.6309118694381, 0.591806168507119, 1.07843359683574),
    ];
    let mut made = Customers::default();
    customers.iter().for_each(|(days, ..)| made.push_days(days, 728));
    let counts = with_calendar(&made, &calendar);
    let at: Vec<f64> = base.values().iter().map(|v| v.ln()).chain([0.718271261172766, -2.482672230676113]).collect();
    let in_weeks = sums(counts, &at).value + f64::from(made.x.iter().sum::<u32>()) * 7.0_f64.ln();
    let alive = model.p_alive_all(counts);
    let expected = model.expected_purchases_all(counts, 1450.0, &Control::default()).unwrap();
    near("ln L", in_weeks, customers.iter().map(|c| c.1).sum(), 1e-12);
    for (i, &(_, _, p_alive, purchases)) in customers.iter().enumerate() {
        near("P(alive)", alive[i], p_alive, 1e-12);
        near("expected", expected[i], purchases, 1e-12);
    }
}
