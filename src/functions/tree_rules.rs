//! `tree_rules('m')`: the leaves of a decision tree as conditions in SQL.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, integers_of, rows_of, texts_of};
use super::labelled::{MODEL, TREE, tree};
use super::prelude::*;
use crate::models::supervised::rules;

#[derive(Debug)]
pub struct TreeRules;

static SPEC: FunctionSpec = FunctionSpec {
    name: "tree_rules",
    section: "Prediction",
    form: Form::Table,
    arguments: &[MODEL, TREE],
    returns: "",
    unit: "",
    columns: &[
        ("rule", "Int64", "the leaf, from left to right"),
        ("condition", "Utf8", "condition in SQL on the columns of the model, which every row meets of exactly one leaf"),
        ("rows", "Float64", "training rows that meet it"),
        ("share", "Float64", "of all training rows"),
        (
            "value",
            "Float64",
            "what the tree says there: a probability (before calibration) or a number; of a tree of gbt, what it adds to the score",
        ),
    ],
    summary: "A decision tree as rules that can be read, selected and used in WHERE.",
    behaviour: &["Of a random_forest or a gbt, one of its trees."],
    nulls: "",
    method: "",
    source: "Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees",
    limits: "A level is a column feature=level of 0 and 1.",
    example: "CREATE MODEL tree1 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'decision_tree', max_depth = 2); SELECT round(sum(share), 6) AS all_rows FROM tree_rules('tree1')",
};

#[async_trait]
impl RelationFunction for TreeRules {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (fitted, at) = tree(pin, args).await?;
        let leaves = rules(&fitted.model.predictor.trees()[at], &fitted.model.encoder.columns());
        let rows: Vec<_> = (1..).zip(leaves).collect();
        let columns: Vec<ArrayRef> = vec![
            integers_of(&rows, |r| r.0),
            texts_of(&rows, |r| Some(r.1.condition.clone())),
            floats_of(&rows, |r| Some(r.1.rows)),
            floats_of(&rows, |r| Some(r.1.share)),
            floats_of(&rows, |r| Some(r.1.value)),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
