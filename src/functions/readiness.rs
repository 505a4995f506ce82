//! `readiness()`: which predictions this data can carry.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::customers::cannot_carry;
use super::prelude::*;
use crate::events::{Facts, Snapshot, readiness, readiness_schema};

#[derive(Debug)]
pub struct Readiness;

static SPEC: FunctionSpec = FunctionSpec {
    name: "readiness",
    section: "Data",
    form: Form::Table,
    arguments: &[],
    returns: "",
    unit: "",
    columns: &[
        ("capability", "Utf8", "clv, churn, segments or recommendations"),
        ("requirement", "Utf8", "what it needs"),
        ("needed", "Float64", "how much it needs"),
        ("actual", "Float64", "how much there is"),
        ("ok", "Boolean", "whether that is enough"),
        ("advice", "Utf8", "what to do when it is not"),
    ],
    summary: "Why a prediction can or cannot be trusted on this data.",
    behaviour: &[
        "Needed figures are the least a model is fitted on; rows whose advice says 'thin' can be answered, with wide uncertainty.",
    ],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "SELECT capability, requirement, ok FROM readiness() ORDER BY capability, requirement",
};

#[async_trait]
impl RelationFunction for Readiness {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(readiness_schema())
    }

    async fn rows(&self, pin: &dyn Pin, _: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let snapshot = match pin.snapshot().await {
            Ok(s) => s,
            // Events without a usable row carry nothing.
            Err(e) if cannot_carry(&e) => {
                let (contract, _) = Snapshot::source(pin.state(), pin.config().events()).await?;
                return Ok(readiness(&contract, &Facts::default())?.project(projection)?);
            }
            Err(e) => return Err(e),
        };
        let customers = pin.customers().await?;
        let interactions = match snapshot.contract.item_type {
            Some(_) => Some(pin.interactions().await?),
            None => None,
        };
        let facts = Facts {
            buyers: customers.orders.iter().filter(|&&o| o > 0).count(),
            repeat_buyers: customers.today().x.iter().filter(|&&x| x > 0).count(),
            days: (snapshot.as_of_us - snapshot.min_us) as f64 / crate::features::DAY_US as f64,
            valued_repeat_buyers: customers.today().mean_value.iter().filter(|&&v| v > 0.0).count(),
            items: interactions.as_ref().map_or(0, |i| i.items.len()),
            pairs: interactions.as_ref().map_or(0, |i| i.strong.last_us.len().max(i.weak.last_us.len())),
        };
        Ok(readiness(&snapshot.contract, &facts)?.project(projection)?)
    }
}
