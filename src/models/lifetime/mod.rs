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

pub use bg_nbd::{BgNbd, discounted_purchases_all, expected_purchases_all, p_alive_all, p_no_purchase_all};
pub use gamma_gamma::GammaGamma;
pub use value::Lifetime;

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
}
