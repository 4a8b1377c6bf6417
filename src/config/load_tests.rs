use std::fs;
use std::time::Duration;

use super::*;
use crate::config::schema::{Auth, Capture, Channel, ChannelFormat, Publisher, PublisherKey, Redis, Stream};
use crate::config::schema::{AuthBackend, AuthServer, AuthUrl};
use crate::config::schema::{AuthTicket, Jwt, Outbound, Webhook};
use crate::config::values::{Backend, Secret};
use crate::event::{Pattern, Template};
use crate::net::via::NoProxy;
use crate::pace::Quota;

#[path = "load_parts_tests.rs"]
mod parts;

use parts::{
    content_in_full, hook_in_full, jwt_in_full, presence_in_full, pusher_in_full, sse_in_full, stands_alone,
    stream_in_full,
};

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Loads `text` as a file, with these variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, BadConfig> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, text).unwrap();
    Config::load(Some(&path), variables.iter().copied(), None)
}

/// Loads these variables alone.
fn from_environment(variables: &[(&str, &str)]) -> Result<Config, BadConfig> {
    Config::load(None, variables.iter().copied(), None)
}

fn backend() -> Backend {
    "http://127.0.0.1:3000".parse().unwrap()
}

fn messages(bad: BadConfig) -> Vec<String> {
    bad.problems.into_iter().map(|problem| problem.message).collect()
}

/// The setting that a line of the example holds, commented out or not.
fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let is_header = line.starts_with('[') && line.ends_with(']') && !line.contains(' ');
    (is_header || line.split_once(" = ").is_some_and(|(key, _)| is_key(key))).then_some(line)
}

/// Section, key and value of every setting of the example.
fn settings() -> Vec<(String, &'static str, &'static str)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in EXAMPLE.lines().filter_map(setting) {
        match line.split_once(" = ") {
            Some((key, value)) => settings.push((section.clone(), key, value)),
            None => section = line.trim_matches(['[', ']']).to_owned(),
        }
    }
    settings
}

/// What the example comes to with nothing commented out: the defaults, and what has none.
fn example_in_full() -> Config {
    let channel = Channel {
        pattern: "chat:*".to_owned(),
        format: ChannelFormat::Raw,
        content: content_in_full(),
        bridge: false,
    };
    let redis = Redis {
        username: Some("sidestream".to_owned()),
        password: Some(Secret::new("change-me")),
        server_name: Some("redis.internal".to_owned()),
        channels: vec![channel],
        stream: Some(crate::config::RedisStream::at("sidestream:log".to_owned())),
        ..Redis::at(Secret::new("redis://127.0.0.1:6379"))
    };
    let publisher = Publisher {
        name: "chat".to_owned(),
        key: PublisherKey::Plain(Secret::new("0123456789abcdef0123456789abcdef01234567")),
        topics: vec![Pattern::parse("conversation:*").unwrap()],
        users: false,
        sessions: false,
        clients: false,
        broadcast: false,
        retract: false,
        rate: Some(Quota { count: 100, period: Duration::from_secs(1), burst: 500 }),
    };
    let url = AuthUrl {
        server: AuthServer::PublicBackend,
        target: http::uri::PathAndQuery::from_static("/internal/sse-auth"),
    };
    let auth = Auth {
        jwt: Some(jwt_in_full()),
        backend: Some(AuthBackend::at(url)),
        ticket: Some(AuthTicket {
            secret: Some(Secret::new("please-make-one-with-openssl-rand-hex-32")),
            ..AuthTicket::default()
        }),
        ..Auth::default()
    };
    let outbound = Outbound {
        proxy: "http://user:password@proxy.internal:3128".parse().ok(),
        no_proxy: NoProxy::of(["internal.example", "10.0.0.0/8"]),
    };
    let mut config = Config {
        streams: vec![stream_in_full()],
        sse: sse_in_full(),
        presence: presence_in_full(),
        redis: Some(redis),
        auth,
        outbound,
        ..Config::for_backend(backend())
    };
    config.instance.name = Some("sidestream-1".to_owned());
    config.captures.push(Capture {
        identity: vec![Template::parse("{body.id}").unwrap()],
        resume_path: Some("/api/chat/{id}/stream".to_owned()),
        stop_path: Some("/api/chat/{id}/stop".to_owned()),
        owner_cookies: vec!["session".to_owned()],
        ..Capture::at("/api/chat".to_owned())
    });
    config.proxy.request_id_header = Some(http::HeaderName::from_static("x-request-id"));
    config.internal.publishers.push(publisher);
    config.internal.hooks.push(hook_in_full());
    config.internal.pusher.push(pusher_in_full());
    config.webhooks.push(Webhook {
        previous_secret: Some(Secret::new("the-one-that-was-used-until-this-morning")),
        ..Webhook::at(
            "app".to_owned(),
            "http://127.0.0.1:3000/hooks/sidestream".parse().unwrap(),
            Secret::new("please-make-another-with-openssl-rand-hex-32"),
        )
    });
    let Jwt { keys, jwks, .. } = jwt_in_full();
    config.internal.publisher_jwt = Some(Jwt { keys, jwks, ..Jwt::for_publishers() });
    config
}

