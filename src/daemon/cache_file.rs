//! The file that answers are kept in from one start to the next, so that a daemon which starts during an outage still
//! answers what the one before it knew.
//!
//! A thread of its own loads it, saves now and then, and saves a last time when told to stop: nobody who answers ever
//! waits for the disk. What is wrong with the file is said when it starts, and never keeps the daemon from that.

use super::metrics::Failures;
use crate::forward::cache::{Damage, Loaded, Saved, WallClock};
use crate::forward::{ContextId, Millis};
use crate::serve::server::Server;
use crate::snapshot::ForwardContext;
use crate::snapshot::targets::ContextKind;
use crate::udp::sys::effective_user;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How long it is from one saving to the next: what a crash can lose.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// How long the first answer waits for the file at most; a larger one is loaded while the daemon serves.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(2);
/// Only the owner may read what its clients ask for.
const MODE: u32 = 0o600;
/// Who may write the file decides what is answered: nobody but its owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Who may do everything anyhow.
const ROOT: u32 = 0;

/// The thread that loads and saves.
pub(super) struct CacheFile {
    stop: Sender<()>,
    /// Set where stopping must not wait for the end of loading.
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    failures: Failures,
}

impl CacheFile {
    /// Begins to load the file, and waits for that a little while.
    pub(super) fn start(path: &Path, server: &Server) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (done, loaded) = channel();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let failures = Failures::default();
        let keeper = Keeper {
            path: path.to_owned(),
            server: server.clone(),
            is_stopping: Arc::clone(&is_stopping),
            failures: Arc::clone(&failures),
        };
        let thread = std::thread::Builder::new().name("cache-file".to_owned()).spawn(move || {
            let is_loaded = keeper.load();
            keeper.try_to_write();
            // Nobody listens any more where it took longer.
            let _ = done.send(());
            if is_loaded {
                keeper.save_until(&stopped);
            }
        })?;
        let _ = loaded.recv_timeout(LOAD_WAIT_MAX);
        Ok(Self { stop, is_stopping, thread, failures })
    }

    /// How often it could not be written.
    pub(super) fn failures(&self) -> Failures {
        Arc::clone(&self.failures)
    }

    /// Saves a last time.
    pub(super) fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // The thread may have ended already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("saving the cache panicked; this is a bug, please report it");
        }
    }
}

/// What the thread works with.
struct Keeper {
    path: PathBuf,
    server: Server,
    is_stopping: Arc<AtomicBool>,
    failures: Failures,
}

impl Keeper {
    /// Loads what can be loaded, and says so. False where the daemon was stopped meanwhile: what is in the file is more
    /// than what is in the cache then, so it stays.
    fn load(&self) -> bool {
        let file = self.path.display();
        match self.read() {
            Ok(None) => {}
            Ok(Some(Loaded { replies, dropped, damage })) => {
                if self.is_stopping.load(Ordering::Relaxed) {
                    return false;
                }
                tracing::info!(%file, replies, dropped, "cache loaded");
                if let Some(damage) = damage {
                    tracing::warn!(%file, "the rest of the saved cache was not loaded: {damage}");
                }
            }
            Err(error) => tracing::warn!(%file, "the saved cache was not loaded: {error}"),
        }
        true
    }

