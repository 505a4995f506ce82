//! Scores of probabilities and of numbers. Slices are parallel; of no rows, every figure is NaN.

/// Probabilities are kept this far from 0 and 1 by [`log_loss`].
const CLIP: f64 = 1e-6;

/// Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut rank_sum, mut positives) = (0.0, 0.0);
    let mut at = 0;
    while at < order.len() {
        let end = order[at..].iter().take_while(|&&i| scores[i] == scores[order[at]]).count().max(1) + at;
        let mean_rank = (at + 1 + end) as f64 / 2.0;
        let tied = order[at..end].iter().filter(|&&i| positive[i]).count() as f64;
        rank_sum += mean_rank * tied;
        positives += tied;
        at = end;
    }
    let negatives = scores.len() as f64 - positives;
    (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// Mean negative log-likelihood, probabilities clipped to [1e-6, 1 − 1e-6].
pub fn log_loss(probability: &[f64], positive: &[bool]) -> f64 {
    let one = |(&p, &y): (&f64, &bool)| {
        let p = p.clamp(CLIP, 1.0 - CLIP);
        if y { -p.ln() } else { -(1.0 - p).ln() }
    };
    probability.iter().zip(positive).map(one).sum::<f64>() / probability.len() as f64
}

/// Root of the mean squared error.
pub fn rmse(predicted: &[f64], actual: &[f64]) -> f64 {
    (predicted.iter().zip(actual).map(|(p, a)| (p - a).powi(2)).sum::<f64>() / predicted.len() as f64).sqrt()
}

/// Mean absolute error.
pub fn mae(predicted: &[f64], actual: &[f64]) -> f64 {
    predicted.iter().zip(actual).map(|(p, a)| (p - a).abs()).sum::<f64>() / predicted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        let y = [true, false, true, false];
        assert_eq!(roc_auc(&[0.9, 0.1, 0.8, 0.3], &y), 1.0);
        assert_eq!(roc_auc(&[0.5, 0.5, 0.5, 0.5], &y), 0.5);
        assert_eq!(roc_auc(&[0.9, 0.8, 0.7, 0.1], &y), 0.75);
        assert!((log_loss(&[0.5; 4], &y) - std::f64::consts::LN_2).abs() < 1e-15);
        assert!(log_loss(&[0.0, 1.0], &[true, false]).is_finite());
        assert_eq!(rmse(&[1.0, 3.0], &[1.0, 1.0]), 2f64.sqrt());
        assert_eq!(mae(&[1.0, 3.0], &[1.0, 1.0]), 1.0);
        assert!(roc_auc(&[0.1, 0.2], &[true, true]).is_nan());
    }
}
