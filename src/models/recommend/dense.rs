//! Small dense matrices in f32, by rows, in the widest vectors this machine has (found out at run time). Rows are padded with zeros to a multiple of
//! [`LANES`]. Every sum is taken in one order, whatever the number of threads, of rows or of columns asked for.

use std::ops::Range;

use faer::traits::pulp::{Arch, Simd, WithSimd};

use super::prefetch::Prefetch;

/// Numbers a row is padded to a multiple of.
pub const LANES: usize = 16;
/// Rows of a block of a triangular matrix.
const BLOCK: usize = 4;
/// Sides of the squares that [`turn`] turns.
const EDGE: usize = 8;
/// Rows on the left that share what is loaded of the right in [`Panels::products`].
pub const GROUP: usize = 6;

pub fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// n rounded up to a side of a square matrix: whole vectors of this machine, mostly finer than [`padded`].
pub fn side(n: usize) -> usize {
    n.next_multiple_of(Arch::new().dispatch(Lanes).max(EDGE))
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Appends to `tile` the rows that `of` lists, each times `scale` and its number in `by`.
pub fn gather(rows: &[f32], scale: &[f32], of: &[u32], by: &[f32], tile: &mut Vec<f32>) {
    let start = tile.len();
    tile.resize(start + of.len() * scale.len(), 0.0);
    Arch::new().dispatch(Gather { rows, scale, of, by, out: &mut tile[start..] });
}

struct Gather<'a> {
    rows: &'a [f32],
    scale: &'a [f32],
    of: &'a [u32],
    by: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (stride, scale) = (self.scale.len(), S::as_simd_f32s(self.scale).0);
        for ((&row, &by), out) in self.of.iter().zip(self.by).zip(self.out.chunks_exact_mut(stride)) {
            let (row, by) = (&self.rows[row as usize * stride..][..stride], simd.splat_f32s(by));
            for ((out, y), scale) in S::as_mut_simd_f32s(out).0.iter_mut().zip(S::as_simd_f32s(row).0).zip(scale) {
                *out = simd.mul_f32s(by, simd.mul_f32s(*scale, *y));
            }
        }
    }
}

/// Has the rows that `of` lists on their way from memory before they are asked for.
pub fn prefetch(rows: &[f32], stride: usize, of: &[u32]) {
    let prefetch = Prefetch::new();
    for &row in of {
        let start = row as usize * stride;
        prefetch.lines(rows, start..start + stride);
    }
}

/// Tᵀ of a tile whose number of rows is a [`side`].
pub fn turn(tile: &[f32], stride: usize, out: &mut Vec<f32>) {
    out.resize(tile.len(), 0.0);
    Arch::new().dispatch(Turn { tile, stride, out });
}

struct Turn<'a> {
    tile: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let side = self.tile.len() / self.stride;
        for (b, rows) in self.tile.chunks_exact(EDGE * self.stride).enumerate() {
            for (c, out) in self.out.chunks_exact_mut(EDGE * side).enumerate() {
                let mut square = [[0f32; EDGE]; EDGE];
                for (square, row) in square.iter_mut().zip(rows.chunks_exact(self.stride)) {
                    square.copy_from_slice(&row[c * EDGE..][..EDGE]);
                }
                for (i, out) in out.chunks_exact_mut(side).enumerate() {
                    let column: [f32; EDGE] = std::array::from_fn(|j| square[j][i]);
                    out[b * EDGE..][..EDGE].copy_from_slice(&column);
                }
            }
        }
    }
}

/// Adds TᵀT to the upper triangle of the square `matrix`; rows of both are `stride` long. The lower triangle is left undefined.
pub fn add_gram(tile: &[f32], stride: usize, matrix: &mut [f32]) {
    Arch::new().dispatch(AddGram { tile, stride, matrix });
}

struct AddGram<'a> {
    tile: &'a [f32],
    stride: usize,
    matrix: &'a mut [f32],
}

