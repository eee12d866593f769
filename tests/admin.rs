//! The admin interface of the real program: its description and what it says are held against each other, field by field;
//! the commands say it in words; and nobody can hold it up.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::ask::{self, Question};
use support::binary::{Program, free_port, outcome, plustwo};
use support::upstream::{Behaviour, Upstream, parse_record};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A daemon with an admin socket and address, and an upstream that answers.
struct Served {
    folder: tempfile::TempDir,
    program: Program,
    door: SocketAddr,
    http: SocketAddr,
    /// Answers what is forwarded.
    _upstream: Upstream,
}

impl Served {
    fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more lines in its file.
    fn start_with(more: &str) -> Self {
        let records = vec![parse_record("www.public.example. 300 IN A 198.51.100.80")];
        let upstream = Upstream::start(records, Behaviour::Answers);
        for _ in 0..8 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (door, http) = (free_port(LOOPBACK), free_port(LOOPBACK));
            let text = format!(
                "version = 1\nregion = \"eu-central-1\"\n[server]\nwatch = false\n[admin]\nsocket = \"admin\"\nhttp = \"{http}\"\n\
                 [upstream]\ntargets = [\"{}\"]\n[[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n[[hosted_zone]]\nid = \"Z0\"\n\
                 name = \"corp.example.com\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\n{more}",
                upstream.address()
            );
            std::fs::write(folder.path().join("plustwo.toml"), text).expect("written");
            std::fs::write(folder.path().join("zone"), "www 60 A 10.0.0.1\n").expect("written");
            let program = Program::start(plustwo().args(["run", "--config"]).arg(folder.path().join("plustwo.toml")));
            if program.wait_for("serving generation 1").is_some() {
                return Self { folder, program, door, http, _upstream: upstream };
            }
            assert!(program.said().contains("in use"), "it does not serve:\n{}", program.said());
        }
        panic!("no free port");
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin")
    }

    /// The code and the body of the reply to a request over the socket.
    fn request(&self, method: &str, target: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.socket()).expect("the socket is there");
        exchange(stream, &format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    /// Runs a command against it.
    fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        outcome(plustwo().args(arguments).arg("--socket").arg(self.socket()))
    }

    /// Asks something that is forwarded, so that the cache has it.
    fn ask(&self, name: &str) {
        let query = Question::new(name, "A").octets(3);
        let reply = ask::over_udp(LOOPBACK, self.door, &query).expect("it answers");
        assert_eq!(reply[3] & 15, 0, "NOERROR for {name}");
    }
}

/// Sends octets and reads to the end; the code and the body.
fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).expect("it takes the request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("UTF-8");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {reply:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no code: {head}"));
    (code, body.to_owned())
}

/// The description.
fn description() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin.openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}

/// Follows a `$ref`; the schema and where it stands.
fn resolved<'d>(document: &'d Value, schema: &'d Value, at: &str) -> (&'d Value, String) {
    match schema["$ref"].as_str() {
        Some(to) => (document.pointer(&to[1..]).unwrap_or_else(|| panic!("{to} leads nowhere")), to.to_owned()),
        None => (schema, at.to_owned()),
    }
}

/// Holds a value against a schema, both ways: nothing is missing, nothing is there that the schema does not know. Notes
/// every property that was there.
fn check(document: &Value, schema: &Value, at: &str, value: &Value, seen: &mut BTreeSet<String>) {
    let (schema, at) = resolved(document, schema, at);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        many => {
            many.as_array().unwrap_or_else(|| panic!("{at} has no type")).iter().filter_map(Value::as_str).collect()
        }
    };
    let is_allowed = types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
    assert!(is_allowed, "{at} is {kind}, not {types:?}: {value}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at} is {value}, not one of {words:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], &format!("{at}[]"), item, seen);
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(object.contains_key(required), "{at} lacks {required}: {value}");
    }
    for (key, value) in object {
        let property = &schema["properties"][key];
        if property.is_null() {
            let others = &schema["additionalProperties"];
            if schema.get("properties").is_some() || others.is_object() {
                assert!(others.is_object(), "{at} has {key}, which the description lacks");
                check(document, others, &format!("{at}.*"), value, seen);
            }
            continue;
        }
        seen.insert(format!("{at}.{key}"));
        check(document, property, &format!("{at}.{key}"), value, seen);
    }
}

