//! What one input makes of an exchange: whom to ask next, which reply counts.

use rand::{CryptoRng, Rng};

use super::cookie::Cookie;
use super::query::{NameCase, bare_reply};
use super::verdict::{Doubt, Expected, Failing, Meaning, ReplyCookie, Verdict, judge};
use super::{
    ATTEMPTS_MAX, Answer, Attempt, AttemptId, Channel, EXCHANGE_MILLIS_MAX, EdnsSupport, Ending, Event, Exchange,
    Input, LINGER_MILLIS, Listening, MISMATCHES_MAX, Observation, Output, Outputs, PROBES_MAX, Progress,
    QUICK_SENDINGS_MAX, RETRY_MILLIS_MAX, STREAM_PATIENCE_MILLIS, TargetIndex, Turn,
};
use crate::forward::{Ask, ExchangeError, Millis};

/// Times that a target may refuse packets before it counts as gone for this question.
const REFUSALS_MAX: u8 = 2;

/// One step: the exchange, and what the step was given.
pub(super) struct Step<'s, 'm, R> {
    pub(super) exchange: &'s mut Exchange,
    pub(super) ask: &'s Ask<'s>,
    pub(super) now: Millis,
    pub(super) rng: &'s mut R,
    pub(super) out: &'s mut Outputs,
    /// The failing reply that came in with this step: kept only if the exchange goes on.
    pub(super) failing: Option<FailingReply<'m>>,
    pub(super) ending: Option<Ending<'m>>,
}

/// A failing reply, its id and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailingReply<'m> {
    reply: Failing<'m>,
    id: [u8; 2],
    target: TargetIndex,
}

