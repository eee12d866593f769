//! What is known of one target: its round-trip time, whether it is suspect, and how it wants to be asked.

use std::net::IpAddr;

use rand::{CryptoRng, Rng};

use super::{Condition, TargetReport};
use crate::dns::{Target, TargetProtocol};
use crate::forward::Millis;
use crate::forward::exchange::{
    Answer, Candidate, Channel, ClientCookie, Cookie, EdnsSupport, Observation, PATIENCE_MILLIS_MAX,
    PATIENCE_MILLIS_MIN, STREAM_PATIENCE_MILLIS, ServerCookie, TargetIndex, Turn,
};

/// How long a target must have been silent before it counts as away: a few packets in a row are lost now and then, and
/// whoever waits is told a stale answer at once while all targets are away.
pub(super) const AWAY_MILLIS: u64 = PATIENCE_MILLIS_MAX;
/// The same where nobody has asked it anything else: finding a name takes a recursive server seconds now and then, and
/// says nothing about others.
pub(super) const AWAY_BY_ONE_NAME_MILLIS: u64 = 3_000;
/// A suspect target gets one question a second beside the one that is asked, to find out whether it is back.
pub(super) const PROBE_MILLIS: u64 = 1_000;
/// A target whose round-trip time was not measured for so long gets one question beside the one that is asked.
pub(super) const MEASURE_MILLIS: u64 = 30_000;
/// The same where it has never been measured, counted from the first question to its group.
pub(super) const MEASURE_FIRST_MILLIS: u64 = 1_000;
/// A stream may have to be opened first, so its target is given this time at least.
pub(super) const STREAM_PATIENCE_MILLIS_MIN: u64 = 200;
/// Questions in a row that must show the same oddity before a target is asked otherwise: one may be a forger's work.
pub(super) const ODDITIES_MIN: u8 = 3;
/// How long a target is asked otherwise before the usual way is tried again.
pub(super) const ODDITY_MILLIS: u64 = 3_600_000;
/// How long after its last cookie a target is expected to send one. Not for ever: where its cookies end and it can be
/// asked over UDP only, that is how long its replies are not believed.
pub(super) const COOKIE_EXPECTED_MILLIS: u64 = 600_000;

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Health {
    own_channel: Channel,
    /// None until it has answered once.
    round_trip: Option<RoundTrip>,
    /// When it is to be measured beside another one; none before the first question.
    measure_at: Option<Millis>,
    answered_at: Option<Millis>,
    suspect: Option<Suspicion>,
    edns: EdnsSupport,
    /// Answers without EDNS, and none with it.
    plain_only: Oddity,
    /// Changes the case of names.
    changes_case: Oddity,
    /// Without the expectation, which depends on the time.
    cookie: Option<Cookie>,
    cookies_expected_until: Millis,
    /// It stopped sending cookies: if some of its servers send them and some do not, they are not expected so soon again.
    cookies_in_doubt_until: Millis,
    local: Option<IpAddr>,
    answered: u64,
    failed: u64,
}

/// Silent or unreachable, and nothing heard of it since.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: Millis,
    probe_at: Millis,
    /// It failed again meanwhile, and that has been said.
    is_away: bool,
}

/// A change that an operator may have to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The target failed twice and was not heard of in between, and where it was silent, for `AWAY_MILLIS`, or if that
    /// was to one question only, for `AWAY_BY_ONE_NAME_MILLIS`: a few lost packets are no news, and neither is a name
    /// that takes long.
    WentAway,
    /// It answers again.
    CameBack,
}

/// Smoothed round-trip time and its variation, in milliseconds (RFC 6298 section 2).
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: f32,
    variation: f32,
}

/// Something that a target does otherwise than others, believed when it was seen several times in a row, for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Oddity {
    seen: u8,
    until: Option<Millis>,
}

/// A target as the order sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) candidate: Candidate,
    /// Smoothed round-trip time in milliseconds; none if it was never measured.
    pub(super) round_trip_millis: Option<f32>,
    /// Whether it is to be asked beside another one now, if it is not asked first.
    pub(super) is_due: bool,
}

