//! How sure a value is: predictive intervals of single customers, and of totals over any of them.
//!
//! Given N purchases and the rate ν of a customer's orders, what they spend is Gamma(pN, ν), and ν is Gamma(q + px, rate v + x·m̄) once x purchases of
//! mean m̄ are known. Hence V/(v + x·m̄) given N = n is a beta prime variable of shapes pn and q + px:
//!
//! ```text
//! P(V ≤ (v + x·m̄)·w | alive) = Σ_n P(N = n | alive) · I_{w/(1+w)}(pn, q + px)
//! ```
//!
//! which depends on x and T only and is tabulated for each distinct history; P(alive) then enters customer by customer. Discounting and refunds scale V as they
//! scale its mean. The uncertainty of the parameters adds to the variance and widens the interval about the mean in proportion.

use std::hash::{Hash, Hasher};

use rayon::prelude::*;

use super::predict::{Distinct, for_each_customer};
use super::special::{beta_inc, gamma_quantile, normal_quantile};
use super::value::{Lifetime, Spending};
use super::{Counts, Futures};
use crate::models::{Control, ModelError};

/// Points of w at which a distribution is tabulated, evenly in ln w.
const POINTS: usize = 64;
/// Counts of purchases that have a node of their own; beyond, nodes are 6 % apart.
const OWN_NODE: usize = 40;
const NODE_STEP: f64 = 1.06;
/// Known purchases that have a table of their own; beyond, tables are 8 % apart and are scaled to the mean.
const OWN_TABLE: u32 = 24;
const TABLE_STEP: f64 = 1.08;
/// A posterior of fewer than this many degrees of freedom has no variance; it is given that of one that has.
const LEAST_SHAPE: f64 = 2.1;

/// The distribution of what each customer will be worth.
#[derive(Clone, Debug)]
pub struct Worth {
    /// Expected value.
    pub value: Vec<f64>,
    /// Variance given the parameters.
    pub variance: Vec<f64>,
    /// By how much the value moves for one standard error along each principal axis of the parameters' uncertainty.
    pub moves: Vec<Vec<f64>>,
}

/// A value with its predictive interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Worth {
    /// The total of some customers, each named once: parameters are the same for all of them, the rest is independent. The interval is that of a gamma
    /// variable with the mean and the variance of the total.
    pub fn total(&self, customers: impl Iterator<Item = usize> + Clone, level: f64) -> Interval {
        let sum = |of: &[f64]| customers.clone().map(|i| of[i]).sum::<f64>();
        let value = sum(&self.value);
        let variance = sum(&self.variance) + self.moves.iter().map(|axis| sum(axis).powi(2)).sum::<f64>();
        if variance <= 0.0 {
            return Interval { value, low: value, high: value };
        }
        // With values of both signs, such as margins have, nothing keeps the total on one side of zero.
        let mut signs = customers.clone().map(|i| self.value[i]).filter(|v| *v != 0.0);
        if value == 0.0 || signs.clone().any(|v| v > 0.0) && signs.any(|v| v < 0.0) {
            let reach = normal_quantile(0.5 + 0.5 * level) * variance.sqrt();
            return Interval { value, low: value - reach, high: value + reach };
        }
        // Where margins are below 0 the total may be as well: the same, turned about.
        let (shape, scale) = (value * value / variance, variance / value);
        let at = |p: f64| gamma_quantile(shape, if value > 0.0 { p } else { 1.0 - p }) * scale;
        Interval { value, low: at(0.5 - 0.5 * level).min(value), high: at(0.5 + 0.5 * level).max(value) }
    }

    /// Multiplies what one customer is worth, as a margin does.
    pub fn scale(&mut self, i: usize, by: f64) {
        self.value[i] *= by;
        self.variance[i] *= by * by;
        self.moves.iter_mut().for_each(|axis| axis[i] *= by);
    }

    /// How much wider than given the parameters the interval of a customer is, as a factor.
    fn widening(&self, i: usize) -> f64 {
        let parameters: f64 = self.moves.iter().map(|axis| axis[i] * axis[i]).sum();
        if self.variance[i] > 0.0 { (1.0 + parameters / self.variance[i]).sqrt() } else { 1.0 }
    }
}

