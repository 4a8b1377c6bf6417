//! Event streams of applications as they are written without sidestream, read once for all: sse-starlette, Django,
//! Express, through a restart of theirs and one of ours. What they count is what they say themselves.
//!
//! `SIDESTREAM_CROWD` says how many clients hear each of them (150); `make crowd` runs it with 10,000.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Daemon, Program, Stream, eventually, ready, start};

/// So many clients come at once: fewer than the backlog holds.
const AT_ONCE: usize = 64;

fn clients() -> usize {
    std::env::var("SIDESTREAM_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

fn route(port: &str) -> String {
    format!(
        "public.backend = \"http://127.0.0.1:{port}\"\nsse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         limits.streams_per_address = 0\n\
         [[stream]]\npath = \"/events\"\nsource = \"backend\"\nshared_despite = [\"no-store\"]\n"
    )
}

/// An application: the program that runs it, behind a port or 0 and a file of its own.
type RunApp = fn(&[&str]) -> Program;

/// Clients of one stream.
struct Crowd(Vec<Listener>);

/// A client, and the id that it has last seen.
struct Listener {
    stream: Stream,
    last: Option<String>,
}

impl Listener {
    async fn hear(&mut self, number: usize) {
        let event = self.stream.event().await;
        assert!(event.is("tick"), "{event:?}");
        assert_eq!(event.data(), format!("{number}\nzwei"));
        self.last = event.id;
    }
}

impl Crowd {
    /// Each with the id that it has last seen; there are as many as `last`.
    async fn gather(to: SocketAddr, last: Vec<Option<String>>) -> Self {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut opening = JoinSet::new();
        for last in last {
            let seats = Arc::clone(&seats);
            opening.spawn(async move {
                let _seat = seats.acquire().await;
                let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", &**id)).collect();
                let stream = Stream::open(to, "/events", &headers).await;
                assert_eq!(stream.status(), 200, "{}", stream.head);
                Listener { stream, last }
            });
        }
        Self(opening.join_all().await)
    }

    /// The application speaks, and every client hears the events of these numbers, once each and nothing else.
    async fn hear(&mut self, daemon: &Daemon, numbers: RangeInclusive<usize>) {
        for _ in numbers.clone() {
            assert_eq!(daemon.get("/say").await.text(), "said");
        }
        for listener in &mut self.0 {
            for number in numbers.clone() {
                listener.hear(number).await;
            }
        }
    }

    /// Every client hears that something may be missing.
    async fn miss(&mut self) {
        for Listener { stream, last } in &mut self.0 {
            let reset = stream.event().await;
            assert!(reset.is("reset"), "{reset:?}");
            *last = reset.id;
        }
    }

    /// Every client is cut off behind what it has heard, and comes back to `to`.
    async fn come_back(mut self, to: SocketAddr) -> Self {
        for Listener { stream, .. } in &mut self.0 {
            while let Some(block) = stream.next().await {
                assert_eq!(block.data, None, "nothing is left to be heard");
            }
        }
        Self::gather(to, self.0.into_iter().map(|listener| listener.last).collect()).await
    }
}

/// The streams that the application was asked for since it was started, and those that it has open.
async fn counts(daemon: &Daemon, expected: &str) {
    eventually(&format!("the application counts {expected}"), async || {
        (daemon.get("/count").await.text() == expected).then_some(())
    })
    .await;
}

/// `resumes`: the application gives its events ids, and goes on behind one.
async fn a_crowd_costs_one_stream_through_restarts(run: RunApp, resumes: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("said").display().to_string();
    let mut app = run(&["0", &kept]);
    let port = app.line().await.expect("its port");
    let mut daemon = start(&route(&port)).await;
    let public = daemon.public;
    let mut crowd = Crowd::gather(public, vec![None; clients()]).await;
    counts(&daemon, "1 1").await;
    crowd.hear(&daemon, 1..=5).await;
    counts(&daemon, "1 1").await;
    if resumes {
        // One that was cut misses nothing by the application's id, and costs it nothing.
        let mut late = Stream::open(public, "/events", &[("last-event-id", "3")]).await;
        assert_eq!(late.data(2).await, ["4\nzwei", "5\nzwei"]);
        counts(&daemon, "1 1").await;
    }

    drop(app);
    eventually("the application is gone", async || (daemon.get("/count").await.status == 502).then_some(()))
        .await;
    let mut app = run(&[&port, &kept]);
    assert_eq!(app.line().await.as_ref(), Some(&port));
    let heard = if resumes { 5 } else { 0 };
    if !resumes {
        crowd.miss().await;
    }
    counts(&daemon, "1 1").await;
    crowd.hear(&daemon, heard + 1..=heard + 2).await;
    counts(&daemon, "1 1").await;

    daemon.signal("KILL");
    daemon.ended().await;
    let listen = public.to_string();
    let again = Daemon::start_with(&route(&port), &[("SIDESTREAM_PUBLIC_LISTEN", &listen)]).await;
    ready(&again, 200).await;
    let mut crowd = crowd.come_back(public).await;
    crowd.miss().await;
    counts(&again, "2 1").await;
    crowd.hear(&again, heard + 3..=heard + 4).await;
    counts(&again, "2 1").await;
}

#[tokio::test]
async fn sse_starlette_is_heard_by_many_for_one_stream_and_goes_on_where_it_was() {
    let run = |arguments: &[&str]| Program::python("starlette_app.py", arguments);
    a_crowd_costs_one_stream_through_restarts(run, true).await;
}

#[tokio::test]
async fn django_is_heard_by_many_for_one_stream_and_its_restart_is_a_gap() {
    let run = |arguments: &[&str]| Program::python("django_app.py", arguments);
    a_crowd_costs_one_stream_through_restarts(run, false).await;
}

#[tokio::test]
async fn express_is_heard_by_many_for_one_stream_and_its_restart_is_a_gap() {
    let run = |arguments: &[&str]| Program::node("express_app.mjs", arguments);
    a_crowd_costs_one_stream_through_restarts(run, false).await;
}
