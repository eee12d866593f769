//! Authorities as Debian builds them, serving a signed zone of the test's own.

use super::binary::{Program, free_port, outcome};
use super::{ask, need_tool};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The zone that every peer serves.
pub(crate) const ZONE: &str = "peers.example";
/// How often another port is tried when somebody took it.
const PORT_TRIES: usize = 8;
/// Until a free port is found.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A program that serves zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// unbound, with the zone as an `auth-zone`.
    Unbound,
    /// NSD.
    Nsd,
    /// BIND's named.
    Bind,
    /// Knot DNS.
    Knot,
}

impl Peer {
    /// The program's name.
    fn program(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Nsd => "nsd",
            Self::Bind => "named",
            Self::Knot => "knotd",
        }
    }

    /// What it prints when it answers.
    fn ready(self) -> &'static str {
        match self {
            Self::Unbound => "start of service",
            Self::Nsd => "nsd started",
            Self::Bind => "all zones loaded",
            Self::Knot => "server started",
        }
    }

    /// What its configuration says besides, so that it answers over TLS and over HTTPS too: with the certificate of its
    /// folder, and in a place that `configuration` leaves for it.
    fn encrypted(self, folder: &Path, tls: SocketAddr, https: SocketAddr) -> String {
        let (folder, address) = (folder.display(), tls.ip());
        match self {
            Self::Unbound => format!(
                " interface: {address}@{0}\n interface: {address}@{1}\n tls-port: {0}\n https-port: {1}\n \
                 tls-service-key: \"{folder}/server.key\"\n tls-service-pem: \"{folder}/server.pem\"\n",
                tls.port(),
                https.port()
            ),
            Self::Bind => format!(
                " listen-on port {} tls own {{ {address}; }};\n listen-on port {} tls own http own {{ {address}; }};\n",
                tls.port(),
                https.port()
            ),
            Self::Nsd | Self::Knot => panic!("{self:?} is asked in the clear only"),
        }
    }

    /// Its configuration, for zones and their files in a folder, with further lines for the server.
    fn configuration(self, folder: &Path, at: SocketAddr, further: &str, zones: &[(String, String)]) -> String {
        let (folder, address, port) = (folder.display(), at.ip(), at.port());
        let mut text = match self {
            Self::Unbound => format!(
                "server:\n interface: {address}@{port}\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
                 use-syslog: no\n logfile: \"\"\n do-daemonize: no\n verbosity: 1\n num-threads: 1\n \
                 module-config: \"iterator\"\n do-not-query-localhost: no\n access-control: 0.0.0.0/0 allow\n \
                 do-ip6: no\n directory: \"{folder}\"\n{further}remote-control:\n control-enable: no\n"
            ),
            Self::Nsd => format!(
                "server:\n ip-address: {address}@{port}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
                 zonesdir: \"{folder}\"\n database: \"\"\n xfrdfile: \"\"\n xfrdir: \"{folder}\"\n \
                 zonelistfile: \"{folder}/zones.list\"\n verbosity: 2\n server-count: 1\n rrl-ratelimit: 0\n\
                 remote-control:\n control-enable: no\n"
            ),
            Self::Bind => format!(
                "tls own {{ cert-file \"{folder}/server.pem\"; key-file \"{folder}/server.key\"; }};\n\
                 http own {{ endpoints {{ \"/dns-query\"; }}; }};\noptions {{\n{further} directory \"{folder}\";\n listen-on port {port} {{ {address}; }};\n \
                 listen-on-v6 {{ none; }};\n pid-file none;\n session-keyfile \"{folder}/session.key\";\n \
                 recursion no;\n allow-query {{ any; }};\n notify no;\n minimal-responses no;\n}};\ncontrols {{ }};\n"
            ),
            Self::Knot => format!(
                "server:\n    rundir: \"{folder}\"\n    listen: {address}@{port}\n    udp-workers: 1\n    \
                 tcp-workers: 1\n    background-workers: 1\ncontrol:\n    listen: \"{folder}/knot.sock\"\n\
                 database:\n    storage: \"{folder}\"\nlog:\n  - target: stderr\n    any: info\nzone:\n"
            ),
        };
        for (zone, file) in zones {
            let _ = match self {
                Self::Unbound => write!(
                    text,
                    "auth-zone:\n name: \"{zone}\"\n zonefile: \"{folder}/{file}\"\n for-downstream: yes\n \
                     for-upstream: no\n fallback-enabled: no\n"
                ),
                Self::Nsd => write!(text, "zone:\n name: {zone}\n zonefile: {file}\n"),
                Self::Bind => writeln!(text, "zone \"{zone}\" {{ type primary; file \"{file}\"; }};"),
                Self::Knot => write!(
                    text,
                    "  - domain: {zone}\n    file: \"{folder}/{file}\"\n    zonefile-sync: -1\n    journal-content: none\n"
                ),
            };
        }
        text
    }

    /// The command that serves in the foreground.
    fn command(self, tool: &Path, configuration: &Path) -> Command {
        let mut command = Command::new(tool);
        match self {
            Self::Unbound | Self::Nsd => command.args(["-d", "-c"]),
            Self::Bind => command.args(["-g", "-n", "1", "-c"]),
            Self::Knot => command.args(["-c"]),
        };
        command.arg(configuration);
        command
    }
}