impl WithSimd for AddGram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (b, block) in self.matrix.chunks_exact_mut(BLOCK * self.stride).enumerate() {
            update(simd, self.tile, self.stride, block, b * BLOCK, 1.0);
        }
    }
}

/// Adds sign · Σ_r T[r][first..first + BLOCK]ᵀ · T[r] to a block of rows, from the vector of column `first` on.
#[inline(always)]
fn update<S: Simd>(simd: S, tile: &[f32], stride: usize, block: &mut [f32], first: usize, sign: f32) {
    let wide = stride / S::F32_LANES;
    let mut c = first / S::F32_LANES;
    while c < wide {
        // Three vectors at once, which registers would hold, were measured to be slower than two.
        c += if wide - c >= 2 {
            update_columns::<S, 2>(simd, tile, stride, block, first, c, sign)
        } else {
            update_columns::<S, 1>(simd, tile, stride, block, first, c, sign)
        };
    }
}

/// The Q vectors of columns from the c-th on; Q.
#[inline(always)]
fn update_columns<S: Simd, const Q: usize>(
    simd: S,
    tile: &[f32],
    stride: usize,
    block: &mut [f32],
    first: usize,
    c: usize,
    sign: f32,
) -> usize {
    let wide = stride / S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); Q]; BLOCK];
    for row in tile.chunks_exact(stride) {
        let right = &S::as_simd_f32s(row).0[c..c + Q];
        let left = &row[first..first + BLOCK];
        for i in 0..BLOCK {
            let x = simd.splat_f32s(left[i]);
            for q in 0..Q {
                sums[i][q] = simd.mul_add_f32s(x, right[q], sums[i][q]);
            }
        }
    }
    let sign = simd.splat_f32s(sign);
    for (row, sums) in S::as_mut_simd_f32s(block).0.chunks_exact_mut(wide).zip(&sums) {
        for (at, sum) in row[c..c + Q].iter_mut().zip(sums) {
            *at = simd.mul_add_f32s(sign, *sum, *at);
        }
    }
    Q
}

/// Replaces the upper triangle of a positive definite matrix by U with UᵀU = it (a left-looking Cholesky decomposition by blocks of rows), the lower one
/// by zeros, and puts 1 / U_ii into `reciprocals`. What is not positive definite leaves numbers that are none.
pub fn cholesky(matrix: &mut [f32], stride: usize, reciprocals: &mut [f32]) {
    Arch::new().dispatch(Cholesky { matrix, stride, reciprocals });
}

struct Cholesky<'a> {
    matrix: &'a mut [f32],
    stride: usize,
    reciprocals: &'a mut [f32],
}

impl WithSimd for Cholesky<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.stride;
        for first in (0..stride).step_by(BLOCK) {
            let (done, rest) = self.matrix.split_at_mut(first * stride);
            let block = &mut rest[..BLOCK * stride];
            update(simd, done, stride, block, first, -1.0);
            // The triangle on the diagonal as numbers, then the whole rows as vectors.
            let mut corner: [[f32; BLOCK]; BLOCK] = std::array::from_fn(|i| std::array::from_fn(|j| block[i * stride + first + j]));
            let reciprocals = &mut self.reciprocals[first..first + BLOCK];
            for i in 0..BLOCK {
                let reciprocal = 1.0 / corner[i][i].sqrt();
                reciprocals[i] = reciprocal;
                corner[i].iter_mut().for_each(|x| *x *= reciprocal);
                for below in i + 1..BLOCK {
                    for j in below..BLOCK {
                        corner[below][j] -= corner[i][below] * corner[i][j];
                    }
                }
            }
            let wide = stride / S::F32_LANES;
            let vectors = S::as_mut_simd_f32s(block).0;
            for c in first / S::F32_LANES..wide {
                let mut above = [simd.splat_f32s(0.0); BLOCK];
                for i in 0..BLOCK {
                    let mut x = vectors[i * wide + c];
                    for j in 0..i {
                        x = simd.mul_add_f32s(simd.splat_f32s(-corner[j][i]), above[j], x);
                    }
                    above[i] = simd.mul_f32s(x, simd.splat_f32s(reciprocals[i]));
                    vectors[i * wide + c] = above[i];
                }
            }
            for (i, row) in block.chunks_exact_mut(stride).enumerate() {
                row[..first + i].fill(0.0);
            }
        }
    }
}

