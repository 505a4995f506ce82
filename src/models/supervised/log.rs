//! sign(x)·ln(1 + |x|), without a call or a jump, so that a loop over a column is one of vectors.

/// What is larger counts as this.
const LARGEST: f64 = 1e300;

const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
const ONE: u64 = 0x3FF0_0000_0000_0000;
const FRACTION: u64 = 0x000F_FFFF_FFFF_FFFF;
/// 2⁵², and its bits: a small whole number put into them is 2⁵² more.
const BIG: f64 = 4_503_599_627_370_496.0;
const BIG_BITS: u64 = 0x4330_0000_0000_0000;
/// ln 2 in two parts, the first with so few digits that a multiple of it is exact.
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// The minimax polynomial of FreeBSD's msun `e_log.c`.
const LG: [f64; 7] = [
    6.666_666_666_666_735e-1,
    3.999_999_999_940_942e-1,
    2.857_142_874_366_239e-1,
    2.222_219_843_214_978_4e-1,
    1.818_357_216_161_805e-1,
    1.531_383_769_920_937_3e-1,
    1.479_819_860_511_658_6e-1,
];

/// sign(x)·ln(1 + |x|) to within 2 units of the last place for |x| up to 10³⁰⁰; NaN for NaN.
///
/// The method is that of `s_log1p.c` (FreeBSD's msun): u = 1 + |x| = 2^k·m, √½ ≤ m < √2, and ln m by a polynomial of s = f / (2 + f), f = m − 1;
/// what was lost in u is added by its derivative. The two quotients share a division.
#[inline(always)]
pub(super) fn signed_log(x: f64) -> f64 {
    let a = if x.abs() > LARGEST { LARGEST } else { x.abs() };
    let u = 1.0 + a;
    let lost = if a < 1.0 { a - (u - 1.0) } else { 1.0 - (u - a) };
    let shifted = u.to_bits().wrapping_add(ONE - SQRT_HALF);
    let k = f64::from_bits((shifted >> 52) | BIG_BITS) - (BIG + 1_023.0);
    let f = f64::from_bits((shifted & FRACTION) + SQRT_HALF) - 1.0;
    let share = 1.0 / (u * (2.0 + f));
    let s = f * u * share;
    let (z, half) = (s * s, 0.5 * f * f);
    let w = z * z;
    let even = w * (LG[1] + w * (LG[3] + w * LG[5]));
    let odd = z * (LG[0] + w * (LG[2] + w * (LG[4] + w * LG[6])));
    let ln = s * (half + (even + odd)) + (k * LN2_LOW + lost * (2.0 + f) * share) - half + f + k * LN2_HIGH;
    ln.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm() {
        let near = |x: f64| {
            let (ln, truth) = (signed_log(x), x.abs().ln_1p().copysign(x));
            assert!((ln - truth).abs() <= 2.0 * f64::EPSILON * truth.abs(), "{x:e}: {ln:e} for {truth:e}");
        };
        for i in -3_000..3_000 {
            for tail in [0.0, 0.37, 0.5] {
                near((f64::from(i) * 0.234 + tail).exp2().min(LARGEST));
                near(-(f64::from(i) * 0.01 + tail));
            }
        }
        [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::EPSILON, std::f64::consts::SQRT_2 - 1.0, 0.5, 1.0, 1e300].into_iter().for_each(near);
        assert_eq!(signed_log(f64::NEG_INFINITY), -signed_log(LARGEST));
        assert!(signed_log(f64::NAN).is_nan() && signed_log(-0.0).is_sign_negative());
    }
}
