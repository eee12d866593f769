//! The query log and dnstap of the real program: every way of answering has its line, and nothing that becomes of the lines
//! holds up an answer.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{Program, free_port, outcome, plustwo};
use support::upstream::{Behaviour, Upstream};
use support::world::answering;
use support::{need_tool, skip};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A client that may not ask.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often something is looked for.
const POLL: Duration = Duration::from_millis(5);
/// How often other ports are tried when somebody took one.
const PORT_TRIES: usize = 8;

/// A configuration in a folder of its own, and what it forwards to.
struct Site {
    folder: tempfile::TempDir,
    /// Of vpc-a, of an inbound endpoint of it, and of vpc-b.
    doors: [SocketAddr; 3],
    upstream: Upstream,
    /// Asked for names below `elsewhere.example`: it refuses.
    by_rule: Upstream,
}

impl Site {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            doors: [0; 3].map(|_| free_port(LOOPBACK)),
            upstream: answering(&[
                "www.public.example. 300 IN A 198.51.100.1",
                "tcp.public.example. 300 IN A 198.51.100.2",
                "out.public.example. 300 IN A 198.51.100.3",
            ]),
            by_rule: Upstream::start(Vec::new(), Behaviour::from_word(Some("refused"))),
        }
    }

    /// Writes the configuration, with these tables for the logs.
    fn write(&self, logs: &str) {
        let [door, inbound, other] = self.doors;
        let (upstream, by_rule) = (self.upstream.address(), self.by_rule.address());
        let text = format!(
            "version = 1\nregion = \"us-west-2\"\n[server]\nworkers = 2\n[upstream]\ntargets = [\"{upstream}\"]\n\
             [admin]\nsocket = \"admin.sock\"\n{logs}\n\
             [[vpc]]\nid = \"vpc-a\"\nname = \"a\"\nowner_id = \"111122223333\"\ncidrs = [\"127.0.0.0/24\"]\n\
             listen = [\"{door}\"]\nallow = [\"127.0.0.1/32\"]\n\
             [[vpc]]\nid = \"vpc-b\"\nregion = \"eu-central-1\"\nlisten = [\"{other}\"]\nallow = [\"127.0.0.1/32\"]\n\
             [[instance]]\nid = \"i-0123456789abcdef0\"\nvpc = \"vpc-a\"\nprivate_ip_address = \"127.0.0.1\"\n\
             [[inbound_endpoint]]\nid = \"rslvr-in-1\"\nvpc = \"vpc-a\"\nlisten = [\"{inbound}\"]\n\
             allow = [\"127.0.0.1/32\"]\n\
             [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-a\"]\nrecords = [\n\
             {{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }},\n\
             {{ name = \"t\", type = \"TXT\", values = ['\"v=1 \\\"x\\\"\" \"y\"'] }},\n\
             {{ name = \"out\", type = \"CNAME\", values = [\"out.public.example\"] }},\n\
             {{ name = \"*.any\", type = \"A\", values = [\"10.0.0.2\"] }}]\n\
             [[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"elsewhere.example\"\naction = \"forward\"\n\
             targets = [\"{by_rule}\"]\nvpcs = [\"vpc-a\"]\n"
        );
        fs::write(self.path("plustwo.toml"), text).expect("a file can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves with these tables; ports that somebody took are chosen anew.
    fn serve(&mut self, logs: &str) -> Program {
        self.serve_by(logs, |path| {
            let mut command = plustwo();
            command.args(["run", "--config"]).arg(path);
            command
        })
    }

    fn serve_by(&mut self, logs: &str, command: impl Fn(&Path) -> Command) -> Program {
        for _ in 0..PORT_TRIES {
            self.write(logs);
            let program = Program::start(&mut command(&self.path("plustwo.toml")));
            if program.wait_for("serving generation 1").is_some() {
                return program;
            }
            assert!(program.said().contains("cannot listen"), "it does not serve:\n{}", program.said());
            self.doors = [0; 3].map(|_| free_port(LOOPBACK));
        }
        panic!("no free ports");
    }

    /// Asks for the address of a name over UDP at the first door; the reply.
    fn ask(&self, name: &str) -> Vec<u8> {
        ask::over_udp(LOOPBACK, self.doors[0], &Question::new(name, "A").octets(7)).expect("a reply over UDP")
    }

    /// The lines of a file once there are so many.
    fn lines(&self, file: &str, count: usize) -> Vec<Value> {
        let path = self.path(file);
        let mut text = String::new();
        let found = look_for(|| {
            text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines: Vec<Value> = whole.map(read_line).collect();
            (lines.len() >= count).then_some(lines)
        });
        let counted =
            || ["records_total", "lost_total"].map(|name| self.metrics_of(&format!("plustwo_query_log_{name}")));
        found.unwrap_or_else(|| panic!("there are never {count} lines, but\n{text}\n{:?}", counted()))
    }

    /// The value of a series in a scrape; 0 where it is not there.
    fn metric(&self, series: &str) -> f64 {
        let text = self.scrape();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The lines of a metric in a scrape.
    fn metrics_of(&self, name: &str) -> Vec<String> {
        self.scrape().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    fn scrape(&self) -> String {
        let mut stream = UnixStream::connect(self.path("admin.sock")).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// Waits until a series has at least this value.
    fn wait_for_metric(&self, series: &str, least: f64) {
        wait_for(&format!("{series} of {least}"), || (self.metric(series) >= least).then_some(()));
    }

    /// Has another configuration taken up.
    fn reload(&self, program: &Program, logs: &str) {
        self.write(logs);
        let before = program.said().matches("reloaded generation=").count();
        program.signal("HUP");
        wait_for("a reload", || (program.said().matches("reloaded generation=").count() > before).then_some(()));
    }
}

/// Waits until something is there.
#[track_caller]
fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(look).unwrap_or_else(|| panic!("there is never {what}"))
}

/// Looks until something is there, or patience ends.
fn look_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(POLL);
    }
}

#[track_caller]
fn read_line(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert!(value.is_object(), "{line}");
    value
}

/// The lines with this name.
fn named<'l>(lines: &'l [Value], name: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["query_name"] == name).collect()
}

