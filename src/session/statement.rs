//! The statements: ours, and everything else as DataFusion's parser reads it.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement as EngineStatement};
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, TableFactor, Value, VisitMut, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::calls::{by_position, our_spec};
use crate::functions::{ArgKind, Form};
use crate::models::days;
use crate::models::supervised::{Definition, NamedSql};
use crate::text::nearest;

/// One statement.
#[derive(Debug, Clone)]
pub enum Statement {
    Engine(Box<EngineStatement>),
    CreateModel {
        name: String,
        or_replace: bool,
        if_not_exists: bool,
        /// What it predicts, where the statement says so.
        definition: Option<Definition>,
        options: Vec<(String, String)>,
    },
    RefreshModel {
        name: String,
        as_of: Option<String>,
    },
    AlterModel {
        name: String,
        change: Change,
    },
    DropModel {
        name: String,
        if_exists: bool,
        version: Option<u32>,
    },
    ExportModel {
        name: String,
        version: Option<u32>,
        path: String,
    },
    ImportModel {
        name: String,
        path: String,
    },
    ShowModels {
        like: Option<String>,
    },
    DescribeModel {
        name: String,
        version: Option<u32>,
    },
    /// RESET tenure.name
    Reset(String),
    Explain {
        analyze: bool,
        verbose: bool,
        inner: Box<Statement>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    SetActive(u32),
    Rollback,
    Rename(String),
}

/// Parses exactly one statement.
pub fn parse(sql: &str) -> Result<Statement> {
    let mut p = Parser { df: DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build()? };
    let statement = p.statement()?;
    while p.df.parser.consume_token(&Token::SemiColon) {}
    match p.df.parser.peek_token().token {
        Token::EOF => Ok(statement),
        _ => p.expected("end of statement"),
    }
}

struct Parser<'a> {
    df: DFParser<'a>,
}

/// A window over the future, as it is written.
struct Window {
    label: String,
    days: u32,
    from: Option<String>,
    eligible: Option<String>,
}

/// What CREATE MODEL says of the label and the features.
#[derive(Default)]
struct Clauses {
    transform: Option<NamedSql>,
    features: Option<NamedSql>,
    target: Option<String>,
    window: Option<Window>,
    query: Option<String>,
}

/// Takes a clause that may be given once.
fn once<T>(slot: &mut Option<T>, value: T, clause: &str) -> Result<()> {
    if slot.replace(value).is_some() {
        return plan_err!("{clause} is given twice");
    }
    Ok(())
}

impl Clauses {
    fn definition(self, name: &str) -> Result<Option<Definition>> {
        let Self { transform, features, target, window, query } = self;
        match (window, target, query) {
            (Some(_), Some(_), _) => {
                plan_err!("CREATE MODEL {name}: PREDICT and TARGET exclude each other: a window over the future, or a column of a query")
            }
            (Some(_), None, Some(_)) => {
                plan_err!("CREATE MODEL {name} PREDICT ...: a window is over events; AS query goes with TARGET column")
            }
            (Some(Window { label, days, from, eligible }), None, None) => {
                // The relation is that of tenure.events; the name is for the reader.
                if let Some(from) = from.filter(|f| !f.eq_ignore_ascii_case("events")) {
                    return plan_err!("FROM {from}: a window is over events. SET tenure.events = '{from}' points to another relation");
                }
                Ok(Some(Definition::Window { label, days, eligible, features: features.unwrap_or_default(), transform }))
            }
            (None, Some(target), Some(query)) if features.is_none() => Ok(Some(Definition::Query { target, query, transform })),
            (None, Some(_), Some(_)) => {
                plan_err!("USING FEATURES goes with PREDICT ... WITHIN: with TARGET, the columns of the query are the features")
            }
            (None, Some(target), None) => {
                plan_err!("CREATE MODEL {name} TARGET {target} needs AS SELECT ...: the query of rows to learn from")
            }
            (None, None, Some(_)) => plan_err!("CREATE MODEL {name} AS query needs TARGET column: which one is to be foretold"),
            (None, None, None) if transform.is_some() || features.is_some() => plan_err!(
                "TRANSFORM and USING FEATURES go with PREDICT aggregate WITHIN INTERVAL '...' FOR EACH user_id, or with TARGET column AS query"
            ),
            (None, None, None) => Ok(None),
        }
    }
}

