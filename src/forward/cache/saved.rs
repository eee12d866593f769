//! The cache in octets, to be kept from one start of the daemon to the next.
//!
//! ```text
//! header   magic, version, when it was saved, checksum
//! record   kind, octets of the body, checksum, body
//! ...
//! ```
//! Numbers are big-endian. A record says what a context is called (records behind it name it by its number), holds a
//! reply, or says that this is the end and how many replies there are. Failures are not saved.
//!
//! Whatever is wrong with the octets ends the loading there, and what came before stays: each record is checked by
//! itself. A reply that is loaded has passed every check that one from an upstream passes. This is the only place of
//! the cache where the wall clock counts, and a clock that cannot be right never makes a reply fresher: where it went
//! backwards, all lifetimes are over, and replies are served only where nobody can say anything newer.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::{CacheKey, Entry, NAME_AS_A_WHOLE, NameOf, ReplyCache, SLOTS_AT_A_TIME, entry_hash};
use crate::dns::message::Message;
use crate::dns::name::wire_name_octets;
use crate::dns::reply::STREAM_MESSAGE_OCTETS_MAX;
use crate::dns::{Class, Rtype};
use crate::forward::reply::UpstreamReply;
use crate::forward::{Ask, ContextId, Millis};

use std::hash::BuildHasher as _;

/// What the wall clock says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// The moment, on the clock of the cache.
    pub at: Millis,
    /// Seconds since 1970 (UTC) then, as far as this machine knows.
    pub unix_seconds: u64,
}

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Replies.
    pub replies: u64,
    /// Octets in all.
    pub octets: u64,
}

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Replies that are in the cache now.
    pub replies: u64,
    /// Replies that are of no more use: too old, of a context that is no more, or known better by now.
    pub dropped: u64,
    /// Why loading ended before the end.
    pub damage: Option<Damage>,
}

/// Why saved octets cannot be read, or no further.
#[derive(Debug)]
pub enum Damage {
    /// They are something else.
    NotACache,
    /// They are of this version.
    Version(u32),
    /// They end in the middle.
    CutOff,
    /// They were changed.
    Checksum,
    /// They say what cannot be.
    Nonsense,
    /// Reading failed.
    Unreadable(io::Error),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACache => f.write_str("it holds no saved cache"),
            Self::Version(version) => write!(f, "it is of version {version}, and this program reads {VERSION}"),
            Self::CutOff => f.write_str("it ends in the middle"),
            Self::Checksum => f.write_str("its octets were changed"),
            Self::Nonsense => f.write_str("it says what cannot be"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::CutOff } else { Self::Unreadable(error) }
    }
}

const MAGIC: &[u8; 8] = b"+2cache\n";
const VERSION: u32 = 1;
/// Octets before the body of a record: kind, length, checksum.
const RECORD_HEAD_OCTETS: usize = 13;
/// Octets of a body: of the largest message with all that goes with it.
const BODY_OCTETS_MAX: usize = STREAM_MESSAGE_OCTETS_MAX + 1024;
/// Octets of what a context is called; others are not saved.
const CONTEXT_NAME_OCTETS_MAX: usize = 16 << 10;

/// The kinds of records.
const CONTEXT: u8 = 1;
const REPLY: u8 = 2;
const END: u8 = 3;

/// Bits of what goes with a reply.
const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;
const PROTECTED: u8 = 4;
/// It was asked for again and again.
const ESTABLISHED: u8 = 8;

impl ReplyCache {
    /// Writes all answers that may still be served, within as many octets as the cache may take. `name_of` says what a
    /// context is called: the same name must mean the same targets ever after. No lock is held for long.
    pub fn save(
        &self,
        out: &mut dyn Write,
        clock: WallClock,
        name_of: &dyn Fn(ContextId) -> Option<String>,
    ) -> io::Result<Saved> {
        let mut writer = Writer { out, saved: Saved::default() };
        writer.header(clock.unix_seconds)?;
        let mut contexts: HashMap<ContextId, Option<u32>> = HashMap::new();
        let mut numbered = 0u32;
        let (mut part, mut body) = (Vec::new(), Vec::new());
        for index in 0..self.shards.len() {
            let mut first = 0;
            while first < self.read(index).slots() {
                // Copied out, so that nobody waits for the disk.
                self.read(index).visit(first, SLOTS_AT_A_TIME, |entry| {
                    if let Entry::Reply(reply) = entry.entry
                        && reply.may_be_served_for(clock.at, self.limits.stale_seconds)
                    {
                        part.push((entry.key.clone(), Arc::clone(reply), entry.is_established));
                    }
                });
                first += SLOTS_AT_A_TIME;
                for (key, reply, is_established) in part.drain(..) {
                    if writer.saved.octets >= self.limits.octets_max as u64 {
                        return writer.end();
                    }
                    let number = match contexts.get(&key.context) {
                        Some(number) => *number,
                        None => {
                            let name = name_of(key.context).filter(|name| name.len() <= CONTEXT_NAME_OCTETS_MAX);
                            let number = name.as_ref().map(|_| numbered);
                            if let Some(name) = name {
                                writer.record(CONTEXT, name.as_bytes())?;
                                numbered += 1;
                            }
                            contexts.insert(key.context, number);
                            number
                        }
                    };
                    let Some(number) = number else { continue };
                    body.clear();
                    write_reply(&mut body, number, &key, &reply, is_established, clock);
                    writer.record(REPLY, &body)?;
                    writer.saved.replies += 1;
                }
            }
        }
        writer.end()
    }

