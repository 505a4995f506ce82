//! Plans over `events` and the dense arrays made of them: customers, interactions, baskets.

mod baskets;
mod context;
mod covariates;
mod customers;
mod history;
mod interactions;
mod keys;
mod purchasers;
mod summary;

pub use baskets::OrderBaskets;
pub use context::{Context, Known, calendar};
pub use covariates::UserCovariates;
pub use customers::Customers;
pub use history::{Days, History};
pub use interactions::Interactions;
pub use keys::{Interner, KeyIndex, NO_CODE, to_indices};
pub use purchasers::Purchasers;
pub use summary::{CustomerSummary, DAY_US, SummaryGroups, day_of, summary_fields, summary_state_fields};
