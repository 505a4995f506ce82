//! BG/CNBD-k and MBG/CNBD-k: customers who purchase at regular intervals (Reutterer, Platzer and Schröder, "Leveraging purchase regularity for predicting
//! customer behavior the easy way", International Journal of Research in Marketing 38, 2021; R package BTYDplus).
//!
//! A customer passes stages at random with rate λ and purchases at every k-th of them: the time between two purchases is Erlang(k, λ), the more regular the
//! larger k. After each purchase they depart with probability p. Over the customers λ is Gamma(r, rate α) and p is Beta(a, b). With k = 1 it is BG/NBD, and
//! with departure after the first purchase MBG/NBD; c is x, respectively x + 1. For a customer with x, t_x, T and K = r + kx:
//!
//! ```text
//! L         = Π gap^(k−1) · Γ(k)^−x · (r)_kx α^r (b)_c/(a+b)_c · (α+T)^−K · (Z + [c>0] e^D)
//! Z         = Σ_{j<k} (K)_j/j! u^j,   u = (T−t_x)/(α+T)
//! D         = ln a/(b+c−1) + K ln (α+T)/(α+t_x)
//! P(alive)  = Z / (Z + [c>0] e^D)
//! P(none in h | alive) = ((α+T)/(α+T+h))^K · Z(T+h)/Z(T)
//! ```
//!
//! Of who is alive, j stages have passed since the last purchase, with probability w_j, the j-th term of Z over Z; their λ is Gamma(K + j, rate α+T). What
//! they will do is in `expectation`.
//!
//! The gaps enter through Σ ln gap over all customers, and there k alone can be learnt from: x, t_x and T are not enough. k is the whole number between 1
//! and [`MOST_REGULAR`] with the largest likelihood. The gaps are whole days, of at least 1.

mod expectation;
mod fit;

pub use fit::fit_cnbd;

use std::sync::Arc;

use super::process::{Alive, FORGOTTEN, Process, discounted};
use super::{COVARIATES, Estimated, FIRST_PURCHASE, Fit, FitOptions, L2, L2_COVARIATES, SPEND, Sample};
use crate::models::{Allowed, AnyPurchases, Control, Make, ModelError, ModelType, OptionSpec, Options, Part};

/// The largest k that is considered.
pub const MOST_REGULAR: u32 = 12;
const SLOTS: usize = MOST_REGULAR as usize;

const K: OptionSpec = OptionSpec {
    name: "k",
    default: "auto",
    allowed: Allowed::OneOf(&["auto", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]),
    about: "regularity: the time between two purchases is Erlang(k); auto takes the likeliest, 1 is at random",
};

static CNBD_OPTIONS: &[OptionSpec] = &[K, SPEND, FIRST_PURCHASE, COVARIATES, L2, L2_COVARIATES];

/// `model_type = 'bg_cnbd_k'`.
pub static BG_CNBD_K: ModelType = regular::<0>("BG/CNBD-k: purchases at regular intervals, departure after a repeat purchase");

/// `model_type = 'mbg_cnbd_k'`.
pub static MBG_CNBD_K: ModelType =
    regular::<1>("MBG/CNBD-k: purchases at regular intervals, departure after any purchase, the first included");

const fn regular<const FIRST: u8>(about: &'static str) -> ModelType {
    fn fit_any<const FIRST: u8>(data: &Sample<'_>, options: &Options, control: &Control) -> Result<Fit<AnyPurchases>, ModelError> {
        let k = options.get("k").parse().ok();
        Ok(fit_cnbd::<FIRST>(data.counts, k, &FitOptions::of(data, options), control)?.map(|model| Arc::new(model) as AnyPurchases))
    }
    fn read_any<const FIRST: u8>(parts: &[Part]) -> Result<AnyPurchases, ModelError> {
        let model = Estimated::<Cnbd<FIRST>>::from_parts(parts)?;
        match model.base.k {
            1..=MOST_REGULAR => Ok(Arc::new(model)),
            k => Err(ModelError::Damaged(format!("k = {k} in table '{}', which must be from 1 to {MOST_REGULAR}", Cnbd::<FIRST>::NAME))),
        }
    }
    ModelType {
        name: Cnbd::<FIRST>::NAME,
        about,
        options: CNBD_OPTIONS,
        in_auto: FIRST == 1,
        baseline: false,
        make: Make::Purchases { fit: fit_any::<FIRST>, read: read_any::<FIRST> },
    }
}

/// BG/CNBD-k.
pub type BgCnbdK = Cnbd<0>;
/// MBG/CNBD-k.
pub type MbgCnbdK = Cnbd<1>;

/// The parameters: purchases come at every `k`-th stage, rates of stages are Gamma(`r`, rate `alpha`) a day, departure probabilities Beta(`a`, `b`). `FIRST`
/// is 1 where a customer may depart after the first purchase, else 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cnbd<const FIRST: u8> {
    pub r: f64,
    /// In days (or whatever unit of time the caller keeps to).
    pub alpha: f64,
    pub a: f64,
    pub b: f64,
    /// From 1 to [`MOST_REGULAR`].
    pub k: u32,
}

