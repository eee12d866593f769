//! What a message that came in is to an exchange.

use super::Channel;
use super::cookie::{Cookie, CookieSeen, ServerCookie, cookie_of};
use super::query::NameCase;
use crate::dns::message::{Message, MessageError};
use crate::dns::name::NAME_OCTETS_MAX;
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::Section;
use crate::dns::{Rcode, Rtype};
use crate::forward::Ask;
use crate::forward::reply::is_about_its_question;

/// What a reply must look like to be the reply to a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'q> {
    pub(super) ask: &'q Ask<'q>,
    pub(super) id: [u8; 2],
    pub(super) channel: Channel,
    /// The case that the name was sent in, where it was a random one.
    pub(super) case: Option<NameCase>,
    /// The cookie that was sent.
    pub(super) cookie: Option<&'q Cookie>,
}

/// What a message is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'m> {
    /// The reply to this query, from whom we asked.
    Reply(Meaning<'m>, ReplyCookie),
    /// Fits but for what only the target knows.
    Doubtful(Doubt),
    /// Not a reply to this query, or not from whom we asked.
    Mismatch,
    /// A reply to this query that cannot be read.
    Malformed,
}

/// Why a message that fits is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The name is in another case than it was sent in.
    Case,
    /// The target has always sent a cookie, and there is none.
    NoCookie,
}

/// What the target said about cookies, if we did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyCookie {
    /// We did not send one.
    NotSent,
    /// We did, it did not.
    Absent,
    /// It copied ours and gave us its own; none where there are no octets.
    Given(ServerCookie),
}

/// What a reply says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning<'m> {
    /// To be passed on.
    Good(Message<'m>),
    /// Good as far as it goes.
    Truncated,
    /// The target does not want to, or cannot.
    Failing {
        /// Whether EDNS may be the reason (RFC 6891 section 6.2.2).
        blames_edns: bool,
        /// What to pass on if nothing better comes; none for an rcode that is of this hop only.
        reply: Option<Failing<'m>>,
    },
    /// The target does not resolve for us: go and ask others, or nothing at all (RFC 2308 section 2.2 tells it from
    /// NODATA).
    Referral,
    /// An answer about something else, or of more records than anybody means: the target would say it again.
    Unusable,
    /// The server cookie that we sent is not one of its own (RFC 7873 section 5.3).
    BadCookie,
}

/// A reply that is passed on only if nothing better comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failing<'m> {
    /// A whole one.
    Message(Message<'m>),
    /// A header without question.
    Bare(Rcode),
}

/// Judges a message that came in for an attempt. The source was checked by the socket.
pub(super) fn judge<'m>(octets: &'m [u8], expected: &Expected<'_>) -> Verdict<'m> {
    let Some(header) = octets.first_chunk::<HEADER_OCTETS>() else { return Verdict::Mismatch };
    let is_query_reply = header[2] & 0xf8 == 0x80;
    if header[..2] != expected.id || !is_query_reply {
        return Verdict::Mismatch;
    }
    let is_truncated = header[2] & 0x02 != 0;
    let message = match Message::parse(octets) {
        Ok(message) => message,
        // Some servers answer what they do not understand with a header alone.
        Err(MessageError::QuestionCount(0)) => return judge_bare(header, is_truncated, expected),
        // RFC 2181 section 9: what is left of a truncated reply is not looked at, also where a record is cut off.
        Err(_) if is_truncated && is_of_question(octets, expected.ask) => {
            return Verdict::Reply(Meaning::Truncated, ReplyCookie::NotSent);
        }
        Err(_) => return Verdict::Malformed,
    };
    let Ask { qname, qtype, class, .. } = *expected.ask;
    if !message.question_matches(qname, qtype, class) {
        return Verdict::Mismatch;
    }
    if expected.case.is_some_and(|case| !case.is_of(message.question_name_wire(), qname)) {
        return Verdict::Doubtful(Doubt::Case);
    }
    let cookie = match expected.cookie {
        None => ReplyCookie::NotSent,
        Some(sent) => match cookie_of(&message) {
            CookieSeen::Whole(client, server) if client == sent.client => ReplyCookie::Given(server),
            CookieSeen::Whole(..) | CookieSeen::Illegal => return Verdict::Mismatch,
            // One that is truncated is asked again over a stream anyhow.
            CookieSeen::Absent if lacks_cookie(expected) && !is_truncated => {
                return Verdict::Doubtful(Doubt::NoCookie);
            }
            CookieSeen::Absent => ReplyCookie::Absent,
        },
    };
    Verdict::Reply(meaning(message, cookie), cookie)
}

