//! Plans over `events` and the dense arrays made of them: customers, interactions, baskets.

mod activity;
mod aggregates;
mod baskets;
mod context;
mod covariates;
mod customers;
mod evidence;
mod frame;
mod history;
mod interactions;
mod keys;
mod purchasers;
mod rows;
mod summary;

pub use activity::{Activity, Categories, ITEMS};
pub use aggregates::{Aggregates, Window, over_rows};
pub use baskets::OrderBaskets;
pub use context::{Context, Known, calendar};
pub use covariates::{FIRST_ORDER_VALUE, UserCovariates};
pub use customers::Customers;
pub use evidence::{Evidence, Signs};
pub use frame::{Frame, btyd, btyd_features, frame};
pub use history::{Days, History};
pub use interactions::Interactions;
pub use keys::{Interner, KeyIndex, NO_CODE, to_indices};
pub use purchasers::Purchasers;
pub use rows::{batch, table_of, transformed, values_of};
pub use summary::{CustomerSummary, DAY_US, SummaryGroups, day_of, end_of_day, summary_fields, summary_state_fields};
