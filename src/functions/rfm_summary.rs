//! `rfm_summary(ts, amount)`: frequency, recency, T and monetary of a group, in the terms of `lifetimes`.

use std::any::Any;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int8Array, Int64Array, StructArray, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, FieldRef, Fields, Int64Type, TimeUnit};
use datafusion::common::{ScalarValue, exec_datafusion_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Signature, Volatility};

use super::common::named;
use super::customer::coerced;
use super::prelude::*;
use crate::events::{kind, millionths};
use crate::features::{History, SummaryGroups, day_of, summary_state_fields};

pub static SPEC: FunctionSpec = FunctionSpec {
    name: "rfm_summary",
    section: "Segments",
    form: Form::Aggregate,
    arguments: &[
        Argument { name: "ts", kind: ArgKind::Time, default: None, about: "time of a purchase" },
        Argument { name: "amount", kind: ArgKind::Column, default: None, about: "value of the purchase" },
        Argument {
            name: "as_of",
            kind: ArgKind::Time,
            default: Some("tenure.as_of, else max(ts) of events"),
            about: "the end of the observation, a constant",
        },
    ],
    returns: "Struct{frequency, recency, T, monetary}",
    unit: "frequency: repeat purchase days; recency and T: days; monetary: the unit of amount",
    columns: &[],
    summary: "The four numbers of a buy-till-you-die model, for the purchases of a group.",
    behaviour: &[
        "frequency: purchase days after the first. recency: days from the first to the last purchase day. T: days from the first purchase day to as_of. monetary: mean value of the repeat purchase days with a known amount, 0 without any.",
        "Days are calendar days of UTC. Rows after as_of, and rows with a NULL ts, are left out; a row with a negative amount is no purchase.",
    ],
    nulls: "A group without a purchase → NULL.",
    method: "As lifetimes.utils.summary_data_from_transaction_data with freq = 'D'.",
    source: "CamDavidsonPilon/lifetimes",
    limits: "",
    example: "SELECT user_id, rfm_summary(ts, amount)['frequency'] AS frequency FROM events WHERE event_type = 'purchase' GROUP BY user_id ORDER BY user_id LIMIT 3",
};

fn fields() -> Fields {
    vec![
        Field::new("frequency", DataType::Int64, false),
        Field::new("recency", DataType::Int64, false),
        Field::new("T", DataType::Int64, false),
        Field::new("monetary", DataType::Float64, false),
    ]
    .into()
}

/// The aggregate; `as_of_us` is filled in when a query is bound, unless the call has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RfmSummary {
    signature: Signature,
    as_of_us: Option<i64>,
}

impl Default for RfmSummary {
    fn default() -> Self {
        Self { signature: named(&SPEC, Volatility::Stable), as_of_us: None }
    }
}

impl RfmSummary {
    pub fn bound(&self, as_of_us: i64) -> AggregateUDF {
        AggregateUDF::from(Self { as_of_us: Some(as_of_us), ..self.clone() })
    }

    pub fn is_bound(&self) -> bool {
        self.as_of_us.is_some()
    }

    fn state(&self, args: &AccumulatorArgs) -> Result<State> {
        let given = match args.exprs.get(2) {
            None => None,
            Some(e) => {
                let literal = e.downcast_ref::<datafusion::physical_expr::expressions::Literal>();
                let Some(v) = literal.map(|l| l.value().clone()) else {
                    return plan_err!("rfm_summary(): as_of must be a constant. Form: {}", SPEC.signature());
                };
                CallArgs::new(&SPEC, vec![None, None, Some(v)])?.time("as_of")
            }
        };
        let as_of_us = given
            .or(self.as_of_us)
            .ok_or_else(|| exec_datafusion_err!("rfm_summary() needs as_of => ... here: there is no tenure session to take it from"))?;
        Ok(State { as_of_us, groups: SummaryGroups::default() })
    }
}

/// Downcasts an aggregate of the engine to ours.
pub fn as_rfm_summary(udf: &AggregateUDF) -> Option<&RfmSummary> {
    (udf.inner().as_ref() as &dyn Any).downcast_ref()
}

