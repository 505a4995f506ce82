//! What is known of customers at the end of a day, as features: the training frames at past cut-offs, and today's.
//!
//! Every feature is an aggregate over what a customer did up to that day, and is shown with its SQL (`model_info`). It is computed here from what was read of the
//! events once, so that one more cut-off is not one more pass; a test runs the SQL and compares.
//!
//! In the SQL `day` and `as_of_day` are days since 1970, `horizon` is the length of the label's window in days; relations:
//!
//! * `purchase_days`: the days on which a customer purchased, with `value` (the sum of the known amounts of that day, NULL where none is known) and `gap` (days since
//!   the purchase day before, NULL on the first);
//! * `refund_days`: the days with refunds, `value` ≥ 0;
//! * `first_items`, `first_categories`, `first_channels`: the day on which the customer first bought each;
//! * `views` and the like: a row for each event of that kind;
//! * `bg_nbd`: what the model answers that was fitted to all customers up to `as_of_day`, with gamma-gamma's value of an order.

use datafusion::execution::memory_pool::MemoryReservation;
use rayon::prelude::*;

use super::history::Days;
use super::{Activity, Customers, Purchasers};
use crate::events::kind;
use crate::models::lifetime::{BgNbd, Estimated, FitOptions, GammaGamma, Purchases, fit};
use crate::models::supervised::{Btyd, FeatureSql, Table, Values};
use crate::models::{Control, ModelError};

/// Customers at the end of a day, ascending by code, with their features.
#[derive(Debug)]
pub struct Frame {
    /// Since 1970.
    pub day: i64,
    pub codes: Vec<u32>,
    pub table: Table,
    /// What each feature is.
    pub sql: Vec<FeatureSql>,
    /// Behind the features `bg_nbd_…`.
    pub btyd: Option<Btyd>,
    /// Its share of the engine's memory, with what models make of it.
    pub memory: MemoryReservation,
}

impl Frame {
    /// Bytes of a table of features, and of the same encoded for a model.
    pub fn bytes(rows: usize, features: usize) -> usize {
        2 * rows * features * size_of::<f64>()
    }
}

/// Windows that are looked back on, in days.
const WINDOWS: [i64; 4] = [30, 90, 180, 365];
/// Windows of events that are no purchases.
const EVENT_WINDOWS: [i64; 3] = [7, 30, 90];
const YEAR: i64 = 365;

/// Kinds whose number is a feature of its own, and what they are called.
const KINDS: [(i8, &str); 9] = [
    (kind::VIEW, "views"),
    (kind::SEARCH, "searches"),
    (kind::CART, "carts"),
    (kind::RATING, "ratings"),
    (kind::REVIEW, "reviews"),
    (kind::SHARE, "shares"),
    (kind::REFERRAL, "referrals"),
    (kind::CAMPAIGN, "campaigns"),
    (kind::OTHER, "other_events"),
];

/// Features and their SQL, added in one order.
struct Builder<'a> {
    codes: &'a [u32],
    table: Table,
    sql: Vec<FeatureSql>,
}

impl Builder<'_> {
    /// A feature by customer code.
    fn add(&mut self, relation: &str, name: impl Into<String>, sql: impl Into<String>, of: impl Fn(usize) -> f64 + Sync) {
        let codes = self.codes;
        self.add_by_row(relation, name, sql, |row| of(codes[row] as usize));
    }

    /// A feature by row of the frame.
    fn add_by_row(&mut self, relation: &str, name: impl Into<String>, sql: impl Into<String>, of: impl Fn(usize) -> f64 + Sync) {
        let one = |row: usize| Some(of(row)).filter(|v| v.is_finite()).unwrap_or(f64::NAN);
        let values = (0..self.codes.len()).into_par_iter().map(one).collect();
        let name = name.into();
        self.table.columns.push((name.clone(), Values::Number(values)));
        self.sql.push(FeatureSql { name, relation: relation.into(), sql: sql.into() });
    }
}

/// Of the days between one customer's purchases; NaN without any.
struct Gaps {
    mean: f64,
    deviation: f64,
    median: f64,
    most: f64,
    last: f64,
}

impl Gaps {
    fn of(days: Days<'_>) -> Self {
        let mut gaps: Vec<f64> = days.days.windows(2).map(|w| f64::from(w[1]) - f64::from(w[0])).collect();
        let (n, last) = (gaps.len(), gaps.last().copied().unwrap_or(f64::NAN));
        let mean = gaps.iter().sum::<f64>() / n as f64;
        let deviation = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        gaps.sort_by(f64::total_cmp);
        let median = if n == 0 { f64::NAN } else { f64::midpoint(gaps[(n - 1) / 2], gaps[n / 2]) };
        Self { mean, deviation, median, most: gaps.last().copied().unwrap_or(f64::NAN), last }
    }
}

