//! `plustwo run`: from the first line it prints to the last reply it sends.

use super::admin::{Admin, Command, Listeners, ReloadReport, Service};
use super::changes::Inventory;
use super::files::{FileRead, Look};
use super::last_good::LastGood;
use super::loading::{LoadState, Loading};
use super::log::{self, say};
use super::memory::Room;
use super::metrics::ReloadResult;
use super::served::Served;
use super::source::{Given, KnownNameservers, Read, TextRead};
use super::systemd::Systemd;
use super::watch::FileWatch;
use super::watchdog::{Watchdog, Watched};
use super::{DRAIN_SECONDS_MAX, Daemon, Source, summary};
use crate::aws::{HostedZone, RecordSets};
use crate::config::{self, Configuration};
use crate::udp::sys::{give_back_free_memory, keep_large_blocks_apart, work_in_background};
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// What `plustwo run` is told beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// Where what outlives the process is kept; none: nowhere.
    pub state_directory: Option<PathBuf>,
    /// Where the admin socket is, if the configuration does not say; none: nowhere.
    pub runtime_directory: Option<PathBuf>,
    /// Whether the last good configuration is served where the source has errors.
    pub last_good: bool,
}

/// Serves until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 opens the query log's file anew. The error is what to print
/// before leaving with code 1.
pub fn run(options: &Options) -> Result<(), String> {
    keep_large_blocks_apart();
    log::start();
    let result = run_until_told(options);
    log::flush();
    result
}

fn run_until_told(options: &Options) -> Result<(), String> {
    let source = &options.source;
    let systemd = Systemd::of_environment().unwrap_or_else(|error| {
        say(&format!("warning: the service manager cannot be told what we do: {error}\n"));
        Systemd::default()
    });
    // Signals are watched from the start: a SIGHUP while a large file is read must not end us.
    let mut control = Control::new(systemd.clone()).map_err(|error| format!("error: cannot watch signals: {error}"))?;
    if *source == Source::BuiltIn {
        say("plustwo serves the built-in example world: nothing of this machine, of AWS or of your files is in it; \
             only names that nobody there owns go to the upstream below\n");
    }
    let last_good = match (source, &options.state_directory) {
        (Source::File(path), Some(folder)) => Some(LastGood::start(folder, path)),
        _ => None,
    };
    let last_good = last_good.transpose().map_err(|error| format!("error: the system refuses a thread: {error}"))?;
    let attempt = match control.load(source, last_good.is_some(), None) {
        Awaited::Done(attempt) => attempt,
        Awaited::Leave(_) => return Ok(()),
    };
    let Attempt { loaded, files } = attempt;
    let (Taken { configuration, served, texts }, fallen_back) = match loaded {
        Ok(taken) => (taken, None),
        Err(problems) if options.last_good => {
            let (taken, kept_at) = instead(source, last_good.as_ref(), &problems)?;
            (taken, Some((problems, kept_at)))
        }
        Err(problems) => return Err(problems),
    };
    log::start_events(configuration.settings.log_level);
    let runtime_directory = options.runtime_directory.as_deref().filter(|_| *source != Source::BuiltIn);
    let listeners = Listeners::bind(&configuration.settings.admin, runtime_directory);
    let listeners = listeners.map_err(|errors| Daemon::admin_refused(errors, &configuration).to_string())?;
    let daemon = Daemon::start(&configuration).map_err(|error| error.to_string())?;
    say(&summary::summary(&configuration.model, daemon.door_addresses()));
    if *source == Source::BuiltIn {
        say(&summary::questions());
    }
    if source.has_targets_of_the_operator() {
        daemon.probe_loops(&configuration.model);
    }
    if let Some(last_good) = &last_good {
        daemon.metrics().watch_last_good(last_good.failures());
    }
    let loading = Loading::new(served.inventory.sizes(), Arc::clone(&files));
    match &fallen_back {
        None => {
            if let Some(last_good) = &last_good {
                last_good.keep(texts);
            }
        }
        Some((problems, kept_at)) => {
            loading.fell_back(problems);
            daemon.metrics().count_reload(ReloadResult::Broken);
            let age_seconds = kept_at.elapsed().map_or(0, |age| age.as_secs());
            tracing::error!(
                age_seconds,
                "the LAST GOOD configuration is served, and not what the file says: the file has errors; correct it, \
                 and it is taken up"
            );
        }
    }
    let (commands, commanded) = mpsc::channel(COMMANDS_WAITING_MAX);
    let is_leaving = Arc::new(AtomicBool::new(false));
    let service = Service {
        server: daemon.server().clone(),
        loading: loading.clone(),
        streams: daemon.streams_watch(),
        commands,
        metrics: {
            let metrics = daemon.metrics().clone();
            Arc::new(move || metrics.scrape())
        },
        is_leaving: Arc::clone(&is_leaving),
        started: Instant::now(),
    };
    let admin = Admin::start(listeners, service);
    let admin = admin.map_err(|error| format!("error: the system refuses a thread: {error}"))?;
    control.commands = admin.is_some().then_some(commanded);
    let watch = match source {
        Source::BuiltIn => None,
        Source::File(_) => match FileWatch::start() {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!("files are not watched: the system refuses a thread: {error}; SIGHUP reloads");
                None
            }
        },
    };
    let is_watching = configuration.settings.watch;
    // The model is the size of all zone files; the snapshot is all that serving needs.
    drop(configuration);
    give_back_free_memory();
    let watched = Watched {
        server: daemon.server().clone(),
        doors: daemon.doors_watch(),
        streams: daemon.streams_watch(),
        counts: Arc::clone(daemon.metrics().watchdog()),
        is_leaving: Arc::clone(&is_leaving),
    };
    tracing::info!(doors = daemon.door_addresses().len(), "serving generation 1");
    let serving = Serving {
        daemon,
        source: source.clone(),
        loading,
        served: Arc::new(served),
        last_good,
        watch,
        is_watching,
        is_leaving,
        systemd,
    };
    serving.watch(&files);
    serving.say_ready();
    // From here on signs of life are waited for.
    let watchdog = Watchdog::start(&serving.systemd, watched);
    let watchdog = watchdog.map_err(|error| format!("error: the system refuses a thread: {error}"))?;
    serving.until_told(control);
    drop(admin);
    drop(watchdog);
    Ok(())
}

