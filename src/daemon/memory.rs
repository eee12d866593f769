//! How much memory a reload may take. Where an allocation fails the process ends, and where its control group is full the
//! kernel ends it; a reload that would lead there is better refused while the old configuration is served on.
//!
//! It is an estimate, and no promise: other programs take memory too.

use std::fs;
use std::path::Path;

/// Octets that an octet of a file takes while it is loaded, at the most: its text, the model of it, and the snapshot. Zone
/// files of long names take 8, of many records a name 11, of the shortest records that there are 22.
const OCTETS_AN_OCTET: u64 = 24;
/// Files below this are read in any case: what they take is nothing beside what serving takes.
const SMALL_OCTETS: u64 = 1 << 20;

/// Memory that loading may take; without a limit as much as there is, as at a start: there is nothing to serve on instead.
#[derive(Debug, Default)]
pub(super) struct Room(Option<Limit>);

/// A limit, and what is left below it.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    left: u64,
    /// What sets it, for the operator.
    by: &'static str,
}

impl Room {
    /// What is left now below the nearest of the limits of this process, its control groups and the machine.
    pub(super) fn now() -> Self {
        let own = own_limits(&text("/proc/self/limits"), &text("/proc/self/status"));
        let groups = groups(Path::new("/sys/fs/cgroup"), &text("/proc/self/cgroup"));
        let machine = machine(&text("/proc/meminfo"));
        Self(own.into_iter().chain(groups).chain(machine).min_by_key(|limit| limit.left))
    }

    /// Whether a table of names of so many octets can be put together anew beside the one that is served: that happens when
    /// enough of it has changed, however little that is this time. The error is half a sentence for the operator.
    pub(super) fn has_another_table(&self, octets: u64) -> Result<(), String> {
        match &self.0 {
            Some(Limit { left, by }) if octets >= SMALL_OCTETS && octets > *left => Err(format!(
                "the names that are served already may take up to {} MiB of memory once more, and {} MiB are left below {by}",
                octets >> 20,
                *left >> 20
            )),
            _ => Ok(()),
        }
    }

    /// Takes what a file of so many octets needs. The error is half a sentence for the operator.
    pub(super) fn take(&mut self, octets: u64) -> Result<(), String> {
        let Some(Limit { left, by }) = &mut self.0 else { return Ok(()) };
        let needed = octets.saturating_mul(OCTETS_AN_OCTET);
        if octets >= SMALL_OCTETS && needed > *left {
            return Err(format!(
                "loading it takes up to {} MiB of memory, and {} MiB are left below {by}",
                needed >> 20,
                *left >> 20
            ));
        }
        *left = left.saturating_sub(needed);
        Ok(())
    }
}

/// What is in a file of the system; nothing where it has none.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number behind a word at the start of a line, in KiB: `VmSize:     1234 kB`.
fn kib(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The limits that the process itself has (getrlimit(2)), held against what it has taken of them.
fn own_limits(limits: &str, status: &str) -> Vec<Limit> {
    let limit = |name: &str, taken: &str, by| {
        let soft = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
        Some(Limit { left: soft.parse::<u64>().ok()?.saturating_sub(kib(status, taken)? << 10), by })
    };
    let address_space = limit("Max address space", "VmSize:", "its limit of address space (LimitAS=, ulimit -v)");
    let data = limit("Max data size", "VmData:", "its limit of data (LimitDATA=, ulimit -d)");
    address_space.into_iter().chain(data).collect()
}

/// The limits of its control group and of those above that one (cgroup v2). What the kernel keeps of files can be had back.
fn groups(mounted_at: &Path, own: &str) -> Vec<Limit> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let limit = |group: &Path| {
        let of = mounted_at.join(group);
        let number = |file: &str| text(of.join(file)).trim().parse::<u64>().ok();
        // Above the second it is not ended, but slowed down until it hardly goes on.
        let limits =
            [("memory.max", "MemoryMax= of its control group"), ("memory.high", "MemoryHigh= of its control group")];
        let limits = limits.into_iter().filter_map(|(file, by)| Some((number(file)?, by)));
        let (most, by) = limits.min_by_key(|(most, _)| *most)?;
        let current = number("memory.current")?;
        let stat = text(of.join("memory.stat"));
        let files = ["active_file ", "inactive_file "].into_iter().filter_map(|word| kib(&stat, word)).sum();
        Some(Limit { left: most.saturating_sub(current.saturating_sub(files)), by })
    };
    Path::new(path).ancestors().filter_map(limit).collect()
}

