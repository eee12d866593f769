//! The last good configuration, kept in the state directory: for a start while the file is broken, if the operator asks
//! for that.
//!
//! It is a folder with an index and a copy of each file that was read. A new one is written beside the old one and takes
//! its place by a rename of the link that leads to it, so that whoever looks finds one of the two, whole. Nothing is ever
//! removed but folders of our own names, wherever a link that somebody put there leads.

use super::cache_file::may_be_believed;
use super::files::{FileRead, Named};
use super::metrics::Failures;
use super::source::{Notes, Read, TextRead, folder_of, load_text, put_before};
use crate::forward::cache::checksum;
use crate::udp::sys::{effective_user, give_back_free_memory, try_lock};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What leads to the folder of the last good configuration.
const LINK: &str = "last-good";
/// The folders that it leads to, in turn.
const FOLDERS: [&str; 2] = ["last-good.1", "last-good.2"];
/// The first line of an index.
const HEAD: &str = "plustwo last good configuration 1";
/// Only the owner may read what the configuration says.
const MODE: u32 = 0o600;

/// How long leaving waits for the disk. What was kept before stays whole if that is too short.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Keeps configurations that were taken up, on a thread of its own: nobody who answers waits for the disk.
pub(super) struct LastGood {
    folder: PathBuf,
    /// The configuration, as an absolute path.
    configuration: PathBuf,
    desk: Arc<Desk>,
    failures: Failures,
}

/// Where the thread finds what it is to keep.
#[derive(Default)]
struct Desk {
    state: Mutex<Waiting>,
    news: Condvar,
}

/// What waits for the disk: of several configurations only the newest counts, so there is never more than one.
#[derive(Default)]
struct Waiting {
    newest: Option<Vec<TextRead>>,
    /// Nothing more comes.
    is_last: bool,
    /// The thread has ended.
    is_over: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is to be kept there, in the place of what waits. What of it was not read again may stand in that alone.
    fn put(&self, mut texts: Vec<TextRead>) {
        let mut waiting = self.lock();
        if let Some(before) = waiting.newest.take() {
            take_over(&mut texts, &before);
        }
        waiting.newest = Some(texts);
        self.news.notify_all();
    }

    /// What is to be kept next; none: nothing more comes.
    fn next(&self) -> Option<Vec<TextRead>> {
        let is_idle = |waiting: &mut Waiting| waiting.newest.is_none() && !waiting.is_last;
        let mut waiting = self.news.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let next = waiting.newest.take();
        waiting.is_over = next.is_none();
        self.news.notify_all();
        next
    }
}

