//! The calendar as two clocks, and the integrals over them.
//!
//! Days in a row with the same covariates are one run, over which both clocks go at a constant rate: there the integrand of D is that of the plain model in
//! other units, (α′+t)^−k (β′+t)^−(s+1) with α′ = (α+Λ)/λ and β′ = (β+M)/μ, and Gauss–Legendre panels that keep their distance from −α′ and −β′ give all
//! digits. All recencies of one x and T are ends of one walk from T backwards, which adds what is positive.

use std::borrow::Cow;

use super::super::ParetoNbd;
use crate::models::ModelError;
use crate::models::lifetime::Calendar;

/// The covariates of every day there ever was or will be: the rows of the table, and outside of it the mean of each of its columns.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<f64>>,
    first_day: i64,
    mean: Vec<f64>,
}

impl Table {
    /// The columns called `names`, in their order.
    pub fn new(calendar: &Calendar, names: &[String]) -> Result<Self, ModelError> {
        let refuse = |given: String, allowed: String| Err(ModelError::Option { option: "calendar".into(), given, allowed });
        if let Some(i) = calendar.rows.iter().position(|row| row.len() != calendar.names.len() || row.iter().any(|z| !z.is_finite())) {
            return refuse(
                format!("day {i} with {:?}", calendar.rows[i]),
                format!("a finite number for each of {}", calendar.names.join(", ")),
            );
        }
        if calendar.rows.is_empty() {
            return refuse("no days".into(), "a row for each day".into());
        }
        let column = |name: &String| calendar.names.iter().position(|n| n == name).ok_or_else(|| name.clone());
        let columns = match names.iter().map(column).collect::<Result<Vec<_>, _>>() {
            Ok(columns) => columns,
            Err(name) => return refuse(calendar.names.join(", "), format!("a column {name}, which the model was fitted to")),
        };
        let rows: Vec<Vec<f64>> = calendar.rows.iter().map(|row| columns.iter().map(|&j| row[j]).collect()).collect();
        let mean = (0..columns.len()).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / rows.len() as f64).collect();
        Ok(Self { rows, first_day: calendar.first_day, mean })
    }

    /// A table of average days only.
    pub fn average(mean: &[f64]) -> Self {
        Self { rows: vec![], first_day: 0, mean: mean.to_vec() }
    }

    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Whether the days after `after` until `until` are in the table.
    pub fn covers(&self, after: i64, until: i64) -> bool {
        self.first_day <= after + 1 && until < self.first_day + self.rows.len() as i64
    }

    pub fn row(&self, day: i64) -> &[f64] {
        let row = day.checked_sub(self.first_day).and_then(|i| usize::try_from(i).ok()).and_then(|i| self.rows.get(i));
        row.unwrap_or(&self.mean)
    }

    /// (z − mean)/scale instead of z.
    pub fn standardise(&mut self, mean: &[f64], scale: &[f64]) {
        for row in self.rows.iter_mut().chain(std::iter::once(&mut self.mean)) {
            row.iter_mut().zip(mean.iter().zip(scale)).for_each(|(z, (m, s))| *z = (*z - m) / s);
        }
    }

    /// The days after `after` until `until`.
    pub fn stretches(&self, after: i64, until: i64) -> Vec<Stretch<'_>> {
        let mut stretches: Vec<Stretch<'_>> = vec![];
        for day in after + 1..=until {
            let (row, to) = (self.row(day), (day - after) as f64);
            match stretches.last_mut() {
                Some(last) if last.z == row => last.to = to,
                _ => stretches.push(Stretch { from: to - 1.0, to, z: Cow::Borrowed(row) }),
            }
        }
        stretches
    }

    /// The days after `today`, for ever.
    pub fn future(&self, today: i64) -> Vec<Stretch<'_>> {
        let last = self.first_day + self.rows.len() as i64 - 1;
        let mut stretches = self.stretches(today, last);
        let from = stretches.last().map_or(0.0, |s| s.to);
        stretches.push(Stretch { from, to: f64::INFINITY, z: Cow::Borrowed(&self.mean) });
        stretches
    }
}