/// What the machine can still give.
fn machine(meminfo: &str) -> Option<Limit> {
    let available = kib(meminfo, "MemAvailable:")?;
    let swap = kib(meminfo, "SwapFree:").unwrap_or(0);
    Some(Limit { left: (available + swap) << 10, by: "what the machine has" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_their_share_until_there_is_no_room() {
        let mut room = Room(Some(Limit { left: 150 << 20, by: "a limit" }));
        assert_eq!(room.take(4 << 20), Ok(()));
        let refused = room.take(4 << 20).unwrap_err();
        assert_eq!(refused, "loading it takes up to 96 MiB of memory, and 54 MiB are left below a limit");
        assert_eq!(room.take(2 << 20), Ok(()));
        assert_eq!(Room(Some(Limit { left: 0, by: "a limit" })).take(SMALL_OCTETS - 1), Ok(()));
        assert_eq!(Room::default().take(u64::MAX), Ok(()));
        let room = Room(Some(Limit { left: 3 << 20, by: "a limit" }));
        assert_eq!((room.has_another_table(3 << 20), Room::default().has_another_table(u64::MAX)), (Ok(()), Ok(())));
        let refused = room.has_another_table(4 << 20).unwrap_err();
        assert!(refused.contains("up to 4 MiB") && refused.contains("3 MiB are left below a limit"), "{refused}");
        assert_eq!(Room(Some(Limit { left: 0, by: "a limit" })).has_another_table(SMALL_OCTETS - 1), Ok(()));
    }

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         1073741824           unlimited            bytes     \n";
        let status = "Name:\tplustwo\nVmPeak:\t  900000 kB\nVmSize:\t  524288 kB\nVmData:\t  100000 kB\n";
        let [own] = &own_limits(limits, status)[..] else { panic!("one limit") };
        assert_eq!((own.left, own.by.contains("LimitAS=")), (512 << 20, true));
        assert_eq!(machine("MemTotal: 9 kB\nMemAvailable:    1024 kB\nSwapFree:  1024 kB\n").unwrap().left, 2 << 20);
        assert!(machine("").is_none());
    }

    #[test]
    fn every_group_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("system.slice/plustwo.service");
        fs::create_dir_all(&own).unwrap();
        let write = |folder: &Path, max: &str, current: u64, stat: &str| {
            fs::write(folder.join("memory.max"), format!("{max}\n")).unwrap();
            fs::write(folder.join("memory.current"), format!("{current}\n")).unwrap();
            fs::write(folder.join("memory.stat"), stat).unwrap();
        };
        write(&own, "1000", 700, "anon 400\nactive_file 100\ninactive_file 200\n");
        write(own.parent().unwrap(), "max", 5000, "");
        let found = |limits: Vec<Limit>| limits.into_iter().map(|limit| limit.left).collect::<Vec<_>>();
        assert_eq!(found(groups(root.path(), "0::/system.slice/plustwo.service\n")), [600]);
        write(own.parent().unwrap(), "5100", 5000, "");
        assert_eq!(found(groups(root.path(), "0::/system.slice/plustwo.service\n")), [600, 100]);
        // The lower one of both counts, and says that it is the one.
        for (high, left, by) in [("900", 500, "MemoryHigh="), ("max", 600, "MemoryMax="), ("1100", 600, "MemoryMax=")] {
            fs::write(own.join("memory.high"), high).unwrap();
            let nearest = groups(root.path(), "0::/system.slice/plustwo.service\n").swap_remove(0);
            assert_eq!((nearest.left, nearest.by.contains(by)), (left, true), "{high}: {nearest:?}");
        }
        assert!(groups(root.path(), "1:memory:/old\n").is_empty());
    }

    /// Whatever this machine says, it can be read, and it leaves room for a small file.
    #[test]
    fn this_machine_has_room() {
        assert!(Room::now().0.is_some_and(|limit| limit.left > 0));
    }
}
