//! Nearest neighbours in the order of time: what follows what.
//!
//! Sequential rules (Ludewig & Jannach 2018, "Evaluation of session-based recommendation algorithms", UMUAI 28, §3.1) on whole histories, normalised by how
//! many users have the items. An item j that comes d ≤ window places after an item i in a user's history adds d^−c to the transition i → j;
//! sim(i → j) = Σ d^−c / (n_i^a·n_j^b), n the number of users who have an item, and each item keeps its K strongest. a = b = ½ is a cosine; a smaller b
//! leaves popular followers ahead.
//! score(u, j) = Σ over the user's `last` items of decay^age · sim(i → j), the latest item of age 0.

use std::sync::Arc;

use super::neighbours::{Neighbours, Sums};
use super::{Feedback, History, Recommender, Scores, Shares};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'seq_knn'`.
pub static SEQ_KNN: ModelType = ModelType {
    name: "seq_knn",
    about: "nearest neighbours in the order of time: what follows what",
    options: &[
        OptionSpec {
            name: "window",
            default: "20",
            allowed: Allowed::Whole { least: 1, most: 1_000 },
            about: "how many places one item may come after another and still follow it",
        },
        OptionSpec {
            name: "last",
            default: "10",
            allowed: Allowed::Whole { least: 1, most: 10_000 },
            about: "how many of a user's latest items speak",
        },
        OptionSpec {
            name: "decay",
            default: "0.7",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "how much less each item says than the one after it, as a factor",
        },
        OptionSpec {
            name: "neighbours",
            default: "500",
            allowed: Allowed::Whole { least: 1, most: 10_000 },
            about: "how many followers each item keeps",
        },
        OptionSpec {
            name: "source_exponent",
            default: "0.7",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "a: how much what many users have says less, 0 = not at all",
        },
        OptionSpec {
            name: "target_exponent",
            default: "0.2",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "b: how much popular followers are held back, 0 = not at all",
        },
        OptionSpec {
            name: "distance_exponent",
            default: "0.75",
            allowed: Allowed::Number { least: 0.0, most: 10.0 },
            about: "c: how much less a follower counts the more places it comes after, 0 = not at all",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = SeqKnnParams {
                window: options.whole("window") as usize,
                last: options.whole("last") as usize,
                decay: options.number("decay"),
                neighbours: options.whole("neighbours") as usize,
                source_exponent: options.number("source_exponent"),
                target_exponent: options.number("target_exponent"),
                distance_exponent: options.number("distance_exponent"),
            };
            Ok(Arc::new(SeqKnn::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(SeqKnn::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeqKnnParams {
    /// At least 1, as `last` and `neighbours`.
    pub window: usize,
    pub last: usize,
    /// In [0, 1].
    pub decay: f64,
    pub neighbours: usize,
    /// a, b and c, at least 0.
    pub source_exponent: f64,
    pub target_exponent: f64,
    pub distance_exponent: f64,
}

/// Each item's followers.
#[derive(Debug, PartialEq)]
pub struct SeqKnn {
    followers: Neighbours,
    last: usize,
    decay: f64,
}

impl SeqKnn {
    /// # Errors
    /// Cancelled.
    pub fn fit(feedback: &Feedback, params: &SeqKnnParams, control: &Control) -> Result<Self, ModelError> {
        let (n, offsets) = (feedback.n_items(), &feedback.weights.offsets);
        // The items of each user in the order of time, and by item where in that it stands.
        let (mut sequence, mut order) = (Vec::with_capacity(feedback.last_us.len()), vec![]);
        for u in 0..feedback.n_users() {
            let history = feedback.history(u as u32);
            history.latest_first(&mut order);
            sequence.extend(order.iter().rev().map(|&i| history.items[i]));
        }
        let mut starts = vec![0usize; n + 1];
        sequence.iter().for_each(|&i| starts[i as usize + 1] += 1);
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let (mut at, mut places) = (starts.clone(), vec![(0u32, 0u32); sequence.len()]);
        for (u, range) in offsets.windows(2).enumerate() {
            for (place, &i) in sequence[range[0]..range[1]].iter().enumerate() {
                places[at[i as usize]] = (u as u32, place as u32);
                at[i as usize] += 1;
            }
        }
        control.check()?;
        let users = |i: usize| (starts[i + 1] - starts[i]).max(1) as f64;
        let of_items = |exponent: f64| (0..n).map(|i| users(i).powf(-exponent) as f32).collect::<Vec<f32>>();
        let (source, target) = (of_items(params.source_exponent), of_items(params.target_exponent));
        let near: Vec<f32> = (1..=params.window).map(|d| (d as f64).powf(-params.distance_exponent) as f32).collect();
        let followers = Neighbours::find(
            n,
            params.neighbours,
            control,
            |i, sums: &mut Sums| {
                for &(u, place) in &places[starts[i as usize]..starts[i as usize + 1]] {
                    let row = &sequence[offsets[u as usize]..offsets[u as usize + 1]];
                    row[place as usize + 1..].iter().zip(&near).for_each(|(&j, &x)| sums.add(j, x));
                }
            },
            |i, j, sum| sum * source[i as usize] * target[j as usize],
        )?;
        Ok(Self { followers, last: params.last, decay: params.decay })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let params = part(parts, "seq_knn")?;
        let (last, decay) = (params.positive("last")?, params.number("decay")?);
        Ok(Self { followers: Neighbours::from_parts(parts, "followers")?, last: last as usize, decay })
    }

    /// What the items that speak say, as (item, how much).
    fn voices<'a>(&'a self, user: History<'a>, order: &'a [usize]) -> impl Iterator<Item = (u32, f32)> + 'a {
        order.iter().take(self.last).scan(1.0, move |weight, &at| {
            let voice = (user.items[at], *weight as f32);
            *weight *= self.decay;
            Some(voice)
        })
    }
}

impl Recommender for SeqKnn {
    fn n_items(&self) -> usize {
        self.followers.n_items()
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let mut order = std::mem::take(&mut scores.order);
        user.latest_first(&mut order);
        for (i, weight) in self.voices(user, &order).filter(|(_, w)| *w > 0.0) {
            let (items, similarities) = self.followers.of(i);
            items.iter().zip(similarities).for_each(|(&j, s)| scores.add(j, weight * s, i));
        }
        scores.order = order;
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let mut order = vec![];
        user.latest_first(&mut order);
        let of_items = self.voices(user, &order).map(|(i, weight)| (i, weight * self.followers.similarity(i, item))).collect();
        Shares { baseline: 0.0, of_items }
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.followers.to_parts("followers");
        parts.push(Part::row("seq_knn", &[("last", self.last as f64), ("decay", self.decay)]));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    const PARAMS: SeqKnnParams = SeqKnnParams {
        window: 3,
        last: 4,
        decay: 0.5,
        neighbours: 50,
        source_exponent: 0.6,
        target_exponent: 0.3,
        distance_exponent: 0.75,
    };

    #[test]
    fn followers_are_those_of_brute_force() {
        let m = check::random(1, 40, 15);
        let model = SeqKnn::fit(&m, &PARAMS, &Control::default()).unwrap();
        let sequences: Vec<Vec<u32>> = (0..40)
            .map(|u| {
                let h = m.history(u);
                let mut all: Vec<(i64, u32)> = h.last_us.iter().copied().zip(h.items.iter().copied()).collect();
                all.sort_unstable();
                all.into_iter().map(|(_, i)| i).collect()
            })
            .collect();
        let users = |i: u32| sequences.iter().filter(|s| s.contains(&i)).count() as f32;
        for i in 0..15 {
            for j in 0..15 {
                let mut sum = 0.0;
                for s in &sequences {
                    let place = |x: u32| s.iter().position(|&y| y == x);
                    if let (Some(a), Some(b)) = (place(i), place(j))
                        && b > a
                        && b - a <= PARAMS.window
                    {
                        sum += ((b - a) as f32).powf(-0.75);
                    }
                }
                let wanted = if sum > 0.0 { sum / (users(i).powf(0.6) * users(j).powf(0.3)) } else { 0.0 };
                assert!((model.followers.similarity(i, j) - wanted).abs() < 1e-6, "{i} → {j}");
            }
        }
        // The latest item speaks first, the one before half as loud.
        let user = History { items: &[2, 7], weights: &[1.0, 1.0], last_us: &[9, 4], ..History::default() };
        let mut scores = Scores::default();
        let mut out = vec![];
        model.top_k(user, Default::default(), 15, &mut scores, &mut out);
        for s in &out {
            let wanted = model.followers.similarity(2, s.item) + 0.5 * model.followers.similarity(7, s.item);
            assert!((s.score - wanted).abs() < 1e-6);
        }
        assert!(!out.is_empty());
    }

    #[test]
    fn lists_keep_the_guarantees() {
        check::guarantees(&|f| Ok(Arc::new(SeqKnn::fit(f, &PARAMS, &Control::default())?)), &SEQ_KNN.make);
    }
}
