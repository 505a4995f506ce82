//! Calls in FROM: `recommend('u1', k => 5)`, `f((SELECT user_id FROM vip))`, `LATERAL f(u.user_id)`, `customers()`.
//!
//! A per-customer function in FROM becomes its scalar call over a relation of users, unnested: built-in plan nodes only.
//! A call with a column of an outer relation waits as a [`LateralCall`] until the analyzer folds it into its join.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, NullHandling, Result, ScalarValue, TableReference, UnnestOptions, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{
    Expr, Extension, Join, JoinType, LogicalPlan, LogicalPlanBuilder, ScalarUDF, UserDefinedLogicalNodeCore, lit,
};
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::prelude::{col, ident};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor};

use super::engine::Engine;
use crate::functions::{
    AnswerTable, ArgKind, CUSTOMER_FUNCTIONS, CallArgs, CustomerFunction, CustomerUdf, Form, FunctionSpec, RELATION_FUNCTIONS,
    RelationFunction, spec,
};

/// The name of a call, when it is one part and one of ours.
pub fn our_spec(name: &ast::ObjectName) -> Option<&'static FunctionSpec> {
    match name.0.as_slice() {
        [part] => part.as_ident().and_then(|i| spec(&i.value)),
        _ => None,
    }
}

/// Arguments by position of the spec; named ones found by name, gaps `None`. `first` is 1 when the user was left out.
pub fn by_position(spec: &FunctionSpec, args: Vec<FunctionArg>, user_optional: bool) -> Result<Vec<Option<ast::Expr>>, String> {
    let mut out: Vec<Option<ast::Expr>> = vec![None; spec.arguments.len()];
    let (mut named, given) = (false, args.len());
    for (i, arg) in args.into_iter().enumerate() {
        let (at, value) = match arg {
            FunctionArg::Named { name, arg, .. } => (spec.position(&name.value)?, arg),
            FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), arg, .. } => (spec.position(&name.value)?, arg),
            FunctionArg::ExprNamed { name, .. } => return Err(format!("{}(): '{name}' is not the name of an argument", spec.name)),
            FunctionArg::Unnamed(_) if named => {
                return Err(format!("{}(): an argument without a name follows one with a name. Form: {}", spec.name, spec.signature()));
            }
            FunctionArg::Unnamed(value) if i < out.len() => {
                if out[i].is_some() {
                    return Err(format!("{}(): {} is given twice", spec.name, spec.arguments[i].name));
                }
                out[i] = Some(expression(spec, spec.arguments[i].kind, value)?);
                continue;
            }
            FunctionArg::Unnamed(_) => return Err(spec.wrong_count(given)),
        };
        named = true;
        if out[at].is_some() {
            return Err(format!("{}(): {} is given twice", spec.name, spec.arguments[at].name));
        }
        out[at] = Some(expression(spec, spec.arguments[at].kind, value)?);
    }
    let missing =
        spec.arguments.iter().zip(&out).find(|(a, v)| a.default.is_none() && v.is_none() && !(user_optional && a.kind == ArgKind::User));
    match missing {
        Some((a, _)) => Err(format!("{}() needs {}. Form: {}", spec.name, a.name, spec.signature())),
        None => Ok(out),
    }
}

fn expression(spec: &FunctionSpec, kind: ArgKind, arg: FunctionArgExpr) -> Result<ast::Expr, String> {
    match arg {
        // A query is run on its own: its text is the constant.
        FunctionArgExpr::Expr(ast::Expr::Subquery(query)) if kind == ArgKind::Query => {
            Ok(ast::Expr::Value(ast::Value::SingleQuotedString(query.to_string()).into()))
        }
        FunctionArgExpr::Expr(e) => Ok(e),
        other => Err(format!("{}(): '{other}' is not an argument. Form: {}", spec.name, spec.signature())),
    }
}

/// Plans our functions in FROM.
#[derive(Debug)]
pub struct CallPlanner {
    pub engine: Arc<Engine>,
}

