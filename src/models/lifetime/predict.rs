//! A fitted process, and its answers for all customers at once.
//!
//! What is expected of a customer who is alive depends on few numbers and is computed once for each distinct set of them. The answers are those of the
//! functions on one customer, independent of the number of threads.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::optimise::covariance;
use super::process::{Alive, Process};
use super::{Counts, Futures, IfAlive, OfTheLiving, Parameter, Purchases};
use crate::models::{AnyPurchases, Column, Control, ModelError, Part, part};

/// Customers handed to a thread at a time.
pub(super) const CUSTOMERS: usize = 8_192;
/// Distinct histories between two looks at the control.
const DISTINCT: usize = 128;
const DAYS_A_YEAR: f64 = 365.25;
/// A next purchase that lies further ahead than these days, some 274 years, is none.
pub(super) const NEVER: f64 = 100_000.0;
/// Cells of a table of (x, T) that is indexed instead of hashed: at most so many, and so many a customer.
const DENSE: u64 = 1 << 22;
const DENSE_A_CUSTOMER: u64 = 8;
/// Parts of the keys, each with a table of its own. Fixed, so that nothing depends on the number of threads.
const PARTS: usize = 4;

/// A process with the parameters that were estimated, and how sure they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimated<M> {
    pub base: M,
    /// Names of the covariates; empty without.
    pub covariates: Vec<String>,
    /// Their coefficients on ln(purchase rate) and on ln(rate of departure).
    pub purchase: Vec<f64>,
    pub lifetime: Vec<f64>,
    /// Principal axes of the uncertainty, one standard error each: moves of the log-parameters (none of those that are given),
    /// then of the coefficients.
    pub axes: Vec<Vec<f64>>,
}

impl<M: Process> Estimated<M> {
    /// A process whose parameters are certain.
    pub fn known(base: M) -> Self {
        Self { base, covariates: vec![], purchase: vec![], lifetime: vec![], axes: vec![] }
    }

    /// The standard error of the i-th log-parameter or coefficient.
    fn deviation(&self, i: usize) -> Option<f64> {
        let deviation = self.axes.iter().map(|axis| axis[i] * axis[i]).sum::<f64>().sqrt();
        // A parameter on the edge of the search was not estimated.
        Some(deviation).filter(|d| *d > 0.0)
    }

    /// Reads what [`Purchases::to_parts`] wrote.
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let row = part(parts, M::NAME)?;
        let values = M::PARAMETERS.iter().map(|name| row.positive(name)).collect::<Result<Vec<_>, _>>()?;
        let mut read = Self::known(M::of_values(&values));
        if let Ok(covariates) = part(parts, COVARIATES) {
            read.covariates = covariates.text("covariate")?.to_vec();
            (read.purchase, read.lifetime) = (covariates.finite("purchase")?.to_vec(), covariates.finite("lifetime")?.to_vec());
        }
        if let Ok(axes) = part(parts, AXES) {
            let size = values.len() + 2 * read.covariates.len();
            let moves = axes.finite("move")?;
            if size == 0 || moves.len() % size != 0 {
                return Err(ModelError::Damaged(format!("{} rows in table '{AXES}', which must be a multiple of {size}", moves.len())));
            }
            read.axes = moves.chunks(size).map(<[f64]>::to_vec).collect();
        }
        Ok(read)
    }

    /// The process of each cell of covariates; one without any.
    fn by_cell(&self, counts: Counts<'_>) -> Vec<M> {
        let Some(covariates) = counts.covariates.filter(|_| !self.covariates.is_empty()) else { return vec![self.base] };
        let along = |by: &[f64], row: &[f64]| by.iter().zip(row).map(|(b, z)| b * z).sum();
        covariates.rows.iter().map(|row| self.base.shifted(along(&self.purchase, row), along(&self.lifetime, row))).collect()
    }

    fn p_alive_each(&self, counts: Counts<'_>, models: &[M], distinct: Option<&Distinct>) -> Vec<f64> {
        if models.len() == 1
            && let Some(all) = models[0].p_alive_all(counts)
        {
            return all;
        }
        let distinct = match distinct {
            Some(d) if M::BY_RECENCY => d,
            _ => &Distinct::new(counts, self.cells(counts), true),
        };
        let values: Vec<f64> =
            distinct.keys.par_iter().with_min_len(DISTINCT).map(|k| models[k.cell as usize].p_alive(k.x(), k.t_x(), k.t())).collect();
        for_each_customer(counts, |i| values[distinct.of_customer[i] as usize])
    }

    fn cells<'a>(&self, counts: Counts<'a>) -> Option<&'a [u32]> {
        counts.covariates.filter(|_| !self.covariates.is_empty()).map(|c| &c.cell[..])
    }

    /// P(alive) of every customer, and a quantity of the living for each distinct history.
    fn each_alive<T: Send>(
        &self,
        counts: Counts<'_>,
        control: &Control,
        f: impl Fn(&M::Alive) -> T + Sync,
    ) -> Result<IfAlive<T>, ModelError> {
        let models = self.by_cell(counts);
        let distinct = Distinct::new(counts, self.cells(counts), M::BY_RECENCY);
        let of = |k: &Key| f(&models[k.cell as usize].alive(k.x(), k.t_x(), k.t()));
        let chunks: Result<Vec<Vec<T>>, ModelError> = distinct
            .keys
            .par_chunks(DISTINCT)
            .map(|chunk| {
                control.check()?;
                Ok(chunk.iter().map(of).collect())
            })
            .collect();
        let values = chunks?.into_iter().flatten().collect();
        Ok(IfAlive { p_alive: self.p_alive_each(counts, &models, Some(&distinct)), of_customer: distinct.of_customer, values })
    }

    /// The process moved by one standard error along each of its axes.
    pub(super) fn moved(&self) -> Vec<Self> {
        let n = M::PARAMETERS.len();
        let moved = |axis: &Vec<f64>| {
            let values: Vec<f64> = self.base.values().iter().zip(axis).map(|(v, a)| v * a.exp()).collect();
            let k = self.covariates.len();
            let coefficient = |own: &[f64], from: usize| own.iter().zip(&axis[from..]).map(|(g, a)| g + a).collect();
            let (purchase, lifetime) = (coefficient(&self.purchase, n), coefficient(&self.lifetime, n + k));
            Self { base: M::of_values(&values), covariates: self.covariates.clone(), purchase, lifetime, axes: vec![] }
        };
        self.axes.iter().map(moved).collect()
    }
}

