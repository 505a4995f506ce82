//! `bayes_propensity(user_id, item_id)`: Bayes' rule on counts.

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{Field, Fields};
use datafusion::common::plan_err;

use super::common::{USER, horizon};
use super::customer::Lists;
use super::pin::blocking;
use super::prelude::*;
use super::similar_items::ITEM;
use crate::events::kind;
use crate::features::{DAY_US, Evidence, NO_CODE, Signs};
use crate::models::ModelError;
use crate::models::propensity::{Tally, Trials, share, smoothed};

#[derive(Debug)]
pub struct BayesPropensity;

static SPEC: FunctionSpec = FunctionSpec {
    name: "bayes_propensity",
    section: "Recommendation",
    form: Form::Scalar,
    arguments: &[
        USER,
        Argument { about: "the key of an item, or of a category", ..ITEM },
        Argument {
            name: "evidence",
            kind: ArgKind::Text,
            default: Some("'view'"),
            about: "the type of event that is evidence of interest",
        },
        Argument {
            name: "window",
            kind: ArgKind::DaysOrInfinity,
            default: Some("7"),
            about: "how far back evidence counts, or 'infinity': one trial a customer",
        },
        Argument {
            kind: ArgKind::DaysOrInfinity,
            about: "how long after a moment a purchase counts, or 'infinity' with window",
            ..horizon("30")
        },
        Argument { name: "by", kind: ArgKind::Text, default: Some("'item'"), about: "'item', or 'category' of the relation items" },
        Argument { name: "step", kind: ArgKind::Days, default: Some("7"), about: "days from one moment to the next" },
        Argument { name: "cutoffs", kind: ArgKind::Count, default: Some("all"), about: "how many moments at most, the latest ones" },
    ],
    returns: "Struct{prior, likelihood, evidence, posterior, smoothed, lift, n, shown, propensity}",
    unit: "probabilities from 0 to 1; n: trials",
    columns: &[],
    summary: "How probable a purchase is once there is evidence of interest, with the four terms of Bayes' rule and the counts they are made of.",
    behaviour: &[
        "A trial is a customer at a moment, from the customer's first event on. A: the customer buys the item within horizon after the moment. B: there was evidence in the window up to it.",
        "prior = P(A), likelihood = P(B|A), evidence = P(B), posterior = P(A|B) = likelihood · prior / evidence, lift = posterior / prior: raw shares, NULL where there is nothing to divide by.",
        "smoothed = (k + 1) / (n + 2), Laplace's rule, for P(A|B): an item seen once is not bought always or never.",
        "n = {trials, purchase, evidence, both}: the raw counts.",
        "shown: whether this customer has shown the evidence in the window up to as_of. propensity: the smoothed P(A|B) where it is so, the smoothed P(A|not B) where not.",
        "The last moment is a horizon before as_of, the others step days apart before it, as far back as the log has a window. evidence => 'purchase' tells how often what was bought is bought again.",
        "window => 'infinity', horizon => 'infinity': one trial a customer over the whole log; both = a purchase with the first evidence or after it.",
    ],
    nulls: "NULL or unknown user, NULL or unknown item (or category) → NULL.",
    method: "Counts of trials; Laplace smoothing.",
    source: "Bayes (1763); Laplace (1774)",
    limits: "An event that carries no item is evidence of none. Trials of one customer overlap: the counts tell shares, not how certain they are. An item is judged by its own history alone: recommend() learns from others.",
    example: "SELECT item_id, round(p['prior'], 4) AS prior, round(p['posterior'], 4) AS posterior, p['n']['both'] AS both FROM (SELECT item_id, bayes_propensity('u0000007', item_id) AS p FROM (VALUES ('P00001'), ('P00002')) AS t(item_id))",
};

fn counts() -> Fields {
    ["trials", "purchase", "evidence", "both"].map(|n| Field::new(n, DataType::Int64, false)).to_vec().into()
}

fn fields() -> Fields {
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    let mut out = ["prior", "likelihood", "evidence", "posterior", "smoothed", "lift"].map(float).to_vec();
    out.push(Field::new("n", DataType::Struct(counts()), true));
    out.push(Field::new("shown", DataType::Boolean, true));
    out.push(float("propensity"));
    out.into()
}

/// What a call asks for.
struct Ask {
    evidence: i8,
    by_category: bool,
    trials: Trials,
}

