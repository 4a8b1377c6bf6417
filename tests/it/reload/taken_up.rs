//! What holds from the next request on, while streams and connections go on.

use std::time::Duration;

use serde_json::json;

use super::{ask, keyed, publish_with, reloaded};
use crate::harness::{
    Answer, Backend, Daemon, KEY, Peer, Program, SECRET, Stream, eventually, let_time_pass, listening,
    request, token, within,
};
use crate::while_open::revoke;

const PAGE: &str = "GET /page HTTP/1.1\r\nhost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";

#[tokio::test]
async fn routes_come_and_go_and_open_streams_stay() {
    let stream = |path: &str| format!("[[stream]]\npath = \"{path}\"\ntopics = [\"a\"]\n");
    let daemon = Daemon::start(&keyed(&stream("/old"))).await;
    let mut open = listening(&daemon, "/old").await;
    let (applied, restart) = reloaded(&daemon, &keyed(&stream("/new"))).await;
    assert_eq!((applied, restart.len()), (vec!["stream[1].path".to_owned()], 0));
    let mut other = listening(&daemon, "/new").await;
    // Nobody listens at the backend's address.
    assert_eq!(daemon.get("/old").await.status, 502);
    daemon.publish(&json!({ "topic": "a", "data": "still" })).await;
    assert_eq!(open.event().await.data(), "still");
    assert_eq!(other.event().await.data(), "still");
    daemon.logged("\"applied\":\"stream[1].path\"").await;
}

#[tokio::test]
async fn a_connection_that_is_open_asks_the_new_backend() {
    let (one, other) = (Backend::start().await, Backend::start().await);
    let daemon = Daemon::start(&keyed(&one.config(""))).await;
    let mut client = Peer::send_to(daemon.public, PAGE).await;
    let (mut at, _) = one.request().await;
    at.send(format!("{OK}one")).await;
    let head = client.head().await;
    assert_eq!(client.body(&head).await, "one");
    // One request is under way while the other backend takes over.
    client.send(PAGE).await;
    let head = at.head().await;
    assert_eq!(head.target(), "/page");
    let (applied, _) = reloaded(&daemon, &keyed(&other.config(""))).await;
    assert_eq!(applied, ["public.backend"]);
    at.send(format!("{OK}two")).await;
    let head = client.head().await;
    assert_eq!(client.body(&head).await, "two");
    client.send(PAGE).await;
    let (mut at, _) = other.request().await;
    at.send(format!("{OK}new")).await;
    let head = client.head().await;
    assert_eq!(client.body(&head).await, "new");
}

#[tokio::test]
async fn requests_that_wait_for_the_backend_go_to_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| format!("public.backend = \"unix:{}\"\n", folder.path().join(name).display());
    let config = |backend: &str| keyed(&format!("{backend}proxy.wait = \"30s\"\n"));
    let daemon = Daemon::start(&config(&at("away"))).await;
    let mut get = Peer::send_to(daemon.public, PAGE).await;
    let post = "POST /form HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody";
    let mut posting = Peer::send_to(daemon.public, post).await;
    eventually("both wait", async || {
        (daemon.metric("sidestream_proxy_waiting", &[]).await == 2.0).then_some(())
    })
    .await;
    // Another one that is away, and then one that is there: two reloads later they know it, too.
    reloaded(&daemon, &config(&at("away as well"))).await;
    let backend = Backend::start().await;
    reloaded(&daemon, &config(&backend.config(""))).await;
    let mut answered = 0;
    while answered < 2 {
        let mut at = backend.accept().await;
        // Who looks whether the backend is back may come, too, and asks for nothing.
        let Some(head) = at.try_head().await else { continue };
        answered += 1;
        if head.target() == "/form" {
            at.expect("body").await;
        }
        at.send(format!("{OK}new")).await;
    }
    for client in [&mut get, &mut posting] {
        let head = client.head().await;
        assert_eq!((head.status(), client.body(&head).await.as_str()), (200, "new"));
    }
    assert_eq!(daemon.metric("sidestream_proxy_waits_total", &["outcome=\"served\""]).await, 2.0);
}