/// Every property that a schema describes.
fn described(schema: &Value, at: &str, all: &mut BTreeSet<String>) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        all.insert(format!("{at}.{key}"));
        described(property, &format!("{at}.{key}"), all);
    }
    if schema["items"].is_object() {
        described(&schema["items"], &format!("{at}[]"), all);
    }
}

#[test]
fn the_description_is_what_it_says() {
    let served = Served::start();
    let document = description();
    let paths = document["paths"].as_object().expect("paths");
    let documented: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let known = plustwo::daemon::admin::ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(documented, known.collect::<BTreeSet<_>>());

    served.ask("www.public.example");
    let mut seen = BTreeSet::new();
    let mut statuses = BTreeSet::new();
    let mut hold = |method: &str, target: &str, expected: u16| -> Value {
        let (code, body) = served.request(method, target);
        assert_eq!(code, expected, "{method} {target}: {body}");
        let path = target.split('?').next().expect("a path");
        statuses.insert((method.to_owned(), path.to_owned(), code));
        let response = &document["paths"][path][method.to_lowercase()]["responses"][code.to_string()];
        assert!(response.is_object(), "{method} {target}: {code} is not described");
        let value: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}"));
        check(&document, &response["content"]["application/json"]["schema"], target, &value, &mut seen);
        value
    };
    hold("GET", "/livez", 200);
    hold("GET", "/v1/stats", 200);
    hold("GET", "/v1/views", 200);
    let upstreams = hold("GET", "/v1/upstreams", 200);
    assert_eq!(upstreams["contexts"][0]["targets"][0]["condition"], "good");
    let held = hold("GET", "/v1/cache?name=WWW.public.example", 200);
    assert_eq!(held["entries"][0]["said"], "NOERROR", "{held}");
    assert_eq!(held["entries"][0]["context"], "upstream");
    hold("GET", "/v1/cache", 400);
    hold("GET", "/v1/cache?name=a..b", 400);
    hold("DELETE", "/v1/cache", 400);
    hold("DELETE", "/v1/cache?all=true&contxt=upstream", 400);
    assert_eq!(hold("DELETE", "/v1/cache?suffix=public.example&context=upstream", 200)["flushed"], 1);
    assert_eq!(hold("DELETE", "/v1/cache?name=www.public.example", 200)["flushed"], 0);
    assert_eq!(hold("GET", "/v1/cache?name=www.public.example", 200)["entries"], serde_json::json!([]));
    let ready = hold("GET", "/readyz", 200);
    assert_eq!(ready["reasons"], serde_json::json!([]), "{ready}");

    std::fs::write(served.folder.path().join("zone"), "www 60 A 10.0.0.2\nnew 60 A 10.0.0.3\n").expect("written");
    let reloaded = hold("POST", "/v1/reload", 200);
    assert_eq!((&reloaded["generation"], &reloaded["reloaded"]), (&Value::from(2), &Value::from(true)));
    assert!(reloaded["changes"][0].as_str().expect("a line").starts_with("vpc-0a: zones +0 ~1 -0"), "{reloaded}");
    std::fs::remove_file(served.folder.path().join("zone")).expect("removed");
    let failed = hold("POST", "/v1/reload", 422);
    assert!(failed["error"].as_str().expect("a reason").contains("zone") && failed["generation"] == 2, "{failed}");
    let status = hold("GET", "/v1/status", 200);
    assert_eq!((&status["generation"], &status["reload_failures"]), (&Value::from(2), &Value::from(1)), "{status}");
    assert_eq!((&status["files"][1]["read"], &status["names"]), (&Value::from(false), &Value::from(2)), "{status}");
    let ready = hold("GET", "/readyz", 200);
    assert!(ready["reasons"][0].as_str().expect("a reason").contains("older configuration"), "{ready}");
    hold("GET", "/v1/openapi.json", 200);
    let (code, body) = served.request("GET", "/metrics");
    assert!(code == 200 && body.contains("# TYPE"), "{code} {body}");
    hold("POST", "/v1/shutdown", 200);

    let mut all = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        described(schema, &format!("#/components/schemas/{name}"), &mut all);
    }
    let never: Vec<&String> = all.difference(&seen).collect();
    assert!(never.is_empty(), "described and never said: {never:?}");
    let mut served = served;
    let (status, said) = served.program.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!served.socket().exists(), "the socket goes with the daemon");
}

