//! Small dense matrices in f32, by rows, in the widest vectors this machine has (found out at run time). Rows are padded with zeros to a multiple of
//! [`LANES`]. Every sum is taken in one order, whatever the number of threads, of rows or of columns asked for.

use std::ops::Range;

use faer::traits::pulp::{Arch, Simd, WithSimd};

/// Numbers a row is padded to a multiple of.
pub const LANES: usize = 16;
/// Rows of a block of a triangular matrix.
const BLOCK: usize = 4;
/// Rows on the left that share what is loaded of the right in [`Panels::products`].
pub const GROUP: usize = 6;

pub fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
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

/// Adds sign · Σ_r T[r][first..first + BLOCK]ᵀ · T[r] to a block of rows, from the column of `first` on.
#[inline(always)]
fn update<S: Simd>(simd: S, tile: &[f32], stride: usize, block: &mut [f32], first: usize, sign: f32) {
    if 2 * S::F32_LANES <= LANES {
        update_columns::<S, 2>(simd, tile, stride, block, first, sign);
    } else {
        update_columns::<S, 1>(simd, tile, stride, block, first, sign);
    }
}

#[inline(always)]
fn update_columns<S: Simd, const Q: usize>(simd: S, tile: &[f32], stride: usize, block: &mut [f32], first: usize, sign: f32) {
    let (wide, width) = (stride / S::F32_LANES, Q * S::F32_LANES);
    let block = S::as_mut_simd_f32s(block).0;
    for c in (first / width * Q..wide).step_by(Q) {
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
        for (i, sums) in sums.iter().enumerate() {
            for (q, sum) in sums.iter().enumerate() {
                let at = &mut block[i * wide + c + q];
                *at = simd.mul_add_f32s(simd.splat_f32s(sign), *sum, *at);
            }
        }
    }
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
            let from = first / LANES * LANES;
            for i in 0..BLOCK {
                let (before, row) = block.split_at_mut(i * stride);
                for above in before.chunks_exact(stride) {
                    let x = above[first + i];
                    row[from..stride].iter_mut().zip(&above[from..]).for_each(|(r, a)| *r -= x * a);
                }
                row[..first + i].fill(0.0);
                let reciprocal = 1.0 / row[first + i].sqrt();
                self.reciprocals[first + i] = reciprocal;
                row[from..stride].iter_mut().for_each(|r| *r *= reciprocal);
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
        let b = &mut self.b[..self.stride];
        for (i, row) in self.matrix.chunks_exact(self.stride).enumerate() {
            let x = b[i] * self.reciprocals[i];
            // U is 0 left of the diagonal: what is solved already stays.
            let from = i / LANES * LANES;
            b[from..].iter_mut().zip(&row[from..]).for_each(|(b, u)| *b -= x * u);
            b[i] = x;
        }
        for (i, row) in self.matrix.chunks_exact(self.stride).enumerate().rev() {
            let from = i / LANES * LANES;
            let own = std::mem::take(&mut b[i]);
            b[i] = (own - dot(simd, &row[from..], &b[from..])) * self.reciprocals[i];
        }
    }
}

/// a · b, of one length that is a multiple of [`LANES`].
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
    fn with_simd<S: Simd>(self, simd: S) {
        let out = S::as_mut_simd_f32s(self.out).0;
        for (row, &x) in self.tile.chunks_exact(self.stride).zip(self.x) {
            let x = simd.splat_f32s(x);
            for (out, t) in out.iter_mut().zip(S::as_simd_f32s(row).0) {
                *out = simd.mul_add_f32s(x, *t, *out);
            }
        }
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
