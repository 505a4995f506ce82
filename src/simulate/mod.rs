//! A shop with known truth: an event log whose customers' rates, dropout, spend and taste are known, for demos and tests.
//!
//! * Purchases follow the BG/NBD process (Fader, Hardie & Lee 2005): rate λ ~ Gamma(r, α), purchases Poisson(λ) while alive,
//!   dropout with probability p ~ Beta(a, b) after each *repeat* purchase (never after the first one, as in the paper's likelihood).
//! * Spend is gamma-gamma (Fader & Hardie 2013): order values Gamma(p, ν), ν ~ Gamma(q, v), independent of λ.
//! * Items have categories and collections; a customer's taste prefers a few of them.
//!
//! Every customer is drawn from generators of its own, seeded by (seed, customer index), so that a customer's events are the same
//! in whatever ranges, order or threads they are asked for.

mod batches;
mod calendar;
mod catalogue;
mod customer;
mod dirt;
mod shop;
mod visits;

pub use shop::{Population, Shop, ShopParams, SimulateError};

#[cfg(test)]
mod tests;
