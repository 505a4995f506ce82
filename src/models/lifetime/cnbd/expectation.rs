//! What a customer who is alive will do in (T, T+h].
//!
//! j stages have passed since the last purchase, with probability w_j, and S more will pass: S is negative binomial with shape K + j and odds s = h/(α+T).
//! With m = j + S and A(n) = E[(1−p)^n] = (b)_n/(a+b)_n, who never departs purchases ⌊m/k⌋ times, and
//!
//! ```text
//! P(N = n) = P(⌊m/k⌋ = n)·A(n) + P(⌊m/k⌋ ≥ n)·(A(n−1) − A(n))          the second term for n > 0
//! E[N]     = Σ_n P(⌊m/k⌋ = n) · Σ_{i<n} A(i)                                                             (1)
//! ```
//!
//! The table of m is computed as long as it is short. Where it is not, N is averaged over p, as in `beta_geometric`. With q = 1−p and the k roots z of
//! zᵏ = q, q^⌊m/k⌋ is a sum of powers z^m, each of which has a closed mean:
//!
//! ```text
//! E[N | p]  = (1 − E[q^⌊m/k⌋])/p = Σ_z z/(qk(1−z)) · (1 − E[z^m])                                         (2)
//! E[z^m]    = (1 + (1−z)s)^−K Σ_j w_j vʲ,   v = z/(1 + (1−z)s)
//! ```
//!
//! For ever, discounted by e^(−δτ), purchases are worth, with φ = λ/(λ+δ) the mean discount of a stage,
//!
//! ```text
//! E[Σ_n q^(n−1) φ^(kn−j)] = E[φ^(k−j)/(1 − qφᵏ)]                                                         (3)
//! ```
//!
//! No term of (2) grows as p → 0. For q < ½ its terms cancel, and Σ_n q^(n−1) P(⌊m/k⌋ ≥ n) is soon summed. Once m is spread over many purchases, only the
//! real root is left: the others have E[z^m] = 0, and all roots together 1/p with E[z^m] = 0.

use super::super::process::MOST_COUNTS;
use super::super::special::{beta_mean, negative_binomial};
use super::{AliveCnbd, SLOTS, polynomial};

/// Longest horizon that is told apart from a longer one; it keeps the arithmetic of absurd horizons finite.
pub(super) const LONGEST: f64 = 1e12;
/// Stages up to which (1) is summed: about where (2) is as cheap, with the real root alone and with all.
const SUMMED: [f64; 2] = [2_048.0, 4_096.0];
/// Terms of Σ q^(n−1) P(⌊m/k⌋ ≥ n) for q < ½.
const FEW: usize = 60;
/// e^−NEGLIGIBLE is nothing.
const NEGLIGIBLE: f64 = 42.0;
/// What is left out of a table of counts.
const REST: f64 = 1e-13;

