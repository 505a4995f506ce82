//! Histogram trees: the best leaf first, second-order gain (Chen & Guestrin 2016, "XGBoost", KDD '16, equations 5–7; Ke et al. 2017,
//! "LightGBM", NeurIPS 30).
//!
//! With g and h the first and second derivatives of a row's loss, a node has G = Σ g, H = Σ h, the value −G / (H + λ) and the score
//! G² / (H + λ); a split gains what the scores of its children have above its own. With g = −w·y and h = w that is the weighted mean of y and
//! the fall of its squared error, for labels of 0 and 1 that of the Gini index.
//!
//! Sums are of whole numbers: g in units of its largest / 2³⁰, and h and the count of rows side by side in one word. They do not depend on
//! the order of rows or on threads, and a histogram taken from that of the parent is exactly that of the other child. Values of leaves are
//! then summed as they are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::bins::{Binned, Bins};
use super::{LEAF, Tree};
use crate::models::{Control, ModelError};

/// How a tree grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    pub max_leaves: usize,
    pub max_depth: usize,
    /// λ.
    pub l2: f64,
    /// Least rows and least Σ h of a child.
    pub min_rows: u64,
    pub min_weight: f64,
    /// Columns tried at a node, drawn anew for each; `None` for all.
    pub columns_each: Option<usize>,
    /// Values of nodes are multiplied by it.
    pub rate: f64,
}

/// A tree, with the last bin of known values that goes left in each inner node.
#[derive(Debug, Default)]
pub struct Grown {
    pub tree: Tree,
    pub last_left: Vec<u8>,
}

impl Grown {
    /// Adds the values of the leaves in which all rows of the bins end to their scores.
    pub fn add_to(&self, bins: &Bins, scores: &mut [f64]) {
        let tree = &self.tree;
        scores.par_chunks_mut(PIECE).enumerate().for_each(|(piece, scores)| {
            let start = piece * PIECE;
            let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
            let mut aside = vec![0; rows.len()];
            let mut open = vec![(0, 0..rows.len())];
            while let Some((node, range)) = open.pop() {
                let here = &mut rows[range.clone()];
                if tree.is_leaf(node) {
                    here.iter().for_each(|&r| scores[r as usize] += tree.value[node]);
                    continue;
                }
                let column = &bins.columns[tree.column[node] as usize];
                let codes = &column.codes[start..start + scores.len()];
                let middle = range.start + part(here, &mut aside, codes, column.left(self.last_left[node], tree.missing_left[node]));
                open.push((tree.left[node] as usize, range.start..middle));
                open.push((tree.right[node] as usize, middle..range.end));
            }
        });
    }
}

/// Puts the rows that go left before the others, in their order, and answers how many they are. `aside` is room for as many rows.
fn part(rows: &mut [u32], aside: &mut [u32], codes: &[u8], goes_left: impl Fn(u8) -> bool) -> usize {
    let aside = &mut aside[..rows.len()];
    let (mut left, mut right) = (0, 0);
    for i in 0..rows.len() {
        let row = rows[i];
        let goes_left = goes_left(codes[row as usize]);
        // Both are written, without a jump; what is in neither place is written over.
        aside[right] = row;
        rows[left] = row;
        left += usize::from(goes_left);
        right += usize::from(!goes_left);
    }
    rows[left..].copy_from_slice(&aside[..right]);
    left
}

/// First and second derivatives of the rows, as whole numbers.
struct Derivatives {
    rows: Vec<(i32, u32)>,
    /// What 1 is worth.
    first: f64,
    second: f64,
}

/// Below this bit of [`Cell::rest`] stands Σ h, above it the count.
const COUNT: u32 = 38;
/// Most rows of a training.
pub const MOST_ROWS: usize = 1 << (64 - COUNT);

impl Derivatives {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let most = |v: &[f64]| {
            let pieces = v.par_chunks(PIECE).map(|v| v.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(x.abs())));
            pieces.reduce(|| f64::MIN_POSITIVE, f64::max)
        };
        // So many bits of h that Σ h has room.
        let bits = COUNT - (usize::BITS - first.len().leading_zeros());
        let (unit_first, unit_second) = (most(first) / f64::from(1 << 30), most(second) / f64::from(1 << bits.min(30)));
        let whole = |(g, h): (&f64, &f64)| (nearest(g / unit_first) as i32, nearest(h / unit_second));
        let rows = first.par_iter().zip(second).with_min_len(PIECE).map(whole).collect();
        Self { rows, first: unit_first, second: unit_second }
    }
}

