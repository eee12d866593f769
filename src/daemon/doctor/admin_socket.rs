//! Whether a running plustwo answers operators, and what it says of itself.

use super::Finding;
use crate::daemon::admin::exchange;
use serde_json::Value;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const CHECK: &str = "admin-socket";
/// Where the packaged unit has the socket.
const PACKAGED: &str = "/run/plustwo/admin.sock";
/// How long each of connecting and answering may take.
const WAIT: Duration = Duration::from_secs(2);

/// Asks at the socket, or at the address where there is no socket; also the process that answers.
pub(super) fn check(socket: Option<&Path>, http: Option<SocketAddr>) -> (Vec<Finding>, Option<u32>) {
    let path = socket.unwrap_or_else(|| Path::new(PACKAGED));
    let subject = path.display().to_string();
    match over_socket(path) {
        Ok(status) => says(&subject, &status),
        Err(error) => match http.map(|address| (address, over_http(address))) {
            Some((address, Ok(status))) => says(&address.to_string(), &status),
            Some((address, Err(error))) => (vec![unanswered(&address.to_string(), &error)], None),
            None => (vec![unanswered(&subject, &error)], None),
        },
    }
}

fn over_socket(path: &Path) -> io::Result<Value> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    status(stream)
}

fn over_http(address: SocketAddr) -> io::Result<Value> {
    let stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    status(stream)
}

fn status(stream: impl io::Read + io::Write) -> io::Result<Value> {
    let (_, body) = exchange(stream, "GET", "/v1/status")?;
    serde_json::from_str(&body).map_err(io::Error::other)
}

/// What a status means.
fn says(subject: &str, status: &Value) -> (Vec<Finding>, Option<u32>) {
    let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let process = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let version = status["version"].as_str().unwrap_or("?");
    let says = format!("plustwo {version} (process {process}) answers; it serves generation {}", status["generation"]);
    let mut findings = vec![Finding::ok(CHECK, subject, says)];
    if let Some(error) = status["last_error"].as_str() {
        let first = error.lines().next().unwrap_or_default();
        let what = if status["last_good"] == true { "the LAST GOOD configuration" } else { "an older configuration" };
        let finding = Finding::warn(CHECK, subject, format!("the last attempt to load the file failed: {first}"));
        findings.push(
            finding
                .means(format!("{what} is served, and not what the file says"))
                .remedy("`plustwo status` shows all of it; mend the file, and it is taken up"),
        );
    }
    if version != env!("CARGO_PKG_VERSION") {
        let finding =
            Finding::warn(CHECK, subject, format!("{version} runs, and this is {}", env!("CARGO_PKG_VERSION")));
        findings.push(finding.remedy("restart it, to run what is installed"));
    }
    (findings, pid)
}

/// What it means that nothing answers.
fn unanswered(subject: &str, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Finding::skipped(CHECK, subject, "nobody is there: plustwo does not run, or has its socket elsewhere")
        }
        io::ErrorKind::PermissionDenied => {
            Finding::skipped(CHECK, subject, "you may not connect; its owner and group may")
                .remedy("`sudo plustwo doctor` sees more")
        }
        io::ErrorKind::ConnectionRefused => {
            Finding::warn(CHECK, subject, "nobody answers there any more: it was left by a plustwo that has ended")
                .means("plustwo does not run; the next one replaces what is there")
                .remedy("`systemctl status plustwo` or `journalctl -u plustwo` says why it ended")
        }
        _ => silent(subject, format!("it does not answer: {error}")),
    }
}

/// What is said of one that takes too long in all.
pub(super) fn hangs() -> Finding {
    silent("", "it does not answer in time".to_owned())
}

fn silent(subject: &str, says: String) -> Finding {
    Finding::fail(CHECK, subject, says)
        .means("plustwo hangs, or something else listens there")
        .remedy("`systemctl status plustwo` says what runs; `systemctl restart plustwo` starts it anew")
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_failed_last_and_another_version_are_warned_about() {
        let status = json!({
            "pid": 7, "version": "0.0.1", "generation": 3, "last_error": "error: no\nmore", "last_good": true,
        });
        let (findings, pid) = says("/x", &status);
        let outcomes: Vec<Outcome> = findings.iter().map(|finding| finding.outcome).collect();
        assert_eq!((outcomes, pid), (vec![Outcome::Ok, Outcome::Warn, Outcome::Warn], Some(7)));
        assert!(findings[1].says.ends_with("error: no") && findings[1].means.contains("LAST GOOD"));
    }

    #[test]
    fn a_socket_that_was_left_is_no_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        assert_eq!(check(Some(&path), None).0[0].outcome, Outcome::Skipped);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (findings, pid) = check(Some(&path), None);
        assert_eq!((findings[0].outcome, pid), (Outcome::Warn, None));
    }
}
