//! The servers that are compared, and how each is told to serve the same data on one thread.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::data::{Files, Vpc, World, Zone};
use crate::load::{self, Core};
use crate::process::{self, Running};

/// Appends a line to a text.
macro_rules! add {
    ($text:expr, $($line:tt)+) => {
        writeln!($text, $($line)+).expect("a String takes every line")
    };
}

/// Ours, and the peers as Debian builds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Plustwo,
    Nsd,
    Unbound,
    Dnsdist,
}

impl Server {
    pub(crate) const ALL: [Self; 4] = [Self::Plustwo, Self::Nsd, Self::Unbound, Self::Dnsdist];

    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|server| server.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of plustwo, nsd, unbound, dnsdist"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plustwo => "plustwo",
            Self::Nsd => "nsd",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
        }
    }

    /// Whether it can serve such data at all: NSD does not forward, dnsdist has no zones.
    pub(crate) fn serves(self, world: World) -> bool {
        match self {
            Self::Plustwo | Self::Unbound => true,
            Self::Nsd => matches!(world, World::Local | World::Large),
            Self::Dnsdist => world == World::Forward,
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        self == Self::Plustwo || process::is_on_path(self.name())
    }

    /// What it says of its version.
    pub(crate) fn version(self) -> String {
        let (command, flag) = match self {
            Self::Plustwo => return env!("CARGO_PKG_VERSION").to_owned(),
            Self::Nsd => ("nsd", "-v"),
            Self::Unbound => ("unbound", "-V"),
            Self::Dnsdist => ("dnsdist", "--version"),
        };
        let Ok(done) = Command::new(command).arg(flag).env("PATH", process::search_path()).output() else {
            return "not installed".to_owned();
        };
        let words = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        words.split_whitespace().find(is_number).unwrap_or("unknown").to_owned()
    }

    /// Starts it with a world's data and waits for its first right answer.
    pub(crate) fn start(self, files: &Files, upstream: Option<u16>) -> Result<Running, String> {
        self.start_as(files, upstream, &Variant { name: self.name(), tables: String::new(), core: Core::Server })
    }

    /// The same, as a variant of it.
    pub(crate) fn start_as(self, files: &Files, upstream: Option<u16>, variant: &Variant) -> Result<Running, String> {
        let port = process::free_port()?;
        let folder = files.folder.join(variant.name);
        let setup = Setup { files, folder: &folder, port, upstream, tables: &variant.tables };
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let command = match self {
            Self::Plustwo => setup.plustwo(),
            Self::Nsd => setup.nsd(),
            Self::Unbound => setup.unbound(),
            Self::Dnsdist => setup.dnsdist(),
        }
        .map_err(|error| format!("{}: {error}", folder.display()))?;
        let client = files.clients.last().copied().unwrap_or(Ipv4Addr::LOCALHOST);
        let probe = &files.sought[0];
        Running::start(&command, port, variant.core, || load::answers(client, port, probe))
    }
}

/// One of several servers of a kind.
pub(crate) struct Variant {
    /// Its folder, in that of the world.
    pub(crate) name: &'static str,
    /// What stands in its configuration besides; plustwo's only.
    pub(crate) tables: String,
    pub(crate) core: Core,
}

/// What a configuration is made from.
struct Setup<'a> {
    files: &'a Files,
    folder: &'a Path,
    port: u16,
    /// The authority behind forwarders.
    upstream: Option<u16>,
    /// Further tables of plustwo's.
    tables: &'a str,
}

