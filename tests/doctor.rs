//! `plustwo doctor`, and what a start says that fails: with real neighbours, in namespaces where the real ports, addresses
//! and files can be had.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::alone::alone;
use support::binary::{Program, outcome, plustwo};
use support::need_tool;

/// The file of every test; `@…@` is replaced. The doors stand in lines of their own.
const FILE: &str = r#"version = 1
region  = "eu-central-1"

[server]
listen = [
  @DOORS@
]
allow = ["127.0.0.0/8"]
default_vpc = "vpc-0a"

[upstream]
targets = @TARGETS@

[admin]
socket = "admin.sock"

[[vpc]]
id    = "vpc-0a"
cidrs = ["10.0.0.0/16"]

[[hosted_zone]]
id      = "Z0"
name    = "corp.example"
vpcs    = ["vpc-0a"]
records = [{ name = "www", type = "A", values = ["10.0.1.1"] }]
"#;

/// A folder with the file in it.
fn written(doors: &str, targets: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = FILE.replace("@DOORS@", doors).replace("@TARGETS@", targets);
    fs::write(folder.path().join("plustwo.toml"), text).expect("a file can be written");
    folder
}

/// Runs a command of the system that must succeed.
#[track_caller]
fn system(line: &str) {
    let (code, stdout, stderr) = outcome(Command::new("sh").args(["-c", line]));
    assert_eq!(code, 0, "{line}: {stdout}{stderr}");
}

/// A command with another before it, as `setpriv`.
fn behind(before: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(before[0]);
    whole.args(&before[1..]).arg(command.get_program()).args(command.get_args());
    whole
}

/// Takes every capability from who runs it, also from root.
const WITHOUT_CAPABILITIES: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

/// What a start says that fails.
#[track_caller]
fn refused(folder: &Path, before: &[&str]) -> String {
    let mut run = plustwo();
    run.args(["run", "--config"]).arg(folder.join("plustwo.toml"));
    let mut run = if before.is_empty() { run } else { behind(before, &run) };
    let (code, stdout, stderr) = outcome(&mut run);
    assert_eq!((code, &*stdout), (1, ""), "{stderr}");
    stderr
}

/// What was found, and the exit code.
struct Found {
    code: i32,
    json: serde_json::Value,
}

impl Found {
    /// What the doctor finds with a file.
    #[track_caller]
    fn of(folder: &Path) -> Self {
        Self::by(folder, &[])
    }

    /// The same, with a command before it.
    #[track_caller]
    fn by(folder: &Path, before: &[&str]) -> Self {
        let mut doctor = plustwo();
        doctor.args(["doctor", "--json", "--config"]).arg(folder.join("plustwo.toml"));
        let mut doctor = if before.is_empty() { doctor } else { behind(before, &doctor) };
        let (code, stdout, stderr) = outcome(&mut doctor);
        assert_eq!(stderr, "", "{stdout}");
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        let fails = json["counts"]["fail"].as_u64().expect("a count");
        assert_eq!((code, json["result"] == "fail"), (i32::from(fails > 0), fails > 0), "{json:#}");
        Self { code, json }
    }

    /// The findings of a check whose subject holds these words: result, and all that is said.
    fn all(&self, check: &str, subject: &str) -> Vec<(String, String)> {
        let findings = self.json["findings"].as_array().expect("a list");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let of_check =
            findings.iter().filter(|finding| finding["check"] == check && text(&finding["subject"]).contains(subject));
        of_check
            .map(|finding| {
                let remedies = finding["remedies"].as_array().expect("a list").iter().map(text);
                let words: Vec<String> =
                    [text(&finding["says"]), text(&finding["means"])].into_iter().chain(remedies).collect();
                (text(&finding["result"]), words.join("\n"))
            })
            .collect()
    }

