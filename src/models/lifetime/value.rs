//! What a customer is worth: purchases by the value of an order, net of refunds.

use rayon::prelude::*;

use super::gamma_gamma::Spend;
use super::linear::ClvLinear;
use super::predict::{CUSTOMERS, for_each_customer};
use super::{Counts, Parameter};
use crate::models::{AnyPurchases, Column, Control, ModelError, Part, Read, part};

/// The lifetime model: purchases, spend, and the share of gross value that refunds leave.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub purchases: AnyPurchases,
    /// `None` where the data could not carry it.
    pub spend: Option<Spend>,
    /// Whether the first purchase counts among those whose value is known; without it only repeat purchases do, as in the paper.
    pub with_first: bool,
    /// Gross mean value of an order over all customers, which stands in when `spend` is `None`, and the squared coefficient of variation of one.
    pub mean_value: f64,
    pub value_cv2: f64,
    pub refunds: Refunds,
    /// As [`super::Purchases::days_a_purchase`] of the customers it was fitted to.
    pub days_a_purchase: f64,
    /// What takes the place of purchases × order value, in a model of type `clv_linear`.
    pub linear: Option<ClvLinear>,
    /// Of `purchases`, in days.
    pub log_likelihood: f64,
    /// Customers that `purchases` was fitted to, and the parameters estimated.
    pub customers: u64,
    pub estimated: u64,
}

/// What is known of the customers' spend; entry i of each slice belongs to customer i.
#[derive(Clone, Copy, Debug)]
pub struct Spending<'a> {
    /// Repeat purchase days with a known value, and their mean value.
    pub repeat_valued: &'a [u32],
    pub mean_value: &'a [f64],
    /// Purchases and refunds so far, and purchase days with a known value.
    pub gross: &'a [f64],
    pub refunded: &'a [f64],
    pub valued_days: &'a [u32],
    /// The value of each of [`super::PurchaseDays::days`], NaN where it is not known; `None` where only totals are.
    pub day_values: Option<&'a [f32]>,
}

impl Spending<'_> {
    /// Purchase days of known value and their mean value, the first among them or not.
    pub fn known(&self, i: usize, with_first: bool) -> (u32, f64) {
        match (with_first, self.valued_days[i]) {
            (true, 0) => (0, 0.0),
            (true, n) => (n, self.gross[i] / f64::from(n)),
            (false, _) => (self.repeat_valued[i], self.mean_value[i]),
        }
    }
}

/// The share of gross value that goes back, as a credibility estimate (Bühlmann 1967): (K·share + n·r)/(K + n) for a customer who has given back the share r of
/// n orders. K is that of a beta-binomial fitted by moments, an order being kept or given back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refunds {
    /// Over all customers.
    pub share: f64,
    /// K, in orders; the larger, the less a customer's own returns say.
    pub strength: f64,
}

/// A strength at which a customer's own returns say nothing.
const NOTHING_OF_ITS_OWN: f64 = 1e9;

impl Refunds {
    /// From the customers' purchases and refunds.
    pub fn estimate(spending: Spending<'_>) -> Self {
        let share_of = |i: usize| (spending.refunded[i] / spending.gross[i]).clamp(0.0, 1.0);
        let bought: Vec<usize> = (0..spending.gross.len()).filter(|&i| spending.gross[i] > 0.0 && spending.valued_days[i] > 0).collect();
        let (gross, refunded) =
            bought.iter().fold((0.0, 0.0), |(g, r), &i| (g + spending.gross[i], r + spending.refunded[i].min(spending.gross[i])));
        if gross <= 0.0 || refunded <= 0.0 {
            return Self { share: 0.0, strength: NOTHING_OF_ITS_OWN };
        }
        // Moments of shares that each come from n orders: E(r − m)² = m(1−m)/n + (1 − 1/n)·m(1−m)/(K+1).
        let n = |i: &usize| f64::from(spending.valued_days[*i]);
        let mean = bought.iter().map(|i| n(i) * share_of(*i)).sum::<f64>() / bought.iter().map(n).sum::<f64>();
        let whole = mean * (1.0 - mean);
        let several: Vec<usize> = bought.iter().copied().filter(|i| spending.valued_days[*i] > 1).collect();
        let (mut seen, mut chance, mut own) = (0.0, 0.0, 0.0);
        for i in &several {
            seen += (share_of(*i) - mean).powi(2);
            chance += whole / n(i);
            own += whole * (1.0 - 1.0 / n(i));
        }
        let correlation = if own > 0.0 { ((seen - chance) / own).clamp(0.0, 1.0) } else { 0.0 };
        let strength = if correlation > 1e-6 { (1.0 / correlation - 1.0).max(0.5) } else { NOTHING_OF_ITS_OWN };
        Self { share: (refunded / gross).clamp(0.0, 1.0), strength }
    }

