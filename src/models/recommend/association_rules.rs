//! Association rules: who has these has that (Agrawal, Imielinski & Swami 1993, "Mining association rules between sets of items in large databases",
//! SIGMOD '93), from frequent itemsets.
//!
//! Of n baskets, n_a have the antecedent A, n_c the consequent C, and n_ac both:
//!
//! * support = n_ac / n, confidence = n_ac / n_a = P(C | A), lift = confidence / P(C), leverage = P(A, C) − P(A)·P(C).
//! * conviction = P(A)·P(not C) / P(A, not C) = (1 − P(C)) / (1 − confidence) (Brin, Motwani, Ullman & Tsur 1997, "Dynamic itemset counting and
//!   implication rules for market basket data", SIGMOD '97); a rule without an exception has none.
//!
//! As a recommender, a user's items are one basket and consequents are single items. score(u, j) is, over the rules A → j with A ⊆ history, the largest
//! confidence, or by default the largest lower end of the confidence's 95 % interval. Lifts are added up: the largest is that of the rarest pair.

use std::sync::Arc;

use rayon::prelude::*;

use super::fp_growth::{Itemsets, MinSupport, frequent_itemsets};
use super::{Baskets, Feedback, History, Recommender, Scores, Shares};
use crate::models::{Allowed, Column, Control, Make, ModelError, ModelType, OptionSpec, Part, part};

/// `model_type = 'association_rules'`.
pub static ASSOCIATION_RULES: ModelType = ModelType {
    name: "association_rules",
    about: "association rules: who has these has that",
    options: &[
        OptionSpec {
            name: "min_support",
            default: "3",
            allowed: Allowed::Number { least: 1e-9, most: 1e9 },
            about: "how many users must have all items of a rule: below 1 a share of the users, from 1 a count",
        },
        OptionSpec {
            name: "min_confidence",
            default: "0.05",
            allowed: Allowed::Number { least: 0.0, most: 1.0 },
            about: "share of the users who have the first items of a rule that must have the last",
        },
        OptionSpec {
            name: "max_len",
            default: "2",
            allowed: Allowed::Whole { least: 2, most: 10 },
            about: "how many items a rule has at most, the recommended one counted",
        },
        OptionSpec {
            name: "by",
            default: "confidence_low",
            allowed: Allowed::OneOf(&["confidence_low", "confidence", "lift"]),
            about: "what a rule says: confidence, the lower end of its 95 % interval, which trusts rules of few users less, or lift",
        },
    ],
    in_auto: false,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let params = RuleParams {
                min_support: MinSupport::of(options.number("min_support")),
                min_confidence: options.number("min_confidence"),
                max_len: options.whole("max_len") as usize,
                by: By::of(options.get("by")).unwrap_or(By::ConfidenceLow),
            };
            Ok(Arc::new(AssociationRules::fit(feedback, &params, control)?))
        },
        read: |parts| Ok(Arc::new(AssociationRules::from_parts(parts)?)),
    },
};

/// How many of `n` baskets have an antecedent, a consequent, and both; all at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCounts {
    pub n: u64,
    pub antecedent: u32,
    pub consequent: u32,
    pub both: u32,
}

impl RuleCounts {
    pub fn support(&self) -> f64 {
        f64::from(self.both) / self.n as f64
    }

    pub fn confidence(&self) -> f64 {
        f64::from(self.both) / f64::from(self.antecedent)
    }

    pub fn lift(&self) -> f64 {
        f64::from(self.both) * self.n as f64 / (f64::from(self.antecedent) * f64::from(self.consequent))
    }

    pub fn leverage(&self) -> f64 {
        self.support() - f64::from(self.antecedent) / self.n as f64 * (f64::from(self.consequent) / self.n as f64)
    }

    /// `None` at a confidence of 1, where it is infinite.
    pub fn conviction(&self) -> Option<f64> {
        let (without, exceptions) = (self.n as f64 - f64::from(self.consequent), self.antecedent - self.both);
        (exceptions > 0).then(|| without / self.n as f64 * f64::from(self.antecedent) / f64::from(exceptions))
    }

