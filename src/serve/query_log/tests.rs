use super::*;
use crate::dns::reply::Transport;
use crate::forward::Nanos;
use crate::snapshot::{DoorIndex, ViewIndex};
use std::net::SocketAddr;

fn noted(source: ReplySource, rcode: Rcode) -> Noted {
    Noted { octets: 12, rcode: rcode.0, source: source as u8, refusal: NOT_REFUSED }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let addresses: [SocketAddr; 2] =
        ["192.0.2.1:65535", "[2001:db8::1]:1"].map(|text| text.parse().expect("an address"));
    let mut octets = Vec::new();
    let mut written = Vec::new();
    for (number, client) in addresses.into_iter().enumerate() {
        for local in [None, Some(addresses[0].ip()), Some(addresses[1].ip())] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let record = Record {
                    wanted_by: Logs::EACH[number],
                    noted: Noted { refusal: Refusal::RoundLimit as u8, ..noted(ReplySource::Refused, Rcode(4095)) },
                    transport,
                    door: DoorIndex(number as u32),
                    view: (number > 0).then_some(ViewIndex(7)),
                    client,
                    local,
                    received: Nanos(u64::MAX - 1),
                    took_nanos: 3_900_000_000 * 2,
                    reply: &[1; 300],
                    query: if number > 0 { b"query" } else { b"" },
                };
                record.write(&mut octets, Generation(16 + 15));
                written.push(format!("{:?}", (15, Record { noted: Noted { octets: 0, ..record.noted }, ..record })));
            }
        }
    }
    let read: Vec<String> = Record::read_all(&octets).map(|record| format!("{record:?}")).collect();
    assert_eq!(read, written);
    let (_, first) = Record::read_all(&octets).next().expect("a record");
    assert_eq!((first.noted.source(), first.noted.refusal()), (ReplySource::Refused, Some(Refusal::RoundLimit)));
    // What is cut off is no record.
    assert_eq!(Record::read_all(&octets[..first.octets() - 1]).count(), 0);
    assert_eq!(noted(ReplySource::Cache, Rcode::NOERROR).refusal(), None);
}

#[test]
fn an_address_that_is_mapped_is_logged_as_what_it_is() {
    let mapped = "[::ffff:192.0.2.1]:53".parse().expect("an address");
    let record = Record {
        wanted_by: Logs::QUERY_LOG,
        noted: noted(ReplySource::Cache, Rcode::NOERROR),
        transport: Transport::Udp,
        door: DoorIndex(0),
        view: None,
        client: mapped,
        local: None,
        received: Nanos(0),
        took_nanos: 0,
        reply: b"",
        query: b"",
    };
    let mut octets = Vec::new();
    record.write(&mut octets, Generation(1));
    let (_, read) = Record::read_all(&octets).next().expect("a record");
    assert_eq!(read.client, "192.0.2.1:53".parse().expect("an address"));
}

#[test]
fn sources_and_rcodes_are_chosen_by_their_bits() {
    let sources = Selection::bits_of_sources([ReplySource::Forward, ReplySource::Stale]);
    let rcodes = Selection::bits_of_rcodes([Rcode::SERVFAIL, Rcode::BADCOOKIE]);
    let selection = Selection { sources, rcodes, ..Selection::ALL };
    for (source, rcode, expected) in [
        (ReplySource::Forward, Rcode::SERVFAIL, true),
        (ReplySource::Stale, Rcode::BADCOOKIE, true),
        (ReplySource::Forward, Rcode::NOERROR, false),
        (ReplySource::Cache, Rcode::SERVFAIL, false),
    ] {
        assert_eq!(selection.has(noted(source, rcode)), expected, "{source:?} {rcode:?}");
        assert!(Selection::ALL.has(noted(source, rcode)));
    }
    assert_eq!((Selection::bits_of_sources([]), Selection::bits_of_rcodes([])), (u32::MAX, u32::MAX));
    // One that has no bit of its own is with the last.
    assert!(
        Selection { rcodes: Selection::bits_of_rcodes([Rcode(4095)]), ..Selection::ALL }
            .has(noted(ReplySource::Forward, Rcode(31)))
    );
}

#[test]
fn a_sample_has_its_rate_and_no_period() {
    let selected = |sample_rate: f64| {
        let (log, mut logger) = (QueryLog::new(1), Logger::new(0));
        let selection = Selection { sample_rate, ..Selection::ALL };
        log.start(Selections { of_logs: [Some(selection), None], wants_queries: false }, 1 << 20);
        logger.random = SmallRng::seed_from_u64(7);
        logger.begin(&log, Generation(1));
        let each = noted(ReplySource::Cache, Rcode::NOERROR);
        let taken = (0..200_000usize).filter(|_| !logger.wanted(Logs::QUERY_LOG, each).is_none());
        taken.collect::<Vec<usize>>()
    };
    assert_eq!((selected(0.0).len(), selected(1.0).len()), (0, 200_000));
    for rate in [0.01, 0.25, 0.5] {
        let taken = selected(rate);
        let expected = 200_000.0 * rate;
        // Six standard deviations; and as many at even places as at odd ones.
        let deviation = 6.0 * (expected * (1.0 - rate)).sqrt();
        assert!((taken.len() as f64 - expected).abs() < deviation, "{} of a rate of {rate}", taken.len());
        let even = taken.iter().filter(|place| **place % 2 == 0).count() as f64;
        assert!((even - expected / 2.0).abs() < deviation, "{even} at even places of a rate of {rate}");
    }
}

#[test]
fn logs_are_selected_apart() {
    let (log, mut logger) = (QueryLog::new(1), Logger::new(0));
    let failures = Selection { rcodes: Selection::bits_of_rcodes([Rcode::SERVFAIL]), ..Selection::ALL };
    log.start(Selections { of_logs: [Some(failures), Some(Selection::ALL)], wants_queries: true }, 1 << 20);
    logger.begin(&log, Generation(1));
    let both = Logs::QUERY_LOG.with(Logs::DNSTAP);
    let [fine, failed] = [Rcode::NOERROR, Rcode::SERVFAIL].map(|rcode| noted(ReplySource::Forward, rcode));
    assert_eq!([fine, failed].map(|noted| logger.wanted(both, noted)), [Logs::DNSTAP, both]);
    assert_eq!([fine, failed].map(|noted| logger.wanted(Logs::QUERY_LOG, noted)), [Logs::NONE, Logs::QUERY_LOG]);
    assert!(log.is_on());
    log.stop();
    assert!(!log.is_on());
}