/// The nearest whole number of one within ± 2³¹, in two's complement: what is added leaves no bits for fractions, and the last 32 of the
/// sum are those of the number. (To round and to convert are calls and jumps where this is one addition.)
fn nearest(x: f64) -> u32 {
    (x + 6_755_399_441_055_744.0).to_bits() as u32
}

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    first: i64,
    /// count · 2^COUNT + Σ h.
    rest: u64,
}

impl Cell {
    fn add(&mut self, (first, second): (i32, u32)) {
        self.first += i64::from(first);
        self.rest += (1 << COUNT) + u64::from(second);
    }

    fn plus(self, other: Self) -> Self {
        Self { first: self.first + other.first, rest: self.rest + other.rest }
    }

    fn minus(self, other: Self) -> Self {
        Self { first: self.first - other.first, rest: self.rest - other.rest }
    }

    fn count(self) -> u64 {
        self.rest >> COUNT
    }

    fn second(self) -> u64 {
        self.rest & ((1 << COUNT) - 1)
    }
}

/// Cells of the bins of each column; none of columns that are not looked at.
type Histogram = Vec<Vec<Cell>>;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    gain: f64,
    column: u32,
    /// Known values up to this bin go left.
    bin: u8,
    missing_left: bool,
    left: Cell,
}

impl Split {
    /// Ties go to the smaller column.
    fn better(self, other: Option<Self>) -> Option<Self> {
        match other {
            Some(o) if o.gain > self.gain || (o.gain == self.gain && o.column < self.column) => Some(o),
            _ => Some(self),
        }
    }
}

/// A leaf: its node, depth, where its rows stand, and their sums.
type Leaf = (usize, usize, Range<usize>, Cell);

/// A leaf that can be split.
struct Open {
    node: usize,
    depth: usize,
    range: Range<usize>,
    total: Cell,
    split: Split,
    histogram: Option<Histogram>,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.split.gain.total_cmp(&other.split.gain).then(other.node.cmp(&self.node))
    }
}

/// From so many values on, columns are worked on in parallel.
const PARALLEL: usize = 1 << 15;
/// Rows that are worked on together; sums over pieces are made in their order.
pub(super) const PIECE: usize = 4_096;

/// Grows a tree from `rows`, ascending, on these columns; `first` and `second` are derivatives of all rows of the bins.
///
/// # Errors
/// Cancelled.
pub fn grow(
    bins: &Bins,
    (first, second): (&[f64], &[f64]),
    rows: Vec<u32>,
    columns: &[u32],
    growth: &Growth,
    rng: &mut ChaCha8Rng,
    control: &Control,
) -> Result<Grown, ModelError> {
    let derivatives = Derivatives::of(first, second);
    let sum = |rows: &[u32]| {
        let mut sum = Cell::default();
        rows.iter().for_each(|&r| sum.add(derivatives.rows[r as usize]));
        sum
    };
    let total = rows.par_chunks(PIECE).map(sum).reduce(Cell::default, Cell::plus);
    let aside = vec![0; rows.len()];
    let mut grower = Grower { bins, derivatives, growth, columns: columns.to_vec(), grown: Grown::default(), rows, aside };
    let mut leaves = Vec::new();
    let mut open = BinaryHeap::new();
    let whole = 0..grower.rows.len();
    grower.add_leaf(total);
    let histogram = growth.columns_each.is_none().then(|| grower.histogram(whole.clone()));
    grower.offer((0, 0, whole, total), histogram, rng, &mut open, &mut leaves);
    while let Some(leaf) = open.pop() {
        control.check()?;
        if open.len() + leaves.len() + 1 >= growth.max_leaves {
            leaves.push((leaf.node, leaf.range));
            continue;
        }
        let split = leaf.split;
        let middle = grower.part(leaf.range.clone(), split);
        let (left, right) = grower.split_node(leaf.node, split, leaf.total);
        let left = (left, leaf.depth + 1, leaf.range.start..middle, split.left);
        let right = (right, leaf.depth + 1, middle..leaf.range.end, leaf.total.minus(split.left));
        let (of_left, of_right) = match leaf.histogram {
            Some(parent) if open.len() + leaves.len() + 2 < growth.max_leaves && (grower.may(&left) || grower.may(&right)) => {
                let left_is_small = left.2.len() <= right.2.len();
                let small = grower.histogram(if left_is_small { left.2.clone() } else { right.2.clone() });
                let large = subtract(parent, &small);
                if left_is_small { (Some(small), Some(large)) } else { (Some(large), Some(small)) }
            }
            _ => (None, None),
        };
        grower.offer(left, of_left, rng, &mut open, &mut leaves);
        grower.offer(right, of_right, rng, &mut open, &mut leaves);
    }
    let exact = |(node, range): &(usize, Range<usize>)| {
        let of = |v: &[f64]| grower.rows[range.clone()].iter().map(|&r| v[r as usize]).sum::<f64>();
        (*node, value(of(first), of(second), growth))
    };
    let values: Vec<(usize, f64)> = leaves.par_iter().map(exact).collect();
    values.into_iter().for_each(|(node, value)| grower.grown.tree.value[node] = value);
    Ok(grower.grown)
}

