//! What those who answer have to say to the query log and to dnstap, on its way to the thread that writes them: a bounded
//! buffer for each UDP worker and each lane, and one for all streams.
//!
//! ```text
//! worker ── a batch's records ──> Staged (its own) ── one lock a batch ──> LogBuffer ── swap ──> writer, every 50 ms
//! ```
//! A worker copies octets and nothing else: what a line says is worked out by the writer, from the reply and the snapshot
//! that it was made of. A worker waits for nobody but a writer that holds the buffer at that moment, which is as long as
//! two pointers take to change places: records that were left for the next batch instead would wait for the next query,
//! which may never come. Where the buffer is full, because the disk is slow or gone, they are lost and counted. The writer
//! is never woken, it looks: a wake-up would be a system call of the worker's.

mod record;

pub use record::Record;

use super::counters::ReplySource;
use super::handle::{Reply, Source};
use super::refusal::Refusal;
use crate::dns::Rcode;
use crate::snapshot::Logs;
use crate::snapshot::publish::{Generation, Published};
use crate::udp::sys::{BATCH, QUERY_OCTETS, REPLY_OCTETS};
use arc_swap::ArcSwap;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use record::HEAD_OCTETS;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Snapshots that the records of one buffer may be of; records of one more are lost. A writer that is stuck must not keep
/// every snapshot of an operator who edits on.
pub const SNAPSHOTS_MAX: usize = 8;
/// What a worker can stage: a batch of the longest queries and replies.
const STAGED_OCTETS: usize = BATCH * (HEAD_OCTETS + QUERY_OCTETS + REPLY_OCTETS);

/// Which queries a log has, as far as that is decided before anything is copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// How many of those that the rest lets through, from 0 to 1.
    pub sample_rate: f64,
    /// A bit for each [`ReplySource`].
    pub sources: u32,
    /// A bit for each rcode, the last one for all from there on.
    pub rcodes: u32,
}

impl Selection {
    /// Everything.
    pub const ALL: Self = Self { sample_rate: 1.0, sources: u32::MAX, rcodes: u32::MAX };

    /// The bits of these sources; all where there are none.
    pub fn bits_of_sources(sources: impl IntoIterator<Item = ReplySource>) -> u32 {
        bits(sources.into_iter().map(|source| source as u32))
    }

    /// The bits of these rcodes; all where there are none.
    pub fn bits_of_rcodes(rcodes: impl IntoIterator<Item = Rcode>) -> u32 {
        bits(rcodes.into_iter().map(|rcode| rcode.0.into()))
    }

    #[inline]
    fn has(&self, noted: Noted) -> bool {
        self.sources >> noted.source & 1 != 0 && self.rcodes >> noted.rcode.min(31) & 1 != 0
    }

    /// How many are passed over before the next one that is taken: as if each were taken by chance, with one random
    /// number for each that is. A count that is the same each time would take one client's every query, and another's
    /// none.
    fn gap(&self, random: &mut SmallRng) -> u64 {
        if self.sample_rate <= 0.0 {
            return u64::MAX;
        }
        let chance: f64 = random.random();
        // From a float, this saturates.
        ((1.0 - chance).ln() / (1.0 - self.sample_rate).ln()) as u64
    }
}

/// Numbers below 32 as bits; all where there are none.
fn bits(numbers: impl Iterator<Item = u32>) -> u32 {
    match numbers.fold(0, |bits, number| bits | 1 << number.min(31)) {
        0 => u32::MAX,
        bits => bits,
    }
}

/// Which queries each log has; none: it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Selections {
    /// Those of each log, in the order of [`Logs::EACH`].
    pub of_logs: [Option<Selection>; Logs::COUNT],
    /// Whether the octets of queries are wanted, and not only those of replies.
    pub wants_queries: bool,
}

/// What is remembered of a reply until its batch is logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    /// Its octets; 0: there is none.
    pub octets: u16,
    rcode: u16,
    source: u8,
    refusal: u8,
}

