//! Item-based nearest neighbours (Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms", ACM TOIS 22(1)).
//!
//! Items are vectors over users. sim(i, j) = Σ_u w_ui·w_uj / (‖w_i‖·‖w_j‖), where w is the interaction itself (cosine) or the
//! interaction weighted by the user's inverse document frequency, √x·ln(I / (1 + n_u)) for a user with n_u of I items, at
//! least 0 (TF-IDF, as `implicit` does it: users who have everything say little about any item). Each item keeps its K
//! most similar items, itself included as `implicit` counts it; score(u, i) = Σ_{j in history} weight_j · sim(i, j) over the
//! neighbours kept by j.

use rayon::prelude::*;

use super::{Csr, Recommender, Scored, Scratch, select_top};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'item_knn'`.
pub static ITEM_KNN: ModelType = ModelType {
    name: "item_knn",
    about: "item-based nearest neighbours",
    options: &[
        OptionSpec {
            name: "similarity",
            default: "tfidf",
            allowed: Allowed::OneOf(&["tfidf", "cosine"]),
            about: "tfidf weighs rare items up before the cosine",
        },
        OptionSpec {
            name: "neighbours",
            default: "20",
            allowed: Allowed::Whole { least: 2, most: 10_000 },
            about: "how many neighbours each item keeps, itself counted",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |interactions, options, control| {
            let similarity = if options.is("similarity", "cosine") { Similarity::Cosine } else { Similarity::TfIdf };
            let params = ItemKnnParams { similarity, neighbours: options.whole("neighbours") as usize };
            Ok(Box::new(ItemKnn::fit(interactions, &params, control)?))
        },
        read: |parts| Ok(Box::new(ItemKnn::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similarity {
    Cosine,
    TfIdf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemKnnParams {
    pub similarity: Similarity,
    /// Neighbours each item keeps, at least 1.
    pub neighbours: usize,
}

/// Each item's neighbours by descending similarity.
#[derive(Debug, PartialEq)]
pub struct ItemKnn {
    offsets: Vec<u64>,
    items: Vec<u32>,
    similarities: Vec<f32>,
}

/// An item's neighbours and similarities, the most similar first.
type Neighbours = Vec<(u32, f32)>;

/// What one thread reuses from item to item: all zero between two.
#[derive(Default)]
struct Accumulator {
    sums: Vec<f32>,
    touched: Vec<u32>,
    candidates: Neighbours,
}

/// Items whose neighbours are found by one task.
const CHUNK: usize = 64;

impl ItemKnn {
    /// # Errors
    /// `neighbours` of 0, or cancelled.
    pub fn fit(interactions: &Csr, params: &ItemKnnParams, control: &Control) -> Result<Self, ModelError> {
        if params.neighbours == 0 {
            return Err(ModelError::Option { option: "neighbours".into(), given: "0".into(), allowed: "a whole number from 1".into() });
        }
        let mut by_user = interactions.clone();
        if params.similarity == Similarity::TfIdf {
            weigh_by_idf(&mut by_user);
        }
        normalise_columns(&mut by_user);
        let by_item = by_user.transpose();
        let n = interactions.n_cols;
        let chunks: Vec<usize> = (0..n).step_by(CHUNK).collect();
        let found: Result<Vec<Vec<Neighbours>>, ModelError> = chunks
            .par_iter()
            .map_init(
                || Accumulator { sums: vec![0.0; n], ..Accumulator::default() },
                |accumulator, &start| {
                    control.check()?;
                    let end = (start + CHUNK).min(n);
                    Ok((start..end).map(|i| neighbours(i, &by_item, &by_user, params.neighbours, accumulator)).collect())
                },
            )
            .collect();
        let mut model = Self { offsets: vec![0], items: vec![], similarities: vec![] };
        for row in found?.into_iter().flatten() {
            for (item, similarity) in row {
                model.items.push(item);
                model.similarities.push(similarity);
            }
            model.offsets.push(model.items.len() as u64);
        }
        Ok(model)
    }

    /// An item's neighbours and their similarities, the most similar first.
    pub fn similar(&self, item: u32) -> (&[u32], &[f32]) {
        let range = self.offsets[item as usize] as usize..self.offsets[item as usize + 1] as usize;
        (&self.items[range.clone()], &self.similarities[range])
    }

    fn n_items(&self) -> usize {
        self.offsets.len() - 1
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let table = part(parts, "item_knn")?;
        let offsets = part(parts, "item_knn_offsets")?.u64("offset")?.to_vec();
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

impl Recommender for ItemKnn {
    fn recommend(&self, history: &[u32], weights: &[f32], exclude: &[u32], k: usize, scratch: &mut Scratch, out: &mut Vec<Scored>) {
        scratch.score.resize(self.n_items().max(scratch.score.len()), 0.0);
        scratch.best.resize(scratch.score.len(), (0.0, 0));
        for (&j, &w) in history.iter().zip(weights) {
            let (items, similarities) = self.similar(j);
            for (&i, &s) in items.iter().zip(similarities) {
                let (sum, best) = (&mut scratch.score[i as usize], &mut scratch.best[i as usize]);
                if *sum == 0.0 {
                    scratch.touched.push(i);
                }
                *sum += w * s;
                if w * s > best.0 {
                    *best = (w * s, j);
                }
            }
        }
        let open = scratch.touched.iter().filter(|i| exclude.binary_search(i).is_err());
        let scored = open.map(|&i| {
            let (most, because) = scratch.best[i as usize];
            Scored { item: i, score: scratch.score[i as usize], because: (most > 0.0).then_some(because) }
        });
        let candidates = scored.filter(|s| s.score > 0.0 && s.score.is_finite()).collect();
        select_top(candidates, k, out);
        for i in scratch.touched.drain(..) {
            scratch.score[i as usize] = 0.0;
            scratch.best[i as usize] = (0.0, 0);
        }
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![
            Part::new("item_knn_offsets", vec![("offset", Column::U64(self.offsets.clone()))]),
            Part::new("item_knn", vec![("item", Column::U32(self.items.clone())), ("similarity", Column::F32(self.similarities.clone()))]),
        ]
    }
}

/// √x · max(0, ln(I / (1 + n_u))), where I is the number of items and n_u how many of them user u has. Where that leaves
/// nothing at all (everybody has nearly everything) the interactions stay as they are.
fn weigh_by_idf(by_user: &mut Csr) {
    let items = by_user.n_cols as f64;
    let idf_of = |n: usize| (items / (1.0 + n as f64)).ln().max(0.0);
    if (0..by_user.n_rows()).all(|u| by_user.row(u).0.is_empty() || idf_of(by_user.row(u).0.len()) == 0.0) {
        return;
    }
    for u in 0..by_user.n_rows() {
        let range = by_user.offsets[u]..by_user.offsets[u + 1];
        let idf = idf_of(range.len());
        for v in &mut by_user.values[range] {
            *v = (f64::from(*v).sqrt() * idf) as f32;
        }
    }
}

/// Divides every item's vector by its length; a vector of zeros stays.
fn normalise_columns(by_user: &mut Csr) {
    let mut squares = vec![0f64; by_user.n_cols];
    for (&i, &v) in by_user.columns.iter().zip(&by_user.values) {
        squares[i as usize] += f64::from(v) * f64::from(v);
    }
    for (&i, v) in by_user.columns.iter().zip(by_user.values.iter_mut()) {
        if squares[i as usize] > 0.0 {
            *v = (f64::from(*v) / squares[i as usize].sqrt()) as f32;
        }
    }
}

/// The K most similar items of item `i`: one row of the product of items by users and users by items.
fn neighbours(i: usize, by_item: &Csr, by_user: &Csr, k: usize, accumulator: &mut Accumulator) -> Neighbours {
    let Accumulator { sums, touched, candidates: row } = accumulator;
    let (users, weights) = by_item.row(i);
    for (&u, &w) in users.iter().zip(weights) {
        let (items, values) = by_user.row(u as usize);
        for (&j, &v) in items.iter().zip(values) {
            let sum = &mut sums[j as usize];
            if *sum == 0.0 {
                touched.push(j);
            }
            *sum += w * v;
        }
    }
    let better = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    row.clear();
    for j in touched.drain(..) {
        let s = std::mem::take(&mut sums[j as usize]);
        if s > 0.0 {
            row.push((j, s));
        }
    }
    if row.len() > k {
        row.select_nth_unstable_by(k, better);
        row.truncate(k);
    }
    row.sort_unstable_by(better);
    row.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn random(rng: &mut StdRng, users: usize, items: usize, density: f64) -> Csr {
        let mut m = Csr { n_cols: items, offsets: vec![0], columns: vec![], values: vec![] };
        for _ in 0..users {
            let row: Vec<u32> = (0..items as u32).filter(|_| rng.random::<f64>() < density).collect();
            m.values.extend(row.iter().map(|_| 1.0));
            m.columns.extend(row);
            m.offsets.push(m.columns.len());
        }
        m
    }

    /// Similarities the slow way, in f64.
    fn oracle(m: &Csr, similarity: Similarity) -> Vec<Vec<f64>> {
        let mut dense = vec![vec![0.0; m.n_rows()]; m.n_cols];
        for (u, range) in m.offsets.windows(2).enumerate() {
            let (items, values) = (&m.columns[range[0]..range[1]], &m.values[range[0]..range[1]]);
            let idf = (m.n_cols as f64 / (1.0 + items.len() as f64)).ln().max(0.0);
            for (&i, &v) in items.iter().zip(values) {
                dense[i as usize][u] = if similarity == Similarity::TfIdf { f64::from(v).sqrt() * idf } else { f64::from(v) };
            }
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let norm: Vec<f64> = dense.iter().map(|d| dot(d, d).sqrt()).collect();
        let sim = |i: usize, j: usize| if norm[i] * norm[j] > 0.0 { dot(&dense[i], &dense[j]) / (norm[i] * norm[j]) } else { 0.0 };
        (0..m.n_cols).map(|i| (0..m.n_cols).map(|j| sim(i, j)).collect()).collect()
    }

    #[test]
    fn neighbours_are_those_of_brute_force() {
        let mut rng = StdRng::seed_from_u64(1);
        for similarity in [Similarity::Cosine, Similarity::TfIdf] {
            for _ in 0..20 {
                let m = random(&mut rng, 30, 25, 0.2);
                let knn = ItemKnn::fit(&m, &ItemKnnParams { similarity, neighbours: 6 }, &Control::default()).unwrap();
                let truth = oracle(&m, similarity);
                for i in 0..25u32 {
                    let (items, sims) = knn.similar(i);
                    let mut best: Vec<f64> = truth[i as usize].iter().copied().filter(|s| *s > 0.0).collect();
                    best.sort_by(|a, b| b.total_cmp(a));
                    best.truncate(6);
                    assert_eq!(items.len(), best.len());
                    for ((&j, &s), b) in items.iter().zip(sims).zip(best) {
                        assert!((f64::from(s) - b).abs() < 1e-5 && (truth[i as usize][j as usize] - b).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        let mut rng = StdRng::seed_from_u64(2);
        let m = random(&mut rng, 60, 40, 0.15);
        let model = ItemKnn::fit(&m, &ItemKnnParams { similarity: Similarity::TfIdf, neighbours: 10 }, &Control::default()).unwrap();
        let (mut scratch, mut out) = (Scratch::default(), vec![]);
        for u in 0..60 {
            let (history, weights) = m.row(u);
            for k in [1, 3, 100] {
                model.recommend(history, weights, history, k, &mut scratch, &mut out);
                assert!(out.len() <= k);
                assert!(out.iter().all(|s| history.binary_search(&s.item).is_err() && s.score > 0.0));
                assert!(out.windows(2).all(|w| w[0].score > w[1].score || (w[0].score == w[1].score && w[0].item < w[1].item)));
                assert!(out.iter().all(|s| s.because.is_some_and(|b| history.contains(&b))));
            }
            // Filter before selection: the first of a shorter list is the first of the longer one without the excluded.
            let all = out.clone();
            if let [first, second, ..] = all[..] {
                let mut exclude = history.to_vec();
                exclude.push(first.item);
                exclude.sort_unstable();
                model.recommend(history, weights, &exclude, 1, &mut scratch, &mut out);
                assert_eq!(out[0].item, second.item);
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing_and_the_store_keeps_all() {
        let m = random(&mut StdRng::seed_from_u64(3), 200, 150, 0.1);
        let fit = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ItemKnn::fit(&m, &ItemKnnParams { similarity: Similarity::TfIdf, neighbours: 5 }, &Control::default()).unwrap())
        };
        let (one, three) = (fit(1), fit(3));
        assert_eq!(one, three);
        assert_eq!(ItemKnn::from_parts(&one.to_parts()).unwrap(), one);
    }
}
