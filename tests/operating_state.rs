//! What outlives the process, when the process, the disk or the clock does not behave: the saved cache, the last good
//! configuration, the admin socket. `docs/operating.md` has the table of these faults.

mod support;

use hickory_proto::op::Message;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::alone::alone;
use support::ask::{self, Question};
use support::binary::{Program, outcome};
use support::case::extended_error;
use support::need_tool;
use support::operated::{Operated, Start, replace, wait_until, zone};
use support::upstream::{Behaviour, Upstream};
use support::world::answering;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Forwards nothing.
const ALONE: &str = "upstream = { targets = [] }\n";
/// RFC 8914: the answer is beyond its lifetime.
const STALE_ANSWER: u16 = 3;

/// Runs a tool.
#[track_caller]
fn run(tool: &str, arguments: &[&str]) {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The only address of a name, its TTL, and the extended error.
fn address(door: SocketAddr, name: &str) -> (String, u32, Option<u16>) {
    let reply = ask::over_udp(LOOPBACK, door, &Question::new(name, "A").octets(77)).expect("it answers");
    let reply = Message::from_vec(&reply).expect("hickory-proto reads it");
    let [record] = &reply.answers[..] else { panic!("{name}: {reply}") };
    (record.data.to_string(), record.ttl, extended_error(&reply))
}

/// Settings with an upstream and a file for what it says.
fn with_cache(upstream: &Upstream, file: &str) -> String {
    format!("upstream = {{ targets = [\"{}\"] }}\ncache = {{ file = \"{file}\" }}\n", upstream.address())
}

#[test]
fn killed_at_any_moment_it_starts_again_and_the_last_good_one_is_whole() {
    /// Enough names that writing them takes a moment, in which the end may come.
    const NAMES: usize = 2000;
    let zone = |number: u8| -> String {
        zone(number) + &(0..NAMES).map(|name| format!("n{name} 60 A 10.0.2.{number}\n")).collect::<String>()
    };
    let state = tempfile::tempdir().expect("a temporary folder");
    let kept = ["--state-directory", text(state.path())];
    let start = Start { arguments: &kept, settings: ALONE, ..Start::default() };
    let mut served = Operated::start(start);
    for round in 1..=10u8 {
        let (before, after) = (2 * round, 2 * round + 1);
        for number in [before, after] {
            replace(&served.at("zone"), zone(number));
            served.program.signal("HUP");
            served.answers(number);
        }
        // It is being kept on a thread of its own: a while that is another in each round.
        std::thread::sleep(Duration::from_micros(u64::from(round - 1) * 700));
        assert_eq!(served.end("KILL").0, None);
        let socket = fs::symlink_metadata(served.socket()).expect("nobody has tidied up");
        assert!(socket.file_type().is_socket());
        // It starts with the newest, in spite of the socket that is left.
        served = served.restart(start);
        assert_eq!(served.answer(), Some(after));
        wait_until("it is kept", || {
            fs::read_to_string(state.path().join("last-good/1")).is_ok_and(|kept| kept == zone(after))
        });
        replace(&served.at("zone"), zone(before));
        served.program.signal("HUP");
        served.answers(before);
        std::thread::sleep(Duration::from_micros(u64::from(round - 1) * 300));
        assert_eq!(served.end("KILL").0, None);
        // With a zone that is spoilt it starts with one of the two, whole.
        replace(&served.at("zone"), "spoilt\n");
        let last_good = ["--last-good", "--state-directory", text(state.path())];
        served = served.restart(Start { arguments: &last_good, ..Start::default() });
        let number = served.answer().expect("it serves");
        assert!([before, after].contains(&number), "{number}");
        let names = served.status()["names"].as_u64().expect("a number");
        assert!(names > NAMES as u64, "{names}");
        for name in ["n0", "n999", "n1999"] {
            assert_eq!(address(served.door, &format!("{name}.corp.example.com")).0, format!("10.0.2.{number}"));
        }
        assert_eq!(served.status()["last_good"], true);
    }
}

#[test]
fn killed_while_it_saves_the_cache_it_finds_the_old_one_or_the_new_one() {
    let upstream = answering(&["www.public.example. 300 IN A 192.0.2.2", "*.public.example. 300 IN A 192.0.2.3"]);
    let settings = with_cache(&upstream, "replies");
    let start = Start { settings: &settings, ..Start::default() };
    let mut served = Operated::start(start);
    assert_eq!(address(served.door, "www.public.example").0, "192.0.2.2");
    assert_eq!(served.end("TERM").0, Some(0));
    served = served.restart(start);
    served.says("cache loaded");
    // What the end has left half-written is in nobody's way.
    for round in 0..8u64 {
        fs::write(served.at("replies.new"), "half of it").expect("written");
        assert_eq!(address(served.door, "www.public.example").0, "192.0.2.2");
        served.program.signal("TERM");
        std::thread::sleep(Duration::from_micros(round * 500));
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", &served.program.id().to_string()]).output();
        served = served.restart(start);
        let said = served.says("cache loaded");
        assert!(!said.contains("WARN") && !said.contains("not loaded"), "{said}");
    }
    upstream.behave(Behaviour::Silent);
    assert_eq!(address(served.door, "www.public.example").0, "192.0.2.2");
    assert_eq!(served.end("TERM").0, Some(0));
    assert!(!fs::exists(served.at("replies.new")).expect("a folder"));
}

#[test]
fn a_full_disk_is_said_and_counted_and_costs_no_answer() {
    alone("a_full_disk_is_said_and_counted_and_costs_no_answer", || {
        run("ip", &["link", "set", "dev", "lo", "up"]);
        let state = tempfile::tempdir().expect("a temporary folder");
        run("mount", &["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", text(state.path())]);
        let upstream = answering(&["www.public.example. 300 IN A 192.0.2.2"]);
        let settings = with_cache(&upstream, text(&state.path().join("replies")));
        let kept = ["--state-directory", text(state.path())];
        let start = Start { arguments: &kept, settings: &settings, ..Start::default() };
        let mut served = Operated::start(start);
        let failures = |served: &Operated, file: &str| {
            served.metric(&format!("plustwo_state_write_failures_total{{file=\"{file}\"}}"))
        };
        assert_eq!(address(served.door, "www.public.example").0, "192.0.2.2");
        assert_eq!(served.end("TERM").0, Some(0));
        served = served.restart(start);
        served.says("cache loaded");
        let saved = fs::read(state.path().join("replies")).expect("it was saved");
        assert_eq!((failures(&served, "cache"), failures(&served, "last_good")), (0.0, 0.0));
        // A zone that is larger than the disk is served, and not kept.
        let large: String = (0..20_000).map(|name| format!("n{name} 60 A 10.1.0.1\n")).collect();
        served.under_queries(|| {
            replace(&served.at("zone"), zone(2) + &large);
            served.program.signal("HUP");
            served.answers(2);
            let said = served.says("was not kept as the last good one");
            assert!(said.contains("No space left on device"), "{said}");
        });
        assert_eq!((failures(&served, "last_good"), served.status()["last_error"].is_null()), (1.0, true));
        let left: Vec<_> =
            fs::read_dir(state.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 3, "nothing half-written stays: {left:?}");
        // Where nothing at all can be written, the cache of before stays.
        let rest = fs::write(state.path().join("rest"), vec![0; 1 << 20]);
        assert!(rest.is_err(), "there is room for a mebioctet");
        let (code, said) = served.end("TERM");
        assert!(code == Some(0) && said.contains("the cache was not saved: No space left on device"), "{said}");
        assert_eq!(fs::read(state.path().join("replies")).expect("it is still there"), saved);
        assert!(!fs::exists(state.path().join("replies.new")).expect("a folder"));
        // It starts on the full disk, and the last good one is that of before.
        replace(&served.at("zone"), "spoilt\n");
        let last_good = ["--last-good", "--state-directory", text(state.path())];
        let served = served.restart(Start { arguments: &last_good, ..Start::default() });
        assert_eq!(served.answer(), Some(1));
        assert!(served.says("the cache cannot be saved").contains("cache loaded"));
        assert_eq!(failures(&served, "cache"), 1.0);
    });
}

#[test]
fn a_limit_on_the_size_of_files_ends_nobody() {
    let Some(_) = need_tool("prlimit") else { return };
    let state = tempfile::tempdir().expect("a temporary folder");
    let kept = ["--state-directory", text(state.path())];
    let start = Start { through: &["prlimit", "--fsize=65536"], arguments: &kept, settings: ALONE, ..Start::default() };
    let served = Operated::start(start);
    let large: String = (0..5000).map(|name| format!("n{name} 60 A 10.1.0.1\n")).collect();
    served.under_queries(|| {
        replace(&served.at("zone"), zone(2) + &large);
        served.program.signal("HUP");
        served.answers(2);
        let said = served.says("was not kept as the last good one");
        assert!(said.contains("File too large"), "{said}");
        replace(&served.at("zone"), zone(3));
        served.program.signal("HUP");
        served.answers(3);
    });
    wait_until("a smaller one is kept", || {
        fs::read_to_string(state.path().join("last-good/1")).is_ok_and(|kept| kept == zone(3))
    });
}

#[test]
fn a_file_system_that_is_mounted_over_the_folder_and_goes_again_is_seen() {
    alone("a_file_system_that_is_mounted_over_the_folder_and_goes_again_is_seen", || {
        run("ip", &["link", "set", "dev", "lo", "up"]);
        let served = Operated::start(Start { settings: ALONE, watch: true, ..Start::default() });
        let good = fs::read_to_string(served.at("plustwo.toml")).expect("it is there");
        let conf = served.at("");
        served.under_queries(|| {
            run("mount", &["-t", "tmpfs", "tmpfs", text(&conf)]);
            fs::write(served.at("zone"), zone(2)).expect("written");
            fs::write(served.at("plustwo.toml"), &good).expect("written");
            served.answers(2);
            run("umount", &["--lazy", text(&conf)]);
            served.answers(1);
        });
        replace(&served.at("zone"), zone(3));
        served.answers(3);
    });
}

#[test]
fn an_admin_socket_where_nothing_may_be_written_is_said_at_the_start() {
    alone("an_admin_socket_where_nothing_may_be_written_is_said_at_the_start", || {
        run("ip", &["link", "set", "dev", "lo", "up"]);
        let mut served = Operated::start(Start { settings: ALONE, ..Start::default() });
        assert_eq!(served.end("TERM").0, Some(0));
        let folder = &served.folder;
        run("mount", &["-t", "tmpfs", "-o", "ro", "tmpfs", "/mnt"]);
        let file = folder.path().join("conf/plustwo.toml");
        let good = fs::read_to_string(&file).expect("it is there");
        let socket = text(&folder.path().join("admin")).to_owned();
        replace(&file, good.replace(&socket, "/mnt/admin"));
        let (code, _, said) = outcome(&mut Operated::command(folder.path(), Start::default()));
        assert!(
            code == 1 && said.contains("cannot listen on the admin socket /mnt/admin: Read-only file system"),
            "{said}"
        );
    });
}

/// The library that makes a process believe in another time.
fn libfaketime() -> Option<PathBuf> {
    need_tool("faketime")?;
    let folders = fs::read_dir("/usr/lib").expect("FHS 3.0").flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file());
    Some(found.expect("Debian's faketime comes with it"))
}