impl Health {
    /// Nothing known yet.
    pub(super) fn new(target: &Target, rng: &mut impl CryptoRng) -> Self {
        let own_channel = match target.protocol {
            TargetProtocol::Do53 => Channel::Datagram,
            TargetProtocol::Tcp | TargetProtocol::Dot | TargetProtocol::Doh { .. } | TargetProtocol::Doq => {
                Channel::Stream
            }
        };
        Self {
            own_channel,
            round_trip: None,
            measure_at: None,
            answered_at: None,
            suspect: None,
            edns: EdnsSupport::Unknown,
            plain_only: Oddity::default(),
            changes_case: Oddity::default(),
            cookie: (own_channel == Channel::Datagram).then(|| new_cookie(rng)),
            cookies_expected_until: Millis(0),
            cookies_in_doubt_until: Millis(0),
            local: None,
            answered: 0,
            failed: 0,
        }
    }

    /// The target as a candidate, and what the order goes by.
    pub(super) fn look(&mut self, target: TargetIndex, now: Millis) -> Look {
        let measure_at = *self.measure_at.get_or_insert_with(|| now.plus(MEASURE_FIRST_MILLIS));
        let changes_case = self.changes_case(now);
        let are_expected = now < self.cookies_expected_until;
        let candidate = Candidate {
            target,
            channel: if changes_case { Channel::Stream } else { self.own_channel },
            patience_millis: if changes_case { STREAM_PATIENCE_MILLIS as u16 } else { self.patience_millis() },
            turn: if self.suspect.is_some() { Turn::Suspect } else { Turn::InOrder },
            is_away: self.is_away(),
            edns: if self.plain_only.is_so(now) { EdnsSupport::PlainOnly } else { self.edns },
            cookie: self.cookie.map(|cookie| Cookie { is_expected: are_expected, ..cookie }),
        };
        Look {
            candidate,
            round_trip_millis: self.round_trip.map(|round_trip| round_trip.smoothed),
            is_due: now >= self.suspect.map_or(measure_at, |suspect| suspect.probe_at),
        }
    }

    /// Whether it counts as away.
    pub(super) fn is_away(&self) -> bool {
        self.suspect.is_some_and(|suspect| suspect.is_away)
    }

    /// Whether it is asked over TCP for now, because it does not keep the case of names.
    pub(super) fn changes_case(&mut self, now: Millis) -> bool {
        self.changes_case.is_so(now)
    }

    /// Takes the place of the one question that goes to a target beside another one; false if it is taken.
    pub(super) fn claim_probe(&mut self, now: Millis) -> bool {
        let (at, next) = match &mut self.suspect {
            Some(suspect) => (&mut suspect.probe_at, PROBE_MILLIS),
            None => (self.measure_at.get_or_insert(now), MEASURE_MILLIS),
        };
        let is_due = now >= *at;
        if is_due {
            *at = now.plus(next);
        }
        is_due
    }

    /// How long it may be silent before the next target is asked (RFC 6298 section 2.3, within our bounds).
    fn patience_millis(&self) -> u16 {
        let (min, max) = match self.own_channel {
            Channel::Datagram => (PATIENCE_MILLIS_MIN, PATIENCE_MILLIS_MAX),
            Channel::Stream => (STREAM_PATIENCE_MILLIS_MIN, STREAM_PATIENCE_MILLIS),
        };
        let timeout = self.round_trip.map(|round_trip| round_trip.smoothed + 4.0 * round_trip.variation);
        timeout.map_or(max, |millis| millis as u64).clamp(min, max) as u16
    }

    /// Takes note of what an attempt showed; says when that is news.
    pub(super) fn learn(&mut self, observation: Observation, now: Millis) -> Option<Change> {
        match observation {
            Observation::Answered(answer) => return self.learn_answer(answer, now),
            // It answered others meanwhile: the name is slow, not the target.
            Observation::SilentSince(sent_at) if self.answered_at.is_some_and(|answered_at| answered_at >= sent_at) => {
                self.failed += 1;
            }
            Observation::SilentSince(sent_at) => {
                let is_another = self.suspect.is_some_and(|suspect| suspect.since <= sent_at);
                let away_millis = if is_another { AWAY_MILLIS } else { AWAY_BY_ONE_NAME_MILLIS };
                return self.learn_failure(away_millis, now);
            }
            Observation::Unreachable => return self.learn_failure(0, now),
            Observation::GaveCookie(server) => {
                if let Some(cookie) = &mut self.cookie {
                    cookie.server = server;
                }
            }
            Observation::StoppedCookies => {
                if let Some(cookie) = &mut self.cookie {
                    cookie.server = ServerCookie::default();
                }
                self.cookies_expected_until = now;
                self.cookies_in_doubt_until = now.plus(ODDITY_MILLIS);
            }
            Observation::ChangedCase => self.changes_case.see(now),
        }
        None
    }

