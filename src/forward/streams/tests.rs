use std::sync::mpsc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks and waits.
fn ask(targets: &StreamTargets, target: &Target, query: Vec<u8>) -> Result<Vec<u8>, StreamFailure> {
    let (sender, receiver) = mpsc::channel();
    targets.ask(target, query, move |reply| drop(sender.send(reply)));
    receiver.recv_timeout(PATIENCE).expect("reply is called")
}

#[test]
fn a_question_goes_over_tcp_and_its_reply_comes_back() {
    let runtime = Runtime::new().expect("a runtime");
    let targets = StreamTargets::new(StreamSettings::default(), runtime.handle().clone());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let target = Target::do53(listener.local_addr().expect("an address"));
    runtime.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let length = stream.read_u16().await.expect("a length");
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.expect("a query");
        query[2] |= 0x80;
        stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await.expect("room");
    });
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
    let reply = ask(&targets, &target, query).expect("a reply");
    assert_eq!(reply, b"\x12\x34\x81\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01");
}
