//! Watching the files that were read, so that an edit is taken up without a word.
//!
//! What the kernel tells is only a reason to look: editors write over a file or rename another one into its place,
//! Kubernetes swaps a link in a folder above, folders are renamed and come back. So every folder on the way to a file is
//! watched, whatever happens there to a name on the way counts as a hint, and then the files themselves are compared with
//! what was read. Where the kernel tells nothing (other machines' file systems, too many watches), they are compared now
//! and then all the same.

use super::files::FileRead;
use notify::event::{AccessKind, AccessMode};
use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long nothing must happen before the files are looked at: whoever writes one is done by then.
const QUIET: Duration = Duration::from_millis(250);
/// How long that is waited for at most, while somebody goes on writing.
const QUIET_WITHIN: Duration = Duration::from_secs(30);
/// How often the files are looked at where nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Folders that are watched at most; files in others are looked at now and then only.
const FOLDERS_MAX: usize = 512;
/// Links that are followed on the way to one file at most, as the kernel does it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Watches files, for as long as the process lives.
pub(super) struct FileWatch {
    shared: Arc<Shared>,
    hints: SyncSender<()>,
}

struct Shared {
    watching: Mutex<Watching>,
    told: Notify,
}

struct Watching {
    files: Arc<[FileRead]>,
    /// Whether somebody was told that these have changed, and has not looked yet.
    is_told: bool,
}

impl Shared {
    fn watching(&self) -> MutexGuard<'_, Watching> {
        // Nothing that can panic happens under the lock.
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileWatch {
    /// Watches nothing yet.
    pub(super) fn start() -> io::Result<Self> {
        // One hint waits at most: it says no more than "look".
        let (hints, hinted) = sync_channel(1);
        let watching = Mutex::new(Watching { files: Arc::from([]), is_told: false });
        let shared = Arc::new(Shared { watching, told: Notify::new() });
        let (own, hint) = (Arc::clone(&shared), hints.clone());
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || run(&own, &hinted, &hint))?;
        Ok(Self { shared, hints })
    }

    /// Watches these from now on, as they were when they were read: also what has happened to them since is told.
    pub(super) fn watch(&self, files: &Arc<[FileRead]>) {
        *self.shared.watching() = Watching { files: Arc::clone(files), is_told: false };
        // Where there is a hint already, the thread is about to look.
        let _ = self.hints.try_send(());
    }

    /// Waits until one of the files is another than what was read. It is told once until others are watched.
    pub(super) async fn changed(&self) {
        loop {
            self.shared.told.notified().await;
            // What was told of files before these has been read since: a reload for it would be one too many.
            if self.shared.watching().is_told {
                return;
            }
        }
    }
}

/// Looks at the files whenever it is told to, and now and then.
fn run(shared: &Shared, hinted: &Receiver<()>, hint: &SyncSender<()>) {
    let mut watched = Watched::default();
    let (mut files, mut compared) = (Arc::from([]), Vec::new());
    loop {
        let is_hinted = match hinted.recv_timeout(LOOK_EVERY) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if is_hinted {
            wait_for_quiet(hinted);
        }
        let newest = Arc::clone(&shared.watching().files);
        if !Arc::ptr_eq(&files, &newest) {
            (compared, files) = (newest.to_vec(), newest);
        }
        if is_hinted {
            // First watch, then look: what happens in between is a hint, and what happened before is seen.
            watched.update(&files, hint);
        }
        if compared.iter_mut().any(FileRead::has_changed) {
            let mut watching = shared.watching();
            // Looking takes as long as the files are large; by now they may have been read again.
            if Arc::ptr_eq(&watching.files, &files) && !watching.is_told {
                watching.is_told = true;
                shared.told.notify_one();
            }
        }
    }
}

/// Waits until there was no hint for a while.
fn wait_for_quiet(hinted: &Receiver<()>) {
    let until = Instant::now() + QUIET_WITHIN;
    while hinted.recv_timeout(QUIET).is_ok() && Instant::now() < until {}
}

