//! Figures on a hold-out. Names and definitions are the field's.

mod calibration;
mod classification;
mod compare;
mod drift;
mod probability;
mod ranking;
mod regression;
mod value;

pub use calibration::{Bins, CalibrationBin, brier, calibration_bins, ece, wilson, wilson_at};
pub use classification::{Confusion, CostRow, Cut, LiftRow, PrPoint, RocPoint, cost_table, cuts, lift_table, pr_auc, pr_curve, roc_curve};
pub use compare::{AucDifference, Better, Difference, delong, paired_bootstrap};
pub use drift::{ks, psi, psi_levels};
pub use probability::{log_loss, mae, rmse, roc_auc};
pub use ranking::{
    BOOTSTRAP_DRAWS, average_precision_at_k, bootstrap_interval, coverage, exposure_gini, hit_rate_at_k, ndcg_at_k, novelty,
    precision_at_k, recall_at_k, reciprocal_rank,
};
pub use regression::{mape, median_absolute_error, r2};
pub use value::{gini, spearman};
