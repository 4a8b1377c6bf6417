//! Polled answers where several instances share one log: one instance asks, all hear.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Answer, Daemon, Node, Redis, Stream, eventually, let_time_pass, log_lines, request, start, within,
};

/// An application that counts how often it is asked, and says when its answer is still the same.
const APP: &str = r#"
let asked = 0, matched = 0, status = 200, text = '{"n":1,"more":"of the same, which is not sent again"}';
const server = http.createServer((req, res) => {
  if (req.url === '/count') return res.end(JSON.stringify({ asked, matched }));
  if (req.url.startsWith('/become/')) { status = Number(req.url.slice(8)); return res.end(); }
  if (req.url.startsWith('/n/')) { text = text.replace(/"n":\d+/, `"n":${req.url.slice(3)}`); return res.end(); }
  asked++;
  const etag = `"${text}${status}"`;
  res.setHeader('etag', etag);
  if (status === 200 && req.headers['if-none-match'] === etag) { matched++; res.statusCode = 304; return res.end(); }
  res.statusCode = status;
  res.end(text);
});
"#;

fn config(redis: &Redis, app: &str, more: &str) -> String {
    format!(
        "public.backend = \"{app}\"\nsse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         [[stream]]\npath = \"/status\"\nsource = \"poll\"\nlinger = \"200ms\"\n{more}\n\
         {}[redis.stream]\nsource_lease = \"1s\"\n",
        redis.section()
    )
}

/// A stream of an instance that is asked for by the name which all of them have.
async fn open(daemon: &Daemon, headers: &[(&str, &str)]) -> Stream {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request =
        format!("GET /status HTTP/1.1\r\nhost: app.example\r\naccept: text/event-stream\r\n{headers}\r\n");
    Stream::open_raw(daemon.public, request.as_bytes()).await
}

fn answer(n: u32) -> String {
    format!("{{\"n\":{n},\"more\":\"of the same, which is not sent again\"}}")
}

async fn get(daemon: &Daemon, path: &str) -> Answer {
    request(daemon.public, "GET", path, &[], b"").await
}

/// How often the application was asked, and how often it knew that the answer is the same.
async fn counted(daemon: &Daemon) -> (u64, u64) {
    let counts = get(daemon, "/count").await.json();
    (counts["asked"].as_u64().expect("a count"), counts["matched"].as_u64().expect("a count"))
}

#[tokio::test]
async fn one_instance_asks_and_clients_of_all_have_the_current_answer_first() {
    let (redis, node) = (Redis::start().await, Node::start(APP).await);
    let config = config(&redis, &node.url, "interval = \"500ms\"");
    let [one, two] = [start(&config).await, start(&config).await];
    let (mut first, began) = (open(&one, &[]).await, std::time::Instant::now());
    assert_eq!(first.data(1).await, [answer(1)]);
    let mut second = open(&two, &[]).await;
    let current = second.event().await;
    assert_eq!((current.data(), &current.event), (answer(1).as_str(), &None));
    get(&one, "/n/2").await;
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.data(1).await, [answer(2)]);
    }
    let mut late = open(&two, &[]).await;
    assert_eq!(late.data(1).await, [answer(2)]);
    let_time_pass("six intervals", Duration::from_secs(3)).await;
    let (asked, matched) = counted(&one).await;
    let intervals = began.elapsed().as_millis() as u64 / 500;
    // Give or take a tenth of each, and one that was just then.
    assert!((3..=intervals * 10 / 9 + 2).contains(&asked), "asked {asked} times in {intervals} intervals");
    assert_eq!(matched, asked - 2, "its own ETag is told to it");
    assert_eq!(two.metric("sidestream_polls_total", &[]).await, 0.0);
    assert_eq!(two.metric("sidestream_upstreams_followed", &[]).await, 1.0);
}

