//! An upstream that a test plays: a recursive server on 127.0.0.1 that knows a few records and how to misbehave.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The largest datagram it sends; over that it says TC.
const UDP_OCTETS_MAX: usize = 1232;
/// CNAMEs it follows in its own records.
const CNAMES_MAX: usize = 16;
/// What comes within this of a question is the same one, where every other one is answered.
const SAME_QUESTION: Duration = Duration::from_secs(1);
/// How long a connection may be idle before its thread looks whether it is over.
const IDLE: Duration = Duration::from_millis(200);

/// What an upstream does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers from its records.
    Answers,
    /// Says this rcode to everything.
    Says(ResponseCode),
    /// Hears, and says nothing.
    Silent,
    /// Nobody is at that port.
    Closed,
    /// A wrong id, a wrong question and another source first, then the answer.
    LiesFirst,
    /// FORMERR to a query with an OPT.
    NoEdns,
    /// The answer with its records in reverse order.
    Reversed,
    /// The answer of an authoritative server: CNAMEs are not followed, and NS of the name's parent stand beside them.
    Authoritative,
    /// Over UDP the answer with TC, cut off in the middle of its last record.
    CutsDatagrams,
    /// The answer to every other question of a name and type, SERVFAIL to those between: the first is answered. What
    /// comes within a second of a question is the same one once more: who waited for long may have asked again.
    EveryOther,
    /// The answer, with AD where the query has AD or DO.
    Validates,
    /// The answer, and in every section addresses (203.0.113.66) for this name, which nobody asked for.
    Poisons(&'static str),
    /// The answer, and before and behind it, if there is one, and in the other sections, addresses (203.0.113.66) and name
    /// servers of a private name, a public one, the private zone and the root.
    Injects,
    /// The answer under another name.
    AnswersAnother,
    /// NOERROR and nothing else, as a server says it that is not one of the zone and asks nobody.
    Lame,
}

impl Behaviour {
    /// Reads the word behind the address in `$UPSTREAM`.
    pub(crate) fn from_word(word: Option<&str>) -> Self {
        match word {
            None => Self::Answers,
            Some("refused") => Self::Says(ResponseCode::Refused),
            Some("servfail") => Self::Says(ResponseCode::ServFail),
            Some("notimp") => Self::Says(ResponseCode::NotImp),
            Some("formerr") => Self::Says(ResponseCode::FormErr),
            Some("silent") => Self::Silent,
            Some("closed") => Self::Closed,
            Some("lies-first") => Self::LiesFirst,
            Some("no-edns") => Self::NoEdns,
            Some("poisons") => Self::Poisons("victim.example."),
            Some("reversed") => Self::Reversed,
            Some("authoritative") => Self::Authoritative,
            Some("cuts-datagrams") => Self::CutsDatagrams,
            Some("validates") => Self::Validates,
            Some("every-other") => Self::EveryOther,
            Some("injects") => Self::Injects,
            Some("answers-another") => Self::AnswersAnother,
            Some("lame") => Self::Lame,
            Some(other) => panic!("no upstream behaves {other:?}"),
        }
    }
}

/// What its threads share.
struct Shared {
    records: Vec<Record>,
    behaviour: Mutex<Behaviour>,
    questions: AtomicUsize,
    /// Datagrams that have come, by port, id and question, and whether they had a reply.
    datagrams: Mutex<HashMap<(SocketAddr, u16, Name, RecordType), bool>>,
    /// Questions by name and type: how many, and when the last one came.
    asked: Mutex<HashMap<(Name, RecordType), (usize, Instant)>>,
    over: AtomicBool,
}

/// A running upstream. Dropped, it is gone.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Holds the port of an upstream that is not there.
    _held: Option<UdpSocket>,
}

impl Upstream {
    /// Starts one with these records, on an ephemeral port of 127.0.0.1, UDP and TCP.
    pub(crate) fn start(records: Vec<Record>, behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            records,
            behaviour: Mutex::new(behaviour),
            questions: AtomicUsize::new(0),
            datagrams: Mutex::default(),
            asked: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let (udp, tcp) = bind();
        let address = udp.local_addr().expect("bound");
        if behaviour == Behaviour::Closed {
            // A connected socket takes no datagrams from others: the kernel answers "port unreachable", and the port
            // is not given to another test.
            udp.connect((Ipv4Addr::LOCALHOST, 9)).expect("a loopback address can be connected to");
            return Self { shared, address, _held: Some(udp) };
        }
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || serve_udp(&udp, &for_udp));
        std::thread::spawn(move || serve_tcp(&tcp, &for_tcp));
        Self { shared, address, _held: None }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions that have reached it, over UDP and TCP. A datagram that comes again is none.
    pub(crate) fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::SeqCst)
    }

    /// Behaves otherwise from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("not poisoned") = behaviour;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wake both threads; whether it arrives does not matter to a process that is ending.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address);
        }
        let _ = TcpStream::connect(self.address);
    }
}