#[tokio::test]
async fn a_backend_that_is_the_daemon_itself_is_refused_by_the_addresses_that_are_in_use() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&keyed(&backend.config(""))).await;
    for (address, name) in [(daemon.public, "public"), (daemon.internal, "internal")] {
        // The port was chosen by the system: no file says it.
        daemon.rewrite(&keyed(&format!("public.backend = \"http://localhost:{}\"\n", address.port())));
        let answer = ask(&daemon).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(&format!("is sidestream's own {name} listener")), "{}", answer.text());
    }
    let mut client = Peer::send_to(daemon.public, PAGE).await;
    let (mut at, _) = backend.request().await;
    at.send(format!("{OK}old")).await;
    let head = client.head().await;
    assert_eq!(client.body(&head).await, "old");
}

#[tokio::test]
async fn publish_keys_in_a_file_change_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{KEY}\nkey-that-is-leaked\n")).expect("a file");
    let config = format!("internal.publish_keys_file = {keys:?}\n");
    let daemon = Daemon::start(&config).await;
    assert_eq!(publish_with(&daemon, "key-that-is-leaked").await, 200);
    std::fs::write(&keys, format!("{KEY}\nkey-that-is-fresh\n")).expect("a file");
    daemon.signal("HUP");
    daemon.logged("\"applied\":\"internal.publish_keys_file\"").await;
    assert_eq!(publish_with(&daemon, "key-that-is-leaked").await, 401);
    assert_eq!(publish_with(&daemon, "key-that-is-fresh").await, 200);
    assert!(!daemon.log().contains("key-that-is"), "{}", daemon.log());
}

#[tokio::test]
async fn the_keys_of_tokens_change_and_streams_keep_their_grant() {
    let config = |secret: &str| {
        format!(
            "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"{{query.topic}}\"]\n[auth.jwt]\nsecret = \"{secret}\"\n"
        )
    };
    let daemon = Daemon::start(&keyed(&config(SECRET))).await;
    let claims = json!({ "sub": "u", "topics": ["a"], "exp": 4_000_000_000_u64 });
    let bearer = format!("Bearer {}", token(&claims));
    let headers = [("authorization", bearer.as_str())];
    let mut open = Stream::open(daemon.public, "/events?topic=a", &headers).await;
    assert!(open.block().await.is("connected"));
    let other = "another-secret-of-the-tests-0123456789";
    let (applied, _) = reloaded(&daemon, &keyed(&config(other))).await;
    assert_eq!(applied, ["auth.jwt.secret"]);
    assert_eq!(Stream::open(daemon.public, "/events?topic=a", &headers).await.status(), 401);
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(open.event().await.data(), "1");
    assert!(!daemon.log().contains(other));
}

#[tokio::test]
async fn limits_hold_for_the_streams_that_come() {
    let daemon = Daemon::start(&keyed("")).await;
    let _first = listening(&daemon, "/events?topic=a").await;
    let mut second = listening(&daemon, "/events?topic=a").await;
    let (applied, _) = reloaded(&daemon, &keyed("limits.streams = 2\n")).await;
    assert_eq!(applied, ["limits.streams"]);
    let refused = daemon.stream("/events?topic=a").await.block().await;
    assert!(refused.is("refused") && refused.data().contains("limit_streams"), "{refused:?}");
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(second.event().await.data(), "1");
    reloaded(&daemon, &keyed("limits.streams = 3\n")).await;
    listening(&daemon, "/events?topic=a").await;
}

