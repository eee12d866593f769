//! RFC 9499's nouns and the wire form. Knows nothing of AWS, files, sockets or clocks.

pub mod cookie;
pub mod edns;
pub mod message;
pub mod name;
pub mod number;
pub mod query;
pub mod reply;
pub mod target;
pub mod text;
pub mod ttl;

pub use name::{FoldedName, HashSeed, Name, NameError};
pub use number::{Class, ExtendedErrorCode, Opcode, Rcode, Rtype};
pub use query::{Malformed, Query};
pub use target::{Target, TargetError, TargetGroup, TargetHost, TargetOrder, TargetProtocol};
pub use ttl::Ttl;
