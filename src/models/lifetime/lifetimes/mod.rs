//! Pareto/NBD (Schmittlein, Morrison and Colombo, "Counting your customers", Management Science 33, 1987) and GGompertz/NBD (Bemmaor and Glady, "Modeling
//! purchasing behavior with sudden 'death'", Management Science 58, 2012).
//!
//! While alive a customer purchases at random with rate λ, and departs unseen at the end of a lifetime that has nothing to do with the purchases. Over the
//! customers λ is Gamma(r, rate α); the lifetime has survival S and density f: see `pareto` and `gompertz`. For a customer with x, t_x, T and k = r + x:
//!
//! ```text
//! L         = (r)_x α^r · (S(T) (α+T)^−k + ∫ f(u) (α+u)^−k du)      over u in [t_x, T]
//!           = (r)_x α^r · S(T) (α+T)^−k · (1 + e^D)
//! D         = ln ∫ f(u)/S(T) ((α+T)/(α+u))^k du
//! P(alive)  = 1 / (1 + e^D)
//! ```
//!
//! At any time the state of a customer who is alive is Gamma(k, rate A = α + T) and the lifetime that remains, S(T+τ)/S(T), which is of the same family. With
//! S from now on of the latter:
//!
//! ```text
//! E(τ)      = k/A ∫ S(u) du,   discounted with e^(−δu) under the integral         over [0, τ]
//! P(none)   = S(τ) (A/(A+τ))^k + ∫ f(u) (A/(A+u))^k du, which is the L of a customer who came now
//! P(n)      = S(τ) NB(n; τ) + ∫ f(u) NB(n; u) du
//! ```
//!
//! The integrands are positive and smooth in ln(1 + u/c), and Gauss–Legendre quadrature gives all digits: see `quadrature`. There is no ₂F₁, nothing that
//! cancels, and no case for α < β.

mod calendar;
mod fit;
mod gompertz;
mod lifetime;
mod pareto;
mod quadrature;

pub use calendar::{CalendarNbd, PARETO_NBD_CALENDAR, fit_calendar};
pub use gompertz::GammaGompertz;
pub use lifetime::Lifetime;
pub use pareto::Pareto;

use super::process::{Alive, FORGOTTEN, MOST_COUNTS, Process};
use super::special::{negative_binomial, negative_binomial_near_mode};
use crate::models::ModelType;
use lifetime::{departures, discounted, ln_odds_departed, p_none};
use quadrature::{Node, integrate};

/// `model_type = 'pareto_nbd'`.
pub static PARETO_NBD: ModelType =
    super::parametric::<ParetoNbd>("Pareto/NBD: Poisson purchases, departure at a constant rate of each customer's own", true);

/// `model_type = 'ggompertz_nbd'`.
pub static GGOMPERTZ_NBD: ModelType =
    super::parametric::<GgompertzNbd>("GGompertz/NBD: Poisson purchases, departure at a rate that rises with age", false);

/// Pareto/NBD.
pub type ParetoNbd = Nbd<Pareto>;
/// GGompertz/NBD.
pub type GgompertzNbd = Nbd<GammaGompertz>;

/// The parameters: purchase rates are Gamma(`r`, rate `alpha`) a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nbd<L> {
    pub r: f64,
    /// In days (or whatever unit of time the caller keeps to).
    pub alpha: f64,
    pub lifetime: L,
}

impl<L: Lifetime> Nbd<L> {
    /// D: ln of the odds of having departed.
    fn ln_odds_departed(&self, x: f64, t_x: f64, t: f64) -> f64 {
        ln_odds_departed(&self.lifetime.aged(t_x), self.r + x, self.alpha + t_x, t - t_x)
    }
}

impl<L: Lifetime> Process for Nbd<L> {
    const NAME: &'static str = L::NAME;
    const PARAMETERS: &'static [&'static str] = L::PARAMETERS;
    type Alive = AliveNbd<L>;

    fn values(&self) -> Vec<f64> {
        let mut values = vec![self.r, self.alpha];
        values.extend(self.lifetime.values());
        values
    }

    fn of_values(values: &[f64]) -> Self {
        Self { r: values[0], alpha: values[1], lifetime: L::of_values(&values[2..]) }
    }

    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        1.0 / (1.0 + self.ln_odds_departed(x, t_x, t).exp())
    }

    fn alive(&self, x: f64, _: f64, t: f64) -> AliveNbd<L> {
        AliveNbd { k: self.r + x, alpha: self.alpha + t, lifetime: self.lifetime.aged(t) }
    }

    /// α and β, as in CLVTools: γ > 0 on `lifetime` makes departure likelier.
    fn shifted(&self, purchase: f64, lifetime: f64) -> Self {
        Self { alpha: self.alpha * (-purchase).exp(), lifetime: self.lifetime.hastened(lifetime), ..*self }
    }
}

