//! `clv_sum(user_id)`: what a group of customers is worth together, with an interval.

use std::any::Any;
use std::hash::{Hash, Hasher};

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StructArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{Field, FieldRef, Fields, UInt32Type};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};

use super::common::{FHL, LEVEL, MODEL, USER, context, horizon, named, need_amount};
use super::customer::{coerced, constant};
use super::pin::blocking;
use super::prelude::*;
use crate::features::{Customers, NO_CODE};
use crate::models::lifetime::Worth;

pub static SPEC: FunctionSpec = FunctionSpec {
    name: "clv_sum",
    section: "Customer value",
    form: Form::Aggregate,
    arguments: &[USER, horizon("365"), MODEL, LEVEL],
    returns: "Struct{value, low, high, customers}",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "What the customers of a group will be worth together within the horizon, with the interval in which the total will lie.",
    behaviour: &[
        "value is the sum of clv over the distinct customers of the group: one who stands in several rows counts once.",
        "The interval is that of the total, much narrower than the sum of the customers' own: what chance does to one customer evens out, what is uncertain in the model's parameters does not.",
        "customers is how many have a value.",
    ],
    nulls: "NULL and unknown users, and those who never purchased, are left out; without any other the answer is NULL.",
    method: "Variances of the customers add up, moves of the parameters add up before they are squared: var = Σ var_i + Σ_k (Σ_i ∂_k clv_i)². Quantiles of a gamma distribution of that mean and variance.",
    source: FHL,
    limits: "Given the model: no season to come, no change of the market is in the interval.",
    example: "SELECT segment(user_id) AS segment, round(clv_sum(user_id)['value']) AS value, round(clv_sum(user_id)['low']) AS low, round(clv_sum(user_id)['high']) AS high FROM customers() GROUP BY 1 ORDER BY value DESC NULLS LAST LIMIT 3",
};

/// What every customer is worth, as one query sees it.
pub struct BoundWorth {
    customers: Arc<Customers>,
    worth: Worth,
    /// Position in `worth` by customer code; [`NO_CODE`] for who never purchased.
    at: Vec<u32>,
    level: f64,
}

/// The aggregate; before a query runs, the planner replaces it by a copy that is bound.
#[derive(Clone)]
pub struct ClvSum {
    signature: Signature,
    bound: Option<Arc<BoundWorth>>,
}

impl Default for ClvSum {
    fn default() -> Self {
        Self { signature: named(&SPEC, Volatility::Stable), bound: None }
    }
}

/// Downcasts an aggregate of the engine to ours, unless it is bound.
pub fn as_unbound_clv_sum(udf: &AggregateUDF) -> Option<&ClvSum> {
    (udf.inner().as_ref() as &dyn Any).downcast_ref::<ClvSum>().filter(|sum| sum.bound.is_none())
}

impl ClvSum {
    /// The constants of a call; the first argument is the user.
    pub fn call_args(args: &[Expr]) -> Result<CallArgs> {
        let mut values = vec![None];
        for (argument, e) in SPEC.arguments.iter().zip(args).skip(1) {
            match constant(e) {
                Some(v) => values.push(Some(v)),
                None => return plan_err!("clv_sum(): {} must be a constant. Form: {}", argument.name, SPEC.signature()),
            }
        }
        CallArgs::new(&SPEC, values)
    }

    pub async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<AggregateUDF> {
        need_amount(pin, "clv_sum").await?;
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
        let (rate, level) = (pin.config().discount_rate(), args.number("level", 0.9));
        let (customers, fitted, margins) = (pin.customers().await?, pin.lifetime(args.text("model")).await?, pin.margins().await?);
        let context = context(pin, &fitted).await?;
        let bound = blocking(Control::default(), move |control| {
            let p = customers.today();
            let known = context.of(p);
            let counts = p.counts_with(&known);
            let mut worth = fitted.model.worth(counts, p.spending(), days, rate, control).map_err(fit_error)?;
            let mut at = vec![NO_CODE; customers.len()];
            for (i, &code) in p.codes.iter().enumerate() {
                at[code as usize] = i as u32;
                worth.scale(i, margins.of(code));
            }
            Ok(BoundWorth { customers: Arc::clone(&customers), worth, at, level })
        })
        .await?;
        Ok(AggregateUDF::from(Self { bound: Some(Arc::new(bound)), ..self.clone() }))
    }

    fn identity(&self) -> Option<*const BoundWorth> {
        self.bound.as_ref().map(Arc::as_ptr)
    }
}

impl std::fmt::Debug for ClvSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clv_sum")
    }
}

impl PartialEq for ClvSum {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ClvSum {}

impl Hash for ClvSum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

fn fields() -> Fields {
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    vec![float("value"), float("low"), float("high"), Field::new("customers", DataType::Int64, true)].into()
}

impl AggregateUDFImpl for ClvSum {
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
        given.iter().enumerate().map(|(i, t)| coerced(&SPEC, i, t)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(bound) = &self.bound else {
            return exec_err!("clv_sum() is not bound to a model: run the statement through a tenure session or an installed context");
        };
        Ok(Box::new(Codes { bound: Arc::clone(bound), codes: vec![], distinct: 0 }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::UInt32, true)));
        Ok(vec![Arc::new(Field::new("codes", list, true))])
    }

    fn schema_name(&self, params: &datafusion::logical_expr::expr::AggregateFunctionParams) -> Result<String> {
        let args: Vec<String> = params.args.iter().map(|e| e.schema_name().to_string()).collect();
        Ok(format!("{}({})", SPEC.name, args.join(",")))
    }
}

/// The customers of one group.
struct Codes {
    bound: Arc<BoundWorth>,
    codes: Vec<u32>,
    /// How many of the first are ascending and distinct.
    distinct: usize,
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codes({})", self.codes.len())
    }
}

impl Codes {
    fn add(&mut self, codes: impl Iterator<Item = u32>) {
        self.codes.extend(codes.filter(|c| *c != NO_CODE));
        // Rows of the same customers must not pile up.
        if self.codes.len() > 2 * self.distinct + 65_536 {
            self.tidy();
        }
    }

    fn tidy(&mut self) {
        self.codes.sort_unstable();
        self.codes.dedup();
        self.distinct = self.codes.len();
    }
}

impl Accumulator for Codes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let codes = self.bound.customers.keys.lookup(&values[0])?;
        self.add(codes.into_iter());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.tidy();
        let BoundWorth { worth, at, level, .. } = self.bound.as_ref();
        let mine = self.codes.iter().map(|&c| at[c as usize]).filter(|i| *i != NO_CODE).map(|i| i as usize);
        let customers = mine.clone().count();
        let total = worth.total(mine, *level);
        let float = |v: f64| Arc::new(Float64Array::from(vec![Some(v).filter(|v| v.is_finite())])) as ArrayRef;
        let columns =
            vec![float(total.value), float(total.low), float(total.high), Arc::new(Int64Array::from(vec![customers as i64])) as ArrayRef];
        let valid = (customers == 0).then(|| vec![false].into());
        Ok(ScalarValue::Struct(Arc::new(StructArray::new(fields(), columns, valid))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.codes.capacity() * size_of::<u32>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.tidy();
        let field = Arc::new(Field::new_list_field(DataType::UInt32, true));
        let codes = UInt32Array::from(self.codes.clone());
        let list = ListArray::new(field, OffsetBuffer::from_lengths([codes.len()]), Arc::new(codes), None);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            let codes = list.as_primitive::<UInt32Type>();
            self.add(codes.values().iter().copied());
        }
        Ok(())
    }
}
