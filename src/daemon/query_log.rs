//! The thread that writes the query log and dnstap: it takes what those who answer have left for it, decodes it, and hands
//! it to files and sockets. Nobody who answers waits for it, nor for them.

mod counts;
mod dnstap;
mod file;
mod frame_stream;
mod line;
mod socket;

pub(super) use counts::{Loss, OutputCounts};

use self::dnstap::{Kind, Speaker, Tapped};
use self::file::FileOutput;
use self::line::{LoggedQuery, Question};
use self::socket::{Framing, SocketOutput};
use super::metrics::ingress_text;
use crate::config::{DnstapSettings, LogFilter, LogOutput, QueryLogSettings, Settings};
use crate::dns::message::Message;
use crate::dns::{Class, FoldedName, Name};
use crate::serve::counters::ReplySource;
use crate::serve::query_log::{Pending, Record, Selection, Selections};
use crate::serve::refusal::Refusal;
use crate::serve::server::Server;
use crate::snapshot::publish::Published;
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{Authority, Logs, Snapshot, View};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the thread looks for what there is to write: what a line waits at most, unless the disk is slow.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Octets of lines or frames that are handed over at a time.
const CHUNK_OCTETS: usize = 64 << 10;
/// How long what is to be logged waits for the thread to open where it goes, unless the thread is held up.
const OPEN_WITHIN: Duration = Duration::from_millis(200);
/// How long stopping waits for the thread: a disk that hangs, or a reader of stdout that stands still, must not keep the
/// daemon from ending.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Where the name of the machine stands: a unit with `ProcSubset=pid` hides the first.
const HOST_NAME_FILES: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/hostname"];

/// The thread that writes.
pub(super) struct QueryLogWriter {
    server: Server,
    orders: Sender<Order>,
    counts: Arc<LogCounts>,
    octets_max: usize,
}

/// What is counted of each log's output.
#[derive(Debug, Default)]
pub(super) struct LogCounts {
    /// Of lines.
    pub(super) query_log: OutputCounts,
    /// Of frames.
    pub(super) dnstap: OutputCounts,
}

/// What the thread is told.
enum Order {
    /// Write there from now on, and say once that can be.
    Settings(Box<(QueryLogSettings, DnstapSettings)>, Sender<()>),
    /// Files have been moved: open them anew.
    Reopen,
    /// Write what is left, say so, and end.
    Stop(Sender<()>),
}

impl QueryLogWriter {
    /// Starts the thread, with what the settings say.
    pub(super) fn start(server: &Server, settings: &Settings) -> io::Result<Self> {
        let (orders, ordered) = channel();
        let counts = Arc::new(LogCounts::default());
        let octets_max = usize::try_from(settings.limits.query_log_octets).unwrap_or(usize::MAX);
        let mut writer = Writer {
            server: server.clone(),
            counts: Arc::clone(&counts),
            query_log: None,
            dnstap: None,
            taken: Pending::default(),
            room: server.query_log.octets_each(octets_max),
            name: FoldedName::default(),
        };
        std::thread::Builder::new().name("query-log".to_owned()).spawn(move || writer.run(&ordered))?;
        let own = Self { server: server.clone(), orders, counts, octets_max };
        own.take_up(settings);
        Ok(own)
    }

    /// Writes what other settings say from now on. What was left for the writer before still goes where it would have gone.
    pub(super) fn take_up(&self, settings: &Settings) {
        let Settings { query_log, dnstap, .. } = settings;
        let lines = query_log.output.is_some().then(|| selection(&query_log.filter));
        let frames = dnstap.socket.is_some().then(|| selection(&dnstap.filter));
        let selections =
            Selections { of_logs: [lines, frames], wants_queries: frames.is_some() && dnstap.client_queries };
        let is_on = selections.of_logs.iter().any(Option::is_some);
        if !is_on {
            self.server.query_log.stop();
        }
        let (opened, is_open) = channel();
        self.tell(Order::Settings(Box::new((query_log.clone(), dnstap.clone())), opened));
        if is_on {
            // What is said for a log that the thread does not have yet would be passed over.
            let _ = is_open.recv_timeout(OPEN_WITHIN);
            self.server.query_log.start(selections, self.octets_max);
        }
    }

