//! `similar_items(item, k)`: items that the same customers have had.

use std::cell::RefCell;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Fields};
use datafusion::common::plan_err;

use super::common::{list_type, lists_of};
use super::customer::Lists;
use super::pin::blocking;
use super::prelude::*;
use crate::features::{Interactions, NO_CODE};
use crate::models::recommend::{Likeness, Shared, most_similar};

#[derive(Debug)]
pub struct SimilarItems;

pub const ITEM: Argument = Argument { name: "item_id", kind: ArgKind::Item, default: None, about: "the item's key" };

pub const K: Argument = Argument { name: "k", kind: ArgKind::Count, default: Some("10"), about: "how many at most" };

pub const METRIC: Argument = Argument { name: "metric", kind: ArgKind::Text, default: Some("'cosine'"), about: "'cosine', or 'jaccard'" };

pub const METHOD: &str = "With A and B the sets that two have: cosine = |A ∩ B| / √(|A|·|B|), jaccard = |A ∩ B| / |A ∪ B|.";

static SPEC: FunctionSpec = FunctionSpec {
    name: "similar_items",
    section: "Recommendation",
    form: Form::ScalarAndTable,
    arguments: &[ITEM, K, METRIC],
    returns: "List<Struct{id, rank, similarity, support}>",
    unit: "similarity: from 0 to 1",
    columns: &[
        ("item_id", "of the first argument", "the item"),
        ("id", "as in events", "the item like it"),
        ("rank", "Int64", "1 = most alike"),
        ("similarity", "Float64", "from 0 to 1"),
        ("support", "Int64", "customers who have had both"),
    ],
    summary: "The items most like an item, by the customers who have had both.",
    behaviour: &[
        "To have had an item is to have bought or rated it; in a log without purchases and ratings, to have viewed it or put it into a cart.",
        "No model: the answer is that of the events. Ties go to the smaller key; an item that nobody shares is not like it.",
    ],
    nulls: "NULL, and an item that is not in `events` → NULL, and no row in FROM.",
    method: METHOD,
    source: "",
    limits: "",
    example: "SELECT id, rank, round(similarity, 3) AS similarity, support FROM similar_items('P00001', 3)",
};

/// Which keys are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Items,
    Users,
}

/// Lists of what is most alike.
pub struct Alike {
    pub of: Of,
    pub interactions: Arc<Interactions>,
    /// The keys that answers are made of, by code.
    pub names: ArrayRef,
    pub likeness: Likeness,
    pub k: usize,
}

pub fn fields(id: DataType) -> Fields {
    vec![
        Field::new("id", id, false),
        Field::new("rank", DataType::Int64, false),
        Field::new("similarity", DataType::Float64, false),
        Field::new("support", DataType::Int64, false),
    ]
    .into()
}

/// The likeness that a call asks for.
pub fn likeness(args: &CallArgs) -> Result<Likeness> {
    match args.text("metric").unwrap_or("cosine").to_lowercase().as_str() {
        "cosine" => Ok(Likeness::Cosine),
        "jaccard" => Ok(Likeness::Jaccard),
        other => plan_err!("{}(): metric = '{other}': allowed is 'cosine', 'jaccard'. Form: {}", args.spec.name, args.spec.signature()),
    }
}

#[async_trait]
impl CustomerFunction for SimilarItems {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        list_type(fields(types.item_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let interactions = pin.interactions().await?;
        let names = Arc::clone(&interactions.items.array);
        Alike { of: Of::Items, interactions, names, likeness: likeness(args)?, k: args.whole("k", 10) as usize }.kernel().await
    }
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

impl Alike {
    pub async fn kernel(self) -> Result<Kernel> {
        blocking(Control::default(), move |_| {
            self.interactions.by_item()?;
            Ok(Kernel::Lists(Arc::new(self)))
        })
        .await
    }
}

impl Lists for Alike {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let (by_user, by_item) = (&self.interactions.feedback().weights, self.interactions.by_item()?);
        let looked_up;
        let (codes, matrix, transpose) = match self.of {
            Of::Users => (codes, by_user, by_item),
            Of::Items => {
                looked_up = self.interactions.items.lookup(&keys[0])?;
                (looked_up.as_slice(), by_item, by_user)
            }
        };
        let (mut id, mut rank, mut similarity, mut support) = (vec![], vec![], vec![], vec![]);
        let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(codes.len()));
        SHARED.with_borrow_mut(|shared| {
            for &code in codes {
                valid.push(code != NO_CODE);
                if code != NO_CODE {
                    let found = most_similar(code, matrix, transpose, self.likeness, self.k, shared);
                    for (r, s) in found.iter().enumerate() {
                        id.push(s.row);
                        rank.push(r as i64 + 1);
                        similarity.push(s.similarity);
                        support.push(i64::from(s.support));
                    }
                }
                offsets.push(id.len() as i32);
            }
        });
        let id = take(&self.names, &UInt32Array::from(id), None)?;
        let fields = fields(id.data_type().clone());
        let columns: Vec<ArrayRef> =
            vec![id, Arc::new(Int64Array::from(rank)), Arc::new(Float64Array::from(similarity)), Arc::new(Int64Array::from(support))];
        lists_of(fields, columns, offsets, valid)
    }
}
