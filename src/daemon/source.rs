//! Where a configuration comes from: the built-in example world, or a file and those it names.

use super::files::{FILE_OCTETS_MAX, FileRead, Named};
use super::memory::Room;
use crate::config::{self, Configuration, Loaded, LogOutput, Surroundings};
use crate::dns::target::DNS_PORT;
use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The built-in example world: the very file that a user copies.
pub const BUILT_IN_TEXT: &str = include_str!("../../config/plustwo.toml");
/// What diagnostics call it.
const BUILT_IN_NAME: &str = "config/plustwo.toml";
/// Who names the system's nameservers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The example world inside the program.
    BuiltIn,
    /// A file; its path may be relative.
    File(PathBuf),
}

impl Source {
    /// Whether its targets may be asked of our own accord. Those of the example world are made up: on the network of
    /// whoever tries it out they may be anybody.
    pub fn has_targets_of_the_operator(&self) -> bool {
        match self {
            Self::BuiltIn => false,
            Self::File(_) => true,
        }
    }

    /// Reads it, and whatever it names. The error is a sentence for the operator.
    pub fn load(&self) -> Result<Loaded, String> {
        self.read(false, Given::default()).loaded
    }

    /// The same, with every file that was read on the way, whatever came of it.
    ///
    /// With `keeps_texts` what was in them is there too, for whoever keeps it elsewhere.
    pub(super) fn read(&self, keeps_texts: bool, given: Given) -> Read {
        let notes = RefCell::new(Notes { files: Vec::new(), texts: keeps_texts.then(Vec::new), given });
        let loaded = match self {
            Self::BuiltIn => {
                let read_file = |path: &str| Err(format!("the built-in example world has no file {path:?}"));
                Ok(load_text(BUILT_IN_NAME, BUILT_IN_TEXT, &read_file, &notes))
            }
            Self::File(path) => {
                let folder = folder_of(path);
                read(path, Named::Configuration, &notes).map(|text| {
                    let read_file = |name: &str| read_below(folder, name, &notes);
                    let mut loaded = load_text(&path.display().to_string(), &text, &read_file, &notes);
                    loaded.configuration.iter_mut().for_each(|found| put_before(folder, found));
                    loaded
                })
            }
        };
        let Notes { files, texts, .. } = notes.into_inner();
        Read { loaded, files, texts: texts.unwrap_or_default() }
    }
}

impl fmt::Display for Source {
    /// As diagnostics call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("the built-in example world"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What came of reading a source.
pub(super) struct Read {
    /// The configuration; the error is a sentence for the operator.
    pub(super) loaded: Result<Loaded, String>,
    /// The files, in the order in which they were read.
    pub(super) files: Vec<FileRead>,
    /// What was in them, where that is kept.
    pub(super) texts: Vec<(Named, String)>,
}

/// What is noted of the files while they are read.
#[derive(Default)]
pub(super) struct Notes {
    files: Vec<FileRead>,
    texts: Option<Vec<(Named, String)>>,
    given: Given,
}

/// What a reading is given beside the files.
#[derive(Default)]
pub(super) struct Given {
    /// What it may still take; files for which there is no room are not read.
    pub(super) room: Room,
    /// The name servers that resolv.conf named last.
    pub(super) nameservers: KnownNameservers,
}

/// The name servers that resolv.conf named last. Those who write it may leave it empty or away for a moment, and whoever is
/// asked must not be lost with it, nor what they said.
#[derive(Clone, Default)]
pub(super) struct KnownNameservers(Arc<Mutex<Vec<IpAddr>>>);

impl KnownNameservers {
    /// Those that are named now; where none is, those that were.
    fn now_or_before(&self, named: Result<Vec<IpAddr>, String>) -> Result<Vec<IpAddr>, String> {
        // Nothing that can panic happens under the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &named {
            Ok(now) if !now.is_empty() => known.clone_from(now),
            _ if known.is_empty() => {}
            _ => {
                let why = named.err().unwrap_or_else(|| format!("{RESOLV_CONF} names none"));
                tracing::warn!("the name servers of before are asked on: {why}");
                return Ok(known.clone());
            }
        }
        named
    }
}

