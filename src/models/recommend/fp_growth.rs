//! Frequent itemsets by FP-growth (Han, Pei & Yin 2000, "Mining frequent patterns without candidate generation", SIGMOD '00).
//!
//! Baskets, their frequent items put in the order of falling frequency, share prefixes in a tree. For each item, the paths above its nodes
//! are the baskets it is in; what is frequent in them makes a smaller tree, and so on. Nothing infrequent is ever counted twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::Baskets;
use crate::models::{Control, ModelError};

/// How many baskets must have an itemset for it to be frequent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinSupport {
    /// A share of the baskets, in (0, 1].
    Share(f64),
    Count(u32),
}

impl MinSupport {
    /// Below 1 a share, from 1 a count.
    pub fn of(value: f64) -> Self {
        if value < 1.0 { Self::Share(value) } else { Self::Count(value as u32) }
    }

    /// The least count among `n` baskets, at least 1.
    pub fn count(self, n: usize) -> u32 {
        match self {
            // 0.1 of 30 baskets are 3, not the 4 that rounding up 3.0000000000000004 would ask for.
            Self::Share(share) => (share * n as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u32,
            Self::Count(count) => count.max(1),
        }
    }
}

/// More itemsets than that are an error.
pub const MAX_ITEMSETS: usize = 5_000_000;

/// Frequent itemsets by length, those of a length by their items.
#[derive(Debug, PartialEq)]
pub struct Itemsets {
    /// Of how many baskets.
    pub n_baskets: usize,
    offsets: Vec<usize>,
    items: Vec<u32>,
    counts: Vec<u32>,
    /// Sets of at most `length` items are the first `ends[length]`.
    ends: Vec<usize>,
}

impl Itemsets {
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The items of a set, ascending.
    pub fn set(&self, at: usize) -> &[u32] {
        &self.items[self.offsets[at]..self.offsets[at + 1]]
    }

    /// Sets and how many baskets have them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u32], u32)> {
        self.counts.iter().enumerate().map(|(at, &count)| (self.set(at), count))
    }

