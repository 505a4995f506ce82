//! Why a customer is worth what they are: Shapley values against a typical customer.
//!
//! The value of a customer is a function of what is known of them: frequency (x), recency (T − t_x), tenure (T), spend and refunds, and covariates. Starting from
//! a typical customer, each of these is turned into the customer's own, in every possible order; a contribution is the mean of what its turn changed (Shapley
//! 1953). Baseline and contributions add up to the value.

use super::value::{Lifetime, Spending};
use super::{Counts, Covariates};
use crate::models::{Control, ModelError};

/// A typical customer: medians of what is counted, and the order value and covariates of the population.
#[derive(Clone, Debug, PartialEq)]
pub struct Typical {
    pub x: u32,
    /// T − t_x, in days.
    pub recency: u32,
    pub t: u32,
    pub order_value: f64,
    /// Means of the covariates; empty without.
    pub covariates: Vec<f64>,
}

/// The names of what contributes, in the order of [`Explanation::contributions`]; the last only where the model has covariates.
pub const FEATURES: [&str; 5] = ["frequency", "recency", "tenure", "spend", "covariates"];

/// One customer's value, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub prediction: f64,
    pub baseline: f64,
    pub contributions: Vec<f64>,
}

fn median(values: &[u32]) -> u32 {
    let mut sorted = values.to_vec();
    let middle = sorted.len().saturating_sub(1) / 2;
    if sorted.is_empty() { 0 } else { *sorted.select_nth_unstable(middle).1 }
}

impl Lifetime {
    /// The typical one of some customers.
    pub fn typical(&self, counts: Counts<'_>) -> Typical {
        let recency: Vec<u32> = counts.t.iter().zip(counts.t_x).map(|(t, t_x)| t.saturating_sub(*t_x)).collect();
        let mean = |c: &Covariates| {
            let sum = |j: usize| c.cell.iter().map(|&cell| c.rows[cell as usize][j]).sum::<f64>();
            (0..c.names.len()).map(|j| sum(j) / c.cell.len().max(1) as f64).collect()
        };
        Typical {
            x: median(counts.x),
            recency: median(&recency),
            t: median(counts.t),
            order_value: self.refunds.kept(0.0, 0.0, 0) * self.expected_order_value(0, 0.0),
            covariates: counts.covariates.filter(|_| !self.purchases.covariates().is_empty()).map(mean).unwrap_or_default(),
        }
    }

    /// Takes the value of every customer apart.
    ///
    /// # Errors
    /// As [`Lifetime::values`].
    pub fn explain(
        &self,
        counts: Counts<'_>,
        spending: Spending<'_>,
        typical: &Typical,
        days: f64,
        rate: f64,
        control: &Control,
    ) -> Result<Vec<Explanation>, ModelError> {
        if self.linear.is_some() {
            let why = "explain_clv() explains purchases × order value: clv_linear has neither; model_parameters() shows its coefficients";
            return Err(ModelError::TooLittleData(why.into()));
        }
        let n = counts.x.len();
        let players = if typical.covariates.is_empty() { 4 } else { 5 };
        let own_value = self.order_values(spending);
        // Expected purchases with the features of a set as they are, the others typical; spend is no part of it.
        let covariates = counts.covariates.filter(|_| players == 5).map(|c| {
            let mut with_typical = c.clone();
            with_typical.rows.push(typical.covariates.clone());
            with_typical
        });
        let purchases = |set: usize| -> Result<Vec<f64>, ModelError> {
            let own = |feature: usize| set >> feature & 1 == 1;
            let (mut x, mut t_x, mut t) = (vec![], vec![], vec![]);
            for i in 0..n {
                let tenure = if own(2) { counts.t[i] } else { typical.t };
                let recency = if own(1) { counts.t[i].saturating_sub(counts.t_x[i]) } else { typical.recency };
                let frequency = if own(0) { counts.x[i] } else { typical.x };
                x.push(frequency);
                // Who has purchased once has done so T days ago.
                t_x.push(if frequency == 0 { 0 } else { tenure.saturating_sub(recency) });
                t.push(tenure);
            }
            let mut cells = covariates.clone();
            if let Some(c) = cells.as_mut().filter(|_| !own(4)) {
                let last = (c.rows.len() - 1) as u32;
                c.cell.iter_mut().for_each(|cell| *cell = last);
            }
            let covariates = cells.as_ref().or(counts.covariates);
            let changed = Counts { covariates, calendar: counts.calendar, ..Counts::new(&x, &t_x, &t) };
            self.purchases.discounted_purchases_all(changed, days, rate, control).map_err(|e| match e {
                ModelError::Option { option, .. } if option == "days" => ModelError::TooLittleData(
                    "explain_clv() explains models in days: one in periods knows customers by the days of their purchases only".into(),
                ),
                e => e,
            })
        };
        const SPEND: usize = 3;
        let mut expected: Vec<Vec<f64>> = vec![];
        for set in 0..1 << players {
            // With spend as without it.
            expected.push(if set >> SPEND & 1 == 1 { expected[set & !(1 << SPEND)].clone() } else { purchases(set)? });
        }
        let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
        let weight: Vec<f64> = (0..players).map(|size| factorial(size) * factorial(players - size - 1) / factorial(players)).collect();
        let one = |i: usize| {
            let value = |set: usize| {
                self.days_a_purchase * expected[set][i] * if set >> SPEND & 1 == 1 { own_value[i] } else { typical.order_value }
            };
            let contribution = |player: usize| {
                let without = (0..1_usize << players).filter(|set| set >> player & 1 == 0);
                without.map(|set| weight[set.count_ones() as usize] * (value(set | 1 << player) - value(set))).sum()
            };
            let contributions = (0..players).map(contribution).collect();
            Explanation { prediction: value((1 << players) - 1), baseline: value(0), contributions }
        };
        Ok((0..n).map(one).collect())
    }
}
