//! The SQL functions: one file each, and the one list that registers them.

mod args;
mod association_rules;
mod backtest;
mod bayes_propensity;
mod calibration_curve;
mod churn_prob;
mod churn_risk;
mod clv;
mod clv_frequency_bins;
mod clv_high;
mod clv_low;
mod clv_sum;
mod clv_tracking;
mod common;
mod compare_models;
mod confusion_matrix;
mod cross_sell;
mod customer;
mod customers;
mod data_quality;
mod drift;
mod evaluate;
mod expected_order_value;
mod expected_purchases;
mod explain_churn;
mod explain_clv;
mod explain_predict;
mod explain_recommendation;
mod explanation;
mod feature_importance;
mod function_list;
mod historic_value;
mod label_metrics;
mod labelled;
mod lift_table;
mod list_similarity;
mod model_covariance;
mod model_info;
mod model_parameters;
mod model_versions;
mod models;
mod next_basket;
mod next_order_date;
mod p_alive;
mod p_alive_history;
mod pin;
mod pr_curve;
mod predict;
mod predict_high;
mod predict_low;
mod predict_prob;
mod predict_rating;
mod predict_rows;
mod prelude;
mod print_tree;
mod purchase_count_prob;
mod purchase_prob;
mod ranking;
mod readiness;
mod recommend;
mod relation;
mod rfm;
mod rfm_rules;
mod rfm_summary;
mod roc_curve;
mod segment;
mod serving;
mod similar_items;
mod similar_users;
mod simulate_shop;
mod spec;
mod threshold_table;
mod total_value;
mod training_log;
mod tree_rules;
mod what_if;

pub use args::CallArgs;
pub use clv_sum::{ClvSum, as_unbound_clv_sum};
pub use common::context;
pub use customer::{Bound, CustomerFunction, CustomerUdf, Kernel, as_customer_udf};
pub use label_metrics::aggregates as label_metrics;
pub use list_similarity::similarities as list_similarities;
pub use model_versions::record as model_record;
pub use pin::{Backtested, KeyTypes, Margins, Measured, Memo, Pin, Versioned, blocking};
pub use prelude::{fit_error, too_little};
pub use ranking::aggregates as ranking_metrics;
pub use relation::{AnswerTable, LazyExec, MakeRows, PinSource, RelationFunction, as_answer_table};
pub use rfm_rules::read as read_rfm_rules;
pub use rfm_summary::{RfmSummary, as_rfm_summary};
pub use spec::{ArgKind, Argument, Form, FunctionSpec};

/// Functions of one customer.
pub static CUSTOMER_FUNCTIONS: &[&dyn CustomerFunction] = &[
    &bayes_propensity::BayesPropensity,
    &churn_prob::ChurnProb,
    &churn_risk::ChurnRisk,
    &clv::Clv,
    &clv_high::ClvHigh,
    &clv_low::ClvLow,
    &cross_sell::CrossSellFunction,
    &expected_order_value::ExpectedOrderValue,
    &expected_purchases::ExpectedPurchases,
    &explain_churn::ExplainChurn,
    &explain_clv::ExplainClv,
    &explain_predict::ExplainPredict,
    &explain_recommendation::ExplainRecommendation,
    &historic_value::HistoricValue,
    &next_basket::NextBasket,
    &next_order_date::NextOrderDate,
    &p_alive::PAlive,
    &p_alive_history::PAliveHistory,
    &predict::Predict,
    &predict_high::PredictHigh,
    &predict_low::PredictLow,
    &predict_prob::PredictProb,
    &predict_rating::PredictRating,
    &predict_rows::PredictRows,
    &purchase_count_prob::PurchaseCountProb,
    &purchase_prob::PurchaseProb,
    &recommend::Recommend,
    &rfm::RfmFunction,
    &segment::Segment,
    &similar_items::SimilarItems,
    &similar_users::SimilarUsers,
    &total_value::TotalValue,
    &what_if::WhatIf,
];

/// Functions in FROM.
pub static RELATION_FUNCTIONS: &[&dyn RelationFunction] = &[
    &association_rules::AssociationRulesFunction,
    &backtest::Backtest,
    &calibration_curve::CalibrationCurve,
    &clv_frequency_bins::ClvFrequencyBins,
    &clv_tracking::ClvTracking,
    &compare_models::CompareModels,
    &confusion_matrix::ConfusionMatrix,
    &customers::CustomersFunction,
    &data_quality::DataQuality,
    &drift::Drift,
    &evaluate::Evaluate,
    &feature_importance::FeatureImportance,
    &function_list::Functions,
    &lift_table::LiftTable,
    &model_covariance::ModelCovariance,
    &model_info::ModelInfo,
    &model_parameters::ModelParameters,
    &model_versions::ModelVersions,
    &models::Models,
    &pr_curve::PrCurve,
    &print_tree::PrintTree,
    &readiness::Readiness,
    &rfm_rules::RfmRules,
    &roc_curve::RocCurve,
    &simulate_shop::SimulateShop,
    &simulate_shop::SimulateShopTruth,
    &threshold_table::ThresholdTable,
    &training_log::TrainingLog,
    &tree_rules::TreeRules,
];

/// Every function's spec, by name.
pub fn specs() -> impl Iterator<Item = &'static FunctionSpec> {
    let mut all: Vec<&'static FunctionSpec> = CUSTOMER_FUNCTIONS.iter().map(|f| f.spec()).collect();
    all.extend(RELATION_FUNCTIONS.iter().map(|f| f.spec()));
    all.push(&rfm_summary::SPEC);
    all.push(&clv_sum::SPEC);
    all.extend(label_metrics::label_metric_specs());
    all.extend(ranking::RANKING_METRICS.iter().map(|(spec, _)| *spec));
    all.extend(list_similarity::LIST_SIMILARITIES.iter().map(|(spec, _)| *spec));
    all.sort_by_key(|s| s.name);
    all.into_iter()
}

/// The spec of a function, letter case ignored.
pub fn spec(name: &str) -> Option<&'static FunctionSpec> {
    specs().find(|s| s.name.eq_ignore_ascii_case(name))
}
