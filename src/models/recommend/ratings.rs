//! Explicit ratings: baselines, similarities of ratings, and predictions from the ratings of neighbours.
//!
//! With x and y the ratings of two rows (items, or users), Σ over the n columns that both rated:
//!
//! * `pearson`: Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)²·Σ(y − ȳ)²), means over the same columns (Resnick et al. 1994, CSCW '94).
//! * `pearson_baseline`: Σ e_x·e_y / √(Σ e_x²·Σ e_y²) · (n − 1) / (n − 1 + shrinkage), e = rating − baseline (Koren 2010, ACM TKDD 4(1),
//!   §2.2).
//! * `euclidean`: 1 / (1 + √Σ(x − y)²).
//! * `cosine_corated`: Σ xy / √(Σ x²·Σ y²).
//! * `cosine_ratings`: the same with the lengths of the whole vectors, where what is not rated is 0.
//!
//! The baseline is b_ui = μ + b_u + b_i: ten sweeps of b_i = Σ_u (r − μ − b_u) / (10 + n_i), b_u = Σ_i (r − μ − b_i) / (15 + n_u) (Koren
//! 2010, §2.1).

use super::neighbours::{Neighbours, Sum, Sums};
use super::{Csr, Feedback, History};
use crate::models::{Allowed, Column, Control, ModelError, OptionSpec, Part, part};

const USER_REGULARISATION: f64 = 15.0;
const ITEM_REGULARISATION: f64 = 10.0;
const SWEEPS: usize = 10;

pub const PREDICT: OptionSpec = OptionSpec {
    name: "predict",
    default: "baseline",
    allowed: Allowed::OneOf(&["mean", "centred", "baseline"]),
    about: "a rating is predicted by the neighbours' mean, or from how they differ from their own means or from baselines of user and item",
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RatingSimilarity {
    Pearson,
    PearsonBaseline { shrinkage: f64 },
    Euclidean,
    Cosine,
    CosineCorated,
}

/// n, Σx, Σy, Σx², Σy², Σxy over the columns that two rows have in common.
pub type Pair = [f64; 6];

impl Sum for Pair {
    fn is_empty(&self) -> bool {
        self[0] == 0.0
    }
}

pub fn add_pair(pair: &mut Pair, x: f32, y: f32) {
    let (x, y) = (f64::from(x), f64::from(y));
    pair.iter_mut().zip([1.0, x, y, x * x, y * y, x * y]).for_each(|(sum, v)| *sum += v);
}

impl RatingSimilarity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pearson => "pearson",
            Self::PearsonBaseline { .. } => "pearson_baseline",
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine_ratings",
            Self::CosineCorated => "cosine_corated",
        }
    }

    /// Of two rows with something in common, and the sums of squares of their whole vectors; 0 where it is not defined.
    pub fn of(self, [n, x, y, xx, yy, xy]: Pair, whole: (f64, f64)) -> f64 {
        let ratio = |a: f64, squares: f64| if squares > 0.0 { a / squares.sqrt() } else { 0.0 };
        match self {
            Self::Pearson => ratio(n * xy - x * y, (n * xx - x * x).max(0.0) * (n * yy - y * y).max(0.0)),
            Self::PearsonBaseline { shrinkage } if n > 1.0 => ratio(xy, xx * yy) * (n - 1.0) / (n - 1.0 + shrinkage),
            Self::PearsonBaseline { .. } => 0.0,
            Self::Euclidean => 1.0 / (1.0 + (xx + yy - 2.0 * xy).max(0.0).sqrt()),
            Self::Cosine => ratio(xy, whole.0 * whole.1),
            Self::CosineCorated => ratio(xy, xx * yy),
        }
    }

    /// What is compared: ratings, or what they are above baselines.
    pub fn of_residuals(self) -> bool {
        matches!(self, Self::PearsonBaseline { .. })
    }

    /// The `k` most similar items of each, itself among them.
    pub fn neighbours(self, ratings: &Ratings, k: usize, control: &Control) -> Result<Neighbours, ModelError> {
        let by_user = if self.of_residuals() { ratings.residuals() } else { ratings.by_user.clone() };
        let by_item = by_user.transpose();
        let squares: Vec<f64> = (0..by_item.n_rows()).map(|i| sum_of_squares(by_item.row(i).1)).collect();
        Neighbours::find(
            by_item.n_rows(),
            k,
            control,
            |i, sums: &mut Sums<Pair>| {
                for (u, x) in entries(by_item.row(i as usize)) {
                    entries(by_user.row(u as usize)).for_each(|(j, y)| add_pair(sums.at(j), x, y));
                }
            },
            |i, j, pair| self.of(pair, (squares[i as usize], squares[j as usize])) as f32,
        )
    }
}

