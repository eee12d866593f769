//! A test that runs in namespaces of its own: the test binary runs again in them, for this test only.

use super::{need_tool, netns, skip};
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

/// Set to the test's name in the process that runs its body.
const INNER: &str = "PLUSTWO_TESTS_ALONE";
/// The longest that a body may take; then its process, and with it all that it started, ends.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a test's body as the first process of its own namespaces: it may use any address and port, set up any network,
/// and whatever it starts ends with it. `name` is the test's, as the harness prints it.
#[track_caller]
#[allow(clippy::print_stdout, reason = "what the inner run said belongs into the harness's capture")]
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INNER).is_some_and(|inner| inner == name) {
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            let _ = writeln!(std::io::stderr(), "not done within {PATIENCE:?}");
            std::process::exit(1);
        });
        return body();
    }
    if netns::TOOLS.iter().any(|tool| need_tool(tool).is_none()) {
        return;
    }
    let mut command = match netns::alone() {
        Ok(command) => command,
        Err(reason) => return skip(&format!("no namespaces of our own ({reason}); it takes root or a user namespace")),
    };
    let this = std::env::current_exe().expect("a test binary has a path");
    command.arg(this).args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env(INNER, name).stdin(Stdio::null()).output().expect("it could be run a moment ago");
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for line in complaints.lines().filter(|line| line.starts_with("SKIPPED")) {
        // Past the capture of this harness, as `skip` does it.
        let _ = writeln!(std::io::stderr(), "\n{line}");
    }
    assert!(output.status.success(), "{name}, in its own namespaces:\n{said}\n{complaints}");
    assert!(said.contains("1 passed"), "no test here has the name {name:?}:\n{said}");
    print!("{said}{complaints}");
}
