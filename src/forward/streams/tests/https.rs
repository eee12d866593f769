use std::future::poll_fn;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use h2::server::SendResponse;
use http::request::Parts;
use http::{Method, Response};
use tokio::sync::{Barrier, watch};

use super::authority::{Authority, accept};
use super::*;

const NAME: &str = "dns.example";
const PATH: &str = "/resolve-here?x=y";

/// What a peer does with a request.
pub(super) enum Act {
    Answer(Response<()>, Vec<u8>),
    Reset(Reason),
    Nothing,
    /// Ends the whole connection, without a word.
    HangUp,
}

pub(super) type Handling = Pin<Box<dyn Future<Output = Act> + Send>>;

/// A proper answer with this body.
pub(super) fn ok(body: Vec<u8>) -> Act {
    let response = Response::builder().header("content-type", "application/dns-message").body(()).expect("a response");
    Act::Answer(response, body)
}

/// A peer that treats each request as the handler says, which is given the numbers of connection and request. After so
/// many requests on a connection it says GOAWAY.
pub(super) fn peer(
    net: &Net,
    authority: &Authority,
    requests_max: usize,
    handle: impl Fn(usize, usize, Parts, Vec<u8>) -> Handling + Send + Sync + 'static,
) -> Target {
    let config = Arc::new(authority.server(&[NAME], b"h2"));
    let handle = Arc::new(handle);
    let target = net.peer(move |connection, stream| {
        let (config, handle) = (Arc::clone(&config), Arc::clone(&handle));
        async move {
            let Some(stream) = accept(stream, &config).await else { return };
            let mut server = h2::server::Builder::new().handshake(stream).await.expect("HTTP/2");
            let hang_up = Arc::new(tokio::sync::Notify::new());
            let mut count = 0;
            loop {
                let accepted = tokio::select! {
                    accepted = server.accept() => accepted,
                    () = hang_up.notified() => return,
                };
                let Some(Ok((request, respond))) = accepted else { return };
                let (handle, hang_up) = (Arc::clone(&handle), Arc::clone(&hang_up));
                tokio::spawn(async move {
                    let (parts, mut stream) = request.into_parts();
                    let mut body = Vec::new();
                    while let Some(Ok(part)) = poll_fn(|cx| stream.poll_data(cx)).await {
                        body.extend_from_slice(&part);
                    }
                    act(handle(connection, count, parts, body).await, respond, &hang_up).await;
                });
                count += 1;
                if count == requests_max {
                    server.graceful_shutdown();
                }
            }
        }
    });
    doh(target)
}

/// Does what the handler said.
async fn act(act: Act, mut respond: SendResponse<Cursor<Vec<u8>>>, hang_up: &tokio::sync::Notify) {
    match act {
        Act::Answer(response, body) => {
            // The other side may have had enough of it.
            if let Ok(mut stream) = respond.send_response(response, false) {
                let _ = stream.send_data(Cursor::new(body), true);
            }
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::Nothing => {
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
        }
        Act::HangUp => {
            hang_up.notify_one();
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
        }
    }
}

/// A target for DNS over HTTPS at the address of another one.
fn doh(target: Target) -> Target {
    Target { protocol: TargetProtocol::Doh { path: PATH.into() }, server_name: Some(NAME.into()), ..target }
}

/// Trusts an authority of its own.
fn world() -> (Net, Authority) {
    world_of(Net::with)
}

/// The same in a net of another kind.
fn world_of(net: fn(StreamSettings) -> Net) -> (Net, Authority) {
    let authority = Authority::new();
    (net(StreamSettings { roots: authority.roots(), ..settings() }), authority)
}

/// What the operator reads of a peer that does not do as it must.
#[track_caller]
fn reason(answer: Answer) -> String {
    match answer {
        Err(StreamFailure::Protocol(reason)) => reason.to_string(),
        other => panic!("{other:?} is not about the protocol"),
    }
}

#[test]
fn questions_go_as_posts_with_an_id_of_zero() {
    let (net, authority) = world();
    let (seen, heard) = mpsc::channel();
    let target = peer(&net, &authority, usize::MAX, move |_, _, parts, body| {
        seen.send((parts, body.clone())).expect("the test waits");
        Box::pin(async move { ok(reply_to(&body)) })
    });
    assert_eq!(net.ask(&target, query(7)), reply(7));
    let (parts, body) = heard.recv_timeout(PATIENCE).expect("a request");
    assert_eq!(parts.method, Method::POST);
    assert_eq!(parts.uri, *format!("https://{NAME}:{}{PATH}", target.port));
    assert_eq!(parts.headers["content-type"], "application/dns-message");
    assert_eq!(parts.headers["accept"], "application/dns-message");
    assert_eq!(parts.headers["content-length"], "128");
    assert_eq!((body.len(), &body[..2]), (128, b"\0\0".as_slice()));
}

#[test]
fn requests_are_answered_in_any_order_on_one_connection() {
    let (net, authority) = world();
    let last_is_here = watch::Sender::new(false);
    let target = peer(&net, &authority, usize::MAX, move |_, request, _, body| {
        let last_is_here = last_is_here.clone();
        Box::pin(async move {
            if request == 2 {
                last_is_here.send_replace(true);
            }
            last_is_here.subscribe().wait_for(|&is_here| is_here).await.expect("a sender");
            ok(reply_to(&body))
        })
    });
    let waiting = [1, 2, 3].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().opened, 1);
}

