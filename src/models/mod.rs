//! Models: arrays in, fitted parameters and predictions out. No engine types, no SQL, no I/O.
//!
//! A family is a folder; a model type is a folder or a file in it with its [`ModelType`], and one line of [`MODEL_TYPES`].

mod control;
mod error;
mod hash;
pub mod lifetime;
pub mod metrics;
mod options;
mod parts;
pub mod propensity;
pub mod recommend;
pub mod segment;
pub mod supervised;

pub use control::{Control, OnProgress};
pub use error::ModelError;
pub use options::{Allowed, HOLDOUT_DAYS, OptionSpec, Options, SHARED_OPTIONS, days};
pub use parts::{Column, Part, part};

use std::fmt;
use std::sync::Arc;

use lifetime::{Fit, Purchases, Sample};
use recommend::{Feedback, Recommender};
use supervised::{Predictor, Training};

/// What a model answers, and so which functions it can stand behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Purchases and spend of customers: clv, churn_prob, p_alive …
    Lifetime,
    /// Groups of customers: segment, rfm.
    Segment,
    /// Items for customers: recommend.
    Recommend,
    /// A label from features: predict.
    Supervised,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Segment => "segment",
            Self::Recommend => "recommend",
            Self::Supervised => "supervised",
        }
    }

    /// The name of the model that is made when a function needs one and none is named.
    pub fn auto_name(self) -> &'static str {
        match self {
            Self::Lifetime => "auto_lifetime",
            Self::Segment => "auto_rfm",
            Self::Recommend => "auto_recommend",
            Self::Supervised => "auto_churn",
        }
    }

    /// What its models predict, as shown by models().
    pub fn target(self) -> &'static str {
        match self {
            Self::Lifetime => "purchases and value",
            Self::Segment => "segment",
            Self::Recommend => "next item",
            Self::Supervised => "label",
        }
    }
}

/// The auto model of predict_rating(): of type mf_explicit.
pub const AUTO_RATINGS: &str = "auto_ratings";

/// A kind of model: `model_type = name`.
pub struct ModelType {
    pub name: &'static str,
    pub about: &'static str,
    pub options: &'static [OptionSpec],
    /// Whether it plays when a model of its family is chosen automatically, and whether it is a baseline, which is played and never chosen.
    pub in_auto: bool,
    pub baseline: bool,
    pub make: Make,
}

impl fmt::Debug for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Fitted models of any type of a family.
pub type AnyPurchases = Arc<dyn Purchases>;
pub type AnyRecommender = Arc<dyn Recommender>;
pub type AnyPredictor = Arc<dyn Predictor>;

/// Reads a model back from the tables it wrote.
pub type Read<M> = fn(&[Part]) -> Result<M, ModelError>;

/// How models of a type are fitted, and read back from the tables they wrote.
pub enum Make {
    Purchases { fit: fn(&Sample<'_>, &Options, &Control) -> Result<Fit<AnyPurchases>, ModelError>, read: Read<AnyPurchases> },
    Rfm,
    Recommender { fit: fn(&Feedback, &Options, &Control) -> Result<AnyRecommender, ModelError>, read: Read<AnyRecommender> },
    Supervised { fit: fn(Training<'_>, &Options, &Control) -> Result<AnyPredictor, ModelError>, read: Read<AnyPredictor> },
}

impl ModelType {
    pub fn family(&self) -> Family {
        match self.make {
            Make::Purchases { .. } => Family::Lifetime,
            Make::Rfm => Family::Segment,
            Make::Recommender { .. } => Family::Recommend,
            Make::Supervised { .. } => Family::Supervised,
        }
    }

    /// Its own options, those of its family and those of all.
    pub fn all_options(&self) -> impl Iterator<Item = &'static OptionSpec> {
        let (family, shared): (&[OptionSpec], &[OptionSpec]) = match self.family() {
            Family::Recommend => (recommend::EVENT_OPTIONS, SHARED_OPTIONS),
            Family::Supervised => (supervised::OPTIONS, &[]),
            _ => (&[], SHARED_OPTIONS),
        };
        self.options.iter().chain(family).chain(shared)
    }

    /// The type of that name, letter case ignored.
    pub fn of(name: &str) -> Option<&'static Self> {
        MODEL_TYPES.iter().copied().find(|t| t.name.eq_ignore_ascii_case(name))
    }
}

/// Every model type there is. Where types of a family score the same, the auto model is of the earlier one.
pub static MODEL_TYPES: &[&ModelType] = &[
    &lifetime::BG_NBD,
    &lifetime::MBG_NBD,
    &lifetime::BG_NBD_BURST,
    &lifetime::PARETO_NBD,
    &lifetime::PARETO_NBD_CALENDAR,
    &lifetime::GGOMPERTZ_NBD,
    &lifetime::BG_CNBD_K,
    &lifetime::MBG_CNBD_K,
    &lifetime::BG_BB,
    &lifetime::SBG,
    &lifetime::BETA_DISCRETE_WEIBULL,
    &lifetime::CLV_LINEAR,
    &lifetime::NAIVE_RATE,
    &lifetime::ZERO,
    &segment::RFM,
    &recommend::ITEM_KNN,
    &recommend::USER_KNN,
    &recommend::MF_EXPLICIT,
    &recommend::EASE,
    &recommend::SEQ_KNN,
    &recommend::MF_IMPLICIT,
    &recommend::BPR,
    &recommend::ASSOCIATION_RULES,
    &recommend::POPULARITY,
    &recommend::BLEND,
    &supervised::LOGISTIC_REG,
    &supervised::LINEAR_REG,
    &supervised::HURDLE,
    &supervised::TWEEDIE_REG,
    &supervised::NAIVE_BAYES,
    &supervised::DECISION_TREE,
    &supervised::RANDOM_FOREST,
    &supervised::GBT,
    &supervised::AVERAGED,
    &supervised::CLOSED_FORM,
];