/// A customer who is alive: rate Gamma(k, rate `alpha`) and the lifetime that remains, both as they are known at T.
#[derive(Clone, Copy, Debug)]
pub struct AliveNbd<L> {
    k: f64,
    alpha: f64,
    lifetime: L,
}

/// A chance that is none, and −ln of the smallest number to begin a recurrence with.
const NEGLIGIBLE: f64 = 1e-30;
const UNDERFLOW: f64 = 600.0;

/// Sums of negative binomials over the times, ascending, at which customers stop to purchase, with the chance of each.
impl<L> AliveNbd<L> {
    /// By the recurrence P(n+1) = P(n)·share·(k+n)/(n+1) at all times at once.
    fn add_from_none(&self, ends: &[(f64, f64)], table: &mut [f64]) {
        let mut p: Vec<f64> = ends.iter().map(|(t, chance)| chance * (-self.k * (t / self.alpha).ln_1p()).exp()).collect();
        let shares: Vec<f64> = ends.iter().map(|(t, _)| t / (self.alpha + t)).collect();
        let mut first = 0;
        for (n, sum) in table.iter_mut().enumerate() {
            *sum += p[first..].iter().sum::<f64>();
            let rise = (self.k + n as f64) / (n as f64 + 1.0);
            p[first..].iter_mut().zip(&shares[first..]).for_each(|(p, share)| *p *= share * rise);
            // Short times are done with first.
            while first < p.len() && p[first] < NEGLIGIBLE && shares[first] * rise < 1.0 {
                first += 1;
            }
        }
    }

    /// By the recurrence from the mode of each time, for many purchases.
    fn add_near_modes(&self, ends: &[(f64, f64)], table: &mut [f64]) {
        for &(t, chance) in ends {
            let (first, near) = negative_binomial_near_mode(self.k, t / (self.alpha + t), self.alpha / (self.alpha + t), table.len());
            table[first..].iter_mut().zip(near).for_each(|(sum, p)| *sum += chance * p);
        }
    }
}

impl<L: Lifetime> Alive for AliveNbd<L> {
    fn expected(&self, h: f64) -> f64 {
        if h > 0.0 { self.k / self.alpha * self.lifetime.mean_within(h) } else { 0.0 }
    }

    fn none(&self, h: f64) -> f64 {
        p_none(&self.lifetime, self.k, self.alpha, h)
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        let h = h.max(0.0);
        let mut table = negative_binomial(self.k, h / (self.alpha + h), self.alpha / (self.alpha + h), MOST_COUNTS);
        table.fill(0.0);
        let departures = departures(&self.lifetime, self.k, self.alpha);
        // The customer departs at t, or lives to the end.
        let mut ends = Vec::new();
        integrate(&departures, h, |node| {
            let departing = departures.density(node) * node.dt;
            if !departures.beyond(node.t) {
                ends.push((node.t, departing));
            }
            departing
        });
        ends.push((h, self.lifetime.ln_survival(&self.lifetime.point(&Node::alone(h))).exp()));
        ends.retain(|(_, p)| *p > NEGLIGIBLE);
        if self.k * (h / self.alpha).ln_1p() < UNDERFLOW {
            self.add_from_none(&ends, &mut table)
        } else {
            self.add_near_modes(&ends, &mut table)
        }
        if table.len() == MOST_COUNTS {
            table[MOST_COUNTS - 1] = 0.0;
            table[MOST_COUNTS - 1] = (1.0 - table.iter().sum::<f64>()).max(0.0);
        }
        table
    }

    fn scale(&self) -> f64 {
        self.alpha
    }

