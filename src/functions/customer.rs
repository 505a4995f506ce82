//! Functions of one customer, or of one item: what they share, and the engine's view of them.
//!
//! A function is registered *unbound*. Before a query runs, the planner replaces every call by a copy that holds a
//! [`Bound`]; an unbound call that is run after all answers with an error, never with NULL.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::args::CallArgs;
use super::common::named;
use super::pin::{KeyTypes, Pin};
use super::spec::{ArgKind, FunctionSpec};
use crate::features::{Customers, to_indices};

/// A function of keys and of constants.
#[async_trait]
pub trait CustomerFunction: Send + Sync + fmt::Debug {
    fn spec(&self) -> &'static FunctionSpec;

    fn data_type(&self, types: &dyn KeyTypes) -> DataType;

    /// The answers on the pinned snapshot.
    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel>;
}

/// Lists of rows made on demand, for answers too large to keep for everybody.
pub trait Lists: Send + Sync {
    /// One list a row. `keys` are the call's keys in their order; `codes` are those of the customers where the first key is one, with
    /// [`crate::features::NO_CODE`] where it is NULL or unknown.
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef>;
}

/// How a bound function answers.
#[derive(Clone)]
pub enum Kernel {
    /// One value a customer code.
    Values(ArrayRef),
    Lists(Arc<dyn Lists>),
}

/// A kernel, and the customers whose codes it speaks where its first key is one.
#[derive(Clone)]
pub struct Bound {
    pub customers: Option<Arc<Customers>>,
    pub kernel: Kernel,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bound({} users)", self.customers.as_ref().map_or(0, |c| c.len()))
    }
}

impl Bound {
    /// The answer for every row of keys.
    fn answer(&self, keys: &[ArrayRef]) -> Result<ArrayRef> {
        let codes = self.customers.as_ref().map_or(Ok(vec![]), |c| c.keys.lookup(&keys[0]))?;
        match &self.kernel {
            Kernel::Values(values) => Ok(take(values, &to_indices(&codes), None)?),
            Kernel::Lists(lists) => lists.lists(keys, &codes),
        }
    }
}

/// A [`CustomerFunction`] as the engine sees it.
#[derive(Clone)]
pub struct CustomerUdf {
    pub function: &'static dyn CustomerFunction,
    pub types: Arc<dyn KeyTypes>,
    pub bound: Option<Arc<Bound>>,
    signature: Signature,
}

impl CustomerUdf {
    pub fn new(function: &'static dyn CustomerFunction, types: Arc<dyn KeyTypes>) -> Self {
        let signature = named(function.spec(), Volatility::Stable);
        Self { function, types, bound: None, signature }
    }

    pub fn bind(&self, bound: Arc<Bound>) -> ScalarUDF {
        ScalarUDF::from(Self { bound: Some(bound), ..self.clone() })
    }

    /// The constants of a call, by position, without its keys.
    pub fn call_args(&self, args: &[Expr]) -> Result<CallArgs> {
        let spec = self.function.spec();
        let mut values = vec![];
        for (i, e) in args.iter().enumerate() {
            if spec.arguments.get(i).is_some_and(|a| a.kind.is_key()) {
                values.push(None);
                continue;
            }
            match constant(e) {
                Some(v) => values.push(Some(v)),
                None => return plan_err!("{}", not_constant(spec, i)),
            }
        }
        CallArgs::new(spec, values)
    }
}

pub fn constant(e: &Expr) -> Option<ScalarValue> {
    match e {
        Expr::Literal(v, _) => Some(v.clone()),
        Expr::Alias(a) => constant(&a.expr),
        Expr::Cast(c) => constant(&c.expr)?.cast_to(c.field.data_type()).ok(),
        _ => None,
    }
}

fn not_constant(spec: &FunctionSpec, i: usize) -> String {
    let name = spec.arguments.get(i).map_or("argument", |a| a.name);
    format!("{}(): {name} must be a constant, the same for every row. Form: {}", spec.name, spec.signature())
}

impl fmt::Debug for CustomerUdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.function.spec().name, if self.bound.is_some() { " (bound)" } else { "" })
    }
}

