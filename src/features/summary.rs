//! `customer_summary`: the aggregate that turns a customer's events into the counts every model starts from.
//!
//! One pass, exact integers throughout: the answer does not depend on the order of rows, on partitions or on batch size.
//! Money is in millionths of the currency's unit. A *day* is a calendar day of UTC; purchases of one day are one repeat
//! purchase, rows of one order are one order.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StructArray, UInt64Array};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int8Type, Int64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use crate::events::kind;

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The day number (since 1970-01-01, UTC) of a timestamp in microseconds.
pub fn day_of(ts_us: i64) -> i64 {
    ts_us.div_euclid(DAY_US)
}

/// The last instant of a day, µs since 1970.
pub fn end_of_day(day: i64) -> i64 {
    (day + 1) * DAY_US - 1
}

/// The fields of one customer's summary, all NULL-free but for the values of days.
///
/// | field | meaning |
/// |---|---|
/// | first_us, last_us | first and last purchase, µs since 1970; 0 when orders = 0 |
/// | orders | distinct orders |
/// | gross, refunded | sums of purchases and of refunds (≥ 0), millionths |
/// | valued_orders | orders with a known value |
/// | days, values | purchase days since 1970, ascending, and the value of each, millionths; NULL where it is not known |
/// | refund_days, refunds | days of refunds, ascending, and the value of each (≥ 0), millionths |
pub fn summary_fields() -> Fields {
    let int = |n: &str| Field::new(n, DataType::Int64, false);
    let list = |n: &str, t: DataType| Field::new(n, DataType::List(Arc::new(Field::new_list_field(t, true))), false);
    let mut fields: Vec<Field> = FIGURES.map(int).to_vec();
    fields.extend([
        list("days", DataType::Int32),
        list("values", DataType::Int64),
        list("refund_days", DataType::Int32),
        list("refunds", DataType::Int64),
    ]);
    fields.into()
}

/// The fields that are one number.
pub const FIGURES: [&str; 6] = ["first_us", "last_us", "orders", "gross", "refunded", "valued_orders"];

/// What partial aggregates hand over: the orders and refunds seen, as parallel lists.
pub fn summary_state_fields() -> Vec<FieldRef> {
    let list = |n: &str, t: DataType| Arc::new(Field::new(n, DataType::List(Arc::new(Field::new_list_field(t, true))), false));
    vec![list("order", DataType::UInt64), list("ts", DataType::Int64), list("value", DataType::Int64), list("refund", DataType::Boolean)]
}

/// `customer_summary(ts Int64 µs, kind Int8, value Int64 millionths, order UInt64)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CustomerSummary {
    signature: Signature,
}

impl Default for CustomerSummary {
    fn default() -> Self {
        let types = vec![DataType::Int64, DataType::Int8, DataType::Int64, DataType::UInt64];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for CustomerSummary {
    fn name(&self) -> &str {
        "customer_summary"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(summary_fields()))
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("customer_summary is computed by groups only")
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(summary_state_fields())
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::<SummaryGroups>::default())
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        internal_err!("customer_summary has no default value")
    }
}

/// One order, or the part of it that has been seen: lines merge by (group, order). Or one refund: its order is its instant.
#[derive(Clone, Copy)]
struct Order {
    group: u32,
    key: u64,
    ts: i64,
    /// 0 while no line has a known value.
    value: i64,
    valued: bool,
    refund: bool,
}

/// The state of all groups: arguments as in [`CustomerSummary`].
#[derive(Clone)]
pub struct SummaryGroups {
    orders: Vec<Order>,
    /// Length of `orders` at which lines are merged next.
    merge_at: usize,
    groups: usize,
    /// Some sum is beyond what an i64 holds.
    overflown: bool,
}

impl fmt::Debug for SummaryGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SummaryGroups({} groups, {} orders)", self.groups, self.orders.len())
    }
}

/// Lines wait unmerged until there are this many more than orders.
const MERGE_AFTER: usize = 1 << 20;

impl Default for SummaryGroups {
    fn default() -> Self {
        Self { merge_at: MERGE_AFTER, orders: vec![], groups: 0, overflown: false }
    }
}

impl SummaryGroups {
    fn push(&mut self, order: Order) {
        if self.orders.len() >= self.merge_at {
            let before = self.orders.len();
            self.merge_lines();
            // Where nearly every line is an order of its own, merging again would save nothing.
            let kept = self.orders.len();
            self.merge_at = if kept > before - before / 4 { usize::MAX } else { 2 * kept + MERGE_AFTER };
        }
        self.orders.push(order);
    }