    /// Reads what [`Self::save`] wrote, up to as many octets as the cache may take. `context_of` says which context is
    /// called so now. What the cache holds already stays.
    pub fn load(
        &self,
        input: &mut dyn Read,
        clock: WallClock,
        context_of: &dyn Fn(&str) -> Option<ContextId>,
    ) -> Loaded {
        let mut loaded = Loaded::default();
        loaded.damage = self.load_until_damage(input, clock, context_of, &mut loaded).err();
        loaded
    }

    fn load_until_damage(
        &self,
        input: &mut dyn Read,
        clock: WallClock,
        context_of: &dyn Fn(&str) -> Option<ContextId>,
        loaded: &mut Loaded,
    ) -> Result<(), Damage> {
        let saved_at = read_header(input)?;
        let is_clock_right = clock.unix_seconds >= saved_at;
        let mut contexts = Vec::new();
        let mut body = Vec::new();
        let mut octets = 0;
        while octets < self.limits.octets_max {
            let kind = read_record(input, &mut body)?;
            octets += RECORD_HEAD_OCTETS + body.len();
            match kind {
                CONTEXT => contexts.push(context_of(str::from_utf8(&body).map_err(|_| Damage::Nonsense)?)),
                REPLY => {
                    let saved = SavedReply::read(&body).filter(|saved| saved.received <= saved_at);
                    let saved = saved.ok_or(Damage::Nonsense)?;
                    let context = *contexts.get(saved.context as usize).ok_or(Damage::Nonsense)?;
                    let age_seconds = if is_clock_right {
                        clock.unix_seconds - saved.received
                    } else {
                        u64::from(saved.lifetime_seconds)
                    };
                    match context {
                        Some(context) if self.load_reply(&saved, context, age_seconds, clock.at)? => {
                            loaded.replies += 1;
                        }
                        Some(_) | None => loaded.dropped += 1,
                    }
                }
                END => return Ok(()),
                _ => return Err(Damage::Nonsense),
            }
        }
        Ok(())
    }

    /// Puts a saved reply in; false where it is of no more use.
    fn load_reply(
        &self,
        saved: &SavedReply<'_>,
        context: ContextId,
        age_seconds: u64,
        now: Millis,
    ) -> Result<bool, Damage> {
        if age_seconds >= u64::from(saved.lifetime_seconds) + u64::from(self.limits.stale_seconds) {
            return Ok(false);
        }
        let message = Message::parse(saved.message).map_err(|_| Damage::Nonsense)?;
        let asked = Ask { qtype: message.question_type(), ..saved.ask };
        if !message.question_matches(asked.qname, asked.qtype, asked.class) {
            return Err(Damage::Nonsense);
        }
        let reply = UpstreamReply::new(&message, self.limits.ttls, now, saved.is_protected).ok_or(Damage::Nonsense)?;
        // As they are kept: a denial of the name for all types, anything else for its own.
        let qtype = if reply.denies_the_name() { NAME_AS_A_WHOLE } else { asked.qtype };
        let is_kept_so = saved.ask.qtype == qtype && (asked.qtype != NAME_AS_A_WHOLE);
        if !reply.is_an_answer() || !is_kept_so {
            return Err(Damage::Nonsense);
        }
        let reply = reply.aged(age_seconds);
        if !reply.may_be_served_for(now, self.limits.stale_seconds) {
            return Ok(false);
        }
        if !self.limits.prefetch {
            reply.forgo_prefetch();
        }
        let ask = Ask { context, ..saved.ask };
        let name_hash = self.random.hash_one(NameOf(&ask));
        let hash = entry_hash(name_hash, ask.qtype);
        let mut shard = self.write(self.shard_of(name_hash));
        Ok(shard.insert_old(hash, CacheKey::from(&ask), Entry::Reply(Arc::new(reply)), saved.is_established, now))
    }
}

/// Writes records, and counts.
struct Writer<'w> {
    out: &'w mut dyn Write,
    saved: Saved,
}

impl Writer<'_> {
    fn octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.saved.octets += octets.len() as u64;
        self.out.write_all(octets)
    }

    fn header(&mut self, saved_at: u64) -> io::Result<()> {
        let head = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &saved_at.to_be_bytes()].concat();
        self.octets(&head)?;
        self.octets(&checksum(&[&head]).to_be_bytes())
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&(body.len() as u32).to_be_bytes());
        let checksum = checksum(&[&head, body]);
        self.octets(&head)?;
        self.octets(&checksum.to_be_bytes())?;
        self.octets(body)
    }

    fn end(mut self) -> io::Result<Saved> {
        let replies = self.saved.replies.to_be_bytes();
        self.record(END, &replies)?;
        Ok(self.saved)
    }
}

