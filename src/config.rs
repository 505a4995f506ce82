//! The settings `SET tenure.*`. Written by hand, so that `SHOW`, `RESET` and `df_settings` see the keys with their prefix.

use std::collections::BTreeMap;

use datafusion::common::{Result, config_err};
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};

use crate::events::EventMap;
use crate::text::did_you_mean;

/// When a model is refitted because its events have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// Auto models are refitted when rows grew by more than 5 % or max(ts) moved by more than a tenth of the horizon.
    Auto,
    /// Models stay; a stale one is reported.
    Warn,
    /// A stale model is an error.
    Strict,
    /// Models stay, nothing is reported.
    Off,
}

/// One setting: its name, default, meaning, and how a value is checked.
pub struct Setting {
    pub name: &'static str,
    pub default: Option<&'static str>,
    pub description: &'static str,
    check: fn(&str) -> Result<(), String>,
}

/// Every `tenure.*` setting, by name.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "as_of",
        default: None,
        description: "The moment taken as now: nothing after it is used. Default: max(ts) of events",
        check: |v| parse_timestamp(v).map(|_| ()),
    },
    Setting {
        name: "churn_risk_cuts",
        default: Some("0.333333,0.666667"),
        description: "The two churn probabilities between low, medium and high risk",
        check: |v| parse_cuts(v).map(|_| ()),
    },
    Setting {
        name: "discount_rate",
        default: Some("0.1"),
        description: "Discount of future value, per year (0.1 = 10 %)",
        check: |v| parse_rate(v).map(|_| ()),
    },
    Setting {
        name: "event_map",
        default: Some(""),
        description: "More spellings of event types: 'page_view=view,bought=purchase'",
        check: |v| EventMap::parse(v).map(|_| ()),
    },
    Setting { name: "events", default: Some("events"), description: "The relation that holds the events", check: |_| Ok(()) },
    Setting {
        name: "margin",
        default: None,
        description: "Share of an amount that is contribution, from -1 to 1, for clv; default: items.margin where there is one, else 1",
        check: |v| parse_margin(v).map(|_| ()),
    },
    Setting {
        name: "refresh",
        default: Some("auto"),
        description: "What to do about a model whose events have changed: auto, warn, strict or off",
        check: |v| parse_refresh(v).map(|_| ()),
    },
    Setting {
        name: "rfm_rules",
        default: Some(""),
        description: "The relation that holds the segment rules (columns of rfm_rules()); empty: the built-in rules",
        check: |_| Ok(()),
    },
];

fn parse_refresh(v: &str) -> Result<Refresh, String> {
    match v.to_ascii_lowercase().as_str() {
        "auto" => Ok(Refresh::Auto),
        "warn" => Ok(Refresh::Warn),
        "strict" => Ok(Refresh::Strict),
        "off" => Ok(Refresh::Off),
        _ => Err("allowed: auto, warn, strict, off".into()),
    }
}

fn parse_rate(v: &str) -> Result<f64, String> {
    match v.parse::<f64>() {
        Ok(r) if (0.0..=10.0).contains(&r) => Ok(r),
        _ => Err("allowed: a number from 0 to 10, per year".into()),
    }
}

fn parse_margin(v: &str) -> Result<f64, String> {
    match v.parse::<f64>() {
        Ok(m) if (-1.0..=1.0).contains(&m) => Ok(m),
        _ => Err("allowed: a share of the amount from -1 to 1, such as 0.3 for 30 %".into()),
    }
}

fn parse_cuts(v: &str) -> Result<[f64; 2], String> {
    let cuts: Result<Vec<f64>, _> = v.split(',').map(|c| c.trim().parse()).collect();
    match cuts.unwrap_or_default()[..] {
        [a, b] if 0.0 < a && a < b && b < 1.0 => Ok([a, b]),
        _ => Err("allowed: two ascending probabilities, such as '0.33,0.67'".into()),
    }
}

/// A date or timestamp (UTC) in microseconds since 1970.
pub fn parse_timestamp(v: &str) -> Result<i64, String> {
    use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
    string_to_timestamp_nanos(v.trim())
        .map(|ns| ns.div_euclid(1000))
        .map_err(|_| "allowed: a date or timestamp, such as '2011-09-10' or '2011-09-10 12:00:00'".into())
}

/// The values that have been set; everything else has its default.
#[derive(Debug, Clone, Default)]
pub struct TenureConfig {
    set: BTreeMap<&'static str, String>,
}

impl TenureConfig {
    fn value(&self, name: &str) -> Option<&str> {
        let default = SETTINGS.iter().find(|s| s.name == name).and_then(|s| s.default);
        self.set.get(name).map(String::as_str).or(default)
    }

    /// Microseconds since 1970, `None` for max(ts).
    pub fn as_of_us(&self) -> Option<i64> {
        self.value("as_of").and_then(|v| parse_timestamp(v).ok())
    }

    pub fn events(&self) -> &str {
        self.value("events").unwrap_or("events")
    }

    pub fn event_map(&self) -> EventMap {
        self.value("event_map").and_then(|v| EventMap::parse(v).ok()).unwrap_or_default()
    }

    pub fn refresh(&self) -> Refresh {
        self.value("refresh").and_then(|v| parse_refresh(v).ok()).unwrap_or(Refresh::Auto)
    }

    /// Per year.
    pub fn discount_rate(&self) -> f64 {
        self.value("discount_rate").and_then(|v| parse_rate(v).ok()).unwrap_or(0.1)
    }

    /// `None` where it comes from the items, or is all of the amount.
    pub fn margin(&self) -> Option<f64> {
        self.value("margin").and_then(|v| parse_margin(v).ok())
    }

    pub fn churn_risk_cuts(&self) -> [f64; 2] {
        self.value("churn_risk_cuts").and_then(|v| parse_cuts(v).ok()).unwrap_or([1.0 / 3.0, 2.0 / 3.0])
    }

    pub fn rfm_rules(&self) -> Option<&str> {
        self.value("rfm_rules").filter(|v| !v.is_empty())
    }

    /// Back to the default.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        self.set.remove(known(name)?.name);
        Ok(())
    }
}

fn known(name: &str) -> Result<&'static Setting> {
    match SETTINGS.iter().find(|s| s.name == name) {
        Some(s) => Ok(s),
        None => {
            let names: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
            let hint = did_you_mean(name, names.iter().copied(), "tenure.", "");
            config_err!("unknown setting tenure.{name}{hint} Known: {}", names.join(", "))
        }
    }
}

impl ConfigExtension for TenureConfig {
    const PREFIX: &'static str = "tenure";
}

impl ExtensionOptions for TenureConfig {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let setting = known(key)?;
        if value.is_empty() && setting.default.is_none_or(str::is_empty) {
            self.set.remove(setting.name);
            return Ok(());
        }
        if let Err(allowed) = (setting.check)(value) {
            return config_err!("tenure.{key} = '{value}': {allowed}");
        }
        self.set.insert(setting.name, value.to_owned());
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        SETTINGS
            .iter()
            .map(|s| ConfigEntry {
                key: format!("tenure.{}", s.name),
                value: self.value(s.name).map(str::to_owned),
                description: s.description,
            })
            .collect()
    }
}
