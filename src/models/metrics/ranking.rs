//! Ranking with binary relevance. `truth` is ascending.

/// Σ rel_i / log₂(i + 1) over the first k, divided by the same of an ideal list of min(|truth|, k).
pub fn ndcg_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    let gain = |i: usize| 1.0 / ((i + 2) as f64).log2();
    let ideal: f64 = (0..truth.len().min(k)).map(gain).sum();
    let found = recommended.iter().take(k).enumerate().filter(|(_, item)| truth.binary_search(item).is_ok());
    if ideal > 0.0 { found.map(|(i, _)| gain(i)).fold(0.0, |a, b| a + b) / ideal } else { 0.0 }
}

/// 1 if any of the first k is relevant.
pub fn hit_rate_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    f64::from(u8::from(recommended.iter().take(k).any(|item| truth.binary_search(item).is_ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        assert_eq!(ndcg_at_k(&[7, 3], &[3], 10), 1.0 / 3f64.log2());
        assert_eq!(ndcg_at_k(&[3, 7, 9], &[3, 7], 10), 1.0);
        assert_eq!(ndcg_at_k(&[7, 3], &[3], 1), 0.0);
        assert_eq!((hit_rate_at_k(&[7, 3], &[3], 2), hit_rate_at_k(&[7, 3], &[3], 1), hit_rate_at_k(&[], &[], 3)), (1.0, 0.0, 0.0));
    }
}
