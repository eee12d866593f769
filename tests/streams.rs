//! Targets over streams that others have written: unbound, NSD and dnsdist, over TCP, TLS and HTTPS.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use plustwo::dns::{Target, TargetProtocol};
use plustwo::forward::streams::{StreamFailure, StreamSettings, StreamTargets, TlsRoots};
use support::ask::{self, Question};
use support::binary::{Program, free_port, plustwo};
use support::certificates::authority;
use support::need_tool;
use tokio::runtime::Runtime;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name on the peers' certificate.
const NAME: &str = "dns.example";
/// How often other ports are tried when somebody took one.
const PORT_TRIES: usize = 8;
/// More questions than two connections take at a time.
const MANY: u16 = 300;

/// A peer of another make, and how it is started again.
struct Peer {
    program: Option<Program>,
    doors: Doors,
    command: Box<Starting>,
}

/// Writes a configuration; the command to run, and what it prints when it is ready.
type Starting = dyn Fn(&Doors) -> (Command, &'static str);

/// Where a peer listens.
#[derive(Clone, Copy, Debug)]
struct Doors {
    plain: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
}

impl Peer {
    /// Starts it.
    fn start(number: u8, command: impl Fn(&Doors) -> (Command, &'static str) + 'static) -> Self {
        // An address of its own: nobody's clients take a port there between choosing and opening.
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 8, number));
        let mut last = String::new();
        for _ in 0..PORT_TRIES {
            let doors = Doors { plain: free_port(address), tls: free_port(address), https: free_port(address) };
            let (mut first, ready) = command(&doors);
            let program = Program::start(&mut first);
            if program.wait_for(ready).is_some() {
                return Self { program: Some(program), doors, command: Box::new(command) };
            }
            last = program.said();
        }
        panic!("it does not start:\n{last}");
    }

    /// Ends it without a farewell, and starts it again at the same place.
    fn restart(&mut self) {
        drop(self.program.take());
        let until = Instant::now() + PATIENCE;
        loop {
            let (mut command, ready) = (self.command)(&self.doors);
            let program = Program::start(&mut command);
            if program.wait_for(ready).is_some() {
                self.program = Some(program);
                return;
            }
            assert!(Instant::now() < until, "it does not start again:\n{}", program.said());
        }
    }
}

/// An authority, whose certificate for [`NAME`] is in this folder.
fn roots(folder: &Path) -> TlsRoots {
    TlsRoots::new([], [&*authority(folder, NAME)]).expect("it can be read")
}

/// Targets on a runtime of their own.
struct Net {
    targets: StreamTargets,
    _runtime: Runtime,
}

impl Net {
    fn new(roots: TlsRoots) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let settings = StreamSettings { roots, bootstrap: Vec::new() };
        Self { targets: StreamTargets::new(settings, runtime.handle().clone()), _runtime: runtime }
    }

    /// Asks, without waiting.
    fn start(&self, target: &Target, query: Vec<u8>) -> Receiver<Result<Vec<u8>, StreamFailure>> {
        let (sender, receiver) = mpsc::channel();
        self.targets.ask(target, query, move |reply| drop(sender.send(reply)));
        receiver
    }

    /// Asks for addresses until there is a reply.
    #[track_caller]
    fn ask(&self, target: &Target, id: u16, name: &str) -> Message {
        let until = Instant::now() + PATIENCE;
        loop {
            let query = query(id, name);
            match self.start(target, query.clone()).recv_timeout(PATIENCE).expect("reply is called") {
                Ok(reply) => return judge(&query, &reply),
                Err(failure) => assert!(Instant::now() < until, "{target}: {failure}"),
            }
        }
    }
}

/// A query for the addresses of a name, as an exchange writes it.
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.edns = Some(edns);
    message.to_vec().expect("it can be written")
}

/// What hickory reads of a reply to this query.
#[track_caller]
fn judge(query: &[u8], reply: &[u8]) -> Message {
    let asked = Message::from_vec(query).expect("a message");
    let reply = Message::from_vec(reply).expect("a message");
    assert_eq!((reply.metadata.id, &reply.queries), (asked.metadata.id, &asked.queries));
    reply
}

/// The targets that a peer is, over everything that it speaks.
fn targets(doors: &Doors, protocols: &[TargetProtocol]) -> Vec<Target> {
    let target = |protocol: &TargetProtocol| match protocol {
        TargetProtocol::Dot => {
            Target { protocol: TargetProtocol::Dot, server_name: Some(NAME.into()), ..Target::do53(doors.tls) }
        }
        TargetProtocol::Doh { .. } => {
            Target { protocol: protocol.clone(), server_name: Some(NAME.into()), ..Target::do53(doors.https) }
        }
        _ => Target { protocol: TargetProtocol::Tcp, ..Target::do53(doors.plain) },
    };
    protocols.iter().map(target).collect()
}

