//! A network of one's own: namespaces in which a body runs alone, a second one for the daemon, two links between them,
//! and faults on the second link. Nothing of it outlives the process that made it, however that ends.
//!
//! ```text
//! outside: clients and upstreams            inside: the daemon
//! 10.53.1.2, 10.54.0.0/16  ── "clients" ──  10.53.1.1
//! 10.53.2.11 to 10.53.2.16 ── "targets" ──  10.53.2.1
//! ```
//!
//! Faults are rules of nftables where packets arrive, never where they leave: there the kernel would tell the sender.
//! Only `std` is used here, because benches take this file too.

#![allow(dead_code, reason = "tests take one part of it, benches another")]

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where clients find the daemon.
pub(crate) const DOOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 53, 1, 1));
/// Where clients ask from.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 53, 1, 2));
/// The daemon's address on the link to its upstreams.
pub(crate) const DAEMON: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 53, 2, 1));
/// Where upstreams may listen.
pub(crate) const UPSTREAMS: [IpAddr; 6] =
    [upstream(11), upstream(12), upstream(13), upstream(14), upstream(15), upstream(16)];
/// What this file calls.
pub(crate) const TOOLS: [&str; 5] = ["setpriv", "unshare", "nsenter", "ip", "nft"];

/// An address of the link to the upstreams.
const fn upstream(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 53, 2, last))
}

/// A further address that a client may ask from, and another for each number.
pub(crate) fn client(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 54, high, low))
}

/// A command to which a program is to be appended: it runs in network, process and mount namespaces of its own, as
/// their root, and everything that it starts ends with it. The error says why this machine does not allow it.
pub(crate) fn alone() -> Result<Command, String> {
    let mut reasons = String::new();
    // Without root, a user namespace makes us root of the others.
    for as_root in [&[][..], &["--user", "--map-root-user"]] {
        let command = || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "unshare"]).args(as_root);
            command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]).env("PATH", path());
            command
        };
        match run(command().arg("true")) {
            Ok(()) => return Ok(command()),
            Err(reason) => reasons += &format!("{reason}; "),
        }
    }
    Err(reasons.trim_end_matches("; ").to_owned())
}

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The daemon's own: it is told that there is no way.
    Near,
    /// The other one: the daemon's packets lead nowhere.
    Far,
}

/// The network. Dropped, the inside and both links are gone.
pub(crate) struct Network {
    /// Sleeps, and holds the inside.
    inside: Child,
}

