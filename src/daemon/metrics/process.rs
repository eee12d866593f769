//! What the kernel knows of this process.

use std::fs;

/// Figures of this process; none where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// CPU time in seconds, user and system.
    pub(super) cpu_seconds: Option<f64>,
    /// Octets in memory.
    pub(super) resident_octets: Option<u64>,
    /// Octets of address space.
    pub(super) virtual_octets: Option<u64>,
    /// Open file descriptors.
    pub(super) files: Option<u64>,
    /// How many there may be.
    pub(super) files_max: Option<u64>,
    /// When it started, in seconds since 1970.
    pub(super) started: Option<f64>,
}

/// Ticks of a second in what proc(5) shows (USER_HZ): 100 on every machine that Rust's Linux targets run on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// The figures now.
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
        // The descriptor that lists them is one of them.
        let files = files.map(|files| files.saturating_sub(1));
        let [stat, status, limits] = ["stat", "status", "limits"].map(|file| text(&format!("/proc/self/{file}")));
        Self { files, ..Self::of(&stat, &status, &limits, &text("/proc/stat")) }
    }

    /// What these files of proc(5) say.
    fn of(stat: &str, status: &str, limits: &str, system: &str) -> Self {
        // The name of the process comes second, in parentheses, and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
        // proc_pid_stat(5) counts fields from 1, and two of them stand before the state.
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let seconds = |field| ticks(field).map(|ticks| ticks / TICKS_PER_SECOND);
        let kib = |name: &str| number_after(status, name).map(|kib| kib * 1024);
        let booted = number_after(system, "btime ");
        Self {
            cpu_seconds: seconds(14).zip(seconds(15)).map(|(user, system)| user + system),
            resident_octets: kib("VmRSS:"),
            virtual_octets: kib("VmSize:"),
            files: None,
            files_max: number_after(limits, "Max open files"),
            started: booted.zip(seconds(22)).map(|(booted, after)| booted as f64 + after),
        }
    }
}

/// The first number behind these words, where a line begins with them.
fn number_after(text: &str, words: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(words))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_whatever_the_process_is_called() {
        let stat =
            "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 3680822 3133440 417 18446744073709551615";
        let status = "Name:\ta) b (c\nVmSize:\t  4096 kB\nVmRSS:\t    1024 kB\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            20000                524288               files\n";
        let expected = Process {
            cpu_seconds: Some(3.0),
            resident_octets: Some(1 << 20),
            virtual_octets: Some(4 << 20),
            files: None,
            files_max: Some(20_000),
            started: Some(1_800_000_000.0 + 36_808.22),
        };
        assert_eq!(Process::of(stat, status, limits, "cpu 1\nbtime 1800000000\n"), expected);
        assert_eq!(Process::of("", "", "Max open files            unlimited", ""), Process::default());
    }

    #[test]
    fn this_process_is_alive() {
        let process = Process::read();
        assert!(process.resident_octets.is_some_and(|octets| octets > 100_000), "{process:?}");
        assert!(
            process.files.zip(process.files_max).is_some_and(|(files, max)| 2 < files && files < max),
            "{process:?}"
        );
        assert!(process.cpu_seconds.is_some() && process.started.is_some_and(|at| at > 1.6e9), "{process:?}");
    }
}
