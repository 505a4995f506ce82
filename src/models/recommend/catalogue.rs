//! A recommender with the keys of its items: what is stored, and read back beside events that have moved on.

use super::{Csr, EventWeights, Feedback, History};
use crate::models::{AnyRecommender, Column, ModelError, Part, Read, part};

/// A recommender whose item codes are positions in `items`.
#[derive(Debug)]
pub struct ItemModel {
    /// Keys of the items, as text.
    pub items: Vec<String>,
    /// How much each kind of event counts in the histories it is asked about, as in those it was fitted to.
    pub weights: EventWeights,
    pub recommender: AnyRecommender,
}

impl ItemModel {
    pub fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.recommender.to_parts();
        parts.push(Part::new("items", vec![("key", Column::Text(self.items.clone()))]));
        parts.push(self.weights.to_part());
        parts
    }

    /// Reads what [`ItemModel::to_parts`] wrote, the recommender with `read`.
    pub fn from_parts(parts: &[Part], read: Read<AnyRecommender>) -> Result<Self, ModelError> {
        let recommender = read(parts)?;
        Ok(Self { items: part(parts, "items")?.text("key")?.to_vec(), weights: EventWeights::from_parts(parts)?, recommender })
    }
}

/// Which codes the items of the events have in a model, and back.
#[derive(Debug)]
pub struct ItemCodes {
    to_model: Vec<u32>,
    from_model: Vec<u32>,
}

/// No code: an item that is not there.
pub const ABSENT: u32 = u32::MAX;

/// One user's history in the codes of a model.
#[derive(Debug, Default)]
pub struct Translated {
    /// Codes of the model, and where in the history they come from.
    entries: Vec<(u32, usize)>,
    items: Vec<u32>,
    weights: Vec<f32>,
    last_us: Vec<i64>,
    ratings: Vec<f32>,
}

impl ItemCodes {
    /// `from_model` has the code in the events, of `n_items` there, of each item of the model, or [`ABSENT`].
    pub fn new(from_model: Vec<u32>, n_items: usize) -> Self {
        let mut to_model = vec![ABSENT; n_items];
        for (code, &at) in from_model.iter().enumerate().filter(|(_, at)| **at != ABSENT) {
            to_model[at as usize] = code as u32;
        }
        Self { to_model, from_model }
    }

    pub fn to_model(&self, item: u32) -> Option<u32> {
        self.to_model.get(item as usize).copied().filter(|i| *i != ABSENT)
    }

    pub fn from_model(&self, item: u32) -> Option<u32> {
        self.from_model.get(item as usize).copied().filter(|i| *i != ABSENT)
    }

    /// The feedback in the codes of the model, without the items that it does not know; the users stay.
    pub fn feedback(&self, of: &Feedback) -> Feedback {
        let weights = Csr { n_cols: self.from_model.len(), offsets: vec![0], columns: vec![], values: vec![] };
        let mut out = Feedback { weights, last_us: vec![], ratings: vec![], goals: vec![] };
        let mut row: Vec<(u32, usize)> = vec![];
        for user in 0..of.n_users() as u32 {
            row.clear();
            row.extend(of.row(user).filter_map(|at| Some((self.to_model(of.weights.columns[at])?, at))));
            row.sort_unstable();
            for &(item, at) in &row {
                out.weights.columns.push(item);
                out.weights.values.push(of.weights.values[at]);
                out.last_us.push(of.last_us[at]);
                out.ratings.extend(of.ratings.get(at));
                out.goals.extend(of.goals.get(at));
            }
            out.weights.offsets.push(out.weights.columns.len());
        }
        out
    }

    /// The code in the events of each item of the model, or [`ABSENT`].
    pub fn all(&self) -> &[u32] {
        &self.from_model
    }
}

impl Translated {
    /// The history in codes of the model, without the items that it does not know.
    pub fn of<'a>(&'a mut self, history: History<'_>, codes: &ItemCodes) -> History<'a> {
        self.entries.clear();
        self.entries.extend(history.items.iter().enumerate().filter_map(|(at, &i)| Some((codes.to_model(i)?, at))));
        self.entries.sort_unstable();
        self.items.clear();
        self.weights.clear();
        self.last_us.clear();
        self.ratings.clear();
        for &(item, at) in &self.entries {
            self.items.push(item);
            self.weights.push(history.weights[at]);
            self.last_us.push(history.last_us[at]);
            self.ratings.extend(history.ratings.get(at));
        }
        self.history(history.user)
    }

    /// The history that was translated last.
    pub fn history(&self, user: Option<u32>) -> History<'_> {
        History { items: &self.items, weights: &self.weights, last_us: &self.last_us, ratings: &self.ratings, user }
    }
}
