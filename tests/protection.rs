//! What protects us and others from who asks: limits of replies to a prefix, with what slips through; cookies that lift
//! them, made by one server and accepted by another; and what real clients make of both.

mod support;

use hickory_proto::op::Message;
use plustwo::config::Configuration;
use plustwo::dns::cookie::{CookieSecret, CookieSecrets, SentCookie};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use support::ask::{self, Question};
use support::binary::outcome;
use support::case::rcode;
use support::need_tool;
use support::served::{Served, forwarding_to};
use support::world::{Running, World};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another client of the same /24.
const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 200));
/// A client of another /24.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 7, 1));
/// A client that may not ask.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
/// Replies a second, where a world limits them.
const RATE: usize = 40;
/// Errors a second.
const ERROR_RATE: usize = 10;
/// Queries of a flood: all their replies fit into the buffer of a socket.
const FLOOD: usize = 200;

/// A world with these limits.
fn world(protection: &str) -> World {
    let text = format!(
        "version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [\"192.0.2.53\"] }}\n[protection]\n{protection}\n\
         [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"127.0.0.1:5300\"]\nallow = [\"127.0.0.0/16\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
         records = [{{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }}]\n"
    );
    World::from_text("protection", &text, "$UPSTREAM 192.0.2.53\nwww.public.example. 300 IN A 198.51.100.1\n")
}

/// Limits for everybody.
fn limits(slip: u32) -> String {
    format!("responses_per_second = {RATE}\nerrors_per_second = {ERROR_RATE}\nslip = {slip}\nexempt = []")
}

/// A world that is served, and its door.
fn serve(protection: &str) -> (Running, SocketAddr) {
    let running = world(protection).start(LOOPBACK);
    let door = running.plus_two("vpc-0a");
    (running, door)
}

/// A question for the private name, with this cookie.
fn question(cookie: Option<&[u8]>) -> Question {
    Question { cookie: cookie.map(<[u8]>::to_vec), ..Question::new("www.corp.example", "A") }
}

/// What came back of a flood.
#[derive(Debug)]
struct Flooded {
    /// When it began: since then the rate has had room for some more.
    began: Instant,
    /// Replies with the address.
    answered: usize,
    /// Replies with TC and without records.
    truncated: usize,
    /// Replies with BADCOOKIE, and the cookie of the last one.
    bad_cookies: usize,
    cookie: Option<Vec<u8>>,
    /// Other replies.
    others: usize,
}

/// Sends a query again and again, then takes what has come back. There is one worker, and it answers in order: when a
/// question asked behind the flood has its reply, so has the flood.
fn flood(client: IpAddr, door: SocketAddr, query: &[u8], behind: IpAddr) -> Flooded {
    let socket = ask::udp_client(client, door);
    let began = Instant::now();
    for _ in 0..FLOOD {
        socket.send(query).expect("it listens");
    }
    ask::over_udp(behind, door, &Question::new("localhost", "A").octets(1)).expect("a client that is not limited");
    let mut flooded = Flooded { began, answered: 0, truncated: 0, bad_cookies: 0, cookie: None, others: 0 };
    for reply in waiting(&socket) {
        let message = Message::from_vec(&reply).expect("a reply that can be read");
        assert_eq!(reply[..2], query[..2]);
        match (&*rcode(&message), message.answers.len(), message.metadata.truncation) {
            ("NOERROR", 1, false) => flooded.answered += 1,
            ("NOERROR", 0, true) => {
                assert!(reply.len() <= query.len(), "{} octets for {}", reply.len(), query.len());
                flooded.truncated += 1;
            }
            ("BADCOOKIE", 0, false) => {
                flooded.bad_cookies += 1;
                flooded.cookie = ask::cookie(&reply);
            }
            _ => flooded.others += 1,
        }
    }
    flooded
}

/// Replies that a rate has room for since then, beside those of the first second.
fn grace(began: Instant) -> usize {
    (began.elapsed().as_secs_f64() * RATE as f64) as usize + 1
}

/// The replies that have arrived.
fn waiting(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).expect("it can be set");
    std::iter::from_fn(|| ask::receive(socket).ok()).collect()
}

