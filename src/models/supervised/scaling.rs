//! What linear models do with a column: a transform, a fill for what is not known, and standardising, all learned from training rows.
//!
//! A column becomes at most two terms of mean 0 and standard deviation 1: its value, and, where any was not known in training, whether it
//! is known. A value that is
//! not known counts as the mean. A term that is constant in training is left out, which is a coefficient of 0.

use faer::traits::pulp::Arch;
use rayon::prelude::*;

use super::Matrix;
use super::log::signed_log;
use crate::models::{Allowed, Column, Control, ModelError, OptionSpec, Options, Part, part};

/// The option `transform`.
pub const TRANSFORM: OptionSpec = OptionSpec {
    name: "transform",
    default: "auto",
    allowed: Allowed::OneOf(&["auto", "none"]),
    about: "'auto' takes sign(x)·ln(1 + |x|) of columns of more than two values of which at most 5 % are below 0; \
            'none' takes columns as they are",
};

/// Values are kept within, so that sums of squares stay finite.
const LARGEST: f64 = 1e100;
/// A value this many standard deviations from the mean counts as one that is just so far. No training row of fewer than 10¹² reaches it.
const FARTHEST: f64 = 1e6;
/// Largest share of negative values with which 'auto' takes the logarithm: amounts with a few refunds, but not differences.
const FEW_NEGATIVE: f64 = 0.05;
/// A column whose standard deviation is below this share of its largest value is constant: what is left are ends of digits, which another
/// day has otherwise.
const ROUNDING: f64 = 1e-7;
/// Rows of one unit of parallel work.
pub(super) const PIECE: usize = 4_096;

/// What a term is of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    /// sign(x)·ln(1 + |x|).
    Log,
    /// 1 where the value is not known, else 0.
    Missing,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [(Self::Value, "value"), (Self::Log, "ln"), (Self::Missing, "missing")];

    /// A value as this kind has it; NaN where it is not known.
    #[inline(always)]
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Value => x.clamp(-LARGEST, LARGEST),
            Self::Log => signed_log(x),
            Self::Missing => f64::from(u8::from(x.is_nan())),
        }
    }

    /// [`Self::of`] of each.
    fn of_all(self, values: &[f64], out: &mut [f64]) {
        let pairs = out.iter_mut().zip(values);
        // A loop for each, without a choice in it, in the widest vectors of this machine.
        match self {
            Self::Value => Arch::new().dispatch(|| pairs.for_each(|(out, v)| *out = Self::Value.of(*v))),
            Self::Log => Arch::new().dispatch(|| pairs.for_each(|(out, v)| *out = Self::Log.of(*v))),
            Self::Missing => Arch::new().dispatch(|| pairs.for_each(|(out, v)| *out = Self::Missing.of(*v))),
        }
    }

    /// The name of this of a column, for a reader.
    pub fn name(self, column: &str) -> String {
        match self {
            Self::Value => column.to_owned(),
            Self::Log => format!("ln(1 + {column})"),
            Self::Missing => format!("{column} is missing"),
        }
    }

    /// Value or logarithm: what the option `transform` says of a column.
    pub fn chosen(column: &[f64], options: &Options) -> Self {
        if options.is("transform", "none") {
            return Self::Value;
        }
        let mut known = column.iter().copied().filter(|v| !v.is_nan());
        let Some(first) = known.next() else { return Self::Value };
        let second = known.find(|v| *v != first);
        let more = second.is_some_and(|second| known.any(|v| v != first && v != second));
        let (below, all) = column.iter().filter(|v| !v.is_nan()).fold((0, 0), |(below, all), v| (below + usize::from(*v < 0.0), all + 1));
        if more && below as f64 <= FEW_NEGATIVE * all as f64 { Self::Log } else { Self::Value }
    }
}

/// A standardised term: (kind(x) − mean) / scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Term {
    pub column: usize,
    pub kind: Kind,
    pub mean: f64,
    /// Above 0.
    pub scale: f64,
}