/// The name in the certificate of peers that answer over TLS and HTTPS.
pub(crate) const SERVER_NAME: &str = "dns.peers.example";

/// Where a peer answers encrypted.
pub(crate) struct Encrypted {
    /// DNS over TLS.
    pub(crate) tls: SocketAddr,
    /// DNS over HTTPS, at /dns-query.
    pub(crate) https: SocketAddr,
    /// The certificate of who signed its certificate, as text.
    pub(crate) roots: String,
}

/// A peer that serves the zone.
pub(crate) struct Serving {
    peer: Peer,
    tool: PathBuf,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// The same, encrypted.
    pub(crate) encrypted: Option<Encrypted>,
    further: String,
    /// Its zones, and the file of each.
    zones: Vec<(String, String)>,
    program: Option<Program>,
    folder: tempfile::TempDir,
}

impl Serving {
    /// Signs the zone and starts the peer on a free port of 127.0.0.1; none, with a loud word, where a tool is missing.
    pub(crate) fn start(peer: Peer) -> Option<Self> {
        Self::prepare(peer)?.start_somewhere()
    }

    /// The same, with further lines for the server in its configuration.
    pub(crate) fn start_with(peer: Peer, further: &str) -> Option<Self> {
        let mut serving = Self::prepare(peer)?;
        further.clone_into(&mut serving.further);
        serving.start_somewhere()
    }

    /// The same, and it answers over TLS and HTTPS too.
    pub(crate) fn start_encrypted(peer: Peer) -> Option<Self> {
        let openssl = need_tool("openssl")?;
        let mut serving = Self::prepare(peer)?;
        let roots = certify(serving.folder.path(), &openssl);
        serving.encrypted = Some(Encrypted { tls: NOWHERE, https: NOWHERE, roots });
        serving.start_somewhere()
    }

    fn prepare(peer: Peer) -> Option<Self> {
        let (tool, keygen) = (need_tool(peer.program())?, need_tool("dnssec-keygen")?);
        let signzone = need_tool("dnssec-signzone")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        sign(folder.path(), &keygen, &signzone);
        let zones = vec![(ZONE.to_owned(), "zone.signed".to_owned())];
        Some(Self {
            peer,
            tool,
            address: NOWHERE,
            encrypted: None,
            further: String::new(),
            zones,
            program: None,
            folder,
        })
    }

    /// Starts a peer that serves zones of the test's own, unsigned, each from the file of that name; `files` are those
    /// and what they include, name and text of each.
    pub(crate) fn start_zones(peer: Peer, zones: &[(&str, &str)], files: &[(&str, &str)]) -> Option<Self> {
        let tool = need_tool(peer.program())?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        let zones = zones.iter().map(|(zone, file)| ((*zone).to_owned(), (*file).to_owned())).collect();
        Self { peer, tool, address: NOWHERE, encrypted: None, further: String::new(), zones, program: None, folder }
            .start_somewhere()
    }

    fn start_somewhere(mut self) -> Option<Self> {
        for _ in 0..PORT_TRIES {
            let loopback = Ipv4Addr::LOCALHOST.into();
            self.address = free_port(loopback);
            if let Some(encrypted) = &mut self.encrypted {
                (encrypted.tls, encrypted.https) = (free_port(loopback), free_port(loopback));
            }
            if self.begin() {
                return Some(self);
            }
        }
        panic!("{:?} does not start:\n{}", self.peer, self.program.map_or_else(String::new, |program| program.said()));
    }

    /// Starts the program at its addresses; whether it serves.
    fn begin(&mut self) -> bool {
        let folder = self.folder.path();
        let further = self.encrypted.as_ref().map(|at| self.peer.encrypted(folder, at.tls, at.https));
        let further = further.unwrap_or_default() + &self.further;
        let mut text = self.peer.configuration(folder, self.address, &further, &self.zones);
        if self.encrypted.is_none() && self.peer == Peer::Bind {
            // It looks for certificates that it is told of, whether it needs them or not.
            text = text.lines().skip(2).fold(String::new(), |text, line| text + line + "\n");
        }
        let configuration = folder.join("peer.conf");
        std::fs::write(&configuration, text).expect("a file can be written");
        let program = Program::start(&mut self.peer.command(&self.tool, &configuration));
        let serves = program.wait_for(self.peer.ready()).is_some();
        self.program = Some(program);
        serves
    }