impl AliveCnbd {
    /// E[purchases in (T, T + horizon] | alive at T].
    pub(super) fn expected_purchases(&self, horizon: f64) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        let s = horizon.min(LONGEST) / self.scale;
        if self.most_stages(s) <= SUMMED[usize::from(!self.is_spread(s))] { self.summed(s) } else { self.averaged(s) }
    }

    /// P(N = n) for n = 0, 1, …; where it is cut off, what lies beyond is in the last entry.
    pub(super) fn probabilities(&self, horizon: f64) -> Vec<f64> {
        let h = horizon.clamp(0.0, LONGEST);
        if h.is_nan() || h <= 0.0 {
            return vec![1.0];
        }
        let s = h / self.scale;
        let k = self.k as usize;
        let most = self.most_stages(s) / f64::from(self.k) + 1.0;
        let mut stays = vec![1.0];
        while stays[stays.len() - 1] > REST && stays.len() < MOST_COUNTS && (stays.len() as f64) < most {
            let n = stays.len() as f64;
            stays.push(stays[stays.len() - 1] * (self.b + n - 1.0) / (self.a + self.b + n - 1.0));
        }
        let last = stays.len() - 1;
        let blocks: Vec<f64> = if stays.len() as f64 >= most {
            self.stages(s).chunks(k).map(|block| block.iter().sum()).collect()
        } else {
            self.first_stages(s, last * k).chunks(k).map(|block| block.iter().sum()).collect()
        };
        // P(⌊m/k⌋ ≥ n), from the far end.
        let mut beyond = (1.0 - blocks.iter().sum::<f64>()).max(0.0);
        let mut table = vec![0.0; blocks.len().min(last) + 1];
        let top = table.len() - 1;
        beyond += blocks.iter().skip(top).sum::<f64>();
        // Whoever is left makes `top` purchases or more.
        table[top] = beyond * if top == 0 { 1.0 } else { stays[top - 1] };
        for n in (0..top).rev() {
            beyond += blocks[n];
            // A(n−1) − A(n) = A(n−1)·a/(a+b+n−1)
            let leaves = if n == 0 { 0.0 } else { stays[n - 1] * self.a / (self.a + self.b + n as f64 - 1.0) };
            table[n] = blocks[n] * stays[n] + beyond * leaves;
        }
        table
    }

    /// The largest j that is possible.
    fn last_stage(&self) -> usize {
        self.stage.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }

    /// Whether E[z^m] is nothing but for the real root z.
    fn is_spread(&self, s: f64) -> bool {
        // |1 + (1−z)s|/s is the distance of z from 1 + 1/s, and least where the nearest ray passes that.
        let least = (1.0 + s) * if self.k >= 4 { (std::f64::consts::TAU / f64::from(self.k)).sin() } else { 1.0 };
        self.k == 1 || self.shape * least.ln() > NEGLIGIBLE
    }

    /// What m does not exceed, but for less than rounding.
    fn most_stages(&self, s: f64) -> f64 {
        let shape = self.shape + f64::from(self.k - 1);
        shape * s + 12.0 * (shape * s * (1.0 + s)).sqrt() + 50.0 * (1.0 + s) + 2.0 * f64::from(self.k)
    }

    /// P(m) for m = 0, 1, … to the end, each with all its digits.
    ///
    /// From the probabilities of the largest shape follow those of the others: P(S = n | shape) = P(S = n | shape + 1)·shape/((shape + n)·(1−share)).
    fn stages(&self, s: f64) -> Vec<f64> {
        let top = self.last_stage();
        let shape = self.shape + top as f64;
        let (share, rest) = (s / (1.0 + s), 1.0 / (1.0 + s));
        let mode = ((shape - 1.0) * s).floor().max(0.0) as usize;
        let least = self.k as usize;
        // Relative to the mode.
        let mut of_top = vec![0.0; mode + 1];
        of_top[mode] = 1.0;
        for n in (0..mode).rev() {
            of_top[n] = of_top[n + 1] * (n as f64 + 1.0) / ((shape + n as f64) * share);
            if of_top[n] == 0.0 {
                break;
            }
        }
        let longest = (2.0 * self.most_stages(s)) as usize;
        let mut purchases: f64 = of_top.iter().enumerate().skip(least).map(|(n, p)| n as f64 * p).sum();
        while of_top.len() < longest {
            let n = of_top.len() as f64;
            let ratio = (shape + n - 1.0) * share / n;
            let p = of_top[of_top.len() - 1] * ratio;
            of_top.push(p);
            if of_top.len() <= least + 1 {
                continue;
            }
            purchases += n * p;
            // Σ n·p over what remains is below that of a geometric series.
            let beyond = 1.0 / (1.0 - ratio);
            if ratio < 1.0 && p * ratio * beyond * (n + beyond) <= 1e-17 * purchases {
                break;
            }
        }
        // w_j Π_{i ≥ j} (K+i)/(1−share)
        let mut factor = [0.0; SLOTS];
        let mut product = 1.0;
        for j in (0..=top).rev() {
            factor[j] = self.stage[j] * product;
            product *= (self.shape + j as f64 - 1.0) / rest;
        }
        let mut table = vec![0.0; of_top.len() + top];
        for (n, p) in of_top.iter().enumerate() {
            let first = self.shape + n as f64;
            let mut rising = p / (0..top).map(|i| first + i as f64).product::<f64>();
            for j in 0..=top {
                table[n + j] += factor[j] * rising;
                rising *= first + j as f64;
            }
        }
        let total: f64 = table.iter().sum();
        table.iter_mut().for_each(|p| *p /= total);
        table
    }

    /// P(m) for m = 0 … most−1, where there is more.
    fn first_stages(&self, s: f64, most: usize) -> Vec<f64> {
        let (share, rest) = (s / (1.0 + s), 1.0 / (1.0 + s));
        let mut table = vec![0.0; most];
        for (j, w) in self.stage.iter().enumerate().take(most).filter(|(_, w)| **w > 0.0) {
            for (p, passed) in table[j..].iter_mut().zip(negative_binomial(self.shape + j as f64, share, rest, most - j)) {
                *p += w * passed;
            }
        }
        table
    }

    /// Equation (1).
    fn summed(&self, s: f64) -> f64 {
        let (mut stays, mut chances, mut sum) = (1.0, 0.0, 0.0);
        for (n, block) in self.stages(s).chunks(self.k as usize).enumerate() {
            sum += block.iter().sum::<f64>() * chances;
            chances += stays;
            stays *= (self.b + n as f64) / (self.a + self.b + n as f64);
        }
        sum
    }

    /// Equation (2), averaged over p.
    fn averaged(&self, s: f64) -> f64 {
        let k = self.k as usize;
        let whole = f64::from(self.k);
        let mut at_least: Vec<f64> = vec![0.0; FEW];
        let mut passed = 0.0;
        for (reached, block) in at_least.iter_mut().zip(self.first_stages(s, FEW * k).chunks(k)) {
            passed += block.iter().sum::<f64>();
            *reached = (1.0 - passed).max(0.0);
        }
        // W_i = P(j > i)
        let mut later = [0.0; SLOTS];
        for i in (1..SLOTS).rev() {
            later[i - 1] = later[i] + self.stage[i];
        }
        // The directions of the roots above the real axis, with how often each counts; −1 is its own mirror image.
        let angle = |l: usize| std::f64::consts::TAU * l as f64 / whole;
        let mut roots: Vec<(f64, f64, f64)> = (1..k.div_ceil(2)).map(|l| (angle(l).cos(), angle(l).sin(), 2.0)).collect();
        if k.is_multiple_of(2) {
            roots.push((-1.0, 0.0, 1.0));
        }
        let spread = self.is_spread(s);
        let purchases = |p: f64, q: f64| {
            if q < 0.5 {
                return polynomial(&at_least, q);
            }
            let ln_q = (-p).ln_1p();
            // 1 − z, z and E[z^m] of the real root.
            let distance = -(ln_q / whole).exp_m1();
            let z = 1.0 - distance;
            let exponent = self.shape * (distance * s).ln_1p();
            let past = 1.0 + distance * s;
            let moved = distance * (1.0 + s) / past;
            let left = -(-exponent).exp_m1() + (-exponent).exp() * moved * polynomial(&later, z / past);
            let real = z / (q * whole * distance);
            let others = if spread { all_but(real, p, -ln_q, whole) } else { self.other_roots(&roots, z, q, s) };
            real * left + others
        };
        let shape = self.shape + whole;
        let ends = [(1e-17 / (self.a + self.b + 1.0 + s * (shape + 1.0))).ln(), ((self.a + self.b + shape + 1.0) / 1e-17).ln()];
        beta_mean(self.a, self.b, ends, shape * s, purchases)
    }

    /// Equation (3), averaged over λ by the trapezoidal rule over ln λ, and over p.
    pub(super) fn discounted_for_ever(&self, delta: f64) -> f64 {
        const MOST_NODES: u32 = 4_000;
        let (whole, shape) = (f64::from(self.k), self.shape);
        // Where Aλ = K·e^d: the density of d relative to d = 0, and of what it is a mean: Σ_j w_j (Aλ)ʲ/(K)_j φ^(k−j), 1 − φᵏ and φᵏ.
        let at = |d: f64| {
            let stages = shape * d.exp();
            let ln_discount = -(delta * self.scale / stages).ln_1p();
            let (mut factor, mut discounted) = (1.0, 0.0);
            for (j, w) in self.stage[..self.k as usize].iter().enumerate() {
                discounted += w * factor * (ln_discount * (whole - j as f64)).exp();
                factor *= stages / (shape + j as f64);
            }
            let density = (shape * (d - d.exp_m1())).exp();
            (density, [density * discounted, -(whole * ln_discount).exp_m1(), (whole * ln_discount).exp()])
        };
        let step = (0.5 / shape.sqrt()).min(0.25);
        // On the left the density becomes e^(Kd).
        let rest = -1.0 / (-shape * step).exp_m1();
        let (first, node) = at(0.0);
        let mut weight = first;
        let mut for_ever = node[0] / node[1];
        let mut nodes = vec![node];
        for side in [-1.0, 1.0] {
            for i in 1..MOST_NODES {
                let d = side * f64::from(i) * step;
                let (density, node) = at(d);
                let value = node[0] / node[1];
                for_ever += value;
                nodes.push(node);
                let far = shape * d.exp() < 1e-17 || density * rest <= 1e-18 * weight;
                if far && value * rest.min(1.0 / step) <= 1e-18 * for_ever {
                    weight += density * if side < 0.0 { rest } else { 1.0 };
                    break;
                }
                weight += density;
            }
        }
        let value = |p: f64, _: f64| nodes.iter().map(|[gain, lost, kept]| gain / (lost + p * kept)).sum::<f64>() / weight;
        let least = nodes.iter().fold(1.0_f64, |least, node| least.min(node[1]));
        let ends = [(1e-17 * least / (self.a + self.b + 1.0)).ln(), ((self.a + self.b + 1.0) / 1e-17).ln()];
        beta_mean(self.a, self.b, ends, for_ever / weight, value)
    }

    /// The terms of (2) of the roots at the distance `radius` from 0 that are not positive.
    fn other_roots(&self, roots: &[(f64, f64, f64)], radius: f64, q: f64, s: f64) -> f64 {
        let mut sum = 0.0;
        for &(cosine, sine, times) in roots {
            let z = Complex { re: radius * cosine, im: radius * sine };
            let past = Complex { re: 1.0 + (1.0 - z.re) * s, im: -z.im * s };
            let (length, turn) = (-self.shape * past.re.hypot(past.im).ln(), -self.shape * past.im.atan2(past.re));
            let v = z.over(past);
            let mut stages = Complex { re: 0.0, im: 0.0 };
            for w in self.stage[..self.k as usize].iter().rev() {
                stages = stages.times(v);
                stages.re += w;
            }
            let mean = Complex { re: length.exp() * turn.cos(), im: length.exp() * turn.sin() }.times(stages);
            let weight = z.over(Complex { re: 1.0 - z.re, im: -z.im });
            sum += times * weight.times(Complex { re: 1.0 - mean.re, im: -mean.im }).re;
        }
        sum / (q * f64::from(self.k))
    }
}

