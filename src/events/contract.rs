//! Which columns `events` has under which names, and the plan that reads them in canonical form.

use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions::expr_fn::abs;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, case, cast, lit, try_cast};

use super::kernels::{constant_kind, kind_of, money_of, order_key_of};
use super::kinds::{EventMap, kind};
use crate::text::nearest;

/// A column of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventColumn {
    UserId,
    Ts,
    EventType,
    ItemId,
    Amount,
    OrderId,
    Rating,
    Channel,
}

/// Canonical name, then what is also accepted.
const NAMES: [(EventColumn, &[&str]); 8] = [
    (EventColumn::UserId, &["user_id", "customer_id", "cust_id", "visitor_id", "uid"]),
    (EventColumn::Ts, &["ts", "event_time", "timestamp", "order_date", "created_at"]),
    (EventColumn::EventType, &["event_type", "event", "event_name", "action", "type"]),
    (EventColumn::ItemId, &["item_id", "product_id", "sku", "stock_code", "article_id"]),
    (EventColumn::Amount, &["amount", "revenue", "value", "total"]),
    (EventColumn::OrderId, &["order_id"]),
    (EventColumn::Rating, &["rating"]),
    (EventColumn::Channel, &["channel"]),
];

impl EventColumn {
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    fn names(self) -> &'static [&'static str] {
        NAMES.iter().find(|(c, _)| *c == self).map_or(&["?"], |(_, n)| n)
    }
}

/// The columns of one relation, resolved.
#[derive(Debug, Clone)]
pub struct Contract {
    pub relation: String,
    /// The contract's column and the relation's own name for it.
    pub columns: Vec<(EventColumn, String)>,
    /// The type in which users are returned.
    pub user_type: DataType,
    /// The type in which items are returned, when there are items.
    pub item_type: Option<DataType>,
    /// Whether events have a day and no time of day.
    pub ts_is_date: bool,
}

impl Contract {
    /// Finds the columns of `relation`. A needed one that is missing, or of a type that cannot serve, is an error that
    /// shows what was found and the one view to write.
    pub fn resolve(relation: &str, schema: &Schema) -> Result<Self> {
        let mut columns = vec![];
        for (column, names) in NAMES {
            let own = names.iter().find_map(|n| schema.fields().iter().find(|f| f.name().eq_ignore_ascii_case(n)));
            columns.extend(own.map(|f| (column, f.name().clone())));
        }
        let field = |c: EventColumn| {
            let name = columns.iter().find(|(k, _)| *k == c).map(|(_, n)| n)?;
            schema.field_with_name(name).ok()
        };
        for needed in [EventColumn::UserId, EventColumn::Ts] {
            if field(needed).is_none() {
                return plan_err!("{}", missing(relation, schema, needed));
            }
        }
        let ts = field(EventColumn::Ts).map(|f| (f.name().clone(), f.data_type().clone()));
        if let Some((name, t)) = ts
            && !matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
        {
            return plan_err!("{}", wrong_time(relation, &name, &t));
        }
        if let Some(f) = field(EventColumn::Amount)
            && !f.data_type().is_numeric()
        {
            let (name, t) = (f.name(), f.data_type());
            return plan_err!(
                "column '{name}' of '{relation}' is of type {t}: an amount is a number. Cast it in the view: CAST({} AS DOUBLE) AS amount",
                quote(name)
            );
        }
        for key in [EventColumn::UserId, EventColumn::ItemId] {
            if let Some(f) = field(key)
                && (f.data_type().is_nested() || matches!(f.data_type(), DataType::FixedSizeBinary(_) | DataType::Interval(_)))
            {
                let (own, t) = (quote(f.name()), f.data_type());
                return plan_err!(
                    "column {own} of '{relation}' is of type {t}, which cannot be a key. Make it text in the view: encode({own}, 'hex') AS {}",
                    key.name()
                );
            }
        }
        let user_type = field(EventColumn::UserId).map_or(DataType::Utf8, |f| key_type(f.data_type()));
        let item_type = field(EventColumn::ItemId).map(|f| key_type(f.data_type()));
        let ts_is_date = field(EventColumn::Ts).is_some_and(|f| matches!(f.data_type(), DataType::Date32 | DataType::Date64));
        Ok(Self { relation: relation.into(), columns, user_type, item_type, ts_is_date })
    }

    /// The relation's own name of a column.
    pub fn column(&self, c: EventColumn) -> Option<&str> {
        self.columns.iter().find(|(k, _)| *k == c).map(|(_, n)| n.as_str())
    }

    pub fn has(&self, c: EventColumn) -> bool {
        self.column(c).is_some()
    }