/// The value of a series of the metrics.
fn metric(running: &Running, series: &str) -> usize {
    let scrape = running.daemon.metrics().scrape();
    let value = scrape.lines().find_map(|line| line.strip_prefix(series));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{scrape}"))
}

/// Whether a number of replies is what a rate allows that was full then.
#[track_caller]
fn assert_limited(answered: usize, began: Instant) {
    let grace = grace(began);
    assert!(
        (RATE..=RATE + grace).contains(&answered),
        "{answered} answered, of {RATE} and {grace} for the time it took"
    );
}

#[test]
fn a_flood_of_one_prefix_is_limited_and_another_prefix_is_served() {
    let (running, door) = serve(&limits(2));
    let query = question(None).octets(7);
    let flooded = flood(LOOPBACK, door, &query, ELSEWHERE);
    assert_limited(flooded.answered, flooded.began);
    let beyond = FLOOD - flooded.answered;
    assert_eq!((flooded.truncated, flooded.bad_cookies, flooded.others), (beyond / 2, 0, 0), "every other one");
    let dropped = metric(&running, "plustwo_dropped_total{reason=\"rate_limited\"}");
    assert_eq!(dropped, beyond - flooded.truncated);
    assert_eq!(metric(&running, "plustwo_refusals_total{reason=\"rate_limited\"}"), flooded.truncated);
    assert_eq!(metric(&running, "plustwo_limits_reached_total{limit=\"responses_per_second\"}"), beyond);
    assert_eq!(metric(&running, "plustwo_limits_reached_total{limit=\"amplification\"}"), 0, "TC is of the rate");
    // A neighbour shares the fate, another prefix does not, and over TCP nobody is limited.
    let neighbour = flood(NEIGHBOUR, door, &query, ELSEWHERE);
    assert!(neighbour.answered <= grace(flooded.began), "{neighbour:?}");
    for _ in 0..10 {
        let elsewhere = ask::over_udp(ELSEWHERE, door, &query).expect("a reply");
        assert_eq!(Message::from_vec(&elsewhere).expect("a message").answers.len(), 1);
        let over_tcp = ask::over_tcp(LOOPBACK, door, &query).expect("a reply");
        assert_eq!(Message::from_vec(&over_tcp).expect("a message").answers.len(), 1);
    }
}

#[test]
fn what_is_forwarded_is_limited_before_it_is_asked() {
    let world = world(&limits(0));
    let running = world.start(LOOPBACK);
    let door = running.plus_two("vpc-0a");
    let socket = ask::udp_client(LOOPBACK, door);
    let began = Instant::now();
    for number in 0..FLOOD as u16 {
        socket.send(&Question::new(&format!("r{number}.public.example"), "A").octets(number)).expect("it listens");
    }
    ask::over_udp(ELSEWHERE, door, &question(None).octets(1)).expect("a client that is not limited");
    let counts = running.daemon.counts();
    assert_limited(counts.cache_misses as usize, began);
    assert_eq!(counts.answers_rate_limited as usize, FLOOD - counts.cache_misses as usize);
    let asked = world.upstream("192.0.2.53").questions();
    assert!(asked <= counts.cache_misses as usize, "{asked} questions for {}", counts.cache_misses);
}

#[test]
fn who_has_a_cookie_is_not_limited_and_who_wants_one_gets_it() {
    let (running, door) = serve(&limits(2));
    let client_cookie = [1, 2, 3, 4, 5, 6, 7, 8];
    let flooded = flood(LOOPBACK, door, &question(Some(&client_cookie)).octets(7), ELSEWHERE);
    assert_limited(flooded.answered, flooded.began);
    assert_eq!((flooded.bad_cookies, flooded.truncated, flooded.others), ((FLOOD - flooded.answered) / 2, 0, 0));
    let cookie = flooded.cookie.expect("BADCOOKIE brings one");
    assert_eq!((cookie.len(), &cookie[..8]), (24, &client_cookie[..]));
    let valid = flood(LOOPBACK, door, &question(Some(&cookie)).octets(8), ELSEWHERE);
    assert_eq!(valid.answered, FLOOD, "{valid:?}");
    // The same cookie from another address is worth nothing.
    let stolen = flood(NEIGHBOUR, door, &question(Some(&cookie)).octets(9), ELSEWHERE);
    assert!(stolen.answered <= grace(flooded.began) && stolen.bad_cookies > 0, "{stolen:?}");
    let of_standing = |standing| metric(&running, &format!("plustwo_query_cookies_total{{standing=\"{standing}\"}}"));
    assert_eq!(["client_only", "valid", "expired", "invalid"].map(of_standing), [FLOOD, FLOOD, 0, FLOOD]);
    assert_eq!(
        metric(&running, "plustwo_refusals_total{reason=\"bad_cookie\"}"),
        flooded.bad_cookies + stolen.bad_cookies
    );
}