#[test]
fn the_example_shows_the_defaults() {
    assert_eq!(load(EXAMPLE, &[]).unwrap(), Config::for_backend(backend()));
    let mut section = String::new();
    let mut full: Vec<&str> = Vec::new();
    for line in EXAMPLE.lines().filter_map(setting) {
        let key = line.split_once(" = ").map(|(key, _)| key);
        if key.is_none() {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        if !key.is_some_and(|key| stands_alone(&section, key)) {
            full.push(line);
        }
    }
    assert_eq!(load(&full.join("\n"), &[]).unwrap(), example_in_full());
}

#[test]
fn the_environment_can_say_what_the_file_can() {
    let variables: Vec<(String, &str)> = settings()
        .into_iter()
        .filter(|(section, key, _)| !stands_alone(section, key))
        .filter(|(section, ..)| {
            let tables = [
                "stream",
                "capture",
                "redis.channel",
                "internal.publisher",
                "internal.hook",
                "internal.pusher",
                "webhook",
            ];
            !tables.contains(&&**section) && !section.ends_with(".key")
        })
        // A list is written without its brackets.
        .filter(|(_, _, value)| !value.starts_with('['))
        .map(|(section, key, value)| (Environment::name(&section, key), value.trim_matches('"')))
        .collect();
    let from_variables = Config::load(None, variables.iter().map(|(name, value)| (name, value)), None);
    let mut expected = example_in_full();
    expected.streams = vec![Stream::default()];
    expected.outbound.no_proxy = NoProxy::default();
    expected.internal.publishers.clear();
    expected.internal.hooks.clear();
    expected.internal.pusher.clear();
    expected.webhooks.clear();
    expected.captures.clear();
    expected.redis.as_mut().unwrap().channels.clear();
    expected.auth.jwt.as_mut().unwrap().keys.pop();
    expected.internal.publisher_jwt.as_mut().unwrap().keys.pop();
    assert_eq!(from_variables.unwrap(), expected);

    let lists = from_environment(&[
        ("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000"),
        ("SIDESTREAM_PUBLIC_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("SIDESTREAM_INTERNAL_PUBLISH_KEYS", "one,two"),
    ]);
    let lists = lists.unwrap();
    assert_eq!(format!("{:?}", lists.public.trusted_proxies), "[Network(10.0.0.0/8), Network(::1/128)]");
    assert_eq!(lists.internal.publish_keys, [Secret::new("one"), Secret::new("two")]);
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let text = "[public]\nbackend = \"http://file\"\nmax_connections = 1\n[internal]\nmax_batch = 1\n";
    let variables =
        [("SIDESTREAM_PUBLIC_BACKEND", "http://variable"), ("SIDESTREAM_INTERNAL_MAX_BATCH", "2")];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path), variables, Some("http://argument")).unwrap();
    assert_eq!(config.public.backend.to_string(), "http://argument:80");
    assert_eq!((config.public.max_connections, config.internal.max_batch), (1, 2));
    let config = Config::load(Some(&path), variables, None).unwrap();
    assert_eq!(config.public.backend.to_string(), "http://variable:80");
}

