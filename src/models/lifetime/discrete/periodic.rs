//! From days to periods and back.
//!
//! *Without a contract* opportunity j ≥ 1 is the period of days (j−1)·period + 1 … j·period after the first purchase, which is opportunity 0 by itself, as in
//! the models of continuous time: a customer of age T has had n = ⌊T/period⌋ whole ones, and what came in the one that is under way is left out. A day d
//! belongs to opportunity ⌈d/period⌉. Horizons from T on are counted in periods, and what is expected of one is spread evenly over its days.
//!
//! *With a contract* the first purchase starts period 0, and a purchase on day d pays for period ⌊d/period⌋; so x = ⌊t_x/period⌋ renewals have been made,
//! however many purchases there were. The subscription has ended, with the period of its last purchase, if T − t_x > period + grace. Otherwise it runs and
//! its next renewals are due period, 2·period, … after the last purchase, the first of them tomorrow if it is late. For the likelihood the last renewals
//! are left out, those due less than the grace before T, and the days into a period that purchases usually come: of them the ones that were made are
//! known before the ones that were not.

use std::sync::Arc;

use super::super::fit::{FitOptions, fit};
use super::super::predict::{Estimated, NEVER, check_horizon, daily_rate, median_wait};
use super::super::process::Likelihood;
use super::super::{Counts, Fit, Futures, IfAlive, OfTheLiving, Parameter, Purchases};
use super::bg_bb::BgBb;
use super::retention::Retention;
use crate::models::{AnyPurchases, Control, ModelError, Part, part};

/// A process whose unit of time is the period.
pub trait Periods: Likelihood {
    /// Whether purchases renew a contract.
    const CONTRACT: bool;
}

impl Periods for BgBb {
    const CONTRACT: bool = false;
}

impl<const N: usize> Periods for Retention<N> {
    const CONTRACT: bool = true;
}

/// The lengths in days that make periods of days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calendar {
    pub period: u32,
    /// How late a renewal may be.
    pub grace: u32,
}

/// Histories in periods.
#[derive(Debug, Default, PartialEq)]
struct Histories {
    x: Vec<u32>,
    t_x: Vec<u32>,
    t: Vec<u32>,
}

impl Histories {
    fn of(customers: usize, history: impl Fn(usize) -> [u32; 3]) -> Self {
        let mut made = Self::default();
        for [x, t_x, t] in (0..customers).map(history) {
            made.x.push(x);
            made.t_x.push(t_x);
            made.t.push(t);
        }
        made
    }

    fn counts(&self) -> Counts<'_> {
        Counts::new(&self.x, &self.t_x, &self.t)
    }
}

impl Calendar {
    /// The opportunities of customers without a contract.
    fn opportunities(&self, counts: Counts<'_>) -> Result<Histories, ModelError> {
        let Some(days) = counts.days else {
            let allowed = "a model in periods needs the days of all purchases, not only their number".into();
            return Err(ModelError::Option { option: "days".into(), given: "none".into(), allowed });
        };
        if days.ends.len() != counts.t.len() {
            let given = format!("{} customers for {}", days.ends.len(), counts.t.len());
            return Err(ModelError::Option { option: "days".into(), given, allowed: "the days of every customer".into() });
        }
        Ok(Histories::of(counts.t.len(), |i| {
            let n = counts.t[i] / self.period;
            let (mut x, mut t_x) = (0, 0);
            for opportunity in days.of(i).iter().map(|day| day.div_ceil(self.period)) {
                if opportunity > t_x && opportunity <= n {
                    (x, t_x) = (x + 1, opportunity);
                }
            }
            [x, t_x, n]
        }))
    }

    /// The same without the days, as if every purchase were in a period of its own as far as there are periods.
    fn opportunities_at_most(&self, counts: Counts<'_>) -> Histories {
        Histories::of(counts.t.len(), |i| {
            let n = counts.t[i] / self.period;
            let t_x = counts.t_x[i].div_ceil(self.period).min(n);
            [counts.x[i].min(t_x), if counts.x[i] == 0 { 0 } else { t_x }, n]
        })
    }

    fn has_ended(&self, t_x: u32, t: u32) -> bool {
        t.saturating_sub(t_x) > self.period.saturating_add(self.grace)
    }

