//! User-based nearest neighbours (Resnick et al. 1994, "GroupLens", CSCW '94; Herlocker, Konstan, Borchers & Riedl 1999, SIGIR '99).
//!
//! Users are vectors over items, and similar as [`super::similarity`] or [`super::ratings`] has it. score(u, i) = Σ sim(u, v) · weight_vi
//! over those of the K users v most similar to u who have i. A rating of i by u is predicted from the neighbours who rated i ([`Predict`]);
//! [`NeighboursOf`] says whether those are among the K most similar of all users, or the K most similar of the raters.
//!
//! Nothing is learnt that the feedback does not say, so nothing but the options is stored: neighbours are looked for when a user is asked
//! for, in the feedback that is attached ([`Recommender::attached`]). Answers are fresh without a new fit, the user's own row is known and
//! never her own neighbour, and a model is a few bytes; what is not attached recommends nothing.

use std::sync::Arc;

use super::neighbours::Sums;
use super::ratings::{PREDICT, Pair, Ratings, add_pair, entries, sum_of_squares, weighted_mean};
use super::similarity::{B, K1, SHRINKAGE, SIMILARITIES, Weighing};
use super::{Csr, Feedback, History, Predict, RatingSimilarity, Recommender, Scores, Shares, Similarity};
use crate::models::{Allowed, AnyRecommender, Column, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, part};

/// `model_type = 'user_knn'`.
pub static USER_KNN: ModelType = ModelType {
    name: "user_knn",
    about: "user-based nearest neighbours: what the users most like this one have",
    options: &[
        OptionSpec {
            name: "similarity",
            default: "cosine",
            allowed: SIMILARITIES,
            about: "cosine, tfidf (which weighs rare items up), bm25 and jaccard compare what users have, the others how they rate",
        },
        OptionSpec {
            name: "neighbours",
            default: "100",
            allowed: Allowed::Whole { least: 1, most: 10_000 },
            about: "how many users speak",
        },
        K1,
        B,
        SHRINKAGE,
        PREDICT,
        OptionSpec {
            name: "neighbours_of",
            default: "raters",
            allowed: Allowed::OneOf(&["raters", "all"]),
            about: "ratings are predicted by the most similar of the users who rated the item, or by the raters among the most similar",
        },
    ],
    in_auto: true,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| Ok(Arc::new(UserKnn::fit(feedback, &UserKnnParams::of(options), control)?)),
        read: |parts| Ok(Arc::new(UserKnn { params: UserKnnParams::from_parts(parts)?, current: None })),
    },
};

/// Whose ratings of an item predict one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighboursOf {
    /// Of the K most similar users, those who rated the item.
    All,
    /// Of the users who rated the item, the K most similar.
    Raters,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserKnnParams {
    pub similarity: Similarity,
    /// K, at least 1.
    pub neighbours: usize,
    pub predict: Predict,
    pub neighbours_of: NeighboursOf,
}

impl UserKnnParams {
    fn of(options: &Options) -> Self {
        let all = options.get("neighbours_of").eq_ignore_ascii_case("all");
        Self {
            similarity: Similarity::of(options),
            neighbours: options.whole("neighbours") as usize,
            predict: Predict::named(&options.get("predict").to_lowercase()).unwrap_or(Predict::Baseline),
            neighbours_of: if all { NeighboursOf::All } else { NeighboursOf::Raters },
        }
    }

    fn to_part(self) -> Part {
        let (k1, b) = if let Similarity::Bm25 { k1, b } = self.similarity { (k1, b) } else { (0.0, 0.0) };
        let shrinkage = match self.similarity {
            Similarity::Ratings(RatingSimilarity::PearsonBaseline { shrinkage }) => shrinkage,
            _ => 0.0,
        };
        let all = f64::from(u8::from(self.neighbours_of == NeighboursOf::All));
        let mut part = Part::row(
            "user_knn",
            &[("neighbours", self.neighbours as f64), ("k1", k1), ("b", b), ("shrinkage", shrinkage), ("neighbours_of_all", all)],
        );
        let texts = [("similarity", self.similarity.name()), ("predict", self.predict.name())];
        part.columns.extend(texts.map(|(name, text)| (name.into(), Column::Text(vec![text.into()]))));
        part
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let stored = part(parts, "user_knn")?;
        let number = |name: &str| stored.number(name);
        let text = |name: &str| Ok(stored.text(name)?.first().map_or("", String::as_str));
        let similarity = Similarity::named(text("similarity")?, number("k1")?, number("b")?, number("shrinkage")?);
        let damaged = |what: &str| ModelError::Damaged(format!("no {what} in table 'user_knn'"));
        Ok(Self {
            similarity: similarity.ok_or_else(|| damaged("similarity"))?,
            neighbours: stored.positive("neighbours")? as usize,
            predict: Predict::named(text("predict")?).ok_or_else(|| damaged("rule to predict ratings by"))?,
            neighbours_of: if number("neighbours_of_all")? > 0.0 { NeighboursOf::All } else { NeighboursOf::Raters },
        })
    }
}

