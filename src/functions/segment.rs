//! `segment(user_id)`: the group a customer belongs to.

use datafusion::arrow::array::AsArray;
use datafusion::common::internal_err;

use super::common::USER;
use super::prelude::*;
use super::rfm::RfmFunction;

#[derive(Debug)]
pub struct Segment;

static SPEC: FunctionSpec = FunctionSpec {
    name: "segment",
    section: "Segments",
    form: Form::Scalar,
    arguments: &[
        USER,
        Argument {
            name: "model",
            kind: ArgKind::Model,
            default: Some("'rfm'"),
            about: "a segmentation model; default: the auto RFM model",
        },
    ],
    returns: "Utf8",
    unit: "",
    columns: &[],
    summary: "The segment of a customer.",
    behaviour: &["The segment column of rfm(user_id); see there how rules and cut points work."],
    nulls: "NULL user → NULL. A user who is not in `events` → NULL. Known, but never purchased → 'prospect'.",
    method: "RFM with value cut points and an editable rule table.",
    source: "The segment names are those of Shopify's RFM report",
    limits: "",
    example: "SELECT segment(user_id) AS segment, count(*) AS users FROM customers() GROUP BY 1 ORDER BY 2 DESC, 1",
};

#[async_trait]
impl CustomerFunction for Segment {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Utf8
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        match RfmFunction.bind(pin, args).await? {
            Kernel::Values(rfm) => match rfm.as_struct().column_by_name("segment") {
                Some(s) => Ok(Kernel::Values(Arc::clone(s))),
                None => internal_err!("rfm has a segment"),
            },
            Kernel::Lists(_) => internal_err!("rfm is a struct"),
        }
    }
}
