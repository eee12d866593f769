//! Asking: the generator (`load.c`, dnsperf for TCP), what it read, and single questions from here.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::data::{Files, Sought, Workload};
use crate::process::{Process, Running};

/// Which core a process is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// The server's; a generator here shares it, so that nothing idles.
    Server,
    /// Another one.
    Other,
    /// Whichever the kernel likes.
    Any,
}

impl Core {
    /// As taskset wants it.
    pub(crate) fn list(self) -> &'static str {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self {
            Self::Other if cores > 1 => "1",
            Self::Any if cores > 1 => "0,1",
            Self::Server | Self::Other | Self::Any => "0",
        }
    }
}

/// What one query cost the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time, in microseconds.
    pub(crate) cpu: f64,
    /// CPU time of threads that are not looked at, in microseconds.
    pub(crate) others: f64,
    /// User and kernel cycles, where the machine counts them.
    pub(crate) cycles: Option<f64>,
    /// User instructions, where the machine counts them.
    pub(crate) user_instructions: Option<f64>,
}

impl Cost {
    /// The cost between two readings that were taken before and after.
    pub(crate) fn mean(before: Self, after: Self) -> Self {
        let mean = |a: Option<f64>, b: Option<f64>| Some((a? + b?) / 2.0);
        Self {
            cpu: (before.cpu + after.cpu) / 2.0,
            others: (before.others + after.others) / 2.0,
            cycles: mean(before.cycles, after.cycles),
            user_instructions: mean(before.user_instructions, after.user_instructions),
        }
    }

    /// The ratio that everything here is about.
    pub(crate) fn over(self, raw: Self) -> f64 {
        match (self.cycles, raw.cycles) {
            (Some(ours), Some(raw)) => ours / raw,
            _ => self.cpu / raw.cpu,
        }
    }
}

/// What one interval showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) cost: Cost,
    pub(crate) replies: u64,
    /// Queries without a reply in a second.
    pub(crate) lost: u64,
    /// Replies with another rcode, question or answer count than is right, and datagrams nobody asked for.
    pub(crate) wrong: u64,
    /// Replies a second.
    pub(crate) rate: f64,
    /// Latency in microseconds, of every reply.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Part of the interval that the server was on a core.
    pub(crate) busy: f64,
}

