//! What a hold-out says of a recommender: how right its lists are, one value a user, and what they are like as a whole.

use super::{Csr, Feedback};
use crate::models::metrics::{
    average_precision_at_k, coverage, exposure_gini, hit_rate_at_k, ndcg_at_k, novelty, precision_at_k, recall_at_k, reciprocal_rank,
};

/// A metric of one list: what was recommended, what was right (ascending), k.
type OfList = fn(&[u32], &[u32], usize) -> f64;

/// Metrics whose value is the mean over users.
const OF_LISTS: &[(&str, OfList)] = &[
    ("precision_at_k", precision_at_k),
    ("recall_at_k", recall_at_k),
    ("ndcg_at_k", ndcg_at_k),
    ("map_at_k", average_precision_at_k),
    ("hit_rate", hit_rate_at_k),
    ("mrr", |list, truth, _| reciprocal_rank(list, truth)),
];

/// A figure of many lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub metric: &'static str,
    pub value: Option<f64>,
    /// The values of users whose mean the figure is; empty where it is no mean.
    pub by_user: Vec<f64>,
}

impl Measure {
    fn mean(metric: &'static str, by_user: Vec<f64>) -> Self {
        let value = (!by_user.is_empty()).then(|| by_user.iter().sum::<f64>() / by_user.len() as f64);
        Self { metric, value, by_user }
    }
}

/// Every metric of `lists`, at most `k` deep, made by a model that was fitted to `train`; `truth` is parallel to them.
pub fn measures(train: &Feedback, lists: &[Vec<u32>], truth: &[Vec<u32>], k: usize) -> Vec<Measure> {
    let of_lists = OF_LISTS.iter().map(|(name, of)| Measure::mean(name, lists.iter().zip(truth).map(|(l, t)| of(l, t, k)).collect()));
    let mut out: Vec<Measure> = of_lists.collect();
    let by_item = train.weights.transpose();
    let users_with: Vec<u32> = (0..train.n_items()).map(|i| by_item.row(i).0.len() as u32).collect();
    let n_users = (0..train.n_users() as u32).filter(|&u| !train.row(u).is_empty()).count();
    let none = !lists.iter().any(|l| !l.is_empty());
    let whole = |metric, value: Option<f64>| Measure { metric, value: value.filter(|_| !none), by_user: vec![] };
    out.push(whole("coverage", Some(coverage(lists, train.n_items()))));
    out.push(Measure::mean("novelty", lists.iter().filter_map(|l| novelty(l, &users_with, n_users)).collect()));
    out.push(whole("gini", exposure_gini(lists, train.n_items())));
    let mut work = vec![0.0; train.n_users()];
    let diverse = lists.iter().filter_map(|l| diversity(l, &by_item, &mut work)).collect();
    out.push(Measure::mean("intra_list_diversity", diverse));
    out
}

/// The mean over the pairs of a list of 1 − cosine of who has had the two (Ziegler, McNee, Konstan & Lausen 2005, WWW '05), in one pass: Σ_{a<b} v_a·v_b by the sum of the unit vectors so far. `work` has
/// one place a user, all zero between two calls. `None` for fewer than two items.
fn diversity(list: &[u32], by_item: &Csr, work: &mut [f64]) -> Option<f64> {
    let users = |item: u32| by_item.row(item as usize).0;
    let mut alike = 0.0;
    for &item in list {
        let unit = 1.0 / (users(item).len().max(1) as f64).sqrt();
        alike += unit * users(item).iter().map(|&u| work[u as usize]).sum::<f64>();
        users(item).iter().for_each(|&u| work[u as usize] += unit);
    }
    list.iter().flat_map(|&item| users(item)).for_each(|&u| work[u as usize] = 0.0);
    let pairs = list.len() * list.len().saturating_sub(1) / 2;
    (pairs > 0).then(|| (1.0 - alike / pairs as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::{check, cosine_of_sets};

    #[test]
    fn diversity_is_that_of_all_pairs() {
        let by_item = check::random(3, 60, 30).weights.transpose();
        let mut work = vec![0.0; 60];
        for list in [vec![0, 7, 12, 29], (0..30).collect(), vec![5, 6], vec![4], vec![]] {
            let pairs = list.iter().enumerate().flat_map(|(at, &a)| list[at + 1..].iter().map(move |&b| (a, b)));
            let alike = |(a, b): (u32, u32)| cosine_of_sets(by_item.row(a as usize).0, by_item.row(b as usize).0);
            let apart: Vec<f64> = pairs.map(|pair| 1.0 - alike(pair)).collect();
            let wanted = (!apart.is_empty()).then(|| apart.iter().sum::<f64>() / apart.len() as f64);
            let got = diversity(&list, &by_item, &mut work);
            assert!(got.is_some() == wanted.is_some() && got.zip(wanted).is_none_or(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {wanted:?}");
        }
        assert!(work.iter().all(|w| *w == 0.0));
    }

    #[test]
    fn without_lists_there_is_nothing_to_say_of_them() {
        let train = check::random(3, 6, 5);
        for m in measures(&train, &[vec![], vec![]], &[vec![1], vec![2]], 3) {
            let of_users = OF_LISTS.iter().any(|(name, _)| *name == m.metric);
            assert_eq!(m.value, of_users.then_some(0.0), "{}", m.metric);
        }
    }
}
