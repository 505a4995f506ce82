//! Figures on a hold-out. Names and definitions are the field's.

mod probability;
mod ranking;
mod value;

pub use probability::{log_loss, mae, rmse, roc_auc};
pub use ranking::{
    BOOTSTRAP_DRAWS, average_precision_at_k, bootstrap_interval, coverage, exposure_gini, hit_rate_at_k, ndcg_at_k, novelty,
    precision_at_k, recall_at_k, reciprocal_rank,
};
pub use value::{gini, spearman};
