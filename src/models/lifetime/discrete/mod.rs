//! Models in discrete time: a customer does or does not purchase in a period, and does or does not renew a subscription for it.
//!
//! * [`BgBb`]: without a contract, such as one donation a year or one visit a month; departure goes unseen.
//! * [`ShiftedBetaGeometric`], [`BetaDiscreteWeibull`]: with a contract, such as a subscription paid for month by month; departure shows.
//!
//! The rest of the library counts days. [`Periodic`] goes between: it makes periods of days for the process, and days of its answers.
//!
//! A purchase here is a period with a purchase: several of them in a period count as one (their value does count: days a purchase), and the log-likelihood is that of the periods, not comparable
//! to those of models in days.

mod bg_bb;
mod periodic;
mod retention;
mod sums;

pub use bg_bb::BgBb;
pub use periodic::Periodic;
pub use retention::{BetaDiscreteWeibull, ShiftedBetaGeometric};

use std::sync::Arc;

use super::{FIRST_PURCHASE, Fit, FitOptions, L2, SPEND, Sample};
use crate::models::{Allowed, AnyPurchases, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, days};
use periodic::{Calendar, Periods};

/// `model_type = 'bg_bb'`.
pub static BG_BB: ModelType =
    periodic::<BgBb>("BG/BB: in each period a living customer purchases or does not, and may depart before it", WITHOUT_CONTRACT);

/// `model_type = 'sbg'`.
pub static SBG: ModelType =
    periodic::<ShiftedBetaGeometric>("shifted-beta-geometric: subscriptions, each renewed with a chance of its own", WITH_CONTRACT);

/// `model_type = 'beta_discrete_weibull'`.
pub static BETA_DISCRETE_WEIBULL: ModelType = periodic::<BetaDiscreteWeibull>(
    "beta-discrete-Weibull: subscriptions, with a chance of renewal that changes with tenure",
    WITH_CONTRACT,
);

const PERIOD: OptionSpec = OptionSpec {
    name: "period",
    default: "30 days",
    allowed: Allowed::Days { least: 1.0, most: 3650.0 },
    about: "length of an opportunity to purchase, or of a contract, in whole days",
};
const GRACE: OptionSpec = OptionSpec {
    name: "grace",
    default: "7 days",
    allowed: Allowed::Days { least: 0.0, most: 3650.0 },
    about: "how many days late a renewal may come: a subscription is lost once its last purchase is older than period + grace",
};
static WITHOUT_CONTRACT: &[OptionSpec] = &[PERIOD, SPEND, FIRST_PURCHASE, L2];
static WITH_CONTRACT: &[OptionSpec] = &[PERIOD, GRACE, SPEND, FIRST_PURCHASE, L2];

/// The type of a model in periods.
const fn periodic<M: Periods>(about: &'static str, options: &'static [OptionSpec]) -> ModelType {
    fn fit_any<M: Periods>(data: &Sample<'_>, options: &Options, control: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
        let calendar = Calendar { period: whole_days(options, "period")?, grace: whole_days(options, "grace")? };
        let options = FitOptions { start: data.start.map(<[f64]>::to_vec), l2: options.number("l2"), ..FitOptions::default() };
        Ok(Periodic::<M>::fit(data.counts, calendar, &options, control)?.map(|model| Arc::new(model) as AnyPurchases))
    }
    fn read_any<M: Periods>(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
        Ok(Arc::new(Periodic::<M>::from_parts(parts)?))
    }
    ModelType {
        name: M::NAME,
        about,
        options,
        in_auto: false,
        baseline: false,
        make: Make::Purchases { fit: fit_any::<M>, read: read_any::<M> },
    }
}

/// The days of an option; 0 where the model has no such option.
fn whole_days(options: &Options, name: &str) -> Result<u32, ModelError> {
    let given = options.get(name);
    match days(given) {
        None if given.is_empty() => Ok(0),
        Some(days) if days.fract() == 0.0 && (0.0..=3650.0).contains(&days) => Ok(days as u32),
        _ => Err(ModelError::Option {
            option: name.into(),
            given: given.into(),
            allowed: "a whole number of days, such as '30 days'".into(),
        }),
    }
}
