//! Lifetime value: "buy till you die" models of how often a customer comes back, and of what an order is worth.
//!
//! * [`BgNbd`], [`MbgNbd`]: purchases and silent departure after a purchase. Fader, Hardie and Lee, "Counting your customers the easy way", Marketing
//!   Science 24 (2005).
//! * [`BgCnbdK`], [`MbgCnbdK`]: the same for customers who purchase at regular intervals. Reutterer, Platzer and Schröder, International Journal of Research
//!   in Marketing 38 (2021).
//! * [`ParetoNbd`], [`GgompertzNbd`]: purchases during a lifetime that ends at any time. Schmittlein, Morrison and Colombo, "Counting your customers: who are
//!   they and what will they do next?", Management Science 33 (1987); Bemmaor and Glady, Management Science 58 (2012).
//! * [`CalendarNbd`]: Pareto/NBD whose rates depend on the day. Bachmann, Meierer and Näf, Marketing Science 40 (2021).
//! * [`BgCnbdK`], [`MbgCnbdK`]: purchases at regular intervals. Reutterer, Platzer and Schröder, International Journal of Research in Marketing 38 (2021).
//! * [`BgBb`], [`ShiftedBetaGeometric`], [`BetaDiscreteWeibull`]: purchases and subscriptions in discrete time, a period at a time. See `discrete`.
//! * [`GammaGamma`]: the value of an order. Fader and Hardie, "The gamma-gamma model of monetary value" (2013).
//! * [`Lifetime`]: both together, and the share of the gross value that refunds leave.
//!
//! The unit of time is the day. A customer is described by three numbers counted from the first purchase: `x`, the number of further days with a
//! purchase (frequency); `t_x`, the day of the last of them (recency, 0 when there is none); `t`, the day of observation (T).
//! The functions on one customer take them as `f64` and are free of units: with parameters in weeks they take weeks.
//!
//! A log-likelihood in days differs from one in weeks by the Jacobian of the density of purchase times: LL(weeks) = LL(days) + Σx·ln 7.

mod baseline;
mod beta_geometric;
#[cfg(test)]
mod check;
mod cnbd;
mod discrete;
mod exp;
mod explain;
mod fit;
mod gamma_gamma;
mod histories;
mod interval;
mod lifetimes;
mod linear;
mod optimise;
mod predict;
mod process;
mod special;
pub(in crate::models) use special::normal_quantile;
mod value;

pub use baseline::{NAIVE_RATE, ZERO};
pub use beta_geometric::{BG_NBD, BG_NBD_BURST, BetaGeometric, BgNbd, BurstBgNbd, MBG_NBD, MbgNbd};
pub use cnbd::{BG_CNBD_K, BgCnbdK, Cnbd, MBG_CNBD_K, MOST_REGULAR, MbgCnbdK, fit_cnbd};
pub use discrete::{BETA_DISCRETE_WEIBULL, BG_BB, BetaDiscreteWeibull, BgBb, Periodic, SBG, ShiftedBetaGeometric};
pub use explain::{Explanation, FEATURES, Typical};
pub use fit::{FitOptions, fit};
pub use gamma_gamma::{GammaGamma, Spend};
pub use interval::{Interval, Worth};
pub use lifetimes::{
    CalendarNbd, GGOMPERTZ_NBD, GammaGompertz, GgompertzNbd, Nbd, PARETO_NBD, PARETO_NBD_CALENDAR, Pareto, ParetoNbd, fit_calendar,
};
pub use linear::ClvLinear;
pub use predict::Estimated;
use predict::{CUSTOMERS, NEVER, check_horizon, daily_rate, for_each_customer, median_wait};
use process::no_purchase;
pub use process::{Alive, Likelihood, Process};
pub use value::{Lifetime, Refunds, Spending};

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use crate::models::{Allowed, AnyPurchases, Control, Make, ModelError, ModelType, OptionSpec, Options, Part};