    /// The lower end of the 95 % interval of the confidence (Wilson 1927): what a rule of few baskets can be relied on for.
    pub fn confidence_low(&self) -> f64 {
        const Z2: f64 = 1.959_963_984_540_054 * 1.959_963_984_540_054;
        let (n, p) = (f64::from(self.antecedent), self.confidence());
        let centre = p + Z2 / (2.0 * n);
        let half = (Z2 * (p * (1.0 - p) / n + Z2 / (4.0 * n * n))).sqrt();
        ((centre - half) / (1.0 + Z2 / n)).max(0.0)
    }
}

/// Antecedent → consequent, both ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub antecedent: Box<[u32]>,
    pub consequent: Box<[u32]>,
    pub counts: RuleCounts,
}

/// More rules than that are an error.
pub const MAX_RULES: usize = 5_000_000;

/// The rules that hold with at least `min_confidence`, their consequents of at most `max_consequent` items, in the order of the itemsets they are made
/// of, then of their consequents by length and items.
///
/// # Errors
/// More than [`MAX_RULES`] rules, or cancelled.
pub fn rules(sets: &Itemsets, min_confidence: f64, max_consequent: usize, control: &Control) -> Result<Vec<Rule>, ModelError> {
    let (mut out, item_counts): (Vec<Rule>, _) = (vec![], |items: &[u32]| sets.count(items).unwrap_or(0));
    let chunk: Vec<(&[u32], u32)> = sets.iter().filter(|(set, _)| set.len() >= 2).collect();
    // A parallel step at a time, so that too many rules are noticed before they fill the memory.
    for chunk in chunk.chunks(1 << 16) {
        control.check()?;
        let found: Vec<Vec<Rule>> = chunk
            .par_iter()
            .map(|&(set, both)| {
                let mut of_set = vec![];
                for length in 1..=max_consequent.min(set.len() - 1) {
                    subsets(set, length, &mut |consequent, antecedent| {
                        let counts = RuleCounts {
                            n: sets.n_baskets as u64,
                            antecedent: item_counts(antecedent),
                            consequent: item_counts(consequent),
                            both,
                        };
                        if counts.confidence() >= min_confidence {
                            of_set.push(Rule { antecedent: antecedent.into(), consequent: consequent.into(), counts });
                        }
                    });
                }
                of_set
            })
            .collect();
        out.extend(found.into_iter().flatten());
        if out.len() > MAX_RULES {
            return Err(ModelError::Option {
                option: "min_confidence".into(),
                given: min_confidence.to_string(),
                allowed: format!("more than {MAX_RULES} rules hold. Raise min_confidence or min_support, or lower max_len"),
            });
        }
    }
    Ok(out)
}

/// Calls `each(subset, rest)` for the subsets of that length, in order.
fn subsets(set: &[u32], length: usize, each: &mut impl FnMut(&[u32], &[u32])) {
    fn go(set: &[u32], length: usize, within: &mut Vec<u32>, rest: &mut Vec<u32>, each: &mut impl FnMut(&[u32], &[u32])) {
        let Some((&first, others)) = set.split_first().filter(|_| set.len() >= length) else {
            if length == 0 {
                each(within, rest);
            }
            return;
        };
        if length > 0 {
            within.push(first);
            go(others, length - 1, within, rest, each);
            within.pop();
        }
        rest.push(first);
        go(others, length, within, rest, each);
        rest.pop();
    }
    go(set, length, &mut vec![], &mut vec![], each);
}

/// What the score of a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    ConfidenceLow,
    Confidence,
    Lift,
}