/// Solves UᵀU x = b in place, of what [`cholesky`] has left.
pub fn solve(matrix: &[f32], stride: usize, reciprocals: &[f32], b: &mut [f32]) {
    Arch::new().dispatch(Solve { matrix, stride, reciprocals, b });
}

struct Solve<'a> {
    matrix: &'a [f32],
    stride: usize,
    reciprocals: &'a [f32],
    b: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (stride, size, wide) = (self.stride, BLOCK * self.stride, self.stride / S::F32_LANES);
        let b = &mut self.b[..stride];
        for (first, block) in (0..stride).step_by(BLOCK).zip(self.matrix.chunks_exact(size)) {
            let (from, mut x) = (first / S::F32_LANES * S::F32_LANES, [0.0; BLOCK]);
            for i in 0..BLOCK {
                let done: f32 = (0..i).map(|j| x[j] * block[j * stride + first + i]).sum();
                x[i] = (b[first + i] - done) * self.reciprocals[first + i];
            }
            // U is 0 left of the diagonal: what is solved already stays.
            let (rows, by) = (S::as_simd_f32s(block).0, x.map(|x| simd.splat_f32s(-x)));
            for (c, b) in (from / S::F32_LANES..).zip(S::as_mut_simd_f32s(&mut b[from..]).0) {
                for i in 0..BLOCK {
                    *b = simd.mul_add_f32s(by[i], rows[i * wide + c], *b);
                }
            }
            b[first..first + BLOCK].copy_from_slice(&x);
        }
        for (first, block) in (0..stride).step_by(BLOCK).zip(self.matrix.chunks_exact(size)).rev() {
            let from = first / S::F32_LANES * S::F32_LANES;
            let mut x: [f32; BLOCK] = std::array::from_fn(|i| std::mem::take(&mut b[first + i]));
            let (rows, mut sums) = (S::as_simd_f32s(block).0, [simd.splat_f32s(0.0); BLOCK]);
            for (c, b) in (from / S::F32_LANES..).zip(S::as_simd_f32s(&b[from..]).0) {
                for i in 0..BLOCK {
                    sums[i] = simd.mul_add_f32s(rows[i * wide + c], *b, sums[i]);
                }
            }
            let solved = sums.map(|sum| simd.reduce_sum_f32s(sum));
            for i in (0..BLOCK).rev() {
                let others: f32 = (i + 1..BLOCK).map(|j| x[j] * block[i * stride + first + j]).sum();
                x[i] = (x[i] - solved[i] - others) * self.reciprocals[first + i];
            }
            b[first..first + BLOCK].copy_from_slice(&x);
        }
    }
}

/// a · b, of one length of whole vectors.
#[inline(always)]
pub fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
    let mut sum = simd.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = simd.mul_add_f32s(*a, *b, sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// out_r = Σ_c T[r][c] · x_c
pub fn times(tile: &[f32], stride: usize, x: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(Times { tile, stride, x, out });
}

struct Times<'a> {
    tile: &'a [f32],
    stride: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Times<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, out) in self.tile.chunks_exact(self.stride).zip(self.out) {
            *out = dot(simd, row, self.x);
        }
    }
}

/// Adds Σ_r x_r · T[r] to `out`.
pub fn add_rows(tile: &[f32], stride: usize, x: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(AddRows { tile, stride, x, out });
}

struct AddRows<'a> {
    tile: &'a [f32],
    stride: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let wide = self.stride / S::F32_LANES;
        let mut c = 0;
        while c < wide {
            c += if wide - c >= 8 { self.columns::<S, 8>(simd, c) } else { self.columns::<S, 1>(simd, c) };
        }
    }
}

