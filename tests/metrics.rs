//! What a scrape says: every metric of the list and of `docs/metrics.md`, with numbers that agree with what was asked; and
//! that the dashboard and the alert rules know no other. Prometheus itself reads it, where it is installed.

mod support;

use plustwo::daemon::metrics::{FAMILIES, Kind, Metrics, ReloadResult, TARGETS_APART};
use plustwo::snapshot::VPCS_COUNTED_APART;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::case::DoorName;
use support::need_tool;
use support::world::{Running, World};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WORLD: &str = r#"version = 1
region = "us-west-2"
[upstream]
targets = ["192.0.2.53"]
[query_log]
output = "file:/dev/null"
[[vpc]]
id = "vpc-a"
cidrs = ["10.0.0.0/16"]
listen = ["127.0.0.11:5300"]
allow = ["127.0.0.1/32"]
[[inbound_endpoint]]
id = "rslvr-in-1"
vpc = "vpc-a"
listen = ["127.0.0.12:5300", "127.0.0.13:5300"]
allow = ["127.0.0.1/32"]
[[inbound_endpoint]]
id = "rslvr-in-2"
vpc = "vpc-a"
listen = ["127.0.0.14:5300", "127.0.0.15:5300"]
allow = ["127.0.0.1/32"]
dns64_enabled = true
[[hosted_zone]]
id = "Z0"
name = "corp.example"
vpcs = ["vpc-a"]
records = [{ name = "www", type = "A", values = ["10.0.0.1"] }]
[[vpc_endpoint]]
id = "vpce-0aaaaaaaaaaaaaaa1"
vpc = "vpc-a"
service = "com.amazonaws.us-west-2.kms"
dns_name = "vpce-0aaaaaaaaaaaaaaa1-kms00000.kms.us-west-2.vpce.amazonaws.com"
private_dns = true
addresses = { us-west-2a = ["10.0.1.4"] }
[[resolver_rule]]
id = "rslvr-rr-1"
domain = "elsewhere.example"
action = "forward"
targets = ["192.0.2.54"]
vpcs = ["vpc-a"]
"#;
const UPSTREAMS: &str = "$UPSTREAM 192.0.2.53\nwww.public.example. 300 IN A 198.51.100.1\n\
                         $UPSTREAM 192.0.2.54 refused\n";

/// The lines of a scrape: each series with its value, and what is said of each family.
struct Scraped {
    text: String,
    series: BTreeMap<String, f64>,
    /// Type and help of each family.
    families: BTreeMap<String, (String, String)>,
}

