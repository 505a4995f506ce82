//! How similar two rows of a sparse matrix are: two items by who has had them, or two users by what they have had.
//!
//! With x_rc the weight of row r in column c, R the number of rows, C that of columns and n_c the number of rows that have column c:
//!
//! * `cosine`: Σ_c x_rc·x_sc / (‖x_r‖·‖x_s‖).
//! * `tfidf`: the cosine of √x·ln(R / (1 + n_c)), at least 0, as `implicit` weighs it: what everybody has says little.
//! * `bm25`: the product Σ_c of x·(k1 + 1) / (k1·(1 − b + b·L_r / L) + x)·ln(R / (1 + n_c)), where L_r is the sum of the row and L its mean
//!   over rows (Robertson & Zaragoza 2009; as `implicit` has it). It is no cosine: rows that have much stay ahead.
//! * `jaccard`: columns both have / columns either has.
//!
//! Those of ratings are in [`super::ratings`].

use super::{Csr, RatingSimilarity};
use crate::models::{Allowed, OptionSpec, Options};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Similarity {
    Cosine,
    TfIdf,
    Bm25 { k1: f64, b: f64 },
    Jaccard,
    Ratings(RatingSimilarity),
}

/// The names of similarities, for options.
pub const SIMILARITIES: Allowed =
    Allowed::OneOf(&["tfidf", "cosine", "bm25", "jaccard", "pearson", "pearson_baseline", "euclidean", "cosine_ratings", "cosine_corated"]);

pub const K1: OptionSpec = OptionSpec {
    name: "k1",
    default: "1.2",
    allowed: Allowed::Number { least: 0.0, most: 1_000.0 },
    about: "bm25: how soon more of the same says nothing more",
};

pub const B: OptionSpec = OptionSpec {
    name: "b",
    default: "0.75",
    allowed: Allowed::Number { least: 0.0, most: 1.0 },
    about: "bm25: how much rows that have much are held back, 0 = not at all",
};

pub const SHRINKAGE: OptionSpec = OptionSpec {
    name: "shrinkage",
    default: "100",
    allowed: Allowed::Number { least: 0.0, most: 1e6 },
    about: "pearson_baseline: a similarity from n ratings in common counts (n - 1) / (n - 1 + shrinkage)",
};

impl Similarity {
    /// As the options `similarity`, `k1`, `b` and `shrinkage` say.
    pub fn of(options: &Options) -> Self {
        let number = |name: &str| options.number(name);
        Self::named(&options.get("similarity").to_lowercase(), number("k1"), number("b"), number("shrinkage")).unwrap_or(Self::TfIdf)
    }

    pub fn named(name: &str, k1: f64, b: f64, shrinkage: f64) -> Option<Self> {
        Some(match name {
            "tfidf" => Self::TfIdf,
            "cosine" => Self::Cosine,
            "bm25" => Self::Bm25 { k1, b },
            "jaccard" => Self::Jaccard,
            "pearson" => Self::Ratings(RatingSimilarity::Pearson),
            "pearson_baseline" => Self::Ratings(RatingSimilarity::PearsonBaseline { shrinkage }),
            "euclidean" => Self::Ratings(RatingSimilarity::Euclidean),
            "cosine_ratings" => Self::Ratings(RatingSimilarity::Cosine),
            "cosine_corated" => Self::Ratings(RatingSimilarity::CosineCorated),
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::TfIdf => "tfidf",
            Self::Cosine => "cosine",
            Self::Bm25 { .. } => "bm25",
            Self::Jaccard => "jaccard",
            Self::Ratings(similarity) => similarity.name(),
        }
    }

    /// Of the product of two vectors of [`Weighing`] and the numbers of columns the two rows have.
    pub fn finish(self, product: f32, r: usize, s: usize) -> f32 {
        if self == Self::Jaccard { product / (r as f32 + s as f32 - product) } else { product }
    }
}

/// Makes the vectors whose products are similarities out of rows of weights.
#[derive(Debug, PartialEq)]
pub struct Weighing {
    similarity: Similarity,
    /// max(0, ln(R / (1 + n_c))) by column. Where that leaves nothing at all (everybody has nearly everything) the columns count alike.
    idf: Vec<f64>,
    /// L
    mean_length: f64,
}

impl Weighing {
    /// `columns` is the transpose of the matrix whose rows are compared.
    pub fn of(similarity: Similarity, columns: &Csr) -> Self {
        let rows = columns.n_cols as f64;
        let had = |c: usize| columns.offsets[c + 1] - columns.offsets[c];
        let mut idf: Vec<f64> = (0..columns.n_rows()).map(|c| (rows / (1.0 + had(c) as f64)).ln().max(0.0)).collect();
        if idf.iter().enumerate().all(|(c, &idf)| idf == 0.0 || had(c) == 0) {
            idf.fill(1.0);
        }
        let mean_length = columns.values.iter().map(|&x| f64::from(x)).sum::<f64>() / rows.max(1.0);
        Self { similarity, idf, mean_length }
    }

    /// The vector of a row, parallel to its columns.
    pub fn vector(&self, columns: &[u32], weights: &[f32]) -> Vec<f32> {
        let with = |of: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            columns.iter().zip(weights).map(|(&c, &x)| of(f64::from(x), self.idf[c as usize])).collect()
        };
        let (vector, to_length_one) = match self.similarity {
            Similarity::Cosine => (with(&|x, _| x), true),
            Similarity::TfIdf => (with(&|x, idf| x.sqrt() * idf), true),
            Similarity::Bm25 { k1, b } => {
                let length: f64 = weights.iter().map(|&x| f64::from(x)).sum();
                let full = k1 * (1.0 - b + b * length / self.mean_length);
                (with(&|x, idf| x * (k1 + 1.0) / (full + x) * idf), false)
            }
            Similarity::Jaccard | Similarity::Ratings(_) => (with(&|_, _| 1.0), false),
        };
        let squares: f64 = vector.iter().map(|v| v * v).sum();
        let by = if to_length_one && squares > 0.0 { squares.sqrt() } else { 1.0 };
        vector.into_iter().map(|v| (v / by) as f32).collect()
    }

    /// The vectors of all rows of `matrix`.
    pub fn vectors(&self, mut matrix: Csr) -> Csr {
        for r in 0..matrix.n_rows() {
            let range = matrix.offsets[r]..matrix.offsets[r + 1];
            let vector = self.vector(&matrix.columns[range.clone()], &matrix.values[range.clone()]);
            matrix.values[range].copy_from_slice(&vector);
        }
        matrix
    }
}