impl LastGood {
    /// Keeps what this configuration says in this folder.
    pub(super) fn start(folder: &Path, configuration: &Path) -> io::Result<Self> {
        let configuration = std::path::absolute(configuration)?;
        let desk = Arc::<Desk>::default();
        let (own, own_desk, of) = (folder.to_owned(), Arc::clone(&desk), configuration.clone());
        let failures = Failures::default();
        let failed = Arc::clone(&failures);
        std::thread::Builder::new().name("last-good".to_owned()).spawn(move || {
            let mut kept = Kept::default();
            while let Some(texts) = own_desk.next() {
                let result = keep(&own, &of, &texts, &kept).map(|now| kept = now);
                match result {
                    Ok(()) => tracing::debug!(folder = %own.display(), "kept the configuration as the last good one"),
                    Err(error) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            folder = %own.display(),
                            "the configuration was not kept as the last good one: {error}; the folder must be there, with \
                             room for it, and writable for the user who runs plustwo, and for nobody else (in the unit: \
                             StateDirectory=)"
                        );
                    }
                }
                // As large as all files, and held until now by the heap of a thread that has ended.
                drop(texts);
                give_back_free_memory();
            }
        })?;
        Ok(Self { folder: folder.to_owned(), configuration, desk, failures })
    }

    /// How often a configuration could not be kept.
    pub(super) fn failures(&self) -> Failures {
        Arc::clone(&self.failures)
    }

    /// Keeps what a configuration was made of; what was there before goes.
    pub(super) fn keep(&self, texts: Vec<TextRead>) {
        self.desk.put(texts);
    }

    /// Loads what is kept, and says since when it is.
    pub(super) fn read(&self) -> Result<(Read, SystemTime), String> {
        let path = &self.configuration;
        let link = self.folder.join(LINK);
        let failed = |error: io::Error| format!("there is no last good configuration in {}: {error}", link.display());
        may_be_used(&self.folder).map_err(failed)?;
        // What is read is all of one folder, also where another plustwo puts another one in its place meanwhile.
        let kept_in = link.canonicalize().map_err(failed)?;
        may_be_used(&kept_in).map_err(failed)?;
        let index = Index::read(&kept_in).map_err(failed)?;
        if index.of != path.to_string_lossy() {
            return Err(format!("the last good configuration in {} is of {}", link.display(), index.of));
        }
        let kept = |number: usize| {
            let path = kept_in.join(number.to_string());
            let at = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
            let text = fs::read_to_string(&path).map_err(|error| at(&error))?;
            if index.checksums.get(&number) != Some(&checksum(&[text.as_bytes()])) {
                return Err(at(&"it is damaged"));
            }
            Ok(text)
        };
        let notes = RefCell::<Notes>::default();
        let read_file = |name: &str| match index.named.get(name) {
            Some(number) => kept(*number),
            None => Err(format!("the last good configuration has no file {name:?}")),
        };
        let text = kept(0)?;
        let mut loaded = load_text(&path.display().to_string(), &text, &read_file, None, &notes);
        loaded.configuration.iter_mut().for_each(|found| put_before(folder_of(path), found));
        Ok((Read { loaded: Ok(loaded), files: Vec::new(), texts: Vec::new() }, index.kept_at))
    }
}

impl Drop for LastGood {
    fn drop(&mut self) {
        // What was to be kept last is, unless the disk hangs.
        let mut waiting = self.desk.lock();
        waiting.is_last = true;
        self.desk.news.notify_all();
        let is_at_work = |waiting: &mut Waiting| !waiting.is_over;
        let ended = self.desk.news.wait_timeout_while(waiting, LEAVE_WITHIN, is_at_work);
        if ended.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::warn!(folder = %self.folder.display(), "the disk is slow: the newest configuration is not kept yet");
        }
    }
}

/// Takes the text of files that were not read again from what was read before, as far as they are the same.
fn take_over(texts: &mut [TextRead], before: &[TextRead]) {
    let of = |read: &TextRead| Some((read.file.path.clone(), read.file.digest?));
    let known: HashMap<_, _> = before.iter().filter_map(|read| Some((of(read)?, read.text.as_ref()?))).collect();
    for read in texts.iter_mut().filter(|read| read.text.is_none()) {
        read.text = of(read).and_then(|file| known.get(&file)).map(|text| (*text).clone());
    }
}

/// Whether nobody else decides what is in a folder of ours.
fn may_be_used(folder: &Path) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    may_be_believed(metadata.mode(), metadata.uid(), effective_user())
        .map_err(|reason| io::Error::other(format!("{}: {reason}", folder.display())))
}

/// What is kept.
struct Index {
    kept_at: SystemTime,
    /// The configuration that it was.
    of: String,
    /// The files that the configuration names, by what it calls them; the configuration itself is number 0.
    named: BTreeMap<String, usize>,
    /// Of each file, by number.
    checksums: BTreeMap<usize, u64>,
}

