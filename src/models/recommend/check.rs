//! What must hold of every recommender.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Csr, Feedback, Filter, History, RatingSimilarity, Recommender, Scored, Scores, Similarity};
use crate::models::{AnyRecommender, Make, ModelError};

/// A user has an item with probability 1/5, at any of 50 moments, and rates four of five.
pub fn random(seed: u64, users: usize, items: usize) -> Feedback {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut weights = Csr { n_cols: items, offsets: vec![0], columns: vec![], values: vec![] };
    for _ in 0..users {
        weights.columns.extend((0..items as u32).filter(|_| rng.random::<f64>() < 0.2));
        weights.offsets.push(weights.columns.len());
    }
    weights.values = vec![1.0; weights.columns.len()];
    let last_us = weights.columns.iter().map(|_| rng.random_range(0..50)).collect();
    let ratings =
        weights.columns.iter().map(|_| if rng.random::<f64>() < 0.8 { rng.random_range(1..6) as f32 } else { f32::NAN }).collect();
    Feedback { weights, last_us, ratings, goals: vec![] }
}

/// One of each kind.
pub fn similarities() -> [Similarity; 9] {
    use RatingSimilarity::{Cosine, CosineCorated, Euclidean, Pearson, PearsonBaseline};
    let [a, b, c, d, e] = [Pearson, PearsonBaseline { shrinkage: 3.0 }, Euclidean, Cosine, CosineCorated].map(Similarity::Ratings);
    [Similarity::Cosine, Similarity::TfIdf, Similarity::Bm25 { k1: 1.2, b: 0.75 }, Similarity::Jaccard, a, b, c, d, e]
}

fn list(model: &dyn Recommender, user: History<'_>, filter: Filter<'_>, k: usize, scores: &mut Scores) -> Vec<Scored> {
    let mut out = vec![];
    model.top_k(user, filter, k, scores, &mut out);
    out
}

/// Never what is excluded or no candidate, never more than k, in order, ties by item; a filter takes out and brings nothing in; the same for any
/// number of threads, and after the store.
pub fn guarantees(fit: &(dyn Fn(&Feedback) -> Result<AnyRecommender, ModelError> + Sync), make: &Make) {
    let m = random(7, 60, 40);
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| fit(&m).unwrap());
    let model = on(1);
    let Make::Recommender { read, .. } = make else { panic!("no recommender") };
    let stored = read(&model.to_parts()).unwrap();
    let stored = stored.attached(&|| m.clone()).unwrap().unwrap_or(stored);
    let same = [on(3), stored];
    let scores = &mut Scores::default();
    let even: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
    let mut some = 0;
    for u in 0..60 {
        let user = m.history(u);
        let seen = Filter { exclude: user.items, candidates: None };
        let all = list(model.as_ref(), user, seen, 1000, scores);
        some += all.len();
        assert!(all.iter().all(|s| user.items.binary_search(&s.item).is_err() && s.score > 0.0 && s.score.is_finite()));
        assert!(all.windows(2).all(|w| w[0].score > w[1].score || (w[0].score == w[1].score && w[0].item < w[1].item)));
        assert!(all.iter().all(|s| s.because.is_none_or(|b| user.items.contains(&b))));
        for k in [0, 1, 3] {
            assert_eq!(list(model.as_ref(), user, seen, k, scores), all[..k.min(all.len())]);
        }
        let wanted: Vec<Scored> = all.iter().copied().filter(|s| even[s.item as usize]).collect();
        let candidates = Filter { candidates: Some(&even), ..seen };
        assert_eq!(list(model.as_ref(), user, candidates, 2, scores), wanted[..wanted.len().min(2)]);
        let mut exclude = user.items.to_vec();
        exclude.extend(all.first().map(|s| s.item));
        exclude.sort_unstable();
        assert_eq!(
            list(model.as_ref(), user, Filter { exclude: &exclude, candidates: None }, 9, scores),
            all[1.min(all.len())..10.min(all.len()).max(1.min(all.len()))]
        );
        for other in &same {
            assert_eq!(list(other.as_ref(), user, seen, 1000, scores), all);
        }
        for item in 0..40 {
            let rating = model.predict_rating(user, item);
            assert!(rating.is_none_or(|r| (1.0..=5.0).contains(&r)));
            assert!(same.iter().all(|other| other.predict_rating(user, item) == rating));
        }
        // Of items asked for by name, the reason is the one that the list names.
        for s in &all {
            assert_eq!(model.because(user, s.item), s.because);
            let shares = model.shares(user, s.item);
            assert!(shares.of_items.iter().all(|(i, _)| user.items.contains(i)));
            let sum = shares.of_items.iter().map(|(_, share)| f64::from(*share)).sum::<f64>() + f64::from(shares.baseline);
            assert!((sum - f64::from(s.score)).abs() < 1e-4 * f64::from(s.score).max(1.0), "{sum} is not {}", s.score);
        }
    }
    assert!(some > 0);
    assert!(read(&[]).is_err());
}
