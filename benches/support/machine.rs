//! The machine that figures belong to, and the file of results that they are kept in.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Adds a run to the day's file of this machine, `results/DATE-MACHINE[-KIND].md`, which begins with `facts`; returns
/// its path from the project's folder.
pub(crate) fn keep(project: &Path, kind: &str, facts: &str, run: &str) -> Result<String, String> {
    let dash = if kind.is_empty() { "" } else { "-" };
    let path = format!("benches/results/{}-{}{dash}{kind}.md", words_of("date", &["-u", "+%F"]), machine());
    let full = project.join(&path);
    let mut text = fs::read_to_string(&full).unwrap_or_else(|_| format!("{facts}\n"));
    let commit = words_of("git", &["-C", &project.display().to_string(), "describe", "--always", "--dirty"]);
    text += &format!("\n## {} UTC, commit {commit}\n\n{run}", words_of("date", &["-u", "+%R"]));
    let folder = full.parent().ok_or("no folder")?;
    fs::create_dir_all(folder).and_then(|()| fs::write(&full, text)).map_err(|e| format!("{path}: {e}"))?;
    Ok(path)
}

/// A short name for the machine, from its processor; `PLUSTWO_BENCH_MACHINE` gives another.
fn machine() -> String {
    std::env::var("PLUSTWO_BENCH_MACHINE").unwrap_or_else(|_| {
        let plain = processor().replace("(R)", " ").replace("(TM)", " ").to_ascii_lowercase();
        let words: Vec<&str> = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
        format!("{}-{}-cores", words.join("-"), cores())
    })
}

pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a command prints, or "unknown".
pub(crate) fn words_of(command: &str, arguments: &[&str]) -> String {
    let done = Command::new(command).args(arguments).output().ok().filter(|done| done.status.success());
    done.map_or_else(|| "unknown".to_owned(), |done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