    /// A column of `input`, which is a plan over the relation.
    pub fn expr(&self, input: &DFSchema, c: EventColumn) -> Option<Expr> {
        let name = self.column(c)?;
        let at = input.fields().iter().position(|f| f.name() == name)?;
        Some(Expr::Column(Column::from(input.qualified_field(at))))
    }

    /// Rows with a user and a time, in the columns `user_id, ts_us, kind` and, where the relation has them, `millionths`,
    /// `order_key` (always), `item_id`, `channel`, `rating` (NULL where it is no number).
    pub fn canonical(&self, input: LogicalPlan, map: &EventMap) -> Result<LogicalPlan> {
        let schema = input.schema().clone();
        let get = |c| self.expr(&schema, c);
        let (Some(user), Some(ts)) = (get(EventColumn::UserId), get(EventColumn::Ts)) else {
            return plan_err!("'{}' has changed its columns; run the statement again", self.relation);
        };
        let ts_us = cast(cast(ts.clone(), DataType::Timestamp(TimeUnit::Microsecond, None)), DataType::Int64);
        let money = get(EventColumn::Amount).map(money_of);
        let kind = match get(EventColumn::EventType) {
            Some(e) => kind_of(e, money.clone(), map.clone()),
            // A log of ratings needs neither a type nor an amount; any other log without a type is a log of purchases.
            None if self.has(EventColumn::Rating) && money.is_none() => constant_kind(kind::RATING, ts_us.clone(), None),
            None => constant_kind(kind::PURCHASE, ts_us.clone(), money.clone()),
        };
        let mut out = vec![
            cast(user.clone(), self.user_type.clone()).alias("user_id"),
            ts_us.clone().alias("ts_us"),
            kind.alias("kind"),
            order_key_of(get(EventColumn::OrderId), ts_us).alias("order_key"),
        ];
        out.extend(money.map(|m| m.alias("millionths")));
        if let (Some(item), Some(t)) = (get(EventColumn::ItemId), &self.item_type) {
            out.push(cast(item, t.clone()).alias("item_id"));
        }
        out.extend(get(EventColumn::Channel).map(|c| c.alias("channel")));
        out.extend(get(EventColumn::Rating).map(|r| try_cast(r, DataType::Float32).alias("rating")));
        LogicalPlanBuilder::from(input).filter(user.is_not_null().and(ts.is_not_null()))?.project(out)?.build()
    }

    /// Rows with a user and a time, as an analyst writes about them: the contract's columns under the contract's names, then the relation's other columns. `ts` is a
    /// timestamp, `event_type` the canonical type or, where there is none, the log's own; `amount` is an exact decimal, below 0 for a refund.
    pub fn readable(&self, input: LogicalPlan, map: &EventMap) -> Result<LogicalPlan> {
        let schema = input.schema().clone();
        let get = |c| self.expr(&schema, c);
        let (Some(user), Some(ts)) = (get(EventColumn::UserId), get(EventColumn::Ts)) else {
            return plan_err!("'{}' has changed its columns; run the statement again", self.relation);
        };
        let ts_us = cast(ts.clone(), DataType::Timestamp(TimeUnit::Microsecond, None));
        let money = get(EventColumn::Amount).map(money_of);
        let of = match get(EventColumn::EventType) {
            Some(e) => kind_of(e, money.clone(), map.clone()),
            None if self.has(EventColumn::Rating) && money.is_none() => {
                constant_kind(kind::RATING, cast(ts_us.clone(), DataType::Int64), None)
            }
            None => constant_kind(kind::PURCHASE, cast(ts_us.clone(), DataType::Int64), money.clone()),
        };
        let own_type = get(EventColumn::EventType).map_or(lit("other"), |e| cast(e, DataType::Utf8));
        let mut name = case(of.clone());
        for (i, known) in kind::NAMES.iter().enumerate() {
            name = name.when(lit(i as i8 + 1), lit(*known));
        }
        let mut out = vec![
            cast(user.clone(), self.user_type.clone()).alias(EventColumn::UserId.name()),
            ts_us.alias(EventColumn::Ts.name()),
            name.otherwise(own_type)?.alias(EventColumn::EventType.name()),
        ];
        if let Some(money) = money {
            let millionth = lit(ScalarValue::Decimal128(Some(1), 7, 6));
            let signed = case(of).when(lit(kind::REFUND), -abs(money.clone())).otherwise(money)?;
            out.push((cast(signed, DataType::Decimal128(19, 0)) * millionth).alias(EventColumn::Amount.name()));
        }
        for c in [EventColumn::ItemId, EventColumn::OrderId, EventColumn::Rating, EventColumn::Channel] {
            out.extend(get(c).map(|e| e.alias(c.name())));
        }
        let taken: Vec<String> = out.iter().map(|e| e.schema_name().to_string()).collect();
        for (at, f) in schema.fields().iter().enumerate() {
            let ours = self.columns.iter().any(|(_, own)| own == f.name());
            if !ours && !taken.iter().any(|t| t.eq_ignore_ascii_case(f.name())) {
                out.push(Expr::Column(Column::from(schema.qualified_field(at))).alias(f.name()));
            }
        }
        LogicalPlanBuilder::from(input).filter(user.is_not_null().and(ts.is_not_null()))?.project(out)?.build()
    }
}

