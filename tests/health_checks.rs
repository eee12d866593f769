//! Health checks that probe, from the endpoint to the answer: what dies is no longer answered and comes back, a reload
//! forgets nothing that it need not, and ten thousand checks keep to their bounds.

mod support;

use hickory_proto::op::Message;
use plustwo::aws::{DnsRecordIpType, EndpointKind, HealthCheckKind, MonitoredEndpoint, Subnet};
use plustwo::config::{self, Configuration, Surroundings};
use plustwo::daemon::Daemon;
use plustwo::probe::Prober;
use plustwo::snapshot::{
    HealthIndex, HealthPlan, HealthStates, HealthTable, HttpRequest, Probe, ProbeHost, ProbeRequest,
};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::present::present;
use support::served::Served;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A web server that says one thing to everybody, until it is dropped: then nobody listens any more.
struct WebServer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    fn start(address: SocketAddr, response: &'static str) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let (is_over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, counted) = (Arc::clone(&is_over), Arc::clone(&requests));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 1024];
                if stream.read(&mut request).is_ok_and(|octets| octets > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    // It fails where the other side has gone.
                    let _ = stream.write_all(response.as_bytes());
                }
            }
        });
        Self { address, is_over, requests, thread: Some(thread) }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it; it may be in the middle of something else.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

fn free_address() -> SocketAddr {
    SocketAddr::new(LOOPBACK, 0)
}

/// A failover between two addresses, the first of which hangs on `check`: the keys of a health check.
fn configuration(door: &str, check: &str) -> String {
    format!(
        "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = []\n[[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
         [[health_check]]\nid = \"web\"\n{check}\n\
         [[health_check]]\nid = \"not-web\"\ntype = \"calculated\"\ninverted = true\nchild_health_checks = [\"web\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\nrecords = [\n\
         {{ name = \"www\", type = \"A\", ttl = 60, set_identifier = \"1\", failover = \"primary\", health_check = \"web\", values = [\"10.0.0.1\"] }},\n\
         {{ name = \"www\", type = \"A\", ttl = 60, set_identifier = \"2\", failover = \"secondary\", values = [\"10.0.0.2\"] }},\n\
         {{ name = \"not\", type = \"A\", ttl = 60, set_identifier = \"1\", failover = \"primary\", health_check = \"not-web\", values = [\"10.0.0.3\"] }},\n\
         {{ name = \"not\", type = \"A\", ttl = 60, set_identifier = \"2\", failover = \"secondary\", values = [\"10.0.0.4\"] }},\n]\n"
    )
}

/// A configuration of one VPC, whose door is on a free port.
fn loaded(text: &str) -> Configuration {
    let surroundings = Surroundings {
        read_file: &|_| Err("there are no files".to_owned()),
        system_nameservers: &|| Ok(Vec::new()),
        is_own_address: &|_| false,
    };
    let loaded = config::load("health.toml", text, &surroundings);
    let mut configuration = loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics)));
    configuration.model.vpcs[0].listen = vec![free_address()];
    configuration
}

/// The same, loaded; checks ask every 100 ms, which no file may say.
fn quick(check: &str) -> Configuration {
    let mut configuration = loaded(&configuration("127.0.0.1:5300", check));
    for check in &mut configuration.model.health_checks {
        if let HealthCheckKind::Monitored(MonitoredEndpoint { request_interval, .. }) = &mut check.kind {
            *request_interval = Duration::from_millis(100);
        }
    }
    configuration
}

/// The addresses of a name, in order.
fn addresses(daemon: &Daemon, name: &str) -> Vec<String> {
    let query = Question::new(name, "A").octets(rand::random());
    let reply = ask::over_udp(LOOPBACK, daemon.door_addresses()[0], &query).expect("a reply");
    let message = Message::from_vec(&reply).expect("hickory-proto reads it");
    let rdata = |record| present(record).rsplit(' ').next().expect("rdata").to_owned();
    let mut addresses: Vec<String> = message.answers.iter().map(rdata).collect();
    addresses.sort();
    addresses
}

