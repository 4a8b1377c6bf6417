//! Every server by name: how it is started, and what it says when it cannot be.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::dialect::Dialect;
use super::go_peers;
use super::process::{Running, command, free_port, listening};
use super::sidestream::{self, Settings};
use crate::machine::said;

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    Sidestream,
    /// The floor: one `write(2)` after the other.
    Bare,
    Nchan,
    Centrifugo,
    Mercure,
    Node,
    BetterSse,
    /// nginx's `proxy_pass`.
    Nginx,
}

/// What a measurement wants of a server.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) cores: Vec<usize>,
    /// Seconds of silence after which a stream gets a heartbeat; 0 = never.
    pub(crate) heartbeat: u32,
    /// Where proxied requests go.
    pub(crate) backend: Option<SocketAddr>,
    /// What only sidestream knows.
    pub(crate) sidestream: Settings,
}

/// Why a server takes no part.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const NCHAN_MODULE: &str = "ngx_nchan_module.so";

impl Server {
    pub(crate) const ALL: [Self; 8] = [
        Self::Sidestream,
        Self::Bare,
        Self::Nchan,
        Self::Centrifugo,
        Self::Mercure,
        Self::Node,
        Self::BetterSse,
        Self::Nginx,
    ];
    /// Those that hold streams of topics, without the floor.
    pub(crate) const HUBS: [Self; 6] =
        [Self::Sidestream, Self::Nchan, Self::Centrifugo, Self::Mercure, Self::Node, Self::BetterSse];
    /// And with it.
    pub(crate) const WITH_FLOOR: [Self; 7] = [
        Self::Sidestream,
        Self::Bare,
        Self::Nchan,
        Self::Centrifugo,
        Self::Mercure,
        Self::Node,
        Self::BetterSse,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sidestream => "sidestream",
            Self::Bare => "bare loop",
            Self::Nchan => "nchan",
            Self::Centrifugo => "Centrifugo",
            Self::Mercure => "Mercure",
            Self::Node => "Node loop",
            Self::BetterSse => "better-sse",
            Self::Nginx => "nginx",
        }
    }

    /// The name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sidestream => "sidestream",
            Self::Bare => "bare",
            Self::Nchan => "nchan",
            Self::Centrifugo => "centrifugo",
            Self::Mercure => "mercure",
            Self::Node => "node",
            Self::BetterSse => "better-sse",
            Self::Nginx => "nginx",
        }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self, setup: &Setup, binary: &Path) -> Result<Running, Missing> {
        let folder = tempfile::Builder::new().prefix("sidestream-bench-").tempdir()?;
        match self {
            Self::Sidestream => sidestream::start(setup, binary, folder),
            Self::Bare => {
                Ok(Running::start(own("bare")?, &setup.cores, folder)?.said(Dialect::Paths, listening)?)
            }
            Self::Nchan => {
                let modules = nchan_modules().ok_or_else(|| {
                    Missing(format!("not installed: {NCHAN_MODULE} (Debian: libnginx-mod-nchan)"))
                })?;
                let heartbeat = setup.heartbeat.to_string();
                let modules = modules.to_string_lossy().into_owned();
                nginx("nchan.conf", &[("modules", &modules), ("heartbeat", &heartbeat)], setup, folder)
            }
            Self::Nginx => {
                let backend = setup.backend.map(|backend| backend.to_string()).unwrap_or_default();
                nginx("nginx-proxy.conf", &[("backend", &backend)], setup, folder)
            }
            Self::Centrifugo => go_peers::centrifugo(setup, folder),
            Self::Mercure => go_peers::mercure(setup, folder),
            Self::Node => node("node-loop.mjs", setup, folder),
            Self::BetterSse => {
                if !Path::new(PEERS).join("better-sse/node_modules/better-sse").is_dir() {
                    return Err(Missing("not installed: npm ci in bench/peers/better-sse".to_owned()));
                }
                node("better-sse/server.mjs", setup, folder)
            }
        }
    }
}

/// This program, as another process.
fn own(part: &str) -> io::Result<std::process::Command> {
    let mut command = command(&std::env::current_exe()?.to_string_lossy());
    command.arg(part);
    Ok(command)
}

/// The small backend behind a proxy.
pub(crate) fn start_backend(cores: &[usize]) -> Result<Running, Missing> {
    Ok(Running::start(own("backend")?, cores, tempfile::tempdir()?)?.said(Dialect::Paths, listening)?)
}