const COVARIATES: &str = "covariates";
const AXES: &str = "axes";

impl<M: Process> Purchases for Estimated<M> {
    fn parameters(&self) -> Vec<Parameter> {
        let n = M::PARAMETERS.len();
        let own = M::PARAMETERS.iter().zip(self.base.values()).enumerate().map(|(i, (name, value))| {
            let deviation = self.deviation(i).filter(|_| i < n - M::GIVEN);
            // A parameter is positive: what is symmetric is its logarithm.
            Parameter { name: (*name).to_owned(), value, log_error: deviation, error: deviation.map(|d| d * value) }
        });
        let k = self.covariates.len();
        let coefficients = (0..2 * k).map(|j| {
            let (half, value) = if j < k { ("purchase", self.purchase[j]) } else { ("lifetime", self.lifetime[j - k]) };
            Parameter { name: format!("{half}.{}", self.covariates[j % k]), value, log_error: None, error: self.deviation(n + j) }
        });
        own.chain(coefficients).collect()
    }

    fn covariance(&self) -> Vec<Vec<f64>> {
        let mut scale = self.base.values();
        scale.resize(scale.len() + 2 * self.covariates.len(), 1.0);
        covariance(&self.axes, &scale)
    }

    fn covariates(&self) -> &[String] {
        &self.covariates
    }

    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64> {
        self.p_alive_each(counts, &self.by_cell(counts), None)
    }

    fn if_alive(&self, counts: Counts<'_>, control: &Control, f: &OfTheLiving<'_>) -> Result<IfAlive, ModelError> {
        self.each_alive(counts, control, |alive| f(alive))
    }

    fn expected_new_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError> {
        let zeros = vec![0; counts.t.len()];
        let models = self.by_cell(counts);
        let distinct = Distinct::new(Counts { x: &zeros, t_x: &zeros, ..counts }, self.cells(counts), false);
        let values: Vec<f64> = distinct.keys.par_iter().map(|k| models[k.cell as usize].expected_purchases_new(k.t())).collect();
        control.check()?;
        Ok(distinct.of_customer.iter().map(|&at| values[at as usize]).collect())
    }