#[derive(Debug)]
pub struct UserKnn {
    params: UserKnnParams,
    current: Option<Current>,
}

/// Feedback in the form in which neighbours are looked for.
#[derive(Debug)]
struct Current {
    /// Users × items.
    weights: Csr,
    /// Items × users: the vectors that are compared.
    voices: Csr,
    weighing: Weighing,
    ratings: Option<Ratings>,
    /// Sums of squares of the users' ratings, where those are compared.
    squares: Vec<f64>,
}

/// What one thread adds similarities up in.
#[derive(Debug, Default)]
pub struct Search {
    products: Sums,
    pairs: Sums<Pair>,
}

impl UserKnn {
    /// # Errors
    /// `neighbours` of 0, a similarity of ratings where nobody rates, or cancelled.
    pub fn fit(feedback: &Feedback, params: &UserKnnParams, control: &Control) -> Result<Self, ModelError> {
        if params.neighbours == 0 {
            return Err(ModelError::Option { option: "neighbours".into(), given: "0".into(), allowed: "a whole number from 1".into() });
        }
        control.check()?;
        Self::of(*params, feedback)
    }

    fn of(params: UserKnnParams, feedback: &Feedback) -> Result<Self, ModelError> {
        let compared = match params.similarity {
            Similarity::Ratings(similarity) => {
                Some((similarity, Ratings::needed_by(&format!("similarity = '{}'", similarity.name()), feedback)?))
            }
            _ => None,
        };
        let by_item = feedback.weights.transpose();
        let weighing = Weighing::of(params.similarity, &by_item);
        let (voices, squares, ratings) = match compared {
            Some((similarity, ratings)) => {
                let by_user = if similarity.of_residuals() { ratings.residuals() } else { ratings.by_user.clone() };
                let squares = (0..by_user.n_rows()).map(|u| sum_of_squares(by_user.row(u).1)).collect();
                (by_user.transpose(), squares, Some(ratings))
            }
            None => (weighing.vectors(feedback.weights.clone()).transpose(), vec![], Ratings::of(feedback)),
        };
        let current = Some(Current { weights: feedback.weights.clone(), voices, weighing, ratings, squares });
        Ok(Self { params, current })
    }

    /// The users most similar to one, at most `neighbours`, and their similarities, the most similar first, equal ones by ascending row.
    pub fn similar_users(&self, user: History<'_>) -> Vec<(u32, f64)> {
        self.current.as_ref().map_or(vec![], |c| self.nearest(c, user, &mut Search::default(), |_| true))
    }

    /// The most similar of the other users that `may` be neighbours.
    fn nearest(&self, current: &Current, user: History<'_>, search: &mut Search, may: impl Fn(u32) -> bool) -> Vec<(u32, f64)> {
        let (k, voices) = (self.params.neighbours, &current.voices);
        let open = |v: u32| Some(v) != user.user && may(v);
        if let (Similarity::Ratings(similarity), Some(ratings)) = (self.params.similarity, &current.ratings) {
            search.pairs.hold(voices.n_cols);
            let bias = ratings.items.user_bias(user);
            let mut squares = 0.0;
            for (i, r) in user.rated() {
                let baseline = ratings.items.mean + bias + ratings.items.biases[i as usize];
                let x = if similarity.of_residuals() { (f64::from(r) - baseline) as f32 } else { r };
                squares += f64::from(x) * f64::from(x);
                entries(voices.row(i as usize)).for_each(|(v, y)| add_pair(search.pairs.at(v), x, y));
            }
            let finish = |v: u32, pair| if open(v) { similarity.of(pair, (squares, current.squares[v as usize])) } else { 0.0 };
            return search.pairs.best(k, finish);
        }
        search.products.hold(voices.n_cols);
        let vector = current.weighing.vector(user.items, user.weights);
        for (&i, &x) in user.items.iter().zip(&vector).filter(|(_, x)| **x > 0.0) {
            let others = entries(voices.row(i as usize)).filter(|(_, y)| x * y > 0.0);
            others.for_each(|(v, y)| search.products.add(v, x * y));
        }
        let has = |v: u32| current.weights.row(v as usize).0.len();
        let finish = |v: u32, product| {
            if open(v) { f64::from(self.params.similarity.finish(product, user.items.len(), has(v))) } else { 0.0 }
        };
        search.products.best(k, finish)
    }