/// What a reply says that is whole, from whom we asked, and about our question.
fn meaning(message: Message<'_>, cookie: ReplyCookie) -> Meaning<'_> {
    let rcode = message.rcode();
    if rcode == Rcode::BADCOOKIE && matches!(cookie, ReplyCookie::Given(_)) {
        return Meaning::BadCookie;
    }
    if let Some(blames_edns) = failing(rcode) {
        let reply = is_end_to_end(rcode).then_some(Failing::Message(message));
        return Meaning::Failing { blames_edns, reply };
    }
    if message.truncated() {
        Meaning::Truncated
    } else if is_referral(&message) {
        Meaning::Referral
    } else if !is_about_its_question(&message) {
        Meaning::Unusable
    } else {
        Meaning::Good(message)
    }
}

/// Whether a reply has no answer, but says who might (RFC 2308 section 2.2: name servers, and no SOA). One that is empty
/// altogether is a NODATA of a server that gives no SOA, if the server is one of the zone or asks for us: neither AA nor RA
/// says that it does nothing for us.
fn is_referral(message: &Message<'_>) -> bool {
    let [answers, authorities, _] = message.section_counts();
    if message.rcode() != Rcode::NOERROR || answers > 0 {
        return false;
    }
    if authorities == 0 {
        return !message.authoritative() && !message.recursion_available();
    }
    let has = |rtype| message.records().any(|r| r.section == Section::Authority && r.rtype == rtype);
    has(Rtype::NS) && !has(Rtype::SOA)
}

/// Whether a message whose records cannot be read has this question.
fn is_of_question(octets: &[u8], ask: &Ask<'_>) -> bool {
    let mut without_records = [0; HEADER_OCTETS + NAME_OCTETS_MAX + 4];
    let count = octets.len().min(without_records.len());
    without_records[..count].copy_from_slice(&octets[..count]);
    without_records[6..HEADER_OCTETS].fill(0);
    Message::parse(&without_records[..count])
        .is_ok_and(|message| message.question_matches(ask.qname, ask.qtype, ask.class))
}

/// Judges a reply without question: it can only say that the query failed, or has to go over a stream.
fn judge_bare<'m>(header: &[u8; HEADER_OCTETS], is_truncated: bool, expected: &Expected<'_>) -> Verdict<'m> {
    if is_truncated {
        return Verdict::Reply(Meaning::Truncated, ReplyCookie::NotSent);
    }
    let rcode = Rcode(u16::from(header[3] & 0x0f));
    match failing(rcode) {
        None => Verdict::Malformed,
        Some(_) if lacks_cookie(expected) => Verdict::Doubtful(Doubt::NoCookie),
        Some(blames_edns) => {
            let reply = Some(Failing::Bare(rcode));
            Verdict::Reply(Meaning::Failing { blames_edns, reply }, ReplyCookie::NotSent)
        }
    }
}

/// Whether a reply without a cookie is doubtful: over a stream nobody else can have sent it (RFC 7873 section 5.3).
fn lacks_cookie(expected: &Expected<'_>) -> bool {
    expected.channel == Channel::Datagram && expected.cookie.is_some_and(|cookie| cookie.is_expected)
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
