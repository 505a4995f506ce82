//! Pareto/NBD on the clock of a calendar: Bachmann, Meierer and Näf, "The role of time-varying contextual factors in latent attrition models for customer
//! base analysis", Marketing Science 40 (2021), for covariates that all customers have in common, such as the season or a calendar of promotions.
//!
//! On calendar day t a living customer purchases at rate λ·e^(γ_p·z(t)) and departs at rate μ·e^(γ_l·z(t)), λ ~ Gamma(r, rate α) and μ ~ Gamma(s, rate β).
//! z is constant over a day, and on days that are not in the table it is the mean of the table. A purchase at an age of d days lies in (d−1, d], which is day
//! d after that of the first purchase. With the clocks of a customer who came on day c,
//!
//! ```text
//! Λ(u) = ∫ e^(γ_p·z),   M(u) = ∫ e^(γ_l·z)                           over calendar time in [c, c+u]
//!
//! L    = (r)_x α^r · Π e^(γ_p·z(t_j)) · (1+M(T)/β)^−s (α+Λ(T))^−k · (1 + e^D),      k = r + x
//! D    = ln ∫ s/β (1+M(u)/β)^−(s+1) (1+M(T)/β)^s ((α+Λ(T))/(α+Λ(u)))^k dM(u)        over [t_x, T]
//! ```
//!
//! P(alive) = 1/(1 + e^D), and a living customer is Gamma(k, rate A = α+Λ(T)) with a lifetime that is Pareto(s, B = β+M(T)) on the clock M from T on, which
//! is the same for all customers. With S(τ) = (B/(B+M(τ)))^s on the clocks from T on
//!
//! ```text
//! E(τ)      = k/A ∫ S dΛ,   discounted with e^(−δu) under the integral               over [0, τ]
//! P(none)   = S(τ) (A/(A+Λ(τ)))^k + ∫ (A/(A+Λ))^k d(1−S)
//! P(n)      = S(τ) NB(n; Λ(τ)) + ∫ NB(n; Λ) d(1−S)
//! ```
//!
//! With γ = 0 all of it is Pareto/NBD. α and β are those of a day with z = 0, as in CLVTools, whose likelihood, P(alive) and expectations it has to the last
//! digits where weeks have the same days.

mod clock;
mod fit;
#[cfg(test)]
mod tests;

pub use fit::fit_calendar;

use std::sync::Arc;

use rayon::prelude::*;

use super::super::predict::{Distinct, Key, check_horizon, for_each_customer, shortened};
use super::super::process::{Alive, FORGOTTEN, MOST_COUNTS, Process};
use super::super::special::negative_binomial;
use super::super::{
    Calendar, Counts, Estimated, FIRST_PURCHASE, Fit, FitOptions, Futures, IfAlive, L2, L2_COVARIATES, OfTheLiving, Parameter, Purchases,
    SPEND, Sample,
};
use super::lifetime::{Lifetime, departures, discounted};
use super::quadrature::integrate;
use super::{AliveNbd, NEGLIGIBLE, Pareto, ParetoNbd, UNDERFLOW};
use crate::models::{Allowed, AnyPurchases, Column, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, part};
use clock::{Clock, Table, Wait, ln_alive, rates, waited};

const NAME: &str = "pareto_nbd_calendar";

/// `model_type = 'pareto_nbd_calendar'`.
pub static PARETO_NBD_CALENDAR: ModelType = ModelType {
    name: NAME,
    about: "Pareto/NBD whose rates of purchase and departure depend on the day: season, promotions",
    options: &[
        SPEND,
        FIRST_PURCHASE,
        OptionSpec {
            name: "calendar",
            default: "",
            allowed: Allowed::Text,
            about: "columns of `calendar(day, ...)`, 'column, column', on which the rate of purchases and the rate of departure depend",
        },
        L2,
        L2_COVARIATES,
    ],
    in_auto: false,
    baseline: false,
    make: Make::Purchases { fit: fit_any, read: read_any },
};

fn fit_any(data: &Sample<'_>, options: &Options, control: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
    Ok(fit_calendar(data, &FitOptions::of(data, options), control)?.map(|model| Arc::new(model) as AnyPurchases))
}

fn read_any(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
    Ok(Arc::new(CalendarNbd::from_parts(parts)?))
}