/// The names in each folder that lead to files.
type Ways = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// The folders among them as they are now: device and inode, where they are there.
type Folders = Vec<Option<(u64, u64)>>;

/// What the kernel has been asked to tell.
#[derive(Default)]
struct Watched {
    ways: Arc<Ways>,
    folders: Folders,
    watcher: Option<RecommendedWatcher>,
    /// Whether the kernel took all that it was asked for. What it lacks it may have the next time.
    is_whole: bool,
    /// Whether something happened to one of the folders themselves since.
    is_moved: Arc<AtomicBool>,
    has_complained: bool,
}

impl Watched {
    /// Watches the ways to these files as they are now. A folder that was renamed is still watched under its new name, so
    /// where the folders are others nothing is kept of what was watched before. Where they are the same, everything is:
    /// asking the kernel anew costs milliseconds, and what happens in between is not told.
    fn update(&mut self, files: &[FileRead], hint: &SyncSender<()>) {
        let is_moved = self.is_moved.swap(false, Ordering::AcqRel);
        let ways = ways_to(files);
        let folders: Folders = ways.keys().map(|folder| identity(folder)).collect();
        if self.is_whole && !is_moved && *self.ways == ways && self.folders == folders {
            return;
        }
        (self.ways, self.folders, self.watcher, self.is_whole) = (Arc::new(ways), folders, None, true);
        if self.ways.is_empty() {
            return;
        }
        match self.watcher_of_ways(hint) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                self.is_whole = false;
                self.complain(&error.to_string());
            }
        }
        // What lacks again after that is said again.
        self.has_complained &= !self.is_whole;
    }

    fn watcher_of_ways(&mut self, hint: &SyncSender<()>) -> notify::Result<RecommendedWatcher> {
        let (ways, hint, is_moved) = (Arc::clone(&self.ways), hint.clone(), Arc::clone(&self.is_moved));
        let tell = move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| concerns_folder(event, &ways)) {
                is_moved.store(true, Ordering::Release);
            }
            if event.map_or(true, |event| is_hint(&event, &ways)) {
                // One that waits already says the same.
                let _ = hint.try_send(());
            }
        };
        let mut watcher = RecommendedWatcher::new(tell, Config::default())?;
        let ways = Arc::clone(&self.ways);
        for folder in ways.keys().take(FOLDERS_MAX) {
            // One that is not there, or may not be read, comes to be seen by what happens to its name in the one above.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                self.is_whole &= identity(folder).is_none();
                if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
                    self.complain(&error.to_string());
                }
            }
        }
        Ok(watcher)
    }

    /// Says once that less is heard than could be.
    fn complain(&mut self, error: &str) {
        if !self.has_complained {
            self.has_complained = true;
            tracing::warn!(
                "the system does not tell of all changes of files: {error}; they are looked at every {} s",
                LOOK_EVERY.as_secs()
            );
        }
    }
}

/// What tells a folder from another one of its name.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether something happened to a folder on the way, and not only to a file: it came, went, or was renamed.
fn concerns_folder(event: &notify::Event, ways: &Ways) -> bool {
    let is_its_own = !matches!(event.kind, EventKind::Access(_));
    event.need_rescan() || is_its_own && event.paths.iter().any(|path| ways.contains_key(path))
}

/// Whether something happened on the way to a file. That somebody read one, as we do, is nothing.
fn is_hint(event: &notify::Event, ways: &Ways) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            // A folder itself went away, or a name in it is on a way.
            let names = path.parent().and_then(|folder| ways.get(folder));
            ways.contains_key(path) || names.zip(path.file_name()).is_some_and(|(names, name)| names.contains(name))
        })
}

/// The names that are looked up to get to these files.
fn ways_to(files: &[FileRead]) -> Ways {
    let mut ways = Ways::new();
    let mut add = |way: Vec<(PathBuf, OsString)>| {
        for (folder, name) in way {
            ways.entry(folder).or_default().insert(name);
        }
    };
    // Of a thousand files in one folder the way there is the same.
    let mut ends: HashMap<&Path, PathBuf> = HashMap::new();
    for file in files {
        let (Some(folder), Some(name)) = (file.path.parent(), file.path.file_name()) else { continue };
        let end = ends.entry(folder).or_insert_with(|| {
            let (way, end) = way_to(PathBuf::from("/"), folder);
            add(way);
            end
        });
        add(way_to(end.clone(), Path::new(name)).0);
    }
    ways
}