    /// Sorts by (group, order) and folds the lines of one order into its earliest instant and its total; refunds come after the orders.
    fn merge_lines(&mut self) {
        self.orders = by_group(&self.orders, self.groups);
        let mut kept = 0;
        for chunk in self.orders.chunk_by_mut(|a, b| a.group == b.group) {
            chunk.sort_unstable_by_key(|o| (o.refund, o.key));
        }
        for i in 0..self.orders.len() {
            let o = self.orders[i];
            let same = |other: &Order| (other.group, other.refund, other.key) == (o.group, o.refund, o.key);
            if kept > 0 && same(&self.orders[kept - 1]) {
                let into = &mut self.orders[kept - 1];
                into.ts = into.ts.min(o.ts);
                into.valued |= o.valued;
                add(&mut into.value, o.value, &mut self.overflown);
            } else {
                self.orders[kept] = o;
                kept += 1;
            }
        }
        self.orders.truncate(kept);
    }

    fn check(&self) -> Result<()> {
        if self.overflown {
            return exec_err!(
                "the amounts of one customer add up to more than 9.2e12: give amount in a larger unit, such as thousands, or leave absurd rows out"
            );
        }
        Ok(())
    }

    /// Takes the first groups out: their merged orders by group, and how many groups they are.
    fn take(&mut self, emit: EmitTo) -> (Vec<Order>, usize) {
        self.merge_lines();
        match emit {
            EmitTo::All => (std::mem::take(&mut self.orders), std::mem::take(&mut self.groups)),
            EmitTo::First(n) => {
                let at = self.orders.partition_point(|o| (o.group as usize) < n);
                let rest = self.orders.split_off(at);
                let out = std::mem::replace(&mut self.orders, rest);
                self.orders.iter_mut().for_each(|o| o.group -= n as u32);
                self.groups -= n;
                (out, n)
            }
        }
    }
}

fn add(sum: &mut i64, value: i64, overflown: &mut bool) {
    let (next, over) = sum.overflowing_add(value);
    *sum = next;
    *overflown |= over;
}

/// A stable counting sort by group.
fn by_group(orders: &[Order], groups: usize) -> Vec<Order> {
    let mut at = vec![0u32; groups + 1];
    for o in orders {
        at[o.group as usize + 1] += 1;
    }
    for g in 0..groups {
        at[g + 1] += at[g];
    }
    let mut out = vec![Order { group: 0, key: 0, ts: 0, value: 0, valued: false, refund: false }; orders.len()];
    for o in orders {
        let slot = &mut at[o.group as usize];
        out[*slot as usize] = *o;
        *slot += 1;
    }
    out
}

/// The summaries of all groups, as columns.
#[derive(Default)]
struct Columns {
    figures: [Vec<i64>; FIGURES.len()],
    days: Lists,
    refunds: Lists,
    overflown: bool,
}

/// Days and their values, a list a group.
#[derive(Default)]
struct Lists {
    ends: Vec<i32>,
    days: Vec<i32>,
    values: Vec<Option<i64>>,
}

impl Columns {
    /// Adds one customer.
    fn push(&mut self, orders: &mut [Order]) {
        orders.sort_unstable_by_key(|o| (o.refund, o.ts, o.key));
        let (purchases, refunds) = orders.split_at(orders.partition_point(|o| !o.refund));
        let [mut gross, mut refunded] = [0, 0];
        for o in purchases {
            self.overflown |= self.days.add(o.ts, o.valued.then_some(o.value));
            add(&mut gross, o.value, &mut self.overflown);
        }
        for o in refunds {
            self.overflown |= self.refunds.add(o.ts, Some(o.value));
            add(&mut refunded, o.value, &mut self.overflown);
        }
        self.days.end();
        self.refunds.end();
        let (first, last) = (purchases.first().map_or(0, |o| o.ts), purchases.last().map_or(0, |o| o.ts));
        let valued = purchases.iter().filter(|o| o.valued).count() as i64;
        for (column, v) in self.figures.iter_mut().zip([first, last, purchases.len() as i64, gross, refunded, valued]) {
            column.push(v);
        }
    }
}

impl Lists {
    /// Adds to the day of an instant; says whether a sum is too large.
    fn add(&mut self, ts: i64, value: Option<i64>) -> bool {
        let day = day_of(ts).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let started = self.ends.last().map_or(0, |&e| e as usize);
        let mut overflown = false;
        match self.values.last_mut() {
            Some(sum) if self.days.len() > started && self.days.last() == Some(&day) => {
                if let Some(v) = value {
                    add(sum.get_or_insert(0), v, &mut overflown);
                }
            }
            _ => {
                self.days.push(day);
                self.values.push(value);
            }
        }
        overflown
    }

    fn end(&mut self) {
        self.ends.push(self.days.len() as i32);
    }

    fn finish(self) -> [ArrayRef; 2] {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values: ArrayRef = Arc::new(self.values.into_iter().collect::<Int64Array>());
        [list_of(offsets.clone(), Arc::new(Int32Array::from(self.days))), list_of(offsets, values)]
    }
}