/// The features of the customers with these codes at the end of `day`, with a horizon of `horizon` days: nothing later is looked at. A value that is not known, such
/// as the days since a purchase of who never purchased, is NaN.
pub fn frame(customers: &Customers, activity: &Activity, codes: &[u32], day: i64, horizon: i64) -> (Table, Vec<FeatureSql>) {
    let mut b = Builder { codes, table: Table { rows: codes.len(), columns: vec![] }, sql: vec![] };
    let all = |code: usize| customers.history.of(code).until(day);
    let window = |code: usize, back: i64| customers.history.of(code).between(day - back, day);
    let sum = |days: Days<'_>| days.value().0;
    let first = |code: usize| all(code).days.first().map_or(f64::NAN, |&d| i64::from(d) as f64);
    let recency = |code: usize| all(code).days.last().map_or(f64::NAN, |&d| (day - i64::from(d)) as f64);
    let known_values = |code: usize| all(code).values().filter(|v| v.is_finite()).map(f64::from).collect::<Vec<f64>>();

    let p = "purchase_days";
    b.add(p, "recency_days", "as_of_day - max(day)", recency);
    b.add(p, "tenure_days", "as_of_day - min(day)", |c| day as f64 - first(c));
    b.add(p, "purchase_days", "count(*)", |c| all(c).days.len() as f64);
    b.add(p, "monetary", "coalesce(sum(value), 0)", |c| sum(all(c)));
    b.add(p, "day_value", "avg(value)", |c| {
        let (sum, n) = all(c).value();
        sum / f64::from(n)
    });
    b.add(p, "last_value", "last_value(value ORDER BY day)", |c| all(c).values().last().map_or(f64::NAN, f64::from));
    b.add(p, "max_value", "max(value)", |c| known_values(c).into_iter().fold(f64::NAN, f64::max));
    for w in WINDOWS {
        b.add(p, format!("purchases_{w}d"), format!("count(*) FILTER (WHERE day > as_of_day - {w})"), |c| window(c, w).days.len() as f64);
    }
    for w in WINDOWS {
        let sql = format!("coalesce(sum(value) FILTER (WHERE day > as_of_day - {w}), 0)");
        b.add(p, format!("value_{w}d"), sql, |c| sum(window(c, w)));
    }
    let (recent, before) =
        ("count(*) FILTER (WHERE day > as_of_day - 90)", "count(*) FILTER (WHERE day > as_of_day - 180 AND day <= as_of_day - 90)");
    b.add(p, "purchases_91_180d", before, |c| customers.history.of(c).between(day - 180, day - 90).days.len() as f64);
    b.add(p, "trend_90d", format!("ln((1.0 + {recent}) / (1.0 + {before}))"), |c| {
        let now = window(c, 90).days.len() as f64;
        ((1.0 + now) / (1.0 + customers.history.of(c).between(day - 180, day - 90).days.len() as f64)).ln()
    });
    let last_year = format!("day > as_of_day - {YEAR} AND day <= as_of_day - {YEAR} + horizon");
    let year_ago = |code: usize| customers.history.of(code).between(day - YEAR, day - YEAR + horizon.min(YEAR));
    b.add(p, "purchases_last_year", format!("count(*) FILTER (WHERE {last_year})"), |c| year_ago(c).days.len() as f64);
    b.add(p, "value_last_year", format!("coalesce(sum(value) FILTER (WHERE {last_year}), 0)"), |c| sum(year_ago(c)));
    b.add(p, "a_year_old", format!("CASE WHEN as_of_day - min(day) >= {YEAR} THEN 1 ELSE 0 END"), |c| {
        f64::from(u8::from(day as f64 - first(c) >= YEAR as f64))
    });
    let gaps: Vec<Gaps> = codes.par_iter().map(|&code| Gaps::of(all(code as usize))).collect();
    b.add_by_row(p, "gap_mean", "avg(gap)", |row| gaps[row].mean);
    b.add_by_row(p, "gap_std", "stddev_pop(gap)", |row| gaps[row].deviation);
    b.add_by_row(p, "gap_median", "median(gap)", |row| gaps[row].median);
    b.add_by_row(p, "gap_max", "max(gap)", |row| gaps[row].most);
    b.add_by_row(p, "gap_last", "last_value(gap ORDER BY day)", |row| gaps[row].last);
    let silent = |row: usize| recency(codes[row] as usize);
    b.add_by_row(p, "recency_over_gap", "(as_of_day - max(day)) / avg(gap)", |row| silent(row) / gaps[row].mean);
    b.add_by_row(p, "recency_z", "(as_of_day - max(day) - avg(gap)) / (1 + stddev_pop(gap))", |row| {
        (silent(row) - gaps[row].mean) / (1.0 + gaps[row].deviation)
    });
    b.add(p, "purchase_rate", "(count(*) - 1.0) / (1 + as_of_day - min(day))", |c| {
        (all(c).days.len() as f64 - 1.0) / (1.0 + day as f64 - first(c))
    });

    if customers.refunded.iter().any(|&r| r > 0) {
        let refunds = |code: usize| customers.history.refunds(code).until(day);
        b.add("refund_days", "refund_days", "count(*)", |c| refunds(c).days.len() as f64);
        b.add("refund_days", "refunded", "coalesce(sum(value), 0)", |c| sum(refunds(c)));
        let sql = "coalesce(sum(value) FILTER (WHERE day > as_of_day - 90), 0)";
        b.add("refund_days", "refunded_90d", sql, |c| sum(customers.history.refunds(c).between(day - 90, day)));
    }
    if let Some(lines) = activity.of_kind(kind::PURCHASE) {
        b.add("purchases", "lines_per_day", "count(*) * 1.0 / count(DISTINCT day)", |c| {
            f64::from(lines.upto(c, day)) / all(c).days.len() as f64
        });
    }
    for (what, firsts) in
        [("items", &activity.first_items), ("categories", &activity.first_categories), ("channels", &activity.first_channels)]
    {
        let Some(firsts) = firsts else { continue };
        let relation = format!("first_{what}");
        b.add(&relation, format!("distinct_{what}"), "count(*)", |c| f64::from(firsts.upto(c, day)));
        let sql = "count(*) FILTER (WHERE day > as_of_day - 90)";
        b.add(&relation, format!("new_{what}_90d"), sql, |c| f64::from(firsts.between(c, day - 90, day)));
    }
    for (kind, name) in KINDS {
        let Some(events) = activity.of_kind(kind) else { continue };
        b.add(name, name, "count(*)", |c| f64::from(events.upto(c, day)));
        for w in EVENT_WINDOWS {
            let sql = format!("count(*) FILTER (WHERE day > as_of_day - {w})");
            b.add(name, format!("{name}_{w}d"), sql, |c| f64::from(events.between(c, day - w, day)));
        }
        b.add(name, format!("days_since_{name}"), "as_of_day - max(day)", |c| events.last(c, day).map_or(f64::NAN, |d| (day - d) as f64));
    }
    (b.table, b.sql)
}

