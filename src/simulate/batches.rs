//! Customers as Arrow record batches.

use std::fmt::Write;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::calendar::{DAY_US, FUTURE_DAYS};
use super::customer::Life;
use super::shop::Shop;
use super::visits::{Row, favourite_category};
use super::{dirt, visits};

const MONEY: DataType = DataType::Decimal128(18, 2);
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const CURRENCY: &str = "GBP";

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("user_id", DataType::Utf8),
        ("ts", TIME),
        ("event_type", DataType::Utf8),
        ("item_id", DataType::Utf8),
        ("category", DataType::Utf8),
        ("quantity", DataType::Int64),
        ("amount", MONEY),
        ("order_id", DataType::Utf8),
        ("channel", DataType::Utf8),
        ("session_id", DataType::Utf8),
        ("rating", DataType::Int64),
        ("referrer_user_id", DataType::Utf8),
        ("currency", DataType::Utf8),
    ])
});

static TRUTH: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("user_id", DataType::Utf8),
        ("joined", TIME),
        ("is_prospect", DataType::Boolean),
        ("lambda_per_day", DataType::Float64),
        ("dropout_prob", DataType::Float64),
        ("mean_order_value", DataType::Float64),
        ("alive", DataType::Boolean),
        ("expected_purchases_90d", DataType::Float64),
        ("expected_purchases_365d", DataType::Float64),
        ("expected_value_365d", DataType::Float64),
        ("purchases_next_90d", DataType::Int64),
        ("purchases_next_365d", DataType::Int64),
        ("value_next_365d", MONEY),
        ("net_value_next_365d", MONEY),
        ("referrer_user_id", DataType::Utf8),
        ("favourite_category", DataType::Utf8),
    ])
});

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect::<Vec<_>>()))
}

impl Shop {
    /// The columns of [`Shop::events`]; all may be NULL in dirty rows.
    pub fn events_schema() -> SchemaRef {
        Arc::clone(&EVENTS)
    }

    /// The columns of [`Shop::truth`].
    pub fn truth_schema() -> SchemaRef {
        Arc::clone(&TRUTH)
    }

    /// All events of the customers with these indices (from 0), by customer, then time: about 65 rows a customer in two years,
    /// so ask for some hundreds at a time. Indices past the last customer have none.
    pub fn events(&self, users: Range<u64>) -> RecordBatch {
        let mut columns = EventColumns::default();
        let mut rows = vec![];
        for customer in self.existing(users) {
            visits::write(self, customer, &mut rows);
            if self.params.dirt > 0.0 {
                dirt::spread(self, customer, &mut rows);
            }
            columns.append(self, customer, &rows);
        }
        batch(&EVENTS, columns.finish())
    }

    /// What the events do not say, one row a customer. `alive` is at the end of the log; `expected_*` is the mean over possible
    /// futures of a customer whose λ, p, mean order value (**pounds**) and `alive` are known; `*_next_*` is the one future that comes:
    /// orders (`value_*` gross, `net_value_*` less the refunds given in that time, in **pounds**). Prospects have NULL where only buyers have
    /// an answer, and expect 0.
    pub fn truth(&self, users: Range<u64>) -> RecordBatch {
        let mut columns = TruthColumns::default();
        for customer in self.existing(users) {
            let life = Life::draw(self, customer, self.params.days + FUTURE_DAYS);
            columns.append(self, customer, &life);
        }
        batch(&TRUTH, columns.finish())
    }

    fn existing(&self, users: Range<u64>) -> Range<u64> {
        users.start..users.end.min(self.params.users)
    }

    /// `u0000001` for customer 0; as many digits for all customers, so that their order is the order of their names.
    fn write_user(&self, customer: u64, to: &mut String) {
        to.clear();
        let digits = self.params.users.ilog10() as usize + 1;
        write!(to, "u{:0width$}", customer + 1, width = digits.max(7)).expect("a String takes all text");
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns are built by the schema")
}

/// The name of the current order or session of a customer, written when it changes.
#[derive(Default)]
struct Numbered {
    number: u32,
    name: String,
}

impl Numbered {
    /// `prefix` and the customer's digits, a dash, the number.
    fn get(&mut self, prefix: char, user: &str, number: u32) -> &str {
        if self.number != number {
            self.number = number;
            self.name.clear();
            write!(self.name, "{prefix}{}-{number}", &user[1..]).expect("a String takes all text");
        }
        &self.name
    }
}

#[derive(Default)]
struct EventColumns {
    user_id: StringBuilder,
    ts: TimestampMicrosecondBuilder,
    event_type: StringBuilder,
    item_id: StringBuilder,
    category: StringBuilder,
    quantity: Int64Builder,
    amount: Decimal128Builder,
    order_id: StringBuilder,
    channel: StringBuilder,
    session_id: StringBuilder,
    rating: Int64Builder,
    referrer_user_id: StringBuilder,
    currency: StringBuilder,
}

impl EventColumns {
    fn append(&mut self, shop: &Shop, customer: u64, rows: &[Row]) {
        let (mut user, mut referrer) = (String::new(), String::new());
        let (mut order, mut session) = (Numbered::default(), Numbered::default());
        shop.write_user(customer, &mut user);
        for row in rows {
            self.user_id.append_option((!row.anonymous).then_some(user.as_str()));
            self.ts.append_value(row.ts);
            self.event_type.append_value(row.event_type);
            let item = row.item.map(|i| shop.catalogue.item(i));
            self.item_id.append_option(item.map(|i| i.id.as_str()));
            self.category.append_option(item.map(|i| i.category()));
            self.quantity.append_option(row.quantity);
            self.amount.append_option(row.pence.map(i128::from));
            self.order_id.append_option(row.order.map(|n| order.get('o', &user, n)));
            self.channel.append_option(row.channel);
            self.session_id.append_option(row.session.map(|n| session.get('s', &user, n)));
            self.rating.append_option(row.rating);
            if let Some(by) = row.referrer {
                shop.write_user(by, &mut referrer);
            }
            self.referrer_user_id.append_option(row.referrer.map(|_| referrer.as_str()));
            self.currency.append_option(row.pence.map(|_| CURRENCY));
        }
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.user_id.finish()),
            Arc::new(self.ts.finish()),
            Arc::new(self.event_type.finish()),
            Arc::new(self.item_id.finish()),
            Arc::new(self.category.finish()),
            Arc::new(self.quantity.finish()),
            Arc::new(self.amount.finish().with_data_type(MONEY)),
            Arc::new(self.order_id.finish()),
            Arc::new(self.channel.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.rating.finish()),
            Arc::new(self.referrer_user_id.finish()),
            Arc::new(self.currency.finish()),
        ]
    }
}