/// A Redis of the run's own that stores nothing.
pub(crate) fn start_redis(cores: &[usize]) -> Result<Running, Missing> {
    if said("redis-server", &["--version"]).is_none() {
        return Err(Missing("not installed: redis-server".to_owned()));
    }
    let folder = tempfile::tempdir()?;
    let place = folder.path().to_owned();
    redis(&place, free_port()?, "no", cores, folder)
}

/// A Redis that keeps what it is given in `place`, and can be started there again.
pub(crate) fn start_redis_in(place: &Path, port: u16, cores: &[usize]) -> Result<Running, Missing> {
    redis(place, port, "yes", cores, tempfile::tempdir()?)
}

fn redis(place: &Path, port: u16, keeps: &str, cores: &[usize], folder: TempDir) -> Result<Running, Missing> {
    let mut command = command("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", keeps]);
    command.args(["--appendfsync", "always"]).arg("--dir").arg(place);
    Ok(Running::start(command, cores, folder)?
        .at(SocketAddr::from(([127, 0, 0, 1], port)), Dialect::Paths)?)
}

fn nginx_program() -> Option<&'static str> {
    // Debian's sbin is not on everybody's path.
    ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| said(program, &["-v"]).is_some())
}

fn nchan_modules() -> Option<PathBuf> {
    ["/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/local/lib/nginx/modules"]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| folder.join(NCHAN_MODULE).exists())
}

fn nginx(file: &str, values: &[(&str, &str)], setup: &Setup, folder: TempDir) -> Result<Running, Missing> {
    let program = nginx_program().ok_or_else(|| Missing("not installed: nginx".to_owned()))?;
    let place = folder.path().to_string_lossy().into_owned();
    let values: Vec<_> = values.iter().copied().chain([("folder", &*place)]).collect();
    let (config, address) = configured(file, &values, &folder)?;
    let mut command = command(program);
    command.arg("-p").arg(folder.path()).arg("-c").arg(&config);
    Ok(Running::start(command, &setup.cores, folder)?.at(address, Dialect::Paths)?)
}

/// A peer's file of `bench/peers` with its words in @ put in, one of them a free port, and the address of that.
pub(super) fn configured(
    file: &str,
    values: &[(&str, &str)],
    folder: &TempDir,
) -> io::Result<(PathBuf, SocketAddr)> {
    let port = free_port()?;
    let mut text = fs::read_to_string(Path::new(PEERS).join(file))?;
    for (word, value) in values.iter().chain(&[("port", &*port.to_string())]) {
        text = text.replace(&format!("@{word}@"), value);
    }
    let config = folder.path().join(file);
    fs::write(&config, text)?;
    Ok((config, SocketAddr::from(([127, 0, 0, 1], port))))
}

fn node(file: &str, setup: &Setup, folder: TempDir) -> Result<Running, Missing> {
    if said("node", &["--version"]).is_none() {
        return Err(Missing("not installed: node".to_owned()));
    }
    let mut command = command("node");
    command.arg(Path::new(PEERS).join(file)).env("NODE_ENV", "production");
    Ok(Running::start(command, &setup.cores, folder)?.said(Dialect::Paths, listening)?)
}

/// What is installed, for the result's head.
pub(crate) fn versions() -> Vec<(&'static str, String)> {
    let none = || "not installed".to_owned();
    let package = |name: &str| said("dpkg-query", &["-W", "-f=${Version}", name]).unwrap_or_else(none);
    let better = fs::read_to_string(Path::new(PEERS).join("better-sse/node_modules/better-sse/package.json"));
    let better = better.ok().and_then(|text| {
        Some(serde_json::from_str::<serde_json::Value>(&text).ok()?["version"].as_str()?.to_owned())
    });
    vec![
        ("nginx", nginx_program().and_then(|program| said(program, &["-v"])).unwrap_or_else(none)),
        ("nchan (libnginx-mod-nchan)", package("libnginx-mod-nchan")),
        ("Centrifugo", go_peers::centrifugo_version().unwrap_or_else(none)),
        ("Mercure", go_peers::mercure_version().unwrap_or_else(none)),
        ("Node", said("node", &["--version"]).unwrap_or_else(none)),
        ("better-sse", better.unwrap_or_else(none)),
        ("Redis", said("redis-server", &["--version"]).unwrap_or_else(none)),
    ]
}
