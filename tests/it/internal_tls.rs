//! The internal listener over TLS, and with certificates of clients.

use tokio::process::Command;

use crate::harness::{Authority, Daemon, Finished, KEY, Shell, eventually, listening, within};

fn path(authority: &Authority, name: &str) -> String {
    authority.path(name).to_str().expect("text").to_owned()
}

/// The listener's section, with more keys of it.
fn internal(authority: &Authority, more: &str) -> String {
    let (certificate, key) = (path(authority, "certificate.pem"), path(authority, "key.pem"));
    format!("[internal]\ntls_certificate = {certificate:?}\ntls_key = {key:?}\n{more}\n")
}

async fn health(arguments: &[&str]) -> Finished {
    Shell::run(&[&["health"], arguments].concat(), &[], "").await
}

#[tokio::test]
async fn commands_reach_it_over_tls_and_know_the_configured_certificate() {
    let mut authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", folder.path().join("internal.sock").display());
    let listen = format!("127.0.0.1:0,{socket}");
    let daemon =
        Daemon::start_with(&internal(&authority, ""), &[("SIDESTREAM_INTERNAL_LISTEN", &listen)]).await;
    let mut stream = listening(&daemon, "/events?topic=news").await;
    let (url, ca) = (format!("https://{}", daemon.internal), path(&authority, "certificate.pem"));

    assert_eq!(health(&["--url", &url, "--ca", &ca]).await.code, Some(0));
    let publish = ["publish", "--url", &url, "--ca", &ca, "--key", KEY, "--topic", "news", "hi"];
    let published = Shell::run(&publish, &[], "").await;
    assert_eq!(published.code, Some(0), "{published:?}");
    assert_eq!(stream.event().await.data(), "hi");
    // As `serve` finds it, with the certificate as it is configured.
    let key = path(&authority, "key.pem");
    let address = daemon.internal.to_string();
    let configured = [
        ("SIDESTREAM_INTERNAL_LISTEN", address.as_str()),
        ("SIDESTREAM_INTERNAL_TLS_CERTIFICATE", &ca),
        ("SIDESTREAM_INTERNAL_TLS_KEY", &key),
    ];
    let found = Shell::run(&["health"], &configured, "").await;
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), "ok\n"), "{found:?}");
    // Over a Unix socket there is none; and elsewhere nothing else.
    assert_eq!(health(&["--url", &socket]).await.code, Some(0));
    let stranger = health(&["--url", &url]).await;
    assert!(stranger.code == Some(1) && stranger.stderr.contains("is not trusted"), "{stranger:?}");
    assert_eq!(health(&["--url", &format!("http://{address}")]).await.code, Some(1));

    // Renewed files are taken up.
    authority.renew();
    let reload = Shell::run(&["reload", "--url", &socket, "--key", KEY], &[], "").await;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let renewed = async || (health(&["--url", &url, "--ca", &ca]).await.code == Some(0)).then_some(());
    eventually("the renewed certificate is shown", renewed).await;
}

#[tokio::test]
async fn only_clients_with_a_certificate_are_answered_where_they_have_to_show_one() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let client_ca = format!("tls_client_ca = {:?}", path(&clients, "certificate.pem"));
    let daemon = Daemon::start(&internal(&authority, &client_ca)).await;
    let (url, ca) = (format!("https://{}", daemon.internal), path(&authority, "certificate.pem"));
    let shows = |who: &Authority| [path(who, "certificate.pem"), path(who, "key.pem")];
    let asked = ["--url", &url, "--ca", &ca];
    let [certificate, key] = shows(&clients);
    let known = health(&[&asked[..], &["--client-cert", &certificate, "--client-key", &key]].concat()).await;
    assert_eq!(known.code, Some(0), "{known:?}");
    assert_eq!(health(&asked).await.code, Some(1));
    let [other, others_key] = shows(&others);
    let other = health(&[&asked[..], &["--client-cert", &other, "--client-key", &others_key]].concat()).await;
    assert_eq!(other.code, Some(1), "{other:?}");

    // A client that nobody here wrote.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert", &ca, "--cert", &certificate, "--key", &key]);
    let output = within("curl's answer", curl.arg(format!("{url}/metrics")).output()).await.expect("curl");
    let metrics = String::from_utf8_lossy(&output.stdout);
    let refused = r#"sidestream_tls_handshakes_failed_total{reason="client_certificate"} 2"#;
    assert!(metrics.contains(refused), "{metrics}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        metrics.contains(r#"sidestream_certificate_expiry_seconds{certificate="internal"}"#),
        "{metrics}"
    );
}
