//! One target: its connections, and the questions that wait for a place on one.
//!
//! ```text
//! ask ─┬─ a connection with room ──> its task ──> reply
//!      ├─ none, fewer than two ────> a new connection (the question waits there while it is established)
//!      ├─ both full ───────────────> the queue, until a place is free
//!      └─ the queue is full ───────> Busy
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Duration, Instant};

use super::question::{Question, Reply};
use super::{
    CONNECTIONS_MAX, CONNECTIONS_PER_TARGET, Equipment, HOLD_OFF_MILLIS, PIPELINED_MAX, SECOND_CONNECTION_AT,
    SHORT_LIVED_MILLIS, SHORT_LIVED_MIN, SHORT_LIVED_REPLIES_MAX, STREAM_QUEUE_MAX, StreamFailure, connection,
};
use crate::dns::Target;

/// One target and what is open to it.
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) equipment: Arc<Equipment>,
    state: Mutex<State>,
}

/// What changes from question to question.
#[derive(Debug, Default)]
struct State {
    /// Connections that take questions, at most [`CONNECTIONS_PER_TARGET`].
    links: Vec<Link>,
    /// At most [`STREAM_QUEUE_MAX`], and only while there are links: theirs are the turns at which it moves.
    waiting: VecDeque<Question>,
    /// The number of the next connection.
    next_number: u64,
    /// Until when no connection is tried, because the last one failed like this.
    held_off: Option<(Instant, StreamFailure)>,
    /// Until when no connection is tried beside one that is there: some peers let us have one only.
    further_held_off_until: Option<Instant>,
    /// Short-lived connections in a row.
    short_lived: usize,
    /// Until when a connection is given so many questions in all, because those before answered no more.
    questions_each: Option<(Instant, usize)>,
}

/// A connection as its line sees it.
#[derive(Debug)]
struct Link {
    number: u64,
    questions: UnboundedSender<Question>,
    /// Questions that it was given and has not ended, at most [`PIPELINED_MAX`].
    in_flight: usize,
    /// Questions that it was given.
    given: usize,
    /// Whether it is established.
    is_open: bool,
}

/// A connection as its task sees it. Dropped, it is gone from its line.
// Invariant: a link with this number sends into `questions`, or nobody does.
pub(super) struct Connection {
    line: Arc<Line>,
    number: u64,
    questions: UnboundedReceiver<Question>,
    /// Questions that it answered.
    answered: usize,
    /// It was found to be short-lived.
    is_short_lived: bool,
    _permit: OwnedSemaphorePermit,
}

/// What is to be done once the lock is released: both may end in code that takes it again.
#[derive(Default)]
struct Effects {
    new_connections: Vec<Connection>,
    failed: Vec<(Question, StreamFailure)>,
}

impl Line {
    /// A line without connections.
    pub(super) fn new(target: Target, equipment: Arc<Equipment>) -> Arc<Self> {
        Arc::new(Self { target, equipment, state: Mutex::default() })
    }

    /// Asks as soon as there is a place for the question; its time begins.
    pub(super) fn ask(self: &Arc<Self>, query: Vec<u8>, reply: Reply) {
        let question = Question::new(query, Instant::now() + self.equipment.times.question, reply);
        self.with(|state, effects| self.place(state, question, effects));
    }