impl<'m, R: CryptoRng> Step<'_, 'm, R> {
    /// Takes what happened.
    pub(super) fn run(mut self, input: Input<'m>) -> Option<Ending<'m>> {
        if self.exchange.has_ended {
            self.linger(input);
            return None;
        }
        match input {
            Input::Start if self.exchange.next_attempt == 0 => self.start(),
            Input::Message(attempt, octets) => self.message(attempt, octets),
            Input::Unreachable(attempt) => self.unreachable(attempt),
            Input::Unsent(attempt) => self.unsent(attempt),
            Input::Suspicious(attempt) => self.suspicious(attempt),
            Input::Tick if self.now >= self.exchange.deadline => self.expire(),
            Input::Tick if self.now >= self.exchange.next_at => {
                self.note_silence(self.exchange.current);
                self.ask_next();
            }
            Input::Start | Input::Tick => {}
        }
        self.keep_failing();
        self.ending
    }

    /// Asks the first target, and those that are to be asked beside it.
    fn start(&mut self) {
        if self.exchange.target_count == 0 {
            return self.end(Ending::Error(ExchangeError::NoTargets));
        }
        let mut probes = 0;
        for place in 1..self.exchange.target_count {
            let turn = self.progress(place).candidate.turn;
            if probes < PROBES_MAX && matches!(turn, Turn::Measured | Turn::Probe) {
                self.send(place, self.progress(place).with_edns);
                probes += 1;
            }
        }
        self.ask(0);
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What came in

    /// Takes a message that came in for an attempt.
    fn message(&mut self, attempt: AttemptId, octets: &'m [u8]) {
        let Some(listening) = self.listening(attempt) else { return };
        match self.judge(&listening, octets) {
            Verdict::Mismatch => self.mismatch(&listening),
            Verdict::Doubtful(doubt) => self.doubtful(&listening, doubt),
            Verdict::Malformed => self.malformed(&listening),
            Verdict::Reply(meaning, cookie) => {
                self.learn_from(&listening, &meaning, cookie);
                self.close(attempt);
                self.reply(&listening, meaning, cookie);
            }
        }
    }

    /// Takes the reply to the query of an attempt, which is closed.
    fn reply(&mut self, listening: &Listening, meaning: Meaning<'m>, cookie: ReplyCookie) {
        let is_stream = listening.attempt.channel == Channel::Stream;
        match meaning {
            Meaning::Good(message) => self.end(Ending::Reply { message, target: listening.attempt.target }),
            // A stream has room for everything: what is truncated there is broken.
            Meaning::Truncated if is_stream => self.bad_reply(listening, Event::Malformed),
            Meaning::Truncated => {
                self.count(Event::Truncated);
                self.ask_over_stream(listening);
            }
            Meaning::Failing { blames_edns: true, .. } if listening.with_edns => {
                self.count(Event::FailingRcode);
                self.ask_without_edns(listening);
            }
            Meaning::Failing { reply: Some(reply), .. } => self.failing_reply(listening, reply, Event::FailingRcode),
            Meaning::Failing { reply: None, .. } => self.bad_reply(listening, Event::FailingRcode),
            // Passed on it would look as if there were no such records.
            Meaning::Referral => {
                self.progress_mut(listening.place).has_failed = true;
                self.bad_reply(listening, Event::Referral);
            }
            Meaning::Unusable => {
                self.progress_mut(listening.place).has_failed = true;
                self.bad_reply(listening, Event::Malformed);
            }
            // Over a stream the target has no reason to doubt us.
            Meaning::BadCookie if is_stream => self.bad_reply(listening, Event::BadCookie),
            Meaning::BadCookie => {
                self.count(Event::BadCookie);
                let has_new = matches!(cookie, ReplyCookie::Given(server) if !server.is_none());
                let progress = self.progress_mut(listening.place);
                if has_new && !std::mem::replace(&mut progress.has_renewed_cookie, true) {
                    self.send_and_wait(listening.place, listening.with_edns);
                } else {
                    self.ask_over_stream(listening);
                }
            }
        }
    }

    /// Not the reply to this query: ignored, and the wait goes on (RFC 5452 section 9.1). Where it comes again and
    /// again somebody seems to be guessing, and a stream ends that.
    fn mismatch(&mut self, listening: &Listening) {
        self.count(Event::Mismatched);
        let attempt = listening.attempt.id;
        let mismatches = listening.mismatches.saturating_add(1);
        if let Some(listening) = self.exchange.listening_mut(attempt) {
            listening.mismatches = mismatches;
        }
        match listening.attempt.channel {
            Channel::Datagram if mismatches < MISMATCHES_MAX => {}
            Channel::Datagram => self.suspicious(attempt),
            // One query, one id on an orderly stream: nothing else can come under it.
            Channel::Stream => {
                self.close(attempt);
                self.progress_mut(listening.place).was_bad = true;
                self.go_on_after(attempt);
            }
        }
    }

    /// Perhaps the target's reply, perhaps a forger's: the stream will tell, and so may the true reply, which can still
    /// come.
    fn doubtful(&mut self, listening: &Listening, doubt: Doubt) {
        self.count(Event::Mismatched);
        if doubt == Doubt::Case {
            self.learn(listening.attempt.target, Observation::ChangedCase);
        }
        if self.progress(listening.place).channel == Channel::Datagram {
            self.count(Event::Suspicious);
            self.ask_over_stream(listening);
        }
    }

    /// Somebody seems to be guessing at the socket of an attempt: no more chances for them.
    fn suspicious(&mut self, attempt: AttemptId) {
        let Some(listening) = self.listening(attempt) else { return };
        if listening.attempt.channel == Channel::Datagram {
            self.count(Event::Suspicious);
            self.close(attempt);
            self.ask_over_stream(&listening);
        }
    }

    /// The reply to this query, but broken: a good one may still come, yet the next target is asked now. One strange
    /// reply neither ends the wait nor condemns the target.
    fn malformed(&mut self, listening: &Listening) {
        if listening.attempt.channel == Channel::Stream {
            self.close(listening.attempt.id);
        }
        self.bad_reply(listening, Event::Malformed);
    }

    /// The target gave something that cannot be passed on.
    fn bad_reply(&mut self, listening: &Listening, event: Event) {
        self.count(event);
        self.progress_mut(listening.place).was_bad = true;
        self.go_on_after(listening.attempt.id);
    }

    /// The target gave something that is passed on only if nothing better comes. The first one counts.
    fn failing_reply(&mut self, listening: &Listening, reply: Failing<'m>, event: Event) {
        self.count(event);
        self.failing = Some(FailingReply { reply, id: listening.id, target: listening.attempt.target });
        self.progress_mut(listening.place).has_failed = true;
        self.go_on_after(listening.attempt.id);
    }

    /// The target of an attempt cannot be reached.
    fn unreachable(&mut self, attempt: AttemptId) {
        let Some(listening) = self.listening(attempt) else { return };
        self.note_refusal(&listening);
        self.progress_mut(listening.place).only_unsent = false;
        self.close(attempt);
        self.refused(&listening);
    }

    /// An attempt could not be sent, for a reason of ours.
    fn unsent(&mut self, attempt: AttemptId) {
        let Some(listening) = self.listening(attempt) else { return };
        self.close(attempt);
        self.refused(&listening);
    }

    /// An attempt came to nothing; the target may get another.
    fn refused(&mut self, listening: &Listening) {
        let progress = self.progress_mut(listening.place);
        progress.refusals = progress.refusals.saturating_add(1);
        self.go_on_after(listening.attempt.id);
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Whom to ask

    /// Nothing more is to be expected of this attempt: if it is the one we wait for, ask the next target now.
    fn go_on_after(&mut self, attempt: AttemptId) {
        let all_settled = self.exchange.progress().iter().all(Progress::is_settled);
        if attempt == self.exchange.current || all_settled {
            self.ask_next();
        }
    }

    /// Asks the next target whose turn it is, or says when; ends the exchange when there is none.
    fn ask_next(&mut self) {
        let exchange = &mut *self.exchange;
        let count = exchange.target_count;
        let has_failing = exchange.kept.is_some() || self.failing.is_some();
        let is_worth_asking = |place: &u8| {
            let progress = &exchange.targets[usize::from(*place)];
            let was_given_its_chance = progress.asked > 0 && progress.candidate.turn.is_suspect();
            !(progress.is_settled() || has_failing && was_given_its_chance)
        };
        let next = (1..=count).map(|step| (exchange.last + step) % count).find(is_worth_asking);
        let Some(place) = next else { return self.give_up() };
        let wait_until = exchange.targets[usize::from(place)].wait_until;
        if wait_until > self.now {
            // Round again already, because the others refused at once: each target gets its time.
            exchange.next_at = wait_until;
        } else {
            self.ask(place);
        }
    }

    /// Gives a target its turn: from the socket that listens to it already, if there is one.
    fn ask(&mut self, place: u8) {
        let progress = self.progress_mut(place);
        progress.asked = progress.asked.saturating_add(1);
        let progress = *progress;
        if progress.channel == Channel::Stream {
            return self.send_and_wait(place, progress.with_edns);
        }
        let datagrams = self.exchange.attempts.iter().filter(|listening| {
            listening.is_open && listening.place == place && listening.attempt.channel == Channel::Datagram
        });
        // The one without EDNS serves where the other one had to make room for it.
        let datagram = datagrams.max_by_key(|listening| listening.with_edns == progress.with_edns);
        match datagram.copied() {
            // RFC 6891 section 6.2.2: some drop what they do not know. Known to answer EDNS, it is silent for another
            // reason.
            Some(listening) if listening.was_silent && progress.may_need_plain() => {
                self.progress_mut(place).has_tried_plain = true;
                self.send_and_wait(place, false);
            }
            Some(listening) => self.resend(&listening),
            None => self.send_and_wait(place, progress.with_edns),
        }
    }

    /// Asks the target of an attempt from now on over a stream, because a datagram is too small or not to be trusted.
    fn ask_over_stream(&mut self, listening: &Listening) {
        let progress = self.progress_mut(listening.place);
        // Two datagrams of ours may both be answered with TC.
        if std::mem::replace(&mut progress.channel, Channel::Stream) == Channel::Datagram {
            let with_edns = progress.with_edns;
            self.send_and_wait(listening.place, with_edns);
        } else {
            self.go_on_after(listening.attempt.id);
        }
    }

    /// Asks the target of an attempt from now on without EDNS: it may not know it (RFC 6891 section 6.2.2).
    fn ask_without_edns(&mut self, listening: &Listening) {
        let progress = self.progress_mut(listening.place);
        progress.has_tried_plain = true;
        if std::mem::replace(&mut progress.with_edns, false) {
            self.send_and_wait(listening.place, false);
        } else {
            self.go_on_after(listening.attempt.id);
        }
    }

    /// Sends the same query again from the same socket and waits anew. One id and port stay one chance for a forger.
    fn resend(&mut self, listening: &Listening) {
        if self.exchange.sendings >= ATTEMPTS_MAX as u8 {
            return self.send_no_more();
        }
        if let Some(listening) = self.exchange.listening_mut(listening.attempt.id) {
            listening.was_silent = false;
        }
        self.out.push(Output::Resend(listening.attempt));
        self.exchange.sendings += 1;
        self.wait_for(listening.attempt.id, listening.place);
    }

    /// Sends to a target and waits for it before the next one is asked.
    fn send_and_wait(&mut self, place: u8, with_edns: bool) {
        match self.send(place, with_edns) {
            Some(attempt) => self.wait_for(attempt, place),
            None => self.send_no_more(),
        }
    }

    /// Waits for this attempt before the next target is asked.
    fn wait_for(&mut self, attempt: AttemptId, place: u8) {
        self.exchange.current = attempt;
        self.exchange.last = place;
        let is_quick = self.exchange.was_anyone_silent && self.exchange.sendings < QUICK_SENDINGS_MAX;
        let progress = &mut self.exchange.targets[usize::from(place)];
        let mut wait_millis = progress.wait_millis();
        if is_quick && progress.channel == Channel::Datagram && !progress.candidate.is_away {
            wait_millis = wait_millis.min(RETRY_MILLIS_MAX);
        }
        progress.wait_until = self.now.plus(wait_millis);
        self.exchange.next_at = progress.wait_until;
    }

    /// Sends the query to a target as a new attempt. None where as many as may be have been sent.
    fn send(&mut self, place: u8, with_edns: bool) -> Option<AttemptId> {
        if self.exchange.sendings >= ATTEMPTS_MAX as u8 {
            return None;
        }
        let slot = self.free_slot(place);
        let progress = self.progress(place);
        let attempt = Attempt {
            id: AttemptId(self.exchange.next_attempt),
            target: progress.candidate.target,
            channel: progress.channel,
        };
        let is_random = self.exchange.options.case_randomization && attempt.channel == Channel::Datagram;
        self.exchange.attempts[slot] = Listening {
            attempt,
            place,
            is_open: true,
            id: [0; 2],
            with_edns,
            case: is_random.then(|| NameCase(self.rng.random())),
            first_sent_at: self.now,
            mismatches: 0,
            was_silent: false,
        };
        self.out.push(Output::Send(attempt));
        self.exchange.next_attempt += 1;
        self.exchange.sendings += 1;
        Some(attempt.id)
    }

    /// A place for one more attempt of the target at this place. If there is none, then another attempt of the same target
    /// or one of a target that has two is closed, the oldest of them all: there are places for one of each.
    fn free_slot(&mut self, place: u8) -> usize {
        let attempts = &self.exchange.attempts;
        if let Some(free) = attempts.iter().position(|listening| !listening.is_open) {
            return free;
        }
        let is_spare = |of: u8| of == place || attempts.iter().filter(|listening| listening.place == of).count() > 1;
        let oldest =
            (0..attempts.len()).min_by_key(|&slot| (!is_spare(attempts[slot].place), attempts[slot].attempt.id.0));
        let oldest = oldest.unwrap_or(0);
        self.close(attempts[oldest].attempt.id);
        oldest
    }

    /// As much as may be has been sent: what listens has time until the deadline.
    fn send_no_more(&mut self) {
        if self.exchange.attempts.iter().any(|listening| listening.is_open) {
            self.exchange.next_at = self.exchange.deadline;
        } else {
            self.give_up();
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // The end

    /// The time is over.
    fn expire(&mut self) {
        self.note_silence(self.exchange.current);
        self.give_up();
    }

    /// Ends with the failing reply, or with the error that says most.
    fn give_up(&mut self) {
        let targets = self.exchange.progress();
        let error = if targets.iter().any(|target| target.was_bad) {
            ExchangeError::BadReply
        } else if targets.iter().any(|target| target.refusals == 0) {
            ExchangeError::TimedOut
        } else if targets.iter().all(|target| target.only_unsent) {
            ExchangeError::TargetBusy
        } else {
            ExchangeError::Unreachable
        };
        let ending = match (self.exchange.kept.take(), self.failing.take()) {
            (Some((octets, target)), _) => Ending::Kept { octets, target },
            (None, Some(FailingReply { reply: Failing::Message(message), target, .. })) => {
                Ending::Reply { message, target }
            }
            (None, Some(FailingReply { reply: Failing::Bare(rcode), id, target })) => {
                Ending::Kept { octets: bare_reply(self.ask, id, rcode), target }
            }
            (None, None) => Ending::Error(error),
        };
        self.end(ending);
    }

    /// The exchange goes on: what was failing is kept, if it is the first. Not its records, which are for nobody: as many
    /// may be kept as questions are in flight, and outside every bound of octets.
    fn keep_failing(&mut self) {
        let Some(FailingReply { reply, id, target }) = self.failing.take() else { return };
        if self.ending.is_none() && self.exchange.kept.is_none() {
            let rcode = match reply {
                Failing::Message(message) => message.rcode(),
                Failing::Bare(rcode) => rcode,
            };
            self.exchange.kept = Some((bare_reply(self.ask, id, rcode), target));
        }
    }

    /// The end. Other targets that were asked are listened to for a moment more: they may be slower, but they live.
    fn end(&mut self, ending: Ending<'m>) {
        let by = match &ending {
            Ending::Reply { target, .. } | Ending::Kept { target, .. } => Some(*target),
            Ending::Error(_) => None,
        };
        self.exchange.has_ended = true;
        self.exchange.next_at = self.now.plus(LINGER_MILLIS);
        for listening in self.exchange.attempts {
            let teaches = Some(listening.attempt.target) != by && self.is_on_own_channel(&listening);
            let lingers = teaches && by.is_some() && self.now < self.exchange.deadline;
            if listening.is_open && !lingers {
                self.close(listening.attempt.id);
            }
        }
        self.ending = Some(ending);
    }

    /// Takes what happened after the end, only to learn from it.
    fn linger(&mut self, input: Input<'m>) {
        match input {
            Input::Message(attempt, octets) => {
                let Some(listening) = self.listening(attempt) else { return };
                match self.judge(&listening, octets) {
                    Verdict::Reply(meaning, cookie) => {
                        self.learn_from(&listening, &meaning, cookie);
                        self.close(attempt);
                    }
                    Verdict::Malformed => self.count(Event::Malformed),
                    Verdict::Mismatch | Verdict::Doubtful(_) => self.count(Event::Mismatched),
                }
            }
            Input::Unreachable(attempt) => {
                let Some(listening) = self.listening(attempt) else { return };
                self.note_refusal(&listening);
                self.close(attempt);
            }
            Input::Unsent(attempt) | Input::Suspicious(attempt) => self.close(attempt),
            Input::Tick if self.now >= self.exchange.next_at => {
                for listening in self.exchange.attempts.into_iter().filter(|listening| listening.is_open) {
                    self.note_silence(listening.attempt.id);
                    self.close(listening.attempt.id);
                }
            }
            Input::Start | Input::Tick => {}
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What is learned

    /// Takes note of what a reply shows about its target.
    fn learn_from(&mut self, listening: &Listening, meaning: &Meaning<'_>, cookie: ReplyCookie) {
        let progress = self.progress_mut(listening.place);
        let has_tried_plain = progress.has_tried_plain;
        let edns = match meaning {
            Meaning::Failing { blames_edns: true, .. } => EdnsSupport::Unknown,
            _ if listening.with_edns => EdnsSupport::Answers,
            Meaning::Failing { .. } | Meaning::BadCookie | Meaning::Unusable => EdnsSupport::Unknown,
            Meaning::Good(_) | Meaning::Truncated | Meaning::Referral if has_tried_plain => EdnsSupport::PlainOnly,
            Meaning::Good(_) | Meaning::Truncated | Meaning::Referral => EdnsSupport::Unknown,
        };
        let observation = match (cookie, &mut progress.candidate.cookie) {
            (ReplyCookie::Given(server), Some(known)) if !server.is_none() && server != known.server => {
                known.server = server;
                Some(Observation::GaveCookie(server))
            }
            (ReplyCookie::Absent, Some(Cookie { is_expected: true, .. }))
                if listening.attempt.channel == Channel::Stream =>
            {
                Some(Observation::StoppedCookies)
            }
            _ => None,
        };
        let answer = Answer {
            channel: listening.attempt.channel,
            millis: u32::try_from(self.now.since(listening.first_sent_at)).unwrap_or(u32::MAX),
            edns,
            kept_case: listening.case.is_some(),
            gave_cookie: matches!(cookie, ReplyCookie::Given(_)),
        };
        self.learn(listening.attempt.target, Observation::Answered(answer));
        if let Some(observation) = observation {
            self.learn(listening.attempt.target, observation);
        }
    }

    /// An attempt that we waited for was silent, if it still listens.
    fn note_silence(&mut self, attempt: AttemptId) {
        let Some(listening) = self.exchange.listening_mut(attempt) else { return };
        if std::mem::replace(&mut listening.was_silent, true) {
            return;
        }
        let listening = *listening;
        self.exchange.was_anyone_silent = true;
        self.count(Event::Silent);
        if self.is_on_own_channel(&listening) {
            self.learn(listening.attempt.target, Observation::SilentSince(listening.first_sent_at));
        }
    }

    /// The target of an attempt, or something before it, refuses us.
    fn note_refusal(&mut self, listening: &Listening) {
        self.count(Event::Unreachable);
        if self.is_on_own_channel(listening) {
            self.learn(listening.attempt.target, Observation::Unreachable);
        }
    }

    /// Whether an attempt goes over what its target is asked over first. A target of UDP whose TCP is shut lives.
    fn is_on_own_channel(&self, listening: &Listening) -> bool {
        listening.attempt.channel == self.progress(listening.place).candidate.channel
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Small things

    /// Judges a message that came in for an attempt.
    fn judge(&self, listening: &Listening, octets: &'m [u8]) -> Verdict<'m> {
        let progress = self.progress(listening.place);
        let expected = Expected {
            ask: self.ask,
            id: listening.id,
            channel: listening.attempt.channel,
            case: listening.case,
            cookie: progress.candidate.cookie.as_ref().filter(|_| listening.with_edns),
        };
        judge(octets, &expected)
    }

    /// An attempt, if it listens.
    fn listening(&self, attempt: AttemptId) -> Option<Listening> {
        self.exchange.attempts.iter().find(|listening| listening.is(attempt)).copied()
    }

    /// What is known of the target at this place.
    fn progress(&self, place: u8) -> &Progress {
        &self.exchange.targets[usize::from(place)]
    }

    /// The same, to be changed.
    fn progress_mut(&mut self, place: u8) -> &mut Progress {
        &mut self.exchange.targets[usize::from(place)]
    }

    /// Stops listening for an attempt.
    fn close(&mut self, attempt: AttemptId) {
        if let Some(listening) = self.exchange.listening_mut(attempt) {
            listening.is_open = false;
            let attempt = listening.attempt;
            self.out.push(Output::Close(attempt));
        }
    }

    /// Something was learned about a target.
    fn learn(&mut self, target: TargetIndex, observation: Observation) {
        self.out.push(Output::Learned(target, observation));
    }

    /// Something worth counting happened.
    fn count(&mut self, event: Event) {
        self.out.push(Output::Counted(event));
    }
}

impl Exchange {
    /// What is known of its targets.
    fn progress(&self) -> &[Progress] {
        &self.targets[..usize::from(self.target_count)]
    }
}

impl Progress {
    /// Whether asking it again is of no use.
    fn is_settled(&self) -> bool {
        self.has_failed || self.refusals >= REFUSALS_MAX
    }

    /// Whether its silence may be due to EDNS, and that has not been tried.
    fn may_need_plain(&self) -> bool {
        self.with_edns && self.candidate.edns == EdnsSupport::Unknown && !self.has_tried_plain
    }

    /// How long to wait for it after it was sent something: longer each time round, so that slow names are not
    /// asked faster and faster.
    fn wait_millis(&self) -> u64 {
        let patience = if self.channel == self.candidate.channel {
            u64::from(self.candidate.patience_millis)
        } else {
            STREAM_PATIENCE_MILLIS
        };
        (patience << self.asked.saturating_sub(1).min(8)).min(EXCHANGE_MILLIS_MAX)
    }
}

impl Turn {
    /// Whether the target was silent or unreachable, and nothing was heard of it since.
    fn is_suspect(self) -> bool {
        matches!(self, Self::Suspect | Self::Probe)
    }
}