impl Ask {
    async fn of(pin: &dyn Pin, args: &CallArgs) -> Result<Self> {
        let refuse = |name: &str, given: &str, allowed: &str| {
            plan_err!("bayes_propensity(): {name} = '{given}': allowed is {allowed}. Form: {}", SPEC.signature())
        };
        let given = args.text("evidence").unwrap_or("view");
        let Some(at) = kind::NAMES.iter().position(|n| n.eq_ignore_ascii_case(given)) else {
            return refuse("evidence", given, &kind::NAMES.join(", "));
        };
        let evidence = at as i8 + 1;
        let by = args.text("by").unwrap_or("item");
        let by_category = by.eq_ignore_ascii_case("category");
        if !by_category && !by.eq_ignore_ascii_case("item") {
            return refuse("by", by, "'item', 'category'");
        }
        let snapshot = pin.snapshot().await?;
        let days = |name: &str, default: f64| args.days(name, snapshot.as_of_us, default);
        let (window, horizon, step) = (days("window", 7.0), days("horizon", 30.0), days("step", 7.0));
        if window.is_infinite() != horizon.is_infinite() {
            return plan_err!(
                "bayes_propensity(): window => 'infinity' and horizon => 'infinity' go together: one trial a customer, over the whole log"
            );
        }
        if window.is_infinite() && evidence == kind::PURCHASE {
            return plan_err!(
                "bayes_propensity(): evidence => 'purchase' needs a window, such as 30 days: over the whole log every purchase would be evidence of itself"
            );
        }
        let us = |days: f64| ((days * DAY_US as f64) as i64).max(1);
        let most = args.whole("cutoffs", u64::MAX);
        let trials = match window.is_infinite() {
            true => Some(Trials::Once),
            false => Trials::moments(snapshot.min_us, snapshot.as_of_us, us(window), us(horizon), us(step), most),
        };
        match trials {
            Some(trials) => Ok(Self { evidence, by_category, trials }),
            None => Err(fit_error(ModelError::TooLittleData(format!(
                "bayes_propensity(): the log has to be as long as window and horizon together, {} days",
                window + horizon
            )))),
        }
    }
}

#[async_trait]
impl CustomerFunction for BayesPropensity {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let ask = Ask::of(pin, args).await?;
        let (snapshot, customers) = (pin.snapshot().await?, pin.customers().await?);
        let known = if ask.by_category { Some(pin.categories().await?) } else { None };
        let categories = known.as_ref().and_then(|known| known.0.as_ref());
        if ask.by_category && categories.is_none() {
            return plan_err!(
                "bayes_propensity(): by => 'category' needs a relation items with item_id and category: CREATE VIEW items AS SELECT DISTINCT item_id, category FROM events"
            );
        }
        let signs = Signs::read(pin.state(), &snapshot, &customers, categories, ask.evidence).await?;
        blocking(Control::default(), move |control| Ok(Kernel::Lists(Arc::new(signs.count(ask.trials, control)?)))).await
    }
}

impl Lists for Evidence {
    fn lists(&self, keys: &[ArrayRef], users: &[u32]) -> Result<ArrayRef> {
        let found = self.lookup(&keys[1])?;
        let known: Vec<bool> = found.iter().zip(users).map(|(key, user)| *key != NO_CODE && *user != NO_CODE).collect();
        let tallies: Vec<Tally> =
            known.iter().zip(&found).map(|(known, key)| if *known { self.tally(*key) } else { Tally::default() }).collect();
        let shown: Vec<bool> =
            known.iter().zip(found.iter().zip(users)).map(|(known, (key, user))| *known && self.is_shown(*key, *user)).collect();
        let n = self.trials;
        let float = |of: &dyn Fn(&Tally) -> Option<f64>| -> ArrayRef { Arc::new(tallies.iter().map(of).collect::<Float64Array>()) };
        let whole =
            |of: &dyn Fn(&Tally) -> u64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(tallies.iter().map(|t| of(t) as i64))) };
        let propensity = |(t, shown): (&Tally, &bool)| match shown {
            true => smoothed(t.both, t.evidence),
            false => smoothed(t.purchase - t.both, n - t.evidence),
        };
        let counted = vec![whole(&|_| n), whole(&|t| t.purchase), whole(&|t| t.evidence), whole(&|t| t.both)];
        let columns: Vec<ArrayRef> = vec![
            float(&|t| share(t.purchase, n)),
            float(&|t| share(t.both, t.purchase)),
            float(&|t| share(t.evidence, n)),
            float(&|t| share(t.both, t.evidence)),
            float(&|t| Some(smoothed(t.both, t.evidence))),
            float(&|t| Some(share(t.both, t.evidence)? / share(t.purchase, n).filter(|p| *p > 0.0)?)),
            Arc::new(StructArray::try_new(counts(), counted, None)?),
            Arc::new(BooleanArray::from(shown.clone())),
            Arc::new(tallies.iter().zip(&shown).map(propensity).map(Some).collect::<Float64Array>()),
        ];
        Ok(Arc::new(StructArray::try_new(fields(), columns, Some(NullBuffer::from(known)))?))
    }
}
