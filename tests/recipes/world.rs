//! The world around a forwarder, in a namespace of the test's own: the root and what is below it, a provider's resolver,
//! and two daemons at the addresses that the recipes have.

use crate::support::binary::{Program, outcome, plustwo};
use crate::support::{need_tool, skip};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the recipes look for plustwo.
pub(crate) const DAEMONS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 168, 10, 53)), IpAddr::V4(Ipv4Addr::new(192, 168, 10, 54))];
/// The provider's resolver, which is the way to everybody else.
const PROVIDER: &str = "192.0.2.53";
/// The link to the provider, and the site's own address on it.
const UPLINK: &str = "uplink";
const OUR_ADDRESS: &str = "192.0.2.2";
/// The servers of the root, `a` to `m` and what two of them had before, and of `com`: as forwarders know them.
const WORLD: [&str; 15] = [
    "198.41.0.4",
    "170.247.170.2",
    "199.9.14.201",
    "192.33.4.12",
    "199.7.91.13",
    "192.203.230.10",
    "192.5.5.241",
    "192.112.36.4",
    "198.97.190.53",
    "192.36.148.17",
    "192.58.128.30",
    "193.0.14.129",
    "199.7.83.42",
    "202.12.27.33",
    "192.5.6.30",
];
/// Strings of `large.shop.internal`: more than a datagram holds.
pub(crate) const LARGE_STRINGS: usize = 12;
/// Until something listens, at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// What all tests here call, beside the forwarder.
const TOOLS: [&str; 11] = [
    "ip",
    "nft",
    "mount",
    "nsenter",
    "setpriv",
    "nsd",
    "unbound",
    "dig",
    "dnssec-keygen",
    "dnssec-signzone",
    "dnssec-dsfromkey",
];

/// The world. Dropped, all of it ends.
pub(crate) struct World {
    folder: tempfile::TempDir,
    dig: PathBuf,
    outside: Vec<Program>,
    daemons: [Option<Program>; 2],
    /// Where the daemons send what they do not have.
    upstream: String,
    /// The key of the root in base 64, and its DS with spaces between the fields.
    key: String,
    ds: String,
}

impl World {
    /// All of it; none, with a loud word, where a tool is missing.
    pub(crate) fn start() -> Option<Self> {
        let world = Self::with_an_uplink_that_is_down()?;
        run(&format!("ip address add {OUR_ADDRESS}/24 dev {UPLINK}"));
        run(&format!("ip link set dev {UPLINK} up"));
        run(&format!("ip route add default via {PROVIDER}"));
        // The kernel says a moment later that it is.
        let until = Instant::now() + PATIENCE;
        while !outcome(tool("ip").args(["-o", "link", "show", "dev", UPLINK])).1.contains("state UP") {
            assert!(Instant::now() < until, "{UPLINK} does not come up");
            std::thread::sleep(POLL);
        }
        Some(world)
    }

    /// The same, but the link to the outside has no address yet, and leads nowhere.
    pub(crate) fn with_an_uplink_that_is_down() -> Option<Self> {
        if TOOLS.iter().any(|tool| need_tool(tool).is_none()) {
            return None;
        }
        // In a user namespace of one user /etc cannot be laid over, and daemons cannot leave their groups.
        let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if ids.split_whitespace().nth(2).is_none_or(|users| users == "1") {
            skip("forwarders as Debian has them take root to start");
            return None;
        }
        run("ip link set dev lo up");
        for address in DAEMONS {
            run(&format!("ip address add {address}/32 dev lo"));
        }
        run("nft add table ip world");
        run("nft add chain ip world arriving { type filter hook input priority 0; }");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (key, ds) = sign(folder.path());
        own_etc(folder.path());
        let mut world = Self {
            folder,
            dig: need_tool("dig")?,
            outside: Vec::new(),
            daemons: [None, None],
            upstream: PROVIDER.to_owned(),
            key,
            ds,
        };
        world.start_outside();
        world.start_daemons();
        Some(world)
    }

