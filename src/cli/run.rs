//! Running a command's work on one thread, and turning what comes of it into an exit code.

use std::process::ExitCode;

use crate::cli::error::Error;
use crate::cli::output::fail;

/// Runs `work` to its end. An error is said on standard error, and is exit code 1.
pub(super) fn block_on(work: impl Future<Output = Result<ExitCode, Error>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(work)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}
