//! `simulate_shop(users => , days => , seed => )` and `simulate_shop_truth(...)`: a shop whose truth is known.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{internal_err, plan_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;

use super::prelude::*;
use crate::simulate::{Shop, ShopParams};

#[derive(Debug)]
pub struct SimulateShop;

#[derive(Debug)]
pub struct SimulateShopTruth;

const ARGUMENTS: &[Argument] = &[
    Argument { name: "users", kind: ArgKind::Whole, default: Some("1000"), about: "number of customers, 1 to 100,000,000" },
    Argument { name: "days", kind: ArgKind::Whole, default: Some("365"), about: "length of the log in days, 30 to 3650, from 2024-01-01" },
    Argument { name: "seed", kind: ArgKind::Whole, default: Some("42"), about: "the same seed gives the same shop" },
    Argument { name: "dirt", kind: ArgKind::Number, default: Some("0"), about: "share of dirty rows, 0 to 0.5" },
];

static SHOP: FunctionSpec = FunctionSpec {
    name: "simulate_shop",
    section: "Simulation",
    form: Form::Table,
    arguments: ARGUMENTS,
    returns: "",
    unit: "",
    columns: &[
        ("user_id", "Utf8", "'u0000001' and on"),
        ("ts", "Timestamp", "UTC"),
        ("event_type", "Utf8", "signup, view, cart, purchase, refund, review, share, referral"),
        ("item_id, category, quantity", "", "the item, its category, how many"),
        ("amount", "Decimal(18,2)", "value of a purchase line; negative for a refund"),
        ("order_id, channel, session_id", "Utf8", "order, channel and session"),
        ("rating", "Int64", "1 to 5, with a review"),
        ("referrer_user_id", "Utf8", "who brought the customer, with the signup"),
        ("currency", "Utf8", "'GBP'"),
    ],
    summary: "The event log of a simulated shop with known truth, for demos and tests.",
    behaviour: &[
        "Purchases follow BG/NBD with gamma-gamma spend; views and carts precede them; tastes make recommendation learnable.",
        "The same arguments give the same rows, whatever the number of threads; dirt adds dirty rows and leaves the clean ones as they are.",
        "The truth of every customer is in simulate_shop_truth with the same arguments.",
    ],
    nulls: "",
    method: "Each customer is generated from a random stream of their own, seeded by (seed, customer).",
    source: "The BG/NBD story of Fader, Hardie & Lee (2005)",
    limits: "",
    example: "SELECT event_type, count(*) AS n FROM simulate_shop(users => 100, days => 90, seed => 7) GROUP BY 1 ORDER BY 1 LIMIT 3",
};

static TRUTH: FunctionSpec = FunctionSpec {
    name: "simulate_shop_truth",
    section: "Simulation",
    form: Form::Table,
    arguments: ARGUMENTS,
    returns: "",
    unit: "",
    columns: &[("user_id, joined, lambda_per_day, dropout_prob, mean_order_value, alive, …", "", "one row a customer; SELECT * shows all")],
    summary: "What is true of every customer of simulate_shop with the same arguments: rates, taste, and their future after the log ends.",
    behaviour: &["The future columns hold what the same customers do after the end of the log: predictions can be checked against them."],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "SELECT count(*) AS users FROM simulate_shop_truth(users => 100, days => 90, seed => 7) WHERE alive",
};

/// Customers generated together.
const CHUNK: u64 = 512;

fn shop(args: &CallArgs) -> Result<Shop> {
    let (users, days) = (args.whole("users", 1000), args.whole("days", 365));
    let params = ShopParams::new(users, u32::try_from(days).unwrap_or(u32::MAX), args.whole("seed", 42), args.number("dirt", 0.0));
    Ok(Shop::new(params.map_err(|e| plan_datafusion_err!("{}(): {e}", args.spec.name))?))
}

struct ShopTable {
    definition: String,
    shop: Arc<Shop>,
    users: u64,
    truth: bool,
}

impl ShopTable {
    fn provider(args: &CallArgs, truth: bool) -> Result<Arc<dyn TableProvider>> {
        let shop = Arc::new(shop(args)?);
        Ok(Arc::new(Self { definition: args.display(), shop, users: args.whole("users", 1000), truth }))
    }
}

#[async_trait]
impl TableProvider for ShopTable {
    fn schema(&self) -> SchemaRef {
        if self.truth { Shop::truth_schema() } else { Shop::events_schema() }
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.definition)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = (session.config().target_partitions() as u64).clamp(1, self.users.div_ceil(CHUNK));
        let step = self.users.div_ceil(CHUNK).div_ceil(parts) * CHUNK;
        let partitions = (0..parts)
            .map(|p| {
                let (from, to) = ((p * step).min(self.users), ((p + 1) * step).min(self.users));
                Arc::new(Part { shop: Arc::clone(&self.shop), schema: self.schema(), from, to, truth: self.truth })
                    as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(self.schema(), partitions, projection, None, false, limit)?))
    }
}

impl std::fmt::Debug for ShopTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.definition)
    }
}

/// A range of customers, generated as it is read.
struct Part {
    shop: Arc<Shop>,
    schema: SchemaRef,
    from: u64,
    to: u64,
    truth: bool,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "customers {} to {}", self.from, self.to)
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, cx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (shop, truth, to) = (Arc::clone(&self.shop), self.truth, self.to);
        let size = cx.session_config().batch_size().max(1);
        let chunks = (self.from..self.to).step_by(CHUNK as usize);
        let batches = futures::stream::iter(chunks).flat_map(move |at| {
            let users = at..(at + CHUNK).min(to);
            let batch = if truth { shop.truth(users) } else { shop.events(users) };
            let slices: Vec<_> = (0..batch.num_rows()).step_by(size).map(|i| Ok(batch.slice(i, size.min(batch.num_rows() - i)))).collect();
            futures::stream::iter(slices)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

macro_rules! shop_function {
    ($name:ident, $spec:expr, $truth:expr, $schema:expr) => {
        #[async_trait]
        impl RelationFunction for $name {
            fn spec(&self) -> &'static FunctionSpec {
                &$spec
            }

            fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
                Ok($schema)
            }

            async fn rows(&self, _: &dyn Pin, _: &CallArgs, _: &[usize]) -> Result<RecordBatch> {
                internal_err!("a simulated shop streams from its own provider")
            }

            fn provider(&self, args: &CallArgs) -> Result<Option<Arc<dyn TableProvider>>> {
                ShopTable::provider(args, $truth).map(Some)
            }
        }
    };
}

shop_function!(SimulateShop, SHOP, false, Shop::events_schema());
shop_function!(SimulateShopTruth, TRUTH, true, Shop::truth_schema());
