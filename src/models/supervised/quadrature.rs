//! Integrals over [0, 1].

/// Nodes and weights of the Gauss–Legendre rule of N nodes on [0, 1], by Newton's method on the Legendre polynomial.
pub(super) fn gauss_legendre<const N: usize>() -> ([f64; N], [f64; N]) {
    let (mut nodes, mut weights) = ([0.0; N], [0.0; N]);
    for q in 0..N {
        let mut x = (std::f64::consts::PI * (q as f64 + 0.75) / (N as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..20 {
            let (mut p, mut before) = (x, 1.0);
            for k in 2..=N {
                let k = k as f64;
                (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
            }
            slope = N as f64 * (x * p - before) / (x * x - 1.0);
            x -= p / slope;
        }
        nodes[q] = (1.0 - x) / 2.0;
        weights[q] = 1.0 / ((1.0 - x * x) * slope * slope);
    }
    (nodes, weights)
}