const SPEND: OptionSpec = OptionSpec {
    name: "spend",
    default: "gamma_gamma",
    allowed: Allowed::OneOf(&["gamma_gamma", "mean"]),
    about: "gamma_gamma: each customer's own expected value; mean: the same for everybody",
};
const FIRST_PURCHASE: OptionSpec = OptionSpec {
    name: "first_purchase",
    default: "include",
    allowed: Allowed::OneOf(&["include", "exclude"]),
    about: "whether the value of the first purchase counts in what a customer spends; the paper of gamma_gamma leaves it out",
};
const COVARIATES: OptionSpec = OptionSpec {
    name: "covariates",
    default: "",
    allowed: Allowed::Text,
    about: "columns of `users`, 'column, column', on which the rate of purchases and the rate of departure depend; first_order_value needs no column: it is \
            ln(1 + value of the first purchase day), to the nearest quarter",
};
const L2: OptionSpec = OptionSpec {
    name: "l2",
    default: "0",
    allowed: Allowed::Number { least: 0.0, most: 1e6 },
    about: "weight of ½·Σ(θ − θ₀)² a customer, θ the logarithms of the parameters, θ₀ the start of the search",
};
const L2_COVARIATES: OptionSpec = OptionSpec {
    name: "l2_covariates",
    default: "0",
    allowed: Allowed::Number { least: 0.0, most: 1e6 },
    about: "weight of ½·Σγ² a customer, γ the coefficients of standardised covariates",
};

/// The options of a model of purchases in continuous time.
static OPTIONS: &[OptionSpec] = &[SPEND, FIRST_PURCHASE, COVARIATES, L2, L2_COVARIATES];

/// The type of a model that is a process with a likelihood.
const fn parametric<M: process::Likelihood>(about: &'static str, in_auto: bool) -> ModelType {
    fn fit_any<M: process::Likelihood>(data: &Sample<'_>, options: &Options, control: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
        Ok(fit::<M>(data.counts, &FitOptions::of(data, options), control)?.map(|model| Arc::new(model) as AnyPurchases))
    }
    fn read_any<M: process::Likelihood>(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
        Ok(Arc::new(Estimated::<M>::from_parts(parts)?))
    }
    ModelType {
        name: M::NAME,
        about,
        options: OPTIONS,
        in_auto,
        baseline: false,
        make: Make::Purchases { fit: fit_any::<M>, read: read_any::<M> },
    }
}

/// `model_type = 'clv_linear'`: BG/NBD for purchases, a hurdle of linear models for value.
pub static CLV_LINEAR: ModelType = ModelType {
    options: &[
        OptionSpec {
            name: "horizon",
            default: "90 days",
            allowed: Allowed::Days { least: 7.0, most: 3650.0 },
            about: "the horizon whose value is learned; other horizons are scaled from it",
        },
        SPEND,
        FIRST_PURCHASE,
        L2,
    ],
    name: "clv_linear",
    about: "value by a hurdle of linear models (logistic × log-normal ridge), purchases by BG/NBD",
    ..parametric::<BgNbd>("", false)
};

/// What a model of purchases is fitted to.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub counts: Counts<'a>,
    /// Parameters to start from, those of the last version.
    pub start: Option<&'a [f64]>,
}

/// The days on which each customer purchased, as days since the first of them: 0 first, ascending.
#[derive(Clone, Copy, Debug)]
pub struct PurchaseDays<'a> {
    /// Customer i has `days[ends[i−1]..ends[i]]`.
    pub ends: &'a [usize],
    pub days: &'a [u32],
}

impl PurchaseDays<'_> {
    /// How many repeat purchases of these customers there were at each age below `days`.
    fn ages(&self, customers: impl Iterator<Item = usize>, days: usize) -> Vec<u64> {
        let mut ages = vec![0; days];
        for customer in customers {
            for &age in self.of(customer).iter().skip(1) {
                if let Some(n) = ages.get_mut(age as usize) {
                    *n += 1;
                }
            }
        }
        ages
    }

    pub fn of(&self, customer: usize) -> &[u32] {
        let start = customer.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.days[start..self.ends[customer]]
    }
}

/// The purchase histories of the customers who purchased, in days; entry i of each slice belongs to customer i.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    /// Days with a purchase after the first one.
    pub x: &'a [u32],
    /// Days from the first to the last purchase.
    pub t_x: &'a [u32],
    /// Days from the first purchase to the day of observation.
    pub t: &'a [u32],
    /// The purchase days themselves, for models that need more than x, t_x and T.
    pub days: Option<PurchaseDays<'a>>,
    pub covariates: Option<&'a Covariates>,
    pub calendar: Option<&'a Calendar>,
}

