//! The `sidestream` command: arguments in, exit code out; and the allocator of the whole process.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads at its start; `_RJEM_MALLOC_CONF` in the environment goes before it. Pages that nobody uses
/// go back within a second, by a thread of the allocator's own, so that a silent daemon gives back too.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the allocator looks for this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    sidestream::cli::main()
}