/// The one address of a name.
#[track_caller]
fn address(daemon: &Daemon, name: &str) -> String {
    let addresses = addresses(daemon, name);
    let [address] = &addresses[..] else { panic!("{name}: {addresses:?}") };
    address.clone()
}

#[test]
fn what_dies_is_not_answered_until_it_is_back() {
    let server = WebServer::start(free_address(), OK);
    let at = server.address;
    let check = format!(
        "type = \"HTTP_STR_MATCH\"\nip_address = \"{}\"\nport = {}\nsearch_string = \"fine\"\nfailure_threshold = 2",
        at.ip(),
        at.port()
    );
    let daemon = Daemon::start(&quick(&check)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1", "what was never asked is healthy");
    assert_eq!(address(&daemon, "not.corp.example"), "10.0.0.4");
    wait_until("it is asked", || daemon.probe_counts().healthy >= 3);
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1");
    drop(server);
    wait_until("it is seen to be dead", || daemon.probe_counts().became_unhealthy == 1);
    // With the next query, and not a second later.
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    assert_eq!(address(&daemon, "not.corp.example"), "10.0.0.3");
    let server = WebServer::start(at, OK);
    wait_until("it is seen to be back", || daemon.probe_counts().became_healthy == 1);
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1");
    assert_eq!(address(&daemon, "not.corp.example"), "10.0.0.4");
    // One flip each, however often it was asked.
    drop(server);
    let counts = daemon.probe_counts();
    assert!(counts.unhealthy >= 2 && counts.healthy >= 5, "{counts:?}");
    assert_eq!((counts.became_healthy, counts.panics, counts.not_asked), (1, 0, 0), "{counts:?}");
    daemon.stop();
}

#[test]
fn a_reload_keeps_what_was_seen_of_checks_that_stay_the_same() {
    let (dead, alive) = (TcpListener::bind(free_address()), WebServer::start(free_address(), OK));
    // Taken and given back: nobody listens there.
    let dead = dead.expect("a free port").local_addr().expect("it is bound");
    let check = |at: SocketAddr, more: &str| {
        format!("type = \"HTTP\"\nip_address = \"{}\"\nport = {}\nfailure_threshold = 2\n{more}", at.ip(), at.port())
    };
    let mut daemon = Daemon::start(&quick(&check(dead, ""))).unwrap_or_else(|error| panic!("{error}"));
    let reload = |daemon: &mut Daemon, check: &str| {
        daemon.reload(&quick(check)).unwrap_or_else(|error| panic!("{error}"));
    };
    let counts = |daemon: &Daemon| daemon.probe_counts();
    wait_until("it is seen to be dead", || counts(&daemon).became_unhealthy == 1);
    let asked = counts(&daemon).unhealthy;
    reload(&mut daemon, &check(dead, ""));
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2", "it stays as it was seen");
    // What does not change what is asked changes nothing that was seen.
    reload(&mut daemon, &check(dead, "inverted = true"));
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1");
    reload(&mut daemon, &check(dead, ""));
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    wait_until("it is asked on", || counts(&daemon).unhealthy > asked + 2);
    assert_eq!(counts(&daemon).became_unhealthy, 1, "it did not turn again");
    // Another endpoint is another check: it is healthy until seen otherwise.
    reload(&mut daemon, &check(alive.address, ""));
    wait_until("the other one is asked", || alive.requests() > 2);
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1");
    assert_eq!(counts(&daemon).became_healthy, 0, "nothing came back");
    // By hand, whatever was seen.
    reload(&mut daemon, "type = \"manual\"\nstatus = \"unhealthy\"");
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    wait_until("nobody is asked any more", || {
        let before = alive.requests();
        std::thread::sleep(Duration::from_millis(400));
        alive.requests() == before
    });
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    // Of an alarm without data nothing is known but what was.
    reload(&mut daemon, "type = \"CLOUDWATCH_METRIC\"\nstatus = \"insufficient_data\"");
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    reload(&mut daemon, "type = \"RECOVERY_CONTROL\"\nstatus = \"healthy\"");
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.1");
    daemon.stop();
}

/// A threshold that takes longer than the time between two reloads is reached all the same.
#[test]
fn a_reload_keeps_how_often_an_endpoint_has_failed() {
    let dead = TcpListener::bind(free_address()).expect("a free port").local_addr().expect("it is bound");
    let check =
        format!("type = \"TCP\"\nip_address = \"{}\"\nport = {}\nfailure_threshold = 10", dead.ip(), dead.port());
    let configuration = quick(&check);
    let mut daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
    let mut reloads = 0;
    wait_until("it is seen to be dead", || {
        // Ten failures take 900 ms at least: there are many reloads between the first and the last.
        std::thread::sleep(Duration::from_millis(50));
        daemon.reload(&configuration).unwrap_or_else(|error| panic!("{error}"));
        reloads += 1;
        daemon.probe_counts().became_unhealthy == 1
    });
    assert!(reloads > 3, "{reloads} reloads");
    assert_eq!(address(&daemon, "www.corp.example"), "10.0.0.2");
    daemon.stop();
}

/// An endpoint with two network interfaces in two zones, asked every 100 ms, and names that lead to it.
fn endpoint(addresses: [SocketAddr; 2]) -> Configuration {
    let text = format!(
        "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = []\n[[vpc]]\nid = \"vpc-0a\"\nlisten = [\"127.0.0.1:5300\"]\n\
         [[vpc_endpoint]]\nid = \"vpce-0a\"\nvpc = \"vpc-0a\"\nservice = \"com.amazonaws.eu-central-1.kms\"\n\
         dns_name = \"vpce-0a-x.kms.eu-central-1.vpce.amazonaws.com\"\nprivate_dns = true\nprobe_port = {}\n\
         addresses = {{ eu-central-1a = [\"{}\"], eu-central-1b = [\"{}\"] }}\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\nrecords = [\n\
         {{ name = \"keys\", type = \"A\", alias = \"vpce-0a-x.kms.eu-central-1.vpce.amazonaws.com\" }},\n\
         {{ name = \"any\", type = \"A\", set_identifier = \"1\", weight = 1, evaluate_target_health = true, alias = \"vpce-0a-x.kms.eu-central-1.vpce.amazonaws.com\" }},\n\
         {{ name = \"any\", type = \"A\", ttl = 60, set_identifier = \"2\", weight = 0, values = [\"10.0.0.9\"] }},\n]\n",
        addresses[0].port(),
        addresses[0].ip(),
        addresses[1].ip()
    );
    let mut configuration = loaded(&text);
    let probe = configuration.model.endpoints[0].interface_probe.as_mut().expect("it is asked");
    assert_eq!((probe.request_interval, probe.failure_threshold), (Duration::from_secs(10), 3));
    probe.request_interval = Duration::from_millis(100);
    configuration
}

/// Scenario S8: addresses behind which nobody takes connections are not handed out, unless there are no others.
#[test]
fn network_interfaces_that_take_no_connection_are_left_out_of_regional_answers() {
    let first = WebServer::start(SocketAddr::new([127, 0, 0, 2].into(), 0), OK);
    let at = [first.address, SocketAddr::new([127, 0, 0, 3].into(), first.address.port())];
    let second = WebServer::start(at[1], OK);
    let daemon = Daemon::start(&endpoint(at)).unwrap_or_else(|error| panic!("{error}"));
    const REGIONAL: [&str; 3] =
        ["vpce-0a-x.kms.eu-central-1.vpce.amazonaws.com", "kms.eu-central-1.amazonaws.com", "keys.corp.example"];
    let check = |regional: &[&str], any: &[&str]| {
        for name in REGIONAL {
            assert_eq!(addresses(&daemon, name), regional, "{name}");
        }
        assert_eq!(addresses(&daemon, "any.corp.example"), any);
        for (zone, ip) in ["a", "b"].into_iter().zip(at.map(|address| address.ip())) {
            let zonal = format!("vpce-0a-x-eu-central-1{zone}.kms.eu-central-1.vpce.amazonaws.com");
            assert_eq!(addresses(&daemon, &zonal), [ip.to_string()], "zonal names answer whatever is seen");
        }
    };
    let (both, only) = (["127.0.0.2", "127.0.0.3"], "127.0.0.3");
    wait_until("both are asked", || daemon.probe_counts().healthy >= 4);
    check(&both, &both);
    drop(first);
    wait_until("the first is seen to be dead", || daemon.probe_counts().became_unhealthy == 1);
    check(&[only], &[only]);
    drop(second);
    wait_until("the second is seen to be dead", || daemon.probe_counts().became_unhealthy == 2);
    check(&both, &["10.0.0.9"]);
    let _first = WebServer::start(at[0], OK);
    wait_until("the first is seen to be back", || daemon.probe_counts().became_healthy == 1);
    check(&["127.0.0.2"], &["127.0.0.2"]);
    daemon.stop();
}

/// Where the addresses of the client's Availability Zone take no connection, it gets those of the others; where none does,
/// all.
#[test]
fn the_same_availability_zone_is_preferred_while_it_is_healthy() {
    let mut configuration = endpoint([1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 443))));
    let subnet =
        Subnet { cidr_block: "127.0.0.0/8".parse().expect("a prefix"), availability_zone: "eu-central-1a".into() };
    configuration.model.vpcs[0].subnets = vec![subnet];
    let endpoint = &mut configuration.model.endpoints[0];
    // Asked once an hour: what is said by hand stays.
    endpoint.interface_probe.as_mut().expect("it is asked").request_interval = Duration::from_secs(3600);
    let EndpointKind::Interface { zonal, prefer_same_az, .. } = &mut endpoint.kind else { panic!("{endpoint:?}") };
    *prefer_same_az = true;
    zonal[0].addresses.push([10, 0, 0, 3].into());
    let daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
    let names = ["kms.eu-central-1.amazonaws.com", "vpce-0a-x.kms.eu-central-1.vpce.amazonaws.com"];
    let check = |expected: &[&str]| {
        for name in names {
            assert_eq!(addresses(&daemon, name), expected, "{name}");
        }
    };
    check(&["10.0.0.1", "10.0.0.3"]);
    assert!(daemon.health().seen("vpce-0a 10.0.0.1:443", false));
    check(&["10.0.0.3"]);
    assert!(daemon.health().seen("vpce-0a 10.0.0.3:443", false));
    check(&["10.0.0.2"]);
    assert!(daemon.health().seen("vpce-0a 10.0.0.2:443", false));
    check(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert!(daemon.health().seen("vpce-0a 10.0.0.1:443", true));
    check(&["10.0.0.1"]);
    daemon.stop();
}

