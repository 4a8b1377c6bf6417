//! The application's own streams where several instances share one log: one instance reads, all hear.

use serde_json::json;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::harness::{
    Backend, Block, Cluster, Daemon, Head, Node, Peer, Redis, Stream, eventually, ready, repository, start,
    within,
};

/// The configuration of an instance before `backend`; `more` are further keys of the route.
fn config(redis: &str, backend: &str, more: &str) -> String {
    format!(
        "public.backend = \"{backend}\"\nsse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         [[stream]]\npath = \"/events\"\nsource = \"backend\"\nlinger = \"200ms\"\n{more}\n\
         {redis}[redis.stream]\nsource_lease = \"1s\"\n"
    )
}

/// So many instances before `backend`.
async fn instances<const N: usize>(redis: &Redis, backend: &str, more: &str) -> [Daemon; N] {
    let mut all = Vec::new();
    for _ in 0..N {
        all.push(start(&config(&redis.section(), backend, more)).await);
    }
    all.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The application's side of its next stream, begun with `bytes`; and what was asked.
async fn answer(backend: &Backend, bytes: &str) -> (Peer, Head) {
    let (mut peer, head) = backend.request().await;
    peer.send(format!("{STREAM}{bytes}")).await;
    (peer, head)
}

/// A stream of an instance that is asked for by the name which all of them have.
async fn open(daemon: &Daemon, headers: &[(&str, &str)]) -> Stream {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET /events HTTP/1.1\r\nhost: app.example\r\n{headers}\r\n");
    Stream::open_raw(daemon.public, request.as_bytes()).await
}

/// Waits until an instance hears a stream that another one reads.
async fn follows(daemon: &Daemon) {
    eventually("an instance follows", async || {
        (daemon.metric("sidestream_upstreams_followed", &[]).await == 1.0).then_some(())
    })
    .await;
}

/// Streams of the first instance, which reads, and of the second, which follows.
async fn both(one: &Daemon, two: &Daemon, backend: &Backend) -> (Stream, Stream, Peer) {
    let (first, (app, _)) = tokio::join!(open(one, &[]), answer(backend, ""));
    let second = open(two, &[]).await;
    assert_eq!((first.status(), second.status()), (200, 200));
    follows(two).await;
    assert_eq!(one.metric("sidestream_upstreams_open", &[]).await, 1.0);
    assert_eq!(two.metric("sidestream_upstreams_open", &[]).await, 0.0);
    (first, second, app)
}

/// The first event of this name.
async fn first_of(stream: &mut Stream, name: &str) -> Block {
    within(name, async {
        loop {
            let block = stream.block().await;
            if block.is(name) {
                return block;
            }
        }
    })
    .await
}

#[tokio::test]
async fn one_of_several_instances_reads_and_all_hear_the_same_under_the_same_ids() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two, three] = instances(&redis, &backend.url, "").await;
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: a1\ndata: 1\n\n").await;
    let mut third = open(&three, &[]).await;
    assert_eq!(first.data(1).await, ["1"]);
    app.send("event: connected\nid: a2\ndata: {\"own\": 2}\n\nevent: reset\ndata: line\ndata:  ☂\n\n").await;
    let mut ids = Vec::new();
    for stream in [&mut first, &mut second, &mut third] {
        let own = first_of(stream, "connected").await;
        assert_eq!(own.data(), "{\"own\": 2}");
        let last = stream.event().await;
        assert!(last.is("reset") && last.data() == "line\n ☂", "{last:?}");
        ids.push((own.id().to_owned(), last.id().to_owned()));
    }
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    // By either id, on an instance that has not read it, and on one where nobody has heard it.
    let four = start(&config(&redis.section(), &backend.url, "")).await;
    for (daemon, id) in [(&two, "a2"), (&three, ids[0].0.as_str()), (&four, "a2"), (&four, &ids[0].0)] {
        let mut back = open(daemon, &[("last-event-id", id)]).await;
        let next = back.event().await;
        assert!(next.is("reset") && next.data() == "line\n ☂", "{id}: {next:?}");
    }
    assert!(!backend.is_asked().await, "nobody else is a stream of the application");
}

