//! The operator's files: text in, a whole [`Model`] and [`Settings`] out, or every problem at once.
//!
//! Reads nothing by itself: further files and the system's nameservers come by [`Surroundings`].

mod diagnostic;
pub mod settings;
mod v1;

pub use diagnostic::{DIAGNOSTICS_KEPT_MAX, DIAGNOSTICS_SHOWN_MAX, Diagnostic, Place, Severity, render};
pub use settings::{
    AdminSettings, Bootstrap, CacheSettings, DnstapSettings, Limits, LogFilter, LogLevel, LogOutput, QueryLogSettings,
    Settings, TlsRoots, UpstreamSettings,
};

use crate::aws::{Delegation, Model};
use crate::dns::Name;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the loader may ask of the machine; the daemon's reads below the configuration's folder, tests' and the
/// built-in world's read from memory.
pub struct Surroundings<'s> {
    /// Reads a file by its path below the configuration's folder; an error is a sentence for the operator. The
    /// loader asks for no path that is absolute or has `..` in it; links that lead out are the reader's to refuse.
    pub read_file: &'s dyn Fn(&str) -> Result<String, String>,
    /// The nameservers of resolv.conf.
    pub system_nameservers: &'s dyn Fn() -> Result<Vec<IpAddr>, String>,
    /// Whether what is sent to an address stays on this machine: a door for every address hears it then.
    pub is_own_address: &'s dyn Fn(IpAddr) -> bool,
}

/// What a file without errors means.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What decides answers.
    pub model: Model,
    /// What does not.
    pub settings: Settings,
    /// Where each door is written, for who has to say something of one.
    pub door_places: DoorPlaces,
    /// Hosted zones that are what their files say.
    pub zones_of_files: ZonesOfFiles,
}

/// Hosted zones by their ids, as far as they are what their files say.
pub type ZonesOfFiles = BTreeMap<Box<str>, Arc<ZoneOfFiles>>;

/// What a hosted zone was made of whose record sets are those of its files and no others, and of which there was nothing to
/// complain about: as long as its name and these files are the same, so is the zone.
#[derive(Clone, Debug)]
pub struct ZoneOfFiles {
    /// Its name.
    pub apex: Name,
    /// Its file, as it is written.
    pub file: Box<str>,
    /// Files that are included, in the order in which they are read, and where that is written.
    pub included: Vec<(Box<str>, Place)>,
    /// What of it is left to name servers of others.
    pub delegations: Vec<Delegation>,
}

impl ZoneOfFiles {
    /// The files, as they are written, in the order in which they are read.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.file).chain(self.included.iter().map(|(path, _)| &**path))
    }
}

/// What is served while another configuration is loaded.
pub struct Before<'s> {
    /// Its zones, as far as they are what their files say.
    pub zones: &'s ZonesOfFiles,
    /// Whether all files of such a zone still are what they were when it was made of them.
    pub is_unchanged: &'s dyn Fn(&ZoneOfFiles) -> bool,
}

/// Where the doors are written, by address.
#[derive(Clone, Debug, Default)]
pub struct DoorPlaces(BTreeMap<SocketAddr, Place>);

impl DoorPlaces {
    /// The place of the door at an address; of several at port 0 the first.
    pub fn of(&self, address: SocketAddr) -> Option<&Place> {
        self.0.get(&address)
    }
}

impl FromIterator<(SocketAddr, Place)> for DoorPlaces {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, Place)>>(places: I) -> Self {
        let mut by_address = BTreeMap::new();
        for (address, place) in places {
            by_address.entry(address).or_insert(place);
        }
        Self(by_address)
    }
}

/// What came of loading.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; none if there is any error.
    pub configuration: Option<Configuration>,
    /// Errors and warnings, in the order of the file and then of those it names.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads a configuration; `file_name` is how diagnostics call it.
pub fn load(file_name: &str, text: &str, surroundings: &Surroundings<'_>) -> Loaded {
    load_after(None, file_name, text, surroundings)
}

/// The same in the place of one that is served. Zones that are what they were are not read again: the model has them
/// [as they are served](crate::aws::RecordSets::AsServed).
pub fn load_after(before: Option<&Before<'_>>, file_name: &str, text: &str, surroundings: &Surroundings<'_>) -> Loaded {
    v1::load(before, file_name, text, surroundings)
}