/// Days with the same covariates; `from` and `to` in days from some origin.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    pub from: f64,
    pub to: f64,
    pub z: Cow<'a, [f64]>,
}

/// e^(γ·z) of purchases and of departure.
pub fn rates(stretches: &[Stretch<'_>], purchase: &[f64], lifetime: &[f64]) -> Vec<[f64; 2]> {
    let along = |by: &[f64], z: &[f64]| by.iter().zip(z).map(|(b, z)| b * z).sum::<f64>().exp();
    stretches.iter().map(|s| [along(purchase, &s.z), along(lifetime, &s.z)]).collect()
}

/// A stretch by the clocks Λ and M.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub from: f64,
    pub to: f64,
    /// dΛ/dt and dM/dt.
    pub rate: [f64; 2],
    /// Λ and M at `from`.
    pub at: [f64; 2],
}

/// Both clocks from one day on, where they show 0.
#[derive(Clone, Debug)]
pub struct Clock {
    pub runs: Vec<Run>,
    /// Which stretch the first run is of.
    pub first: usize,
}

impl Clock {
    /// From the day `start` on.
    pub fn new(stretches: &[Stretch<'_>], rates: &[[f64; 2]], start: f64) -> Self {
        let first = stretches.partition_point(|s| s.to <= start);
        let mut at = [0.0; 2];
        let runs = stretches[first..].iter().zip(&rates[first..]).map(|(stretch, &rate)| {
            let run = Run { from: (stretch.from - start).max(0.0), to: stretch.to - start, rate, at };
            at = run.reading(run.to);
            run
        });
        Self { runs: runs.collect(), first }
    }

    /// Λ and M at an age of `t`.
    pub fn reading(&self, t: f64) -> [f64; 2] {
        let run = self.runs.partition_point(|run| run.to < t).min(self.runs.len().saturating_sub(1));
        self.runs.get(run).map_or([0.0; 2], |run| run.reading(t))
    }
}

impl Run {
    pub fn reading(&self, t: f64) -> [f64; 2] {
        [0, 1].map(|i| self.at[i] + self.rate[i] * (t - self.from))
    }
}

/// −p·ln(1 + c/scale): ln of having waited as long as the clock c shows.
pub fn waited(power: f64, scale: f64, clock: f64) -> f64 {
    -power * (clock / scale).ln_1p()
}

/// ln (1+Λ/α)^−k (1+M/β)^−s: a customer who is alive at that reading and has not purchased.
pub fn ln_alive(model: &ParetoNbd, k: f64, [purchase, lifetime]: [f64; 2]) -> f64 {
    waited(k, model.alpha, purchase) + waited(model.lifetime.s, model.lifetime.beta, lifetime)
}

/// ∫ of the integrand of D with what it is times the first and second derivatives of its logarithm: all over e^`ln_scale`.
#[derive(Clone, Debug)]
pub struct Integral {
    ln_scale: f64,
    weight: f64,
    /// ∂ᵢ, and ∂ᵢⱼ + ∂ᵢ∂ⱼ in a matrix of which the lower triangle is read.
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

/// The derivatives of the logarithm of an integrand at one place.
#[derive(Clone, Debug)]
pub struct Terms {
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

impl Terms {
    pub fn zero(n: usize) -> Self {
        Self { first: vec![0.0; n], second: vec![0.0; n * n] }
    }

    pub fn clear(&mut self) {
        self.first.fill(0.0);
        self.second.fill(0.0);
    }
}

impl Integral {
    fn zero(n: usize) -> Self {
        Self { ln_scale: f64::NEG_INFINITY, weight: 0.0, first: vec![0.0; n], second: vec![0.0; n * n] }
    }

    pub fn ln(&self) -> f64 {
        self.ln_scale + self.weight.ln()
    }