#[tokio::test]
async fn an_instance_that_goes_on_says_nothing_that_clients_have_heard() {
    let (redis, node) = (Redis::start().await, Node::start(APP).await);
    let config = config(&redis, &node.url, "interval = \"200ms\"\nsend = \"patch\"");
    let [one, two] = [start(&config).await, start(&config).await];
    let mut first = open(&one, &[]).await;
    assert_eq!(first.data(1).await, [answer(1)]);
    let mut second = open(&two, &[]).await;
    assert_eq!(second.data(1).await, [answer(1)]);
    get(&one, "/n/2").await;
    let patch = second.event().await;
    assert!(patch.is("patch") && patch.data() == "{\"n\":2}", "{patch:?}");
    assert_eq!(first.data(1).await, ["{\"n\":2}"]);
    // Known to be the same by the other instance, too.
    let mut late = open(&two, &[]).await;
    let mut current = late.event().await;
    if current.data() == answer(1) {
        current = late.event().await;
        assert_eq!(current.data(), "{\"n\":2}");
    } else {
        assert_eq!(current.data(), answer(2));
    }
    one.signal("KILL");
    log_lines(&two, "this instance reads a stream of the application that another one has read", 1).await;
    let (asked, matched) = counted(&two).await;
    eventually("it is asked again", async || (counted(&two).await.0 > asked + 2).then_some(())).await;
    let (later, still) = counted(&two).await;
    assert_eq!(later - asked, still - matched, "each answer was the one that is known");
    get(&two, "/n/3").await;
    for stream in [&mut second, &mut late] {
        let next = stream.event().await;
        assert!(next.is("patch") && next.data() == "{\"n\":3}", "nothing comes in between: {next:?}");
    }
    // A client of the instance that is gone has nothing to hear again.
    let mut back = open(&two, &[("last-event-id", patch.id())]).await;
    let next = back.event().await;
    assert!(next.is("patch") && next.data() == "{\"n\":3}", "{next:?}");
}

#[tokio::test]
async fn a_stale_answer_is_told_to_all_and_so_is_a_no() {
    let (redis, node) = (Redis::start().await, Node::start(APP).await);
    let config = config(&redis, &node.url, "interval = \"100ms\"\nstale_after = 2");
    let [one, two] = [start(&config).await, start(&config).await];
    let mut first = open(&one, &[]).await;
    assert_eq!(first.data(1).await, [answer(1)]);
    let mut second = open(&two, &[]).await;
    assert_eq!(second.data(1).await, [answer(1)]);
    get(&one, "/become/503").await;
    for stream in [&mut first, &mut second] {
        let stale = stream.event().await;
        assert!(stale.is("stale") && stale.json() == json!({ "failures": 2 }), "{stale:?}");
    }
    let mut late = open(&two, &[]).await;
    assert_eq!(late.data(2).await, [answer(1), "{\"failures\":2}".to_owned()]);
    get(&one, "/become/200").await;
    for stream in [&mut first, &mut second, &mut late] {
        assert_eq!(stream.data(1).await, [answer(1)], "it holds again");
    }
    get(&one, "/become/404").await;
    for stream in [&mut first, &mut second, &mut late] {
        let closing = stream.event().await;
        assert!(closing.is("closing") && closing.json()["reason"] == "source_ended", "{closing:?}");
    }
    for daemon in [&one, &two] {
        eventually("the answer is forgotten", async || {
            let open = daemon.metric("sidestream_upstreams_open", &[]).await;
            (open + daemon.metric("sidestream_upstreams_followed", &[]).await == 0.0).then_some(())
        })
        .await;
        assert_eq!(open(daemon, &[]).await.status(), 404);
    }
}

#[tokio::test]
async fn a_publish_or_a_request_to_any_instance_makes_the_one_that_asks_do_so_at_once() {
    let (redis, node) = (Redis::start().await, Node::start(APP).await);
    let config = config(&redis, &node.url, "interval = \"1h\"\nrefresh_on = [\"orders\"]");
    let [one, two, three] = [start(&config).await, start(&config).await, start(&config).await];
    let mut first = open(&one, &[]).await;
    assert_eq!(first.data(1).await, [answer(1)]);
    let mut second = open(&two, &[]).await;
    assert_eq!(second.data(1).await, [answer(1)]);
    get(&one, "/n/2").await;
    two.publish(&json!({ "topic": "orders", "data": 1 })).await;
    assert_eq!(first.data(1).await, [answer(2)]);
    assert_eq!(second.data(1).await, [answer(2)]);
    for (n, daemon) in [(3, &one), (4, &two), (5, &three)] {
        get(&one, &format!("/n/{n}")).await;
        let said = daemon.command("POST", "/poll/status", &[], b"").await;
        assert_eq!(said.status, 200, "{}", said.text());
        assert_eq!(within("the answer", second.data(1)).await, [answer(n)]);
        assert_eq!(first.data(1).await, [answer(n)]);
    }
    assert_eq!(two.metric("sidestream_polls_total", &[]).await, 0.0);
}