    /// Makes the namespace behind the uplink, with the root, `com` and a provider's resolver in it.
    fn start_outside(&mut self) {
        let holder =
            Program::start(tool("setpriv").args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]));
        let id = holder.id();
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let until = Instant::now() + PATIENCE;
        while namespace(&id.to_string()).is_none_or(|outside| Some(outside) == namespace("self")) {
            assert!(Instant::now() < until, "no second namespace");
            std::thread::sleep(POLL);
        }
        self.outside.push(holder);
        let there = format!("nsenter --net=/proc/{id}/ns/net");
        run(&format!("ip link add {UPLINK} type veth peer name far netns {id}"));
        run(&format!("{there} ip link set dev lo up"));
        run(&format!("{there} ip address add {PROVIDER}/24 dev far"));
        run(&format!("{there} ip link set dev far up"));
        for address in WORLD {
            run(&format!("{there} ip address add {address}/32 dev lo"));
        }
        for (name, file, says) in
            [("nsd", "roots.conf", "nsd started"), ("unbound", "provider.conf", "start of service")]
        {
            let path = self.write(file, &base(file));
            let mut command = tool("nsenter");
            command.arg(format!("--net=/proc/{id}/ns/net")).arg(tool(name).get_program()).args(["-d", "-c"]).arg(path);
            let program = Program::start(&mut command);
            assert!(program.wait_for(says).is_some(), "{name} does not start:\n{}", program.said());
            self.outside.push(program);
        }
    }

    /// Nothing arrives from the outside any more.
    pub(crate) fn cut_the_uplink(&self) {
        run(&format!("nft add rule ip world arriving iifname {UPLINK} drop"));
    }

    /// Writes a file into the world's folder, with what is known now in the places of its placeholders.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        write(&path, &self.filled(text));
        path
    }

    /// A text with the folder, the key and the DS in the places of their placeholders.
    pub(crate) fn filled(&self, text: &str) -> String {
        let folder = self.folder.path().to_str().expect("UTF-8");
        // `@DS,@` and `@DS @`: what stands between the fields.
        let text = text.replace("@FOLDER@", folder).replace("@KEY@", &self.key);
        text.replace("@DS,@", &self.ds.replace(' ', ",")).replace("@DS @", &self.ds)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the daemons that do not run.
    pub(crate) fn start_daemons(&mut self) {
        for (daemon, address) in self.daemons.iter_mut().zip(DAEMONS) {
            if daemon.is_none() {
                let folder = self.folder.path().join(address.to_string());
                let strings: String = (0..LARGE_STRINGS).fold(String::new(), |mut text, number| {
                    let _ = write!(text, "'\"{number:0>200}\"', ");
                    text
                });
                let text = base("plustwo.toml").replace("@DOOR@", &address.to_string()).replace("@LARGE@", &strings);
                let text = text.replace("@UPSTREAM@", &self.upstream);
                write(&folder.join("plustwo.toml"), &text);
                *daemon = Some(served(&folder.join("plustwo.toml")));
            }
        }
    }

    /// Starts both daemons anew, with another upstream.
    pub(crate) fn start_daemons_with(&mut self, upstream: IpAddr) {
        self.upstream = upstream.to_string();
        self.daemons = [None, None];
        self.start_daemons();
    }

    /// Waits until one of the daemons has said these words.
    pub(crate) fn wait_for_a_daemon_to_say(&self, words: &str) {
        let said = || self.daemons.iter().flatten().map(Program::said).collect::<String>();
        let until = Instant::now() + PATIENCE;
        while !said().contains(words) {
            assert!(Instant::now() < until, "nobody says {words:?}:\n{}", said());
            std::thread::sleep(POLL);
        }
    }

    /// Ends a daemon at once: whoever asks it is told by the system that nobody is there.
    pub(crate) fn kill(&mut self, which: usize) {
        self.daemons[which] = None;
    }

    /// What is sent to a daemon vanishes, as on a link that is cut.
    pub(crate) fn silence(&self, which: usize) {
        run(&format!("nft add rule ip world arriving ip daddr {} drop", DAEMONS[which]));
    }

    /// It does not any more.
    pub(crate) fn heal(&self) {
        run("nft flush chain ip world arriving");
    }

    /// Asks a forwarder, as `db.shop.internal A`, as a client with this patience does; the rcode and the answer in one
    /// line, addresses in order.
    pub(crate) fn ask_with(&self, forwarder: IpAddr, patience: &[&str], question: &str) -> String {
        let mut command = Command::new(&self.dig);
        command.arg(format!("@{forwarder}")).args(patience).args(["+noall", "+comments", "+answer"]);
        let (_, said, _) = outcome(command.args(question.split(' ')));
        let rcode = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("nobody");
        let records = said.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        let mut records: Vec<String> =
            records.map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")).collect();
        // A chain comes in its order, the addresses at its end in any.
        records.sort_by_key(|record| (!record.starts_with("CNAME"), record.clone()));
        [&[rcode.to_owned()][..], &records].concat().join(" ")
    }

    /// The same with the patience of glibc: two tries of five seconds.
    pub(crate) fn ask(&self, forwarder: IpAddr, question: &str) -> String {
        self.ask_with(forwarder, &["+time=5", "+tries=2"], question)
    }
}

