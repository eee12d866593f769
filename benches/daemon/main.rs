//! The daemon on loopback, beside a raw `recvmmsg`/`sendmmsg` responder in the same run and beside NSD, unbound and
//! dnsdist with the same data. `benches/README.md` says what each row means.
//!
//! A figure is a ratio: what the server pays for a query (cycles where the machine counts them, else CPU time) over
//! what the raw responder pays, the two measured in turn on one core. Absolute figures belong to the machine; ratios
//! can be compared.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to the person who started it")]

mod data;
mod features;
mod load;
#[path = "../support/machine.rs"]
mod machine;
mod process;
mod reload;
mod report;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use data::{Files, Scale, Workload, World};
use load::{Core, Cost, Generator, Reading};
use process::Running;
use report::{Load, Report, Row};
use servers::Server;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("daemon bench: run it with `cargo bench --bench daemon`");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(report) => finish(&options, &report),
        Err(problem) => {
            eprintln!("daemon bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Options {
    workloads: Vec<Workload>,
    /// Peers and ours, without the raw responder, which always runs.
    servers: Vec<Server>,
    /// Each takes the raw responder and every server in turn.
    repetitions: usize,
    interval: Duration,
    /// Source ports that the 256 unanswered queries are spread over.
    ports: usize,
    scale: Scale,
    keeps_results: bool,
    instead: Option<Instead>,
}

/// What is measured instead of workloads.
enum Instead {
    /// So many seconds with a reload each.
    Reloads(u32),
    /// What features cost.
    Features,
}

impl Options {
    /// `None` when cargo only asks whether the bench works as a test (it passes `--bench` only for `cargo bench`).
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let arguments: Vec<String> = arguments.collect();
        let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
        if !is("--bench") || is("--test") || is("--list") {
            return Ok(None);
        }
        let mut arguments = arguments.iter().filter(|argument| *argument != "--bench");
        let mut quick = std::env::var_os("PLUSTWO_BENCH_QUICK").is_some_and(|value| value != "0");
        let (mut workloads, mut servers) = (Vec::new(), None);
        let (mut repetitions, mut seconds, mut keeps_results) = (REPETITIONS, INTERVAL_SECONDS, true);
        let (mut ports, mut instead) = (PORTS, None);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => quick = true,
                "--no-results" => keeps_results = false,
                "--reps" => repetitions = value()?.parse().map_err(|_| "--reps wants a number")?,
                "--seconds" => seconds = value()?.parse().map_err(|_| "--seconds wants a number")?,
                "--ports" => ports = value()?.parse().map_err(|_| "--ports wants a number")?,
                "--features" => instead = Some(Instead::Features),
                "--reload" => {
                    let seconds = value()?.parse().map_err(|_| "--reload wants a number of seconds")?;
                    instead = Some(Instead::Reloads(seconds));
                }
                "--servers" => servers = Some(value()?.split(',').map(Server::from_name).collect::<Result<_, _>>()?),
                letter => workloads.push(Workload::from_letter(letter)?),
            }
        }
        if workloads.is_empty() {
            workloads = Workload::ALL.to_vec();
        }
        if quick {
            (repetitions, seconds, keeps_results) = (1, QUICK_INTERVAL_SECONDS, false);
        }
        let scale = if quick { Scale::Quick } else { Scale::Full };
        let servers = servers.unwrap_or_else(|| match scale {
            Scale::Quick => vec![Server::Plustwo],
            Scale::Full => Server::ALL.to_vec(),
        });
        let interval = Duration::try_from_secs_f64(seconds).map_err(|_| "--seconds wants a length of time")?;
        let repetitions = repetitions.max(1);
        Ok(Some(Self { workloads, servers, repetitions, interval, ports, scale, keeps_results, instead }))
    }
}

/// Runs the workloads, world by world, so that the servers of a world are started once.
fn run(options: &Options) -> Result<Report, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("daemon-bench");
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).map_err(|e| format!("{}: {e}", tools.display()))?;
    build_tool("raw", &tools)?;
    build_tool("load", &tools)?;
    let mut report = Report { ports: options.ports, ..Report::default() };
    let Options { scale, repetitions, interval, .. } = *options;
    match options.instead {
        Some(Instead::Reloads(seconds)) => {
            report.reloads = Some(reload::measure(&tools, &folder, scale, seconds)?);
        }
        Some(Instead::Features) => {
            report.costs = Some(features::measure(&tools, &folder, scale, repetitions, interval)?);
        }
        None => {}
    }
    for world in World::ALL.into_iter().filter(|_| options.instead.is_none()) {
        let workloads: Vec<_> = options.workloads.iter().copied().filter(|w| w.world() == world).collect();
        if !workloads.is_empty() {
            measure_world(options, world, &workloads, &folder, &mut report)?;
        }
    }
    fs::remove_dir_all(folder.join("worlds")).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(report)
}

/// Compiles one of the C tools beside this file.
fn build_tool(name: &str, into: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/daemon").join(format!("{name}.c"));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let done =
        Command::new(&compiler).args(["-O2", "-Wall", "-Wextra", "-o"]).arg(into.join(name)).arg(source).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{compiler} could not build {name}.c: {status}")),
        Err(error) => Err(format!("the tools need a C compiler; {compiler}: {error}")),
    }
}

