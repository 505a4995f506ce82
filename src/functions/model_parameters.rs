//! `model_parameters('m')`: the parameters of a lifetime model, with their standard errors and intervals.

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::prelude::*;
use crate::models::lifetime::Parameter;

#[derive(Debug)]
pub struct ModelParameters;

static SPEC: FunctionSpec = FunctionSpec {
    name: "model_parameters",
    section: "Models",
    form: Form::Table,
    arguments: &[Argument { name: "model", kind: ArgKind::Model, default: Some("auto"), about: "name of a lifetime model" }],
    returns: "",
    unit: "",
    columns: &[
        ("parameter", "Utf8", "name of the parameter, as in the paper; times are in days"),
        ("value", "Float64", "the estimate"),
        ("std_error", "Float64", "its standard error; NULL where none was estimated"),
        ("low", "Float64", "lower end of the 95 % interval"),
        ("high", "Float64", "upper end of the 95 % interval"),
    ],
    summary: "The estimated parameters of a lifetime model and how sure they are.",
    behaviour: &[
        "Standard errors are those of the observed information at the maximum; a parameter that ended on a bound has none of its own (0).",
        "Parameters that are positive by nature have intervals that are symmetric in their logarithm.",
        "`purchase.c` and `lifetime.c` are the coefficients of covariate c on the logarithms of the purchase rate and of the rate of departure.",
        "Log-likelihood, AIC and BIC are in model_info('m'), with time in days for every model type: they compare directly on the same customers.",
    ],
    nulls: "",
    method: "Inverse of the negative Hessian of the log-likelihood, by its eigenpairs.",
    source: "",
    limits: "",
    example: "CREATE MODEL value WITH (model_type = 'bg_nbd'); SELECT parameter, round(value, 2) AS value, round(std_error, 3) AS std_error FROM model_parameters('value')",
};

fn schema() -> SchemaRef {
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    let fields = vec![Field::new("parameter", DataType::Utf8, false), float("value"), float("std_error"), float("low"), float("high")];
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl RelationFunction for ModelParameters {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let fitted = pin.lifetime(args.text("model")).await?;
        let parameters = fitted.model.parameters();
        let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
        let float = |f: &dyn Fn(&Parameter) -> Option<f64>| -> ArrayRef {
            Arc::new(parameters.iter().map(|p| finite(f(p))).collect::<Float64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(parameters.iter().map(|p| &p.name))),
            float(&|p| Some(p.value)),
            float(&|p| p.error),
            float(&|p| p.interval().map(|i| i.0)),
            float(&|p| p.interval().map(|i| i.1)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
