//! What stands around the daemon that is to be: the application, where it listens, a Redis, a secret of tokens.
//!
//! Looks at this machine only, each look within a moment. Of a secret only the name is kept.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::init::ecosystem::Ecosystem;
use crate::net::dial;

/// How long one look may take.
const LOOK: Duration = Duration::from_millis(300);
/// Where applications listen while they are developed, beside their framework's own port.
const PORTS: [u16; 4] = [3000, 8000, 8080, 5000];
const REDIS_PORT: u16 = 6379;
/// Where the daemon may listen, the first that is free.
const PUBLIC: [u16; 4] = [8080, 8090, 8088, 8180];
/// The same of the internal listener.
const INTERNAL: [u16; 4] = [8081, 8091, 8089, 8181];
/// How much is read of a file of variables.
const MAX: u64 = 64 << 10;
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// What was found.
pub(super) struct Surroundings {
    pub(super) folder: PathBuf,
    pub(super) ecosystem: Option<Ecosystem>,
    pub(super) backend_port: u16,
    /// Whether something listens there now.
    pub(super) is_listening: bool,
    pub(super) redis: RedisFound,
    pub(super) secret: Option<SecretVariable>,
    /// The file of Docker Compose.
    pub(super) compose: Option<&'static str>,
    pub(super) public_port: u16,
    pub(super) internal_port: u16,
}

/// Whether a Redis listens on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RedisFound {
    None,
    Open,
    /// It wants a password.
    Locked,
}

/// A variable whose name says that tokens are signed with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SecretVariable {
    pub(super) name: String,
    pub(super) file: &'static str,
}

impl Surroundings {
    /// Looks around. An error is a folder that cannot be looked at.
    pub(super) async fn of(folder: &Path) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        let ecosystem = Ecosystem::of(folder);
        let own = ecosystem.as_ref().map(|found| found.port);
        let mut listening = None;
        for port in own.into_iter().chain(PORTS) {
            if listening.is_none() && connect(port).await.is_some() {
                listening = Some(port);
            }
        }
        let backend_port = listening.or(own).unwrap_or(PORTS[0]);
        Ok(Self {
            folder: folder.to_owned(),
            ecosystem,
            backend_port,
            is_listening: listening.is_some(),
            redis: redis().await,
            secret: [".env", ".env.local"].into_iter().find_map(|file| secret(folder, file)),
            compose: COMPOSE.into_iter().find(|file| folder.join(file).exists()),
            public_port: free(PUBLIC, backend_port).await,
            internal_port: free(INTERNAL, backend_port).await,
        })
    }

    /// Where browsers will come to.
    pub(super) fn public(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.public_port).into()
    }

    /// Whether the folder is kept in git, which does not know that `file` is to be left out.
    pub(super) fn keeps_history_without(&self, file: &str) -> bool {
        let ignored = std::fs::read_to_string(self.folder.join(".gitignore")).unwrap_or_default();
        let is_ignored = |line: &str| line.trim().trim_start_matches('/') == file || line.trim() == "*.key";
        self.folder.join(".git").exists() && !ignored.lines().any(is_ignored)
    }

    /// What was found, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let backend = format!("127.0.0.1:{}", self.backend_port);
        let listens = if self.is_listening { "listens" } else { "is expected" };
        let mut lines = vec![match &self.ecosystem {
            Some(Ecosystem { name, file, .. }) => {
                format!("{name} ({file}): the application {listens} on {backend}")
            }
            None => format!("No known framework: the application {listens} on {backend}"),
        }];
        match self.redis {
            RedisFound::None => {}
            RedisFound::Open => {
                lines.push(format!("Redis on 127.0.0.1:{REDIS_PORT}: its channels are heard"));
            }
            RedisFound::Locked => lines.push(format!(
                "Redis on 127.0.0.1:{REDIS_PORT} wants a password: [redis] is there, commented out"
            )),
        }
        if let Some(SecretVariable { name, file }) = &self.secret {
            lines.push(format!("{name} in {file}: tokens signed with it open /events"));
        }
        if let Some(compose) = self.compose {
            lines.push(format!("{compose}: the file says what changes within its network"));
        }
        lines
    }
}

async fn connect(port: u16) -> Option<TcpStream> {
    timeout(LOOK, dial::tcp("127.0.0.1", port, LOOK)).await.ok()?.ok()
}

/// The first of these ports that nobody listens at, and that is not the application's.
async fn free(ports: [u16; 4], taken: u16) -> u16 {
    for port in ports {
        if port != taken && connect(port).await.is_none() {
            return port;
        }
    }
    // It may be free when the daemon starts, which otherwise says so.
    ports.into_iter().find(|port| *port != taken).unwrap_or(ports[0])
}

/// Whether what listens there speaks as Redis does.
async fn redis() -> RedisFound {
    let Some(mut socket) = connect(REDIS_PORT).await else { return RedisFound::None };
    let ask = async {
        socket.write_all(b"PING\r\n").await?;
        let mut answer = [0; 64];
        let read = socket.read(&mut answer).await?;
        io::Result::Ok(answer[..read].to_vec())
    };
    match timeout(LOOK, ask).await {
        Ok(Ok(answer)) if answer.starts_with(b"+PONG") => RedisFound::Open,
        Ok(Ok(answer)) if answer.starts_with(b"-NOAUTH") => RedisFound::Locked,
        _ => RedisFound::None,
    }
}

/// The first variable of a file whose name is that of a secret of tokens, and that has a value.
fn secret(folder: &Path, file: &'static str) -> Option<SecretVariable> {
    let mut text = String::new();
    File::open(folder.join(file)).ok()?.take(MAX).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let has_value = !value.trim().trim_matches(['"', '\'']).is_empty();
        (is_name && has_value && is_token_secret(name))
            .then(|| SecretVariable { name: name.to_owned(), file })
    })
}

/// `JWT_SECRET`, `JWT_SECRET_KEY`, `APP_JWT_KEY`; not `JWT_PUBLIC_KEY`, `JWT_SECRET_FILE` and `JWT_EXPIRES_IN`.
fn is_token_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let has = |word: &str| words.contains(&word);
    has("JWT")
        && (has("SECRET") || has("KEY"))
        && !["PUBLIC", "PRIVATE", "FILE", "PATH", "ID"].into_iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_name_and_only_the_name_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "# JWT_SECRET=no\nPORT=3000\nJWT_EXPIRES_IN=1h\nJWT_SECRET=\nexport APP_JWT_SECRET='s3cret'\n";
        std::fs::write(folder.path().join(".env"), text).unwrap();
        let found = secret(folder.path(), ".env").unwrap();
        assert_eq!(found, SecretVariable { name: "APP_JWT_SECRET".to_owned(), file: ".env" });
        for (name, is_one) in
            [("JWT_KEY", true), ("jwt_secret_key", true), ("JWT_PUBLIC_KEY", false), ("SECRET_KEY", false)]
        {
            assert_eq!(is_token_secret(name), is_one, "{name}");
        }
    }
}
