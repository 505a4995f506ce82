//! A recommender beside the events as they are now.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::common::Result;

use super::pin::Versioned;
use super::prelude::fit_error;
use crate::features::{Interactions, NO_CODE};
use crate::models::AnyRecommender;
use crate::models::recommend::{Feedback, History, ItemCodes, ItemModel, Translated};

pub struct Serving {
    pub interactions: Arc<Interactions>,
    /// The interactions as the model weighs them.
    feedback: Arc<Feedback>,
    pub recommender: AnyRecommender,
    /// Between the items of the events and those of the model.
    pub codes: ItemCodes,
}

impl Serving {
    pub fn new(interactions: Arc<Interactions>, fitted: &Versioned<ItemModel>) -> Result<Self> {
        let known: ArrayRef = Arc::new(StringArray::from_iter_values(&fitted.model.items));
        let codes = ItemCodes::new(interactions.items.lookup(&known)?, interactions.items.len());
        let feedback = interactions.weighted(&fitted.model.weights)?;
        let attached = fitted.model.recommender.attached(&|| codes.feedback(&feedback)).map_err(fit_error)?;
        let recommender = attached.unwrap_or_else(|| Arc::clone(&fitted.model.recommender));
        Ok(Self { interactions, feedback, recommender, codes })
    }

    /// What the model is asked about a user of that code, in its item codes; empty for an unknown one.
    pub fn history<'a>(&self, user: u32, translated: &'a mut Translated) -> History<'a> {
        let history = if user == NO_CODE { History::default() } else { self.interactions.history(&self.feedback, user) };
        translated.of(history, &self.codes)
    }
}
