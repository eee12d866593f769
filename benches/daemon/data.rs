//! What is asked and what is served: the same names, zones and clients for every server, from a fixed seed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// One way of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    HotName,
    Names,
    ManyNames,
    Nxdomain,
    Views,
    CachedForward,
    UncachedForward,
    Stream,
}

impl Workload {
    pub(crate) const ALL: [Self; 8] = [
        Self::HotName,
        Self::Names,
        Self::ManyNames,
        Self::Nxdomain,
        Self::Views,
        Self::CachedForward,
        Self::UncachedForward,
        Self::Stream,
    ];

    /// The workload that a letter of the command line means.
    pub(crate) fn from_letter(letter: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|workload| workload.letter().eq_ignore_ascii_case(letter));
        found.ok_or_else(|| format!("{letter:?} is neither a workload nor an option"))
    }

    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::HotName => "A",
            Self::Names => "B",
            Self::ManyNames => "C",
            Self::Nxdomain => "D",
            Self::Views => "V",
            Self::CachedForward => "E",
            Self::UncachedForward => "F",
            Self::Stream => "T",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HotName => "one hot name",
            Self::Names => "100k names, 100 zones",
            Self::ManyNames => "1M names, 1,000 zones",
            Self::Nxdomain => "random NXDOMAIN",
            Self::Views => "a view among 10,000 VPCs",
            Self::CachedForward => "cached forward, 10k names",
            Self::UncachedForward => "uncached forward",
            Self::Stream => "TCP, pipelined",
        }
    }

    /// The most that ours may cost, over raw; `None` where the row only informs.
    pub(crate) fn target(self) -> Option<f64> {
        match self {
            Self::HotName | Self::Names => Some(1.10),
            Self::ManyNames | Self::Nxdomain | Self::Views => Some(1.15),
            Self::CachedForward => Some(1.15),
            Self::UncachedForward => Some(3.00),
            Self::Stream => None,
        }
    }

    /// The data that it is asked of.
    pub(crate) fn world(self) -> World {
        match self {
            Self::HotName | Self::Names | Self::Nxdomain | Self::Stream => World::Local,
            Self::ManyNames => World::Large,
            Self::Views => World::Views,
            Self::CachedForward | Self::UncachedForward => World::Forward,
        }
    }

    /// Whether each query asks for a name that nobody asked before.
    pub(crate) fn is_unique(self) -> bool {
        matches!(self, Self::Nxdomain | Self::UncachedForward)
    }
}

/// Data that servers are started with; one start serves all workloads of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    Local,
    Large,
    Views,
    Forward,
}

impl World {
    pub(crate) const ALL: [Self; 4] = [Self::Local, Self::Large, Self::Views, Self::Forward];

    /// Its folder and its word in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Large => "large",
            Self::Views => "views",
            Self::Forward => "forward",
        }
    }

    /// What it holds, for people.
    pub(crate) fn title(self, scale: Scale) -> String {
        let Size { zones, names_per_zone, vpcs } = self.size(scale);
        let names = (zones * names_per_zone).max(self.forwarded_names(scale));
        format!("{}: {names} names, {zones} zones, {vpcs} VPC{}", self.name(), if vpcs == 1 { "" } else { "s" })
    }

    /// What ours may need to have it in memory, for people.
    pub(crate) fn load_target(self) -> &'static str {
        match self {
            Self::Large => "≤ 2 s, ≤ 200 octets",
            Self::Views => "< 512 MiB",
            Self::Local | Self::Forward => "–",
        }
    }

    /// Names asked of the upstream.
    fn forwarded_names(self, scale: Scale) -> usize {
        match (self, scale) {
            (Self::Forward, Scale::Full) => 10_000,
            (Self::Forward, Scale::Quick) => 1_000,
            _ => 0,
        }
    }

    fn size(self, scale: Scale) -> Size {
        let (zones, names_per_zone, vpcs) = match (self, scale) {
            (Self::Local, Scale::Full) => (100, 1_000, 1),
            (Self::Large, Scale::Full) => (1_000, 1_000, 1),
            (Self::Views, Scale::Full) => (100, 1_000, 10_000),
            (Self::Local | Self::Large, Scale::Quick) => (10, 100, 1),
            (Self::Views, Scale::Quick) => (10, 100, 100),
            (Self::Forward, _) => (0, 0, 1),
        };
        Size { zones, names_per_zone, vpcs }
    }
}

struct Size {
    zones: usize,
    names_per_zone: usize,
    vpcs: usize,
}

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// What the figures are for.
    Full,
    /// 1,000 names: enough to see that the replies are right.
    Quick,
}

/// A name and the address that is the right answer.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

/// A world on disk: zone files, query lists, client addresses.
pub(crate) struct Files {
    pub(crate) world: World,
    pub(crate) folder: PathBuf,
    /// Names of the zones, each with its records in `zones/LABEL.zone`.
    pub(crate) zones: Vec<Zone>,
    pub(crate) vpcs: Vec<Vpc>,
    /// Every name with its answer, in random order.
    pub(crate) sought: Vec<Sought>,
    /// A client address of each view, in random order; empty where the client does not matter.
    pub(crate) clients: Vec<Ipv4Addr>,
}

