//! Keys that are fetched from their issuer, which changes them, goes away and comes back, and tokens that flood it with
//! unknown ids.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{SECRET, answer, claims};
use crate::harness::{Daemon, eventually};

/// A signer: a key under an id.
struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { id, key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key") }
    }

    fn token(&self) -> String {
        self.token_as(self.id)
    }

    /// A token that says that another key has signed it.
    fn token_as(&self, id: &str) -> String {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims(json!({})), &self.key).expect("a token")
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a key");
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).expect("JSON")
    }
}

/// An issuer's server, which answers what a test sets and counts the requests.
struct Issuer {
    address: SocketAddr,
    says: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (says, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (to_say, count) = (Arc::clone(&says), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (says, count, tls) = (Arc::clone(&to_say), Arc::clone(&count), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, &says, &count).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &says, &count).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, says, asked }
    }

    async fn with(keys: &[&Signer]) -> Self {
        let issuer = Self::start(None).await;
        issuer.set(keys);
        issuer
    }

    fn says(&self, head: &str, body: &str) {
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        *self.says.lock().expect("nobody panicked") = answer;
    }

    fn set(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.says("200 OK", &json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn daemon(&self, more: &str) -> Daemon {
        let config = format!(
            "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"news\"]\n\
             [auth.jwt]\njwks_url = \"http://{}/keys?x=1\"\n{more}",
            self.address
        );
        let daemon = Daemon::start(&config).await;
        eventually("the end of the first fetch", async || {
            (daemon.metric("sidestream_jwks_fetches_total", &[]).await > 0.0).then_some(())
        })
        .await;
        daemon
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, says: &Mutex<String>, asked: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    assert!(head.starts_with(b"GET /keys?x=1 HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    asked.fetch_add(1, Ordering::Relaxed);
    let answer = says.lock().expect("nobody panicked").clone();
    let _ = socket.write_all(answer.as_bytes()).await;
    let _ = socket.shutdown().await;
}

async fn status(daemon: &Daemon, token: &str) -> (u16, Value) {
    let (status, said) = answer(daemon, "/events", token).await;
    (status, said["reason"].clone())
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let [first, second] = [Signer::new("a"), Signer::new("b")];
    let issuer = Issuer::with(&[&first]).await;
    let daemon = issuer.daemon("").await;
    assert_eq!(status(&daemon, &first.token()).await, (200, json!(null)));
    issuer.set(&[&second]);
    assert_eq!(status(&daemon, &second.token()).await, (200, json!(null)));
    assert_eq!(issuer.asked(), 2);
    assert_eq!(status(&daemon, &first.token()).await, (401, json!("unknown_key")));
    assert_eq!(issuer.asked(), 2, "not a second time within the cool-down");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch() {
    let signer = Signer::new("a");
    let issuer = Issuer::with(&[&signer]).await;
    let daemon = issuer.daemon("").await;
    assert_eq!(status(&daemon, &signer.token()).await.0, 200);
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..200 {
        let path = format!("/events?token={}", signer.token_as(&format!("random-{n}")));
        let to = daemon.public;
        flood.spawn(async move { crate::harness::request(to, "GET", &path, &[], b"").await });
    }
    while let Some(answer) = flood.join_next().await {
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!("unknown_key")));
    }
    assert_eq!(issuer.asked(), 2, "one at the start, one for all of them");
    assert_eq!(status(&daemon, &signer.token()).await.0, 200);
}

#[tokio::test]
async fn another_fetch_is_made_after_the_cool_down() {
    let [first, second] = [Signer::new("a"), Signer::new("b")];
    let issuer = Issuer::with(&[&first]).await;
    let daemon = issuer.daemon("jwks_cooldown = \"1s\"\n").await;
    assert_eq!(status(&daemon, &second.token()).await, (401, json!("unknown_key")));
    assert_eq!(issuer.asked(), 2);
    issuer.set(&[&first, &second]);
    eventually("the new key counts", async || {
        (status(&daemon, &second.token()).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn keys_are_fetched_again_by_themselves() {
    let [first, second] = [Signer::new("a"), Signer::new("b")];
    let issuer = Issuer::with(&[&first]).await;
    let daemon = issuer.daemon("jwks_refresh = \"1s\"\njwks_cooldown = \"1h\"\n").await;
    // The cool-down begins, so only the refresh can bring the new key.
    assert_eq!(status(&daemon, &second.token()).await, (401, json!("unknown_key")));
    issuer.set(&[&second]);
    eventually("the new key counts", async || {
        (status(&daemon, &second.token()).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(status(&daemon, &first.token()).await.0, 401, "and the old one does not");
}

#[tokio::test]
async fn keys_stay_while_the_issuer_is_away() {
    let signer = Signer::new("a");
    let issuer = Issuer::with(&[]).await;
    issuer.says("503 Service Unavailable", "");
    let daemon = issuer.daemon("jwks_refresh = \"1s\"\n").await;
    // Not ready, and callers are asked to come back: they cannot be verified yet.
    let ready = eventually("the state of the keys", async || {
        let ready = daemon.ask("/readyz/events").await;
        (ready.json()["dependencies"]["jwks"]["state"] == "down").then_some(ready)
    })
    .await;
    assert_eq!(ready.status, 503);
    let refused = daemon.get(&format!("/events?token={}", signer.token())).await;
    assert_eq!(refused.status, 200);
    assert!(
        refused.text().contains("auth_unavailable") && refused.text().contains("retry: "),
        "{}",
        refused.text()
    );

    issuer.set(&[&signer]);
    eventually("the issuer is back", async || {
        (daemon.ask("/readyz/events").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(status(&daemon, &signer.token()).await.0, 200);

    // Gone again, as a server that gives what is no key set, or none at all.
    for (head, body) in [("503 Service Unavailable", ""), ("200 OK", "<html>"), ("200 OK", "{\"keys\": []}")]
    {
        issuer.says(head, body);
        let asked = issuer.asked();
        eventually("two more fetches", async || (issuer.asked() >= asked + 2).then_some(())).await;
        let ready = daemon.ask("/readyz/events").await;
        assert_eq!((ready.status, &ready.json()["dependencies"]["jwks"]["state"]), (200, &json!("down")));
        assert_eq!(status(&daemon, &signer.token()).await.0, 200, "the keys that were fetched still count");
    }
    assert!(daemon.metric("sidestream_jwks_fetches_total", &["outcome=\"status\""]).await >= 1.0);
    assert!(daemon.metric("sidestream_jwks_fetches_total", &["outcome=\"content\""]).await >= 1.0);
}

#[tokio::test]
async fn a_secret_that_travels_is_no_key() {
    let signer = Signer::new("a");
    let issuer = Issuer::with(&[]).await;
    let secret = jsonwebtoken::crypto::sign(b"", &EncodingKey::from_secret(b"x"), Algorithm::HS256)
        .expect("base64url");
    let keys = json!({ "keys": [signer.jwk(), { "kty": "oct", "kid": "s", "alg": "HS256", "k": secret }] });
    issuer.says("200 OK", &keys.to_string());
    // A secret of our own beside it, so that HS256 as such is spoken.
    let daemon = issuer.daemon(&format!("secret = \"{SECRET}\"\n")).await;
    assert_eq!(status(&daemon, &signer.token()).await.0, 200);
    let header = Header { kid: Some("s".to_owned()), ..Header::default() };
    let key = EncodingKey::from_base64_secret(&secret.replace('-', "+").replace('_', "/")).or_else(|_| {
        EncodingKey::from_base64_secret(&format!("{}=", secret.replace('-', "+").replace('_', "/")))
    });
    let forged = jsonwebtoken::encode(&header, &claims(json!({})), &key.expect("base64")).expect("a token");
    assert_eq!(status(&daemon, &forged).await, (401, json!("bad_signature")));
}

#[tokio::test]
async fn what_is_no_plain_answer_is_not_taken() {
    let signer = Signer::new("a");
    let elsewhere = Issuer::with(&[&signer]).await;
    let issuer = Issuer::with(&[]).await;
    issuer.says(&format!("302 Found\r\nlocation: http://{}/keys?x=1", elsewhere.address), "");
    let daemon = issuer.daemon("").await;
    let counted = async |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        eventually(outcome, async || {
            (daemon.metric("sidestream_jwks_fetches_total", &[&label]).await >= 1.0).then_some(())
        })
        .await;
    };
    counted("status").await;
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
    let padded = format!("{{\"keys\": [{}], \"x\": \"{}\"}}", signer.jwk(), "x".repeat(300_000));
    issuer.says("200 OK", &padded);
    counted("too_large").await;
    assert_eq!(daemon.ask("/readyz/events").await.status, 503);
}

#[tokio::test]
async fn keys_that_are_left_out_are_told_and_a_mark_before_the_set_is_passed_over() {
    let signers: Vec<Signer> = (0..66).map(|_| Signer::new("many")).collect();
    let mut keys: Vec<Value> = signers.iter().map(Signer::jwk).collect();
    keys.push(json!({ "kty": "oct", "k": "c2VjcmV0" }));
    let issuer = Issuer::start(None).await;
    issuer.says("200 OK", &format!("\u{feff}{}", json!({ "keys": keys })));
    let daemon = issuer.daemon("").await;
    assert_eq!(status(&daemon, &signers[63].token()).await, (200, json!(null)));
    assert_eq!(status(&daemon, &signers[64].token()).await, (401, json!("bad_signature")));
    for text in ["there are more than 64", "\"too_many\":2", "\"unusable\":1"] {
        daemon.logged(text).await;
    }
}

#[tokio::test]
async fn keys_come_over_tls_from_servers_that_the_configured_authority_vouches_for() {
    let signer = Signer::new("a");
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = certificate.self_signed(&pair).expect("a certificate");
    let (chain, key) = (certificate.pem(), pair.serialize_pem());
    let identity = sidestream::net::tls::Identity { chain: chain.as_bytes(), key: key.as_bytes() };
    let tls = sidestream::net::tls::server(identity, None, &[]).expect("TLS");
    let issuer = Issuer::start(Some(TlsAcceptor::from(tls))).await;
    issuer.set(&[&signer]);
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).expect("a file");
    let config = |more: &str| {
        format!(
            "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"news\"]\n\
             [auth.jwt]\njwks_url = \"https://localhost:{}/keys?x=1\"\n{more}",
            issuer.address.port()
        )
    };
    let daemon = Daemon::start(&config(&format!("jwks_ca_file = \"{}\"\n", ca.display()))).await;
    assert_eq!(status(&daemon, &signer.token()).await.0, 200);

    let daemon = Daemon::start(&config("")).await;
    eventually("the certificate is refused", async || {
        (daemon.metric("sidestream_jwks_fetches_total", &["outcome=\"tls\""]).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(daemon.ask("/readyz/events").await.status, 503);
}