/// A fitted Pareto/NBD on the clock of a calendar. Answers are about the future of `counts.calendar`; without one every day is as usual.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarNbd {
    /// The parameters of a day with z = 0, and the coefficients of the covariates of the calendar.
    pub estimated: Estimated<ParetoNbd>,
    /// The covariates of a usual day: the means of the table that the model was fitted with.
    pub usual: Vec<f64>,
}

/// The calendar and the model, with z counted from its mean.
struct Dated {
    model: ParetoNbd,
    table: Table,
    today: i64,
    purchase: Vec<f64>,
    lifetime: Vec<f64>,
}

impl Dated {
    /// The customers who came `longest` days ago, and later.
    fn past(&self, longest: u32) -> Past<'_> {
        let stretches = self.table.stretches(self.today - i64::from(longest), self.today);
        Past { rates: rates(&stretches, &self.purchase, &self.lifetime), stretches, longest }
    }

    fn future(&self) -> Clock {
        let stretches = self.table.future(self.today);
        Clock::new(&stretches, &rates(&stretches, &self.purchase, &self.lifetime), 0.0)
    }
}

struct Past<'a> {
    stretches: Vec<clock::Stretch<'a>>,
    rates: Vec<[f64; 2]>,
    longest: u32,
}

impl Past<'_> {
    /// The clocks of who came `t` days ago.
    fn clock(&self, t: u32) -> Clock {
        Clock::new(&self.stretches, &self.rates, f64::from(self.longest - t))
    }
}

impl CalendarNbd {
    /// Reads what [`Purchases::to_parts`] wrote.
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let estimated = Estimated::<ParetoNbd>::from_parts(parts)?;
        let usual = part(parts, USUAL)?.finite("mean")?.to_vec();
        let k = estimated.covariates.len();
        if [usual.len(), estimated.purchase.len(), estimated.lifetime.len()] != [k; 3] {
            return Err(ModelError::Damaged(format!("{} rows in table '{USUAL}' for {k} covariates", usual.len())));
        }
        Ok(Self { estimated, usual })
    }

    fn dated(&self, calendar: Option<&Calendar>) -> Result<Dated, ModelError> {
        let Estimated { base, covariates, purchase, lifetime, .. } = &self.estimated;
        let mut table = match calendar {
            Some(calendar) => Table::new(calendar, covariates)?,
            None => Table::average(&self.usual),
        };
        let mean = table.mean().to_vec();
        table.standardise(&mean, &vec![1.0; mean.len()]);
        let along = |by: &[f64]| by.iter().zip(&mean).map(|(b, m)| b * m).sum();
        let model = base.shifted(along(purchase), along(lifetime));
        Ok(Dated { model, table, today: calendar.map_or(0, |c| c.today), purchase: purchase.clone(), lifetime: lifetime.clone() })
    }

    fn p_alive_dated(&self, dated: &Dated, counts: Counts<'_>) -> Vec<f64> {
        let distinct = Distinct::new(counts, None, true);
        let mut order: Vec<u32> = (0..distinct.keys.len() as u32).collect();
        let key = |i: u32| distinct.keys[i as usize];
        order.sort_unstable_by_key(|&i| (key(i).t, key(i).x, std::cmp::Reverse(key(i).t_x)));
        let past = dated.past(counts.t.iter().copied().max().unwrap_or(0));
        let cohorts: Vec<&[u32]> = order.chunk_by(|&a, &b| key(a).t == key(b).t).collect();
        let of_cohort = |cohort: &&[u32]| {
            let clock = past.clock(key(cohort[0]).t);
            let t = key(cohort[0]).t();
            let end = clock.reading(t);
            let mut answers = Vec::with_capacity(cohort.len());
            for same in cohort.chunk_by(|&a, &b| key(a).x == key(b).x) {
                let k = dated.model.r + key(same[0]).x();
                let alive = ln_alive(&dated.model, k, end);
                let departing = (dated.model.lifetime.s / dated.model.lifetime.beta).ln();
                let from = same.iter().map(|&i| key(i).t_x());
                let wait = Wait { clock: &clock, model: &dated.model, k, until: t };
                wait.departures(
                    from,
                    0,
                    |_, _, _, _| (),
                    |_, integral| {
                        answers.push(1.0 / (1.0 + (departing + integral.ln() - alive).exp()));
                    },
                );
            }
            answers
        };
        let answers: Vec<Vec<f64>> = cohorts.par_iter().map(of_cohort).collect();
        let mut values = vec![0.0; distinct.keys.len()];
        for (&i, value) in order.iter().zip(answers.into_iter().flatten()) {
            values[i as usize] = value;
        }
        for_each_customer(counts, |i| values[distinct.of_customer[i] as usize])
    }

    /// P(alive) of every customer, and a quantity of the living for each distinct x and T.
    fn each_alive<T: Send>(
        &self,
        counts: Counts<'_>,
        control: &Control,
        f: impl Fn(&AliveCalendar<'_>) -> T + Sync,
    ) -> Result<IfAlive<T>, ModelError> {
        /// Distinct histories between two looks at the control.
        const DISTINCT: usize = 64;
        let dated = self.dated(counts.calendar)?;
        let distinct = Distinct::new(counts, None, false);
        let longest = counts.t.iter().copied().max().unwrap_or(0);
        // What the clocks of who came so many days ago show today.
        let past = dated.past(longest);
        let mut known = vec![None; longest as usize + 1];
        for key in &distinct.keys {
            known[key.t as usize].get_or_insert_with(|| past.clock(key.t).reading(key.t()));
        }
        let future = dated.future();
        let of = |key: &Key| {
            let [purchase, lifetime] = known[key.t as usize].unwrap_or([0.0; 2]);
            let Pareto { s, beta } = dated.model.lifetime;
            let lifetime = Pareto { s, beta: beta + lifetime };
            f(&AliveCalendar {
                model: ParetoNbd { r: dated.model.r + key.x(), alpha: dated.model.alpha + purchase, lifetime },
                future: &future,
            })
        };
        let chunks: Result<Vec<Vec<T>>, ModelError> = distinct
            .keys
            .par_chunks(DISTINCT)
            .map(|chunk| {
                control.check()?;
                Ok(chunk.iter().map(of).collect())
            })
            .collect();
        let values = chunks?.into_iter().flatten().collect();
        Ok(IfAlive { p_alive: self.p_alive_dated(&dated, counts), of_customer: distinct.of_customer, values })
    }
}

