//! `total_value(user_id)`: realised plus expected value.

use super::common::{MODEL, NULLS, USER, endless_horizon, floats};
use super::prelude::*;
use super::{clv::Clv, historic_value::HistoricValue};
use datafusion::arrow::compute::kernels::numeric::add;
use datafusion::common::internal_err;

#[derive(Debug)]
pub struct TotalValue;

static SPEC: FunctionSpec = FunctionSpec {
    name: "total_value",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, endless_horizon("365"), MODEL],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "Realised net value plus clv of the horizon.",
    behaviour: &["historic_value(user_id) + clv(user_id, horizon, model)."],
    nulls: NULLS,
    method: "Realised value, and expected value as in clv.",
    source: "definition",
    limits: "",
    example: "SELECT user_id, round(total_value(user_id), 2) AS total FROM customers() ORDER BY total_value(user_id) DESC, user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for TotalValue {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (past, future) = (HistoricValue.bind(pin, args).await?, Clv.bind(pin, args).await?);
        match (floats(&past), floats(&future)) {
            (Some(p), Some(f)) => Ok(Kernel::Values(add(p, f)?)),
            _ => internal_err!("value kernels are Float64"),
        }
    }
}
