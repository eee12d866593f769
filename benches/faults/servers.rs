//! The servers that are compared, each told to forward everything to the same targets and to know one private name.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::{self, OWN_ADDRESS, OWN_NAME, Verdict};
use crate::netns::{DOOR, Network};
use std::net::SocketAddr;

/// Ours, and the peers as Debian builds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Plustwo,
    Unbound,
    Dnsdist,
    Bind,
    Knot,
}

impl Server {
    pub(crate) const ALL: [Self; 5] = [Self::Plustwo, Self::Unbound, Self::Dnsdist, Self::Bind, Self::Knot];

    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|server| server.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of plustwo, unbound, dnsdist, bind, knot-resolver"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plustwo => "plustwo",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
            Self::Bind => "bind",
            Self::Knot => "knot-resolver",
        }
    }

    /// Its program.
    fn program(self) -> &'static str {
        match self {
            Self::Plustwo => env!("CARGO_BIN_EXE_plustwo"),
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
            Self::Bind => "named",
            Self::Knot => "kresd",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        self == Self::Plustwo || search_path().split(':').any(|folder| Path::new(folder).join(self.program()).is_file())
    }

    /// What it says of its version.
    pub(crate) fn version(self) -> String {
        let flag = match self {
            Self::Plustwo => return env!("CARGO_PKG_VERSION").to_owned(),
            Self::Unbound | Self::Knot => "-V",
            Self::Dnsdist => "--version",
            Self::Bind => "-v",
        };
        let Ok(done) = Command::new(self.program()).arg(flag).env("PATH", search_path()).output() else {
            return "not installed".to_owned();
        };
        let words = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        words.split_whitespace().find(is_number).unwrap_or("unknown").to_owned()
    }

    /// Starts it inside a network, with its state in a folder; returns when it answers the private name.
    pub(crate) fn start(self, network: &Network, folder: &Path, targets: &[IpAddr]) -> Result<Running, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(fault)?;
        let (file, text) = self.configuration(folder, targets);
        fs::write(folder.join(file), text).map_err(fault)?;
        if self == Self::Bind {
            let zone = "$TTL 300\n@ IN SOA ns root 1 7200 900 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n";
            fs::write(folder.join("corp.zone"), format!("{zone}www IN A {OWN_ADDRESS}\n")).map_err(fault)?;
        }
        self.launch(network, folder, file)
    }

    /// Starts it with a configuration file that is in its folder.
    pub(crate) fn launch(self, network: &Network, folder: &Path, file: &str) -> Result<Running, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
        let log = folder.join("log");
        let words = fs::File::create(&log).map_err(fault)?;
        let mut command = network.command(self.program());
        match self {
            Self::Plustwo => command.args(["run", "--config"]),
            Self::Unbound => command.args(["-d", "-p", "-c"]),
            Self::Dnsdist => command.args(["--supervised", "--disable-syslog", "-C"]),
            Self::Bind => command.args(["-g", "-n", "1", "-c"]),
            Self::Knot => command.args(["-n", "-c"]),
        };
        command.arg(folder.join(file)).current_dir(folder).env("PATH", search_path()).stdin(Stdio::null());
        command.stdout(words.try_clone().map_err(fault)?).stderr(words);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.name()))?;
        let mut running = Running { child, log, door: SocketAddr::new(DOOR, 53) };
        running.wait_for_an_answer(self)?;
        Ok(running)
    }

    /// The configuration's file name and text.
    fn configuration(self, folder: &Path, targets: &[IpAddr]) -> (&'static str, String) {
        let folder = folder.display();
        let list = |quote: &str, between: &str| {
            targets.iter().map(|target| format!("{quote}{target}{quote}")).collect::<Vec<_>>().join(between)
        };
        match self {
            Self::Plustwo => ("plustwo.toml", plustwo(targets, "")),
            Self::Unbound => {
                let forward: String = targets.iter().map(|target| format!(" forward-addr: {target}\n")).collect();
                let text = format!(
                    "server:\n num-threads: 1\n interface: {DOOR}\n port: 53\n chroot: \"\"\n username: \"\"\n \
                     directory: \"{folder}\"\n pidfile: \"\"\n use-syslog: no\n verbosity: 0\n do-daemonize: no\n \
                     do-ip6: no\n access-control: 10.0.0.0/8 allow\n module-config: \"iterator\"\n \
                     local-zone: \"corp.example.\" static\n local-data: \"{OWN_NAME}. 300 IN A {OWN_ADDRESS}\"\n\
                     remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n{forward}"
                );
                ("unbound.conf", text)
            }
            Self::Dnsdist => {
                let servers: String =
                    targets.iter().map(|target| format!("newServer({{address='{target}'}})\n")).collect();
                let text = format!(
                    "setLocal('{DOOR}')\nsetACL('10.0.0.0/8')\n{servers}\
                     getPool(''):setCache(newPacketCache(1000000, {{maxTTL=86400}}))\n\
                     addAction(QNameRule('{OWN_NAME}.'), SpoofAction('{OWN_ADDRESS}'))\nsetSecurityPollSuffix('')\n"
                );
                ("dnsdist.lua", text)
            }
            Self::Bind => {
                let text = format!(
                    "options {{ directory \"{folder}\"; listen-on {{ {DOOR}; }}; listen-on-v6 {{ none; }}; pid-file none; \
                     session-keyfile \"{folder}/session.key\"; recursion yes; allow-query {{ any; }}; \
                     allow-recursion {{ any; }}; dnssec-validation no; forward only; forwarders {{ {}; }}; }};\n\
                     controls {{ }};\nzone \"corp.example\" {{ type primary; file \"corp.zone\"; }};\n",
                    list("", "; ")
                );
                ("named.conf", text)
            }
            Self::Knot => {
                let text = format!(
                    "net.listen('{DOOR}', 53, {{ kind = 'dns' }})\nnet.ipv6 = false\ntrust_anchors.remove('.')\n\
                     modules = {{ 'hints > iterate' }}\nhints['{OWN_NAME}'] = '{OWN_ADDRESS}'\ncache.size = 100 * MB\n\
                     policy.add(policy.all(policy.STUB({{ {} }})))\n",
                    list("'", ", ")
                );
                ("kresd.conf", text)
            }
        }
    }
}