/// A zone of A records.
pub(crate) struct Zone {
    pub(crate) label: String,
    pub(crate) name: String,
    pub(crate) records: Vec<(String, Ipv4Addr)>,
}

/// A VPC and the four client addresses that ask from it.
pub(crate) struct Vpc {
    pub(crate) id: String,
    pub(crate) cidr: String,
}

impl Files {
    /// Makes the world and writes it into an empty folder.
    pub(crate) fn write(world: World, scale: Scale, folder: &Path) -> Result<Self, String> {
        let files = Self::make(world, scale, folder);
        files.write_all().map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(files)
    }

    fn make(world: World, scale: Scale, folder: &Path) -> Self {
        let size = world.size(scale);
        let zones: Vec<Zone> = (0..size.zones).map(|zone| Zone::make(zone, size.names_per_zone)).collect();
        let mut sought: Vec<Sought> = zones.iter().flat_map(Zone::sought).collect();
        sought.extend(
            (0..world.forwarded_names(scale))
                .map(|n| Sought { name: format!("c{n:05}.{FORWARDED}"), address: crate::process::RAW_ADDRESS }),
        );
        shuffle(&mut sought);
        let vpcs: Vec<Vpc> = (0..size.vpcs).map(Vpc::make).collect();
        let mut clients: Vec<Ipv4Addr> = match world {
            World::Views => (0..size.vpcs).map(client_of).collect(),
            World::Local | World::Large | World::Forward => Vec::new(),
        };
        shuffle(&mut clients);
        Self { world, folder: folder.to_owned(), zones, vpcs, sought, clients }
    }

    fn write_all(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(self.folder.join("zones"))?,
        }
        for zone in &self.zones {
            zone.write(&self.zone_file(zone))?;
        }
        for workload in Workload::ALL.into_iter().filter(|workload| workload.world() == self.world) {
            write_lines(&self.queries(workload), self.asked(workload).map(|name| format!("{name} A")))?;
        }
        write_lines(&self.client_list(), self.clients.iter())
    }

    /// The names that a workload asks for.
    fn asked(&self, workload: Workload) -> Box<dyn Iterator<Item = String> + '_> {
        match workload {
            Workload::HotName => Box::new(self.sought.iter().take(1).map(|sought| sought.name.clone())),
            Workload::Nxdomain => Box::new(self.zones.iter().map(|zone| format!("{UNIQUE_LABEL}.{}", zone.name))),
            Workload::UncachedForward => Box::new(std::iter::once(format!("{UNIQUE_LABEL}.{FORWARDED}"))),
            _ => Box::new(self.sought.iter().map(|sought| sought.name.clone())),
        }
    }

    pub(crate) fn zone_file(&self, zone: &Zone) -> PathBuf {
        self.folder.join("zones").join(format!("{}.zone", zone.label))
    }

    /// The names a workload asks for, in random order, one a line.
    pub(crate) fn queries(&self, workload: Workload) -> PathBuf {
        self.folder.join(format!("queries-{}", workload.letter()))
    }

    pub(crate) fn client_list(&self) -> PathBuf {
        self.folder.join("clients")
    }
}

impl Zone {
    fn make(number: usize, names: usize) -> Self {
        let label = format!("z{number:04}");
        let record = |n: usize| (format!("h{n:04}"), address_of(number * names + n));
        Self { name: format!("{label}.corp.test"), label, records: (0..names).map(record).collect() }
    }

    fn sought(&self) -> impl Iterator<Item = Sought> + '_ {
        self.records.iter().map(|(label, address)| Sought { name: format!("{label}.{}", self.name), address: *address })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "$ORIGIN {}.\n$TTL 3600", self.name)?;
        writeln!(file, "@ IN SOA ns1 admin 1 3600 600 86400 300\n@ IN NS ns1\nns1 IN A 127.0.0.1")?;
        for (label, address) in &self.records {
            writeln!(file, "{label} IN A {address}")?;
        }
        file.flush()
    }
}

impl Vpc {
    fn make(number: usize) -> Self {
        let [_, b, c, d] = client_of(number).octets();
        Self { id: format!("vpc-{number:05}"), cidr: format!("127.{b}.{c}.{}/30", d & !3) }
    }
}

/// The client that asks from a VPC: the VPCs are the /30 blocks from 127.1.0.0 on.
fn client_of(vpc: usize) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    Ipv4Addr::from(base + 4 * u32::try_from(vpc).expect("thousands of VPCs"))
}

/// The address of the nth name: 10.0.0.0 + n.
fn address_of(name: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(name).expect("millions of names"))
}

/// Fisher and Yates, from a fixed seed (splitmix64).
fn shuffle<T>(items: &mut [T]) {
    let mut state: u64 = 7;
    for end in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        items.swap(end, usize::try_from(x % (end as u64 + 1)).expect("an index of a slice"));
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = impl std::fmt::Display>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}

/// Where the forwarded names lie; the upstream answers every name.
const FORWARDED: &str = "fwd.example";
/// What the generator puts its own label in place of.
const UNIQUE_LABEL: &str = "xxxxxxxxxxxxxxxx";
