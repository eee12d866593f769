//! Words for the operator, to stderr. Whoever is slow to read them, or has gone, neither holds up the daemon nor ends it.

use crate::config::LogLevel;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

/// Octets that wait to be read at most. What comes while there are more is lost, and its number is said.
pub(super) const WAITING_OCTETS_MAX: usize = 1 << 20;
/// How long leaving waits for the last words to be taken.
pub(super) const FLUSH_MILLISECONDS_MAX: u64 = 500;

/// Puts a thread between us and stderr, and makes panics use it too.
pub(super) fn start() {
    let (sender, messages) = channel();
    // Without the thread words are written where they are said, which may have to wait for the reader.
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&messages));
    if thread.is_ok() && LOG.set(Log { sender, waiting: AtomicUsize::new(0), lost: AtomicU64::new(0) }).is_ok() {
        std::panic::set_hook(Box::new(|panic| say(&format!("{panic}\n"))));
    }
}

/// Starts the log proper: one line an event, from this level on.
pub(super) fn start_events(level: LogLevel) {
    let (level, handle) = reload::Layer::new(filter(level));
    let events = tracing_subscriber::fmt::layer().with_writer(|| Words).with_ansi(false);
    // A second daemon in one process (tests) keeps the first one's log.
    if tracing_subscriber::registry().with(level).with(events).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Logs from another level on.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only where the subscriber is gone, which is global and stays.
        let _ = handle.reload(filter(level));
    }
}

/// What is logged from a level on: our own words only. Libraries say what they do with each question to a target, some on
/// several lines, which is not for operators and would let clients fill the log.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level)
}

/// Says something to whoever reads stderr.
pub(super) fn say(words: &str) {
    say_octets(words.as_bytes());
}

/// Waits until what was said is written, but not for long.
pub(super) fn flush() {
    let Some(log) = LOG.get() else { return };
    let (done, is_done) = sync_channel(1);
    if log.sender.send(Message::Flush(done)).is_ok() {
        let _ = is_done.recv_timeout(Duration::from_millis(FLUSH_MILLISECONDS_MAX));
    }
}

/// The way to the thread that writes; none before [`start`].
static LOG: OnceLock<Log> = OnceLock::new();

/// Where the level is changed; none before [`start_events`].
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The way to the thread that writes.
struct Log {
    sender: Sender<Message>,
    /// Octets said and not yet written: they bound the channel.
    waiting: AtomicUsize,
    /// Messages thrown away since the last that was written.
    lost: AtomicU64,
}

/// What the thread is told.
enum Message {
    Words(Vec<u8>),
    Flush(SyncSender<()>),
}

/// One event of the log: the subscriber writes each in one piece.
struct Words;

impl Write for Words {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        say_octets(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn say_octets(octets: &[u8]) {
    let Some(log) = LOG.get() else {
        let _ = io::stderr().lock().write_all(octets);
        return;
    };
    let before = log.waiting.fetch_add(octets.len(), Ordering::Relaxed);
    // The first message always fits, however long it is.
    if before > 0 && before + octets.len() > WAITING_OCTETS_MAX {
        log.waiting.fetch_sub(octets.len(), Ordering::Relaxed);
        log.lost.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // The thread never ends.
    let _ = log.sender.send(Message::Words(octets.to_vec()));
}

/// Writes what it is told. An error means that stderr is closed, which is the reader's affair.
fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Words(octets) => {
                let _ = io::stderr().lock().write_all(&octets);
                let Some(log) = LOG.get() else { continue };
                log.waiting.fetch_sub(octets.len(), Ordering::Relaxed);
                let lost = log.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(io::stderr().lock(), "… {lost} messages were lost: nobody read them in time");
                }
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}
