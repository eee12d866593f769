//! The last good configuration, kept in the state directory: for a start while the file is broken, if the operator asks
//! for that.
//!
//! It is a folder with an index and a copy of each file that was read. A new one is written beside the old one and takes
//! its place by a rename of the link that leads to it, so that whoever looks finds one of the two, whole.

use super::cache_file::may_be_believed;
use super::files::Named;
use super::metrics::Failures;
use super::source::{Notes, Read, folder_of, load_text, put_before};
use crate::udp::sys::effective_user;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What leads to the folder of the last good configuration.
const LINK: &str = "last-good";
/// The first line of an index.
const HEAD: &str = "plustwo last good configuration 1";
/// Only the owner may read what the configuration says.
const MODE: u32 = 0o600;

/// What was in each file, and what that is to the configuration.
type Texts = Vec<(Named, String)>;

/// Keeps configurations that were taken up, on a thread of its own: nobody who answers waits for the disk.
pub(super) struct LastGood {
    folder: PathBuf,
    keep: Option<(Sender<Texts>, JoinHandle<()>)>,
    failures: Failures,
}

impl LastGood {
    /// Keeps them in this folder.
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let (sender, configurations) = channel::<Texts>();
        let own = folder.to_owned();
        let failures = Failures::default();
        let failed = Arc::clone(&failures);
        let thread = std::thread::Builder::new().name("last-good".to_owned()).spawn(move || {
            while let Ok(mut texts) = configurations.recv() {
                // Of several only the newest counts.
                while let Ok(newer) = configurations.try_recv() {
                    texts = newer;
                }
                match keep(&own, &texts) {
                    Ok(()) => tracing::debug!(folder = %own.display(), "kept the configuration as the last good one"),
                    Err(error) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            folder = %own.display(),
                            "the configuration was not kept as the last good one: {error}; the folder must be there, \
                             writable for the user who runs plustwo (in the unit: StateDirectory=), and with room for it"
                        );
                    }
                }
            }
        })?;
        Ok(Self { folder: folder.to_owned(), keep: Some((sender, thread)), failures })
    }

    /// How often a configuration could not be kept.
    pub(super) fn failures(&self) -> Failures {
        Arc::clone(&self.failures)
    }

    /// Keeps what a configuration was made of; what was there before goes.
    pub(super) fn keep(&self, texts: Texts) {
        if let Some((keep, _)) = &self.keep {
            // The thread never ends before we do.
            let _ = keep.send(texts);
        }
    }

    /// Loads what is kept, and says since when it is; `path` is the configuration whose place it takes.
    pub(super) fn read(&self, path: &Path) -> Result<(Read, SystemTime), String> {
        let link = self.folder.join(LINK);
        let failed = |error: io::Error| format!("there is no last good configuration in {}: {error}", link.display());
        let metadata = fs::metadata(&link).map_err(failed)?;
        may_be_believed(metadata.mode(), metadata.uid(), effective_user())
            .map_err(|reason| format!("the last good configuration in {} is not used: {reason}", link.display()))?;
        let index = Index::read(&link).map_err(failed)?;
        let kept = |number: usize| {
            let path = link.join(number.to_string());
            fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
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
        if let Some((sender, thread)) = self.keep.take() {
            drop(sender);
            // What was to be kept last is.
            let _ = thread.join();
        }
    }
}

/// What is kept.
struct Index {
    kept_at: SystemTime,
    /// The files that the configuration names, by what it calls them; the configuration itself is number 0.
    named: BTreeMap<String, usize>,
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
        let mut named = BTreeMap::new();
        for line in lines {
            let (number, name) = line.split_once(' ').ok_or_else(damaged)?;
            named.insert(name.to_owned(), number.parse().map_err(|_| damaged())?);
        }
        Ok(Self { kept_at, named })
    }
}

