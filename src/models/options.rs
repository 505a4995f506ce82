//! The options of CREATE MODEL ... WITH (name = value), checked once.

use std::collections::BTreeMap;

use super::ModelType;
use crate::text::{did_you_mean, quoted};

/// An option: its name, default, and which values it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionSpec {
    pub name: &'static str,
    pub default: &'static str,
    pub allowed: Allowed,
    pub about: &'static str,
}

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    OneOf(&'static [&'static str]),
    Whole {
        least: u64,
        most: u64,
    },
    /// A number of days or an interval such as '90 days'.
    Days {
        least: f64,
        most: f64,
    },
    /// A number.
    Number {
        least: f64,
        most: f64,
    },
    Text,
}

/// Length of the part of the log that models are scored on, unless `holdout` says otherwise.
pub const HOLDOUT_DAYS: f64 = 90.0;

/// Options that every model type takes.
pub static SHARED_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "split",
        default: "time",
        allowed: Allowed::OneOf(&["time", "none"]),
        about: "'time' holds out the last part of the log and scores the model on it; 'none' does not",
    },
    OptionSpec {
        name: "holdout",
        default: "90 days",
        allowed: Allowed::Days { least: 1.0, most: 3650.0 },
        about: "length of the part held out, at most a third of the log",
    },
    OptionSpec {
        name: "seed",
        default: "42",
        allowed: Allowed::Whole { least: 0, most: u64::MAX },
        about: "seed of random choices, where a model makes any",
    },
    OptionSpec { name: "comment", default: "", allowed: Allowed::Text, about: "kept with the model" },
];

impl OptionSpec {
    fn accepts(&self, value: &str) -> bool {
        match self.allowed {
            Allowed::OneOf(values) => values.contains(&value.to_lowercase().as_str()),
            Allowed::Whole { least, most } => value.parse::<u64>().is_ok_and(|n| (least..=most).contains(&n)),
            Allowed::Days { least, most } => days(value).is_some_and(|d| (least..=most).contains(&d)),
            Allowed::Number { least, most } => value.parse::<f64>().is_ok_and(|n| (least..=most).contains(&n)),
            Allowed::Text => true,
        }
    }

    /// What it takes, in words.
    pub fn takes(&self) -> String {
        match self.allowed {
            Allowed::OneOf(values) => quoted(values.iter().copied()),
            Allowed::Whole { least, most } if most == u64::MAX => format!("a whole number from {least}"),
            Allowed::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Allowed::Days { least, most } => format!("{least} to {most} days, such as '90 days'"),
            Allowed::Number { least, most } => format!("a number from {least} to {most}"),
            Allowed::Text => "text".into(),
        }
    }
}

/// Days of `'90 days'`, `'90'` or `'12 weeks'`.
pub fn days(text: &str) -> Option<f64> {
    let text = text.trim().to_lowercase();
    let (number, unit) = match text.split_once(char::is_whitespace) {
        Some((n, u)) => (n, u.trim()),
        None => (text.as_str(), "days"),
    };
    let each = match unit {
        "day" | "days" => 1.0,
        "week" | "weeks" => 7.0,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * each)
}

/// The checked options of a model: every option of its type has a value.
#[derive(Debug, Clone)]
pub struct Options {
    pub kind: &'static ModelType,
    values: BTreeMap<&'static str, String>,
}

impl Options {
    /// Checks what was given; an unknown option or a value out of range is named, with what is allowed.
    pub fn new(kind: &'static ModelType, given: &[(String, String)]) -> Result<Self, String> {
        let all: Vec<&'static OptionSpec> = kind.all_options().collect();
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(spec) = all.iter().find(|s| s.name.eq_ignore_ascii_case(name)) else {
                let names: Vec<&str> = std::iter::once("model_type").chain(all.iter().map(|s| s.name)).collect();
                let hint = did_you_mean(name, names.iter().copied(), "", "");
                return Err(format!("model_type '{}' has no option {name}{hint} Options: {}", kind.name, names.join(", ")));
            };
            if !spec.accepts(value) {
                return Err(format!("option {} = '{value}': allowed is {}", spec.name, spec.takes()));
            }
            if values.insert(spec.name, value.clone()).is_some() {
                return Err(format!("option {} is given twice", spec.name));
            }
        }
        for spec in all {
            values.entry(spec.name).or_insert_with(|| spec.default.to_owned());
        }
        Ok(Self { kind, values })
    }

    /// Names and values, the defaults included.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Whether an option has that value, letter case ignored.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).eq_ignore_ascii_case(value)
    }

    /// The value of an option that takes a whole number; 0 for any other.
    pub fn whole(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// The value of an option that takes a number; 0 for any other.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).parse().unwrap_or(0.0)
    }

    /// Length of the part of the log to score on; `None` when the model is not to be scored.
    pub fn holdout_days(&self) -> Option<f64> {
        if self.is("split", "none") { None } else { Some(days(self.get("holdout")).unwrap_or(HOLDOUT_DAYS)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODEL_TYPES;

    #[test]
    fn defaults_are_allowed_and_what_is_given_is_checked() {
        for kind in MODEL_TYPES {
            let options = Options::new(kind, &[]).unwrap();
            assert_eq!(options.holdout_days(), Some(HOLDOUT_DAYS));
            assert!(kind.all_options().all(|s| s.accepts(options.get(s.name))));
        }
        let of = |name: &str, value: &str| Options::new(MODEL_TYPES[0], &[(name.into(), value.into())]);
        assert_eq!(of("Holdout", "12 weeks").unwrap().holdout_days(), Some(84.0));
        assert_eq!(of("split", "NONE").unwrap().holdout_days(), None);
        assert!(of("holdout", "0 days").unwrap_err().contains("1 to 3650 days"));
        assert!(of("houldout", "1").unwrap_err().contains("did you mean holdout?"));
    }
}