/// Reads the header; when it was saved, in seconds since 1970.
fn read_header(input: &mut dyn Read) -> Result<u64, Damage> {
    let mut head = [0; 20];
    let mut sum = [0; 8];
    match input.read_exact(&mut head).and_then(|()| input.read_exact(&mut sum)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Damage::NotACache),
        Err(error) => return Err(Damage::Unreadable(error)),
    }
    let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _] = head;
    if magic != *MAGIC {
        return Err(Damage::NotACache);
    }
    let [.., a, b, c, d, _, _, _, _, _, _, _, _] = head;
    let version = u32::from_be_bytes([a, b, c, d]);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    if checksum(&[&head]) != u64::from_be_bytes(sum) {
        return Err(Damage::Checksum);
    }
    let [.., a, b, c, d, e, f, g, h] = head;
    Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Reads a record into `body`; its kind.
fn read_record(input: &mut dyn Read, body: &mut Vec<u8>) -> Result<u8, Damage> {
    let mut head = [0; RECORD_HEAD_OCTETS];
    input.read_exact(&mut head)?;
    let [kind, a, b, c, d, sum @ ..] = head;
    let octets = u32::from_be_bytes([a, b, c, d]) as usize;
    if octets > BODY_OCTETS_MAX {
        return Err(Damage::Nonsense);
    }
    body.resize(octets, 0);
    input.read_exact(body)?;
    if checksum(&[&[kind, a, b, c, d], body]) != u64::from_be_bytes(sum) {
        return Err(Damage::Checksum);
    }
    Ok(kind)
}

/// FNV-1a over 64 bits: it tells damage, not malice. It is the same on every machine and in every version.
pub fn checksum(parts: &[&[u8]]) -> u64 {
    let octets = parts.iter().copied().flatten();
    octets.fold(0xcbf2_9ce4_8422_2325, |sum: u64, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// A reply as it is saved.
struct SavedReply<'b> {
    /// Which of the contexts before it.
    context: u32,
    /// The question; the context in it means nothing.
    ask: Ask<'b>,
    is_protected: bool,
    is_established: bool,
    /// When it was received, in seconds since 1970; never later than it was.
    received: u64,
    lifetime_seconds: u32,
    message: &'b [u8],
}

/// Writes what [`SavedReply::read`] reads.
fn write_reply(
    body: &mut Vec<u8>,
    context: u32,
    key: &CacheKey,
    reply: &UpstreamReply,
    is_established: bool,
    clock: WallClock,
) {
    let ask = key.ask();
    // Rounded up: what is loaded is never younger than it was.
    let age_seconds = reply.age_millis(clock.at).div_ceil(1000);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    body.extend_from_slice(&context.to_be_bytes());
    body.push(
        flag(ask.dnssec_ok, DNSSEC_OK)
            | flag(ask.checking_disabled, CHECKING_DISABLED)
            | flag(reply.authentic_data(), PROTECTED)
            | flag(is_established, ESTABLISHED),
    );
    body.extend_from_slice(&ask.qtype.0.to_be_bytes());
    body.extend_from_slice(&ask.class.0.to_be_bytes());
    body.extend_from_slice(&clock.unix_seconds.saturating_sub(age_seconds).to_be_bytes());
    body.extend_from_slice(&reply.lifetime().seconds().to_be_bytes());
    body.extend_from_slice(ask.qname);
    body.extend_from_slice(reply.octets());
}

impl<'b> SavedReply<'b> {
    /// Takes a body apart; none where it has another form.
    fn read(body: &'b [u8]) -> Option<Self> {
        let (context, rest) = body.split_first_chunk()?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (qtype, rest) = rest.split_first_chunk()?;
        let (class, rest) = rest.split_first_chunk()?;
        let (received, rest) = rest.split_first_chunk()?;
        let (lifetime, rest) = rest.split_first_chunk()?;
        let (qname, message) = rest.split_at(wire_name_octets(rest).ok()?);
        let is_folded = !qname.iter().any(u8::is_ascii_uppercase);
        let ask = Ask {
            context: ContextId(0),
            qname,
            qtype: Rtype(u16::from_be_bytes(*qtype)),
            class: Class(u16::from_be_bytes(*class)),
            dnssec_ok: flags & DNSSEC_OK != 0,
            checking_disabled: flags & CHECKING_DISABLED != 0,
        };
        is_folded.then_some(Self {
            context: u32::from_be_bytes(*context),
            ask,
            is_protected: flags & PROTECTED != 0,
            is_established: flags & ESTABLISHED != 0,
            received: u64::from_be_bytes(*received),
            lifetime_seconds: u32::from_be_bytes(*lifetime),
            message,
        })
    }
}

#[cfg(test)]
mod tests;