impl Scraped {
    fn of(metrics: &Metrics) -> Self {
        let text = metrics.scrape();
        let (mut series, mut families) = (BTreeMap::new(), BTreeMap::<String, (String, String)>::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and words");
                families.entry(name.to_owned()).or_default().1 = help.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                families.entry(name.to_owned()).or_default().0 = kind.to_owned();
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a series and a value");
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        Self { text, series, families }
    }

    /// The value of a series.
    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// All values of a family's series that have these words in their labels.
    fn sum(&self, family: &str, label: &str) -> f64 {
        let is_of = |series: &str| series.split('{').next() == Some(family) && series.contains(label);
        self.series.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum()
    }
}

/// The names of labels of a series, without that of a bucket's bound.
fn label_names(series: &str) -> Vec<&str> {
    let Some((_, labels)) = series.split_once('{') else { return Vec::new() };
    let names = labels.split("=\"").filter_map(|part| part.rsplit([',', '{', '"']).next());
    let count = labels.matches("=\"").count();
    names.take(count).filter(|name| *name != "le").collect()
}

/// The family that a series of a histogram, or any other, belongs to.
fn family_of(series: &str) -> &str {
    let name = series.split('{').next().unwrap_or(series);
    let parts = ["_bucket", "_sum", "_count"];
    let histogram = parts
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .filter(|name| FAMILIES.iter().any(|family| family.name == *name && family.kind == Kind::Histogram));
    histogram.unwrap_or(name)
}

/// A path in this repository.
fn path(parts: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(parts)
}

/// Asks everything there is to ask, over UDP and TCP.
fn ask_everything(running: &Running) {
    let door = running.plus_two("vpc-a");
    let not_allowed = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
    let questions = [
        (LOOPBACK, Question::new("www.corp.example", "A").octets(1)),
        (LOOPBACK, Question::new("gone.corp.example", "A").octets(2)),
        (LOOPBACK, Question::new("localhost", "A").octets(3)),
        (LOOPBACK, Question::new("5.0.0.10.in-addr.arpa", "PTR").octets(4)),
        (LOOPBACK, Question::new("kms.us-west-2.amazonaws.com", "A").octets(5)),
        (LOOPBACK, Question::new("www.public.example", "A").octets(6)),
        (LOOPBACK, Question::new("www.public.example", "A").octets(7)),
        (LOOPBACK, Question::new("secret.elsewhere.example", "A").octets(8)),
        (LOOPBACK, vec![0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (not_allowed, Question::new("www.corp.example", "A").octets(10)),
    ];
    for (client, query) in &questions {
        ask::over_udp(*client, door, query).expect("a reply over UDP");
    }
    for (client, query) in &questions {
        ask::over_tcp(*client, door, query).expect("a reply over TCP");
    }
}

/// The world above, to be served.
fn world() -> World {
    World::from_text("metrics", WORLD, UPSTREAMS)
}

/// Scrapes until this holds: the last reply is counted just after it has left.
fn scrape_until(metrics: &Metrics, is_enough: impl Fn(&Scraped) -> bool) -> Scraped {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let scraped = Scraped::of(metrics);
        if is_enough(&scraped) || Instant::now() > until {
            return scraped;
        }
        std::thread::yield_now();
    }
}

#[test]
fn every_metric_is_scraped_and_documented_and_the_numbers_agree_with_what_was_asked() {
    let mut running = world().start(LOOPBACK);
    ask_everything(&running);
    // Via both inbound endpoints, one of which has a view of its own.
    for (id, number) in [("rslvr-in-1", 0), ("rslvr-in-2", 1)] {
        let door = running.door(&DoorName::Via(id.to_owned(), number));
        ask::over_udp(LOOPBACK, door, &Question::new("localhost", "A").octets(11)).expect("a reply over UDP");
    }
    let metrics = running.daemon.metrics().clone();
    let scraped = scrape_until(&metrics, |scraped| scraped.sum("plustwo_reply_latency_seconds_count", "") >= 22.0);

    let listed: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let found: BTreeSet<&str> = scraped.families.keys().map(String::as_str).collect();
    assert_eq!(listed, found);
    for family in FAMILIES {
        let (kind, help) = &scraped.families[family.name];
        assert_eq!((&**kind, &**help), (family.kind.text(), family.help), "{}", family.name);
    }
    for series in scraped.series.keys() {
        let family = FAMILIES.iter().find(|family| family.name == family_of(series));
        let family = family.unwrap_or_else(|| panic!("{series} belongs to no family"));
        assert_eq!(label_names(series), family.labels, "{series}");
    }

    // The document: a table row for each metric, `name | type | labels | unit | meaning`.
    let document = std::fs::read_to_string(path("docs/metrics.md")).expect("it is there");
    let mut documented = BTreeMap::new();
    for row in document.lines().filter(|line| line.starts_with("| `plustwo_") || line.starts_with("| `process_")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, _unit, _meaning] = cells[..] else { panic!("five cells: {row}") };
        let labels: Vec<&str> =
            labels.split(", ").filter(|label| *label != "–").map(|label| label.trim_matches('`')).collect();
        assert!(documented.insert(name.trim_matches('`'), (kind, labels)).is_none(), "twice: {row}");
    }
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), listed);
    for family in FAMILIES {
        assert_eq!(documented[family.name], (family.kind.text(), family.labels.to_vec()), "{}", family.name);
    }
    // And every value of a label that the code names is said there.
    for series in scraped.series.keys().filter(|series| series.starts_with("plustwo_")) {
        for (label, value) in label_names(series).into_iter().zip(series.split('"').skip(1).step_by(2)) {
            if !["door", "vpc", "target", "version"].contains(&label) {
                assert!(
                    document.contains(&format!("`{value}`")),
                    "{series}: docs/metrics.md does not say what `{value}` is"
                );
            }
        }
    }

    let door = running.daemon.server().publisher.current().snapshot.doors[0].as_ref().expect("a door").address;
    for transport in ["udp", "tcp"] {
        // The doors of a test have one configured address, on any port.
        let at_door = scraped.get(&format!("plustwo_queries_total{{door=\"{door}\",transport=\"{transport}\"}}"));
        assert_eq!(at_door, if transport == "udp" { 12.0 } else { 10.0 });
        let view = format!("plustwo_view_queries_total{{vpc=\"vpc-a\",ingress=\"inside\",transport=\"{transport}\"}}");
        assert_eq!(scraped.get(&view), 8.0, "one was malformed, and one client may not ask");
    }
    let inbound = "plustwo_view_queries_total{vpc=\"vpc-a\",ingress=\"inbound\",transport=\"udp\"}";
    assert_eq!(scraped.get(inbound), 2.0);
    let replies = |source: &str, rcode: &str| {
        scraped.get(&format!("plustwo_replies_total{{source=\"{source}\",rcode=\"{rcode}\"}}"))
    };
    assert_eq!((replies("hosted_zone", "noerror"), replies("hosted_zone", "nxdomain")), (2.0, 2.0));
    assert_eq!((replies("built_in", "noerror"), replies("private_name", "noerror")), (4.0, 2.0));
    assert_eq!(scraped.sum("plustwo_replies_total", "source=\"autodefined\""), 2.0);
    assert_eq!((replies("forward", "noerror"), replies("cache", "noerror")), (1.0, 3.0));
    assert_eq!(
        replies("forward", "refused")
            + replies("cache", "refused")
            + replies("forward", "servfail")
            + replies("cache", "servfail"),
        2.0
    );
    assert_eq!((replies("malformed", "formerr"), replies("refused", "refused")), (2.0, 2.0));
    assert_eq!(scraped.get("plustwo_refusals_total{reason=\"not_allowed\"}"), 2.0);
    assert_eq!(scraped.sum("plustwo_refusals_total", ""), scraped.sum("plustwo_replies_total", "source=\"refused\""));
    assert_eq!(scraped.sum("plustwo_replies_total", ""), 22.0);
    for source in ["hosted_zone", "forward", "cache", "refused", "malformed", "stale"] {
        let label = format!("{{source=\"{source}\"}}");
        let timed = scraped.get(&format!("plustwo_reply_latency_seconds_count{label}"));
        assert_eq!(timed, scraped.sum("plustwo_replies_total", &format!("source=\"{source}\"")), "{source}");
        let took = scraped.get(&format!("plustwo_reply_latency_seconds_sum{label}"));
        assert!((0.0..60.0).contains(&took) && (took > 0.0) == (timed > 0.0), "{source}: {took} s");
    }
    assert_eq!(scraped.get("plustwo_snapshot_zones{kind=\"hosted_zone\"}"), 1.0);
    assert_eq!((scraped.get("plustwo_snapshot_doors"), scraped.get("plustwo_snapshot_views")), (5.0, 3.0));
    assert!(scraped.get("plustwo_snapshot_names") > 2.0 && scraped.get("plustwo_snapshot_bytes") > 100.0);
    assert_eq!(scraped.get("plustwo_generation"), 1.0);
    assert_eq!(scraped.sum("plustwo_upstream_state", ""), 2.0, "each target is in one state");
    assert!(scraped.get("plustwo_cache_entries") >= 1.0);
    // Never a name that was asked for, never a client.
    for secret in ["public", "secret", "gone", "www", "in-addr", "127.9.9.9", "\"127.0.0.1\""] {
        assert!(!scraped.text.contains(secret), "{secret} in\n{}", scraped.text);
    }

    let mut configuration = world().at(LOOPBACK);
    configuration.settings.limits.in_flight += 1;
    running.daemon.reload(&configuration).expect_err("limits cannot change");
    running.daemon.metrics().count_reload(ReloadResult::Broken);
    let scraped = Scraped::of(&metrics);
    assert_eq!(scraped.get("plustwo_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(scraped.get("plustwo_reloads_total{result=\"broken\"}"), 1.0);
    assert_eq!((scraped.get("plustwo_last_reload_successful"), scraped.get("plustwo_generation")), (0.0, 1.0));
    running.daemon.stop();
    assert_eq!(Scraped::of(&metrics).get("plustwo_tcp_connections_open"), 0.0, "it may outlive the daemon");
}