impl AddRows<'_> {
    /// The Q vectors of columns from the c-th on; Q.
    #[inline(always)]
    fn columns<S: Simd, const Q: usize>(&mut self, simd: S, c: usize) -> usize {
        let out = &mut S::as_mut_simd_f32s(self.out).0[c..c + Q];
        let mut sums: [S::f32s; Q] = std::array::from_fn(|q| out[q]);
        for (row, &x) in self.tile.chunks_exact(self.stride).zip(self.x) {
            let (row, x) = (&S::as_simd_f32s(row).0[c..c + Q], simd.splat_f32s(x));
            for q in 0..Q {
                sums[q] = simd.mul_add_f32s(x, row[q], sums[q]);
            }
        }
        out.copy_from_slice(&sums);
        Q
    }
}

/// Rows laid out for products with many others: panels of [`LANES`] rows, inside a panel column by column.
#[derive(Debug, PartialEq)]
pub struct Panels {
    stride: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Of rows `stride` long; the last panel is filled up with rows of zeros.
    pub fn new(rows: &[f32], stride: usize) -> Self {
        let n = rows.len() / stride;
        let mut values = vec![0.0; padded(n) * stride];
        for (i, row) in rows.chunks_exact(stride).enumerate() {
            let panel = &mut values[i / LANES * LANES * stride..][..LANES * stride];
            row.iter().enumerate().for_each(|(c, &x)| panel[c * LANES + i % LANES] = x);
        }
        Self { stride, values }
    }

    /// Length of a row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// How many panels there are.
    pub fn len(&self) -> usize {
        self.values.len() / (self.stride * LANES)
    }

    /// out[l][r] = left[l] · row r, for the rows of some panels. Rows of `out` are as long as those panels have rows.
    pub fn products(&self, panels: Range<usize>, left: &[f32], out: &mut [f32]) {
        let size = self.stride * LANES;
        let values = &self.values[panels.start * size..panels.end * size];
        Arch::new().dispatch(Products { values, stride: self.stride, left, out });
    }
}

struct Products<'a> {
    values: &'a [f32],
    stride: usize,
    left: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.all::<S, 1>(simd),
            8 => self.all::<S, 2>(simd),
            4 => self.all::<S, 4>(simd),
            2 => self.all::<S, 8>(simd),
            _ => self.all::<S, 16>(simd),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn all<S: Simd, const Q: usize>(self, simd: S) {
        let width = self.values.len() / self.stride;
        let groups = self.left.len() / (self.stride * GROUP) * GROUP;
        let (left, few) = self.left.split_at(groups * self.stride);
        let (out, out_of_few) = self.out.split_at_mut(groups * width);
        for (left, out) in left.chunks_exact(GROUP * self.stride).zip(out.chunks_exact_mut(GROUP * width)) {
            products::<S, Q, GROUP>(simd, self.values, self.stride, left, out);
        }
        for (left, out) in few.chunks_exact(self.stride).zip(out_of_few.chunks_exact_mut(width)) {
            products::<S, Q, 1>(simd, self.values, self.stride, left, out);
        }
    }
}

/// Every product is one chain of fused multiply-adds in the order of columns, however many rows there are on the left.
#[inline(always)]
fn products<S: Simd, const Q: usize, const P: usize>(simd: S, values: &[f32], stride: usize, left: &[f32], out: &mut [f32]) {
    let width = values.len() / stride;
    let rows: [&[f32]; P] = std::array::from_fn(|p| &left[p * stride..][..stride]);
    for (at, panel) in values.chunks_exact(stride * LANES).enumerate() {
        let panel = S::as_simd_f32s(panel).0;
        let mut sums = [[simd.splat_f32s(0.0); Q]; P];
        for (c, right) in panel.chunks_exact(Q).take(stride).enumerate() {
            for p in 0..P {
                let x = simd.splat_f32s(rows[p][c]);
                for q in 0..Q {
                    sums[p][q] = simd.mul_add_f32s(x, right[q], sums[p][q]);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            S::as_mut_simd_f32s(&mut out[p * width + at * LANES..][..LANES]).0.copy_from_slice(sums);
        }
    }
}
