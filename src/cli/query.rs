//! `plustwo query`: asks a door one question and prints the reply as dig does, decoded by somebody else's library, so that
//! what is shown is what others would read.

use super::{fail, say_out};
use crate::dns::Rtype;
use crate::dns::target::DNS_PORT;
use crate::dns::text::{Escapes, parse_name};
use clap::Args;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is asked, and where.
#[derive(Args, Debug)]
pub(super) struct Query {
    /// The name; it is absolute, with or without the final dot
    name: String,
    /// The type: a mnemonic, or TYPEnnn
    #[arg(value_name = "TYPE", default_value = "A")]
    rtype: String,
    /// The door to ask, as 10.0.0.2 or 127.0.0.1:5300
    #[arg(long, value_name = "DOOR", default_value = "127.0.0.1", value_parser = door)]
    at: SocketAddr,
    /// Ask over TCP; else that is done only where a reply does not fit a datagram
    #[arg(long)]
    tcp: bool,
}

/// How long a reply may take: longer than any query of a client waits in the daemon.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// How often a question is sent over UDP.
const TRIES: usize = 2;
/// The largest datagram that we say we take, in octets (RFC 9715).
const DATAGRAM_OCTETS: u16 = 1232;
/// The option of extended errors (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// Asks, and prints the reply.
pub(super) fn query(query: &Query) -> ExitCode {
    match answer(query) {
        Ok(text) => {
            say_out(&text);
            ExitCode::SUCCESS
        }
        Err(words) => fail(&format!("error: {words}")),
    }
}

fn answer(Query { name, rtype, at, tcp }: &Query) -> Result<String, String> {
    let wire =
        parse_name(name, Escapes::Decimal, None).map_err(|error| format!("{name:?} is not a domain name: {error}"))?;
    let number: Rtype = rtype.parse().map_err(|_| format!("{rtype:?} is not a type: write a mnemonic or TYPEnnn"))?;
    let id = rand::random();
    let question = octets(id, &wire, number);
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return format!("{at} did not answer in time"),
            io::ErrorKind::ConnectionRefused => "; nobody listens there: `--at DOOR` says where plustwo does",
            _ => "",
        };
        format!("cannot ask {at}: {error}{hint}")
    };
    let began = Instant::now();
    let mut transport = if *tcp { "TCP" } else { "UDP" };
    let mut reply = if *tcp { over_tcp(*at, &question) } else { over_udp(*at, &question) }.map_err(failed)?;
    let read = |reply: &[u8]| {
        Message::from_vec(reply).map_err(|error| format!("{at} sent {} octets that are no reply: {error}", reply.len()))
    };
    let mut message = read(&reply)?;
    if message.metadata.truncation && !tcp {
        transport = "TCP, for it did not fit a datagram";
        reply = over_tcp(*at, &question).map_err(failed)?;
        message = read(&reply)?;
    }
    let took = began.elapsed();
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return Err(format!("{at} sent something that is no reply to this question"));
    }
    let mut text = shown(&message);
    let _ = write!(
        text,
        ";; Query time: {} msec\n;; SERVER: {at} ({transport})\n;; MSG SIZE  rcvd: {}\n",
        took.as_millis(),
        reply.len()
    );
    Ok(text)
}

/// A door as people write it: the port is 53 where none stands.
fn door(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
    address.map_err(|_| "write an address, with a port or without: 10.0.0.2, 127.0.0.1:5300, [::1]:5300".to_owned())
}

/// A query with RD and an OPT, in wire form.
fn octets(id: u16, name: &[u8], rtype: Rtype) -> Vec<u8> {
    const RD: u16 = 0x0100;
    const IN: u16 = 1;
    const OPT: u16 = 41;
    let mut message = Vec::with_capacity(name.len() + 27);
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    message.extend(words(&[id, RD, 1, 0, 0, 1]));
    message.extend_from_slice(name);
    message.extend(words(&[rtype.0, IN]));
    message.push(0);
    message.extend(words(&[OPT, DATAGRAM_OCTETS, 0, 0, 0]));
    message
}

