//! Figures on a hold-out. Names and definitions are the field's.

mod probability;
mod ranking;
mod value;

pub use probability::{log_loss, mae, rmse, roc_auc};
pub use ranking::{hit_rate_at_k, ndcg_at_k};
pub use value::{gini, spearman};
