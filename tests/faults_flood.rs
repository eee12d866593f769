//! A flood of random names while no upstream answers: what the program takes stays bounded, and what is ours or in the
//! cache is answered all the while.

mod support;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::bars::{ADDRESS, ask_what_is_here_meanwhile, start};
use support::netns::{self, Network, UPSTREAMS};
use support::served::Served;

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(5);
/// Random names a second.
const NAMES_PER_SECOND: u32 = 4_000;
/// Clients that ask for them, each from an address of its own: together they pass every limit there is for one.
const CLIENTS: u16 = 64;
/// `[limits] upstream_sockets`, where the file does not say.
const UPSTREAM_SOCKETS: usize = 1_000;
/// Descriptors that the program has besides: doors, standard streams, epoll, runtimes.
const OTHER_DESCRIPTORS: usize = 100;
/// What the flood may add to its memory, in KiB.
const GROWTH_KIB_MAX: u64 = 50 << 10;
/// Of a hundred random names, so many have their SERVFAIL in the end: the rest may fall out of a full socket buffer.
const ANSWERED_PERCENT_MIN: usize = 99;

/// What was sent and what came back.
#[derive(Default)]
struct Flood {
    sent: usize,
    replies: usize,
    servfails: usize,
}

impl Flood {
    /// Takes the replies that are there.
    fn take(&mut self, socket: &UdpSocket) {
        while let Ok(reply) = ask::receive(socket) {
            self.replies += 1;
            self.servfails += usize::from(reply[3] & 15 == 2);
        }
    }

    /// Asks for random names from all clients in turn for a while, then waits for the last replies.
    fn pour(&mut self, served: &Served) {
        let clients: Vec<UdpSocket> = (1..=CLIENTS)
            .map(|client| {
                let socket = ask::udp_client(netns::client(client), served.door);
                socket.set_nonblocking(true).expect("a socket option");
                socket
            })
            .collect();
        let began = Instant::now();
        while began.elapsed() < FLOOD {
            let due = (began.elapsed().as_secs_f64() * f64::from(NAMES_PER_SECOND)) as usize;
            for number in self.sent..due {
                let name = format!("r{number}.random.example");
                let query = Question::new(&name, "A").octets(number as u16);
                clients[number % clients.len()].send(&query).expect("a query can be sent");
            }
            self.sent = due.max(self.sent);
            clients.iter().for_each(|socket| self.take(socket));
            std::thread::sleep(Duration::from_millis(2));
        }
        let until = Instant::now() + ask::PATIENCE;
        while self.replies < self.sent && Instant::now() < until {
            clients.iter().for_each(|socket| self.take(socket));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The most descriptors and memory that the program had while something went on.
fn most_of(served: &Served, others: impl FnOnce()) -> (usize, u64) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = (0, 0);
            while !over.load(Ordering::Relaxed) {
                most = (served.descriptors().max(most.0), served.resident_kib().max(most.1));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(others));
        over.store(true, Ordering::Relaxed);
        let most = watching.join().expect("it runs");
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        most
    })
}

#[test]
fn random_names_while_no_upstream_answers() {
    alone("random_names_while_no_upstream_answers", || {
        let network = Network::new().expect("a network");
        let (_upstreams, served) = start(&network, 2);
        for number in 0..50 {
            assert!(served.ask(&format!("warm{number}.public.example")).is(ADDRESS));
        }
        network.black_hole(&UPSTREAMS).expect("rules");
        let before = served.resident_kib();
        let mut flood = Flood::default();
        let (descriptors, resident) = most_of(&served, || {
            ask_what_is_here_meanwhile(&served, "warm7.public.example", || flood.pour(&served));
        });
        let growth = resident.saturating_sub(before);
        println!(
            "{} asked, {} replies, {} SERVFAIL; {descriptors} descriptors, {growth} KiB more than {before}",
            flood.sent, flood.replies, flood.servfails
        );
        assert!(flood.sent >= 3 * FLOOD.as_secs() as usize * 1_000, "{} names are no flood", flood.sent);
        assert!(descriptors <= UPSTREAM_SOCKETS + OTHER_DESCRIPTORS, "{descriptors} descriptors");
        assert!(growth < GROWTH_KIB_MAX, "{growth} KiB more than {before}");
        assert_eq!(flood.servfails, flood.replies, "all of them are failures");
        assert!(flood.replies * 100 >= flood.sent * ANSWERED_PERCENT_MIN, "{} of {}", flood.replies, flood.sent);
        // And it is over when it is over.
        network.heal().expect("no rules");
        let back = Instant::now();
        while !served.ask(&format!("back{}.public.example", back.elapsed().as_millis())).is(ADDRESS) {
            assert!(back.elapsed() < support::bars::RETURN_MAX, "no answer after the flood");
        }
    });
}