/// The type keys are kept and returned in: dictionaries are unpacked, everything else stays.
pub fn key_type(t: &DataType) -> DataType {
    match t {
        DataType::Dictionary(_, v) => key_type(v),
        t => t.clone(),
    }
}

/// A name as it is written in SQL.
pub fn quote(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if plain { name.into() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The column that seems to be meant by a canonical one.
fn likely(schema: &Schema, c: EventColumn) -> Option<String> {
    let plain = |n: &str| n.to_lowercase().replace([' ', '-', '_'], "");
    let hints: &[&str] = match c {
        EventColumn::UserId => {
            &["userid", "customerid", "custid", "visitorid", "customer", "user", "client", "clientid", "member", "account"]
        }
        EventColumn::Ts => &["invoicedate", "date", "time", "datetime", "eventtime", "orderdate", "purchasedate", "day"],
        EventColumn::Amount => &["amount", "revenue", "total", "sales", "spend", "price", "value"],
        EventColumn::ItemId => &["stockcode", "itemid", "productid", "product", "item", "sku"],
        _ => &[],
    };
    let names: Vec<(String, &str)> = schema.fields().iter().map(|f| (plain(f.name()), f.name().as_str())).collect();
    let exact = hints.iter().find_map(|h| names.iter().find(|(p, _)| p == h));
    let found = exact.or_else(|| hints.iter().find_map(|h| names.iter().find(|(p, _)| p.contains(h))))?;
    Some(found.1.to_owned())
}

fn missing(relation: &str, schema: &Schema, needed: EventColumn) -> String {
    let found: Vec<String> = schema.fields().iter().map(|f| format!("{} {}", quote(f.name()), f.data_type())).collect();
    let names: Vec<&str> = needed.names().to_vec();
    let source = |c: EventColumn| likely(schema, c).map(|n| format!("{} AS {}", quote(&n), c.name()));
    let mut select: Vec<String> = vec![
        source(EventColumn::UserId).unwrap_or_else(|| "<customer column> AS user_id".into()),
        source(EventColumn::Ts).unwrap_or_else(|| "<time column> AS ts".into()),
    ];
    select.extend([EventColumn::ItemId, EventColumn::Amount].into_iter().filter_map(source));
    let typo =
        nearest(needed.name(), schema.fields().iter().map(|f| f.name().as_str())).map(|n| format!(" (is it '{n}'?)")).unwrap_or_default();
    format!(
        "'{relation}' has no column {}{typo}. Accepted names: {}. Columns found: {}. \
         Write a view over your data, for example: CREATE VIEW events AS SELECT {} FROM {}",
        needed.name(),
        names.join(", "),
        found.join(", "),
        select.join(", "),
        if relation == "events" { "<your table>" } else { relation },
    )
}

fn wrong_time(relation: &str, name: &str, t: &DataType) -> String {
    let own = quote(name);
    let offer = match t {
        t if t.is_integer() => format!("to_timestamp_seconds({own}) AS ts (or to_timestamp_millis, to_timestamp_micros, by its unit)"),
        _ => format!("to_timestamp({own}) AS ts (or to_timestamp({own}, '%d/%m/%Y %H:%M') for another format)"),
    };
    format!("column '{name}' of '{relation}' is of type {t}: ts is a timestamp or a date. Cast it in the view: {offer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn a_missing_column_shows_what_was_found_and_the_view_to_write() {
        let e = Contract::resolve("sales", &schema(&[("Customer ID", DataType::Int64), ("InvoiceDate", DataType::Date32)])).unwrap_err();
        let e = e.strip_backtrace();
        assert!(e.contains("has no column user_id"), "{e}");
        assert!(e.contains("SELECT \"Customer ID\" AS user_id, \"InvoiceDate\" AS ts FROM sales"), "{e}");
    }

    #[test]
    fn a_time_of_another_type_is_offered_a_cast() {
        let of = |t| Contract::resolve("events", &schema(&[("user_id", DataType::Utf8), ("ts", t)])).unwrap_err().strip_backtrace();
        assert!(of(DataType::Utf8).contains("to_timestamp(ts) AS ts"));
        assert!(of(DataType::Int64).contains("to_timestamp_seconds(ts) AS ts"));
    }
}
