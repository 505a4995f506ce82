//! What a customer is worth: purchases by the value of an order, net of refunds.

use super::GammaGamma;
use crate::models::{AnyPurchases, Column, ModelError, Part, Read, part};

/// The lifetime model: purchases, spend, and the share of gross value that refunds leave.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub purchases: AnyPurchases,
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
        let mut parameters = self.purchases.parameters();
        if let Some(GammaGamma { p, q, v }) = self.spend {
            parameters.extend([("p", p), ("q", q), ("v", v)]);
        }
        parameters.extend([("mean_value", self.mean_value), ("net_ratio", self.net_ratio)]);
        parameters
    }

    /// The model as tables: those of `purchases`, `gamma_gamma` if there is a spend model, and `lifetime`, the last two of one row.
    pub fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.purchases.to_parts();
        if let Some(GammaGamma { p, q, v }) = self.spend {
            parts.push(Part::row("gamma_gamma", &[("p", p), ("q", q), ("v", v)]));
        }
        let figures = [("mean_value", self.mean_value), ("net_ratio", self.net_ratio), ("log_likelihood", self.log_likelihood)];
        let mut lifetime = Part::row("lifetime", &figures);
        lifetime.columns.push(("customers".into(), Column::U64(vec![self.customers])));
        parts.push(lifetime);
        parts
    }

    /// Reads what [`Lifetime::to_parts`] wrote, `purchases` with `read`.
    ///
    /// # Errors
    /// `Damaged` if a table or column is missing, is not of one row, or holds what cannot be.
    pub fn from_parts(parts: &[Part], read: Read<AnyPurchases>) -> Result<Self, ModelError> {
        let purchases = read(parts)?;
        let spend = parts.iter().find(|p| p.name == "gamma_gamma");
        let lifetime = part(parts, "lifetime")?;
        let spend = spend.map(|s| Ok(GammaGamma { p: s.positive("p")?, q: s.positive("q")?, v: s.positive("v")? }));
        let &[customers] = lifetime.u64("customers")? else {
            return Err(ModelError::Damaged("column 'customers' in table 'lifetime' must have one row".into()));
        };
        Ok(Self {
            purchases,
            spend: spend.transpose()?,
            mean_value: lifetime.number("mean_value")?,
            net_ratio: lifetime.number("net_ratio")?,
            log_likelihood: lifetime.number("log_likelihood")?,
            customers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BG_NBD, BgNbd};
    use super::*;
    use crate::models::Make;
    use std::sync::Arc;

    fn read(parts: &[Part]) -> Result<Lifetime, ModelError> {
        let Make::Purchases { read, .. } = BG_NBD.make else { panic!("bg_nbd is a model of purchases") };
        Lifetime::from_parts(parts, read)
    }

    fn model(spend: Option<GammaGamma>) -> Lifetime {
        let purchases = BgNbd { r: 0.243, alpha: 30.9, a: 0.793, b: 2.426 };
        Lifetime { purchases: Arc::new(purchases), spend, mean_value: 36.0, net_ratio: 0.9, log_likelihood: -14363.5, customers: 2357 }
    }

    #[test]
    fn reads_back_what_it_wrote_and_names_what_is_damaged() {
        let spend = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        for model in [model(Some(spend)), model(None)] {
            assert_eq!(read(&model.to_parts()).unwrap().to_parts(), model.to_parts());
        }
        let mut parts = model(None).to_parts();
        parts[0].columns[1].1 = Column::F64(vec![f64::NAN]);
        assert_eq!(read(&parts).unwrap_err().to_string(), "damaged model: alpha = NaN in table 'bg_nbd'");
        assert!(read(&model(None).to_parts()[..1]).unwrap_err().to_string().contains("no table 'lifetime'"));
    }

    #[test]
    fn order_values_are_net_and_fall_back_to_the_mean() {
        assert!((model(None).expected_order_value(3, 99.0) - 32.4).abs() < 1e-12);
        let spend = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        assert!((model(Some(spend)).expected_order_value(0, 0.0) - 0.9 * 6.25 * 15.44 / 2.74).abs() < 1e-12);
    }
}
