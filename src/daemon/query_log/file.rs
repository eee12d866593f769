//! Lines to a file or to stdout. A disk that is full or a folder that is gone costs lines, which are counted; it is said
//! once, and tried again every second.

use super::counts::{Loss, OutputCounts};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often what failed is tried again, and how often it is looked whether the path still leads to the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What clients ask is for the owner and the group.
const MODE: u32 = 0o640;

/// A file that lines are added to.
pub(super) struct FileOutput {
    /// Where it is; none: it is stdout.
    path: Option<PathBuf>,
    file: Option<File>,
    /// When it is opened again, or looked for.
    look_at: Instant,
    /// When it is written to again.
    retry_at: Option<Instant>,
    /// Whether it ends in the middle of a line.
    is_torn: bool,
    /// Whether the log has said that it cannot be written to.
    is_said: bool,
}

impl FileOutput {
    /// The file at a path, or stdout; opens it.
    pub(super) fn open(path: Option<PathBuf>, counts: &OutputCounts) -> Self {
        let look_at = Instant::now() + LOOK_EVERY;
        let mut output = Self { path, file: None, look_at, retry_at: None, is_torn: false, is_said: false };
        output.reopen(counts);
        output
    }

    /// Opens the file anew: what is at the path now, made if nothing is.
    pub(super) fn reopen(&mut self, counts: &OutputCounts) {
        let opened = match &self.path {
            Some(path) => {
                // A pipe that nobody reads must not hold up the thread.
                let flags = libc::O_NONBLOCK;
                OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)
            }
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        };
        self.look_at = Instant::now() + LOOK_EVERY;
        (self.retry_at, self.is_torn) = (None, false);
        match opened {
            Ok(file) => {
                // As a crash leaves it, or a disk that was full.
                self.is_torn = self.path.as_ref().is_some_and(|path| ends_mid_line(path, &file));
                self.file = Some(file);
                counts.set_up(true);
            }
            Err(error) => {
                self.file = None;
                self.failed(&error, counts);
            }
        }
    }

    /// Looks now and then whether the path still leads to the file: it may have been moved, and its folder too.
    pub(super) fn tick(&mut self, counts: &OutputCounts) {
        let now = Instant::now();
        let Some(path) = self.path.as_ref().filter(|_| now >= self.look_at) else { return };
        self.look_at = now + LOOK_EVERY;
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let own = self.file.as_ref().and_then(|file| file.metadata().ok()).map(identity);
        if own.is_none() || own != std::fs::metadata(path).ok().map(identity) {
            self.reopen(counts);
        }
    }

    /// Adds whole lines, so many.
    pub(super) fn write(&mut self, octets: &[u8], lines: u64, counts: &OutputCounts) {
        let is_resting = self.retry_at.is_some_and(|retry_at| Instant::now() < retry_at);
        let Some(file) = self.file.as_mut().filter(|_| !is_resting) else {
            return counts.lost(lines, Loss::OutputFailed);
        };
        let mut written = 0;
        let mut result = Ok(());
        if self.is_torn {
            // What stands there of a line is ended, so that it takes no other with it.
            result = file.write_all(b"\n");
            self.is_torn = result.is_err();
        }
        while result.is_ok() && written < octets.len() {
            match file.write(&octets[written..]) {
                Ok(0) => result = Err(ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        let whole = match result {
            Ok(()) => octets.len(),
            Err(_) => octets[..written].iter().rposition(|octet| *octet == b'\n').map_or(0, |last| last + 1),
        };
        let whole_lines = if whole == octets.len() { lines } else { count_lines(&octets[..whole]) };
        counts.wrote(whole_lines, whole);
        match result {
            Ok(()) => self.works(counts),
            Err(error) => {
                if written > whole {
                    self.cut((written - whole) as u64);
                }
                let why = if error.kind() == ErrorKind::WouldBlock { Loss::ReaderSlow } else { Loss::OutputFailed };
                counts.lost(lines - whole_lines, why);
                if why == Loss::OutputFailed {
                    self.retry_at = Some(Instant::now() + LOOK_EVERY);
                    self.failed(&error, counts);
                }
            }
        }
    }

    /// Takes the beginning of a line back, where the file is one.
    fn cut(&mut self, octets: u64) {
        let Some(file) = &self.file else { return };
        let cut = file.metadata().and_then(|metadata| match metadata.is_file() {
            true => file.set_len(metadata.len().saturating_sub(octets)),
            false => Err(ErrorKind::Unsupported.into()),
        });
        self.is_torn = cut.is_err();
    }

    /// It is written to; says so where it was not before.
    fn works(&mut self, counts: &OutputCounts) {
        self.retry_at = None;
        counts.set_up(true);
        if std::mem::take(&mut self.is_said) {
            tracing::info!(file = %self.called(), "the query log is written again");
        }
    }

    /// It is not; says so once.
    fn failed(&mut self, error: &io::Error, counts: &OutputCounts) {
        counts.set_up(false);
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::error!(
                file = %self.called(),
                "the query log cannot be written: {error}; its lines are lost and counted until it can, which is tried \
                 every second"
            );
        }
    }

    fn called(&self) -> std::path::Display<'_> {
        self.path.as_deref().unwrap_or_else(|| Path::new("stdout")).display()
    }
}

