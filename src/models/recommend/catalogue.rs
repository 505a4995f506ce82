//! A recommender with the keys of its items: what is stored, and read back beside events that have moved on.

use crate::models::{AnyRecommender, Column, ModelError, Part, Read, part};

/// A recommender whose item codes are positions in `items`.
#[derive(Debug)]
pub struct ItemModel {
    /// Keys of the items, as text.
    pub items: Vec<String>,
    pub recommender: AnyRecommender,
}

impl ItemModel {
    pub fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.recommender.to_parts();
        parts.push(Part::new("items", vec![("key", Column::Text(self.items.clone()))]));
        parts
    }

    /// Reads what [`ItemModel::to_parts`] wrote, the recommender with `read`.
    pub fn from_parts(parts: &[Part], read: Read<AnyRecommender>) -> Result<Self, ModelError> {
        Ok(Self { items: part(parts, "items")?.text("key")?.to_vec(), recommender: read(parts)? })
    }
}
