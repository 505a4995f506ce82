//! Sums of trees: what boosting, forests and single trees have in common.

use std::ops::Range;

use rayon::prelude::*;

use super::{Contributions, LEAF, Link, Matrix, Predictor, Tree, shap};
use crate::models::{Column, Control, ModelError, Part, part};

/// Rows that are worked on together.
const PIECE: usize = 1_024;

/// A model that says it has more is damaged.
const MOST_COLUMNS: f64 = 16_777_216.0;

/// score = baseline + scale · Σ_trees (value of the leaf in which the row ends).
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsemble {
    pub link: Link,
    pub baseline: f64,
    pub scale: f64,
    /// Columns of the matrix it was learned from.
    pub width: usize,
    pub trees: Vec<Tree>,
    /// What else there is to read of it, by name.
    pub figures: Vec<(String, f64)>,
}

impl TreeEnsemble {
    /// # Errors
    /// Tables that are not of such a model.
    pub fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let whole = part(parts, "ensemble")?;
        let link = match whole.text("link")? {
            [name] => link_of(name)?,
            _ => return Err(ModelError::Damaged("no one link of the tree ensemble".into())),
        };
        let width = whole.number("width")?;
        if !(0.0..=MOST_COLUMNS).contains(&width) || width.fract() != 0.0 {
            return Err(ModelError::Damaged(format!("width = {width} of the tree ensemble")));
        }
        let figures = part(parts, "figures")?;
        let figures = figures.text("name")?.iter().cloned().zip(figures.finite("value")?.iter().copied()).collect();
        let (baseline, scale) = (whole.number("baseline")?, whole.number("scale")?);
        Ok(Self { link, baseline, scale, width: width as usize, trees: trees_from(part(parts, "nodes")?, width as usize)?, figures })
    }

    /// Trees, leaves and greatest depth, for parameters().
    fn sizes(&self) -> [(&'static str, f64); 3] {
        let leaves: usize = self.trees.iter().map(|t| (0..t.len()).filter(|&n| t.is_leaf(n)).count()).sum();
        let depth = self.trees.iter().map(depth).max().unwrap_or(0);
        [("trees", self.trees.len() as f64), ("leaves", leaves as f64), ("depth", depth as f64)]
    }
}

impl Predictor for TreeEnsemble {
    fn link(&self) -> Link {
        self.link
    }

    fn trees(&self) -> &[Tree] {
        &self.trees
    }

    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        let steps: Vec<Vec<Step>> = self.trees.iter().map(steps).collect();
        let mut scores = vec![0.0; x.rows];
        scores.par_chunks_mut(PIECE).enumerate().try_for_each(|(piece, scores)| {
            let start = piece * PIECE;
            let rows = by_row(x, start..start + scores.len(), self.width);
            for (tree, steps) in self.trees.iter().zip(&steps) {
                control.check()?;
                add_leaves(tree, steps, &rows, self.width, scores);
            }
            scores.iter_mut().for_each(|sum| *sum = finite(self.baseline + self.scale * *sum));
            Ok(())
        })?;
        Ok(scores)
    }

    /// Shapley values of each tree, see [`shap`]; the baseline is the mean of the training rows' scores where trees saw all of them.
    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError> {
        let width = self.width;
        let mut values = vec![0.0; x.rows * width];
        if width > 0 {
            values.par_chunks_mut(PIECE * width).enumerate().try_for_each(|(piece, values)| {
                let start = piece * PIECE;
                let rows = by_row(x, start..start + values.len() / width, width);
                for tree in &self.trees {
                    control.check()?;
                    shap::add_contributions(tree, &rows, width, self.scale, values);
                }
                values.iter_mut().for_each(|v| *v = finite(*v));
                Ok(())
            })?;
        }
        let baseline = finite(self.baseline + self.scale * self.trees.iter().map(shap::expected).sum::<f64>());
        Ok(Contributions { baseline, width, values })
    }

    /// The gain of all splits on a column, as a share of that of all splits.
    fn importance(&self) -> Vec<f64> {
        // Gains can be so large that their sum is not a number.
        let most = self.trees.iter().flat_map(|t| &t.gain).fold(0.0_f64, |a, g| a.max(*g));
        let mut gains = vec![0.0; self.width];
        for tree in self.trees.iter().filter(|_| most > 0.0) {
            (0..tree.len()).filter(|&n| !tree.is_leaf(n)).for_each(|n| gains[tree.column[n] as usize] += tree.gain[n] / most);
        }
        let total: f64 = gains.iter().sum();
        gains.iter().map(|g| if total > 0.0 { g / total } else { 0.0 }).collect()
    }

    fn parameters(&self, _columns: &[String]) -> Vec<(String, f64)> {
        let own = [("baseline", self.baseline), ("scale", self.scale)];
        let all = own.into_iter().chain(self.sizes()).map(|(name, value)| (name.to_owned(), value));
        all.chain(self.figures.iter().cloned()).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        let whole = Part::new(
            "ensemble",
            vec![
                ("link", Column::Text(vec![link_name(self.link).into()])),
                ("baseline", Column::F64(vec![self.baseline])),
                ("scale", Column::F64(vec![self.scale])),
                ("width", Column::F64(vec![self.width as f64])),
            ],
        );
        let (names, values) = self.figures.iter().cloned().unzip();
        let figures = Part::new("figures", vec![("name", Column::Text(names)), ("value", Column::F64(values))]);
        let f64s = |of: fn(&Tree) -> &[f64]| Column::F64(self.trees.iter().flat_map(of).copied().collect());
        let u32s = |of: fn(&Tree) -> &[u32]| Column::U32(self.trees.iter().flat_map(of).copied().collect());
        let number = self.trees.iter().zip(0..).flat_map(|(t, i)| std::iter::repeat_n(i, t.len())).collect();
        let nodes = vec![
            ("tree", Column::U32(number)),
            ("column", u32s(|t| &t.column)),
            ("threshold", f64s(|t| &t.threshold)),
            ("missing_left", Column::U32(self.trees.iter().flat_map(|t| &t.missing_left).map(|&m| u32::from(m)).collect())),
            ("left", u32s(|t| &t.left)),
            ("right", u32s(|t| &t.right)),
            ("value", f64s(|t| &t.value)),
            ("cover", f64s(|t| &t.cover)),
            ("gain", f64s(|t| &t.gain)),
        ];
        vec![whole, figures, Part::new("nodes", nodes)]
    }
}

