use std::borrow::Cow;

use super::*;
use crate::event::{Absent, JsonTemplate};

fn template(text: &str) -> Option<Template> {
    Some(Template::parse(text).unwrap())
}

fn data(text: &str) -> Option<DataTemplate> {
    template(text).map(DataTemplate::Text)
}

fn nobody(_: &Placeholder) -> Option<Cow<'static, str>> {
    None
}

fn mapped(templates: &ContentTemplates, json: &str) -> Result<Event, BadContent> {
    let mut wanted = WantedFields::default();
    let mapping = ContentMapping::new(templates, &mut wanted);
    let found = wanted.find(json).unwrap();
    mapping.event(&found, &nobody, json)
}

fn names(event: &Event) -> Vec<String> {
    event.audience.keys().iter().map(ToString::to_string).collect()
}

#[test]
fn every_part_of_an_event_is_made_of_the_message() {
    let templates = ContentTemplates {
        topic: template("conversation:{data.room.id}"),
        user: template("{data.users}"),
        session: template("s{data.flag}"),
        client: template("{data.client?}"),
        except_client: template("{data.socket?}"),
        event: template("{data.type:-message:new}"),
        data: data("{data.payload}"),
        idempotency_key: template("{data.id}"),
        coalesce: template("c{data.id}"),
        ttl: template("60"),
        retry: template("{data.retry}"),
        ..ContentTemplates::default()
    };
    let json = r#"{"room":{"id":42},"users":["a",7],"flag":true,"id":"k","retry":1500,"socket":"x\u0079",
        "payload":{"n" : 1.0}}"#;
    let event = mapped(&templates, json).unwrap();
    assert_eq!(names(&event), ["topic:conversation:42", "user:a", "user:7", "session:strue"]);
    assert_eq!(event.audience.except(), [Key::Client(Name::parse("xy").unwrap())]);
    assert_eq!(event.name.as_ref().map(EventName::as_str), Some("message:new"));
    assert_eq!((&*event.data, event.is_text), (r#"{"n" : 1.0}"#, false));
    assert_eq!((event.idempotency_key.as_deref(), event.coalesce.as_deref()), (Some("k"), Some("ck")));
    assert_eq!((event.ttl, event.retry), (Some(Duration::from_secs(60)), Some(1500)));
}

#[test]
fn data_that_is_one_placeholder_keeps_its_json_type() {
    for (text, json, expected, is_text) in [
        ("{data.a}", r#"{"a":"x\n\"y\""}"#, "x\n\"y\"", true),
        ("{data.a}", r#"{"a":[1, 2]}"#, "[1, 2]", false),
        ("{data.a}", r#"{"a":null}"#, "null", false),
        ("{data.a}", r#"{"a":""}"#, "", true),
        ("{data.a?}", "{}", "null", false),
        ("{data.a:-none}", "{}", "none", true),
        ("{data}", r#""<turbo-stream>""#, "<turbo-stream>", true),
        ("{data}", r#" {"a":1}"#, r#"{"a":1}"#, false),
        ("n={data.a}", r#"{"a":1.50}"#, "n=1.50", true),
    ] {
        let templates = ContentTemplates { broadcast: true, data: data(text), ..ContentTemplates::default() };
        let event = mapped(&templates, json).unwrap();
        assert_eq!((&*event.data, event.is_text), (expected, is_text), "{text} of {json}");
    }
    let whole = ContentTemplates { broadcast: true, ..ContentTemplates::default() };
    assert_eq!(&*mapped(&whole, r#"{"a": 1}"#).unwrap().data, r#"{"a": 1}"#);
}

#[test]
fn data_that_is_a_table_is_made_of_its_texts_and_values() {
    let text = |text: &str| JsonTemplate::text(&Template::parse(text).unwrap());
    let table = JsonTemplate::object([
        ("id", text("{data.id}")),
        ("by \"", JsonTemplate::list([text("{data.user.name?}"), text("{data.user.name:-some\"one}")])),
        ("said", text("{data.room:-lobby}: \"{data.text?}\"")),
        ("from", text("{header.who}")),
        ("kind", JsonTemplate::literal(&"message".into())),
    ]);
    let templates = ContentTemplates {
        broadcast: true,
        data: Some(DataTemplate::Table(table)),
        ..ContentTemplates::default()
    };
    let mut wanted = WantedFields::default();
    let mapping = ContentMapping::new(&templates, &mut wanted);
    let outer = |placeholder: &Placeholder| (&*placeholder.source == "header").then_some(Cow::Borrowed("\n"));
    let made = |json: &str| mapping.event(&wanted.find(json).unwrap(), &outer, json);
    for (json, expected) in [
        (
            r#"{"id":1.50,"text":"a\u0022b","room":7,"user":{"name":null}}"#,
            r#"{"id":1.50,"by \"":[null,null],"said":"7: \"a\"b\"","from":"\n","kind":"message"}"#,
        ),
        (
            r#"{"id":{"a" : ""},"text":null}"#,
            r#"{"id":{"a" : ""},"by \"":[null,"some\"one"],"said":"lobby: \"\"","from":"\n","kind":"message"}"#,
        ),
    ] {
        let event = made(json).unwrap();
        assert_eq!((&*event.data, event.is_text), (expected, false), "{json}");
        assert!(serde_json::from_str::<serde_json::Value>(&event.data).is_ok());
    }
    for (json, label, field) in [
        (r#"{"text":"secret"}"#, "field_missing", "data.id"),
        (r#"{"id":1,"room":["secret"]}"#, "value", "data.room"),
        (r#"{"id":1,"text":{"secret":1}}"#, "value", "data.text"),
    ] {
        let bad = made(json).unwrap_err();
        assert_eq!((bad.label(), bad.field().as_deref()), (label, Some(field)), "{json}: {bad}");
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }
    let bad = mapped(&templates, r#"{"id":1}"#).unwrap_err();
    assert_eq!(bad.field().as_deref(), Some("header.who"));
}

#[test]
fn what_does_not_fit_is_named_by_the_operators_word_and_not_by_the_messages() {
    let templates = ContentTemplates {
        topic: template("{data.room.id}:{data.more:-x}"),
        event: template("{data.type}"),
        ttl: template("{data.ttl:-5}"),
        ..ContentTemplates::default()
    };
    for (json, label, field) in [
        (r#"{"type":"secret"}"#, "field_missing", Some("data.room.id")),
        (r#"{"room":{"id":null},"type":"secret"}"#, "field_missing", Some("data.room.id")),
        (r#"{"room":"secret","type":"secret"}"#, "field_missing", Some("data.room.id")),
        (r#"{"room":{"id":{"secret":1}},"type":"t"}"#, "value", Some("data.room.id")),
        (r#"{"room":{"id":["a","b"]},"more":["secret"],"type":"t"}"#, "value", Some("topic")),
        (r#"{"room":{"id":[["secret"]]},"type":"t"}"#, "value", Some("data.room.id")),
        (r#"{"room":{"id":[]},"type":"t"}"#, "audience", None),
        (r#"{"room":{"id":"secret\n"},"type":"t"}"#, "name", Some("topic")),
        (r#"{"room":{"id":1}}"#, "field_missing", Some("data.type")),
        (r#"{"room":{"id":1},"type":"reset"}"#, "name", Some("event")),
        (r#"{"room":{"id":1},"type":["secret","b"]}"#, "value", Some("event")),
        (r#"{"room":{"id":1},"type":"t","ttl":"secret"}"#, "value", Some("ttl")),
    ] {
        let bad = mapped(&templates, json).unwrap_err();
        assert_eq!((bad.label(), bad.field().as_deref()), (label, field), "{json}: {bad}");
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }
}

#[test]
fn an_optional_value_lets_its_key_fall_away_and_other_placeholders_are_asked_for() {
    let templates = ContentTemplates {
        topic: template("{data.a?}"),
        user: template("{header.who}"),
        ..ContentTemplates::default()
    };
    let mut wanted = WantedFields::default();
    let mapping = ContentMapping::new(&templates, &mut wanted);
    let outer = |placeholder: &Placeholder| {
        assert_eq!(placeholder.to_string(), "{header.who}");
        Some(Cow::Borrowed("u"))
    };
    assert_eq!(names(&mapping.event(&wanted.find("{}").unwrap(), &outer, "").unwrap()), ["user:u"]);
    let bad = mapping.event(&wanted.find("{}").unwrap(), &nobody, "").unwrap_err();
    assert_eq!(bad.field().as_deref(), Some("header.who"));
}

#[test]
fn conditions_hold_for_a_value_that_fits_or_a_list_with_one() {
    let holds = |path: &str, any_of: &[&str], json: &str| {
        let value = Placeholder { source: "data".into(), name: path.into(), absent: Absent::Refused };
        let any_of = any_of.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let mut wanted = WantedFields::default();
        let conditions = ContentConditions::new(&[ContentCondition { value, any_of }], &mut wanted);
        conditions.hold(&wanted.find(json).unwrap(), &nobody)
    };
    let json = r#"{"type":"message.new","n":7,"on":true,"of":{"x":1},"tags":["a","b"],"no":null,"long":"@"}"#;
    let json = json.replace('@', &"y".repeat(500));
    for (path, any_of, expected) in [
        ("type", &["message.new"][..], true),
        ("type", &["other", "message.*"], true),
        ("type", &["message"], false),
        ("n", &["7"], true),
        ("on", &["true"], true),
        ("of", &["*"], true),
        ("of.x", &["1"], true),
        ("tags", &["b"], true),
        ("tags", &["c"], false),
        ("no", &["*"], false),
        ("absent", &["*"], false),
        ("long", &["y*"], true),
    ] {
        assert_eq!(holds(path, any_of, &json), expected, "{path} {any_of:?}");
    }
}