#[tokio::test]
async fn another_instance_goes_on_behind_the_last_event_when_the_one_that_reads_is_killed() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: ü1\ndata: 1\n\ndata: 2\n\nid: ü2\ndata: 3\n\nid: x\ndata: cut").await;
    assert_eq!(first.data(3).await, ["1", "2", "3"]);
    assert_eq!(second.data(2).await, ["1", "2"]);
    let last = second.event().await.id().to_owned();
    one.signal("KILL");
    let (mut app, head) = answer(&backend, "id: ü3\ndata: 4\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("ü2"));
    assert_eq!(second.data(1).await, ["4"]);
    // Whoever was there comes here.
    let mut back = open(&two, &[("last-event-id", &last)]).await;
    assert_eq!(back.data(1).await, ["4"]);
    app.send("data: 5\n\n").await;
    assert_eq!(second.data(1).await, ["5"]);
    assert_eq!(back.data(1).await, ["5"]);
    assert_eq!(two.metric("sidestream_upstream_takeovers_total", &[]).await, 1.0);
    assert_eq!(two.metric("sidestream_upstreams_open", &[]).await, 1.0);
}

#[tokio::test]
async fn clients_of_an_instance_that_was_killed_are_heard_on_at_another_without_a_gap() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (mut first, (_app, _)) =
        tokio::join!(open(&one, &[]), answer(&backend, "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"));
    let seen = first.event().await.id().to_owned();
    one.signal("KILL");
    // Nobody here has heard it, and the lease is not over: the client waits on an open stream.
    let mut back = open(&two, &[("last-event-id", &seen)]).await;
    assert_eq!(back.data(1).await, ["2"]);
    let (_app, head) = answer(&backend, "id: 3\ndata: 3\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("2"));
    assert_eq!(back.data(1).await, ["3"]);
}

#[tokio::test]
async fn a_stream_without_ids_that_changes_hands_has_a_gap_and_says_so() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (_first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("data: 1\n\n").await;
    assert_eq!(second.data(1).await, ["1"]);
    one.signal("KILL");
    let (_app, head) = answer(&backend, "data: 2\n\n").await;
    assert_eq!(head.get("last-event-id"), None);
    let reset = second.event().await;
    assert!(reset.is("reset"), "{reset:?}");
    assert_eq!(reset.json(), json!({ "reason": "source_gap" }));
    assert_eq!(second.data(1).await, ["2"]);
}

