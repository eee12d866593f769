use rustls::HandshakeKind;

use super::authority::{Authority, accept};
use super::*;

const NAME: &str = "dns.example";

/// A target for DNS over TLS at the address of another one, with a certificate for this name.
pub(super) fn dot(target: Target, name: &str) -> Target {
    Target { protocol: TargetProtocol::Dot, server_name: Some(name.into()), ..target }
}

/// What the operator reads of a certificate that is not accepted.
#[track_caller]
fn reason(answer: Answer) -> String {
    match answer {
        Err(StreamFailure::Certificate(reason)) => reason.to_string(),
        other => panic!("{other:?} is not about a certificate"),
    }
}

impl Net {
    /// Trusts this authority.
    fn trusting(authority: &Authority) -> Self {
        Self::with(StreamSettings { roots: authority.roots(), ..settings() })
    }

    /// A peer that answers everything over TLS.
    fn tls_peer(&self, config: rustls::ServerConfig) -> Target {
        let config = Arc::new(config);
        self.peer(move |_, stream| {
            let config = Arc::clone(&config);
            async move {
                if let Some(stream) = accept(stream, &config).await {
                    answer_all(stream).await;
                }
            }
        })
    }
}

#[test]
fn questions_go_over_tls_padded_and_under_the_name() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let config = Arc::new(authority.server(&[NAME], b"dot"));
    let (seen, heard) = mpsc::channel();
    let target = net.peer(move |_, stream| {
        let (config, seen) = (Arc::clone(&config), seen.clone());
        async move {
            let mut stream = accept(stream, &config).await.expect("a handshake");
            let session = stream.get_ref().1;
            assert_eq!(session.server_name(), Some(NAME));
            assert_eq!(session.alpn_protocol(), Some(b"dot".as_slice()));
            while let Some(query) = read(&mut stream).await {
                seen.send(query.len()).expect("the test waits");
                write(&mut stream, &reply_to(&query)).await;
            }
        }
    });
    let target = dot(target, NAME);
    for number in [1, 10, 1000] {
        assert_eq!(net.ask(&target, query(number)), reply(number));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(128));
    }
    assert_eq!(net.targets.counters().opened, 1);
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let config = Arc::new(authority.server(&[NAME], b"dot"));
    let (seen, kinds) = mpsc::channel();
    let target = net.peer(move |_, stream| {
        let (config, seen) = (Arc::clone(&config), seen.clone());
        async move {
            let mut stream = accept(stream, &config).await.expect("a handshake");
            let query = read(&mut stream).await.expect("a query");
            write(&mut stream, &reply_to(&query)).await;
            seen.send(stream.get_ref().1.handshake_kind()).expect("the test waits");
        }
    });
    let target = dot(target, NAME);
    for number in [1, 2] {
        assert_eq!(net.ask(&target, query(number)), reply(number));
    }
    let kinds = [kinds.recv(), kinds.recv()].map(|kind| kind.expect("a handshake"));
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[test]
fn an_address_can_be_the_name() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let target = net.tls_peer(authority.server(&["127.0.0.1"], b"dot"));
    let target = Target { protocol: TargetProtocol::Dot, ..target };
    assert_eq!(net.ask(&target, query(1)), reply(1));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let target = dot(net.tls_peer(authority.server(&["else.example", "192.0.2.1"], b"dot")), NAME);
    assert_eq!(reason(net.ask(&target, query(1))), "it is for else.example, 192.0.2.1, not for dns.example");
    let counters = net.targets.counters();
    assert_eq!((counters.opened, counters.failed, counters.certificates), (0, 1, 1));
}

#[test]
fn certificates_that_have_expired_or_are_not_valid_yet_are_refused() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    for (from, until, expected) in
        [(2000, 2001, "it has expired"), (3000, 3001, "it is not valid yet; is the clock of this machine right?")]
    {
        let target = dot(net.tls_peer(authority.server_until(&[NAME], b"dot", from, until)), NAME);
        assert_eq!(reason(net.ask(&target, query(1))), expected);
    }
}

#[test]
fn only_roots_of_ours_count_and_tls_roots_adds_some() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (roots, is_trusted) in [
        (settings().roots, false),
        (ours.roots(), false),
        (theirs.roots(), true),
        (TlsRoots::new([ours.certificate().to_vec()], [theirs.certificate()]).expect("two roots"), true),
    ] {
        let net = Net::with(StreamSettings { roots, ..settings() });
        let target = dot(net.tls_peer(theirs.server(&[NAME], b"dot")), NAME);
        let answer = net.ask(&target, query(1));
        if is_trusted {
            assert_eq!(answer, reply(1));
        } else {
            assert!(reason(answer).starts_with("it is not signed by anyone we trust"));
        }
    }
}

#[test]
fn a_root_that_the_operator_names_must_be_one_and_one_of_the_system_need_not() {
    let good = Authority::new();
    let good = good.certificate();
    let broken = [1, 2, 3].as_slice();
    assert_eq!(TlsRoots::new([], [good]).expect("one root").count(), 1);
    assert_eq!(TlsRoots::new([broken.to_vec()], [good]).expect("one root").count(), 1);
    assert_eq!(TlsRoots::new([broken.to_vec()], []).expect("no root").count(), 0);
    let refused = TlsRoots::new([], [good, broken, good]).expect_err("the second is none");
    assert_eq!(refused.number, 2);
    assert!(refused.to_string().starts_with("certificate 2 cannot be used"), "{refused}");
}

#[test]
fn a_peer_that_speaks_something_else_is_named() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let plain = net.peer(|_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        listen_only(stream).await;
    });
    let answer = net.ask(&dot(plain, NAME), query(1));
    assert_eq!(answer, Err(StreamFailure::Protocol("what it speaks is not TLS".into())));
    let web = dot(net.tls_peer(authority.server(&[NAME], b"h2")), NAME);
    let answer = net.ask(&web, query(1));
    assert!(matches!(&answer, Err(StreamFailure::Protocol(reason)) if reason.contains("handshake")), "{answer:?}");
}

#[test]
fn a_peer_that_never_finishes_the_handshake_times_out() {
    let net = Net::hasty(settings());
    let silent = dot(net.peer(|_, stream| listen_only(stream)), NAME);
    let hangs_up = dot(net.peer(|_, stream| async move { drop(stream) }), NAME);
    assert_eq!(net.ask(&silent, query(1)), Err(StreamFailure::TimedOut));
    assert_eq!(net.ask(&hangs_up, query(1)), Err(StreamFailure::Unreachable));
}

#[test]
fn questions_on_a_session_that_ends_are_asked_once_more() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let config = Arc::new(authority.server(&[NAME], b"dot"));
    let target = net.peer(move |number, stream| {
        let config = Arc::clone(&config);
        async move {
            let mut stream = accept(stream, &config).await.expect("a handshake");
            if number > 0 {
                return answer_all(stream).await;
            }
            for _ in 0..3 {
                read(&mut stream).await.expect("a query");
            }
            // With a farewell of TLS.
            stream.shutdown().await.expect("the other side listens");
        }
    });
    let target = dot(target, NAME);
    let waiting = [1, 2, 3].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().asked_again, 3);
}

#[test]
fn three_hundred_questions_at_once_go_over_tls() {
    let authority = Authority::new();
    let net = Net::trusting(&authority);
    let target = dot(net.tls_peer(authority.server(&[NAME], b"dot")), NAME);
    let waiting: Vec<_> = (0..300).map(|number| (number, net.start(&target, query(number)))).collect();
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert!(net.targets.counters().opened <= 2);
}