/// What [`Noted`] has where nothing was refused.
const NOT_REFUSED: u8 = u8::MAX;

impl Noted {
    /// A reply from this source.
    #[inline]
    pub fn new(reply: &Reply, source: ReplySource) -> Self {
        let refusal = match reply.source {
            Source::Refused(refusal) => refusal as u8,
            Source::Zone(_) | Source::Forward | Source::Ourselves | Source::Malformed => NOT_REFUSED,
        };
        Self { octets: reply.octets as u16, rcode: reply.rcode.0, source: source as u8, refusal }
    }

    /// Where the reply came from.
    pub fn source(self) -> ReplySource {
        ReplySource::NAMED[usize::from(self.source)].0
    }

    /// Its rcode, of which a header has only the low bits.
    pub fn rcode(self) -> Rcode {
        Rcode(self.rcode)
    }

    /// Why it refuses, if it does.
    pub fn refusal(self) -> Option<Refusal> {
        Refusal::NAMED.get(usize::from(self.refusal)).map(|(refusal, _)| *refusal)
    }
}

/// Where all that is logged goes through.
pub struct QueryLog {
    /// The number of the selections, twice; one more while anything is logged.
    state: AtomicU64,
    selections: ArcSwap<Selections>,
    buffers: Box<[LogBuffer]>,
    /// Held while the buffers get their room, or lose it.
    turning: Mutex<()>,
}

impl QueryLog {
    /// Nothing is logged yet; that many threads may, and all streams together.
    pub fn new(threads: usize) -> Self {
        Self {
            state: AtomicU64::new(0),
            selections: ArcSwap::from_pointee(Selections::default()),
            buffers: (0..=threads).map(|_| LogBuffer::default()).collect(),
            turning: Mutex::default(),
        }
    }

    /// Whether anything is logged.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.state.load(Ordering::Relaxed) & 1 != 0
    }

    /// Logs this from each thread's next batch on. What waits for the writer takes so many octets at most, over all
    /// threads, with as many as one thread's while the writer is at work; more only where a batch needs it.
    pub fn start(&self, selections: Selections, octets_max: usize) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let each = self.octets_each(octets_max);
        for buffer in &self.buffers {
            if buffer.lock().octets.capacity() < each {
                // Made before the lock is taken: who answers may want it.
                let room = Pending::with_room(each);
                buffer.lock().move_to(room);
            }
        }
        self.selections.store(Arc::new(selections));
        self.turn(1);
    }

    /// Logs nothing from each thread's next batch on.
    pub fn stop(&self) {
        self.turn(0);
    }

    /// Lets go of the memory of the buffers, and of what is in them, unless something is logged again.
    pub fn free(&self) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        for buffer in self.buffers.iter().filter(|_| !self.is_on()) {
            // What it held goes when the lock is given back.
            let held = std::mem::take(&mut *buffer.lock());
            drop(held);
        }
    }

    fn turn(&self, on: u64) {
        let number = self.state.load(Ordering::Relaxed) >> 1;
        self.state.store(((number + 1) << 1) | on, Ordering::Release);
    }

    /// Octets that one buffer holds where all hold so many: as many again are the writer's. One that could not take a
    /// whole batch would lose every one, so it holds that in any case.
    pub fn octets_each(&self, octets_max: usize) -> usize {
        (octets_max / (self.buffers.len() + 1)).max(STAGED_OCTETS)
    }

    /// How many buffers there are.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Takes what a buffer holds, for the writer; what `into` held is gone, its room is used on.
    pub fn take(&self, buffer: usize, into: &mut Pending) {
        into.clear();
        std::mem::swap(&mut *self.buffers[buffer].lock(), into);
    }

    /// Records that were lost because their buffer was full.
    pub fn lost(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.lost.load(Ordering::Relaxed)).sum()
    }

    /// Logs a reply of a stream. Streams share a buffer, and wait for each other as long as one record is copied.
    pub fn log_stream(&self, published: &Arc<Published>, noted: Noted, record: Record<'_>) {
        let selections = self.selections.load();
        let among = published.snapshot.logs(record.view);
        let takes = |selection: &Selection| {
            selection.has(noted) && (selection.sample_rate >= 1.0 || rand::random::<f64>() < selection.sample_rate)
        };
        let wanted = wanted(&selections, among, |_, selection| takes(selection));
        if wanted.is_none() {
            return;
        }
        let query =
            if selections.wants_queries || noted.source() == ReplySource::Malformed { record.query } else { &[] };
        let record = Record { wanted_by: wanted, query, ..record };
        let Some(buffer) = self.buffers.last() else { return };
        let mut pending = buffer.lock();
        let room = pending.octets.capacity() - pending.octets.len();
        if record.octets() > room || !pending.begin(published) {
            buffer.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        record.write(&mut pending.octets, published.generation);
    }
}

