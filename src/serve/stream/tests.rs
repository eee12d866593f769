use std::num::NonZeroUsize;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

use super::*;
use crate::serve::doors::Doors;

/// Long enough that a test which waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the replies to `big` weigh.
const BIG_OCTETS: usize = 60_000;

/// Streams at one door, whose engine takes its orders from the messages.
struct Bench {
    streams: Streams,
    address: SocketAddr,
    /// Lets this many later replies go.
    gate: Arc<Semaphore>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut StreamLimits)) -> Self {
        Self::at("127.0.0.1:0", change)
    }

    fn at(door: &str, change: impl FnOnce(&mut StreamLimits)) -> Self {
        let mut limits = StreamLimits {
            connections: 100,
            connections_per_client: 100,
            connections_per_prefix: 100,
            idle: PATIENCE,
            write: PATIENCE,
        };
        change(&mut limits);
        let doors = Doors::open(&[door.parse().unwrap()], NonZeroUsize::MIN).unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let streams = Streams::start(doors.tcp, engine(Arc::clone(&gate)), limits).unwrap();
        Self { streams, address: doors.addresses[0], gate }
    }

    async fn connect(&self) -> Client {
        self.connect_from("127.0.0.1").await
    }

    async fn connect_from(&self, ip: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        Client(socket.connect(self.address).await.unwrap())
    }

    fn counts(&self) -> StreamCounts {
        self.streams.counters().snapshot()
    }

    /// Waits until the counters say so.
    async fn until(&self, holds: impl Fn(&StreamCounts) -> bool) {
        let wait = async {
            while !holds(&self.counts()) {
                tokio::task::yield_now().await;
            }
        };
        let counts = tokio::time::timeout(PATIENCE, wait).await;
        assert!(counts.is_ok(), "{:?}", self.counts());
    }
}

/// Does what the message says.
fn engine(gate: Arc<Semaphore>) -> Answer {
    Arc::new(move |message, arrival, reply| match message {
        b"silent" => StreamAnswer::Silent,
        b"close" => {
            reply.extend_from_slice(b"closed");
            StreamAnswer::NowThenClose
        }
        b"big" => {
            reply.resize(reply.len() + BIG_OCTETS, 7);
            StreamAnswer::Now
        }
        b"huge" => {
            reply.resize(reply.len() + 65_536, 7);
            StreamAnswer::Now
        }
        b"who" => {
            reply.extend_from_slice(format!("{:?} {:?}", arrival.client.ip(), arrival.local).as_bytes());
            StreamAnswer::Now
        }
        b"panic" => StreamAnswer::Later(Box::pin(async { panic!("as the test wants") })),
        _ if message.starts_with(b"later") => {
            let (gate, message) = (Arc::clone(&gate), message.to_vec());
            StreamAnswer::Later(Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Some(message)
            }))
        }
        _ => {
            reply.extend_from_slice(message);
            StreamAnswer::Now
        }
    })
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, messages: &[&[u8]]) {
        let octets: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        self.0.write_all(&octets).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        tokio::time::timeout(PATIENCE, async {
            let length = self.0.read_u16().await.unwrap();
            let mut message = vec![0; usize::from(length)];
            self.0.read_exact(&mut message).await.unwrap();
            message
        })
        .await
        .unwrap()
    }

    async fn receive_text(&mut self) -> String {
        String::from_utf8(self.receive().await).unwrap()
    }

    /// Expects the end in order: no octets and no reset before it.
    async fn ends(&mut self) {
        let mut octets = [0; 16];
        let count = tokio::time::timeout(PATIENCE, self.0.read(&mut octets)).await.unwrap();
        assert_eq!(count.unwrap(), 0);
    }

    /// Expects that the connection still answers.
    async fn answers(&mut self) {
        self.send(&[b"there?"]).await;
        assert_eq!(self.receive().await, b"there?");
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut octets = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    octets.extend_from_slice(message);
    octets
}