    /// It answered.
    fn learn_answer(&mut self, answer: Answer, now: Millis) -> Option<Change> {
        self.answered += 1;
        self.answered_at = Some(now);
        // What a stream takes to be opened tells nothing about datagrams.
        if answer.channel == self.own_channel {
            self.round_trip = Some(RoundTrip::after(self.round_trip, answer.millis as f32));
            self.measure_at = Some(now.plus(MEASURE_MILLIS));
        }
        match answer.edns {
            EdnsSupport::Unknown => {}
            EdnsSupport::Answers => {
                self.edns = EdnsSupport::Answers;
                self.plain_only = Oddity::default();
            }
            EdnsSupport::PlainOnly => self.plain_only.see(now),
        }
        if answer.gave_cookie && now >= self.cookies_in_doubt_until {
            self.cookies_expected_until = now.plus(COOKIE_EXPECTED_MILLIS);
        }
        if answer.kept_case {
            self.changes_case = Oddity::default();
        }
        let was_away = self.suspect.take().is_some_and(|suspect| suspect.is_away);
        was_away.then_some(Change::CameBack)
    }

    /// It was silent, or refused us: away, if it has been suspect for so long.
    fn learn_failure(&mut self, away_millis: u64, now: Millis) -> Option<Change> {
        self.failed += 1;
        match &mut self.suspect {
            Some(suspect) if now.since(suspect.since) < away_millis => None,
            Some(suspect) if suspect.is_away => None,
            Some(suspect) => {
                suspect.is_away = true;
                // Or something on the way drops queries with EDNS since (RFC 6891 section 6.2.2): without it is tried too.
                self.edns = EdnsSupport::Unknown;
                Some(Change::WentAway)
            }
            None => {
                self.suspect = Some(Suspicion { since: now, probe_at: now.plus(PROBE_MILLIS), is_away: false });
                None
            }
        }
    }

    /// From which address of ours it is asked.
    pub(super) fn set_local_address(&mut self, local: IpAddr, rng: &mut impl CryptoRng) {
        let before = self.local.replace(local);
        if self.cookie.is_some() && before.is_some_and(|before| before != local) {
            self.cookie = Some(new_cookie(rng));
        }
    }

    /// What is known, for people.
    pub(super) fn report(&self, target: String, in_flight: u32) -> TargetReport {
        let condition = match self.suspect {
            Some(Suspicion { since, is_away: true, .. }) => Condition::Away(since),
            Some(Suspicion { since, is_away: false, .. }) => Condition::Suspect(since),
            None if self.answered_at.is_some() => Condition::Good,
            None => Condition::Fresh,
        };
        TargetReport {
            target,
            condition,
            round_trip_millis: self.round_trip.map(|round_trip| round_trip.smoothed),
            in_flight,
            answered: self.answered,
            failed: self.failed,
            has_cookies: self.cookie.is_some_and(|cookie| !cookie.server.is_none()),
            is_plain_only: self.plain_only.until.is_some(),
            changes_case: self.changes_case.until.is_some(),
        }
    }
}

/// A cookie for a target that has not given us one.
fn new_cookie(rng: &mut impl CryptoRng) -> Cookie {
    Cookie { client: ClientCookie(rng.random()), server: ServerCookie::default(), is_expected: false }
}

impl Oddity {
    /// Seen once more.
    fn see(&mut self, now: Millis) {
        self.seen = self.seen.saturating_add(1);
        if self.seen >= ODDITIES_MIN {
            self.until = Some(now.plus(ODDITY_MILLIS));
        }
    }

    /// Whether it is believed now. When its time is over the usual way is tried, and one more sight is enough.
    fn is_so(&mut self, now: Millis) -> bool {
        if self.until.is_some_and(|until| now >= until) {
            *self = Self { seen: ODDITIES_MIN - 1, until: None };
        }
        self.until.is_some()
    }
}

impl RoundTrip {
    /// The values after one more measurement (RFC 6298 sections 2.2 and 2.3).
    fn after(before: Option<Self>, millis: f32) -> Self {
        match before {
            None => Self { smoothed: millis, variation: millis / 2.0 },
            Some(Self { smoothed, variation }) => Self {
                smoothed: smoothed * 0.875 + millis * 0.125,
                variation: variation * 0.75 + (smoothed - millis).abs() * 0.25,
            },
        }
    }
}
