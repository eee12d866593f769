//! Whether the clock is right: certificates of encrypted targets, cookies and logs depend on it.

use super::Finding;
use crate::udp::sys::is_clock_synchronized;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CHECK: &str = "clock";
/// Nobody runs this program before it was written: the first second of 2026, since 1970.
const WRITTEN_SECONDS: u64 = 1_767_225_600;
/// Nor, presumably, after so long: the first second of 2100.
const FAR_OFF_SECONDS: u64 = 4_102_444_800;

/// Looks at the clock.
pub(super) fn check() -> Vec<Finding> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let synchronized = is_clock_synchronized();
    vec![match (is_far_off(since), synchronized) {
        (true, _) => Finding::fail(CHECK, "", format!("it is {since} seconds after 1970, which cannot be"))
            .means("no certificate of an encrypted target is valid then, and the saved cache counts as stale or new")
            .remedy("set it: `sudo timedatectl set-ntp true`, or `sudo chronyc makestep`"),
        (false, Ok(true)) => Finding::ok(CHECK, "", "it is kept right by NTP"),
        (false, Ok(false)) => {
            Finding::warn(CHECK, "", "nothing keeps it right: the kernel says it is not synchronised")
                .means(
                    "it drifts; a few minutes off, certificates and DNSSEC signatures begin to fail, and logs mislead",
                )
                .remedy("`sudo timedatectl set-ntp true`, or install chrony; `timedatectl` says how it stands")
        }
        (false, Err(error)) => {
            Finding::skipped(CHECK, "", format!("whether anything keeps it right may not be asked: {error}"))
        }
    }]
}

fn is_far_off(since_1970: u64) -> bool {
    !(WRITTEN_SECONDS..FAR_OFF_SECONDS).contains(&since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_battery_is_seen() {
        assert!(is_far_off(0) && is_far_off(WRITTEN_SECONDS - 1) && is_far_off(FAR_OFF_SECONDS));
        assert!(!is_far_off(WRITTEN_SECONDS));
        assert_eq!(check().len(), 1);
    }
}