/// More than the eight that a multivalue policy answers with.
#[test]
fn all_network_interfaces_that_are_healthy_are_answered_however_many() {
    let mut configuration = endpoint([1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 443))));
    let endpoint = &mut configuration.model.endpoints[0];
    // Asked once an hour: what is said by hand stays.
    endpoint.interface_probe.as_mut().expect("it is asked").request_interval = Duration::from_secs(3600);
    let EndpointKind::Interface { zonal, dns_record_ip_type, .. } = &mut endpoint.kind else { panic!("{endpoint:?}") };
    *dns_record_ip_type = DnsRecordIpType::Dualstack;
    zonal[1].addresses = (2..=12).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    zonal[1].addresses.push("2001:db8::1".parse().expect("an address"));
    let daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
    let answered = || addresses(&daemon, "kms.eu-central-1.amazonaws.com");
    let all: Vec<String> = {
        let mut all: Vec<String> = (1..=12).map(|last| format!("10.0.0.{last}")).collect();
        all.sort();
        all
    };
    let mut left = all.clone();
    assert_eq!(answered(), all);
    for last in [5, 12, 1, 9, 8] {
        assert!(daemon.health().seen(&format!("vpce-0a 10.0.0.{last}:443"), false));
        left.retain(|address| *address != format!("10.0.0.{last}"));
        assert_eq!(answered(), left);
    }
    // Of the other type nothing is left: there, all are answered.
    assert!(daemon.health().seen("vpce-0a [2001:db8::1]:443", false));
    assert_eq!(answered(), left);
    let query = Question::new("kms.eu-central-1.amazonaws.com", "AAAA").octets(1);
    let reply = ask::over_udp(LOOPBACK, daemon.door_addresses()[0], &query).expect("a reply");
    assert_eq!(Message::from_vec(&reply).expect("hickory-proto reads it").answers.len(), 1);
    daemon.stop();
}