    /// Opens files anew.
    pub(super) fn reopen(&self) {
        self.tell(Order::Reopen);
    }

    /// What has been counted.
    pub(super) fn counts(&self) -> Arc<LogCounts> {
        Arc::clone(&self.counts)
    }

    /// Writes what is left, within a bound: nobody answers any more.
    pub(super) fn stop(self) {
        let (done, ended) = channel();
        self.tell(Order::Stop(done));
        if ended.recv_timeout(STOP_WITHIN).is_err() {
            tracing::warn!("the query log was not written to its end: its output takes nothing");
        }
    }

    fn tell(&self, order: Order) {
        // The thread ends only when it is told to.
        let _ = self.orders.send(order);
    }
}

/// What is decided of a query before it is copied.
fn selection(filter: &LogFilter) -> Selection {
    let named = |word: &&str| ReplySource::NAMED.into_iter().find(|(_, name)| name == word).map(|(source, _)| source);
    Selection {
        sample_rate: filter.sample_rate.rate(),
        sources: Selection::bits_of_sources(filter.sources.iter().filter_map(named)),
        rcodes: Selection::bits_of_rcodes(filter.rcodes.iter().copied()),
    }
}

/// What the thread works with.
struct Writer {
    server: Server,
    counts: Arc<LogCounts>,
    query_log: Option<Lines>,
    dnstap: Option<Frames>,
    /// What was taken last.
    taken: Pending,
    /// Octets that it has room for.
    room: usize,
    name: FoldedName,
}

/// The query log.
struct Lines {
    settings: QueryLogSettings,
    output: Output,
    /// What is to be handed over next, and how many lines it is.
    out: String,
    count: u64,
}

/// dnstap.
struct Frames {
    settings: DnstapSettings,
    speaker: Speaker,
    output: SocketOutput,
    out: Vec<u8>,
    count: u64,
}

/// Where lines go.
enum Output {
    File(FileOutput),
    Socket(SocketOutput),
}

/// From the server's clock to the one on the wall, which may be set at any time.
#[derive(Clone, Copy)]
struct Clocks {
    /// The moment on the server's clock, in nanoseconds.
    now: u64,
    /// The same, since 1970.
    wall: Duration,
}

