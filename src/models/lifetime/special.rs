//! Special functions, for positive arguments.

pub(super) use libm::lgamma;

/// Ascending factorials of up to this many factors are multiplied out: no difference of large logarithms, and cheaper.
const MULTIPLIED_OUT: u32 = 24;

/// ψ(z) = d ln Γ(z) / dz: recurrence up to 12, then the asymptotic series (Abramowitz and Stegun 6.3.18).
pub(super) fn digamma(mut z: f64) -> f64 {
    let mut sum = 0.0;
    while z < 12.0 {
        sum -= 1.0 / z;
        z += 1.0;
    }
    let w = 1.0 / (z * z);
    let series = w * (1.0 / 12.0 - w * (1.0 / 120.0 - w * (1.0 / 252.0 - w * (1.0 / 240.0 - w * (1.0 / 132.0 - w * (691.0 / 32760.0))))));
    sum + z.ln() - 0.5 / z - series
}

/// ψ′(z): recurrence up to 12, then the asymptotic series (Abramowitz and Stegun 6.4.12).
pub(super) fn trigamma(mut z: f64) -> f64 {
    let mut sum = 0.0;
    while z < 12.0 {
        sum += 1.0 / (z * z);
        z += 1.0;
    }
    let w = 1.0 / (z * z);
    let series = w * (1.0 / 6.0 - w * (1.0 / 30.0 - w * (1.0 / 42.0 - w * (1.0 / 30.0 - w * (5.0 / 66.0 - w * (691.0 / 2730.0))))));
    sum + 1.0 / z + 0.5 * w + series / z
}

/// ln(1 + e^d) without overflow.
pub(super) fn softplus(d: f64) -> f64 {
    d.max(0.0) + (-d.abs()).exp().ln_1p()
}

/// ln of the ascending factorial (z)_n = Γ(z + n) / Γ(z).
pub(super) fn ln_rising(z: f64, n: f64) -> f64 {
    if n <= f64::from(MULTIPLIED_OUT) && n.fract() == 0.0 {
        let mut product = 1.0;
        let mut i = 0.0;
        while i < n {
            product *= z + i;
            i += 1.0;
        }
        product.ln()
    } else {
        lgamma(z + n) - lgamma(z)
    }
}

/// ln (z)_n with its first and second derivative by z.
pub(super) fn ln_rising_derivatives(z: f64, n: u32) -> [f64; 3] {
    let value = ln_rising(z, f64::from(n));
    if n > MULTIPLIED_OUT {
        let end = z + f64::from(n);
        return [value, digamma(end) - digamma(z), trigamma(end) - trigamma(z)];
    }
    (0..n).fold([value, 0.0, 0.0], |[value, first, second], i| {
        let inverse = 1.0 / (z + f64::from(i));
        [value, first + inverse, second - inverse * inverse]
    })
}

/// The regularised incomplete beta function I_z(p, q), given z and 1 − z apart so that neither loses digits near 1.
pub(super) fn beta_inc(p: f64, q: f64, z: f64, one_minus_z: f64) -> f64 {
    if z <= 0.0 {
        return 0.0;
    }
    if one_minus_z <= 0.0 {
        return 1.0;
    }
    let front = (lgamma(p + q) - lgamma(p) - lgamma(q) + p * z.ln() + q * one_minus_z.ln()).exp();
    if z < (p + 1.0) / (p + q + 2.0) { front * beta_fraction(p, q, z) / p } else { 1.0 - front * beta_fraction(q, p, one_minus_z) / q }
}