impl RelationPlanner for CallPlanner {
    fn plan_relation(&self, relation: TableFactor, cx: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        if let TableFactor::Table { sample: Some(_), name, .. } = &relation {
            return plan_err!("TABLESAMPLE is not supported (of {name}): select rows with WHERE, for example a hash of the key");
        }
        let (name, args, alias) = match &relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args.clone(), alias.clone()),
            TableFactor::Function { name, args, alias, .. } => (name, args.clone(), alias.clone()),
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let Some(spec) = our_spec(name) else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let plan = if let Some(f) = RELATION_FUNCTIONS.iter().find(|f| f.spec().name == spec.name) {
            self.relation(*f, args, cx)?
        } else if let (Form::ScalarAndTable, Some(f)) = (spec.form, CUSTOMER_FUNCTIONS.iter().find(|f| f.spec().name == spec.name)) {
            self.customer(*f, args, cx)?
        } else {
            let name = spec.name;
            return plan_err!(
                "{name}() is a {} function: it does not stand in FROM. Write, for example: SELECT {}",
                spec.form,
                spec.signature()
            );
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn planned<T>(r: Result<T, String>) -> Result<T> {
    r.or_else(|m| plan_err!("{m}"))
}

fn has(e: &Expr, test: impl Fn(&Expr) -> bool) -> bool {
    e.exists(|e| Ok(test(e))).unwrap_or(false)
}

impl CallPlanner {
    fn relation(
        &self,
        function: &'static dyn RelationFunction,
        args: Vec<FunctionArg>,
        cx: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let spec = function.spec();
        let args = planned(by_position(spec, args, false))?;
        let mut values = vec![];
        for (argument, e) in spec.arguments.iter().zip(args) {
            values.push(match e {
                None => None,
                Some(e) => match cx.sql_to_expr(e, &DFSchema::empty())? {
                    Expr::Literal(v, _) => Some(v),
                    Expr::Negative(inner) if matches!(*inner, Expr::Literal(..)) => match *inner {
                        Expr::Literal(v, _) => Some(v.arithmetic_negate()?),
                        _ => None,
                    },
                    other => match self.engine.fold(other.clone())? {
                        Some(v) => Some(v),
                        None => {
                            return plan_err!(
                                "{}(): {} must be a constant, not {other}. Form: {}",
                                spec.name,
                                argument.name,
                                spec.signature()
                            );
                        }
                    },
                },
            });
        }
        // The engine takes two scans of one name for the same scan: what a call is given is part of its name.
        let given: Vec<String> = values.iter().map(|v| v.as_ref().map_or_else(String::new, |v| format!("{v:?}"))).collect();
        let name = format!("{}({})", spec.name, given.join(", "));
        let args = CallArgs::new(spec, values)?;
        let provider = match function.provider(&args)? {
            Some(p) => p,
            None => Arc::new(AnswerTable::new(function, args, self.engine.as_ref(), Arc::clone(&self.engine) as _)?),
        };
        LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(provider), None)?.alias(spec.name)?.build()
    }

    fn customer(
        &self,
        function: &'static dyn CustomerFunction,
        args: Vec<FunctionArg>,
        cx: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let spec = function.spec();
        let mut args = planned(by_position(spec, args, true))?;
        let at = spec.arguments.iter().position(|a| a.kind.is_key()).unwrap_or(0);
        let user = args.remove(at);
        let udf = ScalarUDF::from(CustomerUdf::new(function, Arc::clone(&self.engine) as _));
        let mut constants: Vec<Expr> = vec![];
        for e in args {
            constants.push(match e {
                None => lit(ScalarValue::Null),
                Some(e) => cx.sql_to_expr(e, &DFSchema::empty())?,
            });
        }
        while constants.len() > at && constants.last().is_some_and(|e| *e == lit(ScalarValue::Null)) {
            constants.pop();
        }
        let call = |user: Expr| {
            let mut all = constants.clone();
            all.insert(at, user);
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf.clone()), all))
        };
        if let (ArgKind::Row, Some(ast::Expr::Subquery(query))) = (spec.arguments[at].kind, &user) {
            let derived = TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None };
            return scored(cx.plan(derived)?, &call, spec);
        }
        let (input, user) = match user {
            None => (self.everybody()?, col("user_id")),
            Some(ast::Expr::Subquery(query)) => {
                let derived = TableFactor::Derived { lateral: false, subquery: query, alias: None, sample: None };
                let plan = cx.plan(derived)?;
                let columns = plan.schema().columns();
                let [column] = columns.as_slice() else {
                    return plan_err!("{}(): the query of users must have one column, not {}", spec.name, columns.len());
                };
                let column = Expr::Column(column.clone());
                // A set of users: each is answered once.
                (LogicalPlanBuilder::from(plan).distinct()?.build()?, column)
            }
            Some(e) => {
                let text = e.to_string();
                let user = cx.sql_to_expr(e, &DFSchema::empty()).or_else(|_| {
                    plan_err!(
                        "{}(): {text} is not known here. A column of another relation in FROM needs LATERAL: FROM users u, LATERAL {}({text}, ...)",
                        spec.name,
                        spec.name
                    )
                })?;
                if has(&user, |e| matches!(e, Expr::Column(_))) {
                    return plan_err!("{}(): {user} is not a column of a relation to the left", spec.name);
                }
                let outer = |e: &Expr| has(e, |e| matches!(e, Expr::OuterReferenceColumn(..)));
                if outer(&user) || constants.iter().any(outer) {
                    let node = LateralCall::try_new(call(user.clone()), user, spec)?;
                    return Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }));
                }
                (LogicalPlanBuilder::empty(true).build()?, user)
            }
        };
        expand(LogicalPlanBuilder::from(input), vec![], call(user.clone()), user, qualified(spec, function, &self.engine), false)
    }

    /// A relation of all users: `user_id`.
    fn everybody(&self) -> Result<LogicalPlan> {
        let Some(customers) = RELATION_FUNCTIONS.iter().find(|f| f.spec().name == "customers") else { return plan_err!("no customers()") };
        let args = CallArgs::new(customers.spec(), vec![])?;
        let table = AnswerTable::new(*customers, args, self.engine.as_ref(), Arc::clone(&self.engine) as _)?;
        LogicalPlanBuilder::scan(TableReference::bare("customers"), provider_as_source(Arc::new(table)), None)?
            .project(vec![col("user_id")])?
            .build()
    }
}