    /// The contracts of customers as they stand.
    fn contracts(&self, counts: Counts<'_>) -> Histories {
        Histories::of(counts.t.len(), |i| {
            let renewals = counts.t_x[i] / self.period;
            [renewals, renewals, renewals + u32::from(self.has_ended(counts.t_x[i], counts.t[i]))]
        })
    }

    /// The same up to the last renewal of which it is known by T whether it was made.
    fn decided_contracts(&self, counts: Counts<'_>) -> Histories {
        let wait = self.grace.saturating_add(self.usual_offset(counts.t_x)).saturating_add(1);
        let now = self.contracts(counts);
        Histories::of(counts.t.len(), |i| {
            let decided = counts.t[i].saturating_sub(wait) / self.period;
            let (renewals, t) = (now.x[i].min(decided), now.t[i].min(decided));
            [renewals, renewals, t.max(renewals)]
        })
    }

    /// Day of the contract period by which all but a twentieth of the last purchases were made: an end shows the later by so many days.
    fn usual_offset(&self, t_x: &[u32]) -> u32 {
        let mut customers = vec![0_usize; self.period as usize];
        t_x.iter().for_each(|day| customers[(day % self.period) as usize] += 1);
        let mut later = t_x.len();
        let within = |n: &usize| {
            later -= n;
            20 * later <= t_x.len()
        };
        customers.iter().position(within).map_or(0, |day| day as u32)
    }

    /// Days until the next renewal of a contract that runs is due.
    fn wait(&self, t_x: u32, t: u32) -> f64 {
        (f64::from(t_x) + f64::from(self.period) - f64::from(t)).max(1.0)
    }
}

/// A fitted process in periods, that takes and answers days.
#[derive(Clone, Debug, PartialEq)]
pub struct Periodic<M> {
    pub model: Estimated<M>,
    /// Days of a period, and how many days late a renewal may be.
    pub period: u32,
    pub grace: u32,
}

impl<M: Periods> Periodic<M> {
    /// A process whose parameters are certain, in periods of so many days.
    pub fn known(base: M, period: u32, grace: u32) -> Self {
        Self { model: Estimated::known(base), period, grace }
    }

    /// Fits the process to the periods of the customers.
    ///
    /// # Errors
    /// Those of [`fit()`], and `Option` without the purchase days where they are needed.
    pub(super) fn fit(counts: Counts<'_>, calendar: Calendar, options: &FitOptions, control: &Control) -> Result<Fit<Self>, ModelError> {
        let Calendar { period, grace } = calendar;
        if period == 0 {
            return Err(ModelError::Option { option: "period".into(), given: "0 days".into(), allowed: "1 day or more".into() });
        }
        let histories = if M::CONTRACT { calendar.decided_contracts(counts) } else { calendar.opportunities(counts)? };
        let repeaters = histories.x.iter().filter(|&&x| x > 0).count();
        if repeaters < 2 {
            let (did, shorter) = if M::CONTRACT { ("renewed", "") } else { ("bought in a second period", " or shorter periods") };
            let customers = histories.x.len();
            return Err(ModelError::TooLittleData(format!(
                "{repeaters} of {customers} customers {did} with periods of {period} days; {} needs at least 2 who did: give it a longer history{shorter}",
                M::NAME
            )));
        }
        Ok(fit::<M>(histories.counts(), options, control)?.map(|model| Self { model, period, grace }))
    }

