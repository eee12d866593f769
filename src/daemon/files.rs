//! Files as they were when they were read, and whether they are others now.

use std::fs::{self, File, Metadata};
use std::hash::DefaultHasher;
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The largest file that is read, in octets.
pub(super) const FILE_OCTETS_MAX: u64 = 1 << 30;
/// A file whose times are younger than this when it is read may change once more without their changing: file systems
/// count in ticks of several milliseconds.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// What a file is to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It is the configuration.
    Configuration,
    /// The configuration, or a file that it names, calls it so.
    Configured(String),
    /// It belongs to the system.
    System,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRead {
    /// Its absolute path, with links on the way as they are.
    pub(super) path: PathBuf,
    /// What it is to the configuration.
    pub(super) named: Named,
    /// What the system said of it; none where it could not be read.
    stamp: Option<Stamp>,
    /// What was in it; none where it could not be read.
    pub(super) digest: Option<u64>,
    /// How long it is.
    pub(super) octets: u64,
}

/// What the system says of a file, by which a change is seen without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether its times were old enough to tell of any later change.
    is_settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        let is_settled = changed.elapsed().is_ok_and(|age| age > SETTLED_AFTER + Duration::from_secs(1));
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_settled,
        }
    }
}

impl FileRead {
    /// Reads a whole file of UTF-8 text. The error is a sentence for the operator.
    pub(super) fn read(path: &Path, named: Named) -> (Self, Result<String, String>) {
        let mut file = Self::unread(path, named);
        let text = file.fill().map_err(|error| format!("cannot read {}: {error}", path.display()));
        (file, text)
    }

    /// A file that was to be read and was not.
    pub(super) fn unread(path: &Path, named: Named) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, named, stamp: None, digest: None, octets: 0 }
    }

    fn fill(&mut self) -> io::Result<String> {
        let mut file = open(&self.path)?;
        let metadata = file.metadata()?;
        let mut text = String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        file.read_to_string(&mut text)?;
        self.stamp = Some(Stamp::of(&metadata));
        self.digest = Some(digest(text.as_bytes()));
        self.octets = text.len() as u64;
        Ok(text)
    }

    /// Whether it has other content now than when it was read, or can be read where it could not, or the reverse. What is
    /// found to be the same is not read again before the system says something else of it.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = fs::metadata(&self.path).ok().as_ref().map(Stamp::of);
        if now.is_none() && self.stamp.is_none() {
            return false;
        }
        let is_same = |(before, now): (Stamp, Stamp)| before.is_settled && Stamp { is_settled: true, ..now } == before;
        if self.stamp.zip(now).is_some_and(is_same) {
            return false;
        }
        let has_changed = self.read_again().as_deref().map(digest) != self.digest;
        if !has_changed {
            self.stamp = now;
        }
        has_changed
    }

    fn read_again(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        open(&self.path).and_then(|mut file| file.read_to_end(&mut content)).ok()?;
        // What is no text could not be read before either.
        std::str::from_utf8(&content).is_ok().then_some(content)
    }
}

/// Opens what is a file and not too large: opening a pipe would wait for its writer.
fn open(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > FILE_OCTETS_MAX {
        return Err(io::Error::other(format!("it is over {FILE_OCTETS_MAX} octets")));
    }
    File::open(path)
}

/// A number that tells contents apart. Whoever may write the file decides what is served anyhow, so nobody has to be kept
/// from making two with one number.
fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        let (mut absent, text) = FileRead::read(&path, Named::Configuration);
        assert!(text.unwrap_err().starts_with("cannot read "));
        assert!(!absent.has_changed());
        fs::write(&path, "one").unwrap();
        assert!(absent.has_changed());
        let (mut read, text) = FileRead::read(&path, Named::Configuration);
        assert_eq!(text.as_deref(), Ok("one"));
        assert!(!read.has_changed());
        // The same content in another file, as of those who replace files whole.
        fs::write(folder.path().join("new"), "one").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!read.has_changed());
        // As long as before, and within the same tick as likely as not.
        fs::write(&path, "two").unwrap();
        assert!(read.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(read.has_changed());
        fs::create_dir(&path).unwrap();
        assert!(read.has_changed() && !absent.has_changed(), "a folder cannot be read either");
    }

    #[test]
    fn what_has_settled_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "one").unwrap();
        let (mut read, _) = FileRead::read(&path, Named::Configuration);
        assert!(read.stamp.is_some_and(|stamp| !stamp.is_settled), "it is younger than a tick");
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while read.stamp.is_none_or(|stamp| !stamp.is_settled) {
            assert!(!read.has_changed() && std::time::Instant::now() < until);
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::write(&path, "two").unwrap();
        assert!(read.has_changed());
    }
}
