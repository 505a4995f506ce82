//! What a customer is worth: purchases by the value of an order, net of refunds.

use super::{BgNbd, GammaGamma};
use crate::models::{Column, ModelError, Part, part};

/// The lifetime model: purchases, spend, and the share of gross value that refunds leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifetime {
    pub purchases: BgNbd,
    /// `None` where the data could not carry it.
    pub spend: Option<GammaGamma>,
    /// Gross mean value of an order over all customers, which stands in when `spend` is `None`.
    pub mean_value: f64,
    /// Net value / gross value.
    pub net_ratio: f64,
    /// Of `purchases`, in days.
    pub log_likelihood: f64,
    /// Customers that `purchases` was fitted to.
    pub customers: u64,
}

impl Lifetime {
    /// Expected net value of an order of a customer whose `x` repeat purchases had the gross value `mean_value` on average.
    pub fn expected_order_value(&self, x: u32, mean_value: f64) -> f64 {
        self.net_ratio * self.spend.map_or(self.mean_value, |spend| spend.expected_value(f64::from(x), mean_value))
    }

    /// The parameters by name, in the order in which they are shown; p, q and v only where there is a spend model.
    pub fn parameters(&self) -> Vec<(&'static str, f64)> {
        let BgNbd { r, alpha, a, b } = self.purchases;
        let mut parameters = vec![("r", r), ("alpha", alpha), ("a", a), ("b", b)];
        if let Some(GammaGamma { p, q, v }) = self.spend {
            parameters.extend([("p", p), ("q", q), ("v", v)]);
        }
        parameters.extend([("mean_value", self.mean_value), ("net_ratio", self.net_ratio)]);
        parameters
    }

    /// The model as tables: `bg_nbd`, `gamma_gamma` if there is a spend model, and `lifetime`, each of one row.
    pub fn to_parts(&self) -> Vec<Part> {
        let row = |name: &str, columns: &[(&str, f64)]| Part::new(name, columns.iter().map(|&(n, v)| (n, Column::F64(vec![v]))).collect());
        let BgNbd { r, alpha, a, b } = self.purchases;
        let mut parts = vec![row("bg_nbd", &[("r", r), ("alpha", alpha), ("a", a), ("b", b)])];
        if let Some(GammaGamma { p, q, v }) = self.spend {
            parts.push(row("gamma_gamma", &[("p", p), ("q", q), ("v", v)]));
        }
        let mut lifetime =
            row("lifetime", &[("mean_value", self.mean_value), ("net_ratio", self.net_ratio), ("log_likelihood", self.log_likelihood)]);
        lifetime.columns.push(("customers".into(), Column::U64(vec![self.customers])));
        parts.push(lifetime);
        parts
    }

    /// Reads what [`Lifetime::to_parts`] wrote.
    ///
    /// # Errors
    /// `Damaged` if a table or column is missing, is not of one row, or holds what cannot be.
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let purchases = part(parts, "bg_nbd")?;
        let spend = parts.iter().find(|p| p.name == "gamma_gamma");
        let lifetime = part(parts, "lifetime")?;
        let spend = spend.map(|s| Ok(GammaGamma { p: positive(s, "p")?, q: positive(s, "q")?, v: positive(s, "v")? }));
        let &[customers] = lifetime.u64("customers")? else { return Err(not_one_row(lifetime, "customers")) };
        Ok(Self {
            purchases: BgNbd {
                r: positive(purchases, "r")?,
                alpha: positive(purchases, "alpha")?,
                a: positive(purchases, "a")?,
                b: positive(purchases, "b")?,
            },
            spend: spend.transpose()?,
            mean_value: finite(lifetime, "mean_value")?,
            net_ratio: finite(lifetime, "net_ratio")?,
            log_likelihood: finite(lifetime, "log_likelihood")?,
            customers,
        })
    }
}

fn not_one_row(part: &Part, column: &str) -> ModelError {
    ModelError::Damaged(format!("column '{column}' in table '{}' must have one row", part.name))
}

fn finite(part: &Part, column: &str) -> Result<f64, ModelError> {
    match *part.f64(column)? {
        [value] if value.is_finite() => Ok(value),
        [value] => Err(ModelError::Damaged(format!("{column} = {value} in table '{}'", part.name))),
        _ => Err(not_one_row(part, column)),
    }
}

fn positive(part: &Part, column: &str) -> Result<f64, ModelError> {
    match finite(part, column)? {
        value if value > 0.0 => Ok(value),
        value => Err(ModelError::Damaged(format!("{column} = {value} in table '{}', which must be above 0", part.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(spend: Option<GammaGamma>) -> Lifetime {
        let purchases = BgNbd { r: 0.243, alpha: 30.9, a: 0.793, b: 2.426 };
        Lifetime { purchases, spend, mean_value: 36.0, net_ratio: 0.9, log_likelihood: -14363.5, customers: 2357 }
    }

    #[test]
    fn reads_back_what_it_wrote_and_names_what_is_damaged() {
        let spend = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        for model in [model(Some(spend)), model(None)] {
            assert_eq!(Lifetime::from_parts(&model.to_parts()).unwrap(), model);
        }
        let mut parts = model(None).to_parts();
        parts[0].columns[1].1 = Column::F64(vec![f64::NAN]);
        assert_eq!(Lifetime::from_parts(&parts).unwrap_err().to_string(), "damaged model: alpha = NaN in table 'bg_nbd'");
        assert!(Lifetime::from_parts(&parts[..1]).unwrap_err().to_string().contains("no table 'lifetime'"));
    }

    #[test]
    fn order_values_are_net_and_fall_back_to_the_mean() {
        assert!((model(None).expected_order_value(3, 99.0) - 32.4).abs() < 1e-12);
        let spend = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        assert!((model(Some(spend)).expected_order_value(0, 0.0) - 0.9 * 6.25 * 15.44 / 2.74).abs() < 1e-12);
    }
}
