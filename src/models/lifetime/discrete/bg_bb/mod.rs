//! BG/BB: purchases at discrete opportunities (Fader, Hardie and Shang, "Customer-base analysis in a discrete-time noncontractual setting", Marketing
//! Science 29, 2010; "the paper" below).
//!
//! Before each opportunity a customer who is alive departs with probability θ; one who has not purchases with probability p. Over the customers p is
//! Beta(α, β) and θ is Beta(γ, δ). For a customer with x purchases at n opportunities, the last of them at the t_x-th:
//!
//! ```text
//! L = Σ_{k=t_x}^{n} w_k,   w_n = B(α+x, β+n−x)/B(α, β) · B(γ, δ+n)/B(γ, δ)                        eq. 5
//!                          w_k = B(α+x, β+k−x)/B(α, β) · B(γ+1, δ+k)/B(γ, δ),   k < n
//! P(alive) = w_n/L · (δ+n)/(γ+δ+n)                                                                eq. 7
//! ```
//!
//! w_k belongs to a departure before opportunity k+1. "Alive" is alive *at opportunity n+1*, as in the tables of the paper: whoever is faces that
//! opportunity with certainty. What follows is then known of p ~ Beta(a, b) and θ ~ Beta(γ, d), with a = α+x, b = β+n−x, d = δ+n+1:
//!
//! ```text
//! s_i = (d)_{i−1}/(γ+d)_{i−1}                  the i-th of the coming opportunities is met alive
//! q_i = (b)_i/(a+b)_i                          no purchase at i opportunities
//! E(m) = a/(a+b) · Σ_{i=1}^{m} s_i             eq. 13, see `sum_of_beta_ratios`
//! P(none in m) = s_m q_m + Σ_{i=1}^{m−1} s_i γ/(γ+d+i−1) q_i
//! DERT = a/(a+b) · Σ_{i≥1} s_i (1+rate)^−i     eq. 14, each purchase discounted from the end of its period
//! ```
//!
//! Horizons are in opportunities; one that is not whole lies linearly between its neighbours. A history that cannot be is taken as the nearest one that can:
//! whole numbers with x ≤ t_x ≤ n.

mod fit;

use super::super::process::{Alive, MOST_COUNTS, Process};
use super::sums::{discounted_evenly, interpolated, interpolated_counts, ln_beta_ratio, sum_of_beta_ratios, sum_of_smooth};

/// The parameters: probabilities of a purchase are Beta(`alpha`, `beta`), those of departure Beta(`gamma`, `delta`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BgBb {
    pub alpha: f64,
    pub beta: f64,
    pub gamma: f64,
    pub delta: f64,
}

impl BgBb {
    /// ln Σ_{k=t_x}^{n−1} w_k/w_n: how much likelier it is to have departed than to have been there at the n-th opportunity; −∞ for t_x = n.
    fn ln_odds_departed(&self, x: f64, t_x: f64, n: f64) -> f64 {
        /// The terms are scaled down by this before they overflow.
        const LARGE: f64 = 1e250;
        let Self { alpha, beta, gamma, delta } = *self;
        let (mut term, mut sum, mut scale) = (0.0, 0.0, 0.0);
        let mut k = n;
        while k > t_x {
            k -= 1.0;
            let missed = (alpha + beta + k) / (beta + (k - x));
            term = if k == n - 1.0 { missed * gamma / (delta + k) } else { term * (missed * ((gamma + delta + k + 1.0) / (delta + k))) };
            sum += term;
            if term > LARGE {
                (term, sum, scale) = (term / LARGE, sum / LARGE, scale + LARGE.ln());
            }
        }
        sum.ln() + scale
    }

    /// Discounted expected residual transactions, with each purchase discounted from the end of its period at `rate` a period.
    pub fn dert(&self, x: f64, t_x: f64, n: f64, rate: f64) -> f64 {
        let delta = rate.ln_1p();
        self.p_alive(x, t_x, n) * self.alive(x, t_x, n).discounted(f64::INFINITY, delta) * delta / rate
    }
}

/// The nearest history that can be.
fn possible(x: f64, t_x: f64, n: f64) -> [f64; 3] {
    let n = n.max(0.0).floor();
    let t_x = t_x.clamp(0.0, n).floor();
    let x = x.clamp(0.0, t_x).floor();
    [x, if x == 0.0 { 0.0 } else { t_x }, n]
}