    fn futures(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Futures, ModelError> {
        check_horizon(horizon_days)?;
        self.each_alive(counts, control, |alive| shortened(alive.counts(horizon_days)))
    }

    fn axes(&self) -> Vec<AnyPurchases> {
        self.moved().into_iter().map(|model| Arc::new(model) as AnyPurchases).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        let named: Vec<(&str, f64)> = M::PARAMETERS.iter().copied().zip(self.base.values()).collect();
        let mut parts = vec![Part::row(M::NAME, &named)];
        if !self.covariates.is_empty() {
            let columns = vec![
                ("covariate", Column::Text(self.covariates.clone())),
                ("purchase", Column::F64(self.purchase.clone())),
                ("lifetime", Column::F64(self.lifetime.clone())),
            ];
            parts.push(Part::new(COVARIATES, columns));
        }
        if !self.axes.is_empty() {
            parts.push(Part::new(AXES, vec![("move", Column::F64(self.axes.concat()))]));
        }
        parts
    }
}

/// Probabilities of counts as they are kept, without a tail below 1e-7.
pub(super) fn shortened(mut counts: Vec<f64>) -> Vec<f32> {
    let mut rest = 0.0;
    while counts.len() > 1 && rest + counts[counts.len() - 1] < 1e-7 {
        rest += counts.pop().unwrap_or(0.0);
    }
    counts.into_iter().map(|p| p as f32).collect()
}

/// The wait that half of those who come again do not exceed; NaN where that is beyond `never`.
pub(super) fn median_wait(alive: &dyn Alive, never: f64) -> f64 {
    let half = 0.5 * (1.0 - alive.none(never));
    if half <= 0.0 {
        return f64::NAN;
    }
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    while 1.0 - alive.none(high) < half {
        (low, high) = (high, 2.0 * high);
        if high > never {
            return f64::NAN;
        }
    }
    // To a hundredth of the unit, or of the wait.
    while high - low > 0.01 * low.max(1.0) {
        let middle = 0.5 * (low + high);
        if 1.0 - alive.none(middle) < half { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The rate a day at which a purchase is discounted.
pub(super) fn daily_rate(horizon_days: f64, annual_rate: f64) -> Result<f64, ModelError> {
    if !(annual_rate.is_finite() && annual_rate >= 0.0) {
        return Err(refused("discount_rate", annual_rate, "a rate a year of 0 or more, such as 0.1 for 10 %"));
    }
    let delta = annual_rate.ln_1p() / DAYS_A_YEAR;
    if horizon_days == f64::INFINITY && delta == 0.0 {
        return Err(refused("discount_rate", annual_rate, "a rate above 0, for a horizon without an end"));
    }
    if horizon_days != f64::INFINITY {
        check_horizon(horizon_days)?;
    }
    Ok(delta)
}

pub(super) fn check_horizon(days: f64) -> Result<(), ModelError> {
    if days.is_finite() && days >= 0.0 { Ok(()) } else { Err(refused("horizon", days, "a number of days, 0 or more")) }
}

fn refused(option: &str, given: f64, allowed: &str) -> ModelError {
    ModelError::Option { option: option.into(), given: given.to_string(), allowed: allowed.into() }
}

pub(super) fn for_each_customer(counts: Counts<'_>, f: impl Fn(usize) -> f64 + Sync + Send) -> Vec<f64> {
    assert!(counts.x.len() == counts.t_x.len() && counts.x.len() == counts.t.len(), "x, t_x and t differ in length");
    (0..counts.x.len()).into_par_iter().with_min_len(CUSTOMERS).map(f).collect()
}

/// What the answers for a customer depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    cell: u32,
    pub x: u32,
    pub t_x: u32,
    pub t: u32,
}

impl Key {
    pub fn x(&self) -> f64 {
        f64::from(self.x)
    }

    pub fn t_x(&self) -> f64 {
        f64::from(self.t_x)
    }

    pub fn t(&self) -> f64 {
        f64::from(self.t)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.x) << 32 | u64::from(self.t));
        state.write_u64(u64::from(self.cell) << 32 | u64::from(self.t_x));
    }
}

/// The distinct keys of the customers.
pub(super) struct Distinct<K = Key> {
    pub keys: Vec<K>,
    /// Index into `keys`, for each customer.
    pub of_customer: Vec<u32>,
}

impl Distinct {
    /// t_x is left out of the keys unless `by_recency`.
    pub fn new(counts: Counts<'_>, cells: Option<&[u32]>, by_recency: bool) -> Self {
        let Counts { x, t_x, t, .. } = counts;
        if !by_recency && cells.is_none() {
            let most = |values: &[u32]| u64::from(values.par_iter().with_min_len(CUSTOMERS).copied().max().unwrap_or(0));
            let (most_x, longest) = (most(x), most(t));
            if (most_x + 1) * (longest + 1) <= DENSE.min(DENSE_A_CUSTOMER * x.len() as u64) {
                return Self::by_table(x, t, most_x as usize + 1, longest as usize + 1);
            }
        }
        let cell = |i: usize| cells.map_or(0, |c| c[i]);
        Self::of(x.len(), |i| Key { cell: cell(i), x: x[i], t_x: if by_recency { t_x[i] } else { 0 }, t: t[i] })
    }