    /// The only one of them: its result must be this, and it must say these words.
    #[track_caller]
    fn must(&self, check: &str, subject: &str, result: &str, words: &[&str]) {
        let found = self.all(check, subject);
        let [(found_result, said)] = &found[..] else { panic!("{check} {subject}: {found:#?} in {:#}", self.json) };
        assert_eq!(found_result, result, "{check} {subject}: {said}");
        for word in words {
            assert!(said.contains(word), "{check} {subject}: no {word:?} in {said}");
        }
    }
}

/// Debian's unbound in the foreground at these addresses, with these further lines.
fn unbound(tool: &Path, folder: &Path, interfaces: &[&str], lines: &str) -> Program {
    let conf = folder.join("unbound.conf");
    let interfaces: String = interfaces.iter().map(|interface| format!(" interface: {interface}\n")).collect();
    let text = format!(
        "server:\n{interfaces} chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n \
         do-daemonize: no\n verbosity: 1\n num-threads: 1\n module-config: \"iterator\"\n \
         access-control: 127.0.0.0/8 allow\n{lines}"
    );
    fs::write(&conf, text).expect("a file can be written");
    let program = Program::start(Command::new(tool).arg("-d").arg("-c").arg(conf));
    assert!(program.wait_for("start of service").is_some(), "{}", program.said());
    program
}

/// The real program with the file of a folder.
fn serve(folder: &Path) -> Program {
    let program = Program::start(plustwo().args(["run", "--config"]).arg(folder.join("plustwo.toml")));
    assert!(program.wait_for("serving generation 1").is_some(), "{}", program.said());
    program
}