impl<'a> Counts<'a> {
    /// Customers of whom nothing else is known.
    pub fn new(x: &'a [u32], t_x: &'a [u32], t: &'a [u32]) -> Self {
        Self { x, t_x, t, days: None, covariates: None, calendar: None }
    }
}

/// What else is known of the customers and does not change: numbers, in cells of customers who have them all in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Covariates {
    pub names: Vec<String>,
    /// The distinct rows, one number a name.
    pub rows: Vec<Vec<f64>>,
    /// Index into `rows`, for each customer.
    pub cell: Vec<u32>,
}

/// What is known of the days, and is the same for all customers: the season, promotions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calendar {
    pub names: Vec<String>,
    /// The day of the first row, in days since 1970.
    pub first_day: i64,
    /// One row a day, one number a name; days that are still to come included, as far as they are known. Other days have the means of the columns.
    pub rows: Vec<Vec<f64>>,
    /// The day of observation, in days since 1970: that of every T.
    pub today: i64,
}

/// A parameter as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub value: f64,
    /// The standard error of the parameter, and of its logarithm where it is positive by nature; `None` where it was not estimated.
    pub error: Option<f64>,
    pub log_error: Option<f64>,
}

impl Parameter {
    /// A parameter that is known, or not worth a standard error.
    pub fn known(name: &str, value: f64) -> Self {
        Self { name: name.into(), value, error: None, log_error: None }
    }

    /// The 95 % interval: symmetric in the logarithm of what is positive by nature.
    pub fn interval(&self) -> Option<(f64, f64)> {
        const Z: f64 = 1.959_963_984_540_054;
        match (self.log_error, self.error) {
            (Some(e), _) => Some((self.value * (-Z * e).exp(), self.value * (Z * e).exp())),
            (None, Some(e)) => Some((self.value - Z * e, self.value + Z * e)),
            (None, None) => None,
        }
    }
}

/// P(alive) of every customer, and what is true of the living, by distinct history.
#[derive(Clone, Debug)]
pub struct IfAlive<T = f64> {
    pub p_alive: Vec<f64>,
    /// Index into `values`, for each customer.
    pub of_customer: Vec<u32>,
    pub values: Vec<T>,
}

impl<T> IfAlive<T> {
    /// What is true of a customer who is alive.
    pub fn value(&self, customer: usize) -> &T {
        &self.values[self.of_customer[customer] as usize]
    }
}

impl IfAlive {
    /// P(alive) times what is true of the living.
    fn survived(mut self) -> Vec<f64> {
        let Self { p_alive, of_customer, values } = &mut self;
        let customers = p_alive.par_iter_mut().zip(of_customer.par_iter()).with_min_len(CUSTOMERS);
        customers.for_each(|(p, &at)| *p *= values[at as usize]);
        self.p_alive
    }
}

/// How many purchases each customer will make: P(n purchases | alive) for n = 0, 1, …
pub type Futures = IfAlive<Vec<f32>>;

impl Futures {
    /// P(n purchases) of a customer.
    pub fn chance(&self, customer: usize, n: usize) -> f64 {
        let alive = self.p_alive[customer];
        let given = self.value(customer).get(n).map_or(0.0, |p| f64::from(*p));
        alive * given + if n == 0 { 1.0 - alive } else { 0.0 }
    }
}

/// A quantity of a customer who is alive.
pub type OfTheLiving<'a> = dyn Fn(&dyn Alive) -> f64 + Sync + 'a;

/// A fitted model of how often customers purchase. Answers are one a customer, in the order of `counts`, independent of the number of threads;
/// all panic if the slices of `counts` differ in length. Where a horizon, a rate or a count is taken, an impossible one is an error (`Option`), and so is
/// a control that says stop (`Cancelled`).
pub trait Purchases: fmt::Debug + Send + Sync {
    /// In the order in which they are shown.
    fn parameters(&self) -> Vec<Parameter>;

    /// Of `parameters`, by row and column; empty where it was not estimated.
    fn covariance(&self) -> Vec<Vec<f64>>;

    /// The covariates that `counts` must bring.
    fn covariates(&self) -> &[String] {
        &[]
    }

