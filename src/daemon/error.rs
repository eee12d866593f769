//! Why the daemon does not start, or does not reload: for the person who must act.

use crate::forward::streams::TlsRootsError;
use crate::serve::doors::DoorError;
use std::net::SocketAddr;
use std::{fmt, io};

/// Why the daemon did not start. Nothing stays open.
#[derive(Debug)]
pub enum StartError {
    /// Doors that cannot be opened: all of them.
    Doors(Vec<DoorError>),
    /// The system refused threads or other basic things.
    Runtime(io::Error),
    /// A certificate that `tls_roots` names cannot be a root.
    TlsRoots(TlsRootsError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doors(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    if index > 0 {
                        writeln!(f)?;
                    }
                    write!(f, "error: {error}")?;
                }
                Ok(())
            }
            Self::Runtime(error) => write!(
                f,
                "error: the system refuses threads or file descriptors: {error}\n\
                 hint: look at `TasksMax=` and `LimitNOFILE=` of the unit, and at `ulimit -a`"
            ),
            Self::TlsRoots(error) => write!(f, "error: `[upstream] tls_roots`: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why a reload changed nothing.
#[derive(Debug)]
pub enum ReloadError {
    /// Doors that were added and cannot be opened.
    Doors(Vec<DoorError>),
    /// A door on every address of a port was added beside one on a single address, or the other way round.
    WildcardDoor(SocketAddr),
    /// `workers` was changed.
    Workers,
    /// `[limits]` or `[cache]` was changed.
    Limits,
    /// What `[upstream]` says of how targets are asked was changed.
    Upstream,
    /// `[admin]` was changed.
    Admin,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Doors(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if index > 0 { "; " } else { "" })?;
                }
                return Ok(());
            }
            Self::WildcardDoor(door) => {
                return write!(
                    f,
                    "the file adds the door {door}, and another door of its port is on {}; a running plustwo cannot \
                     open one beside the other; restart it to serve the new file",
                    if door.ip().is_unspecified() { "a single address" } else { "every address" }
                );
            }
            Self::Workers => "`workers`",
            Self::Limits => "`[limits]` or `[cache]`",
            Self::Upstream => {
                "`case_randomization`, `cookies` or `tls_roots` (or what is in that file) of `[upstream]`"
            }
            Self::Admin => "`[admin]`",
        };
        write!(f, "the file changes {what}, which a running plustwo cannot; restart it to serve the new file")
    }
}

impl std::error::Error for ReloadError {}