/// All that stands in the way is said at once, each with its line: who holds the port, the address of nobody here, IPv6 that
/// is switched off, and an admin socket without a folder.
#[test]
fn a_start_that_fails_names_everything_that_stands_in_the_way() {
    let Some(tool) = need_tool("unbound") else { return };
    alone("a_start_that_fails_names_everything_that_stands_in_the_way", || {
        system(
            "ip link set dev lo up && ip link add near type veth peer name far && ip link set dev far up && ip addr add 10.1.0.1/24 dev near && ip link set dev near up",
        );
        system("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
        let neighbour = tempfile::tempdir().expect("a temporary folder");
        let held = unbound(&tool, neighbour.path(), &["127.0.0.1"], "");
        let folder = written("\"127.0.0.1\",\n  \"10.1.0.2\",\n  \"192.0.2.7:5300\",\n  \"[2001:db8::7]:53\",", "[]");
        let said = refused(folder.path(), &[]);
        let file = folder.path().join("plustwo.toml").display().to_string();
        for words in [
            format!(
                "error: cannot listen on 127.0.0.1:53 over UDP and TCP: Address already in use (os error 98)\n  --> {file}:6:3   [server]\n  unbound (process {}, user root) holds it over UDP and TCP\n",
                held.id()
            ),
            "hint: name the addresses that it keeps with `interface:`".to_owned(),
            "`sudo systemctl disable --now unbound`".to_owned(),
            format!(
                "cannot listen on 10.1.0.2:53 over UDP and TCP: Cannot assign requested address (os error 99)\n  --> {file}:7:3   [server]\n"
            ),
            "its network is that of near\nhint: add it: `sudo ip address add 10.1.0.2/24 dev near`".to_owned(),
            format!(
                "--> {file}:8:3   [server]\n  this machine has not this address, nor an interface in its network\nhint: add it, if clients are routed here for it: `sudo ip address add 192.0.2.7/32 dev lo`"
            ),
            format!("--> {file}:9:3   [server]\n  IPv6 is switched off on this machine"),
        ] {
            assert!(said.contains(&words), "{words:?}: {said}");
        }
        // A door on every address meets one on a single address.
        let folder = written("\"0.0.0.0:53\"", "[]");
        fs::create_dir(folder.path().join("admin.sock")).expect("a folder in the way");
        let said = refused(folder.path(), &[]);
        for words in [
            "cannot listen on the admin socket",
            "holds 127.0.0.1:53 over UDP and TCP, and 0.0.0.0 means every address",
            "listen on the addresses that clients ask, and not on every one",
        ] {
            assert!(said.contains(words), "{words:?}: {said}");
        }
    });
}

/// Without the capability the lines that give it are named; who holds a port that one may not look at is told by its user,
/// and how others see it.
#[test]
fn without_privileges_it_is_said_which_are_missing() {
    let Some(tool) = need_tool("unbound") else { return };
    alone("without_privileges_it_is_said_which_are_missing", || {
        system("ip link set dev lo up");
        let folder = written("\"127.0.0.1\"", "[]");
        let said = refused(folder.path(), &WITHOUT_CAPABILITIES);
        for words in [
            "cannot listen on 127.0.0.1:53 over UDP and TCP: Permission denied",
            "plustwo.toml:6:3",
            "ports below 1024 need CAP_NET_BIND_SERVICE",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "setcap cap_net_bind_service=+ep /",
            "sysctl -w net.ipv4.ip_unprivileged_port_start=53",
        ] {
            assert!(said.contains(words), "{words:?}: {said}");
        }
        let found = Found::by(folder.path(), &WITHOUT_CAPABILITIES);
        found.must("door", "127.0.0.1:53", "fail", &["Permission denied", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]);
        found.must("privilege", "", "fail", &["127.0.0.1:53 needs CAP_NET_BIND_SERVICE", "setcap"]);
        Found::of(folder.path()).must("privilege", "", "ok", &["CAP_NET_BIND_SERVICE"]);
        // The kernel gives everyone the port: nothing is missing any more, but for looking at others.
        system("echo 53 > /proc/sys/net/ipv4/ip_unprivileged_port_start");
        Found::by(folder.path(), &WITHOUT_CAPABILITIES).must(
            "privilege",
            "",
            "ok",
            &["no door is at a port that needs one"],
        );
        let neighbour = tempfile::tempdir().expect("a temporary folder");
        let _held = unbound(&tool, neighbour.path(), &["127.0.0.1"], "");
        let said = refused(folder.path(), &WITHOUT_CAPABILITIES);
        for words in ["a process of the user root that you may not look at holds it", "sudo ss -ltunp 'sport = :53'"] {
            assert!(said.contains(words), "{words:?}: {said}");
        }
    });
}

/// Doors: free, held by unbound, open and answering; what a running plustwo says, and what it is without its file.
#[test]
fn doors_are_free_or_open_or_held() {
    let Some(tool) = need_tool("unbound") else { return };
    alone("doors_are_free_or_open_or_held", || {
        system("ip link set dev lo up");
        let folder = written("\"127.0.0.1\", \"127.0.0.2\"", "[]");
        let found = Found::of(folder.path());
        found.must("door", "127.0.0.1:53", "ok", &["free"]);
        found.must("door", "127.0.0.2:53", "ok", &["free"]);
        found.must("admin-socket", "admin.sock", "skipped", &["does not run"]);
        {
            let _held = unbound(&tool, folder.path(), &["127.0.0.2"], "");
            let found = Found::of(folder.path());
            found.must("door", "127.0.0.1:53", "ok", &["free"]);
            found.must(
                "door",
                "127.0.0.2:53",
                "fail",
                &["unbound (process ", "holds it over UDP and TCP", "plustwo.toml:6:16", "disable --now"],
            );
            assert_eq!(found.code, 1);
        }
        let program = serve(folder.path());
        let found = Found::of(folder.path());
        let process = format!("(process {}) answers; it serves generation 1", program.id());
        found.must("admin-socket", "admin.sock", "ok", &[&process]);
        found.must(
            "door",
            "127.0.0.1:53",
            "ok",
            &["plustwo has it open and answers NOERROR over UDP in ", "over TCP in "],
        );
        found.must("door", "127.0.0.2:53", "ok", &["plustwo has it open"]);
        found.must("drops", "doors", "ok", &["dropped no query"]);
        found.must("open-files", "", "ok", &["the running plustwo may have"]);
        found.must("privilege", "", "ok", &["the running plustwo"]);
        // Who may look at nothing is told by the admin socket whose the doors are.
        let found = Found::by(folder.path(), &WITHOUT_CAPABILITIES);
        found.must("door", "127.0.0.1:53", "ok", &["plustwo has it open and answers"]);
        // A file with an error: what needs it is skipped, and what is served is said.
        let file = folder.path().join("plustwo.toml");
        let good = fs::read_to_string(&file).expect("it is there");
        fs::write(&file, good.replace("cidrs", "cidr")).expect("a file can be written");
        assert!(program.wait_for("reload failed").is_some());
        let found = Found::of(folder.path());
        found.must("configuration", "plustwo.toml:19", "fail", &["cidr"]);
        found.must("door", "", "skipped", &["cannot be served"]);
        assert_eq!(found.code, 1);
        program.signal("STOP");
        fs::write(&file, good).expect("a file can be written");
        let found = Found::of(folder.path());
        found.must("door", "127.0.0.1:53", "fail", &["does not answer: over UDP it does not answer in time"]);
        found.must("admin-socket", "admin.sock", "fail", &["does not answer"]);
        program.signal("CONT");
    });
}

/// Of many doors that are fine a few are told; none of them is taken for somebody else's.
#[test]
fn many_doors_are_as_fine_as_few() {
    alone("many_doors_are_as_fine_as_few", || {
        system("ip link set dev lo up");
        let doors: Vec<String> = (1..=40).map(|number| format!("\"127.0.1.{number}\"")).collect();
        let folder = written(&doors.join(", "), "[]");
        let _program = serve(folder.path());
        let found = Found::of(folder.path());
        assert_eq!(found.code, 0, "{:#}", found.json);
        let doors = found.all("door", "");
        assert_eq!(doors.len(), 17, "{doors:#?}");
        assert_eq!(doors[16], ("ok".to_owned(), "and 24 more doors are fine\n".to_owned()));
        assert!(doors[0].1.contains("answers NOERROR") && doors.iter().all(|(result, _)| result == "ok"), "{doors:#?}");
    });
}

/// Targets: one that answers, one that refuses, one that is dead, one without TCP; all within the time for all.
#[test]
fn every_target_is_asked() {
    let Some(tool) = need_tool("unbound") else { return };
    alone("every_target_is_asked", || {
        system(
            "ip link set dev lo up && ip link add near type veth peer name far && ip link set dev far up && ip addr add 10.1.0.1/24 dev near && ip link set dev near up",
        );
        let neighbour = tempfile::tempdir().expect("a temporary folder");
        let lines = " local-zone: \"example.com.\" static\n local-data: \"example.com. SOA a.example.com. b.example.com. 1 2 3 4 5\"\n";
        let _answers = unbound(&tool, neighbour.path(), &["127.0.0.11", "127.0.0.15"], lines);
        let other = tempfile::tempdir().expect("a temporary folder");
        let _refuses =
            unbound(&tool, other.path(), &["127.0.0.12"], &format!(" access-control: 127.0.0.1/32 refuse\n{lines}"));
        let third = tempfile::tempdir().expect("a temporary folder");
        let _only_udp = unbound(&tool, third.path(), &["127.0.0.13"], &format!(" do-tcp: no\n{lines}"));
        let targets =
            "[\"127.0.0.11\", \"127.0.0.12\", \"127.0.0.13\", \"10.1.0.9\", \"127.0.0.14\", \"tcp://127.0.0.15\"]";
        let folder = written("\"127.0.0.1\"", targets);
        let found = Found::of(folder.path());
        found.must(
            "target",
            "127.0.0.11:53 ([upstream])",
            "ok",
            &["answers NOERROR for example.com. over UDP in ", ", over TCP in "],
        );
        found.must("target", "127.0.0.12:53", "fail", &["answers REFUSED", "allow-query"]);
        found.must(
            "target",
            "127.0.0.13:53",
            "warn",
            &["over UDP in ", "over TCP it refuses connections", "let TCP through"],
        );
        found.must("target", "10.1.0.9:53", "fail", &["ip route get 10.1.0.9"]);
        found.must("target", "127.0.0.14:53", "fail", &["over UDP nobody listens there"]);
        found.must("target", "tcp://127.0.0.15:53", "ok", &["answers NOERROR"]);
        assert!(found.json["took_millis"].as_u64().expect("a number") < 15_000, "{:#}", found.json);
    });
}

/// resolv.conf: another's, ours, ours and another's, and a circle; systemd-resolved that asks us and is asked by us.
#[test]
fn resolv_conf_is_compared_with_the_doors() {
    alone("resolv_conf_is_compared_with_the_doors", || {
        system("ip link set dev lo up && mount -t tmpfs none /run");
        let folder = written("\"127.0.0.1\"", "\"system\"");
        let resolv_conf = folder.path().join("resolv.conf");
        let write = |text: &str| fs::write(&resolv_conf, text).expect("a file can be written");
        write("nameserver 127.0.0.1\n");
        system(&format!("mount --bind {} /etc/resolv.conf", resolv_conf.display()));
        let found = Found::of(folder.path());
        found.must("resolv.conf", "", "fail", &["names only plustwo (127.0.0.1)", "loop", "[upstream] targets"]);
        found.must("target", "", "warn", &["SERVFAIL"]);
        found.must("systemd-resolved", "", "skipped", &["does not run"]);
        write("# Generated by NetworkManager\nnameserver 127.0.0.14\n");
        Found::of(folder.path()).must(
            "resolv.conf",
            "",
            "ok",
            &["ask 127.0.0.14, not plustwo; NetworkManager writes it"],
        );
        let folder = written("\"127.0.0.1\"", "[]");
        write("nameserver 127.0.0.1\nnameserver 127.0.0.14\nsearch a.example b.example\noptions ndots:5\n");
        Found::of(folder.path()).all("resolv.conf", "").iter().for_each(|(result, said)| {
            assert!(
                result == "warn" && (said.contains("does not answer there") || said.contains("asked 3 times")),
                "{said}"
            );
        });
        {
            let _program = serve(folder.path());
            let found = Found::of(folder.path()).all("resolv.conf", "");
            assert!(
                found[0].0 == "warn"
                    && found[0].1.contains("of whom 127.0.0.1 is plustwo")
                    && found[0].1.contains("musl"),
                "{found:#?}"
            );
            write("nameserver 127.0.0.1\n");
            Found::of(folder.path()).must("resolv.conf", "", "ok", &["ask plustwo (127.0.0.1)"]);
        }
        // systemd-resolved asks us, and we ask its stub.
        fs::create_dir_all("/run/systemd/resolve").expect("a folder");
        fs::write("/run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n").expect("a file");
        let folder = written("\"127.0.0.1\"", "[\"127.0.0.53\"]");
        let found = Found::of(folder.path());
        found.must("systemd-resolved", "", "fail", &["it asks plustwo (127.0.0.1), and plustwo's upstream asks it"]);
    });
}

/// A dnsmasq that drops private addresses, in front of a running plustwo: its file, and what it makes of a name.
#[test]
fn a_resolver_that_drops_private_addresses_is_seen() {
    let (Some(tool), Some(_)) = (need_tool("dnsmasq"), need_tool("unbound")) else { return };
    alone("a_resolver_that_drops_private_addresses_is_seen", || {
        system("ip link set dev lo up");
        let folder = written("\"127.0.0.1:5300\"", "[]");
        let resolv_conf = folder.path().join("resolv.conf");
        fs::write(&resolv_conf, "nameserver 127.0.0.2\n").expect("a file can be written");
        system(&format!("mount --bind {} /etc/resolv.conf", resolv_conf.display()));
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).expect("a folder");
        let _program = serve(folder.path());
        let dnsmasq = |lines: &str| {
            let conf = etc.join("dnsmasq.conf");
            fs::write(&conf, lines).expect("a file can be written");
            let mut command = Command::new(&tool);
            command.args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--user=root",
                "--group=root",
                "--pid-file=",
                "--no-resolv",
                "--no-hosts",
            ]);
            command.args(["--listen-address=127.0.0.2", "--bind-interfaces", "--server=/corp.example/127.0.0.1#5300"]);
            let program = Program::start(command.arg(format!("--conf-file={}", conf.display())));
            assert!(program.wait_for("started, version").is_some(), "{}", program.said());
            program
        };
        {
            let _drops = dnsmasq("stop-dns-rebind\n");
            let found = Found::of(folder.path());
            let words = [
                "plustwo says 10.0.1.1 for www.corp.example., and through this resolver there is no address",
                "rebind-domain-ok=",
            ];
            found.must("rebind-filter", "resolver 127.0.0.2", "warn", &words);
        }
        let _passes = dnsmasq("stop-dns-rebind\nrebind-domain-ok=/corp.example/\n");
        let found = Found::of(folder.path());
        found.must("rebind-filter", "resolver 127.0.0.2", "ok", &["what plustwo says, 10.0.1.1"]);
        // The files of those that are not asked are read all the same.
        system("mount -t tmpfs none /etc/unbound/unbound.conf.d");
        fs::write("/etc/unbound/unbound.conf.d/x.conf", "server:\n private-address: 10.0.0.0/8\n").expect("a file");
        let words = ["/etc/unbound/unbound.conf.d/x.conf:2", "`private-domain: \"corp.example\"`"];
        Found::of(folder.path()).must("rebind-filter", "unbound", "warn", &words);
    });
}