impl Clocks {
    fn read(server: &Server) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: server.precisely().0, wall }
    }

    /// A moment of the server's clock, since 1970.
    fn wall(self, moment: u64) -> Duration {
        self.wall.saturating_sub(Duration::from_nanos(self.now.saturating_sub(moment)))
    }
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        // Whether there is so much that another look is due at once.
        let mut is_behind = false;
        let done = loop {
            let order = match (self.query_log.is_some() || self.dnstap.is_some(), is_behind) {
                (false, _) => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                (true, true) => orders.recv_timeout(Duration::ZERO),
                (true, false) => orders.recv_timeout(LOOK_EVERY),
            };
            match order {
                Err(RecvTimeoutError::Timeout) => is_behind = self.take_all(),
                Ok(Order::Settings(settings, opened)) => {
                    let (query_log, dnstap) = *settings;
                    self.open_new(&query_log, &dnstap);
                    // Nobody waits any more where it took too long.
                    let _ = opened.send(());
                    self.take_all();
                    self.take_up(query_log, dnstap);
                }
                Ok(Order::Reopen) => {
                    if let Some(Lines { output: Output::File(file), .. }) = &mut self.query_log {
                        file.reopen(&self.counts.query_log);
                    }
                }
                Ok(Order::Stop(done)) => break Some(done),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        self.take_all();
        self.take_up(QueryLogSettings::default(), DnstapSettings::default());
        // Nobody waits any more where it took too long.
        done.map(|done| done.send(()));
    }

    /// Opens what other settings want and was off; what is on stays as it is, for what was left for it.
    fn open_new(&mut self, query_log: &QueryLogSettings, dnstap: &DnstapSettings) {
        let query_log = self.query_log.as_ref().map_or(query_log, |lines| &lines.settings).clone();
        let dnstap = self.dnstap.as_ref().map_or(dnstap, |frames| &frames.settings).clone();
        self.take_up(query_log, dnstap);
    }

    /// Opens and closes what other settings want.
    fn take_up(&mut self, query_log: QueryLogSettings, dnstap: DnstapSettings) {
        let LogCounts { query_log: of_lines, dnstap: of_frames } = &*self.counts;
        match &mut self.query_log {
            Some(lines) if lines.settings.output == query_log.output => lines.settings = query_log,
            was => {
                if let Some(Lines { output: Output::Socket(socket), .. }) = was.take() {
                    socket.end(of_lines);
                }
                of_lines.set_on(query_log.output.is_some());
                *was = query_log.output.clone().map(|output| Lines::open(query_log, output, of_lines));
            }
        }
        match &mut self.dnstap {
            Some(frames) if frames.settings.socket == dnstap.socket => frames.settings = dnstap,
            was => {
                if let Some(frames) = was.take() {
                    frames.output.end(of_frames);
                }
                of_frames.set_on(dnstap.socket.is_some());
                *was = dnstap.socket.clone().map(|socket| {
                    let output = SocketOutput::open(socket, Framing::FrameStream, of_frames);
                    Frames { settings: dnstap, speaker: speaker(), output, out: Vec::new(), count: 0 }
                });
            }
        }
        let is_on = self.query_log.is_some() || self.dnstap.is_some();
        if is_on && self.taken.room() < self.room {
            self.taken = Pending::with_room(self.room);
        } else if !is_on {
            self.taken = Pending::default();
            self.server.query_log.free();
        }
    }

    /// Writes all that has been left, and goes on with what waits; whether there was much. A panic costs what was taken.
    fn take_all(&mut self) -> bool {
        if self.query_log.is_none() && self.dnstap.is_none() {
            return false;
        }
        catch_unwind(AssertUnwindSafe(|| self.write_all())).unwrap_or_else(|_| {
            tracing::error!("writing the query log panicked, and goes on; this is a bug, please report it");
            self.taken = Pending::with_room(self.room);
            if let Some(lines) = &mut self.query_log {
                self.counts.query_log.lost(lines.count, Loss::OutputFailed);
                (lines.out, lines.count) = (String::new(), 0);
            }
            if let Some(frames) = &mut self.dnstap {
                self.counts.dnstap.lost(frames.count, Loss::OutputFailed);
                (frames.out, frames.count) = (Vec::new(), 0);
            }
            false
        })
    }

    fn write_all(&mut self) -> bool {
        let mut most = 0;
        for buffer in 0..self.server.query_log.buffers() {
            let mut taken = std::mem::take(&mut self.taken);
            self.server.query_log.take(buffer, &mut taken);
            most = most.max(taken.octets());
            let clocks = Clocks::read(&self.server);
            for (published, record) in taken.records() {
                self.write(published, &record, clocks);
            }
            // Snapshots are let go of at once.
            taken.clear();
            self.taken = taken;
        }
        if let Some(lines) = &mut self.query_log {
            lines.hand_over(&self.counts.query_log);
            match &mut lines.output {
                Output::File(file) => file.tick(&self.counts.query_log),
                Output::Socket(socket) => socket.tick(&self.counts.query_log),
            }
        }
        if let Some(frames) = &mut self.dnstap {
            frames.hand_over(&self.counts.dnstap);
            frames.output.tick(&self.counts.dnstap);
        }
        most > self.room / 4
    }

    /// Writes one record to the logs that want it.
    fn write(&mut self, published: &Arc<Published>, record: &Record<'_>, clocks: Clocks) {
        let snapshot = &published.snapshot;
        let message = Message::parse(record.reply);
        let question = match &message {
            Ok(message) => Some(Question::of(message)),
            Err(_) => Question::first(record.query),
        };
        let has_name = question.is_some_and(|question| self.name.read(question.name, snapshot.seed).is_ok());
        let name = has_name.then_some(&self.name);
        let received = clocks.wall(record.received.0);
        if let Some(lines) = &mut self.query_log
            && record.wanted_by.has(Logs::QUERY_LOG)
            && is_named(&lines.settings.filter.names, name)
        {
            let question = question.zip(name);
            lines.push(snapshot, record, question, message.as_ref().ok(), received.as_secs());
            if lines.out.len() >= CHUNK_OCTETS {
                lines.hand_over(&self.counts.query_log);
            }
        }
        if let Some(frames) = &mut self.dnstap
            && record.wanted_by.has(Logs::DNSTAP)
            && is_named(&frames.settings.filter.names, name)
        {
            frames.push(snapshot, record, received);
            if frames.out.len() >= CHUNK_OCTETS {
                frames.hand_over(&self.counts.dnstap);
            }
        }
    }
}

