//! DNS cookies as a server makes them: RFC 7873, in the form that RFC 9018 gives them, so that all servers of a fleet
//! that share a secret accept each other's. Who has one has been reached at its address, and is not forged.

use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;

/// Octets of a client cookie (RFC 7873 section 4).
pub const CLIENT_COOKIE_OCTETS: usize = 8;
/// Octets of our server cookies (RFC 9018 section 4).
pub const SERVER_COOKIE_OCTETS: usize = 16;
/// Octets of the COOKIE option of a reply, its code and length included.
pub const COOKIE_OPTION_OCTETS: usize = 4 + CLIENT_COOKIE_OCTETS + SERVER_COOKIE_OCTETS;
/// The OPTION-CODE of COOKIE (RFC 7873 section 4).
pub const COOKIE_OPTION_CODE: u16 = 10;
/// Octets of a secret (RFC 9018 section 4.4).
pub const SECRET_OCTETS: usize = 16;
/// How old a cookie may be, in seconds (RFC 9018 section 4.3).
pub const COOKIE_AGE_SECONDS_MAX: u32 = 3600;
/// How far ahead of our clock the time in a cookie may be, in seconds: other servers made it (RFC 9018 section 4.3).
pub const COOKIE_AHEAD_SECONDS_MAX: u32 = 300;
/// From this age on a client is given a new one, in seconds (RFC 9018 section 4.3).
pub const COOKIE_RENEWED_AFTER_SECONDS: u32 = 1800;

/// What the COOKIE option of a query holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentCookie {
    /// The client's own.
    pub client: [u8; CLIENT_COOKIE_OCTETS],
    /// What it had from a server.
    pub server: SentServerCookie,
}

/// The server cookie of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentServerCookie {
    /// None.
    Absent,
    /// One as long as ours.
    Whole([u8; SERVER_COOKIE_OCTETS]),
    /// One of another length, and so not ours.
    Foreign,
}

impl SentCookie {
    /// Reads the data of a COOKIE option; none where it is neither 8 nor 16 to 40 octets long (RFC 7873 section 5.2.2).
    pub fn read(data: &[u8]) -> Option<Self> {
        let (&client, server) = data.split_first_chunk()?;
        let server = match server.len() {
            0 => SentServerCookie::Absent,
            8..=32 => server.try_into().map_or(SentServerCookie::Foreign, SentServerCookie::Whole),
            _ => return None,
        };
        Some(Self { client, server })
    }
}

/// What goes with a reply to a query with a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieAnswer {
    /// The server cookie to send.
    pub server: [u8; SERVER_COOKIE_OCTETS],
    /// What the client's one was worth.
    pub standing: CookieStanding,
}

/// What the cookie of a query is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieStanding {
    /// There is a client cookie only: nothing is known of the client.
    ClientOnly,
    /// We, or one who shares our secret, gave it to the client at this address.
    Valid,
    /// The same, but too long ago, or in the future.
    Expired,
    /// Nobody whom we know made it, or for another client.
    Invalid,
}

impl CookieStanding {
    /// How many there are.
    pub const COUNT: usize = Self::Invalid as usize + 1;

    /// Each with its name in metrics, in their order.
    pub const NAMED: [(Self, &'static str); Self::COUNT] = [
        (Self::ClientOnly, "client_only"),
        (Self::Valid, "valid"),
        (Self::Expired, "expired"),
        (Self::Invalid, "invalid"),
    ];
}

/// What a server makes cookies with. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret(pub [u8; SECRET_OCTETS]);

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

/// The secrets of a server: it makes cookies with the first one, and accepts those that any of them made (RFC 9018
/// section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSecrets {
    first: CookieSecret,
    others: Box<[CookieSecret]>,
}

impl CookieSecrets {
    /// These secrets.
    pub fn new(first: CookieSecret, others: &[CookieSecret]) -> Self {
        Self { first, others: others.into() }
    }