/// Those of some logs that want a query, as `takes` says of each.
#[inline]
fn wanted(selections: &Selections, among: Logs, mut takes: impl FnMut(usize, &Selection) -> bool) -> Logs {
    let mut wanted = Logs::NONE;
    for (index, (log, selection)) in Logs::EACH.into_iter().zip(&selections.of_logs).enumerate() {
        if let Some(selection) = selection
            && among.has(log)
            && takes(index, selection)
        {
            wanted = wanted.with(log);
        }
    }
    wanted
}

/// Records of one thread, or of all streams, that the writer has not taken yet.
#[derive(Default)]
struct LogBuffer {
    pending: Mutex<Pending>,
    lost: AtomicU64,
}

/// Records by the snapshots that they are of. Its room is made when the log is turned on, and is all there is.
#[derive(Default)]
pub struct Pending {
    octets: Vec<u8>,
    /// Each once, and each with a tag of its own: after a reload, threads go over to the new one at different times, so
    /// that records of two take turns.
    of_snapshots: Vec<Arc<Published>>,
}

impl Pending {
    /// None, with room for so many octets.
    pub fn with_room(octets: usize) -> Self {
        Self { octets: Vec::with_capacity(octets), of_snapshots: Vec::with_capacity(SNAPSHOTS_MAX) }
    }

    /// How many octets of records there are.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// Each record with the snapshot that it is of, in the order in which they were staged.
    pub fn records(&self) -> impl Iterator<Item = (&Arc<Published>, Record<'_>)> {
        Record::read_all(&self.octets).filter_map(|(tag, record)| {
            let published = self.of_snapshots.iter().find(|published| record::tag(published.generation) == tag)?;
            Some((published, record))
        })
    }

    /// Octets that it has room for in all.
    pub fn room(&self) -> usize {
        self.octets.capacity()
    }

    /// Lets go of what is in it, and not of its room.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.of_snapshots.clear();
    }

    /// Goes over to the room of another one, which is empty and has more.
    fn move_to(&mut self, mut room: Self) {
        room.octets.extend_from_slice(&self.octets);
        room.of_snapshots.append(&mut self.of_snapshots);
        *self = room;
    }

    /// Records of this snapshot follow; false where there are too many others, or one whose records look the same.
    fn begin(&mut self, published: &Arc<Published>) -> bool {
        let tag = record::tag(published.generation);
        if let Some(of_tag) = self.of_snapshots.iter().find(|other| record::tag(other.generation) == tag) {
            return of_tag.generation == published.generation;
        }
        let has_room = self.of_snapshots.len() < SNAPSHOTS_MAX.min(self.of_snapshots.capacity());
        if has_room {
            self.of_snapshots.push(Arc::clone(published));
        }
        has_room
    }
}

