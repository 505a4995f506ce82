//! Cross-sell: what else goes into a basket.
//!
//! Of all baskets, those that contain everything in the given one say how often each other item came with it: confidence = P(j | all of the basket).
//! Where fewer than `min_baskets` contain it all, what they say is chance, and each item j is judged by the one item of the basket that speaks for
//! it most reliably, which is then named. An item that comes with the basket no more often than it comes anyway (lift ≤ `min_lift`) is no cross-sell.
//!
//! The order is by the lower end of the confidence's 95 % interval (Wilson), times the mean amount where amounts are given: the revenue to count on.
//! Lift is no order (a pair of one basket has the largest), and plain confidence puts 3 of 3 before 290 of 300.

use super::Baskets;
use super::association_rules::RuleCounts;
use super::baskets::{ByItem, Counts};
use crate::models::ModelError;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossSellParams {
    /// How many baskets must have an item together with what speaks for it, at least 1.
    pub min_count: u32,
    /// How many baskets must contain a basket of several items for it to speak as a whole.
    pub min_baskets: u32,
    /// Only items of a larger lift.
    pub min_lift: f64,
}

impl Default for CrossSellParams {
    fn default() -> Self {
        Self { min_count: 2, min_baskets: 50, min_lift: 1.0 }
    }
}

/// An item that goes with a basket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossSell {
    pub item: u32,
    /// The item of the basket that speaks for it; `None` where the whole basket does.
    pub because: Option<u32>,
    /// Support, confidence, lift and conviction.
    pub counts: RuleCounts,
    /// Confidence times the mean amount, where amounts are given.
    pub expected_revenue: Option<f64>,
}

/// Baskets, ready to be asked for what goes with a basket.
#[derive(Debug)]
pub struct CrossSeller<'a> {
    baskets: &'a Baskets,
    by_item: &'a ByItem,
    /// Mean amount of each item when bought.
    amounts: Option<&'a [f64]>,
}

impl<'a> CrossSeller<'a> {
    /// # Errors
    /// Amounts that are not one finite number from 0 an item.
    pub fn new(baskets: &'a Baskets, by_item: &'a ByItem, amounts: Option<&'a [f64]>) -> Result<Self, ModelError> {
        if let Some(a) = amounts
            && (a.len() != baskets.n_items || a.iter().any(|x| !x.is_finite() || *x < 0.0))
        {
            let given = format!("{} amounts for {} items", a.len(), baskets.n_items);
            return Err(ModelError::Option { option: "price".into(), given, allowed: "one finite number from 0 for each item".into() });
        }
        Ok(Self { baskets, by_item, amounts })
    }

