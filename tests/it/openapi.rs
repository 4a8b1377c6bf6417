//! The description of the internal listener, held against the daemon by a tool that nobody here wrote.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Daemon, KEY, Stream, repository, within_time};

/// A configuration with a stream for anybody, whose further keys are `stream`, and one for tickets.
fn with_tickets(stream: &str) -> String {
    format!(
        "[[stream]]\npath = \"/events\"\n{stream}\
        [[stream]]\npath = \"/by-ticket\"\nauth = \"ticket\"\n\
        [auth.ticket]\nsecret = \"0123456789abcdef0123456789abcdef\"\n"
    )
}

#[tokio::test]
async fn the_description_is_served_and_what_it_does_not_name_is_refused() {
    let daemon = Daemon::start(&with_tickets("")).await;
    let description = daemon.ask("/openapi.json").await;
    assert_eq!((description.status, description.header("content-type")), (200, "application/json"));
    let description: Value = description.json();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, item) in description["paths"].as_object().expect("paths") {
        let asked = path.replace(['{', '}'], "");
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"] {
            let like = if method == "HEAD" { "get" } else { &method.to_lowercase() };
            let answer = daemon.command(method, &asked, &[], b"").await;
            if item.get(like).is_some() {
                assert!(answer.status != 405, "{method} {path}: {}", answer.text());
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            let allowed = answer.header("allow").split(", ").filter(|allowed| *allowed != "HEAD");
            let mut allowed: Vec<String> = allowed.map(str::to_lowercase).collect();
            let methods = item.as_object().expect("an object").keys().filter(|key| *key != "parameters");
            let mut described: Vec<String> = methods.cloned().collect();
            allowed.sort_unstable();
            described.sort_unstable();
            assert_eq!(allowed, described, "{path}");
        }
    }
}

#[tokio::test]
async fn schemathesis_finds_no_answer_that_the_description_does_not_have() {
    let st = repository().join(".cache/python/bin/st");
    assert!(st.exists(), "the Python packages are missing; run `make setup`");
    let config = with_tickets("user = \"u\"\ntopics = [\"a\"]\n[sse]\nheartbeat = \"1s\"\n");
    let daemon = Daemon::start(&config).await;
    let public = daemon.public;
    // There is always a stream, even when a request has closed the one before.
    tokio::spawn(async move {
        while let Some(mut stream) = Stream::try_open(public, "/events", &[]).await
            && stream.head.starts_with("HTTP/1.1 200")
        {
            while stream.next().await.is_some() {}
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(st);
    command
        .arg("--config-file")
        .arg(repository().join("tests/python/schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", daemon.internal))
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        // The same questions every time: what they find today they find tomorrow.
        .args(["--generation-deterministic", "--max-examples", "10", "--no-color"])
        .env("PYTHONPATH", repository().join("tests/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within_time(Duration::from_secs(170), "schemathesis", command.output()).await;
    let output = output.expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // It has asked at all.
    assert!(said.contains("Coverage") && said.contains("Fuzzing"), "{said}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.ask("/healthz").await.status, 200);
}
