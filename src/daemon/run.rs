//! `plustwo run`: from the first line it prints to the last reply it sends.

use super::{Daemon, Source, log, summary};
use crate::compile;
use crate::config::{self, Configuration};
use crate::serve::udp::sys::{give_back_free_memory, raise_open_files};
use std::io::{self, Write};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until SIGTERM or SIGINT; SIGHUP reloads. The error is what to print before leaving with code 1.
pub fn run(source: &Source) -> Result<(), String> {
    if *source == Source::BuiltIn {
        say("plustwo serves the built-in example world: nothing of this machine, of AWS or of your files is in it; \
             only names that nobody there owns go to the upstream below\n");
    }
    let configuration = load(source)?;
    log::set_level(configuration.settings.log_level);
    check_open_files(&configuration);
    let daemon = Daemon::start(&configuration).map_err(|error| error.to_string())?;
    let signals = {
        // Signals are watched before anybody may think that we are ready for them.
        let _entered = daemon.runtime.enter();
        Signals::watch().map_err(|error| format!("error: cannot watch signals: {error}"))?
    };
    say(&summary::summary(&configuration.model, daemon.door_addresses()));
    if *source == Source::BuiltIn {
        say(&summary::questions());
    }
    // The model is the size of all zone files; the snapshot is all that serving needs.
    drop(configuration);
    give_back_free_memory();
    tracing::info!(doors = daemon.door_addresses().len(), "serving generation 1");
    serve(daemon, source, signals);
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

/// Raises the limit of open files; warns where forwarding and streams at their limits would need more.
fn check_open_files(configuration: &Configuration) {
    let limits = &configuration.settings.limits;
    let doors =
        compile::door_addresses(&configuration.model).len() * (super::worker_count(&configuration.settings).get() + 1);
    let needed = FILES_OF_THE_PROCESS + doors + limits.tcp_connections + limits.in_flight * SOCKETS_A_QUESTION;
    match raise_open_files() {
        Ok(may) if may < needed as u64 => tracing::warn!(
            may,
            needed,
            "fewer open files than the limits allow for: at the limit forwarding fails first; raise LimitNOFILE= in the \
             unit (ulimit -n), or lower in_flight"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot read the limit of open files"),
    }
}

/// Descriptors besides doors, streams and upstream sockets: standard streams, epoll, runtime, files being read.
const FILES_OF_THE_PROCESS: usize = 64;
/// Sockets that a question being forwarded holds, rounded up: 10,000 to dead upstreams held 12,500.
const SOCKETS_A_QUESTION: usize = 2;

/// What arrives from outside while serving.
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
        tokio::select! {
            () = tokio::time::sleep(SWEEP_AFTER), if retired > 0 => Wish::Sweep,
            _ = self.terminate.recv() => Wish::Leave("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Leave("SIGINT"),
            _ = self.hang_up.recv() => Wish::Reload,
        }
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
fn serve(mut daemon: Daemon, source: &Source, mut signals: Signals) {
    let handle = daemon.runtime.handle().clone();
    let mut waiting = 0;
    loop {
        let retired = daemon.server.publisher.sweep();
        if retired < waiting {
            give_back_free_memory();
        }
        waiting = retired;
        match handle.block_on(signals.next(retired)) {
            Wish::Sweep => {}
            Wish::Reload => reload(&mut daemon, source),
            Wish::Leave(signal) => {
                tracing::info!(
                    signal,
                    in_flight = daemon.server.in_flight.total(),
                    "leaving: answering what is in flight"
                );
                break;
            }
        }
    }
    let counts = daemon.counts();
    daemon.stop();
    tracing::info!(queries = counts.queries, "left");
}

/// Reads the source again. Whatever is wrong with it, what is being served stays.
fn reload(daemon: &mut Daemon, source: &Source) {
    let kept = daemon.server.publisher.current().generation.0;
    match load(source) {
        Err(problems) => {
            say(&problems);
            tracing::error!(generation = kept, "reload failed: the file has errors; the old one is still served");
        }
        Ok(configuration) => match daemon.reload(&configuration) {
            Err(error) => tracing::error!(generation = kept, "reload refused: {error}"),
            Ok(generation) => {
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

/// Words for people go to stderr; one that is closed must not end the daemon.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
