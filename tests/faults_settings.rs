//! What an operator sets about forwarding, as it shows from outside: whom a question is asked first, over what, how many
//! sockets it may take, what is remembered and for how long.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::bars::{ADDRESS, SERVFAIL_MAX, answers, ask_all_at_once};
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Reply, Served, forwarding_to};

/// A configuration with further lines in `[upstream]`.
fn with(targets: &[SocketAddr], lines: &str) -> String {
    forwarding_to(targets).replace("[[vpc]]", &format!("{lines}\n[[vpc]]"))
}

/// Asks for so many names, one after the other.
fn ask_names(served: &Served, label: &str, count: usize) {
    for number in 0..count {
        let reply = served.ask(&format!("{label}{number}.public.example"));
        assert!(reply.is(ADDRESS), "{label}{number}: {reply:?}");
    }
}

/// How often each upstream was asked for names with this label.
fn shares(upstreams: &[Scripted], label: &str) -> Vec<usize> {
    let asked = |upstream: &Scripted| upstream.asked().iter().filter(|asked| asked.name().starts_with(label)).count();
    upstreams.iter().map(asked).collect()
}

#[test]
fn the_order_says_who_is_asked_first() {
    /// Names asked.
    const NAMES: usize = 60;
    let slow = |asked: &Asked| vec![Act::SendLater(Duration::from_millis(30), asked.address(ADDRESS))];
    for (order, least, most) in
        [("in_order", NAMES, NAMES), ("random", NAMES / 5, 4 * NAMES / 5), ("fastest", 0, NAMES / 4)]
    {
        let upstreams = [Scripted::start(slow), Scripted::start(answers)];
        let addresses = upstreams.each_ref().map(Scripted::address);
        let served = Served::on_loopback(&with(&addresses, &format!("order = \"{order}\"")));
        // So that both have been measured.
        ask_names(&served, "before", 20);
        ask_names(&served, "then", NAMES);
        let shares = shares(&upstreams, "then");
        assert!((least..=most).contains(&shares[0]), "{order}: {shares:?}");
        assert!(shares.iter().sum::<usize>() >= NAMES, "{order}: {shares:?}");
    }
}

#[test]
fn a_target_over_tcp_is_asked_over_tcp() {
    let upstream = Scripted::start(answers);
    let text = forwarding_to(&[]).replace("targets = []", &format!("targets = [\"tcp://{}\"]", upstream.address()));
    let served = Served::on_loopback(&text);
    ask_names(&served, "n", 50);
    for reply in ask_all_at_once(&served, "together", 100) {
        assert!(reply.is(ADDRESS), "{reply:?}");
    }
    let asked = upstream.asked();
    assert!(asked.iter().all(|asked| asked.over_tcp), "not one datagram");
    let connections: std::collections::BTreeSet<_> = asked.iter().map(|asked| asked.from).collect();
    assert!(connections.len() <= 8, "{} connections for 150 names", connections.len());
}

#[test]
fn upstream_sockets_are_as_many_as_the_file_says() {
    /// `[limits] upstream_sockets`.
    const SOCKETS: usize = 40;
    /// Doors, runtimes, streams of the log and the like.
    const OTHERS: usize = 100;
    let upstreams = [(); 4].map(|()| Scripted::start(|_| Vec::new()));
    let addresses = upstreams.each_ref().map(Scripted::address);
    let limits = format!("[limits]\nupstream_sockets = {SOCKETS}\n");
    let served = Served::on_loopback(&(forwarding_to(&addresses) + &limits));
    let idle = served.descriptors();
    // Fewer to each socket than its buffer holds: the replies come all at once.
    let sockets: Vec<_> = (0..10).map(|_| ask::udp_client(served.client, served.door)).collect();
    for id in 0..500_u16 {
        let query = Question::new(&format!("n{id}.random.example"), "A").octets(id);
        sockets[usize::from(id) % sockets.len()].send(&query).expect("it listens");
    }
    let (began, mut most, mut replies) = (Instant::now(), 0, 0);
    for socket in &sockets {
        socket.set_nonblocking(true).expect("a socket option");
    }
    while replies < 500 && began.elapsed() < SERVFAIL_MAX + Duration::from_secs(2) {
        replies += sockets.iter().map(|socket| std::iter::from_fn(|| ask::receive(socket).ok()).count()).sum::<usize>();
        most = most.max(served.descriptors());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(replies, 500, "every question has its SERVFAIL");
    assert!(idle < OTHERS && most <= idle + SOCKETS + 8, "{most} descriptors, {idle} before");
    assert!(upstreams.iter().any(|upstream| !upstream.asked().is_empty()), "they were asked");
}

/// `case_randomization`: who does not repeat the case is asked over TCP; where there is none, the log says what to do.
#[test]
fn a_target_that_neither_keeps_the_case_nor_has_tcp_is_named() {
    // Nobody listens there over TCP.
    let udp = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    let address = udp.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut octets = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut octets) {
            let mut end = 12;
            while octets[end] != 0 {
                let label = end + 1..=end + usize::from(octets[end]);
                end = label.end() + 1;
                octets[label].make_ascii_lowercase();
            }
            assert!(end + 5 <= length);
            let mut reply = octets[..end + 5].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x33\x64\x01");
            let _ = udp.send_to(&reply, from);
        }
    });
    let served =
        Served::on_loopback(&with(&[address], "").replace("[upstream]\n", "[upstream]\ncase_randomization = true\n"));
    for number in 0..8 {
        // Many letters: that all of them happen to be lower is one in 2^16 at least.
        let reply = served.ask(&format!("abcdefghijklmnop{number}.public.example"));
        assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
        if served.program.said().contains("an upstream does not answer") {
            break;
        }
    }
    let said = served.program.wait_for("an upstream does not answer").expect("it runs");
    assert!(said.contains("set case_randomization = false"), "{said}");
}

