//! What a tree's answer is made of: Shapley values of its columns, path-dependent (Lundberg et al. 2020, "From local explanations to global
//! understanding with explainable AI for trees", Nature Machine Intelligence 2, Algorithm 2): where a column is not known to the game, a
//! row goes both ways of a split, in the shares of the training rows (`cover`) that did.
//!
//! On the way to a leaf, column j lets a row through by o_j ∈ {0, 1} (every one of its splits sends the row that way), and a row that does
//! not have it by z_j, the product of its splits' shares. The Shapley weight |S|! (D − |S| − 1)! / D! is ∫₀¹ t^|S| (1 − t)^(D − 1 − |S|)
//! dt, so that the leaf of value v gives column i
//!
//!   v · (o_i − z_i) · ∫₀¹ Π_{j ≠ i} f_j(t) dt,   f_j(t) = o_j t + z_j (1 − t),
//!
//! a polynomial of degree D − 1, D the number of different columns on the path: Gauss–Legendre with D/2 nodes is exact, all its terms are
//! of one sign, and sums over the leaves below an edge are made once for all of them (as in Yu et al. 2022, "Linear TreeSHAP", NeurIPS 35).
//! Where a column comes again further down, its second edge takes back what the first gave for the leaves below it. The cost of a row is
//! the number of nodes times D/2, without a division.

use faer::traits::pulp::Arch;

use super::Tree;
use super::quadrature::gauss_legendre;

/// Adds to `into`, row by row, `scale` times the contribution of each column to the tree's answer. `rows` holds a row's `width` values side
/// by side, and `into` has its shape.
pub fn add_contributions(tree: &Tree, rows: &[f64], width: usize, scale: f64, into: &mut [f64]) {
    match most_columns(tree) {
        0 => {}
        1..=4 => Explainer::<2>::new(tree).add(rows, width, scale, into),
        5..=8 => Explainer::<4>::new(tree).add(rows, width, scale, into),
        9..=16 => Explainer::<8>::new(tree).add(rows, width, scale, into),
        17..=32 => Explainer::<16>::new(tree).add(rows, width, scale, into),
        33..=64 => Explainer::<32>::new(tree).add(rows, width, scale, into),
        // Exact up to 256 columns on one path, and beyond that to more digits than there are.
        _ => Explainer::<128>::new(tree).add(rows, width, scale, into),
    }
}

/// The answer of a tree to a row of which nothing is known: the mean of its leaves, by cover.
pub fn expected(tree: &Tree) -> f64 {
    let mut sum = 0.0;
    let mut open = vec![(0_usize, 1.0)];
    while let Some((node, share)) = open.pop() {
        if tree.is_empty() || tree.is_leaf(node) {
            sum += share * tree.value.get(node).copied().unwrap_or(0.0);
        } else {
            let left = left_share(tree, node);
            open.push((tree.left[node] as usize, share * left));
            open.push((tree.right[node] as usize, share * (1.0 - left)));
        }
    }
    sum
}

/// The share of the rows of an inner node that went left, inside (0, 1).
fn left_share(tree: &Tree, node: usize) -> f64 {
    let (left, right) = (tree.cover[tree.left[node] as usize], tree.cover[tree.right[node] as usize]);
    let share = left / (left + right);
    if share.is_nan() { 0.5 } else { share.clamp(1e-12, 1.0 - 1e-12) }
}

/// The most different columns that are split on between the root and a leaf.
fn most_columns(tree: &Tree) -> usize {
    let mut most = 0;
    let mut path: Vec<u32> = Vec::new();
    let mut open = if tree.is_empty() { Vec::new() } else { vec![(0_usize, 0_usize)] };
    while let Some((node, depth)) = open.pop() {
        path.truncate(depth);
        most = most.max(depth);
        if !tree.is_leaf(node) {
            // The path keeps a column once; a node below the second split on it is as deep as the node above.
            if !path.contains(&tree.column[node]) {
                path.push(tree.column[node]);
            }
            open.push((tree.left[node] as usize, path.len()));
            open.push((tree.right[node] as usize, path.len()));
        }
    }
    most
}

/// An edge of the tree with the node at its lower end. Edges stand in the order of a walk that goes left first; the first is the root, with
/// no edge above.
struct Edge<const N: usize> {
    parent: usize,
    /// The last edge above of the same column, 0 for none.
    same: usize,
    /// The right child of its node, 0 for a leaf; the left one comes next.
    right: usize,
    /// The split above: its column and threshold, whether this is its left child, and whether a value that is not known comes here.
    column: usize,
    threshold: f64,
    is_left: bool,
    missing_here: bool,
    value: f64,
    /// By which the product of the f_j changes at each t, and what a unit of the product gives the column: for o = 0 where `same` has 0,
    /// and where it has 1, and for o = 1.
    factor: [[f64; N]; 3],
    gives: [[f64; N]; 3],
}

