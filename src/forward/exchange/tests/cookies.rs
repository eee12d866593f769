//! DNS cookies (RFC 7873): a forger off the path does not know ours.

use super::*;

const CLIENT: [u8; 8] = *b"client-8";
const SERVER: [u8; 16] = *b"server-cookie-16";
const NEWER: [u8; 16] = *b"a-newer-cookie-!";

/// A target that has given us this server cookie.
fn candidate(server: &[u8], is_expected: bool) -> Vec<Candidate> {
    let server = ServerCookie::new(server).expect("0, or 8 to 32 octets");
    let cookie = Some(Cookie { client: ClientCookie(CLIENT), server, is_expected });
    vec![Candidate { cookie, ..candidates(1)[0] }]
}

/// A reply with this in its COOKIE option, and an rcode that may be one of EDNS.
fn with_cookie(delay: u64, query: &Judge, rcode: u16, cookie: &[u8]) -> Does {
    let octets = changed(query, ResponseCode::NoError, |reply| {
        reply.metadata.response_code = ResponseCode::from((rcode >> 4) as u8, (rcode & 15) as u8);
        if rcode != 0 {
            reply.answers.clear();
        }
        let edns = reply.edns.get_or_insert_default();
        edns.set_rcode_high((rcode >> 4) as u8);
        edns.options_mut().insert(EdnsOption::Unknown(10, cookie.to_vec()));
    });
    Does::Reply(delay, octets)
}

/// Our cookie and this server cookie.
fn pair(server: &[u8]) -> Vec<u8> {
    [&CLIENT, server].concat()
}

/// What was learned beside answers.
fn learned(went: &Went) -> Vec<Observation> {
    let others = |observation: &Observation| !matches!(observation, Observation::Answered(_));
    went.learned.iter().map(|(_, observation)| *observation).filter(others).collect()
}

fn gave(server: &[u8]) -> Observation {
    Observation::GaveCookie(ServerCookie::new(server).expect("8 to 32 octets"))
}

#[test]
fn our_cookie_goes_with_a_query_and_the_targets_is_remembered() {
    let mut sent = Vec::new();
    let went = run(candidate(&[], false), |_, query| {
        sent.push(cookie_of(query));
        vec![with_cookie(5, query, 0, &pair(&SERVER))]
    });
    assert_eq!((went.at, sent), (5, vec![Some(CLIENT.to_vec())]));
    assert_eq!(learned(&went), [gave(&SERVER)]);
    let Observation::Answered(answer) = went.learned[0].1 else { panic!("{:?}", went.learned) };
    assert!(answer.gave_cookie);

    // The next one carries it; the same again is no news, a newer one is.
    for (given, news) in [(SERVER, vec![]), (NEWER, vec![gave(&NEWER)])] {
        let went = run(candidate(&SERVER, true), |_, query| {
            assert_eq!(cookie_of(query), Some(pair(&SERVER)));
            vec![with_cookie(5, query, 0, &pair(&given))]
        });
        assert_eq!((went.at, learned(&went)), (5, news));
    }
}

#[test]
fn cookies_can_be_switched_off() {
    let options = Options { cookies: false, ..Options::default() };
    let went = run_with(options, candidate(&SERVER, true), |_, query| {
        assert_eq!(cookie_of(query), None);
        vec![good(5, query)]
    });
    assert_eq!((went.at, went.sent.len()), (5, 1));
}

#[test]
fn a_target_without_cookies_is_believed() {
    let went = run(candidate(&[], false), |_, query| vec![good(5, query)]);
    assert_eq!((went.at, learned(&went)), (5, vec![]));
}

#[test]
fn a_reply_with_a_wrong_cookie_is_ignored_and_the_wait_goes_on() {
    let not_ours = [b"forger-8".as_slice(), &SERVER].concat();
    // Too short, between 8 and 16, and beyond 40.
    let illegal = [0, 1, 7, 9, 12, 15, 41, 100].map(|octets| pair(&[7; 100])[..octets].to_vec());
    for cookie in illegal.into_iter().chain([not_ours]) {
        let went = run(candidate(&SERVER, true), |_, query| {
            vec![with_cookie(1, query, 0, &cookie), with_cookie(5, query, 0, &pair(&SERVER))]
        });
        assert_eq!((went.at, went.sent.len()), (5, 1), "{cookie:x?}");
        assert_eq!(went.counted, [Event::Mismatched], "{cookie:x?}");
    }
    // From 16 to 40 octets, and 8: ours copied, and none of its own.
    for octets in [8, 16, 17, 40] {
        let went = run(candidate(&SERVER, true), |_, query| vec![with_cookie(1, query, 0, &pair(&[7; 100])[..octets])]);
        assert_eq!((went.at, went.counted), (1, vec![]), "{octets}");
    }
}