#[tokio::test]
async fn messages_of_one_read_are_answered_with_one_write() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"one", b"silent", b"three"]).await;
    bench.until(|counts| counts.messages == 3).await;
    client.0.readable().await.unwrap();
    let mut octets = [0; 64];
    let count = client.0.try_read(&mut octets).unwrap();
    assert_eq!(octets[..count], *b"\0\x03one\0\x05three");
    assert_eq!(bench.counts().replies, 2);
}

#[tokio::test]
async fn a_later_reply_does_not_hold_up_the_next() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"later", b"panic", b"now"]).await;
    assert_eq!(client.receive().await, b"now");
    bench.gate.add_permits(1);
    assert_eq!(client.receive().await, b"later");
    client.answers().await;
}

#[tokio::test]
async fn a_message_may_come_in_single_octets_and_be_as_long_as_the_length_allows() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.0.set_nodelay(true).unwrap();
    for octet in framed(b"hello").into_iter().chain(framed(b"again")) {
        client.0.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.receive().await, b"hello");
    assert_eq!(client.receive().await, b"again");
    let longest = vec![5; 65_535];
    client.send(&[&longest]).await;
    assert_eq!(client.receive().await, longest);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_time_and_not_before() {
    let idle = Duration::from_millis(150);
    let bench = Bench::new(|limits| limits.idle = idle);
    let mut client = bench.connect().await;
    client.answers().await;
    let since = Instant::now();
    client.ends().await;
    assert!(since.elapsed() >= idle - Duration::from_millis(10), "{:?}", since.elapsed());
    assert_eq!(bench.counts().idle, 1);
    assert_eq!(bench.streams.open(), 0);
}

#[tokio::test]
async fn a_connection_that_waits_for_a_reply_is_not_idle() {
    let bench = Bench::new(|limits| limits.idle = Duration::from_millis(50));
    let mut client = bench.connect().await;
    client.send(&[b"later"]).await;
    let mut other = bench.connect().await;
    other.ends().await;
    bench.connect().await.ends().await;
    bench.gate.add_permits(1);
    assert_eq!(client.receive().await, b"later");
    client.ends().await;
}

#[tokio::test]
async fn a_message_that_trickles_in_is_not_waited_for() {
    let idle = Duration::from_millis(150);
    let bench = Bench::new(|limits| limits.idle = idle);
    let mut client = bench.connect().await;
    client.0.write_all(&[0, 200]).await.unwrap();
    let since = Instant::now();
    while bench.counts().message_timed_out == 0 {
        let _ = client.0.write(b"x").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(since.elapsed() < PATIENCE);
    }
    assert!(since.elapsed() < 10 * idle, "{:?}", since.elapsed());
    assert_eq!(bench.streams.open(), 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_read_from_and_then_closed() {
    let bench = Bench::new(|limits| limits.write = Duration::from_millis(200));
    let mut client = bench.connect().await;
    let mut sent: u64 = 0;
    let flood = async {
        while client.0.write_all(&framed(b"big")).await.is_ok() {
            sent += 1;
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    let counts = bench.counts();
    assert_eq!(counts.write_timed_out, 1);
    assert!(counts.messages < sent, "{counts:?} of {sent}");
    assert_eq!(bench.streams.open(), 0);
}

#[tokio::test]
async fn what_is_owed_is_sent_after_the_client_has_ended_its_side() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"later", b"now"]).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.receive().await, b"now");
    bench.gate.add_permits(1);
    assert_eq!(client.receive().await, b"later");
    client.ends().await;
}

#[tokio::test]
async fn a_message_without_octets_ends_the_connection_after_what_is_owed() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"later", b"now", b"", b"never"]).await;
    assert_eq!(client.receive().await, b"now");
    bench.gate.add_permits(1);
    assert_eq!(client.receive().await, b"later");
    client.ends().await;
    assert_eq!(bench.counts().malformed, 1);
}

#[tokio::test]
async fn a_reply_no_stream_can_carry_ends_the_connection() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"huge"]).await;
    client.ends().await;
    assert_eq!(bench.counts().malformed, 1);
}