#[test]
fn the_commands_say_it_in_words_and_as_json() {
    let served = Served::start();
    served.ask("www.public.example");
    let says = |arguments: &[&str], words: &[&str]| {
        let (code, stdout, stderr) = served.command(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        for words in words {
            assert!(stdout.contains(words), "{arguments:?} must say {words:?}, but said:\n{stdout}");
        }
    };
    says(&["status"], &["serves generation 1", "1 VPCs, 1 hosted zones with 1 names", "zone  18 octets"]);
    says(&["stats"], &["queries.queries 1", "cache.entries 1"]);
    says(&["views"], &[&format!("vpc-0a inside: {}", served.door), "vpc-0a via inbound: no door of its own"]);
    says(&["upstreams"], &["upstream (fastest)", "  good", " answered, 0 failed"]);
    says(&["cache", "lookup", "www.public.example"], &["upstream  A  NOERROR  1 records  fresh for"]);
    says(&["cache", "flush", "--suffix", "example"], &["forgot 1 entries"]);
    says(&["cache", "flush", "--all"], &["forgot 0 entries"]);
    says(&["cache", "lookup", "www.public.example"], &["nothing is kept of www.public.example."]);
    says(&["healthcheck"], &["ready"]);
    says(&["reload"], &["serves generation 2", "nothing that decides answers has changed"]);
    let (_, stdout, _) = served.command(&["status", "--json"]);
    let status: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(status["generation"], 2);
    let (code, stdout, _) = outcome(plustwo().args(["healthcheck", "--http", &served.http.to_string()]));
    assert_eq!((code, &*stdout), (0, "ready\n"));
    // What is wrong is said, with an exit code to tell.
    for (arguments, code, words) in [
        (&["cache", "flush", "a..b"][..], 1, "is not a domain name"),
        (&["cache", "flush", "a", "--context", "rslvr-rr-none"], 1, "there is no context"),
        (&["cache", "flush"], 2, "required"),
        (&["cache", "flush", "a", "--all"], 2, "cannot be used with"),
    ] {
        let (found, stdout, stderr) = served.command(arguments);
        assert!(found == code && format!("{stdout}{stderr}").contains(words), "{arguments:?}: {stdout}{stderr}");
    }
    std::fs::write(served.folder.path().join("plustwo.toml"), "version = 2\n").expect("written");
    let (code, stdout, _) = served.command(&["reload"]);
    assert!(code == 1 && stdout.starts_with("error: `version = 2`"), "{stdout}");
    says(&["status"], &["serves generation 2", "FAILED:", "`version = 2`"]);
    says(&["shutdown"], &["leaving"]);
    let mut served = served;
    assert_eq!(served.program.wait().0.code(), Some(0));
    let (code, _, stderr) = served.command(&["healthcheck"]);
    assert!(code == 1 && stderr.contains("is plustwo running"), "{stderr}");
}

#[test]
fn only_those_may_ask_who_should() {
    let served = Served::start();
    let mode = std::fs::metadata(served.socket()).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let over_http = |request: &str| exchange(TcpStream::connect(served.http).expect("it listens"), request);
    let (code, _) = over_http(&format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", served.http));
    assert_eq!(code, 200);
    for headers in [
        "Host: evil.example",
        "Host: localhost.evil.example",
        "Host: localhost\r\nHost: evil.example",
        "Host: 192.0.2.1",
        "X: y",
        "Host: localhost\r\nOrigin: http://evil.example",
        "Host: localhost\r\nOrigin: null",
        "Host: localhost\r\nReferer: http://evil.example/",
        "Host: localhost\r\nSec-Fetch-Site: cross-site",
    ] {
        let (code, body) = over_http(&format!("POST /v1/shutdown HTTP/1.1\r\n{headers}\r\n\r\n"));
        assert_eq!(code, 403, "{headers}: {body}");
    }
    let (code, body) = served.request("GET", "/v1/nothing");
    assert!(code == 404 && body.contains("GET /v1/status"), "{body}");
    let (code, body) = served.request("GET", "/v1/shutdown");
    assert!(code == 405 && body.contains("this takes POST"), "{body}");
    let (code, body) = served.request("GET", "/v1/status?colour=blue");
    assert!(code == 400 && body.contains("colour"), "{body}");
    let (code, body) = served.request("GET", &format!("/v1/cache?name={}", "a".repeat(4 << 10)));
    assert!(code == 400 && body.contains("is not a domain name"), "{code} {body}");
    // A request without end is not read to its end: it breaks off on one side or the other.
    let mut endless = UnixStream::connect(served.socket()).expect("the socket is there");
    let sent = (0..1 << 10).try_for_each(|_| endless.write_all(&[b'a'; 1 << 10]));
    assert!(sent.is_err(), "a request of a mebioctet was read");
    // A second daemon does not take the socket of the first, and leaves it as it is.
    let text = std::fs::read_to_string(served.folder.path().join("plustwo.toml")).expect("it is there");
    let text = text.replace(&served.door.to_string(), "127.0.0.1:0").replace(&served.http.to_string(), "127.0.0.1:0");
    std::fs::write(served.folder.path().join("second.toml"), text).expect("written");
    let (code, _, said) = outcome(plustwo().args(["run", "--config"]).arg(served.folder.path().join("second.toml")));
    assert!(code == 1 && said.contains("another plustwo, answers there"), "{said}");
    assert_eq!(served.request("GET", "/livez").0, 200);
}

#[test]
fn a_daemon_that_hangs_holds_up_nobody_who_watches_it() {
    let served = Served::start();
    served.program.signal("STOP");
    let (code, _, said) = served.command(&["healthcheck"]);
    served.program.signal("CONT");
    assert!(code == 1 && said.contains("does not answer within"), "{code} {said}");
    let (code, said, _) = served.command(&["healthcheck"]);
    assert_eq!((code, &*said), (0, "ready\n"));
}

#[test]
fn nobody_holds_it_up() {
    let served = Served::start();
    // Many more clients than are served at a time, who say nothing: they are sent away, and who asks is answered.
    let silent: Vec<UnixStream> =
        (0..300).map(|_| UnixStream::connect(served.socket()).expect("it takes connections")).collect();
    let (code, said, _) = served.command(&["healthcheck"]);
    assert_eq!((code, &*said), (0, "ready\n"));
    let mut ended = &silent[0];
    ended.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let mut rest = Vec::new();
    // A silent client is closed, with or without a word.
    let _ = ended.read_to_end(&mut rest).expect("it is closed before the time is over");
    served.ask("www.public.example");
}

#[test]
fn all_who_ask_at_a_time_are_answered() {
    let served = Served::start();
    // More than are served at a time, each with its question sent before the first of them is looked at.
    let asked: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = UnixStream::connect(served.socket()).expect("it takes connections");
            stream.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n").expect("it takes the request");
            stream
        })
        .collect();
    for mut stream in asked {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it is answered");
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply:?}");
    }
}

