//! Item-based nearest neighbours (Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms", ACM TOIS 22(1)).
//!
//! Items are vectors over users, and similar as [`super::similarity`] or [`super::ratings`] has it. Each item keeps its K most similar
//! items, itself included as `implicit` counts it; score(u, i) = Σ_{j in history} weight_j · sim(j, i) over the neighbours kept by j.
//!
//! Where there are ratings, that of i by u is predicted from u's ratings of the at most `predict_from` most similar of the neighbours kept
//! by i (Sarwar et al. 2001, WWW '01; [`Predict`]).

use std::sync::Arc;

use super::neighbours::{Neighbours, Sums};
use super::prefetch::Prefetch;
use super::ratings::{ItemRatings, PREDICT, Ratings, entries, weighted_mean};
use super::similarity::{B, K1, SHRINKAGE, SIMILARITIES, Weighing};
use super::{Csr, Feedback, History, Predict, Recommender, Scores, Shares, Similarity};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'item_knn'`.
pub static ITEM_KNN: ModelType = ModelType {
    name: "item_knn",
    about: "item-based nearest neighbours",
    options: &[
        OptionSpec {
            name: "similarity",
            default: "tfidf",
            allowed: SIMILARITIES,
            about: "tfidf weighs users who have little up before the cosine, bm25 leaves popular items ahead, jaccard counts users; \
                    the others compare ratings",
        },
        OptionSpec {
            name: "neighbours",
            default: "20",
            allowed: Allowed::Whole { least: 2, most: 10_000 },
            about: "how many neighbours each item keeps, itself counted",
        },
        K1,
        B,
        SHRINKAGE,
        PREDICT,
        OptionSpec {
            name: "predict_from",
            default: "40",
            allowed: Allowed::Whole { least: 1, most: 10_000 },
            about: "ratings are predicted from at most so many of the neighbours kept; keep many for it, such as neighbours = 1000",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = ItemKnnParams {
                similarity: Similarity::of(options),
                neighbours: options.whole("neighbours") as usize,
                predict: Predict::named(&options.get("predict").to_lowercase()).unwrap_or(Predict::Baseline),
                predict_from: options.whole("predict_from") as usize,
            };
            Ok(Arc::new(ItemKnn::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(ItemKnn::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemKnnParams {
    pub similarity: Similarity,
    /// Neighbours each item keeps, at least 1.
    pub neighbours: usize,
    pub predict: Predict,
    /// How many of them a rating is predicted from.
    pub predict_from: usize,
}

/// Each item's neighbours, and what ratings are predicted with.
#[derive(Debug, PartialEq)]
pub struct ItemKnn {
    neighbours: Neighbours,
    ratings: Option<(ItemRatings, Predict, usize)>,
}

impl ItemKnn {
    /// # Errors
    /// `neighbours` of 0, a similarity of ratings where nobody rates, or cancelled.
    pub fn fit(feedback: &Feedback, params: &ItemKnnParams, control: &Control) -> Result<Self, ModelError> {
        if params.neighbours == 0 {
            return Err(ModelError::Option { option: "neighbours".into(), given: "0".into(), allowed: "a whole number from 1".into() });
        }
        let ratings;
        let neighbours = if let Similarity::Ratings(similarity) = params.similarity {
            let needed = Ratings::needed_by(&format!("similarity = '{}'", similarity.name()), feedback)?;
            let neighbours = similarity.neighbours(&needed, params.neighbours, control)?;
            ratings = Some(needed);
            neighbours
        } else {
            ratings = Ratings::of(feedback);
            let by_item = Weighing::of(params.similarity, &feedback.weights).vectors(feedback.weights.transpose());
            let by_user = by_item.transpose();
            let users = |i: u32| by_item.row(i as usize).0.len();
            let jaccard = params.similarity == Similarity::Jaccard;
            Neighbours::find(
                feedback.n_items(),
                params.neighbours,
                control,
                |i, sums: &mut Sums| product_row(i, &by_item, &by_user, sums),
                |i, j, sum| if jaccard { params.similarity.finish(sum, users(i), users(j)) } else { sum },
            )?
        };
        Ok(Self { neighbours, ratings: ratings.map(|r| (r.items, params.predict, params.predict_from)) })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let neighbours = Neighbours::from_parts(parts, "item_knn")?;
        let ratings = match ItemRatings::from_parts(parts, neighbours.n_items())? {
            Some(items) => {
                let rule = part(parts, "predict")?;
                let predict = rule.text("rule")?.first().and_then(|r| Predict::named(r));
                let predict = predict.ok_or_else(|| ModelError::Damaged("no rule to predict ratings by".into()))?;
                Some((items, predict, rule.positive("from")? as usize))
            }
            None => None,
        };
        Ok(Self { neighbours, ratings })
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
        for (at, (&j, &w)) in user.items.iter().zip(user.weights).enumerate() {
            if let Some(&next) = user.items.get(at + 2) {
                self.neighbours.prefetch(next);
            }
            let (items, similarities) = self.similar(j);
            items.iter().zip(similarities).for_each(|(&i, s)| scores.add(i, w * s, j));
        }
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let of_items = user.items.iter().zip(user.weights).map(|(&j, w)| (j, w * self.neighbours.similarity(j, item)));
        Shares { baseline: 0.0, of_items: of_items.collect() }
    }

    fn predict_rating(&self, user: History<'_>, item: u32) -> Option<f64> {
        let (ratings, predict, from) = self.ratings.as_ref()?;
        let (mean, bias) = (ratings.mean, ratings.user_bias(user));
        let offset = |i: u32| predict.offset(ratings.means[i as usize], mean + bias + ratings.biases[i as usize]);
        let rated = |j: u32| user.items.binary_search(&j).ok().and_then(|at| user.ratings.get(at)).filter(|r| r.is_finite());
        let said = entries(self.similar(item)).filter(|(j, _)| *j != item);
        let said = said.filter_map(|(j, s)| rated(j).map(|&r| (f64::from(s), f64::from(r) - offset(j))));
        weighted_mean(said.take(*from)).map(|d| ratings.clip(offset(item) + d))
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.neighbours.to_parts("item_knn");
        if let Some((ratings, predict, from)) = &self.ratings {
            parts.extend(ratings.to_parts());
            let rule = Column::Text(vec![predict.name().into()]);
            parts.push(Part::new("predict", vec![("rule", rule), ("from", Column::F64(vec![*from as f64]))]));
        }
        parts
    }
}

/// Row `i` of the product of items by users and users by items.
fn product_row(i: u32, by_item: &Csr, by_user: &Csr, sums: &mut Sums) {
    // Of the users to come: first where their rows begin, then the rows, as much of them as most have.
    const AHEAD: usize = 12;
    const MOST: usize = 32;
    let prefetch = Prefetch::new();
    let (users, weights) = by_item.row(i as usize);
    for (at, (&u, &w)) in users.iter().zip(weights).enumerate() {
        if let Some(&u) = users.get(at + 2 * AHEAD) {
            prefetch.lines(&by_user.offsets, u as usize..u as usize + 1);
        }
        if let Some(&u) = users.get(at + AHEAD) {
            let start = by_user.offsets[u as usize];
            prefetch.lines(&by_user.columns, start..start + MOST);
            prefetch.lines(&by_user.values, start..start + MOST);
        }
        let (items, values) = by_user.row(u as usize);
        items.iter().zip(values).for_each(|(&j, v)| sums.add(j, w * v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const ALL: [Similarity; 4] = [Similarity::Cosine, Similarity::TfIdf, Similarity::Bm25 { k1: 1.2, b: 0.75 }, Similarity::Jaccard];

    fn params(similarity: Similarity, neighbours: usize) -> ItemKnnParams {
        ItemKnnParams { similarity, neighbours, predict: Predict::Baseline, predict_from: 40 }
    }

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
            Similarity::Jaccard | Similarity::Ratings(_) => f64::from(u8::from(x[i][u] > 0.0)),
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
                let knn = ItemKnn::fit(&m, &params(similarity, 6), &Control::default()).unwrap();
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
        for similarity in check::similarities() {
            let params = params(similarity, 10);
            check::guarantees(&|f| Ok(Arc::new(ItemKnn::fit(f, &params, &Control::default())?)), &ITEM_KNN.make);
        }
    }
}