#[tokio::test]
async fn who_may_not_ask_gets_the_reply_and_then_the_end_without_a_reset() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    let more = vec![b'x'; 40_000];
    client.send(&[b"close", b"never", &more, &more]).await;
    assert_eq!(client.receive().await, b"closed");
    client.ends().await;
    drop(client);
    bench.until(|_| bench.streams.open() == 0).await;
    assert_eq!((bench.counts().messages, bench.counts().broken), (1, 0));
}

#[tokio::test]
async fn at_the_limit_the_connection_idle_longest_makes_room() {
    let bench = Bench::new(|limits| limits.connections = 3);
    let mut waiting = bench.connect().await;
    waiting.send(&[b"later"]).await;
    bench.until(|counts| counts.messages == 1).await;
    let mut first = bench.connect().await;
    first.answers().await;
    let mut second = bench.connect().await;
    second.answers().await;
    first.answers().await;
    let mut third = bench.connect().await;
    second.ends().await;
    for client in [&mut first, &mut third] {
        client.answers().await;
    }
    bench.gate.add_permits(1);
    assert_eq!(waiting.receive().await, b"later");
    assert_eq!((bench.counts().evicted, bench.streams.open()), (1, 3));
}

#[tokio::test]
async fn a_client_at_its_limit_displaces_itself_and_nobody_else() {
    let bench = Bench::new(|limits| limits.connections_per_client = 2);
    let mut other = bench.connect_from("127.0.0.2").await;
    other.answers().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = bench.connect().await;
        client.answers().await;
        clients.push(client);
    }
    clients[0].ends().await;
    clients[1].answers().await;
    clients[2].answers().await;
    other.answers().await;
}

#[tokio::test]
async fn questions_beyond_those_in_flight_wait_and_are_answered() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    let total = IN_FLIGHT_PER_CONNECTION_MAX + 72;
    let names: Vec<Vec<u8>> = (0..total).map(|number| format!("later {number:04}").into_bytes()).collect();
    client.send(&names.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    bench.until(|counts| counts.messages == IN_FLIGHT_PER_CONNECTION_MAX as u64).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.counts().messages, IN_FLIGHT_PER_CONNECTION_MAX as u64);
    bench.gate.add_permits(total);
    let mut replies = Vec::new();
    for _ in 0..total {
        replies.push(client.receive().await);
    }
    replies.sort();
    assert_eq!(replies, names);
}

#[tokio::test]
async fn a_connection_says_who_asks_and_at_a_wildcard_which_address_was_asked() {
    let bench = Bench::at("0.0.0.0:0", |_| {});
    let asked = SocketAddr::new("127.0.0.3".parse().unwrap(), bench.address.port());
    let mut client = Client(TcpStream::connect(asked).await.unwrap());
    client.send(&[b"who"]).await;
    assert_eq!(client.receive_text().await, "127.0.0.1 Some(127.0.0.3)");
    let bench = Bench::at("[::1]:0", |_| {});
    let mut client = Client(TcpStream::connect(bench.address).await.unwrap());
    client.send(&[b"who"]).await;
    assert_eq!(client.receive_text().await, "::1 None");
}

#[tokio::test]
async fn a_client_that_vanishes_frees_its_seat() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"later", b"now"]).await;
    assert_eq!(client.receive().await, b"now");
    SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    bench.until(|counts| counts.broken == 1 && bench.streams.open() == 0).await;
}

#[tokio::test]
async fn draining_answers_what_has_arrived_and_closes_in_order() {
    let bench = Bench::new(|_| {});
    let mut idle = bench.connect().await;
    idle.answers().await;
    let mut busy = bench.connect().await;
    busy.send(&[b"later"]).await;
    bench.until(|counts| counts.messages == 2).await;
    // Sent before draining begins, and not read before it does: this task does not yield in between.
    idle.0.try_write(&framed(b"last")).unwrap();
    let Bench { streams, address, gate } = bench;
    let counters = Arc::clone(streams.counters());
    let drained = tokio::spawn(streams.drain(PATIENCE));
    assert_eq!(idle.receive().await, b"last");
    idle.ends().await;
    drop(idle);
    assert!(!drained.is_finished());
    assert!(TcpStream::connect(address).await.is_err());
    gate.add_permits(1);
    assert_eq!(busy.receive().await, b"later");
    busy.ends().await;
    drop(busy);
    assert_eq!(drained.await.unwrap(), 0);
    assert_eq!(counters.snapshot().cut, 0);
}

