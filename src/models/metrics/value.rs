//! How well predicted values order the actual ones. Slices are parallel.

/// Ranks from 1, ties sharing their mean.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let end = at + order[at..].iter().take_while(|&&i| values[i] == values[order[at]]).count().max(1);
        order[at..end].iter().for_each(|&i| ranks[i] = (at + 1 + end) as f64 / 2.0);
        at = end;
    }
    ranks
}

/// Spearman's rank correlation, ties sharing their mean rank; NaN where one side is constant.
pub fn spearman(predicted: &[f64], actual: &[f64]) -> f64 {
    let (a, b) = (ranks(predicted), ranks(actual));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// The normalised Gini coefficient: the area between the diagonal and the share of actual value held by the customers of highest prediction, relative to that of
/// a perfect order. Equal predictions share what they hold. NaN where nothing differs.
pub fn gini(predicted: &[f64], actual: &[f64]) -> f64 {
    let area = |by: &[f64]| {
        let mut order: Vec<usize> = (0..by.len()).collect();
        order.sort_by(|&a, &b| by[b].total_cmp(&by[a]));
        let total: f64 = actual.iter().sum();
        let (mut held, mut sum, mut at) = (0.0, 0.0, 0);
        while at < order.len() {
            let tied = order[at..].iter().take_while(|&&i| by[i] == by[order[at]]).count().max(1);
            let gained: f64 = order[at..at + tied].iter().map(|&i| actual[i]).sum();
            // The trapezium over the tied customers.
            sum += tied as f64 * (held + 0.5 * gained);
            held += gained;
            at += tied;
        }
        sum / (total * by.len() as f64) - 0.5
    };
    area(predicted) / area(actual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        let actual = [0.0, 0.0, 1.0, 3.0];
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0]), 1.0);
        // Ranks 1.5 1.5 3 4 against 4 3 2 1: −4.5/√(4.5·5)
        assert!((spearman(&[4.0, 3.0, 2.0, 1.0], &actual) + 4.5 / 22.5_f64.sqrt()).abs() < 1e-15);
        assert_eq!(gini(&actual, &actual), 1.0);
        assert_eq!(gini(&[1.0; 4], &actual), 0.0);
        assert!((gini(&[4.0, 3.0, 2.0, 1.0], &actual) + 1.0).abs() < 0.1);
        assert!(spearman(&[1.0; 4], &actual).is_nan() && gini(&actual, &[1.0; 4]).is_nan());
    }
}
