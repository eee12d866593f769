//! What the admin interface offers, and what it says.

use super::Peer;
use crate::daemon::loading::Loading;
use crate::dns::text::{Escapes, parse_folded_name};
use crate::dns::{Name, TargetOrder};
use crate::forward::ContextId;
use crate::forward::cache::{Flush, Held};
use crate::forward::pool::{Condition, TargetReport};
use crate::serve::counters::{WorkerCounters, WorkerCounts};
use crate::serve::server::Server;
use crate::serve::stream::StreamsWatch;
use crate::snapshot::publish::Published;
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{DoorKind, ForwardContext, Ingress};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERER};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// Views, contexts or files that one reply lists at most; it says how many there are.
const LISTED_MAX: usize = 1000;
/// Entries of the cache that one reply lists at most.
const ENTRIES_MAX: usize = 200;

/// A request that is understood: its method and path.
pub type Route = (&'static str, &'static str);

/// Every request that is understood.
pub const ROUTES: [Route; 12] = [
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/v1/status"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/views"),
    ("GET", "/v1/upstreams"),
    ("GET", "/v1/cache"),
    ("DELETE", "/v1/cache"),
    ("POST", "/v1/reload"),
    ("POST", "/v1/shutdown"),
    ("GET", "/v1/openapi.json"),
];

/// The description of all this.
const OPENAPI: &str = include_str!("../../../docs/admin.openapi.json");

/// What counts, written as Prometheus reads it.
pub(in crate::daemon) type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What whoever runs the daemon is asked to do.
pub(in crate::daemon) enum Command {
    /// Reload, and say what came of it.
    Reload(oneshot::Sender<ReloadReport>),
    /// Leave.
    Shutdown,
}

/// What came of a reload.
pub(in crate::daemon) struct ReloadReport {
    /// What is served now.
    pub(in crate::daemon) generation: u64,
    /// What changed, line by line; the error is why nothing did.
    pub(in crate::daemon) outcome: Result<Vec<String>, String>,
}

/// What the admin interface looks at.
pub(in crate::daemon) struct Service {
    /// What is served.
    pub(in crate::daemon) server: Server,
    /// What is known of loading.
    pub(in crate::daemon) loading: Loading,
    /// What streams have counted.
    pub(in crate::daemon) streams: StreamsWatch,
    /// Where wishes go.
    pub(in crate::daemon) commands: mpsc::Sender<Command>,
    /// What `/metrics` says.
    pub(in crate::daemon) metrics: Metrics,
    /// Set when the daemon is told to leave.
    pub(in crate::daemon) is_leaving: Arc<AtomicBool>,
    /// When the daemon started.
    pub(in crate::daemon) started: Instant,
}

/// A reply.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn json(status: StatusCode, value: &Value) -> Self {
        Self { status, kind: "application/json", body: format!("{value}\n") }
    }

    fn ok(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    fn error(status: StatusCode, words: &str) -> Self {
        Self::json(status, &json!({ "error": words }))
    }
}

impl Service {
    /// Answers a request.
    pub(super) async fn answer(&self, request: &Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        let mut allowed = None;
        let answer = if let Some(refusal) = refusal(request, peer) {
            Answer::error(StatusCode::FORBIDDEN, refusal)
        } else if ROUTES.iter().any(|(known, at)| *at == path && is(method, known)) {
            match Parameters::read(request.uri().query().unwrap_or_default()) {
                Ok(parameters) => self.route(method, path, parameters).await,
                Err(words) => Answer::error(StatusCode::BAD_REQUEST, &words),
            }
        } else {
            let methods: Vec<&str> = ROUTES.iter().filter(|(_, at)| *at == path).map(|(method, _)| *method).collect();
            if methods.is_empty() {
                let paths = ROUTES.iter().map(|(method, path)| format!("{method} {path}"));
                let words = format!("there is nothing here; there is {}", paths.collect::<Vec<_>>().join(", "));
                Answer::error(StatusCode::NOT_FOUND, &words)
            } else {
                allowed = Some(methods.join(", "));
                Answer::error(StatusCode::METHOD_NOT_ALLOWED, &format!("this takes {}", methods.join(" and ")))
            }
        };
        let mut reply = Response::builder()
            .status(answer.status)
            .header(CONTENT_TYPE, answer.kind)
            .header(CACHE_CONTROL, "no-store");
        if let Some(allowed) = allowed {
            reply = reply.header(ALLOW, allowed);
        }
        // HEAD has no body; every header here is one of ours.
        let body = if method == Method::HEAD { Bytes::new() } else { Bytes::from(answer.body) };
        reply.body(Full::new(body)).unwrap_or_default()
    }