    /// Purchase days in one of the purchases that the model counts: more than 1 where it counts periods with a purchase.
    fn days_a_purchase(&self, _: Counts<'_>) -> f64 {
        1.0
    }

    /// The covariates of the days that `counts.calendar` must bring.
    fn calendar(&self) -> &[String] {
        &[]
    }

    /// P(alive at T).
    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64>;

    /// P(alive at T), and a quantity of the living, which is the same for customers of the same history.
    fn if_alive(&self, counts: Counts<'_>, control: &Control, f: &OfTheLiving<'_>) -> Result<IfAlive, ModelError>;

    /// P(alive) times what is expected of the living.
    fn survived(&self, counts: Counts<'_>, control: &Control, f: &OfTheLiving<'_>) -> Result<Vec<f64>, ModelError> {
        Ok(self.if_alive(counts, control, f)?.survived())
    }

    /// Expected purchases in the `horizon_days` after T.
    fn expected_purchases_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        self.survived(counts, control, &|alive| alive.expected(horizon_days))
    }

    /// Expected purchases in the `horizon_days` after T, each discounted from its day back to T by `annual_rate` (0.1 is 10 % a year). An infinite
    /// horizon needs a rate above 0, and gives the discounted expected residual transactions (DERT).
    fn discounted_purchases_all(
        &self,
        counts: Counts<'_>,
        horizon_days: f64,
        annual_rate: f64,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError> {
        let delta = daily_rate(horizon_days, annual_rate)?;
        self.survived(counts, control, &|alive| {
            if delta == 0.0 || horizon_days == 0.0 { alive.expected(horizon_days) } else { alive.discounted(horizon_days, delta) }
        })
    }

    /// P(no purchase in the `horizon_days` after T); a horizon below 0 counts as 0.
    fn p_no_purchase_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        let all = self.if_alive(counts, control, &|alive| alive.none(horizon_days.max(0.0)))?;
        Ok(for_each_customer(counts, |i| no_purchase(all.p_alive[i], *all.value(i))))
    }

    /// P(exactly n purchases in the `horizon_days` after T).
    fn p_count_all(&self, counts: Counts<'_>, n: u32, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        if n == 0 {
            return self.p_no_purchase_all(counts, horizon_days, control);
        }
        self.survived(counts, control, &|alive| alive.counts(horizon_days).get(n as usize).copied().unwrap_or(0.0))
    }

    /// Days from T by which the next purchase has come with probability one half, of those who come again; NaN where it is not in sight.
    fn next_purchase_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError> {
        let all = self.if_alive(counts, control, &|alive| median_wait(alive, NEVER))?;
        Ok(for_each_customer(counts, |i| *all.value(i)))
    }

    /// E[X(T)]: the purchases after the first that a customer of that age would have been expected to make, before anything is known of them. Of `counts`
    /// only `t` and the covariates are read.
    fn expected_new_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError>;

    /// The distribution of the number of purchases in the `horizon_days` after T.
    fn futures(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Futures, ModelError>;

    /// The model moved by one standard error along each principal axis of the uncertainty of its parameters.
    fn axes(&self) -> Vec<AnyPurchases>;

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;
}

/// A maximum-likelihood fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit<P> {
    pub params: P,
    /// Of all customers together, with time in days and money in the unit given.
    pub log_likelihood: f64,
    /// Customers that entered the likelihood.
    pub customers: u64,
    /// How many parameters were estimated.
    pub parameters: usize,
    /// Distinct rows among them, which is what the fit costs.
    pub rows: usize,
    /// Evaluations of the likelihood with its derivatives.
    pub evaluations: usize,
    /// Largest absolute derivative of the mean log-likelihood by a log-parameter that is free to move.
    pub gradient_norm: f64,
    /// Whether a parameter ended on a bound of the search, with the likelihood still rising beyond it.
    pub on_edge: bool,
}

impl<P> Fit<P> {
    /// The same fit with its parameters in another form.
    pub fn map<Q>(self, f: impl FnOnce(P) -> Q) -> Fit<Q> {
        let Self { params, log_likelihood, customers, parameters, rows, evaluations, gradient_norm, on_edge } = self;
        Fit { params: f(params), log_likelihood, customers, parameters, rows, evaluations, gradient_norm, on_edge }
    }
}