    fn by_table(x: &[u32], t: &[u32], height: usize, width: usize) -> Self {
        let slot = |(&x, &t): (&u32, &u32)| x as usize * width + t as usize;
        let customers = || x.par_iter().zip(t).with_min_len(CUSTOMERS).map(slot);
        let seen: Vec<AtomicBool> = (0..height * width).map(|_| AtomicBool::new(false)).collect();
        customers().for_each(|slot| {
            if !seen[slot].load(Relaxed) {
                seen[slot].store(true, Relaxed);
            }
        });
        let mut keys = Vec::new();
        let rank = |(slot, seen): (usize, AtomicBool)| {
            if seen.into_inner() {
                keys.push(Key { cell: 0, x: (slot / width) as u32, t_x: 0, t: (slot % width) as u32 });
            }
            (keys.len() as u32).wrapping_sub(1)
        };
        let rank: Vec<u32> = seen.into_iter().enumerate().map(rank).collect();
        Self { keys, of_customer: customers().map(|slot| rank[slot]).collect() }
    }
}

impl<K: Copy + Eq + Hash + Send + Sync> Distinct<K> {
    /// Of `customers` with the keys that `key` tells.
    pub fn of(customers: usize, key: impl Fn(usize) -> K + Sync) -> Self {
        let hasher = BuildHasherDefault::<KeyHasher>::default();
        // Not the bits of the hash by which a table goes.
        let part_of = |key: &K| (hasher.hash_one(key) >> 40) as usize % PARTS;
        let at: Vec<AtomicU32> = (0..customers).into_par_iter().with_min_len(CUSTOMERS).map(|_| AtomicU32::new(0)).collect();
        let of_part = |part: usize| {
            let mut keys = Vec::new();
            let mut known: HashMap<K, u32, BuildHasherDefault<KeyHasher>> = HashMap::default();
            for (i, at) in at.iter().enumerate() {
                let key = key(i);
                if part_of(&key) == part {
                    let own = known.entry(key).or_insert_with(|| {
                        keys.push(key);
                        (keys.len() - 1) as u32
                    });
                    at.store(*own, Relaxed);
                }
            }
            keys
        };
        let parts: Vec<Vec<K>> = (0..PARTS).into_par_iter().map(of_part).collect();
        let mut starts = [0; PARTS];
        for part in 1..PARTS {
            starts[part] = starts[part - 1] + parts[part - 1].len() as u32;
        }
        let of_customer = at.into_par_iter().enumerate().with_min_len(CUSTOMERS);
        let of_customer = of_customer.map(|(i, at)| at.into_inner() + starts[part_of(&key(i))]).collect();
        Self { keys: parts.concat(), of_customer }
    }
}

/// Multiplies and folds: the keys are few, small and not hostile enough to pay for more.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::BgNbd;
    use super::*;

