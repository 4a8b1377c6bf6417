//! Requests that wait while the backend refuses connections: `proxy.wait`.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{OK, answer, get};
use crate::harness::{Backend, Daemon, Peer, eventually, holds_for, within, within_time};

/// A daemon whose backend's socket is not there yet.
async fn before_its_backend(folder: &Path, more: &str) -> Daemon {
    let path = folder.join("app.sock");
    Daemon::start(&format!("public.backend = \"unix:{}\"\n[proxy]\n{more}", path.display())).await
}

/// Waits until so many requests wait.
async fn waiting(daemon: &Daemon, count: f64) {
    eventually(&format!("{count} requests wait"), async || {
        (daemon.metric("sidestream_proxy_waiting", &[]).await == count).then_some(())
    })
    .await;
}

async fn waited(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric("sidestream_proxy_waits_total", &[&format!("outcome=\"{outcome}\"")]).await
}

#[tokio::test]
async fn requests_wait_for_a_backend_that_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = before_its_backend(folder.path(), "wait = \"20s\"\n").await;
    let mut page = Peer::send_to(daemon.public, get("/page")).await;
    let post = "POST /form HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody";
    let mut form = Peer::send_to(daemon.public, post).await;
    waiting(&daemon, 2.0).await;
    let backend = Backend::start_at(&folder.path().join("app.sock"));
    let mut targets = Vec::new();
    while targets.len() < 2 {
        let mut peer = backend.accept().await;
        // The one that looks whether anybody is there says nothing.
        let Some(head) = peer.try_head().await else { continue };
        if head.target() == "/form" {
            assert_eq!(peer.body(&head).await, "body");
        }
        targets.push(head.target().to_owned());
        peer.send(OK).await;
    }
    targets.sort_unstable();
    assert_eq!(targets, ["/form", "/page"]);
    assert_eq!(answer(&mut page).await.0, 200);
    assert_eq!(answer(&mut form).await.0, 200);
    waiting(&daemon, 0.0).await;
    assert_eq!(waited(&daemon, "served").await, 2.0);
    assert_eq!(daemon.log().matches("request not forwarded").count(), 0);
    assert_eq!(daemon.log().matches("requests wait for it").count(), 1);
}

#[tokio::test]
async fn a_backend_that_stays_away_is_a_502_when_the_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = before_its_backend(folder.path(), "wait = \"400ms\"\n").await;
    let began = Instant::now();
    let refused = daemon.get("/").await;
    assert_eq!(refused.status, 502);
    assert!(refused.text().contains("cannot be reached"), "{}", refused.text());
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(waited(&daemon, "timeout").await, 1.0);
    // A thread of its own writes the log.
    daemon.logged("request not forwarded").await;
    assert_eq!(daemon.log().matches("request not forwarded").count(), 1);
}

#[tokio::test]
async fn without_the_key_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = before_its_backend(folder.path(), "").await;
    assert_eq!(daemon.get("/").await.status, 502);
    assert_eq!(daemon.metric("sidestream_proxy_waits_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = before_its_backend(folder.path(), "wait = \"1m\"\n").await;
    let client = Peer::send_to(daemon.public, get("/")).await;
    waiting(&daemon, 1.0).await;
    drop(client);
    waiting(&daemon, 0.0).await;
    assert_eq!(waited(&daemon, "left").await, 1.0);
}

#[tokio::test]
async fn places_are_bounded_in_number_and_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = "wait = \"1m\"\nwait_requests = 3\nwait_bytes = \"64KiB\"\n";
    let daemon = before_its_backend(folder.path(), bounds).await;
    // Of a body that may be long, as much is reckoned as may have been read.
    let upload = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n";
    let mut large = Peer::send_to(daemon.public, upload).await;
    assert_eq!(large.head().await.status(), 502);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Peer::send_to(daemon.public, get("/")).await);
    }
    waiting(&daemon, 3.0).await;
    assert_eq!(daemon.get("/").await.status, 502);
    assert_eq!(waited(&daemon, "full").await, 2.0);
    holds_for(Duration::from_millis(300), "the others wait on", async || {
        daemon.metric("sidestream_proxy_waiting", &[]).await == 3.0
    })
    .await;
}

#[tokio::test]
async fn a_stop_answers_those_who_wait_before_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let more = "wait = \"1m\"\n[drain]\nwindow = \"0s\"\ndeadline = \"2s\"\n";
    let mut daemon = before_its_backend(folder.path(), more).await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    waiting(&daemon, 1.0).await;
    let began = Instant::now();
    daemon.signal("TERM");
    assert_eq!(answer(&mut client).await.0, 502);
    assert!(began.elapsed() >= Duration::from_secs(1), "it waits as long as it can: {:?}", began.elapsed());
    within("it ends", daemon.ended()).await;
    assert!(!daemon.log().contains("the drain's deadline has passed"), "{}", daemon.log());
}

#[tokio::test]
async fn many_requests_go_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = before_its_backend(folder.path(), "wait = \"30s\"\n").await;
    let mut asking = JoinSet::new();
    let public = daemon.public;
    for _ in 0..200 {
        asking.spawn(async move {
            let mut client = Peer::send_to(public, get("/")).await;
            client.head().await.status()
        });
    }
    waiting(&daemon, 200.0).await;
    let backend = Backend::start_at(&folder.path().join("app.sock"));
    let serving = async {
        let mut answering = JoinSet::new();
        loop {
            let mut peer = backend.accept().await;
            answering.spawn(async move {
                while peer.try_head().await.is_some() {
                    peer.send(OK).await;
                }
            });
        }
    };
    let answers = within_time(Duration::from_secs(30), "all are answered", async {
        tokio::select! {
            answers = asking.join_all() => answers,
            () = serving => unreachable!("it serves for ever"),
        }
    })
    .await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
}