/// What a future depends on: a distribution of counts, and how much is known of the customer's spend.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    counts: u32,
    table: u32,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.counts) << 32 | u64::from(self.table));
    }
}

impl Lifetime {
    /// What every customer is worth within the horizon, and how sure that is.
    ///
    /// # Errors
    /// As [`super::Purchases::discounted_purchases_all`].
    pub fn worth(&self, counts: Counts<'_>, spending: Spending<'_>, days: f64, rate: f64, control: &Control) -> Result<Worth, ModelError> {
        let futures = self.purchases.futures(counts, days, control)?;
        self.worth_of(&futures, counts, spending, days, rate, control)
    }

    fn worth_of(
        &self,
        futures: &Futures,
        counts: Counts<'_>,
        spending: Spending<'_>,
        days: f64,
        rate: f64,
        control: &Control,
    ) -> Result<Worth, ModelError> {
        let purchases = self.purchases.discounted_purchases_all(counts, days, rate, control)?;
        let each = self.values_of_a_purchase(counts, spending, control)?;
        let value = for_each_customer(counts, |i| purchases[i] * each[i]);
        let moments: Vec<(f64, f64)> = futures.values.par_iter().map(|c| moments(c)).collect();
        let variance = for_each_customer(counts, |i| {
            let (first, second) = moments[futures.of_customer[i] as usize];
            let (first, second) = (futures.p_alive[i] * first, futures.p_alive[i] * second);
            if first <= 0.0 {
                return 0.0;
            }
            let (p, shape) = self.shapes(self.known_spend(spending, i).0);
            let shape = shape.max(LEAST_SHAPE);
            // In units of the expected value of an order: of a mean order value θ·p, E θ = 1/p, E θ² = (q'−1)/((q'−2) p²).
            let spread = (shape - 1.0) / (shape - 2.0);
            let relative = first * spread / p + second * spread - first * first;
            relative * (value[i] / first).powi(2)
        });
        let moved = |purchases: &[f64], each: &[f64]| for_each_customer(counts, |i| purchases[i] * each[i] - value[i]);
        let mut moves = Vec::new();
        for axis in self.axes_of_purchases() {
            let purchases = axis.purchases.discounted_purchases_all(counts, days, rate, control)?;
            // Where value does not come from purchases, that of one depends on how many there are.
            let own = axis.linear.as_ref().map(|_| axis.values_of_a_purchase(counts, spending, control)).transpose()?;
            moves.push(moved(&purchases, own.as_ref().unwrap_or(&each)));
        }
        for axis in self.axes_of_spend() {
            moves.push(moved(&purchases, &axis.values_of_a_purchase(counts, spending, control)?));
        }
        Ok(Worth { value, variance, moves })
    }

