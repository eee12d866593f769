//! What is said of one query, as octets: what is known of it besides its messages, then the reply, then perhaps the query.

use super::{NOT_REFUSED, Noted};
use crate::dns::reply::Transport;
use crate::forward::Nanos;
use crate::serve::arrival::Arrival;
use crate::serve::counters::ReplySource;
use crate::snapshot::publish::{Generation, Published};
use crate::snapshot::{DoorIndex, Logs, ViewIndex};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One query that got a reply.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r> {
    /// Which logs have it.
    pub wanted_by: Logs,
    /// What is known of the reply without looking at it.
    pub noted: Noted,
    /// How both travelled.
    pub transport: Transport,
    /// The door it came in by.
    pub door: DoorIndex,
    /// The view that it belongs to; none where the query was malformed or its client has none.
    pub view: Option<ViewIndex>,
    /// Who asked.
    pub client: SocketAddr,
    /// The address that was asked, where the door is a wildcard.
    pub local: Option<IpAddr>,
    /// When it came, on the server's clock.
    pub received: Nanos,
    /// From then to the reply, in nanoseconds.
    pub took_nanos: u64,
    /// The reply.
    pub reply: &'r [u8],
    /// The query; empty where it was not kept.
    pub query: &'r [u8],
}

/// Octets of a record besides its messages.
pub(super) const HEAD_OCTETS: usize = 72;

/// The bits of the second octet.
const IS_TCP: u8 = 1;
const CLIENT_IS_IPV6: u8 = 2;
const HAS_LOCAL: u8 = 4;
const LOCAL_IS_IPV6: u8 = 8;
/// Those from here on are the tag.
const TAG_AT: u32 = 4;
/// What stands where there is no view.
const NO_VIEW: u32 = u32::MAX;

/// What records of this generation carry, to be found by among the few that a buffer has.
#[inline]
pub(super) fn tag(generation: Generation) -> u8 {
    generation.0 as u8 & (u8::MAX >> TAG_AT)
}

impl<'r> Record<'r> {
    /// That of a query, whose view is looked for again, and its reply; no log wants it yet.
    pub fn of(
        published: &Published,
        arrival: &Arrival,
        transport: Transport,
        (received, took_nanos): (Nanos, u64),
        noted: Noted,
        (query, reply): (&'r [u8], &'r [u8]),
    ) -> Self {
        let Arrival { door, client, local } = *arrival;
        let view = match noted.source() {
            // As the engine has it: who asks nothing that can be read belongs nowhere.
            ReplySource::Malformed => None,
            _ => published.snapshot.view_for(door, arrival.client_ip()).ok(),
        };
        let wanted_by = Logs::NONE;
        Self { wanted_by, noted, transport, door, view, client, local, received, took_nanos, reply, query }
    }

    /// How many octets it takes.
    #[inline]
    pub(super) fn octets(&self) -> usize {
        HEAD_OCTETS + self.reply.len() + self.query.len()
    }

    /// Writes it behind others, as one of this generation.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, generation: Generation) {
        let (client, client_is_ipv6) = address_octets(self.client.ip());
        let (local, local_is_ipv6) = self.local.map_or(([0; 16], false), address_octets);
        let mut flags = tag(generation) << TAG_AT | if self.transport == Transport::Tcp { IS_TCP } else { 0 };
        for (is_set, bit) in
            [(client_is_ipv6, CLIENT_IS_IPV6), (self.local.is_some(), HAS_LOCAL), (local_is_ipv6, LOCAL_IS_IPV6)]
        {
            flags |= if is_set { bit } else { 0 };
        }
        let Noted { rcode, source, refusal, .. } = self.noted;
        let mut head = [0; HEAD_OCTETS];
        // Lengths are those of messages, far below 4 GiB.
        head[0..4].copy_from_slice(&(self.octets() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(self.reply.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&[self.wanted_by.bits(), flags, source, refusal]);
        head[12..14].copy_from_slice(&rcode.to_le_bytes());
        head[14..16].copy_from_slice(&self.client.port().to_le_bytes());
        head[16..20].copy_from_slice(&self.door.0.to_le_bytes());
        head[20..24].copy_from_slice(&self.view.map_or(NO_VIEW, |view| view.0).to_le_bytes());
        head[24..32].copy_from_slice(&self.received.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.took_nanos.to_le_bytes());
        head[40..56].copy_from_slice(&client);
        head[56..72].copy_from_slice(&local);
        out.extend_from_slice(&head);
        out.extend_from_slice(self.reply);
        out.extend_from_slice(self.query);
    }

    /// The records in octets that [`Self::write`] wrote, in order, each with its [`tag`].
    pub(super) fn read_all(mut octets: &'r [u8]) -> impl Iterator<Item = (u8, Self)> {
        std::iter::from_fn(move || {
            let (head, _) = octets.split_first_chunk::<HEAD_OCTETS>()?;
            let (record, rest) = octets.split_at_checked(word(head, 0) as usize)?;
            octets = rest;
            Self::read(head, record.get(HEAD_OCTETS..)?)
        })
    }

    fn read(head: &[u8; HEAD_OCTETS], messages: &'r [u8]) -> Option<(u8, Self)> {
        let (reply, query) = messages.split_at_checked(word(head, 4) as usize)?;
        let [wanted_by, flags, source, refusal] = [head[8], head[9], head[10], head[11]];
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let has = |bit: u8| flags & bit != 0;
        let client = address(head.get(40..56)?, has(CLIENT_IS_IPV6))?;
        let local = address(head.get(56..72)?, has(LOCAL_IS_IPV6))?;
        let view = word(head, 20);
        if usize::from(source) >= ReplySource::COUNT {
            return None;
        }
        let record = Self {
            wanted_by: Logs::from_bits(wanted_by),
            noted: Noted { octets: 0, rcode: half(12), source, refusal },
            transport: if has(IS_TCP) { Transport::Tcp } else { Transport::Udp },
            door: DoorIndex(word(head, 16)),
            view: (view != NO_VIEW).then_some(ViewIndex(view)),
            client: SocketAddr::new(client, half(14)),
            local: has(HAS_LOCAL).then_some(local),
            received: Nanos(long(head, 24)),
            took_nanos: long(head, 32),
            reply,
            query,
        };
        Some((flags >> TAG_AT, record))
    }
}

const _: () = assert!(NOT_REFUSED as usize > crate::serve::refusal::Refusal::COUNT);

/// An address as 16 octets, and whether it is an IPv6 one; a mapped one is IPv4.
#[inline]
fn address_octets(ip: IpAddr) -> ([u8; 16], bool) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            (octets, false)
        }
        IpAddr::V6(ip) => (ip.octets(), true),
    }
}

/// The address that these octets are.
fn address(octets: &[u8], is_ipv6: bool) -> Option<IpAddr> {
    if is_ipv6 {
        return octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into());
    }
    octets.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
}

/// The number of four octets at a place.
fn word(head: &[u8; HEAD_OCTETS], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// The number of eight octets at a place.
fn long(head: &[u8; HEAD_OCTETS], at: usize) -> u64 {
    u64::from(word(head, at)) | u64::from(word(head, at + 4)) << 32
}
