//! Plans over `events` and the dense arrays made of them: customers, interactions.

mod customers;
mod interactions;
mod keys;
mod summary;

pub use customers::{Calibration, Customers};
pub use interactions::Interactions;
pub use keys::{Interner, KeyIndex, NO_CODE, to_indices};
pub use summary::{CustomerSummary, DAY_US, SummaryGroups, day_of, summary_fields, summary_state_fields};
