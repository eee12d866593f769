//! The real program behind a door, as tests of faults see it: replies with the time they took, sockets and memory.

use super::ask::{self, Question};
use super::binary::{Program, free_port, plustwo};
use super::case::rcode;
use super::netns::{self, Network};
use super::raw;
use hickory_proto::op::Message;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How often another port is tried when somebody took it.
const PORT_TRIES: usize = 8;
/// Where clients ask from where there is no network of the test's own.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// `plustwo` running.
pub(crate) struct Served {
    /// The program.
    pub(crate) program: Program,
    /// Its first door.
    pub(crate) door: SocketAddr,
    /// Where clients ask from.
    pub(crate) client: IpAddr,
    folder: tempfile::TempDir,
}

impl Served {
    /// Serves a configuration on the loopback; `@DOOR@` in it is the door, on a free port.
    pub(crate) fn on_loopback(text: &str) -> Self {
        Self::on_loopback_beside(text, &[])
    }

    /// The same, with further files in the configuration's folder: name and text of each.
    pub(crate) fn on_loopback_beside(text: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        let mut last = String::new();
        for _ in 0..PORT_TRIES {
            let door = free_port(LOOPBACK);
            let mut command = plustwo();
            let program = Program::start(command.args(["run", "--config"]).arg(write(&folder, text, door)));
            if program.wait_for(SERVING).is_some() {
                return Self { program, door, client: LOOPBACK, folder };
            }
            last = program.said();
        }
        panic!("it does not serve:\n{last}");
    }

    /// Serves a configuration inside a network of the test's own; `@DOOR@` in it is the door there.
    pub(crate) fn inside(network: &Network, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let door = SocketAddr::new(netns::DOOR, 53);
        let mut command = network.command(env!("CARGO_BIN_EXE_plustwo"));
        let program = Program::start(command.args(["run", "--config"]).arg(write(&folder, text, door)));
        assert!(program.wait_for(SERVING).is_some(), "it does not serve:\n{}", program.said());
        Self { program, door, client: netns::CLIENT, folder }
    }

    /// Ends it, as its unit does, and starts it again with what its folder holds; the door is the same.
    pub(crate) fn start_again(mut self) -> Self {
        self.program.signal("TERM");
        let (status, said) = self.program.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        let mut command = plustwo();
        self.program = Program::start(command.args(["run", "--config"]).arg(self.folder.path().join(FILE)));
        assert!(self.program.wait_for(SERVING).is_some(), "it does not serve again:\n{}", self.program.said());
        self
    }

    /// Writes another configuration and has it taken up.
    pub(crate) fn reload(&self, text: &str) {
        let before = self.program.said().len();
        write(&self.folder, text, self.door);
        self.program.signal("HUP");
        let mut said = self.program.said();
        while !said[before..].contains("reload") {
            self.program.wait_for_more(said.len());
            said = self.program.said();
        }
        assert!(said[before..].contains("reloaded generation="), "it is not taken up:\n{}", &said[before..]);
    }

    /// Writes another text into a file of its folder, and has that taken up with this configuration.
    pub(crate) fn reload_beside(&self, text: &str, (name, file): (&str, &str)) {
        std::fs::write(self.folder.path().join(name), file).expect("a file can be written");
        self.reload(text);
    }

    /// Asks for the address of a name over UDP.
    pub(crate) fn ask(&self, name: &str) -> Reply {
        self.ask_for(&Question::new(name, "A"))
    }

    /// Asks a question over UDP.
    #[track_caller]
    pub(crate) fn ask_for(&self, question: &Question) -> Reply {
        let (query, began) = (question.octets(rand::random()), Instant::now());
        match ask::over_udp(self.client, self.door, &query) {
            Ok(octets) => Reply::new(octets, began.elapsed()),
            Err(error) => {
                panic!("{question:?}: no reply after {:?}: {error}\n{}", began.elapsed(), self.program.said())
            }
        }
    }

    /// Asks a question over TCP, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask_over_tcp(&self, question: &Question) -> Reply {
        let (query, began) = (question.octets(rand::random()), Instant::now());
        match ask::over_tcp(self.client, self.door, &query) {
            Ok(octets) => Reply::new(octets, began.elapsed()),
            Err(error) => panic!("{question:?}: no reply over TCP: {error}\n{}", self.program.said()),
        }
    }

    /// The path of a file in its folder.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Open descriptors of the process.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.program.id())).expect("it runs").count()
    }

    /// Resident memory of the process in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

/// The configuration's file.
const FILE: &str = "plustwo.toml";
/// What it says when its doors are open.
const SERVING: &str = "serving generation 1";

/// Writes the configuration file.
fn write(folder: &tempfile::TempDir, text: &str, door: SocketAddr) -> std::path::PathBuf {
    let path = folder.path().join(FILE);
    std::fs::write(&path, text.replace("@DOOR@", &door.to_string())).expect("a file can be written");
    path
}

/// A configuration with one private name, `www.corp.example` at 10.0.0.1, and these targets for all that is not here.
pub(crate) fn forwarding_to(targets: &[SocketAddr]) -> String {
    let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
    format!(
        "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = {targets:?}\n[[vpc]]\nid = \"vpc-0a\"\n\
         listen = [\"@DOOR@\"]\n[[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
         records = [{{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }}]\n"
    )
}

/// A rule that forwards a domain to these targets, to be put behind a configuration.
pub(crate) fn rule(number: usize, domain: &str, targets: &[SocketAddr]) -> String {
    let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
    format!(
        "[[resolver_rule]]\nid = \"rslvr-rr-{number}\"\ndomain = \"{domain}\"\naction = \"forward\"\n\
         targets = {targets:?}\nvpcs = [\"vpc-0a\"]\n"
    )
}

/// A reply and how long it took.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Its octets.
    pub(crate) octets: Vec<u8>,
    /// The same, read by hickory-proto.
    pub(crate) message: Message,
    /// From sending the query to having the reply.
    pub(crate) took: Duration,
}

impl Reply {
    fn new(octets: Vec<u8>, took: Duration) -> Self {
        let message = Message::from_vec(&octets).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
        Self { octets, message, took }
    }

    /// The rcode in words.
    pub(crate) fn rcode(&self) -> String {
        rcode(&self.message)
    }

    /// The addresses of the answer, as they came.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let answers = raw::records(&self.octets).into_iter().filter(|record| record.section == 1 && record.rtype == 1);
        answers.map(|record| <[u8; 4]>::try_from(&record.rdata[..]).expect("four octets").into()).collect()
    }

    /// The codes of its extended errors.
    pub(crate) fn extended_errors(&self) -> Vec<u16> {
        raw::extended_errors(&self.octets).into_iter().map(|(code, _)| code).collect()
    }

    /// The TTLs of the answer.
    pub(crate) fn ttls(&self) -> Vec<u32> {
        raw::records(&self.octets).iter().filter(|record| record.section == 1).map(|record| record.ttl).collect()
    }

    /// Whether it is NOERROR with this address alone.
    pub(crate) fn is(&self, address: [u8; 4]) -> bool {
        self.rcode() == "NOERROR" && self.addresses() == [Ipv4Addr::from(address)]
    }
}