/// Ours, with further lines at the end.
pub(crate) fn plustwo(targets: &[IpAddr], further: &str) -> String {
    let targets: Vec<String> = targets.iter().map(IpAddr::to_string).collect();
    format!(
        "version = 1\nregion = \"eu-central-1\"\n[server]\nworkers = 1\n[upstream]\ntargets = {targets:?}\n\
         [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{DOOR}\"]\n[[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\n\
         vpcs = [\"vpc-0a\"]\nrecords = [{{ name = \"www\", type = \"A\", values = [\"{OWN_ADDRESS}\"] }}]\n{further}"
    )
}

/// A server that answers; ended when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    /// Where it answers.
    pub(crate) door: SocketAddr,
}

impl Running {
    fn wait_for_an_answer(&mut self, server: Server) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let reply = client::ask(self.door, OWN_NAME, PROBE_WAIT)?;
            if reply.is_some_and(|reply| reply.verdict == Verdict::Right) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended before it answered: {status}\n{}", server.name(), self.words()));
            }
            if began.elapsed() > START_LIMIT {
                return Err(format!("{} gave no answer in {START_LIMIT:?}\n{}", server.name(), self.words()));
            }
        }
    }

    /// What it has said.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its open sockets.
    pub(crate) fn sockets(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        let is_socket =
            |path: PathBuf| fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
        files.filter(|file| is_socket(file.path())).count()
    }

    /// Its open descriptors, of whatever kind.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    /// Asks it to end and waits; what it has said.
    pub(crate) fn leave(mut self) -> Result<String, String> {
        signal(self.id(), "TERM")?;
        let began = Instant::now();
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if began.elapsed() > LEAVE_LIMIT {
                return Err(format!("it does not end within {LEAVE_LIMIT:?}"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(self.words())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal by name, as `STOP`.
pub(crate) fn signal(id: u32, name: &str) -> Result<(), String> {
    match Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot send {name} to {id}: {status}")),
        Err(error) => Err(format!("cannot send {name} to {id}: {error}")),
    }
}

/// Servers lie in /usr/sbin, which is not in every user's path.
fn search_path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", std::env::var("PATH").unwrap_or_default())
}

/// For one reply while it starts.
const PROBE_WAIT: Duration = Duration::from_millis(100);
/// How long a server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(15);
