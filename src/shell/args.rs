//! The arguments of the program.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    /// One array of objects
    Json,
    /// One object a line
    Jsonl,
}

#[derive(Debug, Parser)]
#[command(
    name = "tenure",
    version,
    about = "Customer lifetime value in SQL: what every customer is worth, who is leaving, what to offer",
    after_help = "Examples:\n  \
        tenure                                       a prompt; \\? explains it\n  \
        tenure run report.sql -v path=sales.parquet  a script; :path in it is a string literal\n  \
        tenure -c \"SELECT * FROM simulate_shop(users => 100, days => 90) LIMIT 3\"\n  \
        echo 'SELECT 1' | tenure --format csv        SQL on stdin\n  \
        tenure -d shop.tenure                        a database: tables, views, settings and models are kept\n\n\
        Exit codes: 0 done, 1 a statement failed (nothing after it is run), 2 wrong arguments, 130 interrupted."
)]
pub struct Arguments {
    /// Directory that keeps tables, views, settings and models; made when missing [default: in memory]
    #[arg(short, long, value_name = "DIR", env = "TENURE_DATABASE", global = true)]
    pub database: Option<PathBuf>,

    /// Run SQL and leave; may be given more than once
    #[arg(short, long, value_name = "SQL")]
    pub command: Vec<String>,

    /// Set a variable: :name in SQL is its value as a literal
    #[arg(short, long = "variable", value_name = "NAME=VALUE", value_parser = variable, global = true)]
    pub variable: Vec<(String, String)>,

    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    pub format: Format,

    /// Threads of a query [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), global = true)]
    pub threads: Option<u16>,

    /// No progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub action: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scripts, in order; the first error stops
    Run {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    let fine = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if fine { Ok((name.into(), value.into())) } else { Err(format!("'{name}' is no name: letters, digits and _")) }
}