pub fn entries<'a>((columns, values): (&'a [u32], &'a [f32])) -> impl Iterator<Item = (u32, f32)> + 'a {
    columns.iter().copied().zip(values.iter().copied())
}

pub fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// What predictions know of items, and the scale of ratings.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRatings {
    /// μ, the mean of all ratings.
    pub mean: f64,
    /// The lowest and the highest rating seen.
    pub range: (f64, f64),
    /// By item, μ where nobody rated it.
    pub means: Vec<f64>,
    /// b_i
    pub biases: Vec<f64>,
}

impl ItemRatings {
    /// b_u of the ratings of a history.
    pub fn user_bias(&self, user: History<'_>) -> f64 {
        let residuals = user.rated().map(|(i, r)| f64::from(r) - self.mean - self.biases[i as usize]);
        let (sum, n) = residuals.fold((0.0, 0.0), |(sum, n), e| (sum + e, n + 1.0));
        sum / (USER_REGULARISATION + n)
    }

    /// The mean rating of a history, μ without any.
    pub fn user_mean(&self, user: History<'_>) -> f64 {
        let (sum, n) = user.rated().fold((0.0, 0.0), |(sum, n), (_, r)| (sum + f64::from(r), n + 1.0));
        if n > 0.0 { sum / n } else { self.mean }
    }

    pub fn clip(&self, rating: f64) -> f64 {
        rating.clamp(self.range.0, self.range.1)
    }

    pub fn to_parts(&self) -> Vec<Part> {
        let scale = [("mean", self.mean), ("lowest", self.range.0), ("highest", self.range.1)];
        let columns = vec![("mean", Column::F64(self.means.clone())), ("bias", Column::F64(self.biases.clone()))];
        vec![Part::row("rating_scale", &scale), Part::new("item_ratings", columns)]
    }

    /// `None` where the model was fitted without ratings.
    pub fn from_parts(parts: &[Part], n_items: usize) -> Result<Option<Self>, ModelError> {
        if parts.iter().all(|p| p.name != "rating_scale") {
            return Ok(None);
        }
        let (scale, items) = (part(parts, "rating_scale")?, part(parts, "item_ratings")?);
        let range = (scale.number("lowest")?, scale.number("highest")?);
        let (means, biases) = (items.finite("mean")?.to_vec(), items.finite("bias")?.to_vec());
        if range.0 > range.1 || means.len() != n_items || biases.len() != n_items {
            return Err(ModelError::Damaged("ratings that do not fit the items, or their range".into()));
        }
        Ok(Some(Self { mean: scale.number("mean")?, range, means, biases }))
    }
}

/// The ratings of a [`Feedback`].
#[derive(Debug, PartialEq)]
pub struct Ratings {
    /// Users × items and items × users; only what is rated has an entry.
    pub by_user: Csr,
    pub by_item: Csr,
    pub items: ItemRatings,
    /// The mean rating of each user, μ without any.
    pub user_means: Vec<f64>,
    /// b_u
    pub user_biases: Vec<f64>,
}

