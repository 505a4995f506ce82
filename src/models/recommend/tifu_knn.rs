//! The next basket, from how often and how lately items were bought: TIFU-kNN (Hu, He, Gao & Zhang 2020, "Modeling Personalized Item Frequency Information
//! for Next-basket Recommendation", SIGIR '20, arXiv 2006.00556, §4), and the baseline of personal frequency (Li, Jullien, Ariannezhad & de Rijke 2023,
//! "A Next Basket Recommendation Reality Check", ACM TOIS 41(4)).
//!
//! A user's baskets are cut into groups of m, from the latest back; the earliest may have fewer. With v the 0/1 vector of a basket,
//!
//! * a group of τ baskets is Σ_j r_b^(τ−j)·v_j / τ, and the user Σ_i r_g^(k−i)·group_i / k over the k groups: what was bought lately counts more.
//! * the next basket is P = α·user + (1 − α)·mean of the K users nearest by Euclidean distance, the user not counted among them.
//!
//! Items bought before come by the first term, items new to the user by the second.

use rayon::prelude::*;

use super::{Baskets, Csr};
use crate::models::{Control, ModelError};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TifuParams {
    /// m, baskets a group, at least 1.
    pub group: usize,
    /// r_b, what a basket counts beside the next one of its group, in (0, 1].
    pub within_decay: f64,
    /// r_g, what a group counts beside the next one, in (0, 1].
    pub group_decay: f64,
    /// K, at least 1.
    pub neighbours: usize,
    /// α, the share of the user's own history in the prediction, in [0, 1].
    pub alpha: f64,
}

/// Every basket a group: what predicted best on the orders before the last of Online Retail II.
impl Default for TifuParams {
    fn default() -> Self {
        Self { group: 1, within_decay: 1.0, group_decay: 0.8, neighbours: 50, alpha: 0.2 }
    }
}

impl TifuParams {
    fn check(&self) -> Result<(), ModelError> {
        let refuse = |option: &str, given: String, allowed: &str| {
            Err(ModelError::Option { option: option.into(), given, allowed: format!("allowed is {allowed}") })
        };
        let decay = |d: f64| d > 0.0 && d <= 1.0;
        match self {
            Self { group: 0, .. } => refuse("group", "0".into(), "a whole number from 1"),
            Self { neighbours: 0, .. } => refuse("neighbours", "0".into(), "a whole number from 1"),
            p if !decay(p.within_decay) => refuse("within_decay", p.within_decay.to_string(), "a number above 0 and up to 1"),
            p if !decay(p.group_decay) => refuse("group_decay", p.group_decay.to_string(), "a number above 0 and up to 1"),
            p if !(0.0..=1.0).contains(&p.alpha) => refuse("alpha", p.alpha.to_string(), "a number from 0 to 1"),
            _ => Ok(()),
        }
    }
}

/// An item of a predicted basket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextItem {
    pub item: u32,
    /// Above 0.
    pub score: f64,
    /// Whether the user has bought it before.
    pub repeat: bool,
}

/// Vectors of users.
#[derive(Debug)]
pub struct TifuKnn {
    params: TifuParams,
    vectors: Csr,
    by_item: Csr,
    /// ‖vector‖² of each user.
    squares: Vec<f64>,
    /// Users who have baskets, by ascending norm, equal ones by user: in this order those are near who share nothing.
    by_norm: Vec<u32>,
}

/// What one thread adds up in, all zero between two users.
struct Buffers {
    products: Vec<f64>,
    scores: Vec<f64>,
    touched: Vec<u32>,
}

impl TifuKnn {
    /// # Errors
    /// A parameter out of range, or cancelled.
    pub fn fit(baskets: &Baskets, params: &TifuParams, control: &Control) -> Result<Self, ModelError> {
        params.check()?;
        let by_user = baskets.by_user();
        let rows: Result<Vec<Vec<(u32, f64)>>, ModelError> = by_user
            .par_iter()
            .map(|of| {
                control.check()?;
                Ok(vector(baskets, of, params))
            })
            .collect();
        let mut vectors = Csr { n_cols: baskets.n_items, offsets: vec![0], columns: vec![], values: vec![] };
        for row in rows? {
            // What has decayed to nothing in an f32 is nothing.
            for (item, value) in row.into_iter().filter(|(_, v)| *v as f32 > 0.0) {
                vectors.columns.push(item);
                vectors.values.push(value as f32);
            }
            vectors.offsets.push(vectors.columns.len());
        }
        let square = |u: usize| vectors.row(u).1.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let squares: Vec<f64> = (0..vectors.n_rows()).map(square).collect();
        let mut by_norm: Vec<u32> = (0..vectors.n_rows() as u32).filter(|&u| !vectors.row(u as usize).0.is_empty()).collect();
        by_norm.sort_unstable_by(|&a, &b| squares[a as usize].total_cmp(&squares[b as usize]).then(a.cmp(&b)));
        Ok(Self { params: *params, by_item: vectors.transpose(), vectors, squares, by_norm })
    }

