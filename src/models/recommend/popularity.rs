//! The same most chosen items for everybody: the baseline every recommender has to beat.

use super::{Csr, Scored};
use crate::models::{Column, Control, ModelError, Part, part};

/// Items by descending number of users, ties by item code.
#[derive(Debug, PartialEq)]
pub struct Popularity {
    items: Vec<u32>,
    users: Vec<f32>,
}

impl Popularity {
    pub fn fit(interactions: &Csr, control: &Control) -> Result<Self, ModelError> {
        control.check()?;
        let mut count = vec![0u32; interactions.n_cols];
        interactions.columns.iter().for_each(|&i| count[i as usize] += 1);
        let mut items: Vec<u32> = (0..interactions.n_cols as u32).filter(|&i| count[i as usize] > 0).collect();
        items.sort_by_key(|&i| (std::cmp::Reverse(count[i as usize]), i));
        let users = items.iter().map(|&i| count[i as usize] as f32).collect();
        Ok(Self { items, users })
    }

    pub(super) fn recommend(&self, exclude: &[u32], k: usize, out: &mut Vec<Scored>) {
        let open = self.items.iter().zip(&self.users).filter(|(i, _)| exclude.binary_search(i).is_err());
        out.extend(open.take(k).map(|(&item, &score)| Scored { item, score, because: None }));
    }

    pub(super) fn to_parts(&self) -> Vec<Part> {
        vec![Part::new("popularity", vec![("item", Column::U32(self.items.clone())), ("users", Column::F32(self.users.clone()))])]
    }

    pub(super) fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let p = part(parts, "popularity")?;
        Ok(Self { items: p.u32("item")?.to_vec(), users: p.f32("users")?.to_vec() })
    }
}
