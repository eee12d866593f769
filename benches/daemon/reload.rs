//! Reloads under load: a million records read again every second, while queries over UDP and TCP go on.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{Files, Scale, Sought, Workload, World};
use crate::load::{self, Core, Generator, Reading};
use crate::process::Running;
use crate::report::mib;
use crate::servers::{Server, Variant};

/// What reloading cost those who asked.
pub(crate) struct Reloads {
    phases: Vec<Phase>,
    /// Memory with what was loaded at the start, and after the last reload, in octets.
    memory: (u64, u64),
    /// The most that the process ever held, in octets.
    peak: u64,
}

/// One way of asking, without reloads and with them.
struct Phase {
    title: &'static str,
    /// Without, before and after: machines have moods.
    calm: [Asked; 2],
    busy: Asked,
    /// Reloads that were asked for, and those that were done.
    reloads: (u32, u64),
}

/// What came of asking, over UDP and over TCP at the same time.
struct Asked {
    datagrams: Reading,
    streams: Reading,
}

impl Asked {
    fn lost(&self) -> u64 {
        self.datagrams.lost + self.streams.lost
    }
}

/// Measures plustwo for `seconds` with a reload each second: at a quarter of what it can do, and at all of it.
pub(crate) fn measure(tools: &Path, folder: &Path, scale: Scale, seconds: u32) -> Result<Reloads, String> {
    println!("\nreloads, {}", World::Large.title(scale));
    let files = Files::write(World::Large, scale, &folder.join("worlds").join(World::Large.name()))?;
    let tables = "\n[admin]\nsocket = \"admin.sock\"\n".to_owned();
    let variant = Variant { name: "plustwo", tables, core: Core::Any };
    let server = Server::Plustwo.start_as(&files, None, &variant)?;
    let served = Served { server: &server, folder: files.folder.join(variant.name) };
    let ask = |interval: Duration| Generator::new(tools, &files, Workload::ManyNames, interval, crate::PORTS);
    ask(CALM).warm_up(&server)?;
    let before = server.memory();
    let fastest = ask(CALM).run(&server, Core::Other, None)?.rate;
    let mut phases = Vec::new();
    for (title, rate) in [("a quarter of the rate", Some(fastest / 4.0)), ("as fast as it goes", None)] {
        let both = |length: Duration| -> Result<Asked, String> {
            let generator = ask(length);
            let whole_seconds = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
            thread::scope(|scope| {
                let streams = scope.spawn(|| ask(length).run_streams_for(&server, whole_seconds, Some(STREAM_RATE)));
                let datagrams = generator.run(&server, Core::Other, rate)?;
                Ok(Asked { datagrams, streams: streams.join().map_err(|_| "dnsperf's thread panicked")?? })
            })
        };
        let before = both(CALM)?;
        let generation = served.generation()?;
        let is_over = AtomicBool::new(false);
        let (asked, busy) = thread::scope(|scope| {
            let edits = scope.spawn(|| served.reload_until(&is_over));
            let busy = both(Duration::from_secs(u64::from(seconds)));
            is_over.store(true, Ordering::Release);
            let asked = edits.join().map_err(|_| "the thread that edits panicked")??;
            Ok::<_, String>((asked, busy?))
        })?;
        served.wait_for_edit(asked)?;
        let reloads = (asked, served.generation()? - generation);
        let phase = Phase { title, calm: [before, both(CALM)?], busy, reloads };
        println!("  {phase}");
        phases.push(phase);
    }
    load::check_answers(&server, &files, crate::SAMPLE)?;
    // The old snapshot goes when no worker has it any more.
    thread::sleep(SETTLE);
    load::check_answers(&server, &files, crate::SAMPLE)?;
    Ok(Reloads { phases, memory: (before, server.memory()), peak: server.peak_memory() })
}

/// plustwo, with the files that it was started with.
struct Served<'a> {
    server: &'a Running,
    folder: std::path::PathBuf,
}

