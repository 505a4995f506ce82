//! Segments: groups of customers that mean something to a marketer.

mod rfm;

pub use rfm::{Cuts, Rfm, Rule, default_rules};
