//! `what_if('m', user_id, named_struct(...))`: a prediction with other values of some features.

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{Field, Fields};
use datafusion::common::{exec_err, plan_err};

use super::common::USER;
use super::customer::Lists;
use super::labelled::{NULLS, WINDOW_MODEL};
use super::pin::Versioned;
use super::prelude::*;
use crate::features::{Frame, table_of};
use crate::models::supervised::Supervised;
use crate::text::did_you_mean;

#[derive(Debug)]
pub struct WhatIf;

static SPEC: FunctionSpec = FunctionSpec {
    name: "what_if",
    section: "Prediction",
    form: Form::ScalarAndTable,
    arguments: &[
        WINDOW_MODEL,
        USER,
        Argument {
            name: "changes",
            kind: ArgKind::Row,
            default: None,
            about: "a struct of features and their values: named_struct('recency_days', 5)",
        },
    ],
    returns: "Struct{prediction, changed, difference}",
    unit: "that of predict()",
    columns: &[
        ("user_id", "the key's type", "the customer"),
        ("prediction", "Float64", "what predict() gives"),
        ("changed", "Float64", "the same with the changed features"),
        ("difference", "Float64", "changed − prediction"),
    ],
    summary: "What a model would foretell of a customer if some features were other than they are.",
    behaviour: &[
        "Features by their names in model_info(); the others stay as they are, those that depend on the changed ones too: change them as well where that matters.",
        "NULL as a value means that the feature is not known.",
    ],
    nulls: NULLS,
    method: "The model, asked again.",
    source: "",
    limits: "What the model would say, not what a customer would do: features stand together for what causes them.",
    example: "CREATE MODEL churn60 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT count(difference) > 0 AS any FROM what_if('churn60', changes => named_struct('recency_days', 1))",
};

fn fields() -> Fields {
    ["prediction", "changed", "difference"].map(|n| Field::new(n, DataType::Float64, true)).to_vec().into()
}

struct Asked {
    fitted: Arc<Versioned<Supervised>>,
    frame: Arc<Frame>,
}

impl Lists for Asked {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let Some(changes) = keys.get(1).and_then(|k| k.as_struct_opt()) else {
            return exec_err!("what_if(): changes is a struct of features: named_struct('recency_days', 5)");
        };
        let model = &self.fitted.model;
        let names: Vec<&str> = model.encoder.features.iter().map(|f| f.name.as_str()).collect();
        if let Some(f) = changes.fields().iter().find(|f| !names.contains(&f.name().as_str())) {
            let hint = did_you_mean(f.name(), names.iter().copied(), "", "");
            return plan_err!("what_if(): model '{}' has no feature {}{hint} Features: {}", self.fitted.name, f.name(), names.join(", "));
        }
        let rows: Vec<Option<usize>> = codes.iter().map(|c| self.frame.codes.binary_search(c).ok()).collect();
        let known: Vec<usize> = rows.iter().flatten().copied().collect();
        let table = self.frame.table.take(&known);
        let places: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].is_some()).collect();
        let plain = StructArray::new(changes.fields().clone(), changes.columns().to_vec(), None);
        let (given, _) = table_of(&plain.into())?;
        let given = given.take(&places);
        let mut changed = table.clone();
        for (name, values) in given.columns {
            changed.columns.retain(|(n, _)| *n != name);
            changed.columns.push((name, values));
        }
        let control = Control::default();
        let (now, then) = (model.predict(&table, &control).map_err(fit_error)?, model.predict(&changed, &control).map_err(fit_error)?);
        let mut columns = [vec![None; rows.len()], vec![None; rows.len()], vec![None; rows.len()]];
        for ((place, a), b) in places.into_iter().zip(now).zip(then) {
            columns[0][place] = Some(a);
            columns[1][place] = Some(b);
            columns[2][place] = Some(b - a);
        }
        let valid: Vec<bool> = rows.iter().map(Option::is_some).collect();
        let arrays = columns.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef).to_vec();
        Ok(Arc::new(StructArray::new(fields(), arrays, Some(NullBuffer::from(valid)))))
    }
}

#[async_trait]
impl CustomerFunction for WhatIf {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        let frame = pin.frame(&fitted).await?;
        Ok(Kernel::Lists(Arc::new(Asked { fitted, frame })))
    }
}
