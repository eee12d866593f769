//! Open files: doors, streams and upstream sockets take them, and none may take them all.

use crate::config::Settings;
use crate::probe::PROBES_AT_A_TIME_MAX;
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

/// Who may have how many sockets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Sockets for questions over UDP to targets.
    pub(super) upstream_sockets: usize,
    /// Endpoints that are asked at a time whether they are healthy.
    pub(super) probes: usize,
}

/// Raises the limit of open files as far as the system lets us; what upstreams and health checks may then have, so that
/// doors and streams keep theirs. Fewer than `upstream_sockets` says is warned about.
pub(super) fn shares(settings: &Settings, door_sockets: usize, lanes: usize) -> Shares {
    let wanted = settings.limits.upstream_sockets;
    let may = match raise_open_files() {
        Ok(may) => usize::try_from(may).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot read the limit of open files");
            return Shares { upstream_sockets: wanted, probes: PROBES_AT_A_TIME_MAX };
        }
    };
    let shares = allowed(wanted, may, door_sockets, lanes, settings.limits.tcp_connections);
    if shares.upstream_sockets < wanted {
        tracing::warn!(
            open_files = may,
            upstream_sockets = shares.upstream_sockets,
            configured = wanted,
            "fewer upstream sockets may be open than the file says, for want of open files; raise LimitNOFILE= in the \
             unit (ulimit -n), or lower upstream_sockets"
        );
    }
    shares
}

/// Who may have how many where so many files may be open. Streams of clients take half of the files at most, those to
/// targets an eighth, health checks a sixteenth.
pub(super) fn allowed(wanted: usize, may: usize, door_sockets: usize, lanes: usize, tcp_connections: usize) -> Shares {
    let probes = PROBES_AT_A_TIME_MAX.min(may / 16);
    let streams = tcp_connections.min(may / 2) + STREAMS_TO_TARGETS.min(may / 8);
    let reserved = FILES_OF_THE_PROCESS + door_sockets + lanes * FILES_OF_A_LANE + streams + probes;
    Shares { upstream_sockets: wanted.min(may.saturating_sub(reserved)).max(SOCKETS_OF_A_LANE_MIN * lanes), probes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_and_streams_keep_their_files() {
        let shares = |upstream_sockets, probes| Shares { upstream_sockets, probes };
        assert_eq!(allowed(1000, 1_048_576, 10, 2, 1024), shares(1000, 1024));
        assert_eq!(allowed(1000, 1024, 10, 2, 1024), shares(1024 - 64 - 10 - 4 - 512 - 128 - 64, 64));
        assert_eq!(allowed(1000, 4096, 10, 2, 1024), shares(1000, 256));
        assert_eq!(allowed(1000, 64, 4, 2, 1024), shares(16, 4), "there are some in any case");
        assert_eq!(allowed(16, 4096, 4, 8, 1024), shares(64, 256), "also where the file says fewer");
    }
}
