//! What `plustwo generate` writes is what the command line is: a page for every command, with all its options, that man
//! shows without a warning, and completions that the shells take.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::binary::{outcome, plustwo};
use support::need_tool;

/// The pages and completions of the program under test.
fn generated() -> tempfile::TempDir {
    let share = tempfile::tempdir().expect("a temporary folder");
    let (code, stdout, stderr) = outcome(plustwo().arg("generate").arg(share.path()));
    assert_eq!((code, &*stdout, &*stderr), (0, "", ""));
    share
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The commands below a command, and its options, as its own help lists them: lines that stand in by two.
fn listed(help: &str, heading: &str) -> Vec<String> {
    let part = help.split(&format!("\n{heading}:\n")).nth(1).unwrap_or_default();
    let lines = part.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    let words = lines.filter(|line| line.starts_with("  ") && !line.starts_with("          ")).flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let names: Vec<&str> = words.into_iter().take_while(|word| word.starts_with('-')).collect();
        if names.is_empty() {
            line.split_whitespace().take(1).map(str::to_owned).collect()
        } else {
            names.into_iter().map(|word| word.trim_end_matches(',').to_owned()).collect::<Vec<_>>()
        }
    });
    words.filter(|word| word != "help").collect()
}

/// Looks at the page of a command and of those below it; says how many there are.
fn pages_are_there(share: &Path, command: &[String]) -> usize {
    let (code, help, _) = outcome(plustwo().args(command).arg("--help"));
    assert_eq!(code, 0, "{command:?}");
    let name = [&["plustwo".to_owned()], command].concat().join("-");
    let page = share.join(format!("man/man8/{name}.8"));
    let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let plain = text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    let options = listed(&help, "Options");
    assert!(options.contains(&"--help".to_owned()), "{help}");
    for option in options {
        assert!(plain.contains(&option), "{name}(8) lacks {option}");
    }
    let mut count = 1;
    for below in listed(&help, "Commands") {
        assert!(plain.contains(&format!("{name}-{below}(8)")), "{name}(8) lacks {below}");
        count += pages_are_there(share, &[command, &[below]].concat());
    }
    count
}

#[test]
fn every_command_has_a_page_with_all_its_options() {
    let share = generated();
    let count = pages_are_there(share.path(), &[]);
    assert!(count > 12, "{count} pages");
    assert_eq!(files_below(&share.path().join("man/man8")).len(), count);
}

#[test]
fn man_shows_the_pages_without_a_warning() {
    let Some(man) = need_tool("man") else { return };
    let share = generated();
    for page in files_below(&share.path().join("man")) {
        let mut command = Command::new(&man);
        command.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100").args(["--warnings", "-l"]).arg(&page);
        let (code, shown, warnings) = outcome(&mut command);
        assert_eq!((code, &*warnings), (0, ""), "{}", page.display());
        assert!(shown.contains("NAME") && shown.contains("plustwo"), "{}: {shown}", page.display());
    }
}

#[test]
fn bash_completes() {
    let Some(bash) = need_tool("bash") else { return };
    let share = generated();
    let script =
        "source \"$1\"; COMP_WORDS=(plustwo sta); COMP_CWORD=1; _plustwo plustwo sta plustwo; echo ${COMPREPLY[*]}";
    let mut command = Command::new(bash);
    command.args(["--norc", "-c", script, "bash"]).arg(share.path().join("bash-completion/completions/plustwo"));
    assert_eq!(outcome(&mut command), (0, "status stats\n".to_owned(), String::new()));
}

#[test]
fn fish_completes() {
    let Some(fish) = need_tool("fish") else { return };
    let share = generated();
    let mut command = Command::new(fish);
    command.env("HOME", share.path()).args(["--no-config", "-c", "source $argv[1]; complete -C 'plustwo cache l'"]);
    let (code, offered, complaints) = outcome(command.arg(share.path().join("fish/vendor_completions.d/plustwo.fish")));
    assert_eq!((code, &*complaints), (0, ""));
    assert!(offered.starts_with("lookup\t"), "{offered}");
}

#[test]
fn zsh_takes_the_completions() {
    let Some(zsh) = need_tool("zsh") else { return };
    let share = generated();
    let file = share.path().join("zsh/site-functions/_plustwo");
    // The first line is how compinit knows what the file completes.
    assert!(std::fs::read_to_string(&file).expect("it is there").starts_with("#compdef plustwo\n"));
    let mut command = Command::new(zsh);
    let script = "fpath=($1 $fpath); autoload -Uz compinit; compinit -D; autoload -Uz +X _plustwo; whence -w _plustwo";
    command.args(["-f", "-c", script, "zsh"]).arg(file.parent().expect("a folder"));
    let (code, said, complaints) = outcome(&mut command);
    assert_eq!((code, &*said, &*complaints), (0, "_plustwo: function\n", ""));
}

#[test]
fn a_folder_that_cannot_be_written_is_said() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let (code, stdout, stderr) = outcome(plustwo().arg("generate").arg(file.path()));
    assert_eq!((code, &*stdout), (1, ""));
    assert!(stderr.starts_with("error: cannot write below "), "{stderr}");
}