/// The names that are looked up to get from a folder to a path, each with the folder in which, and where that is in the end;
/// links are followed. It ends where something is not there.
fn way_to(mut folder: PathBuf, path: &Path) -> (Vec<(PathBuf, OsString)>, PathBuf) {
    let mut way = Vec::new();
    let mut left: Vec<OsString> = names_of(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            folder.pop();
            continue;
        }
        let next = folder.join(&name);
        way.push((folder.clone(), name));
        match std::fs::read_link(&next) {
            Ok(to) if links < LINKS_MAX => {
                links += 1;
                if to.is_absolute() {
                    folder = PathBuf::from("/");
                }
                left.extend(names_of(&to));
            }
            _ => folder = next,
        }
    }
    (way, folder)
}

/// The names of a path, the last one first.
fn names_of(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::files::Named;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_to_a_file_follows_links_as_kubernetes_makes_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        fs::create_dir(at.join("..1")).unwrap();
        fs::write(at.join("..1/zone"), "").unwrap();
        symlink("..1", at.join("..data")).unwrap();
        symlink("..data/zone", at.join("zone")).unwrap();
        let (way, end) = way_to("/".into(), &at.join("zone"));
        assert_eq!(end, at.join("..1/zone"));
        // Found by its folder and from there on it is the same.
        let mut whole = Ways::new();
        for (folder, name) in way.clone() {
            whole.entry(folder).or_default().insert(name);
        }
        assert_eq!(ways_to(&[FileRead::read(&at.join("zone"), Named::Configuration).0]), whole);
        let last: Vec<(&Path, &str)> =
            way.iter().rev().take(4).map(|(folder, name)| (&**folder, name.to_str().unwrap())).collect();
        assert_eq!(last, [(&*at.join("..1"), "zone"), (&at, "..1"), (&at, "..data"), (&at, "zone")]);
        assert_eq!(way[0].0, Path::new("/"));
        symlink("loop", at.join("loop")).unwrap();
        assert!(way_to("/".into(), &at.join("loop/x")).0.len() < LINKS_MAX + 20);
    }

    /// Whether a change is told before long.
    fn is_told(watch: &FileWatch) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.is_ok() })
    }

    #[test]
    fn what_was_read_meanwhile_is_not_told_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "one").unwrap();
        let watch = FileWatch::start().unwrap();
        let read = || Arc::from([FileRead::read(&path, Named::Configuration).0]);
        watch.watch(&read());
        fs::write(&path, "two").unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !watch.shared.watching().is_told {
            assert!(Instant::now() < until, "nobody is told");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Somebody reads them for another reason before whoever waits has looked.
        watch.watch(&read());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = runtime.block_on(async { tokio::time::timeout(Duration::ZERO, watch.changed()).await });
        assert!(told.is_err(), "what was told has been read");
        fs::write(&path, "three").unwrap();
        assert!(is_told(&watch), "and what comes after is told");
    }

    #[test]
    fn a_folder_that_goes_and_comes_back_is_watched_again() {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("conf");
        let path = conf.join("zone");
        fs::create_dir(&conf).unwrap();
        fs::write(&path, "one").unwrap();
        let watch = FileWatch::start().unwrap();
        let read = || Arc::from([FileRead::read(&path, Named::Configuration).0]);
        watch.watch(&read());
        fs::rename(&conf, folder.path().join("away")).unwrap();
        assert!(is_told(&watch), "it went away");
        watch.watch(&read());
        fs::create_dir(&conf).unwrap();
        fs::write(&path, "two").unwrap();
        assert!(is_told(&watch), "it came back");
        watch.watch(&read());
        fs::write(&path, "three").unwrap();
        assert!(is_told(&watch), "an edit in the one that came back");
    }
}