#[test]
fn a_variable_that_goes_before_the_file_hides_what_is_wrong_there() {
    let text = "[public]\nbackend = \"nowhere\"\n";
    assert!(load(text, &[]).is_err());
    assert!(load(text, &[("SIDESTREAM_PUBLIC_BACKEND", "http://here")]).is_ok());
}

#[test]
fn a_variable_that_looks_like_ours_is_refused() {
    let known = ("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000");
    for (name, suggestion) in [
        ("SIDESTREAM_PUBLIC_LISEN", Some("did you mean `SIDESTREAM_PUBLIC_LISTEN`?")),
        ("SIDESTREAM_PUBLISH_KEYS", Some("did you mean `SIDESTREAM_INTERNAL_PUBLISH_KEYS`?")),
        ("SIDESTREAM_STREAM_PATH", Some("[[stream]] is read from the file only")),
        ("SIDESTREAM_REDIS_CHANNEL_PATTERN", Some("[[redis.channel]] is read from the file only")),
        ("SIDESTREAM_LISTEN", Some("did you mean `SIDESTREAM_PUBLIC_LISTEN`?")),
        ("SIDESTREAM_SSE_COLOUR", None),
    ] {
        let mut problems = from_environment(&[known, (name, "s3cret")]).unwrap_err().problems;
        problems.retain(|problem| problem.origin == Origin::Environment);
        assert_eq!(problems.len(), 1, "{name}");
        assert_eq!(problems[0].message, format!("unknown variable `{name}`"));
        assert_eq!(problems[0].suggestion.as_deref(), suggestion, "{name}");
        assert!(!problems[0].to_string().contains("s3cret"), "{name}");
    }
    for other in ["SIDESTREAM_COLOUR", "SIDESTREAM_CHROMIUM", "SIDESTREAM_URL", "SIDESTREAM_KEY"] {
        assert!(from_environment(&[known, (other, "x")]).is_ok(), "{other}");
    }
}

#[test]
fn an_empty_variable_is_refused() {
    let known = ("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000");
    for name in ["SIDESTREAM_REDIS_URL", "SIDESTREAM_INTERNAL_PUBLISH_KEYS", "SIDESTREAM_REDIS_URL_FILE"] {
        let bad = from_environment(&[known, (name, "")]).unwrap_err();
        assert_eq!(messages(bad), [format!("`{name}` is set, but empty: unset it or give it a value")]);
    }
    let bad = from_environment(&[("SIDESTREAM_PUBLIC_BACKEND", "")]).unwrap_err();
    assert_eq!(bad.problems.len(), 1, "{bad}");
}

#[test]
fn redis_is_there_with_its_section_or_its_variable_only() {
    let text = "[public]\nbackend = \"http://127.0.0.1:3000\"\n";
    assert_eq!(load(text, &[]).unwrap().redis, None);
    let url = Secret::new("redis://variable");
    let config = load(text, &[("SIDESTREAM_REDIS_URL", "redis://variable")]).unwrap();
    assert_eq!(config.redis, Some(Redis::at(url.clone())));
    let with_section = format!("{text}[redis]\nurl = \"redis://file\"\nprefix = \"a\"\n");
    let config = load(&with_section, &[("SIDESTREAM_REDIS_URL", "redis://variable")]).unwrap();
    assert_eq!(config.redis, Some(Redis { prefix: "a".to_owned(), ..Redis::at(url) }));
    let bad = load(text, &[("SIDESTREAM_REDIS_PREFIX", "a")]).unwrap_err();
    assert_eq!(messages(bad), ["`url` is missing in [redis]"]);
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let text = "[public]\nbackend = \"http://127.0.0.1:3000\"\n[redis]\n";
    let name = file.to_str().unwrap();
    for (content, read) in [
        ("redis://a", "redis://a"),
        ("redis://a\n", "redis://a"),
        ("redis://a\r\n", "redis://a"),
        ("redis://a\n\n", "redis://a\n"),
    ] {
        fs::write(&file, content).unwrap();
        let from_variable = load(text, &[("SIDESTREAM_REDIS_URL_FILE", name)]).unwrap();
        assert_eq!(from_variable.redis.unwrap().url.expose(), read);
        let from_file = load(&format!("{text}url_file = {name:?}\n"), &[]).unwrap();
        assert_eq!(from_file.redis.unwrap().url.expose(), read);
    }
    fs::write(&file, "one\ntwo\r\n").unwrap();
    let keys =
        load(text, &[("SIDESTREAM_INTERNAL_PUBLISH_KEYS_FILE", name), ("SIDESTREAM_REDIS_URL", "redis://a")]);
    assert_eq!(keys.unwrap().internal.publish_keys, [Secret::new("one"), Secret::new("two")]);
}

