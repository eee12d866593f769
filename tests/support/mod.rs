//! What several tests share: tools that may be absent.
//!
//! A test that lacks a tool says `SKIPPED: reason` past the test harness's capture and returns. With
//! `PLUSTWO_TESTS_NO_SKIP=1` in the environment (`.ci/run` sets it) it fails instead.

#![allow(dead_code, reason = "each test binary takes the part it needs")]

pub(crate) mod alone;
pub(crate) mod ask;
pub(crate) mod bars;
pub(crate) mod binary;
pub(crate) mod case;
pub(crate) mod certificates;
pub(crate) mod compatibility;
pub(crate) mod netns;
pub(crate) mod notified;
pub(crate) mod peers;
pub(crate) mod present;
pub(crate) mod raw;
pub(crate) mod script;
pub(crate) mod served;
pub(crate) mod strace;
pub(crate) mod upstream;
pub(crate) mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set to `1`, it makes a skipped test a failed one.
pub(crate) const NO_SKIP: &str = "PLUSTWO_TESTS_NO_SKIP";

/// How many tests of this binary have been skipped.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Where a tool is. If it is nowhere the test is skipped, loudly: `let Some(dig) = need_tool("dig") else { return };`
#[track_caller]
pub(crate) fn need_tool(name: &str) -> Option<PathBuf> {
    let found = find_tool(name);
    if found.is_none() {
        skip(&format!("`{name}` is not on this machine; .ci/run says which package has it"));
    }
    found
}

/// Says that a test is skipped, and why; fails it where nothing may be skipped.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Straight to stderr: what `eprintln!` prints is hidden for tests that pass, and this one will.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {reason} (in {test}; number {count} of this test binary)");
    assert!(
        std::env::var_os(NO_SKIP).is_none_or(|value| value != "1"),
        "nothing may be skipped here ({NO_SKIP}=1): {reason}"
    );
}

/// Looks where daemons live too: a user's PATH on Debian leaves /usr/sbin out, and any PATH those of systemd.
fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/systemd", "/lib/systemd"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// Whether a file is there and may be run by someone.
fn is_executable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