fn doh() -> TargetProtocol {
    TargetProtocol::Doh { path: "/dns-query".into() }
}

/// Asks a peer that knows `www`, `large` (120 addresses) and no other name of `public.example`.
fn examine(mut peer: Peer, roots: &TlsRoots, protocols: &[TargetProtocol]) {
    let net = Net::new(roots.clone());
    for target in targets(&peer.doors, protocols) {
        assert_eq!(net.ask(&target, 1, "www.public.example.").answers.len(), 1, "{target}");
        let opened = net.targets.counters().opened;
        assert_eq!(net.ask(&target, 2, "large.public.example.").answers.len(), 120);
        assert_eq!(net.ask(&target, 3, "missing.public.example.").metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(net.targets.counters().opened, opened, "three questions, one connection");
        let names = ["www", "large", "missing"].map(|label| format!("{label}.public.example."));
        let asked: Vec<_> = (0..MANY).map(|id| query(id, &names[usize::from(id) % names.len()])).collect();
        let waiting: Vec<_> = asked.iter().map(|query| net.start(&target, query.clone())).collect();
        for (query, waiting) in asked.iter().zip(waiting) {
            let reply = waiting.recv_timeout(PATIENCE).expect("reply is called");
            judge(query, &reply.unwrap_or_else(|failure| panic!("{target}: {failure}")));
        }
        peer.restart();
        assert_eq!(net.ask(&target, 4, "www.public.example.").answers.len(), 1);
    }
    let counters = net.targets.counters();
    assert_eq!((counters.strays, counters.certificates), (0, 0), "{counters:?}");
    // And nobody is asked who is not who it should be.
    let elsewhere = targets(&peer.doors, protocols).into_iter().filter(Target::is_encrypted);
    for target in elsewhere.map(|target| Target { server_name: Some("else.example".into()), ..target }) {
        let answer = net.start(&target, query(5, "www.public.example.")).recv_timeout(PATIENCE);
        assert!(matches!(answer, Ok(Err(StreamFailure::Certificate(_)))), "{target}: {answer:?}");
    }
}

/// Debian's unbound, with the certificate in this folder; it also knows where it is itself.
fn unbound(number: u8, tool: PathBuf, folder: &Path) -> Peer {
    let here = folder.to_owned();
    let large: String =
        (1..=120).map(|last| format!(" local-data: \"large.public.example. 60 IN A 10.8.0.{last}\"\n")).collect();
    Peer::start(number, move |doors| {
        let text = format!(
            "server:\n interface: {0}@{1}\n interface: {0}@{2}\n interface: {0}@{3}\n tls-port: {2}\n https-port: {3}\n \
             tls-service-key: \"{4}/key.pem\"\n tls-service-pem: \"{4}/certificate.pem\"\n chroot: \"\"\n username: \"\"\n \
             pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n do-daemonize: no\n verbosity: 1\n num-threads: 1\n \
             module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n do-ip6: no\n \
             incoming-num-tcp: 100\n local-zone: \"public.example.\" static\n \
             local-data: \"public.example. 900 IN SOA ns.public.example. root.public.example. 1 7200 900 1209600 60\"\n \
             local-zone: \"{NAME}.\" static\n local-data: \"{NAME}. 60 IN A {0}\"\n \
             local-data: \"www.public.example. 300 IN A 198.51.100.80\"\n{large}",
            doors.plain.ip(),
            doors.plain.port(),
            doors.tls.port(),
            doors.https.port(),
            here.display()
        );
        std::fs::write(here.join("unbound.conf"), text).expect("a file can be written");
        let mut command = Command::new(&tool);
        command.arg("-d").arg("-c").arg(here.join("unbound.conf"));
        (command, "start of service")
    })
}

#[test]
fn unbound_over_tcp_tls_and_https() {
    let Some(tool) = need_tool("unbound") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = roots(folder.path());
    let peer = unbound(1, tool, folder.path());
    examine(peer, &roots, &[TargetProtocol::Tcp, TargetProtocol::Dot, doh()]);
}

/// The program with one upstream target, on an address of its own.
fn serve(folder: &Path, number: u8, upstream: &str) -> (Program, SocketAddr) {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 8, number));
    let mut last = String::new();
    for _ in 0..PORT_TRIES {
        let door = free_port(address);
        let file = folder.join(format!("plustwo-{number}.toml"));
        let text = format!(
            "version = 1\n[upstream]\n{upstream}\n[[vpc]]\nid = \"vpc-0a\"\nregion = \"us-east-1\"\n\
             cidrs = [\"127.0.0.0/8\"]\nlisten = [\"{door}\"]\n"
        );
        std::fs::write(&file, text).expect("a file can be written");
        let program = Program::start(plustwo().args(["run", "--config"]).arg(file));
        if program.wait_for("serving generation 1").is_some() {
            return (program, door);
        }
        last = program.said();
    }
    panic!("it does not start:\n{last}");
}

