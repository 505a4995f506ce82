//! Maximum likelihood: Newton's method on ln r, ln α, ln s, ln β, γ_p and γ_l with analytic first and second derivatives.
//!
//! The clocks have the derivatives Λ_i = ∫ z_i e^(γz) and Λ_ij = ∫ z_i z_j e^(γz), which are clocks themselves. With A = α + Λ
//!
//! ```text
//! −∂ ln A^−p = p·(α/A by ln α, Λ_i/A by γ_i),      −∂² ln A^−p = p·(A_ij/A − A_i A_j/A²)
//! ```
//!
//! and likewise of β + M; the rest is as in the plain model: see `lifetimes::fit`. The purchases are seen by the day: one on day d has the probability that
//! the clock of day d gives it, so they add Σ_d n_d·γ_p·z(d), where plain Pareto/NBD in days adds nothing.

use rayon::prelude::*;

use super::super::super::histories::Histories;
use super::super::super::optimise::{Problem, Sums};
use super::super::super::process::{Likelihood, Process};
use super::super::super::special::ln_rising_derivatives;
use super::super::super::{Calendar, Counts, Estimated, Fit, FitOptions, Sample, fit};
use super::super::ParetoNbd;
use super::clock::{Clock, Stretch, Table, Terms, Wait, ln_alive, rates, waited};
use super::{CalendarNbd, NAME};
use crate::models::{Control, ModelError};

/// r, α, s and β.
const OWN: usize = 4;
/// Bound of a coefficient of a standardised covariate.
const COEFFICIENT: f64 = 10.0;

/// Fits the model to `data.counts`, which bring the calendar and the days of all purchases. All covariates of the calendar enter; for the search they are
/// standardised over the days under observation.
///
/// # Errors
/// As [`fit`]; `Option` without purchase days or without a calendar that covers the days under observation; `TooLittleData` for a covariate that does not
/// change.
pub fn fit_calendar(data: &Sample<'_>, options: &FitOptions, control: &Control) -> Result<Fit<CalendarNbd>, ModelError> {
    let refuse = |option: &str, given: String, allowed: String| Err(ModelError::Option { option: option.into(), given, allowed });
    let counts = data.counts;
    let Some(calendar) = counts.calendar.filter(|c| !c.names.is_empty()) else {
        return refuse("calendar", "none".into(), "covariates of the days, of which purchases and departure depend".into());
    };
    let histories = Histories::new(NAME, counts)?;
    let longest = histories.by_t.len() as i64 - 1;
    let after = calendar.today - longest;
    let mut table = Table::new(calendar, &calendar.names)?;
    if !table.covers(after, calendar.today) {
        let given = format!("days {} to {}", calendar.first_day, calendar.first_day + calendar.rows.len() as i64 - 1);
        return refuse("calendar", given, format!("all days from {} to {} (days since 1970)", after + 1, calendar.today));
    }
    let purchases = purchases_by_day(counts, histories.by_t.len())?;
    let k = calendar.names.len();
    let Standard { mean, scale } = Standard::of(calendar, &table, after)?;
    let usual = table.mean().to_vec();
    table.standardise(&mean, &scale);

    let own_start = ParetoNbd::start(&histories, &[]);
    let mut start: Vec<f64>;
    if let Some(given) = options.start.as_ref().filter(|g| g.len() == OWN + 2 * k) {
        if given.iter().any(|v| !v.is_finite()) || given[..OWN].iter().any(|v| *v <= 0.0) {
            return refuse("start", format!("{given:?}"), format!("{OWN} positive numbers and {} coefficients", 2 * k));
        }
        start = given[..OWN].iter().map(|v| v.ln()).chain(given[OWN..].iter().copied()).collect();
        move_origin(&mut start, &mean, -1.0);
        (0..2 * k).for_each(|j| start[OWN + j] *= scale[j % k]);
    } else {
        start = match fit::<ParetoNbd>(Counts { covariates: None, ..counts }, &FitOptions { start: None, ..options.clone() }, control) {
            Ok(plain) => plain.params.base.values().iter().map(|v| v.ln()).collect(),
            Err(ModelError::NotConverged { .. }) => own_start.clone(),
            Err(error) => return Err(error),
        };
        start.resize(OWN + 2 * k, 0.0);
    }
    let resized = |own: &[f64], rest: f64| own.iter().copied().chain(std::iter::repeat_n(rest, 2 * k)).collect::<Vec<f64>>();
    let problem = Problem {
        model: NAME,
        lower: resized(ParetoNbd::LOWER, -COEFFICIENT),
        upper: resized(ParetoNbd::UPPER, COEFFICIENT),
        customers: histories.customers as f64,
        l2: resized(&[options.l2; OWN], options.l2_covariates),
        centre: resized(&own_start, 0.0),
    };
    let likelihood = Logs::new(&histories, table.stretches(after, calendar.today), &purchases, k);
    let mut optimum = problem.maximise(&start, control, |at| likelihood.sums(at))?;
    let in_units = |at: &mut Vec<f64>| {
        (0..2 * k).for_each(|j| at[OWN + j] /= scale[j % k]);
        move_origin(at, &mean, 1.0);
    };
    in_units(&mut optimum.at);
    optimum.axes.iter_mut().for_each(in_units);
    let values: Vec<f64> = optimum.at[..OWN].iter().map(|a| a.exp()).collect();
    let (purchase, lifetime) = optimum.at[OWN..].split_at(k);
    let estimated = Estimated {
        base: ParetoNbd::of_values(&values),
        covariates: calendar.names.clone(),
        purchase: purchase.to_vec(),
        lifetime: lifetime.to_vec(),
        axes: optimum.axes,
    };
    Ok(Fit {
        params: CalendarNbd { estimated, usual },
        log_likelihood: optimum.log_likelihood,
        customers: histories.customers,
        parameters: OWN + 2 * k,
        rows: histories.distinct,
        evaluations: optimum.evaluations,
        gradient_norm: optimum.gradient_norm,
        on_edge: optimum.on_edge,
    })
}