/// 1/p less the weight of the real root, with t = −ln q; by Bernoulli's series where they would cancel.
fn all_but(real: f64, p: f64, t: f64, k: f64) -> f64 {
    if k == 1.0 {
        return 0.0;
    }
    if t > 0.01 {
        return 1.0 / p - real;
    }
    let series = |t: f64| t / 12.0 - t.powi(3) / 720.0;
    let grown = if t == 0.0 { 1.0 } else { t.exp_m1() / t };
    0.5 - grown + series(t) + t.exp() * (0.5 - series(t / k)) / k
}

#[derive(Clone, Copy)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn over(self, other: Self) -> Self {
        // Scaled, so that the square of a large number does not overflow.
        let size = other.re.hypot(other.im);
        let (re, im) = (other.re / size, other.im / size);
        Self { re: (self.re * re + self.im * im) / size, im: (self.im * re - self.re * im) / size }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::{Cnbd, Process};
    use super::*;

    #[test]
    fn the_sum_and_the_average_agree() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut compared = 0;
        for case in 0..3_000_u32 {
            let mut between = |low: f64, high: f64| (low.ln() + rng.random::<f64>() * (high / low).ln()).exp();
            let k = case % 12 + 1;
            let model = Cnbd::<1> { r: between(0.01, 20.0), alpha: between(0.1, 100.0), a: between(0.01, 30.0), b: between(0.01, 30.0), k };
            let (x, t) = ((between(1.0, 200.0) - 1.0).floor(), between(1.0, 500.0));
            let alive = model.alive(x, if x > 0.0 { t * between(0.1, 1.0) } else { 0.0 }, t);
            let s = between(0.5, 100.0);
            if alive.most_stages(s) > 20_000.0 {
                continue;
            }
            let (summed, averaged) = (alive.summed(s), alive.averaged(s));
            assert!((summed - averaged).abs() <= 1e-10 * summed + 1e-13, "{alive:?} s = {s}: {summed} against {averaged}");
            compared += 1;
        }
        assert!(compared > 1_000, "{compared} comparisons");
    }

    #[test]
    fn the_first_stages_are_those_of_all() {
        let model = Cnbd::<1> { r: 0.7, alpha: 11.0, a: 0.8, b: 2.0, k: 4 };
        for (x, t_x, t, s) in [(0.0, 0.0, 300.0, 7.0), (9.0, 200.0, 230.0, 3.0), (2_000.0, 500.0, 501.0, 0.4)] {
            let alive = model.alive(x, t_x, t);
            let all = alive.stages(s);
            let most = (all.len() / 2).min(700);
            let worst = alive.first_stages(s, most).iter().zip(&all).fold(0.0_f64, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 1e-10, "x = {x}: {worst}");
        }
    }

    #[test]
    fn the_weights_of_all_roots_add_up_to_one_over_p() {
        for k in [1.0, 2.0, 3.0, 12.0] {
            let of = |t: f64| {
                let (q, p) = ((-t).exp(), -(-t).exp_m1());
                let distance = -(-t / k).exp_m1();
                all_but((1.0 - distance) / (q * k * distance), p, t, k)
            };
            assert!((of(0.01 * (1.0 - 1e-9)) - of(0.01 * (1.0 + 1e-9))).abs() < 1e-11);
            assert!((of(0.0) + (k - 1.0) / (2.0 * k)).abs() < 1e-15);
        }
    }
}
