//! Lifetime value: "buy till you die" models of how often a customer comes back, and of what an order is worth.
//!
//! * [`BgNbd`]: purchases and silent departure. Fader, Hardie and Lee, "Counting your customers the easy way", Marketing Science 24 (2005).
//! * [`GammaGamma`]: the value of an order. Fader and Hardie, "The gamma-gamma model of monetary value" (2013).
//! * [`Lifetime`]: both together, and the share of the gross value that refunds leave.
//!
//! The unit of time is the day. A customer is described by three numbers counted from the first purchase: `x`, the number of further days with a
//! purchase (frequency); `t_x`, the day of the last of them (recency, 0 when there is none); `t`, the day of observation (T).
//! The functions on one customer take them as `f64` and are free of units: with parameters in weeks they take weeks.
//!
//! A log-likelihood in days differs from one in weeks by the Jacobian of the density of purchase times: LL(weeks) = LL(days) + Σx·ln 7.

mod bg_nbd;
mod gamma_gamma;
mod optimise;
mod special;
mod value;

pub use bg_nbd::{BG_NBD, BgNbd};
pub use gamma_gamma::GammaGamma;
pub use value::Lifetime;

use std::fmt;

use crate::models::{Control, ModelError, Part};

/// The purchase histories of the customers who purchased, in days; entry i of each slice belongs to customer i.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    /// Days with a purchase after the first one.
    pub x: &'a [u32],
    /// Days from the first to the last purchase.
    pub t_x: &'a [u32],
    /// Days from the first purchase to the day of observation.
    pub t: &'a [u32],
}

/// A fitted model of how often customers purchase. Answers are one a customer, in the order of `counts`, independent of the number of threads;
/// all panic if the slices of `counts` differ in length.
pub trait Purchases: fmt::Debug + Send + Sync {
    /// The parameters by name, in the order in which they are shown.
    fn parameters(&self) -> Vec<(&'static str, f64)>;

    /// P(alive at T).
    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64>;

    /// Expected purchases in the `horizon_days` after T.
    ///
    /// # Errors
    /// `Option` for a horizon that is negative or not finite, `Cancelled`.
    fn expected_purchases_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError>;

    /// Expected purchases in the `horizon_days` after T, each discounted from its day back to T by `annual_rate` (0.1 is 10 % a year).
    ///
    /// # Errors
    /// `Option` for a horizon or a rate that is negative or not finite, `Cancelled`.
    fn discounted_purchases_all(
        &self,
        counts: Counts<'_>,
        horizon_days: f64,
        annual_rate: f64,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError>;

    /// P(no purchase in the `horizon_days` after T); a horizon below 0 counts as 0.
    fn p_no_purchase_all(&self, counts: Counts<'_>, horizon_days: f64) -> Vec<f64>;

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;
}

/// A maximum-likelihood fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit<P> {
    pub params: P,
    /// Of all customers together, with time in days and money in the unit given.
    pub log_likelihood: f64,
    /// Customers that entered the likelihood.
    pub customers: u64,
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
        let Self { params, log_likelihood, customers, rows, evaluations, gradient_norm, on_edge } = self;
        Fit { params: f(params), log_likelihood, customers, rows, evaluations, gradient_norm, on_edge }
    }
}