/// The columns of a per-customer function in FROM, as (qualifier, name): the user, then the fields.
type Names = Vec<(Option<TableReference>, String)>;

fn qualified(spec: &FunctionSpec, function: &dyn CustomerFunction, engine: &Engine) -> Names {
    let fields = struct_fields(&function.data_type(engine)).unwrap_or_default();
    let names = std::iter::once(key_column(spec).to_owned()).chain(fields.iter().map(|f| f.name().clone()));
    names.map(|n| (Some(TableReference::bare(spec.name)), n)).collect()
}

/// The column of a call in FROM that holds its first key.
fn key_column(spec: &FunctionSpec) -> &'static str {
    match spec.arguments.iter().map(|a| a.kind).find(|k| k.is_key()) {
        Some(ArgKind::Item) => "item_id",
        Some(ArgKind::Items) => "basket",
        _ => "user_id",
    }
}

/// The fields of a struct, or of a list of structs.
fn struct_fields(t: &DataType) -> Result<Vec<Arc<Field>>> {
    match t {
        DataType::List(f) => struct_fields(f.data_type()),
        DataType::Struct(fields) => Ok(fields.iter().cloned().collect()),
        t => plan_err!("a function that returns {t} does not stand in FROM"),
    }
}

/// `input` and a call on it → `keep`, the user, and the fields of the answer. `outer` keeps rows without an answer.
fn expand(input: LogicalPlanBuilder, keep: Vec<Expr>, call: Expr, user: Expr, names: Names, outer: bool) -> Result<LogicalPlan> {
    let t = call.get_type_in(&input)?;
    let fields = struct_fields(&t)?;
    let mut columns = keep.clone();
    columns.extend([user.alias("__user"), call.alias("__answer")]);
    let mut b = input.project(columns)?;
    if matches!(t, DataType::List(_)) {
        let nulls = if outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
        b = b.unnest_column_with_options(Column::from_name("__answer"), UnnestOptions::new().with_null_handling(nulls))?;
    } else if !outer {
        b = b.filter(ident("__answer").is_not_null())?;
    }
    let mut out = keep;
    let values = std::iter::once(ident("__user")).chain(fields.iter().map(|f| get_field(ident("__answer"), f.name().as_str())));
    out.extend(values.zip(names).map(|(e, (q, n))| e.alias_qualified(q, n)));
    b.project(out)?.build()
}