#[test]
fn a_secret_is_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "redis://from-a-file").unwrap();
    let (plain, by_file) = ("SIDESTREAM_REDIS_URL", "SIDESTREAM_REDIS_URL_FILE");
    let text = "[public]\nbackend = \"http://127.0.0.1:3000\"\n[redis]\n";
    let bad = load(text, &[(plain, "redis://a"), (by_file, file.to_str().unwrap())]).unwrap_err();
    assert_eq!(
        messages(bad),
        [
            "`SIDESTREAM_REDIS_URL_FILE` is given, but `SIDESTREAM_REDIS_URL` is given too: only one of the two can be"
        ]
    );
    // Each way in the environment goes before each way in the file.
    let in_file =
        load(&format!("{text}url = \"redis://a\"\n"), &[(by_file, file.to_str().unwrap())]).unwrap();
    assert_eq!(in_file.redis.unwrap().url.expose(), "redis://from-a-file");
    let in_file = load(&format!("{text}url_file = {file:?}\n"), &[(plain, "redis://a")]).unwrap();
    assert_eq!(in_file.redis.unwrap().url.expose(), "redis://a");
}

#[test]
fn a_secret_file_is_bounded_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let text = format!("[public]\nbackend = \"http://a\"\n[redis]\nurl_file = {file:?}\n");
    for (content, message) in [
        (
            vec![b'x'; (64 << 10) + 1],
            "`url_file` names a file that is too large for a secret (64KiB at most)",
        ),
        (vec![0xff], "`url_file` names a file that is not UTF-8"),
    ] {
        fs::write(&file, content).unwrap();
        assert_eq!(messages(load(&text, &[]).unwrap_err()), [message]);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Config::load::<&str, &str>(Some(Path::new("no/such/file.toml")), [], None).unwrap_err();
    assert!(missing.to_string().contains("--> no/such/file.toml\n"), "{missing}");
    let large = load(&"#".repeat((1 << 20) + 1), &[]).unwrap_err();
    assert_eq!(messages(large), ["the configuration is larger than 1MiB"]);
}

/// Whatever is broken in a file, reading it neither panics nor gives a secret away.
#[test]
fn no_broken_file_shows_a_secret() {
    let text = r#"[public]
backend = "http://127.0.0.1:3000"
[internal]
publish_keys = ["s3cret-1",
  's3cret-2', "s3cret-3"]
[redis]
prefix = "a"
url = "redis://:s3cret@localhost"
"url"= 'redis://:s3cret@localhost'
channel = [{ pattern = "a*", topic = "{1}" }]
"#;
    let check = |broken: &str| {
        if let Err(bad) =
            from_file(Path::new("a.toml"), broken.to_owned(), Environment::default(), Config::read)
        {
            assert!(!format!("{bad}\n{bad:?}").contains("s3cret"), "{broken}\n---\n{bad}");
        }
    };
    for at in 0..text.len() {
        check(&text[..at]);
        check(&format!("{}{}", &text[..at], &text[at + 1..]));
        for extra in ["\"", "'", "[", "]", "=", "\n", "#", "é"] {
            check(&format!("{}{extra}{}", &text[..at], &text[at..]));
        }
    }
}

