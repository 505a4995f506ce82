//! `cross_sell(basket, k)`: what else goes into a basket.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Field, Fields};

use super::common::{list_type, lists_of};
use super::customer::Lists;
use super::pin::blocking;
use super::prelude::*;
use super::similar_items::K;
use crate::features::{NO_CODE, OrderBaskets};
use crate::models::recommend::{CrossSellParams, CrossSeller};

#[derive(Debug)]
pub struct CrossSellFunction;

static SPEC: FunctionSpec = FunctionSpec {
    name: "cross_sell",
    section: "Recommendation",
    form: Form::ScalarAndTable,
    arguments: &[
        Argument {
            name: "basket",
            kind: ArgKind::Items,
            default: None,
            about: "the key of an item, or a list of them: make_array('a', 'b')",
        },
        K,
        Argument {
            name: "min_count",
            kind: ArgKind::Count,
            default: Some("2"),
            about: "how many orders must have an item together with what speaks for it",
        },
    ],
    returns: "List<Struct{item_id, rank, support, confidence, lift, conviction, expected_revenue, because_item}>",
    unit: "expected_revenue: the currency's unit, as in amount",
    columns: &[
        ("basket", "of the first argument", "the item or the list"),
        ("item_id", "as in events", "the item that goes with it"),
        ("rank", "Int64", "1 = best"),
        ("support", "Float64", "share of all orders that have both"),
        ("confidence", "Float64", "share that have the item, of the orders that have what speaks for it"),
        ("lift", "Float64", "confidence / share of all orders that have the item; above 1"),
        ("conviction", "Float64", "(1 − share of all orders that have the item) / (1 − confidence); NULL at a confidence of 1"),
        ("expected_revenue", "Float64", "confidence · mean amount of the item in an order; NULL where no amount is known"),
        ("because_item", "as in events", "the item of the basket that speaks for it; NULL where the whole basket does"),
    ],
    summary: "The k items that go best with an item, or with all items of a basket.",
    behaviour: &[
        "Orders are those of purchases: the lines of one user with one order_id, or of one moment without.",
        "A basket of several items speaks as a whole where 50 orders or more have all of it. Else each item is judged by the one item of the basket that speaks for it most reliably: because_item.",
        "Only items of a lift above 1; never one of the basket; never more than k; fewer rows rather than padding.",
        "The order is by expected revenue, counted with the lower end of the 95 % interval of the confidence (Wilson), so that 3 of 3 orders do not stand before 290 of 300; without amounts by that end alone. Ties go to the smaller key.",
        "The amount is the mean of an order's lines of the item, of orders where it is known; refunds are not taken off. An item without any is placed as if it had the mean of the others.",
    ],
    nulls: "NULL, an item that is not in `events`, and a list without any that is → NULL, and no row in FROM. Unknown items of a list, and NULLs in it, are left out.",
    method: "confidence = P(item | basket), lift = confidence / P(item), over orders.",
    source: "Agrawal, Imielinski & Swami (1993), Mining association rules between sets of items in large databases, SIGMOD; Brin, Motwani, Ullman & Tsur (1997), Dynamic itemset counting and implication rules for market basket data, SIGMOD; Wilson (1927), JASA 22(158)",
    limits: "Orders of one item say nothing about what goes together, but count.",
    example: "SELECT item_id, rank, round(confidence, 3) AS confidence, round(lift, 2) AS lift FROM cross_sell('P00001', 3)",
};

fn fields(item: DataType) -> Fields {
    vec![
        Field::new("item_id", item.clone(), false),
        Field::new("rank", DataType::Int64, false),
        Field::new("support", DataType::Float64, false),
        Field::new("confidence", DataType::Float64, false),
        Field::new("lift", DataType::Float64, false),
        Field::new("conviction", DataType::Float64, true),
        Field::new("expected_revenue", DataType::Float64, true),
        Field::new("because_item", item, true),
    ]
    .into()
}

