//! Why the daemon does not start, or does not reload: for the person who must act.

use crate::forward::streams::TlsRootsError;
use crate::serve::doors::DoorError;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadError {
    /// Doors were added, removed or moved.
    Doors,
    /// `workers` was changed.
    Workers,
    /// `[limits]` or `[cache]` was changed.
    Limits,
    /// What `[upstream]` says of how targets are asked was changed.
    Upstream,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Doors => "doors (`listen`)",
            Self::Workers => "`workers`",
            Self::Limits => "`[limits]` or `[cache]`",
            Self::Upstream => {
                "`case_randomization`, `cookies` or `tls_roots` (or what is in that file) of `[upstream]`"
            }
        };
        write!(f, "the file changes {what}, which a running plustwo cannot; restart it to serve the new file")
    }
}

impl std::error::Error for ReloadError {}