impl<const N: usize> Edge<N> {
    /// Of a split of share z of the path, `z_above` of it at the edge above of the same column.
    fn weigh(&mut self, z: f64, z_above: f64, (t, weights): &([f64; N], [f64; N])) {
        for q in 0..N {
            let (t, w) = (t[q], weights[q]);
            let off = z * (1.0 - t);
            let (on, above) = (1.0 / (t + off), 1.0 / (t + z_above * (1.0 - t)));
            let back = (1.0 - z_above) * above;
            // With o = 0 above, what this edge gives and takes back is the same.
            (self.factor[0][q], self.gives[0][q]) = (z / z_above, 0.0);
            (self.factor[1][q], self.gives[1][q]) = (off * above, w * (-1.0 / (1.0 - t) - back));
            (self.factor[2][q], self.gives[2][q]) = (above / on, w * ((1.0 - z) * on - back));
        }
    }
}

struct Explainer<const N: usize> {
    edges: Vec<Edge<N>>,
}

impl<const N: usize> Explainer<N> {
    fn new(tree: &Tree) -> Self {
        let rule = gauss_legendre::<N>();
        let mut edges: Vec<Edge<N>> = Vec::with_capacity(tree.len());
        // Of each edge: its lower node, and the z of its column.
        let mut below: Vec<(usize, f64)> = Vec::with_capacity(tree.len());
        let mut open = vec![(0_usize, 0_usize, 1.0, true)];
        while let Some((node, parent, share, is_left)) = open.pop() {
            let at = edges.len();
            let mut edge = Edge {
                parent,
                same: 0,
                right: 0,
                column: 0,
                threshold: 0.0,
                is_left,
                missing_here: true,
                value: tree.value[node],
                factor: [[1.0; N]; 3],
                gives: [[0.0; N]; 3],
            };
            let mut z = 1.0;
            if at > 0 {
                let split = below[parent].0;
                (edge.column, edge.threshold) = (tree.column[split] as usize, tree.threshold[split]);
                edge.missing_here = tree.missing_left[split] == is_left;
                let mut same = parent;
                while same > 0 && edges[same].column != edge.column {
                    same = edges[same].parent;
                }
                edge.same = same;
                z = below[same].1 * share;
                edge.weigh(z, below[same].1, &rule);
                if !is_left {
                    edges[parent].right = at;
                }
            }
            edges.push(edge);
            below.push((node, z));
            if !tree.is_leaf(node) {
                let left = left_share(tree, node);
                open.push((tree.right[node] as usize, at, 1.0 - left, false));
                open.push((tree.left[node] as usize, at, left, true));
            }
        }
        Self { edges }
    }

    fn add(&self, rows: &[f64], width: usize, scale: f64, into: &mut [f64]) {
        // In the widest vectors of this machine.
        Arch::new().dispatch(|| self.add_all(rows, width, scale, into));
    }

