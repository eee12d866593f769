//! The real program, started as a user starts it: `plustwo` and the tools that tests run beside it.

use super::world::{World, folder};
use std::io::{BufRead as _, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The longest a program may take to say what is waited for, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an ending is looked for.
const POLL: Duration = Duration::from_millis(5);
/// How often another port is tried when somebody took it between choosing and opening.
const PORT_TRIES: usize = 8;

/// A running program and what it has said. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    text: Mutex<(String, usize)>,
    more: Condvar,
}

impl Program {
    /// Starts a command; its stdout and stderr are kept together.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let said = Arc::new(Said::default());
        listen(child.stdout.take().expect("piped"), &said);
        listen(child.stderr.take().expect("piped"), &said);
        Self { child, said }
    }

    /// Waits until it has said this, and gives all that it said; none if it ended before.
    pub(crate) fn wait_for(&self, words: &str) -> Option<String> {
        let mut text = self.said.text.lock().expect("not poisoned");
        let until = Instant::now() + PATIENCE;
        while !text.0.contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never said {words:?}, but:\n{}", text.0);
            if text.1 == 2 {
                return None;
            }
            text = self.said.more.wait_timeout(text, left).expect("not poisoned").0;
        }
        Some(text.0.clone())
    }

    /// Waits until it has said more than so many octets.
    pub(crate) fn wait_for_more(&self, octets: usize) {
        let mut text = self.said.text.lock().expect("not poisoned");
        let until = Instant::now() + PATIENCE;
        while text.0.len() <= octets {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && text.1 < 2, "it said nothing more than:\n{}", text.0);
            text = self.said.more.wait_timeout(text, left).expect("not poisoned").0;
        }
    }

    /// All that it has said so far.
    pub(crate) fn said(&self) -> String {
        self.said.text.lock().expect("not poisoned").0.clone()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended and said all.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < until, "it does not end; it said:\n{}", self.said());
            std::thread::sleep(POLL);
        };
        let mut text = self.said.text.lock().expect("not poisoned");
        while text.1 < 2 {
            text = self.said.more.wait(text).expect("not poisoned");
        }
        (status, text.0.clone())
    }
}

/// Sends a process a signal by name, as `TERM`; after `STOP` none of its threads runs any more.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
    assert!(sent.expect("sh is there").success(), "cannot send {name}");
    let until = Instant::now() + PATIENCE;
    while name == "STOP" && !is_stopped(id) {
        assert!(Instant::now() < until, "it does not stop");
        std::thread::sleep(POLL);
    }
}

/// Whether all threads of a process stand still: each stops when the kernel next looks at it.
fn is_stopped(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        // proc_pid_stat(5): the name stands in brackets, and the state behind it.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what a pipe says, line by line; counts its end.
fn listen(pipe: impl Read + Send + 'static, said: &Arc<Said>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
            said.text.lock().expect("not poisoned").0.push_str(&String::from_utf8_lossy(&line));
            said.more.notify_all();
            line.clear();
        }
        said.text.lock().expect("not poisoned").1 += 1;
        said.more.notify_all();
    });
}

/// The program under test.
pub(crate) fn plustwo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_plustwo"))
}

/// Exit code, stdout and stderr of a command that ends by itself.
pub(crate) fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code().expect("it was not killed"), text(&output.stdout), text(&output.stderr))
}

/// A port of an address that is free for both UDP and TCP; somebody may take it before it is opened.
pub(crate) fn free_port(address: IpAddr) -> SocketAddr {
    loop {
        let udp = UdpSocket::bind((address, 0)).expect("a free port");
        let door = udp.local_addr().expect("bound");
        if TcpListener::bind(door).is_ok() {
            return door;
        }
    }
}

/// A world in a file, with real doors on an address, its upstreams running.
pub(crate) struct WorldFile {
    /// Where the file is.
    pub(crate) folder: tempfile::TempDir,
    /// The doors, in the order of the file.
    pub(crate) doors: Vec<SocketAddr>,
    /// The upstreams.
    pub(crate) world: World,
}

impl WorldFile {
    /// Writes `tests/worlds/NAME.toml` for an address.
    pub(crate) fn new(name: &str, address: IpAddr) -> Self {
        let world = World::load(name);
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).expect("it has just been loaded");
        let mut doors = Vec::new();
        let text = with_real_addresses(&text, address, &world, &mut doors);
        let into = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(into.path().join("plustwo.toml"), text).expect("a file can be written");
        Self { folder: into, doors, world }
    }

    /// The file.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("plustwo.toml")
    }

    /// Writes another world into the file, with the same doors and upstreams.
    pub(crate) fn rewrite(&self, name: &str) {
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).expect("a world");
        let mut doors = self.doors.clone();
        let text = with_real_addresses(&text, doors[0].ip(), &self.world, &mut doors);
        std::fs::write(self.path(), text).expect("a file can be written");
    }
}

/// A configuration with its `listen` on free ports (or on those of `doors`, where it is not empty) and its placeholders
/// replaced by the world's upstreams.
fn with_real_addresses(text: &str, address: IpAddr, world: &World, doors: &mut Vec<SocketAddr>) -> String {
    let mut given = std::mem::take(doors).into_iter();
    let mut lines = Vec::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let real: Vec<String> = match key {
            "listen" => quoted
                .iter()
                .map(|_| {
                    let door = given.next().unwrap_or_else(|| free_port(address));
                    doors.push(door);
                    door.to_string()
                })
                .collect(),
            "targets" => quoted.iter().map(|target| world.upstream(target).address().to_string()).collect(),
            _ => {
                lines.push(line.to_owned());
                continue;
            }
        };
        lines.push(format!("{key} = {real:?}"));
    }
    lines.join("\n") + "\n"
}

/// Serves a world with the real program; doors that somebody took meanwhile are chosen anew.
pub(crate) fn serve(name: &str, address: IpAddr) -> (Program, WorldFile) {
    for _ in 0..PORT_TRIES {
        let file = WorldFile::new(name, address);
        let program = Program::start(plustwo().args(["run", "--config"]).arg(file.path()));
        if program.wait_for("serving generation 1").is_some() {
            return (program, file);
        }
        let said = program.said();
        // Two that were free one after the other may have been one.
        let is_unlucky = said.contains("in use") || said.contains("two doors on one address");
        assert!(is_unlucky, "it does not serve {name}:\n{said}");
    }
    panic!("no free ports for {name}");
}

/// `dig` with short patience, at a door.
pub(crate) fn dig(tool: &Path, door: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    command.arg(format!("@{}", door.ip())).args(["-p", &door.port().to_string(), "+time=8", "+tries=1"]);
    let (code, stdout, stderr) = outcome(command.args(arguments));
    assert_eq!(code, 0, "{command:?}: {stdout}{stderr}");
    stdout
}

/// What `+short` says, line by line, sorted.
pub(crate) fn short(tool: &Path, door: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> =
        dig(tool, door, &[&["+short"], arguments].concat()).lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}
