//! Queries by datagram: plain threads that work whole batches.

pub mod worker;
