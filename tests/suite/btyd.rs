//! Buy-till-you-die models against published values and 40-digit references (`tests/data/btyd_cases.json`, each with its source).
//!
//! The CDNOW and donations data are not part of the repository. Cases that need them read files below the folder named by `TENURE_DATA`, or below
//! `../shared/data` next to the crate, and are skipped where there is none.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tenure::models::Control;
use tenure::models::lifetime::{
    Alive, BetaDiscreteWeibull, BgBb, BgNbd, Counts, Estimated, Fit, FitOptions, GammaGamma, GgompertzNbd, Likelihood, MbgNbd, ParetoNbd,
    Process, Purchases, ShiftedBetaGeometric, fit,
};

const RELATIVE: f64 = 1e-9;

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../data/btyd_cases.json")).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn case(id: &str) -> Value {
    cases().into_iter().find(|c| c["id"] == id).unwrap_or_else(|| panic!("no case {id}"))
}

/// A number, also in the form "216/7".
fn number(value: &Value) -> f64 {
    match value.as_str().and_then(|text| text.split_once('/')) {
        Some((above, below)) => above.parse::<f64>().unwrap() / below.parse::<f64>().unwrap(),
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is no number")),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn process<M: Process>(inputs: &Value) -> M {
    M::of_values(&M::PARAMETERS.iter().map(|name| number(&inputs[*name])).collect::<Vec<_>>())
}

/// The answers to a case by itself, by its quantity; `None` for cases on data.
fn answers(case: &Value) -> Option<Vec<f64>> {
    let inputs = &case["inputs"];
    if !inputs["data"].is_null() || !inputs["pct_alive"].is_null() {
        return None;
    }
    Some(match case["model"].as_str().unwrap() {
        "BG/NBD" => vec![of_process(process::<BgNbd>(inputs), case)],
        "MBG/NBD" => vec![of_process(process::<MbgNbd>(inputs), case)],
        "Pareto/NBD" => vec![of_process(process::<ParetoNbd>(inputs), case)],
        "BG/BB" => {
            let (model, of) = (process::<BgBb>(inputs), |name: &str| number(&inputs[name]));
            match case["quantity"].as_str().unwrap() {
                "CET" => vec![model.expected_purchases(of("x"), of("t_x"), of("n"), of("n_star"))],
                "E[X(n)]" => vec![model.expected_purchases_new(of("n"))],
                "P(alive at n+1)" => {
                    let rows = inputs["rows_x_tx"].as_array().unwrap();
                    rows.iter().map(|row| model.p_alive(number(&row[0]), number(&row[1]), of("n"))).collect()
                }
                other => panic!("no way to compute {other}"),
            }
        }
        "Gamma-Gamma" => {
            let of = |name: &str| number(&inputs[name]);
            let model = GammaGamma { p: of("p"), q: of("q"), v: of("v") };
            let rows = inputs["rows_x_m"].as_array().unwrap();
            rows.iter().map(|row| model.expected_value(number(&row[0]), number(&row[1]))).collect()
        }
        other => panic!("no model {other}"),
    })
}

fn of_process<M: Likelihood>(model: M, case: &Value) -> f64 {
    let of = |name: &str| number(&case["inputs"][name]);
    let quantity = case["quantity"].as_str().unwrap();
    match quantity.split([',', ' ']).next().unwrap() {
        "log_likelihood_row" => model.log_likelihood(of("x"), of("t_x"), of("T")),
        "P(alive)" => model.p_alive(of("x"), of("t_x"), of("T")),
        "CET" => model.expected_purchases(of("x"), of("t_x"), of("T"), of("t")),
        "E[X(t)]" => model.expected_purchases_new(of("t")),
        "DERT" => {
            let (x, t_x, t) = (of("x"), of("t_x"), of("T"));
            model.p_alive(x, t_x, t) * model.alive(x, t_x, t).discounted(f64::INFINITY, of("delta"))
        }
        pmf if pmf.starts_with("P(X(") => model.probability_of(of("x") as u32, of("t")),
        other => panic!("no way to compute {other}"),
    }
}

fn near(what: &str, given: f64, published: f64, tolerance: f64) {
    assert!((given - published).abs() <= tolerance, "{what}: {given}, published {published} ± {tolerance}");
}

#[test]
fn every_case_has_its_published_value_and_its_reference() {
    let (mut alone, mut on_data) = (0, 0);
    for case in cases() {
        let id = case["id"].as_str().unwrap();
        let Some(given) = answers(&case) else {
            on_data += 1;
            continue;
        };
        alone += 1;
        for (i, given) in given.into_iter().enumerate() {
            let one = |value: &Value| if value.is_array() { value[i].as_f64() } else { value.as_f64() };
            if let (Some(published), Some(tolerance)) = (one(&case["published"]), one(&case["tolerance_abs"])) {
                near(id, given, published, tolerance);
            }
            if let Some(reference) = one(&case["reference"]) {
                // A reference of 0 is a probability below the smallest number.
                assert!(
                    (given - reference).abs() <= RELATIVE * reference.abs() + f64::MIN_POSITIVE,
                    "{id}: {given}, reference {reference}"
                );
            }
        }
    }
    // Those on data are the tests below.
    assert_eq!((alone, on_data), (ALONE, 89 - ALONE));
}

/// Cases that need no data.
const ALONE: usize = 70;

/// A file of the data, or `None` with a note where it is not at hand.
fn data(path: &str) -> Option<String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("TENURE_DATA").map_or_else(beside, PathBuf::from);
    let text = std::fs::read_to_string(folder.join(path)).ok();
    if text.is_none() {
        println!("skipped: no data");
    }
    text
}

