//! `tail` and `health` over TLS and Unix sockets: whom they believe, and what they say when they do not.

use std::path::PathBuf;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::harness::{Authority, Daemon, Shell, within};

#[tokio::test]
async fn tail_follows_a_stream_over_https_whose_authority_it_is_given() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", "")).await;
    let url = format!("https://localhost:{}/events?topic=a", daemon.public.port());
    let file = authority.file();
    let file = file.to_str().expect("text");
    for trust in [&["--ca", file][..], &["--insecure"]] {
        let mut tail = Shell::start(&[&["tail", &url, "--count", "1"], trust].concat());
        tail.said("connected as client").await;
        daemon.publish(&json!({ "topic": "a", "data": "hi" })).await;
        assert!(tail.line().await.ends_with("  message  hi"));
        let finished = tail.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let warned = finished.stderr.contains("WARNING: --insecure: localhost:");
        assert_eq!(warned, trust == ["--insecure"], "{finished:?}");
    }
    // The system's authorities have them in this variable.
    let tail = Shell::start_with(&["tail", &url, "--count", "1"], &[("SSL_CERT_FILE", file)]);
    tail.said("connected as client").await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_final_and_the_way_out_is_named() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", "")).await;
    let other = Authority::new();
    let url = format!("https://localhost:{}/events?topic=a", daemon.public.port());
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").expect("a file");
    let text = |path: &PathBuf| path.to_str().expect("text").to_owned();
    for (file, say) in [
        (
            text(&other.file()),
            "is not trusted (--ca FILE adds the authority that signed it): invalid peer certificate",
        ),
        (text(&empty), "empty.pem holds no certificate in PEM form"),
        ("/nonexistent.pem".to_owned(), "/nonexistent.pem cannot be read"),
    ] {
        let environment = [("SSL_CERT_FILE", &*text(&other.file()))];
        let finished = Shell::run(&["tail", &url, "--ca", &file], &environment, "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(say), "{finished:?}");
    }
    // Plain HTTP at a port that speaks TLS.
    let plain = url.replace("https", "http");
    let finished = Shell::run(&["tail", &plain], &[], "").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[tokio::test]
async fn a_unix_socket_is_asked_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("internal.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let url = format!("unix:{}", path.display());
    let health = Shell::start(&["health", "--url", &url]);
    let (mut socket, _) = within("a connection", listener.accept()).await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(within("a head", socket.read_buf(&mut head)).await.expect("bytes"), 0);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("GET /healthz HTTP/1.1\r\n") && head.contains("host: localhost\r\n"), "{head}");
    let body = "{\"status\":\"ok\"}";
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(response.as_bytes()).await.expect("sent");
    let finished = health.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "ok\n"), "{finished:?}");
}
