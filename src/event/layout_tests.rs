use std::time::Duration;

use super::*;
use crate::event::Template;
use crate::event::format::Timestamps;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_123)
}

fn wire(layout: &EventLayout, topic: Option<&str>, user: Option<&str>) -> String {
    let (topic, user) = (topic.map(name), user.map(name));
    let via = Via { topic: topic.as_ref(), user: user.as_ref() };
    let id = Some("5-0".parse().unwrap());
    let laid =
        LaidOut { name: Some("x"), data: "{\"n\": 1}", is_text: false, retry: None, id, at: at(), via };
    String::from_utf8(layout.event(laid).payload().to_vec()).unwrap()
}

fn typed(fields: &[(&str, &str)]) -> EventLayout {
    let field = |text: &str| JsonTemplate::text(&Template::parse(text).unwrap());
    let typed_data = JsonTemplate::object(fields.iter().map(|(name, text)| (*name, field(text))));
    EventLayout { typed_data: Some(typed_data), ..EventLayout::from(EventFormat::Typed(Timestamps::Iso)) }
}

#[test]
fn a_typed_event_may_have_fields_of_the_operators_own() {
    let layout = typed(&[
        ("kind", "{event}"),
        ("payload", "{data}"),
        ("ts", "{now}"),
        ("userId", "{user}"),
        ("channel", "{topic}"),
        ("id", "{id}"),
    ]);
    assert!(layout.tells_via() && !layout.is_plain());
    assert_eq!(
        wire(&layout, Some("a"), None),
        "data: {\"kind\":\"x\",\"payload\":{\"n\": 1},\"ts\":1750000000123,\"userId\":null,\"channel\":\"a\",\
         \"id\":\"5-0\"}\nid: 5-0\n\n"
    );
    let block = Block { event: Some("connected"), data: "{}", ..Block::default() };
    let frame = layout.block(block, Some(&name("u")), at());
    assert_eq!(
        str::from_utf8(frame.payload()).unwrap(),
        "data: {\"kind\":\"connected\",\"payload\":{},\"ts\":1750000000123,\"userId\":\"u\",\"channel\":null,\
         \"id\":null}\n\n"
    );
}

#[test]
fn the_topic_stands_in_the_name_or_in_a_comment() {
    let with = |topic_as| EventLayout { topic_as, ..EventLayout::default() };
    let prefix = with(TopicAs::Prefix("/".into()));
    assert_eq!(wire(&prefix, Some("a b"), None), "event: a b/x\ndata: {\"n\": 1}\nid: 5-0\n\n");
    assert_eq!(wire(&prefix, None, Some("u")), "event: x\ndata: {\"n\": 1}\nid: 5-0\n\n");
    let comment = with(TopicAs::Comment);
    assert_eq!(wire(&comment, Some("a"), None), ": topic a\nevent: x\ndata: {\"n\": 1}\nid: 5-0\n\n");
    let typed = EventLayout { format: EventFormat::Typed(Timestamps::Milliseconds), ..prefix };
    assert_eq!(
        wire(&typed, Some("a"), None),
        "data: {\"type\":\"a/x\",\"data\":{\"n\": 1},\"timestamp\":1750000000123}\nid: 5-0\n\n"
    );
}

#[test]
fn the_topic_is_the_first_that_the_reader_holds() {
    let keys = ["a", "b", "c"].map(|topic| Key::Topic(name(topic)));
    let via = Via::of(&keys, |key| key.name() != "a");
    assert_eq!(via.topic, Some(&name("b")));
    assert!(Via::of(&keys, |_| false).topic.is_none());
}