#[test]
fn a_reply_that_had_to_be_asked_for_carries_a_cookie_too() {
    let (_running, door) = serve("");
    let question = Question { cookie: Some(vec![7; 8]), ..Question::new("www.public.example", "A") };
    for what in ["forwarded", "cached"] {
        let over_udp = ask::over_udp(LOOPBACK, door, &question.octets(1)).expect("a reply");
        let over_tcp = ask::over_tcp(LOOPBACK, door, &question.octets(2)).expect("a reply");
        for reply in [over_udp, over_tcp] {
            assert_eq!(Message::from_vec(&reply).expect("a message").answers.len(), 1, "{what}");
            assert_eq!(ask::cookie(&reply).map(|cookie| cookie.len()), Some(24), "{what}");
        }
    }
}

#[test]
fn errors_to_strangers_are_limited_lower_and_none_slips() {
    let (running, door) = serve(&limits(1));
    let malformed = &question(None).octets(7)[..20];
    for (what, client, query) in
        [("refused", STRANGER, &*question(None).octets(7)), ("malformed", NEIGHBOUR, malformed)]
    {
        let flooded = flood(client, door, query, ELSEWHERE);
        assert!((ERROR_RATE..=ERROR_RATE + grace(flooded.began)).contains(&flooded.others), "{what}: {flooded:?}");
        assert_eq!((flooded.answered, flooded.truncated), (0, 0), "{what}");
    }
    let dropped = metric(&running, "plustwo_dropped_total{reason=\"errors_rate_limited\"}");
    assert!(dropped > FLOOD, "{dropped}");
    // Errors and answers do not use up each other.
    let flooded = flood(LOOPBACK, door, &question(None).octets(7), ELSEWHERE);
    assert_limited(flooded.answered, flooded.began);
}

#[test]
fn by_default_private_clients_have_no_limit() {
    let (_running, door) = serve("");
    let query = question(None).octets(7);
    for _ in 0..10 {
        assert_eq!(flood(LOOPBACK, door, &query, ELSEWHERE).answered, FLOOD);
    }
    assert_eq!(flood(STRANGER, door, &query, ELSEWHERE).others, FLOOD, "those who may not ask neither");
}

#[test]
fn limits_are_taken_up_at_a_reload() {
    let configured = |protection: &str| -> Configuration { world(protection).at(LOOPBACK) };
    let (mut running, door) = serve("");
    let query = question(None).octets(7);
    assert_eq!(flood(LOOPBACK, door, &query, ELSEWHERE).answered, FLOOD);
    running.daemon.reload(&configured(&limits(0))).expect("it wants no restart");
    let flooded = flood(LOOPBACK, door, &query, ELSEWHERE);
    assert_limited(flooded.answered, flooded.began);
    assert_eq!(flooded.truncated, 0, "slip = 0");
    let exempt = limits(2).replace("exempt = []", "exempt = [\"127.0.0.1/32\"]");
    running.daemon.reload(&configured(&exempt)).expect("it wants no restart");
    assert_eq!(flood(LOOPBACK, door, &query, ELSEWHERE).answered, FLOOD);
    let neighbour = flood(NEIGHBOUR, door, &query, ELSEWHERE);
    assert!(neighbour.truncated > 0, "{neighbour:?}");
    let narrow = format!("{}\nipv4_prefix = 32", limits(2));
    running.daemon.reload(&configured(&narrow)).expect("it wants no restart");
    flood(LOOPBACK, door, &query, ELSEWHERE);
    let neighbour = flood(NEIGHBOUR, door, &query, ELSEWHERE);
    assert_limited(neighbour.answered, neighbour.began);
}

