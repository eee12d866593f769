//! Two programs that forward to each other: the first says so at once, and nothing storms between them.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use support::alone::alone;
use support::ask::{self, Question};
use support::bars::{ADDRESS, LOCAL_ANSWER_MAX, OWN_ADDRESS, answers, median, upstream_address};
use support::binary::{Program, plustwo};
use support::netns::{DAEMON, Network};
use support::raw;
use support::script::Scripted;
use support::served::{Served, forwarding_to};

/// A question that goes in a circle has its SERVFAIL within this.
const LOOP_MAX: Duration = Duration::from_secs(1);
/// Queries between the two for one question, on both ways together: once round, and a failure is asked for once more
/// by either, with room for a probe.
const QUERIES_PER_QUESTION_MAX: u64 = 8;
/// Questions that are asked.
const QUESTIONS: u64 = 20;

/// A second program outside, which forwards to the first one; its folder goes with it.
fn serve_outside(door: SocketAddr, target: SocketAddr) -> (Program, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plustwo.toml");
    let text = forwarding_to(&[target]).replace("@DOOR@", &door.to_string());
    std::fs::write(&path, text).expect("a file can be written");
    let program = Program::start(plustwo().args(["run", "--config"]).arg(path));
    assert!(program.wait_for("serving generation 1").is_some(), "{}", program.said());
    (program, folder)
}

#[test]
fn two_that_forward_to_each_other() {
    alone("two_that_forward_to_each_other", || {
        let network = Network::new().expect("a network");
        let (inner, outer) = (SocketAddr::new(DAEMON, 53), upstream_address(0));
        // The inner one has a second door, on the link to its upstreams, and that is where the outer one asks.
        let text = forwarding_to(&[outer]).replace("[\"@DOOR@\"]", &format!("[\"@DOOR@\", \"{inner}\"]"));
        let served = Served::inside(&network, &text);
        let (other, _folder) = serve_outside(outer, inner);
        let before = network.queries().expect("counters");
        for number in 0..QUESTIONS {
            let reply = served.ask(&format!("n{number}.public.example"));
            assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
            assert!(reply.took < LOOP_MAX, "{number}: {:?}", reply.took);
        }
        let after = network.queries().expect("counters");
        let queries = (after.0 - before.0) + (after.1 - before.1);
        println!("{queries} queries for {QUESTIONS} questions");
        assert!(queries <= QUERIES_PER_QUESTION_MAX * QUESTIONS, "{queries} for {QUESTIONS} questions");
        // One of the two logs says what goes round, and by which way.
        let said = served.program.said() + &other.said();
        let line = said.lines().find(|line| line.contains("WARN") && line.to_lowercase().contains("loop"));
        let line = line.unwrap_or_else(|| panic!("nobody is told of a loop:\n{said}"));
        assert!(line.contains(&outer.ip().to_string()) || line.contains(&inner.ip().to_string()), "{line}");
        // And no line for each question.
        let lines = said.lines().filter(|line| line.to_lowercase().contains("loop")).count();
        assert!(lines <= 6, "{lines} lines about loops:\n{said}");
        let own = (0..20).map(|_| {
            let reply = served.ask("www.corp.example");
            assert!(reply.is(OWN_ADDRESS), "{reply:?}");
            reply.took
        });
        assert!(median(own) < LOCAL_ANSWER_MAX);
    });
}

/// The same where the other one asks from an address that is nobody's target: it is noticed all the same, and does not
/// storm.
#[test]
fn a_loop_over_another_address() {
    alone("a_loop_over_another_address", || {
        let network = Network::new().expect("a network");
        let outer = upstream_address(0);
        let served = Served::inside(&network, &forwarding_to(&[outer]));
        // The outer one asks the door of the clients, and so from the clients' link.
        let (other, _folder) = serve_outside(outer, served.door);
        let before = network.queries().expect("counters");
        for number in 0..3 {
            let reply = served.ask(&format!("n{number}.public.example"));
            assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
            assert!(reply.took < Duration::from_millis(4_500), "{number}: {:?}", reply.took);
        }
        let after = network.queries().expect("counters");
        println!("{} queries for 3 questions", after.0 - before.0);
        assert!(after.0 - before.0 <= 3 * 16, "{} queries for 3 questions", after.0 - before.0);
        let told = || (served.program.said() + &other.said()).to_lowercase().contains("loop");
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !told() {
            assert!(std::time::Instant::now() < until, "nobody is told of a loop:\n{}", served.program.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

/// Asks the hub's door of the example world.
fn ask_the_hub(name: &str) {
    let door = SocketAddr::from(([127, 0, 0, 12], 5300));
    let query = Question::new(name, "A").octets(rand::random());
    let reply = ask::over_udp(IpAddr::V4(Ipv4Addr::LOCALHOST), door, &query).expect("a reply");
    assert_eq!(raw::rdatas(&reply, name, 1), [ADDRESS.to_vec()], "{name}");
}

/// Loops are looked for at start and after a reload, by asking targets. Those of the example world belong to nobody, or to
/// somebody who was not asked.
#[test]
fn nobody_is_asked_because_of_the_example_world() {
    alone("nobody_is_asked_because_of_the_example_world", || {
        let ip =
            |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().expect("ip is there").success());
        ip(&["link", "set", "dev", "lo", "up"]);
        let targets = [([192, 168, 1, 10], 53), ([192, 168, 1, 11], 5353)].map(SocketAddr::from);
        let office = targets.map(|target| {
            ip(&["address", "add", &format!("{}/32", target.ip()), "dev", "lo"]);
            Scripted::at(target, answers)
        });
        let program = Program::start(&mut plustwo());
        let said = program.wait_for("serving generation 1");
        assert!(said.is_some(), "{}", program.said());
        // Whatever start and reload have sent arrives before what they send for a client, on every lane.
        let names = |label: &str| (0..16).map(|number| format!("{label}{number}.corp.example.com")).collect::<Vec<_>>();
        let mut expected = names("first");
        expected.iter().for_each(|name| ask_the_hub(name));
        program.signal("HUP");
        assert!(program.wait_for("reloaded generation=2").is_some(), "{}", program.said());
        let after = names("after");
        after.iter().for_each(|name| ask_the_hub(name));
        expected.extend(after);
        let asked: Vec<String> = office.iter().flat_map(Scripted::asked).map(|asked| asked.name()).collect();
        assert!(asked.iter().all(|name| expected.contains(name)), "{asked:?}");
        assert!(expected.iter().all(|name| asked.contains(name)), "{asked:?}");
    });
}
