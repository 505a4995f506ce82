//! The same most chosen items for everybody: the baseline every recommender has to beat.

use std::sync::Arc;

use super::{Feedback, Filter, History, Recommender, Scored, Scores, Shares};
use crate::models::{Column, Control, Make, ModelError, ModelType, Part, part};

/// `model_type = 'popularity'`.
pub static POPULARITY: ModelType = ModelType {
    name: "popularity",
    about: "the same most bought items for everybody",
    options: &[],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, _, control| Ok(Arc::new(Popularity::fit(feedback, control)?)),
        read: |parts| {
            let p = part(parts, "popularity")?;
            let items = p.u32("item")?.to_vec();
            let n_items = items.iter().max().map_or(0, |&i| i as usize + 1);
            Ok(Arc::new(Popularity { n_items, items, users: p.f32("users")?.to_vec() }))
        },
    },
};

/// Items by descending sum of the users' weights (their number, where all weigh 1), ties by item code.
#[derive(Debug, PartialEq)]
pub struct Popularity {
    n_items: usize,
    items: Vec<u32>,
    users: Vec<f32>,
}

impl Popularity {
    pub fn fit(feedback: &Feedback, control: &Control) -> Result<Self, ModelError> {
        control.check()?;
        let mut sums = vec![0f64; feedback.n_items()];
        feedback.weights.columns.iter().zip(&feedback.weights.values).for_each(|(&i, &w)| sums[i as usize] += f64::from(w));
        let mut items: Vec<u32> = (0..feedback.n_items() as u32).filter(|&i| sums[i as usize] > 0.0).collect();
        items.sort_by(|&a, &b| sums[b as usize].total_cmp(&sums[a as usize]).then(a.cmp(&b)));
        let users = items.iter().map(|&i| sums[i as usize] as f32).collect();
        Ok(Self { n_items: feedback.n_items(), items, users })
    }
}

impl Recommender for Popularity {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn score(&self, _: History<'_>, scores: &mut Scores) {
        let all = scores.all(self.n_items);
        self.items.iter().zip(&self.users).for_each(|(&i, &n)| all[i as usize] = n);
    }

    fn shares(&self, _: History<'_>, item: u32) -> Shares {
        Shares { baseline: self.items.iter().position(|i| *i == item).map_or(0.0, |at| self.users[at]), of_items: vec![] }
    }

    /// Without a look at the items behind the first k.
    fn top_k(&self, _: History<'_>, filter: Filter<'_>, k: usize, _: &mut Scores, out: &mut Vec<Scored>) {
        out.clear();
        let open = self.items.iter().zip(&self.users).filter(|(i, _)| filter.passes(**i));
        out.extend(open.take(k).map(|(&item, &score)| Scored { item, score, because: None }));
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::new("popularity", vec![("item", Column::U32(self.items.clone())), ("users", Column::F32(self.users.clone()))])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Arc::new(Popularity::fit(f, &Control::default())?)), &POPULARITY.make);
    }
}
