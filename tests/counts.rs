//! What the doors count: every query lands in the counters that say what became of it, over UDP and over TCP.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use support::ask::{self, Question};
use support::world::World;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WORLD: &str = "version = 1
region = \"us-west-2\"
[upstream]
targets = [\"192.0.2.53\"]
[[vpc]]
id = \"vpc-a\"
listen = [\"127.0.0.1:5300\"]
allow = [\"127.0.0.1/32\"]
[[hosted_zone]]
id = \"Z0\"
name = \"corp.example\"
vpcs = [\"vpc-a\"]
records = [{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }]
";

#[test]
fn every_query_is_counted_once_and_by_what_became_of_it() {
    let world = World::from_text("counts", WORLD, "$UPSTREAM 192.0.2.53\nwww.public.example. 300 IN A 198.51.100.1\n");
    let running = world.start(LOOPBACK);
    let door = running.plus_two("vpc-a");
    let not_allowed = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
    let queries = [
        (LOOPBACK, Question::new("www.corp.example", "A").octets(1)),
        (LOOPBACK, Question::new("gone.corp.example", "A").octets(2)),
        (LOOPBACK, Question::new("localhost", "A").octets(3)),
        (LOOPBACK, Question::new("5.0.0.10.in-addr.arpa", "PTR").octets(8)),
        (LOOPBACK, Question::new("www.public.example", "A").octets(4)),
        (LOOPBACK, Question::new("www.public.example", "A").octets(5)),
        (LOOPBACK, vec![0, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (not_allowed, Question::new("www.corp.example", "A").octets(7)),
    ];
    for (client, query) in &queries {
        ask::over_udp(*client, door, query).expect("a reply over UDP");
    }
    let udp = running.daemon.counts();
    assert_eq!((udp.queries, udp.silent, udp.send_failed, udp.in_flight_limit), (8, 0, 0, 0), "{udp:?}");
    assert_eq!((udp.replies_noerror, udp.replies_nxdomain), (4, 2), "{udp:?}");
    assert_eq!((udp.replies_formerr, udp.replies_refused), (1, 1), "{udp:?}");
    assert_eq!((udp.from_hosted_zone, udp.from_built_in, udp.from_forward), (2, 1, 2), "{udp:?}");
    assert_eq!(udp.from_autodefined, 1, "{udp:?}");
    assert_eq!((udp.cache_misses, udp.cache_hits, udp.malformed, udp.not_allowed), (1, 1, 1, 1), "{udp:?}");
    for (client, query) in &queries {
        ask::over_tcp(*client, door, query).expect("a reply over TCP");
    }
    let both = running.daemon.counts();
    assert_eq!((both.queries, both.cache_misses, both.cache_hits), (16, 1, 3), "{both:?}");
    assert_eq!((both.malformed, both.not_allowed, both.from_hosted_zone), (2, 2, 4), "{both:?}");
    running.daemon.stop();
}