    /// The at most `k` likeliest items of each user's next basket, the likeliest first, equal ones by ascending item; none for users without baskets.
    pub fn next_baskets(&self, users: &[u32], k: usize, control: &Control) -> Result<Vec<Vec<NextItem>>, ModelError> {
        let new = || Buffers { products: vec![0.0; self.vectors.n_rows()], scores: vec![0.0; self.vectors.n_cols], touched: vec![] };
        let one = |buffers: &mut Buffers, &u: &u32| {
            control.check()?;
            Ok(if self.has_baskets(u) { self.next_basket(u, k, buffers) } else { vec![] })
        };
        users.par_iter().map_init(new, one).collect()
    }

    fn has_baskets(&self, user: u32) -> bool {
        (user as usize) < self.vectors.n_rows() && !self.vectors.row(user as usize).0.is_empty()
    }

    fn next_basket(&self, user: u32, k: usize, buffers: &mut Buffers) -> Vec<NextItem> {
        let neighbours = self.nearest(user, buffers);
        let Buffers { scores, touched, .. } = buffers;
        let mut add = |row: u32, weight: f64| {
            let (items, values) = self.vectors.row(row as usize);
            for (&i, &v) in items.iter().zip(values) {
                if scores[i as usize] == 0.0 {
                    touched.push(i);
                }
                scores[i as usize] += weight * f64::from(v);
            }
        };
        add(user, self.params.alpha);
        neighbours.iter().for_each(|&n| add(n, (1.0 - self.params.alpha) / neighbours.len() as f64));
        touched.sort_unstable();
        touched.dedup();
        let own = self.vectors.row(user as usize).0;
        let scored = touched.drain(..).map(|item| {
            let score = std::mem::take(&mut scores[item as usize]);
            NextItem { item, score, repeat: own.binary_search(&item).is_ok() }
        });
        best(scored.filter(|s| s.score > 0.0).collect(), k)
    }

    /// The users nearest to one, ascending, so that sums over them have one order.
    fn nearest(&self, user: u32, buffers: &mut Buffers) -> Vec<u32> {
        let Buffers { products, touched, .. } = buffers;
        let (items, values) = self.vectors.row(user as usize);
        for (&i, &v) in items.iter().zip(values) {
            let (users, others) = self.by_item.row(i as usize);
            for (&u, &w) in users.iter().zip(others) {
                if products[u as usize] == 0.0 {
                    touched.push(u);
                }
                products[u as usize] += f64::from(v) * f64::from(w);
            }
        }
        let k = self.params.neighbours;
        // Those who share nothing are as far as their norm: the first k of them are all that can be near enough.
        let strangers = self.by_norm.iter().filter(|u| products[**u as usize] == 0.0 && **u != user).take(k);
        let mut found: Vec<(f64, u32)> = strangers
            .chain(touched.iter().filter(|u| **u != user))
            .map(|&u| {
                let distance = self.squares[u as usize] - 2.0 * products[u as usize];
                (distance, u)
            })
            .collect();
        touched.drain(..).for_each(|u| products[u as usize] = 0.0);
        let nearer = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if found.len() > k {
            found.select_nth_unstable_by(k, nearer);
            found.truncate(k);
        }
        let mut users: Vec<u32> = found.into_iter().map(|(_, u)| u).collect();
        users.sort_unstable();
        users
    }
}

/// A user's vector from its baskets in the order of time, by ascending item.
fn vector(baskets: &Baskets, of: &[u32], params: &TifuParams) -> Vec<(u32, f64)> {
    let groups = of.rchunks(params.group);
    let k = groups.len() as f64;
    let mut entries: Vec<(u32, f64)> = vec![];
    for (age, group) in groups.enumerate() {
        let of_group = params.group_decay.powi(age.min(i32::MAX as usize) as i32) / k / group.len() as f64;
        for (younger, &b) in group.iter().rev().enumerate() {
            let value = of_group * params.within_decay.powi(younger.min(i32::MAX as usize) as i32);
            entries.extend(baskets.basket(b as usize).iter().map(|&i| (i, value)));
        }
    }
    // Stable: the sum of an item runs from the latest basket back.
    entries.sort_by_key(|e| e.0);
    entries.chunk_by(|a, b| a.0 == b.0).map(|of_item| (of_item[0].0, of_item.iter().map(|e| e.1).sum())).collect()
}

