//! The reader of the log may stall or go: lines are lost then, and nothing else.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Daemon, LogReader, eventually};

const CONFIG: &str = "[drain]\nwindow = \"200ms\"\n";

/// Everything that must go on whatever becomes of the log.
async fn serves(daemon: &Daemon) {
    let mut stream = daemon.stream("/events?topic=a").await;
    assert!(stream.block().await.is("connected"));
    daemon.publish(&json!({"topic": "a", "event": "e", "data": 1})).await;
    let event = stream.event().await;
    assert!(event.is("e") && event.data() == "1", "{event:?}");
    let page = daemon.get("/").await;
    assert_eq!(page.status, 502, "nobody is behind this daemon");
    assert!(page.text().contains("cannot be reached"), "{}", page.text());
    assert_eq!(daemon.ask("/healthz").await.status, 200);
}

async fn drains(mut daemon: Daemon) {
    let mut stream = daemon.stream("/events?topic=a").await;
    assert!(stream.block().await.is("connected"));
    daemon.signal("TERM");
    let closing = stream.event().await;
    assert!(closing.is("closing") && closing.data().contains("draining"), "{closing:?}");
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_reader_of_the_log_that_is_gone_costs_lines_and_nothing_else() {
    let daemon = Daemon::start_with(CONFIG, &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "debug")]).await;
    serves(&daemon).await;
    daemon.read_log_by(LogReader::IsGone);
    eventually("a line is lost", async || {
        serves(&daemon).await;
        (daemon.metric("sidestream_log_lines_lost_total", &[]).await > 0.0).then_some(())
    })
    .await;
    serves(&daemon).await;
    drains(daemon).await;
}

#[tokio::test]
async fn a_reader_of_the_log_that_stalls_holds_up_nobody_and_learns_what_it_missed() {
    let daemon = Daemon::start_with(CONFIG, &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "debug")]).await;
    daemon.read_log_by(LogReader::Stalls);
    eventually("more lines than can wait", async || {
        // Each end of a stream is a line.
        for _ in 0..200 {
            daemon.stream("/events?topic=a").await;
        }
        (daemon.metric("sidestream_log_lines_lost_total", &[]).await > 0.0).then_some(())
    })
    .await;
    serves(&daemon).await;
    daemon.read_log_by(LogReader::Reads);
    daemon.logged("lines of the log were lost").await;
    daemon.read_log_by(LogReader::Stalls);
    drains(daemon).await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_costs_lines_and_nothing_else() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let daemon = Daemon::start_with_stderr(CONFIG, &[], full).await;
    serves(&daemon).await;
    eventually("lines are counted", async || {
        (daemon.metric("sidestream_log_lines_lost_total", &[]).await > 0.0).then_some(())
    })
    .await;
    drains(daemon).await;
}

#[tokio::test]
async fn a_command_whose_reader_is_gone_ends_well() {
    for arguments in [&["key", "new"][..], &["check", "--backend", "http://127.0.0.1:9"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let finished = std::process::Command::new(env!("CARGO_BIN_EXE_sidestream"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .expect("the command");
        let said = String::from_utf8_lossy(&finished.stderr);
        assert!(finished.status.success() && said.is_empty(), "{arguments:?}: {:?} {said}", finished.status);
    }
}

#[tokio::test]
async fn a_command_that_cannot_write_its_result_fails_with_the_reason() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let finished = std::process::Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(["key", "new"])
        .stdout(full)
        .output()
        .expect("the command");
    let said = String::from_utf8_lossy(&finished.stderr);
    assert_eq!(finished.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}
