//! What users have done with items.

use super::Csr;

/// The users × items that recommenders are fitted to: one entry a pair, items ascending inside a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// How much each interaction counts, above 0.
    pub weights: Csr,
    /// When each was last, µs, parallel to the entries.
    pub last_us: Vec<i64>,
    /// The rating of each, parallel to the entries, NaN without one; empty where nobody rates.
    pub ratings: Vec<f32>,
    /// Which of the entries are what is to be foreseen, parallel to them; empty where all are.
    pub goals: Vec<bool>,
}

/// One user's row of [`Feedback`]; the slices are parallel.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'a> {
    /// Ascending.
    pub items: &'a [u32],
    pub weights: &'a [f32],
    pub last_us: &'a [i64],
    /// NaN without a rating; empty where nobody rates.
    pub ratings: &'a [f32],
    /// The user's own row in the [`Feedback`] at hand.
    pub user: Option<u32>,
}

impl Feedback {
    pub fn n_users(&self) -> usize {
        self.weights.n_rows()
    }

    /// The entries of a user.
    pub fn row(&self, user: u32) -> std::ops::Range<usize> {
        self.weights.offsets[user as usize]..self.weights.offsets[user as usize + 1]
    }

    /// Whether an entry is what is to be foreseen.
    pub fn is_goal(&self, entry: usize) -> bool {
        self.goals.get(entry).copied().unwrap_or(true)
    }

    pub fn n_items(&self) -> usize {
        self.weights.n_cols
    }

    pub fn history(&self, user: u32) -> History<'_> {
        let range = self.row(user);
        History {
            items: &self.weights.columns[range.clone()],
            weights: &self.weights.values[range.clone()],
            last_us: &self.last_us[range.clone()],
            ratings: if self.ratings.is_empty() { &[] } else { &self.ratings[range] },
            user: Some(user),
        }
    }
}

impl History<'_> {
    /// Items that the user rated, ascending, and the ratings.
    pub fn rated(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.items.iter().copied().zip(self.ratings.iter().copied()).filter(|(_, r)| r.is_finite())
    }

    /// Positions by time, the latest first; of equal times the larger item is the later.
    pub fn latest_first(&self, into: &mut Vec<usize>) {
        into.clear();
        into.extend(0..self.items.len());
        into.sort_unstable_by_key(|&i| std::cmp::Reverse((self.last_us[i], self.items[i])));
    }
}
