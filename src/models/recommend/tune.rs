//! `model_type = 'auto'` for recommenders.
//!
//! The latest item of each of at most [`MOST_USERS`] users is held out. Each family is fitted with its first options, then, the best family first, the axes
//! of those that beat popularity are walked one after another: of each, all values are tried and the best kept (coordinate search). Then the best of each
//! family are blended: from the best model on, the component and the share that add most are added (Caruana et al. 2004, "Ensemble selection from
//! libraries of models", ICML '04) as long as that adds [`GAIN`]. What has the highest NDCG@10 is fitted to everything; of equals, the earlier.
//! Popularity is always among them.
//!
//! The figures are of the users that were chosen on, and so a little better than those of new users. With a time limit that ends the search early, what
//! is chosen depends on the speed of the machine; nothing else does.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::blend::{BLEND, scale};
use super::holdout::{Figures, K, LastItems};
use super::{EASE, Feedback, ITEM_KNN, MF_IMPLICIT, POPULARITY, SEQ_KNN, Scores, USER_KNN};
use crate::models::metrics::{hit_rate_at_k, ndcg_at_k};
use crate::models::{AnyRecommender, Control, Make, ModelError, ModelType, Options};

/// Users whose latest items are looked for.
const MOST_USERS: usize = 4_000;
/// How much a blend must add to NDCG@10 to be worth a component more, as a share.
const GAIN: f64 = 0.01;
/// Components of a blend.
const MOST_COMPONENTS: usize = 3;
/// Shares of the component that is added to a blend.
const SHARES: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5];
/// Items of each component that a blend is scored on.
const DEPTH: usize = 200;

/// The options of a family that are tried: those it starts from, and by option, in the order they are walked, other values.
struct Grid {
    kind: &'static ModelType,
    start: &'static [(&'static str, &'static str)],
    axes: &'static [(&'static str, &'static [&'static str])],
}

/// The families, the simpler first. One line a family.
static GRIDS: &[Grid] = &[
    Grid { kind: &POPULARITY, start: &[], axes: &[] },
    Grid { kind: &ITEM_KNN, start: &[], axes: &[("neighbours", &["50", "100", "200"]), ("similarity", &["cosine", "bm25"])] },
    Grid {
        kind: &SEQ_KNN,
        start: &[],
        axes: &[
            ("target_exponent", &["0.1", "0.3", "0.5"]),
            ("decay", &["0.5", "0.6", "0.8", "0.9"]),
            ("source_exponent", &["0.3", "0.5", "0.9"]),
            ("distance_exponent", &["0.5", "1"]),
            ("window", &["5", "10", "40"]),
        ],
    },
    Grid { kind: &USER_KNN, start: &[], axes: &[("neighbours", &["50", "200"]), ("similarity", &["tfidf"])] },
    Grid { kind: &MF_IMPLICIT, start: &[], axes: &[("l2", &["0.002", "0.02"]), ("alpha0", &["0.1", "1"])] },
    Grid {
        kind: &EASE,
        start: &[],
        axes: &[("user_exponent", &["0.5"]), ("dropout", &["0.33"]), ("l2", &["100", "250", "1000", "2000", "4000"])],
    },
];

/// One model that was tried; a row of training_log.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub model_type: &'static str,
    /// The options that are not the defaults, as `name = value, …`.
    pub options: String,
    /// Users ranked.
    pub users: usize,
    /// `None` where the model was not fitted.
    pub figures: Option<Figures>,
    /// Wall time of fit and ranking.
    pub seconds: f64,
    /// 'chosen', 'baseline', 'tried', or 'skipped: why'.
    pub status: String,
}

/// The model that was chosen, fitted to everything.
#[derive(Debug)]
pub struct Tuned {
    pub model: AnyRecommender,
    pub options: Options,
    pub trials: Vec<Trial>,
}

/// Items of one user, each with what every model says.
type Candidates = Vec<(u32, Vec<f32>)>;