/// The rows of a query with the answer of a call on the struct of all their columns.
fn scored(input: LogicalPlan, call: &dyn Fn(Expr) -> Expr, spec: &FunctionSpec) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let fields: Vec<Expr> = columns.iter().flat_map(|c| [lit(c.name.clone()), Expr::Column(c.clone())]).collect();
    let answer = call(datafusion::functions::expr_fn::named_struct(fields));
    let b = LogicalPlanBuilder::from(input);
    let answered = struct_fields(&answer.get_type_in(&b)?)?;
    let kept: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    let mut below = kept.clone();
    below.push(answer.alias("__answer"));
    let values = answered.iter().map(|f| {
        let qualifier = Some(TableReference::bare(spec.name));
        get_field(ident("__answer"), f.name().as_str()).alias_qualified(qualifier, f.name().clone())
    });
    b.project(below)?.project(kept.into_iter().chain(values))?.build()
}

trait TypeIn {
    fn get_type_in(&self, input: &LogicalPlanBuilder) -> Result<DataType>;
}

impl TypeIn for Expr {
    fn get_type_in(&self, input: &LogicalPlanBuilder) -> Result<DataType> {
        use datafusion::logical_expr::ExprSchemable;
        self.get_type(input.schema())
    }
}

/// A call whose user is a column of an outer relation.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LateralCall {
    call: Expr,
    user: Expr,
    spec: &'static FunctionSpec,
    schema: DFSchemaRef,
}

impl LateralCall {
    fn try_new(call: Expr, user: Expr, spec: &'static FunctionSpec) -> Result<Self> {
        use datafusion::logical_expr::ExprSchemable;
        let empty = DFSchema::empty();
        let mut fields = vec![Arc::new(Field::new(key_column(spec), user.get_type(&empty)?, true))];
        fields.extend(struct_fields(&call.get_type(&empty)?)?.into_iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))));
        let schema = fields.into_iter().map(|f| (Some(TableReference::bare(spec.name)), f)).collect();
        Ok(Self { call, user, spec, schema: Arc::new(DFSchema::new_with_metadata(schema, Default::default())?) })
    }
}

impl PartialOrd for LateralCall {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.call.partial_cmp(&other.call)
    }
}

impl UserDefinedLogicalNodeCore for LateralCall {
    fn name(&self) -> &str {
        "LateralCall"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.call.clone(), self.user.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "LateralCall: {}", self.call)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        match <[Expr; 2]>::try_from(exprs) {
            Ok([call, user]) => Self::try_new(call, user, self.spec),
            Err(e) => plan_err!("a lateral call has two expressions, not {}", e.len()),
        }
    }
}

/// Folds a lateral call into the join it stands in: as an analyzer rule, and as an optimizer rule for PREPARE, which is not analyzed.
#[derive(Debug)]
pub struct LowerLateralCalls;