    async fn route(&self, method: &Method, path: &str, mut parameters: Parameters) -> Answer {
        let answer = match path {
            "/livez" => Answer::ok(&json!({ "alive": true, "uptime_seconds": self.started.elapsed().as_secs() })),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/v1/status" => Answer::ok(&self.status()),
            "/v1/stats" => Answer::ok(&self.stats()),
            "/v1/views" => Answer::ok(&self.views()),
            "/v1/upstreams" => Answer::ok(&self.upstreams()),
            "/v1/cache" if method == Method::DELETE => self.flush(&mut parameters),
            "/v1/cache" => self.lookup(&mut parameters),
            "/v1/reload" => self.reload().await,
            "/v1/shutdown" => self.shutdown().await,
            _ => Answer { status: StatusCode::OK, kind: "application/json", body: OPENAPI.to_owned() },
        };
        match parameters.left() {
            Some(unknown) if answer.status == StatusCode::OK && method == Method::GET => {
                Answer::error(StatusCode::BAD_REQUEST, &format!("nobody knows the parameter {unknown:?} here"))
            }
            _ => answer,
        }
    }

    /// Whether queries should be sent here, and what an operator should look at.
    fn ready(&self) -> Answer {
        let published = self.server.publisher.current();
        let state = self.loading.state();
        let is_leaving = self.is_leaving.load(Ordering::Acquire);
        let mut reasons = Vec::new();
        let doors = doors(&published);
        if is_leaving {
            reasons.push("leaving: what is in flight is answered".to_owned());
        }
        if doors.is_empty() {
            reasons.push("no door is open".to_owned());
        }
        let is_ready = reasons.is_empty();
        let reports = self.reports();
        let mut upstreams = Vec::new();
        for context in published.snapshot.contexts.iter().filter(|context| !context.group.targets.is_empty()) {
            let targets = context.group.targets.iter().map(ToString::to_string);
            let (mut count, mut away) = (0, 0);
            for target in targets {
                count += 1;
                away += usize::from(reports.get(&target).is_some_and(is_away));
            }
            let is_answering = away < count;
            if !is_answering && reasons.len() < LISTED_MAX {
                reasons.push(format!("no target of {} answers", name_of(context)));
            }
            if upstreams.len() < LISTED_MAX {
                upstreams.push(json!({
                    "context": name_of(context), "targets": count, "away": away, "answering": is_answering,
                }));
            }
        }
        if let Some(error) = &state.last_error {
            let first = error.lines().next().unwrap_or_default();
            let what = if state.is_last_good { "the last good configuration" } else { "an older configuration" };
            reasons.push(format!("{what} is served: {first}"));
        }
        let source = json!({
            "generation": state.generation,
            "age_seconds": seconds_since(state.loaded_at),
            "last_attempt_seconds": seconds_since(state.last_attempt),
            "current": state.last_error.is_none(),
            "last_good": state.is_last_good,
        });
        let body = json!({
            "ready": is_ready, "reasons": reasons, "doors": doors, "upstreams": upstreams, "source": source,
        });
        Answer::json(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }

    fn metrics(&self) -> Answer {
        Answer { status: StatusCode::OK, kind: "text/plain; version=0.0.4; charset=utf-8", body: (self.metrics)() }
    }

    fn status(&self) -> Value {
        let state = self.loading.state();
        let published = self.server.publisher.current();
        let files: Vec<Value> = state
            .files
            .iter()
            .take(LISTED_MAX)
            .map(|file| {
                json!({ "path": file.path.to_string_lossy(), "octets": file.octets, "read": file.digest.is_some() })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "generation": state.generation,
            "loaded_at": unix_seconds(state.loaded_at),
            "last_good": state.is_last_good,
            "last_attempt": unix_seconds(state.last_attempt),
            "last_error": state.last_error,
            "reloads": state.reloads,
            "reload_failures": state.failures,
            "changes": state.changes,
            "files": files,
            "files_total": state.files.len(),
            "doors": doors(&published).len(),
            "vpcs": state.sizes.vpcs,
            "hosted_zones": state.sizes.zones,
            "names": state.sizes.names,
            "endpoints": state.sizes.endpoints,
            "inbound_endpoints": state.sizes.inbound_endpoints,
            "resolver_rules": state.sizes.rules,
            "in_flight": self.server.in_flight.total(),
        })
    }

    fn stats(&self) -> Value {
        let queries: WorkerCounts = self.server.counters.iter().map(WorkerCounters::snapshot).sum();
        let named = |numbers: &mut dyn Iterator<Item = (&'static str, u64)>| -> Map<String, Value> {
            numbers.map(|(name, number)| (name.to_owned(), number.into())).collect()
        };
        let (octets, entries) = self.server.forwarder.cache_size();
        json!({
            "queries": named(&mut queries.named()),
            "streams": named(&mut self.streams.counts().named()),
            "forwarding": named(&mut self.server.forwarder.counters().named()),
            "cache": { "octets": octets, "entries": entries },
            "in_flight": self.server.in_flight.total(),
            "upstream_sockets": self.server.forwarder.sockets(),
        })
    }

    fn views(&self) -> Value {
        let published = self.server.publisher.current();
        let snapshot = &published.snapshot;
        let mut at: HashMap<u32, Vec<String>> = HashMap::new();
        for door in snapshot.doors.iter().flatten() {
            if let DoorKind::View(view) | DoorKind::BySubnet { otherwise: view } = door.kind {
                at.entry(view.0).or_default().push(door.address.to_string());
            }
        }
        let views = snapshot.views.iter().zip(0..).take(LISTED_MAX).map(|(view, index)| {
            json!({
                "vpc": view.vpc,
                "ingress": match view.ingress { Ingress::Inside => "inside", Ingress::ViaInbound => "via inbound" },
                "dns_support": view.dns_support,
                "doors": at.remove(&index).unwrap_or_default(),
            })
        });
        let views: Vec<Value> = views.collect();
        json!({ "generation": published.generation.0, "views": views, "views_total": snapshot.views.len() })
    }

    fn upstreams(&self) -> Value {
        let published = self.server.publisher.current();
        let contexts = &published.snapshot.contexts;
        let reports = self.reports();
        let listed: Vec<Value> = contexts
            .iter()
            .take(LISTED_MAX)
            .map(|context| {
                let targets = context.group.targets.iter().map(|target| {
                    let target = target.to_string();
                    target_json(&target, reports.get(&target))
                });
                json!({
                    "context": name_of(context),
                    "order": match context.group.order {
                        TargetOrder::Fastest => "fastest",
                        TargetOrder::InOrder => "in_order",
                        TargetOrder::Random => "random",
                    },
                    "targets": targets.collect::<Vec<Value>>(),
                })
            })
            .collect();
        json!({ "contexts": listed, "contexts_total": contexts.len() })
    }

    fn reports(&self) -> BTreeMap<String, TargetReport> {
        let reports = self.server.forwarder.target_reports();
        reports.into_iter().map(|report| (report.target.clone(), report)).collect()
    }

    /// `GET /v1/cache?name=`.
    fn lookup(&self, parameters: &mut Parameters) -> Answer {
        let name = match parameters.name("name") {
            Ok(Some(name)) => name,
            Ok(None) => return Answer::error(StatusCode::BAD_REQUEST, "which name? ?name=www.example.com"),
            Err(words) => return Answer::error(StatusCode::BAD_REQUEST, &words),
        };
        let published = self.server.publisher.current();
        let contexts: HashMap<ContextId, String> =
            published.snapshot.contexts.iter().map(|context| (context.id, name_of(context))).collect();
        let held = self.server.forwarder.cache().held(&name, ENTRIES_MAX + 1, self.server.now());
        let entries: Vec<Value> = held.iter().take(ENTRIES_MAX).map(|held| held_json(held, &contexts)).collect();
        Answer::ok(&json!({ "name": name.to_string(), "entries": entries, "more": held.len() > ENTRIES_MAX }))
    }

    /// `DELETE /v1/cache?name=`, `?suffix=` or `?all=true`, each with `&context=` where only one is meant.
    fn flush(&self, parameters: &mut Parameters) -> Answer {
        let bad = |words: &str| Answer::error(StatusCode::BAD_REQUEST, words);
        let (name, suffix) = match (parameters.name("name"), parameters.name("suffix")) {
            (Ok(name), Ok(suffix)) => (name, suffix),
            (Err(words), _) | (_, Err(words)) => return bad(&words),
        };
        let all = parameters.take("all");
        let what = match (name, suffix, all.as_deref()) {
            (Some(name), None, None) => Flush::Name(name),
            (None, Some(suffix), None) => Flush::Suffix(suffix),
            (None, None, Some("true")) => Flush::All,
            _ => return bad("flush what? one of ?name=NAME, ?suffix=NAME and ?all=true"),
        };
        let context = match parameters.take("context") {
            None => None,
            Some(wanted) => {
                let published = self.server.publisher.current();
                match published.snapshot.contexts.iter().find(|context| name_of(context) == wanted) {
                    Some(context) => Some(context.id),
                    None => return bad(&format!("there is no context {wanted:?}: it is a rule's id, or `upstream`")),
                }
            }
        };
        // Nothing is flushed for somebody who meant something else.
        if let Some(unknown) = parameters.left() {
            return bad(&format!("nobody knows the parameter {unknown:?} here"));
        }
        let cache = self.server.forwarder.cache();
        let flushed = match context {
            None => cache.flush(&what),
            Some(context) => cache.flush_in(&what, context),
        };
        tracing::info!(flushed, "the cache was flushed on an operator's word: {}", what_words(&what));
        Answer::ok(&json!({ "flushed": flushed }))
    }

    async fn reload(&self) -> Answer {
        let (sender, report) = oneshot::channel();
        let gone = || Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is leaving");
        if self.commands.send(Command::Reload(sender)).await.is_err() {
            return gone();
        }
        let Ok(ReloadReport { generation, outcome }) = report.await else { return gone() };
        match outcome {
            Ok(changes) => {
                Answer::ok(&json!({ "reloaded": true, "generation": generation, "changes": changes, "error": null }))
            }
            Err(words) => Answer::json(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "reloaded": false, "generation": generation, "changes": [], "error": words }),
            ),
        }
    }

    async fn shutdown(&self) -> Answer {
        match self.commands.send(Command::Shutdown).await {
            Ok(()) => Answer::ok(&json!({ "leaving": true })),
            Err(_) => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is leaving already"),
        }
    }
}