    /// Reads what [`Purchases::to_parts`] wrote.
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let lengths = part(parts, PERIODS)?;
        let whole = |name: &str| match lengths.number(name)? {
            days if days.fract() == 0.0 && (0.0..=1e6).contains(&days) => Ok(days as u32),
            days => Err(ModelError::Damaged(format!("{name} = {days} in table '{PERIODS}', which must be a whole number of days"))),
        };
        let (period, grace) = (whole("period")?, whole("grace")?);
        if period == 0 {
            return Err(ModelError::Damaged(format!("period = 0 in table '{PERIODS}', which must be above 0")));
        }
        Ok(Self { model: Estimated::from_parts(parts)?, period, grace })
    }

    fn calendar(&self) -> Calendar {
        Calendar { period: self.period, grace: self.grace }
    }

    fn histories(&self, counts: Counts<'_>) -> Result<Histories, ModelError> {
        if M::CONTRACT { Ok(self.calendar().contracts(counts)) } else { self.calendar().opportunities(counts) }
    }

    fn days_a_period(&self) -> f64 {
        f64::from(self.period)
    }

    /// Whether one more renewal falls due within the horizon than there are whole periods in it.
    fn one_more(&self, counts: Counts<'_>, i: usize, horizon_days: f64) -> bool {
        horizon_days % self.days_a_period() >= self.calendar().wait(counts.t_x[i], counts.t[i])
    }

    /// What `f` answers for a horizon in periods, for each customer: of contracts the horizon is the number of renewals that fall due in it.
    fn over(
        &self,
        counts: Counts<'_>,
        horizon_days: f64,
        f: impl Fn(Counts<'_>, f64) -> Result<Vec<f64>, ModelError>,
    ) -> Result<Vec<f64>, ModelError> {
        let histories = self.histories(counts)?;
        let periods = horizon_days / self.days_a_period();
        if !M::CONTRACT || !periods.is_finite() {
            return f(histories.counts(), periods);
        }
        let (fewer, more) = (f(histories.counts(), periods.floor())?, f(histories.counts(), periods.floor() + 1.0)?);
        Ok((0..fewer.len()).map(|i| if self.one_more(counts, i, horizon_days) { more[i] } else { fewer[i] }).collect())
    }
}

const PERIODS: &str = "periods";

impl<M: Periods> Purchases for Periodic<M> {
    fn parameters(&self) -> Vec<Parameter> {
        self.model.parameters()
    }

    fn days_a_purchase(&self, counts: Counts<'_>) -> f64 {
        let (Some(days), Ok(periods)) = (counts.days, self.histories(counts)) else { return 1.0 };
        let last = |i: usize| periods.t[i] * self.period;
        let purchases: usize = (0..counts.t.len()).map(|i| days.of(i).iter().filter(|d| (1..=last(i)).contains(*d)).count()).sum();
        let active: u64 = periods.x.iter().map(|&x| u64::from(x)).sum();
        if active == 0 { 1.0 } else { (purchases as f64 / active as f64).max(1.0) }
    }

    fn covariance(&self) -> Vec<Vec<f64>> {
        self.model.covariance()
    }

    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64> {
        let histories = self.histories(counts).unwrap_or_else(|_| self.calendar().opportunities_at_most(counts));
        self.model.p_alive_all(histories.counts())
    }

    /// Of the living in periods.
    fn if_alive(&self, counts: Counts<'_>, control: &Control, f: &OfTheLiving<'_>) -> Result<IfAlive, ModelError> {
        self.model.if_alive(self.histories(counts)?.counts(), control, f)
    }

