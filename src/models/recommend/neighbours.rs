//! Lists of neighbours: what nearest-neighbour models are made of.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::Csr;
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
    touched: Vec<u32>,
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
        if sum.is_empty() {
            self.touched.push(item);
        }
        sum
    }

    /// The `k` largest of `finish(item, sum)` above 0, equal ones by ascending item, leaving all sums empty.
    pub fn best(&mut self, k: usize, finish: impl Fn(u32, S) -> f64) -> Vec<(u32, f64)> {
        let better = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        self.row.clear();
        for j in self.touched.drain(..) {
            let s = finish(j, std::mem::take(&mut self.sums[j as usize]));
            if s > 0.0 && s.is_finite() {
                self.row.push((j, s));
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

/// The columns of a sparse matrix, laid out for its products with itself.
struct Meetings {
    /// Rows and their values, column by column, ascending in each.
    rows: Vec<(u32, f32)>,
    /// By entry of the matrix, the part of its column from its own row on.
    met: Vec<(u32, u32)>,
}

impl Meetings {
    fn of(vectors: &Csr) -> Result<Self, ModelError> {
        if u32::try_from(vectors.columns.len()).is_err() {
            let message = format!("there are {} pairs of customers and items; neighbours are found among at most {}", vectors.columns.len(), u32::MAX);
            return Err(ModelError::TooLittleData(message));
        }
        let mut next = vec![0_u32; vectors.n_cols + 1];
        vectors.columns.iter().for_each(|&c| next[c as usize + 1] += 1);
        (0..vectors.n_cols).for_each(|c| next[c + 1] += next[c]);
        let ends: Vec<u32> = next[1..].to_vec();
        let (mut rows, mut met) = (vec![(0, 0.0); vectors.columns.len()], Vec::with_capacity(vectors.columns.len()));
        for r in 0..vectors.n_rows() {
            let (columns, values) = vectors.row(r);
            for (&c, &v) in columns.iter().zip(values) {
                let at = &mut next[c as usize];
                rows[*at as usize] = (r as u32, v);
                met.push((*at, ends[c as usize]));
                *at += 1;
            }
        }
        Ok(Self { rows, met })
    }
}

/// The nearest of one row so far; any thread may offer more.
#[derive(Debug, Default)]
struct Nearest {
    /// Bits of the least similarity that may still be among them: as numbers above 0 they have its order.
    least: AtomicU32,
    found: Mutex<Vec<(u32, f32)>>,
}

impl Nearest {
    fn offer(&self, k: usize, (item, similarity): (u32, f32)) {
        // An old bound lets too much through, never too little.
        if similarity.to_bits() < self.least.load(Ordering::Relaxed) {
            return;
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.push((item, similarity));
        if found.len() >= k.saturating_mul(2).max(16) {
            found.select_nth_unstable_by(k - 1, nearer);
            found.truncate(k);
            self.least.store(found[k - 1].1.to_bits(), Ordering::Relaxed);
        }
    }

    fn best(self, k: usize) -> Vec<(u32, f32)> {
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by(nearer);
        found.truncate(k);
        found
    }
}

/// More similar first, equal ones by item.
fn nearer(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
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
                || Sums { sums: vec![S::default(); n], touched: vec![], row: vec![] },
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
        let rows = found?.into_iter().flatten();
        Ok(Self::of_lists(rows.map(|row| row.into_iter().map(|(item, similarity)| (item, similarity as f32)).collect())))
    }

    /// The `k` nearest of each row of `vectors`, which have no values below 0, by the products of two rows, of which `finish` makes
    /// similarities that are the same both ways. A product is added up once for the two: row i meets those from i on, and offers itself
    /// to theirs.
    pub fn of_products(vectors: &Csr, k: usize, control: &Control, finish: impl Fn(u32, u32, f32) -> f32 + Sync) -> Result<Self, ModelError> {
        let n = vectors.n_rows();
        let meetings = Meetings::of(vectors)?;
        let nearest: Vec<Nearest> = (0..n).map(|_| Nearest::default()).collect();
        let chunks: Vec<usize> = (0..n).step_by(CHUNK).collect();
        chunks.par_iter().try_for_each_init(
            || Sums { sums: vec![0.0; n], touched: vec![], row: vec![] },
            |sums, &start| {
                control.check()?;
                for i in start..(start + CHUNK).min(n) {
                    let row = vectors.offsets[i]..vectors.offsets[i + 1];
                    for (&(from, to), &w) in meetings.met[row.clone()].iter().zip(&vectors.values[row]) {
                        let met = meetings.rows[from as usize..to as usize].iter().filter(|(_, v)| w * *v > 0.0);
                        met.for_each(|&(j, v)| sums.add(j, w * v));
                    }
                    for j in sums.touched.drain(..) {
                        let s = finish(i as u32, j, std::mem::take(&mut sums.sums[j as usize]));
                        if s > 0.0 && s.is_finite() {
                            nearest[i].offer(k, (j, s));
                            if j as usize != i {
                                nearest[j as usize].offer(k, (i as u32, s));
                            }
                        }
                    }
                }
                Ok(())
            },
        )?;
        Ok(Self::of_lists(nearest.into_iter().map(|nearest| nearest.best(k))))
    }

    fn of_lists(lists: impl Iterator<Item = Vec<(u32, f32)>>) -> Self {
        let mut out = Self { offsets: vec![0], items: vec![], similarities: vec![] };
        for list in lists {
            for (item, similarity) in list {
                out.items.push(item);
                out.similarities.push(similarity);
            }
            out.offsets.push(out.items.len() as u64);
        }
        out
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
