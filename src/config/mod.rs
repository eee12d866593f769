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

use crate::aws::Model;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

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
    v1::load(file_name, text, surroundings)
}