#[test]
fn a_reload_goes_on_counting_where_it_was() {
    let world = world();
    let mut running = world.start(LOOPBACK);
    let door = running.plus_two("vpc-a");
    let ask =
        |id: u16| ask::over_udp(LOOPBACK, door, &Question::new("www.corp.example", "A").octets(id)).expect("a reply");
    ask(1);
    // The same doors with another VPC before it: its place in the snapshot is another, that of its counters is not.
    let mut configuration = world.at(LOOPBACK);
    let mut other = configuration.model.vpcs[0].clone();
    (other.id, other.listen, other.cidrs) = ("vpc-0".into(), Vec::new(), Vec::new());
    let model = &mut configuration.model;
    model.vpcs.push(other);
    running.daemon.reload(&configuration).expect("it is taken up");
    ask(2);
    let scraped = Scraped::of(running.daemon.metrics());
    let view = |vpc: &str| format!("plustwo_view_queries_total{{vpc=\"{vpc}\",ingress=\"inside\",transport=\"udp\"}}");
    assert_eq!(scraped.get(&view("vpc-a")), 2.0);
    assert!(!scraped.series.contains_key(&view("vpc-0")), "nobody asked, and no door leads there");
    assert_eq!(
        (scraped.get("plustwo_generation"), scraped.get("plustwo_reloads_total{result=\"success\"}")),
        (2.0, 1.0)
    );
    running.daemon.stop();
}