    /// Ends it at once, as if the machine had lost its power.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        assert!(self.begin(), "{:?} does not start again", self.peer);
    }

    /// Stops it where it is, and returns when all its threads stand still.
    pub(crate) fn stop(&self) {
        let program = self.program.as_ref().expect("it runs");
        program.signal("STOP");
        let until = Instant::now() + ask::PATIENCE;
        let stands_still = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", program.id());
        while !std::fs::read_dir(&tasks).expect("it is there").all(|thread| thread.is_ok_and(stands_still)) {
            assert!(Instant::now() < until, "{:?} does not stop", self.peer);
            std::thread::yield_now();
        }
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.program.as_ref().expect("it runs").signal("CONT");
    }
}

/// Writes the zone and signs it with a key of its own.
fn sign(folder: &Path, keygen: &Path, signzone: &Path) {
    std::fs::write(folder.join("zone"), zone()).expect("a file can be written");
    let keys = ["-K", ".", "-a", "ECDSAP256SHA256", "-f", "KSK", ZONE];
    let sign = ["-S", "-z", "-K", ".", "-o", ZONE, "-f", "zone.signed", "zone"];
    for (tool, arguments) in [(keygen, &keys[..]), (signzone, &sign[..])] {
        let (code, stdout, stderr) = outcome(Command::new(tool).args(arguments).current_dir(folder));
        assert_eq!(code, 0, "{}: {stdout}{stderr}", tool.display());
    }
}

/// Makes a certificate for `SERVER_NAME` and who signs it; the certificate of the latter, as text.
fn certify(folder: &Path, openssl: &Path) -> String {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let signer = ["req", "-x509", "-days", "2", "-subj", "/CN=signer", "-keyout", "ca.key", "-out", "ca.pem"];
    let is_signer = ["-addext", "keyUsage=critical,keyCertSign"];
    let server = ["req", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr", "-addext"];
    let name = format!("subjectAltName=DNS:{SERVER_NAME}");
    let sign =
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    let signed = ["-copy_extensions", "copy", "-out", "server.pem"];
    for arguments in [
        [&signer[..], &key, &is_signer].concat(),
        [&server[..], &[name.as_str()], &key].concat(),
        [&sign[..], &signed].concat(),
    ] {
        let (code, stdout, stderr) = outcome(Command::new(openssl).args(&arguments).current_dir(folder));
        assert_eq!(code, 0, "openssl {arguments:?}: {stdout}{stderr}");
    }
    std::fs::read_to_string(folder.join("ca.pem")).expect("just written")
}

/// Octets of a type that nobody knows; two of them look like a compression pointer.
pub(crate) const UNKNOWN_RDATA: [u8; 8] = [0x00, 0xff, 0x01, 0x61, 0xc0, 0x0c, 0x03, 0x80];
/// Rdata of an HTTPS or SVCB record: priority 1, the owner itself as target, `alpn=h2`, and a parameter that nobody
/// knows (key 65280), whose value holds what looks like a compression pointer. (No octet 0: unbound 1.17 stops there.)
pub(crate) const SERVICE_RDATA: &[u8] = b"\x00\x01\x00\x00\x01\x00\x03\x02h2\xff\x00\x00\x09\xff\x01\x61\xc0\x0cbod!";
/// Strings of `large`: more than a datagram holds.
pub(crate) const LARGE_STRINGS: usize = 20;
/// Records of `huge`: some 36,000 octets, in fewer records than BIND takes for one name.
pub(crate) const HUGE_RECORDS: usize = 60;

/// The strings of a record of `large` or `huge`.
pub(crate) fn text_rdata(number: usize, strings: usize) -> Vec<u8> {
    let string = format!("{number:0>200}");
    let string: Vec<u8> = std::iter::once(200).chain(string.bytes()).collect();
    string.repeat(strings)
}

/// The zone file.
fn zone() -> String {
    let mut zone = format!(
        "$TTL 300\n@ IN SOA ns root 1 7200 900 1209600 60\n@ IN NS ns\nns IN A 127.0.0.1\nwww IN A 192.168.7.1\n\
         alias IN CNAME www\nmail IN MX 10 mx.mail\nmx.mail IN A 192.168.7.25\n*.wild IN A 192.168.7.9\n\
         odd IN TYPE65280 \\# {} {}\n",
        UNKNOWN_RDATA.len(),
        ask::to_hex(&UNKNOWN_RDATA)
    );
    // As numbers, for not every one of them reads the words.
    for rtype in [64, 65] {
        let _ = writeln!(zone, "svc IN TYPE{rtype} \\# {} {}", SERVICE_RDATA.len(), ask::to_hex(SERVICE_RDATA));
    }
    for (name, records, strings) in [("large", LARGE_STRINGS, 1), ("huge", HUGE_RECORDS, 3)] {
        for number in 0..records {
            let words = format!(" \"{number:0>200}\"").repeat(strings);
            let _ = writeln!(zone, "{name} IN TXT{words}");
        }
    }
    zone
}