fn parser_error(e: ParserError) -> DataFusionError {
    DataFusionError::SQL(Box::new(e), None)
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}

impl Parser<'_> {
    fn words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| is(&self.df.parser.peek_nth_token(i).token, w))
    }

    /// Consumes the words if they come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.words(words);
        if found {
            words.iter().for_each(|_| {
                self.df.parser.next_token();
            });
        }
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let found = self.df.parser.peek_token();
        self.df.parser.expected(what, found).map_err(parser_error)
    }

    fn name(&mut self) -> Result<String> {
        let ident = self.df.parser.parse_identifier().map_err(parser_error)?;
        // As for tables: unquoted names are lower case.
        Ok(if ident.quote_style.is_some() { ident.value } else { ident.value.to_lowercase() })
    }

    fn version(&mut self) -> Result<u32> {
        let n = self.df.parser.parse_literal_uint().map_err(parser_error)?;
        u32::try_from(n).or_else(|_| plan_err!("version {n} is out of range"))
    }

    fn statement(&mut self) -> Result<Statement> {
        if self.take(&["create", "or", "replace", "model"]) {
            return self.create_model(true);
        }
        if self.take(&["create", "model"]) {
            return self.create_model(false);
        }
        if self.take(&["refresh", "model"]) {
            let name = self.name()?;
            let as_of = if self.take(&["as", "of"]) { Some(self.text("a timestamp such as '2011-09-10'")?) } else { None };
            return Ok(Statement::RefreshModel { name, as_of });
        }
        if self.take(&["alter", "model"]) {
            return self.alter_model();
        }
        if self.take(&["drop", "model"]) {
            let if_exists = self.take(&["if", "exists"]);
            let name = self.name()?;
            let version = if self.take(&["version"]) { Some(self.version()?) } else { None };
            return Ok(Statement::DropModel { name, if_exists, version });
        }
        if self.take(&["show", "models"]) {
            let like = if self.take(&["like"]) { Some(self.text("a pattern")?) } else { None };
            return Ok(Statement::ShowModels { like });
        }
        if self.take(&["describe", "model"]) || self.take(&["desc", "model"]) {
            let name = self.name()?;
            let version = if self.take(&["version"]) { Some(self.version()?) } else { None };
            return Ok(Statement::DescribeModel { name, version });
        }
        if self.take(&["export", "model"]) {
            let name = self.name()?;
            let version = if self.take(&["version"]) { Some(self.version()?) } else { None };
            return Ok(Statement::ExportModel { name, version, path: self.path("to")? });
        }
        if self.take(&["import", "model"]) {
            return Ok(Statement::ImportModel { name: self.name()?, path: self.path("from")? });
        }
        for later in [&["forget", "user"][..], &["create", "privacy"], &["drop", "privacy"], &["show", "privacy"]] {
            if self.words(later) {
                return plan_err!("{} is not available in this version", later.join(" ").to_uppercase());
            }
        }
        if self.words(&["reset", "tenure"]) {
            self.take(&["reset", "tenure"]);
            self.df.parser.expect_token(&Token::Period).map_err(parser_error)?;
            return Ok(Statement::Reset(self.name()?));
        }
        if let Some(explain) = self.explain()? {
            return Ok(explain);
        }
        let mut statement = self.df.parse_statement()?;
        prepare(&mut statement)?;
        Ok(Statement::Engine(Box::new(statement)))
    }

    /// TO 'path', FROM 'path'
    fn path(&mut self, word: &str) -> Result<String> {
        if !self.take(&[word]) {
            return self.expected(&format!("{} 'path'", word.to_uppercase()));
        }
        self.text("a path in quotes")
    }

    /// EXPLAIN of one of our statements; any other EXPLAIN is left to the engine's parser.
    fn explain(&mut self) -> Result<Option<Statement>> {
        if !self.words(&["explain"]) {
            return Ok(None);
        }
        let (mut at, mut analyze, mut verbose) = (1, false, false);
        loop {
            let token = self.df.parser.peek_nth_token(at).token;
            match () {
                () if is(&token, "analyze") => analyze = true,
                () if is(&token, "verbose") => verbose = true,
                () => break,
            }
            at += 1;
        }
        let next = |i: usize| self.df.parser.peek_nth_token(at + i).token;
        if (is(&next(0), "export") || is(&next(0), "import")) && is(&next(1), "model") {
            return plan_err!("EXPORT and IMPORT MODEL have no plan: EXPLAIN shows those of queries, and of CREATE and REFRESH MODEL");
        }
        let ours = (is(&next(0), "create") && (is(&next(1), "model") || (is(&next(1), "or") && is(&next(3), "model"))))
            || (is(&next(0), "refresh") && is(&next(1), "model"));
        if !ours {
            return Ok(None);
        }
        (0..at).for_each(|_| {
            self.df.parser.next_token();
        });
        Ok(Some(Statement::Explain { analyze, verbose, inner: Box::new(self.statement()?) }))
    }

    fn create_model(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        if or_replace && if_not_exists {
            return plan_err!("CREATE OR REPLACE MODEL and IF NOT EXISTS exclude each other");
        }
        let name = self.name()?;
        let mut clauses = Clauses::default();
        let mut options = vec![];
        loop {
            match () {
                () if self.take(&["transform"]) => once(&mut clauses.transform, self.named_expressions()?, "TRANSFORM")?,
                () if self.take(&["using", "features"]) => once(&mut clauses.features, self.named_expressions()?, "USING FEATURES")?,
                () if self.take(&["target"]) => once(&mut clauses.target, self.name()?, "TARGET")?,
                () if self.take(&["predict"]) => once(&mut clauses.window, self.window()?, "PREDICT")?,
                () if self.words(&["with"]) || self.words(&["options"]) => {
                    self.df.parser.next_token();
                    options.extend(self.options()?);
                }
                () if self.take(&["as"]) => {
                    let mut query = self.df.parser.parse_query().map_err(parser_error)?;
                    visit(query.as_mut())?;
                    once(&mut clauses.query, query.to_string(), "AS")?;
                }
                () => break,
            }
        }
        Ok(Statement::CreateModel { definition: clauses.definition(&name)?, name, or_replace, if_not_exists, options })
    }

    /// (name = value, ...)
    fn options(&mut self) -> Result<Vec<(String, String)>> {
        let mut options = vec![];
        self.df.parser.expect_token(&Token::LParen).map_err(parser_error)?;
        while !self.df.parser.consume_token(&Token::RParen) {
            let key = self.name()?;
            self.df.parser.expect_token(&Token::Eq).map_err(parser_error)?;
            options.push((key, self.text("a value")?));
            if !self.df.parser.consume_token(&Token::Comma) {
                self.df.parser.expect_token(&Token::RParen).map_err(parser_error)?;
                break;
            }
        }
        Ok(options)
    }

    /// (expression [AS name], ...); `*` is named so.
    fn named_expressions(&mut self) -> Result<NamedSql> {
        self.df.parser.expect_token(&Token::LParen).map_err(parser_error)?;
        let items = self.df.parser.parse_comma_separated(|p| p.parse_select_item()).map_err(parser_error)?;
        self.df.parser.expect_token(&Token::RParen).map_err(parser_error)?;
        let one = |item: SelectItem| match item {
            SelectItem::UnnamedExpr(e) => Ok((e.to_string(), e.to_string())),
            SelectItem::ExprWithAlias { expr, alias } => Ok((alias.value, expr.to_string())),
            SelectItem::Wildcard(_) => Ok(("*".to_owned(), "*".to_owned())),
            other => plan_err!("{other} cannot stand here: write expression AS name, separated by commas"),
        };
        let named: NamedSql = items.into_iter().map(one).collect::<Result<_>>()?;
        match (1..named.len()).find(|&i| named[..i].iter().any(|(n, _)| *n == named[i].0)) {
            Some(twice) => plan_err!("{} is given twice", named[twice].0),
            None => Ok(named),
        }
    }

    /// aggregate [cmp literal] WITHIN INTERVAL '...' FOR EACH user_id [FROM events] [WHERE condition]
    fn window(&mut self) -> Result<Window> {
        let label = if self.words(&["exists"]) { self.exists()? } else { self.df.parser.parse_expr().map_err(parser_error)?.to_string() };
        if !self.take(&["within"]) {
            return self.expected("WITHIN INTERVAL '90 days'");
        }
        let span = self.text("INTERVAL '90 days'")?;
        let days = match days(&span) {
            Some(d) if (1.0..=3650.0).contains(&d) && d.fract() == 0.0 => d as u32,
            _ => {
                return plan_err!(
                    "WITHIN INTERVAL '{span}': a window of 1 to 3650 whole days or of weeks is needed, such as INTERVAL '90 days'"
                );
            }
        };
        if !self.take(&["for", "each"]) {
            return self.expected("FOR EACH user_id");
        }
        let key = self.name()?;
        if key != "user_id" {
            return plan_err!("FOR EACH {key}: a window is foreseen for each user_id");
        }
        let from =
            if self.take(&["from"]) { Some(self.df.parser.parse_object_name(false).map_err(parser_error)?.to_string()) } else { None };
        let eligible = if self.take(&["where"]) { Some(self.df.parser.parse_expr().map_err(parser_error)?.to_string()) } else { None };
        Ok(Window { label, days, from, eligible })
    }

    /// EXISTS (*) [FILTER (WHERE condition)], EXISTS ([WHERE] condition): whether there is such an event.
    fn exists(&mut self) -> Result<String> {
        self.take(&["exists"]);
        self.df.parser.expect_token(&Token::LParen).map_err(parser_error)?;
        let all = self.df.parser.consume_token(&Token::Mul) || self.df.parser.peek_token().token == Token::RParen;
        let given = self.take(&["where"]) || !all;
        let mut condition = if given { Some(self.df.parser.parse_expr().map_err(parser_error)?) } else { None };
        self.df.parser.expect_token(&Token::RParen).map_err(parser_error)?;
        if self.take(&["filter"]) {
            self.df.parser.expect_token(&Token::LParen).map_err(parser_error)?;
            if !self.take(&["where"]) {
                return self.expected("WHERE condition");
            }
            condition = Some(self.df.parser.parse_expr().map_err(parser_error)?);
            self.df.parser.expect_token(&Token::RParen).map_err(parser_error)?;
        }
        Ok(condition.map_or("count(*) > 0".into(), |c| format!("count(*) FILTER (WHERE {c}) > 0")))
    }

    fn alter_model(&mut self) -> Result<Statement> {
        let name = self.name()?;
        let change = match () {
            () if self.take(&["set", "active", "version"]) => Change::SetActive(self.version()?),
            () if self.take(&["rollback"]) => Change::Rollback,
            () if self.take(&["rename", "to"]) => Change::Rename(self.name()?),
            () => return self.expected("SET ACTIVE VERSION n, ROLLBACK or RENAME TO name"),
        };
        Ok(Statement::AlterModel { name, change })
    }

    /// A literal or a bare word, as text. INTERVAL '90 days' and TIMESTAMP '...' are their text.
    fn text(&mut self, what: &str) -> Result<String> {
        if self.words(&["interval"]) || self.words(&["timestamp"]) || self.words(&["date"]) {
            self.df.parser.next_token();
        }
        let negative = self.df.parser.consume_token(&Token::Minus);
        let token = self.df.parser.peek_token();
        let text = match token.token {
            Token::SingleQuotedString(s) | Token::DoubleQuotedString(s) => s,
            Token::Number(n, _) => format!("{}{n}", if negative { "-" } else { "" }),
            Token::Word(w) if w.keyword != Keyword::NULL => w.value,
            _ => return self.expected(what),
        };
        self.df.parser.next_token();
        // INTERVAL '90' DAY
        let unit = ["day", "days", "week", "weeks"].into_iter().find(|u| self.words(&[u]));
        if let Some(u) = unit {
            self.df.parser.next_token();
            return Ok(format!("{text} {u}"));
        }
        Ok(text)
    }
}