const LINKS: [(&str, Link); 3] = [("identity", Link::Identity), ("logit", Link::Logit), ("log", Link::Log)];

fn link_name(link: Link) -> &'static str {
    LINKS.iter().find(|(_, l)| *l == link).map_or("", |(name, _)| name)
}

fn link_of(name: &str) -> Result<Link, ModelError> {
    let link = LINKS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l);
    link.ok_or_else(|| ModelError::Damaged(format!("link '{name}' of the tree ensemble")))
}

/// The largest number instead of an infinite one, and 0 for what is none.
fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}

/// Rows of the matrix, each with its first `width` columns side by side.
fn by_row(x: &Matrix, rows: Range<usize>, width: usize) -> Vec<f64> {
    let mut values = vec![0.0; rows.len() * width];
    for (c, column) in x.columns.iter().enumerate().take(width) {
        values.iter_mut().skip(c).step_by(width).zip(&column[rows.clone()]).for_each(|(to, v)| *to = *v);
    }
    values
}

/// A node as a row meets it; a leaf is its own child.
struct Step {
    threshold: f64,
    column: u32,
    left: u32,
    right: u32,
    missing: u32,
}

fn steps(tree: &Tree) -> Vec<Step> {
    let step = |n: usize| {
        if tree.is_leaf(n) {
            return Step { threshold: 0.0, column: 0, left: n as u32, right: n as u32, missing: n as u32 };
        }
        let (left, right) = (tree.left[n], tree.right[n]);
        Step { threshold: tree.threshold[n], column: tree.column[n], left, right, missing: if tree.missing_left[n] { left } else { right } }
    };
    (0..tree.len()).map(step).collect()
}

/// Rows that go down a tree side by side: one waits for memory while others move.
const ABREAST: usize = 8;

/// Adds to the sum of each row the value of the leaf in which it ends.
fn add_leaves(tree: &Tree, steps: &[Step], rows: &[f64], width: usize, sums: &mut [f64]) {
    if tree.len() <= 1 || width == 0 {
        let value = tree.value.first().copied().unwrap_or(0.0);
        sums.iter_mut().for_each(|s| *s += value);
        return;
    }
    for (rows, sums) in rows.chunks(ABREAST * width).zip(sums.chunks_mut(ABREAST)) {
        let mut at = [0_u32; ABREAST];
        let mut moved = true;
        while moved {
            moved = false;
            for (at, row) in at.iter_mut().zip(rows.chunks_exact(width)) {
                let step = &steps[*at as usize];
                let value = row[step.column as usize];
                let known = if value <= step.threshold { step.left } else { step.right };
                let next = if value.is_nan() { step.missing } else { known };
                moved |= next != *at;
                *at = next;
            }
        }
        sums.iter_mut().zip(at).for_each(|(s, at)| *s += tree.value[at as usize]);
    }
}

/// Splits on the longest path.
fn depth(tree: &Tree) -> usize {
    // Children come after their parents.
    let mut depths = vec![0; tree.len()];
    for n in (0..tree.len()).filter(|&n| !tree.is_leaf(n)) {
        for child in [tree.left[n], tree.right[n]] {
            depths[child as usize] = depths[n] + 1;
        }
    }
    depths.into_iter().max().unwrap_or(0)
}

