//! Segments: groups of customers that mean something to a marketer.

mod rfm;

pub use rfm::{Cuts, RFM, Rfm, Rule, default_rules};
