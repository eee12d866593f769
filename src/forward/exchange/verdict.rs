//! What a message that came in is to an exchange.

use super::query::QueryTemplate;
use crate::dns::Rcode;
use crate::dns::message::{Message, MessageError};
use crate::dns::query::HEADER_OCTETS;

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be passed on.
    Good,
    /// Good as far as it goes.
    Truncated,
    /// The target does not want to, or cannot.
    Failing {
        /// Whether EDNS may be the reason (RFC 6891 section 6.2.2).
        blames_edns: bool,
        /// What to pass on if nothing better comes; none for an rcode that is of this hop only.
        reply: Option<Vec<u8>>,
    },
    /// Not a reply to this query, or not from who was asked.
    Mismatch,
    /// A reply to this query that cannot be read.
    Malformed,
}

/// Judges a message from the socket of an attempt with this id. The source was checked by the socket.
pub(super) fn judge(octets: &[u8], id: [u8; 2], query: &QueryTemplate) -> Verdict {
    let Some(header) = octets.first_chunk::<HEADER_OCTETS>() else { return Verdict::Mismatch };
    let is_query_reply = header[2] & 0xf8 == 0x80;
    if header[..2] != id || !is_query_reply {
        return Verdict::Mismatch;
    }
    let message = match Message::parse(octets) {
        Ok(message) => message,
        // Some servers answer what they do not understand with a header alone.
        Err(MessageError::QuestionCount(0)) => return bare(Rcode(u16::from(header[3] & 0x0f)), query),
        // RFC 2181 section 9: what is left of a truncated reply is not looked at, also where a record is cut off.
        Err(_) if header[2] & 0x02 != 0 && is_of_question(octets, query) => return Verdict::Truncated,
        Err(_) => return Verdict::Malformed,
    };
    if !message.question_matches(query.qname(), query.qtype(), query.class()) {
        return Verdict::Mismatch;
    }
    let rcode = message.rcode();
    if let Some(blames_edns) = failing(rcode) {
        return Verdict::Failing { blames_edns, reply: is_end_to_end(rcode).then(|| octets.to_vec()) };
    }
    if message.truncated() { Verdict::Truncated } else { Verdict::Good }
}

/// Whether a message whose records cannot be read has this question.
fn is_of_question(octets: &[u8], query: &QueryTemplate) -> bool {
    let mut without_records = octets.to_vec();
    without_records[6..HEADER_OCTETS].fill(0);
    Message::parse(&without_records)
        .is_ok_and(|message| message.question_matches(query.qname(), query.qtype(), query.class()))
}

/// Judges a reply without question: it can only say that the query failed.
fn bare(rcode: Rcode, query: &QueryTemplate) -> Verdict {
    match failing(rcode) {
        Some(blames_edns) => Verdict::Failing { blames_edns, reply: Some(query.bare_reply(rcode)) },
        None => Verdict::Malformed,
    }
}

/// Whether another target may know better, and then whether EDNS may be the reason. NXDOMAIN and the like are answers.
fn failing(rcode: Rcode) -> Option<bool> {
    match rcode {
        Rcode::SERVFAIL | Rcode::REFUSED => Some(false),
        Rcode::FORMERR | Rcode::NOTIMP => Some(true),
        rcode => (!is_end_to_end(rcode)).then_some(true),
    }
}

/// Whether an rcode means something beyond this hop: those of EDNS, TSIG and cookies (16 and up) do not.
fn is_end_to_end(rcode: Rcode) -> bool {
    rcode.0 < 16
}