/// The trees of a table of nodes, checked: every one is a tree, children come after their parents, columns are below `width`.
fn trees_from(nodes: &Part, width: usize) -> Result<Vec<Tree>, ModelError> {
    let number = nodes.u32("tree")?;
    let missing_left: Vec<bool> = nodes.u32("missing_left")?.iter().map(|&m| m != 0).collect();
    let (column, left, right) = (nodes.u32("column")?, nodes.u32("left")?, nodes.u32("right")?);
    let (threshold, value) = (nodes.finite("threshold")?, nodes.finite("value")?);
    let (cover, gain) = (nodes.finite("cover")?, nodes.finite("gain")?);
    let mut trees = Vec::new();
    let mut start = 0;
    while start < number.len() {
        let damaged = |what: &str| Err(ModelError::Damaged(format!("tree {}: {what}", trees.len())));
        if number[start] as usize != trees.len() {
            return damaged("nodes out of order");
        }
        let end = start + number[start..].iter().take_while(|&&n| n == number[start]).count();
        let range = start..end;
        let tree = Tree {
            column: column[range.clone()].to_vec(),
            threshold: threshold[range.clone()].to_vec(),
            missing_left: missing_left[range.clone()].to_vec(),
            left: left[range.clone()].to_vec(),
            right: right[range.clone()].to_vec(),
            value: value[range.clone()].to_vec(),
            cover: cover[range.clone()].to_vec(),
            gain: gain[range].to_vec(),
        };
        let mut parents = vec![0; tree.len()];
        for n in 0..tree.len() {
            if (tree.left[n] == LEAF) != (tree.right[n] == LEAF) {
                return damaged("a node with one child");
            }
            if !tree.is_leaf(n) && tree.column[n] as usize >= width {
                return damaged("a column that is not there");
            }
            for child in [tree.left[n], tree.right[n]].into_iter().filter(|_| !tree.is_leaf(n)) {
                match parents.get_mut(child as usize) {
                    Some(parents) if child as usize > n => *parents += 1,
                    _ => return damaged("a child that is not there or comes before its parent"),
                }
            }
        }
        if parents.iter().skip(1).any(|&p| p != 1) {
            return damaged("a node without one parent");
        }
        if tree.cover.iter().any(|c| *c <= 0.0) || tree.gain.iter().any(|g| *g < 0.0) {
            return damaged("a cover that is not above 0, or a gain below");
        }
        trees.push(tree);
        start = end;
    }
    Ok(trees)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (TreeEnsemble, Matrix) {
        let tree = Tree {
            column: vec![0, 1, 0, 0, 0],
            threshold: vec![0.5, 0.5, 0.0, 0.0, 0.0],
            missing_left: vec![true, false, false, false, false],
            left: vec![1, 3, LEAF, LEAF, LEAF],
            right: vec![2, 4, LEAF, LEAF, LEAF],
            value: vec![0.0, 0.0, 3.0, 1.0, 2.0],
            cover: vec![10.0, 6.0, 4.0, 3.0, 3.0],
            gain: vec![3.0, 1.0, 0.0, 0.0, 0.0],
        };
        let trees = vec![tree.clone(), tree];
        let ensemble = TreeEnsemble { link: Link::Logit, baseline: 1.0, scale: 0.5, width: 2, trees, figures: vec![("a".into(), 1.0)] };
        let columns = vec![vec![0.0, 0.0, 1.0, f64::NAN], vec![0.0, 1.0, 0.0, f64::NAN]];
        (ensemble, Matrix { rows: 4, columns })
    }

    #[test]
    fn scores_are_sums_of_contributions() {
        let (ensemble, x) = example();
        let scores = ensemble.scores(&x, &Control::default()).unwrap();
        assert_eq!(scores, [2.0, 3.0, 4.0, 3.0]);
        let parts = ensemble.contributions(&x, &Control::default()).unwrap();
        // 1 + (3 · 1 + 3 · 2 + 4 · 3) / 10.
        assert!((parts.baseline - 3.1).abs() < 1e-12);
        for (values, score) in parts.values.chunks(2).zip(scores) {
            assert!((parts.baseline + values.iter().sum::<f64>() - score).abs() < 1e-12);
        }
        assert_eq!(ensemble.importance(), [0.75, 0.25]);
        let read = |name: &str| ensemble.parameters(&[]).into_iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!((read("trees"), read("leaves"), read("depth"), read("a")), (2.0, 6.0, 2.0, 1.0));
    }

    #[test]
    fn reads_what_it_wrote_and_refuses_what_is_damaged() {
        let (ensemble, _) = example();
        assert_eq!(TreeEnsemble::from_parts(&ensemble.to_parts()).unwrap(), ensemble);
        let empty = TreeEnsemble { trees: vec![], ..ensemble.clone() };
        assert_eq!(TreeEnsemble::from_parts(&empty.to_parts()).unwrap(), empty);
        let damages: [fn(&mut Tree); 8] = [
            |t| t.left[1] = 0,
            |t| t.left[1] = 2,
            |t| t.right[1] = 9,
            |t| t.right[0] = LEAF,
            |t| t.column[1] = 2,
            |t| t.threshold[0] = f64::NAN,
            |t| t.cover[3] = 0.0,
            |t| t.gain[0] = -1.0,
        ];
        for (i, damage) in damages.into_iter().enumerate() {
            let mut damaged = ensemble.clone();
            damage(&mut damaged.trees[1]);
            assert!(matches!(TreeEnsemble::from_parts(&damaged.to_parts()), Err(ModelError::Damaged(_))), "damage {i}");
        }
        assert!(TreeEnsemble::from_parts(&ensemble.to_parts()[..2]).is_err());
    }
}