/// (K)_j/j! for j = 0 … k−1, then zeros. With K of some 1e8 and eleven factors nothing overflows.
fn coefficients(shape: f64, k: u32) -> [f64; SLOTS] {
    let mut c = [0.0; SLOTS];
    let mut term = 1.0;
    for (j, c) in (0..k).zip(&mut c) {
        *c = term;
        term *= (shape + f64::from(j)) / f64::from(j + 1);
    }
    c
}

/// Σ c_j u^j.
fn polynomial(c: &[f64], u: f64) -> f64 {
    c.iter().rev().fold(0.0, |sum, c| sum * u + c)
}

impl<const FIRST: u8> Cnbd<FIRST> {
    /// Chances to depart that were not taken by a customer who is alive.
    fn chances(x: f64) -> f64 {
        x + f64::from(FIRST)
    }

    /// K: the stages passed until the last purchase, added to r.
    fn shape(&self, x: f64) -> f64 {
        self.r + f64::from(self.k) * x
    }

    /// ln Z.
    fn ln_waiting(&self, x: f64, t_x: f64, t: f64) -> f64 {
        polynomial(&coefficients(self.shape(x), self.k), (t - t_x) / (self.alpha + t)).ln()
    }

    /// D: ln of the odds of having departed, times Z, for at least one chance to.
    fn log_departed(&self, x: f64, t_x: f64, t: f64) -> f64 {
        (self.a / (self.b + Self::chances(x) - 1.0)).ln() + self.shape(x) * ((t - t_x) / (self.alpha + t_x)).ln_1p()
    }
}

impl<const FIRST: u8> Process for Cnbd<FIRST> {
    const NAME: &'static str = if FIRST == 0 { "bg_cnbd_k" } else { "mbg_cnbd_k" };
    const PARAMETERS: &'static [&'static str] = &["r", "alpha", "a", "b", "k"];
    const GIVEN: usize = 1;
    const BY_RECENCY: bool = true;
    type Alive = AliveCnbd;

    fn values(&self) -> Vec<f64> {
        vec![self.r, self.alpha, self.a, self.b, f64::from(self.k)]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { r: values[0], alpha: values[1], a: values[2], b: values[3], k: values[4].round() as u32 }
    }

    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        if Self::chances(x) > 0.0 { 1.0 / (1.0 + (self.log_departed(x, t_x, t) - self.ln_waiting(x, t_x, t)).exp()) } else { 1.0 }
    }

    fn alive(&self, x: f64, t_x: f64, t: f64) -> AliveCnbd {
        let (shape, scale, waited) = (self.shape(x), self.alpha + t, t - t_x);
        let coefficients = coefficients(shape, self.k);
        let u = waited / scale;
        let waiting = polynomial(&coefficients, u);
        let mut stage = [0.0; SLOTS];
        let mut power = 1.0 / waiting;
        for (w, c) in stage.iter_mut().zip(coefficients) {
            *w = c * power;
            power *= u;
        }
        AliveCnbd { k: self.k, shape, scale, waited, a: self.a, b: self.b + Self::chances(x), waiting, stage }
    }

    fn shifted(&self, purchase: f64, lifetime: f64) -> Self {
        Self { alpha: self.alpha * (-purchase).exp(), a: self.a * lifetime.exp(), ..*self }
    }
}

/// A customer who is alive.
#[derive(Clone, Copy, Debug)]
pub struct AliveCnbd {
    k: u32,
    /// K.
    shape: f64,
    /// α + T.
    scale: f64,
    /// T − t_x.
    waited: f64,
    /// Departure probability Beta(a, b) as it is known at T.
    a: f64,
    b: f64,
    /// Z.
    waiting: f64,
    /// w_j.
    stage: [f64; SLOTS],
}

impl Alive for AliveCnbd {
    fn expected(&self, h: f64) -> f64 {
        self.expected_purchases(h)
    }

    fn none(&self, h: f64) -> f64 {
        let h = h.clamp(0.0, expectation::LONGEST);
        let c = coefficients(self.shape, self.k);
        let waiting = polynomial(&c, (self.waited + h) / (self.scale + h));
        ((waiting / self.waiting) * (-self.shape * (h / self.scale).ln_1p()).exp()).min(1.0)
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        self.probabilities(h)
    }

    /// Without an end it is a mean over λ and p.
    fn discounted(&self, h: f64, delta: f64) -> f64 {
        if h * delta >= FORGOTTEN { self.discounted_for_ever(delta) } else { discounted(self, h, delta) }
    }

    /// The mean time between purchases where it is shorter than α + T: regular purchases come in waves.
    fn scale(&self) -> f64 {
        self.scale * (f64::from(self.k) / self.shape).min(1.0)
    }
}

#[cfg(test)]
mod tests;