    /// E[∂ᵢ] and E[∂ᵢⱼ + ∂ᵢ∂ⱼ] over the integrand as a distribution.
    pub fn mean(&self) -> Terms {
        let mean = |sums: &[f64]| sums.iter().map(|s| s / self.weight).collect();
        Terms { first: mean(&self.first), second: mean(&self.second) }
    }

    /// What is added from now on is over e^`ln` if that is more; the factor for what is over e^`ln`.
    fn rescale(&mut self, ln: f64) -> f64 {
        if ln <= self.ln_scale {
            return (ln - self.ln_scale).exp();
        }
        let factor = (self.ln_scale - ln).exp();
        self.ln_scale = ln;
        self.weight *= factor;
        self.first.iter_mut().chain(&mut self.second).for_each(|s| *s *= factor);
        1.0
    }

    fn add(&mut self, weight: f64, terms: &Terms) {
        self.weight += weight;
        let n = self.first.len();
        for i in 0..n {
            self.first[i] += weight * terms.first[i];
            for j in 0..=i {
                self.second[i * n + j] += weight * (terms.second[i * n + j] + terms.first[i] * terms.first[j]);
            }
        }
    }
}

/// A time without a purchase: a customer of Gamma(k, rate α) and Pareto(s, β) where the clocks show 0, until some age.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    pub clock: &'a Clock,
    pub model: &'a ParetoNbd,
    pub k: f64,
    pub until: f64,
}

impl Wait<'_> {
    /// ∫ (1+Λ/α)^−k (1+M/β)^−(s+1) dM from t to `until`, for each t of `from`, which descend: `each` is given its place and the integral. `terms` are the
    /// derivatives by `n` parameters of the logarithm of the integrand, given the run, the time, and there ln(1+Λ/α) and ln(1+M/β).
    pub fn departures(
        &self,
        from: impl Iterator<Item = f64>,
        n: usize,
        mut terms: impl FnMut(usize, f64, [f64; 2], &mut Terms),
        mut each: impl FnMut(usize, &Integral),
    ) {
        let Self { clock, model, k, until } = *self;
        let mut sum = Integral::zero(n);
        let mut here = Terms::zero(n);
        let mut upper = until;
        let mut left = clock.runs.partition_point(|run| run.from < until);
        for (i, t) in from.enumerate() {
            while upper > t && left > 0 {
                let run = &clock.runs[left - 1];
                let lower = t.max(run.from);
                let at = run.reading(lower);
                let factor = sum.rescale(ln_density(model, k, at) + run.rate[1].ln());
                let logs = [(at[0] / model.alpha).ln_1p(), (at[1] / model.lifetime.beta).ln_1p()];
                panels(k, model.lifetime.s + 1.0, scales(model, run, at), upper - lower, |t, weight, more| {
                    if n > 0 {
                        here.clear();
                        terms(left - 1, lower + t, [logs[0] + more[0], logs[1] + more[1]], &mut here);
                    }
                    sum.add(factor * weight, &here);
                });
                upper = lower;
                if upper <= run.from {
                    left -= 1;
                }
            }
            each(i, &sum);
        }
    }

