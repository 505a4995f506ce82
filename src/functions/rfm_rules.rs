//! `rfm_rules()`: the rule table behind segment(), ready to be copied and edited.

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use datafusion::common::plan_err;

use super::prelude::*;
use crate::models::segment::{Rule, default_rules};

#[derive(Debug)]
pub struct RfmRules;

static SPEC: FunctionSpec = FunctionSpec {
    name: "rfm_rules",
    section: "Segments",
    form: Form::Table,
    arguments: &[],
    returns: "",
    unit: "",
    columns: &[
        ("priority", "Int64", "the matching rule with the smallest number wins"),
        ("segment", "Utf8", "name of the segment"),
        ("r_min", "Int64", "smallest recency score, 1 to 5"),
        ("r_max", "Int64", "largest recency score"),
        ("f_min", "Int64", "smallest frequency score"),
        ("f_max", "Int64", "largest frequency score"),
        ("m_min", "Int64", "smallest monetary score"),
        ("m_max", "Int64", "largest monetary score"),
    ],
    summary: "The built-in rules that turn RFM scores into segments.",
    behaviour: &[
        "Copy it, edit the copy, and point to it: SET tenure.rfm_rules = 'my_rules'. Every combination of scores must be covered by some rule.",
    ],
    nulls: "",
    method: "",
    source: "The segment names are those of Shopify's RFM report",
    limits: "",
    example: "SELECT * FROM rfm_rules() ORDER BY priority LIMIT 3",
};

const BOUNDS: [&str; 6] = ["r_min", "r_max", "f_min", "f_max", "m_min", "m_max"];

fn schema() -> SchemaRef {
    let mut fields = vec![Field::new("priority", DataType::Int64, false), Field::new("segment", DataType::Utf8, false)];
    fields.extend(BOUNDS.map(|b| Field::new(b, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Reads rules from batches with the columns of `rfm_rules()`.
pub fn read(relation: &str, batches: &[RecordBatch]) -> Result<Vec<Rule>> {
    let mut rules = vec![];
    for b in batches {
        let column = |name: &str, t: &DataType| -> Result<ArrayRef> {
            match b.column_by_name(name) {
                Some(c) if c.null_count() == 0 => Ok(cast(c, t)?),
                Some(_) => plan_err!("column {name} of '{relation}' has NULLs: segment rules have none"),
                None => plan_err!("'{relation}' has no column {name}: segment rules have the columns of rfm_rules()"),
            }
        };
        let (priority, segment) = (column("priority", &DataType::Int64)?, column("segment", &DataType::Utf8)?);
        let bounds = BOUNDS.iter().map(|n| column(n, &DataType::Int64)).collect::<Result<Vec<_>>>()?;
        for i in 0..b.num_rows() {
            let at = |k: usize| bounds[k].as_primitive::<Int64Type>().value(i).clamp(0, 255) as u8;
            rules.push(Rule {
                priority: priority.as_primitive::<Int64Type>().value(i) as i32,
                segment: segment.as_string::<i32>().value(i).to_owned(),
                r_min: at(0),
                r_max: at(1),
                f_min: at(2),
                f_max: at(3),
                m_min: at(4),
                m_max: at(5),
            });
        }
    }
    Ok(rules)
}

#[async_trait]
impl RelationFunction for RfmRules {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, _: &dyn Pin, _: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let rules = default_rules();
        let bound = |f: fn(&Rule) -> u8| Arc::new(rules.iter().map(|r| i64::from(f(r))).collect::<Int64Array>()) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rules.iter().map(|r| i64::from(r.priority)).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(rules.iter().map(|r| r.segment.as_str()))),
            bound(|r| r.r_min),
            bound(|r| r.r_max),
            bound(|r| r.f_min),
            bound(|r| r.f_max),
            bound(|r| r.m_min),
            bound(|r| r.m_max),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