#[tokio::test]
async fn how_long_and_how_many_revocations_hold_changes() {
    let config = |revoke_for: &str, most: usize| {
        keyed(&format!("[auth]\nrevoke_for = \"{revoke_for}\"\nmax_revocations = {most}\n"))
    };
    let daemon = Daemon::start(&config("1h", 1)).await;
    let days = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let until =
            humantime::parse_rfc3339(answer.json()["until"].as_str().expect("a time")).expect("a time");
        until.duration_since(std::time::SystemTime::now()).expect("it is to come").as_secs() / 86_400
    };
    assert_eq!(days(&revoke(&daemon, &json!({ "user": "a" })).await), 0);
    assert_eq!(revoke(&daemon, &json!({ "user": "b" })).await.status, 503);
    let (applied, restart) = reloaded(&daemon, &config("30d", 2)).await;
    assert_eq!((applied, restart.len()), (vec!["auth.max_revocations".into(), "auth.revoke_for".into()], 0));
    assert_eq!(days(&revoke(&daemon, &json!({ "user": "b" })).await), 29);
    // The one of before is not forgotten: there is no third place.
    assert_eq!(revoke(&daemon, &json!({ "user": "c" })).await.status, 503);
    reloaded(&daemon, &config("30d", 1)).await;
    eventually("both are in force still", async || {
        (daemon.metric("sidestream_revocations", &[]).await == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rates_and_the_bound_of_memory_hold_from_the_next_request_on() {
    let daemon = Daemon::start("").await;
    assert_eq!(daemon.get("/").await.status, 502, "there is no backend, and no rate");
    let config = "[limits]\nrequests_per_address = \"1/h burst=2\"\nmemory = \"16MiB\"\n";
    let (applied, needs_restart) = reloaded(&daemon, config).await;
    assert_eq!(applied, ["limits.memory", "limits.requests_per_address"]);
    assert!(needs_restart.is_empty(), "{needs_restart:?}");
    for status in [502, 502, 429] {
        assert_eq!(daemon.get("/").await.status, status);
    }
    let bound = f64::from(16 << 20);
    eventually("the bound is looked at", async || {
        (daemon.metric("sidestream_memory_limit_bytes", &[]).await == bound).then_some(())
    })
    .await;
    reloaded(&daemon, "").await;
    assert_eq!(daemon.get("/").await.status, 502, "it is taken away again");
}

#[tokio::test]
async fn origins_and_the_logs_level_change() {
    let daemon = Daemon::start(&keyed("")).await;
    let allowed = async || {
        let headers = [("origin", "https://app.example")];
        let stream = Stream::open(daemon.public, "/events?topic=a", &headers).await;
        stream.head.contains("access-control-allow-origin: https://app.example")
    };
    assert!(!allowed().await);
    assert!(!daemon.log().contains("stream closed"));
    let config = "cors.origins = [\"https://app.example\"]\ntelemetry.log_level = \"debug\"\n";
    let (applied, _) = reloaded(&daemon, &keyed(config)).await;
    assert_eq!(applied, ["cors.origins", "telemetry.log_level"]);
    assert!(allowed().await);
    daemon.logged("stream closed").await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_at_each_reload_and_stays_as_it_was() {
    let daemon = Daemon::start(&keyed("")).await;
    let config = keyed("[log]\nmax_events = 1\n[sse]\nheartbeat = \"1s\"\n[drain]\nwindow = \"1s\"\n");
    let (applied, restart) = reloaded(&daemon, &config).await;
    assert_eq!(applied, ["drain.window"]);
    assert_eq!(restart, ["log.max_events", "sse.heartbeat"]);
    let (applied, restart) = reloaded(&daemon, &config).await;
    assert_eq!((applied.len(), restart.len()), (0, 2));
    // The log holds more than one event still.
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!([{ "topic": "a", "data": 1 }, { "topic": "a", "data": 2 }])).await;
    assert_eq!(stream.data(2).await, ["1", "2"]);
    let history = daemon.stream("/events?topic=a&history=5").await.data(2).await;
    assert_eq!(history, ["1", "2"]);
    let (_, restart) = reloaded(&daemon, &keyed("")).await;
    assert!(restart.is_empty());
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_before_they_are_taken_up() {
    let config = |url: &str| {
        format!(
            "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\n[auth.jwt]\njwks_url = \"{url}\"\njwks_timeout = \"500ms\"\n"
        )
    };
    let daemon = Daemon::start(&keyed("")).await;
    daemon.rewrite(&keyed(&config("http://127.0.0.1:9/jwks")));
    let refused = ask(&daemon).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json()["problems"][0]["key"], "auth.jwt.jwks_url");
    // As before, open to anybody.
    listening(&daemon, "/events?topic=a").await;
    let ready = daemon.ask("/readyz/events").await;
    assert!(ready.json()["dependencies"]["jwks"].is_null(), "{}", ready.text());
}

#[tokio::test]
async fn the_dashboard_comes_and_shows_what_holds() {
    let daemon = Daemon::start(&keyed("")).await;
    assert_ne!(daemon.ask("/").await.status, 200);
    let key = "a-dashboard-key-of-the-tests";
    let config =
        keyed(&format!("dashboard.keys = [\"{key}\"]\n[[stream]]\npath = \"/other\"\ntopics = [\"a\"]\n"));
    reloaded(&daemon, &config).await;
    assert_eq!(daemon.ask("/").await.status, 200);
    let bearer = format!("Bearer {key}");
    let ask = async |path: &str| {
        request(daemon.internal, "GET", path, &[("authorization", &bearer)], b"").await.json()
    };
    assert_eq!(ask("/dashboard/session").await["identity"]["streams"], json!(["/other"]));
    let settings = ask("/dashboard/configuration").await;
    let path = settings["settings"].as_array().expect("settings").iter().find(|one| one["key"] == "path");
    assert_eq!(path.expect("the path")["value"], "\"/other\"");
}

#[tokio::test]
async fn a_drain_that_has_changed_is_the_one_that_is_done() {
    let mut daemon = Daemon::start(&keyed("drain.window = \"20s\"\n")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    reloaded(&daemon, &keyed("drain.window = \"0s\"\n")).await;
    daemon.signal("TERM");
    within("it ends at once", async {
        while stream.next().await.is_some() {}
        daemon.ended().await
    })
    .await;
}

#[tokio::test]
async fn a_service_manager_hears_of_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidestream.toml");
    std::fs::write(&file, keyed("public.backend = \"http://127.0.0.1:9\"\n")).expect("a file");
    let binary = env!("CARGO_BIN_EXE_sidestream");
    let arguments =
        ["0", "public=tcp,internal=tcp", binary, "serve", "--config", file.to_str().expect("a path")];
    let mut manager = Program::python("service_manager.py", &arguments);
    let told = async |text: &str, manager: &mut Program| loop {
        let line = manager.json().await;
        if let Some(told) = line["told"].as_str().filter(|told| told.contains(text)) {
            return told.to_owned();
        }
    };
    told("READY=1", &mut manager).await;
    manager.tell(&json!({ "signal": "HUP" })).await;
    let reloading = told("RELOADING=1", &mut manager).await;
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.and_then(|since| since.parse::<u64>().ok()).is_some_and(|since| since > 0), "{reloading}");
    told("READY=1", &mut manager).await;
    manager.tell(&json!({ "signal": "TERM" })).await;
    told("STOPPING=1", &mut manager).await;
}

/// Memory of the process that is in use, in KiB.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn two_hundred_reloads_leave_nothing_behind() {
    let daemon = Daemon::start(&keyed("")).await;
    // A connection that stays must not hold what it has seen of each configuration.
    let mut kept = Peer::connect(daemon.public).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let config = |n: usize| {
        let route = |n: usize| format!("[[stream]]\npath = \"/{n}\"\ntopics = [\"a\", \"b\"]\n");
        let routes: String = (n..n + 200).map(route).collect();
        let secret = format!("secret-number-{n}-of-the-tests-0123456789");
        keyed(&format!(
            "[auth.jwt]\nsecret = \"{secret}\"\n{routes}[[stream]]\npath = \"/events\"\nauth = \"jwt\"\n"
        ))
    };
    let mut some = async |numbers: std::ops::Range<usize>| {
        for n in numbers {
            reloaded(&daemon, &config(n)).await;
            kept.send(PAGE).await;
            let head = kept.head().await;
            assert_eq!(head.status(), 502);
            kept.body(&head).await;
        }
    };
    some(0..100).await;
    let_time_pass("the allocator gives back what it does not need", Duration::from_secs(2)).await;
    let before = memory(&daemon);
    some(100..300).await;
    eventually("memory is as it was", async || (memory(&daemon) < before + before / 5).then_some(())).await;
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
}
