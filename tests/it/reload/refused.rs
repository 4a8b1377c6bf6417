//! A configuration that is no good leaves everything as it was; and reloads in a crowd.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{ask, keyed, publish_with, reloaded};
use crate::harness::{Daemon, KEY, Peer, listening, ready, request, within, within_time};

#[tokio::test]
async fn a_bad_file_changes_nothing_and_everybody_is_told() {
    let daemon = Daemon::start(&keyed("")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.rewrite(
        "internal.publish_keys = [\"another-key-of-the-tests\"]\nlimits.streams = \"many\"\n[lmits]\n",
    );
    let refused = ask(&daemon).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let said = refused.json();
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!(said["problems"][0]["key"], "limits.streams");
    assert!(
        said["problems"][0]["place"].as_str().is_some_and(|place| place.ends_with("sidestream.toml:2:18"))
    );
    daemon.logged("configuration refused: ").await;
    daemon.logged("the configuration is not reloaded").await;
    assert_eq!(daemon.metric("sidestream_reload_ok", &[]).await, 0.0);
    assert_eq!(daemon.metric("sidestream_reloads_total", &["refused"]).await, 1.0);
    // Both readinesses are as they were.
    let dependencies = ready(&daemon, 200).await;
    assert_eq!(dependencies["configuration"]["state"], "down");
    assert_eq!(dependencies["configuration"]["required"], false);
    assert_eq!(daemon.ask("/readyz").await.status, 200);
    // The key of before, and no other.
    assert_eq!(publish_with(&daemon, KEY).await, 200);
    assert_eq!(publish_with(&daemon, "another-key-of-the-tests").await, 401);
    assert_eq!(stream.event().await.data(), "1");

    reloaded(&daemon, &keyed("limits.streams = 9\n")).await;
    assert_eq!(daemon.metric("sidestream_reload_ok", &[]).await, 1.0);
    assert_eq!(ready(&daemon, 200).await["configuration"]["state"], "up");
}

#[tokio::test]
async fn a_file_that_is_gone_a_folder_huge_or_unreadable_is_refused() {
    let daemon = Daemon::start(&keyed("")).await;
    let file = daemon.file();
    let refused = async |why: &str| {
        let answer = ask(&daemon).await;
        assert_eq!(answer.status, 422, "{why}: {}", answer.text());
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
        daemon.signal("HUP");
        assert_eq!(publish_with(&daemon, KEY).await, 200);
    };
    std::fs::remove_file(&file).expect("it was there");
    refused("No such file").await;
    std::fs::create_dir(&file).expect("a folder");
    refused("Is a directory").await;
    std::fs::remove_dir(&file).expect("it is empty");
    std::fs::write(&file, vec![b'#'; 2 << 20]).expect("a file");
    refused("larger than 1MiB").await;
    std::fs::write(&file, b"\xff\xfe").expect("a file");
    refused("not UTF-8").await;
    daemon.rewrite(
        &keyed("internal.publish_keys_file = \"/nowhere/at/all\"\n").replace("internal.publish_keys =", "#"),
    );
    refused("cannot be read").await;
    reloaded(&daemon, &keyed("")).await;
}

#[tokio::test]
async fn who_has_no_key_for_everything_cannot_reload() {
    let config = "[[internal.publisher]]\nname = \"shop\"\nkey = \"a-key-of-the-shop\"\ntopics = [\"*\"]\n";
    let daemon = Daemon::start(&keyed(config)).await;
    for (key, status) in [("Bearer wrong", 401), ("Bearer a-key-of-the-shop", 403)] {
        let answer = request(daemon.internal, "POST", "/reload", &[("authorization", key)], b"").await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(request(daemon.internal, "POST", "/reload", &[], b"").await.status, 401);
    assert_eq!(daemon.command("GET", "/reload", &[], b"").await.status, 405);
    assert_eq!(daemon.metric("sidestream_reloads_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_storm_of_signals_and_requests_ends_with_what_the_file_says() {
    let daemon = Daemon::start(&keyed("")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let mut asking = JoinSet::new();
    let internal = daemon.internal;
    for round in 0..40 {
        daemon.rewrite(&keyed(&format!("limits.streams = {}\n", 100 + round)));
        daemon.signal("HUP");
        let headers = format!("Bearer {KEY}");
        asking.spawn(async move {
            request(internal, "POST", "/reload", &[("authorization", &headers)], b"").await.status
        });
    }
    let answers = within_time(Duration::from_secs(60), "the storm", asking.join_all()).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    let (_, restart) = reloaded(&daemon, &keyed("limits.streams = 1\n")).await;
    assert!(restart.is_empty());
    let late = daemon.stream("/events?topic=a").await.block().await;
    assert!(late.is("refused"), "{late:?}");
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
    assert!(!daemon.log().contains("panicked"));
}

#[tokio::test]
async fn a_daemon_that_stops_reloads_no_more() {
    let mut daemon = Daemon::start(&keyed("drain.delay = \"1s\"\n")).await;
    daemon.signal("TERM");
    daemon.logged("everything goes on").await;
    let answer = ask(&daemon).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    daemon.signal("HUP");
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_undo_what_it_asked_for() {
    let daemon = Daemon::start(&keyed("")).await;
    // A file that is read for as long as the test likes.
    std::fs::remove_file(daemon.file()).expect("it is there");
    let made = std::process::Command::new("mkfifo").arg(daemon.file()).status();
    assert!(made.expect("mkfifo(1)").success());
    let head = format!("POST /reload HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let client = Peer::send_to(daemon.internal, head).await;
    let file = daemon.file();
    let opening = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(file));
    let mut file = within("it is read", opening).await.expect("no panic").expect("it is open");
    drop(client);
    std::io::Write::write_all(&mut file, keyed("limits.streams = 7\n").as_bytes()).expect("it is taken");
    drop(file);
    daemon.logged("\"applied\":\"limits.streams\"").await;
    listening(&daemon, "/events?topic=a").await;
}

#[tokio::test]
async fn the_command_says_what_came_of_it() {
    let daemon = Daemon::start(&keyed("")).await;
    let reload = async || {
        let url = format!("http://{}", daemon.internal);
        let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sidestream"))
            .args(["reload", "--url", &url])
            .env("SIDESTREAM_PUBLISH_KEY", KEY)
            .output()
            .await
            .expect("the binary");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (command.status.code(), text(&command.stdout), text(&command.stderr))
    };
    daemon.rewrite(&keyed("limits.streams = 9\nlog.max_events = 9\n"));
    let said = "applied: limits.streams\nneeds a restart: log.max_events\n";
    assert_eq!(reload().await, (Some(0), said.to_owned(), String::new()));
    daemon.rewrite(&keyed("limits.streams = \"many\"\n"));
    let (code, said, why) = reload().await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(why.contains("sidestream.toml:2:18: ") && why.contains("nothing has changed"), "{why}");
}
