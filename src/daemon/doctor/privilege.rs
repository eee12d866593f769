//! Whether what starts plustwo may open ports below 1024: the running process, the unit, the program, whoever asks.

use super::machine::{Machine, said};
use super::{Finding, Scene};
use crate::daemon::refused_door::{is_privileged, privilege_remedies};
use crate::udp::sys::effective_user;
use std::fs;

const CHECK: &str = "privilege";
/// The bit of CAP_NET_BIND_SERVICE (capabilities(7)).
const NET_BIND_SERVICE: u32 = 10;
/// Where systemd looks for units, those that win first (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The packaged unit.
const UNIT: &str = "plustwo.service";

/// Compares what the doors need with what there is.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let Some(door) = scene.doors.iter().find(|door| is_privileged(door.port())) else {
        return vec![Finding::ok(CHECK, "", "no door is at a port that needs one")];
    };
    if let Some(pid) = scene.running {
        let says = match has_capability(&pid.to_string()) {
            true => format!("the running plustwo (process {pid}) has CAP_NET_BIND_SERVICE"),
            false => format!("the running plustwo (process {pid}) has its doors open already"),
        };
        if has_capability(&pid.to_string()) || scene.answering.contains(door) {
            return vec![Finding::ok(CHECK, "", says)];
        }
    }
    let grants = grants(scene);
    if let Some(first) = grants.first() {
        return vec![Finding::ok(CHECK, "", format!("CAP_NET_BIND_SERVICE is given by {first}"))];
    }
    if has_capability("self") {
        let who = if effective_user() == 0 {
            "root has CAP_NET_BIND_SERVICE"
        } else {
            "this process has CAP_NET_BIND_SERVICE"
        };
        return vec![Finding::ok(CHECK, "", format!("{who}; neither a unit nor the program gives it to others"))];
    }
    let says = format!("{door} needs CAP_NET_BIND_SERVICE, and neither this user, a unit nor the program gives it");
    let mut finding =
        Finding::fail(CHECK, "", says).means("doors below 1024 cannot be opened, so plustwo does not start");
    finding.remedies = privilege_remedies(door.port());
    vec![finding]
}

/// Everything on this machine that gives a plustwo the privilege: the unit, the program.
pub(super) fn grants(scene: &Scene) -> Vec<String> {
    let program = std::env::current_exe().ok().map(|path| path.display().to_string());
    let of_program = program
        .filter(|program| said("getcap", &[program]).is_some_and(|words| words.contains("cap_net_bind_service")));
    unit(&scene.machine).into_iter().chain(of_program).collect()
}

/// The unit, if it gives the privilege: by a line of it or of a drop-in, or because it runs as root.
fn unit(machine: &Machine) -> Option<String> {
    let file = UNIT_FOLDERS.iter().map(|folder| format!("{folder}/{UNIT}")).find(|file| machine.has(file))?;
    let drop_ins = UNIT_FOLDERS.iter().rev().flat_map(|folder| machine.list(&format!("{folder}/{UNIT}.d"), ".conf"));
    let (mut ambient, mut is_other_user) = (None, false);
    for file in [file].into_iter().chain(drop_ins) {
        for line in machine.read(&file)?.lines() {
            match line.trim().split_once('=') {
                // An empty assignment forgets those before it.
                Some(("AmbientCapabilities", "")) => ambient = None,
                Some(("AmbientCapabilities", words)) if words.contains("CAP_NET_BIND_SERVICE") => {
                    ambient = Some(file.clone());
                }
                Some(("DynamicUser", word)) => is_other_user |= ["yes", "true", "1", "on"].contains(&word.trim()),
                Some(("User", user)) => is_other_user |= !["", "root", "0"].contains(&user.trim()),
                _ => {}
            }
        }
    }
    ambient.or_else(|| (!is_other_user).then(|| format!("{UNIT}, which runs as root")))
}

/// Whether a process has the capability; not, where it cannot be seen.
fn has_capability(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_some_and(|bits| bits >> NET_BIND_SERVICE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_gives_it_by_its_last_word() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let given = || unit(&Machine::below(root.path()));
        assert_eq!(given(), None, "there is no unit");
        write("usr/lib/systemd/system/plustwo.service", "[Service]\nDynamicUser=yes\n");
        assert_eq!(given(), None);
        write(
            "etc/systemd/system/plustwo.service.d/port.conf",
            "[Service]\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n",
        );
        assert_eq!(given().as_deref(), Some("/etc/systemd/system/plustwo.service.d/port.conf"));
        write("etc/systemd/system/plustwo.service.d/zz.conf", "[Service]\nAmbientCapabilities=\n");
        assert_eq!(given(), None);
        write("usr/lib/systemd/system/plustwo.service", "[Service]\nExecStart=x\n");
        assert!(given().unwrap().contains("root"));
    }

    #[test]
    fn the_packaged_unit_gives_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/systemd/system");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(UNIT), include_str!("../../../packaging/systemd/plustwo.service")).unwrap();
        assert_eq!(unit(&Machine::below(root.path())).as_deref(), Some("/usr/lib/systemd/system/plustwo.service"));
    }
}
