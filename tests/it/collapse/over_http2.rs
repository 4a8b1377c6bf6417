//! Clients over HTTP/2 of a stream that is read for all.

use super::{STREAM, answer, daemon_before};
use crate::harness::{Backend, Block, Events, H2, Stream, eventually};

#[tokio::test]
async fn readers_over_http2_hear_the_same_stream_as_those_over_http1() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let mut connections = [H2::plain(daemon.public).await, H2::plain(daemon.public).await];
    let begin = format!("{STREAM}id: a\ndata: 1\n\n");
    let (mut begun, (mut app, asked)) =
        tokio::join!(connections[0].stream("/events", &[]), answer(&backend, &begin));
    assert_eq!(said(&mut begun).await.data(), "1");
    assert_eq!(asked.line, "GET /events HTTP/1.1");
    let mut streams = vec![begun];
    // By the name of the host that those over HTTP/2 ask for: another one could be another stream.
    let host = format!("localhost:{}", daemon.public.port());
    assert_eq!(asked.get("host"), Some(&*host));
    let request = format!("GET /events HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut one = Stream::open_raw(daemon.public, request.as_bytes()).await;
    for connection in &mut connections {
        for headers in [&[][..], &[("last-event-id", "a")]] {
            for _ in 0..30 {
                let stream = connection.stream("/events", headers).await;
                assert_eq!(stream.head.status, 200);
                assert_eq!(stream.head.headers["content-type"], "text/event-stream");
                streams.push(stream);
            }
        }
    }
    app.send("id: b\nevent: tick\ndata: 2\n\ndata: 3\n\n").await;
    let mut last = String::new();
    for stream in &mut streams {
        let (tick, message) = (said(stream).await, said(stream).await);
        assert_eq!((tick.event.as_deref(), tick.data()), (Some("tick"), "2"));
        assert_eq!((message.event.as_deref(), message.data()), (None, "3"));
        tick.id().clone_into(&mut last);
    }
    assert_eq!(one.data(2).await, ["2", "3"]);
    let mut back = connections[0].stream("/events", &[("last-event-id", &last)]).await;
    assert_eq!(said(&mut back).await.data(), "3", "it goes on behind an id of ours");
    assert!(!backend.is_asked().await, "all for one");
    assert_eq!(daemon.metric("sidestream_upstream_readers", &[]).await, 123.0);
    // Streams that are cancelled, a connection that is gone: none of them is a reader any more.
    drop((streams.split_off(61), back));
    let left = async || (daemon.metric("sidestream_upstream_readers", &[]).await == 62.0).then_some(());
    eventually("cancelled streams are no readers", left).await;
    // What the application breaks off goes on for all who are left.
    drop((connections, one));
    drop(app);
    let (_app, asked) = answer(&backend, &format!("{STREAM}data: 4\n\n")).await;
    assert_eq!(asked.get("last-event-id"), Some("b"));
    for stream in &mut streams {
        assert_eq!(said(stream).await.data(), "4");
    }
}

/// The next event, of a stream over HTTP/2.
async fn said(stream: &mut Events) -> Block {
    loop {
        let block = stream.block().await;
        if block.data.is_some() {
            return block;
        }
    }
}