/// Makes functions in FROM lateral, and puts named arguments of our functions in their places.
fn prepare(statement: &mut EngineStatement) -> Result<()> {
    match statement {
        EngineStatement::Statement(s) => visit(s.as_mut()),
        EngineStatement::Explain(e) => prepare(&mut e.statement),
        EngineStatement::CopyTo(c) => match &mut c.source {
            datafusion::sql::parser::CopyToSource::Query(q) => visit(q.as_mut()),
            datafusion::sql::parser::CopyToSource::Relation(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

fn visit(node: &mut impl VisitMut) -> Result<()> {
    match node.visit(&mut Prepare) {
        ControlFlow::Break(message) => plan_err!("{message}"),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Prepare;

impl VisitorMut for Prepare {
    type Break = String;

    /// PostgreSQL: a function in FROM sees the relations to its left without LATERAL.
    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<String> {
        if let TableFactor::Table { name, alias, args: Some(args), with_ordinality, sample: None, .. } = table
            && our_spec(name).is_some_and(|s| s.form == Form::ScalarAndTable)
        {
            *table = TableFactor::Function {
                lateral: true,
                name: name.clone(),
                args: args.args.clone(),
                with_ordinality: *with_ordinality,
                alias: alias.clone(),
            };
        }
        ControlFlow::Continue(())
    }

    /// A query's FROM: `a, f(a.x) r JOIN b ON b.y = a.y` does not see `a` in its ON.
    fn post_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<String> {
        let mut left: Vec<String> = vec![];
        for from in &select.from {
            let lateral = matches!(&from.relation, TableFactor::Function { name, .. } if our_spec(name).is_some());
            if lateral && !left.is_empty() {
                for join in &from.joins {
                    let on = match &join.join_operator {
                        ast::JoinOperator::Join(ast::JoinConstraint::On(e)) | ast::JoinOperator::Inner(ast::JoinConstraint::On(e)) => e,
                        _ => continue,
                    };
                    if let Some(name) = left.iter().find(|n| mentions(on, n)) {
                        return ControlFlow::Break(format!(
                            "{name} is not visible in ON {on}: a comma binds looser than JOIN, so the join does not see what stands before the comma. \
                             Write CROSS JOIN instead of the comma"
                        ));
                    }
                }
            }
            left.extend(alias(&from.relation));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<String> {
        let Expr::Function(call) = e else { return ControlFlow::Continue(()) };
        let Some(spec) = our_spec(&call.name) else {
            return unknown_call(call).map_or(ControlFlow::Continue(()), ControlFlow::Break);
        };
        if spec.form == Form::Table {
            return ControlFlow::Break(format!(
                "{}() is a table function: it stands in FROM. Write SELECT * FROM {}",
                spec.name,
                spec.signature()
            ));
        }
        let FunctionArguments::List(list) = &mut call.args else { return ControlFlow::Continue(()) };
        let named = list.args.iter().any(|a| !matches!(a, FunctionArg::Unnamed(_)));
        let queries = spec.arguments.iter().any(|a| a.kind == ArgKind::Query);
        if !named && !queries && list.args.len() >= spec.required() && list.args.len() <= spec.arguments.len() {
            return ControlFlow::Continue(());
        }
        let values = match by_position(spec, list.args.clone(), false) {
            Ok(v) => v,
            Err(message) => return ControlFlow::Break(message),
        };
        let last = values.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let null = || Expr::Value(Value::Null.into());
        list.args = values.into_iter().take(last).map(|v| FunctionArg::Unnamed(FunctionArgExpr::Expr(v.unwrap_or_else(null)))).collect();
        ControlFlow::Continue(())
    }
}

/// A call of a function whose name is nearly one of ours and has one of our argument names: a slip worth naming.
fn unknown_call(call: &ast::Function) -> Option<String> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let name = call.name.to_string();
    let ours: Vec<&str> = crate::functions::specs().map(|s| s.name).collect();
    let near = nearest(&name, ours)?;
    let spec = crate::functions::spec(near)?;
    let argument = list.args.iter().find_map(|a| match a {
        FunctionArg::Named { name, .. } => spec.position(&name.value).ok(),
        _ => None,
    })?;
    (!matches!(spec.arguments[argument].kind, ArgKind::Column | ArgKind::List))
        .then(|| format!("there is no function {name}(); did you mean {near}()? Form: {}", spec.signature()))
}

fn alias(table: &TableFactor) -> Option<String> {
    match table {
        TableFactor::Table { alias: Some(a), .. }
        | TableFactor::Derived { alias: Some(a), .. }
        | TableFactor::Function { alias: Some(a), .. } => Some(a.name.value.clone()),
        TableFactor::Table { name, .. } => name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.clone()),
        _ => None,
    }
}

/// Whether an expression has a column qualified by `relation`.
fn mentions(e: &Expr, relation: &str) -> bool {
    let found = visit_expressions(e, |e| match e {
        Expr::CompoundIdentifier(parts) if parts.len() > 1 && parts[0].value.eq_ignore_ascii_case(relation) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_statements_and_the_engines() {
        assert!(matches!(parse("CREATE OR REPLACE MODEL m WITH (model_type = 'bg_nbd', holdout = INTERVAL '60 days');").unwrap(),
            Statement::CreateModel { or_replace: true, options, .. } if options[1] == ("holdout".into(), "60 days".into())));
        assert!(
            matches!(parse("refresh model \"M 1\" as of '2011-09-10'").unwrap(), Statement::RefreshModel { name, as_of: Some(_) } if name == "M 1")
        );
        assert!(matches!(parse("ALTER MODEL m ROLLBACK").unwrap(), Statement::AlterModel { change: Change::Rollback, .. }));
        assert!(matches!(parse("show models like 'a%'").unwrap(), Statement::ShowModels { like: Some(_) }));
        assert!(matches!(parse("EXPLAIN ANALYZE CREATE MODEL m").unwrap(), Statement::Explain { analyze: true, .. }));
        assert!(matches!(parse("EXPLAIN SELECT 1").unwrap(), Statement::Engine(_)));
        assert!(matches!(parse("SELECT 1").unwrap(), Statement::Engine(_)));
    }

    #[test]
    fn named_arguments_find_their_places() {
        let text = |sql: &str| match parse(sql).unwrap() {
            Statement::Engine(s) => s.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("SELECT CLV(u, model => 'm') FROM t"), "SELECT CLV(u, NULL, 'm') FROM t");
        let error = |sql: &str| parse(sql).unwrap_err().strip_backtrace();
        assert!(error("SELECT clv(u, horizn => 3) FROM t").contains("did you mean horizon?"));
        assert!(error("SELECT clv() FROM t").contains("needs user_id"));
        assert!(error("SELECT clv(u, 1, 'm', 4) FROM t").contains("2, 3") || error("SELECT clv(u, 1, 'm', 4) FROM t").contains("1 to 3"));
        assert!(error("SELECT customers() FROM t").contains("stands in FROM"));
        assert!(error("SELECT * FROM users u, recommend(u.user_id, 2) r JOIN events e ON e.user_id = u.user_id").contains("binds looser"));
    }
}