#[test]
fn a_configuration_does_not_show_its_secrets() {
    let config = from_environment(&[
        ("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000"),
        ("SIDESTREAM_INTERNAL_PUBLISH_KEYS", "s3cret"),
        ("SIDESTREAM_REDIS_URL", "redis://user:s3cret@localhost:7000/3"),
    ]);
    let config = config.unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.redis.unwrap().address(), "redis://localhost:7000/3");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "\u{feff}redis://a\n").unwrap();
    let text = format!("[public]\nbackend = \"http://a\"\n[redis]\nurl_file = {file:?}\n");
    assert_eq!(load(&text, &[]).unwrap().redis.unwrap().url.expose(), "redis://a");
    fs::write(&file, "\u{feff}{\"keys\":[{\"kty\":\"oct\",\"k\":\"Y2hhbmdlLW1l\"}]}").unwrap();
    let text = format!("[public]\nbackend = \"http://a\"\n[auth.jwt]\njwks_file = {file:?}\n");
    let keys = load(&text, &[]).unwrap().auth.jwt.unwrap().keys;
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_verifier_that_no_stream_uses_is_refused_to_a_daemon() {
    let jwt = [
        ("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000"),
        ("SIDESTREAM_AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ];
    // The commands that make and explain tokens need no stream.
    assert!(from_environment(&jwt).is_ok());
    let bad = Config::load_to_serve(None, jwt, &CommandLine::default()).unwrap_err();
    assert_eq!(messages(bad), ["no stream has auth = \"jwt\", so that [auth.jwt] keeps nobody out"]);
}

#[test]
fn a_file_takes_values_from_variables() {
    let text = "[public]\nlisten = \"${HOST:-0.0.0.0}:${PORT}\"\nbackend = \"http://${APP}\"\nmax_connections = \"${MOST:-7}\"\n\
        trusted_proxies = [\"${PROXY}\", \"::1\"]\n[redis]\nurl = \"redis://:${PASSWORD}@a\"\n";
    let variables = [("PORT", "9000"), ("APP", "app:3000"), ("PROXY", "10.0.0.0/8"), ("PASSWORD", "s3cret")];
    let config = load(text, &variables).unwrap();
    assert_eq!(config.public.listen[0].to_string(), "0.0.0.0:9000");
    assert_eq!(config.public.backend.to_string(), "http://app:3000");
    assert_eq!((config.public.max_connections, config.public.trusted_proxies.len()), (7, 2));
    assert_eq!(config.redis.unwrap().url.expose(), "redis://:s3cret@a");
    let bad = load(text, &[("PORT", "x"), ("APP", "a b"), ("PASSWORD", "s3cret#")]).unwrap_err();
    assert_eq!(bad.problems.len(), 4, "{bad}");
    assert!(
        bad.to_string().contains("entry 1 of `trusted_proxies` needs the variable `PROXY`, which is not set"),
        "{bad}"
    );
    assert!(!bad.to_string().contains("s3cret"), "{bad}");
}

#[test]
fn a_variable_can_hold_the_whole_file() {
    let text = "[public]\nbackend = \"http://a\"\n[[stream]]\npath = \"/s\"\n";
    let config =
        from_environment(&[("SIDESTREAM_CONFIG", text), ("SIDESTREAM_LOG_MAX_EVENTS", "5")]).unwrap();
    assert_eq!((&*config.streams[0].path, config.log.max_events), ("/s", 5));
    let bad = from_environment(&[("SIDESTREAM_CONFIG", "[public]\nbackend = 1\n")]).unwrap_err();
    assert!(bad.to_string().contains("--> SIDESTREAM_CONFIG:2:11\n"), "{bad}");
    // A file goes before it.
    let file = load("[public]\nbackend = \"http://file\"\n", &[("SIDESTREAM_CONFIG", text)]).unwrap();
    assert_eq!(file.public.backend.to_string(), "http://file:80");
}
