//! What a feature costs the workers: plustwo with it beside plustwo without, in turn, on one core.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::data::{Files, Scale, Workload, World};
use crate::load::{Core, Cost, Generator, Reading};
use crate::process::Running;
use crate::servers::{Server, Variant};

/// A feature, and what its cost may be.
struct Feature {
    name: &'static str,
    /// What turns it on.
    tables: &'static str,
    /// Whether metrics are scraped once a second meanwhile.
    is_scraped: bool,
    /// The most that the workers may pay for a query with it, over without; none: it only informs.
    target: Option<f64>,
}

/// What is measured, each beside none of it.
const FEATURES: &[Feature] = &[
    Feature { name: "nothing", tables: "", is_scraped: false, target: None },
    Feature { name: "metrics, scraped every second", tables: ADMIN, is_scraped: true, target: Some(1.02) },
    Feature { name: "query log, every query", tables: LOG_ALL, is_scraped: false, target: Some(1.30) },
    Feature { name: "query log, 1 %", tables: LOG_SAMPLE, is_scraped: false, target: Some(1.03) },
];

const ADMIN: &str = "\n[admin]\nsocket = \"admin.sock\"\n";
const LOG_ALL: &str = "\n[query_log]\noutput = \"file:queries.log\"\n";
const LOG_SAMPLE: &str = "\n[query_log]\noutput = \"file:queries.log\"\nsample_rate = 0.01\n";

/// What each feature was found to cost.
pub(crate) struct Costs(Vec<Row>);

struct Row {
    feature: &'static Feature,
    /// With it over without, of each repetition, sorted.
    ratios: Vec<f64>,
    /// The repetition in the middle, and the cost without beside it.
    middle: (Reading, Cost),
    lost: u64,
    wrong: u64,
}

/// Measures every feature with the data of B.
pub(crate) fn measure(
    tools: &Path,
    folder: &Path,
    scale: Scale,
    repetitions: usize,
    interval: Duration,
) -> Result<Costs, String> {
    println!("\nfeatures, {}", World::Local.title(scale));
    let files = Files::write(World::Local, scale, &folder.join("worlds").join(World::Local.name()))?;
    let generator = Generator::new(tools, &files, Workload::Names, interval, crate::PORTS).of_workers();
    let start = |name, tables: &str| -> Result<Running, String> {
        let variant = Variant { name, tables: tables.to_owned(), core: Core::Server };
        let server = Server::Plustwo.start_as(&files, None, &variant)?;
        generator.warm_up(&server)?;
        Ok(server)
    };
    let without = start("without", "")?;
    let mut rows = Vec::new();
    for feature in FEATURES {
        let with = start(feature.name, feature.tables)?;
        let is_over = AtomicBool::new(false);
        let socket = files.folder.join(feature.name).join("admin.sock");
        let pairs = thread::scope(|scope| {
            if feature.is_scraped {
                scope.spawn(|| scrape_until(&socket, &is_over));
            }
            let pairs = pairs(&generator, &without, &with, repetitions);
            is_over.store(true, Ordering::Release);
            pairs
        })?;
        let row = Row::new(feature, pairs);
        println!("  {row}");
        rows.push(row);
    }
    Ok(Costs(rows))
}

/// Without, with, without, … in turn.
fn pairs(
    generator: &Generator<'_>,
    without: &Running,
    with: &Running,
    repetitions: usize,
) -> Result<Vec<(Reading, Cost)>, String> {
    let mut before = generator.run(without, Core::Server, None)?.cost;
    let pair = |_| {
        let reading = generator.run(with, Core::Server, None)?;
        let after = generator.run(without, Core::Server, None)?.cost;
        let beside = Cost::mean(before, after);
        before = after;
        Ok((reading, beside))
    };
    (0..repetitions).map(pair).collect()
}

/// Reads all metrics once a second.
fn scrape_until(socket: &Path, is_over: &AtomicBool) {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    while !is_over.load(Ordering::Acquire) {
        let scraped = UnixStream::connect(socket).and_then(|mut stream| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            stream.read_to_end(&mut Vec::new())
        });
        if let Err(error) = scraped {
            eprintln!("  {}: {error}", socket.display());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

impl Row {
    fn new(feature: &'static Feature, mut pairs: Vec<(Reading, Cost)>) -> Self {
        let ratio = |(reading, without): &(Reading, Cost)| reading.cost.over(*without);
        pairs.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        Self {
            feature,
            ratios: pairs.iter().map(ratio).collect(),
            middle: pairs[pairs.len() / 2],
            lost: pairs.iter().map(|(reading, _)| reading.lost).sum(),
            wrong: pairs.iter().map(|(reading, _)| reading.wrong).sum(),
        }
    }

    fn median(&self) -> f64 {
        self.ratios[self.ratios.len() / 2]
    }

    fn verdict(&self) -> String {
        match self.feature.target {
            Some(target) if self.median() <= target => format!("≤ {target:.2} kept"),
            Some(target) => format!("≤ {target:.2} MISSED by {:.2}", self.median() - target),
            None => "–".to_owned(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, ratios, middle: (reading, without), lost, wrong } = self;
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        write!(f, "{:32} × {:.3} ({low:.2}–{high:.2})  {}", feature.name, self.median(), self.verdict())?;
        write!(f, "  {:.3} µs, {:.3} without", reading.cost.cpu, without.cpu)?;
        write!(f, ", {:.3} by other threads  {lost} lost, {wrong} wrong", reading.cost.others)
    }
}

impl Costs {
    /// Whether a reply was wrong or missing.
    pub(crate) fn is_wrong(&self) -> bool {
        self.0.iter().any(|row| row.lost + row.wrong > 0)
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text =
            "| with | workers' cost × without (lowest–highest) | target | CPU µs a query of workers, without \
                        it, and of other threads | lost | wrong |\n|---|---|---|---|---|---|\n"
                .to_owned();
        for row in &self.0 {
            let Row { feature, ratios, middle: (reading, without), lost, wrong } = row;
            let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
            text += &format!(
                "| {} | **{:.3}** ({low:.3}–{high:.3}) | {} | {:.3}, {:.3}, {:.3} | {lost} | {wrong} |\n",
                feature.name,
                row.median(),
                row.verdict(),
                reading.cost.cpu,
                without.cpu,
                reading.cost.others,
            );
        }
        text
    }
}
