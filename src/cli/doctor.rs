//! `plustwo doctor`: what stands in the way of answers, in lines that can be scanned, or as JSON (`docs/doctor.md`).

use super::{folder_of_service_manager, say_out};
use crate::daemon::Source;
use crate::daemon::doctor::{Finding, Options, Outcome, Report, examine};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the packaged configuration is.
const PACKAGED: &str = "/etc/plustwo/plustwo.toml";
/// Columns of a check's name.
const CHECK_COLUMNS: usize = 18;

pub(super) const LONG_ABOUT: &str = "\
Looks at this machine, the configuration and its targets, and says what stands in the way and what to do.

Each check ends as ok, warn (plustwo works, and somebody should look), fail (something does not work) or skipped (there was \
nothing to look at, or this user may not look: root sees more). It looks at the configuration, the doors and who holds them, \
privileges, resolv.conf and nsswitch.conf, systemd-resolved, filters against DNS rebinding, the targets, socket buffers, \
drops, open files, the clock, what is kept on disk, and the kernel.

It changes nothing. It asks the targets of the configuration, its own doors and the admin socket; and, where plustwo answers \
a name with a private address, the resolver of resolv.conf for that name, if it is on this machine or at a private address. \
It takes at most about 10 seconds.

Exit codes: 0 nothing fails, 1 something does, 2 wrong usage.";

/// What is examined, and how it is shown.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// The configuration file; without it /etc/plustwo/plustwo.toml if that is there, else the built-in example world
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show what was found as JSON, for other programs
    #[arg(long)]
    json: bool,
}

/// Examines, and says what was found.
pub(super) fn doctor(asked: Doctor) -> ExitCode {
    let packaged = || Some(PathBuf::from(PACKAGED)).filter(|path| Path::exists(path));
    let options = Options {
        source: asked.config.or_else(packaged).map_or(Source::BuiltIn, Source::File),
        state_directory: folder_of_service_manager("STATE_DIRECTORY"),
        runtime_directory: folder_of_service_manager("RUNTIME_DIRECTORY"),
    };
    let report = examine(&options);
    say_out(&if asked.json { format!("{}\n", as_json(&report)) } else { in_words(&report) });
    if report.count(Outcome::Fail) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for each finding; below those that are not ok, what it means and what to do.
fn in_words(report: &Report) -> String {
    let mut words = format!("plustwo {}, {}\n\n", env!("CARGO_PKG_VERSION"), report.configuration);
    for finding in &report.findings {
        let Finding { check, subject, outcome, says, means, remedies } = finding;
        // What fails is to be seen at a glance.
        let word = if *outcome == Outcome::Fail { "FAIL" } else { outcome.word() };
        let says = if subject.is_empty() { says.clone() } else { format!("{subject}: {says}") };
        let _ = writeln!(words, "{word:<8}{check:<CHECK_COLUMNS$}{}", in_a_line(&says));
        if *outcome == Outcome::Ok {
            continue;
        }
        if !means.is_empty() {
            let _ = writeln!(words, "          means: {}", in_a_line(means));
        }
        for remedy in remedies {
            let _ = writeln!(words, "          do:    {}", in_a_line(remedy));
        }
    }
    let _ = writeln!(
        words,
        "\n{} ok, {} to look at, {} failed, {} skipped; it took {:.1} s",
        report.count(Outcome::Ok),
        report.count(Outcome::Warn),
        report.count(Outcome::Fail),
        report.count(Outcome::Skipped),
        report.took.as_secs_f64()
    );
    words
}

/// What others wrote, as files and processes, is not for the terminal to obey.
fn in_a_line(text: &str) -> String {
    text.trim().chars().fold(String::new(), |mut line, character| {
        match character {
            '\n' => line.push(' '),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
        line
    })
}

/// The same for programs.
fn as_json(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "check": finding.check,
            "subject": finding.subject,
            "result": finding.outcome.word(),
            "says": finding.says,
            "means": finding.means,
            "remedies": finding.remedies,
        })
    };
    let result = if report.count(Outcome::Fail) > 0 {
        Outcome::Fail
    } else if report.count(Outcome::Warn) > 0 {
        Outcome::Warn
    } else {
        Outcome::Ok
    };
    let counts = [Outcome::Ok, Outcome::Warn, Outcome::Fail, Outcome::Skipped];
    let counts: serde_json::Map<String, Value> =
        counts.iter().map(|outcome| (outcome.word().to_owned(), json!(report.count(*outcome)))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": report.configuration,
        "result": result.word(),
        "counts": counts,
        "took_millis": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report() -> Report {
        let finding = |check, subject: &str, outcome, remedies: &[&str]| Finding {
            check,
            subject: subject.to_owned(),
            outcome,
            says: format!("{check} was looked at"),
            means: "it matters".to_owned(),
            remedies: remedies.iter().map(|remedy| (*remedy).to_owned()).collect(),
        };
        let findings = vec![
            finding("clock", "", Outcome::Ok, &["nothing"]),
            finding("door", "127.0.0.1:53", Outcome::Fail, &["this", "or that"]),
        ];
        Report { configuration: "x.toml".to_owned(), findings, took: Duration::from_millis(1234) }
    }

    #[test]
    fn what_fails_stands_out_and_says_what_to_do() {
        let expected = format!(
            "plustwo {}, x.toml\n\n\
             ok      clock             clock was looked at\n\
             FAIL    door              127.0.0.1:53: door was looked at\n\
             \x20         means: it matters\n\
             \x20         do:    this\n\
             \x20         do:    or that\n\
             \n1 ok, 0 to look at, 1 failed, 0 skipped; it took 1.2 s\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(in_words(&report()), expected);
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(in_a_line("a\nb\x1b[2J\n"), "a b\\u{1b}[2J");
    }

    #[test]
    fn programs_get_all_of_it() {
        let json = as_json(&report());
        assert_eq!((json["result"].as_str(), json["took_millis"].as_u64()), (Some("fail"), Some(1234)));
        assert_eq!(json["counts"], json!({ "ok": 1, "warn": 0, "fail": 1, "skipped": 0 }));
        assert_eq!(json["findings"][1]["remedies"], json!(["this", "or that"]));
        assert_eq!(json["findings"][0]["result"], "ok");
    }
}