#[test]
fn labels_are_bounded_however_large_the_configuration_is() {
    let vpcs = usize::from(VPCS_COUNTED_APART) + 20;
    let mut text = "version = 1\nregion = \"us-west-2\"\n[upstream]\ntargets = []\n[server]\nlisten = [\"127.0.0.1:5300\"]\nallow = [\"127.0.0.0/8\"]\n".to_owned();
    for index in 0..vpcs {
        text += &format!(
            "[[vpc]]\nid = \"vpc-{index}\"\ncidrs = [\"10.{index}.0.0/16\"]\nclients = [\"127.1.{index}.0/24\"]\n"
        );
    }
    for rule in 0..60 {
        let targets: Vec<String> = (0..6).map(|target| format!("198.18.{rule}.{target}")).collect();
        text += &format!(
            "[[resolver_rule]]\nid = \"rslvr-rr-{rule}\"\ndomain = \"r{rule}.example\"\naction = \"forward\"\ntargets = {targets:?}\nvpcs = [\"vpc-0\"]\n"
        );
    }
    let running = World::from_text("bounded", &text, "").start(LOOPBACK);
    let door = running.daemon.door_addresses()[0];
    for (id, vpc) in [(1, 0), (2, vpcs - 1), (3, vpcs - 2)] {
        let client = IpAddr::V4(Ipv4Addr::new(127, 1, vpc as u8, 1));
        ask::over_udp(client, door, &Question::new("localhost", "A").octets(id)).expect("a reply");
    }
    let scraped = Scraped::of(running.daemon.metrics());
    let view = |vpc: &str| {
        scraped.get(&format!("plustwo_view_queries_total{{vpc=\"{vpc}\",ingress=\"inside\",transport=\"udp\"}}"))
    };
    assert_eq!((view("vpc-0"), view("other")), (1.0, 2.0));
    let of = |family: &str| scraped.series.keys().filter(|series| series.split('{').next() == Some(family)).count();
    assert!(of("plustwo_view_queries_total") <= 2 * (2 * usize::from(VPCS_COUNTED_APART) + 2));
    assert_eq!(of("plustwo_upstream_replies_total"), TARGETS_APART + 1, "360 targets, and the rest together");
    running.daemon.stop();
}

/// Words of a text that look like the name of a metric.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words =
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != ':');
    words.filter(|word| word.starts_with("plustwo_") || word.starts_with("process_")).collect()
}

/// Fails for names that no metric has.
fn assert_known(what: &str, expression: &str) {
    for name in metric_names(expression) {
        assert!(FAMILIES.iter().any(|family| family.name == family_of(name)), "{what}: there is no metric {name}");
    }
}

#[test]
fn the_dashboard_and_the_alert_rules_know_only_metrics_that_there_are() {
    let text = std::fs::read_to_string(path("packaging/grafana/plustwo.json")).expect("it is there");
    assert_known("the dashboard", &text);
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let mut ids = BTreeSet::new();
    let mut expressions = 0;
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "two panels have one id: {panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("words");
            assert!(!metric_names(expression).is_empty(), "{expression}");
            expressions += 1;
        }
    }
    assert!(expressions >= 20, "{expressions} expressions");
    let rules = std::fs::read_to_string(path("packaging/prometheus/alerts.yaml")).expect("it is there");
    let alerts = rules.lines().filter(|line| line.trim_start().starts_with("- alert:")).count();
    assert!(alerts >= 8, "{alerts} alerts");
    assert_known("the alert rules", &rules);
}

