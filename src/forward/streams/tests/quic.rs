use std::sync::atomic::{AtomicU16, Ordering};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, RecvStream, SendStream, ServerConfig, VarInt};

use super::authority::Authority;
use super::*;

const NAME: &str = "dns.example";

/// Trusts an authority of its own.
fn world() -> (Net, Authority) {
    world_of(Net::with)
}

/// The same in a net of another kind.
fn world_of(net: fn(StreamSettings) -> Net) -> (Net, Authority) {
    let authority = Authority::new();
    (net(StreamSettings { roots: authority.roots(), ..settings() }), authority)
}

/// A target for DNS over QUIC at an address.
fn doq(address: SocketAddr) -> Target {
    Target { protocol: TargetProtocol::Doq, server_name: Some(NAME.into()), ..Target::do53(address) }
}

/// A peer that treats its connections as the script says; the first one has number 0.
pub(super) fn peer<F>(
    net: &Net,
    config: rustls::ServerConfig,
    script: impl Fn(usize, Incoming) -> F + Send + 'static,
) -> Target
where
    F: Future<Output = ()> + Send + 'static,
{
    let _context = net.runtime.enter();
    let config = QuicServerConfig::try_from(config).expect("TLS 1.3");
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(config)), address).expect("a port");
    let target = doq(endpoint.local_addr().expect("an address"));
    net.runtime.spawn(async move {
        for number in 0.. {
            let Some(incoming) = endpoint.accept().await else { return };
            tokio::spawn(script(number, incoming));
        }
    });
    target
}

/// Reads the query of a stream to its end.
pub(super) async fn read_query(receive: &mut RecvStream) -> Vec<u8> {
    let framed = receive.read_to_end(65_537).await.expect("a query and the end of the stream");
    assert_eq!(framed.len(), 2 + usize::from(u16::from_be_bytes([framed[0], framed[1]])));
    framed[2..].to_vec()
}

/// Writes a reply and ends the stream.
pub(super) async fn write_reply(mut send: SendStream, reply: &[u8]) {
    let framed = [&(reply.len() as u16).to_be_bytes(), reply].concat();
    send.write_all(&framed).await.expect("the other side listens");
    send.finish().expect("open");
}

/// Answers everything on a connection.
async fn answer_streams(incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    while let Ok((send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let query = read_query(&mut receive).await;
            write_reply(send, &reply_to(&query)).await;
        });
    }
}

#[test]
fn questions_have_a_stream_each_and_an_id_of_zero() {
    let (net, authority) = world();
    let (seen, heard) = mpsc::channel();
    let target = peer(&net, authority.server(&[NAME], b"doq"), move |_, incoming| {
        let seen = seen.clone();
        async move {
            let connection = incoming.await.expect("a handshake");
            let mut streams = Vec::new();
            while streams.len() < 3 {
                let (send, mut receive) = connection.accept_bi().await.expect("a stream");
                let query = read_query(&mut receive).await;
                seen.send(query.clone()).expect("the test waits");
                streams.push((send, query));
            }
            for (send, query) in streams.into_iter().rev() {
                write_reply(send, &reply_to(&query)).await;
            }
            connection.closed().await;
        }
    });
    let waiting = [1, 2, 3].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    for query in heard.iter().take(3) {
        assert_eq!((query.len(), &query[..2]), (128, b"\0\0".as_slice()));
    }
    assert_eq!(net.targets.counters().opened, 1);
}

#[test]
fn three_hundred_questions_at_once_go_over_quic() {
    let (net, authority) = world();
    let target = peer(&net, authority.server(&[NAME], b"doq"), |_, incoming| answer_streams(incoming));
    let waiting: Vec<_> = (0..300).map(|number| (number, net.start(&target, query(number)))).collect();
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert!(net.targets.counters().opened <= 2);
}

