//! Maximum likelihood for every process, with and without covariates.

use super::histories::Histories;
use super::optimise::{Problem, Sums};
use super::predict::Estimated;
use super::process::Likelihood;
use super::{Counts, Covariates, Fit, Sample};
use crate::models::{Control, ModelError, Options};

/// How a model is fitted.
#[derive(Clone, Debug, Default)]
pub struct FitOptions {
    /// Parameters to start from, such as those of the last version; `None` for a start of the model's own.
    pub start: Option<Vec<f64>>,
    /// The parameters of the model that are given, [`Process::GIVEN`](super::Process::GIVEN) of them.
    pub given: Vec<f64>,
    /// Weight of ½·Σ(θ − θ₀)² a customer, with the log-parameters θ and the model's own start θ₀.
    pub l2: f64,
    /// Weight of ½·Σγ² a customer, with the coefficients γ of standardised covariates.
    pub l2_covariates: f64,
}

impl FitOptions {
    /// As they were given to a model type.
    pub fn of(data: &Sample<'_>, options: &Options) -> Self {
        let start = data.start.map(<[f64]>::to_vec);
        Self { start, given: vec![], l2: options.number("l2"), l2_covariates: options.number("l2_covariates") }
    }
}

/// Fits `M` to the customers. The answer is bitwise the same for any order of the customers and any number of threads.
///
/// With covariates (standardised over the customers for the search, reported in their own units) the coefficients are those of the purchase rate and of the
/// rate of departure, each in the order of the covariates' names.
///
/// # Errors
/// `TooLittleData` if fewer than two customers bought on a second day, `Option` for an impossible history or start, `Cancelled`, `NotConverged`.
pub fn fit<M: Likelihood>(counts: Counts<'_>, options: &FitOptions, control: &Control) -> Result<Fit<Estimated<M>>, ModelError> {
    let histories = Histories::new(M::NAME, counts)?;
    if options.given.len() != M::GIVEN || options.given.iter().any(|v| v.is_nan() || *v <= 0.0) {
        let allowed = format!("{} positive numbers", M::GIVEN);
        return Err(ModelError::Option { option: "given".into(), given: format!("{:?}", options.given), allowed });
    }
    let own_start = M::start(&histories, &options.given);
    let n = own_start.len();
    let cells = match counts.covariates {
        Some(covariates) => Cells::new(counts, covariates)?,
        None => Cells { of: vec![], mean: vec![], scale: vec![] },
    };
    let extra = 2 * cells.mean.len();
    let mut start = own_start.clone();
    if let Some(given) = &options.start {
        let fine = given.len() >= n && given[..n].iter().all(|v| v.is_finite() && *v > 0.0);
        if !fine {
            let given = M::PARAMETERS.iter().zip(given).map(|(name, v)| format!("{name} {v}")).collect::<Vec<_>>().join(", ");
            return Err(ModelError::Option { option: "start".into(), given, allowed: format!("{n} positive numbers") });
        }
        start = given[..n].iter().map(|v| v.ln()).collect();
    }
    start.resize(n + extra, 0.0);
    let mut problem = Problem {
        model: M::NAME,
        lower: M::LOWER.to_vec(),
        upper: M::UPPER.to_vec(),
        customers: histories.customers as f64,
        l2: vec![options.l2; n],
        centre: own_start,
    };
    problem.lower.resize(n + extra, -COEFFICIENT);
    problem.upper.resize(n + extra, COEFFICIENT);
    problem.l2.resize(n + extra, options.l2_covariates);
    problem.centre.resize(n + extra, 0.0);
    let given: Vec<f64> = options.given.iter().map(|v| v.ln()).collect();
    let sums = |at: &[f64]| if extra == 0 { M::sums(&histories, &[at, &given].concat()) } else { cells.sums::<M>(at, n, &given) };
    let mut optimum = problem.maximise(&start, control, sums)?;
    // From standardised covariates to their own units: γz = γ'(z − m)/s.
    let k = cells.mean.len();
    let in_units = |at: &mut [f64]| {
        for (half, by) in [(0, M::BY_PURCHASE), (1, M::BY_LIFETIME)] {
            for j in 0..k {
                at[n + half * k + j] /= cells.scale[j];
                let moved = at[n + half * k + j] * cells.mean[j];
                at[..n].iter_mut().zip(by).for_each(|(a, b)| *a -= b * moved);
            }
        }
    };
    in_units(&mut optimum.at);
    optimum.axes.iter_mut().for_each(|axis| in_units(axis));
    optimum.axes.iter_mut().for_each(|axis| drop(axis.splice(n..n, given.iter().map(|_| 0.0))));
    let values: Vec<f64> = optimum.at[..n].iter().map(|a| a.exp()).chain(options.given.iter().copied()).collect();
    let (purchase, lifetime) = optimum.at[n..].split_at(k);
    Ok(Fit {
        params: Estimated {
            base: M::of_values(&values),
            covariates: counts.covariates.map(|c| c.names.clone()).unwrap_or_default(),
            purchase: purchase.to_vec(),
            lifetime: lifetime.to_vec(),
            axes: optimum.axes,
        },
        log_likelihood: optimum.log_likelihood,
        customers: histories.customers,
        parameters: n + extra,
        rows: histories.distinct,
        evaluations: optimum.evaluations,
        gradient_norm: optimum.gradient_norm,
        on_edge: optimum.on_edge,
    })
}

