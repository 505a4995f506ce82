//! `rfm(user_id)`: recency, frequency and monetary value, scored by value cut points.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, StructArray};
use datafusion::arrow::datatypes::{Field, Fields};

use super::common::{USER, values};
use super::prelude::*;
use crate::events::EventColumn;

#[derive(Debug)]
pub struct RfmFunction;

static SPEC: FunctionSpec = FunctionSpec {
    name: "rfm",
    section: "Segments",
    form: Form::ScalarAndTable,
    arguments: &[USER],
    returns: "Struct{recency_days, n_orders, monetary, r, f, m, score, segment}",
    unit: "days, orders, the currency's unit; scores 1 to 5",
    columns: &[
        ("user_id", "as in events", "the customer; first argument of the call"),
        ("recency_days", "Float64", "days from the last purchase to as_of"),
        ("n_orders", "Int64", "distinct orders"),
        ("monetary", "Float64", "purchases less refunds, in the currency's unit"),
        ("r", "Int64", "5 = bought most recently"),
        ("f", "Int64", "5 = most orders"),
        ("m", "Int64", "5 = most value"),
        ("score", "Utf8", "r, f and m in one word, such as '545'"),
        ("segment", "Utf8", "the first rule that matches, by priority"),
    ],
    summary: "Recency, frequency and monetary value of a customer, with scores and a segment.",
    behaviour: &[
        "Scores are by value cut points, so that customers with equal values have equal scores (NTILE cuts through ties).",
        "The cut points are the quintiles of the customers who had purchased when the model was made; they are kept with the model.",
        "Segments come from a prioritised rule table: SELECT * FROM rfm_rules(). To edit it: CREATE TABLE my_rules AS SELECT * FROM rfm_rules(), change rows, SET tenure.rfm_rules = 'my_rules'.",
        "In FROM, rfm() is everybody, rfm('u1') one customer, rfm((SELECT user_id FROM vip)) some.",
    ],
    nulls: "NULL user → NULL. A user who is not in `events` → NULL. Known, but never purchased → segment 'prospect', no scores. Without an amount, monetary and m are NULL and rules see m = 1.",
    method: "Value cut points and an editable rule table.",
    source: "The segment names are those of Shopify's RFM report",
    limits: "",
    example: "SELECT segment, count(*) AS users, round(avg(monetary), 2) AS avg_value FROM rfm() GROUP BY segment ORDER BY users DESC, segment",
};

pub fn fields() -> Fields {
    let f = |n: &str, t: DataType| Field::new(n, t, true);
    vec![
        f("recency_days", DataType::Float64),
        f("n_orders", DataType::Int64),
        f("monetary", DataType::Float64),
        f("r", DataType::Int64),
        f("f", DataType::Int64),
        f("m", DataType::Int64),
        f("score", DataType::Utf8),
        f("segment", DataType::Utf8),
    ]
    .into()
}

#[async_trait]
impl CustomerFunction for RfmFunction {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let customers = pin.customers().await?;
        let valued = pin.snapshot().await?.contract.has(EventColumn::Amount);
        let name = args.text("model").filter(|m| *m != "rfm");
        // Where nobody has purchased yet, everybody is a prospect, and no model is needed to say so.
        let fitted = if name.is_none() && customers.purchasers().is_empty() { None } else { Some(pin.rfm(name).await?) };
        let n = customers.len();
        let scores: Vec<Option<(u8, u8, u8)>> = (0..n)
            .map(|c| {
                let model = fitted.as_ref().filter(|_| customers.orders[c] > 0)?;
                Some(model.model.score(customers.recency_days(c), f64::from(customers.orders[c]), customers.net_value(c)))
            })
            .collect();
        let score = |pick: fn((u8, u8, u8)) -> u8| -> ArrayRef {
            Arc::new(scores.iter().map(|s| s.map(|s| i64::from(pick(s)))).collect::<Int64Array>())
        };
        let segment = |s: &Option<(u8, u8, u8)>| match (s, &fitted) {
            (Some((r, f, m)), Some(fitted)) => fitted.model.segment(*r, *f, *m).to_owned(),
            _ => "prospect".to_owned(),
        };
        let recency = (0..n).map(|c| (customers.orders[c] > 0).then(|| customers.recency_days(c))).collect::<Float64Array>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(recency),
            Arc::new(customers.orders.iter().map(|&o| i64::from(o)).collect::<Int64Array>()),
            Arc::new((0..n).map(|c| valued.then(|| customers.net_value(c))).collect::<Float64Array>()),
            score(|s| s.0),
            score(|s| s.1),
            if valued { score(|s| s.2) } else { Arc::new(Int64Array::new_null(n)) },
            Arc::new(scores.iter().map(|s| s.map(|(r, f, m)| format!("{r}{f}{m}"))).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(scores.iter().map(segment))),
        ];
        Ok(values(StructArray::new(fields(), columns, None)))
    }
}
