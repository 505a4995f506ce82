//! `recommend(user_id, k)`: what to offer a customer next.

use std::cell::RefCell;

use datafusion::arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StringBuilder, StructArray, UInt32Array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Field, FieldRef, Fields};

use super::common::{MODEL, USER};
use super::customer::Lists;
use super::pin::{Versioned, blocking};
use super::prelude::*;
use crate::features::{Interactions, NO_CODE};
use crate::models::recommend::{Filter, History, ItemModel, Scored, Scores};

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
        "In FROM: recommend(k => 10) for everybody, recommend('u1', 5), recommend((SELECT user_id FROM vip), 5), FROM vip v, recommend(v.user_id, 5).",
    ],
    nulls: "NULL user → NULL, and no row in FROM. A user who is not in `events` → popular items.",
    method: "Item-based nearest neighbours: score(i) = Σ over the history of the similarity of i to each item, similarities by cosine of TF-IDF weighted columns, each item keeping its 20 nearest, itself counted; or popularity. The auto model is whichever of the two scores better on held-out items.",
    source: "Deshpande & Karypis (2004), Item-based top-N recommendation algorithms, ACM TOIS 22(1)",
    limits: "The order of events counts with model_type = 'seq_knn' only.",
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

fn list_field(item_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(item_fields(item_type)), true))
}

/// Item codes of the model that are no longer, or not yet, in the events.
const ABSENT: u32 = NO_CODE;

struct Recommender {
    interactions: Arc<Interactions>,
    fitted: Arc<Versioned<ItemModel>>,
    /// Event item code → model item code, and back.
    to_model: Vec<u32>,
    from_model: Vec<u32>,
    /// Model codes whose items are not in the events, ascending: never offered.
    gone: Vec<u32>,
    /// Event item codes by descending number of users, ties by code, with that number.
    popular: Vec<(u32, f32)>,
    names: StringArray,
    k: usize,
    exclude_seen: bool,
    /// What users have done with the items of their strong interactions.
    verb: &'static str,
}

#[async_trait]
impl CustomerFunction for Recommend {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        DataType::List(list_field(types.item_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let interactions = pin.interactions().await?;
        let fitted = pin.recommender(args.text("model")).await?;
        let k = args.whole("k", 10) as usize;
        let exclude_seen = args.flag("exclude_seen", true) && !args.flag("repeat", false);
        let customers = pin.customers().await?;
        blocking(Control::default(), move |_| {
            let bought = customers.orders.iter().any(|&o| o > 0);
            Ok(Kernel::Lists(Arc::new(Recommender::new(interactions, fitted, k, exclude_seen, bought)?)))
        })
        .await
    }
}

impl Recommender {
    fn new(
        interactions: Arc<Interactions>,
        fitted: Arc<Versioned<ItemModel>>,
        k: usize,
        exclude_seen: bool,
        anybody_bought: bool,
    ) -> Result<Self> {
        let known: ArrayRef = Arc::new(StringArray::from_iter_values(&fitted.model.items));
        let from_model = interactions.items.lookup(&known)?;
        let mut to_model = vec![ABSENT; interactions.items.len()];
        for (code, &at) in from_model.iter().enumerate() {
            if at != ABSENT {
                to_model[at as usize] = code as u32;
            }
        }
        let gone = (0..from_model.len() as u32).filter(|&c| from_model[c as usize] == ABSENT).collect();
        let mut users = vec![0u32; interactions.items.len()];
        interactions.feedback().weights.columns.iter().for_each(|&i| users[i as usize] += 1);
        let mut popular: Vec<(u32, f32)> = (0..).zip(&users).filter(|(_, n)| **n > 0).map(|(i, &n)| (i, n as f32)).collect();
        popular.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let names = cast(&interactions.items.array, &DataType::Utf8)?;
        let names = datafusion::arrow::array::AsArray::as_string::<i32>(&names).clone();
        let verb = if anybody_bought { "bought" } else { "rated" };
        Ok(Self { to_model, from_model, gone, popular, names, k, exclude_seen, verb, interactions, fitted })
    }

