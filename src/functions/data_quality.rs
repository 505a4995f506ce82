//! `data_quality([relation])`: what is wrong with the events, how much, and how to mend it.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::prelude::*;
use crate::events::{data_quality, data_quality_schema};

#[derive(Debug)]
pub struct DataQuality;

static SPEC: FunctionSpec = FunctionSpec {
    name: "data_quality",
    section: "Data",
    form: Form::Table,
    arguments: &[Argument { name: "relation", kind: ArgKind::Text, default: Some("tenure.events"), about: "the relation to check" }],
    returns: "",
    unit: "",
    columns: &[
        ("check", "Utf8", "what was looked for"),
        ("column", "Utf8", "the column concerned"),
        ("rows_bad", "Int64", "rows found; for accepted column names 0"),
        ("share", "Float64", "of all rows, 0 to 1"),
        ("severity", "Utf8", "error: the row is not used; warning: it may mislead; info"),
        ("example", "Utf8", "one row found"),
        ("fix_sql", "Utf8", "what to write in the view"),
    ],
    summary: "Problems of the event log, with counts, examples and the SQL that mends them.",
    behaviour: &[
        "One row a check, problems first; a check without findings has rows_bad = 0 and severity 'ok'.",
        "Nothing is changed: cleaning is plain SQL in the view, and fix_sql is the condition to add there.",
    ],
    nulls: "",
    method: "One pass of counts over the relation, one for exact duplicates.",
    source: "",
    limits: "",
    example: "SELECT \"check\", \"column\", rows_bad, severity FROM data_quality() ORDER BY rows_bad DESC, 1, 2 LIMIT 3",
};

#[async_trait]
impl RelationFunction for DataQuality {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(data_quality_schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let relation = args.text("relation").unwrap_or(pin.config().events());
        Ok(data_quality(pin.state(), pin.config(), relation).await?.project(projection)?)
    }
}