    /// The at most `k` items that go best with `basket` (any order; repeats and unknown items say nothing), the best first, equal ones by ascending item.
    pub fn of(&self, basket: &[u32], params: &CrossSellParams, k: usize) -> Vec<CrossSell> {
        let mut basket: Vec<u32> = basket.iter().copied().filter(|&i| !self.by_item.baskets(i).is_empty()).collect();
        basket.sort_unstable();
        basket.dedup();
        let mut counts = Counts::new(self.baskets.n_items);
        let whole = self.by_item.with_all(&basket);
        let mut found = if basket.len() == 1 || whole.len() as u64 >= u64::from(params.min_baskets.max(1)) {
            self.from(&whole, basket.first().copied().filter(|_| basket.len() == 1), &basket, params, &mut counts)
        } else {
            let each = basket.iter().flat_map(|&i| self.from(self.by_item.baskets(i), Some(i), &basket, params, &mut counts));
            let mut all: Vec<CrossSell> = each.collect();
            let low = |c: &CrossSell| c.counts.confidence_low();
            all.sort_by(|a, b| a.item.cmp(&b.item).then(low(b).total_cmp(&low(a))).then(a.because.cmp(&b.because)));
            all.dedup_by_key(|c| c.item);
            all
        };
        let worth = |c: &CrossSell| c.counts.confidence_low() * self.amounts.map_or(1.0, |a| a[c.item as usize]);
        found.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.item.cmp(&b.item)));
        found.truncate(k);
        found
    }

    /// What the baskets `having` say, on behalf of `because`.
    fn from(&self, having: &[u32], because: Option<u32>, basket: &[u32], params: &CrossSellParams, counts: &mut Counts) -> Vec<CrossSell> {
        having.iter().flat_map(|&b| self.baskets.basket(b as usize)).for_each(|&i| counts.add(i));
        let each = counts.take().into_iter().filter(|(i, both)| *both >= params.min_count.max(1) && basket.binary_search(i).is_err());
        each.map(|(item, both)| {
            let consequent = self.by_item.baskets(item).len() as u32;
            let counts = RuleCounts { n: self.baskets.len() as u64, antecedent: having.len() as u32, consequent, both };
            let expected_revenue = self.amounts.map(|a| counts.confidence() * a[item as usize]);
            CrossSell { item, because, counts, expected_revenue }
        })
        .filter(|c| c.counts.lift() > params.min_lift)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::baskets::tests::{having, random};

    /// Counts the slow way, for baskets that speak as a whole and such that do not.
    #[test]
    fn what_goes_with_a_basket_is_that_of_brute_force() {
        let amounts: Vec<f64> = (0..9).map(|i| 1.0 + f64::from(i * i % 7)).collect();
        let (mut whole, mut single) = (0, 0);
        for seed in 0..30 {
            let b = random(seed, 60, 9);
            let by_item = ByItem::new(&b);
            let seller = CrossSeller::new(&b, &by_item, Some(&amounts)).unwrap();
            let params = CrossSellParams { min_count: 2, min_baskets: 8, min_lift: 0.9 };
            for basket in [vec![seed as u32 % 9], vec![0, 1], vec![0, 3, 5], vec![7, 8, 7, 99]] {
                let set: Vec<u32> = (0..9).filter(|i| basket.contains(i)).collect();
                let counts = |antecedent: &[u32], j: u32| RuleCounts {
                    n: 60,
                    antecedent: having(&b, antecedent),
                    consequent: having(&b, &[j]),
                    both: having(&b, &[antecedent, &[j]].concat()),
                };
                let together = set.len() > 1 && having(&b, &set) >= 8;
                let mut wanted: Vec<CrossSell> = vec![];
                for j in (0..9u32).filter(|j| !set.contains(j)) {
                    let one = |because: Option<u32>, antecedent: &[u32]| CrossSell {
                        item: j,
                        because,
                        counts: counts(antecedent, j),
                        expected_revenue: Some(counts(antecedent, j).confidence() * amounts[j as usize]),
                    };
                    let all = if together { vec![one(None, &set)] } else { set.iter().map(|&i| one(Some(i), &[i])).collect() };
                    let told = all.into_iter().filter(|c| c.counts.both >= 2 && c.counts.lift() > 0.9);
                    wanted.extend(told.rev().max_by(|a, b| a.counts.confidence_low().total_cmp(&b.counts.confidence_low())));
                }
                let worth = |c: &CrossSell| c.counts.confidence_low() * amounts[c.item as usize];
                wanted.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
                *if together { &mut whole } else { &mut single } += wanted.len();
                assert_eq!(seller.of(&basket, &params, 9), wanted, "{seed} {basket:?}");
                assert_eq!(seller.of(&basket, &params, 1), wanted[..wanted.len().min(1)]);
            }
            assert!(seller.of(&[], &params, 9).is_empty() && seller.of(&[99], &params, 9).is_empty());
        }
        assert!(whole > 50 && single > 50, "{whole} {single}");
    }

    #[test]
    fn amounts_must_be_numbers() {
        let b = random(1, 5, 3);
        let fails = |amounts: &[f64]| CrossSeller::new(&b, &ByItem::new(&b), Some(amounts)).is_err();
        assert!(fails(&[1.0, f64::NAN, 2.0]) && fails(&[1.0]));
    }
}
