//! Who is asked for names that nobody here owns.

use crate::dns::{Name, TargetGroup};
use std::sync::Arc;

/// A forwarding context across reloads: the same rule with the same targets keeps its id, and so its cached replies.
/// Whatever was said in one context is never used in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextId(pub u32);

/// Which of [`super::Snapshot::contexts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextIndex(pub u32);

/// The targets of one rule, or of the upstream.
#[derive(Clone, Debug)]
pub struct ForwardContext {
    /// Its id for caches.
    pub id: ContextId,
    /// Whose targets these are.
    pub kind: ContextKind,
    /// Whom to ask; empty only for an upstream "system" that named nobody but ourselves, and for a delegation to servers
    /// whose addresses are not known.
    pub group: Arc<TargetGroup>,
}

/// Whose targets a context holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContextKind {
    /// `[upstream]`: names that nobody here owns.
    Upstream,
    /// A FORWARD rule, by its id.
    Rule(Box<str>),
    /// The name servers that a hosted zone delegates to.
    Delegation {
        /// The zone's id.
        zone: Box<str>,
        /// What is delegated: it and all below it.
        owner: Name,
    },
}
