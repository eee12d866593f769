//! Why the daemon does not start, or does not reload: for the person who must act.

use super::admin::AdminError;
use super::refused_door::{RefusedDoor, in_a_line};
use crate::forward::streams::TlsRootsError;
use std::net::SocketAddr;
use std::{fmt, io};

/// Why the daemon did not start. Nothing stays open.
#[derive(Debug)]
pub enum StartError {
    /// Doors that cannot be opened: all of them.
    Doors(Vec<RefusedDoor>),
    /// Places where operators are to be answered, which cannot be opened; and such doors, if any.
    Admin(Vec<AdminError>, Vec<RefusedDoor>),
    /// The system refused threads or other basic things.
    Runtime(io::Error),
    /// A certificate that `tls_roots` names cannot be a root.
    TlsRoots(TlsRootsError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doors(doors) => f.write_str(&lines(doors)),
            Self::Admin(errors, doors) => {
                let errors: Vec<String> = errors.iter().map(|error| format!("error: {error}")).collect();
                f.write_str(&errors.join("\n"))?;
                if doors.is_empty() { Ok(()) } else { write!(f, "\n{}", lines(doors)) }
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

/// Doors, each in the form of a diagnostic.
fn lines(doors: &[RefusedDoor]) -> String {
    doors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Why a reload changed nothing.
#[derive(Debug)]
pub enum ReloadError {
    /// Doors that were added and cannot be opened.
    Doors(Vec<RefusedDoor>),
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
    /// There is too little memory for the names that stay; half a sentence for the operator.
    Memory(String),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Doors(doors) => {
                return f.write_str(&doors.iter().map(in_a_line).collect::<Vec<_>>().join("; "));
            }
            Self::WildcardDoor(door) => {
                return write!(
                    f,
                    "the file adds the door {door}, and another door of its port is on {}; a running plustwo cannot \
                     open one beside the other; restart it to serve the new file",
                    if door.ip().is_unspecified() { "a single address" } else { "every address" }
                );
            }
            Self::Memory(reason) => return f.write_str(reason),
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
