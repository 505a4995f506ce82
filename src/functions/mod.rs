//! The SQL functions: one file each, and the one list that registers them.

mod args;
mod association_rules;
mod backtest;
mod churn_prob;
mod churn_risk;
mod clv;
mod clv_frequency_bins;
mod clv_high;
mod clv_low;
mod clv_sum;
mod clv_tracking;
mod common;
mod cross_sell;
mod customer;
mod customers;
mod data_quality;
mod evaluate;
mod expected_order_value;
mod expected_purchases;
mod explain_clv;
mod explain_recommendation;
mod explanation;
mod function_list;
mod historic_value;
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
mod predict_rating;
mod prelude;
mod purchase_count_prob;
mod purchase_prob;
mod ranking;
mod readiness;
mod recommend;
mod relation;
mod rfm;
mod rfm_rules;
mod rfm_summary;
mod segment;
mod serving;
mod similar_items;
mod similar_users;
mod simulate_shop;
mod spec;
mod total_value;
mod training_log;

pub use args::CallArgs;
pub use clv_sum::{ClvSum, as_unbound_clv_sum};
pub use common::context;
pub use customer::{Bound, CustomerFunction, CustomerUdf, Kernel, as_customer_udf};
pub use list_similarity::similarities as list_similarities;
pub use model_versions::record as model_record;
pub use pin::{Backtested, KeyTypes, Margins, Measured, Memo, Pin, Versioned, blocking};
pub use prelude::fit_error;
pub use ranking::aggregates as ranking_metrics;
pub use relation::{AnswerTable, LazyExec, MakeRows, PinSource, RelationFunction, as_answer_table};
pub use rfm_rules::read as read_rfm_rules;
pub use rfm_summary::{RfmSummary, as_rfm_summary};
pub use spec::{ArgKind, Argument, Form, FunctionSpec};

/// Functions of one customer.
pub static CUSTOMER_FUNCTIONS: &[&dyn CustomerFunction] = &[
    &churn_prob::ChurnProb,
    &churn_risk::ChurnRisk,
    &clv::Clv,
    &clv_high::ClvHigh,
    &clv_low::ClvLow,
    &cross_sell::CrossSellFunction,
    &expected_order_value::ExpectedOrderValue,
    &expected_purchases::ExpectedPurchases,
    &explain_clv::ExplainClv,
    &explain_recommendation::ExplainRecommendation,
    &historic_value::HistoricValue,
    &next_basket::NextBasket,
    &next_order_date::NextOrderDate,
    &p_alive::PAlive,
    &p_alive_history::PAliveHistory,
    &predict_rating::PredictRating,
    &purchase_count_prob::PurchaseCountProb,
    &purchase_prob::PurchaseProb,
    &recommend::Recommend,
    &rfm::RfmFunction,
    &segment::Segment,
    &similar_items::SimilarItems,
    &similar_users::SimilarUsers,
    &total_value::TotalValue,
];

/// Functions in FROM.
pub static RELATION_FUNCTIONS: &[&dyn RelationFunction] = &[
    &association_rules::AssociationRulesFunction,
    &backtest::Backtest,
    &clv_frequency_bins::ClvFrequencyBins,
    &clv_tracking::ClvTracking,
    &customers::CustomersFunction,
    &data_quality::DataQuality,
    &evaluate::Evaluate,
    &function_list::Functions,
    &model_covariance::ModelCovariance,
    &model_info::ModelInfo,
    &model_parameters::ModelParameters,
    &model_versions::ModelVersions,
    &models::Models,
    &readiness::Readiness,
    &rfm_rules::RfmRules,
    &simulate_shop::SimulateShop,
    &simulate_shop::SimulateShopTruth,
    &training_log::TrainingLog,
];

/// Every function's spec, by name.
pub fn specs() -> impl Iterator<Item = &'static FunctionSpec> {
    let mut all: Vec<&'static FunctionSpec> = CUSTOMER_FUNCTIONS.iter().map(|f| f.spec()).collect();
    all.extend(RELATION_FUNCTIONS.iter().map(|f| f.spec()));
    all.push(&rfm_summary::SPEC);
    all.push(&clv_sum::SPEC);
    all.extend(ranking::RANKING_METRICS.iter().map(|(spec, _)| *spec));
    all.extend(list_similarity::LIST_SIMILARITIES.iter().map(|(spec, _)| *spec));
    all.sort_by_key(|s| s.name);
    all.into_iter()
}

/// The spec of a function, letter case ignored.
pub fn spec(name: &str) -> Option<&'static FunctionSpec> {
    specs().find(|s| s.name.eq_ignore_ascii_case(name))
}
