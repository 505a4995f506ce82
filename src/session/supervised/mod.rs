//! Supervised models: from a definition to frames at past cut-offs, a fit, its calibration, and its figures on what it has not seen.
//!
//! Of a window model the label's windows lie one before the other, the latest one ending at `as_of`:
//!
//! ```text
//!   … cut 2 ─────── cut 1 ─────── cut 0 ─────── as_of          labels of a cut: the window after it; features: everything up to it
//!     │  train      │  calibrate  │  evaluate   │
//! ```
//!
//! What is evaluated at cut 0 was fitted to the cuts 1, 2, … and calibrated at cut 1 by a model of the cuts 2, …; what is kept is the same, one cut later. Types of model
//! are compared at cut 1 by models of the cuts 2, …, so that cut 0 chooses nothing.

mod calibration;
mod data;
mod figures;
mod fit;
mod line;
mod query;
mod tournament;
mod window;

pub use query::{QUERY, fit_query};
pub use window::{churn, churn_candidates, fit_window};