impl Index {
    fn read(folder: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(folder.join("index"))?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its index is damaged");
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(damaged());
        }
        let seconds = lines.next().and_then(|line| line.strip_prefix("kept ")?.parse().ok()).ok_or_else(damaged)?;
        let kept_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(damaged)?;
        let of = lines.next().and_then(|line| line.strip_prefix("of ")).ok_or_else(damaged)?.to_owned();
        let (mut named, mut checksums) = (BTreeMap::new(), BTreeMap::new());
        for line in lines {
            let (number, rest) = line.split_once(' ').ok_or_else(damaged)?;
            let (checksum, name) = rest.split_once(' ').ok_or_else(damaged)?;
            let number = number.parse().map_err(|_| damaged())?;
            checksums.insert(number, u64::from_str_radix(checksum, 16).map_err(|_| damaged())?);
            if number > 0 {
                named.insert(name.to_owned(), number);
            }
        }
        Ok(Self { kept_at, of, named, checksums })
    }
}

/// What this process has kept last, so that what is the same is not written again.
#[derive(Default)]
struct Kept {
    /// What is in the index.
    index: String,
    /// Files by their paths and what was in them ([`FileRead::digest`]).
    files: HashMap<(PathBuf, u64), KeptFile>,
}

/// A file that is kept.
#[derive(Clone, Copy)]
struct KeptFile {
    number: usize,
    /// What the index says of it.
    checksum: u64,
    written: Written,
}

/// What tells a file that somebody has written since from the one that we wrote: device, inode, octets, and the seconds and
/// nanoseconds of when that was.
type Written = (u64, u64, u64, i64, i64);

/// Keeps these, of this configuration, in the place of what is kept; where that fails, what is kept stays, and nothing is
/// left beside it.
fn keep(folder: &Path, configuration: &Path, texts: &[TextRead], kept: &Kept) -> io::Result<Kept> {
    may_be_used(folder)?;
    let lock = File::open(folder)?;
    if !try_lock(&lock)? {
        return Err(io::Error::other("another plustwo keeps its own there; each needs a folder for itself"));
    }
    let link = folder.join(LINK);
    let is_first_kept = fs::read_link(&link).is_ok_and(|kept| kept == Path::new(FOLDERS[0]));
    let (next, before) = if is_first_kept { (FOLDERS[1], FOLDERS[0]) } else { (FOLDERS[0], FOLDERS[1]) };
    let (next, before) = (folder.join(next), folder.join(before));
    remove_folder(&next)?;
    // Another plustwo may have kept something of its own there meanwhile.
    let is_ours = fs::read_to_string(before.join("index")).is_ok_and(|index| index == kept.index);
    let kept = is_ours.then_some((&*before, kept));
    let written = fs::DirBuilder::new().create(&next).and_then(|()| write_all(&next, configuration, texts, kept));
    let written = written.and_then(|written| lead_to(&next, folder, &link).map(|()| written));
    if written.is_err() {
        // On a full disk it would be in the way of others; if it cannot be removed either, the next one tries.
        let _ = remove_folder(&next);
        return written;
    }
    sync(folder);
    remove_folder(&before)?;
    written
}

/// Writes these and their index into a new folder. What is the same as in the folder of what is `kept` is linked from there.
fn write_all(next: &Path, configuration: &Path, texts: &[TextRead], kept: Option<(&Path, &Kept)>) -> io::Result<Kept> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let of = configuration.to_string_lossy();
    let mut index = format!("{HEAD}\nkept {}\nof {of}\n", since_1970.as_secs());
    let mut files = HashMap::new();
    let mut number = 0;
    for TextRead { file, text } in texts {
        let (at, name) = match &file.named {
            Named::System => continue,
            Named::Configuration => (0, &*of),
            Named::Configured(name) => {
                number += 1;
                (number, name.as_str())
            }
        };
        if name.contains('\n') {
            return Err(io::Error::other(format!("the path {name:?} has a line end in it")));
        }
        let path = next.join(at.to_string());
        let (checksum, written) = match text {
            Some(text) => write(&path, text)?,
            None => match kept.and_then(|kept| link_kept(&path, file, kept)) {
                Some(kept) => (kept.checksum, kept.written),
                None => write(&path, &read_again(file)?)?,
            },
        };
        let _ = writeln!(index, "{at} {checksum:016x} {name}");
        let kept = KeptFile { number: at, checksum, written };
        files.extend(file.digest.map(|digest| ((file.path.clone(), digest), kept)));
    }
    write(&next.join("index"), &index)?;
    sync(next);
    Ok(Kept { index, files })
}