    /// The share of gross value that a customer is expected to keep. Who gave back more than they bought counts as having given back all of it.
    pub fn kept(&self, gross: f64, refunded: f64, valued_days: u32) -> f64 {
        let n = f64::from(valued_days);
        let own = if gross > 0.0 { (refunded / gross).clamp(0.0, 1.0) } else { 0.0 };
        let n = if gross > 0.0 { n } else { 0.0 };
        1.0 - (self.strength * self.share + n * own) / (self.strength + n)
    }
}

impl Lifetime {
    /// How many purchases of known value the spend model knows of a customer, and their mean.
    pub(super) fn known_spend(&self, spending: Spending<'_>, i: usize) -> (u32, f64) {
        spending.known(i, self.with_first)
    }

    /// Expected gross value of an order of a customer whose `x` purchases of known value had the gross value `mean_value` on average.
    pub fn expected_order_value(&self, x: u32, mean_value: f64) -> f64 {
        self.spend.as_ref().map_or(self.mean_value, |spend| spend.params.expected_value(f64::from(x), mean_value))
    }

    /// Expected net value of an order of every customer.
    pub fn order_values(&self, spending: Spending<'_>) -> Vec<f64> {
        let one = |i: usize| {
            let kept = self.refunds.kept(spending.gross[i], spending.refunded[i], spending.valued_days[i]);
            let (n, mean) = self.known_spend(spending, i);
            kept * self.expected_order_value(n, mean)
        };
        (0..spending.repeat_valued.len()).into_par_iter().with_min_len(CUSTOMERS).map(one).collect()
    }

    /// Expected net value of every customer within the horizon, discounted.
    ///
    /// # Errors
    /// As [`super::Purchases::discounted_purchases_all`].
    pub fn values(
        &self,
        counts: Counts<'_>,
        spending: Spending<'_>,
        days: f64,
        rate: f64,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError> {
        let purchases = self.purchases.discounted_purchases_all(counts, days, rate, control)?;
        let each = self.values_of_a_purchase(counts, spending, control)?;
        Ok(for_each_customer(counts, |i| purchases[i] * each[i]))
    }

    /// The expected net value of one of the purchases of every customer.
    pub(super) fn values_of_a_purchase(
        &self,
        counts: Counts<'_>,
        spending: Spending<'_>,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError> {
        if let Some(linear) = &self.linear {
            let whole = self.purchases.expected_purchases_all(counts, linear.horizon_days, control)?;
            let kept = |i: usize| self.refunds.kept(spending.gross[i], spending.refunded[i], spending.valued_days[i]);
            let own = linear.values(counts, spending)?;
            return Ok(for_each_customer(counts, |i| if whole[i] > 0.0 { own[i] * kept(i) / whole[i] } else { 0.0 }));
        }
        let mut each = self.order_values(spending);
        each.par_iter_mut().with_min_len(CUSTOMERS).for_each(|value| *value *= self.days_a_purchase);
        Ok(each)
    }

    /// The model moved by one standard error along each principal axis of the uncertainty of its parameters of purchases.
    pub(super) fn axes_of_purchases(&self) -> impl Iterator<Item = Self> {
        self.purchases.axes().into_iter().map(|purchases| Self { purchases, ..self.clone() })
    }

    /// The same of its parameters of spend.
    pub(super) fn axes_of_spend(&self) -> impl Iterator<Item = Self> {
        self.spend.iter().flat_map(Spend::axes).map(|spend| Self { spend: Some(spend), ..self.clone() })
    }

    /// The estimated parameters in groups that were estimated together, with the covariance of each group.
    pub fn covariances(&self) -> Vec<(Vec<Parameter>, Vec<Vec<f64>>)> {
        let of_spend = self.spend.as_ref().map(|s| (s.parameters(), s.covariance()));
        let groups = std::iter::once((self.purchases.parameters(), self.purchases.covariance())).chain(of_spend);
        groups.filter(|(_, covariance)| !covariance.is_empty()).collect()
    }

    /// The parameters in the order in which they are shown; p, q and v only where there is a spend model.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.purchases.parameters();
        parameters.extend(self.spend.iter().flat_map(Spend::parameters));
        parameters.extend(self.linear.iter().flat_map(ClvLinear::parameters));
        let Refunds { share, strength } = self.refunds;
        let mut known = vec![("mean_value", self.mean_value), ("refund_share", share)];
        if share > 0.0 {
            known.push(("refund_strength", strength));
        }
        if self.days_a_purchase > 1.0 {
            known.push(("days_a_purchase", self.days_a_purchase));
        }
        parameters.extend(known.into_iter().map(|(n, v)| Parameter::known(n, v)));
        parameters
    }

