//! The commands that ask a running daemon: one request to its admin interface each, and the reply in words or as JSON.

use super::{fail, say_out};
use crate::daemon::admin::{ANSWER_WITHIN, SOCKET_NAME, exchange};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Where the socket is unless something else is said: where the packaged unit puts it.
const SOCKET: &str = "/run/plustwo/admin.sock";
/// How long the daemon may take to say how it is: longer than those take who hold up its admin interface. One that hangs
/// must not hold up who watches it.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Where the daemon is asked, and how its reply is shown.
#[derive(Args, Debug)]
pub(super) struct Asking {
    /// The daemon's admin socket; without it admin.sock in the folder of RUNTIME_DIRECTORY, or /run/plustwo/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Ask over TCP instead, where `[admin] http` says
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    http: Option<SocketAddr>,
    /// Show the reply as it comes
    #[arg(long)]
    json: bool,
}

/// What a running daemon can be asked.
#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// What is served, since when, and what failed last
    Status(Asking),
    /// Reads the configuration again, and says what changed
    Reload(Asking),
    /// What was counted so far
    Stats(Asking),
    /// Whose answers there are, and at which doors
    Views(Asking),
    /// The targets of rules and of the upstream, and how they do
    Upstreams(Asking),
    /// What is kept of upstreams' replies
    #[command(subcommand)]
    Cache(CacheQuestion),
    /// Ends the daemon, as SIGTERM does
    Shutdown(Asking),
    /// Whether queries should be sent here: exit code 0 if so (for containers)
    Healthcheck(Asking),
}

/// What can be asked of the cache.
#[derive(Debug, Subcommand)]
pub(super) enum CacheQuestion {
    /// What is kept of a name
    Lookup {
        /// The name
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Forgets a name, or all below it, or everything
    Flush {
        /// The name, of all types
        #[arg(required_unless_present_any = ["suffix", "all"])]
        name: Option<String>,
        /// A name and all below it
        #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "all"])]
        suffix: Option<String>,
        /// Everything
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Only what the targets of this rule said; `upstream` is the upstream
        #[arg(long, value_name = "RULE")]
        context: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Asks, and says what the daemon said.
pub(super) fn ask(question: Question) -> ExitCode {
    let (asking, method, target, words): (Asking, &str, String, fn(&Value) -> String) = match question {
        Question::Status(asking) => (asking, "GET", "/v1/status".to_owned(), status_words),
        Question::Reload(asking) => (asking, "POST", "/v1/reload".to_owned(), reload_words),
        Question::Stats(asking) => (asking, "GET", "/v1/stats".to_owned(), stats_words),
        Question::Views(asking) => (asking, "GET", "/v1/views".to_owned(), views_words),
        Question::Upstreams(asking) => (asking, "GET", "/v1/upstreams".to_owned(), upstreams_words),
        Question::Cache(CacheQuestion::Lookup { name, asking }) => {
            (asking, "GET", format!("/v1/cache?name={}", encoded(&name)), lookup_words)
        }
        Question::Cache(CacheQuestion::Flush { name, suffix, all: _, context, asking }) => {
            let what = match (name, suffix) {
                (Some(name), _) => format!("name={}", encoded(&name)),
                (None, Some(suffix)) => format!("suffix={}", encoded(&suffix)),
                (None, None) => "all=true".to_owned(),
            };
            let context = context.map(|context| format!("&context={}", encoded(&context))).unwrap_or_default();
            (asking, "DELETE", format!("/v1/cache?{what}{context}"), flush_words)
        }
        Question::Shutdown(asking) => (asking, "POST", "/v1/shutdown".to_owned(), |_| "leaving\n".to_owned()),
        Question::Healthcheck(asking) => (asking, "GET", "/readyz".to_owned(), ready_words),
    };
    // A reload takes as long as the file is large, and may wait for another one.
    let patience = if target == "/v1/reload" { ANSWER_WITHIN } else { REPLY_WITHIN };
    let is_for_programs = asking.json;
    let (code, body) = match asking.request(method, target, patience) {
        Ok(reply) => reply,
        Err(words) => return fail(&format!("error: {words}")),
    };
    let is_fine = (200..300).contains(&code);
    // Also where it is shown as it comes: one that broke off half-way is none.
    let Ok(value) = serde_json::from_str::<Value>(&body) else {
        return fail(&format!("error: the reply is not JSON: {}", body.trim_end()));
    };
    if is_for_programs {
        say_out(&body);
    } else {
        match value["error"].as_str() {
            // Of a file with errors it is all of them, each with its severity.
            Some(error) if SEVERITIES.into_iter().any(|word| error.starts_with(word)) => say_out(&format!("{error}\n")),
            Some(error) => say_out(&format!("error: {error}\n")),
            None => say_out(&words(&value)),
        }
    }
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a diagnostic begins with.
const SEVERITIES: [&str; 2] = ["error: ", "warning: "];

impl Asking {
    /// The code and the body of the reply to one request, if it comes before patience ends; the error is a sentence.
    fn request(self, method: &'static str, target: String, patience: Duration) -> Result<(u16, String), String> {
        let (done, reply) = sync_channel(1);
        // On a thread of its own: connecting, too, waits for a daemon that hangs. It ends with the process.
        let asking = std::thread::Builder::new().spawn(move || {
            // Nobody listens any more once patience has ended.
            let _ = done.send(self.request_and_wait(method, &target));
        });
        asking.map_err(|error| format!("the system refuses a thread: {error}"))?;
        let hangs = || format!("plustwo does not answer within {} s: it hangs, or lacks CPU", patience.as_secs());
        reply.recv_timeout(patience).unwrap_or_else(|_| Err(hangs()))
    }

    /// The same, however long it takes.
    fn request_and_wait(&self, method: &str, target: &str) -> Result<(u16, String), String> {
        if let Some(address) = self.http {
            let failed = |error: io::Error| format!("cannot ask plustwo at {address}: {error}");
            return TcpStream::connect(address).and_then(|stream| exchange(stream, method, target)).map_err(failed);
        }
        let path = self.socket.clone().unwrap_or_else(|| {
            super::folder_of_service_manager("RUNTIME_DIRECTORY")
                .map_or_else(|| PathBuf::from(SOCKET), |folder| folder.join(SOCKET_NAME))
        });
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "; its owner and group may connect (try sudo)",
                _ => "; is plustwo running, and does `[admin] socket` say this? (--socket PATH)",
            };
            format!("cannot ask plustwo at {}: {error}{hint}", path.display())
        };
        UnixStream::connect(&path).and_then(|stream| exchange(stream, method, target)).map_err(failed)
    }
}

/// Percent-encodes what could mean something in a query (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(octet)),
            _ => {
                let _ = write!(encoded, "%{octet:02X}");
            }
        }
    }
    encoded
}