/// The best of a family so far, fitted to the users' items but the latest.
struct Best {
    options: Options,
    model: AnyRecommender,
    figures: Figures,
    trial: usize,
    /// Seconds that a trial of the family took at most.
    slowest: f64,
}

/// Fits a recommender of the type of `options`.
pub fn fit(feedback: &Feedback, options: &Options, control: &Control) -> Result<AnyRecommender, ModelError> {
    match options.kind.make {
        Make::Recommender { fit, .. } => fit(feedback, options, control),
        _ => Err(ModelError::Option {
            option: "model_type".into(),
            given: format!("'{}'", options.kind.name),
            allowed: "a recommender, such as 'item_knn'".into(),
        }),
    }
}

/// Chooses a family and its options on each user's latest item, and fits it to everything. No trial begins that would, as long as the slowest of its family
/// and with the last fit, end after `max_runtime`. Where no user has two items, the model is `popularity`.
///
/// # Errors
/// Cancelled, or a model that could be fitted to all but the latest items and not to everything.
pub fn auto(feedback: &Feedback, max_runtime: Duration, seed: u64, control: &Control) -> Result<Tuned, ModelError> {
    let Some(held) = LastItems::of(feedback, MOST_USERS, seed) else {
        let options = checked(&POPULARITY, &[])?;
        let figures_of_none = trial(&options, 0, None, 0.0, "chosen");
        return Ok(Tuned { model: fit(feedback, &options, control)?, options, trials: vec![figures_of_none] });
    };
    let mut search = Search { held: &held, seed, begun: Instant::now(), max_runtime, control, trials: vec![] };
    let mut best: Vec<(&Grid, Best)> = vec![];
    for (done, grid) in GRIDS.iter().enumerate() {
        control.report("auto: families", done as f64 / GRIDS.len() as f64);
        let options = checked(grid.kind, &seeded(owned(grid.start), seed))?;
        best.extend(search.run(options, 0.0)?.map(|b| (grid, b)));
    }
    // The most promising first, should time end: a stable order, the earlier of equals first.
    best.sort_by(|a, b| b.1.figures.ndcg_at_10.total_cmp(&a.1.figures.ndcg_at_10));
    let popular = best.iter().find(|(_, b)| b.options.kind.name == POPULARITY.name).map_or(0.0, |(_, b)| b.figures.ndcg_at_10);
    let promising = best.iter_mut().filter(|(_, b)| b.figures.ndcg_at_10 > popular);
    for (done, (grid, of_family)) in promising.enumerate() {
        control.report("auto: options", done as f64 / GRIDS.len() as f64);
        search.walk(grid, of_family)?;
    }
    best.sort_by(|a, b| b.1.figures.ndcg_at_10.total_cmp(&a.1.figures.ndcg_at_10).then(a.1.trial.cmp(&b.1.trial)));
    let Some(first) = best.first() else {
        let options = checked(&POPULARITY, &[])?;
        return Ok(Tuned { model: fit(feedback, &options, control)?, options, trials: search.trials });
    };
    let (mut chosen, mut options) = (first.1.trial, first.1.options.clone());
    if let Some((trial, blended)) = search.blend(best.iter().map(|(_, b)| b).collect())? {
        (chosen, options) = (trial, blended);
    }
    drop(best);
    let mut trials = search.trials;
    trials[chosen].status = "chosen".into();
    control.report("auto: fit of the chosen model", 0.0);
    Ok(Tuned { model: fit(feedback, &options, control)?, options, trials })
}

struct Search<'a> {
    held: &'a LastItems,
    seed: u64,
    begun: Instant,
    max_runtime: Duration,
    control: &'a Control,
    trials: Vec<Trial>,
}

