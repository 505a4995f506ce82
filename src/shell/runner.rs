//! Runs statements one after the other: planned after the one before has run, streamed to stdout, stopped by Ctrl-C.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};

use super::args::{Arguments, Format};
use super::commands::{self, Backslash};
use super::output::ResultWriter;
use super::progress::Progress;
use super::tell;
use crate::session::split::{split, substitute, unclosed};
use crate::session::{Place, Session, SessionOptions, render_error};

/// Why running ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `\q`
    Quit,
    /// A statement failed; its error has been printed.
    Failed,
    Interrupted,
}

/// A script and where it is from.
pub struct Source {
    pub name: String,
    pub text: String,
    /// Folder that `\i` in it starts from.
    pub dir: Option<PathBuf>,
}

/// What runs on the engine's threads tells the printing thread.
enum Message {
    Schema(SchemaRef),
    Batch(RecordBatch),
    Failed(DataFusionError),
}

/// The state of a prompt or of a script.
pub struct Runner {
    session: Session,
    progress: Progress,
    /// Queries run here, so that the thread that waits for them can always hear Ctrl-C.
    engine: Runtime,
    front: Runtime,
    /// Told of every Ctrl-C; one that comes between two statements ends the next.
    interrupts: Arc<Notify>,
    variables: BTreeMap<String, String>,
    format: Format,
    timing: bool,
    footer: bool,
    /// Files that are being included, outermost first.
    including: Vec<PathBuf>,
}

impl Runner {
    /// Opens the session.
    pub fn new(arguments: &Arguments) -> Result<Self, String> {
        let engine = engine().map_err(|e| format!("error: {e}"))?;
        let front = Builder::new_current_thread().enable_all().build().map_err(|e| format!("error: {e}"))?;
        let progress = Progress::default();
        let options = SessionOptions {
            database: arguments.database.clone(),
            progress: (!arguments.quiet).then(|| progress.reporter()),
            threads: arguments.threads.map(usize::from),
            batch_size: None,
        };
        let session = engine.block_on(Session::open(options)).map_err(|e| render_error(&e, "", &Place::default()))?;
        let session = session_or_message(session);
        Ok(Self {
            session,
            progress,
            engine,
            front,
            interrupts: listen().map_err(|e| format!("error: cannot listen for Ctrl-C: {e}"))?,
            variables: arguments.variable.iter().cloned().collect(),
            format: arguments.format,
            timing: false,
            footer: io::stdout().is_terminal(),
            including: vec![],
        })
    }

