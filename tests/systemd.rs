//! The unit, and what the daemon and the service manager have to do with each other. systemd itself is not needed: the tests
//! listen where it would, and put the unit's restrictions on the daemon as it would.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::binary::{Program, free_port, outcome, plustwo};
use support::certificates::authority;
use support::notified::{Notified, Words};
use support::strace::{Fault, need_strace};
use support::upstream::Upstream;
use support::world::answering;
use support::{need_tool, skip};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The unit, from the root of the repository.
const UNIT: &str = "packaging/systemd/plustwo.service";
/// What `systemd-analyze security` may rate it at most, in tenths: 10 is all doors open.
const EXPOSURE_TENTHS_MAX: &str = "16";
/// How long the service manager of these tests does without a sign of life.
const WATCHDOG: Duration = Duration::from_secs(4);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)
}

/// The values of a key of the unit, in their order.
fn values(key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit()).expect("the unit is there");
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn the_unit_is_rated_as_safe_as_a_resolver_can_be() {
    let Some(analyze) = need_tool("systemd-analyze") else { return };
    let mut command = Command::new(analyze);
    command.args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_TENTHS_MAX}")]);
    let (code, stdout, stderr) = outcome(command.arg(unit()));
    assert!(stdout.contains("Overall exposure level"), "{stdout}{stderr}");
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn the_unit_has_no_line_that_systemd_does_not_know() {
    let Some(analyze) = need_tool("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The program is not installed here.
    let text = std::fs::read_to_string(unit()).expect("the unit is there");
    let text = text.replace("/usr/bin/plustwo", env!("CARGO_BIN_EXE_plustwo"));
    let copy = folder.path().join("plustwo.service");
    std::fs::write(&copy, text).expect("a file can be written");
    let (code, stdout, stderr) = outcome(Command::new(analyze).args(["verify", "--man=no"]).arg(copy));
    assert_eq!((code, &*stdout, &*stderr), (0, "", ""));
}

#[test]
fn the_times_of_the_unit_are_those_that_the_daemon_needs() {
    let seconds = |key: &str| -> u64 { values(key)[0].parse().expect("seconds") };
    assert!(seconds("TimeoutStopSec") > plustwo::daemon::DRAIN_SECONDS_MAX);
    // Half of it is a round, in which a worker of one door has to wake, and a second try to be heard.
    assert!(seconds("WatchdogSec") >= 4);
    assert_eq!((&*values("Restart")[0], &*values("StartLimitIntervalSec")[0]), ("always", "0"));
}

/// A daemon that a test listens to as its service manager.
struct Served {
    program: Program,
    notified: Notified,
    folder: tempfile::TempDir,
    doors: Vec<SocketAddr>,
    _upstream: Upstream,
}

impl Served {
    /// Starts it with so many workers and doors of the loopback, and perhaps a watchdog.
    fn start(workers: usize, doors: usize, abstractly: bool, watchdog: Option<Duration>) -> Self {
        Self::start_at(workers, &vec![LOOPBACK; doors], abstractly, watchdog)
    }

    /// The same with a door at each of some addresses.
    fn start_at(workers: usize, addresses: &[IpAddr], abstractly: bool, watchdog: Option<Duration>) -> Self {
        let upstream = answering(&["www.public.example. 300 IN A 198.51.100.80"]);
        for attempt in 0..8 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let doors: Vec<SocketAddr> = addresses.iter().map(|address| free_port(*address)).collect();
            write(folder.path(), workers, &doors, upstream.address());
            let notified = if abstractly {
                Notified::abstractly(&format!("plustwo-test-{}-{attempt}", std::process::id()))
            } else {
                Notified::in_folder(folder.path())
            };
            let mut command = plustwo();
            command
                .args(["run", "--config"])
                .arg(folder.path().join("plustwo.toml"))
                .env("NOTIFY_SOCKET", &notified.name);
            if let Some(watchdog) = watchdog {
                command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
            }
            let program = Program::start(&mut command);
            if program.wait_for("serving generation 1").is_some() {
                return Self { program, notified, folder, doors, _upstream: upstream };
            }
            assert!(program.said().contains("in use"), "it does not serve:\n{}", program.said());
        }
        panic!("no free port");
    }

    fn ask(&self) {
        let query = Question::new("www.corp.example", "A").octets(7);
        // The queue may still be full with what nobody waits for.
        let replies = (0..3).find_map(|_| ask::over_udp(LOOPBACK, self.doors[0], &query).ok());
        assert_eq!(replies.expect("it answers")[3] & 15, 0, "NOERROR");
    }

    /// Signs of life within a time, and how long the longest wait for one was.
    fn signs_of_life(&self, within: Duration) -> (usize, Duration) {
        let (began, mut last) = (Instant::now(), Instant::now());
        let (mut signs, mut longest) = (0, Duration::ZERO);
        while let Some(left) = within.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            if self.notified.next_within(left).is_some_and(|words| words.contains_key("WATCHDOG")) {
                signs += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        (signs, longest.max(last.elapsed()))
    }
}

/// Writes a configuration of one VPC.
fn write(folder: &Path, workers: usize, doors: &[SocketAddr], upstream: SocketAddr) {
    let doors: Vec<String> = doors.iter().map(ToString::to_string).collect();
    let text = format!(
        "version = 1\nregion = \"eu-central-1\"\n[server]\nworkers = {workers}\nwatch = false\n[upstream]\n\
         targets = [\"{upstream}\"]\n[[vpc]]\nid = \"vpc-0a\"\nlisten = {doors:?}\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
         records = [{{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }}]\n"
    );
    std::fs::write(folder.join("plustwo.toml"), text).expect("a file can be written");
}

/// Whether words say this, and nothing that they should not.
#[track_caller]
fn assert_ready(words: &Words, status: &str) {
    assert_eq!(words["READY"], "1");
    assert!(words["STATUS"].contains(status), "{words:?}");
}

#[test]
fn the_service_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    for abstractly in [false, true] {
        let mut served = Served::start(1, 2, abstractly, None);
        let Served { notified, program, .. } = &served;
        assert_ready(&notified.wait_for("READY"), "serving generation 1 at 2 doors");
        // It is ready when it is: nothing is refused any more.
        served.ask();
        for (generation, good) in [(2, true), (2, false), (3, true)] {
            let file = served.folder.path().join("plustwo.toml");
            let text = std::fs::read_to_string(&file).expect("it is there");
            if !good {
                std::fs::write(&file, "version = ").expect("a file can be written");
            }
            program.signal("HUP");
            let reloading = notified.wait_for("RELOADING");
            // systemd takes no reload for its own that began before it asked.
            let micros: u64 = reloading["MONOTONIC_USEC"].parse().expect("a number");
            let uptime = std::fs::read_to_string("/proc/uptime").expect("proc(5)");
            let uptime: f64 = uptime.split(' ').next().expect("two numbers").parse().expect("seconds");
            assert!((micros as f64 / 1e6 - uptime).abs() < 30.0 && !reloading.contains_key("READY"), "{reloading:?}");
            let status = if good { "at 2 doors" } else { "the last reload failed" };
            let ready = notified.wait_for("READY");
            assert_ready(&ready, status);
            assert!(ready["STATUS"].contains(&format!("generation {generation} ")), "{ready:?}");
            std::fs::write(&file, text).expect("a file can be written");
        }
        program.signal("TERM");
        let stopping = notified.wait_for("STOPPING");
        assert!(stopping["EXTEND_TIMEOUT_USEC"].parse::<u64>().expect("microseconds") >= 5_000_000);
        assert_eq!(served.program.wait().0.code(), Some(0));
        assert_eq!(
            served.notified.next_within(Duration::from_millis(1)),
            None,
            "and no watchdog that nobody asked for"
        );
    }
}

