//! The three columns that are computed from every event row: its kind, its money in millionths, its order's key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::kinds::{EventMap, kind};

/// Money in millionths of the currency's unit is within ± this; what is beyond is no amount.
const LIMIT: f64 = 9.0e18;

/// A number column in millionths; NULL where it is NULL, not finite, or beyond ± 9·10¹² units.
pub fn millionths(amount: &ArrayRef) -> Result<Int64Array> {
    Ok(match amount.data_type() {
        DataType::Decimal128(_, scale) => {
            let a = amount.as_primitive::<Decimal128Type>();
            let shift = i32::from(*scale) - 6;
            let factor = 10i128.checked_pow(shift.unsigned_abs()).unwrap_or(i128::MAX);
            let one = |v: i128| {
                let scaled = if shift <= 0 { v.checked_mul(factor)? } else { (v + v.signum() * (factor / 2)) / factor };
                i64::try_from(scaled).ok().filter(|m| (m.unsigned_abs() as f64) < LIMIT)
            };
            a.iter().map(|v| v.and_then(one)).collect()
        }
        t if t.is_integer() => {
            let a = cast(amount, &DataType::Int64)?;
            a.as_primitive::<Int64Type>().iter().map(|v| v.and_then(|v| v.checked_mul(1_000_000))).collect()
        }
        t if t.is_numeric() => {
            let a = cast(amount, &DataType::Float64)?;
            let one = |v: f64| (v * 1e6).round();
            a.as_primitive::<Float64Type>().iter().map(|v| v.map(one).filter(|m| m.abs() < LIMIT).map(|m| m as i64)).collect()
        }
        t => return exec_err!("amount is of type {t}, not a number"),
    })
}