/// From α and β of a day with z = 0 to those of a day with z = `mean` (−1), or back (1): ln α ± γ_p·mean, ln β ± γ_l·mean.
fn move_origin(at: &mut [f64], mean: &[f64], side: f64) {
    let k = mean.len();
    for (i, from) in [(ALPHA, OWN), (BETA, OWN + k)] {
        at[i] += side * at[from..from + k].iter().zip(mean).map(|(g, m)| g * m).sum::<f64>();
    }
}

/// Mean and standard deviation over the days under observation.
struct Standard {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standard {
    fn of(calendar: &Calendar, table: &Table, after: i64) -> Result<Self, ModelError> {
        let days: Vec<&[f64]> = (after + 1..=calendar.today).map(|day| table.row(day)).collect();
        let mean_of = |f: &dyn Fn(&[f64]) -> f64| days.iter().map(|row| f(row)).sum::<f64>() / days.len() as f64;
        let k = calendar.names.len();
        let mean: Vec<f64> = (0..k).map(|j| mean_of(&|row| row[j])).collect();
        let scale: Vec<f64> = (0..k).map(|j| mean_of(&|row| (row[j] - mean[j]).powi(2)).sqrt()).collect();
        match (0..k).find(|&j| scale[j].is_nan() || scale[j] <= 1e-9 * mean[j].abs().max(1e-300)) {
            Some(j) => Err(ModelError::TooLittleData(format!(
                "covariate {} is the same on every day under observation: leave it out",
                calendar.names[j]
            ))),
            None => Ok(Self { mean, scale }),
        }
    }
}

/// Repeat purchases on each day of the log, from the day of the first purchase of all.
pub(super) fn purchases_by_day(counts: Counts<'_>, days: usize) -> Result<Vec<u64>, ModelError> {
    let Some(purchased) = counts.days.filter(|d| d.ends.len() == counts.t.len()) else {
        let allowed = "the days of all purchases of every customer".into();
        return Err(ModelError::Option { option: "days".into(), given: "none".into(), allowed });
    };
    let mut by_day = vec![0; days];
    for (customer, &t) in counts.t.iter().enumerate() {
        for &age in purchased.of(customer).iter().skip(1) {
            let Some(n) = (days + age as usize).checked_sub(1 + t as usize).and_then(|day| by_day.get_mut(day)) else {
                let allowed = format!("days within the {t} since the first purchase");
                return Err(ModelError::Option { option: "days".into(), given: age.to_string(), allowed });
            };
            *n += 1;
        }
    }
    let (known, counted) = (by_day.iter().sum::<u64>(), counts.x.iter().map(|&x| u64::from(x)).sum::<u64>());
    if known != counted {
        let allowed = format!("{counted}, as many as x says");
        return Err(ModelError::Option { option: "days".into(), given: format!("{known} repeat purchases"), allowed });
    }
    Ok(by_day)
}

/// The customers who came on one day.
#[derive(Debug, Default)]
struct Cohort {
    t: u32,
    customers: f64,
    purchases: f64,
    /// For each x, t_x < T descending with the number of customers.
    members: Vec<(u32, Vec<(u32, f64)>)>,
}

/// What the likelihood is computed from.
pub(super) struct Logs<'a> {
    histories: &'a Histories,
    cohorts: Vec<Cohort>,
    stretches: Vec<Stretch<'a>>,
    /// By stretch: 1, z_i and z_i z_j.
    moments: Vec<Vec<f64>>,
    /// Σ_d n_d·z(d).
    purchased: Vec<f64>,
    covariates: usize,
}