/// Why a request is not even looked at. A page in a browser on this machine can send requests to its loopback addresses;
/// it cannot leave out all that a browser says of its origin, and the name it was made to look up stays in `Host`.
fn refusal(request: &Request<Incoming>, peer: Peer) -> Option<&'static str> {
    if peer == Peer::Socket {
        return None;
    }
    let headers = request.headers();
    if [ORIGIN, REFERER, HeaderName::from_static("sec-fetch-site")].iter().any(|header| headers.contains_key(header)) {
        return Some("this is not for pages in browsers");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let is_local = host.is_some_and(|host| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|octet| octet.is_ascii_digit()));
        let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    if is_local { None } else { Some("`Host` must be localhost or an address of the loopback") }
}

/// Whether a request's method is this one; HEAD is GET without a body.
fn is(method: &Method, known: &str) -> bool {
    method.as_str() == known || (method == Method::HEAD && known == "GET")
}

/// What stands behind the `?`.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: &str) -> Result<Self, String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(key)?, decoded(value)?))
        });
        pairs.collect::<Result<_, String>>().map(Self)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(found, _)| found == key)?;
        Some(self.0.remove(at).1)
    }

    fn name(&mut self, key: &str) -> Result<Option<Name>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let name = parse_folded_name(&text, Escapes::Decimal, None);
        name.map(Some).map_err(|error| format!("{text:?} is not a domain name: {error}"))
    }

    /// One that nobody took.
    fn left(&self) -> Option<&str> {
        self.0.first().map(|(key, _)| key.as_str())
    }
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let hex = rest.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        octets.push(hex.ok_or_else(|| format!("{text:?} has a % that no two hexadecimal digits follow"))?);
        rest = &rest[2..];
    }
    String::from_utf8(octets).map_err(|_| format!("{text:?} is not UTF-8"))
}