/// A 64-bit key for every value of a column, the same for equal values of any string or integer type.
fn hashes(values: &ArrayRef) -> Result<Vec<Option<u64>>> {
    if let Some(d) = values.as_any_dictionary_opt() {
        if d.values().is_empty() {
            return Ok(vec![None; values.len()]);
        }
        let inner = hashes(d.values())?;
        let keys = d.normalized_keys();
        return Ok(keys.iter().enumerate().map(|(i, &k)| if values.is_null(i) { None } else { inner[k] }).collect());
    }
    let hash = |bytes: &[u8]| twox_hash::XxHash3_64::oneshot(bytes);
    if values.data_type().is_integer() && values.data_type() != &DataType::UInt64 {
        let a = cast(values, &DataType::Int64)?;
        return Ok(a.as_primitive::<Int64Type>().iter().map(|v| v.map(|v| hash(&v.to_le_bytes()))).collect());
    }
    let text = cast(values, &DataType::Utf8View)?;
    Ok(text.as_string_view().iter().map(|v| v.map(|v| hash(v.as_bytes()))).collect())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kernel {
    /// (event_type [, money]) → kind; a purchase of negative money is a refund.
    Kind(EventMap),
    /// (ts [, money]) → that kind, or refund.
    Constant(i8),
    Millionths,
    /// (column …) → a hash of the row, small enough to be summed.
    RowHash,
    /// ([order_id,] ts µs) → key of the order; without an order_id the instant is the order.
    OrderKey,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EventKernel {
    kernel: Kernel,
    signature: Signature,
}

fn call(kernel: Kernel, args: Vec<Expr>) -> Expr {
    ScalarUDF::from(EventKernel { kernel, signature: Signature::variadic_any(Volatility::Immutable) }).call(args)
}

/// Int8: the [`kind`] of an event.
pub fn kind_of(event_type: Expr, money: Option<Expr>, map: EventMap) -> Expr {
    call(Kernel::Kind(map), [Some(event_type), money].into_iter().flatten().collect())
}

/// Int8: `kind` for every event of a log without an event type; a purchase of negative money is a refund.
pub fn constant_kind(kind: i8, ts: Expr, money: Option<Expr>) -> Expr {
    call(Kernel::Constant(kind), [Some(ts), money].into_iter().flatten().collect())
}

/// Int64: a hash of the row of these columns, from 0 to 2³¹.
pub fn row_hash_of(columns: Vec<Expr>) -> Expr {
    call(Kernel::RowHash, columns)
}

/// Int64: an amount in millionths.
pub fn money_of(amount: Expr) -> Expr {
    call(Kernel::Millionths, vec![amount])
}

/// UInt64: the key of an event's order.
pub fn order_key_of(order_id: Option<Expr>, ts_us: Expr) -> Expr {
    call(Kernel::OrderKey, [order_id, Some(ts_us)].into_iter().flatten().collect())
}

fn kinds(event_type: &ArrayRef, map: &EventMap) -> Result<Vec<i8>> {
    if let Some(d) = event_type.as_any_dictionary_opt() {
        if d.values().is_empty() {
            return Ok(vec![kind::OTHER; event_type.len()]);
        }
        let values = kinds(d.values(), map)?;
        let keys = d.normalized_keys();
        return Ok(keys.iter().enumerate().map(|(i, &k)| if event_type.is_null(i) { kind::OTHER } else { values[k] }).collect());
    }
    let text = cast(event_type, &DataType::Utf8View)?;
    let mut known: HashMap<&str, i8> = HashMap::new();
    let text = text.as_string_view();
    Ok(text.iter().map(|v| v.map_or(kind::OTHER, |v| *known.entry(v).or_insert_with(|| map.code(v)))).collect())
}

/// A purchase of negative money is a refund.
fn with_refunds(mut codes: Vec<i8>, money: Option<&ArrayRef>) -> Int8Array {
    if let Some(money) = money.map(|m| m.as_primitive::<Int64Type>()) {
        for (i, code) in codes.iter_mut().enumerate() {
            if *code == kind::PURCHASE && money.is_valid(i) && money.value(i) < 0 {
                *code = kind::REFUND;
            }
        }
    }
    codes.into()
}

/// Equal rows have equal hashes; 31 bits, so that four billion rows can be summed.
fn row_hashes(columns: &[ArrayRef]) -> Result<Int64Array> {
    let mut out = vec![0u64; columns.first().map_or(0, |c| c.len())];
    for column in columns {
        for (row, value) in out.iter_mut().zip(hashes(column)?) {
            *row = twox_hash::XxHash3_64::oneshot_with_seed(*row, &value.unwrap_or(0).to_le_bytes());
        }
    }
    Ok(out.into_iter().map(|h| (h >> 33) as i64).collect::<Vec<_>>().into())
}

impl ScalarUDFImpl for EventKernel {
    fn name(&self) -> &str {
        match self.kernel {
            Kernel::Kind(_) | Kernel::Constant(_) => "event_kind",
            Kernel::Millionths => "event_millionths",
            Kernel::OrderKey => "event_order_key",
            Kernel::RowHash => "event_row_hash",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kernel {
            Kernel::Kind(_) | Kernel::Constant(_) => DataType::Int8,
            Kernel::Millionths | Kernel::RowHash => DataType::Int64,
            Kernel::OrderKey => DataType::UInt64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let out: ArrayRef = match &self.kernel {
            Kernel::Kind(map) => Arc::new(with_refunds(kinds(&columns[0], map)?, columns.get(1))),
            Kernel::Constant(kind) => Arc::new(with_refunds(vec![*kind; columns[0].len()], columns.get(1))),
            Kernel::RowHash => Arc::new(row_hashes(&columns)?),
            Kernel::Millionths => Arc::new(millionths(&columns[0])?),
            Kernel::OrderKey => {
                let ts = columns[columns.len() - 1].as_primitive::<Int64Type>();
                // An instant is hashed with a prefix, so that it cannot meet an integer order_id.
                let instant = |i: usize| twox_hash::XxHash3_64::oneshot_with_seed(1, &ts.value(i).to_le_bytes());
                let ids = if columns.len() == 2 { hashes(&columns[0])? } else { vec![None; ts.len()] };
                Arc::new(UInt64Array::from_iter_values(ids.into_iter().enumerate().map(|(i, h)| h.unwrap_or_else(|| instant(i)))))
            }
        };
        Ok(ColumnarValue::Array(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Decimal128Array, Float64Array};

    #[test]
    fn money_is_exact_and_never_absurd() {
        let d: ArrayRef = Arc::new(Decimal128Array::from(vec![Some(1234), None, Some(-5)]).with_precision_and_scale(18, 2).unwrap());
        assert_eq!(millionths(&d).unwrap().iter().collect::<Vec<_>>(), [Some(12_340_000), None, Some(-50_000)]);
        let f: ArrayRef = Arc::new(Float64Array::from(vec![0.1 + 0.2, f64::NAN, f64::INFINITY, 1e300, -1.5]));
        assert_eq!(millionths(&f).unwrap().iter().collect::<Vec<_>>(), [Some(300_000), None, None, None, Some(-1_500_000)]);
    }
}
