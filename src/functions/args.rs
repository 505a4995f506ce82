//! The constant arguments of a call, checked against its [`FunctionSpec`].

use datafusion::arrow::array::temporal_conversions::MICROSECONDS_IN_DAY;
use datafusion::arrow::datatypes::{DataType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};

use super::spec::{ArgKind, Argument, FunctionSpec};
use crate::config::parse_timestamp;
use crate::models::days;

/// The longest horizon, in days: a century.
const MAX_DAYS: f64 = 36_525.0;

/// A span of time: calendar months and days are counted from `as_of`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub months: i32,
    pub days: f64,
}

impl Span {
    /// Exact length in days from a moment (µs since 1970).
    pub fn days_from(&self, as_of_us: i64) -> f64 {
        if self.months == 0 {
            return self.days;
        }
        use datafusion::arrow::array::types::TimestampMicrosecondType;
        let utc = "UTC".parse().ok();
        let later = utc.and_then(|tz| TimestampMicrosecondType::add_year_months(as_of_us, self.months, tz));
        // Beyond the calendar's end: the mean month of the Gregorian calendar.
        self.days + later.map_or(f64::from(self.months) * 30.436_875, |l| (l - as_of_us) as f64 / MICROSECONDS_IN_DAY as f64)
    }
}

/// A call's constant arguments, by position in the spec; `None` is the default.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallArgs {
    pub spec: &'static FunctionSpec,
    values: Vec<Option<ScalarValue>>,
}

impl CallArgs {
    /// Checks the constants of a call. Keys and columns are not looked at.
    pub fn new(spec: &'static FunctionSpec, values: Vec<Option<ScalarValue>>) -> Result<Self> {
        if values.len() > spec.arguments.len() {
            return plan_err!("{}", spec.wrong_count(values.len()));
        }
        for (argument, value) in spec.arguments.iter().zip(&values) {
            let needed = argument.default.is_none() && matches!(argument.kind, ArgKind::Whole | ArgKind::Count | ArgKind::Number);
            if needed && value.as_ref().is_some_and(ScalarValue::is_null) {
                return plan_err!("{}", spec.wrong_value(argument, "NULL"));
            }
        }
        let mut values: Vec<Option<ScalarValue>> = values.into_iter().map(|v| v.filter(|v| !v.is_null())).collect();
        values.resize(spec.arguments.len(), None);
        let out = Self { spec, values };
        for (argument, value) in spec.arguments.iter().zip(&out.values) {
            if let Some(v) = value {
                check(spec, argument, v)?;
            }
        }
        Ok(out)
    }

    fn get(&self, name: &str) -> Option<&ScalarValue> {
        let at = self.spec.arguments.iter().position(|a| a.name == name)?;
        self.values[at].as_ref()
    }

    /// The number of days of a `Days` argument, counted from `as_of`.
    pub fn days(&self, name: &str, as_of_us: i64, default: f64) -> f64 {
        match self.get(name) {
            Some(v) if endless(v) => f64::INFINITY,
            v => v.and_then(span).map_or(default, |s| s.days_from(as_of_us)),
        }
    }

    /// The span of a `Days` argument, in days of no particular months; `None` where it is not given.
    pub fn span(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(span).map(|s| s.days_from(0))
    }

    pub fn whole(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(integer).map_or(default, |v| v as u64)
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            Some(ScalarValue::Boolean(Some(b))) => *b,
            _ => default,
        }
    }

    pub fn number(&self, name: &str, default: f64) -> f64 {
        self.get(name).and_then(number).unwrap_or(default)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| v.try_as_str().flatten())
    }

    /// µs since 1970.
    pub fn time(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(time)
    }

    /// The arguments as text, for titles and keys of caches.
    pub fn display(&self) -> String {
        let given = self.spec.arguments.iter().zip(&self.values).filter_map(|(a, v)| v.as_ref().map(|v| format!("{} => {v:?}", a.name)));
        format!("{}({})", self.spec.name, given.collect::<Vec<_>>().join(", "))
    }
}

/// Whether a horizon has no end.
fn endless(v: &ScalarValue) -> bool {
    let text = v.try_as_str().flatten().map(str::trim);
    text.is_some_and(|t| t.eq_ignore_ascii_case("infinity")) || matches!(v, ScalarValue::Float64(Some(x)) if *x == f64::INFINITY)
}

fn integer(v: &ScalarValue) -> Option<i64> {
    match v.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(n) if v.data_type().is_integer() => n,
        _ => None,
    }
}

fn number(v: &ScalarValue) -> Option<f64> {
    match v.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(n) if v.data_type().is_numeric() => n.filter(|n| n.is_finite()),
        _ => None,
    }
}

fn span(v: &ScalarValue) -> Option<Span> {
    const NS_DAY: f64 = 86_400e9;
    Some(match v {
        ScalarValue::IntervalMonthDayNano(Some(i)) => {
            let (months, days, ns) = IntervalMonthDayNanoType::to_parts(*i);
            Span { months, days: f64::from(days) + ns as f64 / NS_DAY }
        }
        ScalarValue::IntervalDayTime(Some(i)) => {
            let (days, ms) = IntervalDayTimeType::to_parts(*i);
            Span { months: 0, days: f64::from(days) + f64::from(ms) / 86_400e3 }
        }
        ScalarValue::IntervalYearMonth(Some(i)) => Span { months: IntervalYearMonthType::to_months(*i), days: 0.0 },
        ScalarValue::DurationMicrosecond(Some(us)) => Span { months: 0, days: *us as f64 / MICROSECONDS_IN_DAY as f64 },
        v => match v.try_as_str().flatten() {
            Some(text) => Span { months: 0, days: days(text)? },
            None => Span { months: 0, days: number(v)? },
        },
    })
}

fn time(v: &ScalarValue) -> Option<i64> {
    if let Some(text) = v.try_as_str().flatten() {
        return parse_timestamp(text).ok();
    }
    match v.cast_to(&DataType::Timestamp(TimeUnit::Microsecond, None)).ok()? {
        ScalarValue::TimestampMicrosecond(us, _) if v.data_type().is_temporal() => us,
        _ => None,
    }
}

fn check(spec: &FunctionSpec, argument: &Argument, v: &ScalarValue) -> Result<()> {
    let fine = match argument.kind {
        ArgKind::User | ArgKind::Item | ArgKind::Items | ArgKind::Column | ArgKind::List | ArgKind::Row => true,
        ArgKind::DaysOrInfinity if endless(v) => true,
        ArgKind::Days | ArgKind::DaysOrInfinity => match span(v) {
            None => false,
            Some(s) => {
                let days = s.days_from(0);
                let zero = days == 0.0 && argument.default == Some("0");
                if !(zero || days > 0.0 && days <= MAX_DAYS) {
                    return plan_err!(
                        "{}(): {} = {days} days: a span of time is more than 0 and at most 36525 days (a century)",
                        spec.name,
                        argument.name
                    );
                }
                true
            }
        },
        ArgKind::Count => integer(v).is_some_and(|n| (1..=100_000).contains(&n)),
        ArgKind::Whole => integer(v).is_some_and(|n| n >= 0),
        ArgKind::Model | ArgKind::Text | ArgKind::Query => v.try_as_str().flatten().is_some(),
        ArgKind::Flag => matches!(v, ScalarValue::Boolean(_)),
        ArgKind::Number => number(v).is_some(),
        ArgKind::Share => number(v).is_some_and(|n| n > 0.0 && n < 1.0),
        ArgKind::Time => time(v).is_some(),
    };
    if fine { Ok(()) } else { plan_err!("{}", spec.wrong_value(argument, v)) }
}
