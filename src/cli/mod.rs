//! Words and exit codes: 0 fine, 1 problems, 2 usage.

mod admin;
mod generate;
mod query;

use crate::config::{self, Severity};
use crate::daemon::{self, RunOptions, Source};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the program is called with.
#[derive(Debug, Parser)]
#[command(name = "plustwo", version, about, long_about = LONG_ABOUT, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const LONG_ABOUT: &str = "\
The VPC resolver (the \"VPC+2\" address) that anyone can run: answers for private hosted zones, PrivateLink endpoints \
and inbound endpoints over UDP and TCP, and forwards everything else.

Without a command it runs; without --config it serves the built-in example world on loopback ports.

Exit codes: 0 fine, 1 the file or the machine stands in the way (every reason is printed), 2 wrong usage.
Signals: SIGTERM and SIGINT answer what is in flight and leave, the second one at once; SIGHUP reads the file again, as does any change of it or of a file it names.";

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves until SIGTERM; the file is read again when it changes, and at SIGHUP
    Run(Running),
    /// Reads a configuration and says everything that is wrong with it
    Check(Configured),
    /// Asks a door one question, and shows the reply as dig does
    Query(query::Query),
    #[command(flatten)]
    Ask(admin::Question),
    /// Writes the man pages, and completions for bash, zsh and fish
    Generate(generate::Generate),
}

/// Which configuration.
#[derive(Args, Debug, Default)]
struct Configured {
    /// The configuration file; without it the built-in example world
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How it runs.
#[derive(Args, Debug, Default)]
struct Running {
    #[command(flatten)]
    configured: Configured,
    /// If the file has errors at the start, serve the last good one that is kept in the state directory
    #[arg(long)]
    last_good: bool,
    /// Where the last good configuration is kept; without it the folder of systemd's StateDirectory=
    #[arg(long, value_name = "FOLDER")]
    state_directory: Option<PathBuf>,
}

impl Running {
    fn options(self) -> RunOptions {
        RunOptions {
            source: self.configured.source(),
            state_directory: self.state_directory.or_else(|| folder_of_service_manager("STATE_DIRECTORY")),
            runtime_directory: folder_of_service_manager("RUNTIME_DIRECTORY"),
            last_good: self.last_good,
        }
    }
}

/// The first folder that the service manager made for us (systemd.exec(5), StateDirectory=); none without one.
fn folder_of_service_manager(variable: &str) -> Option<PathBuf> {
    let folders = std::env::var_os(variable)?;
    let first = std::env::split_paths(&folders).next();
    first.filter(|folder| folder.is_absolute())
}

impl Configured {
    fn source(self) -> Source {
        self.config.map_or(Source::BuiltIn, Source::File)
    }
}

/// Runs the program with these arguments, the first of them its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            // --help and --version are asked for and go to stdout; misuse goes to stderr with exit code 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match command.verb.unwrap_or_else(|| Verb::Run(Running::default())) {
        Verb::Run(running) => match daemon::run(&running.options()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problems) => fail(&problems),
        },
        Verb::Check(configured) => check(&configured.source()),
        Verb::Query(asked) => query::query(&asked),
        Verb::Ask(question) => admin::ask(question),
        Verb::Generate(asked) => generate::generate(&asked),
    }
}

/// `plustwo check`.
fn check(source: &Source) -> ExitCode {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => return fail(&format!("error: {error}")),
    };
    say(&config::render(&loaded.diagnostics));
    let count = |severity: Severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match loaded.configuration {
        Some(configuration) => {
            let model = &configuration.model;
            say(&format!(
                "fine: {}, {}, {}, {}, {}; {}\n",
                counted(model.vpcs.len(), "VPC"),
                counted(model.hosted_zones.len(), "private hosted zone"),
                counted(model.endpoints.len(), "endpoint"),
                counted(model.inbound_endpoints.len(), "inbound endpoint"),
                counted(model.resolver_rules.len(), "resolver rule"),
                counted(warnings, "warning"),
            ));
            ExitCode::SUCCESS
        }
        None => fail(&format!(
            "{}, {}: this configuration cannot be served",
            counted(errors, "error"),
            counted(warnings, "warning")
        )),
    }
}

/// A number of things, in words.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Says what stands in the way, and the exit code for it.
fn fail(problems: &str) -> ExitCode {
    say(&format!("{}\n", problems.trim_end()));
    ExitCode::FAILURE
}

/// What was asked for goes to stdout, which may be closed.
fn say_out(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Words for people go to stderr, which may be closed.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