    /// The model as tables: those of `purchases`, those of the spend model if there is one, and `lifetime` of one row.
    pub fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.purchases.to_parts();
        parts.extend(self.spend.iter().flat_map(Spend::to_parts));
        parts.extend(self.linear.iter().flat_map(ClvLinear::to_parts));
        let figures = [
            ("mean_value", self.mean_value),
            ("days_a_purchase", self.days_a_purchase),
            ("with_first", f64::from(u8::from(self.with_first))),
            ("value_cv2", self.value_cv2),
            ("refund_share", self.refunds.share),
            ("refund_strength", self.refunds.strength),
            // A model without one estimates nothing.
            ("log_likelihood", if self.estimated == 0 { 0.0 } else { self.log_likelihood }),
        ];
        let mut lifetime = Part::row("lifetime", &figures);
        lifetime.columns.push(("customers".into(), Column::U64(vec![self.customers])));
        lifetime.columns.push(("estimated".into(), Column::U64(vec![self.estimated])));
        parts.push(lifetime);
        parts
    }

    /// Reads what [`Lifetime::to_parts`] wrote, `purchases` with `read`.
    ///
    /// # Errors
    /// `Damaged` if a table or column is missing, is not of one row, or holds what cannot be.
    pub fn from_parts(parts: &[Part], read: Read<AnyPurchases>) -> Result<Self, ModelError> {
        let purchases = read(parts)?;
        let lifetime = part(parts, "lifetime")?;
        let whole = |name: &str| match lifetime.u64(name)? {
            &[n] => Ok(n),
            _ => Err(ModelError::Damaged(format!("column '{name}' in table 'lifetime' must have one row"))),
        };
        Ok(Self {
            purchases,
            spend: Spend::from_parts(parts)?,
            linear: ClvLinear::from_parts(parts)?,
            days_a_purchase: lifetime.positive("days_a_purchase")?,
            with_first: lifetime.number("with_first")? > 0.0,
            mean_value: lifetime.number("mean_value")?,
            value_cv2: lifetime.number("value_cv2")?,
            refunds: Refunds { share: lifetime.number("refund_share")?, strength: lifetime.number("refund_strength")? },
            log_likelihood: if whole("estimated")? == 0 { f64::NAN } else { lifetime.number("log_likelihood")? },
            customers: whole("customers")?,
            estimated: whole("estimated")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BG_NBD, BgNbd, Estimated, GammaGamma};
    use super::*;
    use crate::models::Make;
    use std::sync::Arc;

    fn read(parts: &[Part]) -> Result<Lifetime, ModelError> {
        let Make::Purchases { read, .. } = BG_NBD.make else { panic!("bg_nbd is a model of purchases") };
        Lifetime::from_parts(parts, read)
    }

    fn model(spend: Option<GammaGamma>) -> Lifetime {
        let purchases = BgNbd { r: 0.243, alpha: 30.9, a: 0.793, b: 2.426 };
        Lifetime {
            purchases: Arc::new(Estimated::known(purchases)),
            spend: spend.map(Spend::known),
            with_first: false,
            mean_value: 36.0,
            value_cv2: 0.5,
            refunds: Refunds { share: 0.1, strength: 9.0 },
            days_a_purchase: 1.0,
            linear: None,
            log_likelihood: -14363.5,
            customers: 2357,
            estimated: 4,
        }
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
        let spending = Spending {
            repeat_valued: &[3, 0],
            mean_value: &[99.0, 0.0],
            gross: &[0.0, 40.0],
            refunded: &[0.0, 60.0],
            valued_days: &[0, 1],
            day_values: None,
        };
        let values = model(None).order_values(spending);
        assert!((values[0] - 32.4).abs() < 1e-12);
        // One order, given back: (9·0.1 + 1)/(9 + 1) = 0.19
        assert!((values[1] - 36.0 * 0.81).abs() < 1e-12);
        let spend = GammaGamma { p: 6.25, q: 3.74, v: 15.44 };
        assert!((model(Some(spend)).expected_order_value(0, 0.0) - 6.25 * 15.44 / 2.74).abs() < 1e-12);
    }

    #[test]
    fn refunds_are_pooled_as_far_as_customers_are_alike() {
        // Everybody gives back a tenth: nothing of their own.
        let n = 2_000;
        let (days, gross) = (vec![10_u32; n], vec![100.0; n]);
        let ones = vec![1_u32; n];
        let of = |refunded: &[f64]| {
            Refunds::estimate(Spending {
                repeat_valued: &ones,
                mean_value: &gross,
                gross: &gross,
                refunded,
                valued_days: &days,
                day_values: None,
            })
        };
        let same = of(&vec![10.0; n]);
        assert!((same.share - 0.1).abs() < 1e-12 && same.strength > 1e6, "{same:?}");
        // A tenth of them give back everything.
        let some: Vec<f64> = (0..n).map(|i| if i % 10 == 0 { 100.0 } else { 0.0 }).collect();
        let own = of(&some);
        assert!((own.share - 0.1).abs() < 1e-12 && own.strength < 1.0, "{own:?}");
        assert!(own.kept(100.0, 100.0, 10) < 0.1 && own.kept(100.0, 0.0, 10) > 0.95);
        assert_eq!(of(&vec![0.0; n]).kept(100.0, 0.0, 10), 1.0);
    }
}
