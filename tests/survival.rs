//! What the system refuses, and how a running daemon goes on: errors of system calls as strace injects them, a machine that
//! was suspended, a closed log, and leaving in order.

mod support;

use hickory_proto::op::Message;
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{Program, free_port, outcome, plustwo};
use support::need_tool;
use support::strace::{Fault, need_strace};
use support::upstream::{Behaviour, Upstream, parse_record};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls a second that a thread may make while each of them fails: it rests for ten milliseconds after each, and one that
/// spins makes some ten thousand.
const FAILED_CALLS_A_SECOND_MAX: f64 = 400.0;
/// Names below `public.example` that the upstream knows: what has failed once is not asked again at once.
const NAMES: usize = 200;

/// A daemon with one worker and one lane, so that it is known which thread does what.
struct Served {
    program: Program,
    door: SocketAddr,
    http: SocketAddr,
    upstream: Upstream,
    /// Names of the upstream that have been asked for.
    asked: usize,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        Self::start_as(|_, command| command)
    }

    /// The same, with the command changed; it is given the folder of the configuration.
    fn start_as(change: impl Fn(&Path, Command) -> Command) -> Self {
        let records = (0..NAMES).map(|name| parse_record(&format!("n{name}.public.example. 300 IN A 198.51.100.80")));
        let upstream = Upstream::start(records.collect(), Behaviour::Answers);
        for _ in 0..8 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (door, http) = (free_port(LOOPBACK), free_port(LOOPBACK));
            let text = format!(
                "version = 1\nregion = \"eu-central-1\"\n[server]\nworkers = 1\n[admin]\nhttp = \"{http}\"\n\
                 [upstream]\ntargets = [\"{}\"]\n[cache]\nserve_stale = 0\n[[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
                 [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
                 records = [{{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }}]\n",
                upstream.address()
            );
            let file = folder.path().join("plustwo.toml");
            std::fs::write(&file, text).expect("a file can be written");
            let mut command = plustwo();
            command.args(["run", "--config"]).arg(file);
            let program = Program::start(&mut change(folder.path(), command));
            let until = Instant::now() + PATIENCE;
            // Where it may say nothing, it is known by its answering.
            while Instant::now() < until && !program.said().contains("in use") {
                if get(http, "/readyz").is_some_and(|(code, _)| code == 200) {
                    return Self { program, door, http, upstream, asked: 0, _folder: folder };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(program.said().contains("in use"), "it does not serve: {}", program.said());
        }
        panic!("no free port");
    }

    /// The rcode of the reply over UDP; none if there is none in time.
    fn ask(&self, name: &str, within: Duration) -> Option<u8> {
        let socket = ask::udp_client(LOOPBACK, self.door);
        socket.set_read_timeout(Some(within)).expect("a timeout that is not zero");
        socket.send(&Question::new(name, "A").octets(7)).ok()?;
        ask::receive(&socket).ok().map(|reply| reply[3] & 15)
    }

    /// Asks for a name of the upstream that nobody has asked for.
    fn ask_upstream(&mut self, within: Duration) -> Option<u8> {
        self.asked += 1;
        assert!(self.asked < NAMES, "more names are needed");
        self.ask(&format!("n{}.public.example", self.asked), within)
    }

    /// Waits until all is well: names of ours over UDP and TCP, and those of the upstream.
    #[track_caller]
    fn assert_well(&mut self, after: &str) {
        let until = Instant::now() + PATIENCE;
        let within = Duration::from_secs(1);
        while self.ask("www.corp.example", within) != Some(0) {
            assert!(Instant::now() < until, "after {after} nothing is answered over UDP: {}", self.program.said());
        }
        let query = Question::new("www.corp.example", "A").octets(7);
        while !ask::over_tcp(LOOPBACK, self.door, &query).is_ok_and(|reply| reply[3] & 15 == 0) {
            assert!(Instant::now() < until, "after {after} nothing is answered over TCP: {}", self.program.said());
        }
        while self.ask_upstream(PATIENCE) != Some(0) {
            assert!(Instant::now() < until, "after {after} nothing is forwarded: {}", self.program.said());
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// The sum of a metric over these labels.
    fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, text) = get(self.http, "/metrics").expect("it is scraped");
        let lines =
            text.lines().filter(|line| line.starts_with(name) && line.contains(labels) && !line.starts_with('#'));
        lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")).sum()
    }
}

/// The code and the body of a reply of the admin interface; none where nobody listens.
fn get(http: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n").as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[test]
fn accepting_goes_on_after_every_error_and_never_spins() {
    let Some(strace) = need_strace() else { return };
    let mut served = Served::start();
    for (error, reason) in [
        ("EMFILE", "exhausted"),
        ("ENFILE", "exhausted"),
        ("ENOBUFS", "exhausted"),
        ("ENOMEM", "exhausted"),
        ("ECONNABORTED", "failed"),
        ("EPERM", "failed"),
    ] {
        let before = served.metric("plustwo_tcp_accept_errors_total", reason);
        let fault = Fault::inject(&strace, &served.program, "stream", &format!("accept4:error={error}"));
        // The kernel takes it into the queue; it waits there until there is something to take it with.
        let mut waiting = ask::tcp_client(LOOPBACK, served.door).expect("the queue has room");
        ask::send_framed(&mut waiting, &Question::new("www.corp.example", "A").octets(3)).expect("the kernel takes it");
        fault.wait_for(30);
        assert_eq!(served.ask("www.corp.example", PATIENCE), Some(0), "{error}: UDP is untouched");
        assert!(fault.rate() < FAILED_CALLS_A_SECOND_MAX, "{error}: {} calls a second", fault.rate());
        drop(fault);
        let reply = ask::receive_framed(&mut waiting);
        assert!(reply.is_ok_and(|reply| reply[3] & 15 == 0), "{error}: who waited is answered");
        assert!(served.metric("plustwo_tcp_accept_errors_total", reason) > before, "{error} is counted");
        served.assert_well(error);
    }
}

#[test]
fn a_worker_that_may_not_receive_rests_and_goes_on() {
    let Some(strace) = need_strace() else { return };
    let mut served = Served::start();
    for error in ["ENOBUFS", "ENOMEM", "EPERM", "ENETDOWN"] {
        let before = served.metric("plustwo_receive_errors_total", "");
        let fault = Fault::inject(&strace, &served.program, "udp-0", &format!("recvmmsg:error={error}"));
        fault.wait_for(30);
        assert!(fault.rate() < FAILED_CALLS_A_SECOND_MAX, "{error}: {} calls a second", fault.rate());
        // What waits in the kernel meanwhile is answered after.
        let socket = ask::udp_client(LOOPBACK, served.door);
        socket.send(&Question::new("www.corp.example", "A").octets(7)).expect("the kernel takes it");
        drop(fault);
        assert!(ask::receive(&socket).is_ok_and(|reply| reply[3] & 15 == 0), "{error}: who waited is answered");
        assert!(served.metric("plustwo_receive_errors_total", "") > before, "{error} is counted");
        served.assert_well(error);
    }
    // A signal is no error.
    let before = served.metric("plustwo_receive_errors_total", "");
    let fault = Fault::inject(&strace, &served.program, "udp-0", "recvmmsg:error=EINTR:when=1..50");
    fault.wait_for(50);
    assert_eq!(served.ask("www.corp.example", PATIENCE), Some(0));
    drop(fault);
    assert_eq!(served.metric("plustwo_receive_errors_total", ""), before);
}

#[test]
fn replies_that_the_system_does_not_take_are_counted_and_cost_nothing_else() {
    let Some(strace) = need_strace() else { return };
    /// Queries that are sent during a fault.
    const QUERIES: usize = 20;
    let mut served = Served::start();
    for error in ["ENOBUFS", "EPERM", "ENETUNREACH", "EMSGSIZE", "ENOMEM"] {
        let before = served.metric("plustwo_dropped_total", "send_failed");
        let fault = Fault::inject(&strace, &served.program, "udp-0", &format!("sendmmsg:error={error}"));
        let socket = ask::udp_client(LOOPBACK, served.door);
        for id in 0..QUERIES {
            socket.send(&Question::new("www.corp.example", "A").octets(id as u16)).expect("the kernel takes it");
        }
        let until = Instant::now() + PATIENCE;
        while served.metric("plustwo_dropped_total", "send_failed") < before + QUERIES as f64 {
            assert!(Instant::now() < until, "{error}: not all are counted");
        }
        assert!(fault.times() <= QUERIES * 2, "{error}: {} calls for {QUERIES} replies", fault.times());
        drop(fault);
        served.assert_well(error);
    }
    // Those that pass by themselves lose nothing.
    for fault in ["sendmmsg:error=EINTR:when=1..50", "sendmmsg:error=EAGAIN:when=1..2"] {
        let fault = Fault::inject(&strace, &served.program, "udp-0", fault);
        assert_eq!(served.ask("www.corp.example", PATIENCE), Some(0));
        fault.wait_for(1);
    }
}

#[test]
fn a_lane_without_sockets_fails_its_questions_and_nothing_else() {
    let Some(strace) = need_strace() else { return };
    let mut served = Served::start();
    for (fault, event) in [
        ("socket:error=EMFILE", "socket_refused"),
        ("socket:error=ENFILE", "socket_refused"),
        ("socket:error=ENOBUFS", "socket_refused"),
        ("socket:error=EPERM", "unreachable"),
        ("connect:error=EADDRNOTAVAIL", "socket_refused"),
        ("connect:error=EPERM", "unreachable"),
        ("connect:error=ENETUNREACH", "unreachable"),
        ("sendmmsg:error=ENOBUFS:when=1", "send_buffer_full"),
        ("sendmmsg:error=EPERM:when=1", "unreachable"),
        ("sendmmsg:error=EMSGSIZE:when=1", "unreachable"),
        ("recvmmsg:error=EPERM", "unreachable"),
        ("recvmmsg:error=ENOBUFS", "socket_refused"),
    ] {
        let counted = |served: &Served| served.metric("plustwo_upstream_events_total", &format!("\"{event}\""));
        let before = counted(&served);
        let injected = Fault::inject(&strace, &served.program, "lane-0", fault);
        // Sockets that are open are used on; a few questions need more. (The lane's first call sends a question, the next
        // ones may send replies.)
        for _ in 0..3 {
            let rcode = served.ask_upstream(PATIENCE);
            assert!(matches!(rcode, Some(0 | 2)), "{fault}: {rcode:?}, and every question has its reply in time");
        }
        assert_eq!(served.ask("www.corp.example", PATIENCE), Some(0), "{fault}: what is ours is answered");
        assert!(injected.rate() < FAILED_CALLS_A_SECOND_MAX, "{fault}: {} calls a second", injected.rate());
        drop(injected);
        assert!(counted(&served) > before, "{fault} is counted as {event}");
        served.assert_well(fault);
    }
}

#[test]
fn waiting_that_is_interrupted_or_refused_goes_on() {
    let Some(strace) = need_strace() else { return };
    let mut served = Served::start();
    for fault in ["epoll_wait:error=EINTR:when=1..50", "epoll_wait:error=ENOMEM:when=1..50"] {
        let injected = Fault::inject(&strace, &served.program, "lane-0", fault);
        injected.wait_for(50);
        assert_eq!(served.ask_upstream(PATIENCE), Some(0), "{fault}");
        drop(injected);
    }
    let failed = served.metric("plustwo_upstream_events_total", "wait_failed");
    assert_eq!(failed, 50.0, "an interruption is no error, and the others are counted");
    let fault = Fault::inject(&strace, &served.program, "lane-0", "epoll_wait:error=ENOMEM");
    fault.wait_for(30);
    assert!(fault.rate() < FAILED_CALLS_A_SECOND_MAX, "{} calls a second", fault.rate());
    drop(fault);
    // The worker rings the lane's bell: it does so until the system takes it.
    for error in ["EINTR", "EAGAIN"] {
        let fault = Fault::inject(&strace, &served.program, "udp-0", &format!("write:error={error}:when=1..20"));
        assert_eq!(served.ask_upstream(PATIENCE), Some(0), "{error}");
        fault.wait_for(20);
    }
    served.assert_well("bells that fail");
}

#[test]
fn a_closed_log_ends_nothing() {
    let mut served = Served::start_as(|_, command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" 0<&- 1>&- 2>&-"]).arg(command.get_program()).args(command.get_args());
        shell
    });
    served.assert_well("closing all that a log could go to");
    served.program.signal("HUP");
    let until = Instant::now() + PATIENCE;
    while served.metric("plustwo_reloads_total", "success") < 1.0 {
        assert!(Instant::now() < until, "it does not reload");
    }
    served.assert_well("a reload that nobody reads of");
    served.program.signal("TERM");
    let (status, said) = served.program.wait();
    assert_eq!((status.code(), &*said), (Some(0), ""));
}

