//! The doors: how queries come in and replies leave.

pub mod arrival;
pub mod counters;
pub mod doors;
pub mod stream;
pub mod udp;
