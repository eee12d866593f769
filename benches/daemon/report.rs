//! The tables: for the terminal, and kept in `benches/results/`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::data::{Workload, World};
use crate::features::Costs;
use crate::load::{Cost, Reading};
use crate::machine::{cores, keep, processor, words_of};
use crate::process::Running;
use crate::reload::Reloads;
use crate::servers::Server;

/// All that one run of the bench found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) loads: Vec<Load>,
    /// Source ports of the generator.
    pub(crate) ports: usize,
    pub(crate) reloads: Option<Reloads>,
    pub(crate) costs: Option<Costs>,
}

/// One workload of one server.
pub(crate) struct Row {
    workload: Workload,
    server: Server,
    /// Ratio to raw, of each repetition, sorted.
    ratios: Vec<f64>,
    /// The repetition in the middle, and raw's cost beside it.
    middle: (Reading, Cost),
    replies: u64,
    lost: u64,
    wrong: u64,
    /// With the generator on a core of its own: as fast as it goes, and at half of that rate.
    other_core: Option<(Reading, Reading)>,
}

impl Row {
    pub(crate) fn new(
        workload: Workload,
        server: Server,
        mut pairs: Vec<(Reading, Cost)>,
        other_core: Option<(Reading, Reading)>,
    ) -> Self {
        let ratio = |(reading, raw): &(Reading, Cost)| reading.cost.over(*raw);
        pairs.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let readings = || pairs.iter().map(|(reading, _)| reading).chain(other_core.iter().flat_map(|(a, b)| [a, b]));
        Self {
            workload,
            server,
            ratios: pairs.iter().map(ratio).collect(),
            middle: pairs[pairs.len() / 2],
            replies: readings().map(|reading| reading.replies).sum(),
            lost: readings().map(|reading| reading.lost).sum(),
            wrong: readings().map(|reading| reading.wrong).sum(),
            other_core,
        }
    }

    fn median(&self) -> f64 {
        self.ratios[self.ratios.len() / 2]
    }

    /// By how much our target is kept or missed; nothing for peers.
    fn verdict(&self) -> String {
        match (self.server, self.workload.target()) {
            (Server::Plustwo, Some(target)) if self.median() <= target => format!("≤ {target:.2} kept"),
            (Server::Plustwo, Some(target)) => format!("≤ {target:.2} MISSED by {:.2}", self.median() - target),
            _ => "–".to_owned(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, server, ratios, middle: (reading, raw), replies, lost, wrong, .. } = self;
        let (letter, name) = (workload.letter(), server.name());
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        write!(f, "{letter} {name:8} × {:5.2} ({low:.2}–{high:.2})", self.median())?;
        write!(f, "  {:.3} µs, raw {:.3} µs", reading.cost.cpu, raw.cpu)?;
        write!(f, "  {replies} replies, {lost} lost, {wrong} wrong")
    }
}

/// What a server needs to have a world's data.
pub(crate) struct Load {
    server: Server,
    world: World,
    time: Duration,
    memory: u64,
    peak: u64,
    records: usize,
}

impl Load {
    pub(crate) fn of(server: Server, world: World, running: &Running, records: usize) -> Self {
        let (memory, peak) = (running.memory(), running.peak_memory());
        Self { server, world, time: running.load_time, memory, peak, records }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seconds) = (self.server.name(), self.time.as_secs_f64());
        write!(f, "{name:8} loaded in {seconds:.2} s, {} MiB (peak {})", mib(self.memory), mib(self.peak))
    }
}

impl Report {
    /// Rows of ours in which a reply was wrong or missing.
    pub(crate) fn wrong_rows(&self) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.server == Server::Plustwo && row.wrong + row.lost > 0).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.rows.is_empty() {
            let (measure, ports) = (self.measure(), self.ports);
            text +=
                &format!("Unit of the third column: {measure}, over the raw responder's. {ports} source ports.\n\n");
            text += "| workload | server | × raw (lowest–highest) | target | CPU µs, raw's | user instructions | \
                     thousand/s, other core | busy | p50, p99 µs at half rate | lost | wrong |\n\
                     |---|---|---|---|---|---|---|---|---|---|---|\n";
            text.extend(self.rows.iter().map(row_line));
        }
        if !self.loads.is_empty() {
            text += "\n| data | server | first answer after | PSS | peak RSS | octets a record | target |\n\
                     |---|---|---|---|---|---|---|\n";
            text.extend(self.loads.iter().map(load_line));
        }
        text.extend(self.costs.iter().map(Costs::markdown));
        text.extend(self.reloads.iter().map(Reloads::markdown));
        text
    }

    fn measure(&self) -> &'static str {
        match self.rows.iter().any(|row| row.middle.0.cost.cycles.is_some()) {
            true => "cycles a query (TCP: CPU time)",
            false => "CPU time a query (this machine counts no cycles)",
        }
    }

    /// Adds this run to the day's file of this machine and returns its path from the project's folder.
    pub(crate) fn keep(&self, project: &Path) -> Result<String, String> {
        keep(project, "", &facts(), &self.markdown())
    }
}

fn row_line(row: &Row) -> String {
    let (reading, raw) = &row.middle;
    let (low, high) = (row.ratios[0], row.ratios[row.ratios.len() - 1]);
    let instructions = reading.cost.user_instructions.map_or_else(|| "–".to_owned(), |count| format!("{count:.0}"));
    let other = row.other_core.as_ref().map_or_else(
        || "– | – | –".to_owned(),
        |(fastest, half)| format!("{:.0} | {:.2} | {:.0}, {:.0}", fastest.rate / 1e3, fastest.busy, half.p50, half.p99),
    );
    format!(
        "| {} {} | {} | **{:.2}** ({low:.2}–{high:.2}) | {} | {:.3}, {:.3} | {instructions} | {other} | {} | {} |\n",
        row.workload.letter(),
        row.workload.title(),
        row.server.name(),
        row.median(),
        row.verdict(),
        reading.cost.cpu,
        raw.cpu,
        row.lost,
        row.wrong,
    )
}

fn load_line(load: &Load) -> String {
    let each = load.memory / load.records.max(1) as u64;
    let target = if load.server == Server::Plustwo { load.world.load_target() } else { "–" };
    format!(
        "| {} | {} | {:.2} s | {} MiB | {} MiB | {} | {target} |\n",
        load.world.name(),
        load.server.name(),
        load.time.as_secs_f64(),
        mib(load.memory),
        mib(load.peak),
        // An empty server's own pages would be most of the figure for a small world.
        if load.records >= RECORDS_THAT_COUNT { each.to_string() } else { "–".to_owned() },
    )
}

/// In whole MiB.
pub(crate) fn mib(octets: u64) -> u64 {
    octets.div_ceil(1 << 20)
}

/// The head of a results file: what the figures belong to.
fn facts() -> String {
    let peers = Server::ALL.map(|server| format!("{} {}", server.name(), server.version())).join(", ");
    format!(
        "# The daemon beside its peers\n\n- processor: {}, {} cores\n- kernel: {}\n- servers: {peers}\n- compiler: {}\n\n\
         `benches/README.md` says what the columns are.",
        processor(),
        cores(),
        words_of("uname", &["-sr"]),
        words_of("rustc", &["--version"]),
    )
}

/// Records from which octets a record mean something.
const RECORDS_THAT_COUNT: usize = 1_000_000;