    /// Whether nothing is open and nobody waits.
    pub(super) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.links.is_empty() && state.waiting.is_empty()
    }

    /// Changes the state, and then does what follows from it.
    fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let value = change(&mut self.lock(), &mut effects);
        for connection in effects.new_connections {
            self.equipment.handle.spawn(connection::drive(connection));
        }
        for (question, failure) in effects.failed {
            match failure {
                StreamFailure::Busy => self.equipment.counters.busy.add(),
                StreamFailure::TimedOut => self.equipment.counters.timed_out.add(),
                _ => {}
            }
            question.fail(failure);
        }
        value
    }

    /// The state; nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a question to a connection, or lets it wait, or fails it.
    fn place(self: &Arc<Self>, state: &mut State, mut question: Question, effects: &mut Effects) {
        if let Some(index) = self.choose(state, question.fresh_from, effects) {
            self.send(&mut state.links[index], question, effects);
        } else if state.links.is_empty() {
            effects.failed.push((question, state.why_not()));
        } else if state.waiting.len() < STREAM_QUEUE_MAX {
            question.fresh_from = None;
            state.waiting.push_back(question);
        } else {
            effects.failed.push((question, StreamFailure::Busy));
        }
    }

    /// The connection for a question: an established one with room rather than one that may yet fail. A second one is
    /// opened before the first is full, so that nobody waits for it.
    fn choose(self: &Arc<Self>, state: &mut State, fresh_from: Option<u64>, effects: &mut Effects) -> Option<usize> {
        let fresh_from = fresh_from.unwrap_or(0);
        let questions_each = state.questions_each();
        let best = state
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.in_flight < PIPELINED_MAX && (link.number >= fresh_from || !link.is_open))
            .filter(|(_, link)| !link.has_had(questions_each))
            .min_by_key(|(_, link)| (!link.is_open, link.in_flight))
            .map(|(index, _)| index);
        match best {
            Some(index) => {
                if state.links[index].in_flight >= SECOND_CONNECTION_AT {
                    self.open(state, effects);
                }
                Some(index)
            }
            None => self.open(state, effects),
        }
    }

    /// Opens one more connection, if there may be one.
    fn open(self: &Arc<Self>, state: &mut State, effects: &mut Effects) -> Option<usize> {
        let now = Instant::now();
        let is_held_off = match (state.links.len(), &state.held_off) {
            (CONNECTIONS_PER_TARGET.., _) => true,
            (0, Some((until, _))) => now < *until,
            (0, None) => false,
            _ => state.further_held_off_until.is_some_and(|until| now < until),
        };
        if is_held_off {
            return None;
        }
        let permit = Arc::clone(&self.equipment.connections).try_acquire_owned().ok()?;
        let (sender, questions) = mpsc::unbounded_channel();
        let number = state.next_number;
        state.next_number += 1;
        state.links.push(Link { number, questions: sender, in_flight: 0, given: 0, is_open: false });
        effects.new_connections.push(Connection {
            line: Arc::clone(self),
            number,
            questions,
            answered: 0,
            is_short_lived: false,
            _permit: permit,
        });
        Some(state.links.len() - 1)
    }

    /// Hands a question to the task of a connection.
    fn send(&self, link: &mut Link, question: Question, effects: &mut Effects) {
        if link.is_open {
            self.equipment.counters.reused.add();
        }
        link.in_flight += 1;
        link.given += 1;
        if let Err(refused) = link.questions.send(question) {
            // Cannot be, by the invariant of `Connection`; a question is nevertheless answered.
            effects.failed.push((refused.0, StreamFailure::Abandoned));
        }
    }

    /// Gives the places that are free to the questions that wait.
    fn move_on(self: &Arc<Self>, state: &mut State, effects: &mut Effects) {
        while let Some(question) = state.waiting.front() {
            if question.deadline <= Instant::now() {
                let expired = state.waiting.pop_front().map(|question| (question, StreamFailure::TimedOut));
                effects.failed.extend(expired);
            } else if let Some(index) = self.choose(state, None, effects) {
                let Some(question) = state.waiting.pop_front() else { return };
                self.send(&mut state.links[index], question, effects);
            } else if state.links.is_empty() {
                let failure = state.why_not();
                effects.failed.extend(state.waiting.drain(..).map(|question| (question, failure.clone())));
            } else {
                return;
            }
        }
    }
}

impl State {
    /// How many questions a connection is given in all, for now.
    fn questions_each(&self) -> usize {
        let of_now = self.questions_each.filter(|(until, _)| Instant::now() < *until);
        of_now.map_or(usize::MAX, |(_, questions)| questions)
    }

    /// A connection was closed after so many replies, while more were waited for.
    fn note_short_lived(&mut self, answered: usize) {
        self.short_lived += 1;
        if self.short_lived >= SHORT_LIVED_MIN {
            self.questions_each = Some((Instant::now() + Duration::from_millis(SHORT_LIVED_MILLIS), answered));
        }
    }

    /// Why there is no connection and none is tried.
    fn why_not(&self) -> StreamFailure {
        match &self.held_off {
            Some((until, failure)) if Instant::now() < *until => failure.clone(),
            // Too many are open in all.
            _ => StreamFailure::Busy,
        }
    }
}

impl Link {
    /// Whether it was given as many questions as each is. One that answered more has shown that it can.
    fn has_had(&self, questions_each: usize) -> bool {
        self.given >= questions_each && self.given - self.in_flight <= questions_each
    }
}

impl Connection {
    /// The target at its other end.
    pub(super) fn target(&self) -> &Target {
        &self.line.target
    }

    /// What the process has for asking over streams.
    pub(super) fn equipment(&self) -> &Arc<Equipment> {
        &self.line.equipment
    }

    /// The next question to ask on it; none once it is retired and has been given all.
    pub(super) async fn next_question(&mut self) -> Option<Question> {
        self.questions.recv().await
    }

    /// The same without waiting.
    pub(super) fn next_question_now(&mut self) -> Option<Question> {
        self.questions.try_recv().ok()
    }