    /// k/A ∫ e^(−δu) S(u) du.
    fn discounted(&self, h: f64, delta: f64) -> f64 {
        self.k / self.alpha * discounted(&self.lifetime, h.min(FORGOTTEN / delta), delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::lifetime::check::wild;
    use crate::models::lifetime::process::Likelihood;

    const fn pareto(r: f64, alpha: f64, s: f64, beta: f64) -> ParetoNbd {
        ParetoNbd { r, alpha, lifetime: Pareto { s, beta } }
    }

    const fn ggompertz(r: f64, alpha: f64, b: f64, s: f64, beta: f64) -> GgompertzNbd {
        GgompertzNbd { r, alpha, lifetime: GammaGompertz { b, s, beta } }
    }

    /// Checks a quantity against 40-digit references, and against published values within their tolerance.
    fn meets<const N: usize>(name: &str, cases: &[Case<N>], quantity: impl Fn(ParetoNbd, [f64; N]) -> f64) {
        for &(model, inputs, reference, published) in cases {
            let given = quantity(model, inputs);
            assert!((given / reference - 1.0).abs() < 1e-10, "{name} of {model:?} at {inputs:?}: {given} instead of {reference}");
            if let Some((published, tolerance)) = published {
                assert!((given - published).abs() <= tolerance, "{name} of {model:?} at {inputs:?}: {given} instead of {published}");
            }
        }
    }

    /// Model, inputs, reference, published value with its tolerance.
    type Case<const N: usize> = (ParetoNbd, [f64; N], f64, Option<(f64, f64)>);

    /// The estimates of BTYD (A) and CLVTools for CDNOW, in weeks, and parameters that peers had trouble with.
    const A: ParetoNbd = pareto(0.55339714, 10.58019854, 0.6060625, 11.65622367);
    const B: ParetoNbd = pareto(0.55, 10.58, 0.61, 11.67);
    const C: ParetoNbd = pareto(10.465, 0.00798565181, 3.0516, 2.82);
    const D: ParetoNbd = pareto(0.5143, 2.8845, 0.2856, 14.1087);
    const E: ParetoNbd = pareto(0.55, 10.56, 0.61, 11.64);
    const F: ParetoNbd = pareto(0.5629966, 12.559037, 0.4081095, 10.5148048);

    #[test]
    fn meets_published_values_and_references() {
        meets(
            "CET",
            &[
                (A, [26.0, 216.0 / 7.0, 217.0 / 7.0, 52.0], 25.45418324148776, Some((25.45647, 0.003))),
                (A, [10.0, 20.0, 39.0, 52.0], 0.7059673380279108, Some((0.7062289, 0.0014124578))),
                (A, [15.0, 20.0, 39.0, 52.0], 0.1441877964913062, Some((0.1442396, 0.0002884792))),
                (A, [20.0, 20.0, 39.0, 52.0], 0.02249928228511556, Some((0.02250658, 4.501316e-05))),
                (A, [25.0, 20.0, 39.0, 52.0], 0.003091789593040726, Some((0.00309267, 6.18534e-06))),
                (B, [132.0, 200.0, 200.0, 10.0], 6.206051788962932, Some((6.206051788963242, 1e-09))),
                (B, [133.0, 200.0, 200.0, 10.0], 6.252872247574497, Some((6.252872247574811, 1e-09))),
            ],
            |m, [x, t_x, t, h]| m.expected_purchases(x, t_x, t, h),
        );
        meets(
            "P(alive)",
            &[
                (A, [26.0, 216.0 / 7.0, 217.0 / 7.0], 0.9978734082014346, Some((0.997874, 1e-05))),
                (A, [0.0, 0.0, 39.0], 0.294163334855286, Some((0.2941633, 0.0002))),
                (A, [23.0, 39.0, 39.0], 1.0, Some((1.0, 0.0))),
                (C, [40.0, 5.0, 6.0], 0.00188512818737563, None),
                (C, [50.0, 1.0, 37.0], 1.417144291286607e-96, None),
                (C, [50.0, 4.0, 37.0], 6.732974871799163e-60, None),
                (D, [221.0, 103.42857, 103.57143], 0.9995960523179381, None),
                (D, [254.0, 97.14286, 97.28571], 0.9995582261230107, None),
                (D, [161.0, 94.71429, 98.0], 0.7494877522556069, None),
                (D, [204.0, 98.57143, 99.42857], 0.9942550796378995, None),
            ],
            |m, [x, t_x, t]| m.p_alive(x, t_x, t),
        );
        meets(
            "E[X(t)]",
            &[
                (A, [52.0], 1.473112677280615, Some((1.473434, 0.0005))),
                (E, [1.0], 0.05077820616616711, Some((0.05077821, 2e-08))),
                (E, [2.0], 0.09916088423013376, Some((0.09916088, 2e-08))),
                (E, [3.0], 0.145425065200215, Some((0.14542507, 2e-08))),
                (E, [4.0], 0.1897992992460652, Some((0.1897993, 2e-08))),
                (E, [5.0], 0.2324746582052867, Some((0.23247466, 2e-08))),
                (E, [6.0], 0.2736127368306057, Some((0.27361274, 2e-08))),
                (E, [7.0], 0.3133515937286715, Some((0.31335159, 2e-08))),
                (E, [8.0], 0.3518102436414883, Some((0.35181024, 2e-08))),
                (E, [9.0], 0.3890921094647552, Some((0.38909211, 2e-08))),
            ],
            |m, [t]| m.expected_purchases_new(t),
        );
        meets(
            "DERT",
            &[
                (F, [7.0, 35.0, 77.86, 0.0027], 1.86418332807133, None),
                (F, [1.0, 30.0, 77.86, 0.0027], 2.199155449704961, None),
                (F, [5.0, 30.0, 77.86, 0.0027], 1.840501924477494, None),
                (F, [10.0, 30.0, 77.86, 0.0027], 0.1679275085660533, None),
            ],
            |m, [x, t_x, t, delta]| m.p_alive(x, t_x, t) * m.alive(x, t_x, t).discounted(f64::INFINITY, delta),
        );
    }

    /// b and s so large and small that lifetimes end abruptly, hardly at all, or are those of Pareto; 30-digit quadrature.
    #[test]
    fn ggompertz_nbd_meets_references() {
        // r, alpha, b, s, beta, x, t_x, T, h, δ; P(alive), and of the living: expected, none, discounted, P(n), n first; ln L.
        let cases = [
            (
                [0.55, 10.6, 0.0002, 0.603, 0.0026, 3.0, 20.0, 39.0, 52.0, 0.0027],
                [
                    0.5348044876879035,
                    2.965438212939823,
                    0.18535202080216712,
                    2.7802091592882494,
                    2.0,
                    0.1597120619877979,
                    -11.996033708939738,
                ],
            ),
            (
                [0.6, 25.0, 0.015, 0.8, 30.0, 4.0, 100.0, 500.0, 365.0, 0.0003],
                [
                    0.0006831479898632101,
                    0.7260717612743968,
                    0.5971295863619418,
                    0.7092440966088359,
                    2.0,
                    0.09505737883159368,
                    -20.687656005207216,
                ],
            ),
            (
                [0.6, 25.0, 0.05, 0.5, 100000000.0, 0.0, 0.0, 600.0, 365.0, 0.0003],
                [
                    0.002397226376560617,
                    0.03839593766079484,
                    0.9649973253934012,
                    0.03794107800755695,
                    0.0,
                    0.9649973253934012,
                    -1.6875469153640128,
                ],
            ),
            (
                [5.0, 2.0, 0.3, 2.5, 1.0, 40.0, 30.0, 60.0, 20.0, 0.001],
                [
                    5.715477766745163e-23,
                    0.9677416394493673,
                    0.5109125049581278,
                    0.9664530412562349,
                    11.0,
                    0.00024814765427985186,
                    -53.89981485884055,
                ],
            ),
            (
                [0.3, 1000.0, 2.0, 0.01, 0.001, 1.0, 5.0, 700.0, 90.0, 0.01],
                [
                    4.927409055390456e-07,
                    0.03191504250917463,
                    0.9694099872377331,
                    0.023777114381143633,
                    0.0,
                    0.9694099872377331,
                    -8.347340014853046,
                ],
            ),
            (
                [0.5, 70.0, 0.02, 3.0, 200.0, 2000.0, 900.0, 905.0, 90.0, 0.0003],
                [
                    0.0008931450843967693,
                    34.04219879071302,
                    0.028425188155404152,
                    33.87692831579568,
                    147.0,
                    0.000413660639058368,
                    -595.424735874698,
                ],
            ),
            (
                [0.01, 0.02, 0.5, 0.3, 5000.0, 0.0, 0.0, 50.0, 30.0, 0.001],
                [
                    0.007061153680026062,
                    0.0013179941613377683,
                    0.9988200071423768,
                    0.0013097004108283236,
                    0.0,
                    0.9988200071423768,
                    -0.06993969265314601,
                ],
            ),
            (
                [12.0, 300.0, 0.001, 15.0, 0.2, 30.0, 300.0, 360.0, 360.0, 0.0001],
                [
                    0.0063238917288611605,
                    1.9445989100574155,
                    0.3484883928149831,
                    1.9384570970336203,
                    18.0,
                    0.0003135101384768141,
                    -119.92345879468671,
                ],
            ),
        ];
        for ([r, alpha, b, s, beta, x, t_x, t, h, delta], [p_alive, expected, none, discounted, n, of_n, ln_likelihood]) in cases {
            let model = ggompertz(r, alpha, b, s, beta);
            let alive = model.alive(x, t_x, t);
            for (name, given, reference) in [
                ("P(alive)", model.p_alive(x, t_x, t), p_alive),
                ("expected", alive.expected(h), expected),
                ("none", alive.none(h), none),
                ("discounted", alive.discounted(h, delta), discounted),
                ("P(n)", alive.counts(h)[n as usize], of_n),
                ("ln L", model.log_likelihood(x, t_x, t), ln_likelihood),
            ] {
                assert!((given / reference - 1.0).abs() < 1e-10, "{name} of {model:?}: {given} instead of {reference}");
            }
        }
    }

    #[test]
    fn answers_are_sane_far_from_any_shop() {
        wild(|p| pareto(p(1e-5, 1e5), p(1e-5, 1e5), p(1e-5, 1e5), p(1e-5, 1e5)));
        wild(|p| ggompertz(p(1e-5, 1e5), p(1e-5, 1e5), p(1e-7, 50.0), p(1e-5, 1e5), p(1e-10, 1e10)));
    }
}
