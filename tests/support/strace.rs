//! Faults of system calls in single threads of a running program, as `strace` injects them.

use super::binary::Program;
use super::{need_tool, skip};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// `strace`, where it is and may trace; else the test is skipped, loudly.
#[track_caller]
pub(crate) fn need_strace() -> Option<PathBuf> {
    let strace = need_tool("strace")?;
    let mut program = Program::start(Command::new(&strace).args(["-o", "/dev/null", "true"]));
    let (status, said) = program.wait();
    if !status.success() {
        skip(&format!("strace may trace nothing here: {}", said.trim()));
        return None;
    }
    Some(strace)
}

/// How long a thread may take to begin.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

/// A fault that is being injected. Dropped, it is over.
pub(crate) struct Fault {
    strace: Program,
    began: Instant,
}

impl Fault {
    /// Injects this, as strace(1) says it (`recvmmsg:error=ENOBUFS`), in all threads of this name.
    pub(crate) fn inject(strace: &PathBuf, program: &Program, thread: &str, fault: &str) -> Self {
        let until = Instant::now() + NAMED_WITHIN;
        // A thread takes its name itself, once it runs.
        let threads = loop {
            let found = threads(program, thread);
            if !found.is_empty() {
                break found;
            }
            assert!(Instant::now() < until, "no thread is called {thread}");
            std::thread::yield_now();
        };
        let call = fault.split(':').next().expect("a system call first");
        let mut command = Command::new(strace);
        command.args(["-e", &format!("trace={call}"), "-e", "signal=none", "-e", &format!("inject={fault}")]);
        for thread in &threads {
            command.args(["-p", &thread.to_string()]);
        }
        let strace = Program::start(&mut command);
        let said = strace.wait_for(" attached").unwrap_or_else(|| panic!("{command:?}: {}", strace.said()));
        for thread in &threads {
            let attached = format!("Process {thread} attached");
            assert!(said.contains(&attached) || strace.wait_for(&attached).is_some(), "{}", strace.said());
        }
        Self { strace, began: Instant::now() }
    }

    /// Waits until it has been injected so many times.
    #[track_caller]
    pub(crate) fn wait_for(&self, times: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.times() < times {
            assert!(Instant::now() < until, "injected {} times and not {times}:\n{}", self.times(), self.strace.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often it has been injected.
    pub(crate) fn times(&self) -> usize {
        self.strace.said().matches("(INJECTED)").count()
    }

    /// How often it has been injected in a second, over a second at least. What spins is injected some ten thousand times.
    pub(crate) fn rate(&self) -> f64 {
        // There is no event to wait for: it is looked whether nothing happens.
        std::thread::sleep(Duration::from_secs(1).saturating_sub(self.began.elapsed()));
        self.times() as f64 / self.began.elapsed().as_secs_f64()
    }
}

/// The threads of a program that have this name.
pub(crate) fn threads(program: &Program, name: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id())).expect("it runs");
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_called = |id: &u32| {
        let comm = std::fs::read_to_string(format!("/proc/{}/task/{id}/comm", program.id()));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    ids.filter(is_called).collect()
}
