//! Several Redis of a test's own together: a master with its replica and three Sentinels; a Cluster of three.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::redis::{Redis, next_port, server};
use super::waiting::{eventually, unless_over};

/// A master and a replica under the eyes of three Sentinels.
pub(crate) struct Sentinels {
    pub(crate) one: Redis,
    pub(crate) two: Redis,
    ports: Vec<u16>,
    // Killed when this value goes.
    _children: Vec<Child>,
    _folder: tempfile::TempDir,
}

impl Sentinels {
    /// `arguments` are those of the master and the replica.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let one = Redis::start_with(arguments).await;
        let master = one.port.to_string();
        let two = Redis::start_with(&[arguments, &["--replicaof", "127.0.0.1", &master]].concat()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let (mut ports, mut children) = (Vec::new(), Vec::new());
        for n in 0..3 {
            let port = next_port();
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor mymaster 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n",
                folder.path().display()
            );
            ports.push(port);
            children.push(sentinel(folder.path(), &format!("{n}.conf"), &config));
        }
        let all = Self { one, two, ports, _children: children, _folder: folder };
        for port in &all.ports {
            eventually("a Sentinel knows the replica and the others", async || {
                let answer: Option<Vec<String>> = ask(*port, &["SENTINEL", "MASTER", "mymaster"]).await;
                let answer = answer?;
                let field = |name: &str| {
                    answer
                        .chunks(2)
                        .find(|pair| pair[0] == name)
                        .map(|pair| pair[1].clone())
                        .unwrap_or_default()
                };
                (field("num-slaves") == "1" && field("num-other-sentinels") == "2").then_some(())
            })
            .await;
        }
        all
    }

    /// The part of a daemon's configuration that names them.
    pub(crate) fn section(&self) -> String {
        let all: Vec<_> = self.ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        format!("[redis]\nsentinels = [{}]\ntimeout = \"1s\"\n", all.join(", "))
    }

    /// Has the replica made master, while the master lives. False when that cannot begin yet.
    pub(crate) async fn failover(&self) -> bool {
        ask::<String>(self.ports[0], &["SENTINEL", "FAILOVER", "mymaster"]).await.is_some()
    }

    /// The port of the master that they agree on.
    pub(crate) async fn master(&self) -> Option<u16> {
        let answer: Option<(String, u16)> =
            ask(self.ports[0], &["SENTINEL", "get-master-addr-by-name", "mymaster"]).await;
        answer.map(|(_, port)| port)
    }
}

/// One Sentinel that speaks TLS alone, with a certificate that vouches for itself.
pub(crate) struct TlsSentinel {
    pub(crate) port: u16,
    // Killed when this value goes.
    _child: Child,
    _folder: tempfile::TempDir,
}

impl TlsSentinel {
    /// Watches the master at `master`, by TLS or not.
    pub(crate) async fn start(certificate: &str, key: &str, master: u16, by_tls: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = next_port();
        let by_tls = if by_tls { "yes" } else { "no" };
        let config = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\ntls-cert-file {certificate}\ntls-key-file {key}\n\
             tls-ca-cert-file {certificate}\ntls-auth-clients no\ntls-replication {by_tls}\n\
             sentinel monitor mymaster 127.0.0.1 {master} 1\n",
            folder.path().display()
        );
        Self { port, _child: sentinel(folder.path(), "sentinel.conf", &config), _folder: folder }
    }
}

/// Starts a Sentinel with a file of its own.
fn sentinel(folder: &Path, name: &str, config: &str) -> Child {
    let file = folder.join(name);
    std::fs::write(&file, config).expect("a file");
    Command::new(server())
        .arg(&file)
        .arg("--sentinel")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server")
}

/// Three masters that share the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (node, bus) = Redis::start_node().await;
            nodes.push(node);
            buses.push(bus);
        }
        for (node, (first, last)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
            let _: () =
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        // As redis-cli does it. Left to themselves they settle this among each other a little later, and one that gains
        // a higher epoch while a slot leaves it may be given that slot back: then they never agree on who holds it.
        for (epoch, node) in (1..).zip(&nodes) {
            let _: () = node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]).await;
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let _: () =
                nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]).await;
        }
        for node in &nodes {
            eventually("the cluster stands", async || {
                let info: String = node.command(&["CLUSTER", "INFO"]).await;
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
            })
            .await;
        }
        Self { nodes }
    }

    /// The part of a daemon's configuration that names one of them.
    pub(crate) fn section(&self, nth: usize) -> String {
        format!("[redis]\nnodes = [\"127.0.0.1:{}\"]\n", self.nodes[nth].port)
    }

    /// Which of them holds `key`, and its slot.
    pub(crate) async fn holder(&self, key: &str) -> (usize, String) {
        let slot: u16 = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await;
        let holder = match slot {
            0..=5460 => 0,
            5461..=10922 => 1,
            _ => 2,
        };
        (holder, slot.to_string())
    }

    /// Moves a slot with all its keys.
    pub(crate) async fn migrate(&self, slot: &str, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id): (String, String) =
            (source.command(&["CLUSTER", "MYID"]).await, target.command(&["CLUSTER", "MYID"]).await);
        let _: () = target.command(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &source_id]).await;
        let _: () = source.command(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &target_id]).await;
        let keys: Vec<String> = source.command(&["CLUSTER", "GETKEYSINSLOT", slot, "1000"]).await;
        let port = target.port.to_string();
        for key in keys {
            let _: () = source.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await;
        }
        for node in [target, source] {
            let _: () = node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &target_id]).await;
        }
    }
}

/// Asks a server that may not be there.
async fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a URL");
    let asked = async {
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.ok()
    };
    unless_over(Duration::from_secs(2), asked).await.flatten()
}
