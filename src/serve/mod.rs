//! Doors: how queries come in and replies go out.
//!
//! [`handle`] is the one engine, octets in and octets out; UDP workers, streams and the miss path ([`later`]) all call it.

pub mod arrival;
pub mod counters;
pub mod doors;
pub mod handle;
pub mod in_flight;
pub mod later;
pub mod open_doors;
pub mod query_log;
pub mod rate_limit;
pub mod refusal;
pub mod server;
pub mod stream;
pub mod stream_answer;
pub mod udp;
pub mod wall_clock;
