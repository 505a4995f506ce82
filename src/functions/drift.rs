//! `drift('m')`: how far today's features are from those of training.

use datafusion::arrow::array::{ArrayRef, RecordBatch, StructArray};
use datafusion::common::plan_err;

use super::common::{floats_of, integers_of, rows_of, texts_of};
use super::labelled::MODEL;
use super::predict_rows::features;
use super::prelude::*;
use crate::models::metrics::{ks, psi, psi_levels};
use crate::models::supervised::{Definition, Sample, Values};

#[derive(Debug)]
pub struct Drift;

static SPEC: FunctionSpec = FunctionSpec {
    name: "drift",
    section: "Prediction",
    form: Form::Table,
    arguments: &[
        MODEL,
        Argument {
            name: "rows",
            kind: ArgKind::Query,
            default: Some("the customers as of now"),
            about: "a query in parentheses that gives the features, as in predict_rows(); a model made by TARGET needs one",
        },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("rank", "Int64", "1 = what has moved most"),
        ("feature", "Utf8", "its name"),
        ("psi", "Float64", "population stability index: below 0.1 is usually called stable, above 0.25 a shift"),
        ("ks", "Float64", "largest distance of the two distribution functions; NULL for texts"),
        ("missing_then", "Float64", "share of rows where it was not known in training"),
        ("missing_now", "Float64", "the same now"),
        ("status", "Utf8", "stable, moved or shifted"),
    ],
    summary: "How far the features of the customers as of now, or of the rows of a query, have moved from those that were learned from: with PREDICT, of the latest cut-off.",
    behaviour: &[
        "Ten bins of the reference's quantiles, what is not known a bin of its own; a bin without rows counts as half a row.",
        "The reference is a sample of 500 evenly spaced quantiles of each number.",
    ],
    nulls: "",
    method: "PSI; Kolmogorov-Smirnov.",
    source: "Siddiqi (2006), Credit risk scorecards",
    limits: "A feature that grows with the calendar, such as tenure, moves by itself.",
    example: "CREATE MODEL c7 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT count(*) > 10 AS features FROM drift('c7')",
};

#[async_trait]
impl RelationFunction for Drift {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        let (frame, rows);
        let table = match args.text("rows") {
            Some(sql) => {
                let batch = pin.query(sql).await?.as_ref().clone();
                rows = features(&fitted.model, &StructArray::from(batch), pin.state())?;
                &rows
            }
            None if matches!(fitted.model.definition, Definition::Query { .. }) => {
                let name = &fitted.name;
                return plan_err!("model '{name}' is one of rows, not of customers: give it some, drift('{name}', (SELECT ...))");
            }
            None => {
                frame = pin.frame(&fitted).await?;
                &frame.table
            }
        };
        // What a query does not give is known of none of its rows.
        let unknown = Values::Number(vec![f64::NAN; table.rows]);
        let mut moved: Vec<Moved> = vec![];
        for (feature, reference) in &fitted.model.reference.features {
            let encoded = fitted.model.encoder.features.iter().find(|f| f.name == *feature);
            let Some(encoded) = encoded else { continue };
            let now = encoded.read(table.get(feature).unwrap_or(&unknown));
            moved.push(compare(feature, reference, &Sample::of(&now)));
        }
        moved.sort_by(|a, b| b.psi.unwrap_or(0.0).total_cmp(&a.psi.unwrap_or(0.0)).then(a.feature.cmp(&b.feature)));
        let rows: Vec<(u64, Moved)> = (1..).zip(moved).collect();
        let status = |psi: f64| {
            if psi < 0.1 {
                "stable"
            } else if psi < 0.25 {
                "moved"
            } else {
                "shifted"
            }
        };
        let columns: Vec<ArrayRef> = vec![
            integers_of(&rows, |r| r.0),
            texts_of(&rows, |r| Some(r.1.feature.clone())),
            floats_of(&rows, |r| r.1.psi),
            floats_of(&rows, |r| r.1.ks),
            floats_of(&rows, |r| Some(r.1.missing[0])),
            floats_of(&rows, |r| Some(r.1.missing[1])),
            texts_of(&rows, |r| r.1.psi.map(|p| status(p).to_owned())),
        ];
        rows_of(&SPEC, columns, projection)
    }
}

/// One feature, then and now.
struct Moved {
    feature: String,
    psi: Option<f64>,
    ks: Option<f64>,
    missing: [f64; 2],
}

fn compare(feature: &str, then: &Sample, now: &Sample) -> Moved {
    let share = |missing: usize, all: usize| missing as f64 / all.max(1) as f64;
    let (feature, both) = (feature.to_owned(), [then, now]);
    if let (Sample::Numbers(a), Sample::Numbers(b)) = (then, now) {
        let missing = [a, b].map(|v| share(v.iter().filter(|x| x.is_nan()).count(), v.len()));
        return Moved { feature, psi: psi(a, b, 10), ks: ks(a, b), missing };
    }
    // Texts, or what has become one.
    let levels = both.map(|s| match s {
        Sample::Numbers(v) => v.iter().map(|x| (!x.is_nan()).then(|| x.to_string())).collect::<Vec<Option<String>>>(),
        Sample::Levels(v) => v.iter().flat_map(|(level, n)| std::iter::repeat_n(level.clone(), *n as usize)).collect(),
    });
    let missing = [0, 1].map(|i| share(levels[i].iter().filter(|l| l.is_none()).count(), levels[i].len()));
    Moved { feature, psi: psi_levels(&levels[0], &levels[1]), ks: None, missing }
}
