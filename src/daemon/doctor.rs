//! `plustwo doctor`: looks at the configuration, at this machine and at the targets, and says what stands in the way of
//! answers, what that means and what to do about it.
//!
//! It reads and asks, and changes nothing: it asks the targets of the configuration, its own doors, the admin socket and,
//! where plustwo answers with private addresses, the resolver of resolv.conf if that is on this machine or at a private
//! address. Ports that nobody holds are bound for a moment, to see whether they could be. Checks run beside each other, and
//! what is not done within [`WITHIN`] is said to be so.

mod admin_socket;
mod ask;
mod clock;
mod doors;
mod kernel;
mod machine;
mod open_files;
mod privilege;
mod rebind;
mod resolv_conf;
mod resolved;
mod socket_buffers;
mod state;
mod targets;

use super::Source;
use crate::compile;
use crate::config::{Configuration, Diagnostic, Loaded, Severity};
use machine::Machine;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long all of it may take.
pub const WITHIN: Duration = Duration::from_secs(10);
/// How long the admin interface is waited for: the other checks come after it.
const ADMIN_WITHIN: Duration = Duration::from_secs(3);
/// Diagnostics of the configuration that are shown; `plustwo check` shows all.
const DIAGNOSTICS_MAX: usize = 10;

/// Every check, in the order in which they are told, and what it looks at.
pub const CHECKS: [(&str, &str); 17] = [
    ("configuration", "whether the file can be served, as `plustwo check` says it"),
    ("admin-socket", "whether a running plustwo answers operators, and what failed last"),
    ("door", "whether each door is free, open, or held by somebody else"),
    ("privilege", "whether what starts plustwo may open ports below 1024"),
    ("resolv.conf", "whom programs on this machine ask, whether that is plustwo, and who writes the file"),
    ("nsswitch", "whether programs on this machine ask the DNS at all"),
    ("systemd-resolved", "whether it runs, whom it asks, and what of it is in the way of plustwo"),
    ("rebind-filter", "whether resolvers on this machine drop private addresses"),
    ("target", "whether each target answers, over what, and how soon"),
    ("certificates", "whether this machine has root certificates, where targets are encrypted"),
    ("socket-buffers", "whether the kernel gives doors the buffers that they ask for"),
    ("drops", "what the kernel has dropped for want of room"),
    ("open-files", "whether the limit of open files is enough"),
    ("clock", "whether the clock is right"),
    ("state-directory", "whether there is a folder for what outlives the process"),
    ("cache-file", "whether the file of saved answers can be read and written"),
    ("kernel", "whether the kernel has what plustwo uses"),
];

/// What is examined.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// The folder for what outlives the process; none: where the packaged unit has it.
    pub state_directory: Option<PathBuf>,
    /// The folder of the admin socket, if the configuration does not say; none: where the packaged unit has it.
    pub runtime_directory: Option<PathBuf>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There is nothing to do.
    Ok,
    /// There was nothing to look at, or it could not be looked at.
    Skipped,
    /// plustwo works, and an operator should look.
    Warn,
    /// Something does not work.
    Fail,
}

impl Outcome {
    /// Its word, in the JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check, of [`CHECKS`].
    pub check: &'static str,
    /// Of what, as an address or a file; may be empty.
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, in a sentence.
    pub says: String,
    /// What that means for answers; empty where it goes without saying.
    pub means: String,
    /// What to do, one thing each.
    pub remedies: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, subject: impl Into<String>, says: impl Into<String>) -> Self {
        debug_assert!(CHECKS.iter().any(|(known, _)| *known == check), "{check} is no check");
        let (subject, says) = (subject.into(), says.into());
        Self { check, subject, outcome, says, means: String::new(), remedies: Vec::new() }
    }

    fn ok(check: &'static str, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(check, Outcome::Ok, subject, says)
    }

    fn skipped(check: &'static str, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(check, Outcome::Skipped, subject, says)
    }

    fn warn(check: &'static str, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warn, subject, says)
    }

    fn fail(check: &'static str, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, subject, says)
    }

    fn means(mut self, means: impl Into<String>) -> Self {
        self.means = means.into();
        self
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }
}

/// All that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the configuration is called.
    pub configuration: String,
    /// In the order of [`CHECKS`].
    pub findings: Vec<Finding>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// How many findings ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }
}

