//! `churn_prob(user_id)`: probability of no purchase.

use datafusion::common::plan_err;

use super::common::{FHL, NULLS, USER, by_lifetime, horizon};
use super::labelled::of_model;
use super::pin::Versioned;
use super::prelude::*;
use crate::models::Family;
use crate::models::supervised::{Definition, Supervised, Task};

#[derive(Debug)]
pub struct ChurnProb;

pub const CHURN_MODEL: Argument = Argument {
    name: "model",
    kind: ArgKind::Model,
    default: Some("auto"),
    about: "a lifetime model, or one made by CREATE MODEL ... PREDICT; default: the auto model",
};

static SPEC: FunctionSpec = FunctionSpec {
    name: "churn_prob",
    section: "Churn",
    form: Form::Scalar,
    arguments: &[USER, horizon("90"), CHURN_MODEL],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability that the customer makes no purchase within the horizon.",
    behaviour: &[
        "In [0, 1].",
        "Not 1 − p_alive: a customer who is alive may still not buy within the horizon.",
        "With a log of at least five times the horizon and 1,000 customers with a purchase, it is the answer of the model auto_churn_<days>: the winner of a tournament, on a window that is not the one it is evaluated on, of the closed form and of learned models, calibrated. SHOW MODELS says which it is, training_log('auto_churn_90') what was played, evaluate('auto_churn_90') how good it is beside the base rate and the closed form.",
        "With less, or a horizon that is no whole number of days: the closed form, by the lifetime model.",
        "model => a lifetime model: its closed form. model => a model of CREATE MODEL ... PREDICT: its probability, of its own window, of what its label calls churn; of a label that is a purchase (count(*) FILTER (WHERE event_type = 'purchase') > 0) what that leaves.",
    ],
    nulls: NULLS,
    method: "P(no purchase in h) = 1 − P(alive)·(1 − ((α+T)/(α+T+h))^(r+x)), exact for BG/NBD; or a supervised model of the window after as_of, see docs/methods.md.",
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(churn_prob(user_id), 4) AS churn_90d FROM customers() ORDER BY churn_prob(user_id) DESC, user_id LIMIT 3",
};

/// The horizon unless told otherwise.
pub const DAYS: f64 = 90.0;

/// Fewest customers with a purchase, and lengths of the horizon that the log must have, to learn from.
const FEWEST: usize = 1_000;
const WINDOWS: f64 = 5.0;

/// The learned model behind a call: that which is named, or the auto model of its horizon; `None` where the closed form answers.
pub async fn learned(pin: &dyn Pin, args: &CallArgs, default_days: f64) -> Result<Option<Arc<Versioned<Supervised>>>> {
    let snapshot = pin.snapshot().await?;
    let days = args.days("horizon", snapshot.as_of_us, default_days);
    if let Some(name) = args.text("model").filter(|n| *n != "auto") {
        let supervised = |v: &crate::store::VersionInfo| v.family == Family::Supervised.name();
        if !pin.store().model(name).as_ref().and_then(|m| m.active_version()).is_some_and(supervised) {
            return Ok(None);
        }
        let fitted = pin.supervised(name).await?;
        let window = match &fitted.model.definition {
            Definition::Window { days, .. } => f64::from(*days),
            Definition::Query { .. } => days,
        };
        if fitted.model.task == Task::Regression {
            return plan_err!("{}(): model '{name}' foretells a number, not a probability", args.spec.name);
        }
        if args.span("horizon").is_some() && (window - days).abs() > 1e-9 {
            return plan_err!("{}(): model '{name}' speaks of {window} days, not of {days}: leave the horizon out", args.spec.name);
        }
        return Ok(Some(fitted));
    }
    let long = (snapshot.as_of_us - snapshot.min_us) as f64 >= WINDOWS * days * crate::features::DAY_US as f64;
    if days.fract() != 0.0 || !(7.0..=365.0).contains(&days) || !long || pin.customers().await?.today().len() < FEWEST {
        return Ok(None);
    }
    match pin.churn(days as u32).await {
        Err(e) if too_little(&e) => Ok(None),
        fitted => fitted.map(Some),
    }
}

#[async_trait]
impl CustomerFunction for ChurnProb {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        no_purchase(pin, args, learned(pin, args, DAYS).await?, DAYS).await
    }
}

/// P(no purchase within the horizon) of every customer, by what is [`learned`] or else the lifetime model.
pub async fn no_purchase(pin: &dyn Pin, args: &CallArgs, learned: Option<Arc<Versioned<Supervised>>>, default_days: f64) -> Result<Kernel> {
    if let Some(fitted) = learned {
        let of_purchase = fitted.model.definition.is_churn() == Some(false);
        return of_model(pin, fitted, move |model, frame, control| {
            let predicted = model.predict(&frame.table, control).map_err(fit_error)?;
            Ok(predicted.into_iter().map(|p| Some(if of_purchase { 1.0 - p } else { p })).collect())
        })
        .await;
    }
    let days = args.days("horizon", pin.snapshot().await?.as_of_us, default_days);
    by_lifetime(pin, args.text("model"), move |model, _, counts, control| model.purchases.p_no_purchase_all(counts, days, control)).await
}