    /// What the cookie of a client at this address is worth, and what it gets. The time is in seconds since 1970, modulo
    /// 2^32.
    pub fn answer(&self, sent: &SentCookie, client: IpAddr, now_seconds: u32) -> CookieAnswer {
        let fresh = || self.fresh(sent.client, client, now_seconds);
        let SentServerCookie::Whole(server) = sent.server else {
            let is_absent = sent.server == SentServerCookie::Absent;
            let standing = if is_absent { CookieStanding::ClientOnly } else { CookieStanding::Invalid };
            return CookieAnswer { server: fresh(), standing };
        };
        let version = server[0];
        let (head, hash) = server.split_at(SERVER_COOKIE_OCTETS - 8);
        let is_made_with = |secret: &CookieSecret| hash == hash_of(secret, sent.client, head, client);
        let is_of_first = is_made_with(&self.first);
        if version != VERSION || !(is_of_first || self.others.iter().any(is_made_with)) {
            return CookieAnswer { server: fresh(), standing: CookieStanding::Invalid };
        }
        // Serial number arithmetic (RFC 1982): the time wraps in 2106.
        let made = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let age = now_seconds.wrapping_sub(made);
        let ahead = made.wrapping_sub(now_seconds);
        if age > COOKIE_AGE_SECONDS_MAX && ahead > COOKIE_AHEAD_SECONDS_MAX {
            return CookieAnswer { server: fresh(), standing: CookieStanding::Expired };
        }
        let is_young = is_of_first && (age <= COOKIE_RENEWED_AFTER_SECONDS || ahead <= COOKIE_AHEAD_SECONDS_MAX);
        CookieAnswer { server: if is_young { server } else { fresh() }, standing: CookieStanding::Valid }
    }

    /// A cookie for a client at this address, made now (RFC 9018 section 4).
    fn fresh(
        &self,
        client_cookie: [u8; CLIENT_COOKIE_OCTETS],
        client: IpAddr,
        now_seconds: u32,
    ) -> [u8; SERVER_COOKIE_OCTETS] {
        let [a, b, c, d] = now_seconds.to_be_bytes();
        let head = [VERSION, 0, 0, 0, a, b, c, d];
        let mut cookie = [0; SERVER_COOKIE_OCTETS];
        cookie[..8].copy_from_slice(&head);
        cookie[8..].copy_from_slice(&hash_of(&self.first, client_cookie, &head, client));
        cookie
    }
}

