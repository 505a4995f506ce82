//! Ratios of gamma functions that keep their relative accuracy, and long sums of smooth functions.

use super::super::special::integrate;

/// From here on the asymptotic series are accurate to the last digit.
const LARGE: f64 = 16.0;

/// ln Γ(z+a)Γ(z+d) / Γ(z)Γ(z+a+d) = ln B(a, z+d)/B(a, z), for z > 0, d ≥ 0 and z + a > 0, to nearly full relative accuracy.
///
/// It is ≤ 0 for a ≥ 0, and about −ad/z where that is small. Below z = 16 the recurrence of Γ raises z; then the second difference of Stirling's series
/// is arranged such that no term is larger than the result:
///
/// ```text
/// −[a ln(1 + d/(z+a)) + d ln(1 + a/(z+d)) + (z−½) ln z(z+a+d)/((z+a)(z+d)) + ΔΔs],   s(z) = 1/12z − 1/360z³ + …
/// ```
pub(super) fn ln_beta_ratio(mut z: f64, a: f64, d: f64) -> f64 {
    let cross = |z: f64| {
        let share = a / (z + a) * (d / (z + d));
        if share > 0.5 { (z / (z + a) * ((z + a + d) / (z + d))).ln() } else { (-share).ln_1p() }
    };
    let mut sum = 0.0;
    while z < LARGE {
        sum += cross(z);
        z += 1.0;
    }
    let inverse = |z: f64| {
        let w = 1.0 / (z * z);
        w / z * (-1.0 / 360.0 + w * (1.0 / 1260.0 + w * (-1.0 / 1680.0 + w / 1188.0)))
    };
    let first = a / (z * (z + a)) * (d / (z + d)) * ((2.0 * z + a + d) / (z + a + d)) / 12.0;
    let rest = (inverse(z) - inverse(z + a)) - (inverse(z + d) - inverse(z + a + d));
    sum - (a * (d / (z + a)).ln_1p() + d * (a / (z + d)).ln_1p() + (z - 0.5) * cross(z) + first + rest)
}

/// Σ_{j=0}^{m−1} (z)_j / (z+a)_j = Σ B(a, z+j)/B(a, z), for z ≥ 1 and a > 0: (z+a−1)/(a−1) · (1 − (z)_m/(z+a−1)_m), where a = 1 is no pole.
pub(super) fn sum_of_beta_ratios(z: f64, a: f64, m: f64) -> f64 {
    /// Nearer to a = 1 than this the difference is below the accuracy asked for, and a − 1 would be all rounding.
    const NEAR: f64 = 1e-11;
    if m <= 0.0 {
        return 0.0;
    }
    let e = if (a - 1.0).abs() < NEAR { NEAR } else { a - 1.0 };
    -ln_beta_ratio(z, e, m).exp_m1() * (z + e) / e
}

/// ψ(z+d) − ψ(z) and ψ′(z+d) − ψ′(z), for z > 0 and d ≥ 0.
pub(super) fn polygamma_differences(mut z: f64, d: f64) -> [f64; 2] {
    let (mut first, mut second) = (0.0, 0.0);
    while z < LARGE {
        let step = d / z / (z + d);
        first += step;
        second -= step * (1.0 / z + 1.0 / (z + d));
        z += 1.0;
    }
    let y = z + d;
    let step = d / z / y;
    let of_digamma = |z: f64| {
        let w = 1.0 / (z * z);
        w * (-1.0 / 12.0 + w * (1.0 / 120.0 + w * (-1.0 / 252.0 + w * (1.0 / 240.0 - w / 132.0))))
    };
    let of_trigamma = |z: f64| {
        let w = 1.0 / (z * z);
        w / z * (1.0 / 6.0 + w * (-1.0 / 30.0 + w * (1.0 / 42.0 + w * (-1.0 / 30.0 + w * 5.0 / 66.0))))
    };
    first += (d / z).ln_1p() + 0.5 * step + (of_digamma(y) - of_digamma(z));
    second -= step + 0.5 * step * (1.0 / z + 1.0 / y) - (of_trigamma(y) - of_trigamma(z));
    [first, second]
}

/// Terms that are added one by one.
const DIRECT: f64 = 256.0;

/// Σ_{j=1}^{m} f(j) for a whole m and a positive f that is smooth and in the end falls: the first terms one by one, the rest by the formula of Euler and
/// Maclaurin about the middles, Σ_{j=p+1}^{m} f(j) = ∫_{p+½}^{m+½} f − [f′]/24 + 7[f‴]/5760, with differences in place of the derivatives.
pub(super) fn sum_of_smooth(m: f64, f: impl Fn(f64) -> f64) -> f64 {
    let mut sum = 0.0;
    let mut j = 0.0;
    let mut last = f64::INFINITY;
    while j < m.min(DIRECT) {
        j += 1.0;
        last = f(j);
        sum += last;
    }
    if j >= m || last * (m - j) <= 1e-17 * sum {
        return sum;
    }
    // Differences about x + ½: f′ is the first one less a 24th of f‴, the third.
    let correction = |x: f64| {
        let [a, b, c, d] = [-1.0, 0.0, 1.0, 2.0].map(|i| f(x + i));
        -(c - b) / 24.0 + 17.0 / 5760.0 * ((d - a) - 3.0 * (c - b))
    };
    sum -= correction(j);
    let mut low = j;
    while low < m {
        let high = (2.0 * low).min(m);
        sum += integrate(high - low, 4, |x| f(low + 0.5 + x));
        low = high;
        if low < m && f(low) * (m - low) <= 1e-17 * sum {
            return sum;
        }
    }
    sum + correction(m)
}

