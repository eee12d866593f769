//! The last good configuration, kept in the state directory: for a start while the file is broken, if the operator asks
//! for that.
//!
//! It is a folder with an index and a copy of each file that was read. A new one is written beside the old one and takes
//! its place by a rename of the link that leads to it, so that whoever looks finds one of the two, whole. Nothing is ever
//! removed but folders of our own names, wherever a link that somebody put there leads.

use super::cache_file::may_be_believed;
use super::files::Named;
use super::source::{Notes, Read, folder_of, load_text, put_before};
use crate::forward::cache::checksum;
use crate::udp::sys::{effective_user, give_back_free_memory};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
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

/// What was in each file, and what that is to the configuration.
type Texts = Vec<(Named, String)>;

/// Keeps configurations that were taken up, on a thread of its own: nobody who answers waits for the disk.
pub(super) struct LastGood {
    folder: PathBuf,
    /// The configuration, as an absolute path.
    configuration: PathBuf,
    desk: Arc<Desk>,
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
    newest: Option<Texts>,
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

    /// What is to be kept next; none: nothing more comes.
    fn next(&self) -> Option<Texts> {
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
        std::thread::Builder::new().name("last-good".to_owned()).spawn(move || {
            while let Some(texts) = own_desk.next() {
                match keep(&own, &of, &texts) {
                    Ok(()) => tracing::debug!(folder = %own.display(), "kept the configuration as the last good one"),
                    Err(error) => tracing::warn!(
                        folder = %own.display(),
                        "the configuration was not kept as the last good one: {error}; the folder must be there, and \
                         writable for the user who runs plustwo, and for nobody else (in the unit: StateDirectory=)"
                    ),
                }
                // As large as all files, and held until now by the heap of a thread that has ended.
                drop(texts);
                give_back_free_memory();
            }
        })?;
        Ok(Self { folder: folder.to_owned(), configuration, desk })
    }

    /// Keeps what a configuration was made of; what was there before goes.
    pub(super) fn keep(&self, texts: Texts) {
        self.desk.lock().newest = Some(texts);
        self.desk.news.notify_all();
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
        let mut loaded = load_text(&path.display().to_string(), &text, &read_file, &notes);
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

/// Keeps these, of this configuration, in the place of what is kept.
fn keep(folder: &Path, configuration: &Path, texts: &[(Named, String)]) -> io::Result<()> {
    may_be_used(folder)?;
    let link = folder.join(LINK);
    let is_first_kept = fs::read_link(&link).is_ok_and(|kept| kept == Path::new(FOLDERS[0]));
    let (next, before) = if is_first_kept { (FOLDERS[1], FOLDERS[0]) } else { (FOLDERS[0], FOLDERS[1]) };
    let (next, before) = (folder.join(next), folder.join(before));
    remove_folder(&next)?;
    fs::DirBuilder::new().create(&next)?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let of = configuration.to_string_lossy();
    let mut index = format!("{HEAD}\nkept {}\nof {of}\n", since_1970.as_secs());
    let mut number = 0;
    for (named, text) in texts {
        let (at, name) = match named {
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
        let _ = writeln!(index, "{at} {:016x} {name}", checksum(&[text.as_bytes()]));
        write(&next.join(at.to_string()), text.as_bytes())?;
    }
    write(&next.join("index"), index.as_bytes())?;
    sync(&next);
    // The link is swapped by a rename, for a link cannot be changed.
    let beside = folder.join("last-good.new");
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(next.file_name().unwrap_or_default(), &beside)?;
    fs::rename(&beside, &link)?;
    sync(folder);
    remove_folder(&before)
}

/// Brings the names in a folder onto the disk. Not every file system knows how, and then it does so by itself.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Writes a new file, onto the disk.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
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
            let read = Source::File(self.path()).read(true);
            assert!(read.loaded.unwrap().configuration.is_some());
            keep(self.state.path(), &self.path(), &read.texts)
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
            vec![
                (Named::Configuration, TEXT.to_owned()),
                (Named::Configured("zone".to_owned()), format!("www 60 A 10.0.0.{last}\n")),
            ]
        };
        let last_good = world.last_good();
        (1..100).for_each(|last| last_good.keep(text(last)));
        drop(last_good);
        let model = world.last_good().read().unwrap().0.loaded.unwrap().configuration.unwrap().model;
        let found = format!("{:?}", model.hosted_zones[0].record_sets);
        assert!(found.contains("10, 0, 0, 99]"), "{found}");
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