// ---------------------------------------------------------------------------------------------------- cookies of a fleet

const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const NEXT_SECRET: &str = "445536bcd2513298075a5d379663c962";

/// A configuration whose cookies are made with the secrets of a file beside it.
fn with_secrets() -> String {
    forwarding_to(&[]) + "[cookies]\nsecret_file = \"secrets\"\n"
}

/// A message without a question, which asks what a cookie is worth (RFC 7873 section 5.4).
fn probe(cookie: &[u8]) -> Vec<u8> {
    let length = cookie.len() as u8;
    let head = [0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + length, 0, 10, 0, length];
    [&head[..], cookie].concat()
}

/// What a server says of a cookie, and the one it gives.
fn probed(served: &Served, cookie: &[u8]) -> (String, Vec<u8>) {
    let reply = ask::over_udp(LOOPBACK, served.door, &probe(cookie)).expect("a reply");
    let given = ask::cookie(&reply).expect("a cookie");
    (rcode(&Message::from_vec(&reply).expect("a message")), given)
}

#[test]
fn servers_with_one_secret_accept_each_others_cookies_and_roll_it_over() {
    let serve = |secrets: &str| Served::on_loopback_beside(&with_secrets(), &[("secrets", secrets)]);
    let [first, second] = [serve(SECRET), serve(&format!("# of the fleet\n{SECRET}\n"))];
    let stranger = Served::on_loopback(&forwarding_to(&[]));
    let is = |said: &(String, Vec<u8>), expected: &str| assert_eq!(said.0, expected);
    let (_, of_first) = probed(&first, &[3; 8]);
    let said = probed(&second, &of_first);
    is(&said, "NOERROR");
    assert_eq!(said.1, of_first, "young enough to be given back");
    is(&probed(&stranger, &of_first), "BADCOOKIE");
    // First the new secret is accepted everywhere, then it makes cookies, then the old one goes.
    let both = format!("{SECRET}\n{NEXT_SECRET}\n");
    for server in [&first, &second] {
        server.reload_beside(&with_secrets(), ("secrets", &both));
        assert!(server.program.said().contains("[cookies] is taken up enabled=true secrets=2"));
        is(&probed(server, &of_first), "NOERROR");
    }
    first.reload_beside(&with_secrets(), ("secrets", &format!("{NEXT_SECRET}\n{SECRET}\n")));
    let said = probed(&first, &of_first);
    is(&said, "NOERROR");
    let of_next = said.1;
    assert_ne!(of_next, of_first, "the client is given one of the new secret");
    is(&probed(&second, &of_next), "NOERROR");
    first.reload_beside(&with_secrets(), ("secrets", NEXT_SECRET));
    is(&probed(&first, &of_next), "NOERROR");
    is(&probed(&first, &of_first), "BADCOOKIE");
    // A file that is broken leaves the secrets as they were.
    let said = first.program.said().len();
    std::fs::write(first.path("secrets"), "not a secret\n").expect("a file can be written");
    first.program.signal("HUP");
    while !first.program.said()[said..].contains("reload failed") {
        first.program.wait_for_more(first.program.said().len());
    }
    is(&probed(&first, &of_next), "NOERROR");
}

#[test]
fn a_cookie_is_accepted_for_an_hour_and_a_little_ahead_of_our_clock() {
    let served = Served::on_loopback_beside(&with_secrets(), &[("secrets", SECRET)]);
    let secret = CookieSecret(ask::from_hex(SECRET).try_into().expect("sixteen octets"));
    let fleet = CookieSecrets::new(secret, &[]);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let now = since_1970.as_secs() as u32;
    let made = |at: u32| {
        let sent = SentCookie::read(&[3; 8]).expect("a client cookie");
        [&[3; 8][..], &fleet.answer(&sent, LOOPBACK, at).server].concat()
    };
    // Far enough from the bounds for the time that this takes.
    for (age, expected) in
        [(-500, "BADCOOKIE"), (-200, "NOERROR"), (0, "NOERROR"), (3_400, "NOERROR"), (3_700, "BADCOOKIE")]
    {
        let (said, given) = probed(&served, &made(now.wrapping_add_signed(-age)));
        assert_eq!(said, expected, "{age} seconds old");
        assert_eq!(given == made(now.wrapping_add_signed(-age)), matches!(age, -200 | 0), "{age}: renewed");
    }
}

