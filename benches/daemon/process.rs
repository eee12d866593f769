//! Processes that the bench starts, pins to a core, looks into, and always ends.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::data::Sought;
use crate::load::{self, Core};

/// A server that answered its first query; ended, with all its processes, when dropped.
pub(crate) struct Running {
    /// Where it answers, on 127.0.0.1.
    pub(crate) port: u16,
    /// From the start of its process to the first right answer.
    pub(crate) load_time: Duration,
    process: Process,
}

impl Running {
    /// Starts `command` on a core and waits until `answers` says that it does.
    pub(crate) fn start(
        command: &[String],
        port: u16,
        core: Core,
        mut answers: impl FnMut() -> bool,
    ) -> Result<Self, String> {
        let started = Instant::now();
        let mut process = Process::pinned(command, core)?;
        while !answers() {
            if let Some(ended) = process.ended() {
                return Err(format!("{} ended before it answered: {ended}\n{}", command[0], process.last_words()));
            }
            if started.elapsed() > LOAD_LIMIT {
                return Err(format!("{} gave no answer in {LOAD_LIMIT:?}\n{}", command[0], process.last_words()));
            }
            sleep(POLL);
        }
        Ok(Self { port, load_time: started.elapsed(), process })
    }

    /// Starts the raw responder (`raw.c`) in one of its modes.
    pub(crate) fn raw(tools: &Path, mode: &str, core: Core) -> Result<Self, String> {
        let port = free_port()?;
        let tool = tools.join("raw").display().to_string();
        let command = [tool, mode.to_owned(), "127.0.0.1".to_owned(), port.to_string()];
        let probe = Sought { name: "raw.test".to_owned(), address: RAW_ADDRESS };
        Self::start(&command, port, core, || match mode {
            "stream" => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
            _ => load::answers(Ipv4Addr::LOCALHOST, port, &probe),
        })
    }

    /// The process and its descendants.
    pub(crate) fn pids(&self) -> Vec<u32> {
        tree(self.process.child.id())
    }

    /// Asks it to read its files again.
    pub(crate) fn hang_up(&self) {
        signal("HUP", &[self.process.child.id()]);
    }

    /// Memory of all its processes, shared pages counted once, in octets.
    pub(crate) fn memory(&self) -> u64 {
        self.pids().iter().filter_map(|pid| kib_of(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum::<u64>() * 1024
    }

    /// The most that one of its processes ever held, in octets.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.pids().iter().filter_map(|pid| kib_of(&format!("/proc/{pid}/status"), "VmHWM:")).max().unwrap_or(0) * 1024
    }

    /// CPU time of all its processes so far, threads that ended included.
    pub(crate) fn cpu_time(&self) -> Duration {
        let ticks: u64 = self.pids().iter().filter_map(|pid| stat_ticks(*pid)).sum();
        Duration::from_millis(ticks * MILLISECONDS_PER_TICK)
    }
}

/// A child process that does not outlive this one.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command on one core, in a session of its own, as a service has one: the kernel shares a core out between
    /// sessions, and would else let the generator interrupt the server as if they were one program. It ends the command
    /// should the bench itself be killed.
    pub(crate) fn pinned(command: &[String], core: Core) -> Result<Self, String> {
        let log = std::env::temp_dir().join(format!("plustwo-bench-{}-{}.log", std::process::id(), next_number()));
        let words = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let copy = words.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "setsid", "taskset", "-c", core.list()])
            .args(command)
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(words)
            .stderr(copy)
            .spawn()
            .map_err(|e| format!("setpriv, setsid and taskset (util-linux) are needed: {e}"))?;
        Ok(Self { child, log })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits for its end and returns what it printed.
    pub(crate) fn output(mut self, limit: Duration) -> Result<String, String> {
        let started = Instant::now();
        loop {
            match self.child.try_wait().map_err(|e| e.to_string())? {
                Some(status) if status.success() => return Ok(self.last_words()),
                Some(status) => return Err(format!("{status}: {}", self.last_words())),
                None if started.elapsed() > limit => return Err(format!("not done within {limit:?}")),
                None => sleep(POLL),
            }
        }
    }

    /// What it printed, at most the last kilobytes.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LAST_WORDS)..]).into_owned()
    }
}

impl Drop for Process {
    /// Asks the process to end, then ends whatever of its tree is left.
    fn drop(&mut self) {
        let pids = tree(self.child.id());
        if self.ended().is_none() {
            signal("TERM", &pids[..1]);
            let started = Instant::now();
            while self.ended().is_none() && started.elapsed() < GRACE {
                sleep(POLL);
            }
            let left: Vec<u32> = pids.into_iter().filter(|pid| is_descendant_alive(*pid, &self.child)).collect();
            signal("KILL", &left);
            let _ = self.child.wait();
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// Sends a signal to processes of ours.
fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {} 2>/dev/null", list.join(" "))]).status();
}

/// Whether a process of the tree is still there: the child itself while it is not reaped, or one it left behind.
fn is_descendant_alive(pid: u32, child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
    parent.is_some_and(|parent| pid == child.id() || parent == child.id() || parent == 1)
}

/// A process and all below it, the process first.
fn tree(root: u32) -> Vec<u32> {
    let mut pids = vec![root];
    let mut at = 0;
    while at < pids.len() {
        let threads = fs::read_dir(format!("/proc/{}/task", pids[at])).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    pids
}

/// The number of KiB that a file of /proc gives for a key.
fn kib_of(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// User and kernel time of a process and its reaped children, in clock ticks (proc_pid_stat(5), fields 14 to 17).
fn stat_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// A port of 127.0.0.1 that is free for UDP and TCP.
pub(crate) fn free_port() -> Result<u16, String> {
    for _ in 0..PORT_TRIES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".to_owned())
}

/// Whether a command is installed.
pub(crate) fn is_on_path(command: &str) -> bool {
    search_path().split(':').any(|folder| Path::new(folder).join(command).is_file())
}

/// Where commands are looked for: servers lie in /usr/sbin, which is not in every user's path.
pub(crate) fn search_path() -> String {
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", std::env::var("PATH").unwrap_or_default())
}

/// A number that no other call of this run gets.
fn next_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What `raw.c` answers.
pub(crate) const RAW_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
/// How long a server may take to load and answer.
const LOAD_LIMIT: Duration = Duration::from_secs(90);
/// How long a server may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at a process.
const POLL: Duration = Duration::from_millis(5);
/// Octets of a server's output that a failure shows.
const LAST_WORDS: usize = 4096;
/// Ports tried before giving up.
const PORT_TRIES: usize = 32;
/// Linux counts process time in hundredths of a second on every architecture we run on.
const MILLISECONDS_PER_TICK: u64 = 10;