impl Ratings {
    /// `None` where nobody rates.
    pub fn of(feedback: &Feedback) -> Option<Self> {
        let mut by_user = Csr { n_cols: feedback.n_items(), offsets: vec![0], columns: vec![], values: vec![] };
        for u in 0..feedback.n_users() as u32 {
            for (i, r) in feedback.history(u).rated() {
                by_user.columns.push(i);
                by_user.values.push(r);
            }
            by_user.offsets.push(by_user.columns.len());
        }
        let n = by_user.values.len() as f64;
        if n == 0.0 {
            return None;
        }
        let by_item = by_user.transpose();
        let mean = by_user.values.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let range = by_user.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &r| (low.min(r), high.max(r)));
        let means = |m: &Csr| -> Vec<f64> {
            let of = |r: &[f32]| if r.is_empty() { mean } else { r.iter().map(|&r| f64::from(r)).sum::<f64>() / r.len() as f64 };
            (0..m.n_rows()).map(|row| of(m.row(row).1)).collect()
        };
        let (mut users, mut items) = (vec![0.0; by_user.n_rows()], vec![0.0; by_item.n_rows()]);
        let sweep = |m: &Csr, regularisation: f64, others: &[f64], biases: &mut [f64]| {
            for (row, bias) in biases.iter_mut().enumerate() {
                let sum: f64 = entries(m.row(row)).map(|(c, r)| f64::from(r) - mean - others[c as usize]).sum();
                *bias = sum / (regularisation + m.row(row).0.len() as f64);
            }
        };
        for _ in 0..SWEEPS {
            sweep(&by_item, ITEM_REGULARISATION, &users, &mut items);
            sweep(&by_user, USER_REGULARISATION, &items, &mut users);
        }
        let (user_means, item_means) = (means(&by_user), means(&by_item));
        let items = ItemRatings { mean, range: (f64::from(range.0), f64::from(range.1)), means: item_means, biases: items };
        Some(Self { by_user, by_item, items, user_means, user_biases: users })
    }

    /// [`Ratings::of`] for a model that cannot do without.
    ///
    /// # Errors
    /// Nobody rates.
    pub fn needed_by(model: &str, feedback: &Feedback) -> Result<Self, ModelError> {
        let instead =
            "or choose similarity = 'cosine', 'tfidf', 'bm25' or 'jaccard' (model_type 'item_knn' or 'user_knn'), which need none";
        Self::of(feedback).ok_or_else(|| {
            ModelError::TooLittleData(format!(
                "{model} compares ratings, and none of the {} pairs of user and item has one: give events a rating, {instead}",
                feedback.weights.columns.len()
            ))
        })
    }

    /// b_ui
    pub fn baseline(&self, user: u32, item: u32) -> f64 {
        self.items.mean + self.user_biases[user as usize] + self.items.biases[item as usize]
    }

    /// Users × items of rating − baseline.
    pub fn residuals(&self) -> Csr {
        let mut out = self.by_user.clone();
        for u in 0..out.n_rows() {
            for at in out.offsets[u]..out.offsets[u + 1] {
                out.values[at] = (f64::from(out.values[at]) - self.baseline(u as u32, out.columns[at])) as f32;
            }
        }
        out
    }
}

/// How a rating is predicted from those of neighbours: `own` + Σ s·(r − `theirs`) / Σ s over neighbours of similarity s above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predict {
    /// Both 0: the weighted mean.
    Mean,
    /// The mean ratings of the row asked for and of the neighbour (Resnick et al. 1994).
    Centred,
    /// The baselines (Koren 2010, equation 3).
    Baseline,
}

impl Predict {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "centred" => Some(Self::Centred),
            "baseline" => Some(Self::Baseline),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Centred => "centred",
            Self::Baseline => "baseline",
        }
    }

    /// Of a row's mean and of a baseline, the one to differ from.
    pub fn offset(self, mean: f64, baseline: f64) -> f64 {
        match self {
            Self::Mean => 0.0,
            Self::Centred => mean,
            Self::Baseline => baseline,
        }
    }
}