/// Gamma-gamma has three parameters: so many customers tell them.
const SPENDERS: usize = 30_000;

/// BG/NBD fitted to all customers as of a day, and gamma-gamma where it can be.
///
/// # Errors
/// Fewer customers than BG/NBD needs, or [`ModelError::Cancelled`].
pub fn btyd(customers: &Customers, day: i64, control: &Control) -> Result<Btyd, ModelError> {
    let p = Purchasers::as_of(customers, day);
    let purchases = fit::<BgNbd>(p.counts(), &FitOptions::default(), control)?.params.base;
    let some = (0..p.len()).step_by(p.len().div_ceil(SPENDERS).max(1));
    let (known, mean): (Vec<u32>, Vec<f64>) = some.map(|i| p.spending().known(i, true)).unzip();
    let spend = match GammaGamma::fit(&known, &mean, None, control) {
        Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
        fitted => fitted.ok().map(|f| f.params.params),
    };
    Ok(Btyd { purchases, spend })
}

/// What the models answer of customers at the end of a day; of who had not purchased, nothing.
pub fn btyd_features(
    btyd: &Btyd,
    customers: &Customers,
    codes: &[u32],
    day: i64,
    horizon: i64,
    control: &Control,
) -> Result<(Table, Vec<FeatureSql>), ModelError> {
    let model = Estimated::known(btyd.purchases);
    let p = Purchasers::among(customers, day, codes.iter().copied());
    let counts = p.counts();
    let purchases = model.expected_purchases_all(counts, horizon as f64, control)?;
    let value = btyd.spend.map(|spend| {
        let worth = |(i, n): (usize, &f64)| {
            let (x, mean) = p.spending().known(i, true);
            n * spend.expected_value(f64::from(x), mean)
        };
        purchases.iter().enumerate().map(worth).collect()
    });
    let mut answers = vec![
        ("bg_nbd_purchases", "expected_purchases(horizon)", purchases),
        ("bg_nbd_churn", "churn_prob(horizon)", model.p_no_purchase_all(counts, horizon as f64, control)?),
    ];
    answers.extend(value.map(|value| ("bg_nbd_value", "expected_purchases(horizon) * gamma_gamma", value)));
    let mut table = Table { rows: codes.len(), columns: vec![] };
    let mut sql = vec![];
    for (name, call, values) in answers {
        let mut column = vec![f64::NAN; codes.len()];
        let mut at = 0;
        for (&code, v) in p.codes.iter().zip(values) {
            while codes[at] != code {
                at += 1;
            }
            column[at] = Some(v).filter(|v| v.is_finite()).unwrap_or(f64::NAN);
        }
        table.columns.push((name.into(), Values::Number(column)));
        sql.push(FeatureSql { name: name.into(), relation: "bg_nbd".into(), sql: call.into() });
    }
    Ok((table, sql))
}
