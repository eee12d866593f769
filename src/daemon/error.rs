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
    TlsRoots {
        /// The file, as the configuration names it.
        file: Box<str>,
        /// Which certificate, and why.
        error: TlsRootsError,
    },
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
            Self::TlsRoots { file, error } => write!(
                f,
                "error: [upstream] tls_roots: {file}: {error}\n\
                 hint: take that certificate out of the file; the names of encrypted targets are checked against the rest"
            ),
            Self::Runtime(error) => write!(
                f,
                "error: the system refuses threads or file descriptors: {error}\n\
                 hint: look at `TasksMax=` and `LimitNOFILE=` of the unit, and at `ulimit -a`"
            ),
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
    /// `[upstream]` was changed in more than its targets and their order.
    Upstream,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Doors => "doors (`listen`)",
            Self::Workers => "`workers`",
            Self::Limits => "`[limits]` or `[cache]`",
            Self::Upstream => "`[upstream]` in more than `targets` and `order`",
        };
        write!(f, "the file changes {what}, which a running plustwo cannot; restart it to serve the new file")
    }
}

impl std::error::Error for ReloadError {}