#[test]
fn a_service_manager_that_is_gone_or_misnamed_ends_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let door = free_port(LOOPBACK);
    write(folder.path(), 1, &[door], free_port(LOOPBACK));
    for (name, said) in [
        ("/nowhere/notify", "cannot be told what we do"),
        ("vsock:2:1234", "neither a path nor an abstract name"),
        ("", "serving generation 1"),
    ] {
        let mut command = plustwo();
        command.args(["run", "--config"]).arg(folder.path().join("plustwo.toml"));
        let mut program = Program::start(command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "4000000"));
        assert!(program.wait_for(said).is_some(), "{name}: {}", program.said());
        assert!(program.wait_for("serving generation 1").is_some(), "{name}: {}", program.said());
        program.signal("TERM");
        assert_eq!(program.wait().0.code(), Some(0), "{name}");
    }
}

#[test]
fn signs_of_life_come_at_every_kind_of_door() {
    // One door, which a worker sleeps at, and several.
    for doors in [1, 3] {
        let served = Served::start(2, doors, false, Some(WATCHDOG));
        served.notified.wait_for("WATCHDOG");
        let (signs, longest) = served.signs_of_life(WATCHDOG * 2);
        assert!(signs >= 3, "{signs} at {doors} doors:\n{}", served.program.said());
        assert!(longest < WATCHDOG, "{longest:?} without a sign");
        let said = served.program.said();
        assert!(!said.contains("watchdog"), "{said}");
    }
}