/// What a context is called: `upstream`, the id of its rule, or the zone that delegates and the name at which it does.
fn name_of(context: &ForwardContext) -> String {
    match &context.kind {
        ContextKind::Upstream => "upstream".to_owned(),
        ContextKind::Rule(id) => id.to_string(),
        ContextKind::Delegation { zone, owner } => format!("{zone} {owner}"),
    }
}

fn doors(published: &Published) -> Vec<Value> {
    let snapshot = &published.snapshot;
    let door = |door: &crate::snapshot::Door| {
        let vpc = match door.kind {
            DoorKind::Shared { .. } => None,
            DoorKind::View(view) | DoorKind::BySubnet { otherwise: view } => Some(snapshot.view(view)),
        };
        let kind = match vpc.map(|view| view.ingress) {
            None => "shared",
            Some(Ingress::Inside) => "plus-two",
            Some(Ingress::ViaInbound) => "inbound endpoint",
        };
        json!({ "address": door.address.to_string(), "kind": kind, "vpc": vpc.map(|view| &*view.vpc) })
    };
    snapshot.doors.iter().flatten().map(door).collect()
}

fn is_away(report: &TargetReport) -> bool {
    matches!(report.condition, Condition::Away(_))
}

fn target_json(target: &str, report: Option<&TargetReport>) -> Value {
    let condition = report.map_or("fresh", |report| match report.condition {
        Condition::Fresh => "fresh",
        Condition::Good => "good",
        Condition::Suspect(_) => "suspect",
        Condition::Away(_) => "away",
    });
    json!({
        "target": target,
        "condition": condition,
        "round_trip_millis": report.and_then(|report| report.round_trip_millis),
        "in_flight": report.map_or(0, |report| report.in_flight),
        "answered": report.map_or(0, |report| report.answered),
        "failed": report.map_or(0, |report| report.failed),
        "cookies": report.is_some_and(|report| report.has_cookies),
    })
}

