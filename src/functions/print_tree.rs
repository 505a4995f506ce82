//! `print_tree('m')`: a decision tree as indented text.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{integers_of, rows_of, texts_of};
use super::labelled::{MODEL, TREE, tree};
use super::prelude::*;
use crate::models::supervised::text;

#[derive(Debug)]
pub struct PrintTree;

static SPEC: FunctionSpec = FunctionSpec {
    name: "print_tree",
    section: "Prediction",
    form: Form::Table,
    arguments: &[MODEL, TREE],
    returns: "",
    unit: "",
    columns: &[("line", "Int64", "number of the line"), ("text", "Utf8", "a question, or what a leaf says and of how many training rows")],
    summary: "A decision tree as indented text, a line a question and a leaf.",
    behaviour: &["Of a random_forest or a gbt, one of its trees."],
    nulls: "",
    method: "",
    source: "Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees",
    limits: "",
    example: "CREATE MODEL tree2 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'decision_tree', max_depth = 2); SELECT count(*) > 1 AS lines FROM print_tree('tree2')",
};

#[async_trait]
impl RelationFunction for PrintTree {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (fitted, at) = tree(pin, args).await?;
        let printed = text(&fitted.model.predictor.trees()[at], &fitted.model.encoder.columns());
        let rows: Vec<(u64, &str)> = (1..).zip(printed.lines()).collect();
        let columns: Vec<ArrayRef> = vec![integers_of(&rows, |r| r.0), texts_of(&rows, |r| Some(r.1.to_owned()))];
        rows_of(&SPEC, columns, projection)
    }
}