/// Seconds that the machine was suspended for are on the clock since boot and on no other: a library in front of the
/// system's adds them to it. A time namespace could do that only before the process starts.
#[test]
fn what_is_cached_grows_old_while_the_machine_is_suspended() {
    if need_tool("cc").is_none() {
        return;
    }
    let tools = tempfile::tempdir().expect("a temporary folder");
    let (library, ahead) = (tools.path().join("suspended.so"), tools.path().join("seconds"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/survival/suspended.c");
    let (code, _, stderr) =
        outcome(Command::new("cc").args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source));
    assert_eq!(code, 0, "{stderr}");
    let sleep = |seconds: u64| {
        // In place: it is mapped.
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&ahead);
        file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).expect("a file can be written");
    };
    sleep(0);
    let mut served = Served::start_as(|_, mut command| {
        command.env("LD_PRELOAD", &library).env("SUSPENDED_SECONDS", &ahead);
        command
    });
    let ttl = |served: &Served| {
        let query = Question::new("n0.public.example", "A").octets(5);
        let reply = ask::over_udp(LOOPBACK, served.door, &query).expect("it answers");
        Message::from_vec(&reply).expect("a message").answers[0].ttl
    };
    assert_eq!(ttl(&served), 300);
    let asked = served.upstream.questions();
    sleep(200);
    assert!((60..=100).contains(&ttl(&served)), "200 of its 300 seconds are over: {}", ttl(&served));
    assert_eq!(served.upstream.questions(), asked, "it is still good");
    let mut slept = 200;
    for hours in [1, 24, 24 * 60] {
        slept += hours * 3600;
        let before = served.upstream.questions();
        sleep(slept);
        assert_eq!(ttl(&served), 300, "after {hours} hours it is asked anew");
        assert_eq!(served.upstream.questions(), before + 1);
        served.assert_well("a suspension");
    }
    // What is being asked when the lid closes has its reply when it opens, whatever that is.
    served.upstream.behave(Behaviour::Silent);
    let socket = ask::udp_client(LOOPBACK, served.door);
    let before = served.upstream.questions();
    socket.send(&Question::new("n199.public.example", "A").octets(6)).expect("it listens");
    let until = Instant::now() + PATIENCE;
    while served.upstream.questions() == before {
        assert!(Instant::now() < until, "it is never asked");
    }
    sleep(slept + 3600);
    assert_eq!(ask::receive(&socket).expect("it answers")[3] & 15, 2);
    served.upstream.behave(Behaviour::Answers);
    served.assert_well("a suspension in the middle of a question");
    served.program.signal("TERM");
    assert_eq!(served.program.wait().0.code(), Some(0));
}