fn held_json(held: &Held, contexts: &HashMap<ContextId, String>) -> Value {
    let (said, answers, octets) = match &held.outcome {
        Ok(reply) => (reply.rcode().to_string(), reply.counts()[0], reply.octets().len()),
        Err(error) => (error.extended_error().text.to_owned(), 0, 0),
    };
    json!({
        "context": contexts.get(&held.context),
        "type": held.qtype.map(|qtype| qtype.to_string()),
        "dnssec_ok": held.dnssec_ok,
        "checking_disabled": held.checking_disabled,
        "said": said,
        "answers": answers,
        "octets": octets,
        "fresh_seconds": held.fresh_seconds,
    })
}

fn what_words(what: &Flush) -> String {
    match what {
        Flush::All => "all of it".to_owned(),
        Flush::Name(name) => name.to_string(),
        Flush::Suffix(name) => format!("{name} and all below it"),
        Flush::Context(context) => format!("context {}", context.0),
    }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since a moment; 0 where the clock was put back before it.
fn seconds_since(at: SystemTime) -> u64 {
    at.elapsed().map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_each_is_known() {
        let mut parameters = Parameters::read("name=www.ex%61mple.com&all=true&x").unwrap();
        assert_eq!(parameters.name("name").unwrap().unwrap().to_string(), "www.example.com.");
        assert_eq!(parameters.take("all").as_deref(), Some("true"));
        assert_eq!(parameters.left(), Some("x"));
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Parameters::read(bad).is_err(), "{bad}");
        }
        assert!(Parameters::read("name=a..b").unwrap().name("name").is_err());
    }
}
