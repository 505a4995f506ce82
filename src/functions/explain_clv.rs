//! `explain_clv(user_id)`: why a customer is worth what they are.

use datafusion::arrow::array::ArrayRef;

use super::common::{MODEL, USER, context, endless_horizon, need_amount};
use super::customer::Lists;
use super::explanation::{Explanations, Reason, explanation};
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
        DataType::Struct(explanation())
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
        let mut out = Explanations::default();
        for (row, code) in codes.iter().enumerate() {
            let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(row));
            let of_code = p.codes.binary_search(code).ok();
            let reasons: Vec<Reason> = match of_code {
                _ if !is_valid => vec![],
                None if *code == NO_CODE => vec![("unknown".into(), None, None, "unknown user".into())],
                None => vec![("none".into(), None, None, "no purchase yet".into())],
                Some(i) => {
                    let margin = self.margins.of(*code);
                    let own = [f64::from(p.x[i]), f64::from(p.t[i] - p.t_x[i]), f64::from(p.t[i]), order_values[i]];
                    let parts = explained[i].contributions.iter().zip(FEATURES).enumerate();
                    parts
                        .map(|(f, (c, name))| {
                            (name.to_string(), own.get(f).copied(), Some(c * margin), self.text(name, own.get(f), c * margin))
                        })
                        .collect()
                }
            };
            let margin = self.margins.of(if of_code.is_some() { *code } else { 0 });
            let whole = |of: &dyn Fn(usize) -> f64| of_code.map(|i| of(i) * margin);
            out.push(is_valid, whole(&|i| explained[i].prediction), whole(&|i| explained[i].baseline), reasons);
        }
        Ok(out.finish())
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