#[test]
fn what_the_kernel_had_received_before_sigterm_is_answered() {
    /// Queries over each way. So many replies fit a client's buffer.
    const QUERIES: u16 = 100;
    /// Of them, those that are forwarded.
    const FORWARDED: u16 = 10;
    let mut served = Served::start();
    let name = |id: u16| if id < FORWARDED { format!("n{id}.public.example") } else { "www.corp.example".to_owned() };
    let query = |id: u16| Question::new(&name(id), "A").octets(id);
    let mut first = ask::tcp_client(LOOPBACK, served.door).expect("it listens");
    ask::send_framed(&mut first, &query(QUERIES)).expect("it listens");
    assert!(ask::receive_framed(&mut first).is_ok());
    // While it stands still, all that comes waits in the kernel.
    served.program.signal("STOP");
    let udp = ask::udp_client(LOOPBACK, served.door);
    let mut second = ask::tcp_client(LOOPBACK, served.door).expect("the queue has room");
    for id in 0..QUERIES {
        udp.send(&query(id)).expect("the kernel takes it");
        ask::send_framed(&mut first, &query(id)).expect("the kernel takes it");
        ask::send_framed(&mut second, &query(id)).expect("the kernel takes it");
    }
    served.program.signal("TERM");
    served.program.signal("CONT");
    let id_of = |reply: Vec<u8>| {
        assert_eq!(reply[3] & 15, 0, "NOERROR");
        u16::from_be_bytes([reply[0], reply[1]])
    };
    let all: HashSet<u16> = (0..QUERIES).collect();
    let over_udp: HashSet<u16> = (0..QUERIES).map(|_| id_of(ask::receive(&udp).expect("a reply over UDP"))).collect();
    assert_eq!(over_udp, all);
    for (stream, which) in [(&mut first, "one that was open"), (&mut second, "one that waited to be taken in")] {
        let replies =
            (0..QUERIES).map(|_| id_of(ask::receive_framed(stream).unwrap_or_else(|error| panic!("{which}: {error}"))));
        assert_eq!(replies.collect::<HashSet<u16>>(), all, "{which}");
        assert_eq!(stream.read(&mut [0]).expect("it is ended in order"), 0, "{which}");
    }
    let (status, said) = served.program.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

/// Says that it is over, also where a test fails.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nobody_can_keep_it_from_leaving() {
    let Some(strace) = need_strace() else { return };
    let mut served = Served::start();
    // The worker is slower than those who ask: its queue is never empty.
    let _slow = Fault::inject(&strace, &served.program, "udp-0", "sendmmsg:delay_enter=10000");
    let door = served.door;
    let is_over = AtomicBool::new(false);
    let began = std::thread::scope(|scope| {
        let over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                let socket = ask::udp_client(LOOPBACK, door);
                let query = Question::new("www.corp.example", "A").octets(7);
                while !is_over.load(Ordering::Relaxed) {
                    // Refused once nobody is there.
                    let _ = socket.send(&query);
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // A connection that asks for nothing.
                drop(ask::tcp_client(LOOPBACK, door));
            }
        });
        let until = Instant::now() + PATIENCE;
        while served.metric("plustwo_receive_buffer_drops_total", "") == 0.0 {
            assert!(Instant::now() < until, "no flood");
        }
        served.program.signal("TERM");
        let began = Instant::now();
        assert_eq!(served.program.wait().0.code(), Some(0));
        drop(over);
        began
    });
    let bound = Duration::from_secs(plustwo::daemon::DRAIN_SECONDS_MAX);
    assert!(began.elapsed() < bound + PATIENCE / 3, "{:?}", began.elapsed());
}

#[test]
fn who_leaves_is_not_ready_and_leaves_at_once_if_told_twice() {
    for name in ["TERM", "INT"] {
        let mut served = Served::start();
        served.upstream.behave(Behaviour::Silent);
        let before = served.upstream.questions();
        let socket = ask::udp_client(LOOPBACK, served.door);
        socket.send(&Question::new("n1.public.example", "A").octets(6)).expect("it listens");
        let until = Instant::now() + PATIENCE;
        while served.upstream.questions() == before {
            assert!(Instant::now() < until, "it is never asked");
        }
        assert_eq!(get(served.http, "/readyz").expect("it answers").0, 200);
        served.program.signal("TERM");
        assert!(served.program.wait_for("leaving: answering what is in flight").is_some());
        let (code, body) = get(served.http, "/readyz").expect("it answers until the end");
        assert!(code == 503 && body.contains("leaving"), "{code} {body}");
        assert_eq!(get(served.http, "/livez").expect("it answers until the end").0, 200);
        served.program.signal(name);
        let (status, said) = served.program.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("told to leave once more") && !said.contains("left queries="), "{said}");
    }
}
