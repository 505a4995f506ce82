//! Table functions whose rows are made for the query: what they share, and the engine's view of them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::args::CallArgs;
use super::common::schema_of;
use super::pin::{KeyTypes, Pin};
use super::spec::FunctionSpec;

/// A function in FROM that is no per-customer scalar.
#[async_trait]
pub trait RelationFunction: Send + Sync + fmt::Debug {
    fn spec(&self) -> &'static FunctionSpec;

    /// That which its spec says, unless columns depend on keys or arguments.
    fn schema(&self, _types: &dyn KeyTypes, _args: &CallArgs) -> Result<SchemaRef> {
        Ok(schema_of(self.spec()))
    }

    /// The rows, with only the columns of `projection` (by index into the schema).
    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch>;

    /// Functions that need no pinned snapshot stream from a provider of their own.
    fn provider(&self, _args: &CallArgs) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(None)
    }
}

/// Makes the pin of a query that nobody has pinned yet.
pub trait PinSource: Send + Sync + fmt::Debug {
    fn pin(self: Arc<Self>, state: &SessionState) -> Arc<dyn Pin>;
}

/// A call of a [`RelationFunction`] as a table. The planner replaces it by one that holds the query's pin.
#[derive(Clone)]
pub struct AnswerTable {
    pub function: &'static dyn RelationFunction,
    pub args: CallArgs,
    schema: SchemaRef,
    source: Arc<dyn PinSource>,
    pub pin: Option<Arc<dyn Pin>>,
}

impl AnswerTable {
    pub fn new(function: &'static dyn RelationFunction, args: CallArgs, types: &dyn KeyTypes, source: Arc<dyn PinSource>) -> Result<Self> {
        let schema = function.schema(types, &args)?;
        Ok(Self { function, args, schema, source, pin: None })
    }

    pub fn pinned(&self, pin: Arc<dyn Pin>) -> Self {
        Self { pin: Some(pin), ..self.clone() }
    }
}

impl fmt::Debug for AnswerTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerTable({})", self.args.display())
    }
}

#[async_trait]
impl TableProvider for AnswerTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return exec_err!("{}() needs a DataFusion SessionState to run in", self.args.spec.name);
        };
        let pin = self.pin.clone().unwrap_or_else(|| Arc::clone(&self.source).pin(state));
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&projection)?);
        let partitions = session.config().target_partitions().max(1);
        let (function, args, planned) = (self.function, self.args.clone(), Arc::clone(&schema));
        let rows: MakeRows = Arc::new(move || {
            let (args, pin, projection) = (args.clone(), Arc::clone(&pin), projection.clone());
            let schema = Arc::clone(&planned);
            async move {
                let rows = function.rows(pin.as_ref(), &args, &projection).await?;
                // The keys may have had another type when the statement, or a view, was planned.
                let columns = rows.columns().iter().zip(schema.fields()).map(|(c, f)| cast(c, f.data_type()));
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                Ok(RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_, _>>()?, &options)?)
            }
            .boxed()
        });
        Ok(Arc::new(LazyExec::new(self.args.display(), schema, partitions, rows)))
    }
}

/// Fewer rows than this are not spread over partitions: small answers keep their order.
const WORTH_A_PARTITION: usize = 8192;

/// Makes the rows of a [`LazyExec`].
pub type MakeRows = Arc<dyn Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync>;

/// Makes its rows once, on first execution, and deals them out in contiguous parts.
pub struct LazyExec {
    title: String,
    make: MakeRows,
    partitions: usize,
    rows: Arc<OnceCell<RecordBatch>>,
    properties: Arc<PlanProperties>,
}

impl LazyExec {
    pub fn new(title: String, schema: SchemaRef, partitions: usize, make: MakeRows) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { title, make, partitions, rows: Arc::default(), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for LazyExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl DisplayAs for LazyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "LazyExec: {}", self.title)
    }
}

impl ExecutionPlan for LazyExec {
    fn name(&self) -> &str {
        "LazyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, cx: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (rows, make, partitions) = (Arc::clone(&self.rows), Arc::clone(&self.make), self.partitions);
        let size = cx.session_config().batch_size().max(1);
        let batches = futures::stream::once(async move {
            let rows = rows.get_or_try_init(|| make()).await?;
            let step = rows.num_rows().div_ceil(partitions).max(WORTH_A_PARTITION);
            let (from, to) = ((partition * step).min(rows.num_rows()), ((partition + 1) * step).min(rows.num_rows()));
            let parts: Vec<Result<RecordBatch>> = (from..to).step_by(size).map(|at| Ok(rows.slice(at, size.min(to - at)))).collect();
            Ok::<_, DataFusionError>(futures::stream::iter(parts))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.try_flatten())))
    }
}

/// Downcasts a provider to one of ours.
pub fn as_answer_table(provider: &dyn TableProvider) -> Option<&AnswerTable> {
    (provider as &dyn Any).downcast_ref()
}
