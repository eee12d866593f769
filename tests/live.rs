//! Real neighbours: unbound and NSD behind, unbound in front, and getaddrinfo through a resolv.conf.

mod support;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use support::binary::{Program, dig, free_port, outcome, plustwo, short};
use support::{need_tool, skip};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How often another port is tried when somebody took it.
const PORT_TRIES: usize = 8;

/// Starts a server on a port that is free; `command` writes its configuration and says what it prints when it is ready.
fn start(what: &str, command: impl Fn(SocketAddr) -> (Command, &'static str)) -> (Program, SocketAddr) {
    let mut last = String::new();
    for _ in 0..PORT_TRIES {
        let door = free_port(LOOPBACK);
        let (mut command, ready) = command(door);
        let program = Program::start(&mut command);
        if program.wait_for(ready).is_some() {
            return (program, door);
        }
        last = program.said();
    }
    panic!("{what} does not start:\n{last}");
}

/// Debian's unbound, in the foreground, with these further lines.
fn unbound(tool: &Path, folder: &Path, lines: &str) -> (Program, SocketAddr) {
    start("unbound", |door| {
        let conf = folder.join(format!("unbound-{}.conf", door.port()));
        let text = format!(
            "server:\n interface: {}@{}\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n \
             do-daemonize: no\n verbosity: 1\n num-threads: 1\n do-not-query-localhost: no\n module-config: \"iterator\"\n \
             access-control: 127.0.0.0/8 allow\n unblock-lan-zones: yes\n insecure-lan-zones: yes\n do-ip6: no\n{lines}",
            door.ip(),
            door.port()
        );
        std::fs::write(&conf, text).expect("a file can be written");
        let mut command = Command::new(tool);
        command.arg("-d").arg("-c").arg(conf);
        (command, "start of service")
    })
}

/// Serves a configuration, in which `@LISTEN@` is the door.
fn serve(folder: &Path, text: &str) -> (Program, SocketAddr) {
    start("plustwo", |door| {
        let path = folder.join(format!("plustwo-{}.toml", door.port()));
        std::fs::write(&path, text.replace("@LISTEN@", &door.to_string())).expect("a file can be written");
        let mut command = plustwo();
        command.args(["run", "--config"]).arg(path);
        (command, "serving generation 1")
    })
}

/// The S1 network with a private zone whose names lead out of it.
const NETWORK: &str = r#"
version = 1
region  = "ap-northeast-2"

[upstream]
targets = [@UPSTREAM@]

[[vpc]]
id     = "vpc-0seoul"
cidrs  = ["10.0.0.0/16"]
listen = ["@LISTEN@"]

[[vpc_endpoint]]
id          = "vpce-0e25f6a2b3c4d5e6f"
vpc         = "vpc-0seoul"
service     = "com.amazonaws.ap-northeast-2.ec2"
dns_name    = "vpce-0e25f6a2b3c4d5e6f-7kq2m9xa.ec2.ap-northeast-2.vpce.amazonaws.com"
private_dns = true
addresses   = { ap-northeast-2a = ["10.0.12.153"], ap-northeast-2c = ["10.0.11.233"] }

[[hosted_zone]]
id      = "ZCORP"
name    = "corp.example.com"
vpcs    = ["vpc-0seoul"]
records = [
  { name = "www",     type = "A",     ttl = 300, values = ["10.0.1.1"] },
  { name = "alias",   type = "CNAME", ttl = 300, values = ["www.corp.example.com"] },
  { name = "outside", type = "CNAME", ttl = 300, values = ["www.public.example"] },
  { name = "onprem",  type = "CNAME", ttl = 300, values = ["host.onprem.example"] },
  { name = "large",   type = "TXT",   ttl = 300, values = [@LARGE@] },
]
"#;

/// Text records that take more than a datagram.
fn large_values() -> String {
    let mut values = String::new();
    for number in 0..20 {
        let _ = write!(values, "'\"{number:0>200}\"', ");
    }
    values
}

fn network(upstream: Option<SocketAddr>) -> String {
    let upstream = upstream.map(|upstream| format!("\"{upstream}\"")).unwrap_or_default();
    NETWORK.replace("@UPSTREAM@", &upstream).replace("@LARGE@", &large_values())
}

#[test]
fn unbound_behind() {
    let (Some(dig_tool), Some(unbound_tool)) = (need_tool("dig"), need_tool("unbound")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large: String = (1..=120)
        .fold(String::new(), |text, n| text + &format!(" local-data: \"large.public.example. 60 IN A 10.8.0.{n}\"\n"));
    let lines = format!(
        " local-zone: \"public.example.\" static\n local-data: \"www.public.example. 300 IN A 198.51.100.80\"\n \
         local-data: \"public.example. 900 IN SOA ns.public.example. root.public.example. 1 7200 900 1209600 60\"\n \
         local-data: \"back.public.example. 300 IN CNAME www.corp.example.com.\"\n \
         local-data: 'type.public.example. 300 IN TYPE65280 \\# 4 C0000201'\n{large}"
    );
    let (_upstream, upstream) = unbound(&unbound_tool, folder.path(), &lines);
    let (_program, door) = serve(folder.path(), &network(Some(upstream)));
    for transport in ["+notcp", "+tcp"] {
        let ask = |name: &str, rtype: &str| short(&dig_tool, door, &[transport, name, rtype]);
        assert_eq!(ask("www.public.example", "A"), ["198.51.100.80"]);
        assert_eq!(ask("outside.corp.example.com", "A"), ["198.51.100.80", "www.public.example."]);
        assert_eq!(ask("back.public.example", "A"), ["10.0.1.1", "www.corp.example.com."], "the chain comes back in");
        assert_eq!(ask("type.public.example", "TYPE65280"), ["\\# 4 C0000201"]);
        assert_eq!(ask("ec2.ap-northeast-2.amazonaws.com", "A"), ["10.0.11.233", "10.0.12.153"]);
        // dig goes to TCP by itself where UDP says TC.
        assert_eq!(ask("large.public.example", "A").len(), 120);
        let missing = dig(&dig_tool, door, &[transport, "missing.public.example", "A"]);
        assert!(missing.contains("status: NXDOMAIN") && missing.contains("AUTHORITY: 1"), "{missing}");
        assert!(missing.contains("root.public.example."), "{missing}");
    }
    let truncated = dig(&dig_tool, door, &["+ignore", "large.public.example", "A"]);
    assert!(truncated.contains("flags: qr tc rd ra"), "{truncated}");
    assert!(!truncated.contains("extra bytes") && !truncated.contains("malformed"), "{truncated}");
}

#[test]
fn nsd_behind_a_forward_rule() {
    let (Some(dig_tool), Some(nsd_tool)) = (need_tool("dig"), need_tool("nsd")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path();
    let mut zone = String::from(
        "$TTL 300\n@ IN SOA ns root 1 7200 900 1209600 60\n@ IN NS ns\nns IN A 127.0.0.1\nhost IN A 192.168.1.20\n\
         alias IN CNAME host\nodd IN TYPE65280 \\# 3 010203\n",
    );
    for number in 1..=120 {
        let _ = writeln!(zone, "large IN A 10.8.0.{number}");
    }
    std::fs::write(here.join("onprem.zone"), zone).expect("a file can be written");
    let (_onprem, onprem) = start("nsd", |door| {
        let conf = here.join("nsd.conf");
        let text = format!(
            "server:\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n zonesdir: \"{}\"\n \
             database: \"\"\n xfrdfile: \"\"\n xfrdir: \"{2}\"\n zonelistfile: \"{2}/zones.list\"\n verbosity: 2\n \
             server-count: 1\nremote-control:\n control-enable: no\nzone:\n name: onprem.example\n \
             zonefile: onprem.zone\n",
            door.ip(),
            door.port(),
            here.display()
        );
        std::fs::write(&conf, text).expect("a file can be written");
        let mut command = Command::new(&nsd_tool);
        command.arg("-d").arg("-c").arg(conf);
        (command, "nsd started")
    });
    let rule = format!(
        "\n[[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"onprem.example\"\naction = \"forward\"\n\
         targets = [\"{onprem}\"]\nvpcs = [\"vpc-0seoul\"]\n"
    );
    let (_program, door) = serve(here, &(network(None) + &rule));
    for transport in ["+notcp", "+tcp"] {
        let ask = |name: &str, rtype: &str| short(&dig_tool, door, &[transport, name, rtype]);
        assert_eq!(ask("host.onprem.example", "A"), ["192.168.1.20"]);
        assert_eq!(ask("alias.onprem.example", "A"), ["192.168.1.20", "host.onprem.example."]);
        assert_eq!(ask("onprem.corp.example.com", "A"), ["192.168.1.20", "host.onprem.example."]);
        assert_eq!(ask("odd.onprem.example", "TYPE65280"), ["\\# 3 010203"]);
        assert_eq!(ask("large.onprem.example", "A").len(), 120);
        let said = dig(&dig_tool, door, &[transport, "host.onprem.example", "A"]);
        assert!(said.contains("flags: qr rd ra;"), "an authority's AA is not ours: {said}");
        let missing = dig(&dig_tool, door, &[transport, "missing.onprem.example", "A"]);
        assert!(missing.contains("status: NXDOMAIN") && missing.contains("AUTHORITY: 1"), "{missing}");
    }
}

#[test]
fn unbound_in_front() {
    let (Some(dig_tool), Some(unbound_tool)) = (need_tool("dig"), need_tool("unbound")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_program, plustwo_door) = serve(folder.path(), &network(None));
    let forward =
        format!("forward-zone:\n name: \".\"\n forward-addr: {}@{}\n", plustwo_door.ip(), plustwo_door.port());
    let (_front, door) = unbound(&unbound_tool, folder.path(), &forward);
    for transport in ["+notcp", "+tcp"] {
        let ask = |name: &str, rtype: &str| short(&dig_tool, door, &[transport, name, rtype]);
        assert_eq!(ask("ec2.ap-northeast-2.amazonaws.com", "A"), ["10.0.11.233", "10.0.12.153"]);
        assert_eq!(ask("www.corp.example.com", "A"), ["10.0.1.1"]);
        assert_eq!(ask("alias.corp.example.com", "A"), ["10.0.1.1", "www.corp.example.com."]);
        // unbound meets TC and comes again over TCP.
        assert_eq!(ask("large.corp.example.com", "TXT").len(), 20);
        let missing = dig(&dig_tool, door, &[transport, "missing.corp.example.com", "A"]);
        assert!(missing.contains("status: NXDOMAIN") && missing.contains("awsdns-hostmaster"), "{missing}");
        let nodata = dig(&dig_tool, door, &[transport, "www.corp.example.com", "AAAA"]);
        assert!(nodata.contains("status: NOERROR") && nodata.contains("AUTHORITY: 1"), "{nodata}");
    }
}

/// A network namespace with a resolv.conf of its own, gone when dropped.
struct Namespace {
    name: String,
    ip: std::path::PathBuf,
}

impl Namespace {
    /// Makes one with the loopback up; none, with the reason, where that is not allowed.
    fn new(ip: &Path, nameserver: &str) -> Result<Self, String> {
        let name = format!("plustwo-{}", std::process::id());
        let run = |arguments: &[&str]| match outcome(Command::new(ip).args(arguments)) {
            (0, _, _) => Ok(()),
            (_, _, stderr) => Err(format!("ip {}: {}", arguments.join(" "), stderr.trim())),
        };
        run(&["netns", "add", &name])?;
        let namespace = Self { name, ip: ip.to_owned() };
        run(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        let folder = namespace.folder();
        let text = format!("nameserver {nameserver}\noptions timeout:5 attempts:1\n");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("resolv.conf"), text))
            // The namespace's own order of sources: files and DNS, whatever the machine adds.
            .and_then(|()| std::fs::write(folder.join("nsswitch.conf"), "hosts: files dns\n"))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(namespace)
    }

    /// Where `ip netns exec` takes /etc's files from.
    fn folder(&self) -> std::path::PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// A command inside it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new(&self.ip).args(["netns", "delete", &self.name]).status();
        let _ = std::fs::remove_dir_all(self.folder());
    }
}

#[test]
fn getaddrinfo_through_resolv_conf() {
    let (Some(ip), Some(getent)) = (need_tool("ip"), need_tool("getent")) else { return };
    let namespace = match Namespace::new(&ip, "127.0.0.12") {
        Ok(namespace) => namespace,
        Err(reason) => return skip(&format!("no network namespace ({reason}); it takes root")),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plustwo.toml");
    std::fs::write(&path, network(None).replace("@LISTEN@", "127.0.0.12:53")).expect("a file can be written");
    // `ip netns exec` becomes the program, so that a signal reaches it.
    let mut command = namespace.command(env!("CARGO_BIN_EXE_plustwo"));
    let mut program = Program::start(command.args(["run", "--config"]).arg(&path));
    assert!(program.wait_for("serving generation 1").is_some(), "{}", program.said());
    let ask = |database: &str, name: &str| {
        let (code, stdout, _) = outcome(namespace.command(&getent).args([database, name]));
        let mut addresses: Vec<String> =
            stdout.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        addresses.sort();
        addresses.dedup();
        (code, addresses)
    };
    let found = |addresses: &[&str]| (0, addresses.iter().map(|&address| address.to_owned()).collect::<Vec<_>>());
    assert_eq!(ask("ahosts", "ec2.ap-northeast-2.amazonaws.com"), found(&["10.0.11.233", "10.0.12.153"]));
    assert_eq!(ask("ahosts", "alias.corp.example.com"), found(&["10.0.1.1"]));
    let (code, addresses) = ask("ahosts", "missing.corp.example.com");
    assert_eq!((code, addresses.len()), (2, 0), "not found is said at once, not after a time-out");
    program.signal("TERM");
    assert_eq!(program.wait().0.code(), Some(0));
}
