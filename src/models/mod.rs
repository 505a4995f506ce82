//! Models: arrays in, fitted parameters and predictions out. No engine types, no SQL, no I/O.
//!
//! A family is a folder; a model type is one line of [`MODEL_TYPES`].

mod control;
mod error;
pub mod lifetime;
pub mod metrics;
mod parts;
pub mod recommend;
pub mod segment;

pub use control::{Control, OnProgress};
pub use error::ModelError;
pub use parts::{Column, Part, part};

/// What a model answers, and so which functions it can stand behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Purchases and spend of customers: clv, churn_prob, p_alive …
    Lifetime,
    /// Groups of customers: segment, rfm.
    Segment,
    /// Items for customers: recommend.
    Recommend,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Segment => "segment",
            Self::Recommend => "recommend",
        }
    }

    /// The name of the model that is made when a function needs one and none is named.
    pub fn auto_name(self) -> &'static str {
        match self {
            Self::Lifetime => "auto_lifetime",
            Self::Segment => "auto_rfm",
            Self::Recommend => "auto_recommend",
        }
    }

    /// What its models predict, as shown by models().
    pub fn target(self) -> &'static str {
        match self {
            Self::Lifetime => "purchases and value",
            Self::Segment => "segment",
            Self::Recommend => "next item",
        }
    }
}

/// An option of CREATE MODEL ... WITH (name = value).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionSpec {
    pub name: &'static str,
    pub default: &'static str,
    pub allowed: Allowed,
    pub about: &'static str,
}

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    OneOf(&'static [&'static str]),
    Whole {
        least: u64,
        most: u64,
    },
    /// A number of days or an interval such as '90 days'.
    Days {
        least: f64,
        most: f64,
    },
    Text,
}

/// A kind of model: `model_type = name`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelType {
    pub name: &'static str,
    pub family: Family,
    pub about: &'static str,
    pub options: &'static [OptionSpec],
}

/// Options that every model type takes.
pub static SHARED_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "split",
        default: "time",
        allowed: Allowed::OneOf(&["time", "none"]),
        about: "'time' holds out the last part of the log and scores the model on it; 'none' does not",
    },
    OptionSpec {
        name: "holdout",
        default: "90 days",
        allowed: Allowed::Days { least: 1.0, most: 3650.0 },
        about: "length of the part held out, at most a third of the log",
    },
    OptionSpec {
        name: "seed",
        default: "42",
        allowed: Allowed::Whole { least: 0, most: u64::MAX },
        about: "seed of random choices; these models make none",
    },
    OptionSpec { name: "comment", default: "", allowed: Allowed::Text, about: "kept with the model" },
];

/// Every model type there is.
pub static MODEL_TYPES: &[ModelType] = &[
    ModelType {
        name: "bg_nbd",
        family: Family::Lifetime,
        about: "BG/NBD purchases with gamma-gamma spend",
        options: &[OptionSpec {
            name: "spend",
            default: "gamma_gamma",
            allowed: Allowed::OneOf(&["gamma_gamma", "mean"]),
            about: "gamma_gamma: each customer's own expected value; mean: the same for everybody",
        }],
    },
    ModelType { name: "rfm", family: Family::Segment, about: "RFM scores by value cut points, and a rule table", options: &[] },
    ModelType {
        name: "item_knn",
        family: Family::Recommend,
        about: "item-based nearest neighbours",
        options: &[
            OptionSpec {
                name: "similarity",
                default: "tfidf",
                allowed: Allowed::OneOf(&["tfidf", "cosine"]),
                about: "tfidf weighs rare items up before the cosine",
            },
            OptionSpec {
                name: "neighbours",
                default: "20",
                allowed: Allowed::Whole { least: 1, most: 10_000 },
                about: "how many neighbours each item keeps",
            },
        ],
    },
    ModelType { name: "popularity", family: Family::Recommend, about: "the same most bought items for everybody", options: &[] },
];

/// The model type of that name.
pub fn model_type(name: &str) -> Option<&'static ModelType> {
    MODEL_TYPES.iter().find(|t| t.name.eq_ignore_ascii_case(name))
}