/// A clock that the test sets, for a program that is started through this.
struct Clock {
    offset: tempfile::NamedTempFile,
    through: Vec<String>,
}

impl Clock {
    fn new() -> Option<Self> {
        let library = libfaketime()?;
        let offset = tempfile::NamedTempFile::new().expect("a temporary file");
        let through = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", text(&library)),
            format!("FAKETIME_TIMESTAMP_FILE={}", text(offset.path())),
            "FAKETIME_NO_CACHE=1".to_owned(),
            // Setting a machine's clock changes neither the clock that only ever runs nor the times of files.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        let clock = Self { offset, through };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it so many days (`-2d`) from what it is.
    fn set(&self, offset: &str) {
        fs::write(self.offset.path(), format!("{offset}\n")).expect("written");
    }

    fn through(&self) -> Vec<&str> {
        self.through.iter().map(String::as_str).collect()
    }
}

/// The day that the last event of the log has.
fn day_of_the_log(program: &Program) -> u64 {
    let said = program.said();
    let line = said.lines().rfind(|line| line.contains(" INFO ")).expect("there are events");
    let date = line.split('T').next().expect("a time");
    let output = Command::new("date").args(["--utc", "--date", date, "+%s"]).output().expect("date is there");
    String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("seconds") / 86_400
}

#[test]
fn a_clock_that_jumps_two_days_costs_no_answer_and_no_lifetime() {
    let Some(clock) = Clock::new() else { return };
    let upstream = answering(&["www.public.example. 300 IN A 192.0.2.2", "other.public.example. 300 IN A 192.0.2.3"]);
    let settings = with_cache(&upstream, "replies");
    let through = clock.through();
    let start = Start { through: &through, settings: &settings, watch: true, ..Start::default() };
    let mut served = Operated::start(start);
    assert_eq!(address(served.door, "www.public.example").0, "192.0.2.2");
    let today = day_of_the_log(&served.program);
    let age = |served: &Operated| {
        let ready: serde_json::Value = serde_json::from_str(&served.ask("GET", "/readyz")).expect("JSON");
        let source =
            ["age_seconds", "last_attempt_seconds"].map(|key| ready["source"][key].as_f64().expect("a number"));
        source.into_iter().fold(served.metric("plustwo_generation_age_seconds"), f64::max)
    };
    // Whatever is not answered from the cache now is not answered.
    upstream.behave(Behaviour::Silent);
    served.under_queries(|| {
        for (offset, number) in [("-2d", 2), ("+2d", 3), ("+0", 4)] {
            clock.set(offset);
            // What is kept lives as long as it would have.
            let (address, ttl, error) = address(served.door, "www.public.example");
            assert_eq!((address.as_str(), error), ("192.0.2.2", None), "{offset}");
            assert!((200..=300).contains(&ttl), "{offset}: {ttl}");
            assert!(age(&served) < 3600.0, "{offset}: {}", age(&served));
            // Edits are seen, by signal and without.
            replace(&served.at("zone"), zone(number));
            served.answers(number);
            replace(&served.at("zone"), zone(number + 10));
            served.program.signal("HUP");
            served.answers(number + 10);
        }
    });
    clock.set("-2d");
    served.program.signal("HUP");
    wait_until("the log has the new date", || day_of_the_log(&served.program) + 2 <= today + 1);

    // Saved now, loaded two days ago: how old it is cannot be known, so it is told as stale, while nobody answers.
    clock.set("+0");
    assert_eq!(served.end("TERM").0, Some(0));
    clock.set("-2d");
    served = served.restart(start);
    served.says("cache loaded");
    upstream.behave(Behaviour::Silent);
    assert_eq!(address(served.door, "www.public.example"), ("192.0.2.2".to_owned(), 30, Some(STALE_ANSWER)));
    upstream.behave(Behaviour::Answers);

    // Saved two days ago, loaded now: beyond what may be told as stale.
    assert_eq!(served.end("TERM").0, Some(0));
    clock.set("+2d");
    served = served.restart(start);
    let said = served.says("cache loaded");
    assert!(said.contains("replies=0") && said.contains("dropped="), "{said}");
    assert_eq!((served.answer(), &*address(served.door, "www.public.example").0), (Some(14), "192.0.2.2"));
}
