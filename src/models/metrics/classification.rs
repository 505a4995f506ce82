//! What a threshold on a score does: confusion matrices, curves, lift, costs. Slices are parallel and finite; a row is flagged where its score is ≥ the threshold.
//! Figures that would divide by nothing are `None`.
//!
//! Fawcett 2006, "An introduction to ROC analysis", Pattern Recognition Letters 27(8).

/// Rows by flag and label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    pub true_positives: u64,
    pub false_positives: u64,
    pub true_negatives: u64,
    pub false_negatives: u64,
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

impl Confusion {
    pub fn at(scores: &[f64], positive: &[bool], threshold: f64) -> Self {
        let mut all = Self::default();
        for (&score, &positive) in scores.iter().zip(positive) {
            *match (score >= threshold, positive) {
                (true, true) => &mut all.true_positives,
                (true, false) => &mut all.false_positives,
                (false, false) => &mut all.true_negatives,
                (false, true) => &mut all.false_negatives,
            } += 1;
        }
        all
    }

    pub fn rows(&self) -> u64 {
        self.flagged() + self.true_negatives + self.false_negatives
    }

    pub fn flagged(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.flagged())
    }

    /// Also the true positive rate, or sensitivity.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    pub fn false_positive_rate(&self) -> Option<f64> {
        share(self.false_positives, self.true_negatives + self.false_positives)
    }

    pub fn accuracy(&self) -> Option<f64> {
        share(self.true_positives + self.true_negatives, self.rows())
    }

    /// 2·tp / (2·tp + fp + fn), the harmonic mean of precision and recall.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.true_positives, self.flagged() + self.true_positives + self.false_negatives)
    }
}

/// A threshold and what it does; `None` is one above every score, which flags nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    pub threshold: Option<f64>,
    pub confusion: Confusion,
}

/// Every threshold there is, from the one that flags nothing to the one that flags all: the points of the ROC curve (`recall` by `false_positive_rate`) and of the
/// precision-recall curve. Equal scores are one point.
pub fn cuts(scores: &[f64], positive: &[bool]) -> Vec<Cut> {
    let positives = positive.iter().filter(|p| **p).count() as u64;
    let negatives = positive.len() as u64 - positives;
    let mut confusion = Confusion { true_negatives: negatives, false_negatives: positives, ..Confusion::default() };
    let mut all = vec![Cut { threshold: None, confusion }];
    for tied in descending(scores).chunk_by(|&a, &b| scores[a] == scores[b]) {
        let hits = tied.iter().filter(|&&i| positive[i]).count() as u64;
        confusion.true_positives += hits;
        confusion.false_negatives -= hits;
        confusion.false_positives += tied.len() as u64 - hits;
        confusion.true_negatives -= tied.len() as u64 - hits;
        all.push(Cut { threshold: Some(scores[tied[0]]), confusion });
    }
    all
}

/// Places of the scores from the highest on.
fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// A point of [`roc_curve`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    pub threshold: Option<f64>,
    pub recall: f64,
    pub false_positive_rate: f64,
    pub confusion: Confusion,
}

/// From (0, 0) to (1, 1). `None` where a class is missing.
pub fn roc_curve(scores: &[f64], positive: &[bool]) -> Option<Vec<RocPoint>> {
    let point = |Cut { threshold, confusion }| {
        let (recall, false_positive_rate) = (confusion.recall()?, confusion.false_positive_rate()?);
        Some(RocPoint { threshold, recall, false_positive_rate, confusion })
    };
    cuts(scores, positive).into_iter().map(point).collect()
}

/// A point of [`pr_curve`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrPoint {
    pub threshold: Option<f64>,
    pub recall: f64,
    pub precision: f64,
    pub confusion: Confusion,
}

/// From recall 0, where precision is put at 1 as scikit-learn does, to recall 1. `None` without positives.
pub fn pr_curve(scores: &[f64], positive: &[bool]) -> Option<Vec<PrPoint>> {
    let point = |Cut { threshold, confusion }| {
        let (recall, precision) = (confusion.recall()?, confusion.precision().unwrap_or(1.0));
        Some(PrPoint { threshold, recall, precision, confusion })
    };
    cuts(scores, positive).into_iter().map(point).collect()
}