    /// It is established.
    pub(super) fn opened(&self) {
        self.equipment().counters.opened.add();
        if let Some(link) = self.line.lock().links.iter_mut().find(|link| link.number == self.number) {
            link.is_open = true;
        }
    }

    /// It could not be established; these questions wait for it.
    pub(super) fn failed(mut self, failure: StreamFailure, questions: Vec<Question>) {
        let counters = &self.equipment().counters;
        counters.failed.add();
        if matches!(failure, StreamFailure::Certificate(_)) {
            counters.certificates.add();
        }
        let line = Arc::clone(&self.line);
        line.with(|state, effects| {
            self.leave(state);
            if state.links.is_empty() {
                state.held_off = Some((held_off_until(), failure));
            } else {
                state.further_held_off_until = Some(held_off_until());
            }
            for question in questions.into_iter().chain(self.given()) {
                line.place(state, question, effects);
            }
            line.move_on(state, effects);
        });
    }

    /// So many of its questions have ended.
    pub(super) fn freed(&self, count: usize) {
        if count == 0 {
            return;
        }
        self.line.with(|state, effects| {
            if let Some(link) = state.links.iter_mut().find(|link| link.number == self.number) {
                link.in_flight -= count;
            }
            // One that was given all that it is to have makes room for the next.
            let questions_each = state.questions_each();
            let has_had = |link: &Link| link.in_flight == 0 && link.has_had(questions_each);
            state.links.retain(|link| link.number != self.number || !has_had(link));
            self.line.move_on(state, effects);
        });
    }

    /// It gets no more questions than it was given already.
    pub(super) fn retire(&self) {
        self.line.with(|state, effects| {
            self.leave(state);
            self.line.move_on(state, effects);
        });
    }

    /// Retires it if it has no question to ask or to wait for; whether that is so.
    pub(super) fn retire_if_idle(&self) -> bool {
        let mut state = self.line.lock();
        let is_idle = state.links.iter().all(|link| link.number != self.number || link.in_flight == 0);
        if is_idle {
            self.leave(&mut state);
        }
        is_idle
    }

    /// It gave a reply.
    pub(super) fn note_answer(&mut self) {
        self.answered += 1;
    }

    /// It was closed before these questions were answered: they are asked once more, on a connection that is fresh
    /// (RFC 7766 section 6.2.4), unless they were already; and again for as long as each connection brings some replies.
    pub(super) fn lost(&mut self, questions: Vec<Question>) {
        let line = Arc::clone(&self.line);
        line.with(|state, effects| {
            self.leave(state);
            let fresh_from = state.next_number;
            // A second one that never gave a reply: the peer lets us have one only, and that one is as good as it was.
            let is_one_too_many = self.answered == 0 && state.links.iter().any(|link| link.is_open);
            if is_one_too_many {
                state.further_held_off_until = Some(held_off_until());
            }
            let questions: Vec<_> = questions.into_iter().chain(self.given()).collect();
            let is_short_lived = !questions.is_empty() && (1..=SHORT_LIVED_REPLIES_MAX).contains(&self.answered);
            if is_short_lived && !std::mem::replace(&mut self.is_short_lived, true) {
                state.note_short_lived(self.answered);
            }
            for mut question in questions {
                if is_one_too_many {
                    line.place(state, question, effects);
                } else if question.deadline <= Instant::now() {
                    effects.failed.push((question, StreamFailure::TimedOut));
                } else if question.fresh_from.is_some() && self.answered == 0 {
                    effects.failed.push((question, StreamFailure::Unreachable));
                } else {
                    line.equipment.counters.asked_again.add();
                    question.fresh_from = Some(fresh_from);
                    line.place(state, question, effects);
                }
            }
            line.move_on(state, effects);
        });
    }

    /// How long it may be idle where the peer does not say: shorter when connections are becoming few.
    pub(super) fn idle_limit(&self) -> Duration {
        let is_scarce = self.equipment().connections.available_permits() < CONNECTIONS_MAX / 4;
        if is_scarce { self.equipment().times.idle_scarce } else { self.equipment().times.idle }
    }

    /// Takes it off its line.
    fn leave(&self, state: &mut State) {
        state.links.retain(|link| link.number != self.number);
        if self.answered > SHORT_LIVED_REPLIES_MAX {
            state.short_lived = 0;
        }
    }

    /// The questions that it was given and has not looked at.
    fn given(&mut self) -> Vec<Question> {
        std::iter::from_fn(|| self.questions.try_recv().ok()).collect()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let line = Arc::clone(&self.line);
        line.with(|state, effects| {
            self.leave(state);
            line.move_on(state, effects);
        });
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.target)
    }
}

/// Until when no connection is tried after one that failed now.
fn held_off_until() -> Instant {
    Instant::now() + Duration::from_millis(HOLD_OFF_MILLIS)
}
