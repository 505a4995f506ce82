//! `predict_rows('m', (query))`: the rows of a query, scored.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StructArray, new_null_array};
use datafusion::arrow::datatypes::{Field, Fields};
use datafusion::common::exec_err;
use datafusion::execution::SessionState;

use super::customer::Lists;
use super::labelled::MODEL;
use super::pin::Versioned;
use super::prelude::*;
use crate::features::{table_of, transformed};
use crate::models::supervised::{Supervised, Table, Task};

#[derive(Debug)]
pub struct PredictRows;

pub const ROW: Argument = Argument {
    name: "rows",
    kind: ArgKind::Row,
    default: None,
    about: "a query in parentheses; as a scalar, a struct with a field for each feature",
};

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict_rows",
    section: "Prediction",
    form: Form::ScalarAndTable,
    arguments: &[MODEL, ROW],
    returns: "Struct{predicted_label, prediction}",
    unit: "that of the label",
    columns: &[
        ("…", "", "the columns of the query"),
        ("predicted_label", "Utf8", "of a classifier, the class with a probability of a half at least; NULL for a number"),
        (
            "prediction",
            "Float64",
            "the probability of the class that comes later in the order of the alphabet or of numbers (TRUE, 1, Yes); or the expected number",
        ),
    ],
    summary: "Scores the rows of a query with a model of CREATE MODEL ... TARGET, or of PREDICT, whose features the query then gives.",
    behaviour: &[
        "Features are found by name, in any order and letter case. One that is missing is not known; more columns than features do no harm; numbers may come as text and text as numbers; a level that was not seen in training is none of those that were.",
        "TRANSFORM is applied to the rows as it was in training.",
        "Rows stream through: any number of them, in parallel.",
    ],
    nulls: "A NULL row → NULL; a NULL feature is one that is not known.",
    method: "That of the model's type.",
    source: "",
    limits: "",
    example: "CREATE MODEL big TARGET is_big WITH (model_type = 'decision_tree') AS SELECT orders, tenure_days, monetary > 40 AS is_big FROM (SELECT n_orders AS orders, tenure_days, monetary FROM customers()); SELECT predicted_label, count(*) AS customers FROM predict_rows('big', (SELECT n_orders AS orders, tenure_days FROM customers())) GROUP BY predicted_label ORDER BY predicted_label",
};

fn fields() -> Fields {
    vec![Field::new("predicted_label", DataType::Utf8, true), Field::new("prediction", DataType::Float64, true)].into()
}

/// The features of a struct's rows for a model.
pub fn features(model: &Supervised, rows: &StructArray, state: &SessionState) -> Result<Table> {
    let batch = RecordBatch::from(StructArray::new(rows.fields().clone(), rows.columns().to_vec(), None));
    let (mut table, _) = table_of(&batch)?;
    if let Some(exprs) = model.definition.transform() {
        table = transformed(state, &batch, &table, exprs, None)?.0;
    }
    for (name, _) in &mut table.columns {
        // As the model spells it.
        let own = model.encoder.features.iter().find(|f| f.name.eq_ignore_ascii_case(name));
        if let Some(f) = own {
            name.clone_from(&f.name);
        }
    }
    Ok(table)
}

struct Scorer {
    fitted: Arc<Versioned<Supervised>>,
    state: SessionState,
}

impl Lists for Scorer {
    fn lists(&self, keys: &[ArrayRef], _: &[u32]) -> Result<ArrayRef> {
        if keys[0].data_type().is_null() {
            return Ok(new_null_array(&DataType::Struct(fields()), keys[0].len()));
        }
        let Some(rows) = keys[0].as_struct_opt() else {
            return exec_err!("predict_rows(): a query or a struct of features is needed, not a value of type {}", keys[0].data_type());
        };
        let model = &self.fitted.model;
        let predictions = model.predict(&features(model, rows, &self.state)?, &Control::default()).map_err(fit_error)?;
        let label = |p: &f64| match (&model.classes, model.task) {
            (_, Task::Regression) => None,
            (Some(classes), _) => Some(classes[usize::from(*p >= 0.5)].clone()),
            (None, _) => Some((*p >= 0.5).to_string()),
        };
        let labels: StringArray = predictions.iter().map(label).collect();
        Ok(Arc::new(StructArray::new(fields(), vec![Arc::new(labels), Arc::new(Float64Array::from(predictions))], rows.nulls().cloned())))
    }
}

#[async_trait]
impl CustomerFunction for PredictRows {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        Ok(Kernel::Lists(Arc::new(Scorer { fitted, state: pin.state().clone() })))
    }
}
