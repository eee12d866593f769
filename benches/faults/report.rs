//! The table, and the file that it is kept in.

use std::path::Path;
use std::time::Duration;

use crate::machine::{cores, keep, processor, words_of};
use crate::scenarios::{Answered, Expired, Figures, Hole, Time};
use crate::servers::Server;

/// The faults as rows, the servers as columns.
pub(crate) fn markdown(all: &[Figures]) -> String {
    let mut text = String::from("| fault | figure | bar |");
    for figures in all {
        text += &format!(" {} |", figures.server.name());
    }
    text += &format!("\n|---|---|---|{}\n", "---|".repeat(all.len()));
    let mut row = |fault: &str, figure: &str, bar: &str, cell: &dyn Fn(&Figures) -> String| {
        text += &format!("| {fault} | {figure} | {bar} |");
        for figures in all {
            text += &format!(" {} |", cell(figures));
        }
        text += "\n";
    };
    let from_start: fn(&Figures) -> Hole = |figures| figures.hole_from_start;
    let in_use: fn(&Figures) -> Hole = |figures| figures.hole_in_use;
    for (fault, hole) in [("one of two targets dead from the start", from_start), ("one of two targets dies", in_use)] {
        row(fault, "first answer", "≤ 1.0 s", &|f| Time(hole(f).first).to_string());
        row(fault, "not answered", "0 of 25", &|f| missing(hole(f).answered));
        row(fault, "longest answer", "–", &|f| Time(hole(f).answered.longest).to_string());
        row(fault, "p50 after the first second", "≤ 50 ms", &|f| Time(hole(f).later_median).to_string());
    }
    row("all targets dead", "SERVFAIL after", "≤ 4 s", &|f| Time(f.all_dead.failure).to_string());
    row("all targets dead", "an expired name", "stale answer ≤ 1.8 s", &|f| Expired(f.all_dead.expired).to_string());
    row("link down, own end", "first answer after its return", "≤ 2 s", &|f| Time(f.link[0]).to_string());
    row("link down, far end", "first answer after its return", "≤ 2 s", &|f| Time(f.link[1]).to_string());
    row("30 % lost each way", "not answered in 5 s", "0", &|f| missing(f.lossy));
    row("30 % lost each way", "p50, longest", "≤ 4 s", &|f| times(f.lossy));
    row("a second for each name", "not answered in 5 s", "0", &|f| missing(f.slow));
    row("a second for each name", "p50, longest", "–", &|f| times(f.slow));
    row("40 identical questions", "queries upstream", "≤ 2", &|f| f.identical.1.to_string());
    row("40 identical questions", "not answered", "0", &|f| missing(f.identical.0));
    row("flood, targets dead", "sockets", "≤ 1000", &|f| f.flood.sockets.to_string());
    row("flood, targets dead", "memory", "≤ +50 MiB", &|f| format!("+{} MiB", f.flood.growth_kib >> 10));
    row("flood, targets dead", "own and cached names not answered", "0", &|f| missing(f.flood.here));
    row("flood, targets dead", "their p50", "≤ 20 ms", &|f| Time(f.flood.here.median).to_string());
    row("all", "wrong answers", "0", &|f| f.wrong.to_string());
    text
}

fn missing(answered: Answered) -> String {
    format!("{} of {}", answered.asked - answered.right, answered.asked)
}

fn times(answered: Answered) -> String {
    format!("{}, {}", Time(answered.median), Time(answered.longest))
}

/// Bars that ours misses, in words.
pub(crate) fn missed(figures: &Figures) -> Vec<String> {
    let mut missed = Vec::new();
    let mut bar = |is_kept: bool, what: &str| {
        if !is_kept {
            missed.push(what.to_owned());
        }
    };
    let within = |time: Option<Duration>, limit: u64| time.is_some_and(|time| time <= Duration::from_millis(limit));
    for hole in [figures.hole_from_start, figures.hole_in_use] {
        bar(within(hole.first, 1_000), "one target dead: the first answer within 1.0 s");
        bar(hole.answered.right == hole.answered.asked, "one target dead: every name answered");
        bar(within(hole.later_median, 50), "one target dead: 50 ms after the first second");
    }
    bar(within(figures.all_dead.failure, 4_000), "all targets dead: SERVFAIL within 4 s");
    bar(figures.link.iter().all(|time| within(*time, 2_000)), "link back: an answer within 2 s");
    bar(figures.lossy.right == figures.lossy.asked, "30 % lost: every name answered");
    bar(figures.slow.right == figures.slow.asked, "slow upstream: every name answered");
    bar(
        figures.identical.1 <= 2 && figures.identical.0.right == figures.identical.0.asked,
        "40 identical: at most 2 upstream",
    );
    bar(figures.flood.sockets <= 1_100, "flood: 1000 sockets, and those of doors");
    bar(figures.flood.growth_kib <= 50 << 10, "flood: 50 MiB");
    bar(figures.flood.here.right == figures.flood.here.asked, "flood: own and cached names answered");
    bar(within(figures.flood.here.median, 20), "flood: own and cached names within 20 ms");
    missed
}

/// Adds a run to the day's file of this machine.
pub(crate) fn keep_run(project: &Path, kind: &str, run: &str) -> Result<String, String> {
    let servers = Server::ALL.map(|server| format!("{} {}", server.name(), server.version())).join(", ");
    let facts = format!(
        "# Forwarding under faults, beside its peers\n\n- processor: {}, {} cores\n- kernel: {}\n- servers: {servers}\n\
         - compiler: {}\n\n`benches/README.md` says what the rows are.",
        processor(),
        cores(),
        words_of("uname", &["-sr"]),
        words_of("rustc", &["--version"]),
    );
    keep(project, kind, &facts, run)
}
