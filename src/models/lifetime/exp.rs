//! eˣ without a call or a jump, so that a loop over customers is one of vectors.

/// Beyond these x counts as they do.
const LARGEST: f64 = 708.0;
/// 1.5·2⁵²: what is added to it becomes a whole number in its last bits.
const WHOLE: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts, the first with so few digits that a multiple of it is exact.
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1/n!
const TAYLOR: [f64; 14] = {
    let mut terms = [1.0; 14];
    let mut n = 1;
    while n < terms.len() {
        terms[n] = terms[n - 1] / n as f64;
        n += 1;
    }
    terms
};

/// eˣ to within 2 units of the last place for |x| ≤ 708.
///
/// x = k·ln 2 + r, |r| ≤ ½·ln 2, and eˣ = 2ᵏ·eʳ with the Taylor polynomial of degree 13 (of error 4e-18) in pieces that do not wait for each other.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-LARGEST, LARGEST);
    let whole = x * std::f64::consts::LOG2_E + WHOLE;
    let k = whole - WHOLE;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let (r2, pair) = (r * r, |n: usize| TAYLOR[n] + TAYLOR[n + 1] * r);
    let r4 = r2 * r2;
    let four = |n: usize| pair(n) + pair(n + 2) * r2;
    // All but 1 + r, which is added last.
    let rest = r2 * (four(2) + r4 * (four(6) + r4 * four(10)));
    let e = 1.0 + (r + rest);
    f64::from_bits(e.to_bits().wrapping_add(whole.to_bits() << 52))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_exponential() {
        for i in -70_800..=70_800 {
            for tail in [0.0, 0.003_7] {
                let x = (f64::from(i) * 0.01 + tail).min(708.0);
                let (e, truth) = (super::exp(x), x.exp());
                assert!((e - truth).abs() <= 2.0 * f64::EPSILON * truth, "{x}: {e:e} for {truth:e}");
            }
        }
        assert_eq!((super::exp(0.0), super::exp(f64::INFINITY), super::exp(-1e300)), (1.0, super::exp(708.0), super::exp(-708.0)));
    }
}