#[test]
fn the_program_asks_encrypted_targets_by_address_and_by_name() {
    let Some(tool) = need_tool("unbound") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    authority(folder.path(), NAME);
    let peer = unbound(4, tool, folder.path());
    let Doors { plain, tls, https } = peer.doors;
    let settings = format!("tls_roots = \"authority.pem\"\nbootstrap = [\"{plain}\"]");
    let targets = [
        format!("tcp://{plain}"),
        format!("tls://{tls}#{NAME}"),
        format!("tls://{NAME}:{}", tls.port()),
        format!("https://{NAME}:{}/dns-query", https.port()),
    ];
    for (number, target) in (10..).zip(&targets) {
        let (program, door) = serve(folder.path(), number, &format!("targets = [\"{target}\"]\n{settings}"));
        for (name, answers) in [("www.public.example", 1), ("large.public.example", 120)] {
            let query = Question::new(name, "A").octets(7);
            let reply = ask::over_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST), door, &query).expect("a reply");
            assert_eq!(judge(&query, &reply).answers.len(), answers, "{target}: {name}\n{}", program.said());
        }
    }
    // Whoever cannot show a certificate for the name is asked nothing, and the operator reads why.
    let (program, door) = serve(folder.path(), 20, &format!("targets = [\"tls://{tls}#else.example\"]\n{settings}"));
    let query = Question::new("www.public.example", "A").octets(8);
    let reply = ask::over_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST), door, &query).expect("a reply");
    assert_eq!(judge(&query, &reply).metadata.response_code, ResponseCode::ServFail);
    let said = program.wait_for("it is for dns.example, not for else.example").expect("it runs");
    assert!(said.contains("its certificate is not accepted"), "{said}");
}

#[test]
fn nsd_over_tcp_and_tls() {
    let Some(tool) = need_tool("nsd") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = roots(folder.path());
    let here = folder.path().to_owned();
    let large: String = (1..=120).map(|last| format!("large IN A 10.8.0.{last}\n")).collect();
    let zone = format!(
        "$TTL 300\n@ IN SOA ns root 1 7200 900 1209600 60\n@ IN NS ns\nns IN A 127.0.0.1\nwww IN A 192.0.2.1\n{large}"
    );
    std::fs::write(here.join("public.zone"), zone).expect("a file can be written");
    let peer = Peer::start(2, move |doors| {
        let text = format!(
            "server:\n ip-address: {0}@{1}\n ip-address: {0}@{2}\n tls-port: {2}\n tls-service-key: \"{3}/key.pem\"\n \
             tls-service-pem: \"{3}/certificate.pem\"\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n zonesdir: \"{3}\"\n \
             database: \"\"\n xfrdfile: \"\"\n xfrdir: \"{3}\"\n zonelistfile: \"{3}/zones.list\"\n verbosity: 2\n \
             server-count: 1\n reuseport: yes\nremote-control:\n control-enable: no\nzone:\n name: public.example\n \
             zonefile: public.zone\n",
            doors.plain.ip(),
            doors.plain.port(),
            doors.tls.port(),
            here.display()
        );
        std::fs::write(here.join("nsd.conf"), text).expect("a file can be written");
        let mut command = Command::new(&tool);
        command.arg("-d").arg("-c").arg(here.join("nsd.conf"));
        (command, "nsd started")
    });
    examine(peer, &roots, &[TargetProtocol::Tcp, TargetProtocol::Dot]);
}

#[test]
fn dnsdist_over_tls_and_https() {
    let Some(tool) = need_tool("dnsdist") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = roots(folder.path());
    let here = folder.path().to_owned();
    let large: Vec<String> = (1..=120).map(|last| format!("'10.8.0.{last}'")).collect();
    let peer = Peer::start(3, move |doors| {
        let text = format!(
            "setACL('127.0.0.0/8')\nsetSecurityPollSuffix('')\nsetLocal('{0}')\n\
             addTLSLocal('{1}', '{3}/certificate.pem', '{3}/key.pem')\n\
             addDOHLocal('{2}', '{3}/certificate.pem', '{3}/key.pem', '/dns-query')\n\
             addAction('www.public.example.', SpoofAction({{'192.0.2.1'}}))\n\
             addAction('large.public.example.', SpoofAction({{{4}}}))\n\
             addAction(AllRule(), RCodeAction(DNSRCode.NXDOMAIN))\n",
            doors.plain,
            doors.tls,
            doors.https,
            here.display(),
            large.join(", ")
        );
        std::fs::write(here.join("dnsdist.lua"), text).expect("a file can be written");
        let mut command = Command::new(&tool);
        command.args(["--supervised", "--disable-syslog", "-C"]).arg(here.join("dnsdist.lua"));
        (command, "dnsdist ")
    });
    examine(peer, &roots, &[TargetProtocol::Tcp, TargetProtocol::Dot, doh()]);
}
