//! Which Redis sidestream trusts, and as which user it comes: certificates, keys and names of one's own, users and
//! passwords, and files of them that change while it runs.

use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::json;

use crate::harness::{Daemon, Redis, TlsSentinel, eventually, listening, ready, start};
use crate::redis_faults::is_down;

/// Writes a certificate as `openssl req -x509` makes it, an authority that is its own server, and its key.
fn make(folder: &Path, name: &str, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, "x");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let write = |name: String, text: String| std::fs::write(folder.join(name), text).expect("a file");
    write(format!("{name}.pem"), params.self_signed(&key).expect("a certificate").pem());
    write(format!("{name}.key"), key.serialize_pem());
}

/// A Redis with TLS by the certificate `server.pem`, and another one beside it, `other.pem`.
struct OwnTls {
    folder: tempfile::TempDir,
    _redis: Redis,
    /// The section that leads there.
    url: String,
}

impl OwnTls {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        for name in ["server", "other"] {
            make(folder.path(), name, &[]);
        }
        let redis = Redis::start_own_tls(&file("server.pem"), &file("server.key")).await;
        let url = format!("[redis]\nurl = \"rediss://127.0.0.1:{}\"\n", redis.port);
        Self { folder, _redis: redis, url }
    }
}

/// An event goes through the daemon and its Redis.
async fn hears_what_is_published(daemon: &Daemon) {
    let mut stream = listening(daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
}

/// What the documentation tells an operator to run for a pin.
fn pin(certificate: &str) -> String {
    let script = "openssl x509 -in \"$1\" -pubkey -noout | openssl pkey -pubin -outform der | \
                  openssl dgst -sha256 -binary | base64";
    let made = Command::new("sh").args(["-c", script, "sh", certificate]).stderr(Stdio::null()).output();
    let pin = String::from_utf8(made.expect("a shell").stdout).expect("text");
    assert_eq!(pin.trim_end().len(), 44, "{pin:?}");
    pin.trim_end().to_owned()
}

#[tokio::test]
async fn a_file_that_holds_the_servers_own_certificate_vouches_for_exactly_it() {
    let OwnTls { folder, _redis, url } = OwnTls::start().await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let daemon = start(&format!("{url}ca_file = \"{}\"\n", file("server.pem"))).await;
    hears_what_is_published(&daemon).await;

    let daemon = Daemon::start(&format!("{url}ca_file = \"{}\"\n", file("other.pem"))).await;
    is_down(&daemon, "redis", "certificate").await;
    // Without TLS the log says what may be missing.
    let plain = Daemon::start(&url.replace("rediss", "redis")).await;
    is_down(&plain, "redis", "rediss://").await;
}

#[tokio::test]
async fn a_pinned_key_vouches_for_a_redis_whatever_its_certificate_says() {
    let OwnTls { folder, _redis, url } = OwnTls::start().await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (right, wrong) = (pin(&file("server.pem")), pin(&file("other.pem")));
    // Two, as while the server gets another key.
    let daemon = start(&format!("{url}pin_sha256 = [\"{wrong}\", \"sha256//{right}\"]\n")).await;
    hears_what_is_published(&daemon).await;

    let daemon = Daemon::start(&format!("{url}pin_sha256 = [\"{wrong}\"]\n")).await;
    is_down(&daemon, "redis", &format!("the server's key is not pinned: it is sha256//{right}")).await;
}

#[tokio::test]
async fn a_redis_whose_certificate_has_another_name_is_believed_by_that_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    crate::redis_tls::make(folder.path());
    let redis = Redis::start_own_tls(&file("named.pem"), &file("named.key")).await;
    let url =
        format!("[redis]\nurl = \"rediss://127.0.0.1:{}\"\nca_file = \"{}\"\n", redis.port, file("ca.pem"));
    let daemon = Daemon::start(&url).await;
    is_down(&daemon, "redis", "ertificate").await;
    let daemon = start(&format!("{url}server_name = \"redis.internal\"\n")).await;
    hears_what_is_published(&daemon).await;
}