    /// Says at once where nothing could be saved: the first saving is minutes away, and an outage may be nearer.
    fn try_to_write(&self) {
        let beside = beside(&self.path);
        // One octet needs room too: on a full disk a file without any can be made.
        let written = create(&beside).and_then(|mut file| file.write_all(b"?"));
        let removed = fs::remove_file(&beside);
        if let Err(error) = written.and(removed) {
            let file = self.path.display();
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                %file,
                "the cache cannot be saved: {error}; its folder must be there, writable for the user who runs plustwo \
                 (in the unit: StateDirectory=), and with room for it"
            );
        }
    }

    /// Reads the file; none where there is none.
    fn read(&self) -> io::Result<Option<Loaded>> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        may_be_believed(metadata.mode(), metadata.uid(), effective_user()).map_err(io::Error::other)?;
        let mut file = BufReader::new(WhileNotStopped { file, is_stopping: &self.is_stopping });
        let contexts: HashMap<String, ContextId> =
            self.contexts().into_iter().map(|(context, identity)| (identity, context)).collect();
        let loaded =
            self.server.forwarder.cache().load(&mut file, self.clock(), &|identity| contexts.get(identity).copied());
        match loaded.damage {
            // There is nothing to tell a part of it by.
            Some(damage @ (Damage::NotACache | Damage::Version(_))) => Err(io::Error::other(damage.to_string())),
            _ => Ok(Some(loaded)),
        }
    }

    /// Saves now and then until it is told to stop, then once more.
    fn save_until(&self, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(SAVE_EVERY) {
            self.save();
        }
        self.save();
    }

    /// Saves, and says what went wrong.
    fn save(&self) {
        let file = self.path.display();
        match self.write() {
            Ok(Saved { replies, octets }) => tracing::debug!(%file, replies, octets, "cache saved"),
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%file, "the cache was not saved: {error}");
            }
        }
    }

    /// Writes another file beside it and puts that in its place: whoever looks finds one of the two, whole.
    fn write(&self) -> io::Result<Saved> {
        let beside = beside(&self.path);
        let written = self.write_to(create(&beside)?).and_then(|saved| {
            fs::rename(&beside, &self.path)?;
            Ok(saved)
        });
        if written.is_err() {
            // It says less than the one that stays; if it cannot be removed either, the next saving tries.
            let _ = fs::remove_file(&beside);
        }
        let saved = written?;
        // Not every file system knows how to do this, and the content is safe.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let _ = File::open(folder.unwrap_or_else(|| Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(saved)
    }

    fn write_to(&self, file: File) -> io::Result<Saved> {
        let contexts = self.contexts();
        let mut out = BufWriter::with_capacity(1 << 16, file);
        let cache = self.server.forwarder.cache();
        let saved = cache.save(&mut out, self.clock(), &|context| contexts.get(&context).cloned())?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(saved)
    }

    /// What each context that is served now is called.
    fn contexts(&self) -> HashMap<ContextId, String> {
        let published = self.server.publisher.current();
        published.snapshot.contexts.iter().map(|context| (context.id, identity(context))).collect()
    }

    fn clock(&self) -> WallClock {
        let at: Millis = self.server.now();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // Before 1970: no machine's clock is right then, and nothing that was saved is fresh.
        WallClock { at, unix_seconds: since_1970.map_or(0, |since| since.as_secs()) }
    }
}

/// What a context is called from one start to the next: whose targets, and which. What others said is never its own.
fn identity(context: &ForwardContext) -> String {
    let mut identity = match &context.kind {
        ContextKind::Upstream => "upstream".to_owned(),
        ContextKind::Rule(id) => format!("rule {id}"),
        ContextKind::Delegation { zone, owner } => format!("delegation {zone} {owner}"),
    };
    for target in &context.group.targets {
        // No target is shown with a line end in it, and no id has one.
        let _ = write!(identity, "\n{target}");
    }
    identity
}

/// Whether a file with this mode and owner says what this user, or who may do everything, has written.
pub(super) fn may_be_believed(mode: u32, owner: u32, user: u32) -> Result<(), &'static str> {
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err("others than its owner may write it, and so decide what is answered");
    }
    if owner != user && owner != ROOT {
        return Err("it belongs to another user, who so decides what is answered");
    }
    Ok(())
}

/// Where the next file is written: in the same folder, for it is to be renamed.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// A new file in the place of what may have been left there.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)
}

/// A file that ends where the daemon stops.
struct WhileNotStopped<'s> {
    file: File,
    is_stopping: &'s AtomicBool,
}

impl Read for WhileNotStopped<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the daemon stops"));
        }
        self.file.read(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_have_written_is_not_believed() {
        let (us, another) = (1_000, 1_001);
        for (mode, owner, is_believed) in [
            (0o600, us, true),
            (0o644, us, true),
            (0o600, ROOT, true),
            (0o644, another, false),
            (0o600, another, false),
            (0o620, us, false),
            (0o602, ROOT, false),
        ] {
            assert_eq!(may_be_believed(mode, owner, us).is_ok(), is_believed, "{mode:o} {owner}");
        }
        assert!(may_be_believed(0o600, another, ROOT).is_err(), "also where we may do everything");
    }
}