impl Term {
    /// `None` where it is constant.
    fn fit(column: usize, values: &[f64], kind: Kind) -> Option<Self> {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        let mut largest: f64 = 0.0;
        let mut known = vec![];
        for piece in values.chunks(PIECE) {
            known.resize(piece.len(), 0.0);
            kind.of_all(piece, &mut known);
            known.retain(|v| !v.is_nan());
            if known.is_empty() {
                continue;
            }
            // Its own mean and squares, and then both together (Chan, Golub & LeVeque 1983, The American Statistician 37(3)).
            let n = known.len() as f64;
            let own = sum_of(&known, |v| v) / n;
            let (apart, all) = (own - mean, count + n);
            squares += sum_of(&known, |v| (v - own).powi(2)) + apart * apart * (count * n / all);
            mean += apart * (n / all);
            count = all;
            largest = known.iter().fold(largest, |m, v| m.max(v.abs()));
        }
        // What is not known counts as the mean.
        let scale = (squares / values.len().max(1) as f64).sqrt();
        (scale > ROUNDING * largest).then_some(Self { column, kind, mean, scale })
    }

    /// Of values, standardised.
    pub fn of(&self, values: &[f64], out: &mut [f64]) {
        self.kind.of_all(values, out);
        let (mean, by) = (self.mean, 1.0 / self.scale);
        Arch::new().dispatch(|| {
            for v in out {
                let z = (*v - mean) * by;
                *v = if z.is_nan() { 0.0 } else { z.clamp(-FARTHEST, FARTHEST) };
            }
        });
    }
}

/// The sum over values, as eight sums that are added up in the end.
fn sum_of(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    Arch::new().dispatch(|| eights.iter().for_each(|eight| sums.iter_mut().zip(eight).for_each(|(sum, v)| *sum += of(*v))));
    sums.iter().sum::<f64>() + rest.iter().map(|v| of(*v)).sum::<f64>()
}

/// The terms of all columns, in the order of columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaling {
    /// Columns of the matrix.
    pub width: usize,
    pub terms: Vec<Term>,
}

impl Scaling {
    /// # Errors
    /// No rows, or cancelled.
    pub fn fit(model: &str, x: &Matrix, options: &Options, control: &Control) -> Result<Self, ModelError> {
        if x.rows == 0 {
            return Err(ModelError::TooLittleData(format!("no rows: {model} needs rows with a label")));
        }
        let of_column = |(j, values): (usize, &Vec<f64>)| {
            control.check()?;
            let kinds = [Some(Kind::chosen(values, options)), values.iter().any(|v| v.is_nan()).then_some(Kind::Missing)];
            Ok(kinds.into_iter().flatten().filter_map(|kind| Term::fit(j, values, kind)).collect())
        };
        let terms: Result<Vec<Vec<Term>>, ModelError> = x.columns.par_iter().enumerate().map(of_column).collect();
        Ok(Self { width: x.columns.len(), terms: terms?.concat() })
    }

    /// A column of ones and the terms, one column after the other.
    pub fn design(&self, x: &Matrix) -> Design {
        // Of zeros, since those cost nothing before they are written to.
        let mut values = vec![0.0; x.rows * (self.terms.len() + 1)];
        values[..x.rows].fill(1.0);
        values.par_chunks_mut(x.rows.max(1)).skip(1).zip(&self.terms).for_each(|(out, term)| {
            out.chunks_mut(PIECE).zip(x.columns[term.column].chunks(PIECE)).for_each(|(out, values)| term.of(values, out));
        });
        Design { rows: x.rows, columns: self.terms.len() + 1, values }
    }

    /// An error where a matrix is not of the model's columns.
    pub fn check(&self, x: &Matrix) -> Result<(), ModelError> {
        checked_width(self.width, x)
    }

    pub fn to_part(&self, name: &str, coefficients: &[f64]) -> Part {
        let of = |f: fn(&Term) -> f64| Column::F64(self.terms.iter().map(f).collect());
        let kind = |t: &Term| Kind::ALL.iter().find(|(k, _)| *k == t.kind).map_or("", |(_, name)| name).to_owned();
        Part::new(
            name,
            vec![
                ("column", Column::U32(self.terms.iter().map(|t| t.column as u32).collect())),
                ("kind", Column::Text(self.terms.iter().map(kind).collect())),
                ("mean", of(|t| t.mean)),
                ("scale", of(|t| t.scale)),
                ("coefficient", Column::F64(coefficients.to_vec())),
            ],
        )
    }

