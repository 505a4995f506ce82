//! Lists of neighbours: what nearest-neighbour models are made of.

use rayon::prelude::*;

use super::prefetch::Prefetch;
use crate::models::{Column, Control, ModelError, Part, part};

/// Each item's neighbours by descending similarity, equal ones by ascending item.
#[derive(Debug, PartialEq)]
pub struct Neighbours {
    offsets: Vec<u64>,
    items: Vec<u32>,
    similarities: Vec<f32>,
}

/// What is added up between two rows.
pub trait Sum: Copy + Default {
    /// Whether nothing has been added yet.
    fn is_empty(&self) -> bool;
}

impl Sum for f32 {
    fn is_empty(&self) -> bool {
        *self == 0.0
    }
}

/// The sums of one row of a sparse product: all empty between two rows.
#[derive(Debug, Default)]
pub struct Sums<S = f32> {
    sums: Vec<S>,
    /// The first `count` are items that something was added to.
    touched: Vec<u32>,
    count: usize,
    row: Vec<(u32, f64)>,
}

/// Rows that are found by one task.
const CHUNK: usize = 64;

impl Sums {
    pub fn add(&mut self, item: u32, value: f32) {
        *self.at(item) += value;
    }
}

impl<S: Sum> Sums<S> {
    /// Makes room for the items 0..n.
    pub fn hold(&mut self, n: usize) {
        if self.sums.len() < n {
            self.sums.resize(n, S::default());
        }
    }

    /// The sum of an item, to be added to.
    pub fn at(&mut self, item: u32) -> &mut S {
        let sum = &mut self.sums[item as usize];
        if self.count == self.touched.len() {
            self.touched.resize((2 * self.count).max(64), 0);
        }
        // Written without a jump: which items are met for the first time cannot be foreseen.
        self.touched[self.count] = item;
        self.count += usize::from(sum.is_empty());
        sum
    }

    /// The `k` largest of `finish(item, sum)` above 0, equal ones by ascending item, leaving all sums empty.
    pub fn best(&mut self, k: usize, finish: impl Fn(u32, S) -> f64) -> Vec<(u32, f64)> {
        let better = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let room = k.saturating_mul(2).max(16);
        self.row.clear();
        // What is below the k-th best so far need not be kept.
        let mut bound = if k == 0 { f64::INFINITY } else { f64::MIN_POSITIVE };
        for &j in &self.touched[..std::mem::take(&mut self.count)] {
            let s = finish(j, std::mem::take(&mut self.sums[j as usize]));
            if s >= bound && s.is_finite() {
                self.row.push((j, s));
                if self.row.len() >= room {
                    self.row.select_nth_unstable_by(k - 1, better);
                    self.row.truncate(k);
                    bound = self.row[k - 1].1;
                }
            }
        }
        if self.row.len() > k {
            self.row.select_nth_unstable_by(k, better);
            self.row.truncate(k);
        }
        self.row.sort_unstable_by(better);
        self.row.clone()
    }
}

impl Neighbours {
    /// The `k` nearest of each of `n` items. `row(i, sums)` adds up what there is between item `i` and others, `finish(i, j, sum)` makes similarities of
    /// the sums; what is not above 0 is no neighbour.
    pub fn find<S: Sum>(
        n: usize,
        k: usize,
        control: &Control,
        row: impl Fn(u32, &mut Sums<S>) + Sync,
        finish: impl Fn(u32, u32, S) -> f32 + Sync,
    ) -> Result<Self, ModelError> {
        let chunks: Vec<usize> = (0..n).step_by(CHUNK).collect();
        let found: Result<Vec<Vec<_>>, ModelError> = chunks
            .par_iter()
            .map_init(
                || Sums { sums: vec![S::default(); n], ..Sums::default() },
                |sums, &start| {
                    control.check()?;
                    let one = |i: usize| {
                        row(i as u32, sums);
                        sums.best(k, |j, sum| f64::from(finish(i as u32, j, sum)))
                    };
                    Ok((start..(start + CHUNK).min(n)).map(one).collect())
                },
            )
            .collect();
        let mut out = Self { offsets: vec![0], items: vec![], similarities: vec![] };
        for row in found?.into_iter().flatten() {
            for (item, similarity) in row {
                out.items.push(item);
                out.similarities.push(similarity as f32);
            }
            out.offsets.push(out.items.len() as u64);
        }
        Ok(out)
    }

    /// Has what [`Self::of`] answers on its way from memory, or the first of it.
    pub fn prefetch(&self, item: u32) {
        const FIRST: usize = 128;
        let prefetch = Prefetch::new();
        let (start, end) = (self.offsets[item as usize] as usize, self.offsets[item as usize + 1] as usize);
        let first = start..end.min(start + FIRST);
        prefetch.lines(&self.items, first.clone());
        prefetch.lines(&self.similarities, first);
    }

    /// An item's neighbours and their similarities, the most similar first.
    pub fn of(&self, item: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[item as usize] as usize..self.offsets[item as usize + 1] as usize;
        (&self.items[range.clone()], &self.similarities[range])
    }

    /// How similar `other` is to `item`; 0 where it is no neighbour.
    pub fn similarity(&self, item: u32, other: u32) -> f32 {
        let (items, similarities) = self.of(item);
        items.iter().position(|&i| i == other).map_or(0.0, |at| similarities[at])
    }

    pub fn n_items(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The lists as tables whose names begin with `name`.
    pub fn to_parts(&self, name: &str) -> Vec<Part> {
        vec![
            Part::new(&format!("{name}_offsets"), vec![("offset", Column::U64(self.offsets.clone()))]),
            Part::new(name, vec![("item", Column::U32(self.items.clone())), ("similarity", Column::F32(self.similarities.clone()))]),
        ]
    }

    pub fn from_parts(parts: &[Part], name: &str) -> Result<Self, ModelError> {
        let table = part(parts, name)?;
        let offsets = part(parts, &format!("{name}_offsets"))?.u64("offset")?.to_vec();
        let (items, similarities) = (table.u32("item")?.to_vec(), table.f32("similarity")?.to_vec());
        let ascending =
            offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.first() == Some(&0) && offsets.last() == Some(&(items.len() as u64));
        let known = items.iter().all(|&i| (i as usize) < offsets.len().saturating_sub(1));
        if !ascending || !known || similarities.len() != items.len() {
            return Err(ModelError::Damaged("neighbours that do not fit together".into()));
        }
        Ok(Self { offsets, items, similarities })
    }
}