    /// The user's list, in event item codes: (item, score, reason).
    fn one(&self, user: u32, work: &mut Work) -> &'static str {
        work.out.clear();
        let history = if user == NO_CODE { History::default() } else { self.interactions.history(user) };
        self.translate(history, work);
        if !work.items.is_empty() {
            self.by_model(work);
        }
        if !work.out.is_empty() {
            return "model";
        }
        // The model knows nothing of this user, or of the items of this user.
        let seen = |i: u32| self.exclude_seen && history.items.binary_search(&i).is_ok();
        let popular = self.popular.iter().filter(|(i, _)| !seen(*i)).take(self.k);
        work.out.extend(popular.map(|&(item, score)| Scored { item, score, because: None }));
        "popular"
    }

    /// The history in item codes of the model, without the items it does not know.
    fn translate(&self, history: History<'_>, work: &mut Work) {
        work.entries.clear();
        let known = history.items.iter().enumerate().map(|(at, &i)| (self.to_model[i as usize], at)).filter(|(i, _)| *i != ABSENT);
        work.entries.extend(known);
        work.entries.sort_unstable();
        work.items.clear();
        work.weights.clear();
        work.last_us.clear();
        for &(item, at) in &work.entries {
            work.items.push(item);
            work.weights.push(history.weights[at]);
            work.last_us.push(history.last_us[at]);
        }
    }

    /// The model's list for the history in `work`, which is what is left out of it.
    fn by_model(&self, work: &mut Work) {
        work.exclude.clear();
        if self.exclude_seen {
            work.exclude.extend(&work.items);
        }
        work.exclude.extend(&self.gone);
        work.exclude.sort_unstable();
        let user = History { items: &work.items, weights: &work.weights, last_us: &work.last_us, ratings: &[], user: None };
        let filter = Filter { exclude: &work.exclude, candidates: None };
        self.fitted.model.recommender.top_k(user, filter, self.k, &mut work.scores, &mut work.out);
        for s in &mut work.out {
            s.item = self.from_model[s.item as usize];
            s.because = s.because.map(|b| self.from_model[b as usize]).filter(|b| *b != ABSENT);
        }
    }
}

/// What one thread needs while it makes lists.
#[derive(Default)]
struct Work {
    scores: Scores,
    /// Item codes of the model, and where in the history they come from.
    entries: Vec<(u32, usize)>,
    items: Vec<u32>,
    weights: Vec<f32>,
    last_us: Vec<i64>,
    exclude: Vec<u32>,
    out: Vec<Scored>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

impl Lists for Recommender {
    fn lists(&self, users: &ArrayRef, codes: &[u32]) -> Result<ArrayRef> {
        let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(codes.len()));
        let (mut rank, mut item, mut score) = (vec![], vec![], vec![]);
        let (mut reason, mut source) = (StringBuilder::new(), StringBuilder::new());
        // The literal NULL is an array without a validity buffer.
        let nulls = users.logical_nulls();
        WORK.with_borrow_mut(|work| {
            for (i, &user) in codes.iter().enumerate() {
                let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(i));
                valid.push(is_valid);
                if is_valid {
                    let from = self.one(user, work);
                    let verb = if user != NO_CODE && self.interactions.strong.history(user).items.is_empty() { "seen" } else { self.verb };
                    for (r, s) in work.out.iter().enumerate() {
                        rank.push(r as i64 + 1);
                        item.push(s.item);
                        score.push(f64::from(s.score));
                        match (from, s.because) {
                            ("popular", _) => reason.append_value("popular"),
                            (_, Some(b)) => reason.append_value(format!("{verb} {}", self.names.value(b as usize))),
                            _ => reason.append_null(),
                        }
                        source.append_value(from);
                    }
                }
                offsets.push(item.len() as i32);
            }
        });
        let items = take(&self.interactions.items.array, &UInt32Array::from(item), None)?;
        let fields = item_fields(items.data_type().clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(rank)),
            items,
            Arc::new(Float64Array::from(score)),
            Arc::new(reason.finish()),
            Arc::new(source.finish()),
        ];
        let structs = StructArray::new(fields.clone(), columns, None);
        let field = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(ListArray::new(field, offsets, Arc::new(structs), Some(NullBuffer::from(valid)))))
    }
}