#[test]
fn a_flood_that_fills_every_queue_ends_no_sign_of_life() {
    let served = Served::start(1, 1, false, Some(WATCHDOG));
    served.notified.wait_for("WATCHDOG");
    let is_over = AtomicBool::new(false);
    let (signs, longest) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let socket = ask::udp_client(LOOPBACK, served.doors[0]);
                let query = Question::new("www.corp.example", "A").octets(7);
                while !is_over.load(Ordering::Relaxed) {
                    // What has no room is what this is about; replies are not taken.
                    let _ = socket.send(&query);
                }
            });
        }
        let signs = served.signs_of_life(WATCHDOG * 3);
        is_over.store(true, Ordering::Relaxed);
        signs
    });
    assert!(signs >= 4, "{signs}:\n{}", served.program.said());
    assert!(longest < WATCHDOG, "{longest:?} without a sign:\n{}", served.program.said());
    served.ask();
}

#[test]
fn replies_that_rate_limits_keep_back_end_no_sign_of_life() {
    let served = Served::start(1, 1, false, Some(WATCHDOG));
    // It has answered, and should go on to. From now on nobody has more than a reply a second here, not even we ourselves.
    served.notified.wait_for("WATCHDOG");
    let file = served.folder.path().join("plustwo.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let text = format!("{text}[protection]\nresponses_per_second = 1\nslip = 0\nexempt = []\n");
    std::fs::write(&file, text).expect("a file can be written");
    served.program.signal("HUP");
    assert!(served.notified.wait_for("READY")["STATUS"].contains("generation 2 "));
    let is_over = AtomicBool::new(false);
    let (signs, longest) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = ask::udp_client(LOOPBACK, served.doors[0]);
            let query = Question::new("www.corp.example", "A").octets(7);
            while !is_over.load(Ordering::Relaxed) {
                let _ = socket.send(&query);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let signs = served.signs_of_life(WATCHDOG * 3);
        is_over.store(true, Ordering::Relaxed);
        signs
    });
    let said = served.program.said();
    assert!(signs >= 4 && longest < WATCHDOG && !said.contains("watchdog"), "{signs}, {longest:?}:\n{said}");
}

#[test]
fn a_worker_that_stands_still_ends_the_signs_of_life_and_nothing_else_does() {
    let Some(strace) = need_strace() else { return };
    let served = Served::start(2, 1, false, Some(WATCHDOG));
    served.notified.wait_for("WATCHDOG");
    for (thread, call) in [("udp-1", "recvmmsg"), ("lane-0", "epoll_wait")] {
        // Its next call takes longer than anybody waits.
        let fault = Fault::inject(&strace, &served.program, thread, &format!("{call}:delay_enter=600000000"));
        let words = format!("the thread {thread} stands still");
        let said = format!("no sign of life for the service manager, which will start us anew: {words}");
        assert!(served.program.wait_for(&said).is_some(), "{}", served.program.said());
        served.notified.clear();
        let (signs, _) = served.signs_of_life(WATCHDOG);
        assert_eq!(signs, 0, "{thread}");
        // The other worker goes on: some of those who ask are answered.
        drop(fault);
        served.notified.wait_for("WATCHDOG");
    }
    assert!(served.program.wait_for("the watchdog is content again").is_some());
}

/// Runs a command that is to succeed.
fn must(program: &str, arguments: &str) {
    let (code, _, stderr) = outcome(Command::new(program).args(arguments.split(' ')));
    assert_eq!(code, 0, "{program} {arguments}: {stderr}");
}

