//! Rates: how often an address, a user or a key may do something, and that a flood of one is nobody else's trouble.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Answer, Daemon, H2, KEY, Node, Stream, holds_for, listening, request, token, token_of, within,
};

/// A backend that answers everything at once, and says how often it was asked.
async fn counting() -> Node {
    Node::start(
        "let asked = 0; const server = http.createServer((from, to) => { from.resume(); asked += from.url === '/asked' ? 0 : 1; to.end(`${asked}`); });",
    )
    .await
}

const TRUSTING: &str = "public.trusted_proxies = [\"127.0.0.1\"]\n";

async fn get_from(daemon: &Daemon, client: &str, path: &str) -> Answer {
    request(daemon.public, "GET", path, &[("x-forwarded-for", client)], b"").await
}

/// How long `Retry-After` asks to wait.
fn wait(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {answer:?}"))
}

#[tokio::test]
async fn requests_beyond_an_addresss_rate_get_429_and_other_addresses_go_on() {
    let backend = counting().await;
    let limits = format!("{TRUSTING}limits.requests_per_address = \"4/h burst=3\"\n");
    let daemon = Daemon::start(&backend.config(&limits)).await;
    for _ in 0..3 {
        assert_eq!(get_from(&daemon, "192.0.2.1", "/").await.status, 200);
    }
    let refused = get_from(&daemon, "192.0.2.1", "/").await;
    assert_eq!(refused.status, 429);
    assert!((800..=900).contains(&wait(&refused)), "{refused:?}");
    assert!(refused.text().contains("more requests than it may"), "{}", refused.text());
    // A body that nobody wants does not disturb the connection's next request.
    let mut post = Stream::open_raw(
        daemon.public,
        b"POST /upload HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!(post.status(), 429);
    assert!(post.json().await["error"].is_string());
    assert_eq!(get_from(&daemon, "192.0.2.2", "/").await.status, 200);
    assert_eq!(get_from(&daemon, "2001:db8::1", "/").await.status, 200);
    let mut client = H2::plain(daemon.public).await;
    for last in ["2", "3"] {
        let from = format!("2001:db8::{last}");
        assert_eq!(client.ask("GET", "/", &[("x-forwarded-for", &from)], b"").await.status, 200);
    }
    let fourth = client.ask("GET", "/", &[("x-forwarded-for", "2001:db8::4")], b"").await;
    assert_eq!(fourth.status, 429, "a /64 is one customer's");
    assert_eq!(get_from(&daemon, "2001:db8:0:1::1", "/").await.status, 200);
    assert_eq!(get_from(&daemon, "192.0.2.3", "/asked").await.text(), "8", "what is refused reaches nobody");
    let labels = ["what=\"requests\"", "by=\"address\""];
    assert_eq!(daemon.metric("sidestream_rate_limited_total", &labels).await, 3.0);
    assert!(daemon.log().contains("\"of\":\"192.0.2.1\""), "{}", daemon.log());
}

#[tokio::test]
async fn a_page_that_opens_streams_too_fast_is_told_to_come_back_as_eventsource_needs_it() {
    let limits = format!("{TRUSTING}limits.openings_per_address = \"6/m burst=2\"\n");
    let daemon = Daemon::start(&limits).await;
    let open = async |client: &str| {
        Stream::open(daemon.public, "/events?topic=a", &[("x-forwarded-for", client)]).await
    };
    let mut held = open("192.0.2.1").await;
    assert!(held.block().await.is("connected"));
    assert!(open("192.0.2.1").await.block().await.is("connected"));
    let mut refused = open("192.0.2.1").await;
    assert_eq!(refused.status(), 200);
    let block = refused.block().await;
    assert!(block.is("refused"), "{block:?}");
    assert_eq!(block.json(), json!({ "reason": "rate_per_address" }));
    assert!(block.retry.is_some_and(|retry| retry > 9_000), "not before there is a token: {block:?}");
    assert!(open("192.0.2.2").await.block().await.is("connected"));
    daemon.publish(&json!({ "topic": "a", "data": "still" })).await;
    assert_eq!(held.event().await.data(), "still", "what is open stays");
    let labels = ["what=\"openings\"", "by=\"address\""];
    assert_eq!(daemon.metric("sidestream_rate_limited_total", &labels).await, 1.0);
    let labels = ["reason=\"rate_per_address\""];
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &labels).await, 1.0);
    // Pages are another matter.
    assert_eq!(get_from(&daemon, "192.0.2.1", "/").await.status, 502, "there is no backend");
}

#[tokio::test]
async fn a_user_who_opens_streams_too_fast_is_held_back_on_every_address() {
    let config = format!(
        "{TRUSTING}[sse]\nrefuse_with = \"status\"\n[limits]\nopenings_per_user = \"6/m burst=2\"\n\
         [[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = []\n[auth.jwt]\nsecret = \"{}\"\n",
        crate::harness::SECRET
    );
    let daemon = Daemon::start(&config).await;
    let open = async |user: &str, client: &str| {
        let path = format!("/events?token={}", token(&json!({ "sub": user })));
        Stream::open(daemon.public, &path, &[("x-forwarded-for", client)]).await
    };
    assert_eq!(open("ann", "192.0.2.1").await.status(), 200);
    assert_eq!(open("ann", "192.0.2.2").await.status(), 200);
    let refused = open("ann", "192.0.2.3").await;
    assert_eq!(refused.status(), 429, "{}", refused.head);
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);
    assert_eq!(open("bob", "192.0.2.3").await.status(), 200);
    // Who is not let in uses up nobody's tokens.
    let forged = token_of("another-secret-0123456789abcdef0123456789", &json!({ "sub": "cyd" }));
    for _ in 0..5 {
        assert_eq!(daemon.stream(&format!("/events?token={forged}")).await.status(), 401);
    }
    assert_eq!(open("cyd", "192.0.2.3").await.status(), 200);
    let labels = ["what=\"openings\"", "by=\"user\""];
    assert_eq!(daemon.metric("sidestream_rate_limited_total", &labels).await, 1.0);
}

