//! What a model of a label is fitted to and judged on: rows with their label, part by part.

use crate::features::DAY_US;
use crate::models::Options;
use crate::models::supervised::{Btyd, Definition, FeatureSql, Table, Task, Values, split_by_key};

/// Rows with their label.
#[derive(Default)]
pub(super) struct Labelled {
    /// The moment their features are of, and the moment their labels are known, µs since 1970.
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) table: Table,
    pub(super) y: Vec<f64>,
    /// A hash of the key of each row, the same in every part.
    pub(super) keys: Vec<u64>,
}

impl Labelled {
    /// All rows of several.
    pub(super) fn all(parts: &[&Self]) -> Self {
        let mut out = Self::default();
        for p in parts {
            out.table.append(p.table.clone());
            out.y.extend(&p.y);
            out.keys.extend(&p.keys);
        }
        out
    }

    pub(super) fn take(&self, rows: &[usize]) -> Self {
        Self {
            from_us: self.from_us,
            to_us: self.to_us,
            table: self.table.take(rows),
            y: rows.iter().map(|&r| self.y[r]).collect(),
            keys: rows.iter().map(|&r| self.keys[r]).collect(),
        }
    }

    /// Those whose key is held out, and the others.
    pub(super) fn halves(&self, seed: u64, share: f64) -> (Self, Self) {
        let (held, rest): (Vec<usize>, Vec<usize>) = (0..self.y.len()).partition(|&r| split_by_key(self.keys[r], seed, share));
        (self.take(&held), self.take(&rest))
    }

    pub(super) fn mean(&self) -> f64 {
        if self.y.is_empty() { 0.0 } else { self.y.iter().sum::<f64>() / self.y.len() as f64 }
    }
}

pub(super) fn truth(y: &[f64]) -> Vec<bool> {
    y.iter().map(|y| *y > 0.5).collect()
}

/// What a model is fitted to and judged on.
pub(super) struct Data {
    pub(super) definition: Definition,
    pub(super) task: Task,
    pub(super) classes: Option<[String; 2]>,
    pub(super) sql: Vec<FeatureSql>,
    /// The latest first.
    pub(super) parts: Vec<Labelled>,
    /// As of the end of the log.
    pub(super) btyd: Option<Btyd>,
    pub(super) warnings: Vec<String>,
    /// Where the log begins, µs since 1970.
    pub(super) first_us: i64,
    /// The moment that the model is asked about, µs since 1970, and the features at that moment where a calibration needs them.
    pub(super) as_of_us: i64,
    pub(super) today: Table,
}

/// How far from a year ago a cut-off may lie to be of the same season: this share of the window, or so many days.
pub(super) const SAME_SEASON: (i64, i64) = (10, 3);
pub(super) const YEAR_US: i64 = 365 * DAY_US;
/// Models of a log that is younger than this are wrong by themselves, whatever the season.
const YOUNG_US: i64 = 180 * DAY_US;

/// See [`Data::then_and_now`]; of those only whom the model knows.
pub(super) struct ThenAndNow {
    pub(super) said: Vec<f64>,
    pub(super) came: Vec<f64>,
    pub(super) says: Vec<f64>,
    /// The rows of those who are asked about.
    pub(super) asked: Vec<usize>,
    /// Whether half a year of the log lay before.
    pub(super) grown_up: bool,
}

impl Data {
    /// Those of `parts` whose labels were known at a moment; of rows without a time, those that come later.
    pub(super) fn known_at(&self, us: i64, parts: &[usize]) -> Vec<usize> {
        let latest = parts.first().copied().unwrap_or(0);
        let known = |p: &&usize| if self.is_window() { self.parts[**p].to_us <= us } else { **p > latest };
        parts.iter().filter(known).copied().collect()
    }

    /// What the label is, and the feature that is itself a forecast of it.
    pub(super) fn label(&self) -> (Task, Option<&'static str>) {
        (self.task, self.definition.forecast())
    }

    pub(super) fn is_window(&self) -> bool {
        self.parts.iter().all(|p| p.to_us > 0)
    }

    /// The part that is of the same season a year before a moment.
    pub(super) fn a_year_before(&self, us: i64, parts: &[usize]) -> Option<usize> {
        let Definition::Window { days, .. } = self.definition else { return None };
        let near = (i64::from(days) / SAME_SEASON.0).max(SAME_SEASON.1) * DAY_US;
        let distance = |p: usize| (self.parts[p].from_us - (us - YEAR_US)).abs();
        parts.iter().copied().filter(|&p| self.is_window() && distance(p) <= near).min_by_key(|&p| distance(p))
    }

    /// What a buy-till-you-die model says itself of the label of a table's rows, where it speaks of such a label; NaN of a row that it does not know.
    pub(super) fn foreseen<'t>(&self, table: &'t Table) -> Option<&'t [f64]> {
        match table.get(self.definition.forecast()?) {
            Some(Values::Number(values)) => Some(values),
            _ => None,
        }
    }

    /// The features of those who are asked about at a moment, where they are known.
    pub(super) fn asked(&self, us: i64) -> Option<&Table> {
        let part = self.parts.iter().find(|p| p.from_us == us).map(|p| &p.table);
        part.or_else(|| (us == self.as_of_us && self.today.rows > 0).then_some(&self.today))
    }

    /// What a buy-till-you-die model said a year before a moment and what came, and what it says of those who are asked about at that moment. A learned model's
    /// predictions of a year ago cannot be compared with today's, for they lack what the year before that would tell; its can.
    pub(super) fn then_and_now(&self, us: i64, parts: &[usize]) -> Option<ThenAndNow> {
        let then = &self.parts[self.a_year_before(us, parts)?];
        let (said, now) = (self.foreseen(&then.table)?, self.foreseen(self.asked(us)?)?);
        let known = |said: &[f64]| -> Vec<usize> { (0..said.len()).filter(|&row| said[row].is_finite()).collect() };
        let (rows, asked) = (known(said), known(now));
        if rows.is_empty() || asked.is_empty() {
            return None;
        }
        Some(ThenAndNow {
            said: rows.iter().map(|&row| said[row]).collect(),
            came: rows.iter().map(|&row| then.y[row]).collect(),
            says: asked.iter().map(|&row| now[row]).collect(),
            asked,
            grown_up: then.from_us - self.first_us >= YOUNG_US,
        })
    }

    /// Holds a share of the customers out, where there is no window to hold out or none is wanted.
    pub(super) fn split_by_customer(mut self, options: &Options) -> Self {
        let asked = options.is("split", "user") || options.is("split", "random");
        if asked || (self.parts.len() == 1 && !options.is("split", "none")) {
            let all = Labelled::all(&self.parts.iter().collect::<Vec<_>>());
            let (held, rest) = all.halves(options.whole("seed"), options.number("test_fraction"));
            if !held.y.is_empty() && !rest.y.is_empty() {
                self.parts = vec![held, rest];
            }
        }
        self
    }
}