#[tokio::test]
async fn draining_cuts_what_takes_too_long() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.send(&[b"later"]).await;
    bench.until(|counts| counts.messages == 1).await;
    let counters = Arc::clone(bench.streams.counters());
    assert_eq!(bench.streams.drain(Duration::from_millis(20)).await, 1);
    client.ends().await;
    assert_eq!(counters.snapshot().cut, 1);
}

#[tokio::test]
async fn dropping_the_streams_cuts_all() {
    let bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.answers().await;
    drop(bench.streams);
    client.ends().await;
}

#[test]
fn errors_of_accept_are_sorted_by_what_they_cost() {
    let of = |error| AcceptError::of(&io::Error::from_raw_os_error(error));
    assert_eq!(of(libc::ECONNABORTED), AcceptError::Connection);
    assert_eq!(of(libc::EMFILE), AcceptError::Exhausted);
    assert_eq!(of(libc::EINVAL), AcceptError::Other);
}

/// Descriptors belong to the process, so this runs itself once more in one of its own, with few of them.
#[test]
fn without_descriptors_the_connection_idle_longest_makes_room_and_accepting_goes_on() {
    const INSIDE: &str = "PLUSTWO_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(take_all_descriptors());
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let output = std::process::Command::new("sh")
        .args(["-c", r#"ulimit -n 64 && exec "$0" --exact "$1" --nocapture --test-threads 1"#])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

async fn take_all_descriptors() {
    let bench = Bench::new(|_| {});
    let mut first = bench.connect().await;
    first.answers().await;
    let mut taken = Vec::new();
    while let Ok(socket) = std::net::UdpSocket::bind("127.0.0.1:0") {
        taken.push(socket);
    }
    // One for the client; what accept needs must come from the connection that is sent away.
    taken.pop();
    let mut second = bench.connect().await;
    second.answers().await;
    first.ends().await;
    let counts = bench.counts();
    assert!(counts.exhausted >= 1, "{counts:?}");
    assert_eq!((counts.accepted, counts.evicted), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_on_many_threads_lose_no_reply() {
    const CONNECTIONS: usize = 40;
    const MESSAGES: usize = 300;
    let bench = Bench::new(|_| {});
    bench.gate.add_permits(CONNECTIONS * MESSAGES);
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut reader, mut writer) = bench.connect().await.0.into_split();
        clients.spawn(async move {
            let sent: Vec<Vec<u8>> = (0..MESSAGES)
                .map(|number| format!("{} {number:04}", ["now", "later"][number % 3 / 2]).into_bytes())
                .collect();
            let octets: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
            let writing = tokio::spawn(async move {
                // Odd pieces, so that lengths and messages are split everywhere.
                for piece in octets.chunks(37) {
                    writer.write_all(piece).await.unwrap();
                }
                writer.shutdown().await.unwrap();
            });
            let mut received = Vec::new();
            while let Ok(length) = reader.read_u16().await {
                let mut message = vec![0; usize::from(length)];
                reader.read_exact(&mut message).await.unwrap();
                received.push(message);
            }
            writing.await.unwrap();
            let now = |messages: &[Vec<u8>]| -> Vec<Vec<u8>> {
                messages.iter().filter(|message| message.starts_with(b"now")).cloned().collect()
            };
            assert_eq!(now(&received), now(&sent), "what is answered at once keeps its order");
            received.sort();
            let mut sent = sent;
            sent.sort();
            assert_eq!(received, sent);
        });
    }
    let all = async {
        while let Some(client) = clients.join_next().await {
            client.unwrap()
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    bench.until(|_| bench.streams.open() == 0).await;
    let counts = bench.counts();
    assert_eq!(counts.replies, (CONNECTIONS * MESSAGES) as u64);
    assert_eq!((counts.broken, counts.malformed, counts.evicted), (0, 0, 0));
}
