//! How much each feature counts: in the model itself, and for the hold-out.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Matrix;
use crate::models::{Column, Control, ModelError, Part, part};

/// One feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importance {
    pub feature: String,
    /// Its share in the model's own measure (gain of splits, size of coefficients); all sum to 1.
    pub gain: f64,
    /// By how much the hold-out's loss grows when the feature's values are dealt to other rows: mean over the draws, and ± 1.96 standard errors.
    pub permutation: f64,
    pub low: f64,
    pub high: f64,
}

/// The loss of a matrix's rows, those at some places.
type Loss<'a> = &'a (dyn Fn(&Matrix, &[usize]) -> Result<f64, ModelError> + Sync);

/// Rows of the hold-out that are looked at, and how often values are dealt.
const ROWS: usize = 2_000;
const DRAWS: u64 = 5;

impl Importance {
    /// Of every feature, the model's own shares being given by column. `loss` is that of a matrix's rows, those at the places given. Breiman (2001), Random
    /// forests, § 10.
    pub fn measure(
        names: &[String],
        owners: &[usize],
        own: &[f64],
        x: &Matrix,
        seed: u64,
        loss: Loss<'_>,
        control: &Control,
    ) -> Result<Vec<Self>, ModelError> {
        let step = x.rows.div_ceil(ROWS).max(1);
        let places: Vec<usize> = (0..x.rows).step_by(step).collect();
        let x = x.take(&places);
        let whole = if x.rows == 0 { 0.0 } else { loss(&x, &places)? };
        let of = |feature: usize| -> Result<Self, ModelError> {
            control.check()?;
            let mine: Vec<usize> = (0..owners.len()).filter(|&c| owners[c] == feature).collect();
            let gain = mine.iter().map(|&c| own.get(c).copied().unwrap_or(0.0)).sum();
            let mut out = Self { feature: names[feature].clone(), gain, ..Self::default() };
            if x.rows == 0 {
                return Ok(out);
            }
            let mut grown = vec![];
            for draw in 0..DRAWS {
                let mut order: Vec<usize> = (0..x.rows).collect();
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ (draw << 32) ^ feature as u64));
                let mut dealt = x.clone();
                for &c in &mine {
                    dealt.columns[c] = order.iter().map(|&r| x.columns[c][r]).collect();
                }
                grown.push(loss(&dealt, &places)? - whole);
            }
            let n = grown.len() as f64;
            let mean = grown.iter().sum::<f64>() / n;
            let variance = grown.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let error = 1.96 * (variance / n).sqrt();
            (out.permutation, out.low, out.high) = (mean, mean - error, mean + error);
            Ok(out)
        };
        (0..names.len()).into_par_iter().map(of).collect()
    }

    pub fn to_part(all: &[Self]) -> Part {
        let column = |of: fn(&Self) -> f64| Column::F64(all.iter().map(of).collect());
        Part::new(
            "importance",
            vec![
                ("feature", Column::Text(all.iter().map(|i| i.feature.clone()).collect())),
                ("gain", column(|i| i.gain)),
                ("permutation", column(|i| i.permutation)),
                ("low", column(|i| i.low)),
                ("high", column(|i| i.high)),
            ],
        )
    }

    pub fn from_parts(parts: &[Part]) -> Result<Vec<Self>, ModelError> {
        let p = part(parts, "importance")?;
        let (gain, permutation, low, high) = (p.finite("gain")?, p.finite("permutation")?, p.finite("low")?, p.finite("high")?);
        let one = |(i, feature): (usize, &String)| Self {
            feature: feature.clone(),
            gain: gain[i],
            permutation: permutation[i],
            low: low[i],
            high: high[i],
        };
        Ok(p.text("feature")?.iter().enumerate().map(one).collect())
    }
}
