//! Errors of predicted numbers. Slices are parallel and finite; a figure that would not be finite is `None`.

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n = values.len() as f64;
    Some(values.sum::<f64>() / n).filter(|m| m.is_finite())
}

/// Mean of |predicted − actual| / |actual| over the rows whose actual value is not 0; `None` if there is none.
pub fn mape(predicted: &[f64], actual: &[f64]) -> Option<f64> {
    let errors: Vec<f64> = predicted.iter().zip(actual).filter(|(_, a)| **a != 0.0).map(|(p, a)| ((p - a) / a).abs()).collect();
    mean(errors.into_iter())
}

/// Median of |predicted − actual|; of an even number the mean of the two in the middle.
pub fn median_absolute_error(predicted: &[f64], actual: &[f64]) -> Option<f64> {
    let mut errors: Vec<f64> = predicted.iter().zip(actual).map(|(p, a)| (p - a).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let middle = errors.len() / 2;
    let above = *errors.get(middle)?;
    Some(if errors.len() % 2 == 1 { above } else { errors[middle - 1] / 2.0 + above / 2.0 }).filter(|m| m.is_finite())
}

/// 1 − Σ(actual − predicted)² / Σ(actual − mean)²; `None` where the actual values are all equal.
pub fn r2(predicted: &[f64], actual: &[f64]) -> Option<f64> {
    if actual.iter().all(|a| *a == actual[0]) {
        return None;
    }
    let middle = mean(actual.iter().copied())?;
    let left: f64 = predicted.iter().zip(actual).map(|(p, a)| (a - p).powi(2)).sum();
    let total: f64 = actual.iter().map(|a| (a - middle).powi(2)).sum();
    Some(1.0 - left / total).filter(|r| r.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scikit-learn 1.9.1.
    #[test]
    fn as_scikit_learn() {
        let (p, a) = ([2.5, 0.0, 2.1, 8.0, 3.0], [3.0, -0.5, 2.0, 7.0, 4.2]);
        let close = |got: Option<f64>, expected: f64| assert!((got.unwrap() - expected).abs() < 1e-12, "{got:?} against {expected}");
        close(mape(&p, &a), 0.3290476190476191);
        close(r2(&p, &a), 0.903569560669456);
        close(median_absolute_error(&p, &a), 0.5);
        close(median_absolute_error(&p[..4], &a[..4]), 0.5);
    }

    #[test]
    fn what_has_no_figure_has_none() {
        for figure in [mape, median_absolute_error, r2] {
            assert_eq!(figure(&[], &[]), None);
            let huge = figure(&[1e300, -1e300], &[-1.7e308, 1.7e308]);
            assert!(huge.is_none_or(f64::is_finite));
        }
        assert_eq!((r2(&[1.0, 2.0], &[3.0, 3.0]), mape(&[1.0], &[0.0])), (None, None));
    }
}