/// −rate · G / (H + λ).
fn value(first: f64, second: f64, growth: &Growth) -> f64 {
    let weight = second + growth.l2;
    // Adding 0 makes a −0 a 0.
    if weight > 0.0 { (-growth.rate * first / weight).clamp(-1e100, 1e100) + 0.0 } else { 0.0 }
}

fn subtract(mut from: Histogram, what: &Histogram) -> Histogram {
    from.iter_mut().flatten().zip(what.iter().flatten()).for_each(|(a, b)| *a = a.minus(*b));
    from
}

struct Grower<'a> {
    bins: &'a Bins,
    derivatives: Derivatives,
    growth: &'a Growth,
    columns: Vec<u32>,
    grown: Grown,
    /// Leaf by leaf, ascending in each.
    rows: Vec<u32>,
    /// Rows of a right child while they are parted from those of the left.
    aside: Vec<u32>,
}

impl Grower<'_> {
    fn column(&self, c: u32) -> &Binned {
        &self.bins.columns[c as usize]
    }

    fn add_leaf(&mut self, total: Cell) {
        self.grown.last_left.push(0);
        let tree = &mut self.grown.tree;
        tree.column.push(0);
        tree.threshold.push(0.0);
        tree.missing_left.push(false);
        tree.left.push(LEAF);
        tree.right.push(LEAF);
        tree.value.push(value(total.first as f64 * self.derivatives.first, total.second() as f64 * self.derivatives.second, self.growth));
        tree.cover.push(total.count() as f64);
        tree.gain.push(0.0);
    }

    /// Makes an inner node of a leaf, and answers its children.
    fn split_node(&mut self, node: usize, split: Split, total: Cell) -> (usize, usize) {
        let left = self.grown.tree.len();
        let cuts = &self.column(split.column).cuts;
        // Above the last cut, only what is not known goes right.
        let threshold = cuts.get(split.bin as usize).copied().unwrap_or(f64::MAX);
        self.grown.last_left[node] = split.bin;
        let tree = &mut self.grown.tree;
        (tree.column[node], tree.threshold[node], tree.missing_left[node]) = (split.column, threshold, split.missing_left);
        (tree.left[node], tree.right[node], tree.gain[node]) = (left as u32, left as u32 + 1, split.gain);
        self.add_leaf(split.left);
        self.add_leaf(total.minus(split.left));
        (left, left + 1)
    }

    /// Puts the rows of a range that go left before the others, and answers where the others start.
    fn part(&mut self, range: Range<usize>, split: Split) -> usize {
        let column = &self.bins.columns[split.column as usize];
        let goes_left = column.left(split.bin, split.missing_left);
        let (rows, aside) = (&mut self.rows[range.clone()], &mut self.aside[range.clone()]);
        if rows.len() < PARALLEL {
            return range.start + part(rows, aside, &column.codes, goes_left);
        }
        let pieces = rows.par_chunks_mut(PIECE).zip(aside.par_chunks_mut(PIECE));
        let lefts: Vec<usize> = pieces.map(|(rows, aside)| part(rows, aside, &column.codes, &goes_left)).collect();
        // What goes left in each piece moves to the front, and what goes right over `aside` behind it.
        let (mut left, mut right) = (0, 0);
        for (piece, &n) in lefts.iter().enumerate() {
            let (start, end) = (piece * PIECE, rows.len().min((piece + 1) * PIECE));
            let others = end - start - n;
            aside[right..right + others].copy_from_slice(&rows[start + n..end]);
            rows.copy_within(start..start + n, left);
            left += n;
            right += others;
        }
        rows[left..].copy_from_slice(&aside[..right]);
        range.start + left
    }

    fn histogram(&self, range: Range<usize>) -> Histogram {
        let rows = &self.rows[range];
        let ordered: Vec<(i32, u32)> = rows.par_iter().with_min_len(PIECE).map(|&r| self.derivatives.rows[r as usize]).collect();
        let one = |&c: &u32| {
            let column = self.column(c);
            let mut cells = vec![Cell::default(); column.missing() as usize + 1];
            if rows.len() == column.codes.len() {
                column.codes.iter().zip(&ordered).for_each(|(&code, &d)| cells[code as usize].add(d));
            } else {
                rows.iter().zip(&ordered).for_each(|(&r, &d)| cells[column.codes[r as usize] as usize].add(d));
            }
            cells
        };
        if rows.len() * self.columns.len() < PARALLEL {
            self.columns.iter().map(one).collect()
        } else {
            self.columns.par_iter().map(one).collect()
        }
    }

    /// Whether a leaf could be split.
    fn may(&self, (_, depth, _, total): &Leaf) -> bool {
        *depth < self.growth.max_depth && total.count() >= 2 * self.growth.min_rows
    }

    /// Puts a leaf among those to split, or where it stays.
    fn offer(
        &mut self,
        leaf: Leaf,
        histogram: Option<Histogram>,
        rng: &mut ChaCha8Rng,
        open: &mut BinaryHeap<Open>,
        leaves: &mut Vec<(usize, Range<usize>)>,
    ) {
        let may = self.may(&leaf);
        let (node, depth, range, total) = leaf;
        let split = match (&histogram, self.growth.columns_each) {
            (Some(histogram), _) if may => self.best(histogram, total),
            (None, Some(n)) if may => self.best_of_drawn(n, range.clone(), total, rng),
            _ => None,
        };
        match split {
            Some(split) => open.push(Open { node, depth, range, total, split, histogram }),
            None => leaves.push((node, range)),
        }
    }

    fn best(&self, histogram: &Histogram, total: Cell) -> Option<Split> {
        let one = |(&c, cells): (&u32, &Vec<Cell>)| self.best_in(c, cells, total);
        let all = self.columns.iter().zip(histogram).filter_map(one);
        all.fold(None, |best, split| split.better(best))
    }

    /// The best split on `n` columns drawn at random; if there is none, more are drawn.
    fn best_of_drawn(&mut self, n: usize, range: Range<usize>, total: Cell, rng: &mut ChaCha8Rng) -> Option<Split> {
        let rows = &self.rows[range];
        let mut best = None;
        let mut cells = Vec::new();
        for drawn in 0..self.columns.len() {
            if drawn >= n && best.is_some() {
                break;
            }
            let other = rng.random_range(drawn..self.columns.len());
            self.columns.swap(drawn, other);
            let column = &self.bins.columns[self.columns[drawn] as usize];
            cells.clear();
            cells.resize(column.missing() as usize + 1, Cell::default());
            rows.iter().for_each(|&r| cells[column.codes[r as usize] as usize].add(self.derivatives.rows[r as usize]));
            if let Some(split) = self.best_in(self.columns[drawn], &cells, total) {
                best = split.better(best);
            }
        }
        best
    }

    /// The best split on a column; among equals that of the smaller threshold, and then that with unknown values right.
    fn best_in(&self, column: u32, cells: &[Cell], total: Cell) -> Option<Split> {
        let (known, missing) = (&cells[..cells.len() - 1], cells[cells.len() - 1]);
        let score = |c: Cell| {
            let first = c.first as f64 * self.derivatives.first;
            let weight = c.second() as f64 * self.derivatives.second + self.growth.l2;
            if weight > 0.0 { first * first / weight } else { 0.0 }
        };
        let least = (self.growth.min_weight / self.derivatives.second).ceil() as u64;
        let allowed = |c: Cell| c.count() >= self.growth.min_rows.max(1) && c.second() >= least;
        let own = score(total);
        let mut best: Option<Split> = None;
        let mut offer = |bin: usize, left: Cell, missing_left: bool| {
            let right = total.minus(left);
            if allowed(left) && allowed(right) {
                let sum = score(left) + score(right);
                let gain = sum - own;
                // Less is rounding.
                if gain > best.map_or(1e-12 * sum, |b| b.gain) {
                    best = Some(Split { gain, column, bin: bin as u8, missing_left, left });
                }
            }
        };
        let mut below = Cell::default();
        for (bin, cell) in known.iter().enumerate() {
            if cell.rest == 0 {
                continue;
            }
            below = below.plus(*cell);
            offer(bin, below, false);
            if missing.rest > 0 {
                offer(bin, below.plus(missing), true);
            }
        }
        // Where all is known, what is not will go with the majority.
        best.map(|b| if missing.rest == 0 { Split { missing_left: 2 * b.left.count() >= total.count(), ..b } } else { b })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::models::supervised::Matrix;

    const GROWTH: Growth =
        Growth { max_leaves: usize::MAX, max_depth: usize::MAX, l2: 0.5, min_rows: 3, min_weight: 0.0, columns_each: None, rate: 1.0 };

    /// −G / (H + λ), G² / (H + λ) and the number of rows for which `takes` holds.
    fn sums(first: &[f64], second: &[f64], rows: &[u32], takes: impl Fn(u32) -> bool) -> (f64, f64, u64) {
        let of = |v: &[f64]| rows.iter().filter(|&&r| takes(r)).map(|&r| v[r as usize]).sum::<f64>();
        let (g, h) = (of(first), of(second) + GROWTH.l2);
        (-g / h, g * g / h, rows.iter().filter(|&&r| takes(r)).count() as u64)
    }

    /// More rows than are parted at once.
    #[test]
    fn leaves_have_the_mean_of_their_rows() {
        let n = 2 * PARALLEL + 4_321;
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let x = Matrix { rows: n, columns: (0..3).map(|_| (0..n).map(|_| rng.random()).collect()).collect() };
        let first: Vec<f64> = (0..n).map(|r| x.columns[0][r] * x.columns[1][r] - rng.random::<f64>()).collect();
        let bins = Bins::of(&x, 1, &Control::default()).unwrap();
        let growth = Growth { max_leaves: 9, l2: 0.0, ..GROWTH };
        let rows: Vec<u32> = (0..n as u32).filter(|r| r % 5 != 0).collect();
        let tree = grow(&bins, (&first, &vec![1.0; n]), rows.clone(), &[0, 1, 2], &growth, &mut rng, &Control::default()).unwrap().tree;
        let mut means = vec![(0.0, 0.0); tree.len()];
        rows.iter().map(|&r| r as usize).for_each(|r| {
            let (sum, count) = &mut means[tree.leaf(&x, r)];
            (*sum, *count) = (*sum - first[r], *count + 1.0);
        });
        let leaves: Vec<usize> = (0..tree.len()).filter(|&node| tree.is_leaf(node)).collect();
        assert_eq!(leaves.len(), 9);
        for leaf in leaves {
            let (sum, count) = means[leaf];
            assert!(tree.cover[leaf] == count && (tree.value[leaf] - sum / count).abs() < 1e-9);
        }
    }

    #[test]
    fn every_split_is_the_best_there_is() {
        for seed in 0..6 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let n = 60;
            let value = |rng: &mut ChaCha8Rng| if rng.random::<f64>() < 0.15 { f64::NAN } else { f64::from(rng.random_range(0..12)) };
            let columns = (0..3).map(|_| (0..n).map(|_| value(&mut rng)).collect()).collect();
            let x = Matrix { rows: n, columns };
            let first: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            let second: Vec<f64> = (0..n).map(|_| rng.random_range(0.1..1.0)).collect();
            let bins = Bins::of(&x, 1, &Control::default()).unwrap();
            // Histograms of all columns, and columns one by one.
            let drawn = Growth { columns_each: Some(3), ..GROWTH };
            for growth in [GROWTH, drawn] {
                let rows: Vec<u32> = (0..n as u32).filter(|r| r % 10 != 3).collect();
                let grown = grow(&bins, (&first, &second), rows.clone(), &[0, 1, 2], &growth, &mut rng, &Control::default()).unwrap();
                let tree = &grown.tree;
                let mut scores = vec![1.0; n];
                grown.add_to(&bins, &mut scores);
                assert_eq!(scores, (0..n).map(|r| 1.0 + tree.value[tree.leaf(&x, r)]).collect::<Vec<_>>());
                let mut here = vec![rows];
                here.resize(tree.len(), vec![]);
                for node in 0..tree.len() {
                    let rows = here[node].clone();
                    let (value, own, count) = sums(&first, &second, &rows, |_| true);
                    assert!((tree.value[node] - value).abs() < 1e-5 && tree.cover[node] == count as f64);
                    let mut best = 0.0_f64;
                    for column in &x.columns {
                        for threshold in (0..12).map(|t| f64::from(t) + 0.5) {
                            for missing_left in [false, true] {
                                let left = |r: u32| if column[r as usize].is_nan() { missing_left } else { column[r as usize] < threshold };
                                let (l, r) = (sums(&first, &second, &rows, left), sums(&first, &second, &rows, |r| !left(r)));
                                if l.2 >= GROWTH.min_rows && r.2 >= GROWTH.min_rows {
                                    best = best.max(l.1 + r.1 - own);
                                }
                            }
                        }
                    }
                    assert!((tree.gain[node] - best).abs() < 1e-5, "seed {seed}, node {node}: {} against {best}", tree.gain[node]);
                    if !tree.is_leaf(node) {
                        for r in rows {
                            here[tree.child(node, x.columns[tree.column[node] as usize][r as usize])].push(r);
                        }
                    }
                }
            }
        }
    }
}
