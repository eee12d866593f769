//! Where a configuration comes from: the built-in example world, or a file and those it names.

use super::files::{FILE_OCTETS_MAX, FileRead, Look, Named};
use super::memory::Room;
use super::served::Served;
use crate::config::{self, Configuration, Loaded, LogOutput, Surroundings, ZoneOfFiles};
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
                Ok(load_text(BUILT_IN_NAME, BUILT_IN_TEXT, &read_file, None, &notes))
            }
            Self::File(path) => {
                let folder = folder_of(path);
                read(path, Named::Configuration, &notes).map(|text| {
                    let read_file = |name: &str| read_below(folder, name, &notes);
                    let served = notes.borrow().given.served.clone();
                    let real_folder = folder.canonicalize();
                    let is_unchanged = |zone: &ZoneOfFiles| match (&served, &real_folder) {
                        (Some(served), Ok(folder)) => note_unchanged(served, zone, folder, &notes),
                        _ => false,
                    };
                    let before = served
                        .as_ref()
                        .map(|served| config::Before { zones: &served.zones, is_unchanged: &is_unchanged });
                    let name = path.display().to_string();
                    let mut loaded = load_text(&name, &text, &read_file, before.as_ref(), &notes);
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
    pub(super) texts: Vec<TextRead>,
}

/// What was in a file.
pub(super) struct TextRead {
    pub(super) file: FileRead,
    /// None: what was in it when it was read before, for it was not read again.
    pub(super) text: Option<String>,
}

/// What is noted of the files while they are read.
#[derive(Default)]
pub(super) struct Notes {
    files: Vec<FileRead>,
    texts: Option<Vec<TextRead>>,
    given: Given,
}

impl Notes {
    /// Notes a file, and what is in it, where that is known.
    fn add(&mut self, file: FileRead, text: Option<&str>) {
        if let Some(texts) = &mut self.texts {
            texts.push(TextRead { file: file.clone(), text: text.map(str::to_owned) });
        }
        self.files.push(file);
    }
}

/// What a reading is given beside the files.
#[derive(Default)]
pub(super) struct Given {
    /// What it may still take; files for which there is no room are not read.
    pub(super) room: Room,
    /// The name servers that resolv.conf named last.
    pub(super) nameservers: KnownNameservers,
    /// What is served meanwhile; none: all is read.
    pub(super) served: Option<Arc<Served>>,
    /// How it is found out what of that is to be read again.
    pub(super) look: Look,
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

/// Loads a text on this machine, in the place of what is served, where that is given; the system's own files are noted
/// among those that are read.
pub(super) fn load_text(
    name: &str,
    text: &str,
    read_file: &dyn Fn(&str) -> Result<String, String>,
    before: Option<&config::Before<'_>>,
    notes: &RefCell<Notes>,
) -> Loaded {
    let system_nameservers = || {
        let named = read(Path::new(RESOLV_CONF), Named::System, notes).map(|text| nameservers(&text));
        let known = notes.borrow().given.nameservers.clone();
        known.now_or_before(named)
    };
    let surroundings =
        Surroundings { read_file, system_nameservers: &system_nameservers, is_own_address: &is_own_address };
    config::load_after(before, name, text, &surroundings)
}

/// Whether the files of a zone are what they were when they were read, and lie inside of a folder, which is given as it is
/// without links; then they are noted as if they had been read again.
fn note_unchanged(served: &Served, zone: &ZoneOfFiles, folder: &Path, notes: &RefCell<Notes>) -> bool {
    let is_inside = |file: &FileRead| file.path.canonicalize().is_ok_and(|path| path.starts_with(folder));
    let look = notes.borrow().given.look;
    let files = served.unchanged(zone, look).filter(|files| files.iter().all(is_inside));
    let is_unchanged = files.is_some();
    files.into_iter().flatten().for_each(|file| notes.borrow_mut().add(file, None));
    is_unchanged
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
    // The path as it is written is what a later change is seen by: links on the way may come to lead elsewhere.
    let written = folder.join(name);
    match is_inside(folder, &written) {
        Ok(()) => read(&written, Named::Configured(name.to_owned()), notes),
        Err(refused) => {
            notes.borrow_mut().files.push(FileRead::refused(&written, Named::Configured(name.to_owned())));
            Err(refused)
        }
    }
}

/// Whether a file lies inside of a folder, wherever links lead. The error is a sentence for the operator.
fn is_inside(folder: &Path, file: &Path) -> Result<(), String> {
    let canonical =
        |path: &Path| path.canonicalize().map_err(|error| format!("cannot read {}: {error}", path.display()));
    let (folder, path) = (canonical(folder)?, canonical(file)?);
    if path.starts_with(&folder) {
        return Ok(());
    }
    Err(format!("{} lies outside of the configuration's folder {}", path.display(), folder.display()))
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
    let (file, text) = FileRead::read(path, named);
    match &text {
        Ok(text) => notes.borrow_mut().add(file, Some(text)),
        // What cannot be read is not kept either.
        Err(_) => notes.borrow_mut().files.push(file),
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
    use crate::aws::RecordSets;
    use crate::daemon::changes::Inventory;

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
        assert_eq!(loaded.configuration.unwrap().model.hosted_zones[0].record_sets.here().len(), 1);
        let refused = load("$INCLUDE leads-out.zone\n");
        assert!(refused.configuration.is_none());
        let said = config::render(&refused.diagnostics);
        assert!(said.contains("outside of the configuration's folder") && said.contains("corp.zone:1:10"), "{said}");
    }

    #[test]
    fn a_zone_is_kept_while_its_files_are_the_same_and_lie_where_they_may() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("conf");
        fs::create_dir(&inside).unwrap();
        let zone = |id: &str, file: &str| {
            format!("[[hosted_zone]]\nid = '{id}'\nname = '{id}.test'\nvpcs = ['vpc-1']\nfile = '{file}'\n")
        };
        let head = "version = 1\nregion = 'us-west-2'\nupstream = { targets = [] }\n[[vpc]]\nid = 'vpc-1'\n\
                    listen = ['127.0.0.1:5300']\n";
        fs::write(inside.join("plustwo.toml"), head.to_owned() + &zone("Z1", "one") + &zone("Z2", "two")).unwrap();
        fs::write(inside.join("one"), "$INCLUDE both\n").unwrap();
        fs::write(inside.join("two"), "www A 10.0.0.2\n$INCLUDE both sub\n").unwrap();
        fs::write(inside.join("both"), "www A 10.0.0.1\n").unwrap();
        let source = Source::File(inside.join("plustwo.toml"));
        let served = |read: &Read, files: &[FileRead]| {
            let zones = read.loaded.as_ref().unwrap().configuration.as_ref().unwrap().zones_of_files.clone();
            Arc::new(Served::new(Inventory::default(), zones, files))
        };
        let after =
            |served: &Arc<Served>| source.read(true, Given { served: Some(Arc::clone(served)), ..Given::default() });
        let kept = |read: &Read| {
            let zones = &read.loaded.as_ref().unwrap().configuration.as_ref().unwrap().model.hosted_zones;
            zones.iter().map(|zone| matches!(zone.record_sets, RecordSets::AsServed)).collect::<Vec<_>>()
        };
        let named =
            |read: &Read| -> Vec<String> { read.files.iter().map(|file| format!("{:?}", file.named)).collect() };
        let first = source.read(true, Given::default());
        let all = served(&first, &first.files);
        let again = after(&all);
        assert_eq!((kept(&again), named(&again)), (vec![true, true], named(&first)));
        // They are noted as if they had been read, so that the next one knows of them, and who watches does.
        let next = after(&served(&again, &again.files));
        assert_eq!((kept(&next), named(&next)), (vec![true, true], named(&first)));
        let texts = |read: &Read| read.texts.iter().filter(|read| read.text.is_some()).count();
        assert_eq!((texts(&first), texts(&again), texts(&next)), (5, 1, 1));
        // What one of them includes changed between the first time it was read and the second: nobody knows who had what.
        let mut files = first.files.clone();
        let twice = files.iter_mut().rfind(|file| file.path.ends_with("both")).unwrap();
        twice.digest = twice.digest.map(|digest| digest ^ 1);
        assert_eq!(kept(&after(&served(&first, &files))), [false, false]);
        let without = first.files.iter().filter(|file| !file.path.ends_with("one")).cloned().collect::<Vec<_>>();
        assert_eq!(kept(&after(&served(&first, &without))), [false, true]);
        // The same in another place of the folder, and outside of it.
        fs::rename(inside.join("two"), inside.join("moved")).unwrap();
        std::os::unix::fs::symlink("moved", inside.join("two")).unwrap();
        assert_eq!(kept(&after(&all)), [true, true]);
        fs::rename(inside.join("moved"), folder.path().join("moved")).unwrap();
        fs::remove_file(inside.join("two")).unwrap();
        std::os::unix::fs::symlink("../moved", inside.join("two")).unwrap();
        let refused = after(&all).loaded.unwrap();
        let said = config::render(&refused.diagnostics);
        assert!(refused.configuration.is_none() && said.contains("outside of the configuration's folder"), "{said}");
        // One that is not there any more.
        fs::remove_file(inside.join("two")).unwrap();
        assert!(after(&all).loaded.unwrap().configuration.is_none());
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