/// The CDNOW sample to 1997-09-30, in days.
struct Cdnow {
    x: Vec<u32>,
    t_x: Vec<u32>,
    t: Vec<u32>,
    mean_value: Vec<f64>,
    holdout: Vec<f64>,
}

impl Cdnow {
    fn load() -> Option<Self> {
        let text = data("cdnow/cdnow_sample_rfm.csv")?;
        let mut data = Self { x: vec![], t_x: vec![], t: vec![], mean_value: vec![], holdout: vec![] };
        for line in text.lines().skip(1) {
            let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            data.x.push(fields[1] as u32);
            data.t_x.push((fields[2] * 7.0).round() as u32);
            data.t.push((fields[3] * 7.0).round() as u32);
            data.mean_value.push(fields[4]);
            data.holdout.push(fields[5]);
        }
        Some(data)
    }

    fn counts(&self) -> Counts<'_> {
        Counts::new(&self.x, &self.t_x, &self.t)
    }

    /// Parameters with times in weeks, and the log-likelihood: the density of each of the purchases is seven times as high.
    fn fit<M: Likelihood>(&self, weeks: &[usize]) -> (Fit<Estimated<M>>, Vec<f64>) {
        let found = fit::<M>(self.counts(), &FitOptions::default(), &Control::default()).unwrap();
        let mut given = found.params.base.values();
        weeks.iter().for_each(|&i| given[i] /= 7.0);
        let purchases: u32 = self.x.iter().sum();
        given.push(found.log_likelihood + f64::from(purchases) * 7.0_f64.ln());
        (found, given)
    }
}

/// Parameters, then the log-likelihood where the case has one.
fn check_fit(id: &str, given: &[f64]) {
    let case = case(id);
    let published = &case["published"];
    let mut expected = numbers(if published.is_array() { published } else { &published["params"] });
    if !published.is_array() {
        expected.push(number(&published["ll"]));
    }
    for (i, (given, published)) in given.iter().zip(expected).enumerate() {
        let tolerance = &case["tolerance_abs"];
        // A parameter without a tolerance lies on a ridge.
        if let Some(tolerance) = if tolerance.is_array() { tolerance[i].as_f64() } else { tolerance.as_f64() } {
            near(&format!("{id} {i}"), *given, published, tolerance);
        }
    }
}