fn best(mut items: Vec<NextItem>, k: usize) -> Vec<NextItem> {
    let better = |a: &NextItem, b: &NextItem| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
    if items.len() > k {
        items.select_nth_unstable_by(k, better);
        items.truncate(k);
    }
    items.sort_unstable_by(better);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::baskets::tests::random;

    fn params(seed: u64) -> TifuParams {
        TifuParams { group: 1 + seed as usize % 4, within_decay: 0.9, group_decay: 0.7, neighbours: 1 + seed as usize % 6, alpha: 0.6 }
    }

    /// Dense vectors by the equations of the paper.
    fn oracle(b: &Baskets, p: &TifuParams) -> Vec<Vec<f64>> {
        let n_users = b.users.iter().max().map_or(0, |&u| u as usize + 1);
        (0..n_users as u32)
            .map(|u| {
                let mut of: Vec<usize> = (0..b.len()).filter(|&x| b.users[x] == u).collect();
                of.sort_by_key(|&x| (b.ts_us[x], x));
                let mut groups: Vec<Vec<usize>> = vec![];
                while !of.is_empty() {
                    groups.insert(0, of.split_off(of.len().saturating_sub(p.group)));
                }
                let mut v = vec![0.0; b.n_items];
                for (i, group) in groups.iter().enumerate() {
                    for (j, &x) in group.iter().enumerate() {
                        let decay = p.within_decay.powi((group.len() - 1 - j) as i32) * p.group_decay.powi((groups.len() - 1 - i) as i32);
                        b.basket(x).iter().for_each(|&item| v[item as usize] += decay / group.len() as f64 / groups.len() as f64);
                    }
                }
                v
            })
            .collect()
    }

    #[test]
    fn next_baskets_are_those_of_the_equations() {
        for seed in 0..30 {
            let (b, p) = (random(seed, 30, 10), params(seed));
            let vectors = oracle(&b, &p);
            let users: Vec<u32> = (0..vectors.len() as u32).collect();
            let model = TifuKnn::fit(&b, &p, &Control::default()).unwrap();
            let lists = model.next_baskets(&users, 10, &Control::default()).unwrap();
            for (u, list) in lists.iter().enumerate() {
                if vectors[u].iter().all(|v| *v == 0.0) {
                    assert!(list.is_empty());
                    continue;
                }
                let distance = |o: usize| vectors[u].iter().zip(&vectors[o]).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                let mut others: Vec<usize> = (0..vectors.len()).filter(|&o| o != u && vectors[o].iter().any(|v| *v > 0.0)).collect();
                others.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
                others.truncate(p.neighbours);
                let of_item = |i: usize| {
                    let mean = others.iter().map(|&o| vectors[o][i]).sum::<f64>() / others.len() as f64;
                    p.alpha * vectors[u][i] + (1.0 - p.alpha) * mean
                };
                assert_eq!(list.len(), (0..10).filter(|&i| of_item(i) > 0.0).count());
                assert!(list.windows(2).all(|w| w[0].score > w[1].score || (w[0].score == w[1].score && w[0].item < w[1].item)));
                for s in list {
                    assert!((s.score - of_item(s.item as usize)).abs() < 1e-6, "seed {seed} user {u}");
                    assert_eq!(s.repeat, vectors[u][s.item as usize] > 0.0);
                }
            }
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| TifuKnn::fit(&b, &p, &Control::default()).unwrap().next_baskets(&users, 3, &Control::default()).unwrap())
            };
            let shortest: Vec<Vec<NextItem>> = lists.iter().map(|l| l[..l.len().min(3)].to_vec()).collect();
            assert_eq!(on(1), shortest);
            assert_eq!(on(3), shortest);
            assert_eq!(model.next_baskets(&[77], 3, &Control::default()).unwrap(), [vec![]]);
        }
    }

    /// A user who shares nothing but has a small norm is nearer than one who shares a little of much.
    #[test]
    fn strangers_can_be_the_nearest() {
        let many: Vec<u32> = (1..9).collect();
        let items = [&[0, 1][..], &many, &[9]].concat();
        let b = Baskets { n_items: 10, offsets: vec![0, 2, 10, 11], items, users: vec![0, 1, 2], ts_us: vec![0; 3] };
        let model = TifuKnn::fit(&b, &TifuParams { neighbours: 1, alpha: 0.7, ..TifuParams::default() }, &Control::default()).unwrap();
        let list = model.next_baskets(&[0], 9, &Control::default()).unwrap().remove(0);
        assert_eq!(list.iter().map(|s| (s.item, s.repeat)).collect::<Vec<_>>(), [(0, true), (1, true), (9, false)]);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let b = random(1, 9, 4);
        let e =
            TifuKnn::fit(&b, &TifuParams { group_decay: f64::NAN, ..TifuParams::default() }, &Control::default()).unwrap_err().to_string();
        assert!(e.contains("group_decay") && e.contains("NaN"), "{e}");
    }
}
