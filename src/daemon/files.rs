//! Files as they were when they were read, and whether they are others now.

use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::DefaultHasher;
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The largest file that is read, in octets.
pub(super) const FILE_OCTETS_MAX: u64 = 1 << 30;
/// A file whose times are younger than this when it is read may change once more without their changing: file systems
/// count in ticks of several milliseconds, some in seconds, FAT in two. A second more, because times are compared in whole
/// ones.
const SETTLED_AFTER: Duration = Duration::from_millis(3500);
/// How often a file is read that changes while it is read.
const READS_MAX: u32 = 3;
/// How long its writer is given in between.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(50);

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
    /// Whether it was not even opened, whatever is in it: only what the system says of it tells of a change.
    is_refused: bool,
}

/// How it is found out whether a file is what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// What the system says of it is believed, unless it is too young to be.
    #[default]
    AtTimes,
    /// It is read. Where a file is mapped, or lies on another machine, its times may tell of a change late or never.
    Inside,
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
    /// Of a file by its path; none where there is none.
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }

    fn of(metadata: &Metadata) -> Self {
        let newest = metadata.ctime().max(metadata.mtime());
        let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(newest).unwrap_or(0));
        // Where there is no time there is none to go by.
        let has_time = metadata.ctime() > 0 && metadata.mtime() > 0;
        let is_settled = has_time && newest.elapsed().is_ok_and(|age| age > SETTLED_AFTER);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_settled,
        }
    }

    /// Whether it says the same as another one, however old its times are.
    fn says(self, other: Self) -> bool {
        Self { is_settled: other.is_settled, ..self } == other
    }
}

impl FileRead {
    /// Reads a whole file of UTF-8 text. The error is a sentence for the operator.
    pub(super) fn read(path: &Path, named: Named) -> (Self, Result<String, String>) {
        let mut file = Self::unread(path, named);
        let text = file.fill().map_err(|error| format!("cannot read {}: {error}", path.display()));
        (file, text)
    }

    /// A file that was to be read and was not opened, because of what it is or where it is.
    pub(super) fn refused(path: &Path, named: Named) -> Self {
        let file = Self::unread(path, named);
        Self { stamp: Stamp::at(&file.path), is_refused: true, ..file }
    }

    fn unread(path: &Path, named: Named) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, named, stamp: None, digest: None, octets: 0, is_refused: false }
    }

    fn fill(&mut self) -> io::Result<String> {
        for read in 0..READS_MAX {
            if read > 0 {
                std::thread::sleep(READ_AGAIN_AFTER);
            }
            let (file, before) = open(&self.path)?;
            let mut text = String::with_capacity(usize::try_from(before.octets).unwrap_or(0) + 1);
            (&file).take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)?;
            if !Stamp::of(&file.metadata()?).says(before) {
                continue;
            }
            self.stamp = Some(before);
            self.digest = Some(digest(text.as_bytes()));
            self.octets = text.len() as u64;
            return Ok(text);
        }
        Err(io::Error::other("somebody is writing it: it changed while it was read"))
    }

    /// Whether it has other content now than when it was read, or can be read where it could not, or the reverse. What is
    /// found to be the same is not read again before the system says something else of it.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = Stamp::at(&self.path);
        match (self.stamp, now) {
            (None, None) => return false,
            (Some(before), Some(now)) if (before.is_settled || self.is_refused) && now.says(before) => return false,
            _ if self.is_refused => return true,
            // What is longer or shorter need not be read to be seen.
            (Some(before), Some(now)) if self.digest.is_some() && now.octets != before.octets => return true,
            _ => {}
        }
        let has_changed = self.read_again().as_deref().map(digest) != self.digest;
        if !has_changed {
            self.stamp = now;
        }
        has_changed
    }

    /// Whether it could be read and still has the content that it had then.
    pub(super) fn is_the_same(&mut self, look: Look) -> bool {
        self.digest.is_some()
            && match look {
                Look::AtTimes => !self.has_changed(),
                Look::Inside => self.read_again().as_deref().map(digest) == self.digest,
            }
    }

    fn read_again(&self) -> Option<Vec<u8>> {
        let (file, now) = open(&self.path).ok()?;
        let mut content = Vec::with_capacity(usize::try_from(now.octets).unwrap_or(0) + 1);
        file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut content).ok()?;
        // What is no text could not be read before either.
        std::str::from_utf8(&content).is_ok().then_some(content)
    }
}

/// Opens what is a file and not too large. Opening a pipe would wait for its writer and opening a device may do something,
/// so it is looked at before; what takes its place in that moment must not hold us up either.
fn open(path: &Path) -> io::Result<(File, Stamp)> {
    may_be_read(&fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    may_be_read(&metadata)?;
    Ok((file, Stamp::of(&metadata)))
}

fn may_be_read(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > FILE_OCTETS_MAX {
        return Err(io::Error::other(format!("it is over {FILE_OCTETS_MAX} octets")));
    }
    Ok(())
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

    /// Whether it is the same, by its times and inside.
    fn both(read: &mut FileRead) -> [bool; 2] {
        [Look::AtTimes, Look::Inside].map(|look| read.is_the_same(look))
    }

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
        assert!(!read.has_changed() && both(&mut read) == [true; 2]);
        assert_eq!(both(&mut absent), [false; 2], "it could not be read");
        // The same content in another file, as of those who replace files whole.
        fs::write(folder.path().join("new"), "one").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!read.has_changed());
        // As long as before, and within the same tick as likely as not.
        fs::write(&path, "two").unwrap();
        assert!(read.has_changed() && both(&mut read) == [false; 2]);
        fs::remove_file(&path).unwrap();
        assert!(read.has_changed() && both(&mut read) == [false; 2]);
        fs::create_dir(&path).unwrap();
        assert!(read.has_changed() && !absent.has_changed(), "a folder cannot be read either");
    }

    #[test]
    fn what_is_no_file_is_neither_opened_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        for path in [&*path, Path::new("/dev/zero"), Path::new("/dev/tty"), folder.path()] {
            let (mut file, text) = FileRead::read(path, Named::Configuration);
            assert!(text.is_err_and(|error| error.contains("it is not a file")), "{}", path.display());
            assert!(!file.has_changed());
        }
        // One that takes the place of a file in the last moment: nobody writes to it, and nobody waits for that.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&path).unwrap();
        assert!(may_be_read(&file.metadata().unwrap()).is_err());
    }

    #[test]
    fn a_file_that_is_refused_changes_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "one").unwrap();
        let mut refused = FileRead::refused(&path, Named::Configuration);
        assert!(!refused.has_changed(), "nobody asks what is in it");
        fs::write(folder.path().join("new"), "one").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(refused.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(refused.has_changed() && !FileRead::refused(&path, Named::Configuration).has_changed());
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_not_taken_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "x".repeat(8 << 20)).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    io::Write::write_all(&mut file, b"x").unwrap();
                }
            });
            let until = std::time::Instant::now() + Duration::from_secs(20);
            let refused = loop {
                let (_, text) = FileRead::read(&path, Named::Configuration);
                match text {
                    Err(error) => break error,
                    Ok(_) => assert!(std::time::Instant::now() < until, "it is never seen"),
                }
            };
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(refused.contains("somebody is writing it"), "{refused}");
        });
        assert!(FileRead::read(&path, Named::Configuration).1.is_ok());
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
        assert_eq!(both(&mut read), [true; 2]);
        fs::write(&path, "two").unwrap();
        assert!(read.has_changed() && both(&mut read) == [false; 2]);
    }
}
