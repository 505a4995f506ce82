//! `explain_clv(user_id)`: why a customer is worth what they are.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{Field, FieldRef, Fields};

use super::common::{MODEL, USER, context, endless_horizon, need_amount};
use super::customer::Lists;
use super::pin::{Margins, Versioned};
use super::prelude::*;
use crate::features::{Context, Customers, NO_CODE, Purchasers};
use crate::models::lifetime::{FEATURES, Lifetime, Typical};

#[derive(Debug)]
pub struct ExplainClv;

static SPEC: FunctionSpec = FunctionSpec {
    name: "explain_clv",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, endless_horizon("365"), MODEL],
    returns: "Struct{prediction, baseline, reasons List<Struct{rank, feature, value, contribution, text}>}",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "Why a customer is worth what they are: a typical customer's value, and what this one's frequency, recency, tenure and spend add to it.",
    behaviour: &[
        "prediction is clv of the same arguments; baseline + the sum of the contributions = prediction.",
        "baseline is the value of a typical customer: median frequency, recency and tenure, the order value of a customer of whom nothing is known, mean covariates.",
        "Reasons come by size of their contribution. value is what the customer has: repeat purchase days, days since the last purchase, days since the first, expected net order value.",
        "unnest(explain_clv(user_id)['reasons']) makes a row of each.",
    ],
    nulls: "NULL user → NULL. A user who is not in `events` → one reason, 'unknown user'; one who never purchased → 'no purchase yet'; both without a prediction.",
    method: "Shapley values over the features, exact: every order in which a typical customer can be turned into this one.",
    source: "Shapley (1953), A value for n-person games",
    limits: "For models in continuous time: those that count periods have no customer of other counts to compare with.",
    example: "SELECT e['baseline'] AS baseline, e['prediction'] AS prediction, e['reasons'][1]['text'] AS first FROM (SELECT explain_clv(user_id) AS e FROM customers() ORDER BY user_id LIMIT 3)",
};

fn reason_fields() -> Fields {
    vec![
        Field::new("rank", DataType::Int64, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("contribution", DataType::Float64, true),
        Field::new("text", DataType::Utf8, false),
    ]
    .into()
}

fn list_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(reason_fields()), true))
}

fn fields() -> Fields {
    vec![
        Field::new("prediction", DataType::Float64, true),
        Field::new("baseline", DataType::Float64, true),
        Field::new("reasons", DataType::List(list_field()), true),
    ]
    .into()
}

struct Explainer {
    customers: Arc<Customers>,
    fitted: Arc<Versioned<Lifetime>>,
    context: Arc<Context>,
    margins: Arc<Margins>,
    typical: Typical,
    days: f64,
    rate: f64,
}

#[async_trait]
impl CustomerFunction for ExplainClv {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        need_amount(pin, "explain_clv").await?;
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
        let rate = pin.config().discount_rate();
        let (customers, fitted, margins) = (pin.customers().await?, pin.lifetime(args.text("model")).await?, pin.margins().await?);
        let context = context(pin, &fitted).await?;
        let p = customers.today();
        let typical = fitted.model.typical(p.counts_with(&context.of(p)));
        Ok(Kernel::Lists(Arc::new(Explainer { customers, fitted, context, margins, typical, days, rate })))
    }
}

/// A reason before it has a rank: feature, value, contribution, text.
type Reason = (&'static str, Option<f64>, Option<f64>, String);

impl Lists for Explainer {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let mut known: Vec<u32> = codes.iter().copied().filter(|c| *c != NO_CODE).collect();
        known.sort_unstable();
        known.dedup();
        let day = self.customers.today().day;
        let p = Purchasers::among(&self.customers, day, known.into_iter());
        let seen = self.context.of(&p);
        let counts = p.counts_with(&seen);
        let control = Control::default();
        let explained =
            self.fitted.model.explain(counts, p.spending(), &self.typical, self.days, self.rate, &control).map_err(fit_error)?;
        let order_values = self.fitted.model.order_values(p.spending());
        let nulls = keys[0].logical_nulls();
        let (mut prediction, mut baseline, mut valid, mut offsets) = (vec![], vec![], vec![], vec![0_i32]);
        let (mut rank, mut feature, mut value, mut contribution, mut text) = (vec![], vec![], vec![], vec![], vec![]);
        for (row, code) in codes.iter().enumerate() {
            let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(row));
            valid.push(is_valid);
            let of_code = p.codes.binary_search(code).ok();
            let mut reasons: Vec<Reason> = match of_code {
                _ if !is_valid => vec![],
                None if *code == NO_CODE => vec![("unknown", None, None, "unknown user".into())],
                None => vec![("none", None, None, "no purchase yet".into())],
                Some(i) => {
                    let margin = self.margins.of(*code);
                    let own = [f64::from(p.x[i]), f64::from(p.t[i] - p.t_x[i]), f64::from(p.t[i]), order_values[i]];
                    let parts = explained[i].contributions.iter().zip(FEATURES).enumerate();
                    parts
                        .map(|(f, (c, name))| (name, own.get(f).copied(), Some(c * margin), self.text(name, own.get(f), c * margin)))
                        .collect()
                }
            };
            let size = |r: &Reason| r.2.unwrap_or(0.0).abs();
            reasons.sort_by(|a, b| size(b).total_cmp(&size(a)));
            let margin = self.margins.of(if of_code.is_some() { *code } else { 0 });
            prediction.push(of_code.map(|i| explained[i].prediction * margin));
            baseline.push(of_code.map(|i| explained[i].baseline * margin));
            for (at, (name, own, part, words)) in reasons.into_iter().enumerate() {
                rank.push(at as i64 + 1);
                feature.push(name);
                value.push(own);
                contribution.push(part);
                text.push(words);
            }
            offsets.push(rank.len() as i32);
        }
        let reasons: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(rank)),
            Arc::new(StringArray::from(feature)),
            Arc::new(Float64Array::from(value)),
            Arc::new(Float64Array::from(contribution)),
            Arc::new(StringArray::from(text)),
        ];
        let reasons = StructArray::new(reason_fields(), reasons, None);
        let reasons = ListArray::new(list_field(), OffsetBuffer::new(ScalarBuffer::from(offsets)), Arc::new(reasons), None);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(prediction)), Arc::new(Float64Array::from(baseline)), Arc::new(reasons)];
        Ok(Arc::new(StructArray::new(fields(), columns, Some(NullBuffer::from(valid)))))
    }
}

impl Explainer {
    fn text(&self, feature: &str, own: Option<&f64>, contribution: f64) -> String {
        let own = own.copied().unwrap_or(0.0);
        let Typical { x, recency, t, order_value, .. } = self.typical;
        match feature {
            "frequency" => format!("{own} repeat purchase days (typical: {x}): {contribution:+.2}"),
            "recency" => format!("last purchase {own} days ago (typical: {recency}): {contribution:+.2}"),
            "tenure" => format!("customer for {own} days (typical: {t}): {contribution:+.2}"),
            "spend" => format!("expected order value {own:.2} (typical: {order_value:.2}): {contribution:+.2}"),
            _ => format!("covariates: {contribution:+.2}"),
        }
    }
}
