//! `plustwo generate`: man pages and shell completions, made of the definition of the command line and of the sample
//! configuration. Nothing of it is kept in the source, so nothing of it can be old.

mod reference;

use super::{Command, fail};
use crate::daemon::BUILT_IN_TEXT;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where it is written.
#[derive(Args, Debug)]
pub(super) struct Generate {
    /// The folder that is, or becomes, /usr/share: man/man5, man/man8, bash-completion, zsh and fish are made in it
    #[arg(value_name = "FOLDER")]
    share: PathBuf,
}

/// What no option says: signals, targets, files, exit codes.
const OPERATION: &str = include_str!("generate/operation.man");
/// What the pages of the commands are a part of, as man(7) wants it said.
const MANUAL: &str = "System Administration";
/// Who says it.
const SOURCE: &str = concat!("plustwo ", env!("CARGO_PKG_VERSION"));
/// The section of pages for daemons and those who run them.
const SECTION: &str = "8";

/// `plustwo generate`.
pub(super) fn generate(asked: &Generate) -> ExitCode {
    match write(&asked.share) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("error: cannot write below {}: {error}", asked.share.display())),
    }
}

fn write(share: &Path) -> io::Result<()> {
    let folder = |below: &str| -> io::Result<PathBuf> {
        let path = share.join(below);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let mut command = Command::command().disable_help_subcommand(true);
    command.build();
    pages_of(&command, &folder("man/man8")?)?;
    fs::write(folder("man/man5")?.join("plustwo.toml.5"), reference::page(BUILT_IN_TEXT).render())?;
    // The generators say what they cannot write by a panic; into memory they always can.
    for (shell, below, name) in [
        (Shell::Bash, "bash-completion/completions", "plustwo"),
        (Shell::Zsh, "zsh/site-functions", "_plustwo"),
        (Shell::Fish, "fish/vendor_completions.d", "plustwo.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "plustwo", &mut script);
        fs::write(folder(below)?.join(name), script)?;
    }
    Ok(())
}

/// A page for a command, and one for each below it.
fn pages_of(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let page = Man::new(command.clone()).section(SECTION).source(SOURCE).manual(MANUAL);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let is_whole_program = command.get_name() == "plustwo";
    text.extend_from_slice(if is_whole_program { OPERATION } else { SEE_ALSO }.as_bytes());
    fs::write(folder.join(page.get_filename()), text)?;
    command.get_subcommands().try_for_each(|below| pages_of(below, folder))
}

/// The end of the page of one command.
const SEE_ALSO: &str = ".SH \"SEE ALSO\"\n.BR plustwo (8),\n.BR plustwo.toml (5)\n";
