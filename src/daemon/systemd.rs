//! What the service manager is told: ready, reloading, leaving, alive, and one line of status (sd_notify(3)).
//!
//! Without systemd, or whatever speaks as it does, nothing is told to anybody.

use crate::udp::clock::monotonic;
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long telling waits for room in the service manager's queue.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Where the service manager listens: a path, or an abstract name after `@`.
const SOCKET: &str = "NOTIFY_SOCKET";
/// After how many microseconds without a sign of life the service manager ends us.
const WATCHDOG_MICROS: &str = "WATCHDOG_USEC";
/// Who is to give the signs of life.
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";

/// The way to the service manager. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Systemd(Option<Arc<Told>>);

/// A service manager that listens.
struct Told {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Whether the log has said that it cannot be told.
    has_complained: AtomicBool,
}

impl Systemd {
    /// Who the environment says; nobody, if it says nothing. The error is why it cannot be told what it wants to hear.
    pub(super) fn of_environment() -> io::Result<Self> {
        let Some(name) = env::var_os(SOCKET).filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(&name)?,
            // Others are ways into a virtual machine (`vsock:`), which a unit's process is not given.
            _ => return Err(io::Error::other(format!("{SOCKET} is neither a path nor an abstract name"))),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(TELL_WITHIN))?;
        Ok(Self(Some(Arc::new(Told { socket, address, has_complained: AtomicBool::new(false) }))))
    }

    /// All doors are open, or are again what they should be. The status is one line.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// What we serve is about to change; [`Systemd::ready`] says that it has, or will not.
    pub(super) fn reloading(&self) {
        let micros = monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"));
    }

    /// We leave, and that may take so long.
    pub(super) fn stopping(&self, within: Duration) {
        let micros = within.as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=leaving: what is in flight is answered"));
    }

    /// What is being done takes longer, and may take so long from now on.
    pub(super) fn extend_timeout(&self, by: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    /// A sign of life.
    pub(super) fn feed_watchdog(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How long the service manager does without a sign of life; none if it wants none from this process.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let number = |variable| env::var(variable).ok()?.parse::<u64>().ok();
        let is_another = number(WATCHDOG_PROCESS).is_some_and(|process| process != u64::from(std::process::id()));
        number(WATCHDOG_MICROS).filter(|micros| *micros > 0 && !is_another).map(Duration::from_micros)
    }

    /// Tells it these lines, each `NAME=value`.
    fn tell(&self, lines: &str) {
        let Some(told) = &self.0 else { return };
        // A line end of ours in a value would begin another one.
        debug_assert!(lines.lines().all(|line| line.split_once('=').is_some_and(|(name, _)| is_name(name))));
        if let Err(error) = told.socket.send_to_addr(lines.as_bytes(), &told.address)
            && !told.has_complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("the service manager cannot be told what we do: {error} ({SOCKET})");
        }
    }
}

/// Whether this is the name of something to be told.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_')
}
