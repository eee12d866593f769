//! A test that lacks its tool says so where people see it, and fails where nothing may be skipped.

mod support;

use std::process::Command;

/// The tool that no machine has.
const ABSENT: &str = "plustwo-tool-that-is-nowhere";

/// Set by the tests below when they run this binary again.
const INNER: &str = "PLUSTWO_TESTS_INNER";

/// Skips as a real test would, in the process that the tests below start.
#[test]
fn needs_a_tool_that_is_nowhere() {
    if std::env::var_os(INNER).is_some() {
        assert_eq!(support::need_tool(ABSENT), None);
    }
}

/// Runs the test above in a process of its own; gives whether it passed, and its stderr.
fn run_inner(no_skip: &str) -> (bool, String) {
    let this = std::env::current_exe().expect("a test binary has a path");
    let output = Command::new(this)
        .args(["--exact", "needs_a_tool_that_is_nowhere"])
        .env(INNER, "1")
        .env(support::NO_SKIP, no_skip)
        .output()
        .expect("a test binary can be run");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_skipped_test_is_loud() {
    let (passed, stderr) = run_inner("");
    assert!(passed && stderr.contains(&format!("SKIPPED: `{ABSENT}`")), "{stderr}");
}

#[test]
fn a_skipped_test_fails_where_nothing_may_be_skipped() {
    let (passed, stderr) = run_inner("1");
    assert!(!passed, "{stderr}");
}

#[test]
fn a_tool_that_is_there_is_found() {
    let shell = support::need_tool("sh").expect("every Unix has a shell");
    assert!(Command::new(shell).args(["-c", "exit 0"]).status().is_ok_and(|status| status.success()));
}
