//! Proxies in front of a daemon, as Debian has them, each with a configuration of the test's own.
//!
//! In a configuration `{listen}` stands for the address that the proxy is to listen at, `{port}` for its port, and
//! `{folder}` for a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::waiting::eventually;

/// A proxy that runs. Each is one process, so that its end is that of its value.
pub(crate) struct FrontServer {
    _child: Child,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

/// What stands around a test's own lines.
const NGINX: &str = "
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
";

/// The modules that docs/proxies.md names, and what Debian always loads.
const APACHE: &str = "
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
Listen {listen}
";
const APACHE_MODULES: [&str; 9] = [
    "mpm_event",
    "authz_core",
    "headers",
    "http2",
    "proxy",
    "proxy_http",
    "reqtimeout",
    "socache_shmcb",
    "ssl",
];

/// Caddy's own authority signs instead of one that nobody could ask here.
const CADDY: &str = "
{
	admin off
	skip_install_trust
	auto_https disable_redirects
	local_certs
	%
}
";

impl FrontServer {
    /// nginx with these lines within `http { … }`.
    pub(crate) async fn nginx(http: &str) -> Self {
        Self::start("nginx", &format!("{NGINX}{http}\n}}\n"), &["-p", "{folder}", "-c"], &[]).await
    }

    /// HAProxy with this configuration.
    pub(crate) async fn haproxy(config: &str) -> Self {
        Self::start("haproxy", config, &["-db", "-f"], &[]).await
    }

    /// Caddy with these sites, and `global` among its options.
    pub(crate) async fn caddy(global: &str, sites: &str) -> Self {
        let config = format!("{}{sites}", CADDY.replace('%', global));
        Self::start("caddy", &config, &["run", "--adapter", "caddyfile", "--config"], &[]).await
    }

    /// Apache with these lines.
    pub(crate) async fn apache(lines: &str) -> Self {
        let module =
            |name: &&str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
        let modules: String = APACHE_MODULES.iter().map(module).collect();
        // -X: one process, in the foreground.
        Self::start("apache2", &format!("{modules}{APACHE}{lines}"), &["-X", "-f"], &[]).await
    }

    async fn start(program: &str, config: &str, arguments: &[&str], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let fill = |text: &str| {
            text.replace("{listen}", &address.to_string())
                .replace("{port}", &address.port().to_string())
                .replace("{folder}", folder.path().to_str().expect("text"))
        };
        let file = folder.path().join("front.conf");
        std::fs::write(&file, fill(config)).expect("a file");
        let said = std::fs::File::create(folder.path().join("said")).expect("a file");
        let mut child = Command::new(program)
            .args(arguments.iter().copied().map(fill))
            .arg(&file)
            .args(more)
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file"))
            .stderr(said)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs what is missing"));
        eventually(&format!("{program} listens"), async || {
            if let Ok(Some(status)) = child.try_wait() {
                let said =
                    ["said", "error.log"].map(|name| std::fs::read_to_string(folder.path().join(name)));
                panic!("{program} ended with {status}: {said:?}\n{}", fill(config));
            }
            TcpStream::connect(address).await.ok()
        })
        .await;
        Self { _child: child, folder, address }
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate of Caddy's own authority.
    pub(crate) fn caddy_authority(&self) -> PathBuf {
        self.path(Path::new("caddy/pki/authorities/local/root.crt").to_str().expect("text"))
    }
}