impl Process for BgBb {
    const NAME: &'static str = "bg_bb";
    const PARAMETERS: &'static [&'static str] = &["alpha", "beta", "gamma", "delta"];
    type Alive = AliveBgBb;

    fn values(&self) -> Vec<f64> {
        vec![self.alpha, self.beta, self.gamma, self.delta]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { alpha: values[0], beta: values[1], gamma: values[2], delta: values[3] }
    }

    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let [x, t_x, n] = possible(x, t_x, t);
        let survived = (self.delta + n) / (self.gamma + self.delta + n);
        survived / (1.0 + self.ln_odds_departed(x, t_x, n).exp())
    }

    fn alive(&self, x: f64, t_x: f64, t: f64) -> AliveBgBb {
        let [n, x] = [t.max(0.0).floor(), possible(x, t.max(t_x), t)[0]];
        AliveBgBb { a: self.alpha + x, b: self.beta + (n - x), gamma: self.gamma, d: self.delta + n + 1.0 }
    }

    /// There are no covariates.
    fn shifted(&self, _: f64, _: f64) -> Self {
        *self
    }
}

/// A customer who is alive at the next opportunity: p ~ Beta(a, b), θ ~ Beta(γ, d).
#[derive(Clone, Copy, Debug)]
pub struct AliveBgBb {
    a: f64,
    b: f64,
    gamma: f64,
    d: f64,
}

impl AliveBgBb {
    /// s_i: the i-th opportunity, i ≥ 1, is met alive.
    fn meets(&self, i: f64) -> f64 {
        ln_beta_ratio(self.d, self.gamma, i - 1.0).exp()
    }

    /// γ/(γ+d+i−1): departs between opportunities i and i+1.
    fn departs(&self, i: f64) -> f64 {
        self.gamma / (self.gamma + self.d + i - 1.0)
    }

    /// Expected share of opportunities at which the customer purchases.
    fn mean(&self) -> f64 {
        self.a / (self.a + self.b)
    }

    fn none_of(&self, m: f64) -> f64 {
        if m == 0.0 {
            return 1.0;
        }
        // s_i q_i
        let idle = |i: f64| (ln_beta_ratio(self.d, self.gamma, i - 1.0) + ln_beta_ratio(self.b, self.a, i)).exp();
        (idle(m) + sum_of_smooth(m - 1.0, |i| idle(i) * self.departs(i))).min(1.0)
    }

    /// Σ_i P(i opportunities are met alive) · P(n purchases at i of them), the latter by Pólya's urn: all terms are positive.
    fn counts_of(&self, m: f64) -> Vec<f64> {
        let m = m.min(MOST_COUNTS as f64 - 1.0) as usize;
        if m == 0 {
            return vec![1.0];
        }
        let mut table = vec![0.0; m + 1];
        let mut purchases = vec![1.0];
        let mut met = 1.0;
        for i in 1..=m {
            let trials = (i - 1) as f64;
            let total = self.a + self.b + trials;
            purchases.push(0.0);
            for n in (0..=i).rev() {
                let more = if n == 0 { 0.0 } else { purchases[n - 1] * ((self.a + n as f64 - 1.0) / total) };
                let same = if n == i { 0.0 } else { purchases[n] * ((self.b + (trials - n as f64)) / total) };
                purchases[n] = more + same;
            }
            let departs = if i == m { 1.0 } else { self.departs(i as f64) };
            table.iter_mut().zip(&purchases).for_each(|(p, now)| *p += met * departs * now);
            met *= (self.d + trials) / (self.gamma + self.d + trials);
        }
        table
    }
}

/// Horizons beyond this many opportunities are not told apart from it.
const LONGEST: f64 = 1e12;

impl Alive for AliveBgBb {
    fn expected(&self, h: f64) -> f64 {
        self.mean() * interpolated(h.clamp(0.0, LONGEST), |m| sum_of_beta_ratios(self.d, self.gamma, m))
    }

    fn none(&self, h: f64) -> f64 {
        interpolated(h.clamp(0.0, LONGEST), |m| self.none_of(m))
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        interpolated_counts(h.clamp(0.0, LONGEST), |m| self.counts_of(m))
    }

    fn scale(&self) -> f64 {
        self.gamma + self.d
    }