    /// How many baskets have all of `items`, which ascend; `None` where that is not frequent.
    pub fn count(&self, items: &[u32]) -> Option<u32> {
        let (mut low, mut high) = (*self.ends.get(items.len().checked_sub(1)?)?, *self.ends.get(items.len())?);
        while low < high {
            let middle = low.midpoint(high);
            match self.set(middle).cmp(items) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.counts[middle]),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// The sets of at most `max_len` items that at least `min_support` of the baskets have.
///
/// # Errors
/// A share that is not in (0, 1], more than [`MAX_ITEMSETS`] sets, or cancelled.
pub fn frequent_itemsets(baskets: &Baskets, min_support: MinSupport, max_len: usize, control: &Control) -> Result<Itemsets, ModelError> {
    mine(baskets, min_support, max_len, MAX_ITEMSETS, control)
}

fn mine(baskets: &Baskets, min_support: MinSupport, max_len: usize, limit: usize, control: &Control) -> Result<Itemsets, ModelError> {
    if let MinSupport::Share(share) = min_support
        && !(share > 0.0 && share <= 1.0)
    {
        let allowed = "a share of the baskets in (0, 1], or a count from 1".into();
        return Err(ModelError::Option { option: "min_support".into(), given: share.to_string(), allowed });
    }
    control.report("frequent itemsets", 0.0);
    let least = min_support.count(baskets.len());
    let counts = baskets.item_counts();
    let mut by_rank: Vec<u32> = (0..baskets.n_items as u32).filter(|&i| counts[i as usize] >= least).collect();
    by_rank.sort_unstable_by_key(|&i| (std::cmp::Reverse(counts[i as usize]), i));
    let mut rank = vec![u32::MAX; baskets.n_items];
    by_rank.iter().zip(0..).for_each(|(&i, r)| rank[i as usize] = r);
    let mut paths = Paths::default();
    for b in 0..baskets.len() {
        paths.ranks.extend(baskets.basket(b).iter().map(|&i| rank[i as usize]).filter(|r| *r != u32::MAX));
        paths.end(1);
    }
    let tree = Tree::new(&paths);
    drop(paths);
    control.check()?;
    let job = Job { least, max_len, limit, found: AtomicUsize::new(0), control };
    let done = AtomicUsize::new(0);
    let found: Result<Vec<Found>, ModelError> = tree
        .headers
        .par_iter()
        .map_init(
            || vec![0; by_rank.len()],
            |counts, header| {
                let mut found = Found::default();
                job.grow(&tree, header, &mut vec![], counts, &mut found)?;
                let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / by_rank.len() as f64;
                control.report("frequent itemsets", share);
                Ok(found)
            },
        )
        .collect();
    let found = found.and_then(|found| job.room(0).map(|()| found));
    Ok(sorted(&found?, &by_rank, baskets.len()))
}

/// Itemsets as they are found: ranks, and where each set ends.
#[derive(Debug, Default)]
struct Found {
    ranks: Vec<u32>,
    ends: Vec<usize>,
    counts: Vec<u32>,
}

/// In items rather than ranks, by length and items.
fn sorted(found: &[Found], by_rank: &[u32], n_baskets: usize) -> Itemsets {
    let total = found.iter().map(|f| f.ranks.len()).sum();
    let (mut items, mut sets) = (Vec::with_capacity(total), vec![]);
    for f in found {
        let mut start = 0;
        for (&end, &count) in f.ends.iter().zip(&f.counts) {
            let at = items.len();
            items.extend(f.ranks[start..end].iter().map(|&r| by_rank[r as usize]));
            items[at..].sort_unstable();
            sets.push((at, end - start, count));
            start = end;
        }
    }
    sets.par_sort_unstable_by(|a, b| a.1.cmp(&b.1).then_with(|| items[a.0..a.0 + a.1].cmp(&items[b.0..b.0 + b.1])));
    let longest = sets.last().map_or(0, |s| s.1);
    let mut out = Itemsets { n_baskets, offsets: vec![0], items: Vec::with_capacity(total), counts: vec![], ends: vec![] };
    for &(at, length, count) in &sets {
        out.items.extend_from_slice(&items[at..at + length]);
        out.offsets.push(out.items.len());
        out.counts.push(count);
    }
    out.ends = (0..=longest).map(|length| sets.partition_point(|s| s.1 <= length)).collect();
    out
}

/// Baskets in ranks, each counted so many times.
#[derive(Debug, Default)]
struct Paths {
    ranks: Vec<u32>,
    /// Start, end and count of each.
    each: Vec<(usize, usize, u32)>,
}

impl Paths {
    /// Ends the path whose ranks have been pushed, which are then put in order.
    fn end(&mut self, count: u32) {
        let start = self.each.last().map_or(0, |p| p.1);
        self.ranks[start..].sort_unstable();
        if self.ranks.len() > start {
            self.each.push((start, self.ranks.len(), count));
        }
    }
}

#[derive(Debug)]
struct Node {
    rank: u32,
    count: u32,
    /// Itself at the root.
    parent: u32,
    /// The node of the same rank before it; itself where there is none.
    before: u32,
}

/// All nodes of a rank.
#[derive(Debug, Clone, Copy)]
struct Header {
    rank: u32,
    count: u32,
    last: u32,
}

/// An FP-tree: node 0 is the root, ranks grow downwards, no two children of a node have the same rank.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// By ascending rank.
    headers: Vec<Header>,
}

impl Tree {
    /// Paths in lexical order share what the path before has, so no child is looked for.
    fn new(paths: &Paths) -> Self {
        let mut order: Vec<(&[u32], u32)> = paths.each.iter().map(|&(start, end, n)| (&paths.ranks[start..end], n)).collect();
        order.sort_unstable();
        let mut nodes = vec![Node { rank: u32::MAX, count: 0, parent: 0, before: 0 }];
        // The nodes of the path before.
        let (mut before, mut line): (&[u32], Vec<u32>) = (&[], vec![]);
        for (path, count) in order {
            line.truncate(path.iter().zip(before).take_while(|(a, b)| a == b).count());
            line.iter().for_each(|&n| nodes[n as usize].count += count);
            for &rank in &path[line.len()..] {
                let parent = line.last().copied().unwrap_or(0);
                line.push(nodes.len() as u32);
                nodes.push(Node { rank, count, parent, before: 0 });
            }
            before = path;
        }
        let mut of_rank: std::collections::BTreeMap<u32, Header> = std::collections::BTreeMap::new();
        for at in 1..nodes.len() as u32 {
            let node = &mut nodes[at as usize];
            let header = of_rank.entry(node.rank).or_insert(Header { rank: node.rank, count: 0, last: at });
            node.before = header.last;
            header.count += node.count;
            header.last = at;
        }
        Self { nodes, headers: of_rank.into_values().collect() }
    }

    fn nodes_of(&self, header: &Header) -> impl Iterator<Item = &Node> {
        let next = |&at: &u32| Some(self.nodes[at as usize].before).filter(|b| *b != at);
        std::iter::successors(Some(header.last), next).map(|at| &self.nodes[at as usize])
    }

    /// Ranks above a node, from below.
    fn above<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = u32> + 'a {
        let up = |n: &'a Node| Some(n.parent).filter(|p| *p != 0).map(|p| &self.nodes[p as usize]);
        std::iter::successors(up(node), move |n| up(n)).map(|n| n.rank)
    }
}

struct Job<'a> {
    least: u32,
    max_len: usize,
    limit: usize,
    found: AtomicUsize,
    control: &'a Control,
}