    fn expected_purchases_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        self.over(counts, horizon_days, |counts, h| self.model.survived(counts, control, &|alive| alive.expected(h)))
    }

    fn discounted_purchases_all(
        &self,
        counts: Counts<'_>,
        horizon_days: f64,
        annual_rate: f64,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError> {
        let a_day = daily_rate(horizon_days, annual_rate)?;
        if a_day == 0.0 || horizon_days == 0.0 {
            return self.expected_purchases_all(counts, horizon_days, control);
        }
        let delta = a_day * self.days_a_period();
        let spread =
            self.over(counts, horizon_days, |counts, h| self.model.survived(counts, control, &|alive| alive.discounted(h, delta)))?;
        if !M::CONTRACT {
            return Ok(spread);
        }
        // Renewals are made on the day they are due: at the end of a period instead of all over it, and the first after less than a period.
        let at_the_end = delta / delta.exp_m1();
        let to_due = |i: usize| (a_day * (self.days_a_period() - self.calendar().wait(counts.t_x[i], counts.t[i]))).exp();
        Ok(spread.iter().enumerate().map(|(i, value)| value * at_the_end * to_due(i)).collect())
    }

    fn p_no_purchase_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        self.over(counts, horizon_days.max(0.0), |counts, h| self.model.p_no_purchase_all(counts, h, control))
    }

    fn p_count_all(&self, counts: Counts<'_>, n: u32, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        self.over(counts, horizon_days, |counts, h| self.model.p_count_all(counts, n, h, control))
    }

    /// Of contracts the day on which the next renewal is due, NaN for those that have ended.
    fn next_purchase_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError> {
        let calendar = self.calendar();
        if M::CONTRACT {
            let days = |i: usize| {
                let (t_x, t) = (counts.t_x[i], counts.t[i]);
                if calendar.has_ended(t_x, t) { f64::NAN } else { calendar.wait(t_x, t) }
            };
            return Ok((0..counts.t.len()).map(days).collect());
        }
        let all = self.if_alive(counts, control, &|alive| median_wait(alive, NEVER / self.days_a_period()))?;
        Ok((0..counts.t.len()).map(|i| all.value(i) * self.days_a_period()).collect())
    }

    fn expected_new_all(&self, counts: Counts<'_>, control: &Control) -> Result<Vec<f64>, ModelError> {
        control.check()?;
        let longest = counts.t.iter().max().map_or(0, |&t| t as usize);
        let mut known = vec![f64::NAN; longest + 1];
        for &t in counts.t {
            let value = &mut known[t as usize];
            if value.is_nan() {
                let periods = f64::from(t) / self.days_a_period();
                *value = self.model.base.expected_purchases_new(if M::CONTRACT { periods.floor() } else { periods });
            }
        }
        Ok(counts.t.iter().map(|&t| known[t as usize]).collect())
    }

    fn futures(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Futures, ModelError> {
        check_horizon(horizon_days)?;
        let histories = self.histories(counts)?;
        let periods = horizon_days / self.days_a_period();
        if !M::CONTRACT {
            return self.model.futures(histories.counts(), periods, control);
        }
        let mut futures = self.model.futures(histories.counts(), periods.floor(), control)?;
        let more = self.model.futures(histories.counts(), periods.floor() + 1.0, control)?;
        let fewer = futures.values.len() as u32;
        futures.values.extend(more.values);
        for (i, at) in futures.of_customer.iter_mut().enumerate() {
            if self.one_more(counts, i, horizon_days) {
                *at = fewer + more.of_customer[i];
            }
        }
        Ok(futures)
    }

    fn axes(&self) -> Vec<AnyPurchases> {
        let moved = self.model.moved().into_iter();
        moved.map(|model| Arc::new(Self { model, period: self.period, grace: self.grace }) as AnyPurchases).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.model.to_parts();
        parts.push(Part::row(PERIODS, &[("period", f64::from(self.period)), ("grace", f64::from(self.grace))]));
        parts
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Beta, Distribution};

    use super::super::super::PurchaseDays;
    use super::super::{BETA_DISCRETE_WEIBULL, BG_BB, SBG, ShiftedBetaGeometric};
    use super::*;
    use crate::models::lifetime::{Alive, Process, Sample};
    use crate::models::{Column, Make, ModelType, Options};

    const PURCHASES: BgBb = BgBb { alpha: 1.2, beta: 0.75, gamma: 0.66, delta: 2.8 };
    const CONTRACTS: ShiftedBetaGeometric = Retention { a: 0.7, b: 1.8, c: 1.0 };

    /// Purchase days of customers, with the day of observation.
    #[derive(Default)]
    struct Log {
        x: Vec<u32>,
        t_x: Vec<u32>,
        t: Vec<u32>,
        ends: Vec<usize>,
        days: Vec<u32>,
    }

    impl Log {
        fn of(customers: &[(&[u32], u32)]) -> Self {
            let mut log = Self::default();
            customers.iter().for_each(|(days, t)| log.push(days, *t));
            log
        }

        fn push(&mut self, days: &[u32], t: u32) {
            self.x.push(days.len() as u32 - 1);
            self.t_x.push(days[days.len() - 1]);
            self.t.push(t);
            self.days.extend(days);
            self.ends.push(self.days.len());
        }

        fn counts(&self) -> Counts<'_> {
            Counts { days: Some(PurchaseDays { ends: &self.ends, days: &self.days }), ..Counts::new(&self.x, &self.t_x, &self.t) }
        }
    }

    fn rows(histories: &Histories) -> Vec<[u32; 3]> {
        (0..histories.x.len()).map(|i| [histories.x[i], histories.t_x[i], histories.t[i]]).collect()
    }

    fn close(given: f64, expected: f64) {
        assert!((given - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{given} against {expected}");
    }

    #[test]
    fn opportunities_are_whole_periods_after_the_first_purchase() {
        let log = Log::of(&[
            (&[0], 29),
            (&[0, 1, 30, 31, 45], 90),
            // The last purchase is in the period that is under way.
            (&[0, 60, 61, 91], 119),
            (&[0, 91], 120),
            (&[0], 30),
        ]);
        let calendar = Calendar { period: 30, grace: 0 };
        assert_eq!(rows(&calendar.opportunities(log.counts()).unwrap()), [[0, 0, 0], [2, 2, 3], [2, 3, 3], [1, 4, 4], [0, 0, 1]]);
        // Without the days no more than there are periods.
        assert_eq!(rows(&calendar.opportunities_at_most(log.counts())), [[0, 0, 0], [2, 2, 3], [3, 3, 3], [1, 4, 4], [0, 0, 1]]);
        // A period of a day is the day itself.
        let daily = Calendar { period: 1, grace: 0 }.opportunities(log.counts()).unwrap();
        assert_eq!((daily.x, daily.t_x, daily.t), (log.x.clone(), log.t_x.clone(), log.t.clone()));
    }

    #[test]
    fn contracts_end_with_the_period_of_their_last_purchase_once_they_are_late() {
        let log = Log::of(&[
            // Due on day 90, seven days of grace.
            (&[0, 30, 60], 97),
            (&[0, 30, 60], 98),
            // Renewed on the day.
            (&[0, 30, 60, 90], 90),
            // Late, and more often than once a period.
            (&[0, 35, 66, 70], 100),
            (&[0], 37),
            (&[0], 38),
        ]);
        let calendar = Calendar { period: 30, grace: 7 };
        let known = calendar.contracts(log.counts());
        assert_eq!(rows(&known), [[2, 2, 2], [2, 2, 3], [3, 3, 3], [2, 2, 2], [0, 0, 0], [0, 0, 1]]);
        // Last purchases come up to ten days into a period: what of a renewal due 17 days ago or less is known is left out.
        assert_eq!(calendar.usual_offset(&log.t_x), 10);
        let decided = calendar.decided_contracts(log.counts());
        assert_eq!(rows(&decided), [[2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [0, 0, 0], [0, 0, 0]]);
        let punctual = Log::of(&[(&[0, 30, 60], 97), (&[0, 30, 60], 98), (&[0, 30, 60, 90], 97), (&[0, 30, 60, 90], 98)]);
        let decided = calendar.decided_contracts(punctual.counts());
        assert_eq!(rows(&decided), [[2, 2, 2], [2, 2, 3], [2, 2, 2], [3, 3, 3]]);
        let model = Periodic::known(CONTRACTS, 30, 7);
        assert_eq!(model.p_alive_all(log.counts()), [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
        let next = model.next_purchase_all(log.counts(), &Control::default()).unwrap();
        assert_eq!((next[0], next[2], next[3], next[4]), (1.0, 30.0, 1.0, 1.0));
        assert!(next[1].is_nan() && next[5].is_nan());
    }

    #[test]
    fn answers_in_days_are_those_of_the_periods() {
        let control = Control::default();
        let log = Log::of(&[(&[0, 31, 170], 185), (&[0], 100), (&[0, 5, 40, 70, 95, 130, 155], 180)]);
        let model = Periodic::known(PURCHASES, 30, 0);
        let histories = model.histories(log.counts()).unwrap();
        for (days, h) in [(30.0, 1.0), (45.0, 1.5), (7.5, 0.25), (300.0, 10.0)] {
            let expected = model.expected_purchases_all(log.counts(), days, &control).unwrap();
            let none = model.p_no_purchase_all(log.counts(), days, &control).unwrap();
            let once = model.p_count_all(log.counts(), 1, days, &control).unwrap();
            let futures = model.futures(log.counts(), days, &control).unwrap();
            let undiscounted = model.discounted_purchases_all(log.counts(), days, 1e-9, &control).unwrap();
            for (i, [x, t_x, t]) in rows(&histories).into_iter().map(|row| row.map(f64::from)).enumerate() {
                close(expected[i], PURCHASES.expected_purchases(x, t_x, t, h));
                close(none[i], PURCHASES.p_no_purchase(x, t_x, t, h));
                close(once[i], PURCHASES.p_alive(x, t_x, t) * PURCHASES.alive(x, t_x, t).counts(h)[1]);
                assert!((undiscounted[i] / expected[i] - 1.0).abs() < 1e-8);
                let mean: f64 =
                    futures.values[futures.of_customer[i] as usize].iter().enumerate().map(|(n, p)| n as f64 * f64::from(*p)).sum();
                assert!((futures.p_alive[i] * mean - expected[i]).abs() < 1e-5 * expected[i]);
            }
        }
        // 10 % a year without an end: the DERT of 30 days at 1.1^(30/365.25) − 1, spread over its periods.
        let forever = model.discounted_purchases_all(log.counts(), f64::INFINITY, 0.1, &control).unwrap();
        let delta = 1.1_f64.ln() * 30.0 / 365.25;
        close(forever[1], PURCHASES.dert(0.0, 0.0, 3.0, delta.exp_m1()) * delta.exp_m1() / delta);
        assert!(
            (model.expected_new_all(log.counts(), &control).unwrap()[1] - PURCHASES.expected_purchases_new(100.0 / 30.0)).abs() < 1e-15
        );
        let wait = model.next_purchase_all(log.counts(), &control).unwrap();
        assert!(wait[2] < wait[0] && wait.iter().all(|days| *days > 0.0 && *days < 1_000.0), "{wait:?}");

        let nameless = Counts { days: None, ..log.counts() };
        let error = model.expected_purchases_all(nameless, 30.0, &control).unwrap_err().to_string();
        assert!(error.starts_with("option 'days' = none: a model in periods needs the days"), "{error}");
        assert!(model.p_alive_all(nameless).iter().all(|p| *p > 0.0 && *p < 1.0));
    }

    #[test]
    fn renewals_are_expected_when_they_are_due() {
        let control = Control::default();
        // Due in 10 and 40 days; ended; three days late.
        let log = Log::of(&[(&[0, 30, 60], 80), (&[0], 80), (&[0, 30, 61, 90], 123)]);
        let model = Periodic::known(CONTRACTS, 30, 7);
        let kept = |x: f64, j: f64| CONTRACTS.survival(x + j) / CONTRACTS.survival(x);
        let two = kept(2.0, 1.0) + kept(2.0, 2.0);
        for (days, first, late) in [
            (0.5, 0.0, 0.0),
            (9.0, 0.0, kept(3.0, 1.0)),
            (10.0, kept(2.0, 1.0), kept(3.0, 1.0)),
            (40.0, two, kept(3.0, 1.0) + kept(3.0, 2.0)),
        ] {
            let expected = model.expected_purchases_all(log.counts(), days, &control).unwrap();
            [first, 0.0, late].iter().zip(&expected).for_each(|(e, given)| close(*given, *e));
            let futures = model.futures(log.counts(), days, &control).unwrap();
            for (i, expected) in expected.iter().enumerate() {
                let counts = &futures.values[futures.of_customer[i] as usize];
                let mean: f64 = counts.iter().enumerate().map(|(n, p)| n as f64 * f64::from(*p)).sum();
                assert!((futures.p_alive[i] * mean - expected).abs() < 1e-6);
            }
        }
        // One renewal falls due in every period, whenever it begins.
        let year = model.expected_purchases_all(log.counts(), 360.0, &control).unwrap();
        close(year[2], CONTRACTS.expected_purchases(3.0, 3.0, 3.0, 12.0));
        let none = model.p_no_purchase_all(log.counts(), 90.0, &control).unwrap();
        close(none[0], 1.0 - CONTRACTS.retention_rate(3.0));
        assert_eq!(none[1], 1.0);
        // Each discounted from its day.
        let day = 1.1_f64.powf(-1.0 / 365.25);
        let discounted = model.discounted_purchases_all(log.counts(), 50.0, 0.1, &control).unwrap();
        close(discounted[0], kept(2.0, 1.0) * day.powi(10) + kept(2.0, 2.0) * day.powi(40));
        close(model.expected_new_all(log.counts(), &control).unwrap()[0], CONTRACTS.survival(1.0) + CONTRACTS.survival(2.0));
    }

    fn options(kind: &'static ModelType, given: &[(&str, &str)]) -> Options {
        let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Options::new(kind, &given).unwrap()
    }

    fn fitted(kind: &'static ModelType, counts: Counts<'_>, given: &[(&str, &str)]) -> Result<Fit<AnyPurchases>, ModelError> {
        let Make::Purchases { fit, .. } = kind.make else { panic!("{kind:?} is a model of purchases") };
        fit(&Sample { counts, start: None }, &options(kind, given), &Control::default())
    }

    /// Subscriptions paid for up to `late` days late, some of them twice a period, that end with the chance of their owner.
    fn subscriptions(customers: usize, late: u32, observed: std::ops::Range<u32>) -> Log {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let leaving = Beta::new(CONTRACTS.a, CONTRACTS.b).unwrap();
        let mut log = Log::default();
        for _ in 0..customers {
            let (theta, t, often): (f64, u32, bool) = (leaving.sample(&mut rng), rng.random_range(observed.clone()), rng.random());
            let mut days = vec![0];
            for renewal in 0.. {
                let paid = if renewal == 0 { 0 } else { renewal * 30 + rng.random_range(0..=late) };
                if renewal > 0 && (paid > t || rng.random::<f64>() < theta) {
                    break;
                }
                days.extend((renewal > 0).then_some(paid));
                days.extend((often && paid + 11 <= t).then_some(paid + 11));
            }
            log.push(&days, t);
        }
        log
    }

    #[test]
    fn types_fit_write_and_read_and_name_what_is_missing() {
        let log = subscriptions(20_000, 7, 100..700);
        for (kind, given) in [(&SBG, &[][..]), (&BETA_DISCRETE_WEIBULL, &[("grace", "7 days")]), (&BG_BB, &[("period", "2 weeks")])] {
            let found = fitted(kind, log.counts(), given).unwrap();
            let Make::Purchases { read, .. } = kind.make else { panic!("{kind:?} is a model of purchases") };
            assert_eq!(read(&found.params.to_parts()).unwrap().to_parts(), found.params.to_parts());
            assert_eq!(found.params.axes().len(), found.parameters);
            let mut parts = found.params.to_parts();
            parts.last_mut().unwrap().columns[0].1 = Column::F64(vec![0.0]);
            assert!(read(&parts).unwrap_err().to_string().contains("period = 0 in table 'periods'"));
        }
        // The truth, although renewals come late, and some customers pay twice a period.
        let found = fitted(&SBG, log.counts(), &[]).unwrap().params.parameters();
        assert!((found[0].value / CONTRACTS.a - 1.0).abs() < 0.06 && (found[1].value / CONTRACTS.b - 1.0).abs() < 0.06, "{found:?}");

        // Nor do those count as lost who may still renew, nor only those of them as decided who have.
        let short = subscriptions(60_000, 7, 20..75);
        let found = fitted(&SBG, short.counts(), &[]).unwrap().params.parameters();
        let lost = found[0].value / (found[0].value + found[1].value);
        assert!((lost / 0.28 - 1.0).abs() < 0.025, "{lost}");

        let message = |kind, counts, given: &[(&str, &str)]| fitted(kind, counts, given).unwrap_err().to_string();
        assert!(message(&SBG, log.counts(), &[("period", "30.5 days")]).contains("'period' = 30.5 days: a whole number of days"));
        assert!(message(&BG_BB, Counts { days: None, ..log.counts() }, &[]).contains("needs the days of all purchases"));
        let few = Log::of(&[(&[0, 40], 60), (&[0, 50], 55)]);
        assert!(message(&BG_BB, few.counts(), &[]).contains("1 of 2 customers bought in a second period with periods of 30 days"));
        assert!(message(&SBG, Log::default().counts(), &[]).contains("0 of 0 customers renewed"));
    }
}