/// The continued fraction of I_z(p, q) (DLMF 8.17.22) by Lentz's method; it needs O(√max(p, q)) steps below the mean of the beta distribution.
fn beta_fraction(p: f64, q: f64, z: f64) -> f64 {
    const STEPS: u32 = 20_000;
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (p + q) * z / (p + 1.0));
    let mut value = d;
    for step in 1..STEPS {
        let m = f64::from(step);
        let even = m * (q - m) * z / ((p + 2.0 * m - 1.0) * (p + 2.0 * m));
        let odd = -(p + m) * (p + q + m) * z / ((p + 2.0 * m) * (p + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + coefficient * d);
            c = away_from_zero(1.0 + coefficient / c);
            factor = d * c;
            value *= factor;
        }
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// The regularised incomplete gamma function P(k, z): series below k + 1, continued fraction above (Numerical Recipes 6.2).
fn gamma_inc(k: f64, z: f64) -> f64 {
    const STEPS: u32 = 100_000;
    if z <= 0.0 {
        return 0.0;
    }
    let front = (k * z.ln() - z - lgamma(k)).exp();
    if z < k + 1.0 {
        let (mut term, mut sum) = (1.0 / k, 1.0 / k);
        for n in 1..STEPS {
            term *= z / (k + f64::from(n));
            sum += term;
            if term < 1e-16 * sum {
                break;
            }
        }
        return (front * sum).min(1.0);
    }
    let mut b = z + 1.0 - k;
    let (mut c, mut d) = (1e300, 1.0 / b);
    let mut value = d;
    for n in 1..STEPS {
        let n = f64::from(n);
        let a = -n * (n - k);
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    1.0 - front * value
}

/// The p-quantile of a gamma variable of shape k and scale 1, to 1e-9: bisection on its logarithm; from k = 1e5 on by Wilson and Hilferty's cube root.
pub(super) fn gamma_quantile(k: f64, p: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if k >= 1e5 {
        let z = normal_quantile(p);
        return k * (1.0 - 1.0 / (9.0 * k) + z / (3.0 * k.sqrt())).powi(3);
    }
    // Below the quantile of the leading term z^k/Γ(k+1) there is less than p.
    let mut low = ((p.ln() + lgamma(k + 1.0)) / k).max(-700.0);
    let mut high = (k + 40.0 + 12.0 * k.sqrt()).ln();
    while high - low > 1e-10 {
        let middle = 0.5 * (low + high);
        if gamma_inc(k, middle.exp()) < p { low = middle } else { high = middle }
    }
    (0.5 * (low + high)).exp()
}

/// The p-quantile of the standard normal distribution: Acklam's rational approximation, relative error below 1.2e-9.
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] =
        [-5.447_609_879_822_406e1, 1.615_858_368_580_409e2, -1.556_989_798_598_866e2, 6.680_131_188_771_972e1, -1.328_068_155_288_572e1];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let polynomial = |c: &[f64], at: f64| c.iter().fold(0.0, |sum, c| sum * at + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
    };
    match p {
        p if p < 0.02425 => tail(p),
        p if p > 1.0 - 0.02425 => -tail(1.0 - p),
        p => {
            let q = p - 0.5;
            polynomial(&A, q * q) * q / (polynomial(&B, q * q) * q * q + 1.0)
        }
    }
}