/// Average precision, Σ (recall_k − recall_k−1) · precision_k over the thresholds from high to low; not interpolated. `None` without positives.
pub fn pr_auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let points = pr_curve(scores, positive)?;
    Some(points.windows(2).map(|w| (w[1].recall - w[0].recall) * w[1].precision).sum())
}

/// Positives among the `n` highest of rows with equal scores side by side: of those tied across the border, their share.
struct Gains {
    /// Rows, and positives among them, up to and with each distinct score from the highest on; (0, 0) first.
    ends: Vec<(f64, f64)>,
}

impl Gains {
    fn of(scores: &[f64], positive: &[bool]) -> Self {
        let end = |c: Cut| (c.confusion.flagged() as f64, c.confusion.true_positives as f64);
        Self { ends: cuts(scores, positive).into_iter().map(end).collect() }
    }

    fn positives(&self, n: f64) -> f64 {
        let at = self.ends.partition_point(|e| e.0 < n).clamp(1, self.ends.len().max(2) - 1);
        let Some(&(end, held)) = self.ends.get(at) else { return 0.0 };
        let (start, before) = self.ends[at - 1];
        before + (held - before) * (n - start) / (end - start)
    }
}

/// A row of [`lift_table`]: a slice of the rows by score, the highest first, and all down to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiftRow {
    pub rows: u64,
    /// The scores of the slice.
    pub highest: f64,
    pub lowest: f64,
    /// Not whole where equal scores lie in two slices.
    pub positives: f64,
    pub rate: f64,
    /// Rate of the slice over that of all rows.
    pub lift: f64,
    /// Positives down to here over all of them, and the rate down to here over that of all rows.
    pub gain: f64,
    pub cumulative_lift: f64,
}

/// As many slices as asked for, or as there are rows if these are fewer, of sizes that differ by at most one. `None` without positives.
pub fn lift_table(scores: &[f64], positive: &[bool], slices: usize) -> Option<Vec<LiftRow>> {
    let n = scores.len();
    let slices = slices.clamp(1, n.max(1));
    let all = positive.iter().filter(|p| **p).count() as f64;
    if all == 0.0 {
        return None;
    }
    let (order, gains) = (descending(scores), Gains::of(scores, positive));
    let row = |i: usize| {
        let (start, end) = (border(n, slices, i), border(n, slices, i + 1));
        let (before, held) = (gains.positives(start as f64), gains.positives(end as f64));
        let (rows, positives) = ((end - start) as f64, held - before);
        LiftRow {
            rows: rows as u64,
            highest: scores[order[start]],
            lowest: scores[order[end - 1]],
            positives,
            rate: positives / rows,
            lift: positives / rows / (all / n as f64),
            gain: held / all,
            cumulative_lift: held / end as f64 / (all / n as f64),
        }
    };
    Some((0..slices).map(row).collect())
}

/// Where slice `i` of `slices` of `n` rows begins.
fn border(n: usize, slices: usize, i: usize) -> usize {
    (n as u128 * i as u128 / slices as u128) as usize
}

/// A threshold with what it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostRow {
    pub cut: Cut,
    /// `cost_fp` · false positives + `cost_fn` · false negatives.
    pub cost: f64,
    pub cost_a_row: f64,
    /// The cheapest; of equal ones that which flags fewest.
    pub best: bool,
}

