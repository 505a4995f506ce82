use std::collections::{HashMap, HashSet};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::calendar::{DAY_US, START_US};
use super::customer::Life;
use super::visits::Row;
use super::{Shop, ShopParams, dirt, visits};

fn shop(users: u64, dirt: f64) -> Shop {
    Shop::new(ShopParams::new(users, 730, 7, dirt).unwrap())
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> Vec<Option<&'a str>> {
    batch[column].as_string::<i32>().iter().collect()
}

fn times(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch[column].as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// The values that are not NULL.
fn floats(batch: &RecordBatch, column: &str) -> Vec<f64> {
    batch[column].as_primitive::<Float64Type>().iter().flatten().collect()
}

fn total(batch: &RecordBatch, column: &str) -> f64 {
    batch[column].as_primitive::<Int64Type>().values().iter().sum::<i64>() as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn assert_near(given: f64, expected: f64, relative: f64) {
    assert!((given / expected - 1.0).abs() < relative, "{given} is not within {relative} of {expected}");
}

#[test]
fn parameters_out_of_range_are_named() {
    let error = |users, days, dirt| ShopParams::new(users, days, 1, dirt).unwrap_err().to_string();
    assert_eq!(error(0, 365, 0.0), "argument 'users' = 0: must be a whole number from 1 to 100,000,000");
    assert_eq!(error(10, 29, 0.0), "argument 'days' = 29: must be a whole number from 30 to 3650");
    assert_eq!(error(10, 365, 0.6), "argument 'dirt' = 0.6: must be a share from 0 to 0.5");
    assert_eq!(error(10, 365, f64::NAN), "argument 'dirt' = NaN: must be a share from 0 to 0.5");
}

#[test]
fn customers_are_the_same_in_whatever_ranges_they_are_asked_for() {
    let shop = shop(100, 0.1);
    let parts = [shop.events(0..37), shop.events(37..38), shop.events(38..1000)];
    assert_eq!(shop.events(0..100), concat_batches(&Shop::events_schema(), &parts).unwrap());
    let parts = [shop.truth(0..37), shop.truth(37..100)];
    assert_eq!(shop.truth(0..100), concat_batches(&Shop::truth_schema(), &parts).unwrap());
    assert_eq!(shop.events(100..200).num_rows(), 0);
}

#[test]
fn seeds_and_extremes_make_other_shops() {
    let of = |users, days, seed| Shop::new(ShopParams::new(users, days, seed, 0.0).unwrap()).events(0..10);
    assert_eq!(of(100, 365, 1), of(100, 365, 1));
    assert_ne!(of(100, 365, 1), of(100, 365, 2));
    assert!(of(1, 30, 1).num_rows() > 0);
    assert!(of(100_000_000, 3650, 1).num_rows() > 0);
}

#[test]
fn a_clean_log_is_ordered_complete_and_within_its_period() {
    let events = shop(500, 0.0).events(0..500);
    let (users, ts) = (text(&events, "user_id"), times(&events, "ts"));
    let keys: Vec<_> = users.iter().zip(&ts).collect();
    assert!(keys.is_sorted());
    assert!(ts.iter().all(|t| (START_US..START_US + 730 * DAY_US).contains(t)));
    assert_eq!(users.iter().flatten().collect::<HashSet<_>>().len(), 500);
    let amounts = events["amount"].as_primitive::<Decimal128Type>();
    for (i, event_type) in text(&events, "event_type").into_iter().enumerate() {
        let event_type = event_type.unwrap();
        assert!(users[i].is_some());
        assert_eq!(amounts.is_valid(i), ["purchase", "refund"].contains(&event_type));
        assert_eq!(events["item_id"].is_null(i), ["signup", "referral"].contains(&event_type));
        assert_eq!(events["rating"].is_valid(i), event_type == "review");
        assert!(amounts.is_null(i) || (amounts.value(i) > 0) == (event_type == "purchase"));
    }
}

#[test]
fn a_shop_has_events_of_every_kind_in_their_proportions() {
    let events = shop(4_000, 0.0).events(0..4_000);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for event_type in text(&events, "event_type").into_iter().flatten() {
        *counts.entry(event_type).or_default() += 1;
    }
    assert!((50..100).contains(&(events.num_rows() / 4_000)), "{counts:?}");
    assert!(counts["view"] > counts["cart"] && counts["cart"] > counts["purchase"], "{counts:?}");
    assert!(["refund", "review", "share", "referral", "signup"].iter().all(|k| counts[k] > 100), "{counts:?}");
    assert_near(counts["refund"] as f64, 0.04 * counts["purchase"] as f64, 0.2);
}

#[test]
fn lines_add_up_to_the_value_of_their_order() {
    let shop = shop(300, 0.0);
    let mut rows = vec![];
    for customer in 0..300 {
        visits::write(&shop, customer, &mut rows);
        let life = Life::draw(&shop, customer, 730);
        let sum = |number: usize, kind| -> i64 {
            let of_order = |r: &&Row| r.order == Some(number as u32 + 1) && r.event_type == kind;
            rows.iter().filter(of_order).filter_map(|r| r.pence).sum()
        };
        for (number, order) in life.orders.iter().enumerate() {
            assert_eq!(sum(number, visits::PURCHASE), order.pence);
            let refunded = order.refunded_us.is_some_and(|ts| ts < shop.calendar.end_us());
            assert_eq!(sum(number, visits::REFUND), if refunded { -order.pence } else { 0 });
        }
        assert!(rows.iter().all(|r| r.quantity.is_none_or(|q| q >= 1)));
        assert!(life.orders.is_sorted_by(|a, b| (a.ts - START_US) / DAY_US < (b.ts - START_US) / DAY_US));
    }
}

#[test]
fn dirt_leaves_the_clean_rows_as_they_are() {
    let shop = shop(300, 0.2);
    let (mut clean, mut respelt, mut added) = (0, 0, 0);
    for customer in 0..300 {
        let mut before = vec![];
        visits::write(&shop, customer, &mut before);
        let mut after = before.clone();
        dirt::spread(&shop, customer, &mut after);
        clean += before.len();
        added += after.len() - before.len();
        let mut rest = after.into_iter();
        for row in before {
            // An added copy with another type stands behind the row itself, so the first match is the row.
            let found = rest.find(|r| Row { event_type: row.event_type, ..*r } == row).expect("a clean row is lost");
            respelt += usize::from(found.event_type != row.event_type);
        }
    }
    assert_near((added + respelt) as f64, 0.2 * clean as f64, 0.05);
    assert_near(respelt as f64, added as f64 / 5.0, 0.2);
}

#[test]
fn truth_follows_the_population() {
    let shop = shop(20_000, 0.0);
    let truth = shop.truth(0..20_000);
    let of = shop.population();
    let lambda = floats(&truth, "lambda_per_day");
    assert_near(mean(&lambda), of.r / of.alpha, 0.04);
    let variance = mean(&lambda.iter().map(|l| l * l).collect::<Vec<_>>()) - mean(&lambda).powi(2);
    assert_near(variance, of.r / of.alpha.powi(2), 0.1);
    let p = floats(&truth, "dropout_prob");
    assert_near(mean(&p), of.a / (of.a + of.b), 0.03);
    assert_near(mean(&floats(&truth, "mean_order_value")), of.p * of.v / (of.q - 1.0), 0.03);
    assert_near((20_000 - lambda.len()) as f64, 20_000.0 * of.prospects, 0.1);
    let alive = truth["alive"].as_boolean();
    let share = alive.true_count() as f64 / lambda.len() as f64;
    assert!((0.6..0.8).contains(&share), "{share} are alive");
}

#[test]
fn the_future_that_comes_is_the_one_to_expect() {
    let truth = shop(20_000, 0.0).truth(0..20_000);
    assert_near(total(&truth, "purchases_next_90d"), floats(&truth, "expected_purchases_90d").iter().sum(), 0.04);
    assert_near(total(&truth, "purchases_next_365d"), floats(&truth, "expected_purchases_365d").iter().sum(), 0.03);
    let money = |column: &str| truth[column].as_primitive::<Decimal128Type>().values().iter().sum::<i128>() as f64 / 100.0;
    assert_near(money("value_next_365d"), floats(&truth, "expected_value_365d").iter().sum(), 0.04);
    assert_near(money("net_value_next_365d"), 0.96 * money("value_next_365d"), 0.02);
}

#[test]
fn the_log_goes_on_into_the_future_of_the_truth() {
    let shop = shop(500, 0.0);
    for customer in 0..500 {
        let (log, all) = (Life::draw(&shop, customer, 730), Life::draw(&shop, customer, 1095));
        assert!(all.orders.iter().map(|o| (o.ts, o.pence)).take(log.orders.len()).eq(log.orders.iter().map(|o| (o.ts, o.pence))));
        assert_eq!(log.is_alive(shop.calendar.end_us()), all.is_alive(shop.calendar.end_us()));
    }
}

#[test]
fn referrers_joined_earlier_and_both_sides_agree() {
    let shop = shop(4_000, 0.0);
    let (events, truth) = (shop.events(0..4_000), shop.truth(0..4_000));
    let (users, types, ts) = (text(&events, "user_id"), text(&events, "event_type"), times(&events, "ts"));
    let by = text(&events, "referrer_user_id");
    let joined: HashMap<_, _> = text(&truth, "user_id").into_iter().zip(times(&truth, "joined")).collect();
    let rows = 0..events.num_rows();
    let mut referrals: Vec<_> = rows.clone().filter(|i| types[*i] == Some("referral")).map(|i| (users[i], ts[i])).collect();
    let mut signups: Vec<_> = rows.filter(|i| by[*i].is_some()).map(|i| (by[i], ts[i])).collect();
    assert!(signups.iter().all(|(by, ts)| joined[by] < *ts));
    referrals.sort_unstable();
    signups.sort_unstable();
    assert!(signups.len() > 100);
    assert_eq!(referrals, signups);
    assert_eq!(text(&truth, "referrer_user_id").into_iter().flatten().count(), signups.len());
}