    const CDNOW: BgNbd = BgNbd { r: 0.2426, alpha: 30.9, a: 0.793, b: 2.426 };
    const COUNTS: Counts<'_> = Counts {
        x: &[0, 0, 1, 26, 2_000, 3, 3],
        t_x: &[0, 0, 12, 216, 1_393, 100, 100_000],
        t: &[0, 272, 270, 217, 1_400, 100, 200_000],
        days: None,
        covariates: None,
        calendar: None,
    };

    fn known() -> Estimated<BgNbd> {
        Estimated::known(CDNOW)
    }

    #[test]
    fn all_customers_have_the_answers_of_one() {
        let (control, model) = (Control::default(), known());
        let alive = model.p_alive_all(COUNTS);
        let expected = model.expected_purchases_all(COUNTS, 365.0, &control).unwrap();
        let none = model.p_no_purchase_all(COUNTS, 90.0, &control).unwrap();
        let three = model.p_count_all(COUNTS, 3, 90.0, &control).unwrap();
        for i in 0..COUNTS.x.len() {
            let [x, t_x, t] = [COUNTS.x[i], COUNTS.t_x[i], COUNTS.t[i]].map(f64::from);
            let p_alive = CDNOW.p_alive(x, t_x, t);
            for (all, one) in [
                (alive[i], p_alive),
                (expected[i], CDNOW.expected_purchases(x, t_x, t, 365.0)),
                (none[i], CDNOW.p_no_purchase(x, t_x, t, 90.0)),
                (three[i], p_alive * CDNOW.alive(x, t_x, t).counts(90.0).get(3).copied().unwrap_or(0.0)),
            ] {
                assert!((all - one).abs() <= 1e-11 * one, "customer {i}: {all} against {one}");
            }
        }
        let wait = model.next_purchase_all(COUNTS, &control).unwrap();
        // ((α+T)·(2^(1/(r+x)) − 1)
        assert!((wait[3] / ((30.9 + 217.0) * (2.0_f64.powf(1.0 / 26.2426) - 1.0)) - 1.0).abs() < 0.02, "{wait:?}");
    }

    #[test]
    fn discounting_equals_a_fine_sum_over_days() {
        let (control, model) = (Control::default(), known());
        for (horizon, rate) in [(365.0, 0.1), (3_650.0, 0.5), (10.0, 0.0)] {
            let discounted = model.discounted_purchases_all(COUNTS, horizon, rate, &control).unwrap();
            for (i, discounted) in discounted.iter().enumerate() {
                let [x, t_x, t] = [COUNTS.x[i], COUNTS.t_x[i], COUNTS.t[i]].map(f64::from);
                let until = |tau: f64| CDNOW.expected_purchases(x, t_x, t, tau);
                // The midpoint rule with its error of the second order extrapolated away.
                let sum = |steps: u32| -> f64 {
                    let width = horizon / f64::from(steps);
                    let at = |j: u32| f64::from(j) * width;
                    (0..steps).map(|j| (until(at(j + 1)) - until(at(j))) * (1.0 + rate).powf(-(at(j) + 0.5 * width) / DAYS_A_YEAR)).sum()
                };
                let fine = (4.0 * sum(2_000) - sum(1_000)) / 3.0;
                assert!((discounted - fine).abs() <= 1e-9 * fine, "customer {i}, {horizon} days at {rate}: {discounted} against {fine}");
            }
        }
        // Without an end it is what a very long horizon gives.
        let forever = model.discounted_purchases_all(COUNTS, f64::INFINITY, 0.1, &control).unwrap();
        let long = model.discounted_purchases_all(COUNTS, 180_000.0, 0.1, &control).unwrap();
        for (a, b) in forever.iter().zip(&long) {
            assert!((a - b).abs() <= 1e-8 * b, "{a} against {b}");
        }
        assert!(model.discounted_purchases_all(COUNTS, f64::INFINITY, 0.0, &control).is_err());
    }

    #[test]
    fn refuses_impossible_horizons_and_rates_and_stops_when_cancelled() {
        let (control, model) = (Control::default(), known());
        assert!(model.expected_purchases_all(COUNTS, -1.0, &control).unwrap_err().to_string().starts_with("option 'horizon' = -1:"));
        let error = model.discounted_purchases_all(COUNTS, 30.0, f64::NAN, &control).unwrap_err();
        assert!(error.to_string().starts_with("option 'discount_rate' = NaN:"));
        control.cancel();
        assert_eq!(model.expected_purchases_all(COUNTS, 30.0, &control), Err(ModelError::Cancelled));
    }

    #[test]
    fn is_read_back_as_it_was_written() {
        let covariates = vec!["premium".to_owned()];
        let axes = vec![vec![0.1; 6], vec![0.2; 6]];
        let model = Estimated { base: CDNOW, covariates, purchase: vec![0.4], lifetime: vec![-0.1], axes };
        assert_eq!(Estimated::<BgNbd>::from_parts(&model.to_parts()).unwrap(), model);
        assert!((model.axes()[0].parameters()[4].value - 0.5).abs() < 1e-12);
        let mut parts = model.to_parts();
        parts[2].columns[0].1 = Column::F64(vec![0.1; 7]);
        assert!(Estimated::<BgNbd>::from_parts(&parts).unwrap_err().to_string().contains("7 rows in table 'axes'"));
    }
}