/// Every threshold with its cost (Elkan 2001, "The foundations of cost-sensitive learning", IJCAI '01); costs are finite and not negative. Empty without rows.
pub fn cost_table(scores: &[f64], positive: &[bool], cost_fp: f64, cost_fn: f64) -> Vec<CostRow> {
    let n = scores.len() as f64;
    if n == 0.0 {
        return vec![];
    }
    let row = |cut: Cut| {
        let share = |count: u64| count as f64 / n;
        let cost_a_row = cost_fp * share(cut.confusion.false_positives) + cost_fn * share(cut.confusion.false_negatives);
        let cost_a_row = cost_a_row.min(f64::MAX);
        CostRow { cut, cost: (cost_a_row * n).min(f64::MAX), cost_a_row, best: false }
    };
    let mut all: Vec<CostRow> = cuts(scores, positive).into_iter().map(row).collect();
    // The first of the smallest.
    if let Some(best) = all.iter_mut().min_by(|a, b| a.cost_a_row.total_cmp(&b.cost_a_row)) {
        best.best = true;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 12] = [0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1];
    const Y: [bool; 12] = [true, true, false, true, false, true, true, false, false, true, false, false];

    /// scikit-learn 1.9.1: average_precision_score, confusion_matrix, roc_curve(drop_intermediate=False), precision_recall_curve.
    #[test]
    fn as_scikit_learn() {
        assert!((pr_auc(&P, &Y).unwrap() - 0.7180555555555556).abs() < 1e-12);
        let c = Confusion::at(&P, &Y, 0.5);
        assert_eq!((c.true_negatives, c.false_positives, c.false_negatives, c.true_positives), (3, 3, 1, 5));
        let figures = [c.precision(), c.recall(), c.f1(), c.accuracy()].map(Option::unwrap);
        assert_eq!(figures, [0.625, 0.8333333333333334, 0.7142857142857143, 0.6666666666666666]);
        let roc = roc_curve(&P, &Y).unwrap();
        let sixths = |of: &dyn Fn(&RocPoint) -> f64| roc.iter().map(|p| (of(p) * 6.0).round() as u8).collect::<Vec<_>>();
        assert_eq!(sixths(&|p| p.false_positive_rate), [0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 6]);
        assert_eq!(sixths(&|p| p.recall), [0, 1, 2, 3, 3, 4, 5, 5, 6, 6, 6]);
        assert_eq!((roc[0].threshold, roc[2].threshold, roc[6].confusion), (None, Some(0.8), c));
        let precisions: Vec<f64> = pr_curve(&P, &Y).unwrap().iter().map(|p| p.precision).collect();
        let expected = [1.0, 1.0, 2.0 / 3.0, 0.75, 0.6, 2.0 / 3.0, 0.625, 5.0 / 9.0, 0.6, 6.0 / 11.0, 0.5];
        assert_eq!(precisions, expected);
    }

    #[test]
    fn lift_shares_out_ties_and_gains_add_up() {
        // In the first slice the first row and half of the positives at .8.
        let table = lift_table(&P, &Y, 5).unwrap();
        assert_eq!(table.iter().map(|r| r.rows).collect::<Vec<_>>(), [2, 2, 3, 2, 3]);
        assert_eq!((table[0].positives, table[0].lift, table[1].positives), (1.5, 1.5, 1.5));
        assert_eq!((table[4].gain, table[4].cumulative_lift, table[4].lowest), (1.0, 1.0, 0.1));
        assert_eq!(table[1].gain, 0.5);
        assert_eq!(lift_table(&P[..3], &Y[..3], 10).unwrap().len(), 3);
    }

    #[test]
    fn the_cheapest_threshold_is_flagged() {
        let best = |fp: f64, miss: f64| {
            let table = cost_table(&P, &Y, fp, miss);
            assert_eq!(table.iter().filter(|r| r.best).count(), 1);
            *table.iter().find(|r| r.best).unwrap()
        };
        assert_eq!((best(1.0, 0.0).cut.threshold, best(0.0, 1.0).cut.threshold), (None, Some(0.3)));
        // 3 to 1: at .3, four flagged in vain and none missed.
        let row = best(1.0, 3.0);
        assert_eq!((row.cut.threshold, row.cost), (Some(0.3), 4.0));
        assert!(cost_table(&P, &Y, 1e308, 1e308).iter().all(|r| r.cost.is_finite()));
        assert!(cost_table(&[], &[], 1.0, 1.0).is_empty());
    }

    #[test]
    fn without_a_class_there_is_no_figure() {
        let c = Confusion::at(&[], &[], 0.5);
        assert!([c.precision(), c.recall(), c.f1(), c.accuracy(), c.false_positive_rate()].iter().all(Option::is_none));
        assert!(roc_curve(&P, &[true; 12]).is_none() && roc_curve(&P, &[false; 12]).is_none());
        assert!(pr_auc(&P, &[false; 12]).is_none() && pr_auc(&P, &[true; 12]) == Some(1.0));
    }
}
