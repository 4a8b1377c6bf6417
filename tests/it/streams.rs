//! Opening, resuming and ending a stream; what stands on the wire.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Daemon, Stream, eventually, request, within};

/// A stream that waits long for its heartbeats: they do not disturb what a test looks at.
const QUIET: &str = "[sse]\nheartbeat = \"10m\"\n";

async fn publish_run(daemon: &Daemon, from: usize, to: usize) -> Vec<String> {
    let events: Vec<_> = (from..to).map(|n| json!({"topic": "a", "data": n})).collect();
    let mut ids = Vec::new();
    for part in events.chunks(1000) {
        let answer = daemon.publish(&json!(part)).await;
        let events = answer["events"].as_array().expect("an answer for each").clone();
        ids.extend(events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
    }
    ids
}

#[tokio::test]
async fn a_stream_begins_with_its_head_and_the_connected_event() {
    let daemon = Daemon::start(QUIET).await;
    let mut stream = daemon.stream("/events?topic=a&topic=b").await;
    let head = stream.head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for line in [
        "content-type: text/event-stream\r\n",
        "cache-control: no-cache, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
    let connected = stream.block().await;
    assert!(connected.is("connected"));
    assert!((1000..=4000).contains(&connected.retry.expect("a retry")), "{connected:?}");
    let data = connected.json();
    assert_eq!(data["topics"], json!(["a", "b"]));
    assert_eq!((&data["resumed"], &data["missed"]), (&json!(false), &json!(0)));
    assert_eq!(data["client"].as_str().expect("a client id").len(), 16);
    // The id is the head's: it resumes at this very point.
    let cursor = connected.id().to_owned();
    drop(stream);
    let ids = publish_run(&daemon, 0, 3).await;
    let mut again = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    let connected = again.block().await;
    assert_eq!(connected.id(), cursor, "a resumed stream is given its own cursor back");
    assert_eq!((&connected.json()["resumed"], &connected.json()["missed"]), (&json!(true), &json!(3)));
    for (n, id) in ids.iter().enumerate() {
        let event = again.event().await;
        assert_eq!((event.data(), event.id()), (&*n.to_string(), &**id));
    }
}

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
        // Whoever is cut before the reset has reached it asks again with what it had.
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
async fn an_event_reaches_whom_it_is_for_and_each_once() {
    let config = format!(
        "{QUIET}[[stream]]\npath = \"/events\"\ntopics = [\"{{query.t}}\"]\nuser = \"{{query.u}}\"\nsession = \"{{query.s}}\"\n"
    );
    let daemon = Daemon::start(&config).await;
    let mut ann = daemon.stream("/events?t=x&t=y&u=ann&s=1").await;
    let mut ann_too = daemon.stream("/events?t=z&u=ann&s=2").await;
    let mut bob = daemon.stream("/events?t=x&u=bob&s=3").await;
    let client = ann_too.block().await.json()["client"].clone();
    ann.block().await;
    bob.block().await;
    for (audience, matched, [to_ann, to_ann_too, to_bob]) in [
        (json!({"topic": "x"}), 2, [true, false, true]),
        (json!({"topics": ["x", "y"], "user": "ann", "session": 1}), 3, [true, true, true]),
        (json!({"users": ["ann"], "except": {"sessions": ["2"]}}), 1, [true, false, false]),
        (json!({"topic": "ann"}), 0, [false, false, false]),
        (json!({"client": client}), 1, [false, true, false]),
        (json!({"broadcast": true, "except": {"users": ["bob"]}}), 2, [true, true, false]),
        (json!({"target": "user", "targetIds": ["bob", "ann"]}), 3, [true, true, true]),
        (json!({"target": "all"}), 3, [true, true, true]),
    ] {
        let mut event = audience.clone();
        event["data"] = json!({ "audience": audience });
        assert_eq!(daemon.publish(&event).await["matched"], matched, "{audience}");
        daemon.publish(&json!({"broadcast": true, "event": "marker"})).await;
        for (stream, reached) in [(&mut ann, to_ann), (&mut ann_too, to_ann_too), (&mut bob, to_bob)] {
            if reached {
                assert_eq!(stream.block().await.json(), event["data"]);
            }
            assert!(stream.block().await.is("marker"), "{audience}");
        }
    }
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats_in_the_configured_form() {
    for (form, check) in
        [("comment", ": hb\n\n"), ("line", ": hb\n"), ("event:ping", "event: ping\ndata: {}\n\n")]
    {
        let daemon = Daemon::start(&format!("[sse]\nheartbeat = \"1s\"\nheartbeat_as = \"{form}\"\n")).await;
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        socket.write_all(b"GET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let chunk = format!("{:x}\r\n{check}\r\n", check.len());
        let mut got = String::new();
        within("two heartbeats", async {
            while got.matches(&chunk).count() < 2 {
                let mut buffer = [0; 1024];
                let read = socket.read(&mut buffer).await.expect("more");
                assert_ne!(read, 0);
                got.push_str(str::from_utf8(&buffer[..read]).expect("text"));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn old_clients_and_used_connections_get_their_stream_too() {
    let daemon = Daemon::start(QUIET).await;
    // HTTP/1.0 knows no chunks.
    let mut old = Stream::open_raw(daemon.public, b"GET /events?topic=a HTTP/1.0\r\n\r\n").await;
    assert!(!old.head.contains("chunked"));
    assert!(old.block().await.is("connected"));
    // A connection that has answered before, one that has carried a body, and one with a request behind the stream's.
    let get = "GET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n";
    for (first, sink) in [
        ("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", "socket"),
        ("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", "channel"),
    ] {
        let before = daemon.metric("sidestream_streams_opened_total", &[sink]).await;
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        socket.write_all(first.as_bytes()).await.expect("sent");
        within("the first answer", async {
            let mut got = Vec::new();
            while !got.ends_with(b"}") {
                assert_ne!(socket.read_buf(&mut got).await.expect("more"), 0);
            }
        })
        .await;
        socket.write_all(get.as_bytes()).await.expect("sent");
        let mut stream = within("a head", Stream::read_head(socket)).await;
        assert!(stream.block().await.is("connected"), "{sink}");
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(100_000)})).await;
        assert_eq!(stream.block().await.data().len(), 100_000);
        assert_eq!(daemon.metric("sidestream_streams_opened_total", &[sink]).await, before + 1.0);
    }
    let mut pipelined = Stream::open_raw(daemon.public, format!("{get}{get}").as_bytes()).await;
    assert!(pipelined.block().await.is("connected"));
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(pipelined.block().await.data(), "1");
}

#[tokio::test]
async fn a_stream_behind_an_answer_that_is_still_on_its_way_does_not_cut_it() {
    const LARGE: usize = 6_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = listener.local_addr().expect("its address");
    let daemon = Daemon::start(&format!("{QUIET}[public]\nbackend = \"http://{backend}\"\n")).await;
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut got).await.expect("a request"), 0);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.write_all(&vec![b'x'; LARGE]).await.expect("sent");
    });
    let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
    socket
        .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\nGET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut got = Vec::new();
    let mut part = vec![0; 32 << 10];
    let mut opened_at = None;
    within("the stream behind the answer", async {
        while !got.ends_with(b"\n\n\r\n") {
            // Slower than the backend, by a question each time: the answer's end waits in the daemon when the stream's
            // turn comes.
            if opened_at.is_none() && daemon.metric("sidestream_streams_opened_total", &[]).await == 1.0 {
                opened_at = Some(got.len());
            }
            let read = socket.read(&mut part).await.expect("more");
            assert_ne!(read, 0, "ended after {} bytes", got.len());
            got.extend_from_slice(&part[..read]);
        }
    })
    .await;
    assert!(
        opened_at.is_some_and(|at| at < LARGE),
        "{opened_at:?}: no part of the answer waited in the daemon"
    );
    let head = got.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let (body, stream) = got[head..].split_at(LARGE);
    assert!(body.iter().all(|&byte| byte == b'x'), "the answer was cut");
    assert!(
        stream.starts_with(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream"),
        "the stream's head follows"
    );
}

#[tokio::test]
async fn a_bad_request_for_a_stream_is_refused_with_a_sentence() {
    let daemon = Daemon::start("[limits]\ntopics_per_stream = 3\n").await;
    let long = format!("/events?topic={}", "x".repeat(257));
    for (path, sentence) in [
        ("/events", "the query parameter `topic` is missing"),
        ("/events?topic=", "the query parameter `topic` is missing"),
        ("/events?topic=a%0Ab", "holds a control character"),
        (&*long, "is longer than 256 bytes"),
        ("/events?topic=a&topic=b&topic=c&topic=d", "a stream may hold at most 3 topics"),
        ("/events?topic=a&lastEventId=1-0&last_event_id=1-0", "`lastEventId` is given more than once"),
    ] {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.json()["error"].as_str().expect("a sentence").contains(sentence), "{}", answer.text());
    }
    let twice = [("last-event-id", "1-0"), ("last-event-id", "1-0")];
    let answer = request(daemon.public, "GET", "/events?topic=a", &twice, b"").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("`Last-Event-ID` is given more than once"))
    );
    // Nothing was left behind, and a good one is served.
    assert!(daemon.stream("/events?topic=a").await.block().await.is("connected"));
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["missing_query"]).await, 2.0);
}

