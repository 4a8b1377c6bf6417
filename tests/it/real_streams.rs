//! Event streams of applications as they are written without sidestream, read once for all: sse-starlette, Django,
//! Node. What they count is what they say themselves.

use crate::harness::{Daemon, Node, Program, Stream, eventually, start};

/// How many clients hear each of them.
const CLIENTS: usize = 150;

fn route(port: &str) -> String {
    format!(
        "public.backend = \"http://127.0.0.1:{port}\"\nsse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         [[stream]]\npath = \"/events\"\nsource = \"backend\"\nshared_despite = [\"no-store\"]\n"
    )
}

async fn count(daemon: &Daemon) -> String {
    daemon.get("/count").await.text()
}

/// Clients that hear the application, which has one stream.
async fn crowd(daemon: &Daemon) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        let stream = daemon.stream("/events").await;
        assert_eq!(stream.status(), 200, "{}", stream.head);
        streams.push(stream);
    }
    eventually("the application has its stream", async || (count(daemon).await == "1 1").then_some(())).await;
    streams
}

/// The application speaks, and every client hears the events of these numbers, once each.
async fn hear(daemon: &Daemon, streams: &mut [Stream], numbers: std::ops::RangeInclusive<usize>) {
    for _ in numbers.clone() {
        assert_eq!(daemon.get("/say").await.text(), "said");
    }
    for stream in streams {
        for number in numbers.clone() {
            let event = stream.event().await;
            assert!(event.is("tick"), "{event:?}");
            assert_eq!(event.data(), format!("{number}\nzwei"));
        }
    }
}

#[tokio::test]
async fn sse_starlette_is_heard_by_many_for_one_stream_and_goes_on_after_a_cut() {
    let mut app = Program::python("starlette_app.py", &[]);
    let port = app.line().await.expect("its port");
    let daemon = start(&route(&port)).await;
    let mut streams = crowd(&daemon).await;
    hear(&daemon, &mut streams, 1..=5).await;
    assert_eq!(count(&daemon).await, "1 1");
    // A client that was cut misses nothing by the application's id, and costs it nothing.
    let mut late = Stream::open(daemon.public, "/events", &[("last-event-id", "3")]).await;
    assert_eq!(late.data(2).await, ["4\nzwei", "5\nzwei"]);
    assert_eq!(count(&daemon).await, "1 1");
}

#[tokio::test]
async fn django_is_heard_by_many_for_one_stream_and_its_restart_is_a_gap() {
    let mut app = Program::python("django_app.py", &[]);
    let port = app.line().await.expect("its port");
    let daemon = start(&route(&port)).await;
    let mut streams = crowd(&daemon).await;
    hear(&daemon, &mut streams, 1..=5).await;
    drop(app);
    eventually("the application is gone", async || (daemon.get("/count").await.status == 502).then_some(()))
        .await;
    let mut again = Program::python("django_app.py", &[&port]);
    assert_eq!(again.line().await, Some(port));
    // All stay, and hear that something may be missing.
    for stream in &mut streams {
        let reset = stream.event().await;
        assert!(reset.is("reset"), "{reset:?}");
    }
    hear(&daemon, &mut streams, 1..=2).await;
    assert_eq!(count(&daemon).await, "1 1");
}

#[tokio::test]
async fn a_node_application_is_heard_by_many_for_one_stream() {
    let app = Node::start(
        r#"
let opened = 0, number = 0;
const open = new Set();
const server = http.createServer((req, res) => {
  if (req.url === '/count') return res.end(`${opened} ${open.size}`);
  if (req.url === '/say') {
    number++;
    for (const one of open) one.write(`event: tick\ndata: ${number}\ndata: zwei\n\n`);
    return res.end('said');
  }
  opened++;
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', Connection: 'keep-alive' });
  res.write('\n');
  open.add(res);
  req.on('close', () => open.delete(res));
});
"#,
    )
    .await;
    let daemon = start(&route(app.url.rsplit(':').next().expect("a port"))).await;
    let mut streams = crowd(&daemon).await;
    hear(&daemon, &mut streams, 1..=5).await;
    assert_eq!(count(&daemon).await, "1 1");
}