/// Whether a name is one of these or below one, or all are wanted.
fn is_named(wanted: &[Name], name: Option<&FoldedName>) -> bool {
    let is_below = |name: &FoldedName, wanted: &Name| {
        let labels = wanted.label_count();
        labels <= name.label_count() && name.suffix(labels) == wanted.as_wire()
    };
    wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|wanted| is_below(name, wanted)))
}

impl Lines {
    fn open(settings: QueryLogSettings, output: LogOutput, counts: &OutputCounts) -> Self {
        let output = match output {
            LogOutput::File(path) => Output::File(FileOutput::open(Some(path), counts)),
            LogOutput::Stdout => Output::File(FileOutput::open(None, counts)),
            LogOutput::Socket(path) => Output::Socket(SocketOutput::open(path, Framing::Lines, counts)),
        };
        Self { settings, output, out: String::new(), count: 0 }
    }

    /// Adds the line of a query.
    fn push(
        &mut self,
        snapshot: &Snapshot,
        record: &Record<'_>,
        question: Option<(Question<'_>, &FoldedName)>,
        reply: Option<&Message<'_>>,
        received_at: u64,
    ) {
        let names = &snapshot.log_names;
        let view = record.view.map(|view| snapshot.view(view));
        let vpc = view.and_then(|view| names.vpcs.get(&view.vpc));
        let (source, refusal) = (record.noted.source(), record.noted.refusal());
        let in_view = question.zip(view).filter(|((question, _), _)| question.class == Class::IN);
        let (zone, rule) = in_view.map_or((None, None), |((_, name), view)| answers_for(snapshot, view, name, source));
        let inbound_endpoint =
            snapshot.doors.get(record.door.0 as usize).and_then(|door| door.as_ref()?.inbound_endpoint.as_deref());
        let query = LoggedQuery {
            account_id: vpc.map_or(&*names.account_id, |vpc| &*vpc.account_id),
            region: vpc.map_or("", |vpc| &*vpc.region),
            vpc_id: view.map_or("", |view| &*view.vpc),
            received_at,
            client: record.client,
            transport: record.transport,
            instance: vpc.and_then(|vpc| vpc.instances.get(&record.client.ip())).map(|id| &**id),
            resolver_endpoint: inbound_endpoint,
            rcode: record.noted.rcode(),
            source: ReplySource::NAMED[source as usize].1,
            refusal: refusal.map(|refusal| Refusal::NAMED[refusal as usize].1),
            zone,
            rule,
            cache: cache_text(source),
            door: asked(snapshot, record),
            ingress: view.map(|view| ingress_text(view.ingress)),
            took_nanos: record.took_nanos,
        };
        line::write_line(&mut self.out, &query, question.map(|(question, _)| question), reply);
        self.count += 1;
    }

    fn hand_over(&mut self, counts: &OutputCounts) {
        if self.out.is_empty() {
            return;
        }
        match &mut self.output {
            Output::File(file) => file.write(self.out.as_bytes(), self.count, counts),
            Output::Socket(socket) => socket.write(self.out.as_bytes(), self.count, counts),
        }
        self.out.clear();
        self.count = 0;
    }
}

impl Frames {
    /// Adds the frames of a query and its reply.
    fn push(&mut self, snapshot: &Snapshot, record: &Record<'_>, query_time: Duration) {
        let tapped = Tapped {
            kind: Kind::ClientQuery,
            transport: record.transport,
            client: record.client,
            server: asked(snapshot, record),
            query_time,
            response_time: query_time + Duration::from_nanos(record.took_nanos),
            message: record.query,
        };
        if self.settings.client_queries && !record.query.is_empty() {
            dnstap::push_frame(&mut self.out, &self.speaker, &tapped);
            self.count += 1;
        }
        if self.settings.client_responses {
            let response = Tapped { kind: Kind::ClientResponse, message: record.reply, ..tapped };
            dnstap::push_frame(&mut self.out, &self.speaker, &response);
            self.count += 1;
        }
    }

