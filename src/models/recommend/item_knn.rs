//! Item-based nearest neighbours (Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms", ACM TOIS 22(1)).
//!
//! Items are vectors over users. Each item keeps its K most similar items, itself included as `implicit` counts it; score(u, i) = Σ_{j in history}
//! weight_j · sim(i, j) over the neighbours kept by j. With x_ui the interaction, n_u the number of items of user u and I that of all items:
//!
//! * `cosine`: Σ_u x_ui·x_uj / (‖x_i‖·‖x_j‖).
//! * `tfidf`: the cosine of √x·ln(I / (1 + n_u)), at least 0, as `implicit` weighs it: users who have everything say little about any item.
//! * `bm25`: the product Σ_u of x·(k1 + 1) / (k1·(1 − b + b·L_i / L) + x)·ln(I / (1 + n_u)), where L_i is the sum of the item's interactions and L its
//!   mean over items (Robertson & Zaragoza 2009; as `implicit` has it). It is no cosine: popular items stay ahead.
//! * `jaccard`: users who have both / users who have either.

use super::neighbours::{Neighbours, Sums};
use super::{Csr, Feedback, History, Recommender, Scores};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Part};

/// `model_type = 'item_knn'`.
pub static ITEM_KNN: ModelType = ModelType {
    name: "item_knn",
    about: "item-based nearest neighbours",
    options: &[
        OptionSpec {
            name: "similarity",
            default: "tfidf",
            allowed: Allowed::OneOf(&["tfidf", "cosine", "bm25", "jaccard"]),
            about: "tfidf weighs users who have little up before the cosine, bm25 leaves popular items ahead, jaccard counts users",
        },
        OptionSpec {
            name: "neighbours",
            default: "20",
            allowed: Allowed::Whole { least: 2, most: 10_000 },
            about: "how many neighbours each item keeps, itself counted",
        },
        OptionSpec {
            name: "k1",
            default: "1.2",
            allowed: Allowed::Number { least: 0.0, most: 1_000.0 },
            about: "bm25: how soon more of the same says nothing more",
        },
        OptionSpec {
            name: "b",
            default: "0.75",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "bm25: how much popular items are held back, 0 = not at all",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let similarity = match options.get("similarity").to_lowercase().as_str() {
                "cosine" => Similarity::Cosine,
                "bm25" => Similarity::Bm25 { k1: options.number("k1"), b: options.number("b") },
                "jaccard" => Similarity::Jaccard,
                _ => Similarity::TfIdf,
            };
            let params = ItemKnnParams { similarity, neighbours: options.whole("neighbours") as usize };
            Ok(Box::new(ItemKnn::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Box::new(ItemKnn { neighbours: Neighbours::from_parts(parts, "item_knn")? })),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Similarity {
    Cosine,
    TfIdf,
    Bm25 { k1: f64, b: f64 },
    Jaccard,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemKnnParams {
    pub similarity: Similarity,
    /// Neighbours each item keeps, at least 1.
    pub neighbours: usize,
}

/// Each item's neighbours.
#[derive(Debug, PartialEq)]
pub struct ItemKnn {
    neighbours: Neighbours,
}

impl ItemKnn {
    /// # Errors
    /// `neighbours` of 0, or cancelled.
    pub fn fit(feedback: &Feedback, params: &ItemKnnParams, control: &Control) -> Result<Self, ModelError> {
        if params.neighbours == 0 {
            return Err(ModelError::Option { option: "neighbours".into(), given: "0".into(), allowed: "a whole number from 1".into() });
        }
        let mut by_user = feedback.weights.clone();
        match params.similarity {
            Similarity::Cosine => normalise_columns(&mut by_user),
            Similarity::TfIdf => {
                weigh(&mut by_user, |x, _| x.sqrt());
                normalise_columns(&mut by_user);
            }
            Similarity::Bm25 { k1, b } => {
                let mut lengths = vec![0f64; by_user.n_cols];
                by_user.columns.iter().zip(&by_user.values).for_each(|(&i, &x)| lengths[i as usize] += f64::from(x));
                let mean = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
                weigh(&mut by_user, |x, i| x * (k1 + 1.0) / (k1 * (1.0 - b + b * lengths[i as usize] / mean) + x));
            }
            Similarity::Jaccard => by_user.values.fill(1.0),
        }
        let by_item = by_user.transpose();
        let users = |i: u32| by_item.row(i as usize).0.len() as f32;
        let neighbours = Neighbours::find(
            feedback.n_items(),
            params.neighbours,
            control,
            |i, sums| product_row(i, &by_item, &by_user, sums),
            |i, j, sum| if params.similarity == Similarity::Jaccard { sum / (users(i) + users(j) - sum) } else { sum },
        )?;
        Ok(Self { neighbours })
    }

    /// An item's neighbours and their similarities, the most similar first.
    pub fn similar(&self, item: u32) -> (&[u32], &[f32]) {
        self.neighbours.of(item)
    }
}

impl Recommender for ItemKnn {
    fn n_items(&self) -> usize {
        self.neighbours.n_items()
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        for (&j, &w) in user.items.iter().zip(user.weights) {
            let (items, similarities) = self.similar(j);
            items.iter().zip(similarities).for_each(|(&i, s)| scores.add(i, w * s, j));
        }
    }

    fn because(&self, user: History<'_>, item: u32) -> Option<u32> {
        let said = user.items.iter().zip(user.weights).map(|(&j, w)| (w * self.neighbours.similarity(j, item), j));
        said.filter(|(s, _)| *s > 0.0).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, j)| j)
    }

    fn to_parts(&self) -> Vec<Part> {
        self.neighbours.to_parts("item_knn")
    }
}

/// Row `i` of the product of items by users and users by items.
fn product_row(i: u32, by_item: &Csr, by_user: &Csr, sums: &mut Sums) {
    let (users, weights) = by_item.row(i as usize);
    for (&u, &w) in users.iter().zip(weights) {
        let (items, values) = by_user.row(u as usize);
        items.iter().zip(values).filter(|(_, v)| w * **v > 0.0).for_each(|(&j, v)| sums.add(j, w * v));
    }
}

/// `of(x, item)` · max(0, ln(I / (1 + n_u))), where I is the number of items and n_u how many of them user u has. Where that leaves
/// nothing at all (everybody has nearly everything) the users count alike.
fn weigh(by_user: &mut Csr, of: impl Fn(f64, u32) -> f64) {
    let items = by_user.n_cols as f64;
    let idf_of = |n: usize| (items / (1.0 + n as f64)).ln().max(0.0);
    let nothing = (0..by_user.n_rows()).all(|u| by_user.row(u).0.is_empty() || idf_of(by_user.row(u).0.len()) == 0.0);
    for u in 0..by_user.n_rows() {
        let range = by_user.offsets[u]..by_user.offsets[u + 1];
        let idf = if nothing { 1.0 } else { idf_of(range.len()) };
        for (v, &i) in by_user.values[range.clone()].iter_mut().zip(&by_user.columns[range]) {
            *v = (of(f64::from(*v), i) * idf) as f32;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const ALL: [Similarity; 4] = [Similarity::Cosine, Similarity::TfIdf, Similarity::Bm25 { k1: 1.2, b: 0.75 }, Similarity::Jaccard];

    /// Similarities the slow way, in f64.
    fn oracle(m: &Csr, similarity: Similarity) -> Vec<Vec<f64>> {
        let (users, n) = (m.n_rows(), m.n_cols);
        let mut x = vec![vec![0.0; users]; n];
        (0..users).for_each(|u| m.row(u).0.iter().zip(m.row(u).1).for_each(|(&i, &v)| x[i as usize][u] = f64::from(v)));
        let idf = |u: usize| (n as f64 / (1.0 + m.row(u).0.len() as f64)).ln().max(0.0);
        let length: Vec<f64> = x.iter().map(|row| row.iter().sum()).collect();
        let mean = length.iter().sum::<f64>() / n as f64;
        let weight = |i: usize, u: usize| match similarity {
            Similarity::Cosine => x[i][u],
            Similarity::TfIdf => x[i][u].sqrt() * idf(u),
            Similarity::Bm25 { k1, b } => x[i][u] * (k1 + 1.0) / (k1 * (1.0 - b + b * length[i] / mean) + x[i][u]) * idf(u),
            Similarity::Jaccard => f64::from(u8::from(x[i][u] > 0.0)),
        };
        let w: Vec<Vec<f64>> = (0..n).map(|i| (0..users).map(|u| weight(i, u)).collect()).collect();
        let dot = |i: usize, j: usize| w[i].iter().zip(&w[j]).map(|(a, b)| a * b).sum::<f64>();
        let sim = |i: usize, j: usize| match (similarity, dot(i, j)) {
            (_, 0.0) => 0.0,
            (Similarity::Bm25 { .. }, d) => d,
            (Similarity::Jaccard, d) => d / (dot(i, i) + dot(j, j) - d),
            (_, d) => d / (dot(i, i) * dot(j, j)).sqrt(),
        };
        (0..n).map(|i| (0..n).map(|j| sim(i, j)).collect()).collect()
    }

    #[test]
    fn neighbours_are_those_of_brute_force() {
        for similarity in ALL {
            for seed in 0..10 {
                let mut m = check::random(seed, 30, 25);
                m.weights.values.iter_mut().enumerate().for_each(|(i, v)| *v = (1 + i % 3) as f32);
                let knn = ItemKnn::fit(&m, &ItemKnnParams { similarity, neighbours: 6 }, &Control::default()).unwrap();
                let truth = oracle(&m.weights, similarity);
                for i in 0..25u32 {
                    let (items, sims) = knn.similar(i);
                    let mut best: Vec<f64> = truth[i as usize].iter().copied().filter(|s| *s > 0.0).collect();
                    best.sort_by(|a, b| b.total_cmp(a));
                    best.truncate(6);
                    assert_eq!(items.len(), best.len());
                    for ((&j, &s), b) in items.iter().zip(sims).zip(best) {
                        let near = |x: f64| (x - b).abs() < 1e-5 * b.max(1.0);
                        assert!(near(f64::from(s)) && near(truth[i as usize][j as usize]), "{similarity:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        for similarity in ALL {
            let params = ItemKnnParams { similarity, neighbours: 10 };
            check::guarantees(&|f| Ok(Box::new(ItemKnn::fit(f, &params, &Control::default())?)), &ITEM_KNN.make);
        }
    }
}