    /// The predictive interval of every customer: `level` of the probability lies in it, half of the rest on either side. Where more than that half is at
    /// zero, the interval begins at zero and all of the rest lies above it. It always contains the expected value.
    ///
    /// # Errors
    /// As [`Lifetime::worth`].
    pub fn intervals(
        &self,
        counts: Counts<'_>,
        spending: Spending<'_>,
        days: f64,
        rate: f64,
        level: f64,
        control: &Control,
    ) -> Result<Vec<Interval>, ModelError> {
        let futures = self.purchases.futures(counts, days, control)?;
        let worth = self.worth_of(&futures, counts, spending, days, rate, control)?;
        let tables = Tables::new(self, &futures, spending, control)?;
        let means: Vec<f64> = futures.values.par_iter().map(|c| moments(c).0).collect();
        let tail = 0.5 * (1.0 - level);
        let one = |i: usize| {
            let value = worth.value[i];
            let p_alive = futures.p_alive[i];
            let mean = means[futures.of_customer[i] as usize];
            if value <= 0.0 || mean <= 0.0 || p_alive <= 0.0 {
                return Interval { value, low: value.min(0.0), high: value.max(0.0) };
            }
            let future = tables.of(i);
            // From the tabulated variable, in units of the expected value of an order, to money.
            let unit = value / (p_alive * mean);
            let nothing = 1.0 - p_alive * (1.0 - future.none);
            let (low, high) = if nothing > tail { (0.0, level) } else { (tail, 1.0 - tail) };
            let at = |u: f64| if u <= nothing { 0.0 } else { unit * future.quantile(1.0 - (1.0 - u) / p_alive) };
            let wider = worth.widening(i);
            let low = if low == 0.0 { 0.0 } else { (value - (value - at(low)) * wider).max(0.0) };
            let high = value + (at(high) - value) * wider;
            Interval { value, low: low.min(value), high: high.max(value) }
        };
        Ok((0..counts.x.len()).into_par_iter().with_min_len(4_096).map(one).collect())
    }

    /// Shapes of the spend: p of an order, and q + px of what is known of the customer.
    fn shapes(&self, known: u32) -> (f64, f64) {
        match &self.spend {
            Some(spend) => (spend.params.p, spend.params.q + spend.params.p * f64::from(known)),
            // One mean for all: a rate that is known.
            None => (1.0 / self.value_cv2.max(1e-4), KNOWN),
        }
    }
}

/// Degrees of freedom that are as good as certainty.
const KNOWN: f64 = 1e6;

/// E[N] and E[N²].
fn moments(counts: &[f32]) -> (f64, f64) {
    counts.iter().enumerate().fold((0.0, 0.0), |(first, second), (n, &p)| {
        let (n, p) = (n as f64, f64::from(p));
        (first + n * p, second + n * n * p)
    })
}

/// The distribution of the value of a living customer, in units of the expected value of an order.
struct Future {
    none: f64,
    /// P(V ≤ the i-th point).
    below: Vec<f32>,
    ln_first: f64,
    ln_step: f64,
}

impl Future {
    fn quantile(&self, u: f64) -> f64 {
        let at = self.below.partition_point(|&p| f64::from(p) < u);
        let position = match at {
            // Linearly from nothing at 0.
            0 => return self.ln_first.exp() * ((u - self.none) / (f64::from(self.below[0]) - self.none).max(1e-12)).clamp(0.0, 1.0),
            at if at == self.below.len() => (at - 1) as f64,
            at => {
                let (before, here) = (f64::from(self.below[at - 1]), f64::from(self.below[at]));
                (at - 1) as f64 + (u - before) / (here - before).max(1e-12)
            }
        };
        (self.ln_first + position * self.ln_step).exp()
    }
}

/// The futures of all customers.
struct Tables {
    futures: Vec<Future>,
    /// Index into `futures`, for each customer.
    of_customer: Vec<u32>,
}

/// The table that serves a number of known purchases.
fn table_of(known: u32) -> u32 {
    if known <= OWN_TABLE {
        return known;
    }
    let steps = (f64::from(known) / f64::from(OWN_TABLE)).ln() / TABLE_STEP.ln();
    (f64::from(OWN_TABLE) * TABLE_STEP.powf(steps.round())).round() as u32
}

