//! tenure: customer lifetime value in SQL.
//!
//! A [`Session`] is an embedded DataFusion context that knows customers: point it at an event log, and ask in SQL what each
//! customer is worth, who is leaving, which segment each is in, and what to offer. [`install`] puts the same functions into
//! a context that is there already.
//!
//! ```no_run
//! # async fn example() -> datafusion::error::Result<()> {
//! let session = tenure::Session::open(tenure::SessionOptions::default()).await?;
//! session.sql("CREATE VIEW events AS SELECT * FROM simulate_shop(users => 1000, days => 365)").await?;
//! session.sql("SELECT user_id, clv(user_id) FROM customers()").await?.show().await?;
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod events;
pub mod features;
pub mod functions;
pub mod models;
pub mod session;
#[doc(hidden)]
pub mod shell;
pub mod simulate;
pub mod store;
mod text;

pub use models::OnProgress;
pub use session::{Session, SessionOptions, install};
