//! Redis over TLS: an authority of one's own, a certificate of one's own, and nobody else's word taken.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::harness::{Daemon, Redis, eventually, listening, start};

/// Writes an authority's certificate, and three certificates with their keys that it vouches for: a server's by its
/// address, one by a name, and a client's.
pub(crate) fn make(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a file");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    // One whose name is its signer's would be taken for one that vouches for itself.
    authority.distinguished_name.push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    write("ca.pem", authority.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(authority, key);
    for (file, name) in [("server", "127.0.0.1"), ("named", "redis.internal"), ("client", "client")] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{file}.pem"), certificate.pem());
        write(&format!("{file}.key"), key.serialize_pem());
    }
}

#[tokio::test]
async fn redis_over_tls_is_spoken_to_when_both_sides_can_prove_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let redis = Redis::start_tls(&file("server.pem"), &file("server.key"), &file("ca.pem")).await;
    let url = format!("[redis]\nurl = \"rediss://127.0.0.1:{}\"\n", redis.port);
    let ca = format!("ca_file = \"{}\"\n", file("ca.pem"));
    let own =
        format!("certificate_file = \"{}\"\nkey_file = \"{}\"\n", file("client.pem"), file("client.key"));

    let daemon = start(&format!("{url}{ca}{own}[redis.stream]\n")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": "x".repeat(500_000)})).await;
    assert_eq!(stream.event().await.data().len(), 500_000);
    daemon.publish(&json!({"topic": "a", "data": "live", "ephemeral": true})).await;
    assert_eq!(stream.event().await.data(), "live");

    for (config, why) in [(format!("{url}{own}"), "UnknownIssuer"), (format!("{url}{ca}"), "ertificate")] {
        let daemon = Daemon::start(&config).await;
        eventually("it says why not", async || {
            let said = daemon.ask("/readyz/events").await.text();
            said.contains(why).then_some(())
        })
        .await;
    }
}