#[tokio::test]
async fn a_stream_is_handed_over_when_its_readers_leave_and_when_its_instance_stops() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, mut two] = instances(&redis, &backend.url, "").await;
    let (first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: 1\ndata: 1\n\n").await;
    assert_eq!(second.data(1).await, ["1"]);
    drop(first);
    app.rest().await;
    let (_app, head) = answer(&backend, "id: 2\ndata: 2\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("1"));
    let from_two = second.event().await;
    assert_eq!(from_two.data(), "2");
    let mut third = open(&one, &[("last-event-id", from_two.id())]).await;
    follows(&one).await;
    two.signal("TERM");
    // At once, not when the lease is over.
    let (_app, head) = within("the stream is handed over", answer(&backend, "id: 3\ndata: 3\n\n")).await;
    assert_eq!(head.get("last-event-id"), Some("2"));
    assert_eq!(third.data(1).await, ["3"]);
    two.ended().await;
}

#[tokio::test]
async fn an_application_that_is_started_again_is_asked_by_one_instance() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("retry: 10\n\n").await;
    drop(app);
    let (mut refused, _) = backend.request().await;
    refused.send("HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n").await;
    drop(refused);
    let (app, _) = answer(&backend, "id: 1\ndata: 1\n\n").await;
    for stream in [&mut first, &mut second] {
        assert!(stream.event().await.is("reset"), "it had no ids before");
        assert_eq!(stream.data(1).await, ["1"]);
    }
    drop(app);
    let (_app, head) = answer(&backend, "id: 2\ndata: 2\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("1"));
    assert_eq!(first.data(1).await, ["2"]);
    assert_eq!(second.data(1).await, ["2"]);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn what_the_application_says_instead_of_a_stream_it_says_to_each_on_every_instance() {
    for status in ["401 Unauthorized", "404 Not Found", "204 No Content"] {
        let (redis, backend) = (Redis::start().await, Backend::start().await);
        let [one, two] = instances(&redis, &backend.url, "").await;
        let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
        app.send("retry: 10\nid: 1\ndata: 1\n\n").await;
        assert_eq!(first.data(1).await, ["1"]);
        drop(app);
        let said = format!("HTTP/1.1 {status}\r\nx-own: yes\r\nconnection: close\r\n\r\n");
        let say = async || {
            let (mut peer, head) = backend.request().await;
            peer.send(&said).await;
            head
        };
        say().await;
        for stream in [&mut first, &mut second] {
            let closing = first_of(stream, "closing").await;
            assert_eq!(closing.json()["reason"], "source_ended");
            assert_eq!(stream.next().await, None);
        }
        assert!(!backend.is_asked().await, "it is asked once for all instances");
        for daemon in [&two, &one] {
            eventually("the stream is forgotten", async || {
                let open = daemon.metric("sidestream_upstreams_open", &[]).await;
                let followed = daemon.metric("sidestream_upstreams_followed", &[]).await;
                (open + followed == 0.0).then_some(())
            })
            .await;
            // Asked for all, and then for the one who came.
            let asked = async {
                say().await;
                say().await
            };
            let (again, head) = tokio::join!(open(daemon, &[]), asked);
            assert_eq!(again.status().to_string(), status[..3]);
            assert!(again.head.contains("x-own: yes"), "{}", again.head);
            assert_eq!(head.get("accept-encoding"), None, "the client's own request");
        }
    }
}

#[tokio::test]
async fn clients_of_an_instance_that_follows_wait_for_what_the_application_says_first() {
    let no = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n";
    for (said, status) in [(no, 404), (STREAM, 200)] {
        let (redis, backend) = (Redis::start().await, Backend::start().await);
        let [one, two] = instances(&redis, &backend.url, "").await;
        // It has the lease once the application is asked, and not before.
        let one_reads = Notify::new();
        let app = async {
            let (mut app, _) = backend.request().await;
            one_reads.notify_one();
            follows(&two).await;
            app.send(said).await;
            if status == 200 {
                return Some(app);
            }
            drop(app);
            // Each client's own request.
            for _ in 0..2 {
                backend.request().await.0.send(said).await;
            }
            None
        };
        let reads_and_follows = async {
            let first = open(&one, &[]);
            let second = async {
                one_reads.notified().await;
                open(&two, &[]).await
            };
            tokio::join!(first, second)
        };
        let ((first, second), _app) = tokio::join!(reads_and_follows, app);
        assert_eq!((first.status(), second.status()), (status, status));
    }
}

#[tokio::test]
async fn streams_stay_while_redis_is_away_and_go_on_behind_the_last_event() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let backend = Backend::start().await;
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: 1\ndata: 1\n\n").await;
    assert_eq!(first.data(1).await, ["1"]);
    assert_eq!(second.data(1).await, ["1"]);
    redis.kill().await;
    app.send("id: 2\ndata: 2\n\n").await;
    app.rest().await;
    redis.start_again().await;
    // Whether it was in the log or not: it comes once.
    let (mut app, head) = answer(&backend, "").await;
    match head.get("last-event-id") {
        Some("1") => app.send("id: 2\ndata: 2\n\nid: 3\ndata: 3\n\n").await,
        last => {
            assert_eq!(last, Some("2"));
            app.send("id: 3\ndata: 3\n\n").await;
        }
    }
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.data(2).await, ["2", "3"]);
    }
    for daemon in [&one, &two] {
        ready(daemon, 200).await;
    }
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_stream_without_ids_is_read_on_when_redis_is_back_before_the_lease_is_over() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let backend = Backend::start().await;
    let config = config(&redis.section(), &backend.url, "").replace("\"1s\"", "\"40s\"");
    let [one, two] = [start(&config).await, start(&config).await];
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("data: 1\n\n").await;
    assert_eq!(second.data(1).await, ["1"]);
    redis.kill().await;
    app.send("data: 2\n\n").await;
    one.logged("cannot reach Redis for streams of the application").await;
    redis.start_again().await;
    app.send("data: 3\n\n").await;
    assert_eq!(first.data(3).await, ["1", "2", "3"]);
    assert_eq!(second.data(2).await, ["2", "3"]);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn an_instance_that_lost_the_lease_in_its_sleep_appends_nothing_more() {
    let (redis, backend) = (Redis::start().await, Backend::start().await);
    let [one, two] = instances(&redis, &backend.url, "").await;
    let (mut first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: 1\ndata: 1\n\n").await;
    assert_eq!(second.data(1).await, ["1"]);
    one.freeze().await;
    // It waits at the sleeper's socket.
    app.send("id: 2\ndata: of the sleeper\n\n").await;
    let (mut other, head) = answer(&backend, "id: 2\ndata: 2\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("1"));
    assert_eq!(second.data(1).await, ["2"]);
    one.signal("CONT");
    app.rest().await;
    other.send("id: 3\ndata: 3\n\n").await;
    assert_eq!(second.data(1).await, ["3"]);
    assert_eq!(first.data(3).await, ["1", "2", "3"]);
    follows(&one).await;
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_cluster_and_a_user_with_the_rights_of_the_page_will_do() {
    let (cluster, backend) = (Cluster::start().await, Backend::start().await);
    let one = start(&config(&cluster.section(0), &backend.url, "")).await;
    let two = start(&config(&cluster.section(1), &backend.url, "")).await;
    let (_first, mut second, mut app) = both(&one, &two, &backend).await;
    app.send("id: 1\ndata: 1\n\n").await;
    assert_eq!(second.data(1).await, ["1"]);
    drop((one, app));
    let (_app, head) = answer(&backend, "id: 2\ndata: 2\n\n").await;
    assert_eq!(head.get("last-event-id"), Some("1"));
    assert_eq!(second.data(1).await, ["2"]);

    let redis = Redis::start().await;
    let page = std::fs::read_to_string(repository().join("docs/operating.md")).expect("the page");
    let rights = page.lines().find(|line| line.starts_with("ACL SETUSER sidestream on")).expect("the rights");
    let more = page.split_once("The user also needs these rights: `~sidestream:upstream").expect("more").1;
    let more = format!("~sidestream:upstream{}", more.split('`').next().expect("an end"));
    let rights = rights.replace(">…", ">secret");
    let words: Vec<&str> = rights.split(' ').chain(more.split(' ')).collect();
    redis.command::<()>(&words).await;
    let section = format!("[redis]\nurl = \"redis://sidestream:secret@127.0.0.1:{}\"\n", redis.port);
    let three = start(&config(&section, &backend.url, "")).await;
    let (mut third, (_app, _)) = tokio::join!(open(&three, &[]), answer(&backend, "data: 3\n\n"));
    assert_eq!(third.data(1).await, ["3"]);
}

/// An application that counts its streams, and says who may hear by their cookies.
const APP: &str = r#"
let streams = 0, asked = 0;
const server = http.createServer((req, res) => {
  if (req.url === '/count') return res.end(JSON.stringify({ streams, asked }));
  if (req.url === '/auth') {
    asked++;
    res.statusCode = (req.headers.cookie ?? '').includes('sid=') ? 204 : 401;
    return res.end();
  }
  streams++;
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  res.write('data: hello\n\n');
});
"#;

#[tokio::test]
async fn who_may_hear_is_asked_for_every_client_of_every_instance() {
    let (redis, node) = (Redis::start().await, Node::start(APP).await);
    let more = "auth = \"backend\"\nshared_despite = [\"cookie\"]\nlate_comers = \"all\"\n[auth.backend]\nurl = \"/auth\"";
    let [one, two] = instances(&redis, &node.url, more).await;
    for (daemon, cookie) in [(&one, "sid=1"), (&two, "sid=2")] {
        let mut stream = open(daemon, &[("cookie", cookie)]).await;
        assert_eq!(stream.data(1).await, ["hello"], "{cookie}");
        std::mem::forget(stream);
    }
    for daemon in [&one, &two] {
        let stranger = open(daemon, &[("cookie", "none=1")]).await;
        assert_eq!(stranger.status(), 401);
    }
    let counts = serde_json::from_str::<serde_json::Value>(&one.get("/count").await.text()).expect("counts");
    assert_eq!(counts, json!({ "streams": 1, "asked": 4 }));
    let mut check = Command::new(env!("CARGO_BIN_EXE_sidestream"));
    let said = within("check", check.arg("check").arg("--config").arg(one.file()).output()).await;
    let said = said.expect("it runs").stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("kept for 200ms after the last; one instance reads it for all"), "{said}");
}