#[tokio::test]
async fn a_user_without_a_password_is_who_it_comes_as() {
    let redis = Redis::start().await;
    let _: () = redis.command(&["ACL", "SETUSER", "free", "on", "nopass", "~*", "&*", "+@all"]).await;
    let url = redis.section().replace("redis://", "redis://free@");
    let daemon = start(&(url + "[redis.stream]\n")).await;
    daemon.publish(&json!({"topic": "a"})).await;
    let clients: String = redis.command(&["CLIENT", "LIST"]).await;
    let ours: Vec<_> = clients.lines().filter(|client| client.contains("name=sidestream")).collect();
    assert!(ours.len() >= 4, "{clients}");
    assert!(ours.iter().all(|client| client.contains("user=free")), "{clients}");
}

#[tokio::test]
async fn a_password_that_is_changed_in_its_file_is_taken_at_the_next_connect() {
    let redis = Redis::start().await;
    let set = async |password: &str| {
        let password = format!(">{password}");
        let words = ["ACL", "SETUSER", "app", "on", "resetpass", &password, "~*", "&*", "+@all"];
        let _: () = redis.command(&words).await;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}\n", redis.port);
    // Neither needs to be percent-encoded in a file of its own.
    set("one/#?@").await;
    let password = write("password", "one/#?@\n".to_owned());
    let by_password = start(&format!(
        "[redis]\nurl = \"{}\"\nusername = \"app\"\npassword_file = \"{password}\"\n[redis.stream]\n",
        redis.url()
    ))
    .await;
    let by_url = write("url", url("one%2F%23%3F%40"));
    let by_url = start(&format!("[redis]\nurl_file = \"{by_url}\"\n[redis.stream]\n")).await;

    set("two").await;
    let _: usize = redis.command(&["CLIENT", "KILL", "USER", "app"]).await;
    for daemon in [&by_password, &by_url] {
        is_down(daemon, "redis", "WRONGPASS").await;
    }
    // One that cannot be used changes nothing.
    write("url", "two".to_owned());
    std::fs::remove_file(folder.path().join("password")).expect("removed");
    for daemon in [&by_password, &by_url] {
        daemon.logged("files of [redis] cannot be used now").await;
        is_down(daemon, "redis", "WRONGPASS").await;
    }
    write("password", "two\n".to_owned());
    write("url", url("two"));
    for daemon in [&by_password, &by_url] {
        ready(daemon, 200).await;
        daemon.publish(&json!({"topic": "a"})).await;
        assert!(!daemon.log().contains("one/#"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn sentinels_are_asked_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    make(folder.path(), "server", &["127.0.0.1"]);
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let ca = format!("ca_file = \"{certificate}\"\n[redis.stream]\n");
    let works = async |section: String| {
        let daemon = start(&section).await;
        hears_what_is_published(&daemon).await;
    };

    // Sentinels and a master by TLS: `host:port` is spoken to as the URL says.
    let master = Redis::start_own_tls(&certificate, &key).await;
    let sentinel = TlsSentinel::start(&certificate, &key, master.port, true).await;
    let port = sentinel.port;
    works(format!("[redis]\nurl = \"rediss://ignored\"\nsentinels = [\"127.0.0.1:{port}\"]\n{ca}")).await;

    // A plain master behind them.
    let master = Redis::start().await;
    let sentinel = TlsSentinel::start(&certificate, &key, master.port, false).await;
    let port = sentinel.port;
    works(format!("[redis]\nsentinels = [\"rediss://127.0.0.1:{port}\"]\n{ca}")).await;

    // Asked without TLS they say nothing, and the reason is logged.
    let daemon = Daemon::start(&format!("[redis]\nsentinels = [\"127.0.0.1:{port}\"]\n")).await;
    is_down(&daemon, "redis", "rediss://").await;
    eventually("it is logged", async || daemon.log().contains("rediss://").then_some(())).await;
}
