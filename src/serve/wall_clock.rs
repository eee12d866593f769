//! The wall clock, for those few queries that need it: a server cookie says when it was made.
//!
//! A fleet agrees on no other clock. Where it is wrong, cookies are not accepted, and nothing else happens.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time of one batch, read when it is first asked for.
#[derive(Default)]
pub struct WallClock(Option<u32>);

impl WallClock {
    /// Seconds since 1970, modulo 2^32.
    pub fn seconds(&mut self) -> u32 {
        *self.0.get_or_insert_with(|| {
            // Before 1970: as wrong as any other time.
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
        })
    }
}