impl<'a> Logs<'a> {
    /// The stretches count from the day of the first purchase of all.
    pub fn new(histories: &'a Histories, stretches: Vec<Stretch<'a>>, purchases: &[u64], k: usize) -> Self {
        let mut cohorts: Vec<Cohort> = histories
            .by_t
            .iter()
            .enumerate()
            .map(|(t, o)| Cohort { t: t as u32, customers: o.customers as f64, purchases: o.purchases as f64, members: vec![] })
            .collect();
        for piece in &histories.pieces {
            for row in histories.rows[piece.rows.clone()].iter().filter(|row| row.t_x < row.t) {
                let members = &mut cohorts[row.t as usize].members;
                match members.last_mut() {
                    Some((x, recencies)) if *x == piece.x => recencies.push((row.t_x, row.customers)),
                    _ => members.push((piece.x, vec![(row.t_x, row.customers)])),
                }
            }
        }
        cohorts.retain(|cohort| cohort.customers > 0.0);
        cohorts.iter_mut().flat_map(|c| &mut c.members).for_each(|(_, recencies)| recencies.reverse());
        let moments = stretches.iter().map(|s| {
            let squares = (0..k).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| s.z[i] * s.z[j]);
            std::iter::once(1.0).chain(s.z.iter().copied()).chain(squares).collect()
        });
        let mut purchased = vec![0.0; k];
        for stretch in &stretches {
            let n: u64 = purchases[stretch.from as usize + 1..=stretch.to as usize].iter().sum();
            purchased.iter_mut().zip(stretch.z.iter()).for_each(|(sum, z)| *sum += n as f64 * z);
        }
        Self { histories, cohorts, moments: moments.collect(), purchased, covariates: k, stretches }
    }

    /// ln L with its derivatives by the log-parameters and γ.
    pub fn sums(&self, at: &[f64]) -> Sums {
        let k = self.covariates;
        let n = OWN + 2 * k;
        let values: Vec<f64> = at[..OWN].iter().map(|a| a.exp()).collect();
        let model = ParetoNbd::of_values(&values);
        let rates = rates(&self.stretches, &at[OWN..OWN + k], &at[OWN + k..]);
        let mut total = Sums::zero(n);
        if rates.iter().flatten().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
            total.value = f64::NAN;
            return total;
        }
        let purchases = self.histories.purchases as f64;
        total.value = -purchases * at[ALPHA];
        total.gradient[ALPHA] = -purchases;
        for (i, purchased) in self.purchased.iter().enumerate() {
            total.value += at[OWN + i] * purchased;
            total.gradient[OWN + i] = *purchased;
        }
        for frequency in &self.histories.by_x {
            let customers = frequency.customers as f64;
            let [value, first, second] = ln_rising_derivatives(model.r, frequency.x);
            total.value += customers * value;
            total.gradient[R] += customers * model.r * first;
            total.hessian[R][R] += customers * (model.r * first + model.r * model.r * second);
        }
        let parts: Vec<Sums> = self.cohorts.par_iter().map(|cohort| self.of_cohort(cohort, &model, &rates)).collect();
        for part in &parts {
            total.value += part.value;
            total.gradient.iter_mut().zip(&part.gradient).for_each(|(sum, g)| *sum += g);
            total.hessian.iter_mut().flatten().zip(part.hessian.iter().flatten()).for_each(|(sum, h)| *sum += h);
        }
        for i in 0..n {
            for j in 0..i {
                total.hessian[j][i] = total.hessian[i][j];
            }
        }
        total
    }

    /// Only the lower triangle of the second derivatives.
    fn of_cohort(&self, cohort: &Cohort, model: &ParetoNbd, rates: &[[f64; 2]]) -> Sums {
        let k = self.covariates;
        let n = OWN + 2 * k;
        let (t, start) = (f64::from(cohort.t), (self.histories.by_t.len() - 1) as f64 - f64::from(cohort.t));
        let clock = Moments::new(self, Clock::new(&self.stretches, rates, start));
        let mut sum = Sums::zero(n);
        let end = clock.clock.reading(t);
        let mut at_end = Terms::zero(n);
        let sides = |shape: f64, power: f64, of_alive: f64, later: f64| {
            let purchase = Side { places: [R, ALPHA, OWN], shape, power, scale: model.alpha };
            let of_lifetime = of_alive * model.lifetime.s;
            let lifetime = Side { places: [S, BETA, OWN + k], shape: of_lifetime, power: of_lifetime + later, scale: model.lifetime.beta };
            [purchase, lifetime]
        };
        let spread = cohort.customers * model.r;
        clock.add_at_end(sides(spread, spread + cohort.purchases, cohort.customers, 0.0), &mut at_end);
        sum.value = waited(spread + cohort.purchases, model.alpha, end[0])
            + waited(cohort.customers * model.lifetime.s, model.lifetime.beta, end[1]);
        sum.gradient.copy_from_slice(&at_end.first);
        for (row, terms) in sum.hessian.iter_mut().zip(at_end.second.chunks(n)) {
            row.copy_from_slice(terms);
        }
        let departing = (model.lifetime.s / model.lifetime.beta).ln();
        for (x, recencies) in &cohort.members {
            let x = f64::from(*x);
            let shape = model.r + x;
            at_end.clear();
            clock.add_at_end(sides(model.r, shape, 1.0, 0.0), &mut at_end);
            let alive = ln_alive(model, shape, end);
            let of_departure = sides(model.r, shape, 1.0, 1.0);
            let terms = |run: usize, t: f64, logs: [f64; 2], terms: &mut Terms| {
                clock.add(run, t, of_departure, logs, terms);
                terms.first[S] += 1.0;
                terms.first[BETA] -= 1.0;
                for (g, z) in terms.first[OWN + k..].iter_mut().zip(self.stretches[clock.clock.first + run].z.iter()) {
                    *g += z;
                }
            };
            let from = recencies.iter().map(|(t_x, _)| f64::from(*t_x));
            let wait = Wait { clock: &clock.clock, model, k: shape, until: t };
            wait.departures(from, n, terms, |i, integral| {
                let d = departing + integral.ln() - alive;
                let customers = recencies[i].1;
                let small = (-d.abs()).exp();
                let inverse = 1.0 / (1.0 + small);
                let departed = customers * if d > 0.0 { inverse } else { small * inverse };
                let unsure = customers * small * inverse * inverse;
                sum.value += customers * (d.max(0.0) + small.ln_1p());
                let mean = integral.mean();
                for i in 0..n {
                    let by_i = mean.first[i] - at_end.first[i];
                    sum.gradient[i] += departed * by_i;
                    for j in 0..=i {
                        let by_j = mean.first[j] - at_end.first[j];
                        let curve = mean.second[i * n + j] - mean.first[i] * mean.first[j] - at_end.second[i * n + j];
                        sum.hessian[i][j] += departed * curve + unsure * by_i * by_j;
                    }
                }
            });
        }
        sum
    }
}