impl GroupsAccumulator for SummaryGroups {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.groups = total;
        let (ts, kind) = (values[0].as_primitive::<Int64Type>(), values[1].as_primitive::<Int8Type>());
        let (value, order) = (values[2].as_primitive::<Int64Type>(), values[3].as_primitive::<UInt64Type>());
        for (i, &group) in groups.iter().enumerate() {
            if filter.is_some_and(|f| f.is_null(i) || !f.value(i)) || kind.is_null(i) || ts.is_null(i) {
                continue;
            }
            let valued = value.is_valid(i);
            let money = if valued { value.value(i) } else { 0 };
            let (group, ts) = (group as u32, ts.value(i));
            match kind.value(i) {
                kind::PURCHASE => self.push(Order { group, key: order.value(i), ts, value: money, valued, refund: false }),
                kind::REFUND => self.push(Order { group, key: ts as u64, ts, value: money.saturating_abs(), valued, refund: true }),
                _ => {}
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (mut orders, groups) = self.take(emit);
        let mut columns = Columns::default();
        let mut rest = &mut orders[..];
        for group in 0..groups {
            let n = rest.iter().take_while(|o| o.group as usize == group).count();
            let (mine, others) = rest.split_at_mut(n);
            columns.push(mine);
            rest = others;
        }
        self.overflown |= columns.overflown;
        self.check()?;
        let mut arrays: Vec<ArrayRef> = columns.figures.into_iter().map(|c| Arc::new(Int64Array::from(c)) as ArrayRef).collect();
        arrays.extend(columns.days.finish());
        arrays.extend(columns.refunds.finish());
        Ok(Arc::new(StructArray::new(summary_fields(), arrays, None)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (orders, groups) = self.take(emit);
        self.check()?;
        Ok(state_of(&orders, groups))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups = total;
        let orders = values[0].as_list::<i32>();
        let key = orders.values().as_primitive::<UInt64Type>();
        let ts = values[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        let value = values[2].as_list::<i32>().values().as_primitive::<Int64Type>();
        let refund = values[3].as_list::<i32>().values().as_boolean();
        for (i, &group) in groups.iter().enumerate() {
            for j in orders.value_offsets()[i] as usize..orders.value_offsets()[i + 1] as usize {
                let valued = value.is_valid(j);
                let money = if valued { value.value(j) } else { 0 };
                let (key, ts, refund) = (key.value(j), ts.value(j), refund.value(j));
                self.push(Order { group: group as u32, key, ts, value: money, valued, refund });
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let n = values[0].len();
        // Purchases only, none of them incomplete: each row is its own list as it stands.
        let kinds = values[1].as_primitive::<Int8Type>();
        if filter.is_none() && values.iter().all(|v| v.null_count() == 0) && kinds.values().iter().all(|&k| k == kind::PURCHASE) {
            let offsets = OffsetBuffer::new(ScalarBuffer::from((0..=n as i32).collect::<Vec<_>>()));
            let list = |values: &ArrayRef| list_of(offsets.clone(), Arc::clone(values));
            let refund: ArrayRef = Arc::new(BooleanArray::from(vec![false; n]));
            return Ok(vec![list(&values[3]), list(&values[0]), list(&values[2]), list(&refund)]);
        }
        let mut one = SummaryGroups::default();
        one.update_batch(values, &(0..n).collect::<Vec<_>>(), filter, n)?;
        Ok(state_of(&one.orders, n))
    }

    fn size(&self) -> usize {
        self.orders.capacity() * size_of::<Order>()
    }
}

fn list_of(offsets: OffsetBuffer<i32>, values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// The state arrays of orders that are sorted by group; the lists share their offsets.
fn state_of(orders: &[Order], groups: usize) -> Vec<ArrayRef> {
    let mut offsets = vec![0i32; groups + 1];
    for o in orders {
        offsets[o.group as usize + 1] += 1;
    }
    for g in 0..groups {
        offsets[g + 1] += offsets[g];
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let list = |values: ArrayRef| list_of(offsets.clone(), values);
    vec![
        list(Arc::new(orders.iter().map(|o| o.key).collect::<UInt64Array>())),
        list(Arc::new(orders.iter().map(|o| o.ts).collect::<Int64Array>())),
        list(Arc::new(orders.iter().map(|o| o.valued.then_some(o.value)).collect::<Int64Array>())),
        list(Arc::new(orders.iter().map(|o| Some(o.refund)).collect::<BooleanArray>())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int8Array;

    const D: i64 = DAY_US;

    fn batch(rows: &[(i64, i8, i64, u64)]) -> Vec<ArrayRef> {
        vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(Int8Array::from_iter_values(rows.iter().map(|r| r.1))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.3))),
        ]
    }

    type Valued = Vec<(i32, Option<i64>)>;

    /// The figures, then days with their values, then refunds.
    fn row(a: &ArrayRef, i: usize) -> (Vec<i64>, Valued, Valued) {
        let columns = a.as_struct().columns();
        let figures = columns[..FIGURES.len()].iter().map(|c| c.as_primitive::<Int64Type>().value(i)).collect();
        let list = |at: usize| {
            let (days, values) = (columns[at].as_list::<i32>().value(i), columns[at + 1].as_list::<i32>().value(i));
            let days = days.as_primitive::<datafusion::arrow::datatypes::Int32Type>().values().to_vec();
            days.into_iter().zip(values.as_primitive::<Int64Type>()).collect()
        };
        (figures, list(FIGURES.len()), list(FIGURES.len() + 2))
    }

    const ROWS: [(i64, i8, i64, u64); 7] = [
        (10 * D + 5, 1, 100, 1),
        (10 * D + 9, 1, 50, 1), // a second line of order 1
        (10 * D + 7, 1, 30, 2), // another order on the same day
        (14 * D, 1, 200, 3),
        (15 * D, 2, -40, 3), // refund, by its sign
        (20 * D, 1, 7, 4),
        (21 * D, 0, 999, 9), // a view
    ];

    #[test]
    fn orders_days_and_refunds() {
        let mut g = SummaryGroups::default();
        g.update_batch(&batch(&ROWS), &[0; 7], None, 1).unwrap();
        let (figures, days, refunds) = row(&g.evaluate(EmitTo::All).unwrap(), 0);
        assert_eq!(figures, [10 * D + 5, 20 * D, 4, 387, 40, 4]);
        assert_eq!(days, [(10, Some(180)), (14, Some(200)), (20, Some(7))]);
        assert_eq!(refunds, [(15, Some(40))]);
    }

    #[test]
    fn partial_states_in_any_order_give_the_same_summary() {
        let whole = {
            let mut g = SummaryGroups::default();
            g.update_batch(&batch(&ROWS), &[0, 0, 0, 0, 0, 0, 1], None, 2).unwrap();
            g.evaluate(EmitTo::All).unwrap()
        };
        let mut last = SummaryGroups::default();
        for part in [&ROWS[3..], &ROWS[..3]] {
            let groups: Vec<usize> = part.iter().map(|r| usize::from(r.1 == 0)).collect();
            let mut g = SummaryGroups::default();
            g.update_batch(&batch(part), &groups, None, 2).unwrap();
            let first = g.state(EmitTo::First(1)).unwrap();
            last.merge_batch(&first, &[0], 2).unwrap();
            let second = g.state(EmitTo::All).unwrap();
            last.merge_batch(&second, &[1], 2).unwrap();
        }
        assert_eq!(&last.evaluate(EmitTo::All).unwrap(), &whole);
        let mut skipped = SummaryGroups::default();
        let state = skipped.convert_to_state(&batch(&ROWS), None).unwrap();
        skipped.merge_batch(&state, &[0, 0, 0, 0, 0, 0, 1], 2).unwrap();
        assert_eq!(&skipped.evaluate(EmitTo::All).unwrap(), &whole);
    }

    #[test]
    fn a_purchase_without_a_value_is_no_purchase_of_zero_and_a_sum_too_large_is_an_error() {
        let mut rows = batch(&[(D, 1, 10, 1), (2 * D, 1, 0, 2), (3 * D, 1, 20, 3), (3 * D, 1, 5, 4)]);
        rows[2] = Arc::new(Int64Array::from(vec![Some(10), None, Some(20), Some(5)]));
        let mut part = SummaryGroups::default();
        part.update_batch(&rows, &[0; 4], None, 1).unwrap();
        let mut whole = SummaryGroups::default();
        whole.merge_batch(&part.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
        let (figures, days, _) = row(&whole.evaluate(EmitTo::All).unwrap(), 0);
        assert_eq!(figures[2..], [4, 35, 0, 3]);
        assert_eq!(days, [(1, Some(10)), (2, None), (3, Some(25))]);

        let mut large = SummaryGroups::default();
        large.update_batch(&batch(&[(D, 1, i64::MAX, 1), (2 * D, 1, 1, 2)]), &[0; 2], None, 1).unwrap();
        assert!(large.evaluate(EmitTo::All).unwrap_err().to_string().contains("larger unit"));
    }

    #[test]
    fn a_customer_without_purchases_has_no_orders() {
        let mut g = SummaryGroups::default();
        g.update_batch(&batch(&[(D, 0, 0, 0), (D, 2, -5, 1)]), &[0, 1], None, 3).unwrap();
        let a = g.evaluate(EmitTo::All).unwrap();
        assert_eq!((row(&a, 0).0[2], row(&a, 1).0[4], row(&a, 2).0[2]), (0, 5, 0));
    }
}
