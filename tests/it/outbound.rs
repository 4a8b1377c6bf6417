//! The way to servers on the internet through an HTTP proxy, and issuers that say where their keys are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Daemon, eventually, holds_for, listening, within};

/// A name that only a proxy knows.
const NAME: &str = "login.test";

/// A key as an issuer publishes it (RFC 7517, appendix A.1).
fn keys() -> String {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }]})
    .to_string()
}

type Pages = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A web server, with or without TLS, that knows some pages and remembers what was asked.
struct Server {
    address: SocketAddr,
    pages: Pages,
    asked: Arc<Mutex<Vec<String>>>,
    /// What its clients trust.
    certificate: tempfile::NamedTempFile,
}

impl Server {
    async fn start(secure: bool) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        let certificate = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(certificate.path(), made.cert.pem()).expect("a file");
        let chain = vec![CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
        let tls = secure.then(|| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (pages, asked) = (Pages::default(), Arc::new(Mutex::new(Vec::new())));
        let (known, seen) = (Arc::clone(&pages), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (known, seen, tls) = (Arc::clone(&known), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, &known, &seen).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &known, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, pages, asked, certificate }
    }

    fn set(&self, pages: &[(&'static str, String)]) {
        *self.pages.lock().expect("nobody panicked") = pages.to_vec();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    fn certificate(&self) -> String {
        self.certificate.path().to_str().expect("text").to_owned()
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    pages: &Mutex<Vec<(&'static str, String)>>,
    asked: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|part| part == b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = {
        let pages = pages.lock().expect("nobody panicked");
        pages.iter().find(|(path, _)| *path == target).map(|(_, body)| body.clone())
    };
    asked.lock().expect("nobody panicked").push(target);
    let (status, body) = page.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let _ = socket.write_all(answer.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// A proxy that asks for a password, and leads everywhere to one server.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// `answer` is its word to whoever asks for a way.
    async fn to(server: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if client.read_buf(&mut head).await.unwrap_or_default() == 0 {
                            return;
                        }
                    }
                    seen.lock().expect("nobody panicked").push(String::from_utf8_lossy(&head).into_owned());
                    let _ = client.write_all(answer.as_bytes()).await;
                    if let (true, Ok(mut server)) = (answer.contains("200"), TcpStream::connect(server).await)
                    {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panicked").clone()
    }
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// Tokens whose keys are at the server, and a webhook there.
fn config(server: &Server) -> String {
    let ca = server.certificate();
    format!(
        "[[stream]]\npath = \"/events\"\n[[stream]]\npath = \"/mine\"\nauth = \"jwt\"\ntopics = []\n\
         [auth.jwt]\njwks_url = \"https://{NAME}/keys\"\njwks_ca_file = \"{ca}\"\njwks_timeout = \"10s\"\n\
         [[webhook]]\nname = \"app\"\nurl = \"https://{NAME}:8443/hook\"\nca_file = \"{ca}\"\n\
         secret = \"a-webhook-secret-of-32-bytes-or-more\"\nmax_delay = \"10ms\"\nretry_min = \"50ms\"\n\
         events = [\"connected\"]\n"
    )
}

async fn fetched(daemon: &Daemon) {
    eventually("the keys are there", async || {
        (daemon.ask("/readyz/events").await.status == 200).then_some(())
    })
    .await;
}

/// Why the keys are not there.
async fn why(daemon: &Daemon) -> String {
    eventually("a reason", async || {
        let said: Value = daemon.ask("/readyz/events").await.json();
        said["dependencies"]["jwks"]["why"].as_str().map(str::to_owned)
    })
    .await
}

async fn shows_no(secret: &str, daemon: &Daemon) {
    for text in [daemon.log(), daemon.ask("/metrics").await.text(), daemon.ask("/readyz/events").await.text()]
    {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn keys_and_webhooks_go_through_the_proxy_that_the_environment_names() {
    let server = Server::start(true).await;
    server.set(&[("/keys", keys()), ("/hook", String::new())]);
    let proxy = Scripted::to(server.address, OPEN).await;
    let url = format!("http://ann:s3cret%40@{}", proxy.address);
    let daemon = Daemon::start_with(&config(&server), &[("HTTPS_PROXY", &url)]).await;
    fetched(&daemon).await;
    listening(&daemon, "/events?topic=a").await;
    eventually("the webhook is told", async || server.asked().contains(&"/hook".to_owned()).then_some(()))
        .await;
    // printf %s 'ann:s3cret@' | base64
    let credentials = "Proxy-Authorization: Basic YW5uOnMzY3JldEA=\r\n";
    for place in [format!("{NAME}:443"), format!("{NAME}:8443")] {
        let head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{credentials}\r\n");
        assert!(proxy.heads().contains(&head), "{head}: {:?}", proxy.heads());
    }
    shows_no("s3cret", &daemon).await;
}

#[tokio::test]
async fn whoever_is_excepted_is_reached_without_the_proxy() {
    let server = Server::start(true).await;
    let proxy = Scripted::to(server.address, OPEN).await;
    let url = format!("http://{}", proxy.address);
    let environment = [("all_proxy", url.as_str()), ("NO_PROXY", "elsewhere.example,.test")];
    let excepted = Daemon::start_with(&config(&server), &environment).await;
    // Nobody but the proxy knows the name.
    assert!(why(&excepted).await.contains("cannot connect"), "{}", why(&excepted).await);
    let none = format!("{}\n[outbound]\nproxy = \"none\"\n", config(&server));
    let without = Daemon::start_with(&none, &[("HTTPS_PROXY", &url)]).await;
    assert!(why(&without).await.contains("cannot connect"), "{}", why(&without).await);
    let own = format!("{}\n[outbound]\nno_proxy = [\"*\"]\n", config(&server));
    let own = Daemon::start_with(&own, &[("HTTPS_PROXY", &url)]).await;
    assert!(why(&own).await.contains("cannot connect"), "{}", why(&own).await);
    // This machine, and what is not https.
    let here = Server::start(false).await;
    here.set(&[("/keys", keys())]);
    let local = format!(
        "[[stream]]\nauth = \"jwt\"\ntopics = []\n[auth.jwt]\njwks_url = \"http://{}/keys\"\n",
        here.address
    );
    fetched(&Daemon::start_with(&local, &[("HTTPS_PROXY", &url), ("HTTP_PROXY", &url)]).await).await;
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_and_its_password_is_not() {
    let server = Server::start(true).await;
    for (answer, said) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "asks for another user or password (407)"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused the way to login.test:443 (403)"),
        ("no HTTP\r\n\r\n", "did not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "sent more than the head"),
    ] {
        let proxy = Scripted::to(server.address, answer).await;
        let more =
            format!("{}\n[outbound]\nproxy = \"http://ann:s3cret@{}\"\n", config(&server), proxy.address);
        let daemon = Daemon::start(&more).await;
        let why = why(&daemon).await;
        assert!(why.contains(said) && why.contains(&proxy.address.to_string()), "{why}");
        shows_no("s3cret", &daemon).await;
    }
    let odd =
        Daemon::start_with(&config(&server), &[("HTTPS_PROXY", "socks5://ann:s3cret@127.0.0.1:1")]).await;
    odd.logged("names a proxy that is not used").await;
    shows_no("s3cret", &odd).await;
}

/// tinyproxy, which knows the server's name, for who has the password.
struct Tinyproxy {
    _child: Child,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Tinyproxy {
    async fn start(allowed: u16) -> Self {
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            free.local_addr().expect("its address").port()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (hosts, conf) = (folder.path().join("hosts"), folder.path().join("tinyproxy.conf"));
        std::fs::write(&hosts, format!("127.0.0.1 localhost {NAME}\n")).expect("a file");
        let lines = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth ann s3cret\nConnectPort {allowed}\nMaxClients 20\n"
        );
        std::fs::write(&conf, lines).expect("a file");
        // In a world of its own, in which the name means this machine.
        let script =
            format!("mount --bind {} /etc/hosts && exec tinyproxy -d -c {}", hosts.display(), conf.display());
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).kill_on_drop(true);
        let child = command.stdout(std::process::Stdio::null()).spawn().expect("`make setup` installs it");
        eventually("tinyproxy listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Self { _child: child, _folder: folder, port }
    }
}

#[tokio::test]
async fn a_real_proxy_leads_to_an_issuer_of_whom_nobody_else_knows() {
    let server = Server::start(true).await;
    let port = server.address.port();
    let proxy = Tinyproxy::start(port).await;
    let issuer = format!("https://{NAME}:{port}/realms/app");
    let document =
        json!({ "issuer": issuer, "jwks_uri": format!("https://{NAME}:{port}/certs") }).to_string();
    server.set(&[("/realms/app/.well-known/openid-configuration", document), ("/certs", keys())]);
    let tokens = |password: &str| {
        format!(
            "[[stream]]\nauth = \"jwt\"\ntopics = []\n[auth.jwt]\ndiscover = \"{issuer}\"\njwks_ca_file = \"{}\"\n\
             [outbound]\nproxy = \"http://ann:{password}@127.0.0.1:{}\"\n",
            server.certificate(),
            proxy.port
        )
    };
    let daemon = Daemon::start(&tokens("s3cret")).await;
    fetched(&daemon).await;
    assert_eq!(server.asked(), ["/realms/app/.well-known/openid-configuration", "/certs"]);
    let stranger = Daemon::start(&tokens("wr0ng")).await;
    let said = why(&stranger).await;
    assert!(said.contains("(401)") || said.contains("(407)"), "{said}");
    shows_no("wr0ng", &stranger).await;
}

/// The configuration of an issuer at a server of this machine.
fn discovering(issuer: &str) -> String {
    format!(
        "[[stream]]\nauth = \"jwt\"\ntopics = []\n[auth.jwt]\ndiscover = \"{issuer}\"\njwks_refresh = \"1s\"\n"
    )
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are_and_may_move_them() {
    let server = Server::start(false).await;
    let issuer = format!("http://{}/tenant", server.address);
    let document = |keys: &str| {
        json!({ "issuer": issuer, "jwks_uri": format!("http://{}{keys}", server.address), "more": [1] })
            .to_string()
    };
    // By RFC 8414 alone, beside a page that is there for every path.
    let well_known = "/.well-known/oauth-authorization-server/tenant";
    let page = ("/tenant/.well-known/openid-configuration", "<html>".to_owned());
    server.set(&[page, (well_known, document("/old")), ("/old", keys())]);
    let daemon = Daemon::start(&discovering(&issuer)).await;
    fetched(&daemon).await;
    server.set(&[(well_known, document("/new")), ("/new", keys())]);
    eventually("the new place is asked", async || server.asked().contains(&"/new".to_owned()).then_some(()))
        .await;
    // Keys that were fetched stay.
    server.set(&[]);
    daemon.logged("keys of tokens not fetched").await;
    assert_eq!(daemon.ask("/readyz/events").await.status, 200);
    let token = crate::harness::token(&json!({ "sub": "u", "iss": "http://elsewhere" }));
    let refused = daemon.get(&format!("/events?token={token}")).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_document_of_another_issuer_counts_for_nothing() {
    let server = Server::start(false).await;
    let base = format!("http://{}", server.address);
    let well_known = "/.well-known/openid-configuration";
    let document = |issuer: &str, keys: &str| json!({ "issuer": issuer, "jwks_uri": keys }).to_string();
    for (body, said) in [
        (document(&format!("{base}/"), &format!("{base}/keys")), "letter by letter"),
        (document("https://evil.example", &format!("{base}/keys")), "`https://evil.example`, not of"),
        (document(&base, "http://keys.example/keys"), "is no https URL"),
        (document(&base, "file:///etc/passwd"), "is no https URL"),
        (json!({ "issuer": base }).to_string(), "is not JSON with an `issuer` and a `jwks_uri`"),
        ("x".repeat(300 << 10), "is larger than"),
    ] {
        server.set(&[(well_known, body), ("/keys", keys())]);
        let daemon = Daemon::start(&discovering(&base)).await;
        let why = why(&daemon).await;
        assert!(why.contains(said), "{said}: {why}");
        let refused = daemon.get("/events?token=a.b.c").await;
        assert!(refused.text().contains("refused") || refused.status == 401, "{}", refused.text());
    }
    server.set(&[]);
    let daemon = Daemon::start(&discovering(&base)).await;
    assert!(why(&daemon).await.contains("404"), "{}", why(&daemon).await);
    holds_for(std::time::Duration::from_millis(50), "it lives", async || {
        daemon.ask("/healthz").await.status == 200
    })
    .await;
    within("it is there", async {
        server.set(&[(well_known, document(&base, &format!("{base}/keys"))), ("/keys", keys())])
    })
    .await;
    fetched(&daemon).await;
}