/// The folder that a configuration's paths count from.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Puts the folder before the paths of files that are written.
pub(super) fn put_before(folder: &Path, configuration: &mut Configuration) {
    let settings = &mut configuration.settings;
    let of_lines = match &mut settings.query_log.output {
        Some(LogOutput::File(path) | LogOutput::Socket(path)) => Some(path),
        Some(LogOutput::Stdout) | None => None,
    };
    let files =
        [settings.cache.file.as_mut(), settings.admin.socket.as_mut(), of_lines, settings.dnstap.socket.as_mut()];
    for file in files.into_iter().flatten() {
        *file = folder.join(&*file);
    }
}

/// Loads a text on this machine; the system's own files are noted among those that are read.
pub(super) fn load_text(
    name: &str,
    text: &str,
    read_file: &dyn Fn(&str) -> Result<String, String>,
    notes: &RefCell<Notes>,
) -> Loaded {
    let system_nameservers = || {
        let named = read(Path::new(RESOLV_CONF), Named::System, notes).map(|text| nameservers(&text));
        let known = notes.borrow().given.nameservers.clone();
        known.now_or_before(named)
    };
    let surroundings =
        Surroundings { read_file, system_nameservers: &system_nameservers, is_own_address: &is_own_address };
    config::load(name, text, &surroundings)
}