    /// The terms and their coefficients.
    pub fn from_part(parts: &[Part], name: &str, width: usize) -> Result<(Self, Vec<f64>), ModelError> {
        let table = part(parts, name)?;
        let (columns, kinds) = (table.u32("column")?, table.text("kind")?);
        let (means, scales, coefficients) = (table.finite("mean")?, table.finite("scale")?, table.finite("coefficient")?);
        let damaged = |what: &str| ModelError::Damaged(format!("{what} in table '{name}'"));
        if [kinds.len(), means.len(), scales.len(), coefficients.len()].iter().any(|n| *n != columns.len()) {
            return Err(damaged("columns of different lengths"));
        }
        let terms: Result<Vec<Term>, ModelError> = (0..columns.len())
            .map(|i| {
                let column = columns[i] as usize;
                let kind = Kind::ALL.iter().find(|(_, name)| *name == kinds[i]).ok_or_else(|| damaged("an unknown kind of term"))?.0;
                if column >= width {
                    return Err(damaged("a column that there is not"));
                }
                if scales[i] <= 0.0 {
                    return Err(damaged("a scale that is not above 0"));
                }
                Ok(Term { column, kind, mean: means[i], scale: scales[i] })
            })
            .collect();
        Ok((Self { width, terms: terms? }, coefficients.to_vec()))
    }
}

/// An error where a matrix is not of as many columns as the model.
pub(super) fn checked_width(width: usize, x: &Matrix) -> Result<(), ModelError> {
    if x.columns.len() == width {
        return Ok(());
    }
    Err(ModelError::Option {
        option: "columns".into(),
        given: x.columns.len().to_string(),
        allowed: format!("the model was fitted on {width}; give it the same"),
    })
}

/// Standardised terms, `values[term * rows + row]`; the first is 1 in every row.
#[derive(Debug, Clone)]
pub(super) struct Design {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Design {
    /// The rows at these places, in their order.
    pub fn take(&self, rows: &[usize]) -> Self {
        let columns = self.values.chunks(self.rows.max(1));
        Self { rows: rows.len(), columns: self.columns, values: columns.flat_map(|c| rows.iter().map(|&r| c[r])).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::LOGISTIC_REG;

    #[test]
    fn columns_are_transformed_filled_and_standardised() {
        let nan = f64::NAN;
        let x = Matrix {
            rows: 4,
            columns: vec![
                vec![0.0, 1.0, 3.0, nan],
                vec![0.0, 1.0, 1.0, 0.0],
                vec![-1.0, 1.0, 2.0, 5.0],
                vec![7.0; 4],
                vec![nan; 4],
                vec![1e300, -1e300, 0.0, 1.0],
            ],
        };
        let options = |transform: &str| Options::new(&LOGISTIC_REG, &[("transform".into(), transform.into())]).unwrap();
        let auto = Scaling::fit("a", &x, &options("auto"), &Control::default()).unwrap();
        // Logarithm with an indicator; two values; a quarter below 0; nothing of what is constant or never known; half below 0.
        let kinds: Vec<(usize, Kind)> = auto.terms.iter().map(|t| (t.column, t.kind)).collect();
        assert_eq!(kinds, [(0, Kind::Log), (0, Kind::Missing), (1, Kind::Value), (2, Kind::Value), (5, Kind::Value)]);
        assert!((auto.terms[0].mean - 8f64.ln() / 3.0).abs() < 1e-15);
        let standardised = |term: &Term, x: f64| {
            let mut out = [0.0];
            term.of(&[x], &mut out);
            out[0]
        };
        assert_eq!(standardised(&auto.terms[0], nan), 0.0);
        let none = Scaling::fit("a", &x, &options("none"), &Control::default()).unwrap();
        assert_eq!(none.terms[0].kind, Kind::Value);
        let design = none.design(&x);
        for column in design.values.chunks(4).skip(1) {
            assert!(column.iter().sum::<f64>().abs() < 1e-12 && (column.iter().map(|z| z * z).sum::<f64>() - 4.0).abs() < 1e-12);
        }
        // Far outside of what was seen.
        assert_eq!(standardised(&none.terms[0], 1e300), FARTHEST);
        assert_eq!(standardised(&none.terms[0], -1e300), -FARTHEST);

        let (read, coefficients) = Scaling::from_part(&[auto.to_part("t", &[0.5; 5])], "t", 6).unwrap();
        assert_eq!((read, coefficients), (auto.clone(), vec![0.5; 5]));
        assert!(matches!(Scaling::from_part(&[auto.to_part("t", &[0.5; 5])], "t", 5), Err(ModelError::Damaged(_))));
        assert!(matches!(Scaling::from_part(&[auto.to_part("t", &[0.5; 4])], "t", 6), Err(ModelError::Damaged(_))));
    }
}