    /// What makes user `v` a neighbour: the item of which both have most, by the product of weights (the sum of ratings, where those are
    /// compared), of equal ones that which fewest have.
    fn shared(&self, current: &Current, user: History<'_>, v: u32) -> Option<u32> {
        let by_ratings = matches!(self.params.similarity, Similarity::Ratings(_));
        let (matrix, mine) = match &current.ratings {
            Some(ratings) if by_ratings => (&ratings.by_user, user.ratings),
            _ => (&current.weights, user.weights),
        };
        let (items, theirs) = matrix.row(v as usize);
        let mut best: Option<(f32, usize, u32)> = None;
        let mut at = 0;
        for (&i, &x) in user.items.iter().zip(mine).filter(|(_, x)| x.is_finite()) {
            at += items[at..].iter().take_while(|j| **j < i).count();
            if items.get(at) == Some(&i) {
                let both = if by_ratings { x + theirs[at] } else { x * theirs[at] };
                let users = current.voices.row(i as usize).0.len();
                if best.is_none_or(|(most, fewest, _)| both > most || (both == most && users < fewest)) {
                    best = Some((both, users, i));
                }
            }
        }
        best.map(|(_, _, i)| i)
    }
}

impl Recommender for UserKnn {
    /// Of the feedback attached.
    fn n_items(&self) -> usize {
        self.current.as_ref().map_or(0, |c| c.weights.n_cols)
    }

    fn attached(&self, current: &dyn Fn() -> Feedback) -> Result<Option<AnyRecommender>, ModelError> {
        Ok(Some(Arc::new(Self::of(self.params, &current())?)))
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let Some(current) = &self.current else { return };
        let mut search = std::mem::take(&mut scores.search);
        for (v, similarity) in self.nearest(current, user, &mut search, |_| true) {
            let Some(because) = self.shared(current, user, v) else { continue };
            let said = entries(current.weights.row(v as usize)).map(|(i, w)| (i, similarity as f32 * w));
            said.filter(|(_, share)| *share > 0.0).for_each(|(i, share)| scores.add(i, share, because));
        }
        scores.search = search;
    }