/// Σ s·d / Σ s over the (s, d) of which s is above 0; `None` without any.
pub fn weighted_mean(said: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weight) = said.filter(|(s, _)| *s > 0.0).fold((0.0, 0.0), |(sum, weight), (s, d)| (sum + s * d, weight + s));
    (weight > 0.0).then(|| sum / weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::{ItemKnn, ItemKnnParams, NeighboursOf, Recommender, Similarity, UserKnn, UserKnnParams, check};

    const ALL: [RatingSimilarity; 5] = [
        RatingSimilarity::Pearson,
        RatingSimilarity::PearsonBaseline { shrinkage: 5.0 },
        RatingSimilarity::Euclidean,
        RatingSimilarity::Cosine,
        RatingSimilarity::CosineCorated,
    ];

    /// Ratings as a table, rows by columns, NaN = none.
    type Table = Vec<Vec<f64>>;

    fn table(m: &Feedback) -> Table {
        let mut t = vec![vec![f64::NAN; m.n_items()]; m.n_users()];
        (0..m.n_users() as u32).for_each(|u| m.history(u).rated().for_each(|(i, r)| t[u as usize][i as usize] = f64::from(r)));
        t
    }

    fn transpose(t: &Table) -> Table {
        (0..t[0].len()).map(|c| t.iter().map(|row| row[c]).collect()).collect()
    }

    fn mean(of: impl Iterator<Item = f64>) -> Option<f64> {
        let all: Vec<f64> = of.filter(|x| !x.is_nan()).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// Baselines of users × items the slow way.
    fn baselines(t: &Table) -> Table {
        let mu = mean(t.iter().flatten().copied()).unwrap();
        let (mut users, mut items) = (vec![0.0; t.len()], vec![0.0; t[0].len()]);
        for _ in 0..10 {
            for (i, b) in items.iter_mut().enumerate() {
                let e: Vec<f64> = (0..t.len()).map(|u| t[u][i] - mu - users[u]).filter(|e| !e.is_nan()).collect();
                *b = e.iter().sum::<f64>() / (10.0 + e.len() as f64);
            }
            for (u, b) in users.iter_mut().enumerate() {
                let e: Vec<f64> = (0..items.len()).map(|i| t[u][i] - mu - items[i]).filter(|e| !e.is_nan()).collect();
                *b = e.iter().sum::<f64>() / (15.0 + e.len() as f64);
            }
        }
        users.iter().map(|b| items.iter().map(|i| mu + b + i).collect()).collect()
    }

    /// Similarity of two rows the slow way.
    fn similarity(kind: RatingSimilarity, t: &Table, base: &Table, a: usize, b: usize) -> f64 {
        let both: Vec<usize> = (0..t[a].len()).filter(|&c| !t[a][c].is_nan() && !t[b][c].is_nan()).collect();
        let dot = |x: &dyn Fn(usize) -> f64, y: &dyn Fn(usize) -> f64| both.iter().map(|&c| x(c) * y(c)).sum::<f64>();
        let cosine = |x: &dyn Fn(usize) -> f64, y: &dyn Fn(usize) -> f64| dot(x, y) / (dot(x, x) * dot(y, y)).sqrt();
        let n = both.len() as f64;
        let s = match kind {
            _ if both.is_empty() => 0.0,
            RatingSimilarity::Pearson => {
                let (ma, mb) = (mean(both.iter().map(|&c| t[a][c])).unwrap(), mean(both.iter().map(|&c| t[b][c])).unwrap());
                cosine(&|c| t[a][c] - ma, &|c| t[b][c] - mb)
            }
            RatingSimilarity::PearsonBaseline { shrinkage } => {
                cosine(&|c| t[a][c] - base[a][c], &|c| t[b][c] - base[b][c]) * (n - 1.0) / (n - 1.0 + shrinkage)
            }
            RatingSimilarity::Euclidean => 1.0 / (1.0 + both.iter().map(|&c| (t[a][c] - t[b][c]).powi(2)).sum::<f64>().sqrt()),
            RatingSimilarity::Cosine => {
                let length = |r: usize| t[r].iter().filter(|x| !x.is_nan()).map(|x| x * x).sum::<f64>();
                dot(&|c| t[a][c], &|c| t[b][c]) / (length(a) * length(b)).sqrt()
            }
            RatingSimilarity::CosineCorated => cosine(&|c| t[a][c], &|c| t[b][c]),
        };
        if s.is_nan() { 0.0 } else { s }
    }

    /// The rating of row `r` in column `c` from the `k` most similar other rows, of those who rated the column or of all; the second is how
    /// far the similarity of the last neighbour is from that of the next: where they are equal either may be taken.
    fn predict(rule: Predict, t: &Table, base: &Table, sims: &[f64], (r, c): (usize, usize), k: usize, raters: bool) -> (Option<f64>, f64) {
        let mu = mean(t.iter().flatten().copied()).unwrap();
        let offset = |row: usize| match rule {
            Predict::Mean => 0.0,
            Predict::Centred => mean(t[row].iter().copied()).unwrap_or(mu),
            Predict::Baseline => base[row][c],
        };
        let mut order: Vec<usize> = (0..t.len()).filter(|&o| o != r && sims[o] > 1e-9 && (!raters || !t[o][c].is_nan())).collect();
        order.sort_by(|a, b| sims[*b].total_cmp(&sims[*a]));
        let gap = if order.len() > k { sims[order[k - 1]] - sims[order[k]] } else { 1.0 };
        let said: Vec<usize> = order.into_iter().take(k).filter(|&o| !t[o][c].is_nan()).collect();
        let weight: f64 = said.iter().map(|&o| sims[o]).sum();
        let sum: f64 = said.iter().map(|&o| sims[o] * (t[o][c] - offset(o))).sum();
        ((!said.is_empty()).then(|| (offset(r) + sum / weight).clamp(1.0, 5.0)), gap)
    }

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        a.is_some() == b.is_some() && a.zip(b).is_none_or(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn similarities_and_predictions_are_those_of_brute_force() {
        let (mut checked, control) = (0, Control::default());
        for seed in 0..12 {
            let m = check::random(seed, 24, 16);
            let by_user = table(&m);
            let base = baselines(&by_user);
            let (by_item, base_of_items) = (transpose(&by_user), transpose(&base));
            for kind in ALL {
                let sims = |t: &Table, base: &Table| -> Table {
                    (0..t.len()).map(|a| (0..t.len()).map(|b| similarity(kind, t, base, a, b)).collect()).collect()
                };
                let (of_users, of_items) = (sims(&by_user, &base), sims(&by_item, &base_of_items));
                for rule in [Predict::Mean, Predict::Centred, Predict::Baseline] {
                    let params = UserKnnParams {
                        similarity: Similarity::Ratings(kind),
                        neighbours: 4,
                        predict: rule,
                        neighbours_of: NeighboursOf::All,
                    };
                    let all = UserKnn::fit(&m, &params, &control).unwrap();
                    let params = UserKnnParams { neighbours_of: NeighboursOf::Raters, ..params };
                    let raters = UserKnn::fit(&m, &params, &control).unwrap();
                    let params = ItemKnnParams { similarity: Similarity::Ratings(kind), neighbours: 16, predict: rule, predict_from: 2 };
                    let items = ItemKnn::fit(&m, &params, &control).unwrap();
                    for u in 0..24 {
                        let user = m.history(u as u32);
                        let neighbours = all.similar_users(user);
                        let most = of_users[u].iter().enumerate().filter(|(v, s)| *v != u && **s > 1e-9).count();
                        assert_eq!(neighbours.len(), most.min(4), "{kind:?}");
                        assert!(neighbours.iter().all(|&(v, s)| (s - of_users[u][v as usize]).abs() < 1e-5), "{kind:?}");
                        for (i, of_item) in of_items.iter().enumerate() {
                            for (model, among) in [(&all, false), (&raters, true)] {
                                let (wanted, gap) = predict(rule, &by_user, &base, &of_users[u], (u, i), 4, among);
                                let given = model.predict_rating(user, i as u32);
                                assert!(gap < 1e-6 || near(given, wanted), "{kind:?} {rule:?} {among}: {given:?} {wanted:?}");
                            }
                            let (wanted, gap) = predict(rule, &by_item, &base_of_items, of_item, (i, u), 2, true);
                            let given = items.predict_rating(user, i as u32);
                            assert!(gap < 1e-6 || near(given, wanted), "{kind:?} {rule:?} items: {given:?} {wanted:?}");
                            checked += usize::from(gap >= 1e-6 && wanted.is_some());
                        }
                        let (kept, similarities) = items.similar(u as u32 % 16);
                        let truth = &of_items[u % 16];
                        assert!(entries((kept, similarities)).all(|(j, s)| (f64::from(s) - truth[j as usize]).abs() < 1e-5), "{kind:?}");
                    }
                }
            }
        }
        assert!(checked > 20_000, "{checked}");
    }
}
