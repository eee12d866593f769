//! The service manager's side of sd_notify(3): a socket that keeps what a daemon says.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The longest that something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What listens, and where.
pub(crate) struct Notified {
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` is to be.
    pub(crate) name: OsString,
}

/// What was said at a time: values by name.
pub(crate) type Words = HashMap<String, String>;

impl Notified {
    /// Listens in a folder.
    pub(crate) fn in_folder(folder: &std::path::Path) -> Self {
        let path = folder.join("notify");
        Self { socket: UnixDatagram::bind(&path).expect("a socket"), name: path.into() }
    }

    /// Listens at an abstract name.
    pub(crate) fn abstractly(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        Self { socket: UnixDatagram::bind_addr(&address).expect("a socket"), name: format!("@{name}").into() }
    }

    /// What is said next within a time; none if nothing is.
    pub(crate) fn next_within(&self, within: Duration) -> Option<Words> {
        let mut octets = [0; 4096];
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a timeout that is not zero");
        let count = self.socket.recv(&mut octets).ok()?;
        let text = std::str::from_utf8(&octets[..count]).expect("UTF-8");
        let lines = text.lines().map(|line| line.split_once('=').unwrap_or_else(|| panic!("no value in {text:?}")));
        Some(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// What is said when this is said; what comes before is passed over.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str) -> Words {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let words = self.next_within(left).unwrap_or_else(|| panic!("{name} is never said"));
            if words.contains_key(name) {
                return words;
            }
        }
    }

    /// Takes what has been said by now.
    pub(crate) fn clear(&self) {
        while self.next_within(Duration::from_millis(1)).is_some() {}
    }
}