const R: usize = 0;
const ALPHA: usize = 1;
const S: usize = 2;
const BETA: usize = 3;

/// −p ln(1 + c/scale), of Λ and α or of M and β: the places of ln shape, ln scale and the first γ among the parameters, and p, of which `shape` moves.
#[derive(Clone, Copy)]
struct Side {
    places: [usize; 3],
    shape: f64,
    power: f64,
    scale: f64,
}

/// Clocks with their derivatives by γ.
struct Moments<'a> {
    logs: &'a Logs<'a>,
    clock: Clock,
    /// Λ with its derivatives and M with its own at the start of each run, and at the end of the last.
    at: Vec<f64>,
}

impl<'a> Moments<'a> {
    fn new(logs: &'a Logs<'a>, clock: Clock) -> Self {
        let size = logs.moments.first().map_or(1, Vec::len);
        let mut here = vec![0.0; 2 * size];
        let mut at = here.clone();
        for (run, moments) in clock.runs.iter().zip(&logs.moments[clock.first..]) {
            for (half, rate) in here.chunks_mut(size).zip(run.rate) {
                half.iter_mut().zip(moments).for_each(|(sum, m)| *sum += rate * (run.to - run.from) * m);
            }
            at.extend(&here);
        }
        Self { logs, clock, at }
    }

