//! `customer_summary`: the aggregate that turns a customer's events into the counts every model starts from.
//!
//! One pass, exact integers throughout: the answer does not depend on the order of rows, on partitions or on batch size.
//! Money is in millionths of the currency's unit. A *day* is a calendar day of UTC; purchases of one day are one repeat
//! purchase, rows of one order are one order.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StructArray, UInt64Array};
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

/// The fields of one customer's summary, all NULL-free.
///
/// | field | meaning |
/// |---|---|
/// | first_us, last_us | first and last purchase, µs since 1970; 0 when orders = 0 |
/// | orders | distinct orders |
/// | x, t_x | repeat purchase days; days from the first to the last purchase day |
/// | gross, refunded | sums of purchases and of refunds (≥ 0), millionths |
/// | repeat_value | value of the repeat purchase days, millionths |
/// | valued_orders, valued_days, repeat_valued | orders, purchase days and repeat purchase days with a known value |
/// | gap_sq | sum of squared gaps between purchase days, days² |
/// | cut_orders, cut_x, cut_t_x | the same as of the cut |
/// | after_days | purchase days after the cut (of a customer who has orders before it) |
pub fn summary_fields() -> Fields {
    let int = |n: &str| Field::new(n, DataType::Int64, false);
    [
        "first_us",
        "last_us",
        "orders",
        "x",
        "t_x",
        "gross",
        "refunded",
        "repeat_value",
        "valued_orders",
        "valued_days",
        "repeat_valued",
        "gap_sq",
        "cut_orders",
        "cut_x",
        "cut_t_x",
        "after_days",
    ]
    .map(int)
    .to_vec()
    .into()
}

/// How many fields there are.
const FIGURES: usize = 16;

/// What partial aggregates hand over: the orders seen, as three parallel lists, and the refunds.
pub fn summary_state_fields() -> Vec<FieldRef> {
    let list = |n: &str, t: DataType| Arc::new(Field::new(n, DataType::List(Arc::new(Field::new_list_field(t, true))), false));
    vec![
        list("order", DataType::UInt64),
        list("ts", DataType::Int64),
        list("value", DataType::Int64),
        Arc::new(Field::new("refunded", DataType::Int64, false)),
    ]
}

/// `customer_summary(ts Int64 µs, kind Int8, value Int64 millionths, order UInt64, cut Int64 µs constant)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CustomerSummary {
    signature: Signature,
    /// End of the calibration period, µs.
    cut_us: i64,
}

impl CustomerSummary {
    pub fn new(cut_us: i64) -> Self {
        let types = vec![DataType::Int64, DataType::Int8, DataType::Int64, DataType::UInt64];
        Self { signature: Signature::exact(types, Volatility::Immutable), cut_us }
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
        Ok(Box::new(SummaryGroups::new(self.cut_us)))
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        internal_err!("customer_summary has no default value")
    }
}

/// One order, or the part of it that has been seen: lines merge by (group, order).
#[derive(Clone, Copy)]
struct Order {
    group: u32,
    key: u64,
    ts: i64,
    /// 0 while no line has a known value.
    value: i64,
    valued: bool,
}

/// The state of all groups: arguments as in [`CustomerSummary`].
pub struct SummaryGroups {
    cut_us: i64,
    orders: Vec<Order>,
    /// Length of `orders` at which lines are merged next.
    merge_at: usize,
    /// By group, millionths.
    refunded: Vec<i64>,
    /// Some sum is beyond what an i64 holds.
    overflown: bool,
}

impl fmt::Debug for SummaryGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SummaryGroups({} groups, {} orders)", self.refunded.len(), self.orders.len())
    }
}

/// Lines wait unmerged until there are this many more than orders.
const MERGE_AFTER: usize = 1 << 20;

impl SummaryGroups {
    pub fn new(cut_us: i64) -> Self {
        Self { cut_us, merge_at: MERGE_AFTER, orders: vec![], refunded: vec![], overflown: false }
    }

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