#[test]
fn a_door_that_falls_silent_ends_the_signs_of_life_and_one_that_never_spoke_does_not() {
    alone("a_door_that_falls_silent_ends_the_signs_of_life_and_one_that_never_spoke_does_not", || {
        must("ip", "link set lo up");
        must("nft", "add table inet test");
        must("nft", "add chain inet test arriving { type filter hook input priority 0; }");
        let drop_at = |transport: &str, served: &Served| {
            must("nft", &format!("add rule inet test arriving {transport} dport {} drop", served.doors[0].port()));
        };
        for transport in ["udp", "tcp"] {
            // Every round asks this door, as there is no other.
            let served = Served::start(1, 1, false, Some(WATCHDOG));
            served.notified.wait_for("WATCHDOG");
            drop_at(transport, &served);
            let said = format!("the door {} does not answer our own query over {transport}", served.doors[0]);
            let said = format!("no sign of life for the service manager, which will start us anew: {said}");
            assert!(served.program.wait_for(&said).is_some(), "{}", served.program.said());
            served.notified.clear();
            assert_eq!(served.signs_of_life(WATCHDOG).0, 0, "{transport}");
            must("nft", "flush chain inet test arriving");
            served.notified.wait_for("WATCHDOG");
            // Started anew behind such a firewall, it is not ended again and again.
            must("nft", &format!("add rule inet test arriving {transport} dport 1024-65535 drop"));
            let served = Served::start(1, 1, false, Some(WATCHDOG));
            let (signs, longest) = served.signs_of_life(WATCHDOG * 2);
            assert!(signs >= 3 && longest < WATCHDOG, "{signs}, {longest:?}:\n{}", served.program.said());
            must("nft", "flush chain inet test arriving");
        }
    });
}

