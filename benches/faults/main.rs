//! Forwarding under faults: the daemon beside unbound, dnsdist, BIND and Knot Resolver, in a network of the bench's own
//! with the same upstreams and the same faults; and a soak of the daemon alone. `benches/README.md` says what each row
//! means.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to the person who started it")]

mod client;
#[path = "../support/machine.rs"]
mod machine;
#[path = "../../tests/support/netns.rs"]
mod netns;
#[path = "../../tests/support/raw.rs"]
mod raw;
mod report;
mod scenarios;
mod servers;
mod soak;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use scenarios::{Figures, Scale};
use servers::Server;
use soak::Soak;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address] = &arguments[..]
        && flag == UPSTREAM
    {
        let served =
            address.parse::<SocketAddr>().map_err(|error| error.to_string()).and_then(upstream::serve_for_ever);
        return finish(served);
    }
    let options = match Options::parse(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("faults bench: run it with `cargo bench --bench faults`");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if std::env::var_os(INNER).is_none() {
        return alone(&arguments);
    }
    match &options.soak {
        Some(soak) => finish(soak::run(soak, &folder())),
        None => finish(compare(&options)),
    }
}

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("faults bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again in namespaces of its own, where it is root and alone.
fn alone(arguments: &[String]) -> ExitCode {
    let run = || -> Result<ExitCode, String> {
        let mut command = netns::alone().map_err(|reason| format!("no namespaces of our own: {reason}"))?;
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let status = command.arg(this).args(arguments).env(INNER, "1").status().map_err(|error| error.to_string())?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    };
    run().unwrap_or_else(|problem| finish(Err(problem)))
}

/// What the command line asks for.
struct Options {
    servers: Vec<Server>,
    scale: Scale,
    is_quick: bool,
    keeps_results: bool,
    soak: Option<Soak>,
}

impl Options {
    /// `None` when cargo only asks whether the bench works as a test (it passes `--bench` only for `cargo bench`).
    fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
        if !is("--bench") || is("--test") || is("--list") {
            return Ok(None);
        }
        let mut is_quick = std::env::var_os("PLUSTWO_BENCH_QUICK").is_some_and(|value| value != "0");
        let (mut servers, mut keeps_results, mut soak, mut rate, mut output) = (None, true, None, None, None);
        let mut rest = arguments.iter().filter(|argument| *argument != "--bench");
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} wants a value"));
            let number = |text: &String| text.parse::<u32>().map_err(|_| format!("{argument} wants a number"));
            match argument.as_str() {
                "--quick" => is_quick = true,
                "--no-results" => keeps_results = false,
                "--servers" => servers = Some(value()?.split(',').map(Server::from_name).collect::<Result<_, _>>()?),
                "--soak" => soak = Some(number(value()?)?),
                "--rate" => rate = Some(number(value()?)?),
                "--output" => output = Some(PathBuf::from(value()?)),
                other => return Err(format!("{other:?} is no option")),
            }
        }
        let soak = soak.map(|minutes| Soak {
            time: Duration::from_secs(60 * u64::from(minutes)),
            rate: rate.unwrap_or(soak::RATE),
            output,
        });
        Ok(Some(Self {
            servers: servers.unwrap_or_else(|| if is_quick { vec![Server::Plustwo] } else { Server::ALL.to_vec() }),
            scale: if is_quick { Scale::QUICK } else { Scale::FULL },
            is_quick,
            keeps_results: keeps_results && !is_quick,
            soak,
        }))
    }
}

/// Puts every server under every fault, prints the table and keeps it. A missed bar does not fail it; an answer that is
/// wrong does.
fn compare(options: &Options) -> Result<(), String> {
    let mut all = Vec::new();
    for server in &options.servers {
        if !server.is_installed() {
            println!("{}: NOT INSTALLED, its column is missing", server.name());
            continue;
        }
        let folder = folder().join(server.name());
        let figures = Figures::of(*server, options.scale, &folder)?;
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        all.push(figures);
    }
    let table = report::markdown(&all);
    println!("\n{table}");
    for figures in all.iter().filter(|figures| figures.server == Server::Plustwo) {
        report::missed(figures).iter().for_each(|bar| println!("MISSED: {bar}"));
    }
    if options.keeps_results {
        println!("kept in {}", report::keep_run(Path::new(env!("CARGO_MANIFEST_DIR")), "faults", &table)?);
    }
    if options.is_quick {
        // The soak's own health: half a minute, every fault once.
        soak::run(&Soak { time: soak::QUICK, rate: soak::RATE / 2, output: None }, &folder())?;
    }
    let wrong: usize =
        all.iter().filter(|figures| figures.server == Server::Plustwo).map(|figures| figures.wrong).sum();
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} WRONG ANSWERS")) }
}

/// Where servers have their state.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults-bench")
}

/// Set in the process that is alone in its namespaces.
const INNER: &str = "PLUSTWO_BENCH_ALONE";
/// Makes this program an upstream.
pub(crate) const UPSTREAM: &str = "--upstream";

const USAGE: &str = "\
usage: cargo bench --bench faults [-- OPTION…]
  --servers A,B      of plustwo, unbound, dnsdist, bind, knot-resolver (all)
  --quick            plustwo only, small, then half a minute of soak: are the replies right? (also PLUSTWO_BENCH_QUICK=1)
  --no-results       do not write benches/results/
  --soak MINUTES     no comparison: mixed load on plustwo with a fault after the other, every query accounted for
  --rate N           queries a second of the soak (2000)
  --output FILE      what the soak says goes into this file too, line by line";
