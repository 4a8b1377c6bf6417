//! Peers that are built with Go: their programs stand in a folder of the benchmark's own, where `bench/setup.sh` puts
//! them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::dialect::{Dialect, KEY};
use super::process::{Running, command};
use super::servers::{Missing, PEERS, Setup, configured};
use crate::machine::said;

pub(super) fn centrifugo(setup: &Setup, folder: TempDir) -> Result<Running, Missing> {
    let program = built("centrifugo")?;
    let (config, address) =
        configured("centrifugo.json", &[("key", KEY), ("heartbeat", &heartbeat(setup, "24h"))], &folder)?;
    let mut command = command(&program.to_string_lossy());
    command.arg("--config").arg(config);
    Ok(Running::start(command, &setup.cores, folder)?.at(address, Dialect::Centrifugo)?)
}

pub(super) fn mercure(setup: &Setup, folder: TempDir) -> Result<Running, Missing> {
    let program = built("mercure")?;
    let (config, address) =
        configured("mercure.caddyfile", &[("key", KEY), ("heartbeat", &heartbeat(setup, "0s"))], &folder)?;
    let mut command = command(&program.to_string_lossy());
    command.arg("run").args(["--adapter", "caddyfile"]).arg("--config").arg(config);
    // Caddy keeps a folder of its own, which is none of the machine's.
    command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
    Ok(Running::start(command, &setup.cores, folder)?.at(address, Dialect::Mercure)?)
}

pub(super) fn centrifugo_version() -> Option<String> {
    said(&built("centrifugo").ok()?.to_string_lossy(), &["version"])
}

pub(super) fn mercure_version() -> Option<String> {
    let program = built("mercure").ok()?;
    let program = program.to_string_lossy();
    let modules = said(&program, &["list-modules", "--versions"])?;
    let hub = modules.lines().find_map(|line| line.strip_prefix("http.handlers.mercure "))?;
    let caddy = said(&program, &["version"])?;
    Some(format!("{hub} in Caddy {}", caddy.split(' ').next().unwrap_or_default()))
}

fn heartbeat(setup: &Setup, never: &str) -> String {
    if setup.heartbeat == 0 { never.to_owned() } else { format!("{}s", setup.heartbeat) }
}

fn built(name: &str) -> Result<PathBuf, Missing> {
    let program = Path::new(PEERS).join("bin").join(name);
    if program.exists() {
        return Ok(program);
    }
    let has_go = said("go", &["version"]).is_some();
    let why = if has_go { "bench/setup.sh builds it" } else { "there is no Go here to build it with" };
    Err(Missing(format!("not built: {why}")))
}