#[test]
fn only_the_first_cookie_of_a_reply_counts() {
    let two = |query: &Judge, first: &[u8], second: &[u8]| {
        let Does::Reply(delay, mut octets) = with_cookie(1, query, 0, first) else { unreachable!("a reply") };
        // The OPT is the last record: its data grows by one more option.
        let at = octets.len() - first.len() - 6;
        let option = [&[0, 10, 0, second.len() as u8], second].concat();
        octets[at + 1] += option.len() as u8;
        octets.extend(option);
        Does::Reply(delay, octets)
    };
    let forged = [b'x'; 24];
    let went = run(candidate(&SERVER, true), |_, query| vec![two(query, &pair(&NEWER), &forged)]);
    assert_eq!((went.at, learned(&went)), (1, vec![gave(&NEWER)]));
    let went = run(candidate(&SERVER, true), |_, query| {
        vec![two(query, &forged, &pair(&NEWER)), with_cookie(5, query, 0, &pair(&SERVER))]
    });
    assert_eq!((went.at, went.counted), (5, vec![Event::Mismatched]));
}

#[test]
fn a_missing_cookie_is_doubtful_and_asked_over_a_stream() {
    // A forger knows no better than to leave it out, whatever it then claims.
    for rcode in [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::FormErr] {
        let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
            Channel::Datagram => vec![failing(1, query, rcode)],
            Channel::Stream => vec![with_cookie(5, query, 0, &pair(&SERVER))],
        });
        assert_eq!((went.at, went.rcode()), (6, Rcode::NOERROR), "{rcode}");
        assert_eq!(went.channels(), [Channel::Datagram, Channel::Stream], "{rcode}");
        assert_eq!((learned(&went), went.counted), (vec![], vec![Event::Mismatched, Event::Suspicious]), "{rcode}");
    }
    // The true reply comes before the stream's.
    let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
        Channel::Datagram => vec![good(1, query), with_cookie(3, query, 0, &pair(&SERVER))],
        Channel::Stream => vec![with_cookie(5, query, 0, &pair(&SERVER))],
    });
    assert_eq!(went.at, 3);
    // A header alone has no cookie either.
    let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
        Channel::Datagram => {
            let mut header = octets(query, ResponseCode::Refused);
            header.truncate(12);
            header[5] = 0;
            vec![Does::Reply(1, header)]
        }
        Channel::Stream => vec![with_cookie(5, query, 0, &pair(&SERVER))],
    });
    assert_eq!((went.at, went.rcode()), (6, Rcode::NOERROR));
    // TC leads to the stream anyhow.
    let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(1, query)],
        Channel::Stream => vec![with_cookie(5, query, 0, &pair(&SERVER))],
    });
    assert_eq!((went.at, went.counted), (6, vec![Event::Truncated]));
}

#[test]
fn a_target_that_stops_sending_cookies_is_believed_over_a_stream() {
    let went = run(candidate(&SERVER, true), |_, query| vec![good(2, query)]);
    assert_eq!((went.at, went.channels()), (4, vec![Channel::Datagram, Channel::Stream]));
    assert_eq!(learned(&went), [Observation::StoppedCookies]);
}

#[test]
fn a_query_without_edns_needs_no_cookie() {
    let mut plain = candidate(&SERVER, true);
    plain[0].edns = EdnsSupport::PlainOnly;
    let went = run(plain, |_, query| vec![good(2, query)]);
    assert_eq!((went.at, went.sent.len(), learned(&went)), (2, 1, vec![]));
}

const BADCOOKIE: u16 = 23;

#[test]
fn badcookie_is_asked_again_with_the_new_cookie() {
    let mut sent = Vec::new();
    let went = run(candidate(&SERVER, true), |_, query| {
        let cookie = cookie_of(query).expect("has a cookie");
        let rcode = if cookie == pair(&NEWER) { 0 } else { BADCOOKIE };
        sent.push((query.metadata.id, cookie));
        vec![with_cookie(3, query, rcode, &pair(&NEWER))]
    });
    assert_eq!((went.at, went.channels()), (6, vec![Channel::Datagram; 2]));
    assert_eq!([&sent[0].1, &sent[1].1], [&pair(&SERVER), &pair(&NEWER)]);
    assert_ne!(sent[0].0, sent[1].0, "a query of its own");
    assert_eq!((learned(&went), went.counted), (vec![gave(&NEWER)], vec![Event::BadCookie]));
}

#[test]
fn badcookie_again_leads_to_a_stream() {
    let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
        Channel::Datagram => vec![with_cookie(3, query, BADCOOKIE, &pair(&NEWER))],
        Channel::Stream => vec![with_cookie(3, query, 0, &pair(&NEWER))],
    });
    assert_eq!((went.at, went.channels()), (9, vec![Channel::Datagram, Channel::Datagram, Channel::Stream]));
    // So does one that brings no cookie to ask again with.
    let went = run(candidate(&SERVER, true), |sent, query| match sent.channel {
        Channel::Datagram => vec![with_cookie(3, query, BADCOOKIE, &CLIENT)],
        Channel::Stream => vec![with_cookie(3, query, 0, &pair(&NEWER))],
    });
    assert_eq!((went.at, went.channels()), (6, vec![Channel::Datagram, Channel::Stream]));
    // And over a stream it leads to the next target, and is not passed on.
    let went = run(candidate(&SERVER, true), |_, query| vec![with_cookie(3, query, BADCOOKIE, &pair(&NEWER))]);
    assert_eq!(went.result, Err(ExchangeError::BadReply));
}

#[test]
fn cookies_are_never_shown() {
    let shown = format!("{:?}", candidate(&SERVER, true)[0].cookie.expect("there is one"));
    assert_eq!(shown, "Cookie { client: ClientCookie, server: ServerCookie(16 octets), is_expected: true }");
}
