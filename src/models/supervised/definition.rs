//! What a supervised model predicts, and of what: the statement that made it, kept with the model.

use serde::{Deserialize, Serialize};

use crate::models::{Column, ModelError, Part, part};

/// Names and their expressions in SQL.
pub type NamedSql = Vec<(String, String)>;

/// The label and the features, in SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    /// `PREDICT label WITHIN days FOR EACH user_id WHERE eligible`.
    Window {
        /// An aggregate over the events of the window.
        label: String,
        days: u32,
        /// A condition on the features at the cut-off.
        eligible: Option<String>,
        /// `USING FEATURES`: aggregates over the events up to the cut-off, besides the built-in ones.
        features: NamedSql,
        /// `TRANSFORM`: expressions over all features, which take their place.
        transform: Option<NamedSql>,
    },
    /// `TARGET column AS query`.
    Query { target: String, query: String, transform: Option<NamedSql> },
}

impl Definition {
    /// As `models()` shows it.
    pub fn target(&self) -> String {
        match self {
            Self::Window { label, days, .. } => format!("{label} within {days} days"),
            Self::Query { target, .. } => target.clone(),
        }
    }

    /// Whether the label is no purchase in the window (`Some(true)`), a purchase in it (`Some(false)`), or something else.
    pub fn is_churn(&self) -> Option<bool> {
        match self.squeezed()?.strip_prefix("count(*)filter(whereevent_type='purchase')")? {
            "=0" | "<1" | "<=0" => Some(true),
            ">0" | ">=1" | "<>0" | "!=0" => Some(false),
            _ => None,
        }
    }

    /// The feature that is a buy-till-you-die model's own forecast of the label, where there is one: of churn, and of what is spent.
    pub fn forecast(&self) -> Option<&'static str> {
        match &self.squeezed()?[..] {
            "sum(amount)" | "sum(amount)filter(whereevent_type='purchase')" => Some("bg_nbd_value"),
            _ => (self.is_churn() == Some(true)).then_some("bg_nbd_churn"),
        }
    }

    /// The label of a window, without spaces.
    fn squeezed(&self) -> Option<String> {
        match self {
            Self::Window { label, .. } => Some(label.to_lowercase().split_whitespace().collect()),
            Self::Query { .. } => None,
        }
    }

    pub fn transform(&self) -> Option<&NamedSql> {
        match self {
            Self::Window { transform, .. } | Self::Query { transform, .. } => transform.as_ref(),
        }
    }

    pub fn to_part(&self) -> Part {
        Part::new("definition", vec![("json", Column::Text(vec![serde_json::to_string(self).unwrap_or_default()]))])
    }

    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let text = part(parts, "definition")?.text("json")?;
        let json = text.first().map_or("", String::as_str);
        serde_json::from_str(json).map_err(|e| ModelError::Damaged(format!("definition: {e}")))
    }
}

/// A feature that tenure makes, and the aggregate it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSql {
    pub name: String,
    /// What the aggregate is over; empty for an expression of the analyst's.
    pub relation: String,
    pub sql: String,
}