#[test]
fn certificates_are_checked_as_over_tls() {
    let (net, authority) = world();
    for (config, expected) in [
        (Authority::new().server(&[NAME], b"doq"), "it is not signed by anyone we trust"),
        (authority.server(&["else.example"], b"doq"), "not valid for name \"dns.example\""),
        (authority.server_until(&[NAME], b"doq", 2000, 2001), "expired"),
    ] {
        let target = peer(&net, config, |_, incoming| answer_streams(incoming));
        match net.ask(&target, query(1)) {
            Err(StreamFailure::Certificate(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?} is not about a certificate"),
        }
    }
    assert_eq!(net.targets.counters().certificates, 3);
}

#[test]
fn a_peer_that_speaks_something_else_over_quic_is_named() {
    let (net, authority) = world();
    let target = peer(&net, authority.server(&[NAME], b"h3"), |_, incoming| answer_streams(incoming));
    assert!(matches!(net.ask(&target, query(1)), Err(StreamFailure::Protocol(_))));
}

#[test]
fn a_reply_with_an_id_ends_the_connection() {
    let (net, authority) = world();
    let (seen, heard) = mpsc::channel();
    let target = peer(&net, authority.server(&[NAME], b"doq"), move |number, incoming| {
        let seen = seen.clone();
        async move {
            if number > 0 {
                return answer_streams(incoming).await;
            }
            let connection = incoming.await.expect("a handshake");
            let (send, mut receive) = connection.accept_bi().await.expect("a stream");
            let mut reply = reply_to(&read_query(&mut receive).await);
            reply[1] = 1;
            write_reply(send, &reply).await;
            seen.send(connection.closed().await.to_string()).expect("the test waits");
        }
    });
    assert!(matches!(net.ask(&target, query(1)), Err(StreamFailure::Protocol(_))));
    assert_eq!(heard.recv_timeout(PATIENCE).expect("closed"), "closed by peer: 2");
    assert_eq!(net.ask(&target, query(2)), reply(2));
}

#[test]
fn a_stream_that_ends_or_breaks_without_a_reply_is_a_failure_of_its_question_only() {
    let (net, authority) = world();
    let target = peer(&net, authority.server(&[NAME], b"doq"), |number, incoming| async move {
        assert_eq!(number, 0);
        let connection = incoming.await.expect("a handshake");
        for turn in 0.. {
            let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
            let query = read_query(&mut receive).await;
            match turn {
                0 => send.finish().expect("open"),
                1 => send.reset(VarInt::from_u32(4)).expect("open"),
                2 => {
                    send.write_all(&[0xff, 0xff, 1, 2, 3]).await.expect("the other side listens");
                    send.finish().expect("open");
                }
                _ => write_reply(send, &reply_to(&query)).await,
            }
        }
    });
    for expected in ["without a reply", "error 4", "without a reply"] {
        match net.ask(&target, query(1)) {
            Err(StreamFailure::Protocol(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?} is not about the protocol"),
        }
    }
    assert_eq!(net.ask(&target, query(2)), reply(2));
    assert_eq!(net.targets.counters().opened, 1);
}

#[test]
fn a_question_that_times_out_is_cancelled() {
    let (net, authority) = world_of(Net::hasty);
    let (seen, heard) = mpsc::channel();
    let target = peer(&net, authority.server(&[NAME], b"doq"), move |_, incoming| {
        let seen = seen.clone();
        async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, mut receive)) = connection.accept_bi().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let query = read_query(&mut receive).await;
                    if !query[12..].starts_with(b"\x02q1") {
                        return write_reply(send, &reply_to(&query)).await;
                    }
                    if let Ok(Some(code)) = send.stopped().await {
                        seen.send(code.into_inner()).expect("the test waits");
                    }
                });
            }
        }
    });
    let late = net.start(&target, query(1));
    // The connection is alive: one that is silent altogether is closed anyhow.
    while late.try_recv() == Err(mpsc::TryRecvError::Empty) {
        net.insist(&target, 2);
    }
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(3), "DOQ_REQUEST_CANCELLED");
}

#[test]
fn questions_on_a_connection_that_the_peer_closes_are_asked_once_more() {
    let (net, authority) = world();
    let target = peer(&net, authority.server(&[NAME], b"doq"), |number, incoming| async move {
        if number > 0 {
            return answer_streams(incoming).await;
        }
        let connection = incoming.await.expect("a handshake");
        // A stream that is dropped is finished.
        let mut streams = Vec::new();
        while streams.len() < 3 {
            let (send, mut receive) = connection.accept_bi().await.expect("a stream");
            read_query(&mut receive).await;
            streams.push(send);
        }
        connection.close(VarInt::from_u32(0), b"restarting");
    });
    let waiting = [1, 2, 3].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().opened, 2);
}

/// Carries datagrams between one client and that one of these servers whose port stands in the cell.
async fn carry(socket: tokio::net::UdpSocket, servers: [u16; 2], server_port: Arc<AtomicU16>) {
    let mut client = None;
    let mut datagram = [0; 2048];
    loop {
        let (octets, from) = socket.recv_from(&mut datagram).await.expect("a datagram");
        let server = SocketAddr::from(([127, 0, 0, 1], server_port.load(Ordering::SeqCst)));
        let to = match client {
            Some(client) if from == server => client,
            // Of a server that is gone.
            _ if servers.contains(&from.port()) => continue,
            _ => {
                client = Some(from);
                server
            }
        };
        socket.send_to(&datagram[..octets], to).await.expect("sent");
    }
}

#[test]
fn a_peer_that_vanishes_is_noticed_before_its_question_times_out() {
    let (net, authority) = world();
    let config = authority.server(&[NAME], b"doq");
    let (ready, is_ready) = mpsc::channel();
    let first = peer(&net, config.clone(), move |_, incoming| {
        let ready = ready.clone();
        async move {
            let connection = incoming.await.expect("a handshake");
            let (send, mut receive) = connection.accept_bi().await.expect("a stream");
            write_reply(send, &reply_to(&read_query(&mut receive).await)).await;
            let (_send, mut receive) = connection.accept_bi().await.expect("a stream");
            read_query(&mut receive).await;
            ready.send(()).expect("the test waits");
            std::future::pending().await
        }
    });
    let second = peer(&net, config, |_, incoming| answer_streams(incoming));
    let socket = net.runtime.block_on(tokio::net::UdpSocket::bind("127.0.0.1:0")).expect("a port");
    let target = doq(socket.local_addr().expect("an address"));
    let server_port = Arc::new(AtomicU16::new(first.port));
    net.runtime.spawn(carry(socket, [first.port, second.port], Arc::clone(&server_port)));
    assert_eq!(net.ask(&target, query(1)), reply(1));
    let waiting = net.start(&target, query(2));
    is_ready.recv_timeout(PATIENCE).expect("asked");
    // The machine is gone, and at its address there is one that knows nothing of the connection.
    server_port.store(second.port, Ordering::SeqCst);
    assert_eq!(answer(&waiting), reply(2));
}
