//! `functions()`: the reference of every function, from the specs themselves.

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::prelude::*;

#[derive(Debug)]
pub struct Functions;

static SPEC: FunctionSpec = FunctionSpec {
    name: "functions",
    section: "Help",
    form: Form::Table,
    arguments: &[],
    returns: "",
    unit: "",
    columns: &[
        ("name", "Utf8", "name of the function"),
        ("section", "Utf8", "what it is about"),
        ("form", "Utf8", "scalar, table, or both; aggregate"),
        ("signature", "Utf8", "arguments with their defaults"),
        ("returns", "Utf8", "type of the scalar, or columns of the table"),
        ("unit", "Utf8", "unit of the answer"),
        ("summary", "Utf8", "what it answers"),
        ("nulls", "Utf8", "what NULL, unknown and thin users get"),
        ("method", "Utf8", "how it is computed"),
        ("source", "Utf8", "where the method is published"),
        ("example", "Utf8", "a statement that runs on a simulated shop"),
    ],
    summary: "The reference of every tenure function.",
    behaviour: &["Help at the prompt and the reference pages are made from the same source."],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "SELECT name, signature FROM functions() WHERE section = 'Churn' ORDER BY name",
};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(SPEC.columns.iter().map(|(n, _, _)| Field::new(*n, DataType::Utf8, true)).collect::<Vec<_>>()))
}

#[async_trait]
impl RelationFunction for Functions {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, _: &dyn Pin, _: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let specs: Vec<&FunctionSpec> = super::specs().collect();
        let text = |f: &dyn Fn(&FunctionSpec) -> String| -> ArrayRef {
            let one = |s: &&FunctionSpec| Some(f(s)).filter(|t| !t.is_empty());
            Arc::new(specs.iter().map(one).collect::<StringArray>())
        };
        let returns = |s: &FunctionSpec| match s.returns {
            "" => s.columns.iter().map(|c| c.0).collect::<Vec<_>>().join(", "),
            r => r.to_owned(),
        };
        let columns = vec![
            text(&|s| s.name.into()),
            text(&|s| s.section.into()),
            text(&|s| s.form.to_string()),
            text(&|s| s.signature()),
            text(&returns),
            text(&|s| s.unit.into()),
            text(&|s| s.summary.into()),
            text(&|s| s.nulls.into()),
            text(&|s| s.method.into()),
            text(&|s| s.source.into()),
            text(&|s| s.example.into()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
