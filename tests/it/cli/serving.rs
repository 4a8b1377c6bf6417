//! `serve` without a file, by arguments alone, and without its name: the first minute.

use serde_json::Value;
use tokio::net::TcpListener;

use super::KEY_VARIABLE;
use crate::harness::{Redis, Shell, eventually, request};

const BACKEND: [&str; 2] = ["--backend", "http://127.0.0.1:9"];
const JSON: (&str, &str) = ("SIDESTREAM_TELEMETRY_LOG_FORMAT", "json");

/// The public and the internal address that a daemon says it has.
async fn addresses(serve: &Shell) -> (String, String) {
    let line: Value = serde_json::from_str(&serve.said("\"listening\"").await).expect("JSON");
    let address = |name: &str| line[name].as_str().expect("an address").to_owned();
    (address("public"), address("internal"))
}

#[tokio::test]
async fn arguments_alone_run_a_daemon_with_or_without_the_commands_name() {
    let redis = Redis::start().await;
    for command in [&["serve"][..], &[]] {
        let arguments = [
            &BACKEND[..],
            &["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--redis", &redis.url()],
        ];
        let arguments = arguments.concat();
        let mut serve = Shell::start_with(&[command, &arguments].concat(), &[JSON]);
        let line = serve.line().await;
        let key = line.strip_prefix("publish key: ").expect(&line).to_owned();
        let (public, internal) = addresses(&serve).await;
        serve.said("is open to anyone who knows a topic's name").await;
        let mut tail = Shell::start(&["tail", &format!("http://{public}/events?topic=news")]);
        tail.said("connected as client").await;
        let url = format!("http://{internal}");
        let environment = [(KEY_VARIABLE, &*key)];
        eventually("Redis is connected", async || {
            let health = Shell::run(&["health", "--events", "--url", &url], &[], "").await;
            (health.code == Some(0)).then_some(())
        })
        .await;
        let arguments = ["publish", "--topic", "news", "--url", &url, "hi"];
        let finished = Shell::run(&arguments, &environment, "").await;
        assert!(finished.stdout.contains("relayed"), "{finished:?}");
        assert!(tail.line().await.ends_with("  message  hi"));
        // The rest goes to the backend, where nobody listens.
        let page = request(public.parse().expect("an address"), "GET", "/", &[], b"").await;
        assert_eq!(page.status, 502);
        serve.signal("TERM");
        assert_eq!(serve.finish().await.code, Some(0));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_key_and_option_and_no_key_is_printed() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (listen, internal, say) in [
        (&*taken, "127.0.0.1:0", "public.listen, or --listen, chooses another address"),
        ("127.0.0.1:0", &*taken, "internal.listen, or --internal-listen, chooses another address"),
    ] {
        let arguments = [&BACKEND[..], &["--listen", listen, "--internal-listen", internal]].concat();
        let finished = Shell::run(&arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        let say = format!("cannot listen on {taken}: Address already in use (os error 98); {say}");
        assert!(finished.stderr.contains(&say), "{finished:?}");
    }
}

#[tokio::test]
async fn a_wrong_argument_is_shown_under_its_option_and_a_secret_is_not() {
    for (arguments, say) in [
        (&["--listen", "8080"][..], "`--listen` must be an address and a port"),
        (&["--internal-listen", ""], "`--internal-listen` is set, but empty"),
        (&["--redis", "http://:s3cret@there"], "`--redis` "),
        (&["--listen", "127.0.0.1:8081"], "cannot share 127.0.0.1:8081"),
    ] {
        let arguments = [&["serve"], &BACKEND[..], arguments].concat();
        let finished = Shell::run(&arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(say), "{say}: {finished:?}");
        assert!(finished.stderr.contains("the command line"), "{finished:?}");
        assert!(!finished.stderr.contains("s3cret"), "{finished:?}");
    }
    let none = Shell::run(&["--listen", "127.0.0.1:0"], &[], "").await;
    assert!(none.stderr.contains("or --backend"), "{none:?}");
    assert_eq!(Shell::run(&[&BACKEND[..], &["check"]].concat(), &[], "").await.code, Some(2));
    assert_eq!(Shell::run(&[], &[], "").await.code, Some(2));
}
