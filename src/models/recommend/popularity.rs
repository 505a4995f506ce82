//! The same most chosen items for everybody: the baseline every recommender has to beat.

use super::{Csr, Recommender, Scored, Scratch};
use crate::models::{Column, Control, Make, ModelError, ModelType, Part, part};

/// `model_type = 'popularity'`.
pub static POPULARITY: ModelType = ModelType {
    name: "popularity",
    about: "the same most bought items for everybody",
    options: &[],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |interactions, _, control| Ok(Box::new(Popularity::fit(interactions, control)?)),
        read: |parts| {
            let p = part(parts, "popularity")?;
            Ok(Box::new(Popularity { items: p.u32("item")?.to_vec(), users: p.f32("users")?.to_vec() }))
        },
    },
};

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
}

impl Recommender for Popularity {
    fn recommend(&self, _: &[u32], _: &[f32], exclude: &[u32], k: usize, _: &mut Scratch, out: &mut Vec<Scored>) {
        out.clear();
        let open = self.items.iter().zip(&self.users).filter(|(i, _)| exclude.binary_search(i).is_err());
        out.extend(open.take(k).map(|(&item, &score)| Scored { item, score, because: None }));
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::new("popularity", vec![("item", Column::U32(self.items.clone())), ("users", Column::F32(self.users.clone()))])]
    }
}