impl Search<'_> {
    /// Whether a trial of so many seconds and the fit of what is chosen would end too late.
    fn too_late(&self, seconds: f64) -> bool {
        self.begun.elapsed().as_secs_f64() + 2.0 * seconds > self.max_runtime.as_secs_f64()
    }

    /// Fits and ranks; `None` where it has been skipped, and the trial says why.
    fn run(&mut self, options: Options, expected: f64) -> Result<Option<Best>, ModelError> {
        let (control, users, baseline) = (self.control, self.held.users.len(), options.kind.name == POPULARITY.name);
        if self.too_late(expected) && !baseline {
            self.trials.push(trial(&options, users, None, 0.0, "skipped: max_runtime"));
            return Ok(None);
        }
        let begun = Instant::now();
        let ranked = fit(&self.held.train, &options, control).and_then(|m| Ok((self.held.rank(m.as_ref(), control)?, m)));
        let seconds = begun.elapsed().as_secs_f64();
        let trial_of = |figures, status: &str| trial(&options, users, figures, seconds, status);
        match ranked {
            Ok((figures, model)) => {
                self.trials.push(trial_of(Some(figures), if baseline { "baseline" } else { "tried" }));
                Ok(Some(Best { options, model, figures, trial: self.trials.len() - 1, slowest: seconds.max(expected) }))
            }
            Err(ModelError::Cancelled) => Err(ModelError::Cancelled),
            Err(e) => {
                self.trials.push(trial_of(None, &format!("skipped: {e}")));
                Ok(None)
            }
        }
    }

    /// Coordinate search from the best of a family on.
    fn walk(&mut self, grid: &Grid, best: &mut Best) -> Result<(), ModelError> {
        for (axis, values) in grid.axes {
            let from: Vec<(String, String)> = given(&best.options);
            for value in *values {
                let mut pairs: Vec<(String, String)> = from.iter().filter(|(name, _)| name != axis).cloned().collect();
                pairs.push(((*axis).into(), (*value).into()));
                let options = checked(grid.kind, &seeded(pairs, self.seed))?;
                if self.too_late(best.slowest) {
                    self.trials.push(trial(&options, self.held.users.len(), None, 0.0, "skipped: max_runtime"));
                    return Ok(());
                }
                if let Some(other) = self.run(options, best.slowest)? {
                    best.slowest = other.slowest;
                    if other.figures.ndcg_at_10 > best.figures.ndcg_at_10 {
                        *best = other;
                    }
                }
            }
        }
        Ok(())
    }

    /// The best blend of the best of each family, its trial and its options; `None` where a single one is as good.
    fn blend(&mut self, best: Vec<&Best>) -> Result<Option<(usize, Options)>, ModelError> {
        let candidates = self.candidates(&best)?;
        let mut weights: Vec<f64> = (0..best.len()).map(|m| f64::from(u8::from(m == 0))).collect();
        let (mut to_beat, mut found) = (best[0].figures.ndcg_at_10, None);
        for _ in 1..MOST_COMPONENTS {
            let begun = Instant::now();
            let mut step: Option<(f64, Vec<f64>)> = None;
            for m in (0..best.len()).filter(|&m| weights[m] == 0.0) {
                self.control.check()?;
                for share in SHARES {
                    let mut tried: Vec<f64> = weights.iter().map(|w| w * (1.0 - share)).collect();
                    tried[m] = share;
                    let ndcg = self.rank_blend(&candidates, &tried).ndcg_at_10;
                    if step.as_ref().is_none_or(|(most, _)| ndcg > *most) {
                        step = Some((ndcg, tried));
                    }
                }
            }
            let Some((ndcg, tried)) = step else { break };
            let fits: f64 = best.iter().zip(&tried).filter(|(_, w)| **w > 0.0).map(|(b, _)| b.slowest).sum();
            let options = blend_options(&best, &tried, self.seed)?;
            if self.begun.elapsed().as_secs_f64() + fits > self.max_runtime.as_secs_f64() {
                self.trials.push(trial(&options, self.held.users.len(), None, 0.0, "skipped: max_runtime"));
                break;
            }
            let figures = self.rank_blend(&candidates, &tried);
            self.trials.push(trial(&options, self.held.users.len(), Some(figures), begun.elapsed().as_secs_f64(), "tried"));
            if ndcg <= to_beat * (1.0 + GAIN) {
                break;
            }
            (to_beat, weights, found) = (ndcg, tried, Some((self.trials.len() - 1, options)));
        }
        Ok(found)
    }

    /// By user: the items that are among the [`DEPTH`] best of any model, ascending, each with the scaled scores of all models.
    fn candidates(&self, best: &[&Best]) -> Result<Vec<Candidates>, ModelError> {
        let one = |scores: &mut Scores, said: &mut Vec<f32>, u: u32| {
            self.control.check()?;
            let user = self.held.train.history(u);
            let (mut rows, mut items): (Vec<Vec<f32>>, Vec<u32>) = (vec![], vec![]);
            for b in best {
                scores.of(b.model.as_ref(), user, said);
                let by = scale(said, user.items) as f32;
                let mut order: Vec<u32> = (0..said.len() as u32).filter(|&i| said[i as usize] > 0.0).collect();
                order.retain(|i| user.items.binary_search(i).is_err());
                if order.len() > DEPTH {
                    order.select_nth_unstable_by(DEPTH, |&a, &b| said[b as usize].total_cmp(&said[a as usize]).then(a.cmp(&b)));
                    order.truncate(DEPTH);
                }
                items.extend(order);
                rows.push(said.iter().map(|s| s * by).collect());
            }
            items.sort_unstable();
            items.dedup();
            Ok(items.into_iter().map(|i| (i, rows.iter().map(|r| r[i as usize]).collect())).collect())
        };
        let init = || (Scores::default(), vec![]);
        self.held.users.par_iter().map_init(init, |(scores, said), &u| one(scores, said, u)).collect()
    }

    fn rank_blend(&self, candidates: &[Candidates], weights: &[f64]) -> Figures {
        let weights: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
        let one = |(of_user, truth): (&Candidates, &Vec<u32>)| {
            let sum = |said: &[f32]| said.iter().zip(&weights).map(|(s, w)| s * w).fold(0.0, |a, b| a + b);
            let mut list: Vec<(f32, u32)> = of_user.iter().map(|(i, said)| (sum(said), *i)).filter(|(s, _)| *s > 0.0).collect();
            let better = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            if list.len() > K {
                list.select_nth_unstable_by(K, better);
                list.truncate(K);
            }
            list.sort_unstable_by(better);
            let items: Vec<u32> = list.into_iter().map(|(_, i)| i).collect();
            (ndcg_at_k(&items, truth, K), hit_rate_at_k(&items, truth, K))
        };
        Figures::mean(&candidates.par_iter().zip(&self.held.truth).map(one).collect::<Vec<_>>())
    }
}