/// A value in a sentence: texts without quotes, nothing as a dash.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// The items of a list; none where it is no list.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How long ago, in the largest unit that fits.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Since a moment that is given in seconds since 1970.
fn since(value: &Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    ago(now.saturating_sub(value.as_u64().unwrap_or(now)))
}

fn status_words(value: &Value) -> String {
    let mut words = format!(
        "plustwo {}, process {}, up {}\n",
        plain(&value["version"]),
        plain(&value["pid"]),
        ago(value["uptime_seconds"].as_u64().unwrap_or(0))
    );
    let _ = writeln!(
        words,
        "serves generation {}, loaded {} ago{}",
        plain(&value["generation"]),
        since(&value["loaded_at"]),
        if value["last_good"] == true { ": the LAST GOOD configuration, not the file" } else { "" }
    );
    let _ = writeln!(
        words,
        "  {} VPCs, {} hosted zones with {} names, {} endpoints, {} inbound endpoints, {} resolver rules, {} doors",
        plain(&value["vpcs"]),
        plain(&value["hosted_zones"]),
        plain(&value["names"]),
        plain(&value["endpoints"]),
        plain(&value["inbound_endpoints"]),
        plain(&value["resolver_rules"]),
        plain(&value["doors"])
    );
    for line in items(&value["changes"]) {
        let _ = writeln!(words, "  changed: {}", plain(line));
    }
    let _ = writeln!(
        words,
        "reloaded {} times, failed {} times; {} questions in flight",
        plain(&value["reloads"]),
        plain(&value["reload_failures"]),
        plain(&value["in_flight"])
    );
    if let Some(error) = value["last_error"].as_str() {
        let _ = writeln!(words, "the last attempt, {} ago, FAILED:", since(&value["last_attempt"]));
        for line in error.lines() {
            let _ = writeln!(words, "  {line}");
        }
    }
    let _ = writeln!(words, "files");
    for file in items(&value["files"]) {
        let state = if file["read"] == true { format!("{} octets", file["octets"]) } else { "NOT READ".to_owned() };
        let _ = writeln!(words, "  {}  {state}", plain(&file["path"]));
    }
    words
}

