//! Whether the limit of open files is enough for what the file says.

use super::{Finding, Scene};
use crate::daemon::open_files::allowed;
use crate::daemon::worker_count;
use std::fs;

const CHECK: &str = "open-files";
/// From this part of its limit on a running plustwo is near it.
const NEAR_PERCENT: usize = 90;

/// Looks at the running plustwo, or else at what this process may.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let process = scene.running.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
    let whose = if scene.running.is_some() { "the running plustwo" } else { "a plustwo started from here" };
    let Some(may) = hard_limit(&limits) else {
        return vec![Finding::skipped(CHECK, "", format!("the limits of {whose} may not be looked at"))];
    };
    let settings = &scene.configuration.settings;
    let workers = worker_count(settings).get();
    let wanted = settings.limits.upstream_sockets;
    let shares = allowed(wanted, may, scene.doors.len() * (workers + 1), workers, settings.limits.tcp_connections);
    let mut findings = vec![if shares.upstream_sockets < wanted {
        let says =
            format!("{whose} may have {may}, which leaves {} of {wanted} upstream sockets", shares.upstream_sockets);
        Finding::warn(CHECK, "", says)
            .means("fewer questions can be forwarded at a time; streams of clients are refused sooner")
            .remedy("raise `LimitNOFILE=` in the unit (`systemctl edit plustwo`), or `ulimit -n`")
            .remedy("or lower `[limits] upstream_sockets` or `tcp_connections`")
    } else {
        Finding::ok(CHECK, "", format!("{whose} may have {may}, which is enough for this file"))
    }];
    // Only root and its own user may count them.
    let open = scene.running.and_then(|pid| Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()));
    if let Some(open) = open.filter(|open| *open >= may.saturating_mul(NEAR_PERCENT) / 100) {
        let finding = Finding::warn(CHECK, "", format!("{whose} has {open} of them open"));
        findings.push(
            finding
                .means("new connections are refused soon")
                .remedy("raise `LimitNOFILE=`, and look at `plustwo stats`"),
        );
    }
    findings
}

/// What a process may raise its limit to, from its `/proc/PID/limits`: which the daemon does.
fn hard_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_what_it_may_be_raised_to() {
        assert_eq!(
            hard_limit("Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  65536  files\n"),
            Some(65536)
        );
        assert_eq!(hard_limit("Max open files            1024  unlimited  files\n"), Some(usize::MAX));
        assert_eq!(hard_limit(""), None);
        assert!(hard_limit(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }
}