/// What several checks look at.
#[derive(Clone)]
struct Scene {
    machine: Machine,
    source: Source,
    configuration: Arc<Configuration>,
    /// The doors that the configuration says.
    doors: Arc<[SocketAddr]>,
    /// Those of them that a running plustwo has open and answers at.
    answering: Arc<[SocketAddr]>,
    /// The number of its process.
    running: Option<u32>,
    state_directory: PathBuf,
}

/// Examines.
pub fn examine(options: &Options) -> Report {
    let began = Instant::now();
    let until = began + WITHIN;
    let machine = Machine::default();
    // What needs no configuration begins at once.
    let of_the_machine: [Begun; 4] = [
        begin("socket-buffers", socket_buffers::check),
        begin("clock", clock::check),
        begin("kernel", kernel::check),
        begin("nsswitch", {
            let machine = machine.clone();
            move || resolv_conf::nsswitch(&machine)
        }),
    ];
    let source = options.source.clone();
    let loading = begin("configuration", {
        let source = source.clone();
        move || source.load()
    });
    let (configuration, mut findings) = match loading.result(until) {
        Ok(loaded) => configuration(&source, loaded),
        Err(why) => (None, vec![why]),
    };
    let settings = configuration.as_ref().map(|configuration| configuration.settings.admin.clone()).unwrap_or_default();
    let socket = settings.socket.clone().or_else(|| {
        let folder = options.runtime_directory.as_ref()?;
        Some(folder.join(super::admin::SOCKET_NAME))
    });
    let admin = begin("admin-socket", move || admin_socket::check(socket.as_deref(), settings.http));
    // Connecting, too, waits for a daemon that hangs; the other checks must not.
    let running = match admin.result(until.min(Instant::now() + ADMIN_WITHIN)) {
        Ok((found, running)) => {
            findings.extend(found);
            running
        }
        Err(_) => {
            findings.push(admin_socket::hangs());
            None
        }
    };
    findings.extend(match configuration {
        None => {
            let of_the_machine = ["configuration", "admin-socket", "clock", "kernel", "nsswitch", "socket-buffers"];
            let needs = CHECKS.iter().map(|(check, _)| *check).filter(|check| !of_the_machine.contains(check));
            let skipped = |check| {
                Finding::skipped(check, "", "the configuration cannot be served, so there is nothing to compare with")
            };
            needs.map(skipped).collect()
        }
        Some(configuration) => {
            let doors = compile::door_addresses(&configuration.model).into();
            let state_directory = options.state_directory.clone().unwrap_or_else(|| state::PACKAGED.into());
            let configuration = Arc::new(configuration);
            let answering = Arc::from([]);
            let scene = Scene { machine, source, configuration, doors, answering, running, state_directory };
            scene.examine(until)
        }
    });
    findings.extend(of_the_machine.into_iter().flat_map(|begun| begun.finish(until)));
    let place = |finding: &Finding| CHECKS.iter().position(|(check, _)| *check == finding.check);
    findings.sort_by_key(place);
    Report { configuration: options.source.to_string(), findings, took: began.elapsed() }
}

impl Scene {
    /// Everything that needs the configuration.
    fn examine(mut self, until: Instant) -> Vec<Finding> {
        // Nothing of this depends on the doors, and it takes longest.
        let targets = self.begin("target", targets::check);
        let doors = {
            let scene = self.clone();
            begin("door", move || doors::check(&scene))
        };
        let mut findings = match doors.result(until) {
            Ok(doors::Doors { findings, answering, running }) => {
                self.answering = answering.into();
                self.running = self.running.or(running);
                findings
            }
            Err(why) => vec![why],
        };
        let begun = [
            targets,
            self.begin("privilege", privilege::check),
            self.begin("resolv.conf", resolv_conf::check),
            self.begin("systemd-resolved", resolved::check),
            self.begin("rebind-filter", rebind::check),
            self.begin("drops", socket_buffers::drops),
            self.begin("open-files", open_files::check),
            self.begin("state-directory", state::directory),
            self.begin("cache-file", state::cache_file),
        ];
        findings.extend(begun.into_iter().flat_map(|begun| begun.finish(until)));
        findings
    }

    fn begin(&self, check: &'static str, job: impl FnOnce(&Self) -> Vec<Finding> + Send + 'static) -> Begun {
        let scene = self.clone();
        begin(check, move || job(&scene))
    }