/// A customer who is alive: the state Gamma(k = `r`, rate `alpha`) and the lifetime that remains, and the clocks from now on.
#[derive(Clone, Copy, Debug)]
struct AliveCalendar<'a> {
    model: ParetoNbd,
    future: &'a Clock,
}

impl AliveCalendar<'_> {
    /// ln S at a reading of M.
    fn ln_survival(&self, reading: f64) -> f64 {
        waited(self.model.lifetime.s, self.model.lifetime.beta, reading)
    }

    /// The lifetime from a reading of M on.
    fn aged(&self, reading: f64) -> Pareto {
        Pareto { s: self.model.lifetime.s, beta: self.model.lifetime.beta + reading }
    }
}

impl Alive for AliveCalendar<'_> {
    fn expected(&self, h: f64) -> f64 {
        let within = |run: &clock::Run| {
            let [purchase, lifetime] = run.rate;
            let long = lifetime * (h.min(run.to) - run.from);
            purchase / lifetime * self.ln_survival(run.at[1]).exp() * self.aged(run.at[1]).mean_within(long)
        };
        let runs = self.future.runs.iter().take_while(|run| run.from < h);
        self.model.r / self.model.alpha * runs.map(within).sum::<f64>()
    }

    fn none(&self, h: f64) -> f64 {
        if h <= 0.0 {
            return 1.0;
        }
        let alive = ln_alive(&self.model, self.model.r, self.future.reading(h)).exp();
        (alive + Wait { clock: self.future, model: &self.model, k: self.model.r, until: h }.p_departed()).min(1.0)
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        let h = h.max(0.0);
        let ParetoNbd { r: k, alpha, .. } = self.model;
        let [purchase, lifetime] = self.future.reading(h);
        let mut table = negative_binomial(k, purchase / (alpha + purchase), alpha / (alpha + purchase), MOST_COUNTS);
        table.fill(0.0);
        let whole = departures(&self.model.lifetime, k, alpha);
        let mut ends = Vec::new();
        for run in self.future.runs.iter().take_while(|run| run.from < h) {
            let aged = self.aged(run.at[1]);
            let lifetime = Pareto { beta: aged.beta / run.rate[1], ..aged };
            let departures = departures(&lifetime, k, (alpha + run.at[0]) / run.rate[0]);
            let alive = self.ln_survival(run.at[1]).exp();
            integrate(&departures, h.min(run.to) - run.from, |node| {
                let departing = departures.density(node) * node.dt;
                let reading = run.at[0] + run.rate[0] * node.t;
                if !whole.beyond(reading) {
                    ends.push((reading, alive * departing));
                }
                departing
            });
        }
        ends.push((purchase, self.ln_survival(lifetime).exp()));
        ends.retain(|(_, p)| *p > NEGLIGIBLE);
        let plain = AliveNbd { k, alpha, lifetime: self.model.lifetime };
        if k * (purchase / alpha).ln_1p() < UNDERFLOW {
            plain.add_from_none(&ends, &mut table);
        } else {
            plain.add_near_modes(&ends, &mut table);
        }
        if table.len() == MOST_COUNTS {
            table[MOST_COUNTS - 1] = 0.0;
            table[MOST_COUNTS - 1] = (1.0 - table.iter().sum::<f64>()).max(0.0);
        }
        table
    }

    fn scale(&self) -> f64 {
        self.model.alpha
    }

    fn discounted(&self, h: f64, delta: f64) -> f64 {
        let end = h.min(FORGOTTEN / delta);
        let within = |run: &clock::Run| {
            let aged = self.aged(run.at[1]);
            let lifetime = Pareto { beta: aged.beta / run.rate[1], ..aged };
            let alive = (self.ln_survival(run.at[1]) - delta * run.from).exp();
            run.rate[0] * alive * discounted(&lifetime, end.min(run.to) - run.from, delta)
        };
        let runs = self.future.runs.iter().take_while(|run| run.from < end);
        self.model.r / self.model.alpha * runs.map(within).sum::<f64>()
    }
}