impl By {
    const ALL: [(&str, Self); 3] = [("confidence_low", Self::ConfidenceLow), ("confidence", Self::Confidence), ("lift", Self::Lift)];

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, by)| by)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, by)| *by == self).map_or("", |(name, _)| name)
    }

    fn strength(self, counts: &RuleCounts) -> f64 {
        match self {
            Self::ConfidenceLow => counts.confidence_low(),
            Self::Confidence => counts.confidence(),
            Self::Lift => counts.lift(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleParams {
    pub min_support: MinSupport,
    /// In [0, 1].
    pub min_confidence: f64,
    /// At least 2.
    pub max_len: usize,
    pub by: By,
}

/// Rules by antecedent, and antecedents by their rarest item: only those of the items a user has are looked at.
#[derive(Debug, PartialEq)]
pub struct AssociationRules {
    /// Item `i` is the rarest of the antecedents `of_item[i]..of_item[i + 1]`.
    of_item: Vec<u64>,
    /// The other items of antecedent `a` are `others[others_of[a]..others_of[a + 1]]`, its rules `rules_of[a]..rules_of[a + 1]`.
    others_of: Vec<u64>,
    others: Vec<u32>,
    rules_of: Vec<u64>,
    consequents: Vec<u32>,
    strengths: Vec<f32>,
    by: By,
}

impl AssociationRules {
    /// # Errors
    /// No rule at all, too many of them, or cancelled.
    pub fn fit(feedback: &Feedback, params: &RuleParams, control: &Control) -> Result<Self, ModelError> {
        let baskets = Baskets::of_users(feedback);
        let sets = frequent_itemsets(&baskets, params.min_support, params.max_len, control)?;
        let rules = rules(&sets, params.min_confidence, 1, control)?;
        if rules.is_empty() {
            return Err(ModelError::TooLittleData(format!(
                "no rule: of {} users, {} or more must have two items, and {} of those who have one the other. Lower min_support or min_confidence",
                baskets.len(),
                params.min_support.count(baskets.len()),
                params.min_confidence
            )));
        }
        let counts = baskets.item_counts();
        let rarest = |antecedent: &[u32]| antecedent.iter().copied().min_by_key(|&i| (counts[i as usize], i)).unwrap_or(0);
        let mut keyed: Vec<(u32, &Rule)> = rules.iter().map(|r| (rarest(&r.antecedent), r)).collect();
        keyed.par_sort_unstable_by(|(a, r), (b, s)| {
            a.cmp(b).then_with(|| r.antecedent.cmp(&s.antecedent)).then_with(|| r.consequent.cmp(&s.consequent))
        });
        let mut out = Self {
            of_item: vec![0],
            others_of: vec![0],
            others: vec![],
            rules_of: vec![],
            consequents: vec![],
            strengths: vec![],
            by: params.by,
        };
        for group in keyed.chunk_by(|a, b| a.1.antecedent == b.1.antecedent) {
            let (item, first) = group[0];
            out.of_item.resize(item as usize + 1, out.rules_of.len() as u64);
            out.rules_of.push(out.consequents.len() as u64);
            out.others.extend(first.antecedent.iter().filter(|i| **i != item));
            out.others_of.push(out.others.len() as u64);
            for (_, rule) in group {
                out.consequents.push(rule.consequent[0]);
                out.strengths.push(params.by.strength(&rule.counts) as f32);
            }
        }
        out.of_item.resize(baskets.n_items + 1, out.rules_of.len() as u64);
        out.rules_of.push(out.consequents.len() as u64);
        Ok(out)
    }

    /// The rules whose antecedents a user has, as (rarest item of the antecedent, consequent, strength).
    fn speaking<'a>(&'a self, user: History<'a>) -> impl Iterator<Item = (u32, u32, f32)> + 'a {
        let range = |offsets: &[u64], at: usize| offsets[at] as usize..offsets[at + 1] as usize;
        let has = move |i: &u32| user.items.binary_search(i).is_ok();
        user.items.iter().flat_map(move |&i| {
            range(&self.of_item, i as usize)
                .filter(move |&a| self.others[range(&self.others_of, a)].iter().all(has))
                .flat_map(move |a| range(&self.rules_of, a).map(move |r| (i, self.consequents[r], self.strengths[r])))
        })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let antecedents = part(parts, "antecedents")?;
        let rules = part(parts, "rules")?;
        let by = match part(parts, "rules_by")?.text("by")? {
            [name] => By::of(name),
            _ => None,
        };
        let by = by.ok_or_else(|| ModelError::Damaged("what the rules go by is not known".into()))?;
        let out = Self {
            of_item: part(parts, "antecedents_of_item")?.u64("offset")?.to_vec(),
            others_of: antecedents.u64("others_offset")?.to_vec(),
            others: part(parts, "antecedents_others")?.u32("item")?.to_vec(),
            rules_of: antecedents.u64("rules_offset")?.to_vec(),
            consequents: rules.u32("consequent")?.to_vec(),
            strengths: rules.f32("strength")?.to_vec(),
            by,
        };
        let reach = |offsets: &[u64], end: usize| {
            offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.first() == Some(&0) && offsets.last() == Some(&(end as u64))
        };
        let fit = !out.rules_of.is_empty()
            && out.rules_of.len() == out.others_of.len()
            && reach(&out.of_item, out.rules_of.len() - 1)
            && reach(&out.others_of, out.others.len())
            && reach(&out.rules_of, out.consequents.len())
            && out.strengths.len() == out.consequents.len();
        let known = out.others.iter().chain(&out.consequents).all(|&i| (i as usize) < out.of_item.len().saturating_sub(1));
        if !fit || !known || out.strengths.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(ModelError::Damaged("association rules that do not fit together".into()));
        }
        Ok(out)
    }
}

impl Recommender for AssociationRules {
    fn n_items(&self) -> usize {
        self.of_item.len() - 1
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        for (because, item, strength) in self.speaking(user) {
            if self.by == By::Lift { scores.add(item, strength, because) } else { scores.raise(item, strength, because) }
        }
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let said = self.speaking(user).filter(|(_, i, _)| *i == item).map(|(because, _, strength)| (because, strength));
        let of_items = match self.by {
            By::Lift => said.collect(),
            _ => said.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).into_iter().collect(),
        };
        Shares { baseline: 0.0, of_items }
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![
            Part::new("rules_by", vec![("by", Column::Text(vec![self.by.name().into()]))]),
            Part::new("antecedents_of_item", vec![("offset", Column::U64(self.of_item.clone()))]),
            Part::new(
                "antecedents",
                vec![("others_offset", Column::U64(self.others_of.clone())), ("rules_offset", Column::U64(self.rules_of.clone()))],
            ),
            Part::new("antecedents_others", vec![("item", Column::U32(self.others.clone()))]),
            Part::new(
                "rules",
                vec![("consequent", Column::U32(self.consequents.clone())), ("strength", Column::F32(self.strengths.clone()))],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::baskets::tests::{having, random};
    use crate::models::recommend::{Csr, Filter, check};

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// Every split of every frequent set, its probabilities counted the slow way.
    #[test]
    fn rules_are_those_of_brute_force() {
        for (seed, max_consequent) in (0..20).zip([1, 3].into_iter().cycle()) {
            let b = random(seed, 30, 7);
            let sets = frequent_itemsets(&b, MinSupport::Count(2), 4, &Control::default()).unwrap();
            let found = rules(&sets, 0.3, max_consequent, &Control::default()).unwrap();
            let mut wanted = 0;
            for (set, both) in sets.iter() {
                for bits in 1..(1u32 << set.len()) - 1 {
                    let side = |bit: u32| (0..set.len()).filter(|i| bits >> i & 1 == bit).map(|i| set[i]).collect::<Vec<u32>>();
                    let (a, c) = (side(0), side(1));
                    let p = |items: &[u32]| f64::from(having(&b, items)) / 30.0;
                    let confidence = p(set) / p(&a);
                    if c.len() > max_consequent || confidence < 0.3 - 1e-12 {
                        continue;
                    }
                    wanted += 1;
                    let rule = found.iter().find(|r| *r.antecedent == a && *r.consequent == c).unwrap().counts;
                    assert_eq!(rule.both, both);
                    assert!(near(rule.support(), p(set)) && near(rule.confidence(), confidence));
                    assert!(near(rule.lift(), p(set) / (p(&a) * p(&c))) && near(rule.leverage(), p(set) - p(&a) * p(&c)));
                    match rule.conviction() {
                        Some(v) => assert!((v - (1.0 - p(&c)) / (1.0 - confidence)).abs() < 1e-9),
                        None => assert!(near(confidence, 1.0)),
                    }
                }
            }
            assert_eq!(found.len(), wanted);
        }
    }

    /// Wilson's interval of 8 in 10, (0.4902, 0.9433), as R's prop.test(8, 10, correct = FALSE) gives it.
    #[test]
    fn confidence_has_wilsons_lower_end() {
        let of = |both, antecedent| RuleCounts { n: 100, antecedent, consequent: 90, both }.confidence_low();
        assert!((of(8, 10) - 0.490_162).abs() < 1e-6, "{}", of(8, 10));
        assert!(of(1, 1) < of(80, 100) && of(80, 100) < 0.8);
    }

    fn fitted(feedback: &Feedback, max_len: usize, by: By) -> Result<AssociationRules, ModelError> {
        let params = RuleParams { min_support: MinSupport::of(0.05), min_confidence: 0.2, max_len, by };
        AssociationRules::fit(feedback, &params, &Control::default())
    }

    #[test]
    fn scores_are_those_of_the_rules_that_a_history_has() {
        let m = check::random(5, 60, 12);
        let sets = frequent_itemsets(&Baskets::of_users(&m), MinSupport::Count(3), 3, &Control::default()).unwrap();
        let all = rules(&sets, 0.2, 1, &Control::default()).unwrap();
        let (mut scores, mut out) = (Scores::default(), vec![]);
        for (_, by) in By::ALL {
            let (model, mut some) = (fitted(&m, 3, by).unwrap(), 0);
            for u in 0..60 {
                let user = m.history(u);
                model.top_k(user, Filter { exclude: user.items, candidates: None }, 12, &mut scores, &mut out);
                for item in (0..12).filter(|i| !user.items.contains(i)) {
                    let said = all.iter().filter(|r| *r.consequent == [item] && r.antecedent.iter().all(|i| user.items.contains(i)));
                    let said: Vec<(f64, &Rule)> = said.map(|r| (by.strength(&r.counts), r)).collect();
                    let most = said.iter().map(|s| s.0).fold(0.0, f64::max);
                    let score = if by == By::Lift { said.iter().map(|s| s.0).sum() } else { most };
                    let Some(scored) = out.iter().find(|s| s.item == item) else {
                        assert_eq!(score, 0.0);
                        continue;
                    };
                    assert!((f64::from(scored.score) - score).abs() < 1e-5);
                    let because = scored.because.unwrap();
                    assert!(said.iter().any(|(s, r)| *s == most && r.antecedent.contains(&because)));
                    some += 1;
                }
            }
            assert!(some > 100);
        }
    }

    #[test]
    fn lists_keep_the_guarantees() {
        for (_, by) in By::ALL {
            for max_len in [2, 3] {
                check::guarantees(&|f| Ok(Arc::new(fitted(f, max_len, by)?)), &ASSOCIATION_RULES.make);
            }
        }
    }

    #[test]
    fn without_a_rule_what_to_lower_is_said() {
        let weights = Csr { n_cols: 3, offsets: vec![0, 1, 2, 3], columns: vec![0, 1, 2], values: vec![1.0; 3] };
        let e = fitted(&Feedback { weights, last_us: vec![0; 3], ratings: vec![], goals: vec![] }, 2, By::Lift).unwrap_err().to_string();
        assert!(e.contains("Lower min_support or min_confidence"), "{e}");
    }
}