    /// What each neighbour says, as that of the item most shared with them.
    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let Some(current) = &self.current else { return Shares::default() };
        let said = self.similar_users(user).into_iter().filter_map(|(v, similarity)| {
            let (items, weights) = current.weights.row(v as usize);
            let share = similarity as f32 * weights[items.binary_search(&item).ok()?];
            Some((self.shared(current, user, v)?, share))
        });
        Shares { baseline: 0.0, of_items: said.filter(|(_, share)| *share > 0.0).collect() }
    }

    fn predict_rating(&self, user: History<'_>, item: u32) -> Option<f64> {
        let current = self.current.as_ref()?;
        let (ratings, predict) = (current.ratings.as_ref()?, self.params.predict);
        let (raters, values) = ratings.by_item.row(item as usize);
        let rating = |v: u32| raters.binary_search(&v).ok().map(|at| f64::from(values[at]));
        let may = |v: u32| self.params.neighbours_of == NeighboursOf::All || rating(v).is_some();
        let neighbours = self.nearest(current, user, &mut Search::default(), may);
        let theirs = |v: u32| predict.offset(ratings.user_means[v as usize], ratings.baseline(v, item));
        let said = neighbours.into_iter().filter_map(|(v, s)| Some((s, rating(v)? - theirs(v))));
        let baseline = ratings.items.mean + ratings.items.user_bias(user) + ratings.items.biases[item as usize];
        let own = predict.offset(ratings.items.user_mean(user), baseline);
        weighted_mean(said).map(|d| ratings.items.clip(own + d))
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![self.params.to_part()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    fn params(similarity: Similarity) -> UserKnnParams {
        UserKnnParams { similarity, neighbours: 10, predict: Predict::Baseline, neighbours_of: NeighboursOf::Raters }
    }

    /// Ratings [[5,0,3,0],[2,0,1,4],[0,3,1,5],[1,0,4,2]], 0 = not rated, two neighbours, the weighted mean.
    #[test]
    fn worked_example() {
        let weights =
            Csr { n_cols: 4, offsets: vec![0, 2, 5, 8, 11], columns: vec![0, 2, 0, 2, 3, 1, 2, 3, 0, 2, 3], values: vec![1.0; 11] };
        let ratings = vec![5.0, 3.0, 2.0, 1.0, 4.0, 3.0, 1.0, 5.0, 1.0, 4.0, 2.0];
        let m = Feedback { weights, last_us: vec![0; 11], ratings, goals: vec![] };
        let params = UserKnnParams {
            similarity: Similarity::Ratings(RatingSimilarity::Cosine),
            neighbours: 2,
            predict: Predict::Mean,
            neighbours_of: NeighboursOf::All,
        };
        let knn = UserKnn::fit(&m, &params, &Control::default()).unwrap();
        let neighbours = |u: u32| knn.similar_users(m.history(u)).into_iter().map(|(v, _)| v).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3].map(neighbours), [[3, 1], [2, 3], [1, 3], [1, 0]]);
        let rating = |u: u32, i: u32| knn.predict_rating(m.history(u), i);
        for (u, i, wanted) in [(0, 3, 86.0 / 30.0), (1, 1, 3.0), (2, 0, 56.0 / 35.0)] {
            assert!((rating(u, i).unwrap() - wanted).abs() < 1e-12, "{:?}", rating(u, i));
        }
        assert_eq!((rating(0, 1), rating(3, 1)), (None, None));
        // The only rater of item 1 is asked where neighbours are of the raters.
        let raters = UserKnnParams { neighbours_of: NeighboursOf::Raters, ..params };
        let knn = UserKnn::fit(&m, &raters, &Control::default()).unwrap();
        assert!((knn.predict_rating(m.history(3), 1).unwrap() - 3.0).abs() < 1e-12);
    }

    #[test]
    fn lists_keep_the_guarantees() {
        for similarity in check::similarities() {
            let params = params(similarity);
            check::guarantees(&|f| Ok(Arc::new(UserKnn::fit(f, &params, &Control::default())?)), &USER_KNN.make);
        }
    }

    #[test]
    fn answers_are_of_the_feedback_attached() {
        let (then, now) = (check::random(1, 30, 20), check::random(2, 40, 25));
        let knn = UserKnn::fit(&then, &params(Similarity::Cosine), &Control::default()).unwrap();
        let knn = knn.attached(&|| now.clone()).unwrap().unwrap();
        let fresh = UserKnn::fit(&now, &params(Similarity::Cosine), &Control::default()).unwrap();
        let (scores, mut a, mut b) = (&mut Scores::default(), vec![], vec![]);
        for u in 0..40 {
            let user = now.history(u);
            knn.top_k(user, Default::default(), 30, scores, &mut a);
            fresh.top_k(user, Default::default(), 30, scores, &mut b);
            assert_eq!(a, b);
            assert!(fresh.similar_users(user).iter().all(|(v, _)| *v != u));
        }
        assert_eq!(knn.n_items(), 25);
    }

    #[test]
    fn without_ratings_what_is_needed_is_said() {
        let unrated = Feedback { ratings: vec![], ..check::random(3, 10, 8) };
        let e = UserKnn::fit(&unrated, &params(Similarity::Ratings(RatingSimilarity::Pearson)), &Control::default()).unwrap_err();
        assert!(
            matches!(&e, ModelError::TooLittleData(s) if s.contains("'pearson'") && s.contains("rating") && s.contains("cosine")),
            "{e}"
        );
        let knn = UserKnn::fit(&unrated, &params(Similarity::Cosine), &Control::default()).unwrap();
        assert_eq!(knn.predict_rating(unrated.history(0), 1), None);
    }
}
