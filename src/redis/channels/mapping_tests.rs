use super::*;
use crate::config::{Channel, Redis, Secret};

fn template(text: Option<&str>) -> Option<Template> {
    text.map(|text| Template::parse(text).unwrap())
}

fn channel(pattern: &str, topic: Option<&str>, format: ChannelFormat) -> Channel {
    Channel {
        pattern: pattern.to_owned(),
        topic: template(topic),
        user: None,
        session: None,
        event: None,
        format,
        bridge: false,
    }
}

fn channels(mapped: Vec<Channel>) -> Channels {
    Channels::new(&Redis { channels: mapped, ..Redis::at(Secret::new("redis://h")) })
}

fn sorted<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.map(|name| str::from_utf8(name).unwrap()).collect();
    names.sort_unstable();
    names
}

fn topics(event: &Event) -> Vec<&str> {
    event.audience.keys().iter().map(Key::name).collect()
}

#[test]
fn only_a_star_is_special_to_us_and_the_rest_is_escaped_for_redis() {
    let raw = |pattern| channel(pattern, Some("t"), ChannelFormat::Raw);
    let channels = channels(vec![raw("chat:*"), raw("a?[b]\\"), raw("a?[b]\\*"), raw("news"), raw("*")]);
    assert_eq!(sorted(channels.exact()), ["a?[b]\\", "news", "sidestream", "sidestream:topics"]);
    assert_eq!(sorted(channels.patterns()), ["*", "a\\?\\[b\\]\\\\*", "chat:*", "sidestream:topic:*"]);
}

#[test]
fn a_message_belongs_to_the_subscription_that_redis_names() {
    let raw = |pattern| channel(pattern, Some("t"), ChannelFormat::Raw);
    let channels = channels(vec![raw("chat:1"), raw("chat:*")]);
    let names = |mappings: &[ChannelMapping]| {
        mappings.iter().map(|mapping| mapping.pattern.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(channels.of_channel(b"chat:1")), ["chat:1"]);
    assert_eq!(names(channels.of_pattern(b"chat:*")), ["chat:*"]);
    assert!(names(channels.of_channel(b"chat:*")).is_empty());
    assert!(names(channels.of_pattern(b"other")).is_empty());
}

#[test]
fn each_star_takes_as_little_as_it_can_and_the_last_what_is_left() {
    for (pattern, channel, expected) in [
        ("chat:*", "chat:42", &["42"][..]),
        ("chat:*", "chat:", &[""]),
        ("*", "any:thing", &["any:thing"]),
        ("*:chat", "a:b:chat", &["a:b"]),
        ("*:*", "a:b:c", &["a", "b:c"]),
        ("a*b*c", "a-b-b-c", &["-", "-b-"]),
        ("a*b*b", "abb", &["", ""]),
        ("a**z", "abcz", &["", "bc"]),
        ("räume:*:☂", "räume:zwölf:☂", &["zwölf"]),
        ("news", "news", &[]),
    ] {
        let literals: Vec<Box<str>> = pattern.split('*').map(Into::into).collect();
        assert_eq!(captures(&literals, channel).collect::<Vec<_>>(), expected, "{pattern} {channel}");
    }
}

#[test]
fn a_raw_message_is_the_data_and_the_channel_says_the_rest() {
    let channels = channels(vec![Channel {
        user: template(Some("u{2}")),
        session: template(Some("s:{0}")),
        event: template(Some("{1}:new")),
        ..channel("chat:*:*", Some("conversation:{1}"), ChannelFormat::Raw)
    }]);
    let mapping = &channels.of_pattern(b"chat:*:*")[0];
    let event = mapping.event(b"chat:42:7", b"plain \"text\"\nof two lines").unwrap();
    let key = |make: fn(Name) -> Key, name| make(Name::parse(name).unwrap());
    let expected =
        [key(Key::Topic, "conversation:42"), key(Key::User, "u7"), key(Key::Session, "s:chat:42:7")];
    assert_eq!(event.audience.keys(), expected);
    assert_eq!(event.name.as_ref().map(EventName::as_str), Some("42:new"));
    assert_eq!(&*event.data, "plain \"text\"\nof two lines");

    assert_eq!(mapping.event(b"chat:42:7", b"\xff").unwrap_err(), BadMessage::NotUtf8);
    assert_eq!(mapping.event(b"chat:\xff:7", b"").unwrap_err(), BadMessage::Channel);
    assert_eq!(mapping.event(b"chat::7", b"").unwrap_err().label(), "channel");
    let long = format!("chat:{}:7", "x".repeat(300));
    assert_eq!(
        mapping.event(long.as_bytes(), b"").unwrap_err(),
        BadMessage::Name(BadName::TooLong { max: Name::MAX })
    );
}

#[test]
fn an_envelope_may_leave_out_what_the_channel_says() {
    let channels = channels(vec![channel("app", None, ChannelFormat::Envelope)]);
    let own = &channels.of_channel(b"sidestream")[0];
    let by_topic = &channels.of_pattern(b"sidestream:topic:*")[0];
    let mapped = &channels.of_channel(b"app")[0];

    let named = br#"{"topic":"a","data":{"x" : 1}}"#;
    let bare = br#"{"data":1}"#;
    assert_eq!(topics(&own.event(b"sidestream", named).unwrap()), ["a"]);
    assert_eq!(topics(&mapped.event(b"app", named).unwrap()), ["a"]);
    assert_eq!(own.event(b"sidestream", bare).unwrap_err().label(), "audience");
    assert_eq!(topics(&by_topic.event(b"sidestream:topic:b:c", bare).unwrap()), ["b:c"]);
    assert_eq!(topics(&by_topic.event(b"sidestream:topic:b", named).unwrap()), ["a"]);
    assert_eq!(by_topic.event(b"sidestream:topic:", bare).unwrap_err().label(), "channel");
}

#[test]
fn what_is_wrong_is_said_without_a_word_of_the_message() {
    let channels = channels(vec![]);
    let own = &channels.of_channel(b"sidestream")[0];
    for (message, word, said) in [
        (&b"secret"[..], "json", "it is not JSON"),
        (b"{\"secret\":1}", "unknown_field", "one of its fields is not a field"),
        (b"{\"topic\":\"secret\\n\"}", "name", "topic holds a control character"),
        (b"{\"topics\":[\"secret\\n\"]}", "name", "one of its fields holds a control character"),
        (b"{\"topic\":{\"secret\":1}}", "value", "topic must be"),
        (b"\"secret\"", "value", "it must be a JSON object"),
        (b"{\"data\":\"secret\"}", "audience", "it names nobody"),
        (b"\xff secret", "json", "it is not UTF-8"),
        (b"", "json", "it is not JSON"),
    ] {
        let bad = own.event(b"sidestream", message).unwrap_err();
        assert_eq!(bad.label(), word, "{bad}");
        assert!(bad.to_string().starts_with(said), "{bad}");
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }
}
