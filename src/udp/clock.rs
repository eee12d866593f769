//! The kernel's clocks that std does not show.
#![expect(unsafe_code, reason = "std has no clock that goes on while the machine is suspended")]

use std::mem::zeroed;
use std::time::Duration;

use libc::{clockid_t, timespec};

/// The time since the machine started, that in suspension included (`CLOCK_BOOTTIME`): what has a lifetime grows old
/// while the machine sleeps, too. It costs what `Instant::now` does.
#[inline]
pub fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

/// The time that service managers call monotonic: without that in suspension (`CLOCK_MONOTONIC`).
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

#[inline]
fn read(clock: clockid_t) -> Duration {
    // SAFETY: all octets zero are a value of this plain type.
    let mut now: timespec = unsafe { zeroed() };
    // SAFETY: one live local that the call writes. It cannot fail: both clocks are there since Linux 2.6.39.
    unsafe { libc::clock_gettime(clock, &mut now) };
    Duration::new(now.tv_sec.unsigned_abs() as u64, now.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_only_grow_and_the_one_since_boot_is_never_behind() {
        let (monotonic_before, boot_before) = (monotonic(), since_boot());
        let (monotonic_after, boot_after) = (monotonic(), since_boot());
        assert!(monotonic_before <= monotonic_after && boot_before <= boot_after);
        assert!(monotonic_before > Duration::ZERO && monotonic_before <= boot_before);
    }
}
