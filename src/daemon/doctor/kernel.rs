//! Whether the kernel has what plustwo uses.

use super::Finding;
use std::fs;

const CHECK: &str = "kernel";
/// What is used, from which version of Linux on there is such a thing, and what is without it (none: plustwo does not run).
const FEATURES: [(&str, (u32, u32), Option<&str>); 4] = [
    ("recvmmsg and sendmmsg", (3, 0), None),
    ("SO_REUSEPORT", (3, 9), None),
    ("SO_MEMINFO, for drops by door", (4, 12), Some("what the kernel drops at a door is not counted in the metrics")),
    ("UDP_SEGMENT", (4, 18), Some("replies to one client leave one by one, and cost more")),
];

/// Looks at the version.
pub(super) fn check() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![of_release(release.trim())]
}

/// What a kernel of this release lacks.
fn of_release(release: &str) -> Finding {
    let Some(version) = version(release) else {
        return Finding::skipped(CHECK, release, "its version is not understood");
    };
    let lacks: Vec<_> = FEATURES.iter().filter(|(_, since, _)| version < *since).collect();
    let names = |lacks: &[&(&str, (u32, u32), Option<&str>)]| {
        lacks.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
    };
    if lacks.is_empty() {
        return Finding::ok(
            CHECK,
            release,
            format!("it has all that is used: {}", FEATURES.map(|(name, ..)| name).join(", ")),
        );
    }
    let says = format!("it lacks {}", names(&lacks));
    let remedy = "a kernel from 4.18 on has all of it";
    match lacks.iter().find_map(|(_, _, without)| without.is_none().then_some(())) {
        Some(()) => Finding::fail(CHECK, release, says).means("plustwo does not run on it").remedy(remedy),
        None => {
            let without: Vec<&str> = lacks.iter().filter_map(|(_, _, without)| *without).collect();
            Finding::warn(CHECK, release, says).means(without.join("; ")).remedy(remedy)
        }
    }
}

/// Major and minor of a release as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn what_an_old_kernel_lacks() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Outcome::Ok),
            ("4.18.0-553.el8", Outcome::Ok),
            ("4.15.0", Outcome::Warn),
            ("3.2.0", Outcome::Fail),
            ("", Outcome::Skipped),
        ] {
            assert_eq!(of_release(release).outcome, expected, "{release}");
        }
        assert_ne!(check()[0].outcome, Outcome::Fail, "this one runs it");
    }
}