impl CustomerUdf {
    fn identity(&self) -> (&'static str, Option<*const Bound>) {
        (self.function.spec().name, self.bound.as_ref().map(Arc::as_ptr))
    }
}

impl PartialEq for CustomerUdf {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for CustomerUdf {}

impl Hash for CustomerUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// The type an argument is coerced to, or the message that it cannot serve.
pub fn coerced(spec: &FunctionSpec, i: usize, given: &DataType) -> Result<DataType> {
    let Some(argument) = spec.arguments.get(i) else { return plan_err!("{}", spec.wrong_count(i + 1)) };
    let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let fine = match argument.kind {
        ArgKind::User | ArgKind::Item | ArgKind::Column => !given.is_nested(),
        ArgKind::Row => matches!(given, DataType::Struct(_)),
        ArgKind::List => matches!(given, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)),
        ArgKind::Items => match given {
            DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => !f.data_type().is_nested(),
            scalar => !scalar.is_nested(),
        },
        ArgKind::Days | ArgKind::DaysOrInfinity => {
            text || given.is_numeric() || matches!(given, DataType::Interval(_) | DataType::Duration(_))
        }
        ArgKind::Count | ArgKind::Whole => given.is_integer(),
        ArgKind::Number | ArgKind::Share => given.is_numeric(),
        ArgKind::Model | ArgKind::Text | ArgKind::Query => text,
        ArgKind::Flag => given == &DataType::Boolean,
        ArgKind::Time => text || given.is_temporal(),
    };
    if fine || given.is_null() {
        Ok(given.clone())
    } else {
        plan_err!("{}", spec.wrong_value(argument, format!("a value of type {given}")))
    }
}

impl ScalarUDFImpl for CustomerUdf {
    fn name(&self) -> &str {
        self.function.spec().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let spec = self.function.spec();
        if given.len() < spec.required() || given.len() > spec.arguments.len() {
            return plan_err!("{}", spec.wrong_count(given.len()));
        }
        given.iter().enumerate().map(|(i, t)| coerced(spec, i, t)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function.data_type(self.types.as_ref()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let spec = self.function.spec();
        if args.arg_fields.len() < spec.required() || args.arg_fields.len() > spec.arguments.len() {
            return plan_err!("{}", spec.wrong_count(args.arg_fields.len()));
        }
        for (i, f) in args.arg_fields.iter().enumerate() {
            coerced(spec, i, f.data_type())?;
        }
        // Constants that are known already are checked now; a placeholder is checked when it is bound.
        let given = args.scalar_arguments.iter().zip(spec.arguments);
        let constants = given.map(|(v, a)| if a.kind.is_key() { None } else { v.cloned() }).collect();
        CallArgs::new(spec, constants)?;
        Ok(Arc::new(Field::new(spec.name, self.function.data_type(self.types.as_ref()), true)))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let one = |e: &Expr| match e {
            Expr::Literal(v, _) => v.try_as_str().flatten().map_or_else(|| v.to_string(), |t| format!("'{t}'")),
            e => e.schema_name().to_string(),
        };
        Ok(format!("{}({})", self.name(), args.iter().map(one).collect::<Vec<_>>().join(",")))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(bound) = &self.bound else {
            return exec_err!(
                "{}() is not bound to a model: run the statement through a tenure session or an installed context",
                self.name()
            );
        };
        let arguments = self.function.spec().arguments;
        let keys: Vec<&ColumnarValue> = args.args.iter().zip(arguments).filter(|(_, a)| a.kind.is_key()).map(|(v, _)| v).collect();
        let constant = keys.iter().all(|k| matches!(k, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let keys = keys.iter().map(|k| k.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let mut out = bound.answer(&keys)?;
        if out.data_type() != args.return_field.data_type() {
            out = cast(&out, args.return_field.data_type())?;
        }
        if constant { Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)) } else { Ok(ColumnarValue::Array(out)) }
    }
}

/// Downcasts a scalar function of the engine to one of ours.
pub fn as_customer_udf(udf: &ScalarUDF) -> Option<&CustomerUdf> {
    (udf.inner().as_ref() as &dyn Any).downcast_ref()
}