/// `at` of a whole number, interpolated linearly in between.
pub(super) fn interpolated(h: f64, at: impl Fn(f64) -> f64) -> f64 {
    let (whole, part) = (h.floor(), h.fract());
    if part == 0.0 { at(whole) } else { (1.0 - part) * at(whole) + part * at(whole + 1.0) }
}

/// The mixture of the tables of two whole horizons for one in between.
pub(super) fn interpolated_counts(h: f64, at: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
    let (whole, part) = (h.floor(), h.fract());
    let lower = at(whole);
    if part == 0.0 {
        return lower;
    }
    let mut table = at(whole + 1.0);
    table.iter_mut().for_each(|p| *p *= part);
    table.iter_mut().zip(&lower).for_each(|(p, low)| *p += (1.0 - part) * low);
    table
}

/// Σ over the periods of e(j), what is expected in the j-th, spread evenly over it and discounted by e^(−δ) a period, within `h`.
///
/// That is (e^δ − 1)/δ times the sum with every period discounted from its end.
pub(super) fn discounted_evenly(h: f64, delta: f64, expected_in: impl Fn(f64) -> f64) -> f64 {
    /// e^−45 of a purchase is none.
    const FORGOTTEN: f64 = 45.0;
    let end = h.min((FORGOTTEN / delta).ceil());
    let whole = sum_of_smooth(end.floor(), |j| expected_in(j) * (-delta * j).exp()) * delta.exp_m1() / delta;
    let part = end.fract();
    if part == 0.0 { whole } else { whole + expected_in(end.ceil()) * (-delta * end.floor()).exp() * -(-delta * part).exp_m1() / delta }
}

#[cfg(test)]
mod tests {
    use super::super::super::special::{digamma, lgamma, trigamma};
    use super::*;

    fn close(given: f64, expected: f64, relative: f64) {
        assert!((given - expected).abs() <= relative * expected.abs(), "{given} instead of {expected}");
    }

    #[test]
    fn ratios_equal_products_and_differences_of_logarithms() {
        for z in [1e-5, 0.3, 1.0, 7.5, 15.9, 16.1, 400.0] {
            for a in [1e-6, 0.2, 1.0, 3.0, 90.0, 1e4] {
                let product: f64 = (0..40).map(f64::from).map(|j| -(a / (z + j)).ln_1p()).sum();
                close(ln_beta_ratio(z, a, 40.0), product, 1e-12);
                close(sum_of_beta_ratios(z.max(1.0), a, 40.0), sum_from(z.max(1.0), a, 40), 1e-9);
                let by_gamma = lgamma(z + a) + lgamma(z + 0.7) - lgamma(z) - lgamma(z + a + 0.7);
                assert!((ln_beta_ratio(z, a, 0.7) - by_gamma).abs() < 1e-10 * (1.0 + lgamma(z + a + 0.7).abs()));
            }
        }
        assert!(ln_beta_ratio(1.0, 2.0, 1e100).is_finite() && ln_beta_ratio(1e-6, 1e6, 1e150).is_finite());
    }

    fn sum_from(z: f64, a: f64, m: u32) -> f64 {
        let mut term = 1.0;
        (0..m).fold(0.0, |sum, j| {
            let here = term;
            term *= (z + f64::from(j)) / (z + a + f64::from(j));
            sum + here
        })
    }

    #[test]
    fn a_sum_has_no_pole_at_one() {
        for a in [1.0 - 1e-7, 1.0 - 1e-10, 1.0, 1.0 + 1e-12, 1.0 + 1e-9, 1.0 + 1e-5] {
            for (z, m) in [(1.0, 3), (2.5, 100), (40.0, 2_000)] {
                close(sum_of_beta_ratios(z, a, f64::from(m)), sum_from(z, a, m), 1e-9);
            }
        }
    }

    #[test]
    fn differences_of_polygammas_equal_those_of_the_functions() {
        for z in [1e-3, 0.5, 15.5, 30.0] {
            for d in [0.25, 3.0, 1e4] {
                let [first, second] = polygamma_differences(z, d);
                close(first, digamma(z + d) - digamma(z), 1e-11);
                close(second, trigamma(z + d) - trigamma(z), 1e-11);
            }
        }
        let [first, second] = polygamma_differences(1.0, 1e120);
        close(first, 120.0 * std::f64::consts::LN_10 - digamma(1.0), 1e-12);
        close(second, -trigamma(1.0), 1e-12);
    }

    #[test]
    fn long_sums_equal_the_terms_one_by_one() {
        for (power, rate) in [(0.1, 0.0), (1.5, 0.0), (4.0, 0.0), (0.3, 1e-3), (0.3, 0.02), (2.0, 0.3)] {
            let f = |x: f64| (1.0 + x / 3.0).powf(-power) * (-rate * x).exp();
            for m in [3, 257, 300, 100_000] {
                let direct: f64 = (1..=m).map(|j| f(f64::from(j))).sum();
                close(sum_of_smooth(f64::from(m), f), direct, 1e-11);
            }
        }
    }
}
