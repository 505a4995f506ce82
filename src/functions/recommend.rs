//! `recommend(user_id, k)`: what to offer a customer next.

use std::cell::RefCell;
use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, StringBuilder, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Field, Fields};
use datafusion::common::plan_err;

use super::common::{MODEL, USER, list_type, lists_of};
use super::customer::Lists;
use super::pin::{Versioned, blocking};
use super::prelude::*;
use super::serving::Serving;
use crate::features::{Customers, Interactions, NO_CODE};
use crate::models::recommend::{ABSENT, Filter, History, ItemModel, Scored, Scores, Translated, USERS, cosine_of_sets};

#[derive(Debug)]
pub struct Recommend;

static SPEC: FunctionSpec = FunctionSpec {
    name: "recommend",
    section: "Recommendation",
    form: Form::ScalarAndTable,
    arguments: &[
        USER,
        Argument { name: "k", kind: ArgKind::Count, default: Some("10"), about: "how many items at most" },
        MODEL,
        Argument {
            name: "exclude_seen",
            kind: ArgKind::Flag,
            default: Some("true"),
            about: "leave out what the list is made from: items bought or rated, or else viewed",
        },
        Argument { name: "repeat", kind: ArgKind::Flag, default: Some("false"), about: "TRUE offers bought items again: for consumables" },
        Argument {
            name: "candidates",
            kind: ArgKind::Query,
            default: Some("all items"),
            about: "(SELECT item_id FROM ...): only these items",
        },
        Argument {
            name: "exclude",
            kind: ArgKind::Query,
            default: Some("none"),
            about: "(SELECT item_id FROM ...): never these items; or (SELECT user_id, item_id FROM ...): not to these users",
        },
        Argument {
            name: "diversity",
            kind: ArgKind::Number,
            default: Some("0"),
            about: "from 0 to 1: how much likeness to what stands above it in the list takes from an item",
        },
    ],
    returns: "List<Struct{rank, item_id, score, reason, source}>",
    unit: "score: the model's own scale, comparable within a list",
    columns: &[
        ("user_id", "of the first argument", "the customer"),
        ("rank", "Int64", "1 = best"),
        ("item_id", "as in events", "the item"),
        ("score", "Float64", "the model's score"),
        ("reason", "Utf8", "the item of the user's history that spoke loudest for it"),
        ("source", "Utf8", "'model', or 'popular' for a user the model knows nothing of"),
    ],
    summary: "The k items a customer is most likely to want next.",
    behaviour: &[
        "The list is made from the user's purchases and ratings; a user who has none is served from views and carts.",
        "Never an item already bought or rated unless repeat => true (or exclude_seen => false), nor, for a user served from views and carts, one of those; never more than k; fewer rows rather than padding. Filters work before the selection; ties go to the smaller item key.",
        "A user without any history, or with none the model can go on from, gets the most popular items, with source = 'popular'.",
        "candidates and exclude are queries of their own, run once for the call; they do not see the relations around it.",
        "diversity => d takes items one by one, each time the one of the largest (1 − d)·score/best score − d·(largest likeness to those taken); likeness is the cosine of who has had two items. rank is the order in which they were taken.",
        "In FROM: recommend(k => 10) for everybody, recommend('u1', 5), recommend((SELECT user_id FROM vip), 5), FROM vip v, recommend(v.user_id, 5).",
    ],
    nulls: "NULL user → NULL, and no row in FROM. A user who is not in `events` → popular items.",
    method: "The model's own: neighbours of items, of users or of what follows what, factors, a linear autoencoder, rules, popularity, or a blend (docs/methods.md). The auto model is what predicted each user's last item best among all types, their options and blends: training_log('auto_recommend').",
    source: "docs/methods.md has those of each type; diversity: Carbonell & Goldstein (1998), The use of MMR, SIGIR",
    limits: "The order of events counts with model_type = 'seq_knn', alone or in a blend.",
    example: "SELECT user_id, rank, item_id, round(score, 3) AS score, reason, source FROM recommend('u0000007', 3)",
};

fn item_fields(item_type: DataType) -> Fields {
    vec![
        Field::new("rank", DataType::Int64, false),
        Field::new("item_id", item_type, false),
        Field::new("score", DataType::Float64, false),
        Field::new("reason", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, false),
    ]
    .into()
}

struct Recommender {
    serving: Serving,
    /// Which items of the model may be offered at all, where that is not all.
    open_in_model: Option<Vec<bool>>,
    /// Items not to be offered to a customer, by code: event item codes, ascending.
    barred: HashMap<u32, Vec<u32>>,
    /// Event item codes by descending number of users, ties by code, with that number.
    popular: Vec<(u32, f32)>,
    names: StringArray,
    ask: Ask,
    /// What users have done with the items of their strong interactions.
    verb: &'static str,
}

/// What a call asks for.
struct Ask {
    k: usize,
    exclude_seen: bool,
    diversity: f64,
    candidates: Option<Arc<RecordBatch>>,
    exclude: Option<Arc<RecordBatch>>,
}

