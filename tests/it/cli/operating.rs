//! `status`, `connections`, `kick`, `revoke` and `presence`: what operators ask of a running daemon and do to its
//! streams.

use serde_json::{Value, json};

use super::{KEY_VARIABLE, answer, nobody, scripted};
use crate::harness::{
    Daemon, Finished, KEY, Redis, SECRET, Shell, Stream, eventually, listening, ready, token,
};

const STREAMS: &str = "[[stream]]\nuser = \"{query.userId}\"\n[presence]\ngrace = \"0s\"\n";

/// Runs a command against this daemon with its key.
async fn run(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let url = format!("http://{}", daemon.internal);
    Shell::run(&[arguments, &["--url", &url]].concat(), &[(KEY_VARIABLE, KEY)], "").await
}

/// The same, which must succeed; gives what it prints.
async fn printed(daemon: &Daemon, arguments: &[&str]) -> String {
    let finished = run(daemon, arguments).await;
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    assert!(!finished.stderr.contains(KEY) && !finished.stdout.contains(KEY), "{finished:?}");
    finished.stdout
}

async fn json_of(daemon: &Daemon, arguments: &[&str]) -> Value {
    let text = printed(daemon, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

async fn stream_of(daemon: &Daemon, user: &str) -> Stream {
    listening(daemon, &format!("/events?topic=room:1&topic=room:2&topic=room:3&userId={user}")).await
}

#[tokio::test]
async fn status_is_the_daemons_state_on_one_screen() {
    let daemon = Daemon::start(STREAMS).await;
    let _streams = (stream_of(&daemon, "anna").await, stream_of(&daemon, "ben").await);
    let text = printed(&daemon, &["status", "--every", "100ms"]).await;
    let mut lines = text.lines();
    let first = lines.next().expect("a line");
    assert!(first.starts_with(&format!("sidestream {}  ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(first.contains("  up ") && first.ends_with(&daemon.internal.to_string()), "{text}");
    assert!(lines.next().expect("a sentence").starts_with("● All well: 2 streams, "), "{text}");
    for line in
        ["  streams         2 open, 0 behind", "  ready: serving  ● ready", "  users           2 online"]
    {
        assert!(text.contains(&format!("{line}\n")), "{line} in:\n{text}");
    }
    let all = json_of(&daemon, &["status", "--every", "100ms"]).await;
    assert_eq!((&all["well"], &all["streams"]["open"]), (&json!(true), &json!(2)), "{all}");
    assert_eq!(all["version"], json!(env!("CARGO_PKG_VERSION")));
    assert!(all["uptime_seconds"].is_u64() && all["instances"][0]["streams"] == 2, "{all}");
}

#[tokio::test]
async fn status_says_what_is_wrong_and_works_without_a_key() {
    let daemon = Daemon::start(&Redis::absent().section()).await;
    ready(&daemon, 503).await;
    let url = format!("http://{}", daemon.internal);
    let finished = Shell::run(&["status", "--every", "100ms", "--url", &url], &[], "").await;
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    let text = finished.stdout;
    assert!(text.contains("▲ Events may not arrive: redis: "), "{text}");
    assert!(text.contains("  redis           ▲ down: "), "{text}");
    assert!(text.contains("  instances       not shown without a key\n"), "{text}");
    let url = format!("http://{}", nobody().await);
    let finished = Shell::run(&["status", "--url", &url], &[], "").await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("cannot reach 127.0.0.1"), "{finished:?}");
}

#[tokio::test]
async fn status_watches_a_daemon_that_goes() {
    let mut daemon = Daemon::start(STREAMS).await;
    let url = format!("http://{}", daemon.internal);
    let mut watch = Shell::start_with(
        &["status", "--watch", "--json", "--every", "100ms", "--url", &url],
        &[(KEY_VARIABLE, KEY)],
    );
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&watch.line().await).expect("a JSON object a line");
        assert_eq!(line["well"], json!(true), "{line}");
    }
    daemon.signal("KILL");
    daemon.ended().await;
    watch.said("trying again").await;
    watch.signal("INT");
}

#[tokio::test]
async fn connections_are_listed_filtered_and_counted() {
    let daemon = Daemon::start(STREAMS).await;
    let _streams = (stream_of(&daemon, "anna").await, stream_of(&daemon, "ben").await);
    let _other = listening(&daemon, "/events?topic=a%E2%80%AEb&userId=carla").await;
    let text = printed(&daemon, &["connections"]).await;
    let header = text.lines().next().expect("a header");
    let columns: Vec<&str> = header.split_whitespace().collect();
    let known = ["CLIENT", "USER", "TOPICS", "PATH", "AGE", "SENT", "BEHIND", "ADDRESS", "INSTANCE"];
    assert_eq!(columns, known, "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("room:1,room:2 +1") && text.contains("a\\u{202e}b"), "{text}");

    let text = printed(&daemon, &["connections", "--user", "anna", "--topic", "room:1"]).await;
    assert!(text.lines().count() == 2 && text.contains("  anna  "), "{text}");
    let text = printed(&daemon, &["connections", "--json"]).await;
    let users: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["user"].as_str().expect("a user").to_owned()
        })
        .collect();
    assert_eq!(users.len(), 3, "{text}");
    let text = printed(&daemon, &["connections", "--topic", "room:1", "--count"]).await;
    assert!(text.starts_with("2 streams\n  "), "{text}");
    let finished = run(&daemon, &["connections", "--user", "nobody"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), ""), "{finished:?}");
    assert!(finished.stderr.contains("no stream is open that matches"), "{finished:?}");
    let finished = run(&daemon, &["connections", "--address", "here"]).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("an IP address"), "{finished:?}");
}