/// RFC 9520 section 3.2: `failure_ttl` seconds.
#[test]
fn a_failure_is_remembered_as_long_as_the_file_says() {
    let upstream =
        Scripted::start(|asked| vec![Act::Send(octets(&asked.reply(hickory_proto::op::ResponseCode::ServFail)))]);
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + "[cache]\nfailure_ttl = 2\n"));
    assert_eq!(served.ask("www.public.example").rcode(), "SERVFAIL");
    let (asked, began) = (upstream.asked_for("www.public.example"), Instant::now());
    while upstream.asked_for("www.public.example") == asked {
        assert!(began.elapsed() < Duration::from_secs(4), "it is not asked again");
        assert_eq!(served.ask("www.public.example").rcode(), "SERVFAIL");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_millis(1_500), "it was asked again after {:?}", began.elapsed());
}

/// `prefetch`: a name that is still asked for is asked again shortly before it is over, and nobody waits for it.
#[test]
fn what_is_asked_for_is_fetched_before_it_is_over() {
    /// Seconds that the upstream's answers live, and what it takes to answer.
    const TTL: u64 = 10;
    const DELAY: Duration = Duration::from_millis(300);
    let script =
        |asked: &Asked| vec![Act::SendLater(DELAY, octets(&asked.records(&[&format!("@ {TTL} IN A 198.51.100.1")])))];
    let upstreams = [Scripted::start(script), Scripted::start(script)];
    let served = [
        Served::on_loopback(&forwarding_to(&[upstreams[0].address()])),
        Served::on_loopback(&(forwarding_to(&[upstreams[1].address()]) + "[cache]\nprefetch = false\n")),
    ];
    for served in &served {
        assert!(served.ask("www.public.example").is(ADDRESS));
    }
    let began = Instant::now();
    let quickly = |reply: &Reply| reply.is(ADDRESS) && reply.took < DELAY / 2;
    // In the last tenth of its life.
    std::thread::sleep(Duration::from_millis(TTL * 950) - began.elapsed());
    for served in &served {
        let reply = served.ask("www.public.example");
        assert!(quickly(&reply), "out of the cache: {reply:?}");
    }
    std::thread::sleep(Duration::from_millis(TTL * 1_080) - began.elapsed());
    let reply = served[0].ask("www.public.example");
    assert!(quickly(&reply) && reply.ttls()[0] >= 5, "it was fetched meanwhile: {reply:?}");
    assert_eq!(upstreams[0].asked_for("www.public.example"), 2);
    assert_eq!(upstreams[1].asked_for("www.public.example"), 1, "and not where the file says so");
}

/// Those who find addresses and speak TLS for us have much to say of each question, some of it on many lines.
#[test]
fn the_log_holds_our_own_words_only() {
    let bootstrap = Scripted::start(|asked| vec![Act::Send(octets(&asked.records(&["@ 300 IN A 127.0.0.1"])))]);
    let targets = format!("targets = [\"tls://dns.public.example:1\"]\nbootstrap = [\"{}\"]", bootstrap.address());
    let text = forwarding_to(&[]).replace("targets = []", &targets) + "[log]\nlevel = \"debug\"\n";
    let served = Served::on_loopback(&text);
    assert_eq!(served.ask("www.public.example").rcode(), "SERVFAIL", "nobody is at that port");
    let said = served.program.wait_for("an upstream does not answer").expect("it runs");
    assert!(bootstrap.asked_for("dns.public.example") > 0, "{said}");
    let summary = format!("asked of {}\n", bootstrap.address());
    let (_, log) = said.split_once(&summary).expect("what is served is said before anything happens");
    let others: Vec<&str> = log.lines().filter(|line| !line.contains(" plustwo::")).collect();
    assert!(others.is_empty(), "{others:#?}");
}