/// With diversity, the list is taken from this many times k of the best, and from so many at least.
const POOL: usize = 5;
const LEAST_POOL: usize = 50;

#[async_trait]
impl CustomerFunction for Recommend {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        list_type(item_fields(types.item_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let diversity = args.number("diversity", 0.0);
        if !(0.0..=1.0).contains(&diversity) {
            return plan_err!("recommend(): diversity = {diversity}: allowed is a number from 0 to 1. Form: {}", SPEC.signature());
        }
        let interactions = pin.interactions().await?;
        let fitted = pin.recommender(args.text("model")).await?;
        let query = async |name: &str| match args.text(name) {
            Some(sql) => {
                pin.query(sql).await.map(Some).or_else(|e| plan_err!("recommend(): {name} => ({sql}): {}", e.find_root().strip_backtrace()))
            }
            None => Ok(None),
        };
        let ask = Ask {
            k: args.whole("k", 10) as usize,
            exclude_seen: args.flag("exclude_seen", true) && !args.flag("repeat", false),
            diversity,
            candidates: query("candidates").await?,
            exclude: query("exclude").await?,
        };
        let customers = pin.customers().await?;
        blocking(Control::default(), move |_| Ok(Kernel::Lists(Arc::new(Recommender::new(&customers, interactions, fitted, ask)?)))).await
    }
}

impl Recommender {
    fn new(customers: &Customers, interactions: Arc<Interactions>, fitted: Arc<Versioned<ItemModel>>, ask: Ask) -> Result<Self> {
        let serving = Serving::new(Arc::clone(&interactions), &fitted)?;
        let n = interactions.items.len();
        let mut open = vec![ask.candidates.is_none(); n];
        if let Some(rows) = &ask.candidates {
            if rows.num_columns() != 1 {
                return plan_err!("recommend(): candidates => (query) must have one column, the items, not {}", rows.num_columns());
            }
            interactions.items.lookup(rows.column(0))?.into_iter().filter(|i| *i != NO_CODE).for_each(|i| open[i as usize] = true);
        }
        let mut barred: HashMap<u32, Vec<u32>> = HashMap::new();
        match ask.exclude.as_deref().map(|rows| (rows, rows.num_columns())) {
            None => {}
            Some((rows, 1)) => {
                interactions.items.lookup(rows.column(0))?.into_iter().filter(|i| *i != NO_CODE).for_each(|i| open[i as usize] = false)
            }
            Some((rows, 2)) => {
                let users = customers.keys.lookup(rows.column(0))?;
                for (user, item) in
                    users.into_iter().zip(interactions.items.lookup(rows.column(1))?).filter(|(u, i)| *u != NO_CODE && *i != NO_CODE)
                {
                    barred.entry(user).or_default().push(item);
                }
                barred.values_mut().for_each(|items| items.sort_unstable());
            }
            Some((_, n)) => {
                return plan_err!("recommend(): exclude => (query) must have the items, or users and items: one column or two, not {n}");
            }
        }
        let in_model: Vec<bool> = serving.codes.all().iter().map(|&at| at != ABSENT && open[at as usize]).collect();
        let open_in_model = in_model.contains(&false).then_some(in_model);
        let mut users = vec![0u32; n];
        interactions.feedback().weights.columns.iter().for_each(|&i| users[i as usize] += 1);
        let mut popular: Vec<(u32, f32)> =
            (0..).zip(&users).filter(|(i, n)| **n > 0 && open[*i as usize]).map(|(i, &n)| (i, n as f32)).collect();
        popular.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let names = cast(&interactions.items.array, &DataType::Utf8)?;
        let names = datafusion::arrow::array::AsArray::as_string::<i32>(&names).clone();
        let verb = if customers.orders.iter().any(|&o| o > 0) { "bought" } else { "rated" };
        if ask.diversity > 0.0 {
            interactions.by_item()?;
        }
        Ok(Self { serving, open_in_model, barred, popular, names, ask, verb })
    }