/// The last good configuration instead of one with errors.
fn instead(source: &Source, last_good: Option<&LastGood>, problems: &str) -> Result<(Taken, SystemTime), String> {
    let also = |reason: &str| format!("{}\n\nerror: {reason}", problems.trim_end());
    let Source::File(path) = source else { return Err(problems.to_owned()) };
    let Some(last_good) = last_good else {
        return Err(also("there is no state directory, so no last good configuration: give --state-directory"));
    };
    let (read, kept_at) = last_good.read().map_err(|reason| also(&reason))?;
    let Attempt { loaded, .. } = Attempt::of(read, None);
    let taken = loaded.map_err(|reason| also(&format!("the last good configuration has errors too:\n{reason}")))?;
    say(&format!(
        "{}\n\n*** {} has the errors above and is NOT served. The last good configuration is served instead. ***\n\n",
        problems.trim_end(),
        path.display()
    ));
    Ok((taken, kept_at))
}

/// A configuration that can be served, and what is to be remembered of it then.
struct Taken {
    configuration: Configuration,
    served: Served,
    /// What it was made of, where that is kept.
    texts: Vec<TextRead>,
}

/// What an attempt to load came to.
struct Attempt {
    /// The error holds every problem.
    loaded: Result<Taken, String>,
    files: Arc<[FileRead]>,
}

impl Attempt {
    /// Takes what was read, in the place of what is served; says its warnings.
    fn of(Read { loaded, files, texts }: Read, before: Option<&Served>) -> Self {
        let taken = loaded.map_err(|error| format!("error: {error}")).and_then(|loaded| {
            let diagnostics = config::render(&loaded.diagnostics);
            let configuration = loaded.configuration.ok_or_else(|| diagnostics.clone())?;
            say(&diagnostics);
            let inventory = Inventory::of(&configuration.model, before.map(|served| &served.inventory));
            let served = Served::new(inventory, configuration.zones_of_files.clone(), &files);
            Ok(Taken { configuration, served, texts })
        });
        Self { loaded: taken, files: files.into() }
    }