    /// Sorts by (group, order) and folds the lines of one order into its earliest instant and its total.
    fn merge_lines(&mut self) {
        self.orders = by_group(&self.orders, self.refunded.len());
        let mut kept = 0;
        for chunk in self.orders.chunk_by_mut(|a, b| a.group == b.group) {
            chunk.sort_unstable_by_key(|o| o.key);
        }
        for i in 0..self.orders.len() {
            let o = self.orders[i];
            if kept > 0 && self.orders[kept - 1].group == o.group && self.orders[kept - 1].key == o.key {
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

    /// Takes the first `n` groups out: their merged orders by group, and their refunds.
    fn take(&mut self, emit: EmitTo) -> (Vec<Order>, Vec<i64>) {
        self.merge_lines();
        match emit {
            EmitTo::All => (std::mem::take(&mut self.orders), std::mem::take(&mut self.refunded)),
            EmitTo::First(n) => {
                let at = self.orders.partition_point(|o| (o.group as usize) < n);
                let rest = self.orders.split_off(at);
                let out = std::mem::replace(&mut self.orders, rest);
                self.orders.iter_mut().for_each(|o| o.group -= n as u32);
                let rest = self.refunded.split_off(n);
                (out, std::mem::replace(&mut self.refunded, rest))
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
    let mut out = vec![Order { group: 0, key: 0, ts: 0, value: 0, valued: false }; orders.len()];
    for o in orders {
        let slot = &mut at[o.group as usize];
        out[*slot as usize] = *o;
        *slot += 1;
    }
    out
}

/// One customer's figures, in the order of [`summary_fields`].
fn summarise(orders: &mut [Order], refunded: i64, cut_us: i64, overflown: &mut bool) -> [i64; FIGURES] {
    orders.sort_unstable_by_key(|o| (o.ts, o.key));
    let (Some(first), Some(last)) = (orders.first().map(|o| o.ts), orders.last().map(|o| o.ts)) else {
        return [0, 0, 0, 0, 0, 0, refunded, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    };
    let first_day = day_of(first);
    let (mut x, mut gap_sq, mut repeat_value, mut gross) = (0, 0i64, 0i64, 0i64);
    let (mut cut_orders, mut cut_x, mut cut_last, mut after_days) = (0, 0, first_day, 0);
    let (mut valued_orders, mut valued_days, mut repeat_valued) = (0, 0, 0);
    let (mut day, mut day_valued) = (first_day, false);
    for o in orders.iter() {
        let d = day_of(o.ts);
        if d != day {
            x += 1;
            gap_sq = gap_sq.saturating_add((d - day) * (d - day));
            if o.ts <= cut_us {
                cut_x += 1;
            } else {
                after_days += 1;
            }
            (day, day_valued) = (d, false);
        }
        if o.valued {
            valued_orders += 1;
            valued_days += i64::from(!day_valued);
            repeat_valued += i64::from(!day_valued && d != first_day);
            day_valued = true;
        }
        if o.ts <= cut_us {
            cut_orders += 1;
            cut_last = d;
        }
        add(&mut gross, o.value, overflown);
        if d != first_day {
            add(&mut repeat_value, o.value, overflown);
        }
    }
    let t_x = day - first_day;
    let orders = orders.len() as i64;
    let cut_t_x = cut_last - first_day;
    [
        first,
        last,
        orders,
        x,
        t_x,
        gross,
        refunded,
        repeat_value,
        valued_orders,
        valued_days,
        repeat_valued,
        gap_sq,
        cut_orders,
        cut_x,
        cut_t_x,
        after_days,
    ]
}

impl GroupsAccumulator for SummaryGroups {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.refunded.resize(total, 0);
        let (ts, kind) = (values[0].as_primitive::<Int64Type>(), values[1].as_primitive::<Int8Type>());
        let (value, order) = (values[2].as_primitive::<Int64Type>(), values[3].as_primitive::<UInt64Type>());
        for (i, &group) in groups.iter().enumerate() {
            if filter.is_some_and(|f| f.is_null(i) || !f.value(i)) || kind.is_null(i) || ts.is_null(i) {
                continue;
            }
            let valued = value.is_valid(i);
            let money = if valued { value.value(i) } else { 0 };
            match kind.value(i) {
                kind::PURCHASE => self.push(Order { group: group as u32, key: order.value(i), ts: ts.value(i), value: money, valued }),
                kind::REFUND => add(&mut self.refunded[group], money.saturating_abs(), &mut self.overflown),
                _ => {}
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (mut orders, refunded) = self.take(emit);
        let mut columns: [Vec<i64>; FIGURES] = std::array::from_fn(|_| Vec::with_capacity(refunded.len()));
        let mut rest = &mut orders[..];
        for (group, &refund) in refunded.iter().enumerate() {
            let n = rest.iter().take_while(|o| o.group as usize == group).count();
            let (mine, others) = rest.split_at_mut(n);
            for (column, v) in columns.iter_mut().zip(summarise(mine, refund, self.cut_us, &mut self.overflown)) {
                column.push(v);
            }
            rest = others;
        }
        self.check()?;
        let columns = columns.into_iter().map(|c| Arc::new(Int64Array::from(c)) as ArrayRef).collect();
        Ok(Arc::new(StructArray::new(summary_fields(), columns, None)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (orders, refunded) = self.take(emit);
        self.check()?;
        let mut offsets = vec![0i32; refunded.len() + 1];
        for o in &orders {
            offsets[o.group as usize + 1] += 1;
        }
        for g in 0..refunded.len() {
            offsets[g + 1] += offsets[g];
        }
        lists(offsets, &orders, refunded)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.refunded.resize(total, 0);
        let (orders, refunded) = (values[0].as_list::<i32>(), values[3].as_primitive::<Int64Type>());
        let key = orders.values().as_primitive::<UInt64Type>();
        let ts = values[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        let value = values[2].as_list::<i32>().values().as_primitive::<Int64Type>();
        for (i, &group) in groups.iter().enumerate() {
            add(&mut self.refunded[group], refunded.value(i), &mut self.overflown);
            for j in orders.value_offsets()[i] as usize..orders.value_offsets()[i + 1] as usize {
                let valued = value.is_valid(j);
                let money = if valued { value.value(j) } else { 0 };
                self.push(Order { group: group as u32, key: key.value(j), ts: ts.value(j), value: money, valued });
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
            return Ok(vec![list(&values[3]), list(&values[0]), list(&values[2]), Arc::new(Int64Array::from(vec![0; n]))]);
        }
        let mut one = SummaryGroups::new(self.cut_us);
        one.update_batch(values, &(0..n).collect::<Vec<_>>(), filter, n)?;
        let mut offsets = vec![0i32; n + 1];
        for o in &one.orders {
            offsets[o.group as usize + 1] = 1;
        }
        for g in 0..n {
            offsets[g + 1] += offsets[g];
        }
        lists(offsets, &one.orders, one.refunded)
    }

    fn size(&self) -> usize {
        self.orders.capacity() * size_of::<Order>() + self.refunded.capacity() * 8
    }
}

fn list_of(offsets: OffsetBuffer<i32>, values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// The state arrays; the three lists share their offsets.
fn lists(offsets: Vec<i32>, orders: &[Order], refunded: Vec<i64>) -> Result<Vec<ArrayRef>> {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let list = |values: ArrayRef| list_of(offsets.clone(), values);
    Ok(vec![
        list(Arc::new(orders.iter().map(|o| o.key).collect::<UInt64Array>())),
        list(Arc::new(orders.iter().map(|o| o.ts).collect::<Int64Array>())),
        list(Arc::new(orders.iter().map(|o| o.valued.then_some(o.value)).collect::<Int64Array>())),
        Arc::new(Int64Array::from(refunded)),
    ])
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

    fn row(a: &ArrayRef, i: usize) -> Vec<i64> {
        a.as_struct().columns().iter().map(|c| c.as_primitive::<Int64Type>().value(i)).collect()
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
    fn orders_days_refunds_and_the_cut() {
        let mut g = SummaryGroups::new(14 * D);
        g.update_batch(&batch(&ROWS), &[0; 7], None, 1).unwrap();
        let got = row(&g.evaluate(EmitTo::All).unwrap(), 0);
        assert_eq!(got, [10 * D + 5, 20 * D, 4, 2, 10, 387, 40, 207, 4, 3, 2, 16 + 36, 3, 1, 4, 1]);
    }

    #[test]
    fn partial_states_in_any_order_give_the_same_summary() {
        let whole = {
            let mut g = SummaryGroups::new(14 * D);
            g.update_batch(&batch(&ROWS), &[0, 0, 0, 0, 0, 0, 1], None, 2).unwrap();
            g.evaluate(EmitTo::All).unwrap()
        };
        let mut last = SummaryGroups::new(14 * D);
        for part in [&ROWS[3..], &ROWS[..3]] {
            let groups: Vec<usize> = part.iter().map(|r| usize::from(r.1 == 0)).collect();
            let mut g = SummaryGroups::new(14 * D);
            g.update_batch(&batch(part), &groups, None, 2).unwrap();
            let first = g.state(EmitTo::First(1)).unwrap();
            last.merge_batch(&first, &[0], 2).unwrap();
            let second = g.state(EmitTo::All).unwrap();
            last.merge_batch(&second, &[1], 2).unwrap();
        }
        assert_eq!(&last.evaluate(EmitTo::All).unwrap(), &whole);
        let mut skipped = SummaryGroups::new(14 * D);
        let state = skipped.convert_to_state(&batch(&ROWS), None).unwrap();
        skipped.merge_batch(&state, &[0, 0, 0, 0, 0, 0, 1], 2).unwrap();
        assert_eq!(&skipped.evaluate(EmitTo::All).unwrap(), &whole);
    }

    #[test]
    fn a_purchase_without_a_value_is_no_purchase_of_zero_and_a_sum_too_large_is_an_error() {
        let mut rows = batch(&[(D, 1, 10, 1), (2 * D, 1, 0, 2), (3 * D, 1, 20, 3), (3 * D, 1, 5, 4)]);
        rows[2] = Arc::new(Int64Array::from(vec![Some(10), None, Some(20), Some(5)]));
        let mut part = SummaryGroups::new(9 * D);
        part.update_batch(&rows, &[0; 4], None, 1).unwrap();
        let mut whole = SummaryGroups::new(9 * D);
        whole.merge_batch(&part.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
        assert_eq!(row(&whole.evaluate(EmitTo::All).unwrap(), 0)[2..11], [4, 2, 2, 35, 0, 25, 3, 2, 1]);

        let mut large = SummaryGroups::new(0);
        large.update_batch(&batch(&[(D, 1, i64::MAX, 1), (2 * D, 1, 1, 2)]), &[0; 2], None, 1).unwrap();
        assert!(large.evaluate(EmitTo::All).unwrap_err().to_string().contains("larger unit"));
    }

    #[test]
    fn a_customer_without_purchases_has_no_orders() {
        let mut g = SummaryGroups::new(0);
        g.update_batch(&batch(&[(D, 0, 0, 0), (D, 2, -5, 1)]), &[0, 1], None, 3).unwrap();
        let a = g.evaluate(EmitTo::All).unwrap();
        assert_eq!((row(&a, 0)[2], row(&a, 1)[6], row(&a, 2)[2]), (0, 5, 0));
    }
}