    /// P(departed) at its end: s/β times that integral over [0, `until`].
    pub fn p_departed(&self) -> f64 {
        /// e^−50 of what was is none.
        const GONE: f64 = -50.0;
        let Self { clock, model, k, until } = *self;
        let mut sum = 0.0;
        for run in clock.runs.iter().take_while(|run| run.from < until) {
            if ln_alive(model, k, run.at) < GONE {
                break;
            }
            let factor = (ln_density(model, k, run.at) + run.rate[1].ln()).exp();
            let mut integral = 0.0;
            panels(k, model.lifetime.s + 1.0, scales(model, run, run.at), until.min(run.to) - run.from, |_, weight, _| integral += weight);
            sum += factor * integral;
        }
        model.lifetime.s / model.lifetime.beta * sum
    }
}

fn ln_density(model: &ParetoNbd, k: f64, [purchase, lifetime]: [f64; 2]) -> f64 {
    waited(k, model.alpha, purchase) + waited(model.lifetime.s + 1.0, model.lifetime.beta, lifetime)
}

/// α′ and β′.
fn scales(model: &ParetoNbd, run: &Run, at: [f64; 2]) -> [f64; 2] {
    [(model.alpha + at[0]) / run.rate[0], (model.lifetime.beta + at[1]) / run.rate[1]]
}

/// A rule on [0, 1]: how far the integrand may fall, how near its singularity may be, and its nodes.
struct Rule {
    fall: f64,
    near: f64,
    nodes: &'static [(f64, f64)],
}

/// Gauss–Legendre rules, each where its error is below 1e−11.
static RULES: [Rule; 4] = [
    Rule { fall: 0.01, near: 0.008, nodes: &[(0.211_324_865_405_187_1, 0.5), (0.788_675_134_594_812_9, 0.5)] },
    Rule {
        fall: 0.05,
        near: 0.05,
        nodes: &[
            (0.112_701_665_379_258_31, 0.277_777_777_777_777_8),
            (0.5, 0.444_444_444_444_444_4),
            (0.887_298_334_620_741_7, 0.277_777_777_777_777_8),
        ],
    },
    Rule {
        fall: 0.3,
        near: 0.2,
        nodes: &[
            (0.069_431_844_202_973_71, 0.173_927_422_568_726_92),
            (0.330_009_478_207_571_87, 0.326_072_577_431_273_1),
            (0.669_990_521_792_428_1, 0.326_072_577_431_273_1),
            (0.930_568_155_797_026_3, 0.173_927_422_568_726_92),
        ],
    },
    Rule {
        fall: 6.0,
        near: 1.25,
        nodes: &[
            (0.013_046_735_741_414_14, 0.033_335_672_154_344_07),
            (0.067_468_316_655_507_74, 0.074_725_674_575_290_3),
            (0.160_295_215_850_487_8, 0.109_543_181_257_991_03),
            (0.283_302_302_935_376_4, 0.134_633_359_654_998_2),
            (0.425_562_830_509_184_4, 0.147_762_112_357_376_43),
            (0.574_437_169_490_815_6, 0.147_762_112_357_376_43),
            (0.716_697_697_064_623_6, 0.134_633_359_654_998_2),
            (0.839_704_784_149_512_2, 0.109_543_181_257_991_03),
            (0.932_531_683_344_492_3, 0.074_725_674_575_290_3),
            (0.986_953_264_258_585_9, 0.033_335_672_154_344_07),
        ],
    },
];
/// A run is left once the integrand has fallen so far, e^−60.
const FALLEN: f64 = 60.0;

/// ∫ (1+t/α′)^−k (1+t/β′)^−p dt over [0, end]: `add` is given the places, their weights, and there ln(1+t/α′) and ln(1+t/β′).
fn panels(k: f64, p: f64, [alpha, beta]: [f64; 2], end: f64, mut add: impl FnMut(f64, f64, [f64; 2])) {
    let widest = &RULES[RULES.len() - 1];
    let (mut t, mut fallen) = (0.0, 0.0);
    while t < end && fallen < FALLEN {
        let apart = alpha.min(beta) + t;
        let slope = k / (alpha + t) + p / (beta + t);
        let width = (end - t).min(widest.near * apart).min(widest.fall / slope);
        if width.is_nan() || width <= 0.0 {
            return;
        }
        let fits = |rule: &&Rule| slope * width <= rule.fall && width <= rule.near * apart;
        for &(place, weight) in RULES.iter().find(fits).unwrap_or(widest).nodes {
            let t = t + place * width;
            let logs = [log_over(t, alpha), log_over(t, beta)];
            add(t, weight * width * (-k * logs[0] - p * logs[1]).exp(), logs);
        }
        t += width;
        fallen = k * log_over(t, alpha) + p * log_over(t, beta);
    }
}

/// ln(1 + t/scale) at half the price of ln_1p.
#[inline]
fn log_over(t: f64, scale: f64) -> f64 {
    let share = t / scale;
    let sum = 1.0 + share;
    sum.ln() + (share - (sum - 1.0)) / sum
}
