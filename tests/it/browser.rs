//! A real browser in front of the daemon, a real app and a real Redis behind it.

use crate::harness::{Browser, Daemon, Express, Redis, Wire, eventually, say};

/// The example's own file; only its addresses are other ones, and a page comes back sooner.
async fn daemon(app: &Express, redis: &Redis) -> Daemon {
    let daemon = Daemon::start_with(
        include_str!("../../examples/express/sidestream.toml"),
        &[
            ("SIDESTREAM_PUBLIC_BACKEND", &app.url()),
            ("SIDESTREAM_REDIS_URL", &redis.url()),
            ("SIDESTREAM_SSE_RETRY_MIN", "100ms"),
            ("SIDESTREAM_SSE_RETRY_MAX", "500ms"),
        ],
    )
    .await;
    eventually("the daemon listens to Redis", async || {
        (daemon.ask("/readyz/events").await.status == 200).then_some(())
    })
    .await;
    daemon
}

#[tokio::test]
async fn the_chat_comes_back_after_a_cut_and_misses_nothing() {
    let redis = Redis::start().await;
    let app = Express::start(&redis.url()).await;
    let daemon = daemon(&app, &redis).await;
    let wire = Wire::to(daemon.public).await;
    let mut browser = Browser::start();
    let mut texts = vec!["said before".to_owned()];
    say(daemon.public, &texts[0]).await;

    browser.open(&format!("http://{}/", wire.address)).await;
    browser.wait("#state.live").await;
    browser.shows("#messages p", &texts).await;

    texts.push("posted by clicking <b>".to_owned());
    browser.fill("#text", &texts[1]).await;
    browser.click("#send").await;
    browser.shows("#messages p", &texts).await;

    for cut in 1..=2 {
        wire.cut();
        browser.wait("#state.reconnecting").await;
        for n in 1..=20 {
            texts.push(format!("said while away, {cut}:{n}"));
            say(daemon.public, texts.last().expect("just pushed")).await;
        }
        wire.mend();
        browser.wait("#state.live").await;
        texts.push(format!("said after the cut {cut}"));
        say(daemon.public, texts.last().expect("just pushed")).await;
        browser.shows("#messages p", &texts).await;
    }

    // The page would hide an event that came twice, and could have asked the app for what was missed.
    let streamed = browser.streamed().await;
    let streamed: Vec<_> = streamed
        .iter()
        .filter(|event| event["event"] == "message:new")
        .map(|event| {
            serde_json::from_str::<serde_json::Value>(event["data"].as_str().expect("text")).expect("JSON")
        })
        .map(|message| message["text"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(streamed, texts[1..], "all but the first by the stream, each once");
    let loaded =
        browser.requested().await.into_iter().filter(|request| request == "GET /api/messages").count();
    assert_eq!(loaded, 1, "the history was asked for at the start only");
}

#[tokio::test]
async fn the_chat_loads_its_history_anew_when_the_log_is_another_one() {
    let redis = Redis::start().await;
    let app = Express::start(&redis.url()).await;
    let first = daemon(&app, &redis).await;
    let mut wire = Wire::to(first.public).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", wire.address)).await;
    browser.wait("#state.live").await;
    let mut texts = vec!["one".to_owned()];
    say(first.public, "one").await;
    browser.shows("#messages p", &texts).await;

    wire.cut();
    browser.wait("#state.reconnecting").await;
    drop(first);
    for text in ["two", "three"] {
        texts.push(text.to_owned());
        say(app.address, text).await;
    }
    let second = daemon(&app, &redis).await;
    wire.lead_to(second.public);
    browser.shows("#messages p", &texts).await;
    texts.push("four".to_owned());
    say(second.public, "four").await;
    browser.shows("#messages p", &texts).await;
}
