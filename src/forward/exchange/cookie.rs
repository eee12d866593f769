//! DNS cookies, the client's side: what goes with a query, and what came with a reply (RFC 7873 section 4).

use std::fmt;

use crate::dns::message::Message;

/// The number of the COOKIE option (RFC 7873 section 4).
pub(super) const COOKIE_OPTION: u16 = 10;
/// Octets of a client cookie.
pub(super) const CLIENT_COOKIE_OCTETS: usize = 8;
/// Octets of a server cookie at least.
const SERVER_COOKIE_OCTETS_MIN: usize = 8;
/// The same at most.
const SERVER_COOKIE_OCTETS_MAX: usize = 32;
/// Octets of a COOKIE option at most, its code and length included.
pub(super) const COOKIE_OPTION_OCTETS_MAX: usize = 4 + CLIENT_COOKIE_OCTETS + SERVER_COOKIE_OCTETS_MAX;

/// What goes with the queries to one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// Ours.
    pub client: ClientCookie,
    /// The last one that the target gave us.
    pub server: ServerCookie,
    /// Whether the target is known to send cookies: a datagram without one is doubtful.
    pub is_expected: bool,
}

/// A client cookie: by it a target's replies are known to be the target's. One for each target, from a CSPRNG (RFC 9018
/// section 3).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCookie(pub [u8; CLIENT_COOKIE_OCTETS]);

/// A server cookie: none, or 8 to 32 octets that mean nothing to us.
// Invariant: count is 0, or 8 to 32; the octets behind it are 0.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCookie {
    octets: [u8; SERVER_COOKIE_OCTETS_MAX],
    count: u8,
}

impl ServerCookie {
    /// A server cookie of 8 to 32 octets, or none where there are 0.
    pub fn new(octets: &[u8]) -> Option<Self> {
        if !octets.is_empty() && octets.len() < SERVER_COOKIE_OCTETS_MIN {
            return None;
        }
        let mut cookie = Self { count: octets.len() as u8, ..Self::default() };
        cookie.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(cookie)
    }

    /// Its octets.
    pub fn as_octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.count)]
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

// Who knows a cookie can forge with it: it is never shown.
impl fmt::Debug for ClientCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCookie")
    }
}

impl fmt::Debug for ServerCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCookie({} octets)", self.count)
    }
}

/// The COOKIE option of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieSeen {
    /// There is none.
    Absent,
    /// Its length is none that the RFC allows: 8, or 16 to 40.
    Illegal,
    /// The client cookie that the target copied, and its own.
    Whole(ClientCookie, ServerCookie),
}

/// Reads the COOKIE option of a message. Only the first counts (RFC 7873 section 5.3); options that do not fill their
/// OPT end where they break.
pub(super) fn cookie_of(message: &Message<'_>) -> CookieSeen {
    let mut options = message.opt().map_or(&[][..], |opt| opt.options);
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let octets = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some((data, rest)) = rest.split_at_checked(octets) else { break };
        if u16::from_be_bytes([head[0], head[1]]) == COOKIE_OPTION {
            let whole = data.split_first_chunk().and_then(|(client, server)| {
                Some(CookieSeen::Whole(ClientCookie(*client), ServerCookie::new(server)?))
            });
            return whole.unwrap_or(CookieSeen::Illegal);
        }
        options = rest;
    }
    CookieSeen::Absent
}