/// A UDP and a TCP socket on one free port.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..64 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = udp.local_addr().expect("bound");
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 65_535];
    while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(query) = Message::from_vec(&buffer[..octets]) else { continue };
        let Some(question) = query.queries.first() else { continue };
        let datagram = (client, query.metadata.id, question.name().clone(), question.query_type());
        let before = shared.datagrams.lock().expect("not poisoned").get(&datagram).copied();
        if before.is_none() {
            shared.questions.fetch_add(1, Ordering::SeqCst);
        }
        // Sent again because its reply took long: that is still on its way, for nothing is lost on the loopback.
        let reply = if before == Some(true) { None } else { shared.reply(&query) };
        shared.datagrams.lock().expect("not poisoned").insert(datagram, reply.is_some() || before == Some(true));
        let Some(reply) = reply else { continue };
        let offered = if query.edns.is_some() { usize::from(query.max_payload()) } else { 512 };
        let mut wire = reply.to_vec().expect("a reply can be encoded");
        if wire.len() > offered.clamp(512, UDP_OCTETS_MAX) {
            wire = truncated(&reply).to_vec().expect("an empty reply can be encoded");
        }
        let behaviour = *shared.behaviour.lock().expect("not poisoned");
        if behaviour == Behaviour::CutsDatagrams {
            let mut whole = reply.clone();
            whole.edns = None;
            whole.metadata.truncation = true;
            wire = whole.to_vec().expect("a reply can be encoded");
            wire.truncate(wire.len() - 3);
        }
        if behaviour == Behaviour::LiesFirst {
            lie(socket, client, &query, &reply);
        }
        let _ = socket.send_to(&wire, client);
    }
}

/// Sends what an off-path attacker would: all of it names 203.0.113.66.
fn lie(socket: &UdpSocket, client: SocketAddr, query: &Message, reply: &Message) {
    let mut forged = reply.clone();
    for record in &mut forged.answers {
        record.data = RData::A(Ipv4Addr::new(203, 0, 113, 66).into());
    }
    let mut wrong_id = forged.clone();
    wrong_id.metadata.id = query.metadata.id.wrapping_add(1);
    let mut wrong_question = forged.clone();
    wrong_question.queries[0].set_name(Name::from_ascii("other.mismatch.example.").expect("a name"));
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let _ = socket.send_to(&wrong_id.to_vec().expect("encodes"), client);
    let _ = socket.send_to(&wrong_question.to_vec().expect("encodes"), client);
    let _ = socket.send_to(&[], client);
    let _ = elsewhere.send_to(&forged.to_vec().expect("encodes"), client);
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve_stream(stream, &shared));
    }
}

/// Answers the queries of one connection, in order.
fn serve_stream(mut stream: TcpStream, shared: &Shared) {
    stream.set_read_timeout(Some(IDLE)).expect("a timeout that is not zero");
    let mut length = [0; 2];
    loop {
        match stream.read(&mut length[..1]) {
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                continue;
            }
            _ => return,
        }
        let mut message = Vec::new();
        if stream.read_exact(&mut length[1..]).is_err() {
            return;
        }
        message.resize(usize::from(u16::from_be_bytes(length)), 0);
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        let Ok(query) = Message::from_vec(&message) else { return };
        shared.questions.fetch_add(1, Ordering::SeqCst);
        let Some(reply) = shared.reply(&query) else { continue };
        let wire = reply.to_vec().expect("a reply can be encoded");
        let mut framed = (wire.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&wire);
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}

/// The reply with TC and nothing in it.
fn truncated(reply: &Message) -> Message {
    let mut short = reply.clone();
    short.metadata.truncation = true;
    short.answers.clear();
    short.authorities.clear();
    short
}