/// The hash in a server cookie: of the client cookie, what stands before the hash, and the client's address (RFC 9018
/// section 4.4).
fn hash_of(
    CookieSecret(secret): &CookieSecret,
    client_cookie: [u8; CLIENT_COOKIE_OCTETS],
    head: &[u8],
    client: IpAddr,
) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&client_cookie);
    hasher.write(head);
    match client.to_canonical() {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

/// The version of our cookies (RFC 9018 section 4.1).
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
    }

    fn secret(hex: &str) -> CookieSecret {
        CookieSecret(octets(hex).try_into().expect("sixteen octets"))
    }

    fn sent(hex: &str) -> SentCookie {
        SentCookie::read(&octets(hex)).expect("a cookie")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// RFC 9018 appendix A.1 to A.3.
    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    /// RFC 9018 appendix A.4.
    const OLD_SECRET: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW_SECRET: &str = "445536bcd2513298075a5d379663c962";

    #[test]
    fn the_examples_of_rfc_9018() {
        let ours = CookieSecrets::new(secret(SECRET), &[]);
        let rolled = CookieSecrets::new(secret(NEW_SECRET), &[secret(OLD_SECRET)]);
        let (first, another, six) = ("198.51.100.100", "203.0.113.203", "2001:db8:220:1:59de:d0f4:8769:82b8");
        let (a2, a3) =
            ("2464c4abcf10c957010000005cf79f111f8130c3eee29480", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let a4 = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        for (of, secrets, client, query, now, standing, reply) in [
            ("A.1", &ours, first, "2464c4abcf10c957", 1_559_731_985, CookieStanding::ClientOnly, &a2[16..]),
            ("A.2", &ours, first, a2, 1_559_734_385, CookieStanding::Valid, "010000005cf7a871d4a564a1442aca77"),
            // Older than an hour: what it is worth is ours to say, and we say what the text of the RFC does.
            ("A.3", &ours, another, a3, 1_559_734_700, CookieStanding::Expired, "010000005cf7a9acf73a7810aca2381e"),
            ("A.3, in time", &ours, another, a3, 1_559_727_985 + 60, CookieStanding::Valid, &a3[16..]),
            ("A.4", &rolled, six, a4, 1_559_741_961, CookieStanding::Valid, "010000005cf7c609a6bb79d16625507a"),
        ] {
            let answer = secrets.answer(&sent(query), ip(client), now);
            assert_eq!((answer.standing, answer.server.to_vec()), (standing, octets(reply)), "{of}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_client_at_one_address_for_an_hour() {
        let ours = CookieSecrets::new(secret(SECRET), &[]);
        let (client, now) = (ip("192.0.2.1"), 1_700_000_000u32);
        let SentCookie { client: own, .. } = sent("0102030405060708");
        let given = ours.answer(&sent("0102030405060708"), client, now).server;
        let standing = |own, server, client, now| {
            let sent = SentCookie { client: own, server: SentServerCookie::Whole(server) };
            ours.answer(&sent, client, now).standing
        };
        assert_eq!(standing(own, given, client, now), CookieStanding::Valid);
        assert_eq!(standing(own, given, ip("::ffff:192.0.2.1"), now), CookieStanding::Valid, "the same address");
        assert_eq!(standing(own, given, ip("192.0.2.2"), now), CookieStanding::Invalid);
        assert_eq!(standing([9; 8], given, client, now), CookieStanding::Invalid);
        for (seconds, expected) in [(3600, CookieStanding::Valid), (3601, CookieStanding::Expired)] {
            assert_eq!(standing(own, given, client, now + seconds), expected, "{seconds} seconds later");
        }
        for (seconds, expected) in [(300, CookieStanding::Valid), (301, CookieStanding::Expired)] {
            assert_eq!(standing(own, given, client, now - seconds), expected, "{seconds} seconds before");
        }
        for at in 0..SERVER_COOKIE_OCTETS {
            let mut other = given;
            other[at] ^= 1;
            assert_eq!(standing(own, other, client, now), CookieStanding::Invalid, "octet {at}");
        }
        // Another version may put another meaning in the same octets, whoever signed them.
        let stranger = CookieSecrets::new(secret(OLD_SECRET), &[]);
        assert_eq!(
            stranger.answer(&SentCookie { client: own, server: SentServerCookie::Whole(given) }, client, now).standing,
            CookieStanding::Invalid
        );
    }

    #[test]
    fn the_time_wraps() {
        let ours = CookieSecrets::new(secret(SECRET), &[]);
        let (client, made) = (ip("192.0.2.1"), u32::MAX - 10);
        let query = sent("0102030405060708");
        let whole = SentCookie { server: SentServerCookie::Whole(ours.answer(&query, client, made).server), ..query };
        assert_eq!(ours.answer(&whole, client, 100).standing, CookieStanding::Valid);
        assert_eq!(ours.answer(&whole, client, 3600).standing, CookieStanding::Expired);
    }

    #[test]
    fn a_young_cookie_is_given_back_and_an_older_one_renewed() {
        let ours = CookieSecrets::new(secret(SECRET), &[]);
        let (client, now, query) = (ip("192.0.2.1"), 1_700_000_000, sent("0102030405060708"));
        let given = ours.answer(&query, client, now).server;
        let whole = SentCookie { server: SentServerCookie::Whole(given), ..query };
        assert_eq!(ours.answer(&whole, client, now + COOKIE_RENEWED_AFTER_SECONDS).server, given);
        let renewed = ours.answer(&whole, client, now + COOKIE_RENEWED_AFTER_SECONDS + 1).server;
        assert_eq!(renewed, ours.answer(&query, client, now + COOKIE_RENEWED_AFTER_SECONDS + 1).server);
        assert_ne!(renewed, given);
        // One of another secret is given one of the first at once.
        let rolled = CookieSecrets::new(secret(NEW_SECRET), &[secret(SECRET)]);
        let answer = rolled.answer(&whole, client, now);
        assert_eq!(
            (answer.standing, answer.server),
            (CookieStanding::Valid, rolled.answer(&query, client, now).server)
        );
        assert_ne!(answer.server, given);
    }

    #[test]
    fn lengths_of_the_option() {
        for octets in 0..64 {
            let read = SentCookie::read(&vec![7; octets]);
            assert_eq!(read.is_some(), octets == 8 || (16..=40).contains(&octets), "{octets}");
            let expected = match octets {
                8 => SentServerCookie::Absent,
                24 => SentServerCookie::Whole([7; 16]),
                _ => SentServerCookie::Foreign,
            };
            assert!(read.is_none_or(|read| read.client == [7; 8] && read.server == expected), "{octets}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", CookieSecrets::new(secret(SECRET), &[secret(OLD_SECRET)]));
        assert!(!shown.contains("e5") && !shown.contains("229"), "{shown}");
    }

    #[test]
    fn every_standing_is_named_in_its_place() {
        assert!(CookieStanding::NAMED.iter().enumerate().all(|(index, (standing, _))| *standing as usize == index));
    }
}