/// Whether an address is one of this machine's. Nothing is sent.
pub(super) fn is_own_address(ip: IpAddr) -> bool {
    let (every, any_may_be_bound) = match ip {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), "/proc/sys/net/ipv4/ip_nonlocal_bind"),
        IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), "/proc/sys/net/ipv6/ip_nonlocal_bind"),
    };
    // Only one's own address can be bound, unless the system was told otherwise, as for addresses that move between
    // machines. Then it tells by where a socket to it would send from, which misses all but the first of a network's.
    if UdpSocket::bind((ip, 0)).is_err() {
        return false;
    }
    if fs::read_to_string(any_may_be_bound).is_ok_and(|text| text.trim() == "0") {
        return true;
    }
    let source = UdpSocket::bind((every, 0)).and_then(|socket| {
        socket.connect((ip, DNS_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

/// Reads a file below a folder; a link that leads out of it is refused.
fn read_below(folder: &Path, name: &str, notes: &RefCell<Notes>) -> Result<String, String> {
    let at = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    // The path as it is written is what a later change is seen by: links on the way may come to lead elsewhere.
    let written = folder.join(name);
    let is_inside = || {
        let folder = folder.canonicalize().map_err(|error| at(folder, error))?;
        let path = written.canonicalize().map_err(|error| at(&written, error))?;
        if path.starts_with(&folder) {
            return Ok(());
        }
        Err(format!("{} lies outside of the configuration's folder {}", path.display(), folder.display()))
    };
    match is_inside() {
        Ok(()) => read(&written, Named::Configured(name.to_owned()), notes),
        Err(refused) => {
            notes.borrow_mut().files.push(FileRead::refused(&written, Named::Configured(name.to_owned())));
            Err(refused)
        }
    }
}

/// Reads a whole file of UTF-8 text, if there is room for what is made of it, and notes that it was read.
fn read(path: &Path, named: Named, notes: &RefCell<Notes>) -> Result<String, String> {
    let octets = fs::metadata(path).map_or(0, |metadata| metadata.len());
    // What is too large in any case is said to be that.
    let taken = if octets > FILE_OCTETS_MAX { Ok(()) } else { notes.borrow_mut().given.room.take(octets) };
    if let Err(reason) = taken {
        notes.borrow_mut().files.push(FileRead::refused(path, named));
        return Err(format!("{} is not read: {reason}", path.display()));
    }
    let (file, text) = FileRead::read(path, named.clone());
    let mut notes = notes.borrow_mut();
    notes.files.push(file);
    if let (Some(texts), Ok(text)) = (&mut notes.texts, &text) {
        texts.push((named, text.clone()));
    }
    text
}

/// The addresses on `nameserver` lines (resolv.conf(5)); a scope (`fe80::1%eth0`) is left out with its line.
fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let words = resolv_conf.lines().map(str::split_whitespace);
    words.filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameserver_lines() {
        let text =
            "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1 # first\n nameserver\t::1\nnameserver fe80::1%lo\n";
        assert_eq!(nameservers(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    }

    #[test]
    fn name_servers_are_those_of_before_where_there_are_none() {
        let (one, other) = (vec!["192.0.2.1".parse().unwrap()], vec!["192.0.2.2".parse().unwrap()]);
        let known = KnownNameservers::default();
        assert_eq!(known.now_or_before(Err("gone".to_owned())), Err("gone".to_owned()));
        assert_eq!(known.now_or_before(Ok(Vec::new())), Ok(Vec::new()));
        for named in [&one, &other] {
            assert_eq!(known.now_or_before(Ok(named.clone())).as_ref(), Ok(named));
            assert_eq!(known.now_or_before(Err("gone".to_owned())).as_ref(), Ok(named));
            assert_eq!(known.now_or_before(Ok(Vec::new())).as_ref(), Ok(named));
        }
    }

    #[test]
    fn own_addresses_are_told_from_others() {
        assert!(is_own_address("127.0.0.1".parse().unwrap()));
        // RFC 5737: nobody has these.
        assert!(!is_own_address("192.0.2.1".parse().unwrap()));
        assert!(!is_own_address("203.0.113.7".parse().unwrap()));
    }

    #[test]
    fn the_file_of_the_cache_counts_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plustwo.toml");
        for (written, found) in [("cache", folder.path().join("cache")), ("/x/cache", "/x/cache".into())] {
            fs::write(&path, format!("version = 1\nupstream = {{ targets = [] }}\ncache = {{ file = '{written}' }}\n"))
                .unwrap();
            let configuration = Source::File(path.clone()).load().unwrap().configuration.unwrap();
            assert_eq!(configuration.settings.cache.file, Some(found));
        }
    }

    #[test]
    fn an_included_file_outside_of_the_folder_is_refused_also_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("conf");
        fs::create_dir(&inside).unwrap();
        fs::write(folder.path().join("secret.zone"), "secret A 10.0.0.9\n").unwrap();
        fs::write(inside.join("hosts.zone"), "www A 10.0.0.1\n").unwrap();
        std::os::unix::fs::symlink("../secret.zone", inside.join("leads-out.zone")).unwrap();
        std::os::unix::fs::symlink("hosts.zone", inside.join("stays-in.zone")).unwrap();
        let text = "version = 1\nregion = 'us-west-2'\nupstream = { targets = [] }\n[[vpc]]\nid = 'vpc-1'\n\
                    listen = ['127.0.0.1:5300']\n[[hosted_zone]]\nid = 'Z1'\nname = 'corp.example'\nvpcs = ['vpc-1']\n\
                    file = 'corp.zone'\n";
        fs::write(inside.join("plustwo.toml"), text).unwrap();
        let load = |zone: &str| {
            fs::write(inside.join("corp.zone"), zone).unwrap();
            Source::File(inside.join("plustwo.toml")).load().unwrap()
        };
        let loaded = load("$INCLUDE stays-in.zone\n");
        assert_eq!(loaded.configuration.unwrap().model.hosted_zones[0].record_sets.len(), 1);
        let refused = load("$INCLUDE leads-out.zone\n");
        assert!(refused.configuration.is_none());
        let said = config::render(&refused.diagnostics);
        assert!(said.contains("outside of the configuration's folder") && said.contains("corp.zone:1:10"), "{said}");
    }

    #[test]
    fn a_file_outside_of_the_folder_is_refused_also_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("conf");
        fs::create_dir(&inside).unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        fs::write(inside.join("zone"), "z").unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
        assert_eq!(read_below(&inside, "zone", &RefCell::default()), Ok("z".to_owned()));
        for name in ["link", "../secret"] {
            let refused = read_below(&inside, name, &RefCell::default()).unwrap_err();
            assert!(refused.contains("outside"), "{refused}");
        }
        assert!(read_below(&inside, "absent", &RefCell::default()).unwrap_err().contains("cannot read"));
        assert!(read(&inside, Named::Configuration, &RefCell::default()).unwrap_err().contains("not a file"));
    }
}