fn reload_words(value: &Value) -> String {
    let mut words = format!("reloaded: serves generation {}\n", plain(&value["generation"]));
    if items(&value["changes"]).is_empty() {
        words += "nothing that decides answers has changed\n";
    }
    for line in items(&value["changes"]) {
        let _ = writeln!(words, "  changed: {}", plain(line));
    }
    words
}

fn stats_words(value: &Value) -> String {
    let mut words = String::new();
    for (section, numbers) in value.as_object().into_iter().flatten() {
        match numbers.as_object() {
            None => {
                let _ = writeln!(words, "{section} {numbers}");
            }
            Some(numbers) => {
                for (name, number) in numbers {
                    let _ = writeln!(words, "{section}.{name} {number}");
                }
            }
        }
    }
    words
}

fn views_words(value: &Value) -> String {
    let mut words = String::new();
    for view in items(&value["views"]) {
        let doors: Vec<String> = items(&view["doors"]).iter().map(plain).collect();
        let doors = if doors.is_empty() { "no door of its own".to_owned() } else { doors.join(", ") };
        let support = if view["dns_support"] == true { "" } else { "; refuses every query (dns_support)" };
        let _ = writeln!(words, "{} {}: {doors}{support}", plain(&view["vpc"]), plain(&view["ingress"]));
    }
    words + &more(value, "views")
}

fn upstreams_words(value: &Value) -> String {
    let mut words = String::new();
    for context in items(&value["contexts"]) {
        let _ = writeln!(words, "{} ({})", plain(&context["context"]), plain(&context["order"]));
        for target in items(&context["targets"]) {
            let round_trip = target["round_trip_millis"].as_f64().map(|millis| format!(", {millis:.1} ms"));
            let _ = writeln!(
                words,
                "  {}  {}{}, {} answered, {} failed, {} in flight",
                plain(&target["target"]),
                plain(&target["condition"]),
                round_trip.unwrap_or_default(),
                plain(&target["answered"]),
                plain(&target["failed"]),
                plain(&target["in_flight"])
            );
        }
    }
    words + &more(value, "contexts")
}

/// How many of a list were left out.
fn more(value: &Value, list: &str) -> String {
    let shown = items(&value[list]).len() as u64;
    let total = value[format!("{list}_total")].as_u64().unwrap_or(shown);
    if total > shown { format!("… and {} more {list}\n", total - shown) } else { String::new() }
}

fn lookup_words(value: &Value) -> String {
    let entries = items(&value["entries"]);
    if entries.is_empty() {
        return format!("nothing is kept of {}\n", plain(&value["name"]));
    }
    let mut words = format!("{}\n", plain(&value["name"]));
    for entry in entries {
        let rtype = entry["type"].as_str().unwrap_or("every type");
        let fresh = match entry["fresh_seconds"].as_u64() {
            Some(seconds) if seconds > 0 => format!("fresh for {seconds} s"),
            _ => "kept beyond its lifetime".to_owned(),
        };
        let _ = writeln!(
            words,
            "  {}  {rtype}  {}  {} records  {fresh}{}{}",
            entry["context"].as_str().unwrap_or("targets of before"),
            plain(&entry["said"]),
            plain(&entry["answers"]),
            if entry["dnssec_ok"] == true { "  DO" } else { "" },
            if entry["checking_disabled"] == true { "  CD" } else { "" }
        );
    }
    if value["more"] == true {
        words += "  … and more\n";
    }
    words
}

fn flush_words(value: &Value) -> String {
    format!("forgot {} entries\n", plain(&value["flushed"]))
}

fn ready_words(value: &Value) -> String {
    let mut words = if value["ready"] == true { "ready\n" } else { "NOT ready\n" }.to_owned();
    for reason in items(&value["reasons"]) {
        let _ = writeln!(words, "  {}", plain(reason));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_a_query() {
        assert_eq!(encoded("www.example.com"), "www.example.com");
        assert_eq!(encoded("a b&name=é\\046"), "a%20b%26name%3D%C3%A9%5C046");
    }
}