/// Makes a file that is kept already part of the next folder. None where it is not kept as it was written, or the file
/// system has no links.
fn link_kept(path: &Path, file: &FileRead, (before, kept): (&Path, &Kept)) -> Option<KeptFile> {
    let kept = kept.files.get(&(file.path.clone(), file.digest?))?;
    let at = before.join(kept.number.to_string());
    fs::symlink_metadata(&at).ok().filter(|found| as_written(found) == kept.written)?;
    fs::hard_link(at, path).ok()?;
    Some(*kept)
}

fn as_written(metadata: &fs::Metadata) -> Written {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// What is in a file that was not read again because it was what it had been.
fn read_again(file: &FileRead) -> io::Result<String> {
    let (now, text) = FileRead::read(&file.path, file.named.clone());
    match text {
        Ok(text) if now.digest == file.digest => Ok(text),
        Ok(_) => Err(io::Error::other(format!("{} has changed meanwhile; its reload is next", file.path.display()))),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Lets the link lead to a folder that is whole.
fn lead_to(next: &Path, folder: &Path, link: &Path) -> io::Result<()> {
    // The link is swapped by a rename, for a link cannot be changed.
    let beside = folder.join("last-good.new");
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(next.file_name().unwrap_or_default(), &beside)?;
    fs::rename(&beside, link)
}

/// Brings the names in a folder onto the disk. Not every file system knows how, and then it does so by itself.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Writes a new file, onto the disk; its checksum, and what tells it from others.
fn write(path: &Path, content: &str) -> io::Result<(u64, Written)> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    Ok((checksum(&[content.as_bytes()]), as_written(&file.metadata()?)))
}

/// Removes a folder with what is in it, where there is one.
fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::daemon::Source;
    use crate::daemon::source::Given;
    use std::os::unix::fs::PermissionsExt as _;

    const TEXT: &str = "version = 1\nregion = \"eu-central-1\"\nupstream = { targets = [] }\n[[vpc]]\nid = \"vpc-a\"\n\
                        listen = [\"127.0.0.1:1\"]\n[[hosted_zone]]\nid = \"Z1\"\nname = \"example.com\"\nvpcs = [\"vpc-a\"]\n\
                        file = \"zone\"\n";

    /// A configuration with a zone file in a folder, and a folder to keep it in.
    struct World {
        folder: tempfile::TempDir,
        state: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let world = Self { folder: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
            fs::write(world.path(), TEXT).unwrap();
            fs::write(world.folder.path().join("zone"), "www 60 A 10.0.0.1\n").unwrap();
            world
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("plustwo.toml")
        }

        fn state(&self, name: &str) -> PathBuf {
            self.state.path().join(name)
        }

        fn last_good(&self) -> LastGood {
            LastGood::start(self.state.path(), &self.path()).unwrap()
        }

        /// Keeps what the files say now.
        fn keep(&self) -> io::Result<()> {
            let read = Source::File(self.path()).read(true, Given::default());
            assert!(read.loaded.unwrap().configuration.is_some());
            keep(self.state.path(), &self.path(), &read.texts, &Kept::default()).map(drop)
        }

        /// Why nothing that is kept is used.
        fn refusal(&self) -> String {
            let read = self.last_good().read();
            let loaded = read.map(|(read, _)| config::render(&read.loaded.unwrap().diagnostics));
            loaded.unwrap_or_else(|reason| reason)
        }
    }

    #[test]
    fn what_is_kept_is_loaded_again_whatever_became_of_the_files() {
        let world = World::new();
        assert!(world.refusal().contains("there is no last good configuration"));
        for round in 1..4 {
            fs::write(world.folder.path().join("zone"), format!("www 60 A 10.0.0.{round}\n")).unwrap();
            world.keep().unwrap();
            fs::write(world.folder.path().join("zone"), "no zone").unwrap();
            let (read, kept_at) = world.last_good().read().unwrap();
            let model = read.loaded.unwrap().configuration.unwrap().model;
            let found = format!("{:?}", model.hosted_zones[0].record_sets);
            assert!(found.contains(&format!("10, 0, 0, {round}]")), "{found}");
            assert!(kept_at.elapsed().unwrap() < Duration::from_secs(600));
            assert_eq!(fs::read_dir(world.state.path()).unwrap().count(), 2, "one folder and what leads to it");
        }
    }

    #[test]
    fn of_what_comes_while_the_disk_is_slow_the_newest_is_kept() {
        let world = World::new();
        let text = |last: u8| {
            fs::write(world.folder.path().join("zone"), format!("www 60 A 10.0.0.{last}\n")).unwrap();
            Source::File(world.path()).read(true, Given::default()).texts
        };
        let last_good = world.last_good();
        (1..100).for_each(|last| last_good.keep(text(last)));
        drop(last_good);
        let model = world.last_good().read().unwrap().0.loaded.unwrap().configuration.unwrap().model;
        let found = format!("{:?}", model.hosted_zones[0].record_sets);
        assert!(found.contains("10, 0, 0, 99]"), "{found}");
    }

    #[test]
    fn what_was_not_read_again_is_linked_or_read_and_never_guessed() {
        let world = World::new();
        let zone = world.folder.path().join("zone");
        let not_again = || {
            let mut texts = Source::File(world.path()).read(true, Given::default()).texts;
            texts.iter_mut().filter(|text| text.file.named != Named::Configuration).for_each(|text| text.text = None);
            texts
        };
        let keep = |texts: &[TextRead], kept: &Kept| keep(world.state.path(), &world.path(), texts, kept);
        let inode = || fs::metadata(world.state(LINK).join("1")).unwrap().ino();
        let is_whole = || world.last_good().read().unwrap().0.loaded.unwrap().configuration.is_some();
        let all = Source::File(world.path()).read(true, Given::default()).texts;
        let first = keep(&all, &Kept::default()).unwrap();
        let written = inode();
        let second = keep(&not_again(), &first).unwrap();
        assert_eq!(inode(), written, "it is the same file");
        assert!(is_whole());
        // By a process that has not kept it, or of a folder that another one has written, it is read.
        keep(&not_again(), &Kept::default()).unwrap();
        let read = inode();
        assert!(read != written && is_whole());
        keep(&not_again(), &Kept { index: "of another".to_owned(), ..second }).unwrap();
        assert!(inode() != read && is_whole());
        // One that somebody has written to is no more what we wrote, and is written again.
        let third = keep(&all, &Kept::default()).unwrap();
        fs::write(world.state(LINK).join("1"), "www 60 A 10.0.0.7\n").unwrap();
        assert!(world.refusal().contains("it is damaged"));
        keep(&not_again(), &third).unwrap();
        assert!(is_whole());
        // What has changed meanwhile is of the next configuration, and what is kept stays.
        let texts = not_again();
        fs::write(&zone, "www 60 A 10.0.0.2\n").unwrap();
        assert!(keep(&texts, &Kept::default()).is_err_and(|error| error.to_string().contains("has changed meanwhile")));
        assert!(is_whole());
    }

    #[test]
    fn what_was_read_for_a_configuration_that_is_never_kept_is_not_lost() {
        let world = World::new();
        let zone = world.folder.path().join("zone");
        let read = || Source::File(world.path()).read(true, Given::default()).texts;
        let not_again = |mut texts: Vec<TextRead>| {
            texts.iter_mut().filter(|text| text.file.named != Named::Configuration).for_each(|text| text.text = None);
            texts
        };
        let desk = Desk::default();
        desk.put(read());
        desk.put(not_again(read()));
        let next = desk.next().unwrap();
        // The file is broken before anything is written.
        fs::write(&zone, "no zone").unwrap();
        keep(world.state.path(), &world.path(), &next, &Kept::default()).unwrap();
        let (kept, _) = world.last_good().read().unwrap();
        assert!(format!("{:?}", kept.loaded.unwrap().configuration.unwrap().model).contains("10, 0, 0, 1]"));
        // What has changed in between is another text.
        desk.put(read());
        fs::write(&zone, "www 60 A 10.0.0.2\n").unwrap();
        desk.put(not_again(read()));
        let changed = desk.next().unwrap();
        assert!(changed.iter().all(|read| read.text.is_some() == (read.file.named == Named::Configuration)));
    }

    #[test]
    fn a_link_of_somebody_else_leads_nobody_astray() {
        let world = World::new();
        let precious = world.folder.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "x").unwrap();
        for name in [LINK, FOLDERS[0], FOLDERS[1], "last-good.new"] {
            let _ = fs::remove_file(world.state(name));
            let _ = fs::remove_dir_all(world.state(name));
            symlink(&precious, world.state(name)).unwrap();
            world.keep().unwrap();
            assert!(precious.join("file").exists(), "{name}: what it led to is gone");
            assert!(fs::read_link(world.state(LINK)).unwrap().starts_with("last-good.1"), "{name}");
            fs::remove_file(world.state(LINK)).unwrap();
        }
    }

    #[test]
    fn what_others_may_write_is_neither_kept_nor_used() {
        let world = World::new();
        world.keep().unwrap();
        for name in ["", LINK] {
            fs::set_permissions(world.state(name), fs::Permissions::from_mode(0o777)).unwrap();
            assert!(world.refusal().contains("others than its owner may write it"), "{name:?}: {}", world.refusal());
            assert_eq!(world.keep().is_err(), name.is_empty(), "{name:?}");
            fs::set_permissions(world.state(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn the_last_good_one_of_another_file_is_none() {
        let world = World::new();
        world.keep().unwrap();
        let other = LastGood::start(world.state.path(), &world.folder.path().join("other.toml")).unwrap();
        let refusal = other.read().err().unwrap();
        assert!(refusal.contains("plustwo.toml"), "{refusal}");
    }

    #[test]
    fn what_is_damaged_is_no_configuration() {
        let world = World::new();
        world.keep().unwrap();
        let kept = |name: &str| world.state(LINK).join(name);
        let index = fs::read_to_string(kept("index")).unwrap();
        for (file, content, expected) in [
            ("index", "", "its index is damaged"),
            ("index", "plustwo last good configuration 2\nkept 1\nof x\n", "its index is damaged"),
            ("index", &index.replace("kept ", "kept x"), "its index is damaged"),
            ("index", &index.replacen("\n0 ", "\nx ", 1), "its index is damaged"),
            ("index", &format!("{index}5\n"), "its index is damaged"),
            ("0", &TEXT.replace("vpc-a", "vpc-b"), "0: it is damaged"),
            ("0", "", "0: it is damaged"),
            ("1", "www 60 A 10.0.0.2\n", "1: it is damaged"),
        ] {
            let whole = fs::read_to_string(kept(file)).unwrap();
            fs::write(kept(file), content).unwrap();
            let said = world.refusal();
            assert!(said.contains(expected), "{file} {content:?}: {said}");
            fs::write(kept(file), whole).unwrap();
        }
        assert_eq!(world.refusal(), "", "it is whole again");
        fs::remove_file(kept("1")).unwrap();
        assert!(world.refusal().contains("cannot read"), "{}", world.refusal());
    }
}
