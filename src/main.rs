//! The `sidestream` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidestream::cli::main()
}