impl AggregateUDFImpl for RfmSummary {
    fn name(&self) -> &str {
        SPEC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() < SPEC.required() || given.len() > SPEC.arguments.len() {
            return plan_err!("{}", SPEC.wrong_count(given.len()));
        }
        if !given[1].is_numeric() && !given[1].is_null() {
            return plan_err!("rfm_summary(): amount is of type {}, not a number. Form: {}", given[1], SPEC.signature());
        }
        if given[0].is_string() {
            return plan_err!("rfm_summary(): ts is of type {}: cast it, for example to_timestamp(ts)", given[0]);
        }
        given.iter().enumerate().map(|(i, t)| coerced(&SPEC, i, t)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(self.state(&args)?)))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(summary_state_fields())
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.state(&args)?))
    }

    fn schema_name(&self, params: &datafusion::logical_expr::expr::AggregateFunctionParams) -> Result<String> {
        let args: Vec<String> = params.args.iter().map(|e: &Expr| e.schema_name().to_string()).collect();
        Ok(format!("{}({})", SPEC.name, args.join(",")))
    }
}

struct State {
    as_of_us: i64,
    groups: SummaryGroups,
}

impl State {
    /// (ts, amount) as the arguments of a customer summary; the instant is the order.
    fn rows(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let ts = cast(&cast(&values[0], &DataType::Timestamp(TimeUnit::Microsecond, None))?, &DataType::Int64)?;
        let ts = ts.as_primitive::<Int64Type>();
        let value = if values[1].data_type().is_null() { Int64Array::new_null(ts.len()) } else { millionths(&values[1])? };
        let kinds = (0..ts.len()).map(|i| match () {
            () if ts.is_null(i) || ts.value(i) > self.as_of_us => kind::OTHER,
            () if value.is_valid(i) && value.value(i) < 0 => kind::REFUND,
            () => kind::PURCHASE,
        });
        let kinds = Int8Array::from_iter_values(kinds);
        let keys = UInt64Array::from_iter_values(ts.values().iter().map(|&t| t as u64));
        Ok(vec![Arc::new(ts.clone()), Arc::new(kinds), Arc::new(value), Arc::new(keys)])
    }

    fn answer(&self, summary: &StructArray) -> Result<ArrayRef> {
        let histories = History::of_summary(summary)?;
        let n = summary.len();
        let first = |i: usize| histories.of(i).days.first().copied().map_or(0, i64::from);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| histories.of(i).repeats() as i64))),
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| histories.of(i).last() - first(i)))),
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| day_of(self.as_of_us) - first(i)))),
            Arc::new(Float64Array::from_iter_values((0..n).map(|i| histories.of(i).repeat_value().1))),
        ];
        let bought = (0..n).map(|i| !histories.of(i).days.is_empty()).collect::<Vec<_>>();
        Ok(Arc::new(StructArray::new(fields(), columns, Some(bought.into()))))
    }
}

impl GroupsAccumulator for State {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        let rows = self.rows(values)?;
        self.groups.update_batch(&rows, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let summary = self.groups.evaluate(emit)?;
        self.answer(summary.as_struct())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.groups.state(emit)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.groups.convert_to_state(&self.rows(values)?, filter)
    }

    fn size(&self) -> usize {
        self.groups.size()
    }
}

/// The aggregate without GROUP BY: one group.
struct One(State);

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("rfm_summary")
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        GroupsAccumulator::update_batch(&mut self.0, values, &groups, None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // A window asks again after each of its rows: what was seen stays.
        let mut groups = self.0.groups.clone();
        GroupsAccumulator::update_batch(&mut groups, &empty(), &[], None, 1)?;
        let summary = GroupsAccumulator::evaluate(&mut groups, EmitTo::All)?;
        ScalarValue::try_from_array(&self.0.answer(summary.as_struct())?, 0)
    }

    fn size(&self) -> usize {
        self.0.groups.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        GroupsAccumulator::update_batch(&mut self.0.groups, &empty(), &[], None, 1)?;
        let arrays = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        arrays.iter().map(|a| ScalarValue::try_from_array(a, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states[0].len()];
        GroupsAccumulator::merge_batch(&mut self.0, states, &groups, 1)
    }
}

/// No rows, in the types of a customer summary: makes sure that the one group exists.
fn empty() -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::new_null(0)),
        Arc::new(Int8Array::new_null(0)),
        Arc::new(Int64Array::new_null(0)),
        Arc::new(UInt64Array::from(Vec::<u64>::new())),
    ]
}
