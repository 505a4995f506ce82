//! `association_rules()`: who buys these buys that, of all orders.

use std::cmp::Reverse;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::plan_err;

use super::pin::blocking;
use super::prelude::*;
use crate::features::OrderBaskets;
use crate::models::recommend::{MinSupport, Rule, frequent_itemsets, rules};

#[derive(Debug)]
pub struct AssociationRulesFunction;

static SPEC: FunctionSpec = FunctionSpec {
    name: "association_rules",
    section: "Recommendation",
    form: Form::Table,
    arguments: &[
        Argument {
            name: "min_support",
            kind: ArgKind::Number,
            default: Some("0.01"),
            about: "how many orders must have all items of a rule: below 1 a share of the orders, from 1 a count",
        },
        Argument {
            name: "min_confidence",
            kind: ArgKind::Number,
            default: Some("0.1"),
            about: "share that must have the consequent, of the orders that have the antecedent",
        },
        Argument { name: "max_len", kind: ArgKind::Whole, default: Some("3"), about: "how many items a rule has at most, from 2 to 10" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("antecedent", "List of items", "who has these, ascending"),
        ("consequent", "List of items", "has these, ascending"),
        ("count", "Int64", "orders that have all of both"),
        ("support", "Float64", "the same as a share of all orders"),
        ("confidence", "Float64", "share that have the consequent, of the orders that have the antecedent"),
        ("lift", "Float64", "confidence / share of all orders that have the consequent"),
        ("leverage", "Float64", "support − what it were if the two were independent"),
        ("conviction", "Float64", "(1 − share of all orders that have the consequent) / (1 − confidence); NULL at a confidence of 1"),
    ],
    summary: "The rules of what is bought together in one order.",
    behaviour: &[
        "Orders are those of purchases: the lines of one user with one order_id, or of one moment without; an item counts once.",
        "The order is by lift, the largest first, then by count, then by antecedent and consequent, ascending.",
        "A share that comes to less than two orders means two: a rule of one order is none. min_support => 1 asks for those all the same.",
        "A lift below 1 means that the two are bought together less often than if they had nothing to do with each other.",
        "More than 5,000,000 sets of items or rules are an error that says what to change.",
    ],
    nulls: "Rows without an item are left out. An `events` without purchases has no rule.",
    method: "Frequent itemsets by FP-growth; every part of a set may be the consequent.",
    source: "Agrawal, Imielinski & Swami (1993), Mining association rules between sets of items in large databases, SIGMOD; Han, Pei & Yin (2000), Mining frequent patterns without candidate generation, SIGMOD; Brin, Motwani, Ullman & Tsur (1997), Dynamic itemset counting and implication rules for market basket data, SIGMOD",
    limits: "The largest lifts are those of rare items: raise min_support for rules to act on, or use cross_sell(), which weighs how reliable a rule is.",
    example: "SELECT antecedent, consequent, count, round(confidence, 3) AS confidence, round(lift, 2) AS lift FROM association_rules(min_support => 2) LIMIT 5",
};

fn schema(item: DataType) -> SchemaRef {
    let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
    let float = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("antecedent", list.clone(), false),
        Field::new("consequent", list, false),
        Field::new("count", DataType::Int64, false),
        float("support"),
        float("confidence"),
        float("lift"),
        float("leverage"),
        float("conviction"),
    ]))
}

/// What a call asks for.
struct Ask {
    min_support: MinSupport,
    min_confidence: f64,
    max_len: usize,
}

impl Ask {
    fn of(args: &CallArgs) -> Result<Self> {
        let refuse = |name: &str, given: String, allowed: &str| {
            plan_err!("association_rules(): {name} = {given}: allowed is {allowed}. Form: {}", SPEC.signature())
        };
        let support = args.number("min_support", 0.01);
        if !(support > 0.0 && support < 1.0 || support >= 1.0 && support.fract() == 0.0 && support <= f64::from(u32::MAX)) {
            return refuse(
                "min_support",
                support.to_string(),
                "a share of the orders above 0 and below 1, or a count, a whole number from 1",
            );
        }
        let min_confidence = args.number("min_confidence", 0.1);
        if !(0.0..=1.0).contains(&min_confidence) {
            return refuse("min_confidence", min_confidence.to_string(), "a share from 0 to 1");
        }
        match args.whole("max_len", 3) {
            max_len @ 2..=10 => Ok(Self { min_support: MinSupport::of(support), min_confidence, max_len: max_len as usize }),
            other => refuse("max_len", other.to_string(), "a whole number from 2 to 10"),
        }
    }

    fn rules(&self, orders: &OrderBaskets, control: &Control) -> Result<Vec<Rule>> {
        let baskets = &orders.baskets;
        let least = match self.min_support {
            share @ MinSupport::Share(_) => share.count(baskets.len()).max(2),
            MinSupport::Count(count) => count,
        };
        let sets = frequent_itemsets(baskets, MinSupport::Count(least), self.max_len, control).map_err(fit_error)?;
        let mut found = rules(&sets, self.min_confidence, self.max_len - 1, control).map_err(fit_error)?;
        found.sort_by(|a, b| {
            let order = b.counts.lift().total_cmp(&a.counts.lift()).then(Reverse(a.counts.both).cmp(&Reverse(b.counts.both)));
            order.then_with(|| a.antecedent.cmp(&b.antecedent)).then_with(|| a.consequent.cmp(&b.consequent))
        });
        Ok(found)
    }
}

/// The items of one side of every rule.
fn side(items: &ArrayRef, rules: &[Rule], of: fn(&Rule) -> &[u32]) -> Result<ArrayRef> {
    let codes: UInt32Array = rules.iter().flat_map(|r| of(r).iter().copied()).collect::<Vec<_>>().into();
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(rules.iter().map(|r| of(r).len()));
    Ok(Arc::new(ListArray::try_new(field, offsets, take(items, &codes, None)?, None)?))
}

#[async_trait]
impl RelationFunction for AssociationRulesFunction {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, types: &dyn KeyTypes, args: &CallArgs) -> Result<SchemaRef> {
        Ask::of(args)?;
        Ok(schema(types.item_type()))
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (ask, orders) = (Ask::of(args)?, pin.baskets().await?);
        let projection = projection.to_vec();
        blocking(Control::default(), move |control| {
            let rules = ask.rules(&orders, control)?;
            let items = &orders.interactions.items.array;
            let float = |f: &dyn Fn(&Rule) -> Option<f64>| -> ArrayRef { Arc::new(rules.iter().map(f).collect::<Float64Array>()) };
            let columns: Vec<ArrayRef> = vec![
                side(items, &rules, |r| &r.antecedent)?,
                side(items, &rules, |r| &r.consequent)?,
                Arc::new(Int64Array::from_iter_values(rules.iter().map(|r| i64::from(r.counts.both)))),
                float(&|r| Some(r.counts.support())),
                float(&|r| Some(r.counts.confidence())),
                float(&|r| Some(r.counts.lift())),
                float(&|r| Some(r.counts.leverage())),
                float(&|r| r.counts.conviction()),
            ];
            Ok(RecordBatch::try_new(schema(items.data_type().clone()), columns)?.project(&projection)?)
        })
        .await
    }
}