    /// The lists of users, in event item codes, into `work.lists`, and where they come from.
    fn of(&self, users: &[u32], work: &mut Work) -> Result<()> {
        let pool = if self.ask.diversity > 0.0 { (POOL * self.ask.k).max(LEAST_POOL) } else { self.ask.k };
        let Work { scores, translated, exclude, lists, sources } = work;
        translated.resize_with(translated.len().max(users.len()), Translated::default);
        exclude.resize_with(exclude.len().max(users.len()), Vec::new);
        for ((&user, translated), exclude) in users.iter().zip(translated.iter_mut()).zip(exclude.iter_mut()) {
            self.serving.history(user, translated);
            exclude.clear();
            exclude.extend(self.seen(user).iter().chain(self.barred(user)).filter_map(|&i| self.serving.codes.to_model(i)));
            exclude.sort_unstable();
        }
        let asked = users.iter().zip(translated.iter()).map(|(&user, t)| t.history((user != NO_CODE).then_some(user)));
        let histories: Vec<History<'_>> = asked.collect();
        let open = |exclude| Filter { exclude, candidates: self.open_in_model.as_deref() };
        let filters: Vec<Filter<'_>> = exclude.iter().take(users.len()).map(|e| open(e.as_slice())).collect();
        self.serving.recommender.top_k_many(&histories, &filters, pool, scores, lists);
        sources.clear();
        for ((&user, history), list) in users.iter().zip(&histories).zip(lists.iter_mut()) {
            if history.items.is_empty() || list.is_empty() {
                // The model knows nothing of this user, or of the items of this user.
                list.clear();
                let closed = |i: &u32| self.seen(user).binary_search(i).is_ok() || self.barred(user).binary_search(i).is_ok();
                let popular = self.popular.iter().filter(|(i, _)| !closed(i)).take(pool);
                list.extend(popular.map(|&(item, score)| Scored { item, score, because: None }));
                sources.push("popular");
            } else {
                for s in list.iter_mut() {
                    s.item = self.serving.codes.from_model(s.item).unwrap_or(ABSENT);
                    s.because = s.because.and_then(|b| self.serving.codes.from_model(b));
                }
                sources.push("model");
            }
            if self.ask.diversity > 0.0 {
                self.diversify(list)?;
            }
        }
        Ok(())
    }

    /// What is not to be offered to this user, ascending.
    fn barred(&self, user: u32) -> &[u32] {
        self.barred.get(&user).map_or(&[], Vec::as_slice)
    }

    /// What is not offered again.
    fn seen(&self, user: u32) -> &[u32] {
        if !self.ask.exclude_seen || user == NO_CODE {
            return &[];
        }
        self.serving.interactions.seen(user)
    }

    /// Takes k of a list, best first, by maximal marginal relevance; of equal items the one that stands first.
    fn diversify(&self, list: &mut Vec<Scored>) -> Result<()> {
        let by_item = self.serving.interactions.by_item()?;
        let (d, best) = (self.ask.diversity, list.first().map_or(1.0, |s| f64::from(s.score)));
        let mut likeness = vec![0f64; list.len()];
        let (mut taken, mut open): (Vec<usize>, Vec<usize>) = (vec![], (0..list.len()).collect());
        while taken.len() < self.ask.k {
            let worth = |at: usize| (1.0 - d) * f64::from(list[at].score) / best - d * likeness[at];
            let Some(next) = open.iter().copied().max_by(|&a, &b| worth(a).total_cmp(&worth(b)).then(b.cmp(&a))) else { break };
            taken.push(next);
            open.retain(|at| *at != next);
            for &at in &open {
                likeness[at] =
                    likeness[at].max(cosine_of_sets(by_item.row(list[at].item as usize).0, by_item.row(list[next].item as usize).0));
            }
        }
        *list = taken.into_iter().map(|at| list[at]).collect();
        Ok(())
    }
}

/// What one thread needs while it makes lists.
#[derive(Default)]
struct Work {
    scores: Scores,
    /// By user of those that are asked about at once.
    translated: Vec<Translated>,
    exclude: Vec<Vec<u32>>,
    lists: Vec<Vec<Scored>>,
    sources: Vec<&'static str>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

impl Lists for Recommender {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(codes.len()));
        let (mut rank, mut item, mut score) = (vec![], vec![], vec![]);
        let (mut reason, mut source) = (StringBuilder::new(), StringBuilder::new());
        // The literal NULL is an array without a validity buffer.
        let nulls = keys[0].logical_nulls();
        WORK.with_borrow_mut(|work| -> Result<()> {
            for (at, users) in (0..).step_by(USERS).zip(codes.chunks(USERS)) {
                self.of(users, work)?;
                for (i, &user) in users.iter().enumerate() {
                    let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(at + i));
                    valid.push(is_valid);
                    let strong = if user == NO_CODE { &[] } else { self.serving.interactions.strong.history(user).items };
                    for (r, s) in work.lists[i].iter().enumerate().filter(|_| is_valid) {
                        rank.push(r as i64 + 1);
                        item.push(s.item);
                        score.push(f64::from(s.score));
                        match (work.sources[i], s.because) {
                            ("popular", _) => reason.append_value("popular"),
                            (_, Some(b)) => {
                                let verb = if strong.binary_search(&b).is_ok() { self.verb } else { "seen" };
                                reason.append_value(format!("{verb} {}", self.names.value(b as usize)));
                            }
                            _ => reason.append_null(),
                        }
                        source.append_value(work.sources[i]);
                    }
                    offsets.push(item.len() as i32);
                }
            }
            Ok(())
        })?;
        let items = take(&self.serving.interactions.items.array, &UInt32Array::from(item), None)?;
        let fields = item_fields(items.data_type().clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(rank)),
            items,
            Arc::new(Float64Array::from(score)),
            Arc::new(reason.finish()),
            Arc::new(source.finish()),
        ];
        lists_of(fields, columns, offsets, valid)
    }
}