/// Combinations of covariates that can be fitted.
const MOST_CELLS: usize = 5_000;
/// Bound of a coefficient of a standardised covariate.
const COEFFICIENT: f64 = 10.0;

/// The customers by their covariates, which are standardised.
struct Cells {
    of: Vec<(Vec<f64>, Histories)>,
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Cells {
    fn new(counts: Counts<'_>, covariates: &Covariates) -> Result<Self, ModelError> {
        let customers = covariates.cell.len();
        if customers != counts.x.len() {
            let given = format!("{customers} rows for {} customers", counts.x.len());
            return Err(ModelError::Option { option: "covariates".into(), given, allowed: "one row for every customer".into() });
        }
        if covariates.rows.len() > MOST_CELLS {
            return Err(ModelError::TooLittleData(format!(
                "the covariates have {} different combinations of values, at most {MOST_CELLS} can be fitted: round or group them",
                covariates.rows.len()
            )));
        }
        let mut members: Vec<Vec<usize>> = vec![vec![]; covariates.rows.len()];
        covariates.cell.iter().enumerate().for_each(|(i, &cell)| members[cell as usize].push(i));
        let k = covariates.names.len();
        let mean_of = |f: &dyn Fn(&[f64]) -> f64| {
            covariates.rows.iter().zip(&members).map(|(row, m)| f(row) * m.len() as f64).sum::<f64>() / customers as f64
        };
        let mean: Vec<f64> = (0..k).map(|j| mean_of(&|row| row[j])).collect();
        // A column that is the same for all of these customers, such as a category that only others have, is of no effect: z = 0 and γ = 0.
        let deviation =
            |j: usize| Some(mean_of(&|row| (row[j] - mean[j]).powi(2)).sqrt()).filter(|s| *s > 1e-9 * mean[j].abs().max(1e-300));
        let scale: Vec<f64> = (0..k).map(|j| deviation(j).unwrap_or(f64::INFINITY)).collect();
        if let Some(j) = (0..k).next().filter(|_| scale.iter().all(|s| s.is_infinite())) {
            return Err(ModelError::TooLittleData(format!(
                "covariate {} is the same for every customer: leave it out",
                covariates.names[j]
            )));
        }
        let mut of = vec![];
        for (row, members) in covariates.rows.iter().zip(&members).filter(|(_, m)| !m.is_empty()) {
            let pick = |values: &[u32]| members.iter().map(|&i| values[i]).collect::<Vec<u32>>();
            let (x, t_x, t) = (pick(counts.x), pick(counts.t_x), pick(counts.t));
            let z = (0..k).map(|j| (row[j] - mean[j]) / scale[j]).collect();
            let mut histories = Histories::of_any(Counts::new(&x, &t_x, &t))?;
            histories.ages = counts.days.map(|d| d.ages(members.iter().copied(), histories.by_t.len())).unwrap_or_default();
            of.push((z, histories));
        }
        Ok(Self { of, mean, scale })
    }

    /// The chain rule over the cells: a covariate moves the log-parameters by ±γ·z.
    fn sums<M: Likelihood>(&self, at: &[f64], n: usize, given: &[f64]) -> Sums {
        let k = self.mean.len();
        let mut total = Sums::zero(at.len());
        for (z, histories) in &self.of {
            // ∂(log-parameter i)/∂(parameter p of the search).
            let slope = |i: usize, p: usize| match p.checked_sub(n) {
                None => f64::from(u8::from(i == p)),
                Some(c) if c < k => M::BY_PURCHASE[i] * z[c],
                Some(c) => M::BY_LIFETIME[i] * z[c - k],
            };
            let moved = (0..n).map(|i| at[i] + (n..at.len()).map(|p| slope(i, p) * at[p]).sum::<f64>());
            let moved: Vec<f64> = moved.chain(given.iter().copied()).collect();
            let of_cell = M::sums(histories, &moved);
            total.value += of_cell.value;
            for p in 0..at.len() {
                total.gradient[p] += (0..n).map(|i| of_cell.gradient[i] * slope(i, p)).sum::<f64>();
                let row: Vec<f64> = (0..n).map(|j| (0..n).map(|i| slope(i, p) * of_cell.hessian[i][j]).sum()).collect();
                for q in 0..at.len() {
                    total.hessian[p][q] += (0..n).map(|j| row[j] * slope(j, q)).sum::<f64>();
                }
            }
        }
        total
    }
}