#[test]
fn who_does_not_read_what_was_asked_for_holds_it_up_no_longer() {
    // More to tell than a socket's buffer holds.
    let rule = |rule: usize| {
        let targets: Vec<String> =
            (0..6).map(|target| format!("198.18.{}.{}", rule % 256, 6 * (rule / 256) + target)).collect();
        format!(
            "[[resolver_rule]]\nid = \"rslvr-rr-{rule}\"\ndomain = \"r{rule}.example\"\naction = \"forward\"\n\
             targets = {targets:?}\nvpcs = [\"vpc-0a\"]\n"
        )
    };
    let served = Served::start_with(&(0..600).map(rule).collect::<String>());
    let (_, all) = served.request("GET", "/v1/upstreams");
    let deaf: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut deaf = UnixStream::connect(served.socket()).expect("it takes connections");
            deaf.write_all(b"GET /v1/upstreams HTTP/1.1\r\nHost: x\r\n\r\n").expect("it takes the request");
            deaf
        })
        .collect();
    let (code, said, _) = served.command(&["healthcheck"]);
    assert_eq!((code, &*said), (0, "ready\n"));
    // Some have been sent away by then, with a part of what there was to tell.
    let is_cut = |mut deaf: &UnixStream| {
        let mut told = String::new();
        let _ = deaf.read_to_string(&mut told);
        told.len() < all.len()
    };
    assert!(deaf.iter().any(is_cut), "all were told all");
}