/// Started anew it could not open that door, and nobody would be served any more.
#[test]
fn a_door_whose_address_is_taken_away_ends_no_sign_of_life() {
    alone("a_door_whose_address_is_taken_away_ends_no_sign_of_life", || {
        must("ip", "link set lo up");
        must("ip", "addr add 192.0.2.1/32 dev lo");
        must("ip", "addr add 2001:db8::1/128 dev lo nodad");
        let addresses = [LOOPBACK, "192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let served = Served::start_at(1, &addresses, false, Some(WATCHDOG));
        // A round for each door and one more: each has answered then, and should go on to.
        for _ in 0..=addresses.len() {
            served.notified.wait_for("WATCHDOG");
        }
        must("ip", "addr del 192.0.2.1/32 dev lo");
        must("ip", "addr del 2001:db8::1/128 dev lo");
        let (signs, longest) = served.signs_of_life(WATCHDOG * 3);
        assert!(signs >= 4 && longest < WATCHDOG, "{signs}, {longest:?}:\n{}", served.program.said());
        assert!(!served.program.said().contains("the watchdog is not content"), "{}", served.program.said());
        served.ask();
    });
}

#[test]
fn who_reads_for_long_says_that_it_goes_on() {
    let (Some(strace), Some(setpriv)) = (need_strace(), need_tool("setpriv")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let zone = folder.path().join("zone");
    std::fs::write(&zone, "www 60 A 10.0.0.1\n").expect("a file can be written");
    let notified = Notified::in_folder(folder.path());
    let text = format!(
        "version = 1\nregion = \"eu-central-1\"\n[server]\nwatch = false\n[upstream]\ntargets = []\n[[vpc]]\n\
         id = \"vpc-0a\"\nlisten = [\"{}\"]\n[[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\n\
         vpcs = [\"vpc-0a\"]\nfile = \"zone\"\n",
        free_port(LOOPBACK)
    );
    std::fs::write(folder.path().join("plustwo.toml"), text).expect("a file can be written");
    // A disk that takes 12 seconds to open this one file.
    let mut command = Command::new(strace);
    command.args(["-f", "-o", "/dev/null", "-e", "inject=openat:delay_enter=12000000", "-P"]).arg(&zone);
    command.arg(setpriv).args(["--pdeathsig", "KILL"]).arg(plustwo().get_program()).args(["run", "--config"]);
    command.arg(folder.path().join("plustwo.toml")).env("NOTIFY_SOCKET", &notified.name);
    let program = Program::start(&mut command);
    let first = notified.next_within(PATIENCE).expect("something is said");
    assert_eq!(first.get("EXTEND_TIMEOUT_USEC").map(String::as_str), Some("30000000"), "{first:?} {}", program.said());
    notified.wait_for("READY");
}

/// Every system call that the unit allows, its groups resolved by systemd.
fn allowed(analyze: &Path) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in values("SystemCallFilter") {
        let (is_allowed, names) = line.strip_prefix('~').map_or((true, &*line), |names| (false, names));
        for name in names.split_whitespace() {
            for call in calls(analyze, name) {
                if is_allowed {
                    allowed.insert(call);
                } else {
                    allowed.remove(&call);
                }
            }
        }
    }
    // systemd.exec(5), SystemCallFilter=: these are always allowed.
    allowed.extend(calls(analyze, "@default"));
    allowed
}

/// The system calls of a group, or of none.
fn calls(analyze: &Path, name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let (code, stdout, stderr) = outcome(Command::new(analyze).args(["syscall-filter", "--no-pager", name]));
    assert_eq!(code, 0, "{name}: {stderr}");
    let members = stdout.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(|member| calls(analyze, member)).collect()
}

/// Compiles what puts the unit's restrictions on itself and becomes a program.
fn under_filter(folder: &Path, analyze: &Path) -> PathBuf {
    let mut list = String::new();
    for call in allowed(analyze) {
        // The group names calls of every architecture.
        let _ = writeln!(list, "#ifdef SYS_{call}\n    SYS_{call},\n#endif");
    }
    std::fs::write(folder.join("allowed.inc"), list).expect("a file can be written");
    let families = values("RestrictAddressFamilies")[0].split_whitespace().collect::<Vec<_>>().join(",");
    let program = folder.join("under_filter");
    let mut command = Command::new("cc");
    command.args(["-Wall", "-Werror", &format!("-DFAMILIES={families}"), "-I"]).arg(folder).arg("-o").arg(&program);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/under_filter.c");
    let (code, _, stderr) = outcome(command.arg(source));
    assert_eq!(code, 0, "{stderr}");
    program
}

#[test]
fn the_filter_of_these_tests_ends_what_the_unit_forbids() {
    let (Some(analyze), Some(_)) = (need_tool("systemd-analyze"), need_tool("cc")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = under_filter(folder.path(), &analyze);
    let ends = |words: &[&str]| {
        use std::os::unix::process::ExitStatusExt as _;
        let status = Command::new(&program).args(words).stderr(std::process::Stdio::null()).status();
        status.expect("it can be run").signal()
    };
    let (Some(unshare), Some(chrt)) = (need_tool("unshare"), need_tool("chrt")) else { return };
    assert_eq!(ends(&["/bin/true"]), None);
    assert!(ends(&[unshare.to_str().expect("UTF-8"), "--uts", "/bin/true"]).is_some(), "a namespace");
    assert!(ends(&[chrt.to_str().expect("UTF-8"), "--idle", "0", "/bin/true"]).is_some(), "another scheduler");
}

/// What a daemon may be asked to do, with the unit's restrictions on it: user, capabilities, folders, and the filter, by
/// which any call that is not allowed ends it.
#[test]
fn all_that_the_daemon_does_it_may_do_under_the_unit() {
    alone("all_that_the_daemon_does_it_may_do_under_the_unit", || {
        let (Some(analyze), Some(_)) = (need_tool("systemd-analyze"), need_tool("cc")) else { return };
        let Some(unbound) = need_tool("unbound") else { return };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let here = folder.display();
        let (code, _, stderr) = outcome(Command::new("ip").args(["link", "set", "lo", "up"]));
        assert_eq!(code, 0, "{stderr}");
        let filter = under_filter(folder, &analyze);

        // Who is asked: over UDP, and over TLS by a name that is looked up.
        let plain = answering(&["www.rule.example. 300 IN A 192.0.2.1"]);
        authority(folder, "dns.example");
        let text = format!(
            "server:\n interface: 127.0.0.8@53\n interface: 127.0.0.8@853\n tls-port: 853\n \
             tls-service-key: \"{here}/key.pem\"\n tls-service-pem: \"{here}/certificate.pem\"\n chroot: \"\"\n \
             username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n do-daemonize: no\n verbosity: 1\n \
             num-threads: 1\n module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n do-ip6: no\n \
             local-zone: \"public.example.\" static\n local-data: \"www.public.example. 300 IN A 198.51.100.80\"\n \
             local-zone: \"dns.example.\" static\n local-data: \"dns.example. 60 IN A 127.0.0.8\"\n"
        );
        std::fs::write(folder.join("unbound.conf"), text).expect("a file can be written");
        let unbound = Program::start(Command::new(unbound).arg("-d").arg("-c").arg(folder.join("unbound.conf")));
        assert!(unbound.wait_for("start of service").is_some(), "{}", unbound.said());

        let restricted = Restricted::new(folder, &filter);
        let write = |doors: &[&str], last: u8| {
            let text = format!(
                "version = 1\nregion = \"eu-central-1\"\n[admin]\nhttp = \"127.0.0.9:9353\"\n\
                 [query_log]\noutput = \"file:{here}/log/query.log\"\n\
                 [dnstap]\noutput = \"unix:{here}/tap.sock\"\n[cache]\nfile = \"{here}/state/replies\"\n[upstream]\ntargets = [\"tls://dns.example\"]\n\
                 tls_roots = \"authority.pem\"\nbootstrap = [\"127.0.0.8:53\"]\n\
                 [[vpc]]\nid = \"vpc-0a\"\nlisten = {doors:?}\n\
                 [[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"rule.example\"\naction = \"forward\"\n\
                 targets = [\"{}\"]\nvpcs = [\"vpc-0a\"]\n\
                 [[health_check]]\nid = \"db\"\ntype = \"TCP\"\nip_address = \"127.0.0.8\"\nport = 853\nrequest_interval = 10\n\
                 failure_threshold = 1\n[[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
                 file = \"zone\"\nrecords = [\n{{ name = \"now\", type = \"A\", values = [\"10.9.9.{last}\"] }},\n\
                 {{ name = \"db\", type = \"A\", ttl = 60, set_identifier = \"1\", failover = \"primary\", \
                 health_check = \"db\", values = [\"10.0.0.1\"] }},\n\
                 {{ name = \"db\", type = \"A\", ttl = 60, set_identifier = \"2\", failover = \"secondary\", \
                 values = [\"10.0.0.2\"] }},\n]\n",
                plain.address()
            );
            std::fs::write(folder.join("next"), text).expect("a file can be written");
            std::fs::rename(folder.join("next"), folder.join("plustwo.toml")).expect("it can be renamed");
        };
        // A receiver that accepts nothing: it is connected to, and waited for.
        let tap = UnixListener::bind(folder.join("tap.sock")).expect("a socket");
        let anyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.join("tap.sock"), anyone).expect("it is ours");
        // Enough names that their table stands on huge pages.
        let zone: String = (0..100_000).map(|name| format!("n{name} 60 A 10.1.0.1\n")).collect();
        std::fs::write(folder.join("zone"), zone).expect("a file can be written");
        write(&["127.0.0.2:53"], 1);
        let notified = Notified::in_folder(folder);
        restricted.give(&folder.join("notify"));
        let (status, said) = {
            let mut program = restricted.start(folder, &notified);
            let ready = |status: &str| {
                let until = Instant::now() + PATIENCE;
                while !notified.wait_for("READY")["STATUS"].contains(status) {
                    assert!(Instant::now() < until, "{status}");
                }
            };
            ready("generation 1 at 1 doors");
            let door: SocketAddr = "127.0.0.2:53".parse().expect("an address");
            let asks = |door: SocketAddr, name: &str, last: u8| {
                let query = Question::new(name, "A").octets(9);
                let client = if door.is_ipv4() { LOOPBACK } else { door.ip() };
                let over_udp = ask::over_udp(client, door, &query);
                let over_tcp = ask::over_tcp(client, door, &query);
                for reply in [over_udp, over_tcp] {
                    let reply = reply.unwrap_or_else(|error| panic!("{name}: {error}\n{}", program.said()));
                    // The last octet of the address is followed by the OPT.
                    assert_eq!((reply[3] & 15, reply[reply.len() - 12]), (0, last), "{name}: {}", program.said());
                }
            };
            asks(door, "now.corp.example", 1);
            asks(door, "db.corp.example", 1);
            asks(door, "www.public.example", 80);
            asks(door, "www.rule.example", 1);
            notified.wait_for("WATCHDOG");
            // An edit is seen; then SIGHUP, with something wrong, and with another door.
            write(&["127.0.0.2:53", "[::1]:53"], 2);
            ready("generation 2 at 2 doors");
            asks(door, "now.corp.example", 2);
            asks("[::1]:53".parse().expect("an address"), "now.corp.example", 2);
            std::fs::write(folder.join("plustwo.toml"), "version = ").expect("a file can be written");
            program.signal("HUP");
            ready("the last reload failed");
            write(&["127.0.0.2:53", "127.0.0.3:53"], 3);
            program.signal("HUP");
            ready("generation 3 at 2 doors");
            program.signal("USR1");
            asks(door, "now.corp.example", 3);
            let commands: [&[&str]; 9] = [
                &["status"],
                &["stats"],
                &["views"],
                &["upstreams"],
                &["cache", "lookup", "www.public.example"],
                &["cache", "flush", "www.rule.example"],
                &["reload"],
                &["healthcheck"],
                &["status", "--http", "127.0.0.9:9353"],
            ];
            for words in commands {
                let mut command = plustwo();
                command.args(words);
                if !words.contains(&"--http") {
                    command.arg("--socket").arg(folder.join("run/admin.sock"));
                }
                let (code, stdout, stderr) = outcome(&mut command);
                assert_eq!(code, 0, "{words:?}: {stdout}{stderr}\n{}", program.said());
            }
            notified.wait_for("WATCHDOG");
            program.signal("TERM");
            notified.wait_for("STOPPING");
            program.wait()
        };
        assert_eq!(status.code(), Some(0), "{status}: strace -f shows the call that is not allowed\n{said}");
        assert!(!said.contains("WARN"), "{said}");
        assert!(folder.join("state/replies").exists(), "the cache was saved: {said}");
        let logged = std::fs::read_to_string(folder.join("log/query.log")).expect("a query log");
        assert!(logged.contains("now.corp.example."), "{logged}\n{said}");
        assert!(tap.accept().is_ok(), "dnstap was connected");
        assert!(
            std::fs::read_dir(folder.join("state")).expect("a folder").count() > 1,
            "and the last good configuration"
        );
    });
}

/// The restrictions of the unit besides the filter, as far as they can be had without systemd.
struct Restricted {
    script: String,
    /// Whether it runs as a user of its own.
    is_nobody: bool,
}

/// The user of DynamicUser= here.
const NOBODY: &str = "65534";

impl Restricted {
    /// A user with one right, folders of its own, and all else read-only.
    fn new(folder: &Path, filter: &Path) -> Self {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let capabilities = values("CapabilityBoundingSet").join(" ").to_lowercase().replace("cap_", "+");
        assert_eq!(capabilities, values("AmbientCapabilities").join(" ").to_lowercase().replace("cap_", "+"));
        let as_nobody = format!(
            "setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all,{capabilities} \
             --ambient-caps=-all,{capabilities} --bounding-set=-all,{capabilities} --no-new-privs"
        );
        let (code, _, stderr) = outcome(Command::new("sh").args(["-c", &format!("{as_nobody} true")]));
        if code != 0 {
            skip(&format!("another user cannot be had here ({}); it takes root", stderr.trim()));
        }
        let (here, binary) = (folder.display(), env!("CARGO_BIN_EXE_plustwo"));
        let as_nobody = if code == 0 { &*as_nobody } else { "" };
        let script = format!(
            "set -e; cd /; umask {}\n\
             for it in state run log; do mkdir {here}/$it; mount --bind {here}/$it {here}/$it; done\n\
             touch {here}/plustwo; mount --bind {binary} {here}/plustwo\n\
             [ -z '{as_nobody}' ] || chown {NOBODY} {here}/state {here}/run {here}/log\n\
             mount -o remount,bind,ro / ; for it in /tmp /var /home; do ! mountpoint -q $it || mount -o remount,bind,ro $it; done\n\
             exec {as_nobody} {} {here}/plustwo run --config {here}/plustwo.toml\n",
            values("UMask")[0],
            filter.display()
        );
        Self { script, is_nobody: code == 0 }
    }

    /// Lets the user of the daemon write to a socket.
    fn give(&self, path: &Path) {
        if self.is_nobody {
            std::os::unix::fs::chown(path, Some(NOBODY.parse().expect("a number")), None).expect("root may");
        }
    }

    fn start(&self, folder: &Path, notified: &Notified) -> Program {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &self.script]);
        command.env("STATE_DIRECTORY", folder.join("state")).env("RUNTIME_DIRECTORY", folder.join("run"));
        command.env("LOGS_DIRECTORY", folder.join("log")).env("NOTIFY_SOCKET", &notified.name);
        Program::start(command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()))
    }
}
