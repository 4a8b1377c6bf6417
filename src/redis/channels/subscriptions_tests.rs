use super::*;
use crate::config::{Channel, ChannelFormat, Redis, Secret};
use crate::event::{
    BadContent, BadName, ContentCondition, ContentTemplates, DataTemplate, Event, EventName, Key, Name,
    Pattern, Placeholder,
};
use crate::redis::channels::mapping::{BadMessage, Unmapped};

fn template(text: Option<&str>) -> Option<Template> {
    text.map(|text| Template::parse(text).unwrap())
}

fn channel(pattern: &str, topic: Option<&str>, format: ChannelFormat) -> Channel {
    Channel {
        pattern: pattern.to_owned(),
        format,
        content: ContentTemplates { topic: template(topic), ..ContentTemplates::default() },
        bridge: false,
    }
}

/// The event of a message, if it is one or a reason why not.
fn made(mappings: Option<&Alternatives>, channel: &[u8], message: &[u8]) -> Result<Event, BadMessage> {
    match mappings.unwrap().event(channel, message) {
        Ok(event) => Ok(event),
        Err(Unmapped::Bad(bad)) => Err(bad),
        Err(Unmapped::Unmatched) => panic!("no condition fits"),
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
    let name = |mappings: Option<&Alternatives>| mappings.map(|mappings| mappings.pattern().to_owned());
    assert_eq!(name(channels.of_channel(b"chat:1")).as_deref(), Some("chat:1"));
    assert_eq!(name(channels.of_pattern(b"chat:*")).as_deref(), Some("chat:*"));
    assert_eq!(name(channels.of_channel(b"chat:*")), None);
    assert_eq!(name(channels.of_pattern(b"other")), None);
}

#[test]
fn a_raw_message_is_the_data_and_the_channel_says_the_rest() {
    let content = ContentTemplates {
        topic: template(Some("conversation:{1}")),
        user: template(Some("u{2}")),
        session: template(Some("s:{0}")),
        event: template(Some("{1}:new")),
        ..ContentTemplates::default()
    };
    let channels = channels(vec![Channel { content, ..channel("chat:*:*", None, ChannelFormat::Raw) }]);
    let mapping = channels.of_pattern(b"chat:*:*");
    let event = made(mapping, b"chat:42:7", b"plain \"text\"\nof two lines").unwrap();
    let key = |make: fn(Name) -> Key, name| make(Name::parse(name).unwrap());
    let expected =
        [key(Key::Topic, "conversation:42"), key(Key::User, "u7"), key(Key::Session, "s:chat:42:7")];
    assert_eq!(event.audience.keys(), expected);
    assert_eq!(event.name.as_ref().map(EventName::as_str), Some("42:new"));
    assert_eq!(&*event.data, "plain \"text\"\nof two lines");

    assert_eq!(made(mapping, b"chat:42:7", b"\xff").unwrap_err(), BadMessage::NotUtf8);
    assert_eq!(made(mapping, b"chat:\xff:7", b"").unwrap_err(), BadMessage::Channel);
    assert_eq!(made(mapping, b"chat::7", b"").unwrap_err().label(), "channel");
    let long = format!("chat:{}:7", "x".repeat(300));
    assert_eq!(
        made(mapping, long.as_bytes(), b"").unwrap_err(),
        BadMessage::Name(BadName::TooLong { max: Name::MAX })
    );
}

#[test]
fn an_envelope_may_leave_out_what_the_channel_says() {
    let channels = channels(vec![channel("app", None, ChannelFormat::Envelope)]);
    let own = channels.of_channel(b"sidestream");
    let by_topic = channels.of_pattern(b"sidestream:topic:*");
    let mapped = channels.of_channel(b"app");

    let named = br#"{"topic":"a","data":{"x" : 1}}"#;
    let bare = br#"{"data":1}"#;
    assert_eq!(topics(&made(own, b"sidestream", named).unwrap()), ["a"]);
    assert_eq!(topics(&made(mapped, b"app", named).unwrap()), ["a"]);
    assert_eq!(made(own, b"sidestream", bare).unwrap_err().label(), "audience");
    assert_eq!(topics(&made(by_topic, b"sidestream:topic:b:c", bare).unwrap()), ["b:c"]);
    assert_eq!(topics(&made(by_topic, b"sidestream:topic:b", named).unwrap()), ["a"]);
    assert_eq!(made(by_topic, b"sidestream:topic:", bare).unwrap_err().label(), "channel");
}

#[test]
fn what_is_wrong_is_said_without_a_word_of_the_message() {
    let channels = channels(vec![]);
    let own = channels.of_channel(b"sidestream");
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
        let bad = made(own, b"sidestream", message).unwrap_err();
        assert_eq!(bad.label(), word, "{bad}");
        assert!(bad.to_string().starts_with(said), "{bad}");
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }
}

fn when(path: &str, value: &str) -> Vec<ContentCondition> {
    let value_of = Template::parse(&format!("{{data.{path}}}")).unwrap();
    let value_of: Placeholder = value_of.placeholders().next().unwrap().clone();
    vec![ContentCondition { value: value_of, any_of: vec![Pattern::parse(value).unwrap()] }]
}

#[test]
fn the_content_of_a_message_says_what_its_event_is_and_the_first_mapping_that_fits_counts() {
    let mapping = |topic: &str, data: Option<&str>, when: Vec<ContentCondition>| {
        let content = ContentTemplates {
            topic: template(Some(topic)),
            data: template(data).map(DataTemplate::Text),
            when,
            ..ContentTemplates::default()
        };
        Channel { content, ..channel("app:*", None, ChannelFormat::Raw) }
    };
    let all = channels(vec![
        mapping("{1}:{data.room}", Some("{data.text}"), when("type", "message")),
        mapping("typing:{data.room}", None, when("type", "typ*")),
    ]);
    let app = all.of_pattern(b"app:*");
    let event = made(app, b"app:x", br#"{"type":"message","room":7,"text":"hi"}"#).unwrap();
    assert_eq!((topics(&event), &*event.data), (vec!["x:7"], "hi"));
    let typing = r#"{"type":"typing", "room":7}"#;
    let event = made(app, b"app:x", typing.as_bytes()).unwrap();
    assert_eq!((topics(&event), &*event.data), (vec!["typing:7"], typing));
    let other = app.unwrap().event(b"app:x", br#"{"type":"other"}"#);
    assert!(matches!(other, Err(Unmapped::Unmatched)));
    let bad = made(app, b"app:x", br#"{"type":"message","text":"hi"}"#).unwrap_err();
    assert_eq!((bad.label(), bad.field().as_deref()), ("field_missing", Some("data.room")));
    assert!(matches!(made(app, b"app:x", b"text"), Err(BadMessage::Content(BadContent::NotJson(_)))));

    // The last one takes what is no JSON at all.
    let rest = channel("app:*", Some("rest"), ChannelFormat::Raw);
    let all = channels(vec![mapping("{data.room}", None, when("type", "message")), rest]);
    let app = all.of_pattern(b"app:*");
    for (message, topic) in
        [(&b"text"[..], "rest"), (br#"{"type":"message","room":"r"}"#, "r"), (b"{}", "rest")]
    {
        assert_eq!(topics(&made(app, b"app:x", message).unwrap()), [topic]);
    }
}