impl Tables {
    fn new(model: &Lifetime, futures: &Futures, spending: Spending<'_>, control: &Control) -> Result<Self, ModelError> {
        let key = |i: usize| Key { counts: futures.of_customer[i], table: table_of(model.known_spend(spending, i).0) };
        let Distinct { keys, of_customer } = Distinct::of(futures.of_customer.len(), key);
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.par_sort_unstable_by_key(|&at| (keys[at as usize].table, at));
        let groups: Vec<&[u32]> = order.chunk_by(|a, b| keys[*a as usize].table == keys[*b as usize].table).collect();
        let made: Result<Vec<Vec<(u32, Future)>>, ModelError> = groups
            .par_iter()
            .map(|group| {
                control.check()?;
                Ok(of_table(model, futures, &keys, group))
            })
            .collect();
        let mut made: Vec<(u32, Future)> = made?.into_iter().flatten().collect();
        made.par_sort_unstable_by_key(|(at, _)| *at);
        Ok(Self { futures: made.into_iter().map(|(_, future)| future).collect(), of_customer })
    }

    fn of(&self, customer: usize) -> &Future {
        &self.futures[self.of_customer[customer] as usize]
    }
}

/// The futures of a group of keys with one number of known purchases, each with the place of its key.
fn of_table(model: &Lifetime, futures: &Futures, keys: &[Key], group: &[u32]) -> Vec<(u32, Future)> {
    let counts = |at: u32| &futures.values[keys[at as usize].counts as usize];
    let (p, shape) = model.shapes(keys[group[0] as usize].table);
    let longest = group.iter().map(|&at| counts(at).len()).max().unwrap_or(1).saturating_sub(1);
    let nodes = nodes(longest);
    // w in units of its expected value for one order, p/(shape − 1).
    let unit = p / (shape.max(LEAST_SHAPE) - 1.0);
    let most = *nodes.last().unwrap_or(&1.0);
    let (first, last) = (0.01 * (p / (p + 2.0)).powi(2), most * (3.0 + 8.0 / most.sqrt()) * (1.0 + 12.0 / shape));
    let (ln_first, ln_last) = (first.ln(), last.ln());
    let ln_step = (ln_last - ln_first) / (POINTS - 1) as f64;
    let points: Vec<f64> = (0..POINTS).map(|j| (ln_first + j as f64 * ln_step).exp() * unit).collect();
    let spent: Vec<Vec<f32>> =
        nodes.iter().map(|n| points.iter().map(|w| beta_inc(p * n, shape, w / (1.0 + w), 1.0 / (1.0 + w)) as f32).collect()).collect();
    let future = |&at: &u32| {
        let counts = counts(at);
        let none = counts.first().copied().unwrap_or(1.0);
        let mut below = vec![none; POINTS];
        for (node, p) in at_nodes(counts, &nodes) {
            below.iter_mut().zip(&spent[node]).for_each(|(sum, s)| *sum += p * s);
        }
        (at, Future { none: none.into(), below, ln_first, ln_step })
    };
    group.par_iter().with_min_len(64).map(future).collect()
}

/// Numbers of purchases at which spend is tabulated, from 1 to at least `longest`.
fn nodes(longest: usize) -> Vec<f64> {
    let mut nodes: Vec<f64> = (1..=longest.clamp(1, OWN_NODE)).map(|n| n as f64).collect();
    while nodes[nodes.len() - 1] < longest as f64 {
        nodes.push(nodes[nodes.len() - 1] * NODE_STEP);
    }
    nodes
}

/// The probabilities of n ≥ 1 purchases, each shared between the two nodes about n.
fn at_nodes(counts: &[f32], nodes: &[f64]) -> Vec<(usize, f32)> {
    let mut at = vec![0.0_f32; nodes.len()];
    let mut node = 0;
    for (n, &p) in counts.iter().enumerate().skip(1) {
        let n = n as f64;
        while node + 1 < nodes.len() && nodes[node + 1] <= n {
            node += 1;
        }
        let share = if node + 1 < nodes.len() { ((n - nodes[node]) / (nodes[node + 1] - nodes[node])) as f32 } else { 0.0 };
        at[node] += p * (1.0 - share);
        if share > 0.0 {
            at[node + 1] += p * share;
        }
    }
    at.into_iter().enumerate().filter(|(_, p)| *p > 0.0).collect()
}
