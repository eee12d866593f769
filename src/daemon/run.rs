//! `plustwo run`: from the first line it prints to the last reply it sends.

use super::log::{self, say};
use super::metrics::ReloadResult;
use super::{Daemon, Source, summary};
use crate::config::{self, Configuration};
use crate::udp::sys::give_back_free_memory;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until SIGTERM or SIGINT; SIGHUP reloads. The error is what to print before leaving with code 1.
pub fn run(source: &Source) -> Result<(), String> {
    log::start();
    let result = run_until_told(source);
    log::flush();
    result
}

fn run_until_told(source: &Source) -> Result<(), String> {
    // Signals are watched from the start: a SIGHUP while a large file is read must not end us.
    let mut control = Control::new().map_err(|error| format!("error: cannot watch signals: {error}"))?;
    if *source == Source::BuiltIn {
        say("plustwo serves the built-in example world: nothing of this machine, of AWS or of your files is in it; \
             only names that nobody there owns go to the upstream below\n");
    }
    let configuration = match control.load(source) {
        Awaited::Done(loaded) => loaded?,
        Awaited::Leave(_) => return Ok(()),
    };
    log::start_events(configuration.settings.log_level);
    let daemon = Daemon::start(&configuration).map_err(|error| error.to_string())?;
    say(&summary::summary(&configuration.model, daemon.door_addresses()));
    if *source == Source::BuiltIn {
        say(&summary::questions());
    }
    if source.has_targets_of_the_operator() {
        daemon.probe_loops(&configuration.model);
    }
    // The model is the size of all zone files; the snapshot is all that serving needs.
    drop(configuration);
    give_back_free_memory();
    tracing::info!(doors = daemon.door_addresses().len(), "serving generation 1");
    serve(daemon, source, control);
    Ok(())
}

/// Loads a configuration; says its warnings. The error holds every problem.
fn load(source: &Source) -> Result<Configuration, String> {
    let loaded = source.load().map_err(|error| format!("error: {error}"))?;
    let diagnostics = config::render(&loaded.diagnostics);
    match loaded.configuration {
        Some(configuration) => {
            say(&diagnostics);
            Ok(configuration)
        }
        None => Err(diagnostics),
    }
}

/// What arrives from outside, and where it is waited for: beside the runtime of what is served.
struct Control {
    runtime: Runtime,
    signals: Signals,
}

impl Control {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals::watch()?
        };
        Ok(Self { runtime, signals })
    }

    /// Loads a configuration, unless a signal says to leave before it is done.
    fn load(&mut self, source: &Source) -> Awaited<Result<Configuration, String>> {
        let source = source.clone();
        let (done, loaded) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            // Nobody listens any more once a signal said to leave.
            let _ = done.send(load(&source));
        });
        if let Err(error) = thread {
            return Awaited::Done(Err(format!("error: the system refuses a thread: {error}")));
        }
        let signals = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                signal = signals.leave() => Awaited::Leave(signal),
                loaded = loaded => Awaited::Done(loaded.unwrap_or_else(|_| {
                    Err("error: reading the file panicked; this is a bug, please report it".to_owned())
                })),
            }
        })
    }
}

/// How waiting ended.
enum Awaited<T> {
    Done(T),
    /// By this signal.
    Leave(&'static str),
}

/// The signals that are obeyed.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal, or a moment where old snapshots are still to be freed.
    async fn next(&mut self, retired: usize) -> Wish {
        let Self { terminate, interrupt, hang_up } = self;
        tokio::select! {
            () = tokio::time::sleep(SWEEP_AFTER), if retired > 0 => Wish::Sweep,
            signal = leave(terminate, interrupt) => Wish::Leave(signal),
            _ = hang_up.recv() => Wish::Reload,
        }
    }

    /// The next signal that says to leave.
    async fn leave(&mut self) -> &'static str {
        leave(&mut self.terminate, &mut self.interrupt).await
    }
}

/// The next of the two signals that say to leave.
async fn leave(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// How soon after a reload the old snapshot is looked at again.
const SWEEP_AFTER: Duration = Duration::from_millis(500);

/// What is to be done next.
enum Wish {
    Sweep,
    Reload,
    Leave(&'static str),
}

/// Obeys signals until one says to leave.
fn serve(mut daemon: Daemon, source: &Source, mut control: Control) {
    let mut waiting = 0;
    let signal = loop {
        let retired = daemon.server.publisher.sweep();
        if retired < waiting {
            give_back_free_memory();
        }
        waiting = retired;
        match control.runtime.block_on(control.signals.next(retired)) {
            Wish::Sweep => {}
            Wish::Reload => match control.load(source) {
                Awaited::Done(loaded) => {
                    reload(&mut daemon, source, loaded);
                    // The model is gone; the old snapshot may stay as long as a worker without queries holds it.
                    give_back_free_memory();
                }
                Awaited::Leave(signal) => break signal,
            },
            Wish::Leave(signal) => break signal,
        }
    };
    tracing::info!(signal, in_flight = daemon.server.in_flight.total(), "leaving: answering what is in flight");
    let counts = daemon.counts();
    daemon.stop();
    tracing::info!(queries = counts.queries, "left");
}

/// Takes up what was loaded again. Whatever is wrong with it, what is being served stays.
fn reload(daemon: &mut Daemon, source: &Source, loaded: Result<Configuration, String>) {
    let kept = daemon.server.publisher.current().generation.0;
    match loaded {
        Err(problems) => {
            say(&format!("{}\n", problems.trim_end()));
            daemon.metrics().count_reload(ReloadResult::Broken);
            tracing::error!(generation = kept, "reload failed: the file has errors; the old one is still served");
        }
        Ok(configuration) => match daemon.reload(&configuration) {
            Err(error) => tracing::error!(generation = kept, "reload refused: {error}"),
            Ok(generation) => {
                if source.has_targets_of_the_operator() {
                    daemon.probe_loops(&configuration.model);
                }
                log::set_level(configuration.settings.log_level);
                tracing::info!(
                    generation = generation.0,
                    vpcs = configuration.model.vpcs.len(),
                    zones = configuration.model.hosted_zones.len(),
                    endpoints = configuration.model.endpoints.len(),
                    rules = configuration.model.resolver_rules.len(),
                    "reloaded"
                );
            }
        },
    }
}
