//! A sparse matrix by rows.

/// Row `u` has the entries `offsets[u]..offsets[u + 1]`; columns ascend inside a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    pub n_cols: usize,
    pub offsets: Vec<usize>,
    pub columns: Vec<u32>,
    pub values: Vec<f32>,
}

impl Csr {
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Columns and values of a row.
    pub fn row(&self, u: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[u]..self.offsets[u + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The transpose, by counting sort.
    pub fn transpose(&self) -> Self {
        let mut offsets = vec![0usize; self.n_cols + 1];
        for &c in &self.columns {
            offsets[c as usize + 1] += 1;
        }
        for c in 0..self.n_cols {
            offsets[c + 1] += offsets[c];
        }
        let mut at = offsets.clone();
        let (mut columns, mut values) = (vec![0; self.columns.len()], vec![0.0; self.values.len()]);
        for u in 0..self.n_rows() {
            let (row, v) = self.row(u);
            for (&c, &v) in row.iter().zip(v) {
                let slot = &mut at[c as usize];
                columns[*slot] = u as u32;
                values[*slot] = v;
                *slot += 1;
            }
        }
        Self { n_cols: self.n_rows(), offsets, columns, values }
    }
}