    /// None could be made.
    fn failed(why: String) -> Self {
        Self { loaded: Err(why), files: Arc::from([]) }
    }
}

/// What arrives from outside, and where it is waited for: beside the runtime of what is served.
struct Control {
    runtime: Runtime,
    signals: Signals,
    systemd: Systemd,
    /// What the admin interface is asked to do; none: there is no admin interface.
    commands: Option<mpsc::Receiver<Command>>,
    nameservers: KnownNameservers,
    /// Who wants to know what comes of the next reload: one for all that ask while another is being loaded. As many at
    /// most as connections that the admin interface serves.
    asked: Vec<oneshot::Sender<ReloadReport>>,
}

impl Control {
    fn new(systemd: Systemd) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals::watch()?
        };
        let nameservers = KnownNameservers::default();
        Ok(Self { runtime, signals, systemd, commands: None, nameservers, asked: Vec::new() })
    }

    /// What is to be done next.
    fn next(&mut self, left: usize, watch: Option<&FileWatch>) -> Wish {
        let Self { runtime, signals, commands, asked, .. } = self;
        if !asked.is_empty() {
            return Wish::Reload(Look::Inside);
        }
        runtime.block_on(signals.next(left, watch, commands.as_mut(), asked))
    }

    /// Loads a configuration in place of the one that is served; the service manager is told that it may change.
    fn load_again(
        &mut self,
        source: &Source,
        keeps_texts: bool,
        (served, look): (&Arc<Served>, Look),
    ) -> Awaited<Attempt> {
        self.systemd.reloading();
        self.load(source, keeps_texts, Some((Arc::clone(served), look)))
    }

    /// Loads a configuration, unless a signal says to leave before it is done. Where another one is `served` meanwhile, only
    /// what is different is settled, and it takes no more memory than there is.
    fn load(&mut self, source: &Source, keeps_texts: bool, served: Option<(Arc<Served>, Look)>) -> Awaited<Attempt> {
        let (source, nameservers) = (source.clone(), self.nameservers.clone());
        let (done, loaded) = oneshot::channel();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let room = if served.is_some() { Room::now() } else { Room::default() };
            let (served, look) = served.unzip();
            let look = look.unwrap_or_default();
            let read = source.read(keeps_texts, Given { room, nameservers, served: served.clone(), look });
            // Nobody listens any more once a signal said to leave.
            let _ = done.send(Attempt::of(read, served.as_deref()));
        });
        if let Err(error) = thread {
            return Awaited::Done(Attempt::failed(format!("error: the system refuses a thread: {error}")));
        }
        let Self { runtime, signals, systemd, commands, asked, .. } = self;
        let still_loading = async {
            for _ in 0..LOADING_EXTENDED_MAX {
                tokio::time::sleep(LOADING_TOLD_EVERY).await;
                systemd.extend_timeout(LOADING_TOLD_EVERY * 3);
            }
            std::future::pending::<Infallible>().await
        };
        let mut loaded = loaded;
        runtime.block_on(async {
            tokio::pin!(still_loading);
            loop {
                tokio::select! {
                    signal = signals.leave() => return Awaited::Leave(signal),
                    never = &mut still_loading => match never {},
                    command = next_command(commands.as_mut()) => match command {
                        // What is being read may be older than the edit that they mean.
                        Command::Reload(report) => asked.push(report),
                        Command::Shutdown => return Awaited::Leave(SHUTDOWN),
                    },
                    loaded = &mut loaded => return Awaited::Done(loaded.unwrap_or_else(|_| {
                        Attempt::failed("error: reading the file panicked; this is a bug, please report it".to_owned())
                    })),
                }
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
    /// Nobody waits for it: a file that may not grow any more (`ulimit -f`) is an error of whoever writes it, and no end.
    _file_too_large: Signal,
    reopen: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_too_large: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal or edit, or a moment where something is still to be freed.
    async fn next(
        &mut self,
        left: usize,
        watch: Option<&FileWatch>,
        commands: Option<&mut mpsc::Receiver<Command>>,
        asked: &mut Vec<oneshot::Sender<ReloadReport>>,
    ) -> Wish {
        let Self { terminate, interrupt, hang_up, reopen, .. } = self;
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(SWEEP_AFTER), if left > 0 => Wish::Sweep,
            signal = leave(terminate, interrupt) => Wish::Leave(signal),
            _ = hang_up.recv() => Wish::Reload(Look::Inside),
            _ = reopen.recv() => Wish::Reopen,
            () = changed => Wish::Reload(Look::AtTimes),
            command = next_command(commands) => match command {
                Command::Reload(report) => {
                    asked.push(report);
                    Wish::Reload(Look::Inside)
                }
                Command::Shutdown => Wish::Leave(SHUTDOWN),
            },
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

/// The next command of the admin interface. That outlives who waits here; once it is gone there is nothing to wait for.
async fn next_command(commands: Option<&mut mpsc::Receiver<Command>>) -> Command {
    match commands {
        Some(commands) => match commands.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// What the log calls the command to leave, where it names signals.
const SHUTDOWN: &str = "shutdown";

/// How soon after a reload what it left behind is looked at again.
const SWEEP_AFTER: Duration = Duration::from_millis(500);

/// How often the service manager is told that loading goes on: it may take longer than a start or a reload may.
const LOADING_TOLD_EVERY: Duration = Duration::from_secs(10);

/// How often at most, ten minutes in all: what then still reads will hardly end.
const LOADING_EXTENDED_MAX: u32 = 60;

/// How long stopping may take in all: draining, and saving the cache, which takes the disk's time.
const STOPPING_WITHIN: Duration = Duration::from_secs(DRAIN_SECONDS_MAX + 25);

/// Commands of the admin interface that wait at most; who comes later waits to be let in.
const COMMANDS_WAITING_MAX: usize = 8;

/// What is to be done next.
enum Wish {
    Sweep,
    /// The configuration is to be loaded again. Who asks for that in words wants to have it looked into.
    Reload(Look),
    /// The query log's file is to be opened anew.
    Reopen,
    Leave(&'static str),
}

/// A daemon and what it is reloaded with.
struct Serving {
    daemon: Daemon,
    source: Source,
    loading: Loading,
    /// What is remembered of what is served.
    served: Arc<Served>,
    last_good: Option<LastGood>,
    watch: Option<FileWatch>,
    is_watching: bool,
    is_leaving: Arc<AtomicBool>,
    systemd: Systemd,
}

impl Serving {
    /// Obeys until a signal says to leave.
    fn until_told(mut self, mut control: Control) {
        // All that is left for this thread and for those that it makes is reading files again.
        work_in_background();
        let mut waiting = 0;
        let signal = loop {
            let left = self.daemon.sweep();
            if left < waiting {
                give_back_free_memory();
            }
            waiting = left;
            match control.next(left, self.watch.as_ref()) {
                Wish::Sweep => {}
                Wish::Reopen => self.daemon.reopen_query_log(),
                Wish::Reload(look) => {
                    let asked = std::mem::take(&mut control.asked);
                    match control.load_again(&self.source, self.last_good.is_some(), (&self.served, look)) {
                        Awaited::Done(attempt) => {
                            self.take_up(attempt);
                            self.say_ready();
                            // The model is gone; the old snapshot goes when the last worker has seen the new one.
                            give_back_free_memory();
                            for who in asked {
                                // Nobody listens any more where who asked has broken off.
                                let _ = who.send(self.report());
                            }
                        }
                        Awaited::Leave(signal) => break signal,
                    }
                }
                Wish::Leave(signal) => break signal,
            }
        };
        self.is_leaving.store(true, Ordering::Release);
        self.systemd.stopping(STOPPING_WITHIN);
        let daemon = self.daemon;
        let mut signals = control.signals;
        // On a runtime that goes on while this thread waits for the drain.
        daemon.runtime.spawn(async move {
            let signal = signals.leave().await;
            tracing::warn!(signal, "told to leave once more: leaving at once");
            log::flush();
            std::process::exit(0);
        });
        tracing::info!(signal, in_flight = daemon.server.in_flight.total(), "leaving: answering what is in flight");
        let counts = daemon.counts();
        daemon.stop();
        tracing::info!(queries = counts.queries, "left");
    }

    /// Tells the service manager what is served.
    fn say_ready(&self) {
        let LoadState { generation, last_error, is_last_good, .. } = self.loading.state();
        let doors = self.daemon.door_addresses().len();
        let but = match (last_error, is_last_good) {
            (None, _) => "",
            (Some(_), false) => "; the last reload failed, see the log",
            (Some(_), true) => ", the LAST GOOD one, because the file has errors: see the log",
        };
        self.systemd.ready(&format!("serving generation {generation} at {doors} doors{but}"));
    }

    /// What came of the last attempt.
    fn report(&self) -> ReloadReport {
        let LoadState { generation, changes, last_error, .. } = self.loading.state();
        ReloadReport { generation, outcome: last_error.map_or(Ok(changes), Err) }
    }

    /// Watches what was read, or nothing.
    fn watch(&self, files: &Arc<[FileRead]>) {
        if let Some(watch) = &self.watch {
            watch.watch(&if self.is_watching { Arc::clone(files) } else { Arc::from([]) });
        }
    }

    /// Takes up what was loaded again. Whatever is wrong with it, what is being served stays.
    fn take_up(&mut self, Attempt { loaded, files }: Attempt) {
        let kept = self.loading.state().generation;
        match loaded {
            Err(problems) => {
                say(&format!("{}\n", problems.trim_end()));
                self.loading.failed(&problems, Arc::clone(&files));
                self.daemon.metrics().count_reload(ReloadResult::Broken);
                tracing::error!(generation = kept, "reload failed: the file has errors; the old one is still served");
            }
            Ok(Taken { configuration, served, texts }) => match self.daemon.reload(&configuration) {
                Err(error) => {
                    self.loading.failed(&error.to_string(), Arc::clone(&files));
                    tracing::error!(generation = kept, "reload refused: {error}");
                }
                Ok(reloaded) => {
                    if self.source.has_targets_of_the_operator() {
                        self.daemon.probe_loops(&configuration.model);
                    }
                    log::set_level(configuration.settings.log_level);
                    self.is_watching = configuration.settings.watch;
                    let changes = self.served.inventory.changes(&served.inventory, &configuration.model);
                    let lines = changes.lines();
                    let sizes = served.inventory.sizes();
                    let is_read = |zone: &&HostedZone| matches!(zone.record_sets, RecordSets::Here(_));
                    let zones_read = configuration.model.hosted_zones.iter().filter(is_read).count();
                    tracing::info!(
                        generation = reloaded.generation.0,
                        vpcs = sizes.vpcs,
                        zones = sizes.zones,
                        endpoints = sizes.endpoints,
                        rules = sizes.rules,
                        names = sizes.names,
                        zones_read,
                        changed_zones = %changes.zones,
                        changed_names = %changes.names,
                        changed_endpoints = %changes.endpoints,
                        changed_rules = %changes.rules,
                        doors_opened = reloaded.doors_opened,
                        doors_closed = reloaded.doors_closed,
                        "reloaded"
                    );
                    for line in &lines {
                        tracing::info!(generation = reloaded.generation.0, "changed: {line}");
                    }
                    self.served = Arc::new(served);
                    self.loading.succeeded(reloaded.generation.0, sizes, lines, Arc::clone(&files));
                    if let Some(last_good) = &self.last_good {
                        last_good.keep(texts);
                    }
                }
            },
        }
        // An attempt that broke off before it read anything would only break off again: SIGHUP tries once more.
        if !files.is_empty() {
            self.watch(&files);
        }
    }
}