struct Seller {
    orders: Arc<OrderBaskets>,
    /// The mean amount of every item, that of all where its own is not known.
    amounts: Option<Vec<f64>>,
    params: CrossSellParams,
    k: usize,
}

#[async_trait]
impl CustomerFunction for CrossSellFunction {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        list_type(fields(types.item_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let orders = pin.baskets().await?;
        let params = CrossSellParams { min_count: args.whole("min_count", 2) as u32, ..CrossSellParams::default() };
        let k = args.whole("k", 10) as usize;
        blocking(Control::default(), move |_| {
            orders.by_item()?;
            let amounts = orders.amounts.as_ref().and_then(|amounts| {
                let known: Vec<f64> = amounts.iter().copied().flatten().collect();
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                (!known.is_empty()).then(|| amounts.iter().map(|a| a.unwrap_or(mean)).collect())
            });
            Ok(Kernel::Lists(Arc::new(Seller { orders, amounts, params, k })))
        })
        .await
    }
}

/// Keys of items, one after another, and where those of each row are.
fn rows(keys: &ArrayRef) -> Result<(ArrayRef, Vec<Range<usize>>)> {
    let lists = match keys.data_type() {
        DataType::List(_) => Arc::clone(keys),
        DataType::LargeList(f) | DataType::FixedSizeList(f, _) => cast(keys, &DataType::List(Arc::clone(f)))?,
        _ => return Ok((Arc::clone(keys), (0..keys.len()).map(|i| i..i + 1).collect())),
    };
    let lists = lists.as_list::<i32>();
    let of = |i: usize| if lists.is_null(i) { 0..0 } else { lists.value_offsets()[i] as usize..lists.value_offsets()[i + 1] as usize };
    Ok((Arc::clone(lists.values()), (0..lists.len()).map(of).collect()))
}

impl Lists for Seller {
    fn lists(&self, keys: &[ArrayRef], _: &[u32]) -> Result<ArrayRef> {
        let OrderBaskets { interactions, baskets, amounts, .. } = self.orders.as_ref();
        let (keys, rows) = rows(&keys[0])?;
        let codes = interactions.items.lookup(&keys)?;
        let seller = CrossSeller::new(baskets, self.orders.by_item()?, self.amounts.as_deref()).map_err(fit_error)?;
        let (mut offsets, mut valid, mut found, mut rank) = (vec![0i32], vec![], vec![], vec![]);
        for row in rows {
            let known: Vec<u32> = codes[row].iter().copied().filter(|c| *c != NO_CODE).collect();
            let of_row = seller.of(&known, &self.params, self.k);
            valid.push(!known.is_empty());
            rank.extend(1..=of_row.len() as i64);
            found.extend(of_row);
            offsets.push(found.len() as i32);
        }
        let names = |codes: UInt32Array| take(&interactions.items.array, &codes, None);
        let has_amount = |item: u32| amounts.as_ref().is_some_and(|a| a[item as usize].is_some());
        let columns: Vec<ArrayRef> = vec![
            names(found.iter().map(|c| c.item).collect::<Vec<_>>().into())?,
            Arc::new(Int64Array::from(rank)),
            Arc::new(Float64Array::from_iter_values(found.iter().map(|c| c.counts.support()))),
            Arc::new(Float64Array::from_iter_values(found.iter().map(|c| c.counts.confidence()))),
            Arc::new(Float64Array::from_iter_values(found.iter().map(|c| c.counts.lift()))),
            Arc::new(Float64Array::from_iter(found.iter().map(|c| c.counts.conviction()))),
            Arc::new(Float64Array::from_iter(found.iter().map(|c| c.expected_revenue.filter(|_| has_amount(c.item))))),
            names(found.iter().map(|c| c.because).collect())?,
        ];
        lists_of(fields(interactions.items.array.data_type().clone()), columns, offsets, valid)
    }
}