/// Runs a command of one line; what stands in braces is one word.
#[track_caller]
pub(crate) fn run(line: &str) {
    let (before, braces) = line.split_at(line.find('{').unwrap_or(line.len()));
    let words: Vec<&str> = before.split_whitespace().chain((!braces.is_empty()).then_some(braces)).collect();
    let (code, said, complaints) = outcome(tool(words[0]).args(&words[1..]));
    assert_eq!(code, 0, "{line}: {said}{complaints}");
}

/// A program that is there, because it has been asked for.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(need_tool(name).unwrap_or_else(|| panic!("{name} was there")))
}

/// A file of this folder.
pub(crate) fn base(name: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(name))
}

/// A file's text.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes a file, and the folders that it is in.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Waits until somebody takes connections at port 53 of an address.
pub(crate) fn wait_for_port_53(address: IpAddr, who: &Program) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(SocketAddr::new(address, 53)).is_err() {
        assert!(Instant::now() < until, "nobody listens at {address}:\n{}", who.said());
        std::thread::sleep(POLL);
    }
}

/// plustwo with a configuration, serving.
pub(crate) fn served(configuration: &Path) -> Program {
    let program = Program::start(plustwo().args(["run", "--config"]).arg(configuration));
    assert!(program.wait_for("serving generation 1").is_some(), "it does not serve:\n{}", program.said());
    program
}

/// Writes the zones of the world, and signs the root: its key in base 64, and its DS.
fn sign(folder: &Path) -> (String, String) {
    for file in ["root.zone", "com.zone", "empty.zone"] {
        write(&folder.join(file), &base(file));
    }
    let run = |name: &str, arguments: &[&str]| {
        let (code, said, complaints) = outcome(tool(name).args(arguments).current_dir(folder));
        assert_eq!(code, 0, "{name}: {said}{complaints}");
        said
    };
    let key = run("dnssec-keygen", &["-K", ".", "-a", "ECDSAP256SHA256", "-f", "KSK", "."]);
    let key = format!("{}.key", key.trim());
    run("dnssec-signzone", &["-S", "-z", "-K", ".", "-o", ".", "-f", "root.signed", "root.zone"]);
    let ds = run("dnssec-dsfromkey", &["-2", &key]);
    let ds: Vec<&str> = ds.split_whitespace().skip_while(|word| *word != "DS").skip(1).collect();
    let text = read(&folder.join(&key));
    let line = text.lines().find(|line| line.contains(" DNSKEY ")).expect("a key");
    write(&folder.join("root.key"), &format!("{line}\n"));
    let key: String = line.split_whitespace().skip_while(|word| *word != "DNSKEY").skip(4).collect();
    (key, ds.join(" "))
}

/// Makes /etc, /run and /var/lib the test's own, as far as it writes to them: recipes stand where they say.
fn own_etc(folder: &Path) {
    let (layer, folder) = (folder.join("etc"), folder.display());
    std::fs::create_dir(&layer).expect("a folder can be made");
    run(&format!("mount -t tmpfs own {folder}/etc"));
    for part in ["upper", "work"] {
        std::fs::create_dir(layer.join(part)).expect("a folder can be made");
    }
    run(&format!("mount -t overlay own -o lowerdir=/etc,upperdir={folder}/etc/upper,workdir={folder}/etc/work /etc"));
    run("mount -t tmpfs own /run");
    run("mount -t tmpfs own /var/lib");
}