/// The table of the covariates of a usual day.
const USUAL: &str = "calendar";

impl Purchases for CalendarNbd {
    fn parameters(&self) -> Vec<Parameter> {
        self.estimated.parameters()
    }

    fn covariance(&self) -> Vec<Vec<f64>> {
        self.estimated.covariance()
    }

    fn calendar(&self) -> &[String] {
        &self.estimated.covariates
    }

    /// With a calendar that lacks a covariate every day is as usual; the other answers refuse it.
    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64> {
        match self.dated(counts.calendar).or_else(|_| self.dated(None)) {
            Ok(dated) => self.p_alive_dated(&dated, counts),
            Err(_) => vec![f64::NAN; counts.x.len()],
        }
    }

    fn if_alive(&self, counts: Counts<'_>, control: &Control, f: &OfTheLiving<'_>) -> Result<IfAlive, ModelError> {
        self.each_alive(counts, control, |alive| f(alive))
    }

    fn expected_new_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError> {
        let dated = self.dated(counts.calendar)?;
        let longest = counts.t.iter().copied().max().unwrap_or(0);
        let past = dated.past(longest);
        let mut of_age = vec![f64::NAN; longest as usize + 1];
        counts.t.iter().for_each(|&t| of_age[t as usize] = 0.0);
        of_age.par_iter_mut().enumerate().filter(|(_, value)| **value == 0.0).for_each(|(t, value)| {
            *value = AliveCalendar { model: dated.model, future: &past.clock(t as u32) }.expected(t as f64);
        });
        control.check()?;
        Ok(counts.t.iter().map(|&t| of_age[t as usize]).collect())
    }

    fn futures(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Futures, ModelError> {
        check_horizon(horizon_days)?;
        self.each_alive(counts, control, |alive| shortened(alive.counts(horizon_days)))
    }

    fn axes(&self) -> Vec<AnyPurchases> {
        let moved = self.estimated.moved().into_iter();
        moved.map(|estimated| Arc::new(Self { estimated, usual: self.usual.clone() }) as AnyPurchases).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.estimated.to_parts();
        parts.push(Part::new(USUAL, vec![("mean", Column::F64(self.usual.clone()))]));
        parts
    }
}