#[derive(Default)]
struct TruthColumns {
    user_id: StringBuilder,
    joined: TimestampMicrosecondBuilder,
    is_prospect: BooleanBuilder,
    lambda_per_day: Float64Builder,
    dropout_prob: Float64Builder,
    mean_order_value: Float64Builder,
    alive: BooleanBuilder,
    expected_purchases_90d: Float64Builder,
    expected_purchases_365d: Float64Builder,
    expected_value_365d: Float64Builder,
    purchases_next_90d: Int64Builder,
    purchases_next_365d: Int64Builder,
    value_next_365d: Decimal128Builder,
    net_value_next_365d: Decimal128Builder,
    referrer_user_id: StringBuilder,
    favourite_category: StringBuilder,
}

impl TruthColumns {
    fn append(&mut self, shop: &Shop, customer: u64, life: &Life) {
        let end = shop.calendar.end_us();
        let buys = !life.origin.is_prospect;
        let alive = life.is_alive(end);
        let expected = |days| if buys && alive { life.expected_purchases(shop.calendar.after_end(days)) } else { 0.0 };
        let within = |ts: i64, days: u32| (end..end + i64::from(days) * DAY_US).contains(&ts);
        let purchases = |days| life.orders.iter().filter(|o| within(o.ts, days)).count() as i64;
        let value: i64 = life.orders.iter().filter(|o| within(o.ts, FUTURE_DAYS)).map(|o| o.pence).sum();
        let is_refunded = |ts: Option<i64>| ts.is_some_and(|ts| within(ts, FUTURE_DAYS));
        let refunded: i64 = life.orders.iter().filter(|o| is_refunded(o.refunded_us)).map(|o| o.pence).sum();
        let mut name = String::new();
        shop.write_user(customer, &mut name);
        self.user_id.append_value(&name);
        self.joined.append_value(life.origin.joined_us);
        self.is_prospect.append_value(!buys);
        self.lambda_per_day.append_option(buys.then_some(life.lambda));
        self.dropout_prob.append_option(buys.then_some(life.dropout_prob));
        self.mean_order_value.append_option(buys.then_some(life.mean_order_value));
        self.alive.append_option(buys.then_some(alive));
        self.expected_purchases_90d.append_value(expected(90));
        self.expected_purchases_365d.append_value(expected(FUTURE_DAYS));
        self.expected_value_365d.append_value(expected(FUTURE_DAYS) * life.mean_order_value);
        self.purchases_next_90d.append_value(purchases(90));
        self.purchases_next_365d.append_value(purchases(FUTURE_DAYS));
        self.value_next_365d.append_value(value.into());
        self.net_value_next_365d.append_value((value - refunded).into());
        let referrer = shop.referrer(customer);
        if let Some(by) = referrer {
            shop.write_user(by, &mut name);
        }
        self.referrer_user_id.append_option(referrer.map(|_| name.as_str()));
        self.favourite_category.append_value(favourite_category(shop, customer));
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.user_id.finish()),
            Arc::new(self.joined.finish()),
            Arc::new(self.is_prospect.finish()),
            Arc::new(self.lambda_per_day.finish()),
            Arc::new(self.dropout_prob.finish()),
            Arc::new(self.mean_order_value.finish()),
            Arc::new(self.alive.finish()),
            Arc::new(self.expected_purchases_90d.finish()),
            Arc::new(self.expected_purchases_365d.finish()),
            Arc::new(self.expected_value_365d.finish()),
            Arc::new(self.purchases_next_90d.finish()),
            Arc::new(self.purchases_next_365d.finish()),
            Arc::new(self.value_next_365d.finish().with_data_type(MONEY)),
            Arc::new(self.net_value_next_365d.finish().with_data_type(MONEY)),
            Arc::new(self.referrer_user_id.finish()),
            Arc::new(self.favourite_category.finish()),
        ]
    }
}