impl Served<'_> {
    /// Changes a zone file and asks for a reload, each second; how often.
    fn reload_until(&self, is_over: &AtomicBool) -> Result<u32, String> {
        let zone = self.folder.join("zones/z0000.zone");
        let whole = fs::read_to_string(&zone).map_err(|e| format!("{}: {e}", zone.display()))?;
        let mut asked = 0;
        let started = Instant::now();
        while !is_over.load(Ordering::Acquire) {
            asked += 1;
            let edit = edit(asked);
            // Written beside and renamed, as editors do: nobody reads half of it.
            let beside = zone.with_extension("new");
            fs::write(&beside, format!("{whole}edit IN A {}\n", edit.address))
                .and_then(|()| fs::rename(&beside, &zone))
                .map_err(|e| format!("{}: {e}", zone.display()))?;
            self.server.hang_up();
            let next = started + EVERY * asked;
            while Instant::now() < next && !is_over.load(Ordering::Acquire) {
                thread::sleep(LOOK);
            }
        }
        Ok(asked)
    }

    /// Waits until the last edit is served.
    fn wait_for_edit(&self, number: u32) -> Result<(), String> {
        let (edit, started) = (edit(number), Instant::now());
        while !load::answers(Ipv4Addr::LOCALHOST, self.server.port, &edit) {
            if started.elapsed() > EDIT_LIMIT {
                return Err(format!("{} is not {} after {EDIT_LIMIT:?}", edit.name, edit.address));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Which generation is served.
    fn generation(&self) -> Result<u64, String> {
        let socket = self.folder.join("admin.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_plustwo"));
        let done = command.args(["status", "--json", "--socket"]).arg(&socket).output().map_err(|e| e.to_string())?;
        let status: serde_json::Value = serde_json::from_slice(&done.stdout)
            .map_err(|e| format!("plustwo status: {e}: {}", String::from_utf8_lossy(&done.stderr)))?;
        status["generation"].as_u64().ok_or_else(|| format!("no generation in {status}"))
    }
}

/// What the nth edit makes of a name.
fn edit(number: u32) -> Sought {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 255, 0, 0)) + number);
    Sought { name: "edit.z0000.corp.test".to_owned(), address }
}

impl Phase {
    /// A figure of the calm before and of the one after.
    fn calm(&self, figure: impl Fn(&Reading) -> f64) -> String {
        self.calm.each_ref().map(|asked| format!("{:.0}", figure(&asked.datagrams))).join(", ")
    }

    fn lost(&self) -> u64 {
        self.busy.lost() + self.calm.iter().map(Asked::lost).sum::<u64>()
    }

    fn wrong(&self) -> u64 {
        self.calm.iter().chain([&self.busy]).map(|asked| asked.datagrams.wrong + asked.streams.wrong).sum()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, busy: Asked { datagrams: busy, streams }, reloads: (asked, done), .. } = self;
        write!(f, "{title}: {done} reloads of {asked}; {} and {} replies", busy.replies, streams.replies)?;
        write!(f, ", p50 {:.0} µs (without: {})", busy.p50, self.calm(|calm| calm.p50))?;
        write!(f, ", p99 {:.0} ({})", busy.p99, self.calm(|calm| calm.p99))?;
        let [before, after] = self.calm.each_ref().map(Asked::lost);
        write!(f, "; {} lost ({before}, {after}), {} wrong", self.busy.lost(), self.wrong())
    }
}

impl Reloads {
    /// Whether a reply was wrong or missing.
    pub(crate) fn is_wrong(&self) -> bool {
        self.phases.iter().any(|phase| phase.lost() + phase.wrong() > 0)
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = "| a reload a second | reloads asked, done | thousand/s (before, after) | p50 µs (before, after) | \
                        p99 µs (before, after) | replies over UDP, TCP | lost (before, after) | wrong |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for phase in &self.phases {
            let Phase { title, busy: Asked { datagrams: busy, streams }, reloads: (asked, done), .. } = phase;
            text += &format!(
                "| {title} | {asked}, {done} | {:.0} ({}) | {:.0} ({}) | {:.0} ({}) | {}, {} | {} ({}, {}) | {} |\n",
                busy.rate / 1e3,
                phase.calm(|calm| calm.rate / 1e3),
                busy.p50,
                phase.calm(|calm| calm.p50),
                busy.p99,
                phase.calm(|calm| calm.p99),
                busy.replies,
                streams.replies,
                phase.busy.lost(),
                phase.calm[0].lost(),
                phase.calm[1].lost(),
                phase.wrong()
            );
        }
        let (before, after) = self.memory;
        let percent = (after as f64 / before as f64 - 1.0) * 100.0;
        text + &format!(
            "\nMemory (PSS) before {} MiB, after {} MiB ({percent:+.1} %), at most {} MiB.\n",
            mib(before),
            mib(after),
            mib(self.peak)
        )
    }
}

/// How often a reload is asked for.
const EVERY: Duration = Duration::from_secs(1);
/// How long is measured without reloads, before and after.
const CALM: Duration = Duration::from_secs(15);
/// Queries a second over TCP, beside those over UDP.
const STREAM_RATE: u32 = 2_000;
/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(10);
/// After the last reload, until memory is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// Until the last edit must be served.
const EDIT_LIMIT: Duration = Duration::from_secs(20);
