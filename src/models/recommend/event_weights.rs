//! How much each kind of event counts, and how soon it is forgotten.

use crate::models::{Allowed, ModelError, OptionSpec, Options, Part, part};

/// What every recommender takes besides its own options.
pub static EVENT_OPTIONS: &[OptionSpec] = &[
    weight("view_weight", "0", "how much having viewed an item counts; 0 leaves views out where there are purchases or ratings"),
    weight("cart_weight", "0", "how much having put it into a cart counts; 0 leaves carts out likewise"),
    weight("purchase_weight", "1", "how much having bought it counts"),
    weight("rating_weight", "1", "how much having rated it counts"),
    OptionSpec {
        name: "half_life",
        default: "36500 days",
        allowed: Allowed::Days { least: 1.0, most: 36_500.0 },
        about: "after so many days an event counts half; 36500 days = not forgotten",
    },
    OptionSpec {
        name: "max_runtime",
        default: "120",
        allowed: Allowed::Whole { least: 1, most: 86_400 },
        about: "model_type = 'auto': seconds that the choice of type and options may take",
    },
];

const fn weight(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { name, default, allowed: Allowed::Number { least: 0.0, most: 1_000.0 }, about }
}

/// The weight of a user's interaction with an item is the largest of the kinds of event there were, times 2^(−age / half-life).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventWeights {
    pub view: f64,
    pub cart: f64,
    pub purchase: f64,
    pub rating: f64,
    /// Above 0; infinite where nothing is forgotten.
    pub half_life_days: f64,
}

/// The half-life from which nothing is forgotten.
const NEVER: f64 = 36_500.0;

impl EventWeights {
    /// Purchases and ratings count alike, for ever, and nothing else does: the defaults.
    pub const ALIKE: Self = Self { view: 0.0, cart: 0.0, purchase: 1.0, rating: 1.0, half_life_days: f64::INFINITY };

    pub fn of(options: &Options) -> Self {
        let days = crate::models::days(options.get("half_life")).unwrap_or(NEVER);
        Self {
            view: options.number("view_weight"),
            cart: options.number("cart_weight"),
            purchase: options.number("purchase_weight"),
            rating: options.number("rating_weight"),
            half_life_days: if days >= NEVER { f64::INFINITY } else { days },
        }
    }

    pub fn to_part(self) -> Part {
        let half_life = self.half_life_days.min(NEVER);
        let values = [("view", self.view), ("cart", self.cart), ("purchase", self.purchase), ("rating", self.rating)];
        Part::row("event_weights", &[&values[..], &[("half_life_days", half_life)]].concat())
    }

    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let part = part(parts, "event_weights")?;
        let half_life = part.positive("half_life_days")?;
        Ok(Self {
            view: part.number("view")?,
            cart: part.number("cart")?,
            purchase: part.number("purchase")?,
            rating: part.number("rating")?,
            half_life_days: if half_life >= NEVER { f64::INFINITY } else { half_life },
        })
    }
}
