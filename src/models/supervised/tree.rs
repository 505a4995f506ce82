//! A binary decision tree over numeric columns, as stored by every kind of model that has one.

use super::Matrix;

/// No child: the node is a leaf.
pub const LEAF: u32 = u32::MAX;

/// Nodes in parallel arrays; the root is node 0. A row goes to `left` when its value is ≤ `threshold`, to `right` when above, and where it is not known (NaN) to the
/// left if `missing_left`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    /// The column that is split on; 0 in a leaf.
    pub column: Vec<u32>,
    pub threshold: Vec<f64>,
    pub missing_left: Vec<bool>,
    pub left: Vec<u32>,
    pub right: Vec<u32>,
    /// What a row that ends here scores; kept for inner nodes too.
    pub value: Vec<f64>,
    /// Training rows that came by.
    pub cover: Vec<f64>,
    /// What the split gained, in the learner's own measure; 0 in a leaf.
    pub gain: Vec<f64>,
}

impl Tree {
    pub fn len(&self) -> usize {
        self.value.len()
    }

    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    pub fn is_leaf(&self, node: usize) -> bool {
        self.left[node] == LEAF
    }

    /// The child of an inner node to which a value goes.
    pub fn child(&self, node: usize, value: f64) -> usize {
        let left = if value.is_nan() { self.missing_left[node] } else { value <= self.threshold[node] };
        (if left { self.left[node] } else { self.right[node] }) as usize
    }

    /// The leaf in which a row ends.
    pub fn leaf(&self, x: &Matrix, row: usize) -> usize {
        let mut node = 0;
        while !self.is_leaf(node) {
            node = self.child(node, x.columns[self.column[node] as usize][row]);
        }
        node
    }
}