impl Network {
    /// Makes the inside and both links. Only for a process that `alone` started: its own network is the outside.
    pub(crate) fn new() -> Result<Self, String> {
        let mut sleeper = Command::new("setpriv");
        sleeper.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]).env("PATH", path());
        let inside = sleeper.stdin(Stdio::null()).spawn().map_err(|error| format!("{sleeper:?}: {error}"))?;
        let network = Self { inside };
        network.wait_for_the_inside()?;
        let id = network.inside.id();
        network.outside(&format!(
            "ip link set dev lo up
             ip link add clients type veth peer name clients netns {id}
             ip link add targets type veth peer name targets netns {id}
             ip address add {CLIENT}/24 dev clients
             ip link set dev clients up
             ip link set dev targets up
             ip route replace local 10.54.0.0/16 dev lo"
        ))?;
        for upstream in UPSTREAMS {
            network.outside(&format!("ip address add {upstream}/24 dev targets"))?;
        }
        network.inside(&format!(
            "ip link set dev lo up
             ip address add {DOOR}/24 dev clients
             ip address add {DAEMON}/24 dev targets
             ip link set dev clients up
             ip link set dev targets up
             ip route add 10.54.0.0/16 via {CLIENT}"
        ))?;
        network.outside(RULES)?;
        network.inside(RULES)?;
        Ok(network)
    }

    /// The namespace is another one as soon as the sleeper has left ours.
    fn wait_for_the_inside(&self) -> Result<(), String> {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let until = Instant::now() + PATIENCE;
        while namespace(&self.inside.id().to_string()).is_none_or(|inside| Some(inside) == namespace("self")) {
            if Instant::now() > until {
                return Err("no second namespace".to_owned());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// A command that runs inside. It becomes the program, so that a signal reaches that.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.inside.id())).arg(program.as_ref()).env("PATH", path());
        command
    }

    /// Datagrams and segments to these addresses of the outside vanish.
    pub(crate) fn black_hole(&self, upstreams: &[IpAddr]) -> Result<(), String> {
        upstreams.iter().try_for_each(|upstream| {
            self.outside(&format!("nft add rule ip faults arriving iifname targets ip daddr {upstream} drop"))
        })
    }

    /// So many of a hundred packets vanish on the way to the upstreams, and as many on the way back.
    pub(crate) fn lose(&self, percent: u8) -> Result<(), String> {
        let rule = format!("nft add rule ip faults arriving iifname targets numgen random mod 100 < {percent} drop");
        self.outside(&rule)?;
        self.inside(&rule)
    }

    /// Takes an end of the link to the upstreams down.
    pub(crate) fn link_down(&self, end: End) -> Result<(), String> {
        self.at(end, "ip link set dev targets down")
    }

    /// Takes it up again.
    pub(crate) fn link_up(&self, end: End) -> Result<(), String> {
        self.at(end, "ip link set dev targets up")
    }

    /// No packet vanishes any more.
    pub(crate) fn heal(&self) -> Result<(), String> {
        let rules = "nft flush chain ip faults arriving";
        self.outside(rules)?;
        self.inside(rules)
    }

    /// Datagrams that have arrived at port 53 so far over the link to the upstreams: outside, inside.
    pub(crate) fn queries(&self) -> Result<(u64, u64), String> {
        let list = ["list", "counter", "ip", "faults", "queries"];
        let mut outside = Command::new("nft");
        let read = |command: &mut Command| -> Result<u64, String> {
            let text = output(command.args(list).env("PATH", path()))?;
            let number = text.split("packets ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| format!("no counter in {text}"))
        };
        Ok((read(&mut outside)?, read(&mut self.command("nft"))?))
    }

    fn at(&self, end: End, commands: &str) -> Result<(), String> {
        match end {
            End::Near => self.inside(commands),
            End::Far => self.outside(commands),
        }
    }

    /// Runs commands, one a line, outside.
    fn outside(&self, commands: &str) -> Result<(), String> {
        commands.lines().map(str::trim).filter(|line| !line.is_empty()).try_for_each(|line| {
            let (program, arguments) = line.split_once(' ').unwrap_or((line, ""));
            run(Command::new(program).args(words(arguments)).env("PATH", path()))
        })
    }

    /// Runs commands, one a line, inside.
    fn inside(&self, commands: &str) -> Result<(), String> {
        commands.lines().map(str::trim).filter(|line| !line.is_empty()).try_for_each(|line| {
            let (program, arguments) = line.split_once(' ').unwrap_or((line, ""));
            run(self.command(program).args(words(arguments)))
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The kernel takes its time to end a namespace; the links' names are free at once.
        let _ = self.outside("ip link delete dev clients");
        let _ = self.outside("ip link delete dev targets");
        let _ = self.inside.kill();
        let _ = self.inside.wait();
    }
}

/// Words of a command; what stands in braces is one word, as nft wants a chain's definition.
fn words(line: &str) -> Vec<&str> {
    match line.split_once('{') {
        Some((before, _)) => before.split_whitespace().chain([&line[before.len()..]]).collect(),
        None => line.split_whitespace().collect(),
    }
}

/// Where faults go, and what counts queries over the link to the upstreams.
const RULES: &str = "
    nft flush ruleset
    nft add table ip faults
    nft add counter ip faults queries
    nft add chain ip faults counting { type filter hook prerouting priority -300; }
    nft add rule ip faults counting iifname targets udp dport 53 counter name queries
    nft add chain ip faults arriving { type filter hook prerouting priority -290; }
";
/// The longest that a command here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// Tools live in folders that a user's PATH leaves out.
fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Runs a command that ends by itself.
fn run(command: &mut Command) -> Result<(), String> {
    output(command).map(|_| ())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    let (mut said, mut complaints) = (String::new(), String::new());
    // They say a few lines at most, which the pipes hold.
    let _ = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut said));
    let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut complaints));
    if status.success() { Ok(said) } else { Err(format!("{command:?}: {status}: {}", complaints.trim())) }
}