#[test]
fn three_hundred_requests_at_once_take_two_connections() {
    let (net, authority) = world();
    let all_are_here = Arc::new(Barrier::new(2 * PIPELINED_MAX));
    let count = AtomicUsize::new(0);
    let target = peer(&net, &authority, usize::MAX, move |_, _, _, body| {
        let is_early = count.fetch_add(1, Ordering::SeqCst) < 2 * PIPELINED_MAX;
        let all_are_here = Arc::clone(&all_are_here);
        Box::pin(async move {
            if is_early {
                all_are_here.wait().await;
            }
            ok(reply_to(&body))
        })
    });
    let waiting: Vec<_> = (0..300).map(|number| (number, net.start(&target, query(number)))).collect();
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().opened, 2);
}

#[test]
fn after_goaway_questions_go_over_another_connection() {
    let (net, authority) = world();
    let target = peer(&net, &authority, 3, |_, _, _, body| Box::pin(async move { ok(reply_to(&body)) }));
    for number in 0..20 {
        assert_eq!(net.ask(&target, query(number)), reply(number));
    }
    assert_eq!(net.targets.counters().timed_out, 0);
    assert!(net.targets.counters().opened >= 7);
}

#[test]
fn questions_on_a_connection_that_dies_are_asked_once_more() {
    let (net, authority) = world();
    let target = peer(&net, &authority, usize::MAX, |connection, request, _, body| {
        Box::pin(async move {
            match (connection, request) {
                (0, 2) => Act::HangUp,
                (0, _) => Act::Nothing,
                _ => ok(reply_to(&body)),
            }
        })
    });
    let waiting = [1, 2, 3].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!((net.targets.counters().asked_again, net.targets.counters().opened), (3, 2));
}

#[test]
fn a_request_that_was_not_looked_at_is_asked_once_more_and_one_that_was_is_not() {
    let (net, authority) = world();
    let target = peer(&net, &authority, usize::MAX, |connection, request, _, body| {
        Box::pin(async move {
            match (connection, request) {
                (0, 0) => Act::Reset(Reason::REFUSED_STREAM),
                (1, 1) => Act::Reset(Reason::INTERNAL_ERROR),
                _ => ok(reply_to(&body)),
            }
        })
    });
    assert_eq!(net.ask(&target, query(1)), reply(1));
    assert!(reason(net.ask(&target, query(2))).contains("breaks a question over HTTPS off"));
    assert_eq!(net.ask(&target, query(3)), reply(3));
    assert_eq!(net.targets.counters().opened, 2);
}

#[test]
fn a_peer_that_never_answers_times_out_and_the_next_question_goes_elsewhere() {
    let (net, authority) = world_of(Net::hasty);
    let target = peer(&net, &authority, usize::MAX, |connection, _, _, body| {
        Box::pin(async move { if connection == 0 { Act::Nothing } else { ok(reply_to(&body)) } })
    });
    assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::TimedOut));
    net.insist(&target, 2);
}

