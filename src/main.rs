//! The plustwo daemon: see `plustwo --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    plustwo::cli::main(std::env::args_os())
}