#[test]
fn published_fits_on_cdnow() {
    let Some(data) = Cdnow::load() else { return };
    let sums = case("cdnow_sums");
    let sum = |values: &[u32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
    for (given, published) in [sum(&data.x), sum(&data.t_x) / 7.0, sum(&data.t) / 7.0].into_iter().zip(numbers(&sums["published"])) {
        near("cdnow_sums", given, published, 1e-5);
    }
    assert_eq!(data.holdout.iter().sum::<f64>(), number(&case("cdnow_holdout_actual")["published"]));

    let (_, bg) = data.fit::<BgNbd>(&[1]);
    for id in ["fit_bgnbd_cdnow", "fit_bgnbd_cdnow_clvtools", "fit_bgnbd_cdnow_btyd"] {
        check_fit(id, &bg);
    }
    check_fit("fit_mbg_cdnow", &data.fit::<MbgNbd>(&[1]).1[..4]);
    let (pareto, given) = data.fit::<ParetoNbd>(&[1, 3]);
    check_fit("fit_pnbd_cdnow", &given);
    check_fit("fit_pnbd_cdnow_clvtools", &given);
    let errors = pareto.params.parameters().into_iter().zip([1.0, 7.0, 1.0, 7.0]).map(|(p, unit)| p.error.unwrap() / unit);
    check_fit("se_pnbd_cdnow", &errors.collect::<Vec<_>>());
    // The square roots of the diagonal.
    for (i, parameter) in pareto.params.parameters().iter().enumerate() {
        assert!((pareto.params.covariance()[i][i].sqrt() / parameter.error.unwrap() - 1.0).abs() < 1e-12);
    }
    // A rate of departure that does not rise: the ridge that leads to Pareto/NBD.
    check_fit("fit_ggomnbd_cdnow", &data.fit::<GgompertzNbd>(&[1]).1);
}

#[test]
fn published_fit_of_gamma_gamma() {
    let Some(data) = Cdnow::load() else { return };
    let fit = GammaGamma::fit(&data.x, &data.mean_value, None, &Control::default()).unwrap();
    assert_eq!(fit.customers, 946);
    let GammaGamma { p, q, v } = fit.params.params;
    check_fit("fit_gg_cdnow", &[p, q, v, fit.log_likelihood]);
}

/// The parameters of the BTYD walkthrough, in days.
fn walkthrough() -> BgNbd {
    let params = numbers(&case("fit_bgnbd_cdnow_btyd")["published"]["params"]);
    BgNbd { r: params[0], alpha: params[1] * 7.0, a: params[2], b: params[3] }
}

#[test]
fn published_expectations_by_frequency() {
    let Some(data) = Cdnow::load() else { return };
    let control = Control::default();
    let bg = Estimated::known(walkthrough()).expected_purchases_all(data.counts(), 39.0 * 7.0, &control).unwrap();
    let pareto = data.fit::<ParetoNbd>(&[]).0.params.expected_purchases_all(data.counts(), 39.0 * 7.0, &control).unwrap();
    for (id, expected) in [("bg_cond_exp_by_freq", bg), ("pn_cond_exp_by_freq", pareto)] {
        let case = case(id);
        let published = |name: &str| numbers(&case["published"][name]);
        let tolerance = number(&case["tolerance_abs"]);
        for frequency in 0..8 {
            let bin: Vec<usize> = (0..data.x.len()).filter(|&i| data.x[i].min(7) == frequency).collect();
            let mean = |values: &[f64]| bin.iter().map(|&i| values[i]).sum::<f64>() / bin.len() as f64;
            let at = frequency as usize;
            near(id, mean(&expected), published("exp")[at], tolerance);
            near(id, mean(&data.holdout), published("act")[at], tolerance);
        }
    }
}

#[test]
fn published_tracking() {
    let Some(data) = Cdnow::load() else { return };
    let first = *data.t.iter().max().unwrap();
    let until = |model: &dyn Fn(f64) -> f64, week: u32| -> f64 {
        data.t.iter().map(|t| model((f64::from(week * 7) - f64::from(first - t)).max(0.0))).sum()
    };
    let pareto = data.fit::<ParetoNbd>(&[]).0.params.base;
    let (bg, pareto) = (|t: f64| walkthrough().expected_purchases_new(t), |t: f64| pareto.expected_purchases_new(t));
    for (at, week) in (20..=25).enumerate() {
        let cumulated: [(&str, &dyn Fn(f64) -> f64); 2] = [("bg_tracking_cum", &bg), ("pn_tracking_cum", &pareto)];
        for (id, model) in cumulated {
            near(id, until(model, week), number(&case(id)["published"]["exp"][at]), number(&case(id)["tolerance_abs"]));
        }
        let case = case("pn_tracking_inc");
        let increment = until(&pareto, week) - until(&pareto, week - 1);
        near("pn_tracking_inc", increment, number(&case["published"]["exp"][at]), number(&case["tolerance_abs"]));
    }
}

/// Rows of numbers below the header of a file.
fn rows(path: &str) -> Option<Vec<Vec<u32>>> {
    let text = data(path)?;
    Some(text.lines().skip(1).map(|line| line.split(',').map(|v| v.trim().parse().unwrap()).collect()).collect())
}

#[test]
fn published_fit_and_forecast_of_bg_bb() {
    let Some(file) = rows("donations/donations_rf_matrix.csv") else { return };
    let mut columns = [vec![], vec![], vec![]];
    for row in &file {
        for _ in 0..row[3] {
            columns.iter_mut().zip(row).for_each(|(column, v)| column.push(*v));
        }
    }
    let [x, t_x, n] = &columns;
    let found = fit::<BgBb>(Counts::new(x, t_x, n), &FitOptions::default(), &Control::default()).unwrap();
    let mut given = found.params.base.values();
    given.push(found.log_likelihood);
    check_fit("fit_bgbb_donations", &given);
    assert_eq!((found.customers, found.rows, found.on_edge), (11_104, 22, false));

    let model: BgBb = process(&case("bb_cet_A")["inputs"]);
    let Some(donors) = rows("donations/donations.csv") else { return };
    let of = |row: &Vec<u32>| f64::from(row[3]) * model.expected_purchases(row[0].into(), row[1].into(), row[2].into(), 5.0);
    near("bb_total_holdout", donors.iter().map(of).sum(), number(&case("bb_total_holdout")["published"]), 0.5);
}

/// A fit to the numbers of subscriptions that remain after 0, 1, 2, … renewals.
fn survivors<M: Likelihood>(alive: &[u32]) -> Fit<Estimated<M>> {
    let (mut x, mut t) = (vec![], vec![]);
    for (i, pair) in alive.windows(2).enumerate() {
        for _ in pair[1]..pair[0] {
            x.push(i as u32);
            t.push(i as u32 + 1);
        }
    }
    let last = alive.len() as u32 - 1;
    for _ in 0..alive[last as usize] {
        x.push(last);
        t.push(last);
    }
    fit::<M>(Counts::new(&x, &x, &t), &FitOptions::default(), &Control::default()).unwrap()
}

#[test]
fn published_fits_of_subscriptions() {
    let regular = case("fit_sbg_regular");
    let alive: Vec<u32> = numbers(&regular["inputs"]["pct_alive"]).iter().map(|p| (p * 10.0).round() as u32).collect();
    check_fit("fit_sbg_regular", &survivors::<ShiftedBetaGeometric>(&alive).params.base.values());
    // High End of the same paper, and what the year 12 held.
    let high_end = [1000, 869, 743, 653, 593, 551, 517, 491];
    let (sbg, weibull) = (survivors::<ShiftedBetaGeometric>(&high_end), survivors::<BetaDiscreteWeibull>(&high_end));
    near("alpha", sbg.params.base.values()[0], 0.668, 6e-4);
    near("beta", sbg.params.base.values()[1], 3.806, 6e-4);
    assert!(weibull.log_likelihood >= sbg.log_likelihood);
    near("year 12", 1e3 * weibull.params.base.survival(12.0), 394.0, 12.0);
    near("year 12", 1e3 * sbg.params.base.survival(12.0), 394.0, 18.0);
    // README of Mccombkp/Beta-Discrete-Weibull-fortell: percentages after 1 … 6 periods, fitted to 100, 92, 91, 90, 88.
    let others = [92.193944554874, 90.31175201855368, 89.0225485516031, 88.01390928844319, 87.17405973206644, 86.44868571718936];
    let base = survivors::<BetaDiscreteWeibull>(&[1000, 920, 910, 900, 880]).params.base;
    for (t, other) in (1..).zip(others) {
        near("survival", 100.0 * base.survival(f64::from(t)), other, 0.01);
    }
}