fn find_call(plan: &LogicalPlan) -> Option<&LateralCall> {
    match plan {
        LogicalPlan::SubqueryAlias(a) => find_call(&a.input),
        LogicalPlan::Subquery(s) => find_call(&s.subquery),
        // an alias with a list of columns: AS r(item, score)
        LogicalPlan::Projection(p) => {
            let same = |(i, e): (usize, &Expr)| match e.clone().unalias_nested().data {
                Expr::Column(c) => p.input.schema().maybe_index_of_column(&c) == Some(i),
                _ => false,
            };
            let renames = p.expr.len() == p.input.schema().fields().len() && p.expr.iter().enumerate().all(same);
            if renames { find_call(&p.input) } else { None }
        }
        LogicalPlan::Extension(e) => e.node.as_any().downcast_ref::<LateralCall>(),
        _ => None,
    }
}

/// `f(a.x) r JOIN b ... JOIN c ...` to the right of a comma: the call, and the joins on top of it, the outermost first.
fn left_spine(plan: &LogicalPlan) -> (&LogicalPlan, Vec<&Join>) {
    match plan {
        LogicalPlan::Subquery(s) if find_call(plan).is_none() => left_spine(&s.subquery),
        LogicalPlan::Join(j) if matches!(j.join_type, JoinType::Inner | JoinType::Left) => {
            let (leaf, mut joins) = left_spine(&j.left);
            joins.insert(0, j);
            (leaf, joins)
        }
        plan => (plan, vec![]),
    }
}

fn lower(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
    let (leaf, joins) = left_spine(&join.right);
    let Some(call) = find_call(leaf) else { return Ok(Transformed::no(plan)) };
    let name = call.spec.name;
    let outer = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left if joins.is_empty() => true,
        t => return plan_err!("{t} JOIN with {name}() of a column to its left: use JOIN or LEFT JOIN ... ON TRUE"),
    };
    let on_true = join.on.is_empty() && join.filter.as_ref().is_none_or(|f| *f == lit(true));
    if outer && !on_true {
        return plan_err!("LEFT JOIN {name}(...) takes ON TRUE only: filter its rows in WHERE or in a subquery");
    }
    let names = leaf.schema().iter().map(|(q, f)| (q.cloned(), f.name().clone())).collect();
    let inner = |e: &Expr| -> Result<Expr> {
        let plain = |e| match e {
            Expr::OuterReferenceColumn(_, c) => Transformed::yes(Expr::Column(c)),
            e => Transformed::no(e),
        };
        Ok(e.clone().transform(|e| Ok(plain(e)))?.data)
    };
    let keep = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let left = LogicalPlanBuilder::from(join.left.as_ref().clone());
    let mut out = expand(left, keep, inner(&call.call)?, inner(&call.user)?, names, outer)?;
    // a, (f(a.x) JOIN b) is (a, f(a.x)) JOIN b: the rows are those of each row of a.
    for j in joins.into_iter().rev() {
        let (right, on, filter) = (Arc::clone(&j.right), j.on.clone(), j.filter.clone());
        out = LogicalPlan::Join(Join::try_new(
            Arc::new(out),
            right,
            on,
            filter,
            j.join_type,
            j.join_constraint,
            j.null_equality,
            j.null_aware,
        )?);
    }
    let on = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    if let Some(filter) = on.chain(join.filter.clone()).reduce(Expr::and).filter(|_| !on_true) {
        out = LogicalPlanBuilder::from(out).filter(filter)?.build()?;
    }
    Ok(Transformed::yes(out))
}

impl OptimizerRule for LowerLateralCalls {
    fn name(&self) -> &str {
        "lower_lateral_calls"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(lower)
    }
}

impl AnalyzerRule for LowerLateralCalls {
    fn name(&self) -> &str {
        "lower_lateral_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(lower)?.data;
        plan.apply_with_subqueries(|p| {
            if let LogicalPlan::Extension(e) = p
                && let Some(call) = e.node.as_any().downcast_ref::<LateralCall>()
            {
                let name = call.spec.name;
                return plan_err!(
                    "{name}() of a column of an outer query stands in FROM only (after a comma, in CROSS JOIN, or in [LEFT] JOIN ... ON TRUE), \
                     not in this subquery: use unnest({name}(...)) or a join"
                );
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}