#[test]
fn only_what_can_be_a_message_is_read() {
    let (net, authority) = world();
    let response = |status: u16, media_type: &str| {
        Response::builder().status(status).header("content-type", media_type).body(()).expect("a response")
    };
    let cases: [(Response<()>, usize, &str); 7] = [
        (response(404, "application/dns-message"), 64, "it answers over HTTPS with status 404"),
        (response(302, "application/dns-message"), 0, "it answers over HTTPS with status 302"),
        (response(503, "text/html"), 64, "it answers over HTTPS with status 503"),
        (
            response(200, "text/html; charset=x"),
            64,
            "it answers over HTTPS with `text/html`, not application/dns-message",
        ),
        (response(200, "application/dns-message"), 11, "what it answers over HTTPS is no DNS message"),
        (response(200, "application/dns-message"), 65_536, "it answers over HTTPS with more than 65535 octets"),
        (
            Response::builder()
                .header("content-type", "application/dns-message")
                .header("content-length", "4000000000")
                .body(())
                .expect("a response"),
            64,
            "it answers over HTTPS with more than 65535 octets",
        ),
    ];
    let acts: Vec<_> = cases.iter().map(|(response, octets, _)| (response.clone(), *octets)).collect();
    let target = peer(&net, &authority, usize::MAX, move |_, request, _, _| {
        let (response, octets) = acts[request].clone();
        Box::pin(async move { Act::Answer(response, vec![0; octets]) })
    });
    for (number, (_, _, expected)) in cases.iter().enumerate() {
        assert_eq!(reason(net.ask(&target, query(number as u16))), *expected);
    }
}

#[test]
fn the_largest_reply_and_other_forms_of_the_media_type_are_read() {
    let (net, authority) = world();
    let target = peer(&net, &authority, usize::MAX, |_, _, _, body| {
        let mut reply = reply_to(&body);
        reply.resize(65_535, 7);
        let response = Response::builder()
            .header("content-type", "Application/DNS-Message ; charset=x")
            .header("content-length", "65535")
            .body(())
            .expect("a response");
        Box::pin(async move { Act::Answer(response, reply) })
    });
    let mut expected = reply_to(&query(1));
    expected.resize(65_535, 7);
    assert_eq!(net.ask(&target, query(1)), Ok(expected));
}

#[test]
fn what_a_cache_on_the_way_kept_has_aged() {
    let (net, authority) = world();
    let target = peer(&net, &authority, usize::MAX, |_, _, _, body| {
        let response = Response::builder()
            .header("content-type", "application/dns-message")
            .header("age", "20")
            .body(())
            .expect("a response");
        Box::pin(async move { Act::Answer(response, reply_to(&body)) })
    });
    let mut expected = reply_to(&query(1));
    let ttl_at = expected.len() - 10;
    assert_eq!(expected[ttl_at..ttl_at + 4], 60_u32.to_be_bytes());
    expected[ttl_at..ttl_at + 4].copy_from_slice(&40_u32.to_be_bytes());
    assert_eq!(net.ask(&target, query(1)), Ok(expected));
}

#[test]
fn header_fields_without_end_are_not_read() {
    let (net, authority) = world();
    let target = peer(&net, &authority, usize::MAX, |connection, request, _, body| {
        let mut response = Response::builder().header("content-type", "application/dns-message");
        if (connection, request) == (0, 0) {
            for number in 0..400 {
                response = response.header(format!("x-{number}"), "x".repeat(100));
            }
        }
        let response = response.body(()).expect("a response");
        Box::pin(async move { Act::Answer(response, reply_to(&body)) })
    });
    // The connection is given up, and the question asked once more on another.
    assert_eq!(net.ask(&target, query(1)), reply(1));
    assert_eq!(net.targets.counters().opened, 2);
}

#[test]
fn a_peer_without_http2_is_named() {
    let (net, authority) = world();
    let config = Arc::new({
        let mut config = authority.server(&[NAME], b"");
        config.alpn_protocols.clear();
        config
    });
    let target = net.peer(move |_, stream| {
        let config = Arc::clone(&config);
        async move {
            let _ = accept(stream, &config).await;
        }
    });
    assert_eq!(reason(net.ask(&doh(target), query(1))), "it does not speak HTTP/2");
}

#[test]
fn an_idle_connection_is_closed_in_good_order() {
    let (net, authority) = world_of(Net::hasty);
    let config = Arc::new(authority.server(&[NAME], b"h2"));
    let (closed, was_closed) = mpsc::channel();
    let target = net.peer(move |_, stream| {
        let (config, closed) = (Arc::clone(&config), closed.clone());
        async move {
            let stream = accept(stream, &config).await.expect("a handshake");
            let mut server = h2::server::handshake(stream).await.expect("HTTP/2");
            // None is the good order: the client said GOAWAY.
            while let Some(request) = server.accept().await {
                let (_, mut respond) = request.expect("no error");
                let response = Response::builder().status(500).body(()).expect("a response");
                respond.send_response(response, true).expect("a request that is open");
            }
            closed.send(()).expect("the test waits");
        }
    });
    // A refusal as good as a reply.
    drop(net.ask(&doh(target), query(1)));
    was_closed.recv_timeout(PATIENCE).expect("closed by us");
}
