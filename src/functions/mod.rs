//! The SQL functions: one file each, and the one list that registers them.

mod args;
mod churn_prob;
mod churn_risk;
mod clv;
mod common;
mod customer;
mod customers;
mod data_quality;
mod expected_order_value;
mod expected_purchases;
mod function_list;
mod historic_value;
mod model_info;
mod model_versions;
mod models;
mod p_alive;
mod pin;
mod prelude;
mod readiness;
mod recommend;
mod relation;
mod rfm;
mod rfm_rules;
mod rfm_summary;
mod segment;
mod simulate_shop;
mod spec;
mod total_value;

pub use args::CallArgs;
pub use customer::{Bound, CustomerFunction, CustomerUdf, Kernel, as_customer_udf};
pub use model_versions::record as model_record;
pub use pin::{KeyTypes, Pin, Versioned, blocking};
pub use prelude::fit_error;
pub use relation::{AnswerTable, LazyExec, MakeRows, PinSource, RelationFunction, as_answer_table};
pub use rfm_rules::read as read_rfm_rules;
pub use rfm_summary::{RfmSummary, as_rfm_summary};
pub use spec::{ArgKind, Argument, Form, FunctionSpec};

/// Functions of one customer.
pub static CUSTOMER_FUNCTIONS: &[&dyn CustomerFunction] = &[
    &churn_prob::ChurnProb,
    &churn_risk::ChurnRisk,
    &clv::Clv,
    &expected_order_value::ExpectedOrderValue,
    &expected_purchases::ExpectedPurchases,
    &historic_value::HistoricValue,
    &p_alive::PAlive,
    &recommend::Recommend,
    &rfm::RfmFunction,
    &segment::Segment,
    &total_value::TotalValue,
];

/// Functions in FROM.
pub static RELATION_FUNCTIONS: &[&dyn RelationFunction] = &[
    &customers::CustomersFunction,
    &data_quality::DataQuality,
    &function_list::Functions,
    &model_info::ModelInfo,
    &model_versions::ModelVersions,
    &models::Models,
    &readiness::Readiness,
    &rfm_rules::RfmRules,
    &simulate_shop::SimulateShop,
    &simulate_shop::SimulateShopTruth,
];

/// Every function's spec, by name.
pub fn specs() -> impl Iterator<Item = &'static FunctionSpec> {
    let mut all: Vec<&'static FunctionSpec> = CUSTOMER_FUNCTIONS.iter().map(|f| f.spec()).collect();
    all.extend(RELATION_FUNCTIONS.iter().map(|f| f.spec()));
    all.push(&rfm_summary::SPEC);
    all.sort_by_key(|s| s.name);
    all.into_iter()
}

/// The spec of a function, letter case ignored.
pub fn spec(name: &str) -> Option<&'static FunctionSpec> {
    specs().find(|s| s.name.eq_ignore_ascii_case(name))
}
