//! A daemon in the hands of an operator: its files may be spoilt and mended, its surroundings may fail, and it is asked all
//! the while.

use super::ask::{self, Question};
use super::binary::{Program, free_port, plustwo};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The longest that anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A folder, and the daemon that serves what is in its `conf`.
pub(crate) struct Operated {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) program: Program,
    pub(crate) door: SocketAddr,
}

/// How it is started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start<'s> {
    /// A command that runs the program behind it: `prlimit --fsize=1`.
    pub(crate) through: &'s [&'s str],
    /// Arguments behind those that say where the configuration is.
    pub(crate) arguments: &'s [&'s str],
    /// Lines of the configuration before its tables of VPCs and zones.
    pub(crate) settings: &'s str,
    /// Whether its files are watched.
    pub(crate) watch: bool,
}

/// A zone in which every name has an address of one number.
pub(crate) fn zone(number: u8) -> String {
    format!("www 60 A 10.0.0.{number}\ndb 60 A 10.0.1.{number}\n")
}

/// Writes a file as careful programs do: another one is renamed into its place, whatever is there.
pub(crate) fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file can be written");
    remove(path);
    std::fs::rename(&new, path).expect("a file can be renamed");
}

/// Removes what is there, whatever it is.
pub(crate) fn remove(path: &Path) {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path).expect("it is ours"),
        Ok(_) => std::fs::remove_file(path).expect("it is ours"),
        Err(_) => {}
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it is never so: {what}");
        std::thread::sleep(POLL);
    }
}

impl Operated {
    /// Starts it with [`zone`] 1, on a free port, and waits until it serves.
    pub(crate) fn start(start: Start<'_>) -> Self {
        for _ in 0..8 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let door = free_port(LOOPBACK);
            let conf = folder.path().join("conf");
            std::fs::create_dir(&conf).expect("a folder can be made");
            std::fs::write(conf.join("zone"), zone(1)).expect("written");
            std::fs::write(conf.join("plustwo.toml"), configuration(folder.path(), door, start)).expect("written");
            let program = Program::start(&mut Self::command(folder.path(), start));
            if program.wait_for("serving generation 1").is_some() {
                return Self { folder, program, door };
            }
            assert!(program.said().contains("in use"), "it does not serve:\n{}", program.said());
        }
        panic!("no free port");
    }

    /// The command that starts it.
    pub(crate) fn command(folder: &Path, Start { through, arguments, .. }: Start<'_>) -> Command {
        let program = plustwo().get_program().to_owned();
        let mut words = through.iter().map(OsString::from).chain([program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words).args(["run", "--config"]).arg(folder.join("conf/plustwo.toml")).args(arguments);
        command
    }

    /// Ends it by a signal; its exit code, none after one that kills, and all that it said.
    pub(crate) fn end(&mut self, signal: &str) -> (Option<i32>, String) {
        self.program.signal(signal);
        let (status, said) = self.program.wait();
        (status.code(), said)
    }

    /// Starts another one in the place of one that has ended; the folder, the files and the door stay.
    pub(crate) fn restart(mut self, start: Start<'_>) -> Self {
        let (_, before) = self.program.wait();
        self.program = Program::start(&mut Self::command(self.folder.path(), start));
        let serves = self.program.wait_for("serving generation 1");
        assert!(serves.is_some(), "it does not serve again:\n{}\nbefore:\n{before}", self.program.said());
        self
    }

    /// A file beside the configuration.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("conf").join(name)
    }

    /// Where operators ask.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin")
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> String {
        self.program.wait_for(words).unwrap_or_else(|| panic!("it ended:\n{}", self.program.said()))
    }

    /// The number that its zone has now; none where it does not answer.
    pub(crate) fn answer(&self) -> Option<u8> {
        number_at(self.door)
    }

    /// Waits until the zone that it serves has this number.
    #[track_caller]
    pub(crate) fn answers(&self, number: u8) {
        wait_until(&format!("the answer is {number}"), || self.answer() == Some(number));
    }

    /// The body of what operators are told.
    pub(crate) fn ask(&self, method: &str, target: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("the socket is there");
        stream.write_all(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        reply.split_once("\r\n\r\n").expect("HTTP/1.1").1.to_owned()
    }

    /// What `plustwo status --json` says.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/v1/status")).expect("JSON")
    }

    /// The value of a metric with all its labels, as a scrape writes it; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let scrape = self.ask("GET", "/metrics");
        let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Does something while a client asks all the time, of whom no query is lost; how many it asked.
    pub(crate) fn under_queries(&self, work: impl FnOnce()) -> u64 {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let socket = ask::udp_client(LOOPBACK, self.door);
                let mut asked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    socket.send(&Question::new("www.corp.example.com", "A").octets(9)).expect("sent");
                    let reply = ask::receive(&socket).expect("no query is lost");
                    assert_eq!(reply[3] & 15, 0, "every query is answered");
                    asked += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                asked
            });
            // The client is told to stop also where this fails, or nobody would hear of it.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            is_over.store(true, Ordering::Relaxed);
            let asked = client.join().expect("no query is lost");
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            asked
        })
    }
}

/// The number that a door's zone has.
pub(crate) fn number_at(door: SocketAddr) -> Option<u8> {
    let query = Question::new("www.corp.example.com", "A").octets(7);
    let reply = ask::over_udp(LOOPBACK, door, &query).ok()?;
    // The OPT record comes last, and is 11 octets long.
    (reply[3] & 15 == 0 && reply.len() > 12).then(|| reply[reply.len() - 12])
}

/// The configuration of a folder.
pub(crate) fn configuration(folder: &Path, door: SocketAddr, Start { settings, watch, .. }: Start<'_>) -> String {
    format!(
        "version = 1\nregion = \"eu-central-1\"\nserver = {{ watch = {watch} }}\nadmin = {{ socket = \"{}\" }}\n{settings}\
         [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example.com\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\n",
        folder.join("admin").display()
    )
}
