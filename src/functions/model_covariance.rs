//! `model_covariance('m')`: the covariance of a lifetime model's parameters.

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::prelude::*;

#[derive(Debug)]
pub struct ModelCovariance;

static SPEC: FunctionSpec = FunctionSpec {
    name: "model_covariance",
    section: "Models",
    form: Form::Table,
    arguments: &[Argument { name: "model", kind: ArgKind::Model, default: Some("auto"), about: "name of a lifetime model" }],
    returns: "",
    unit: "",
    columns: &[
        ("parameter", "Utf8", "a parameter"),
        ("other", "Utf8", "another, or the same"),
        ("covariance", "Float64", "of the two estimates"),
        ("correlation", "Float64", "the same, over both standard errors; NULL where one is 0"),
    ],
    summary: "How the estimates of a lifetime model's parameters vary together.",
    behaviour: &["The diagonal holds the squares of the standard errors of model_parameters('m')."],
    nulls: "",
    method: "Inverse of the negative Hessian of the log-likelihood by the log-parameters, carried over to the parameters by the delta method.",
    source: "",
    limits: "",
    example: "CREATE MODEL value WITH (model_type = 'bg_nbd'); SELECT parameter, other, round(correlation, 3) AS correlation FROM model_covariance('value') WHERE parameter < other",
};

fn schema() -> SchemaRef {
    let text = |n: &str| Field::new(n, DataType::Utf8, false);
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    Arc::new(Schema::new(vec![text("parameter"), text("other"), float("covariance"), float("correlation")]))
}

#[async_trait]
impl RelationFunction for ModelCovariance {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let fitted = pin.lifetime(args.text("model")).await?;
        let (mut names, mut others, mut covariances, mut correlations) = (vec![], vec![], vec![], vec![]);
        for (parameters, covariance) in fitted.model.covariances() {
            for (i, a) in parameters.iter().enumerate() {
                for (j, b) in parameters.iter().enumerate() {
                    names.push(a.name.clone());
                    others.push(b.name.clone());
                    covariances.push(Some(covariance[i][j]).filter(|c| c.is_finite()));
                    let scale = (covariance[i][i] * covariance[j][j]).sqrt();
                    correlations.push(Some(covariance[i][j] / scale).filter(|c| c.is_finite()));
                }
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(StringArray::from_iter_values(others)),
            Arc::new(Float64Array::from(covariances)),
            Arc::new(Float64Array::from(correlations)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
