//! `historic_value(user_id)`: value already realised.

use super::common::{USER, need_amount, values};
use super::prelude::*;
use datafusion::arrow::array::Float64Array;

#[derive(Debug)]
pub struct HistoricValue;

static SPEC: FunctionSpec = FunctionSpec {
    name: "historic_value",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "Realised net value of a customer: purchases less refunds, up to as_of.",
    behaviour: &[
        "Summed exactly in millionths of the unit: the total depends neither on threads nor on the order of rows.",
        "A purchase with a negative amount, and a refund, count against value.",
    ],
    nulls: "NULL user → NULL. A user who is not in `events` → NULL. Known, but never purchased → 0 less refunds.",
    method: "Sum of amounts of purchases less amounts of refunds.",
    source: "definition",
    limits: "",
    example: "SELECT user_id, historic_value(user_id) AS realised FROM customers() ORDER BY 2 DESC, 1 LIMIT 3",
};

#[async_trait]
impl CustomerFunction for HistoricValue {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, _: &CallArgs) -> Result<Kernel> {
        need_amount(pin, "historic_value").await?;
        let customers = pin.customers().await?;
        Ok(values((0..customers.len()).map(|c| Some(customers.net_value(c))).collect::<Float64Array>()))
    }
}