#[tokio::test]
async fn every_page_of_connections_is_read_and_a_silent_instance_is_named() {
    let (listener, _) = scripted().await;
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let list = Shell::start(&["connections", "--user", "a b", "--json", "--key", "k", "--url", &url]);
    let page = |body: Value| {
        let body = body.to_string();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let first = page(json!({ "connections": [{ "client": "c1" }], "next": "c1", "complete": true }));
    let head = answer(&listener, &first).await;
    assert!(head.starts_with("GET /connections?user=a%20b&limit=1000 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer k\r\n"), "{head}");
    let silent = json!([{ "id": "i2", "name": "web-2" }]);
    let last =
        json!({ "connections": [{ "client": "c2" }], "next": null, "complete": false, "silent": silent });
    let head = answer(&listener, &page(last)).await;
    assert!(head.starts_with("GET /connections?user=a%20b&limit=1000&cursor=c1 HTTP/1.1\r\n"), "{head}");
    let finished = list.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), "{\"client\":\"c1\"}\n{\"client\":\"c2\"}\n"));
    assert!(finished.stderr.contains("no answer from web-2"), "{finished:?}");
}

#[tokio::test]
async fn kicked_streams_close_and_their_clients_may_be_kept_away() {
    let daemon = Daemon::start(STREAMS).await;
    let mut anna = stream_of(&daemon, "anna").await;
    let mut ben = stream_of(&daemon, "ben").await;
    assert_eq!(printed(&daemon, &["kick", "--user", "anna"]).await, "closed 1 stream\n");
    let closing = anna.event().await;
    assert!(closing.is("closing") && closing.data().contains("\"reconnect\":true"), "{}", closing.data());

    let text = printed(&daemon, &["kick", "--user", "ben", "--stay-away", "1h"]).await;
    assert!(text.starts_with("closed 1 stream; kept out until 20"), "{text}");
    let closing = ben.event().await;
    assert!(closing.data().contains("\"reconnect\":false"), "{}", closing.data());
    assert_eq!(daemon.stream("/events?topic=a&userId=ben").await.status(), 204);

    let _anna = stream_of(&daemon, "anna").await;
    let answer = json_of(&daemon, &["kick", "--all"]).await;
    assert_eq!(answer["closed"], json!(1), "{answer}");
    let finished = run(&daemon, &["kick", "--client", "nosuchclient"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("404"), "{finished:?}");
    for arguments in [&["kick"][..], &["kick", "--all", "--user", "anna"]] {
        assert_eq!(run(&daemon, arguments).await.code, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_revoked_user_is_out_until_a_new_login() {
    let config = format!("[auth.jwt]\nsecret = \"{SECRET}\"\n[[stream]]\nauth = \"jwt\"\ntopics = []\n");
    let daemon = Daemon::start(&config).await;
    let old = token(&json!({ "sub": "anna", "iat": 1000 }));
    let path = |token: &str| format!("/events?token={token}");
    let mut stream = listening(&daemon, &path(&old)).await;
    let text = printed(&daemon, &["revoke", "--user", "anna", "--for", "1h"]).await;
    assert!(
        text.starts_with("revoked until 20") && text.ends_with("; 1 stream ended on this instance\n"),
        "{text}"
    );
    assert!(stream.event().await.data().contains("revoked"));
    assert_eq!(daemon.stream(&path(&old)).await.status(), 401);
    let answer = json_of(&daemon, &["revoke", "--token", "t1"]).await;
    assert_eq!(answer["ended"], json!(0), "{answer}");
    assert_eq!(run(&daemon, &["revoke"]).await.code, Some(2));
}

#[tokio::test]
async fn presence_tells_who_is_online() {
    let daemon = Daemon::start(STREAMS).await;
    let _streams = (stream_of(&daemon, "anna").await, stream_of(&daemon, "ben").await);
    let text = eventually("both are online", async || {
        let text = run(&daemon, &["presence"]).await.stdout;
        text.starts_with("2 users online, 2 streams\n").then_some(text)
    })
    .await;
    assert!(text.contains(" (this one): 2 users, 2 streams\n"), "{text}");
    let text = printed(&daemon, &["presence", "anna", "zoe"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("anna: online, 1 stream on ") && lines[0].contains(", since 20"), "{text}");
    assert_eq!(lines[1..], ["zoe: offline"]);
    assert_eq!(printed(&daemon, &["presence", "--users"]).await, "anna\nben\n");
    let finished = run(&daemon, &["presence", "--topic", "room:1"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "anna\nben\n"), "{finished:?}");
    let text = printed(&daemon, &["presence", "--topic", "room:1", "--count"]).await;
    assert_eq!(text, "2 users, 2 streams (0 of nobody)\n");
    assert_eq!(json_of(&daemon, &["presence", "anna"]).await["online"], json!(true));
}

#[tokio::test]
async fn the_key_comes_from_the_configuration_of_the_listener_that_is_asked() {
    let daemon = Daemon::start("").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidestream.toml");
    let text = format!("[internal]\nlisten = \"{}\"\npublish_keys = [\"{KEY}\"]\n", daemon.internal);
    std::fs::write(&file, text).expect("a file");
    let config = ["--config", file.to_str().expect("text")];
    for command in [&["presence"][..], &["publish", "--topic", "a", "hi"]] {
        let finished = Shell::run(&[command, &config].concat(), &[], "").await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    // A daemon whose key is in a file that its operator may not read.
    let text = format!("[internal]\nlisten = \"{}\"\npublish_keys_file = \"nowhere\"\n", daemon.internal);
    std::fs::write(&file, text).expect("a file");
    let finished = Shell::run(&[&["presence"], &config[..]].concat(), &[], "").await;
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("sidestream.toml has no internal.publish_keys, or in a file"),
        "{finished:?}"
    );
    // The environment's own key is not for a listener elsewhere.
    let url = format!("http://{}", daemon.internal);
    let environment = [("SIDESTREAM_INTERNAL_PUBLISH_KEYS", KEY)];
    let finished = Shell::run(&["presence", "--url", &url], &environment, "").await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("no publish key"), "{finished:?}");
}
