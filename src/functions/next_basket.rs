//! `next_basket(user_id, k)`: what a customer's next order will have.

use std::cmp::Reverse;

use datafusion::arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Fields};

use super::common::{USER, list_type, lists_of};
use super::customer::Lists;
use super::pin::blocking;
use super::prelude::*;
use super::similar_items::K;
use crate::features::{NO_CODE, OrderBaskets};
use crate::models::recommend::TifuKnn;

#[derive(Debug)]
pub struct NextBasket;

static SPEC: FunctionSpec = FunctionSpec {
    name: "next_basket",
    section: "Recommendation",
    form: Form::ScalarAndTable,
    arguments: &[USER, K],
    returns: "List<Struct{rank, item_id, score, source}>",
    unit: "score: comparable within a list; of popular items, the share of all orders that have it",
    columns: &[
        ("user_id", "of the first argument", "the customer"),
        ("rank", "Int64", "1 = likeliest"),
        ("item_id", "as in events", "the item"),
        ("score", "Float64", "above 0"),
        ("source", "Utf8", "'repeat' for an item bought before, 'new' for any other, 'popular' for a user without a purchase"),
    ],
    summary: "The k items that a customer's next order is most likely to have, those bought before among them.",
    behaviour: &[
        "What was bought often and lately comes first, then what customers alike bought. recommend() is for what is new to a customer.",
        "Orders are those of purchases: the lines of one user with one order_id, or of one moment without; an order stands where its last line does.",
        "A user without a purchase gets the items that most orders have, with source = 'popular'.",
        "Never more than k; fewer rows rather than padding; ties go to the smaller item key. No model: the answer is that of the events.",
    ],
    nulls: "NULL user → NULL, and no row in FROM. A user who is not in `events` → popular items.",
    method: "TIFU-kNN: a customer's vector is the mean over the k orders of 0.8^(orders since)·(0/1 of the items); P = 0.2·own vector + 0.8·mean vector of the 50 nearest customers by Euclidean distance.",
    source: "Hu, He, Gao & Zhang (2020), Modeling Personalized Item Frequency Information for Next-basket Recommendation, SIGIR",
    limits: "The day of the week and the time between orders do not count.",
    example: "SELECT user_id, rank, item_id, round(score, 3) AS score, source FROM next_basket('u0000007', 3)",
};

fn fields(item: DataType) -> Fields {
    vec![
        Field::new("rank", DataType::Int64, false),
        Field::new("item_id", item, false),
        Field::new("score", DataType::Float64, false),
        Field::new("source", DataType::Utf8, false),
    ]
    .into()
}

struct Forecast {
    orders: Arc<OrderBaskets>,
    next: Arc<TifuKnn>,
    /// The k items that most orders have, with the share that have them.
    popular: Vec<(u32, f64)>,
    k: usize,
}

#[async_trait]
impl CustomerFunction for NextBasket {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        list_type(fields(types.item_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (orders, k) = (pin.baskets().await?, args.whole("k", 10) as usize);
        blocking(Control::default(), move |control| {
            let next = orders.next(control)?;
            let counts = orders.baskets.item_counts();
            let mut items: Vec<u32> = (0..counts.len() as u32).filter(|&i| counts[i as usize] > 0).collect();
            items.sort_unstable_by_key(|&i| (Reverse(counts[i as usize]), i));
            let n = orders.baskets.len() as f64;
            let popular = items.into_iter().take(k).map(|i| (i, f64::from(counts[i as usize]) / n)).collect();
            Ok(Kernel::Lists(Arc::new(Forecast { orders, next, popular, k })))
        })
        .await
    }
}

impl Lists for Forecast {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let known: Vec<u32> = codes.iter().copied().filter(|c| *c != NO_CODE).collect();
        let mut foreseen = self.next.next_baskets(&known, self.k, &Control::default()).map_err(fit_error)?.into_iter();
        // The literal NULL is an array without a validity buffer.
        let nulls = keys[0].logical_nulls();
        let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(codes.len()));
        let (mut rank, mut item, mut score, mut source) = (vec![], vec![], vec![], vec![]);
        for (i, &code) in codes.iter().enumerate() {
            let list = if code == NO_CODE { vec![] } else { foreseen.next().unwrap_or_default() };
            let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(i));
            valid.push(is_valid);
            if is_valid && list.is_empty() {
                rank.extend(1..=self.popular.len() as i64);
                for &(popular, share) in &self.popular {
                    item.push(popular);
                    score.push(share);
                    source.push("popular");
                }
            } else {
                rank.extend(1..=list.len() as i64);
                for s in &list {
                    item.push(s.item);
                    score.push(s.score);
                    source.push(if s.repeat { "repeat" } else { "new" });
                }
            }
            offsets.push(item.len() as i32);
        }
        let items = &self.orders.interactions.items.array;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(rank)),
            take(items, &UInt32Array::from(item), None)?,
            Arc::new(Float64Array::from(score)),
            Arc::new(StringArray::from(source)),
        ];
        lists_of(fields(items.data_type().clone()), columns, offsets, valid)
    }
}