    fn add_at_end(&self, sides: [Side; 2], terms: &mut Terms) {
        let size = self.at.len() / (self.clock.runs.len() + 1);
        let last = &self.at[self.at.len() - size..];
        for (side, half) in sides.iter().zip(last.chunks(size / 2)) {
            self.add_side(side, (half[0] / side.scale).ln_1p(), |i| half[i], terms);
        }
    }

    /// At a time within a run, given ln(1+Λ/α) and ln(1+M/β).
    fn add(&self, run: usize, t: f64, sides: [Side; 2], logs: [f64; 2], terms: &mut Terms) {
        let moments = &self.logs.moments[self.clock.first + run];
        let size = moments.len();
        let passed = t - self.clock.runs[run].from;
        for (i, side) in sides.iter().enumerate() {
            let start = &self.at[(2 * run + i) * size..][..size];
            let passed = passed * self.clock.runs[run].rate[i];
            self.add_side(side, logs[i], |m| start[m] + passed * moments[m], terms);
        }
    }

    #[inline]
    fn add_side(&self, side: &Side, log: f64, c: impl Fn(usize) -> f64, terms: &mut Terms) {
        let k = self.logs.covariates;
        let n = OWN + 2 * k;
        let Side { places: [shape_at, scale_at, first], shape, power, scale } = *side;
        let total = scale + c(0);
        let (share, rest) = (c(0) / total, scale / total);
        let Terms { first: gradient, second: hessian } = terms;
        gradient[shape_at] -= shape * log;
        gradient[scale_at] += power * share;
        hessian[shape_at * n + shape_at] -= shape * log;
        hessian[scale_at * n + shape_at] += shape * share;
        hessian[scale_at * n + scale_at] -= power * share * rest;
        let inverse = 1.0 / total;
        for i in 0..k {
            let by_i = c(1 + i) * inverse;
            gradient[first + i] -= power * by_i;
            let row = (first + i) * n;
            hessian[row + shape_at] -= shape * by_i;
            hessian[row + scale_at] += power * by_i * rest;
            for j in 0..=i {
                let both = c(1 + k + i * (i + 1) / 2 + j) * inverse;
                hessian[row + first + j] -= power * (both - by_i * c(1 + j) * inverse);
            }
        }
    }
}
