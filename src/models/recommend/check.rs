//! What must hold of every recommender.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Csr, Feedback, Filter, History, Recommender, Scored, Scores};
use crate::models::{AnyRecommender, Make, ModelError};

/// A user has an item with probability 1/5, at any of 50 moments.
pub fn random(seed: u64, users: usize, items: usize) -> Feedback {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut weights = Csr { n_cols: items, offsets: vec![0], columns: vec![], values: vec![] };
    for _ in 0..users {
        weights.columns.extend((0..items as u32).filter(|_| rng.random::<f64>() < 0.2));
        weights.offsets.push(weights.columns.len());
    }
    weights.values = vec![1.0; weights.columns.len()];
    let last_us = weights.columns.iter().map(|_| rng.random_range(0..50)).collect();
    Feedback { weights, last_us, ratings: vec![], goals: vec![] }
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
    let same = [on(3), read(&model.to_parts()).unwrap()];
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
        // Of items asked for by name, the reason is the one that the list names.
        for s in &all {
            assert_eq!(model.because(user, s.item), s.because);
        }
    }
    assert!(some > 0);
    assert!(read(&[]).is_err());
}