/// Of two reloads in a row the first may leave a check out: its task never hears of that one, and the newest table has
/// forgotten what was seen.
#[test]
fn what_the_newest_table_has_forgotten_is_said_again() {
    let dead = TcpListener::bind(free_address()).expect("a free port").local_addr().expect("it is bound");
    let probe = Probe {
        id: "web".into(),
        host: ProbeHost::Address(dead.ip()),
        port: dead.port(),
        request: ProbeRequest::Connect,
        interval: Duration::from_millis(100),
        threshold: 2,
    };
    let health = HealthStates::default();
    let table = || {
        let mut plan = HealthPlan::default();
        let entry = plan.seen("web", None);
        (health.table(plan), entry)
    };
    let (first, entry) = table();
    let prober = Prober::start(health.clone(), vec![probe.clone()], 1).expect("a thread");
    wait_until("it is seen to be dead", || !first.is_healthy(entry));
    let _without = health.table(HealthPlan::default());
    let (newest, entry) = table();
    assert!(newest.is_healthy(entry), "nothing is known of it");
    prober.replace(vec![probe]);
    wait_until("it is said again", || !newest.is_healthy(entry));
    assert_eq!(prober.counts().became_unhealthy, 1, "it did not turn again");
    prober.stop();
}

/// The program itself, with what a file may say: what the operator reads, and that nothing is said twice.
#[test]
fn the_operator_reads_what_turned_and_why() {
    let server = WebServer::start(free_address(), "HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let dead = TcpListener::bind(free_address()).expect("a free port").local_addr().expect("it is bound");
    let mut text = configuration(
        "@DOOR@",
        &format!(
            "type = \"HTTP\"\nip_address = \"127.0.0.1\"\nport = {}\nrequest_interval = 10\nfailure_threshold = 1",
            server.address.port()
        ),
    );
    text += &format!(
        "[[health_check]]\nid = \"db\"\ntype = \"TCP\"\nip_address = \"127.0.0.1\"\nport = {}\nrequest_interval = 10\n\
         failure_threshold = 1\n",
        dead.port()
    );
    let served = Served::on_loopback(&text);
    for said in ["health_check=web reason=HTTP 503", "health_check=db reason=connection refused"] {
        assert!(served.program.wait_for(said).is_some(), "{said}:\n{}", served.program.said());
    }
    assert!(served.ask("www.corp.example").is([10, 0, 0, 2]));
    served.reload(&text);
    assert!(served.ask("www.corp.example").is([10, 0, 0, 2]), "a reload forgets nothing");
    let (at, requests) = (server.address, server.requests());
    wait_until("it is asked again", || server.requests() > requests);
    drop(server);
    let _server = WebServer::start(at, OK);
    let back = "an endpoint is healthy again health_check=web";
    assert!(served.program.wait_for(back).is_some(), "{}", served.program.said());
    assert!(served.ask("www.corp.example").is([10, 0, 0, 1]));
    let said = served.program.said();
    for once in ["health_check=web reason", "health_check=db reason", back] {
        assert_eq!(said.matches(once).count(), 1, "{once}:\n{said}");
    }
    assert!(said.contains("asks http://127.0.0.1:"), "the summary names it:\n{said}");
}

/// A server that counts how many requests wait for its answer at a time, each for some milliseconds.
struct Counting {
    most: AtomicUsize,
    waiting: AtomicUsize,
    answered: AtomicUsize,
}

async fn answer_all(listener: tokio::net::TcpListener, counting: Arc<Counting>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while let Ok((mut stream, _)) = listener.accept().await {
        let counting = Arc::clone(&counting);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            if !stream.read(&mut request).await.is_ok_and(|octets| octets > 0) {
                return;
            }
            let waiting = counting.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            counting.most.fetch_max(waiting, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            counting.waiting.fetch_sub(1, Ordering::SeqCst);
            counting.answered.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(OK.as_bytes()).await;
        });
    }
}

