//! A restart during an outage, with the real program: what was known before is answered from `[cache] file`.

mod support;

use hickory_proto::op::{Message, ResponseCode};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{Program, free_port, plustwo};
use support::case::extended_error;
use support::upstream::{Behaviour, Upstream};
use support::world::answering;

/// A user that is not the one who runs the tests.
const NOBODY: u32 = 65_534;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How often another port is tried when somebody took it.
const PORT_TRIES: usize = 8;
/// Extended errors of RFC 8914.
const STALE_ANSWER: u16 = 3;

/// A configuration whose replies are kept in a file beside it.
struct Site {
    folder: tempfile::TempDir,
    /// The file, from the folder.
    name: &'static str,
    door: SocketAddr,
    /// Asked for names below `rule.example`.
    by_rule: Upstream,
    /// Asked for all others.
    otherwise: Upstream,
}

impl Site {
    fn new() -> Self {
        let by_rule = answering(&["www.rule.example. 300 IN A 192.0.2.1"]);
        let otherwise = answering(&[
            "www.public.example. 300 IN A 192.0.2.2",
            "short.public.example. 1 IN A 192.0.2.3",
            "public.example. 300 IN SOA ns.public.example. root.public.example. 1 7200 900 1209600 300",
        ]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, name: "replies", door: free_port(LOOPBACK), by_rule, otherwise }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Starts the daemon; the rule has this target.
    fn start(&mut self, rule_target: SocketAddr) -> Program {
        for _ in 0..PORT_TRIES {
            let path = self.folder.path().join("plustwo.toml");
            let (name, door, upstream) = (self.name, self.door, self.otherwise.address());
            let text = format!(
                "version = 1\nregion = \"us-west-2\"\n\
                 [upstream]\ntargets = [\"{upstream}\"]\n\
                 [cache]\nfile = \"{name}\"\n\
                 [[vpc]]\nid = \"vpc-blue\"\ncidrs = [\"10.0.0.0/16\"]\nlisten = [\"{door}\"]\n\
                 [[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"rule.example\"\naction = \"forward\"\n\
                 targets = [\"{rule_target}\"]\nvpcs = [\"vpc-blue\"]\n"
            );
            fs::write(&path, text).expect("a file can be written");
            let program = Program::start(plustwo().args(["run", "--config"]).arg(path));
            if program.wait_for("serving generation 1").is_some() {
                return program;
            }
            assert!(program.said().contains("use"), "it does not serve:\n{}", program.said());
            self.door = free_port(LOOPBACK);
        }
        panic!("no free port");
    }

    fn ask(&self, name: &str) -> Message {
        let query = Question::new(name, "A").octets(77);
        let reply = ask::over_udp(LOOPBACK, self.door, &query).unwrap_or_else(|error| panic!("{name}: {error}"));
        Message::from_vec(&reply).expect("hickory-proto reads it")
    }

    /// The only address of a name, its TTL, and the extended error.
    fn address(&self, name: &str) -> (String, u32, Option<u16>) {
        let reply = self.ask(name);
        let [record] = &reply.answers[..] else { panic!("{name}: {reply}") };
        (record.data.to_string(), record.ttl, extended_error(&reply))
    }
}

/// Ends it as systemd does; all that it said.
fn stop(mut program: Program) -> String {
    program.signal("TERM");
    let (status, said) = program.wait();
    assert!(status.success(), "{said}");
    said
}

#[test]
fn a_restart_during_an_outage_still_answers() {
    let mut site = Site::new();
    let by_rule = site.by_rule.address();
    let program = site.start(by_rule);
    let began = Instant::now();
    assert_eq!(site.address("www.public.example"), ("192.0.2.2".to_owned(), 300, None));
    assert_eq!(site.address("short.public.example").2, None);
    assert_eq!(site.address("www.rule.example").0, "192.0.2.1");
    assert_eq!(site.ask("gone.public.example").metadata.response_code, ResponseCode::NXDomain);
    let said = stop(program);
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let metadata = fs::metadata(site.file()).expect("it was saved");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(site.folder.path()).expect("a folder").count(), 2, "nothing else is left behind");

