//! What a worker has to say to the query log, on its way to the thread that writes it: a bounded buffer for each worker.
//!
//! ```text
//! worker ── a batch's records ──> Staged (its own) ── one try_lock a batch ──> LogBuffer ── swap ──> writer, every 50 ms
//! ```
//! A worker copies octets and nothing else: what a line says is worked out by the writer. It never waits: where the
//! writer holds the buffer at that moment, which is as long as two pointers take to change places, its records stay
//! staged for the next batch; where the buffer is full, because the disk is slow or gone, they are lost and counted. The
//! writer is never woken, it looks: a wake-up would be a system call of the worker's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

/// Records of a worker that it has not handed over yet.
#[derive(Debug, Default)]
pub struct Staged {
    octets: Vec<u8>,
    records: u64,
}

/// Records of one worker that the writer has not taken yet.
#[derive(Debug)]
pub struct LogBuffer {
    pending: Mutex<Vec<u8>>,
    octets_max: usize,
    lost: AtomicU64,
}

/// Octets before a record: its length.
const LENGTH_OCTETS: usize = 4;

impl Staged {
    /// Adds a record, which is these parts behind each other.
    pub fn push(&mut self, parts: &[&[u8]]) {
        let octets: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(octets).expect("a message and what is known of it are far below 4 GiB");
        self.octets.extend_from_slice(&length.to_le_bytes());
        for part in parts {
            self.octets.extend_from_slice(part);
        }
        self.records += 1;
    }
}

impl LogBuffer {
    /// An empty buffer that holds so many octets at most, and as many again while the writer is at work on what it took.
    pub fn new(octets_max: usize) -> Self {
        Self { pending: Mutex::default(), octets_max, lost: AtomicU64::new(0) }
    }

    /// Hands over what a worker has staged: all or nothing. Never waits.
    pub fn hand_over(&self, staged: &mut Staged) {
        let Staged { octets, records } = staged;
        if octets.is_empty() {
            return;
        }
        let mut pending = match self.pending.try_lock() {
            Ok(pending) => pending,
            // Only whole records are ever put in.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if octets.len() <= self.octets_max => return,
            Err(TryLockError::WouldBlock) => return self.lose(staged),
        };
        if pending.len() + octets.len() > self.octets_max {
            drop(pending);
            return self.lose(staged);
        }
        if pending.is_empty() {
            std::mem::swap(&mut *pending, octets);
        } else {
            pending.append(octets);
        }
        *records = 0;
    }

    fn lose(&self, staged: &mut Staged) {
        self.lost.fetch_add(staged.records, Ordering::Relaxed);
        staged.octets.clear();
        staged.records = 0;
    }

    /// Takes what has been handed over, for the writer; what `into` held is gone, its room is used on.
    pub fn take(&self, into: &mut Vec<u8>) {
        into.clear();
        std::mem::swap(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner), into);
    }

    /// Records that were lost because the buffer was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The records in what [`LogBuffer::take`] took, in the order in which they were staged.
pub fn records(mut taken: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = taken.split_first_chunk::<LENGTH_OCTETS>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        taken = rest;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn records_come_out_whole_and_in_order_and_what_does_not_fit_is_counted() {
        let (buffer, mut staged, mut taken) = (LogBuffer::new(30), Staged::default(), Vec::new());
        staged.push(&[b"first", b" record"]);
        buffer.hand_over(&mut staged);
        staged.push(&[b"second"]);
        buffer.hand_over(&mut staged);
        // 15 and 10 octets are in it.
        staged.push(&[b"3"]);
        staged.push(&[b"4"]);
        buffer.hand_over(&mut staged);
        assert_eq!((buffer.lost(), staged.octets.len(), staged.records), (2, 0, 0));
        buffer.take(&mut taken);
        assert_eq!(records(&taken).collect::<Vec<_>>(), [&b"first record"[..], b"second"]);
        staged.push(&[b""]);
        buffer.hand_over(&mut staged);
        buffer.take(&mut taken);
        assert_eq!(records(&taken).collect::<Vec<_>>(), [b""]);
        buffer.take(&mut taken);
        assert_eq!((records(&taken).count(), buffer.lost()), (0, 2));
    }

    #[test]
    fn a_worker_does_not_wait_for_the_writer_and_loses_nothing_to_a_moment() {
        let (buffer, mut staged) = (LogBuffer::new(1000), Staged::default());
        let held = buffer.pending.lock().expect("nobody panicked");
        staged.push(&[b"early"]);
        buffer.hand_over(&mut staged);
        assert_eq!((staged.records, buffer.lost()), (1, 0), "it stays staged");
        // A writer that never lets go, which none does: what is staged is bounded too.
        (0..200).for_each(|_| staged.push(&[b"more"]));
        buffer.hand_over(&mut staged);
        assert_eq!((staged.records, buffer.lost()), (0, 201));
        drop(held);
        staged.push(&[b"late"]);
        buffer.hand_over(&mut staged);
        let mut taken = Vec::new();
        buffer.take(&mut taken);
        assert_eq!(records(&taken).collect::<Vec<_>>(), [b"late"]);
    }

    #[test]
    fn every_record_is_written_or_counted_as_lost() {
        let (buffer, is_over) = (LogBuffer::new(4096), AtomicBool::new(false));
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut taken, mut written, mut next) = (Vec::new(), 0, 0);
                loop {
                    let was_over = is_over.load(Ordering::Acquire);
                    buffer.take(&mut taken);
                    for record in records(&taken) {
                        let number = u64::from_le_bytes(record.try_into().expect("eight octets"));
                        assert!(number >= next, "{number} after {next}");
                        next = number + 1;
                        written += 1;
                    }
                    if was_over {
                        return written;
                    }
                }
            });
            let mut staged = Staged::default();
            for number in 0..100_000u64 {
                staged.push(&[&number.to_le_bytes()]);
                buffer.hand_over(&mut staged);
            }
            // The writer may be at it this very moment.
            while staged.records > 0 {
                buffer.hand_over(&mut staged);
            }
            is_over.store(true, Ordering::Release);
            writer.join().expect("it does not panic")
        });
        assert_eq!(written + buffer.lost(), 100_000);
        assert!(written > 0);
    }
}