async fn publish(daemon: &Daemon, key: &str, events: usize) -> Answer {
    let body = json!(vec![json!({ "topic": "a", "data": 1 }); events]).to_string();
    let key = format!("Bearer {key}");
    request(daemon.internal, "POST", "/publish", &[("authorization", &key)], body.as_bytes()).await
}

#[tokio::test]
async fn each_key_publishes_at_its_own_rate() {
    let config = format!(
        "[internal]\npublish_keys = [\"{KEY}\", \"another-key-of-the-tests\"]\n\
         [[internal.publisher]]\nname = \"chat\"\nkey = \"chat-key-0123456789\"\ntopics = [\"*\"]\nrate = \"60/h burst=2\"\n\
         [[internal.publisher]]\nname = \"free\"\nkey = \"free-key-0123456789\"\ntopics = [\"*\"]\nrate = 0\n\
         [internal.publisher_jwt]\nsecret = \"{}\"\n[limits]\npublishes_per_key = \"60/h burst=5\"\n",
        crate::harness::SECRET
    );
    let daemon = Daemon::start(&config).await;
    let mut reader = listening(&daemon, "/events?topic=a").await;
    assert_eq!(publish(&daemon, KEY, 3).await.status, 200);
    let refused = publish(&daemon, KEY, 3).await;
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (429, Some("rate")));
    assert!((50..=60).contains(&wait(&refused)), "{refused:?}");
    assert_eq!(publish(&daemon, KEY, 2).await.status, 200, "what was refused took nothing");
    let large = publish(&daemon, KEY, 6).await;
    assert_eq!((large.status, large.header("retry-after")), (413, ""), "no pause helps: {}", large.text());
    assert_eq!(publish(&daemon, "another-key-of-the-tests", 5).await.status, 200);
    assert_eq!(publish(&daemon, "chat-key-0123456789", 2).await.status, 200);
    assert_eq!(publish(&daemon, "chat-key-0123456789", 1).await.status, 429);
    assert_eq!(publish(&daemon, "free-key-0123456789", 100).await.status, 200);
    let of = |who: &str| token(&json!({ "sub": who, "publish": ["a"] }));
    assert_eq!(publish(&daemon, &of("one"), 5).await.status, 200);
    assert_eq!(publish(&daemon, &of("one"), 1).await.status, 429, "a token's holder is known by the subject");
    assert_eq!(publish(&daemon, &of("two"), 5).await.status, 200);
    assert_eq!(reader.data(3 + 2 + 5 + 2 + 100 + 5 + 5).await.len(), 122);
    let labels = ["what=\"publishes\"", "by=\"key\""];
    assert_eq!(daemon.metric("sidestream_rate_limited_total", &labels).await, 4.0);
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["reason=\"rate\""]).await, 4.0);
}

#[tokio::test]
async fn one_address_that_floods_takes_nothing_from_the_others() {
    let backend = counting().await;
    let limits = format!(
        "{TRUSTING}[limits]\nrequests_per_address = \"1/h burst=50\"\nopenings_per_address = \"1/h burst=50\"\nrate_keys = 64\n"
    );
    let daemon = Daemon::start(&backend.config(&limits)).await;
    let public = daemon.public;
    let flood = |client: &'static str| async move {
        let (mut passed, mut refused) = (0, 0);
        let mut connection = H2::plain(public).await;
        for _ in 0..500 {
            match connection.ask("GET", "/flood", &[("x-forwarded-for", client)], b"").await.status {
                200 => passed += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
        (passed, refused)
    };
    let one = tokio::spawn(flood("192.0.2.1"));
    let other = tokio::spawn(flood("192.0.2.1"));
    // Many more than are kept count of.
    let crowd = async {
        for nth in 0..400_u16 {
            let [high, low] = nth.to_be_bytes();
            let client = format!("198.51.{high}.{low}");
            assert_eq!(get_from(&daemon, &client, "/page").await.status, 200, "{client}");
            if nth % 50 == 0 {
                let from = [("x-forwarded-for", client.as_str())];
                let mut stream = Stream::open(public, "/events?topic=a", &from).await;
                assert!(stream.block().await.is("connected"), "{client}");
            }
        }
    };
    within("four hundred visitors", crowd).await;
    let (one, other) = (one.await.expect("no panic"), other.await.expect("no panic"));
    assert_eq!((one.0 + other.0, one.1 + other.1), (50, 950));
    assert_eq!(get_from(&daemon, "192.0.2.9", "/asked").await.text(), "450");
    let lines = daemon.log().matches("over its rate").count();
    assert!((1..=20).contains(&lines), "{lines} lines");
    holds_for(Duration::from_millis(100), "it lives", async || daemon.ask("/healthz").await.status == 200)
        .await;
}