    // Nobody answers any more, and the TTL of one second is over: there is no event to wait for.
    site.otherwise.behave(Behaviour::Silent);
    site.by_rule.behave(Behaviour::Silent);
    std::thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
    let program = site.start(by_rule);
    assert!(program.said().contains("cache loaded"), "{}", program.said());
    let (address, ttl, error) = site.address("www.public.example");
    assert_eq!((address.as_str(), error), ("192.0.2.2", None));
    assert!((200..=299).contains(&ttl), "a second is over at least: {ttl}");
    assert_eq!(site.address("short.public.example"), ("192.0.2.3".to_owned(), 30, Some(STALE_ANSWER)));
    assert_eq!(site.address("www.rule.example").0, "192.0.2.1");
    let denied = site.ask("gone.public.example");
    assert_eq!((denied.metadata.response_code, extended_error(&denied)), (ResponseCode::NXDomain, None));
    assert_eq!(site.ask("unknown.public.example").metadata.response_code, ResponseCode::ServFail);
    stop(program);

    // The rule has another target now: what the old one said is not used.
    let other = Upstream::start(Vec::new(), Behaviour::Silent);
    let program = site.start(other.address());
    assert_eq!(site.ask("www.rule.example").metadata.response_code, ResponseCode::ServFail);
    assert_eq!(site.address("www.public.example").0, "192.0.2.2");
    stop(program);
}

#[test]
fn a_file_that_is_damaged_keeps_nobody_from_starting() {
    let mut site = Site::new();
    let by_rule = site.by_rule.address();
    let program = site.start(by_rule);
    site.address("www.public.example");
    site.address("www.rule.example");
    stop(program);
    let whole = fs::read(site.file()).expect("it was saved");

    for (octets, said) in [
        (b"".as_slice(), "the saved cache was not loaded: it holds no saved cache"),
        (b"plustwo.toml or something else, anything", "it holds no saved cache"),
        (&whole[..whole.len() - 1], "the rest of the saved cache was not loaded: it ends in the middle"),
        (&whole[..30], "it ends in the middle"),
    ] {
        fs::write(site.file(), octets).expect("a file can be written");
        let program = site.start(by_rule);
        assert_eq!(program.said().matches(said).count(), 1, "{}", program.said());
        assert_eq!(site.address("www.public.example").0, "192.0.2.2");
        stop(program);
        let metadata = fs::metadata(site.file()).expect("it was saved again");
        assert_eq!((metadata.mode() & 0o777, metadata.len() > 28), (0o600, true));
    }

    // Whoever may write it decides what is answered.
    fs::write(site.file(), &whole).expect("a file can be written");
    fs::set_permissions(site.file(), fs::Permissions::from_mode(0o620)).expect("it is ours");
    let program = site.start(by_rule);
    assert!(program.said().contains("others than its owner may write it"), "{}", program.said());
    stop(program);
    fs::write(site.file(), &whole).expect("a file can be written");
    fs::set_permissions(site.file(), fs::Permissions::from_mode(0o600)).expect("it is ours");
    // Only who may do everything can give a file away.
    if chown(site.file(), Some(NOBODY), None).is_ok() {
        let program = site.start(by_rule);
        assert!(program.said().contains("it belongs to another user"), "{}", program.said());
        stop(program);
    }

    // A folder that is not there: said, and served on.
    fs::remove_file(site.file()).expect("it was saved");
    fs::create_dir(site.file()).expect("a folder can be made");
    let program = site.start(by_rule);
    assert!(program.said().contains("it is no file"), "{}", program.said());
    assert_eq!(site.address("www.public.example").0, "192.0.2.2");
    let said = stop(program);
    assert!(said.contains("the cache was not saved"), "{said}");
    assert!(!fs::exists(site.folder.path().join("replies.new")).expect("a folder"), "nothing is left behind");
}

#[test]
fn a_file_that_cannot_be_written_is_said_at_the_start() {
    let mut site = Site { name: "gone/replies", ..Site::new() };
    let by_rule = site.by_rule.address();
    let program = site.start(by_rule);
    assert_eq!(program.said().matches("the cache cannot be saved: No such file").count(), 1, "{}", program.said());
    assert_eq!(site.address("www.public.example").0, "192.0.2.2", "it serves all the same");
    let folder = site.folder.path().join("gone");
    fs::create_dir(&folder).expect("a folder can be made");
    // Somebody makes the folder meanwhile: that is enough.
    assert!(!stop(program).contains("was not saved"));
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
    let program = site.start(by_rule);
    assert!(!program.said().contains("cannot be saved"), "{}", program.said());
    stop(program);
}
