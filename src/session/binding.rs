//! The planner that binds: before a query runs, its events are pinned, its models found or fitted, and every call of ours
//! replaced by one that holds them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_plan::ExecutionPlan;

use super::engine::Engine;
use super::pin::QueryPin;
use crate::functions::{
    Bound, CallArgs, ClvSum, CustomerUdf, RfmSummary, as_answer_table, as_customer_udf, as_rfm_summary, as_unbound_clv_sum,
};

/// Binds, then plans as the planner it replaces.
#[derive(Debug)]
pub struct BindingPlanner {
    pub engine: Arc<Engine>,
    pub inner: Arc<dyn QueryPlanner + Send + Sync>,
}

/// What of ours a plan holds unbound.
#[derive(Default)]
struct Needs {
    calls: Vec<CallArgs>,
    sums: Vec<CallArgs>,
    summary: bool,
    tables: bool,
}

fn needs(plan: &LogicalPlan) -> Result<Needs> {
    let mut out = Needs::default();
    plan.apply_with_subqueries(|p| {
        if let LogicalPlan::TableScan(t) = p {
            let provider = source_as_provider(&t.source).ok();
            out.tables |= provider.as_deref().and_then(as_answer_table).is_some_and(|a| a.pin.is_none());
        }
        p.apply_expressions(|e| {
            e.apply(|e| {
                match e {
                    Expr::ScalarFunction(f) => {
                        if let Some(udf) = as_customer_udf(&f.func).filter(|u| u.bound.is_none()) {
                            out.calls.push(call_args(udf, &f.args, p)?);
                        }
                    }
                    Expr::AggregateFunction(f) => {
                        if as_unbound_clv_sum(&f.func).is_some() {
                            out.sums.push(sum_args(&f.params.args, p)?);
                        }
                        let unbound = as_rfm_summary(&f.func).is_some_and(|s| !s.is_bound());
                        out.summary |= unbound && f.params.args.len() < 3;
                    }
                    Expr::WindowFunction(f) => {
                        if window_sum(f).is_some() {
                            out.sums.push(sum_args(&f.params.args, p)?);
                        }
                        let unbound = window_summary(f).is_some_and(|s| !s.is_bound());
                        out.summary |= unbound && f.params.args.len() < 3;
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(out)
}

/// The constants of a call in `node`: they stand there, or are projected below under a name, as the engine does with a placeholder that is used
/// more than once.
fn call_args(udf: &CustomerUdf, args: &[Expr], node: &LogicalPlan) -> Result<CallArgs> {
    udf.call_args(&constants(args, node))
}

fn sum_args(args: &[Expr], node: &LogicalPlan) -> Result<CallArgs> {
    ClvSum::call_args(&constants(args, node))
}

/// The arguments as what they are below.
fn constants(args: &[Expr], node: &LogicalPlan) -> Vec<Expr> {
    let inputs = node.inputs();
    args.iter().map(|e| projected(e, &inputs).unwrap_or_else(|| e.clone())).collect()
}

fn window_sum(f: &WindowFunction) -> Option<&ClvSum> {
    match &f.fun {
        WindowFunctionDefinition::AggregateUDF(udaf) => as_unbound_clv_sum(udaf),
        WindowFunctionDefinition::WindowUDF(_) => None,
    }
}

/// What a column is below, if it is no column there.
fn projected(e: &Expr, inputs: &[&LogicalPlan]) -> Option<Expr> {
    let Expr::Column(c) = e else { return None };
    let [input] = inputs else { return None };
    match input {
        LogicalPlan::Projection(p) => match p.expr[p.schema.maybe_index_of_column(c)?].clone().unalias_nested().data {
            column @ Expr::Column(_) => projected(&column, &[&p.input]),
            other => Some(other),
        },
        LogicalPlan::SubqueryAlias(a) => {
            let inner = a.input.schema().qualified_field(a.schema.maybe_index_of_column(c)?);
            projected(&Expr::Column(Column::from(inner)), &[&a.input])
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => projected(e, &input.inputs()),
        // Below anything else one column may have several values: those of the branches of a UNION, or the NULLs of an outer join.
        _ => None,
    }
}

fn window_summary(f: &WindowFunction) -> Option<&RfmSummary> {
    match &f.fun {
        WindowFunctionDefinition::AggregateUDF(udaf) => as_rfm_summary(udaf),
        WindowFunctionDefinition::WindowUDF(_) => None,
    }
}

/// An `events` that is made with functions of ours would need itself to be read.
pub fn refuse_calls(events: &LogicalPlan, name: &str) -> Result<()> {
    let needs = needs(events)?;
    if let Some(call) = needs.calls.iter().chain(&needs.sums).next() {
        return plan_err!("the view '{name}' must not call {}(): that function is computed from '{name}'", call.spec.name);
    }
    if needs.tables || needs.summary {
        return plan_err!("the view '{name}' must not call functions that are computed from '{name}'");
    }
    let mut views = vec![];
    events.apply_with_subqueries(|p| {
        if let LogicalPlan::TableScan(t) = p {
            let provider = source_as_provider(&t.source)?;
            views.extend(provider.get_logical_plan().map(std::borrow::Cow::into_owned));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    views.iter().try_for_each(|view| refuse_calls(view, name))
}

impl BindingPlanner {
    async fn bind(&self, plan: &LogicalPlan, state: &SessionState) -> Result<Option<LogicalPlan>> {
        let needs = needs(plan)?;
        if needs.calls.is_empty() && needs.sums.is_empty() && !needs.summary && !needs.tables {
            return Ok(None);
        }
        let pin = Arc::new(QueryPin::new(Arc::clone(&self.engine), state.clone()));
        let mut bound: HashMap<CallArgs, Arc<Bound>> = HashMap::new();
        for args in needs.calls {
            let kernel = pin.bind(&args).await?;
            bound.insert(args, kernel);
        }
        let mut sums: HashMap<CallArgs, Arc<AggregateUDF>> = HashMap::new();
        for args in needs.sums {
            if let Entry::Vacant(free) = sums.entry(args) {
                let sum = ClvSum::default().bind(pin.as_ref(), free.key()).await?;
                free.insert(Arc::new(sum));
            }
        }
        let as_of = if needs.summary { Some(pin.end_of_observation().await?) } else { None };
        let replace = |e: Expr, node: &LogicalPlan| -> Result<Transformed<Expr>> {
            match e {
                Expr::ScalarFunction(f) => {
                    let new = match as_customer_udf(&f.func).filter(|u| u.bound.is_none()) {
                        Some(udf) => bound.get(&call_args(udf, &f.args, node)?).map(|b| udf.bind(Arc::clone(b))),
                        None => None,
                    };
                    Ok(match new {
                        Some(udf) => Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), f.args))),
                        None => Transformed::no(Expr::ScalarFunction(f)),
                    })
                }
                Expr::AggregateFunction(mut f) if as_unbound_clv_sum(&f.func).is_some() => match sums.get(&sum_args(&f.params.args, node)?)
                {
                    Some(sum) => {
                        f.func = Arc::clone(sum);
                        Ok(Transformed::yes(Expr::AggregateFunction(f)))
                    }
                    None => Ok(Transformed::no(Expr::AggregateFunction(f))),
                },
                Expr::WindowFunction(mut f) if window_sum(&f).is_some() => match sums.get(&sum_args(&f.params.args, node)?) {
                    Some(sum) => {
                        f.fun = WindowFunctionDefinition::AggregateUDF(Arc::clone(sum));
                        Ok(Transformed::yes(Expr::WindowFunction(f)))
                    }
                    None => Ok(Transformed::no(Expr::WindowFunction(f))),
                },
                Expr::AggregateFunction(mut f) => match (as_rfm_summary(&f.func).filter(|s| !s.is_bound()), as_of) {
                    (Some(summary), Some(as_of)) => {
                        f.func = Arc::new(summary.bound(as_of));
                        Ok(Transformed::yes(Expr::AggregateFunction(f)))
                    }
                    _ => Ok(Transformed::no(Expr::AggregateFunction(f))),
                },
                Expr::WindowFunction(mut f) => match (window_summary(&f).filter(|s| !s.is_bound()), as_of) {
                    (Some(summary), Some(as_of)) => {
                        f.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(summary.bound(as_of)));
                        Ok(Transformed::yes(Expr::WindowFunction(f)))
                    }
                    _ => Ok(Transformed::no(Expr::WindowFunction(f))),
                },
                e => Ok(Transformed::no(e)),
            }
        };
        let plan = plan.clone().transform_up_with_subqueries(|p| {
            let p = match p {
                LogicalPlan::TableScan(mut scan) => {
                    let provider = source_as_provider(&scan.source).ok();
                    if let Some(table) = provider.as_deref().and_then(as_answer_table).filter(|a| a.pin.is_none()) {
                        scan.source = provider_as_source(Arc::new(table.pinned(pin.for_call(&table.args)?)));
                    }
                    LogicalPlan::TableScan(scan)
                }
                p => p,
            };
            let node = p.clone();
            p.map_expressions(|e| e.transform_up(|e| replace(e, &node)))
        })?;
        Ok(Some(plan.data))
    }
}

#[async_trait]
impl QueryPlanner for BindingPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        // EXPLAIN shows the plan; it neither reads nor fits.
        if matches!(plan, LogicalPlan::Explain(_)) {
            return self.inner.create_physical_plan(plan, session).await;
        }
        let state = session
            .as_any()
            .downcast_ref::<SessionState>()
            .ok_or_else(|| plan_datafusion_err!("tenure needs a DataFusion SessionState"))?;
        match self.bind(plan, state).await? {
            Some(bound) => self.inner.create_physical_plan(&bound, session).await,
            None => self.inner.create_physical_plan(plan, session).await,
        }
    }
}