#[test]
fn people_and_programs_are_told_the_same() {
    let folder = written("\"127.0.0.1:0\"", "[]");
    let file = folder.path().join("plustwo.toml");
    let (code, words, stderr) = outcome(plustwo().args(["doctor", "--config"]).arg(&file));
    assert_eq!(stderr, "");
    let found = Found::of(folder.path());
    assert_eq!(code, found.code, "{words}");
    let findings = found.json["findings"].as_array().expect("a list");
    for finding in findings {
        let check = finding["check"].as_str().expect("a text");
        assert!(words.lines().any(|line| line.split_whitespace().nth(1) == Some(check)), "{check}: {words}");
    }
    assert!(words.contains(" ok, ") && words.contains(" skipped; it took "), "{words}");
    let (code, _, said) = outcome(plustwo().args(["doctor", "--jsn"]));
    assert_eq!(code, 2, "{said}");
    let (code, words, _) = outcome(plustwo().args(["doctor", "--config"]).arg(folder.path().join("gone.toml")));
    assert!(code == 1 && words.contains("FAIL    configuration") && words.contains("gone.toml"), "{words}");
}

/// docs/doctor.md has every check, as the program describes it, and every key of the JSON.
#[test]
fn the_page_has_every_check_and_every_key() {
    let page = include_str!("../docs/doctor.md");
    for (check, what) in plustwo::daemon::doctor::CHECKS {
        assert!(page.contains(&format!("| `{check}` | {what} |")), "docs/doctor.md lacks | `{check}` | {what} |");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    let folder = written("\"127.0.0.1:0\"", "[]");
    let found = Found::of(folder.path());
    let keys = |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let keys: std::collections::BTreeSet<String> =
        [keys(&found.json), keys(&found.json["findings"][0])].concat().into_iter().collect();
    for key in &keys {
        assert!(page.contains(&format!("| `{key}` | ")), "docs/doctor.md lacks the key {key}");
    }
    assert_eq!(rows, plustwo::daemon::doctor::CHECKS.len() + keys.len(), "docs/doctor.md has rows of nothing");
}
