//! `explain_predict('m', user_id)`: what a prediction is made of, a row a reason.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{Field, Fields};

use super::common::{USER, list_type, lists_of};
use super::customer::Lists;
use super::labelled::{NULLS, WINDOW_MODEL, phrase};
use super::pin::Versioned;
use super::prelude::*;
use crate::features::Frame;
use crate::models::supervised::{NO_LEVEL, Supervised, Table, Values};

#[derive(Debug)]
pub struct ExplainPredict;

static SPEC: FunctionSpec = FunctionSpec {
    name: "explain_predict",
    section: "Prediction",
    form: Form::ScalarAndTable,
    arguments: &[
        WINDOW_MODEL,
        USER,
        Argument {
            name: "top_k",
            kind: ArgKind::Count,
            default: Some("all"),
            about: "reasons of each customer; what the others add comes as one, '(others)'",
        },
    ],
    returns: "List<Struct{prediction, baseline, rank, feature, value, contribution, score_contribution, text}>",
    unit: "that of predict()",
    columns: &[
        ("user_id", "the key's type", "the customer"),
        ("prediction", "Float64", "what predict() gives"),
        ("baseline", "Float64", "the prediction of a customer of whom nothing is known but the model"),
        ("rank", "Int64", "1 = what moves the prediction most"),
        ("feature", "Utf8", "name of the feature, as in model_info()"),
        ("value", "Utf8", "its value for this customer; NULL where it is not known"),
        ("contribution", "Float64", "what it adds to the baseline: baseline + the sum of them = prediction"),
        (
            "score_contribution",
            "Float64",
            "the same on the model's own scale, before link and calibration: log-odds, where the model is one of log-odds",
        ),
        ("text", "Utf8", "the reason in words"),
    ],
    summary: "Why a model foretells what it does: the contribution of every feature, for every kind of model.",
    behaviour: &[
        "Linear models: coefficient × (value − mean), exactly. Trees, forests and boosting: SHAP values, exactly (TreeSHAP). Naive Bayes: log-likelihood ratios.",
        "Those add up on the scale of the model's score; a factor a customer brings them to the scale of the prediction, so that they add up there too.",
        "Columns of one feature (its levels) are added.",
    ],
    nulls: NULLS,
    method: "Shapley values; φ of linear models; path-dependent TreeSHAP.",
    source: "Lundberg, Erion & Lee (2018), Consistent individualized feature attribution for tree ensembles",
    limits: "What moves a prediction is not what would move the customer.",
    example: "CREATE MODEL churn45 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT abs(max(baseline) + sum(contribution) - max(prediction)) < 1e-9 AS adds_up FROM explain_predict('churn45') GROUP BY user_id LIMIT 1",
};