    fn hand_over(&mut self, counts: &OutputCounts) {
        if !self.out.is_empty() {
            self.output.write(&self.out, self.count, counts);
            self.out.clear();
            self.count = 0;
        }
    }
}

/// The address that was asked.
fn asked(snapshot: &Snapshot, record: &Record<'_>) -> Option<SocketAddr> {
    let door = snapshot.doors.get(record.door.0 as usize)?.as_ref()?.address;
    Some(SocketAddr::new(record.local.unwrap_or_else(|| door.ip()), door.port()))
}

/// The zone or endpoint that answers for a name, or the rule that it is forwarded by, by what they are called.
fn answers_for<'s>(
    snapshot: &'s Snapshot,
    view: &View,
    name: &FoldedName,
    source: ReplySource,
) -> (Option<&'s str>, Option<&'s str>) {
    let is_elsewhere = matches!(source, ReplySource::Cache | ReplySource::Stale | ReplySource::Forward);
    let mut authority = snapshot.authority_for(view, name);
    // No layer leads back to itself.
    while let Authority::Layered(layer) = authority {
        let layer = snapshot.layer(layer);
        authority = if is_elsewhere { layer.beneath } else { Authority::Zone(layer.zone) };
    }
    match authority {
        Authority::Zone(zone) => (Some(&*snapshot.zone(zone).id).filter(|id| !id.is_empty()), None),
        Authority::Forward(context) => match &snapshot.context(context).kind {
            ContextKind::Rule(id) => (None, Some(id)),
            ContextKind::Delegation { zone, .. } => (Some(zone), None),
            ContextKind::Upstream => (None, None),
        },
        Authority::Layered(_) | Authority::Nothing => (None, None),
    }
}

/// What the cache had, where it was asked.
fn cache_text(source: ReplySource) -> Option<&'static str> {
    match source {
        ReplySource::Cache => Some("hit"),
        ReplySource::Stale => Some("stale"),
        ReplySource::Forward => Some("miss"),
        _ => None,
    }
}

/// Who speaks in dnstap: this machine, with this program.
fn speaker() -> Speaker {
    let name = HOST_NAME_FILES.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    Speaker {
        identity: name.trim().as_bytes().into(),
        version: concat!("plustwo ", env!("CARGO_PKG_VERSION")).as_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::LOG_SOURCES;

    #[test]
    fn the_words_of_filters_are_those_of_the_metrics() {
        assert_eq!(LOG_SOURCES, ReplySource::NAMED.map(|(_, name)| name));
    }

    #[test]
    fn names_are_wanted_with_all_below_them() {
        let name = |text: &str| Name::from_labels(text.split('.').map(str::as_bytes)).expect("short");
        let wanted = [name("corp.example"), name("org")];
        for (asked, expected) in [
            (b"\x04CORP\x07Example\x00".as_slice(), true),
            (b"\x01a\x04corp\x07example\x00", true),
            (b"\x05xcorp\x07example\x00", false),
            (b"\x07example\x00", false),
            (b"\x01a\x03org\x00", true),
            (b"\x00", false),
        ] {
            let mut folded = FoldedName::default();
            folded.read(asked, crate::dns::HashSeed(1)).expect("well-formed");
            assert_eq!(is_named(&wanted, Some(&folded)), expected, "{folded:?}");
            assert!(is_named(&[], Some(&folded)) && is_named(&[Name::root()], Some(&folded)));
        }
        assert!(is_named(&[], None) && !is_named(&wanted, None));
    }

    #[test]
    fn moments_are_told_by_the_clock_on_the_wall() {
        let clocks = Clocks { now: 5_000_000_000, wall: Duration::from_secs(1000) };
        assert_eq!(clocks.wall(3_500_000_000), Duration::from_millis(998_500));
        assert_eq!(clocks.wall(6_000_000_000), Duration::from_secs(1000), "not in the future");
    }
}
