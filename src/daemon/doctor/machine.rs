//! The files of this machine that checks read: below a root, so that tests can show others.

use std::fs::{self, File};
use std::io::Read as _;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Octets of one file that are read at most.
const FILE_OCTETS_MAX: u64 = 1 << 20;
/// Files of one folder that are read at most.
const FILES_MAX: usize = 64;

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    /// This machine.
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Machine {
    /// Another one, whose files are in a folder.
    #[cfg(test)]
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where a file with an absolute path is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The beginning of a file; none where it cannot be read.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let mut octets = Vec::new();
        File::open(self.path(path)).ok()?.take(FILE_OCTETS_MAX).read_to_end(&mut octets).ok()?;
        Some(String::from_utf8_lossy(&octets).into_owned())
    }

    /// The files of a folder whose names end so, each as a path of this machine; sorted, as daemons read them.
    pub(super) fn list(&self, folder: &str, ending: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_meant = |name: &String| !name.starts_with('.') && !name.ends_with('~') && name.ends_with(ending);
        let mut files: Vec<String> = names.filter(is_meant).map(|name| format!("{folder}/{name}")).collect();
        files.sort();
        files.truncate(FILES_MAX);
        files
    }

    /// Whether something is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Where a link leads; none where it is no link.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.path(path)).ok().map(|target| target.to_string_lossy().into_owned())
    }
}

/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// What a command of this machine prints; none where it is not there, fails, or takes too long. Only for those that look
/// and change nothing, and say little: what a pipe does not hold they cannot say.
pub(super) fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    let program = folders.map(|folder| folder.join(program)).find(|file| file.is_file())?;
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let until = Instant::now() + COMMAND_WITHIN;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut text = String::new();
    child.stdout.take()?.take(FILE_OCTETS_MAX).read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}