    /// The door that what is sent to an address from this machine comes in by.
    fn door_at(&self, address: SocketAddr) -> Option<SocketAddr> {
        let every = |door: &&SocketAddr| {
            door.port() == address.port()
                && door.is_ipv4() == address.is_ipv4()
                && door.ip().is_unspecified()
                && (address.ip().is_loopback() || super::source::is_own_address(address.ip()))
        };
        let exact = self.doors.iter().find(|door| **door == address);
        exact.or_else(|| self.doors.iter().find(every)).copied()
    }
}

/// A check that runs on a thread of its own.
struct Begun<T = Vec<Finding>> {
    check: &'static str,
    done: Receiver<T>,
}

/// Begins a check.
fn begin<T: Send + 'static>(check: &'static str, job: impl FnOnce() -> T + Send + 'static) -> Begun<T> {
    let (say, done) = channel();
    let thread = std::thread::Builder::new().name(check.to_owned()).spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = say.send(job());
    });
    // Where the system refuses the thread, the channel is closed, as where it panicked.
    drop(thread);
    Begun { check, done }
}

impl<T> Begun<T> {
    /// What came of it; the error says that nothing did.
    fn result(self, until: Instant) -> Result<T, Finding> {
        self.done.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Finding::skipped(self.check, "", format!("not done within {} seconds in all", WITHIN.as_secs()))
            }
            RecvTimeoutError::Disconnected => Finding::fail(self.check, "", "the check itself broke off")
                .means("the system refuses threads, or this is a bug of plustwo")
                .remedy("look at `ulimit -u` and `TasksMax=`; else please report it"),
        })
    }
}

impl Begun {
    /// What it found.
    fn finish(self, until: Instant) -> Vec<Finding> {
        self.result(until).unwrap_or_else(|why| vec![why])
    }
}

/// What loading says.
fn configuration(source: &Source, loaded: Result<Loaded, String>) -> (Option<Configuration>, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let Loaded { configuration, diagnostics } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let finding = Finding::fail(CHECK, source.to_string(), error)
                .remedy("say which file with `--config FILE`; whoever runs plustwo must be able to read it");
            return (None, vec![finding]);
        }
    };
    let mut findings: Vec<Finding> = diagnostics.iter().take(DIAGNOSTICS_MAX).map(of_a_diagnostic).collect();
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    if more > 0 {
        let errors = diagnostics.iter().skip(DIAGNOSTICS_MAX).any(|diagnostic| diagnostic.severity == Severity::Error);
        let outcome = if errors { Outcome::Fail } else { Outcome::Warn };
        let finding = Finding::new(CHECK, outcome, source.to_string(), format!("and {more} more problems"));
        findings.push(finding.remedy("`plustwo check` shows them all"));
    }
    if let Some(Configuration { model, .. }) = &configuration {
        let says = format!(
            "can be served: VPCs {}, hosted zones {}, endpoints {}, rules {}",
            model.vpcs.len(),
            model.hosted_zones.len(),
            model.endpoints.len(),
            model.resolver_rules.len()
        );
        findings.insert(0, Finding::ok(CHECK, source.to_string(), says));
    }
    (configuration, findings)
}

/// A diagnostic as a finding.
fn of_a_diagnostic(diagnostic: &Diagnostic) -> Finding {
    let outcome = match diagnostic.severity {
        Severity::Error => Outcome::Fail,
        Severity::Warning => Outcome::Warn,
    };
    let place = diagnostic.place.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut finding = Finding::new("configuration", outcome, place, diagnostic.problem.clone());
    finding.means = diagnostic.rule.clone().unwrap_or_default();
    finding.remedies.extend(diagnostic.hint.clone());
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_said_and_holds_up_nothing() {
        let (hold, held) = channel::<()>();
        let slow = begin("door", move || {
            let _ = held.recv();
            Vec::new()
        });
        let found = slow.finish(Instant::now());
        assert_eq!(found[0].outcome, Outcome::Skipped);
        assert!(found[0].says.contains("not done within 10 seconds"), "{found:?}");
        drop(hold);
    }

    #[test]
    fn a_check_that_breaks_off_is_a_failure() {
        let broken: Begun = Begun { check: "door", done: channel().1 };
        assert_eq!(broken.finish(Instant::now() + WITHIN)[0].outcome, Outcome::Fail);
    }
}
