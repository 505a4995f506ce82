//! The buy-till-you-die models behind the features `bg_nbd_…`.

use crate::models::lifetime::{BgNbd, GammaGamma};
use crate::models::{ModelError, Part};

/// BG/NBD, and gamma-gamma where amounts are known, fitted to all customers as of one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Btyd {
    pub purchases: BgNbd,
    pub spend: Option<GammaGamma>,
}

const PURCHASES: &str = "features_bg_nbd";
const SPEND: &str = "features_gamma_gamma";

impl Btyd {
    pub fn to_parts(self) -> Vec<Part> {
        let BgNbd { r, alpha, a, b } = self.purchases;
        let spend = self.spend.map(|GammaGamma { p, q, v }| Part::row(SPEND, &[("p", p), ("q", q), ("v", v)]));
        std::iter::once(Part::row(PURCHASES, &[("r", r), ("alpha", alpha), ("a", a), ("b", b)])).chain(spend).collect()
    }

    /// What [`Btyd::to_parts`] wrote, if it is there.
    ///
    /// # Errors
    /// `Damaged`: a parameter that is not above 0.
    pub fn from_parts(parts: &[Part]) -> Result<Option<Self>, ModelError> {
        let named = |name: &str| parts.iter().find(|p| p.name == name);
        let Some(p) = named(PURCHASES) else { return Ok(None) };
        let purchases = BgNbd { r: p.positive("r")?, alpha: p.positive("alpha")?, a: p.positive("a")?, b: p.positive("b")? };
        let spend = match named(SPEND) {
            Some(p) => Some(GammaGamma { p: p.positive("p")?, q: p.positive("q")?, v: p.positive("v")? }),
            None => None,
        };
        Ok(Some(Self { purchases, spend }))
    }
}
