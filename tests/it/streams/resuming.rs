//! How a stream goes on behind a cursor, or says that it cannot.

use serde_json::json;

use super::{QUIET, publish_run};
use crate::harness::{Daemon, Stream, eventually};

/// The heart of it: wherever a run of 1,000 events is cut, the next stream goes on exactly there.
#[tokio::test]
async fn every_cut_point_of_a_thousand_events_is_resumed_exactly_once() {
    let daemon = Daemon::start(&format!("{QUIET}[limits]\nstreams_per_address = 0\n")).await;
    let start = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let ids = publish_run(&daemon, 0, 1000).await;
    let cursors: Vec<&str> = std::iter::once(&*start).chain(ids.iter().map(String::as_str)).collect();
    for (cut, cursor) in cursors.iter().enumerate() {
        let mut stream = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", cursor)]).await;
        let connected = stream.block().await;
        assert_eq!((connected.id(), &connected.json()["missed"]), (*cursor, &json!(1000 - cut)));
        for (n, id) in ids.iter().enumerate().skip(cut) {
            let event = stream.block().await;
            assert_eq!((event.data(), event.id()), (&*n.to_string(), &**id), "cut at {cut}");
        }
        // Only every so often: what follows is live, and nothing comes twice.
        if cut % 250 == 0 {
            daemon.publish(&json!({"topic": "other", "data": 0})).await;
            let marker = daemon.publish(&json!({"topic": "a", "data": "marker", "ephemeral": true})).await;
            assert_eq!(marker["id"], json!(null));
            assert_eq!(stream.block().await.data(), "marker", "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_live_flow_loses_nothing() {
    let daemon = Daemon::start(QUIET).await;
    let mut cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let count = 2000;
    let flow = async {
        for n in 0..count {
            daemon.publish(&json!({"topic": "a", "data": n})).await;
        }
    };
    let read = async {
        let mut next = 0;
        let mut cuts = 0;
        while next < count {
            let mut stream =
                Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
            // A few events from each stream, then it is dropped wherever it stands.
            for _ in 0..1 + cuts % 97 {
                if next == count {
                    break;
                }
                let event = stream.event().await;
                assert_eq!(event.data(), next.to_string());
                cursor = event.id().to_owned();
                next += 1;
            }
            cuts += 1;
        }
        cuts
    };
    let (cuts, ()) = tokio::join!(read, flow);
    assert!(cuts > 20, "only {cuts} cuts");
}

#[tokio::test]
async fn the_header_wins_over_the_query_and_an_empty_one_counts_as_none() {
    let daemon = Daemon::start(QUIET).await;
    let start = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let ids = publish_run(&daemon, 0, 3).await;
    for (query, header, expected) in [
        (format!("&lastEventId={}", ids[0]), None, 2),
        (format!("&last_event_id={}", ids[1]), None, 1),
        (format!("&lastEventId={}", ids[0]), Some(ids[2].as_str()), 0),
        (format!("&lastEventId={start}"), Some(""), 3),
    ] {
        let headers: Vec<_> = header.map(|id| ("last-event-id", id)).into_iter().collect();
        let mut stream = Stream::open(daemon.public, &format!("/events?topic=a{query}"), &headers).await;
        let connected = stream.block().await.json();
        assert_eq!(
            (&connected["resumed"], &connected["missed"]),
            (&json!(true), &json!(expected)),
            "{query}"
        );
    }
    let mut fresh =
        Stream::open(daemon.public, "/events?topic=a&lastEventId=", &[("last-event-id", "")]).await;
    assert_eq!(fresh.block().await.json()["resumed"], json!(false));
}

#[tokio::test]
async fn a_cursor_that_cannot_be_served_is_answered_by_reset_and_live() {
    let daemon = Daemon::start(&format!("{QUIET}[log]\nmax_events = 2\n")).await;
    let ids = publish_run(&daemon, 0, 4).await;
    let (ms, rest) = ids[3].split_once('-').expect("an id");
    let tag = rest.split_once('-').expect("a tag").1;
    let next_year = ms.parse::<u64>().expect("a number") + 31_536_000_000;
    for (cursor, reason, echoed) in [
        (ids[0].clone(), "too_old", true),
        (format!("{next_year}-0-{tag}"), "too_new", true),
        (format!("{ms}-0-aaaaaa"), "other_log", true),
        (format!("{ms}-0"), "other_log", true),
        ("garbage".to_owned(), "malformed", false),
        ("%00%0a".to_owned(), "malformed", false),
    ] {
        let mut stream = daemon.stream(&format!("/events?topic=a&lastEventId={cursor}")).await;
        let connected = stream.block().await;
        assert_eq!(connected.json()["resumed"], json!(false), "{cursor}");
        // A client that is cut before the reset has reached it asks again with what it had.
        assert_eq!(connected.id.as_deref(), echoed.then_some(&*cursor), "{cursor}");
        let reset = stream.block().await;
        assert!(reset.is("reset"), "{reset:?}");
        assert_eq!(reset.json(), json!({ "reason": reason }), "{cursor}");
        assert_eq!(reset.id(), ids[3]);
        let marker = daemon.publish(&json!({"topic": "a", "data": "live", "ephemeral": true})).await;
        assert_eq!(marker["matched"], 1);
        assert_eq!(stream.block().await.data(), "live");
        drop(stream);
        // The next turn counts its own stream only.
        eventually("the stream is gone", async || {
            (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(daemon.metric("sidestream_replays_total", &["too_old"]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_replays_total", &["other_log"]).await, 2.0);
}

#[tokio::test]
async fn after_a_restart_an_old_cursor_gets_a_reset() {
    let daemon = Daemon::start(QUIET).await;
    let cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    drop(daemon);
    let daemon = Daemon::start(QUIET).await;
    let mut stream = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    stream.block().await;
    assert_eq!(stream.block().await.json(), json!({"reason": "other_log"}));
}

#[tokio::test]
async fn the_clients_of_other_servers_are_resumed_by_their_own_spelling() {
    let daemon = Daemon::start(QUIET).await;
    let ids = publish_run(&daemon, 0, 10).await;
    let last = &ids[3];
    for query in [
        format!("lastEventId={last}"),
        format!("last_event_id={last}"),
        format!("lastEventID={last}"),
        format!("Last-Event-ID={last}"),
        format!("evs_last_event_id={last}"),
        // Given twice, the last one counts: EventSource takes a 400 for final.
        format!("lastEventId={}&lastEventId={last}", ids[0]),
        format!("Last-Event-ID={}&lastEventId={last}&lastEventId=", ids[0]),
    ] {
        let mut stream = daemon.stream(&format!("/events?topic=a&{query}")).await;
        let connected = stream.block().await.json();
        assert_eq!((&connected["resumed"], &connected["missed"]), (&json!(true), &json!(6)), "{query}");
    }
}