impl Job<'_> {
    /// Counts `more` itemsets, which must not be too many.
    fn room(&self, more: usize) -> Result<(), ModelError> {
        if self.found.fetch_add(more, Ordering::Relaxed) + more > self.limit {
            return Err(ModelError::Option {
                option: "min_support".into(),
                given: format!("{} baskets", self.least),
                allowed: format!(
                    "more than {} sets of up to {} items are in as many baskets. Raise min_support or lower max_len",
                    self.limit, self.max_len
                ),
            });
        }
        Ok(())
    }

    /// Finds `suffix` with the rank of `header`, and all sets that reach above from there. `counts` by rank is all zero between two calls.
    fn grow(&self, tree: &Tree, header: &Header, suffix: &mut Vec<u32>, counts: &mut [u32], found: &mut Found) -> Result<(), ModelError> {
        self.control.check()?;
        if suffix.len() >= self.max_len {
            return Ok(());
        }
        let mut emit = |suffix: &[u32], rank: u32, count: u32| {
            found.ranks.extend_from_slice(suffix);
            found.ranks.push(rank);
            found.ends.push(found.ranks.len());
            found.counts.push(count);
        };
        self.room(1)?;
        emit(suffix, header.rank, header.count);
        if suffix.len() + 1 >= self.max_len {
            return Ok(());
        }
        let mut touched = vec![];
        for node in tree.nodes_of(header) {
            for rank in tree.above(node) {
                if counts[rank as usize] == 0 {
                    touched.push(rank);
                }
                counts[rank as usize] += node.count;
            }
        }
        suffix.push(header.rank);
        if suffix.len() + 1 == self.max_len {
            touched.sort_unstable();
            let frequent = touched.iter().filter(|r| counts[**r as usize] >= self.least);
            self.room(frequent.clone().count())?;
            frequent.for_each(|&r| emit(suffix, r, counts[r as usize]));
            touched.iter().for_each(|&r| counts[r as usize] = 0);
        } else {
            let mut paths = Paths::default();
            for node in tree.nodes_of(header) {
                paths.ranks.extend(tree.above(node).filter(|r| counts[*r as usize] >= self.least));
                paths.end(node.count);
            }
            touched.iter().for_each(|&r| counts[r as usize] = 0);
            let above = Tree::new(&paths);
            drop(paths);
            above.headers.iter().try_for_each(|h| self.grow(&above, h, suffix, counts, found))?;
        }
        suffix.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::baskets::tests::{having, random};

    #[test]
    fn itemsets_are_those_of_brute_force() {
        for seed in 0..60 {
            let (b, max_len, least) = (random(seed, 25, 8), 1 + seed as usize % 8, 1 + seed as u32 % 5);
            let mut wanted: Vec<(Vec<u32>, u32)> = (1..1u32 << 8)
                .map(|bits| (0..8).filter(|i| bits >> i & 1 == 1).collect::<Vec<u32>>())
                .map(|set| (having(&b, &set), set))
                .filter(|(count, set)| *count >= least && set.len() <= max_len)
                .map(|(count, set)| (set, count))
                .collect();
            wanted.sort_by(|a, b| a.0.len().cmp(&b.0.len()).then(a.cmp(b)));
            let found = frequent_itemsets(&b, MinSupport::Count(least), max_len, &Control::default()).unwrap();
            assert_eq!(found.iter().map(|(set, n)| (set.to_vec(), n)).collect::<Vec<_>>(), wanted, "seed {seed}");
            assert!(wanted.iter().all(|(set, n)| found.count(set) == Some(*n)));
            assert_eq!((found.count(&[]), found.count(&[0, 99])), (None, None));
        }
    }

    /// The worked example of the paper (table 1, min_support 3): f c a m p, b.
    #[test]
    fn the_papers_example() {
        let letters = ["facdgimp", "abcflmo", "bfhjo", "bcksp", "afcelpmn"];
        let mut b = Baskets { n_items: 26, offsets: vec![0], items: vec![], users: vec![0; 5], ts_us: vec![0; 5] };
        for basket in letters {
            let mut items: Vec<u32> = basket.bytes().map(|c| u32::from(c - b'a')).collect();
            items.sort_unstable();
            b.items.extend(items);
            b.offsets.push(b.items.len());
        }
        let found = frequent_itemsets(&b, MinSupport::Share(0.6), 10, &Control::default()).unwrap();
        let words: Vec<String> =
            found.iter().map(|(set, n)| set.iter().map(|&i| char::from(b'a' + i as u8)).chain(n.to_string().chars()).collect()).collect();
        assert_eq!(words.join(" "), "a3 b3 c4 f4 m3 p3 ac3 af3 am3 cf3 cm3 cp3 fm3 acf3 acm3 afm3 cfm3 acfm3");
    }

    #[test]
    fn a_share_is_rounded_up_and_too_many_sets_are_refused() {
        assert_eq!(
            [MinSupport::of(0.1), MinSupport::of(0.101), MinSupport::of(7.0), MinSupport::of(1e-9)].map(|s| s.count(30)),
            [3, 4, 7, 1]
        );
        let b = random(1, 25, 8);
        let e = mine(&b, MinSupport::Count(1), 8, 50, &Control::default()).unwrap_err().to_string();
        assert!(e.contains("min_support") && e.contains("50 sets") && e.contains("max_len"), "{e}");
        assert!(mine(&b, MinSupport::Share(0.0), 8, 50, &Control::default()).is_err());
        let empty = Baskets { n_items: 0, offsets: vec![0], items: vec![], users: vec![], ts_us: vec![] };
        assert!(frequent_itemsets(&empty, MinSupport::of(0.5), 3, &Control::default()).unwrap().is_empty());
    }
}