#[tokio::test]
async fn at_a_limit_a_stream_is_told_to_come_back_and_a_seat_is_given_back() {
    let config = |limit: &str, refuse: &str| {
        format!(
            "{QUIET}refuse_with = \"{refuse}\"\n[limits]\n{limit} = 1\n[[stream]]\npath = \"/events\"\ntopics = [\"a\"]\nuser = \"u\"\n"
        )
    };
    for (limit, status) in [("streams", 503), ("streams_per_address", 429), ("streams_per_user", 429)] {
        let daemon = Daemon::start(&config(limit, "retry")).await;
        let mut first = daemon.stream("/events").await;
        first.block().await;
        let answer = request(daemon.public, "GET", "/events", &[("last-event-id", "5-0")], b"").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        let text = answer.text();
        let retry: u64 =
            text.strip_prefix("retry: ").and_then(|rest| rest.lines().next()?.parse().ok()).expect("a retry");
        assert!((4000..=12000).contains(&retry), "{retry}");
        assert!(
            text.ends_with(&format!("event: refused\ndata: {{\"reason\":\"limit_{limit}\"}}\nid: 5-0\n\n")),
            "{text}"
        );
        drop(first);
        let mut next = eventually("the seat is given back", async || {
            let mut stream = daemon.stream("/events").await;
            stream.block().await.is("connected").then_some(stream)
        })
        .await;
        daemon.publish(&json!({"topic": "a", "data": 1})).await;
        assert_eq!(next.block().await.data(), "1");

        let daemon = Daemon::start(&config(limit, "status")).await;
        let _first = daemon.stream("/events").await;
        let answer = daemon.get("/events").await;
        assert_eq!(answer.status, status);
        assert!(answer.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let daemon = Daemon::start(QUIET).await;
    let mut gone = daemon.stream("/events?topic=a").await;
    gone.block().await;
    // A client has nothing to say on its stream; what it says all the same does not hide its leaving.
    gone.socket().write_all(b"nine bytes").await.expect("sent");
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 1.0);
    drop(gone);
    eventually("the stream is closed", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_closed_total", &["client_gone"]).await, 1.0);
    assert_eq!(daemon.publish(&json!({"topic": "a"})).await["matched"], 0);
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_closed_after_the_write_timeout() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\nwrite_timeout = \"1s\"\n").await;
    let mut stalled = daemon.stream("/events?topic=a").await;
    stalled.block().await;
    let mut reading = daemon.stream("/events?topic=a").await;
    reading.block().await;
    for n in 0..100 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(100_000)})).await;
        assert_eq!(reading.block().await.data().len(), 100_000, "{n}");
    }
    eventually("the stalled stream is closed", async || {
        (daemon.metric("sidestream_streams_closed_total", &["stalled"]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_streams_behind", &[]).await, 0.0);
}

#[tokio::test]
async fn a_stream_ends_at_its_age_and_can_be_resumed_there() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"10m\"\nmax_age = \"1s\"\nretry_min = \"70ms\"\nretry_max = \"80ms\"\n",
    )
    .await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let ids = publish_run(&daemon, 0, 2).await;
    stream.event().await;
    stream.event().await;
    let closing = stream.event().await;
    assert!(closing.is("closing"), "{closing:?}");
    assert_eq!((closing.data(), closing.id()), ("{\"reason\":\"max_age\"}", &*ids[1]));
    assert!((70..=80).contains(&closing.retry.expect("a retry")));
    assert_eq!(stream.next().await, None);
    assert!(stream.ended_cleanly);
    // The client may see the end before the shard has counted it.
    eventually("it is counted", async || {
        (daemon.metric("sidestream_streams_closed_total", &["max_age"]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_drains_streams_over_the_window_and_exits_with_success() {
    let mut daemon = Daemon::start(&format!("{QUIET}[drain]\nwindow = \"1s\"\ndeadline = \"20s\"\n")).await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        let mut stream = daemon.stream("/events?topic=a").await;
        stream.block().await;
        streams.push(stream);
    }
    assert_eq!(daemon.ask("/readyz").await.status, 200);
    daemon.signal("TERM");
    eventually("not ready", async || (daemon.ask("/readyz").await.status == 503).then_some(())).await;
    let begun = std::time::Instant::now();
    let mut retries = Vec::new();
    for stream in &mut streams {
        let closing = stream.block().await;
        assert!(closing.is("closing"), "{closing:?}");
        assert_eq!(closing.data(), "{\"reason\":\"draining\"}");
        retries.push(closing.retry.expect("a retry"));
        assert_eq!(stream.next().await, None);
        assert!(stream.ended_cleanly);
    }
    assert!(begun.elapsed() > Duration::from_millis(300), "all were closed at once");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 15, "each has a retry of its own: {retries:?}");
    assert!(daemon.ended().await.success());
    daemon.logged("\"message\":\"stopped\"").await;
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let mut daemon = Daemon::start(&format!("{QUIET}[drain]\nwindow = \"10m\"\ndeadline = \"10m\"\n")).await;
    let mut stream = daemon.stream("/events?topic=a").await;
    stream.block().await;
    daemon.signal("TERM");
    daemon.logged("draining").await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(1));
}

#[tokio::test]
async fn the_deadline_cuts_what_the_drain_leaves() {
    // A backend that takes requests and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = silent.local_addr().expect("its address");
    let mut daemon = Daemon::start(&format!(
        "[public]\nbackend = \"http://{backend}\"\n[drain]\nwindow = \"100ms\"\ndeadline = \"500ms\"\n"
    ))
    .await;
    let mut waiting = TcpStream::connect(daemon.public).await.expect("a connection");
    waiting.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let (_held, _) = within("the backend is asked", silent.accept()).await.expect("a connection");
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    let mut got = Vec::new();
    let _ = within("the request is cut", waiting.read_to_end(&mut got)).await;
    daemon.logged("the drain's deadline has passed").await;
}

#[tokio::test]
async fn a_slow_head_is_cut_and_an_oversized_one_refused() {
    let daemon = Daemon::start("[public]\nhead_timeout = \"500ms\"\nmax_head = \"8KiB\"\n").await;
    let mut slow = TcpStream::connect(daemon.public).await.expect("a connection");
    slow.write_all(b"GET /events?topic=a HTTP/1.1\r\nhost:").await.expect("sent");
    let mut got = Vec::new();
    // Cut, whether with an answer or without.
    let _ = within("the slow head is cut", slow.read_to_end(&mut got)).await;
    assert!(!String::from_utf8_lossy(&got).contains("200 OK"));

    let mut large = TcpStream::connect(daemon.public).await.expect("a connection");
    let head = format!("GET /events?topic=a HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let _ = large.write_all(head.as_bytes()).await;
    let mut got = Vec::new();
    let _ = within("an answer", large.read_to_end(&mut got)).await;
    assert!(String::from_utf8_lossy(&got).starts_with("HTTP/1.1 431"), "{}", String::from_utf8_lossy(&got));

    let mut broken = TcpStream::connect(daemon.public).await.expect("a connection");
    broken.write_all(b"GET /events?topic=a HTTP/1.1\r\nno colon here\r\n\r\n").await.expect("sent");
    let mut got = Vec::new();
    let _ = within("an answer", broken.read_to_end(&mut got)).await;
    assert!(String::from_utf8_lossy(&got).starts_with("HTTP/1.1 400"));
}