fn trial(options: &Options, users: usize, figures: Option<Figures>, seconds: f64, status: &str) -> Trial {
    Trial { model_type: options.kind.name, options: text(options), users, figures, seconds, status: status.into() }
}

/// The options of the type itself that are not its defaults.
fn given(options: &Options) -> Vec<(String, String)> {
    let own = options.kind.options.iter().filter(|s| options.get(s.name) != s.default);
    own.map(|s| (s.name.to_owned(), options.get(s.name).to_owned())).collect()
}

fn text(options: &Options) -> String {
    given(options).iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Options that a grid names: they are always allowed.
fn checked(kind: &'static ModelType, pairs: &[(String, String)]) -> Result<Options, ModelError> {
    Options::new(kind, pairs).map_err(|e| ModelError::Option { option: "model_type".into(), given: "'auto'".into(), allowed: e })
}

fn seeded(mut pairs: Vec<(String, String)>, seed: u64) -> Vec<(String, String)> {
    pairs.push(("seed".into(), seed.to_string()));
    pairs
}

/// The options of the blend of these models that the weights are above 0 of, the largest first.
fn blend_options(best: &[&Best], weights: &[f64], seed: u64) -> Result<Options, ModelError> {
    let mut terms: Vec<(f64, &Best)> = weights.iter().copied().zip(best.iter().copied()).filter(|(w, _)| *w > 0.0).collect();
    terms.sort_by(|a, b| b.0.total_cmp(&a.0));
    let term = |(w, b): &(f64, &Best)| format!("{} {}({})", (w * 1e4).round() / 1e4, b.options.kind.name, text(&b.options));
    let components = terms.iter().map(term).collect::<Vec<_>>().join(" + ");
    checked(&BLEND, &seeded(vec![("components".into(), components)], seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::{Csr, History, check};

    const LONG: Duration = Duration::from_secs(600);

    /// Users who walk on a ring of items, each in steps of one.
    fn ring() -> Feedback {
        let mut f = Feedback {
            weights: Csr { n_cols: 30, offsets: vec![0], columns: vec![], values: vec![] },
            last_us: vec![],
            ratings: vec![],
            goals: vec![],
        };
        for u in 0..90u32 {
            let mut steps: Vec<(u32, i64)> = (0..8).map(|t| ((u * 7 + t) % 30, i64::from(t))).collect();
            steps.sort_unstable();
            steps.iter().for_each(|&(i, t)| {
                f.weights.columns.push(i);
                f.weights.values.push(1.0);
                f.last_us.push(t);
            });
            f.weights.offsets.push(f.weights.columns.len());
        }
        f
    }

    #[test]
    fn where_order_is_all_the_model_of_order_is_chosen_and_the_log_shows_popularity() {
        let tuned = auto(&ring(), LONG, 1, &Control::default()).unwrap();
        assert_eq!(tuned.options.kind.name, "seq_knn");
        let of = |status: &str| tuned.trials.iter().find(|t| t.status == status).unwrap();
        let (chosen, baseline) = (of("chosen"), of("baseline"));
        assert!(chosen.model_type == "seq_knn" && baseline.model_type == "popularity" && chosen.users == 90);
        let ndcg = |t: &Trial| t.figures.unwrap().ndcg_at_10;
        assert!(ndcg(chosen) == 1.0 && ndcg(baseline) < 0.6);
        assert!(tuned.trials.iter().filter_map(|t| t.figures).all(|f| f.ndcg_at_10 <= 1.0));
    }

    #[test]
    fn the_same_seed_chooses_the_same_for_any_number_of_threads() {
        let f = check::random(4, 120, 40);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let tuned = pool.install(|| auto(&f, LONG, 3, &Control::default()).unwrap());
            let log: Vec<_> = tuned.trials.into_iter().map(|t| (t.model_type, t.options, t.figures, t.status)).collect();
            (log, tuned.options.all().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), tuned.model.to_parts())
        };
        assert!(on(1) == on(3));
    }

    #[test]
    fn without_time_or_data_it_is_popularity_and_cancelling_is_heard() {
        let f = check::random(4, 60, 20);
        let none = auto(&f, Duration::ZERO, 3, &Control::default()).unwrap();
        assert_eq!(none.options.kind.name, "popularity");
        assert!(none.trials.iter().all(|t| t.figures.is_some() == (t.model_type == "popularity")));
        assert!(none.trials.iter().any(|t| t.status == "skipped: max_runtime"));
        let nobody = Feedback {
            weights: Csr { n_cols: 3, offsets: vec![0, 1], columns: vec![2], values: vec![1.0] },
            last_us: vec![0],
            ratings: vec![],
            goals: vec![],
        };
        let tuned = auto(&nobody, LONG, 3, &Control::default()).unwrap();
        assert!(tuned.options.kind.name == "popularity" && tuned.trials[0].figures.is_none());
        let mut out = vec![];
        tuned.model.top_k(History::default(), Default::default(), 5, &mut Scores::default(), &mut out);
        assert_eq!(out.len(), 1);
        let control = Control::default();
        control.cancel();
        assert_eq!(auto(&f, LONG, 3, &control).unwrap_err(), ModelError::Cancelled);
    }
}