/// Asks one workload of a server, in intervals.
pub(crate) struct Generator<'a> {
    pub(crate) workload: Workload,
    files: &'a Files,
    tool: PathBuf,
    interval: Duration,
    ports: usize,
    /// Whether only the UDP workers' cost counts.
    of_workers: bool,
    /// Intervals so far: each asks for unique names of its own.
    runs: Cell<u32>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(tools: &Path, files: &'a Files, workload: Workload, interval: Duration, ports: usize) -> Self {
        Self { workload, files, tool: tools.join("load"), interval, ports, of_workers: false, runs: Cell::new(0) }
    }

    /// The same, which reads what plustwo's UDP workers pay, and other threads apart.
    pub(crate) fn of_workers(self) -> Self {
        Self { of_workers: true, ..self }
    }

    /// One interval from a core, as fast as the window allows or at a rate.
    pub(crate) fn run(&self, server: &Running, core: Core, rate: Option<f64>) -> Result<Reading, String> {
        let warm = self.interval.mul_f64(WARM_PART);
        let mut command = self.command(server);
        command.extend(["--seconds".to_owned(), format!("{:.3}", self.interval.as_secs_f64())]);
        command.extend(["--warm".to_owned(), format!("{:.3}", warm.as_secs_f64())]);
        if core.list() != Core::Server.list() {
            command.push("--spin".to_owned());
        }
        if let Some(rate) = rate {
            command.extend(["--rate".to_owned(), format!("{rate:.0}")]);
        }
        let words = Process::pinned(&command, core)?.output(self.interval + warm + GENERATOR_GRACE)?;
        self.read(&words)
    }

    /// Asks every name twice, gently: fills caches, and pages that are touched first here.
    pub(crate) fn warm_up(&self, server: &Running) -> Result<(), String> {
        let mut command = self.command(server);
        command.extend(["--passes", "2", "--window", "64"].map(str::to_owned));
        Process::pinned(&command, Core::Other)?.output(WARM_UP_LIMIT).map(|_| ())
    }

    /// An interval of dnsperf over TCP: 100 connections with four queries in flight each.
    pub(crate) fn run_streams(&self, server: &Running) -> Result<Reading, String> {
        self.run_streams_for(server, STREAM_SECONDS, None)
    }

    /// The same for so many seconds, at a rate if one is given.
    pub(crate) fn run_streams_for(&self, server: &Running, seconds: u32, rate: Option<u32>) -> Result<Reading, String> {
        let queries = self.files.queries(self.workload).display().to_string();
        let (port, length) = (server.port.to_string(), seconds.to_string());
        let command = ["dnsperf", "-m", "tcp", "-s", "127.0.0.1", "-p", &port, "-d", &queries, "-l", &length];
        let mut command: Vec<String> = command.map(str::to_owned).to_vec();
        command.extend(["-c", "100", "-q", "400", "-T", "1", "-t", "2"].map(str::to_owned));
        command.extend(rate.iter().flat_map(|rate| ["-Q".to_owned(), rate.to_string()]));
        let before = server.cpu_time();
        let limit = Duration::from_secs(u64::from(seconds)) + GENERATOR_GRACE;
        let words = Process::pinned(&command, Core::Other)?.output(limit)?;
        let spent = server.cpu_time() - before;
        let number = |label: &str| -> Result<f64, String> {
            let rest = words.split(label).nth(1).ok_or_else(|| format!("dnsperf printed no {label:?}:\n{words}"))?;
            let text = rest.split_whitespace().next().unwrap_or_default();
            text.parse().map_err(|_| format!("dnsperf printed {label:?} {text:?}"))
        };
        let (replies, right) = (number("Queries completed:")?, number("NOERROR").unwrap_or(0.0));
        Ok(Reading {
            cost: Cost {
                cpu: spent.as_secs_f64() * 1e6 / replies.max(1.0),
                others: 0.0,
                cycles: None,
                user_instructions: None,
            },
            replies: replies as u64,
            lost: number("Queries lost:")? as u64,
            wrong: (replies - right) as u64,
            rate: number("Queries per second:")?,
            p50: f64::NAN,
            p99: f64::NAN,
            busy: spent.as_secs_f64() / f64::from(seconds),
        })
    }

    fn command(&self, server: &Running) -> Vec<String> {
        let pids: Vec<String> = server.pids().iter().map(u32::to_string).collect();
        let mut command = vec![self.tool.display().to_string()];
        command.extend(["--server".to_owned(), format!("127.0.0.1:{}", server.port)]);
        command.extend(["--names".to_owned(), self.files.queries(self.workload).display().to_string()]);
        command.extend(["--pids".to_owned(), pids.join(",")]);
        command.extend(["--sockets".to_owned(), self.ports.to_string()]);
        if self.of_workers {
            command.extend(["--threads", "udp-"].map(str::to_owned));
        }
        if !self.files.clients.is_empty() {
            command.extend(["--clients".to_owned(), self.files.client_list().display().to_string()]);
        }
        if self.workload.is_unique() {
            self.runs.set(self.runs.get() + 1);
            command.extend(["--unique".to_owned(), self.runs.get().to_string()]);
        }
        command
    }

    /// Reads the `key value` lines of `load.c`.
    fn read(&self, words: &str) -> Result<Reading, String> {
        let pairs = words.lines().filter_map(|line| line.split_once(' '));
        let numbers: HashMap<&str, f64> = pairs.filter_map(|(key, value)| Some((key, value.parse().ok()?))).collect();
        let number = |key: &str| numbers.get(key).copied().ok_or_else(|| format!("no {key} in:\n{words}"));
        let count = |key: &str| number(key).map(|value| value as u64);
        let sum = |a: &str, b: &str| Some(numbers.get(a)? + numbers.get(b)?);
        let replies = count("replies")?;
        if replies == 0 {
            return Err(format!("{}: not one reply", self.workload.letter()));
        }
        let right = match self.workload {
            Workload::Nxdomain => count("nxdomain")?.saturating_sub(count("with_answer")?),
            _ => count("noerror")?.min(count("with_answer")?),
        };
        Ok(Reading {
            cost: Cost {
                cpu: number("cpu_us")?,
                others: number("others_us")?,
                cycles: sum("cycles_user", "cycles_kernel"),
                user_instructions: numbers.get("instructions_user").copied(),
            },
            replies,
            lost: count("lost")?,
            wrong: count("wrong_question")? + count("unasked")? + (replies - right),
            rate: number("rate")?,
            p50: number("p50_us")?,
            p99: number("p99_us")?,
            busy: number("server_busy")?,
        })
    }
}

/// Asks a server for names all over its data and compares the addresses.
pub(crate) fn check_answers(server: &Running, files: &Files, sample: usize) -> Result<(), String> {
    for (n, sought) in files.sought.iter().step_by((files.sought.len() / sample).max(1)).enumerate() {
        let client = files.clients.get(n % files.clients.len().max(1)).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        let is_right = (0..PROBE_TRIES).any(|_| answers(client, server.port, sought));
        if !is_right {
            return Err(format!("{} is not {} for {client}", sought.name, sought.address));
        }
    }
    Ok(())
}

/// Whether a server gives the right address for a name to a client, at once.
pub(crate) fn answers(client: Ipv4Addr, port: u16, sought: &Sought) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((client, 0))?;
        socket.set_read_timeout(Some(PROBE_WAIT))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.send(&query(&sought.name))?;
        let mut reply = vec![0; 2048];
        let length = socket.recv(&mut reply)?;
        reply.truncate(length);
        Ok(reply)
    };
    let end = sought.name.len() + QUESTION_EXTRA;
    let Ok(reply) = ask() else { return false };
    // One answer, whose rdata (after owner pointer, type, class, TTL and length: 12 octets) is the address.
    reply.len() >= end + 16
        && reply[3] & 15 == 0
        && reply[7] == 1
        && reply[end + 12..end + 16] == sought.address.octets()
}

/// A query for the address of a name, with RD.
fn query(name: &str) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).expect("labels of the bench are short"));
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets
}

/// Of the measured interval, before it.
const WARM_PART: f64 = 0.3;
/// Given to a generator beyond its interval, to read its names and to end.
const GENERATOR_GRACE: Duration = Duration::from_secs(20);
/// For asking every name twice.
const WARM_UP_LIMIT: Duration = Duration::from_secs(120);
/// Seconds of an interval of dnsperf.
const STREAM_SECONDS: u32 = 2;
/// For one reply to a question from here.
const PROBE_WAIT: Duration = Duration::from_millis(50);
/// A datagram may be lost while a server starts up.
const PROBE_TRIES: usize = 5;
/// Octets of a message before and after the name's text: header, first length, root, type, class.
const QUESTION_EXTRA: usize = 12 + 1 + 1 + 4;