/// Keeps these in the place of what is kept; where that fails, what is kept stays, and nothing is left beside it.
fn keep(folder: &Path, texts: &[(Named, String)]) -> io::Result<()> {
    let link = folder.join(LINK);
    let (one, other) = (folder.join("last-good.1"), folder.join("last-good.2"));
    let now = fs::read_link(&link).ok();
    let next = if now.as_deref() == Some(Path::new("last-good.1")) { other } else { one };
    remove_folder(&next)?;
    let written = fs::DirBuilder::new().create(&next).and_then(|()| write_all(&next, texts));
    if let Err(error) = written.and_then(|()| lead_to(&next, folder, &link)) {
        // On a full disk it would be in the way of others; if it cannot be removed either, the next one tries.
        let _ = remove_folder(&next);
        return Err(error);
    }
    if let Some(now) = now {
        remove_folder(&folder.join(now))?;
    }
    Ok(())
}

/// Writes these and their index into a new folder.
fn write_all(next: &Path, texts: &[(Named, String)]) -> io::Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut index = format!("{HEAD}\nkept {}\n", since_1970.as_secs());
    let mut number = 0;
    for (named, text) in texts {
        let at = match named {
            Named::System => continue,
            Named::Configuration => 0,
            Named::Configured(name) if name.contains('\n') => {
                return Err(io::Error::other(format!("the path {name:?} has a line end in it")));
            }
            Named::Configured(name) => {
                number += 1;
                let _ = writeln!(index, "{number} {name}");
                number
            }
        };
        write(&next.join(at.to_string()), text.as_bytes())?;
    }
    write(&next.join("index"), index.as_bytes())
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
    fs::rename(&beside, link)?;
    // Not every file system knows how to do this, and the content is safe.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
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
    use crate::daemon::Source;
    use crate::daemon::source::Given;

    const TEXT: &str = "version = 1\nregion = \"eu-central-1\"\nupstream = { targets = [] }\n[[vpc]]\nid = \"vpc-a\"\n\
                        listen = [\"127.0.0.1:1\"]\n[[hosted_zone]]\nid = \"Z1\"\nname = \"example.com\"\nvpcs = [\"vpc-a\"]\n\
                        file = \"zone\"\n";

    #[test]
    fn what_is_kept_is_loaded_again_whatever_became_of_the_files() {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = folder.path().join("plustwo.toml");
        fs::write(&path, TEXT).unwrap();
        let last_good = LastGood::start(state.path()).unwrap();
        assert!(last_good.read(&path).is_err_and(|error| error.contains("there is no last good configuration")));
        for round in 1..4 {
            fs::write(folder.path().join("zone"), format!("www 60 A 10.0.0.{round}\n")).unwrap();
            let read = Source::File(path.clone()).read(true, Given::default());
            assert!(read.loaded.unwrap().configuration.is_some());
            fs::write(folder.path().join("zone"), "no zone").unwrap();
            keep(state.path(), &read.texts).unwrap();
            let (read, kept_at) = last_good.read(&path).unwrap();
            let model = read.loaded.unwrap().configuration.unwrap().model;
            let found = format!("{:?}", model.hosted_zones[0].record_sets);
            assert!(found.contains(&format!("10, 0, 0, {round}]")), "{found}");
            assert!(kept_at.elapsed().unwrap() < Duration::from_secs(600));
            assert_eq!(fs::read_dir(state.path()).unwrap().count(), 2, "one folder and what leads to it");
        }
    }

    #[test]
    fn a_damaged_index_is_no_configuration() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join(LINK)).unwrap();
        let last_good = LastGood::start(state.path()).unwrap();
        for index in [
            "",
            "plustwo last good configuration 2\nkept 1\n",
            &format!("{HEAD}\nkept x\n"),
            &format!("{HEAD}\nkept 1\nx\n"),
        ] {
            fs::write(state.path().join(LINK).join("index"), index).unwrap();
            let error = last_good.read(Path::new("x")).err().unwrap();
            assert!(error.contains("its index is damaged"), "{error}");
        }
    }
}
