//! What an operator does to a daemon without meaning harm: a log that nobody reads, signals before it serves.

mod support;

use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{free_port, plustwo, signal};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often something is looked for.
const POLL: Duration = Duration::from_millis(2);
/// Names that each give a warning: together more words than a pipe holds (64 KiB).
const WARNINGS: usize = 1000;
/// Names of a zone whose loading takes a while, hundreds of milliseconds at the least.
const NAMES: usize = 200_000;
/// The last octet of the next door's address.
static ADDRESS: AtomicU8 = AtomicU8::new(1);
/// SIGHUP's bit in the masks of /proc/PID/status.
const HUP_BIT: u64 = 1;

/// A program that the test itself started, with its stderr to a pipe of the test. Dropped, it is killed.
struct Started {
    child: Child,
    door: SocketAddr,
    /// Asks; as there is one, all it asks goes to one worker.
    client: UdpSocket,
    folder: tempfile::TempDir,
}

impl Started {
    /// Starts it with a zone of this many names, and as many names that give a warning.
    fn new(names: usize, warnings: usize) -> (Self, PipeReader) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let folder = tempfile::tempdir().expect("a temporary folder");
        // An address of its own: nobody else's clients take a port there between choosing and opening.
        let address = Ipv4Addr::new(127, 0, 3, ADDRESS.fetch_add(1, Ordering::Relaxed));
        let door = free_port(address.into());
        write(folder.path(), door, 1, warnings);
        let zone: String = (0..names).map(|name| format!("n{name} 60 A 10.1.0.1\n")).collect();
        std::fs::write(folder.path().join("zone"), zone + "n 60 A 10.1.0.1\n").expect("a file can be written");
        let mut command = plustwo();
        command.args(["run", "--config"]).arg(folder.path().join("plustwo.toml"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().expect("it starts");
        let client = ask::udp_client(LOOPBACK, door);
        client.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout that is not zero");
        (Self { child, door, client, folder }, reader)
    }

    /// Waits until it answers with the data of a generation.
    fn wait_for_generation(&mut self, generation: u8) {
        let until = Instant::now() + PATIENCE;
        let octets = Question::new("now.corp.example", "A").octets(7);
        loop {
            let _ = self.client.send(&octets);
            let reply = ask::receive(&self.client).unwrap_or_default();
            if reply.windows(4).any(|address| address == [10, 9, 9, generation]) {
                return;
            }
            assert_eq!(self.child.try_wait().expect("a child"), None, "it has ended");
            assert!(Instant::now() < until, "generation {generation} is never served; it said {reply:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until it watches for SIGHUP; nothing is served yet.
    fn wait_for_signals(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("proc(5)");
            if u64::from_str_radix(caught.trim(), 16).expect("a mask") & HUP_BIT != 0 {
                break;
            }
            assert!(Instant::now() < until, "it does not watch for SIGHUP");
            std::thread::sleep(POLL);
        }
        assert!(
            TcpStream::connect(self.door).is_err(),
            "it served before it watched for signals, or the zone is small"
        );
    }

    /// Its resident memory in KiB.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Waits until it has ended.
    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the configuration of a generation.
fn write(folder: &Path, door: SocketAddr, generation: u8, warnings: usize) {
    let warnings: String = (0..warnings)
        .map(|name| format!("  {{ name = \"a*{name}\", type = \"A\", values = [\"10.0.0.1\"] }},\n"))
        .collect();
    let text = format!(
        "version = 1\nregion = \"eu-central-1\"\n[server]\nworkers = 2\n[upstream]\ntargets = []\n\
         [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\nrecords = [\n\
           {{ name = \"now\", type = \"A\", values = [\"10.9.9.{generation}\"] }},\n{warnings}]\n"
    );
    let new = folder.join("new");
    std::fs::write(&new, text).expect("a file can be written");
    std::fs::rename(&new, folder.join("plustwo.toml")).expect("a file can be renamed");
}

#[test]
fn a_log_whose_reader_has_gone_ends_nothing() {
    let (mut started, reader) = Started::new(0, 0);
    started.wait_for_generation(1);
    drop(reader);
    for generation in 2..=4 {
        write(started.folder.path(), started.door, generation, 0);
        signal(started.child.id(), "HUP");
        started.wait_for_generation(generation);
    }
    signal(started.child.id(), "TERM");
    assert_eq!(started.wait().code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let (mut started, mut reader) = Started::new(0, WARNINGS);
    started.wait_for_generation(1);
    for generation in 2..=12 {
        write(started.folder.path(), started.door, generation, WARNINGS);
        signal(started.child.id(), "HUP");
        started.wait_for_generation(generation);
    }
    signal(started.child.id(), "TERM");
    assert_eq!(started.wait().code(), Some(0));
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("what the pipe held");
    assert!(said.len() > 16 << 10, "the pipe was never full: {} octets", said.len());
}

#[test]
fn a_reload_gives_back_what_it_took() {
    let (mut started, reader) = Started::new(NAMES, 0);
    // It says so once it has given back what loading took.
    let serving =
        BufReader::new(&reader).lines().map_while(Result::ok).any(|line| line.contains("serving generation 1"));
    assert!(serving, "it ended");
    started.wait_for_generation(1);
    let once = started.resident_kib();
    write(started.folder.path(), started.door, 2, 0);
    signal(started.child.id(), "HUP");
    started.wait_for_generation(2);
    // The new data, the old as long as the worker that is asked nothing holds it, and a little that the allocator
    // keeps; the model that was read, as large again, is gone.
    let until = Instant::now() + PATIENCE;
    while started.resident_kib() > once * 2 {
        assert!(Instant::now() < until, "{} KiB; {once} KiB before any reload", started.resident_kib());
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_hang_up_while_it_loads_is_no_end() {
    let (mut started, _reader) = Started::new(NAMES, 0);
    started.wait_for_signals();
    for _ in 0..3 {
        signal(started.child.id(), "HUP");
    }
    started.wait_for_generation(1);
    signal(started.child.id(), "TERM");
    assert_eq!(started.wait().code(), Some(0));
}

#[test]
fn who_is_told_to_leave_while_it_loads_leaves_in_order() {
    for name in ["TERM", "INT"] {
        let (mut started, _reader) = Started::new(NAMES, 0);
        started.wait_for_signals();
        signal(started.child.id(), name);
        assert_eq!(started.wait().code(), Some(0), "{name}");
    }
}

#[test]
fn a_reload_takes_up_the_level_of_the_log() {
    let (mut started, reader) = Started::new(0, 0);
    started.wait_for_generation(1);
    let file = started.folder.path().join("plustwo.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    for (generation, level) in [(2, "error"), (3, "info"), (4, "error")] {
        let text = text.replace("10.9.9.1", &format!("10.9.9.{generation}")) + &format!("[log]\nlevel = \"{level}\"\n");
        std::fs::write(&file, text).expect("a file can be written");
        signal(started.child.id(), "HUP");
        started.wait_for_generation(generation);
    }
    signal(started.child.id(), "TERM");
    assert_eq!(started.wait().code(), Some(0));
    let said: Vec<String> = BufReader::new(reader).lines().map_while(Result::ok).collect();
    let generations: Vec<&str> = said.iter().filter_map(|line| line.split("reloaded generation=").nth(1)).collect();
    assert!(matches!(generations[..], [only] if only.starts_with("3 ")), "{said:#?}");
}

#[test]
fn an_event_of_the_log_has_a_line_of_its_own() {
    let (mut started, reader) = Started::new(0, 0);
    started.wait_for_generation(1);
    std::fs::remove_file(started.folder.path().join("plustwo.toml")).expect("it is there");
    signal(started.child.id(), "HUP");
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    let failed = lines.into_iter().find(|line| line.contains("reload failed")).expect("it says so");
    assert!(!failed.contains("cannot read"), "{failed}");
    started.wait_for_generation(1);
}