    #[inline(always)]
    fn add_all(&self, rows: &[f64], width: usize, scale: f64, into: &mut [f64]) {
        // Of each edge: 2 for o = 1, 1 for o = 0 where `same` has 1, and 0; the product of the f_j, and then the sum of value times product
        // over the leaves below.
        let mut states = vec![2_usize; self.edges.len()];
        let mut products = vec![[1.0; N]; self.edges.len()];
        for (row, into) in rows.chunks_exact(width).zip(into.chunks_exact_mut(width)) {
            for (at, edge) in self.edges.iter().enumerate().skip(1) {
                let value = row[edge.column];
                let here = if value.is_nan() { edge.missing_here } else { (value <= edge.threshold) == edge.is_left };
                let state = if states[edge.same] == 2 { 1 + usize::from(here) } else { 0 };
                states[at] = state;
                let above = products[edge.parent];
                let product = &mut products[at];
                for q in 0..N {
                    product[q] = above[q] * edge.factor[state][q];
                }
            }
            for (at, edge) in self.edges.iter().enumerate().rev() {
                let mut sum = products[at];
                if edge.right == 0 {
                    sum.iter_mut().for_each(|p| *p *= edge.value);
                } else {
                    let (left, right) = (products[at + 1], products[edge.right]);
                    for q in 0..N {
                        sum[q] = left[q] + right[q];
                    }
                }
                products[at] = sum;
                let gives = &edge.gives[states[at]];
                // As four sums, which do not wait for each other.
                let mut total = [0.0; 4];
                for q in 0..N {
                    total[q % 4] += sum[q] * gives[q];
                }
                into[edge.column] += scale * ((total[0] + total[1]) + (total[2] + total[3]));
            }
            // The root has taken the sum of all.
            products[0] = [1.0; N];
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::models::supervised::LEAF;

    /// A random tree on few columns, so that paths meet a column again.
    fn random_tree(rng: &mut ChaCha8Rng, columns: u32, depth: usize) -> Tree {
        let mut tree = Tree::default();
        let mut open = vec![(0, 100_000.0)];
        add_leaf(&mut tree, rng, 100_000.0);
        for _ in 0..depth {
            for (node, cover) in std::mem::take(&mut open) {
                if rng.random::<f64>() < 0.2 {
                    continue;
                }
                let left = (cover * rng.random_range(0.05..0.95_f64)).round().max(1.0);
                (tree.column[node], tree.threshold[node]) = (rng.random_range(0..columns), rng.random_range(0.2..0.8));
                tree.missing_left[node] = rng.random();
                tree.left[node] = tree.len() as u32;
                open.push((tree.len(), left));
                add_leaf(&mut tree, rng, left);
                tree.right[node] = tree.len() as u32;
                open.push((tree.len(), (cover - left).max(1.0)));
                add_leaf(&mut tree, rng, (cover - left).max(1.0));
            }
        }
        tree
    }

    fn add_leaf(tree: &mut Tree, rng: &mut ChaCha8Rng, cover: f64) {
        tree.column.push(0);
        tree.threshold.push(0.0);
        tree.missing_left.push(false);
        tree.left.push(LEAF);
        tree.right.push(LEAF);
        tree.value.push(rng.random_range(-1.0..1.0));
        tree.cover.push(cover);
        tree.gain.push(0.0);
    }

    /// The answer to a row of which only the columns in `known` are known to the game.
    fn answer(tree: &Tree, row: &[f64], known: u32, node: usize) -> f64 {
        if tree.is_leaf(node) {
            return tree.value[node];
        }
        if known >> tree.column[node] & 1 == 1 {
            return answer(tree, row, known, tree.child(node, row[tree.column[node] as usize]));
        }
        let (left, right) = (tree.left[node] as usize, tree.right[node] as usize);
        let (l, r) = (tree.cover[left], tree.cover[right]);
        (l * answer(tree, row, known, left) + r * answer(tree, row, known, right)) / (l + r)
    }

    /// Σ_S |S|! (n − |S| − 1)! / n! (answer(S + i) − answer(S)).
    fn shapley(tree: &Tree, row: &[f64], column: usize) -> f64 {
        let n = row.len();
        let factorial = |k: usize| (1..=k).map(|i| i as f64).product::<f64>();
        let weight = |s: usize| factorial(s) * factorial(n - s - 1) / factorial(n);
        let without = (0..1_u32 << n).filter(|s| s >> column & 1 == 0);
        without.map(|s| weight(s.count_ones() as usize) * (answer(tree, row, s | 1 << column, 0) - answer(tree, row, s, 0))).sum()
    }

    #[test]
    fn equal_to_shapley_values_over_all_subsets() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..40 {
            let (columns, depth) = [(1, 4), (3, 5), (7, 8), (10, 6)][round % 4];
            let tree = random_tree(&mut rng, columns, depth);
            let width = columns as usize;
            let value = |rng: &mut ChaCha8Rng| if rng.random::<f64>() < 0.2 { f64::NAN } else { rng.random() };
            let rows: Vec<f64> = (0..3 * width).map(|_| value(&mut rng)).collect();
            let mut found = vec![0.0; rows.len()];
            add_contributions(&tree, &rows, width, 2.0, &mut found);
            assert!((expected(&tree) - answer(&tree, &rows[..width], 0, 0)).abs() < 1e-12);
            for (row, found) in rows.chunks(width).zip(found.chunks(width)) {
                for (column, f) in found.iter().enumerate() {
                    let truth = 2.0 * shapley(&tree, row, column);
                    assert!((f - truth).abs() < 1e-12, "column {column} of {columns}: {f} against {truth}");
                }
            }
        }
    }

    #[test]
    fn contributions_of_long_paths_add_up() {
        // Chains: every split is on another column, and one side is a leaf.
        for depth in [20, 40, 70, 200] {
            let mut rng = ChaCha8Rng::seed_from_u64(depth);
            let mut tree = Tree::default();
            add_leaf(&mut tree, &mut rng, 1e6);
            for column in 0..depth as u32 {
                let node = tree.len() - 1;
                let cover = tree.cover[node];
                (tree.column[node], tree.threshold[node]) = (column, 0.5);
                (tree.left[node], tree.right[node]) = (tree.len() as u32, tree.len() as u32 + 1);
                add_leaf(&mut tree, &mut rng, cover * 0.1);
                add_leaf(&mut tree, &mut rng, cover * 0.9);
            }
            let row: Vec<f64> = (0..depth).map(|_| rng.random_range(0.4..1.0)).collect();
            let mut found = vec![0.0; row.len()];
            add_contributions(&tree, &row, row.len(), 1.0, &mut found);
            let mut node = 0;
            while !tree.is_leaf(node) {
                node = tree.child(node, row[tree.column[node] as usize]);
            }
            let sum = expected(&tree) + found.iter().sum::<f64>();
            assert!((sum - tree.value[node]).abs() < 1e-10, "depth {depth}: {sum} against {}", tree.value[node]);
        }
    }
}
