//! BG/NBD and Gamma-Gamma against published values and 40-digit references (`tests/data/btyd_cases.json`, each with its source).
//!
//! The CDNOW data are not part of the repository. Cases that need them read `cdnow/cdnow_sample_rfm.csv` below the folder named by `TENURE_DATA`, or
//! below `../shared/data` next to the crate, and are skipped where there is none.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tenure::models::Control;
use tenure::models::lifetime::{BgNbd, Counts, Estimated, FitOptions, GammaGamma, Likelihood, Process, Purchases, fit};

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

fn bg_nbd(inputs: &Value) -> BgNbd {
    let of = |name: &str| number(&inputs[name]);
    BgNbd { r: of("r"), alpha: of("alpha"), a: of("a"), b: of("b") }
}

/// The answer to a case on one customer, by its quantity; `None` for cases on the CDNOW data.
fn answer(case: &Value) -> Option<f64> {
    let inputs = &case["inputs"];
    if !inputs["data"].is_null() || case["model"] != "BG/NBD" {
        return None;
    }
    let model = bg_nbd(inputs);
    let of = |name: &str| number(&inputs[name]);
    let quantity = case["quantity"].as_str().unwrap();
    Some(match quantity.split([',', ' ']).next().unwrap() {
        "log_likelihood_row" => model.log_likelihood(of("x"), of("t_x"), of("T")),
        "P(alive)" => model.p_alive(of("x"), of("t_x"), of("T")),
        "CET" => model.expected_purchases(of("x"), of("t_x"), of("T"), of("t")),
        "E[X(t)]" => model.expected_purchases_new(of("t")),
        pmf if pmf.starts_with("P(X(") => model.probability_of(of("x") as u32, of("t")),
        other => panic!("no way to compute {other}"),
    })
}

fn check(id: &str, given: f64, published: &Value, tolerance: &Value, reference: &Value) {
    if let (Some(published), Some(tolerance)) = (published.as_f64(), tolerance.as_f64()) {
        assert!((given - published).abs() <= tolerance, "{id}: {given}, published {published} ± {tolerance}");
    }
    if let Some(reference) = reference.as_f64() {
        // A reference of 0 is a probability below the smallest number.
        assert!((given - reference).abs() <= RELATIVE * reference.abs() + f64::MIN_POSITIVE, "{id}: {given}, reference {reference}");
    }
}

#[test]
fn published_values_of_one_customer() {
    let mut checked = 0;
    for case in cases() {
        if let Some(given) = answer(&case) {
            check(case["id"].as_str().unwrap(), given, &case["published"], &case["tolerance_abs"], &case["reference"]);
            checked += 1;
        }
    }
    assert_eq!(checked, 32);
}

#[test]
fn published_order_values() {
    let case = case("gg_spend_first10");
    let of = |name: &str| number(&case["inputs"][name]);
    let model = GammaGamma { p: of("p"), q: of("q"), v: of("v") };
    for (i, row) in case["inputs"]["rows_x_m"].as_array().unwrap().iter().enumerate() {
        let given = model.expected_value(number(&row[0]), number(&row[1]));
        check(&format!("order value {i}"), given, &case["published"][i], &case["tolerance_abs"], &case["reference"][i]);
    }
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
    /// `None`, with a note, where the data are not at hand.
    fn load() -> Option<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let folder = std::env::var_os("TENURE_DATA").map_or_else(beside, PathBuf::from);
        let Ok(text) = std::fs::read_to_string(folder.join("cdnow/cdnow_sample_rfm.csv")) else {
            println!("skipped: no data");
            return None;
        };
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
}

#[test]
fn published_fits_of_bg_nbd() {
    let Some(data) = Cdnow::load() else { return };
    let fit = fit::<BgNbd>(data.counts(), &FitOptions::default(), &Control::default()).unwrap();
    let BgNbd { r, alpha, a, b } = fit.params.base;
    // Days to weeks: α is a time, and the density of each of the purchases is seven times as high.
    let purchases: u32 = data.x.iter().sum();
    let given = [r, alpha / 7.0, a, b, fit.log_likelihood + f64::from(purchases) * 7.0_f64.ln()];
    for id in ["fit_bgnbd_cdnow", "fit_bgnbd_cdnow_clvtools", "fit_bgnbd_cdnow_btyd"] {
        let case = case(id);
        let mut published = numbers(&case["published"]["params"]);
        published.push(number(&case["published"]["ll"]));
        for ((given, published), tolerance) in given.iter().zip(published).zip(numbers(&case["tolerance_abs"])) {
            assert!((given - published).abs() <= tolerance, "{id}: {given}, published {published} ± {tolerance}");
        }
    }
    assert_eq!(format!("{r:.3} {:.3} {a:.3} {b:.3} {:.3}", given[1], given[4]), "0.243 4.414 0.793 2.426 -9582.429");
}

#[test]
fn published_fit_of_gamma_gamma() {
    let Some(data) = Cdnow::load() else { return };
    let fit = GammaGamma::fit(&data.x, &data.mean_value, None, &Control::default()).unwrap();
    assert_eq!(fit.customers, 946);
    let case = case("fit_gg_cdnow");
    let mut published = numbers(&case["published"]["params"]);
    published.push(number(&case["published"]["ll"]));
    let GammaGamma { p, q, v } = fit.params.params;
    let given = [p, q, v, fit.log_likelihood];
    for ((given, published), tolerance) in given.iter().zip(published).zip(numbers(&case["tolerance_abs"])) {
        assert!((given - published).abs() <= tolerance, "{given}, published {published} ± {tolerance}");
    }
}

/// The parameters of the BTYD walkthrough, in days.
fn walkthrough() -> BgNbd {
    let params = numbers(&case("fit_bgnbd_cdnow_btyd")["published"]["params"]);
    BgNbd { r: params[0], alpha: params[1] * 7.0, a: params[2], b: params[3] }
}

#[test]
fn published_expectations_by_frequency() {
    let Some(data) = Cdnow::load() else { return };
    let expected = Estimated::known(walkthrough()).expected_purchases_all(data.counts(), 39.0 * 7.0, &Control::default()).unwrap();
    let case = case("bg_cond_exp_by_freq");
    let published = |name: &str| numbers(&case["published"][name]);
    let tolerance = number(&case["tolerance_abs"]);
    for frequency in 0..8 {
        let bin: Vec<usize> = (0..data.x.len()).filter(|&i| data.x[i].min(7) == frequency).collect();
        let mean = |values: &[f64]| bin.iter().map(|&i| values[i]).sum::<f64>() / bin.len() as f64;
        let at = frequency as usize;
        assert_eq!(bin.len() as f64, published("n")[at]);
        for (given, name) in [(mean(&expected), "exp"), (mean(&data.holdout), "act")] {
            assert!((given - published(name)[at]).abs() <= tolerance, "{name} of frequency {frequency}: {given}");
        }
    }
}

#[test]
fn published_cumulative_expectations() {
    let Some(data) = Cdnow::load() else { return };
    let (model, case) = (walkthrough(), case("bg_tracking_cum"));
    let first = data.t.iter().max().unwrap();
    for (week, published) in (20..=25).zip(numbers(&case["published"]["exp"])) {
        let given: f64 = data.t.iter().map(|t| model.expected_purchases_new(f64::from(week * 7) - f64::from(first - t))).sum();
        assert!((given - published).abs() <= number(&case["tolerance_abs"]), "week {week}: {given}, published {published}");
    }
}