#[test]
fn without_cookies_the_option_is_ignored() {
    let served = Served::on_loopback(&(forwarding_to(&[]) + "[cookies]\nenabled = false\n"));
    let reply = ask::over_udp(LOOPBACK, served.door, &question(Some(&[1; 8])).octets(1)).expect("a reply");
    assert_eq!((Message::from_vec(&reply).expect("a message").answers.len(), ask::cookie(&reply)), (1, None));
    let reply = ask::over_udp(LOOPBACK, served.door, &probe(&[1; 8])).expect("a reply");
    assert_eq!(rcode(&Message::from_vec(&reply).expect("a message")), "FORMERR");
}

// --------------------------------------------------------------------------------------------------------- real clients

/// The cookie in what `dig` or `kdig` prints.
fn shown_cookie(said: &str) -> String {
    let shown = said.lines().find_map(|line| line.trim_start_matches([';', ' ']).strip_prefix("COOKIE: "));
    shown.and_then(|shown| shown.split(' ').next()).unwrap_or_else(|| panic!("no cookie in\n{said}")).to_owned()
}

/// What a tool prints about the private name.
fn asked(tool: &str, door: SocketAddr, options: &[&str]) -> Option<String> {
    let mut command = Command::new(need_tool(tool)?);
    command.arg(format!("@{}", door.ip())).args(["-p", &door.port().to_string()]);
    let (status, said, _) = outcome(command.args(["www.corp.example", "A"]).args(options));
    assert_eq!(status, 0, "{said}");
    Some(said)
}

#[test]
fn dig_gets_a_cookie_and_uses_it() {
    let (_running, door) = serve("");
    let Some(said) = asked("dig", door, &["+cookie"]) else { return };
    assert!(said.contains("(good)") && said.contains("10.0.0.1"), "{said}");
    let cookie = shown_cookie(&said);
    assert_eq!(cookie.len(), 48, "{said}");
    let Some(said) = asked("dig", door, &[&format!("+cookie={cookie}"), "+tcp"]) else { return };
    assert!(said.contains("(good)") && shown_cookie(&said) == cookie, "{said}");
}

/// Clients whose prefix is at its limit come again with the cookie that they are told, or over TCP.
#[test]
fn real_clients_come_through_a_limit() {
    let (running, door) = serve("responses_per_second = 1\nslip = 1\nexempt = []");
    let bad_cookies = || metric(&running, "plustwo_refusals_total{reason=\"bad_cookie\"}");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others of the prefix use up what there is, but for a reply now and then that a tool may be lucky to have.
        scope.spawn(|| {
            let socket = ask::udp_client(NEIGHBOUR, door);
            while !is_over.load(Ordering::SeqCst) {
                socket.send(&question(None).octets(1)).expect("it listens");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for tool in ["dig", "kdig"] {
            let before = bad_cookies();
            let is_found = |said: &str| bad_cookies() > before && said.contains("10.0.0.1");
            let told =
                (0..TRIES).map_while(|_| asked(tool, door, &["+cookie=0102030405060708"])).any(|said| is_found(&said));
            assert!(told || need_tool(tool).is_none(), "{tool} does not come again with its cookie");
        }
        let told = (0..TRIES).map_while(|_| asked("dig", door, &["+nocookie"])).any(|said| {
            assert!(said.contains("10.0.0.1"), "{said}");
            said.contains("Truncated, retrying in TCP mode")
        });
        assert!(told || need_tool("dig").is_none(), "dig does not come again over TCP");
        is_over.store(true, Ordering::SeqCst);
    });
}

/// How often a tool is started until it is not lucky.
const TRIES: usize = 5;
