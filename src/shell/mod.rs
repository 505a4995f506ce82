//! The program: a prompt, scripts, single commands, SQL on stdin. Everything goes through one [`crate::Session`].

mod args;
mod commands;
mod output;
mod progress;
mod prompt;
mod runner;
mod table;

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use runner::{Runner, Source, Stop};

/// A line on stderr. That nobody reads it is no reason to fail.
fn tell(message: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Exit codes.
const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runner = match Runner::new(&arguments) {
        Ok(r) => r,
        Err(message) => {
            tell(&message);
            return ExitCode::from(FAILED);
        }
    };
    let code = match run(runner, arguments) {
        Ok(()) => 0,
        Err(Stop::Quit) => 0,
        Err(Stop::Failed) => FAILED,
        Err(Stop::Interrupted) => INTERRUPTED,
    };
    // Threads of an ended query may still be busy: nobody waits for them.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    std::process::exit(i32::from(code))
}

fn run(mut runner: Runner, arguments: Arguments) -> Result<(), Stop> {
    if !arguments.command.is_empty() {
        for (i, sql) in arguments.command.iter().enumerate() {
            let name = if arguments.command.len() == 1 { "-c".to_owned() } else { format!("-c {}", i + 1) };
            runner.run(&Source { name, text: sql.clone(), dir: None })?;
        }
        return Ok(());
    }
    if let Some(Command::Run { files }) = arguments.action {
        return files.iter().try_for_each(|f| runner.run_file(f));
    }
    if std::io::stdin().is_terminal() {
        return prompt::prompt(&mut runner);
    }
    let mut text = String::new();
    if let Err(e) = std::io::stdin().read_to_string(&mut text) {
        tell(&format!("error: cannot read stdin: {e}"));
        return Err(Stop::Failed);
    }
    runner.run(&Source { name: "stdin".into(), text, dir: None })
}