/// Positive nodes and weights of the ten-point Gauss–Legendre rule on [−1, 1] (Abramowitz and Stegun, table 25.4).
const GAUSS_LEGENDRE_10: [(f64, f64); 5] = [
    (0.148_874_338_981_631_22, 0.295_524_224_714_752_87),
    (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
    (0.679_409_568_299_024_4, 0.219_086_362_515_982_05),
    (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
    (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
];

/// ∫ f over [0, end] by ten Gauss–Legendre nodes on each of `panels` equal panels.
pub(super) fn integrate(end: f64, panels: u32, f: impl Fn(f64) -> f64) -> f64 {
    let half = 0.5 * end / f64::from(panels);
    let mut sum = 0.0;
    for panel in 0..panels {
        let middle = half * f64::from(2 * panel + 1);
        for (node, weight) in GAUSS_LEGENDRE_10 {
            sum += weight * (f(middle - half * node) + f(middle + half * node));
        }
    }
    sum * half
}

/// ∫ f over [0, end] in u = ln(1 + τ/scale), where f falls off like e^(−decay) towards the end.
pub(super) fn integrate_to(end: f64, decay: f64, f: impl Fn(f64) -> f64) -> f64 {
    let panels = ((end / 3.0).ceil() + (decay / 4.0).ceil()).clamp(1.0, 64.0) as u32;
    integrate(end, panels, f)
}

/// E[f(p, 1−p)] for p ~ Beta(a, b) by the trapezoidal rule over y = ln p/(1−p), which converges exponentially where f is analytic and bounded for
/// |Im y| ≤ π/2.
///
/// Far out the integrand is e^(ay) on the left and e^(−by) on the right; from `ends` on, where f no longer changes, the rest of the sum is a geometric series
/// and is added whole. f falls from `bound` on the left.
pub(super) fn beta_mean(a: f64, b: f64, ends: [f64; 2], bound: f64, f: impl Fn(f64, f64) -> f64) -> f64 {
    const NEGLIGIBLE: f64 = 1e-18;
    let mode = (a / b).ln();
    // The density of y = mode + d relative to the mode, from the side that does not cancel.
    let density = |d: f64| {
        let (side, near, share) = if a < b { (d, a, a / (a + b)) } else { (-d, b, b / (a + b)) };
        (near * side - (a + b) * (share * side.exp_m1()).ln_1p()).exp()
    };
    let h = (0.5 * (1.0 / a + 1.0 / b).sqrt()).min(0.25);
    let (left_rest, right_rest) = (-1.0 / (-a * h).exp_m1(), -1.0 / (-b * h).exp_m1());
    let at_mode = f(a / (a + b), b / (a + b));
    let mut weight = 1.0;
    let mut sum = at_mode;
    for (side, end, rest, bound) in [(-1.0, ends[0], left_rest, bound), (1.0, ends[1], right_rest, at_mode)] {
        let mut d = 0.0;
        loop {
            d += side * h;
            let y = mode + d;
            let w = density(d);
            let value = w * f(1.0 / (1.0 + (-y).exp()), 1.0 / (1.0 + y.exp()));
            if side * (y - end) >= 0.0 {
                weight += w * rest;
                sum += value * rest;
                break;
            }
            weight += w;
            sum += value;
            if w * rest <= NEGLIGIBLE * weight && w * rest * bound <= NEGLIGIBLE * sum {
                break;
            }
        }
    }
    sum / weight
}

/// P(N = n) for n = 0, 1, … of a Poisson variable; what lies beyond the last entry is below 1e-13, or the table has `most` entries.
pub(super) fn poisson(mean: f64, most: usize) -> Vec<f64> {
    if mean <= 0.0 {
        return vec![1.0];
    }
    let mode = mean.floor().min(most as f64 - 1.0);
    let at_mode = mode as usize;
    let mut table = vec![0.0; at_mode + 1];
    table[at_mode] = (mode * mean.ln() - mean - lgamma(mode + 1.0)).exp();
    for n in (0..at_mode).rev() {
        table[n] = table[n + 1] * (n as f64 + 1.0) / mean;
    }
    while table.len() < most {
        let n = table.len() as f64;
        let p = table[table.len() - 1] * mean / n;
        table.push(p);
        if n > mean && p * mean / (n - mean) < 1e-14 {
            break;
        }
    }
    table
}

/// P(S = n) for n = 0, 1, … of a negative binomial S: events of a process of rate Gamma(k, rate A) in a time h, with share = h/(A+h) and rest = A/(A+h).
/// What lies beyond the last entry is below 1e-13, or the table has `most` entries.
pub(super) fn negative_binomial(k: f64, share: f64, rest: f64, most: usize) -> Vec<f64> {
    let (first, near_mode) = negative_binomial_near_mode(k, share, rest, most);
    let mut table = vec![0.0; first];
    table.extend(near_mode);
    table
}

/// The same from the first n on for which it is not negligible.
pub(super) fn negative_binomial_near_mode(k: f64, share: f64, rest: f64, most: usize) -> (usize, Vec<f64>) {
    const REST: f64 = 1e-14;
    const NEGLIGIBLE: f64 = 1e-20;
    if share <= 0.0 {
        return (0, vec![1.0]);
    }
    let odds = share / rest;
    let mode = ((k - 1.0) * odds).floor().max(0.0).min(most as f64 - 1.0);
    let ln_mode = lgamma(k + mode) - lgamma(k) - lgamma(mode + 1.0) + k * rest.ln() + mode * share.ln();
    let mut table = vec![ln_mode.exp()];
    let mut n = mode;
    while n > 0.0 && table[table.len() - 1] > NEGLIGIBLE {
        n -= 1.0;
        // P(n) = P(n+1)·(n+1)/((k+n)·share)
        table.push(table[table.len() - 1] * (n + 1.0) / ((k + n) * share));
    }
    table.reverse();
    let first = n as usize;
    let mut p = table[table.len() - 1];
    while first + table.len() < most {
        let n = (first + table.len()) as f64;
        let ratio = (k + n - 1.0) * share / n;
        p *= ratio;
        table.push(p);
        // What remains is below a geometric series.
        if p * ratio < REST * (1.0 - ratio) {
            break;
        }
    }
    (first, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(given: f64, expected: f64, relative: f64) {
        assert!((given - expected).abs() <= relative * expected.abs(), "{given} instead of {expected}");
    }

    #[test]
    fn digamma_and_trigamma_have_their_known_values() {
        let euler = 0.577_215_664_901_532_9;
        close(digamma(1.0), -euler, 1e-14);
        close(digamma(0.5), -euler - 2.0 * std::f64::consts::LN_2, 1e-14);
        close(digamma(1e-6), -1_000_000.577_214_02, 1e-14);
        close(trigamma(1.0), std::f64::consts::PI.powi(2) / 6.0, 1e-14);
        close(trigamma(0.5), std::f64::consts::PI.powi(2) / 2.0, 1e-14);
    }

    #[test]
    fn both_ways_to_an_ascending_factorial_agree() {
        for z in [1e-3, 0.24, 3.5, 800.0] {
            let below = ln_rising_derivatives(z, MULTIPLIED_OUT);
            let above = ln_rising_derivatives(z, MULTIPLIED_OUT + 1);
            let last = z + f64::from(MULTIPLIED_OUT);
            close(below[0] + last.ln(), above[0], 1e-12);
            close(below[1] + 1.0 / last, above[1], 1e-10);
            close(below[2] - 1.0 / (last * last), above[2], 1e-8);
        }
    }

    #[test]
    fn quantiles_are_the_known_ones() {
        close(normal_quantile(0.975), 1.959_963_984_540_054, 1e-8);
        close(normal_quantile(0.001), -3.090_232_306_167_813, 1e-8);
        // −ln(1−p) of an exponential variable; ½ χ² of ten degrees of freedom; far into the left tail of a small shape.
        close(gamma_quantile(1.0, 0.9), 10_f64.ln(), 1e-8);
        close(gamma_quantile(5.0, 0.95), 0.5 * 18.307_038_053_275_14, 1e-8);
        close(gamma_quantile(0.02, 0.5), gamma_inc(0.02, gamma_quantile(0.02, 0.5)) / 0.5 * gamma_quantile(0.02, 0.5), 1e-6);
        close(gamma_quantile(99_999.0, 0.05) / gamma_quantile(100_001.0, 0.05), 0.99998, 1e-6);
    }

    #[test]
    fn incomplete_beta_equals_its_finite_sums() {
        // I_z(2, 3) = 6z² − 8z³ + 3z⁴
        for z in [1e-9_f64, 0.1, 0.5, 0.9, 1.0] {
            close(beta_inc(2.0, 3.0, z, 1.0 - z), z * z * (6.0 - 8.0 * z + 3.0 * z * z), 1e-13);
        }
        close(beta_inc(1.0, 0.3, 1.0 - 1e-12, 1e-12), 1.0 - 1e-12_f64.powf(0.3), 1e-14);
    }
}