fn fields() -> Fields {
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    vec![
        float("prediction"),
        float("baseline"),
        Field::new("rank", DataType::Int64, true),
        Field::new("feature", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
        float("contribution"),
        float("score_contribution"),
        Field::new("text", DataType::Utf8, true),
    ]
    .into()
}

/// A reason before it has a rank.
pub struct Reason {
    pub feature: String,
    pub value: Option<String>,
    pub contribution: f64,
    pub score_contribution: f64,
    pub text: String,
}

/// Prediction, baseline, and reasons by size.
pub type Made = (f64, f64, Vec<Reason>);

/// The reasons of some rows of a table.
fn reasons(model: &Supervised, table: &Table) -> Result<Vec<Made>> {
    let e = model.explain(table, &Control::default()).map_err(fit_error)?;
    let one = |row: usize| {
        let at = row * e.width..(row + 1) * e.width;
        let mut out: Vec<Reason> = vec![];
        for ((feature, &contribution), &score_contribution) in
            model.encoder.features.iter().zip(&e.contributions[at.clone()]).zip(&e.score_contributions[at])
        {
            let (value, number) = match table.get(&feature.name) {
                Some(Values::Number(v)) if v[row].is_finite() => (Some(v[row].to_string()), Some(v[row])),
                Some(Values::Level { codes, names }) if codes[row] != NO_LEVEL => (Some(names[codes[row] as usize].clone()), None),
                _ => (None, None),
            };
            // No minus before nothing.
            let (contribution, score_contribution) = (contribution + 0.0, score_contribution + 0.0);
            let shown = (contribution * 100.0).round() / 100.0 + 0.0;
            let text = format!("{}: {shown:+.2}", phrase(&feature.name, value.as_deref().unwrap_or_default(), number));
            out.push(Reason { feature: feature.name.clone(), value, contribution, score_contribution, text });
        }
        let size = |r: &Reason| (r.contribution.abs(), r.score_contribution.abs());
        out.sort_by(|a, b| size(b).0.total_cmp(&size(a).0).then(size(b).1.total_cmp(&size(a).1)));
        (e.prediction[row], e.baseline, out)
    };
    Ok((0..table.rows).map(one).collect())
}

/// Explains customers of a frame.
pub struct Explainer {
    pub fitted: Arc<Versioned<Supervised>>,
    pub frame: Arc<Frame>,
    pub top_k: usize,
}

impl Explainer {
    /// The explanations of the customers with these codes that the frame has, each once: (code, explanation), ascending.
    pub fn of(&self, codes: &[u32]) -> Result<Vec<(u32, Made)>> {
        let mut asked: Vec<(u32, usize)> = codes.iter().filter_map(|c| Some((*c, self.frame.codes.binary_search(c).ok()?))).collect();
        asked.sort_unstable();
        asked.dedup();
        let rows: Vec<usize> = asked.iter().map(|(_, row)| *row).collect();
        let made = reasons(&self.fitted.model, &self.frame.table.take(&rows))?;
        Ok(asked.into_iter().map(|(code, _)| code).zip(made).collect())
    }
}

impl Lists for Explainer {
    fn lists(&self, _: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let made = self.of(codes)?;
        let (mut numbers, mut ranks): ([Vec<f64>; 4], Vec<i64>) = Default::default();
        let mut texts: [Vec<Option<String>>; 3] = Default::default();
        let (mut offsets, mut valid) = (vec![0i32], vec![]);
        for code in codes {
            let found = made.binary_search_by_key(code, |(c, _)| *c).ok().map(|i| &made[i].1);
            valid.push(found.is_some());
            if let Some((prediction, baseline, reasons)) = found {
                let kept = reasons.len().min(self.top_k);
                let rest = &reasons[kept..];
                let others = Reason {
                    feature: "(others)".into(),
                    value: None,
                    contribution: rest.iter().map(|r| r.contribution).sum(),
                    score_contribution: rest.iter().map(|r| r.score_contribution).sum(),
                    text: format!("{} other features: {:+.2}", rest.len(), rest.iter().map(|r| r.contribution).sum::<f64>()),
                };
                for (rank, r) in reasons[..kept].iter().chain((!rest.is_empty()).then_some(&others)).enumerate() {
                    let of = [*prediction, *baseline, r.contribution, r.score_contribution];
                    numbers.iter_mut().zip(of).for_each(|(column, v)| column.push(v));
                    ranks.push(rank as i64 + 1);
                    let of = [Some(r.feature.clone()), r.value.clone(), Some(r.text.clone())];
                    texts.iter_mut().zip(of).for_each(|(column, v)| column.push(v));
                }
            }
            offsets.push(ranks.len() as i32);
        }
        let [prediction, baseline, contribution, score] = numbers.map(|v| Arc::new(Float64Array::from(v)) as ArrayRef);
        let [feature, value, text] = texts.map(|v| Arc::new(StringArray::from(v)) as ArrayRef);
        let columns = vec![prediction, baseline, Arc::new(Int64Array::from(ranks)), feature, value, contribution, score, text];
        lists_of(fields(), columns, offsets, valid)
    }
}

#[async_trait]
impl CustomerFunction for ExplainPredict {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        list_type(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        let frame = pin.frame(&fitted).await?;
        Ok(Kernel::Lists(Arc::new(Explainer { fitted, frame, top_k: args.whole("top_k", u64::from(u32::MAX)) as usize })))
    }
}