fn over_udp(door: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let own = match door {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(door)?;
    socket.set_read_timeout(Some(REPLY_WITHIN))?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    let mut tries = TRIES;
    loop {
        socket.send(question)?;
        tries -= 1;
        match socket.recv(&mut reply) {
            Ok(octets) => {
                reply.truncate(octets);
                return Ok(reply);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

fn over_tcp(door: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&door, REPLY_WITHIN)?;
    stream.set_read_timeout(Some(REPLY_WITHIN))?;
    let mut framed = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

/// A reply in dig's form.
fn shown(message: &Message) -> String {
    let metadata = &message.metadata;
    let opcode = format!("{:?}", metadata.op_code).to_uppercase();
    let status = rcode(u16::from(metadata.response_code));
    let flags = [
        (true, "qr"),
        (metadata.authoritative, "aa"),
        (metadata.truncation, "tc"),
        (metadata.recursion_desired, "rd"),
        (metadata.recursion_available, "ra"),
        (metadata.authentic_data, "ad"),
        (metadata.checking_disabled, "cd"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
    let sections =
        [("ANSWER", &message.answers), ("AUTHORITY", &message.authorities), ("ADDITIONAL", &message.additionals)];
    let mut text = format!(";; ->>HEADER<<- opcode: {opcode}, status: {status}, id: {}\n", metadata.id);
    let _ = write!(text, ";; flags: {}; QUERY: {}", flags.join(" "), message.queries.len());
    for (what, records) in &sections {
        // dig counts the OPT record among the additional ones.
        let opt = usize::from(*what == "ADDITIONAL" && message.edns.is_some());
        let _ = write!(text, ", {what}: {}", records.len() + opt);
    }
    text += "\n\n";
    if let Some(edns) = &message.edns {
        let dnssec_ok = if edns.flags().dnssec_ok { " do" } else { "" };
        let _ = writeln!(
            text,
            ";; OPT PSEUDOSECTION:\n; EDNS: version: {}, flags:{dnssec_ok}; udp: {}",
            edns.version(),
            edns.max_payload()
        );
        for (_, option) in &edns.options().options {
            text += &option_line(option);
        }
    }
    text += ";; QUESTION SECTION:\n";
    for query in &message.queries {
        let rtype = Rtype(u16::from(query.query_type()));
        let _ = writeln!(text, ";{}\t\t{}\t{rtype}", name_text(query.name()), query.query_class());
    }
    text.push('\n');
    for (what, records) in sections.into_iter().filter(|(_, records)| !records.is_empty()) {
        let _ = writeln!(text, ";; {what} SECTION:");
        for record in records {
            let rtype = Rtype(u16::from(record.record_type()));
            let (owner, class) = (name_text(&record.name), record.dns_class);
            let _ = writeln!(text, "{owner}\t{}\t{class}\t{rtype}\t{}", record.ttl, rdata(record));
        }
        text.push('\n');
    }
    text
}

/// An option, one line; an extended error with what it says.
fn option_line(option: &EdnsOption) -> String {
    match option {
        EdnsOption::Unknown(EXTENDED_ERROR, octets) => {
            let (code, words) = octets
                .split_first_chunk::<2>()
                .map_or((0, &octets[..]), |(code, words)| (u16::from_be_bytes(*code), words));
            // What a server says is not for the terminal to obey.
            let words: String = String::from_utf8_lossy(words).chars().filter(|c| !c.is_control()).collect();
            let words = if words.is_empty() { words } else { format!(": ({words})") };
            format!("; EDE: {code} ({}){words}\n", extended_error(code))
        }
        EdnsOption::Unknown(code, octets) => format!("; OPT={code}: {}\n", hex(octets)),
        other => format!("; {other:?}\n"),
    }
}

/// What an extended error is called (RFC 8914 section 4, and IANA's registry since).
fn extended_error(code: u16) -> &'static str {
    const NAMES: [&str; 25] = [
        "Other",
        "Unsupported DNSKEY Algorithm",
        "Unsupported DS Digest Type",
        "Stale Answer",
        "Forged Answer",
        "DNSSEC Indeterminate",
        "DNSSEC Bogus",
        "Signature Expired",
        "Signature Not Yet Valid",
        "DNSKEY Missing",
        "RRSIGs Missing",
        "No Zone Key Bit Set",
        "NSEC Missing",
        "Cached Error",
        "Not Ready",
        "Blocked",
        "Censored",
        "Filtered",
        "Prohibited",
        "Stale NXDOMAIN Answer",
        "Not Authoritative",
        "Not Supported",
        "No Reachable Authority",
        "Network Error",
        "Invalid Data",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("not known here")
}

/// What an rcode is called.
fn rcode(number: u16) -> String {
    crate::dns::Rcode(number).to_string()
}

/// A name, final dot included, as in a zone file.
fn name_text(name: &Name) -> String {
    let labels: String = name.iter().map(|label| escaped(label, b".\\\"();@$", b'!') + ".").collect();
    if labels.is_empty() { ".".to_owned() } else { labels }
}

/// The rdata of a record, as in a zone file. What the library does not read is shown in the form that everyone reads
/// (RFC 3597 section 5).
fn rdata(record: &Record) -> String {
    let strings = |strings: &mut dyn Iterator<Item = &[u8]>| {
        let quoted: Vec<String> = strings.map(|string| format!("\"{}\"", escaped(string, b"\"\\", b' '))).collect();
        quoted.join(" ")
    };
    match &record.data {
        RData::TXT(txt) => strings(&mut txt.txt_data.iter().map(|string| &**string)),
        RData::HINFO(hinfo) => strings(&mut [&*hinfo.cpu, &*hinfo.os].into_iter()),
        RData::Unknown { rdata, .. } => {
            let octets = &rdata.anything;
            format!("\\# {} {}", octets.len(), hex(octets)).trim_end().to_owned()
        }
        other => other.to_string(),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02X}");
        text
    })
}

/// Octets with a backslash before the special ones, and `\DDD` for what is not printable (below `least` or above 126).
fn escaped(octets: &[u8], special: &[u8], least: u8) -> String {
    let mut text = String::new();
    for &octet in octets {
        if special.contains(&octet) {
            text.push('\\');
            text.push(char::from(octet));
        } else if octet < least || octet > 126 {
            let _ = write!(text, "\\{octet:03}");
        } else {
            text.push(char::from(octet));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_written_as_in_the_file() {
        assert_eq!(door("10.0.0.2"), Ok("10.0.0.2:53".parse().unwrap()));
        assert_eq!(door("127.0.0.1:5300"), Ok("127.0.0.1:5300".parse().unwrap()));
        assert_eq!(door("::1"), Ok("[::1]:53".parse().unwrap()));
        assert_eq!(door("[::1]:5300"), Ok("[::1]:5300".parse().unwrap()));
        assert!(door("localhost").is_err());
    }

    #[test]
    fn a_query_is_what_others_read() {
        let wire = parse_name("www.example.com", Escapes::Decimal, None).unwrap();
        let message = Message::from_vec(&octets(7, &wire, Rtype::AAAA)).unwrap();
        assert_eq!(message.metadata.id, 7);
        assert!(message.metadata.recursion_desired);
        assert_eq!(message.queries[0].to_string(), "www.example.com. IN AAAA");
        assert_eq!(message.edns.map(|edns| edns.max_payload()), Some(DATAGRAM_OCTETS));
    }

    #[test]
    fn an_extended_error_says_its_text_and_nothing_to_the_terminal() {
        let option = |octets: &[u8]| option_line(&EdnsOption::Unknown(EXTENDED_ERROR, octets.to_vec()));
        assert_eq!(option(b"\0\x12no\x1b[2Jwho\n"), "; EDE: 18 (Prohibited): (no[2Jwho)\n");
        assert_eq!(option(b"\0\x16"), "; EDE: 22 (No Reachable Authority)\n");
        assert_eq!(option(b"\xff\xff"), "; EDE: 65535 (not known here)\n");
    }
}
