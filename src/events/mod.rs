//! The contract of `events`: which columns it has, what its rows mean, and what is wrong with them.

mod contract;
mod kernels;
mod kinds;
mod quality;
mod readiness;
mod snapshot;

pub use contract::{Contract, EventColumn, key_type, quote};
pub use kernels::millionths;
pub use kinds::{EventMap, kind};
pub use quality::{data_quality, data_quality_schema};
pub use readiness::{Facts, readiness, readiness_schema};
pub use snapshot::{Fingerprints, Snapshot, run, time_text};