/// Starts every server of a world (timing its load), then measures the world's workloads in turn on all of them.
fn measure_world(
    options: &Options,
    world: World,
    workloads: &[Workload],
    folder: &Path,
    report: &mut Report,
) -> Result<(), String> {
    println!("\n{}", world.title(options.scale));
    let files = Files::write(world, options.scale, &folder.join("worlds").join(world.name()))?;
    let tools = folder.join("tools");
    let upstream = match world {
        World::Forward => Some(Running::raw(&tools, "authority", Core::Other)?),
        World::Local | World::Large | World::Views => None,
    };
    let mut servers = Vec::new();
    for server in options.servers.iter().filter(|server| server.serves(world)) {
        if !server.is_installed() {
            println!("  {}: NOT INSTALLED, its rows are missing", server.name());
            continue;
        }
        let started = server.start(&files, upstream.as_ref().map(|u| u.port))?;
        let load = Load::of(*server, world, &started, files.sought.len());
        println!("  {load}");
        report.loads.push(load);
        load::check_answers(&started, &files, SAMPLE)?;
        servers.push((*server, started));
    }
    let raw = Running::raw(&tools, "round", Core::Server)?;
    for workload in workloads {
        let generator = Generator::new(&tools, &files, *workload, options.interval, options.ports);
        if *workload == Workload::Stream {
            measure_streams(options, &tools, &generator, &servers, report)?;
        } else {
            measure(options, &generator, &raw, &servers, report)?;
        }
    }
    Ok(())
}

/// One workload: raw, a server, raw, the next, … on one core, as often as asked; then each on a core of its own.
fn measure(
    options: &Options,
    generator: &Generator<'_>,
    raw: &Running,
    servers: &[(Server, Running)],
    report: &mut Report,
) -> Result<(), String> {
    for (_, server) in servers {
        generator.warm_up(server)?;
    }
    let mut pairs: Vec<Vec<(Reading, Cost)>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.repetitions {
        let mut before = generator.run(raw, Core::Server, None)?.cost;
        for ((_, server), pairs) in servers.iter().zip(&mut pairs) {
            let reading = generator.run(server, Core::Server, None)?;
            let after = generator.run(raw, Core::Server, None)?.cost;
            pairs.push((reading, Cost::mean(before, after)));
            before = after;
        }
    }
    for ((server, running), pairs) in servers.iter().zip(pairs) {
        let row = match options.scale {
            Scale::Quick => Row::new(generator.workload, *server, pairs, None),
            Scale::Full => {
                let fastest = generator.run(running, Core::Other, None)?;
                let half = generator.run(running, Core::Other, Some(fastest.rate / 2.0))?;
                Row::new(generator.workload, *server, pairs, Some((fastest, half)))
            }
        };
        println!("  {row}");
        report.rows.push(row);
    }
    Ok(())
}

/// TCP through dnsperf: what a pipelined query costs, over the raw stream responder's.
fn measure_streams(
    options: &Options,
    tools: &Path,
    generator: &Generator<'_>,
    servers: &[(Server, Running)],
    report: &mut Report,
) -> Result<(), String> {
    if !process::is_on_path("dnsperf") {
        println!("  TCP: dnsperf is NOT INSTALLED, the rows are missing");
        return Ok(());
    }
    let raw = Running::raw(tools, "stream", Core::Server)?;
    for (server, running) in servers {
        let mut pairs = Vec::new();
        for _ in 0..options.repetitions.min(STREAM_REPETITIONS) {
            let before = generator.run_streams(&raw)?.cost;
            pairs.push((generator.run_streams(running)?, before));
        }
        let row = Row::new(Workload::Stream, *server, pairs, None);
        println!("  {row}");
        report.rows.push(row);
    }
    Ok(())
}

/// Prints the tables, keeps them, and fails when a reply was wrong or missing (never because a figure is high).
fn finish(options: &Options, report: &Report) -> ExitCode {
    println!("\n{}", report.markdown());
    if options.keeps_results {
        match report.keep(Path::new(env!("CARGO_MANIFEST_DIR"))) {
            Ok(path) => println!("kept in {path}"),
            Err(problem) => {
                eprintln!("the results could not be kept: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    let wrong = report.wrong_rows();
    for row in &wrong {
        eprintln!("WRONG OR LOST REPLIES: {row}");
    }
    let is_other_wrong = report.reloads.as_ref().is_some_and(reload::Reloads::is_wrong)
        || report.costs.as_ref().is_some_and(features::Costs::is_wrong);
    if is_other_wrong {
        eprintln!("WRONG OR LOST REPLIES: see the table");
    }
    if wrong.is_empty() && !is_other_wrong { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How often raw and each server are measured in turn; a figure is the median.
const REPETITIONS: usize = 5;
/// Seconds of one measured interval: short, so that the raw responder is measured close in time.
const INTERVAL_SECONDS: f64 = 0.6;
/// Source ports of the generator: those of busy forwarders, each with a few queries unanswered.
const PORTS: usize = 64;
/// Seconds of the one interval of `--quick`.
const QUICK_INTERVAL_SECONDS: f64 = 0.2;
/// How often raw and each server are measured over TCP, at most: dnsperf's intervals are long.
const STREAM_REPETITIONS: usize = 3;
/// Names whose addresses are checked in a server before it is measured.
const SAMPLE: usize = 200;

const USAGE: &str = "\
usage: cargo bench --bench daemon [-- [WORKLOAD…] [OPTION…]]
  workloads: A B C D V E F T (all when none is named; benches/README.md)
  --quick            1,000 names, 0.2 s each, no peers: are the replies right? (also PLUSTWO_BENCH_QUICK=1)
  --servers A,B      of plustwo, nsd, unbound, dnsdist
  --reps N           repetitions (5)
  --seconds S        length of each measured interval (0.6)
  --ports N          source ports of the 256 queries that are unanswered at a time (64)
  --features         instead of workloads: what metrics and the query log cost
  --reload S         instead of workloads: C's data read again every second for S seconds, under load
  --no-results       do not write benches/results/";
