//! Open files: doors, streams and upstream sockets take them, and none may take them all.

use crate::config::Settings;
use crate::udp::sys::raise_open_files;

/// Descriptors besides doors, streams, lanes and upstream sockets: standard streams, runtimes, files being read.
const FILES_OF_THE_PROCESS: usize = 64;
/// What a lane waits with: epoll and its bell.
const FILES_OF_A_LANE: usize = 2;
/// Streams to targets that are expected at a time. They are few, and made anew where the system refuses one.
const STREAMS_TO_TARGETS: usize = 128;
/// Upstream sockets that each lane may have even where files are that scarce, or the file says fewer: one for each of the
/// six targets that one question may be asked of, and two to spare.
const SOCKETS_OF_A_LANE_MIN: usize = 8;

/// Raises the limit of open files as far as the system lets us; how many upstream sockets there may then be, so that
/// doors and streams keep theirs. Fewer than `upstream_sockets` says is warned about.
pub(super) fn upstream_sockets(settings: &Settings, door_sockets: usize, lanes: usize) -> usize {
    let wanted = settings.limits.upstream_sockets;
    let may = match raise_open_files() {
        Ok(may) => usize::try_from(may).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot read the limit of open files");
            return wanted;
        }
    };
    let sockets = allowed(wanted, may, door_sockets, lanes, settings.limits.tcp_connections);
    if sockets < wanted {
        tracing::warn!(
            open_files = may,
            upstream_sockets = sockets,
            configured = wanted,
            "fewer upstream sockets may be open than the file says, for want of open files; raise LimitNOFILE= in the \
             unit (ulimit -n), or lower upstream_sockets"
        );
    }
    sockets
}

/// How many upstream sockets there may be where so many files may be open. Streams of clients take half of the files at
/// most, and those to targets an eighth.
fn allowed(wanted: usize, may: usize, door_sockets: usize, lanes: usize, tcp_connections: usize) -> usize {
    let streams = tcp_connections.min(may / 2) + STREAMS_TO_TARGETS.min(may / 8);
    let reserved = FILES_OF_THE_PROCESS + door_sockets + lanes * FILES_OF_A_LANE + streams;
    wanted.min(may.saturating_sub(reserved)).max(SOCKETS_OF_A_LANE_MIN * lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_and_streams_keep_their_files() {
        assert_eq!(allowed(1000, 1_048_576, 10, 2, 1024), 1000);
        assert_eq!(allowed(1000, 1024, 10, 2, 1024), 1024 - 64 - 10 - 4 - 512 - 128);
        assert_eq!(allowed(1000, 4096, 10, 2, 1024), 1000);
        assert_eq!(allowed(1000, 64, 4, 2, 1024), 16, "there are some in any case");
        assert_eq!(allowed(16, 4096, 4, 8, 1024), 64, "also where the file says fewer");
    }
}