impl Shared {
    /// What it says to a query; none for silence.
    fn reply(&self, query: &Message) -> Option<Message> {
        let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries = query.queries.clone();
        let behaviour = *self.behaviour.lock().expect("not poisoned");
        match behaviour {
            Behaviour::Silent | Behaviour::Closed => return None,
            Behaviour::Says(rcode) => {
                reply.metadata.response_code = rcode;
                return Some(reply);
            }
            Behaviour::NoEdns if query.edns.is_some() => {
                reply.metadata.response_code = ResponseCode::FormErr;
                return Some(reply);
            }
            _ => {}
        }
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_OCTETS_MAX as u16);
            reply.edns = Some(edns);
        }
        let question = query.queries.first()?;
        if behaviour == Behaviour::EveryOther {
            let mut asked = self.asked.lock().expect("not poisoned");
            let now = Instant::now();
            let (times, last) = asked.entry((question.name().clone(), question.query_type())).or_insert((0, now));
            if *times == 0 || now.duration_since(*last) >= SAME_QUESTION {
                (*times, *last) = (*times + 1, now);
            }
            if times.is_multiple_of(2) {
                reply.metadata.response_code = ResponseCode::ServFail;
                return Some(reply);
            }
        }
        self.answer(question.name(), question.query_type(), &mut reply);
        if behaviour == Behaviour::Reversed {
            reply.answers.reverse();
        }
        let knows_ad = query.metadata.authentic_data || query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        reply.metadata.authentic_data = behaviour == Behaviour::Validates && knows_ad;
        if behaviour == Behaviour::Authoritative {
            reply.answers.truncate(1);
            reply.metadata.response_code = ResponseCode::NoError;
            let apex = question.name().base_name();
            reply.authorities = vec![parse_record(&format!("{apex} 60 IN NS ns.{apex}"))];
        }
        if let Behaviour::Poisons(victim) = behaviour {
            let poison = parse_record(&format!("{victim} 3600 IN A 203.0.113.66"));
            reply.answers.push(poison.clone());
            reply.authorities.push(parse_record(&format!("{victim} 3600 IN NS {victim}")));
            reply.additionals.push(poison);
        }
        if behaviour == Behaviour::Injects {
            let addresses =
                ["db.corp.example.", "www.bank.example."].map(|victim| format!("{victim} 3600 IN A 203.0.113.66"));
            let servers = ["corp.example.", "."].map(|victim| format!("{victim} 3600 IN NS ns.evil.example."));
            let injected: Vec<Record> = addresses.iter().chain(&servers).map(|line| parse_record(line)).collect();
            if !reply.answers.is_empty() {
                reply.answers.splice(0..0, injected.clone());
                reply.answers.extend(injected.clone());
            }
            reply.authorities.extend(injected.clone());
            reply.additionals.extend(injected);
        }
        if behaviour == Behaviour::AnswersAnother {
            for record in &mut reply.answers {
                record.name = Name::from_ascii("other.example.").expect("a name");
            }
        }
        if behaviour == Behaviour::Lame {
            reply.metadata.recursion_available = false;
            reply.metadata.response_code = ResponseCode::NoError;
            reply.answers.clear();
            reply.authorities.clear();
        }
        Some(reply)
    }

    /// RFC 1034 section 4.3.2 over a list of records.
    fn answer(&self, qname: &Name, qtype: RecordType, reply: &mut Message) {
        let records = &self.records;
        let mut name = qname.clone();
        for _ in 0..CNAMES_MAX {
            let here = || records.iter().filter(|record| record.name == name);
            let found: Vec<&Record> = here().filter(|record| record.record_type() == qtype).collect();
            if !found.is_empty() {
                // Owners as they were asked, as servers that compress do.
                reply.answers.extend(found.into_iter().map(|record| renamed(record, &name)));
                return;
            }
            let Some(cname) = here().find(|record| record.record_type() == RecordType::CNAME) else { break };
            reply.answers.push(renamed(cname, &name));
            let RData::CNAME(target) = &cname.data else { unreachable!("a CNAME holds a name") };
            name = target.0.clone();
        }
        if !records.iter().any(|record| name.zone_of(&record.name)) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        let soas = records.iter().filter(|record| record.record_type() == RecordType::SOA);
        let nearest = soas.filter(|soa| soa.name.zone_of(&name)).max_by_key(|soa| soa.name.num_labels());
        reply.authorities.extend(nearest.cloned());
    }
}

/// A record under its owner's name as it was asked.
fn renamed(record: &Record, name: &Name) -> Record {
    let mut record = record.clone();
    record.name = name.clone();
    record
}

/// Reads `NAME.upstream`: the placeholder, behaviour and records of each upstream.
pub(crate) fn parse(text: &str) -> Vec<(Ipv4Addr, Behaviour, Vec<Record>)> {
    let mut upstreams: Vec<(Ipv4Addr, Behaviour, Vec<Record>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(words) = line.strip_prefix("$UPSTREAM") {
            let mut words = words.split_whitespace();
            let placeholder = words.next().and_then(|word| word.parse().ok()).expect("$UPSTREAM has an address");
            upstreams.push((placeholder, Behaviour::from_word(words.next()), Vec::new()));
        } else {
            let (_, _, records) = upstreams.last_mut().expect("$UPSTREAM comes first");
            records.push(parse_record(line));
        }
    }
    upstreams
}

/// Reads `OWNER TTL IN TYPE RDATA`.
pub(crate) fn parse_record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [owner, ttl, "IN", rtype, ..] = words[..] else { panic!("not OWNER TTL IN TYPE RDATA: {line}") };
    let owner = Name::from_ascii(owner).expect("an owner name");
    let ttl = ttl.parse().expect("a TTL");
    let rdata = match rtype.strip_prefix("TYPE") {
        Some(number) => {
            let ["\\#", _octets, hex] = words[4..] else { panic!("not \\# N HEX: {line}") };
            let octets = super::ask::from_hex(hex);
            RData::Unknown { code: number.parse::<u16>().expect("a type").into(), rdata: NULL::with(octets) }
        }
        None => {
            let text = line.split_once(&format!(" {rtype} ")).map(|(_, rdata)| rdata.trim()).expect("rdata");
            let rtype = rtype.parse().expect("a type that hickory-proto knows");
            RData::try_from_str(rtype, text).unwrap_or_else(|error| panic!("{line}: {error}"))
        }
    };
    Record::from_rdata(owner, ttl, rdata)
}