impl Setup<'_> {
    /// Writes a configuration and returns the command that ends in its path.
    fn command(&self, program: &[&str], file: &str, text: &str) -> std::io::Result<Vec<String>> {
        let path = self.folder.join(file);
        fs::write(&path, text)?;
        Ok(program.iter().map(|&word| word.to_owned()).chain([path.display().to_string()]).collect())
    }

    fn plustwo(&self) -> std::io::Result<Vec<String>> {
        let port = self.port;
        let mut text = "version = 1\nregion = \"eu-central-1\"\n\n[server]\nworkers = 1\n".to_owned();
        if self.files.world == World::Views {
            add!(text, "listen = [\"127.0.0.1:{port}\"]");
        }
        let targets = self.upstream.map_or_else(String::new, |port| format!("\"127.0.0.1:{port}\""));
        add!(
            text,
            "\n[upstream]\ntargets = [{targets}]\n\n[log]\nlevel = \"warn\"\n[limits]\ntcp_connections_per_client = 1024\nin_flight_per_client = 10000\nin_flight_per_target = 10000"
        );
        for Vpc { id, cidr } in &self.files.vpcs {
            add!(text, "\n[[vpc]]\nid = \"{id}\"\ncidrs = [\"{cidr}\"]");
            if self.files.world != World::Views {
                add!(text, "listen = [\"127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
            }
        }
        let vpcs: Vec<String> = self.files.vpcs.iter().map(|vpc| format!("\"{}\"", vpc.id)).collect();
        let vpcs = vpcs.join(", ");
        // A zone's file lies in the configuration's folder or below it.
        let zones = self.folder.join("zones");
        fs::create_dir_all(&zones)?;
        for zone in &self.files.zones {
            let Zone { label, name, .. } = zone;
            fs::hard_link(self.files.zone_file(zone), zones.join(format!("{label}.zone")))?;
            add!(text, "\n[[hosted_zone]]\nid = \"{}\"\nname = \"{name}\"", label.to_ascii_uppercase());
            add!(text, "file = \"zones/{label}.zone\"\nvpcs = [{vpcs}]");
        }
        text += self.tables;
        self.command(&[env!("CARGO_BIN_EXE_plustwo"), "run", "--config"], "plustwo.toml", &text)
    }

    fn nsd(&self) -> std::io::Result<Vec<String>> {
        let (port, folder) = (self.port, self.folder.display());
        let mut text = format!(
            "server:
 ip-address: 127.0.0.1@{port}
 server-count: 1
 username: \"\"
 chroot: \"\"
 zonesdir: \"{folder}\"
 database: \"\"
 pidfile: \"{folder}/nsd.pid\"
 xfrdfile: \"{folder}/xfrd.state\"
 zonelistfile: \"{folder}/zone.list\"
 minimal-responses: yes
 rrl-ratelimit: 0
 receive-buffer-size: 4194304
 tcp-count: 2000
 tcp-query-count: 0
 tcp-timeout: 60
remote-control:
 control-enable: no
"
        );
        for zone in &self.files.zones {
            let path = self.files.zone_file(zone);
            add!(text, "zone:\n name: \"{}\"\n zonefile: \"{}\"", zone.name, path.display());
        }
        self.command(&["nsd", "-d", "-c"], "nsd.conf", &text)
    }

    /// As a resolver with caches big enough; zones as local data; views as tags, which share the data.
    fn unbound(&self) -> std::io::Result<Vec<String>> {
        let (port, folder) = (self.port, self.folder.display());
        let mut text = format!(
            "server:
 num-threads: 1
 interface: 127.0.0.1
 port: {port}
 chroot: \"\"
 username: \"\"
 directory: \"{folder}\"
 pidfile: \"\"
 use-syslog: no
 verbosity: 0
 do-daemonize: no
 access-control: 127.0.0.0/8 allow
 module-config: \"iterator\"
 do-not-query-localhost: no
 so-rcvbuf: 4m
 incoming-num-tcp: 2000
 tcp-idle-timeout: 60000
 msg-cache-size: 256m
 rrset-cache-size: 256m
 outgoing-range: 4096
 num-queries-per-thread: 2048
 rrset-roundrobin: no
 minimal-responses: yes
"
        );
        let is_tagged = self.files.world == World::Views;
        if is_tagged {
            add!(text, " define-tag: \"shared\"");
            for Vpc { cidr, .. } in &self.files.vpcs {
                add!(text, " access-control: {cidr} allow\n access-control-tag: {cidr} \"shared\"");
            }
        }
        for Zone { name, records, .. } in &self.files.zones {
            add!(text, " local-zone: \"{name}.\" static");
            if is_tagged {
                add!(text, " local-zone-tag: \"{name}.\" \"shared\"");
            }
            add!(text, " local-data: \"{name}. 3600 IN SOA ns1.{name}. admin.{name}. 1 3600 600 86400 300\"");
            add!(text, " local-data: \"{name}. 3600 IN NS ns1.{name}.\"");
            for (label, address) in records {
                add!(text, " local-data: \"{label}.{name}. 3600 IN A {address}\"");
            }
        }
        add!(text, "remote-control:\n control-enable: no");
        if let Some(upstream) = self.upstream {
            add!(text, "forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{upstream}");
        }
        self.command(&["unbound", "-d", "-p", "-c"], "unbound.conf", &text)
    }

    fn dnsdist(&self) -> std::io::Result<Vec<String>> {
        let (port, upstream) = (self.port, self.upstream.unwrap_or_default());
        let text = format!(
            "setLocal('127.0.0.1:{port}')
setACL('127.0.0.0/8')
newServer({{address='127.0.0.1:{upstream}', healthCheckMode='up', sockets=8}})
getPool(''):setCache(newPacketCache(1000000, {{maxTTL=86400}}))
setMaxUDPOutstanding(65535)
setSecurityPollSuffix('')
"
        );
        self.command(&["dnsdist", "--supervised", "--disable-syslog", "-C"], "dnsdist.lua", &text)
    }
}