impl LogBuffer {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        // Only whole records are ever put in.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what a thread has staged: all or nothing.
    fn hand_over(&self, staged: &mut Staged, published: &Arc<Published>) {
        if staged.octets.is_empty() {
            return;
        }
        let mut pending = self.lock();
        let room = pending.octets.capacity() - pending.octets.len();
        if staged.octets.len() > room || !pending.begin(published) {
            drop(pending);
            return self.lose(staged);
        }
        pending.octets.extend_from_slice(&staged.octets);
        staged.octets.clear();
        staged.records = 0;
    }

    fn lose(&self, staged: &mut Staged) {
        self.lost.fetch_add(staged.records, Ordering::Relaxed);
        staged.octets.clear();
        staged.records = 0;
    }
}

/// Records of a thread that it has not handed over yet.
#[derive(Default)]
struct Staged {
    octets: Vec<u8>,
    records: u64,
    generation: Option<Generation>,
}

/// What one thread that answers logs with.
pub struct Logger {
    buffer: usize,
    /// The state of the [`QueryLog`] that is taken up.
    state: u64,
    selections: Selections,
    /// How many each log passes over before the next one that it takes.
    gaps: [u64; Logs::COUNT],
    random: SmallRng,
    staged: Staged,
}

impl Logger {
    /// That of the thread with this number.
    pub fn new(thread: usize) -> Self {
        Self {
            buffer: thread,
            state: 0,
            selections: Selections::default(),
            gaps: [0; Logs::COUNT],
            random: SmallRng::from_os_rng(),
            staged: Staged::default(),
        }
    }

    /// Takes up what is to be logged, where that has changed, and says which replies of which snapshot follow.
    #[inline]
    pub fn begin(&mut self, log: &QueryLog, generation: Generation) {
        let state = log.state.load(Ordering::Acquire);
        if state != self.state {
            self.take_up(log, state);
        }
        if self.staged.generation != Some(generation) {
            // A batch that panicked has left something; it has no snapshot any more.
            log.buffers[self.buffer].lose(&mut self.staged);
            self.staged.generation = Some(generation);
        }
    }

    #[cold]
    fn take_up(&mut self, log: &QueryLog, state: u64) {
        self.state = state;
        self.selections = **log.selections.load();
        self.staged.octets.reserve_exact(STAGED_OCTETS.saturating_sub(self.staged.octets.len()));
        for (gap, selection) in self.gaps.iter_mut().zip(&self.selections.of_logs) {
            *gap = selection.map_or(0, |selection| selection.gap(&mut self.random));
        }
    }

    /// Which of some logs want a reply.
    #[inline]
    pub fn wanted(&mut self, among: Logs, noted: Noted) -> Logs {
        let Self { selections, gaps, random, .. } = self;
        wanted(selections, among, |log, selection| {
            if !selection.has(noted) {
                return false;
            }
            if selection.sample_rate >= 1.0 {
                return true;
            }
            let gap = &mut gaps[log];
            let is_taken = *gap == 0;
            *gap = if is_taken { selection.gap(random) } else { *gap - 1 };
            is_taken
        })
    }

    /// Stages a record of the snapshot that was begun with; its query is left out where nobody wants it.
    #[inline]
    pub fn push(&mut self, log: &QueryLog, record: Record<'_>) {
        let is_query_wanted = self.selections.wants_queries || record.noted.source() == ReplySource::Malformed;
        let record = if is_query_wanted { record } else { Record { query: &[], ..record } };
        if record.octets() > self.staged.octets.capacity() - self.staged.octets.len() {
            log.buffers[self.buffer].lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(generation) = self.staged.generation else { return };
        record.write(&mut self.staged.octets, generation);
        self.staged.records += 1;
    }

    /// Hands over what is staged, which is of this snapshot.
    #[inline]
    pub fn hand_over(&mut self, log: &QueryLog, published: &Arc<Published>) {
        log.buffers[self.buffer].hand_over(&mut self.staged, published);
    }
}

#[cfg(test)]
mod tests;
