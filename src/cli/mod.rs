//! Words and exit codes: 0 fine, 1 problems, 2 usage.

use crate::config::{self, Severity};
use crate::daemon::{self, Source};
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
Signals: SIGTERM and SIGINT answer what is in flight and leave; SIGHUP reads the file again.";

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves until SIGTERM; SIGHUP reads the file again
    Run(Configured),
    /// Reads a configuration and says everything that is wrong with it
    Check(Configured),
}

/// Which configuration.
#[derive(Args, Debug, Default)]
struct Configured {
    /// The configuration file; without it the built-in example world
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
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
    match command.verb.unwrap_or_else(|| Verb::Run(Configured::default())) {
        Verb::Run(configured) => match daemon::run(&configured.source()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problems) => fail(&problems),
        },
        Verb::Check(configured) => check(&configured.source()),
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

/// Words for people go to stderr, which may be closed.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