    /// Runs a file.
    pub fn run_file(&mut self, path: &Path) -> Result<(), Stop> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            tell(&format!("error: cannot read '{}': {}", path.display(), plain(&e)));
            Stop::Failed
        })?;
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.including.contains(&real) {
            tell(&format!("error: '{}' includes itself", path.display()));
            return Err(Stop::Failed);
        }
        self.including.push(real);
        let dir = path.parent().map(Path::to_owned);
        let done = self.run(&Source { name: path.display().to_string(), text, dir });
        self.including.pop();
        done
    }

    /// Runs a script up to its first error.
    pub fn run(&mut self, source: &Source) -> Result<(), Stop> {
        if let Some((line, column, what)) = unclosed(&source.text) {
            tell(&format!("{}:{line}:{column}: error: this {what} is never closed", source.name));
            return Err(Stop::Failed);
        }
        for part in parts(&source.text) {
            match part {
                Part::Command(line) => self.command(line, source.dir.as_deref())?,
                Part::Sql { text, line: first } => {
                    for s in split(text) {
                        let column = s.column;
                        self.statement(s.text, &Place { file: Some(source.name.clone()), line: first + s.line - 1, column })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs one statement and prints its result.
    pub fn statement(&mut self, sql: &str, place: &Place) -> Result<(), Stop> {
        let started = Instant::now();
        let sql = substitute(sql, &self.variables).map_err(|m| {
            let at = place.file.as_ref().map(|f| format!("{f}:{}:{}: ", place.line, place.column)).unwrap_or_default();
            tell(&format!("{at}error: {m}"));
            Stop::Failed
        })?;
        let result = self.stream(&sql);
        self.progress.clear();
        for w in self.session.warnings() {
            tell(&format!("warning: {w}"));
        }
        match result {
            Ok(()) => {}
            Err(Ended::Interrupted) => {
                tell("interrupted");
                // The threads of the ended query may be in the middle of a long step: the next one gets others.
                if let Ok(fresh) = engine() {
                    std::mem::replace(&mut self.engine, fresh).shutdown_background();
                }
                return Err(Stop::Interrupted);
            }
            Err(Ended::Error(e)) => {
                tell(&render_error(&e, &sql, place));
                return Err(Stop::Failed);
            }
            // Whoever read our output has gone: nothing is left to do.
            Err(Ended::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Stop::Quit),
            Err(Ended::Output(e)) => {
                tell(&format!("error: cannot write the result: {}", plain(&e)));
                return Err(Stop::Failed);
            }
        }
        if self.timing {
            tell(&format!("time: {:.3} s", started.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Runs the query on the engine's threads; prints here what comes of it.
    fn stream(&self, sql: &str) -> Result<(), Ended> {
        let (send, mut receive) = mpsc::channel(4);
        let (session, text) = (self.session.clone(), sql.to_owned());
        let task = self.engine.spawn(async move {
            let run = async {
                let mut stream = session.sql(&text).await?.execute_stream().await?;
                let _ = send.send(Message::Schema(stream.schema())).await;
                while let Some(batch) = stream.next().await {
                    if send.send(Message::Batch(batch?)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(e) = run.await {
                let _ = send.send(Message::Failed(e)).await;
            }
        });
        let mut out = BufWriter::new(io::stdout().lock());
        let (format, footer, interrupts) = (self.format, self.footer, &self.interrupts);
        let done = self.front.block_on(async {
            let (mut schema, mut writer): (Option<SchemaRef>, Option<ResultWriter>) = (None, None);
            loop {
                let message = tokio::select! {
                    m = receive.recv() => m,
                    () = interrupts.notified() => return Err(Ended::Interrupted),
                };
                match message {
                    None => break,
                    Some(Message::Failed(e)) => return Err(Ended::Error(e)),
                    Some(Message::Schema(s)) => schema = Some(s).filter(|s| !s.fields().is_empty()),
                    // Nothing is written before there is something: an error leaves no half of a result.
                    Some(Message::Batch(b)) => {
                        if let (None, Some(s)) = (&writer, &schema) {
                            writer = Some(ResultWriter::new(format, s, &mut out).map_err(Ended::Output)?);
                        }
                        if let Some(w) = &mut writer {
                            w.batch(&b, &mut out).map_err(Ended::Output)?;
                        }
                    }
                }
            }
            let writer = match (writer, schema) {
                (None, Some(s)) => Some(ResultWriter::new(format, &s, &mut out).map_err(Ended::Output)?),
                (w, _) => w,
            };
            if let Some(w) = writer {
                w.finish(footer, &mut out).map_err(Ended::Output)?;
            }
            out.flush().map_err(Ended::Output)
        });
        if done.is_err() {
            task.abort();
            let _ = out.flush();
        } else if let Err(e) = self.front.block_on(async { tokio::time::timeout(Duration::from_secs(5), task).await }).unwrap_or(Ok(())) {
            return Err(Ended::Error(DataFusionError::External(Box::new(e))));
        }
        done
    }

    /// A Ctrl-C that came too late for the last statement does not end the next.
    pub fn forget_interrupts(&self) {
        use futures::FutureExt;
        let _ = self.interrupts.notified().now_or_never();
    }

    /// Runs a backslash command.
    pub fn command(&mut self, line: &str, dir: Option<&Path>) -> Result<(), Stop> {
        let failed = |m: String| {
            tell(&format!("error: {m}"));
            Stop::Failed
        };
        match commands::parse(line).map_err(failed)? {
            Backslash::Quit => return Err(Stop::Quit),
            Backslash::Help(topic) => say(&commands::help(topic.as_deref()).map_err(failed)?)?,
            Backslash::Describe(None) => {
                let sql = "SELECT table_name AS relation, lower(table_type) AS kind FROM information_schema.tables \
                           WHERE table_schema <> 'information_schema' ORDER BY 1";
                self.statement(sql, &Place::default())?;
            }
            Backslash::Describe(Some(name)) => self.statement(&format!("DESCRIBE {name}"), &Place::default())?,
            Backslash::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                tell(&format!("timing is {}", if self.timing { "on" } else { "off" }));
            }
            Backslash::Include(file) => {
                let path = dir.map_or_else(|| PathBuf::from(&file), |d| d.join(&file));
                self.run_file(&path)?;
            }
            Backslash::Set(None) => self.variables.iter().try_for_each(|(k, v)| say(&format!("{k} = {v}")))?,
            Backslash::Set(Some((name, value))) => {
                self.variables.insert(name, value);
            }
            Backslash::Format(None) => say(&format!("{:?}", self.format).to_lowercase())?,
            Backslash::Format(Some(name)) => {
                self.format =
                    Format::from_str(&name, true).map_err(|_| failed(format!("\\format takes table, csv, json or jsonl, not '{name}'")))?;
            }
        }
        Ok(())
    }
}

enum Ended {
    Interrupted,
    Error(DataFusionError),
    Output(io::Error),
}

/// Prints a line; whoever reads our output may have gone.
fn say(text: &str) -> Result<(), Stop> {
    writeln!(io::stdout(), "{text}").map_err(|_| Stop::Quit)
}

/// Listens for Ctrl-C on a thread of its own, which no query can keep busy.
fn listen() -> io::Result<Arc<Notify>> {
    let notify = Arc::new(Notify::new());
    let (told, ready) = (Arc::clone(&notify), std::sync::mpsc::channel());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let mut next = Box::pin(tokio::signal::ctrl_c());
                // The first poll puts the handler in place.
                let early = futures::poll!(&mut next);
                let _ = ready.0.send(());
                if early.is_pending() && next.await.is_err() {
                    return;
                }
                told.notify_one();
            }
        });
    });
    let _ = ready.1.recv();
    Ok(notify)
}

/// Threads for queries.
fn engine() -> Result<Runtime, String> {
    Builder::new_multi_thread().enable_all().thread_stack_size(8 << 20).build().map_err(|e| e.to_string())
}

/// A message of the system without its number.
fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn session_or_message(session: Session) -> Session {
    for w in session.warnings() {
        tell(&format!("warning: {w}"));
    }
    session
}

/// A stretch of a script.
enum Part<'a> {
    /// Statements, and the line they begin on.
    Sql {
        text: &'a str,
        line: usize,
    },
    Command(&'a str),
}

/// Cuts a script at lines that begin with a backslash, where a statement may begin.
fn parts(script: &str) -> Vec<Part<'_>> {
    let mut out = vec![];
    let (mut start, mut start_line, mut at, mut line_number) = (0, 1, 0, 1);
    for line in script.split_inclusive('\n') {
        let before = &script[start..at];
        if line.trim_start().starts_with('\\') && !crate::session::split::is_incomplete(before) {
            out.push(Part::Sql { text: before, line: start_line });
            out.push(Part::Command(line.trim()));
            start = at + line.len();
            start_line = line_number + 1;
        }
        at += line.len();
        line_number += 1;
    }
    out.push(Part::Sql { text: &script[start..], line: start_line });
    out
}
