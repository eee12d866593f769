//! Edits that nobody tells the daemon of: the real program sees them, whoever makes them and however, takes up what is good,
//! keeps what it has where that is bad, and opens and closes doors without losing a query at the others.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{Program, free_port, outcome, plustwo};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The longest that anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration with these doors, and more lines at its end.
fn configuration(doors: &[SocketAddr], more: &str) -> String {
    let doors: Vec<String> = doors.iter().map(SocketAddr::to_string).collect();
    format!(
        "version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [] }}\n[[vpc]]\nid = \"vpc-0a\"\nlisten = {doors:?}\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example.com\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\n{more}"
    )
}

/// A zone in which every name has this address.
fn zone(last: u8) -> String {
    format!("www 60 A 10.0.0.{last}\ndb 60 A 10.0.1.{last}\n")
}

/// Writes a file as editors do that rename another into its place.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file can be written");
    std::fs::rename(&new, path).expect("a file can be renamed");
}

/// A folder, a daemon that serves what is in it, and its door.
struct Served {
    folder: tempfile::TempDir,
    program: Program,
    door: SocketAddr,
}

impl Served {
    /// Serves `conf/plustwo.toml` below a folder, once `write` has written it for a door.
    fn start(arguments: &[&str], write: impl Fn(&Path, SocketAddr)) -> Self {
        for _ in 0..8 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let door = free_port(LOOPBACK);
            write(folder.path(), door);
            let mut command = plustwo();
            command.args(["run", "--config"]).arg(folder.path().join("conf/plustwo.toml")).args(arguments);
            let program = Program::start(&mut command);
            if program.wait_for("serving generation 1").is_some() {
                return Self { folder, program, door };
            }
            assert!(program.said().contains("in use"), "it does not serve:\n{}", program.said());
        }
        panic!("no free port");
    }

    /// Serves a plain folder.
    fn plain() -> Self {
        Self::start(&[], |folder, door| {
            std::fs::create_dir(folder.join("conf")).expect("a folder can be made");
            std::fs::write(folder.join("conf/plustwo.toml"), configuration(&[door], "")).expect("written");
            std::fs::write(folder.join("conf/zone"), zone(1)).expect("written");
        })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("conf").join(path)
    }

    /// Waits until it has said this.
    #[track_caller]
    fn says(&self, words: &str) -> String {
        self.program.wait_for(words).unwrap_or_else(|| panic!("it ended:\n{}", self.program.said()))
    }

    /// The last octet of the address of a name.
    fn answer(&self) -> u8 {
        answer(self.door).expect("it answers")
    }

    /// Waits until this is the answer.
    #[track_caller]
    fn answers(&self, last: u8) {
        let until = Instant::now() + PATIENCE;
        while self.answer() != last {
            assert!(Instant::now() < until, "it never answers {last}:\n{}", self.program.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The last octet of the address that a door has for a name; none where it does not answer.
fn answer(door: SocketAddr) -> Option<u8> {
    let query = Question::new("www.corp.example.com", "A").octets(7);
    let reply = ask::over_udp(LOOPBACK, door, &query).ok()?;
    // The OPT record comes last, and is 11 octets long.
    (reply[3] & 15 == 0 && reply.len() > 12).then(|| reply[reply.len() - 12])
}

#[test]
fn edits_are_seen_however_they_are_made() {
    let served = Served::plain();
    assert_eq!(served.answer(), 1);
    // In place, by a rename, and the configuration too.
    std::fs::write(served.at("zone"), zone(2)).expect("written");
    let said = served.says("reloaded generation=2 ");
    assert_eq!(served.answer(), 2, "{said}");
    served.says("changed: vpc-0a: zones +0 ~1 -0 (~Z0); names +0 ~2 -0 (www.corp.example.com. db.corp.example.com.)");
    replace(&served.at("zone"), &zone(3));
    served.says("reloaded generation=3 ");
    assert_eq!(served.answer(), 3);
    let more = "[[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"x.example\"\naction = \"forward\"\n\
                targets = [\"127.0.0.9:9\"]\nvpcs = [\"vpc-0a\"]\n";
    replace(&served.at("plustwo.toml"), &configuration(&[served.door], more));
    served.says("changed: vpc-0a: rules +1 ~0 -0 (+rslvr-rr-1)");
    // A file that the zone includes, from the moment on when it does.
    std::fs::write(served.at("hosts"), "more 60 A 10.0.2.1\n").expect("written");
    replace(&served.at("zone"), &(zone(3) + "$INCLUDE hosts\n"));
    served.says("reloaded generation=5 ");
    replace(&served.at("hosts"), "more 60 A 10.0.2.2\n");
    served.says("reloaded generation=6 ");
    served.says("names +0 ~1 -0 (more.corp.example.com.)");
    replace(&served.at("zone"), &zone(3));
    served.says("reloaded generation=7 ");
    // The same octets in another file are no edit: the next reload is the one of the next edit.
    replace(&served.at("zone"), &zone(3));
    replace(&served.at("zone"), &zone(3));
    std::fs::write(served.at("other"), "x").expect("written");
    replace(&served.at("plustwo.toml"), &configuration(&[served.door], ""));
    let said = served.says("changed: vpc-0a: rules +0 ~0 -1 (-rslvr-rr-1)");
    assert!(said.contains("reloaded generation=8 "), "{said}");
    assert!(!said.contains("generation=9"), "{said}");
}

#[test]
fn a_bad_edit_keeps_the_old_one_until_it_is_mended() {
    let served = Served::plain();
    replace(&served.at("zone"), "www 60 A 10.0.0.300\n");
    let said = served.says("reload failed");
    assert!(said.contains("generation=1") && said.contains("10.0.0.300"), "{said}");
    assert_eq!(served.answer(), 1);
    std::fs::remove_file(served.at("zone")).expect("removed");
    served.says("cannot read");
    replace(&served.at("zone"), &zone(4));
    served.says("reloaded generation=2 ");
    assert_eq!(served.answer(), 4);
}

#[test]
fn the_links_of_kubernetes_are_followed() {
    let write = |folder: &Path, name: &str, door: SocketAddr, last: u8| {
        std::fs::create_dir(folder.join(name)).expect("a folder can be made");
        std::fs::write(folder.join(name).join("plustwo.toml"), configuration(&[door], "")).expect("written");
        std::fs::write(folder.join(name).join("zone"), zone(last)).expect("written");
    };
    let served = Served::start(&[], |folder, door| {
        let conf = folder.join("conf");
        std::fs::create_dir(&conf).expect("a folder can be made");
        write(&conf, "..1", door, 1);
        symlink("..1", conf.join("..data")).expect("a link can be made");
        for file in ["plustwo.toml", "zone"] {
            symlink(format!("..data/{file}"), conf.join(file)).expect("a link can be made");
        }
    });
    for (round, last) in [("..2", 2), ("..3", 3)] {
        write(&served.at(""), round, served.door, last);
        symlink(round, served.at("..tmp")).expect("a link can be made");
        std::fs::rename(served.at("..tmp"), served.at("..data")).expect("a link can be renamed");
        served.answers(last);
        std::fs::remove_dir_all(served.at(&format!("..{}", last - 1))).expect("removed");
    }
}

#[test]
fn a_folder_that_is_renamed_and_comes_back_is_seen() {
    let served = Served::plain();
    let away = served.folder.path().join("away");
    std::fs::rename(served.at(""), &away).expect("renamed");
    served.says("reload failed");
    assert_eq!(served.answer(), 1, "what was good is served on");
    std::fs::write(away.join("zone"), zone(2)).expect("written");
    std::fs::rename(&away, served.at("")).expect("renamed");
    served.says("reloaded generation=2 ");
    assert_eq!(served.answer(), 2);
    // And then like any other.
    replace(&served.at("zone"), &zone(3));
    served.answers(3);
}

#[test]
fn watching_can_be_switched_off_and_on() {
    let served = Served::start(&[], |folder, door| {
        std::fs::create_dir(folder.join("conf")).expect("a folder can be made");
        let text = configuration(&[door], "[server]\nwatch = false\n");
        std::fs::write(folder.join("conf/plustwo.toml"), text).expect("written");
        std::fs::write(folder.join("conf/zone"), zone(1)).expect("written");
    });
    replace(&served.at("zone"), &zone(2));
    replace(&served.at("plustwo.toml"), &configuration(&[served.door], ""));
    // The one that is told is the only one that happens.
    served.program.signal("HUP");
    served.says("reloaded generation=2 ");
    assert_eq!(served.answer(), 2);
    replace(&served.at("zone"), &zone(3));
    served.says("reloaded generation=3 ");
    assert_eq!(served.answer(), 3);
}

#[test]
fn doors_open_and_close_beside_others_under_load() {
    let served = Served::plain();
    let first = served.door;
    let (stop, asked) = (AtomicBool::new(false), std::sync::Mutex::new(0u64));
    std::thread::scope(|scope| {
        // Clients of the door that stays, over UDP and over one TCP connection: nothing is lost.
        scope.spawn(|| {
            let socket = ask::udp_client(LOOPBACK, first);
            while !stop.load(Ordering::Relaxed) {
                socket.send(&Question::new("www.corp.example.com", "A").octets(9)).expect("sent");
                ask::receive(&socket).expect("no query is lost");
                *asked.lock().expect("not poisoned") += 1;
            }
        });
        scope.spawn(|| {
            let mut stream = ask::tcp_client(LOOPBACK, first).expect("the door is open");
            while !stop.load(Ordering::Relaxed) {
                ask::send_framed(&mut stream, &Question::new("www.corp.example.com", "A").octets(9)).expect("sent");
                ask::receive_framed(&mut stream).expect("the connection stays");
                // One that is idle for ten seconds would be closed; one that never rests tells no more.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let work = || {
            let (second, third) = (free_port(LOOPBACK), free_port(LOOPBACK));
            let mut generation = 1;
            let mut set = |doors: &[SocketAddr], words: &str| {
                generation += 1;
                replace(&served.at("plustwo.toml"), &configuration(doors, ""));
                let said = served.says(&format!("reloaded generation={generation} "));
                let line = said.lines().rfind(|line| line.contains("reloaded generation")).expect("just said");
                assert!(line.contains(words), "{words}: {line}");
            };
            set(&[first, second], "doors_opened=1 doors_closed=0");
            assert_eq!(answer(second), Some(1), "the new door answers");
            let mut stream = ask::tcp_client(LOOPBACK, second).expect("over TCP too");
            set(&[third, first], "doors_opened=1 doors_closed=1");
            assert_eq!(answer(third), Some(1));
            let ended = ask::receive_framed(&mut stream);
            assert!(ended.is_err(), "a connection to a door that closes ends");
            assert!(ask::tcp_client(LOOPBACK, second).is_err(), "nobody listens any more");
            // The door that has just closed opens again, and one that stayed moves in the file.
            set(&[second, first, third], "doors_opened=1 doors_closed=0");
            assert_eq!((answer(second), answer(third)), (Some(1), Some(1)));
            ask::tcp_client(LOOPBACK, second).expect("over TCP too");
            set(&[first], "doors_opened=0 doors_closed=2");
        };
        // The clients are told to stop also where this fails, or nobody would hear of it.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(*asked.lock().expect("not poisoned") > 100);
    // The sockets of closed doors are let go.
    let sockets = || {
        let folder = format!("/proc/{}/fd", served.program.id());
        let links = std::fs::read_dir(folder).expect("it runs").flatten();
        links
            .filter_map(|link| std::fs::read_link(link.path()).ok())
            .filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let before = sockets();
    let until = Instant::now() + PATIENCE;
    while sockets() >= before {
        assert!(Instant::now() < until, "{before} sockets stay open:\n{}", served.program.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(answer(first), Some(1));
}

#[test]
fn the_last_good_configuration_is_served_only_if_asked_for_and_loudly() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let state_directory = state.path().to_str().expect("UTF-8").to_owned();
    let more = "[admin]\nsocket = \"admin\"\n";
    let mut served = Served::start(&["--state-directory", &state_directory], |folder, door| {
        std::fs::create_dir(folder.join("conf")).expect("a folder can be made");
        std::fs::write(folder.join("conf/plustwo.toml"), configuration(&[door], more)).expect("written");
        std::fs::write(folder.join("conf/zone"), zone(1)).expect("written");
    });
    replace(&served.at("zone"), &zone(2));
    served.says("reloaded generation=2 ");
    replace(&served.at("zone"), "no zone\n");
    served.says("reload failed");
    served.program.signal("TERM");
    let (status, said) = served.program.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    let run = |arguments: &[&str]| -> Command {
        let mut command = plustwo();
        command.args(["run", "--config"]).arg(served.at("plustwo.toml")).args(arguments);
        // systemd's way of saying where it is.
        command.env("STATE_DIRECTORY", &state_directory);
        command
    };
    let (code, _, said) = outcome(&mut run(&[]));
    assert_eq!(code, 1, "nobody asked for it: {said}");
    let (code, _, said) = outcome(run(&["--last-good"]).env_remove("STATE_DIRECTORY"));
    assert!(code == 1 && said.contains("no state directory"), "{said}");
    let program = Program::start(&mut run(&["--last-good"]));
    let said = program.wait_for("serving generation 1").unwrap_or_else(|| panic!("{}", program.said()));
    assert!(said.contains("is NOT served. The last good configuration is served instead."), "{said}");
    assert!(said.contains("is not a type") && said.contains("ERROR") && said.contains("LAST GOOD"), "{said}");
    assert_eq!(answer(served.door), Some(2));
    let scrape = || {
        let mut stream = UnixStream::connect(served.at("admin")).expect("the socket is there");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it takes the request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("UTF-8");
        reply
    };
    assert!(scrape().contains("\nplustwo_last_reload_successful 0\n"), "whoever looks at metrics must see it too");
    // The file is watched all the same.
    replace(&served.at("zone"), &zone(3));
    assert!(program.wait_for("reloaded generation=2 ").is_some());
    assert_eq!(answer(served.door), Some(3));
    assert!(scrape().contains("\nplustwo_last_reload_successful 1\n"));
}