#[test]
fn promtool_accepts_the_alert_rules_and_a_scrape() {
    let Some(promtool) = need_tool("promtool") else { return };
    let rules = Command::new(&promtool).args(["check", "rules"]).arg(path("packaging/prometheus/alerts.yaml")).output();
    let rules = rules.expect("it can be run");
    assert!(
        rules.status.success(),
        "{}{}",
        String::from_utf8_lossy(&rules.stdout),
        String::from_utf8_lossy(&rules.stderr)
    );
    // Each alert is set off by what it is for, and none in health.
    let tests = path("packaging/prometheus/alerts.test.yaml");
    let tested = Command::new(&promtool).args(["test", "rules"]).arg(&tests).output().expect("it can be run");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    let tests = std::fs::read_to_string(tests).expect("it is there");
    let rules = std::fs::read_to_string(path("packaging/prometheus/alerts.yaml")).expect("it is there");
    for alert in rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("\"{alert}\", alertstate=\"firing\"")), "nothing sets off {alert}");
    }
    assert_known("the tests of the alert rules", &tests);
    let running = world().start(LOOPBACK);
    ask_everything(&running);
    let mut check = Command::new(&promtool);
    let check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("it can be run");
    check.stdin.take().expect("piped").write_all(running.daemon.metrics().scrape().as_bytes()).expect("it reads");
    let said = check.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && words.is_empty(), "{words}");
    running.daemon.stop();
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every request with a scrape.
fn serve_scrapes(listener: TcpListener, metrics: Metrics) {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let text = metrics.scrape();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            // Whoever has gone does not want it.
            let _ = (&stream).write_all((head + &text).as_bytes());
        }
    });
}

/// What an address says to a GET; none where nobody listens yet.
fn get(address: SocketAddr, path: &str) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()
}

#[test]
fn prometheus_scrapes_it_and_evaluates_the_alert_rules() {
    let Some(prometheus) = need_tool("prometheus") else { return };
    let running = world().start(LOOPBACK);
    ask_everything(&running);
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a free port");
    let scraped_at = listener.local_addr().expect("it is bound");
    serve_scrapes(listener, running.daemon.metrics().clone());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let configuration = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n- job_name: plustwo\n  \
         static_configs: [{{ targets: [\"{scraped_at}\"] }}]\n",
        path("packaging/prometheus/alerts.yaml")
    );
    std::fs::write(folder.path().join("prometheus.yaml"), configuration).expect("it can be written");
    let address = support::binary::free_port(LOOPBACK);
    let log = std::fs::File::create(folder.path().join("log")).expect("it can be written");
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _ended = Ended(child.expect("it can be run"));
    let until = Instant::now() + Duration::from_secs(60);
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let wait_for = |path: &str, is_enough: &dyn Fn(&serde_json::Value) -> bool| loop {
        if let Some(answer) = get(address, path).filter(is_enough) {
            return answer;
        }
        assert!(Instant::now() < until, "{path}: {:?}\n{}", get(address, path), said());
        std::thread::sleep(Duration::from_millis(100));
    };
    let value = |answer: &serde_json::Value| {
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|value| value.parse::<f64>().ok())
    };
    let queries = wait_for("/api/v1/query?query=sum(plustwo_queries_total)", &|answer| value(answer).is_some());
    assert_eq!(value(&queries), Some(20.0));
    let quantile = "/api/v1/query?query=histogram_quantile(0.5,sum(plustwo_reply_latency_seconds_bucket)by(le))";
    let median = value(&wait_for(quantile, &|answer| value(answer).is_some())).expect("a number");
    assert!((1e-6..10.0).contains(&median), "{median} s");
    let up = wait_for("/api/v1/query?query=up", &|answer| value(answer) == Some(1.0));
    assert_eq!(value(&up), Some(1.0));
    let is_evaluated = |answer: &serde_json::Value| {
        let groups = answer["data"]["groups"].as_array();
        let rules = groups.into_iter().flatten().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let health: Vec<&str> = rules.filter_map(|rule| rule["health"].as_str()).collect();
        !health.is_empty() && health.iter().all(|health| *health == "ok")
    };
    wait_for("/api/v1/rules", &is_evaluated);
    running.daemon.stop();
}
