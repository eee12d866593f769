//! Open files: every door, stream and forwarded question takes some, and none may take them all.

use crate::config::Settings;
use crate::udp::sys::raise_open_files;

/// Descriptors besides doors, streams and upstream sockets: standard streams, epoll, runtimes, files being read.
const FILES_OF_THE_PROCESS: usize = 64;
/// Sockets that two questions being forwarded hold, rounded up: 10,000 to dead upstreams held 12,500.
const SOCKETS_FOR_TWO_QUESTIONS: usize = 3;
/// Questions that may be forwarded at once even where files are that scarce.
const IN_FLIGHT_MIN: usize = 16;

/// Raises the limit of open files as far as the system lets us; how many questions may then be forwarded at once, so
/// that doors and streams keep theirs. Fewer than `in_flight` says is warned about.
pub(super) fn in_flight(settings: &Settings, door_sockets: usize) -> usize {
    let wanted = settings.limits.in_flight;
    let may = match raise_open_files() {
        Ok(may) => usize::try_from(may).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot read the limit of open files");
            return wanted;
        }
    };
    let reserved = FILES_OF_THE_PROCESS + door_sockets + settings.limits.tcp_connections.min(may / 2);
    let in_flight =
        wanted.min(may.saturating_sub(reserved) * 2 / SOCKETS_FOR_TWO_QUESTIONS).max(IN_FLIGHT_MIN.min(wanted));
    if in_flight < wanted {
        tracing::warn!(
            open_files = may,
            in_flight,
            configured = wanted,
            "fewer questions may be in flight than the file says, for want of open files; raise LimitNOFILE= in the \
             unit (ulimit -n), or lower in_flight"
        );
    }
    in_flight
}