const TO_FILE: &str = "[query_log]\noutput = \"file:query.log\"";
const LOST_FULL: &str = "plustwo_query_log_lost_total{log=\"query_log\",reason=\"output_failed\"}";
const WRITTEN: &str = "plustwo_query_log_records_total{log=\"query_log\"}";
const UP: &str = "plustwo_query_log_up{log=\"query_log\"}";

#[test]
fn every_way_of_answering_has_its_line() {
    let mut site = Site::new();
    let program = site.serve(TO_FILE);
    let [door, inbound, other] = site.doors;
    let question = |name: &str, rtype: &str| Question::new(name, rtype).octets(7);
    let udp = |client, door, query: &[u8]| ask::over_udp(client, door, query).expect("a reply over UDP");
    let tcp = |query: &[u8]| ask::over_tcp(LOOPBACK, door, query).expect("a reply over TCP");

    // A socket whose port is known.
    let client = ask::udp_client(LOOPBACK, door);
    client.send(&question("www.corp.example", "A")).expect("it listens");
    ask::receive(&client).expect("a reply over UDP");
    let port = client.local_addr().expect("bound").port().to_string();
    tcp(&question("t.corp.example", "TXT"));
    udp(LOOPBACK, inbound, &question("gone.corp.example", "AAAA"));
    udp(LOOPBACK, door, &question("www.public.example", "A"));
    udp(LOOPBACK, door, &question("WWW.public.example", "A"));
    tcp(&question("tcp.public.example", "A"));
    udp(LOOPBACK, door, &question("out.corp.example", "A"));
    udp(LOOPBACK, door, &question("x.elsewhere.example", "A"));
    udp(LOOPBACK, other, &question("www.corp.example", "A"));
    udp(STRANGER, door, &question("stranger.example", "A"));
    // Cut off behind the question, which can be read; and no question at all.
    let mut cut = question("cut.example", "MX");
    cut.truncate(cut.len() - 4);
    udp(LOOPBACK, door, &cut);
    udp(LOOPBACK, door, &[0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    udp(LOOPBACK, door, &Question { class: 3, ..Question::new("version.bind", "TXT") }.octets(7));
    let lines = site.lines("query.log", 13);
    assert_eq!(lines.len(), 13, "{lines:#?}");

    let one = |name: &str| match named(&lines, name)[..] {
        [line] => line,
        ref found => panic!("{} lines of {name}: {lines:#?}", found.len()),
    };
    // All that AWS has, exactly; ours is behind it.
    let [of_a, of_b] = named(&lines, "www.corp.example.")[..] else { panic!("two lines: {lines:#?}") };
    let aws = |line: &Value| {
        let keys = line.as_object().expect("an object").iter().filter(|(key, _)| !key.starts_with("plustwo_"));
        Value::Object(keys.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    let timestamp = of_a["query_timestamp"].as_str().expect("a text");
    assert!(timestamp.len() == 20 && timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T', "{timestamp}");
    assert_eq!(
        aws(of_a),
        json!({
            "version": "1.100000", "account_id": "111122223333", "region": "us-west-2", "vpc_id": "vpc-a",
            "query_timestamp": timestamp, "query_name": "www.corp.example.", "query_type": "A", "query_class": "IN",
            "rcode": "NOERROR", "answers": [{ "Rdata": "10.0.0.1", "Type": "A", "Class": "IN" }],
            "srcaddr": "127.0.0.1", "srcport": port, "transport": "UDP", "srcids": { "instance": "i-0123456789abcdef0" },
        })
    );
    assert_eq!(
        (&of_a["plustwo_source"], &of_a["plustwo_zone"], &of_a["plustwo_door"], &of_a["plustwo_ingress"]),
        (&json!("hosted_zone"), &json!("Z0"), &json!(door.to_string()), &json!("inside"))
    );
    assert_eq!((&of_a["plustwo_truncated"], of_a.get("plustwo_cache")), (&json!(false), None));
    assert!(of_a["plustwo_latency_seconds"].as_f64().is_some_and(|seconds| (0.0..10.0).contains(&seconds)));
    // Another VPC: no zone, so it is forwarded, and there is no such name.
    assert_eq!((&of_b["vpc_id"], &of_b["region"]), (&json!("vpc-b"), &json!("eu-central-1")));
    assert_eq!((&of_b["account_id"], &of_b["srcids"]), (&json!("000000000000"), &json!({})));
    assert_eq!((&of_b["plustwo_source"], of_b.get("plustwo_zone")), (&json!("forward"), None));

    let over_tcp = one("t.corp.example.");
    assert_eq!((&over_tcp["transport"], &over_tcp["query_type"]), (&json!("TCP"), &json!("TXT")));
    assert_eq!(over_tcp["answers"], json!([{ "Rdata": "\"v=1 \\\"x\\\"\" \"y\"", "Type": "TXT", "Class": "IN" }]));

    let via_inbound = one("gone.corp.example.");
    assert_eq!((&via_inbound["rcode"], &via_inbound["answers"]), (&json!("NXDOMAIN"), &json!([])));
    let ids = json!({ "instance": "i-0123456789abcdef0", "resolver_endpoint": "rslvr-in-1" });
    assert_eq!((&via_inbound["srcids"], &via_inbound["plustwo_ingress"]), (&ids, &json!("inbound")));

    let (miss, hit) = (one("www.public.example."), one("WWW.public.example."));
    let source = |line: &Value| (line["plustwo_source"].clone(), line["plustwo_cache"].clone());
    assert_eq!(source(miss), (json!("forward"), json!("miss")));
    assert_eq!(source(hit), (json!("cache"), json!("hit")));
    assert_eq!((&hit["answers"], &miss["answers"][0]["Rdata"]), (&miss["answers"], &json!("198.51.100.1")));
    let forwarded_over_tcp = one("tcp.public.example.");
    assert_eq!(source(forwarded_over_tcp), (json!("forward"), json!("miss")));
    assert_eq!((&forwarded_over_tcp["transport"], &forwarded_over_tcp["vpc_id"]), (&json!("TCP"), &json!("vpc-a")));

    // The hops of a CNAME stand first; the zone is that of the name asked.
    let led_out = one("out.corp.example.");
    assert_eq!(source(led_out), (json!("forward"), json!("miss")));
    assert_eq!(led_out["plustwo_zone"], "Z0");
    let hop = json!({ "Rdata": "out.public.example.", "Type": "CNAME", "Class": "IN" });
    assert_eq!(led_out["answers"], json!([hop, { "Rdata": "198.51.100.3", "Type": "A", "Class": "IN" }]));

    // Refused by whom it was asked of, and not by us.
    let refused = one("x.elsewhere.example.");
    assert_eq!((&refused["rcode"], &refused["plustwo_rule"]), (&json!("REFUSED"), &json!("rslvr-rr-1")));
    assert_eq!((&refused["plustwo_source"], refused.get("plustwo_refusal")), (&json!("forward"), None));

    // What AWS has no line for.
    let stranger = one("stranger.example.");
    assert_eq!((&stranger["rcode"], &stranger["srcaddr"]), (&json!("REFUSED"), &json!(STRANGER.to_string())));
    assert_eq!(
        (&stranger["vpc_id"], &stranger["region"], &stranger["plustwo_refusal"]),
        (&json!(""), &json!(""), &json!("not_allowed"))
    );
    let malformed = one("cut.example.");
    assert_eq!(
        (&malformed["rcode"], &malformed["query_type"], &malformed["plustwo_source"]),
        (&json!("FORMERR"), &json!("MX"), &json!("malformed"))
    );
    let unreadable = one("");
    assert_eq!((&unreadable["rcode"], &unreadable["query_type"]), (&json!("FORMERR"), &json!("")));
    let chaos = one("version.bind.");
    assert_eq!((&chaos["query_class"], &chaos["plustwo_refusal"]), (&json!("CH"), &json!("class")));

    // The page names each field, and those that are always there.
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/query-log.md")).expect("it is there");
    let table = page.split("## Fields").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows: Vec<(&str, bool)> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
        .map(|(field, rest)| (field, rest.starts_with("yes |")))
        .collect();
    let has = |line: &Value, field: &str| line.get(field).is_some();
    for (field, is_always) in &rows {
        assert!(lines.iter().any(|line| has(line, field)), "no line has {field}");
        // There is a door wherever nobody has just closed it.
        let is_everywhere = lines.iter().all(|line| has(line, field)) && *field != "plustwo_door";
        assert_eq!(is_everywhere, *is_always, "{field}");
    }
    for key in lines.iter().flat_map(|line| line.as_object().expect("an object").keys()) {
        assert!(rows.iter().any(|(field, _)| field == key), "docs/query-log.md lacks {key}");
    }

    site.wait_for_metric(WRITTEN, 13.0);
    let octets = fs::metadata(site.path("query.log")).expect("it is there").len();
    assert_eq!(site.metric("plustwo_query_log_bytes_total{log=\"query_log\"}"), octets as f64);
    assert_eq!((site.metric(UP), site.metric(LOST_FULL)), (1.0, 0.0));
    drop(program);
}

#[test]
fn a_cookie_without_a_question_has_one_line_however_it_comes() {
    let mut site = Site::new();
    let program = site.serve(TO_FILE);
    let [door, ..] = site.doors;
    // With a server cookie that is not ours.
    let head = [0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 28, 0, 10, 0, 24];
    let query = [&head[..], &[1; 24]].concat();
    ask::over_udp(LOOPBACK, door, &query).expect("a reply over UDP");
    ask::over_tcp(LOOPBACK, door, &query).expect("a reply over TCP");
    for line in site.lines("query.log", 2) {
        assert_eq!((&line["rcode"], &line["vpc_id"]), (&json!("BADCOOKIE"), &json!("vpc-a")), "{line:#?}");
        assert_eq!(line["query_name"], "");
    }
    drop(program);
}

#[test]
fn the_commands_of_the_page_read_it() {
    let Some(_) = need_tool("jq") else { return };
    let mut site = Site::new();
    let _program = site.serve(TO_FILE);
    for name in ["www.corp.example", "gone.corp.example", "www.public.example"] {
        site.ask(name);
    }
    site.lines("query.log", 3);
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/query-log.md")).expect("it is there");
    let commands: Vec<&str> = page.lines().filter(|line| line.starts_with("jq ")).collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        let (code, said, error) =
            outcome(Command::new("bash").args(["-o", "pipefail", "-c", command]).current_dir(site.folder.path()));
        assert_eq!((code, &*error), (0, ""), "{command}");
        assert!(!said.trim().is_empty(), "{command} shows nothing");
    }
}

#[test]
fn no_name_forges_a_line_and_the_last_queries_are_written_at_the_end() {
    let mut site = Site::new();
    let mut program = site.serve(TO_FILE);
    let names = [
        r#"a\034\125\010\123\034version\034:\0341.100000\034.example"#,
        r"\000\027[2J\127.example",
        "\\226\\128\\168\\195\\169.example",
        r"a\.b\\c.example",
    ];
    for name in names {
        site.ask(name);
    }
    program.signal("TERM");
    assert!(program.wait().0.success());
    let text = fs::read_to_string(site.path("query.log")).expect("it is there");
    assert!(text.bytes().all(|octet| octet == b'\n' || (0x20..0x7f).contains(&octet)), "{text:?}");
    let lines: Vec<Value> = text.lines().map(read_line).collect();
    let mut asked: Vec<&str> = lines.iter().filter_map(|line| line["query_name"].as_str()).collect();
    // Threads write beside each other.
    asked.sort_unstable();
    assert_eq!(
        asked,
        [
            r"\000\027[2J\127.example.",
            r"\226\128\168\195\169.example.",
            r#"a\"}\010{\"version\":\"1.100000\".example."#,
            r"a\.b\\c.example.",
        ]
    );
}

#[test]
fn the_file_is_opened_anew_on_sigusr1_and_by_logrotate() {
    let mut site = Site::new();
    let program = site.serve("[query_log]\noutput = \"file:logs/query.log\"");
    // There is no such folder: it is said, and the file is there once the folder is.
    assert!(program.wait_for("the query log cannot be written: No such file").is_some());
    site.ask("early.any.corp.example");
    site.wait_for_metric(LOST_FULL, 1.0);
    assert_eq!(site.metric(UP), 0.0);
    fs::create_dir(site.path("logs")).expect("a folder can be made");
    site.wait_for_metric(UP, 1.0);
    site.ask("first.any.corp.example");
    assert!(program.wait_for("the query log is written again").is_some());
    assert_eq!(site.lines("logs/query.log", 1)[0]["query_name"], "first.any.corp.example.");

    fs::rename(site.path("logs/query.log"), site.path("logs/moved")).expect("it can be moved");
    program.signal("USR1");
    wait_for("the new file", || site.path("logs/query.log").exists().then_some(()));
    site.ask("second.any.corp.example");
    assert_eq!(site.lines("logs/query.log", 1)[0]["query_name"], "second.any.corp.example.");
    assert_eq!(site.lines("logs/moved", 1).len(), 1);

    let Some(logrotate) = need_tool("logrotate") else { return };
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/logrotate/plustwo"));
    let shipped = shipped.expect("it is there");
    let folder = site.path("logs");
    let here = shipped.replace("/var/log/plustwo/", &format!("{}/", folder.display()));
    // There is no systemd that knows the unit here.
    let command = "systemctl kill --signal=USR1 plustwo.service";
    assert!(here.contains(command) && here != shipped, "{here}");
    let here = here.replace(command, &format!("kill -USR1 {}", program.id()));
    let file = site.path("logrotate.conf");
    fs::write(&file, here).expect("a file can be written");
    for (round, name) in ["third", "fourth"].into_iter().enumerate() {
        let (code, said, error) =
            outcome(Command::new(&logrotate).args(["--force", "--state"]).arg(site.path("state")).arg(&file));
        assert_eq!((code, &*error), (0, ""), "{said}");
        wait_for("the new file", || site.path("logs/query.log").exists().then_some(()));
        site.ask(&format!("{name}.any.corp.example"));
        let lines = site.lines("logs/query.log", 1);
        assert_eq!(lines[0]["query_name"], format!("{name}.any.corp.example."), "round {round}");
    }
    // The one before the last is compressed, the last is not.
    assert_eq!(site.lines("logs/query.log.1", 1)[0]["query_name"], "third.any.corp.example.");
    assert!(site.path("logs/query.log.2.gz").exists());
    // Nothing was lost but what there was no folder for.
    assert_eq!((site.metric(WRITTEN), site.metric(LOST_FULL)), (4.0, 1.0));
}

#[test]
fn a_folder_that_goes_away_costs_lines_and_no_answers() {
    let mut site = Site::new();
    fs::create_dir(site.path("logs")).expect("a folder can be made");
    let program = site.serve("[query_log]\noutput = \"file:logs/query.log\"");
    site.ask("first.any.corp.example");
    site.lines("logs/query.log", 1);
    fs::remove_dir_all(site.path("logs")).expect("it can be removed");
    assert!(program.wait_for("the query log cannot be written").is_some());
    assert!(site.ask("second.any.corp.example").ends_with(&[10, 0, 0, 2, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]));
    site.wait_for_metric(LOST_FULL, 1.0);
    fs::create_dir(site.path("logs")).expect("a folder can be made");
    site.wait_for_metric(UP, 1.0);
    site.ask("third.any.corp.example");
    assert_eq!(site.lines("logs/query.log", 1)[0]["query_name"], "third.any.corp.example.");
    assert_eq!(program.said().matches("the query log cannot be written").count(), 1, "it is said once");
}

#[test]
fn a_full_disk_costs_whole_lines_and_no_answers() {
    let Some(unshare) = need_tool("unshare") else { return };
    let mut site = Site::new();
    let small = site.path("small");
    fs::create_dir(&small).expect("a folder can be made");
    let in_namespace = |script: &str| {
        let mut command = Command::new(&unshare);
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command
    };
    // Two pages.
    let mount = format!("mount -t tmpfs -o size=8k tmpfs {}", small.display());
    if !in_namespace(&mount).status().expect("unshare is there").success() {
        return skip("this machine lets nobody mount in a namespace of its own");
    }
    let run = |path: &Path| {
        let binary = env!("CARGO_BIN_EXE_plustwo");
        in_namespace(&format!("{mount} && exec {binary} run --config {}", path.display()))
    };
    let program = site.serve_by("[query_log]\noutput = \"file:small/query.log\"", run);
    for _ in 0..40 {
        site.ask("one.any.corp.example");
    }
    site.wait_for_metric(LOST_FULL, 1.0);
    assert!(program.wait_for("the query log cannot be written: No space left on device").is_some());
    assert_eq!(site.metric(UP), 0.0);
    // Inside its namespace.
    let inside = PathBuf::from(format!("/proc/{}/root{}/query.log", program.id(), small.display()));
    let text = fs::read_to_string(&inside).expect("it is there");
    assert!(text.len() <= 8192 && text.ends_with('\n'), "{} octets", text.len());
    assert!(text.lines().map(read_line).count() > 5);
    fs::remove_file(&inside).expect("it can be removed");
    site.wait_for_metric(UP, 1.0);
    wait_for("a line in the new file", || {
        site.ask("two.any.corp.example");
        let text = fs::read_to_string(&inside).unwrap_or_default();
        text.lines().map(read_line).find(|line| line["query_name"] == "two.any.corp.example.")
    });
}

#[test]
fn stdout_has_the_lines_and_may_be_closed() {
    let mut site = Site::new();
    let program = site.serve("[query_log]\noutput = \"stdout\"");
    site.ask("www.corp.example");
    let said = program.wait_for("\"query_name\":\"www.corp.example.\"").expect("it runs");
    read_line(said.lines().find(|line| line.starts_with('{')).expect("a line"));
    drop(program);

    // Nobody reads it any more.
    let mut command = plustwo();
    command.args(["run", "--config"]).arg(site.path("plustwo.toml"));
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.expect("it starts");
    drop(child.stdout.take());
    wait_for("a reply", || {
        ask::over_udp(LOOPBACK, site.doors[0], &Question::new("www.corp.example", "A").octets(7)).ok()
    });
    site.wait_for_metric(LOST_FULL, 1.0);
    site.ask("www.corp.example");
    support::binary::signal(child.id(), "TERM");
    assert!(child.wait().expect("a child").success());
}

#[test]
fn a_stdout_that_nobody_reads_holds_up_neither_answers_nor_the_end() {
    let site = Site::new();
    site.write("[limits]\nquery_log_memory = \"1 MiB\"\n[query_log]\noutput = \"stdout\"");
    let mut command = plustwo();
    command.args(["run", "--config"]).arg(site.path("plustwo.toml"));
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.expect("it starts");
    let client = ask::udp_client(LOOPBACK, site.doors[0]);
    let question = Question::new("www.corp.example", "A").octets(7);
    wait_for("a reply", || {
        let _ = client.send(&question);
        ask::receive(&client).ok()
    });
    let lost = "plustwo_query_log_lost_total{log=\"all\",reason=\"buffer_full\"}";
    let mut asked = 0;
    while site.metric(lost) == 0.0 {
        for _ in 0..2000 {
            client.send(&question).expect("it listens");
            ask::receive(&client).expect("every query is answered");
        }
        asked += 2000;
        assert!(asked < 100_000, "nothing is lost");
    }
    support::binary::signal(child.id(), "TERM");
    assert!(child.wait().expect("a child").success());
}

#[test]
fn a_reader_at_a_socket_has_the_lines_and_so_has_the_next_one() {
    let mut site = Site::new();
    let socket = site.path("lines.sock");
    let program = site.serve("[query_log]\noutput = \"unix:lines.sock\"");
    assert!(program.wait_for("nobody takes the log of queries").is_some());
    site.ask("first.any.corp.example");
    for name in ["first", "second"] {
        let listener = UnixListener::bind(&socket).expect("a socket");
        let stream = listener.accept().expect("a connection").0;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
        if name == "second" {
            site.ask("second.any.corp.example");
        }
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        assert_eq!(read_line(&line)["query_name"], format!("{name}.any.corp.example."));
        fs::remove_file(&socket).expect("it is there");
        // The reader is gone: the next lines say so.
        drop(listener);
        wait_for("the end of the connection", || {
            site.ask("gone.corp.example");
            (site.metric(UP) == 0.0).then_some(())
        });
        // What waited while nobody was there comes first for the next one, which wants its own.
        if name == "first" {
            site.reload(&program, "");
            site.reload(&program, "[query_log]\noutput = \"unix:lines.sock\"");
        }
    }
}

#[test]
fn filters_leave_out_what_nobody_wants() {
    let mut site = Site::new();
    let program = site.serve("");
    let ask_all = |site: &Site| {
        for name in ["www.corp.example", "gone.corp.example", "www.public.example", "www.public.example"] {
            site.ask(name);
        }
        let other = Question::new("www.public.example", "A").octets(7);
        ask::over_udp(LOOPBACK, site.doors[2], &other).expect("a reply over UDP");
        ask::over_udp(STRANGER, site.doors[0], &other).expect("a reply over UDP");
        // The last of each round, which passes them all.
        ask::over_udp(LOOPBACK, site.doors[2], &Question::new("end.corp.example", "A").octets(7)).expect("a reply");
    };
    ask_all(&site);
    assert!(!site.path("query.log").exists(), "it is off by default");
    for (number, (filter, expected)) in [
        ("", 7),
        ("vpcs = [\"b\", \"vpc-b\"]", 0),
        ("vpcs = [\"vpc-b\"]", 2),
        ("names = [\"CORP.example.\"]", 3),
        ("rcodes = [\"NXDOMAIN\"]\nvpcs = [\"a\", \"vpc-b\"]", 2),
        ("sources = [\"forward\", \"hosted_zone\"]", 3),
        ("sources = [\"hosted_zone\", \"forward\", \"cache\"]\nnames = [\"corp.example\"]\nrcodes = [\"nxdomain\"]", 2),
    ]
    .into_iter()
    .enumerate()
    {
        let output = format!("[query_log]\noutput = \"file:log.{number}\"\n{filter}");
        if expected == 0 {
            // There is no VPC of this name.
            site.write(&output);
            program.signal("HUP");
            assert!(program.wait_for("no VPC has the id or name `b`").is_some());
            continue;
        }
        site.reload(&program, &output);
        ask_all(&site);
        let end = Instant::now() + PATIENCE;
        let lines = loop {
            let lines = site.lines(&format!("log.{number}"), 1);
            if lines.len() >= expected || Instant::now() > end {
                break lines;
            }
            std::thread::sleep(POLL);
        };
        let shown: Vec<_> = lines.iter().map(|line| (&line["query_name"], &line["plustwo_source"])).collect();
        assert_eq!(lines.len(), expected, "{filter}: {shown:?}");
    }
}

#[test]
fn a_sample_is_near_its_rate_and_a_reload_turns_it_on_and_off() {
    const QUERIES: usize = 4000;
    let mut site = Site::new();
    let program = site.serve("");
    assert_eq!(site.metric(UP), 0.0);
    let ask_many = |site: &Site| {
        let client = ask::udp_client(LOOPBACK, site.doors[0]);
        let question = Question::new("www.corp.example", "A").octets(7);
        for _ in 0..QUERIES / 40 {
            for _ in 0..40 {
                client.send(&question).expect("it listens");
            }
            for _ in 0..40 {
                ask::receive(&client).expect("every query is answered");
            }
        }
    };
    let has_file_open = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", program.id())).expect("it runs");
        let mut files = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        files.any(|file| file.ends_with("query.log"))
    };
    site.reload(&program, "[query_log]\noutput = \"file:query.log\"\nsample_rate = 0.25");
    assert!(program.wait_for("changed: for all: query log").is_some());
    ask_many(&site);
    // Turned off, it has written all that was asked before.
    site.reload(&program, "");
    wait_for("the end of the log", || (site.metric(UP) == 0.0).then_some(()));
    let lines = site.lines("query.log", 1);
    site.reload(&program, TO_FILE);
    // Six standard deviations of a thousand.
    let sampled = named(&lines, "www.corp.example.").len();
    assert!((836..=1164).contains(&sampled), "{sampled} of {QUERIES}");
    ask_many(&site);
    site.lines("query.log", lines.len() + QUERIES);
    assert!(has_file_open());
    site.reload(&program, "");
    ask_many(&site);
    assert!(!has_file_open());
    let written = site.metric(WRITTEN);
    site.ask("www.corp.example");
    assert_eq!((site.metric(WRITTEN), written), (written, (lines.len() + QUERIES) as f64));
    let lost = site.metric("plustwo_query_log_lost_total{log=\"all\",reason=\"buffer_full\"}");
    assert_eq!((lost, site.metric(LOST_FULL)), (0.0, 0.0));
}

/// What `dnstap-read` shows of a file: a line for each message.
fn dnstap_read(tool: &Path, file: &Path) -> Vec<String> {
    let (code, said, error) = outcome(Command::new(tool).arg(file));
    assert_eq!(code, 0, "{said}{error}");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn receivers_of_dnstap_read_every_message() {
    let (Some(capture), Some(reader)) = (need_tool("fstrm_capture"), need_tool("dnstap-read")) else { return };
    let mut site = Site::new();
    let (socket, file) = (site.path("dnstap.sock"), site.path("capture"));
    let receive = |file: &Path| {
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(&capture);
        command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]).arg(&socket).arg("-w").arg(file);
        Program::start(command.args(["--debug", "--debug"]))
    };
    let dnstap = "[dnstap]\noutput = \"unix:dnstap.sock\"";
    let frames = "plustwo_query_log_records_total{log=\"dnstap\"}";
    let up = "plustwo_query_log_up{log=\"dnstap\"}";
    let mut capturing = receive(&file);
    let mut program = site.serve(&format!("{TO_FILE}\n{dnstap}"));
    site.wait_for_metric(up, 1.0);
    let client = ask::udp_client(LOOPBACK, site.doors[0]);
    client.send(&Question::new("www.corp.example", "A").octets(7)).expect("it listens");
    ask::receive(&client).expect("a reply over UDP");
    let client = client.local_addr().expect("bound");
    ask::over_tcp(LOOPBACK, site.doors[0], &Question::new("tcp.public.example", "A").octets(8)).expect("over TCP");
    site.ask("www.public.example");
    site.wait_for_metric(frames, 6.0);
    // Without queries, from a receiver that comes later.
    capturing.signal("TERM");
    assert!(capturing.wait().0.success());
    let shown = dnstap_read(&reader, &file);
    assert_eq!(shown.len(), 6, "{shown:#?}");
    let door = site.doors[0];
    let of = |kind: &str, transport: &str, name: &str| {
        let found = shown.iter().filter(|line| line.contains(&format!(" {kind} ")) && line.contains(name));
        let found: Vec<&String> = found.collect();
        assert_eq!(found.len(), 1, "{kind} {name}: {shown:#?}");
        assert!(found[0].contains(&format!(" {transport} ")), "{}", found[0]);
        found[0].clone()
    };
    let query = of("CQ", "UDP", "www.corp.example/IN/A");
    assert!(query.contains(&format!(" {client} -> {door} ")), "{query}");
    let response = of("CR", "UDP", "www.corp.example/IN/A");
    assert!(response.contains(&format!(" {client} <- {door} ")), "{response}");
    of("CQ", "TCP", "tcp.public.example/IN/A");
    of("CR", "TCP", "tcp.public.example/IN/A");
    of("CQ", "UDP", "www.public.example/IN/A");
    of("CR", "UDP", "www.public.example/IN/A");
    assert_eq!(site.lines("query.log", 3).len(), 3, "beside it");
    let (code, yaml, _) = outcome(Command::new(&reader).arg("-y").arg(&file));
    assert_eq!(code, 0);
    assert!(yaml.contains("version: plustwo ") && yaml.contains("identity: "), "{yaml}");

    // The receiver is gone; the next one has what comes then, whole.
    wait_for("the end of the connection", || {
        site.ask("gone.corp.example");
        (site.metric(up) == 0.0).then_some(())
    });
    site.reload(&program, "");
    site.reload(&program, &format!("{dnstap}\nclient_queries = false\nnames = [\"corp.example\"]"));
    let again = site.path("again");
    let mut capturing = receive(&again);
    site.wait_for_metric(up, 1.0);
    site.ask("www.public.example");
    site.ask("late.any.corp.example");
    program.signal("TERM");
    assert!(program.wait().0.success());
    capturing.signal("TERM");
    assert!(capturing.wait().0.success());
    let shown = dnstap_read(&reader, &again);
    assert!(
        matches!(&shown[..], [line] if line.contains(" CR ") && line.contains("late.any.corp.example/IN/A")),
        "{shown:#?}"
    );
}