/// Whether a file that stands there ends in the middle of a line; one that cannot be read does not.
fn ends_mid_line(path: &Path, file: &File) -> bool {
    let is_file = |metadata: &Metadata| metadata.is_file();
    let Some(last_at) = file.metadata().ok().filter(is_file).and_then(|metadata| metadata.len().checked_sub(1)) else {
        return false;
    };
    // What lines are added to cannot be read.
    let mut last = [b'\n'];
    File::open(path).and_then(|file| file.read_exact_at(&mut last, last_at)).is_ok() && last != [b'\n']
}

fn count_lines(octets: &[u8]) -> u64 {
    octets.iter().filter(|octet| **octet == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &OutputCounts) -> (u64, u64, Option<bool>) {
        counts.set_on(true);
        (counts.written(), counts.lost_because(Loss::OutputFailed), counts.is_up())
    }

    #[test]
    fn lines_are_added_and_a_file_that_has_been_moved_is_made_anew() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, moved, told) = (folder.path().join("log"), folder.path().join("log.1"), OutputCounts::default());
        std::fs::write(&path, "before\n").expect("a file can be written");
        let mut output = FileOutput::open(Some(path.clone()), &told);
        output.write(b"a\nb\n", 2, &told);
        std::fs::rename(&path, &moved).expect("it can be moved");
        // Until somebody looks, lines go to where the file is now.
        output.write(b"c\n", 1, &told);
        output.look_at = Instant::now();
        output.tick(&told);
        output.write(b"d\n", 1, &told);
        let read = |path| std::fs::read_to_string(path).expect("it is there");
        assert_eq!((read(&moved), read(&path)), ("before\na\nb\nc\n".to_owned(), "d\n".to_owned()));
        assert_eq!((counts(&told), told.octets()), ((4, 0, Some(true)), 8));
        let mode = std::fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
    }

    #[test]
    fn a_folder_that_is_gone_costs_lines_and_the_file_is_back_when_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (inner, told) = (folder.path().join("logs"), OutputCounts::default());
        std::fs::create_dir(&inner).expect("a folder can be made");
        let path = inner.join("log");
        let mut output = FileOutput::open(Some(path.clone()), &told);
        std::fs::remove_dir_all(&inner).expect("it can be removed");
        output.look_at = Instant::now();
        output.tick(&told);
        output.write(b"a\nb\n", 2, &told);
        assert_eq!(counts(&told), (0, 2, Some(false)));
        std::fs::create_dir(&inner).expect("a folder can be made");
        output.look_at = Instant::now();
        output.tick(&told);
        output.write(b"c\n", 1, &told);
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "c\n");
        assert_eq!(counts(&told), (1, 2, Some(true)));
    }

    #[test]
    fn a_device_that_takes_nothing_costs_lines_and_rests() {
        let told = OutputCounts::default();
        let mut output = FileOutput::open(Some("/dev/full".into()), &told);
        for _ in 0..3 {
            output.write(b"a\n", 1, &told);
        }
        assert_eq!(counts(&told), (0, 3, Some(false)));
        assert!(output.is_said && output.retry_at.is_some());
    }

    #[test]
    fn the_beginning_of_a_line_is_taken_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("log"), OutputCounts::default());
        let mut output = FileOutput::open(Some(path.clone()), &told);
        output.write(b"whole\nbegun", 1, &told);
        output.cut(5);
        output.write(b"next\n", 1, &told);
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "whole\nnext\n");
        // Where it cannot be, it is ended.
        output.is_torn = true;
        output.write(b"last\n", 1, &told);
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "whole\nnext\n\nlast\n");
    }

    #[test]
    fn a_line_that_a_crash_has_cut_off_takes_no_other_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("log"), OutputCounts::default());
        for (before, after) in [("whole\nbegun", "whole\nbegun\nnext\n"), ("whole\n", "whole\nnext\n"), ("", "next\n")]
        {
            std::fs::write(&path, before).expect("a file can be written");
            let mut output = FileOutput::open(Some(path.clone()), &told);
            output.write(b"next\n", 1, &told);
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), after);
        }
        assert_eq!(counts(&told), (3, 0, Some(true)));
    }
}