#[test]
fn ten_thousand_checks_keep_to_their_bounds() {
    const CHECKS: usize = 10_000;
    const AT_A_TIME: usize = 50;
    // Several addresses, each with ports of its own towards it.
    const ADDRESSES: u8 = 8;
    let counting =
        Arc::new(Counting { most: AtomicUsize::new(0), waiting: AtomicUsize::new(0), answered: AtomicUsize::new(0) });
    let server = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut addresses = Vec::new();
    let mut listeners = Vec::new();
    for number in 1..=ADDRESSES {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, number), 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be");
        addresses.push(listener.local_addr().expect("it is bound"));
        listeners.push(listener);
    }
    let counted = Arc::clone(&counting);
    let server = std::thread::spawn(move || {
        server.block_on(async {
            for listener in listeners {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime runs");
                tokio::spawn(answer_all(listener, Arc::clone(&counted)));
            }
            let _ = stopped.await;
        });
    });
    let probe = |number: usize| {
        let address = addresses[number % addresses.len()];
        let request = HttpRequest { host: "web.example".into(), path: "/".into(), tls: None, search: None };
        Probe {
            id: format!("check-{number}").into(),
            host: ProbeHost::Address(address.ip()),
            port: address.port(),
            request: ProbeRequest::Http(request),
            // More is due than can be asked in it: who has to wait has its turn.
            interval: Duration::from_millis(200),
            threshold: 1,
        }
    };
    let probes: Vec<Probe> = (0..CHECKS).map(probe).collect();
    let mut plan = HealthPlan::default();
    let entries: Vec<HealthIndex> = probes.iter().map(|probe| plan.seen(&probe.id, None)).collect();
    let any = plan.any(&entries);
    let health = HealthStates::default();
    let table: Arc<HealthTable> = health.table(plan);
    let healthy = || entries.iter().filter(|entry| table.is_healthy(**entry)).count();
    let prober = Prober::start(health, probes.clone(), AT_A_TIME).expect("a thread");
    // Places are given in turn: nobody is asked twice before everybody was asked once.
    wait_until("all are asked", || prober.counts().healthy >= 2 * CHECKS as u64);
    assert_eq!(healthy(), CHECKS);
    // The same list again, whole: nothing begins anew.
    prober.replace(probes);
    let most = counting.most.load(Ordering::SeqCst);
    assert!((2..=AT_A_TIME).contains(&most), "{most} at a time");
    assert!(prober.counts().waited > 0);
    let _ = stop.send(());
    server.join().expect("no panic");
    wait_until("all are seen to be dead", || prober.counts().became_unhealthy >= CHECKS as u64);
    assert_eq!((healthy(), table.is_healthy(any)), (0, false));
    let counts = prober.counts();
    assert_eq!((counts.became_unhealthy, counts.became_healthy, counts.panics), (CHECKS as u64, 0, 0), "{counts:?}");
    prober.stop();
}
