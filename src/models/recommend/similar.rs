//! How alike two items are by who has had them, or two users by what they have had.

use super::Csr;

/// Which likeness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// |A ∩ B| / √(|A|·|B|)
    Cosine,
    /// |A ∩ B| / |A ∪ B|
    Jaccard,
}

impl Likeness {
    fn of(self, both: u32, a: usize, b: usize) -> f64 {
        let (both, a, b) = (f64::from(both), a as f64, b as f64);
        match self {
            Self::Cosine => both / (a * b).sqrt(),
            Self::Jaccard => both / (a + b - both),
        }
    }
}

/// Another row and how alike it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similar {
    pub row: u32,
    pub similarity: f64,
    /// How many columns both rows have.
    pub support: u32,
}

/// What one thread counts in: all zero between two calls.
#[derive(Debug, Default)]
pub struct Shared {
    counts: Vec<u32>,
    touched: Vec<u32>,
}

/// The at most `k` rows most like `row` of a matrix and its transpose, itself left out, the most similar first, equal ones by ascending row.
pub fn most_similar(row: u32, matrix: &Csr, transpose: &Csr, likeness: Likeness, k: usize, shared: &mut Shared) -> Vec<Similar> {
    shared.counts.resize(shared.counts.len().max(matrix.n_rows()), 0);
    for &column in matrix.row(row as usize).0 {
        for &other in transpose.row(column as usize).0 {
            let count = &mut shared.counts[other as usize];
            if *count == 0 {
                shared.touched.push(other);
            }
            *count += 1;
        }
    }
    let size = |r: u32| matrix.row(r as usize).0.len();
    let mut found = vec![];
    for other in shared.touched.drain(..) {
        let support = std::mem::take(&mut shared.counts[other as usize]);
        if other != row {
            found.push(Similar { row: other, similarity: likeness.of(support, size(row), size(other)), support });
        }
    }
    let better = |a: &Similar, b: &Similar| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row));
    if found.len() > k {
        found.select_nth_unstable_by(k, better);
        found.truncate(k);
    }
    found.sort_unstable_by(better);
    found
}

/// The cosine of two ascending sets; 0 with an empty one.
pub fn cosine_of_sets(a: &[u32], b: &[u32]) -> f64 {
    let (mut at, mut both) = (0, 0);
    for x in a {
        at += b[at..].iter().take_while(|y| *y < x).count();
        both += u32::from(b.get(at) == Some(x));
    }
    if both == 0 { 0.0 } else { Likeness::Cosine.of(both, a.len(), b.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    #[test]
    fn the_most_similar_are_those_of_brute_force() {
        let m = check::random(11, 30, 25).weights;
        let t = m.transpose();
        let mut shared = Shared::default();
        for likeness in [Likeness::Cosine, Likeness::Jaccard] {
            for row in 0..30u32 {
                let (mine, k) = (m.row(row as usize).0, 7);
                let mut wanted: Vec<Similar> = (0..30u32)
                    .filter(|&r| r != row)
                    .map(|r| {
                        let other = m.row(r as usize).0;
                        let both = mine.iter().filter(|i| other.contains(i)).count() as f64;
                        let (a, b) = (mine.len() as f64, other.len() as f64);
                        let similarity = if likeness == Likeness::Cosine { both / (a * b).sqrt() } else { both / (a + b - both) };
                        assert!(both == 0.0 || (cosine_of_sets(mine, other) - both / (a * b).sqrt()).abs() < 1e-12);
                        Similar { row: r, similarity, support: both as u32 }
                    })
                    .filter(|s| s.support > 0)
                    .collect();
                wanted.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
                wanted.truncate(k);
                assert_eq!(most_similar(row, &m, &t, likeness, k, &mut shared), wanted);
            }
        }
        assert_eq!(cosine_of_sets(&[], &[1]), 0.0);
    }
}