    fn discounted(&self, h: f64, delta: f64) -> f64 {
        self.mean() * discounted_evenly(h.max(0.0), delta, |i| self.meets(i))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::super::check::{answers_are_sane, wild};
    use super::super::super::process::Likelihood;
    use super::super::super::special::integrate;
    use super::*;

    /// All purchase patterns at n + m opportunities: (x, t_x) at the first n, purchases at the last m, P(pattern), P(pattern, alive at n + 1).
    /// The probabilities are those of a customer with p and θ by the chain of alive or not, averaged over polynomial densities of p and θ.
    fn patterns(model: BgBb, n: u32, m: u32) -> Vec<(u32, u32, u32, f64, f64)> {
        let density = |p: f64, a: f64, b: f64| p.powf(a - 1.0) * (1.0 - p).powf(b - 1.0);
        let whole = |f: &dyn Fn(f64, f64) -> f64| {
            integrate(1.0, 1, |p| {
                integrate(1.0, 1, |theta| density(p, model.alpha, model.beta) * density(theta, model.gamma, model.delta) * f(p, theta))
            })
        };
        let norm = whole(&|_, _| 1.0);
        let mut found = vec![];
        for pattern in 0..1_u32 << (n + m) {
            let buys = |i: u32| pattern >> i & 1 == 1;
            let of_customer = |p: f64, theta: f64, must_live_at_next: bool| {
                let (mut alive, mut gone) = (1.0, 0.0);
                for i in 0..n + m {
                    gone += alive * theta;
                    alive *= 1.0 - theta;
                    if must_live_at_next && i == n {
                        gone = 0.0;
                    }
                    if buys(i) {
                        (alive, gone) = (alive * p, 0.0);
                    } else {
                        alive *= 1.0 - p;
                    }
                }
                alive + gone
            };
            let all = whole(&|p, theta| of_customer(p, theta, false)) / norm;
            let living = whole(&|p, theta| of_customer(p, theta, true)) / norm;
            let past = pattern & ((1 << n) - 1);
            found.push((past.count_ones(), u32::BITS - past.leading_zeros(), (pattern >> n).count_ones(), all, living));
        }
        found
    }

    #[test]
    fn equals_the_enumeration_of_all_purchase_patterns() {
        let model = BgBb { alpha: 2.0, beta: 3.0, gamma: 2.0, delta: 4.0 };
        let (n, m) = (4, 3);
        let patterns = patterns(model, n, m);
        assert!((patterns.iter().map(|p| p.3).sum::<f64>() - 1.0).abs() < 1e-12);
        for (x, t_x) in [(0, 0), (1, 1), (1, 3), (2, 2), (2, 4), (3, 4), (4, 4)] {
            let same: Vec<_> = patterns.iter().filter(|p| (p.0, p.1) == (x, t_x)).collect();
            let orders = same.len() as f64 / f64::from(1 << m);
            let total: f64 = same.iter().map(|p| p.3).sum();
            let (x, t_x, t) = (f64::from(x), f64::from(t_x), f64::from(n));
            let close =
                |given: f64, expected: f64| assert!((given - expected).abs() < 1e-12, "x {x} t_x {t_x}: {given} against {expected}");
            close(model.log_likelihood(x, t_x, t), (total / orders).ln());
            close(model.p_alive(x, t_x, t), same.iter().map(|p| p.4).sum::<f64>() / total);
            close(model.expected_purchases(x, t_x, t, f64::from(m)), same.iter().map(|p| f64::from(p.2) * p.3).sum::<f64>() / total);
            let with = |count: u32| same.iter().filter(|p| p.2 == count).map(|p| p.3).sum::<f64>() / total;
            close(model.p_no_purchase(x, t_x, t, f64::from(m)), with(0));
            let counts = model.alive(x, t_x, t).counts(f64::from(m));
            assert_eq!(counts.len(), m as usize + 1);
            for count in 1..=m {
                close(model.p_alive(x, t_x, t) * counts[count as usize], with(count));
            }
        }
        let expected_new: f64 = patterns.iter().map(|p| f64::from(p.0 + p.2) * p.3).sum();
        assert!((model.expected_purchases_new(f64::from(n + m)) - expected_new).abs() < 1e-12);
        for count in 0..=n + m {
            let enumerated: f64 = patterns.iter().filter(|p| p.0 + p.2 == count).map(|p| p.3).sum();
            assert!((model.probability_of(count, f64::from(n + m)) - enumerated).abs() < 1e-12);
        }
    }

    /// Sums of exact fractions, rounded at the end: for hundreds of periods, near the edges and for nearly equal customers.
    #[test]
    fn equals_exact_arithmetic() {
        let cases: [([f64; 4], [f64; 4], [f64; 4]); 8] = [
            (
                [1.25, 0.75, 0.5, 2.75],
                [3.0, 5.0, 12.0, 10.0],
                [-6.88288349191735, 0.09753681810249427, 0.2627413715073419, 0.9140337729605786],
            ),
            (
                [1e-05, 0.5, 0.25, 4.0],
                [0.0, 0.0, 300.0, 40.0],
                [-5.485149791299765e-05, 0.33051777262101134, 4.3327113461253076e-07, 0.9999995924697013],
            ),
            (
                [0.5, 2.0, 1e-05, 1.5],
                [2.0, 7.0, 400.0, 40.0],
                [-14.905208719668215, 0.922017425971301, 0.22907254476852004, 0.804827812675622],
            ),
            (
                [2.0, 1e-05, 3.0, 1e-05],
                [5.0, 6.0, 60.0, 20.0],
                [-31.109533632761764, 8.908870971173364e-12, 1.3642899760998991e-11, 0.9999999999938599],
            ),
            (
                [100000.0, 300000.0, 1.0, 40.0],
                [60.0, 250.0, 300.0, 50.0],
                [-144.1256241320539, 3.5799955334230974e-05, 0.00041809288737043, 0.9999645088062022],
            ),
            (
                [0.75, 20.0, 100000.0, 30000000.0],
                [4.0, 100.0, 350.0, 50.0],
                [-20.492955243852307, 0.02045723005316377, 0.012092663588023802, 0.9913409026693821],
            ),
            (
                [0.25, 8.0, 2.0, 500.0],
                [300.0, 400.0, 420.0, 30.0],
                [-244.89578979029793, 2.975926037860232e-09, 6.068473175246387e-08, 0.9999999970268283],
            ),
            (
                [1e-05, 1e-05, 1e-05, 1e-05],
                [1.0, 1.0, 80.0, 20.0],
                [-12.886652283754708, 0.012498899163393057, 0.003124751835578646, 0.9974749502933818],
            ),
        ];
        for (values, [x, t_x, n, m], exact) in cases {
            let model = BgBb::of_values(&values);
            let (ln_l, p_alive) = (model.log_likelihood(x, t_x, n), model.p_alive(x, t_x, n));
            let given = [ln_l, p_alive, model.expected_purchases(x, t_x, n, m), model.p_no_purchase(x, t_x, n, m)];
            for (given, exact) in given.iter().zip(exact) {
                assert!((given - exact).abs() <= 2e-12 * exact.abs(), "{model:?} x {x} t_x {t_x} n {n}: {given} against {exact}");
            }
        }
    }

    #[test]
    fn discounting_is_that_of_every_period_by_itself() {
        let model = BgBb { alpha: 1.2, beta: 0.75, gamma: 0.66, delta: 2.8 };
        let alive = model.alive(2.0, 4.0, 6.0);
        let until = |h: f64| alive.expected(h);
        for (h, delta) in [(1.0, 0.3), (12.5, 0.01), (900.0, 0.01), (30_000.0, 0.001)] {
            let evenly: f64 =
                (0..h as u32).map(f64::from).map(|j| (until(j + 1.0) - until(j)) * (-delta * j).exp() * -(-delta).exp_m1() / delta).sum();
            let part = (until(h) - until(h.floor())) * (-delta * h.floor()).exp();
            let part = if h.fract() > 0.0 { part * -(-delta * h.fract()).exp_m1() / (delta * h.fract()) } else { 0.0 };
            let discounted = alive.discounted(h, delta);
            assert!((discounted / (evenly + part) - 1.0).abs() < 1e-9, "{h} {delta}: {discounted} against {}", evenly + part);
        }
        // The terms of eq. 14 one by one.
        let rate: f64 = 0.1;
        let terms: f64 = (1..2_000).map(|i| alive.mean() * alive.meets(f64::from(i)) * (1.0 + rate).powi(-i)).sum();
        assert!((model.dert(2.0, 4.0, 6.0, rate) / (model.p_alive(2.0, 4.0, 6.0) * terms) - 1.0).abs() < 1e-11);
    }

    #[test]
    fn none_is_a_sum_of_the_same_terms_however_long() {
        let alive = BgBb { alpha: 0.4, beta: 6.0, gamma: 0.3, delta: 8.0 }.alive(0.0, 0.0, 3.0);
        let (mut met, mut idle, mut some) = (1.0, 1.0, 0.0);
        for i in 1..=20_000 {
            let before = f64::from(i - 1);
            // The first purchase is at opportunity i.
            some += met * idle * alive.a / (alive.a + alive.b + before);
            idle *= (alive.b + before) / (alive.a + alive.b + before);
            met *= (alive.d + before) / (alive.gamma + alive.d + before);
            if [1, 2, 256, 257, 258, 1_000, 20_000].contains(&i) {
                let none = alive.none(f64::from(i));
                assert!((none - (1.0 - some)).abs() < 1e-11 * none, "{i}: {none} against {}", 1.0 - some);
            }
        }
    }

    #[test]
    fn is_sane_for_wild_parameters() {
        wild(|between| BgBb { alpha: between(1e-5, 1e5), beta: between(1e-5, 1e5), gamma: between(1e-5, 1e5), delta: between(1e-5, 1e5) });
        // With histories that can be, of hundreds of periods.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..300 {
            let [alpha, beta, gamma, delta] = std::array::from_fn(|_| (23.0 * rng.random::<f64>() - 11.5).exp());
            let n = rng.random_range(0..700);
            let t_x = rng.random_range(0..=n);
            let x = if t_x == 0 { 0 } else { rng.random_range(1..=t_x) };
            let t_x = if x == 0 { 0 } else { t_x };
            let model = BgBb { alpha, beta, gamma, delta };
            answers_are_sane(model, x.into(), t_x.into(), n.into());
            assert!(model.log_likelihood(x.into(), t_x.into(), n.into()).is_finite());
        }
    }
}
