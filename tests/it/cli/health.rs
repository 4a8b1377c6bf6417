//! `health` and `version`: what containers and scripts ask, and without a file.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::nobody;
use crate::harness::{Daemon, Redis, Shell, ready};

#[tokio::test]
async fn health_finds_the_listener_in_the_environment_in_a_file_and_in_its_argument() {
    let daemon = Daemon::start("").await;
    let address = daemon.internal.to_string();
    let url = format!("http://{address}");
    let folder = tempfile::tempdir().expect("a folder");
    // A mistake that the running daemon has not read.
    let file = folder.path().join("sidestream.toml");
    let text = format!("[internal]\nlisten = \"{address}\"\n[public]\nlisten = 7\nnonsense = true\n[[");
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("text");
    let variable = [("SIDESTREAM_INTERNAL_LISTEN", &*address)];
    for (arguments, environment) in
        [(&[][..], &variable[..]), (&["--config", file], &[]), (&["--url", &url], &[])]
    {
        let finished = Shell::run(&[&["health"], arguments].concat(), environment, "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(0), "ok\n"), "{finished:?}");
        let finished = Shell::run(&[&["health", "--ready"], arguments].concat(), environment, "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(0), "ready\n"), "{finished:?}");
    }
}

#[tokio::test]
async fn health_of_events_says_which_dependency_is_down_and_why() {
    let mut redis = Redis::start().await;
    let daemon = Daemon::start(&redis.section()).await;
    ready(&daemon, 200).await;
    let url = format!("http://{}", daemon.internal);
    let finished = Shell::run(&["health", "--events", "--url", &url], &[], "").await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "ready\n"), "{finished:?}");
    redis.kill().await;
    ready(&daemon, 503).await;
    let finished = Shell::run(&["health", "--events", "--url", &url], &[], "").await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.starts_with("sidestream: not ready: redis: "), "{finished:?}");
    // Pages are served all the same.
    let finished = Shell::run(&["health", "--ready", "--url", &url], &[], "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn health_ends_with_1_when_there_is_no_answer_or_another_servers() {
    let gone = format!("http://{}", nobody().await);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    let other = Daemon::start("").await;
    let other = format!("http://{}", other.public);
    for (url, say) in [
        (&gone, "cannot reach 127.0.0.1"),
        (&silent, "did not answer within 300ms"),
        // The public listener passes the question on to a backend that is not there.
        (&other, "502 Bad Gateway"),
    ] {
        let finished = Shell::run(&["health", "--timeout", "300ms", "--url", url], &[], "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(say), "{finished:?}");
    }
    let finished = Shell::run(&["health", "--config", "/nonexistent.toml"], &[], "").await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("/nonexistent.toml: the configuration cannot be read"), "{finished:?}");
}

#[tokio::test]
async fn version_is_the_packages_as_text_and_as_json() {
    let version = env!("CARGO_PKG_VERSION");
    let text = Shell::run(&["version"], &[], "").await;
    assert!(text.stdout.starts_with(&format!("sidestream {version}\n")), "{text:?}");
    let answer = Shell::run(&["version", "--json"], &[], "").await;
    let all: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(all["version"], json!(version));
    let host = std::process::Command::new("rustc").arg("-vV").output().expect("rustc");
    let host = String::from_utf8(host.stdout).expect("text");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    assert_eq!(all["target"], json!(host));
    assert!(all["features"].is_array() && all.get("commit").is_some(), "{all}");
}

#[tokio::test]
async fn help_is_a_command_too() {
    for (arguments, words) in [(&["help"][..], "Commands:"), (&["help", "health"], "--ready")] {
        let finished = Shell::run(arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{arguments:?}");
        assert!(finished.stdout.contains(words), "{}", finished.stdout);
    }
    let finished = Shell::run(&["stauts"], &[], "").await;
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("'status'"), "{finished:?}");
}
