use super::*;

fn parse(json: &str) -> Result<Event, BadEnvelope> {
    parse_event(json.as_bytes(), &EnvelopeDefaults::default())
}

fn event(json: &str) -> Event {
    parse(json).unwrap_or_else(|bad| panic!("{json}: {bad}"))
}

fn refused(json: &str) -> BadEnvelope {
    parse(json).expect_err(json)
}

fn named(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn every_word_of_audience_names_its_kind() {
    let keys = |json: &str| event(json).audience.keys().to_vec();
    let (topic, user) = (|n: &str| Key::Topic(named(n)), |n: &str| Key::User(named(n)));
    let (session, client) = (|n: &str| Key::Session(named(n)), |n: &str| Key::Client(named(n)));
    for (json, wanted) in [
        (r#"{"topic":"a"}"#, vec![topic("a")]),
        (r#"{"topics":["a","b"],"topic":"c"}"#, vec![topic("c"), topic("a"), topic("b")]),
        (r#"{"user":"a"}"#, vec![user("a")]),
        (r#"{"users":["a","b"]}"#, vec![user("a"), user("b")]),
        (r#"{"session":"a"}"#, vec![session("a")]),
        (r#"{"sessions":["a"]}"#, vec![session("a")]),
        (r#"{"client":"a"}"#, vec![client("a")]),
        (r#"{"clients":["a"]}"#, vec![client("a")]),
        (r#"{"broadcast":true}"#, vec![Key::Broadcast]),
        (r#"{"broadcast":false,"user":"a"}"#, vec![user("a")]),
        (
            r#"{"client":"c","topic":"t","session":"s","user":"u"}"#,
            vec![topic("t"), user("u"), session("s"), client("c")],
        ),
        (r#"{"target":"all"}"#, vec![Key::Broadcast]),
        (r#"{"target":"user","targetId":"a"}"#, vec![user("a")]),
        (r#"{"target":"session","targetIds":["a","b"]}"#, vec![session("a"), session("b")]),
        (r#"{"target":"client","targetId":"a","targetIds":["b"]}"#, vec![client("a"), client("b")]),
        (r#"{"target":"topic","targetId":"a","user":"u"}"#, vec![user("u"), topic("a")]),
        (r#"{"user":42}"#, vec![user("42")]),
        (
            r#"{"users":[ 1 , -2, 99999999999999999999999 ]}"#,
            vec![user("1"), user("-2"), user("99999999999999999999999")],
        ),
        (r#"{"target":"user","targetId":7,"targetIds":[8]}"#, vec![user("7"), user("8")]),
        (r#"{"topic":"räume\/☂ \u00e9\ud83d\ude00"}"#, vec![topic("räume/☂ é😀")]),
        (r#"{"topic":"a","topics":[]}"#, vec![topic("a")]),
        (r#"{"topic":null,"user":"a","except":null,"target":null,"targetId":null}"#, vec![user("a")]),
        (r#"{"t\u006fpic":"a"}"#, vec![topic("a")]),
    ] {
        assert_eq!(keys(json), wanted, "{json}");
    }
}

#[test]
fn except_takes_the_same_words() {
    let except = |json: &str| event(json).audience.except().to_vec();
    assert_eq!(except(r#"{"topic":"a"}"#), []);
    assert_eq!(except(r#"{"topic":"a","except":{}}"#), []);
    assert_eq!(except(r#"{"topic":"a","except":{"user":null,"broadcast":false}}"#), []);
    assert_eq!(
        except(r#"{"topic":"a","except": {"users":["u",2], "client":"c","session":"s","topics":["t"]} }"#),
        [
            Key::Topic(named("t")),
            Key::User(named("u")),
            Key::User(named("2")),
            Key::Session(named("s")),
            Key::Client(named("c"))
        ]
    );
}

#[test]
fn data_is_passed_on_byte_for_byte() {
    for data in [
        "1",
        "null",
        "true",
        "12345678901234567890.0",
        "-0.10e+007",
        "1e9999",
        r#"{ "b" :1 ,  "a":2,"b": 3}"#,
        "{\n\t\"a\" : [ 1 ,\r\n 2 ] }",
        r#"["\u00e9\/\ud83d\ude00", "é"]"#,
        "[]",
        "{}",
    ] {
        assert_eq!(&*event(&format!("{{\"topic\":\"a\",\"data\": {data} , \"event\":\"x\"}}")).data, data);
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(event(&format!("{{\"topic\":\"a\",\"data\":{deep}}}")).data.len(), deep.len());
}

#[test]
fn data_that_is_a_string_is_sent_as_its_text() {
    for (json, text) in [
        (r#""""#, ""),
        (r#""hi there""#, "hi there"),
        (r#""a\nb\r\nc\u0000\u000b""#, "a\nb\r\nc\0\u{b}"),
        (r#""\u00e9\ud83d\ude00 é \"q\" \\ \/""#, "é😀 é \"q\" \\ /"),
        (r#""\\""#, "\\"),
    ] {
        assert_eq!(&*event(&format!("{{\"topic\":\"a\",\"data\":{json}}}")).data, text);
    }
    assert_eq!(&*event(r#"{"topic":"a"}"#).data, "null", "no data at all");
}

#[test]
fn the_other_fields_are_taken() {
    let all = event(
        r#"{"topic":"a","event":"message:new","ephemeral":true,"retry":1500,"ttl":60,"idempotency_key":"k\u00e9y"}"#,
    );
    assert_eq!(all.name, Some(EventName::parse("message:new").unwrap()));
    assert!(all.ephemeral);
    assert_eq!(all.retry, Some(1500));
    assert_eq!(all.ttl, Some(Duration::from_secs(60)));
    assert_eq!(all.idempotency_key.as_deref(), Some("kéy"));

    for least in [
        r#"{"topic":"a"}"#,
        r#"{"topic":"a","event":null,"ephemeral":null,"retry":null,"ttl":null,"idempotency_key":null}"#,
        r#" {"ephemeral":false , "topic" : "a"} "#,
    ] {
        let least = event(least);
        assert_eq!((least.name, least.ephemeral, least.retry, least.ttl), (None, false, None, None));
        assert_eq!(least.idempotency_key, None);
    }
    assert_eq!(event(r#"{"topic":"a","retry":0}"#).retry, Some(0));
    assert_eq!(event(r#"{"topic":"a","retry":86400000}"#).retry, Some(MAX_RETRY));
    assert_eq!(event(r#"{"topic":"a","ttl":31536000}"#).ttl, Some(Duration::from_secs(MAX_TTL)));
}

#[test]
fn every_refusal_names_the_field_and_the_reason() {
    use BadField::*;
    let wrong = |wanted, got| Type { wanted, got };
    let name = "a string or a whole number";
    for (json, field, reason) in [
        // Fields.
        (r#"{"topic":"a","tpoic":"b"}"#, "tpoic", Unknown { meant: Some("topic") }),
        (r#"{"topic":"a","Data":1}"#, "Data", Unknown { meant: Some("data") }),
        (r#"{"topic":"a","targetid":1}"#, "targetid", Unknown { meant: Some("targetId") }),
        (r#"{"topic":"a","payload":1}"#, "payload", Unknown { meant: None }),
        (r#"{"topic":"a","a\nb\u0000":1}"#, "a\\nb\\0", Unknown { meant: None }),
        (r#"{"topic":"a","id":"1-0"}"#, "id", IdOfTheLog),
        (r#"{"topic":"a","topic":"b"}"#, "topic", Twice),
        (r#"{"topic":"a","data":null,"data":1}"#, "data", Twice),
        (r#"{"topic":"a","except":{"user":1,"us\u0065r":2}}"#, "except.user", Twice),
        (r#"{"topic":"a","except":{"event":1}}"#, "except.event", Unknown { meant: None }),
        (r#"{"topic":"a","except":{"usres":[1]}}"#, "except.usres", Unknown { meant: Some("users") }),
        // Types.
        (r#"{"topic":["a"]}"#, "topic", wrong(name, "a list")),
        (r#"{"topic":1.0}"#, "topic", wrong(name, "a fraction")),
        (r#"{"user":1e3}"#, "user", wrong(name, "a fraction")),
        (r#"{"user":true}"#, "user", wrong(name, "true or false")),
        (r#"{"users":"a"}"#, "users", wrong("a list", "a string")),
        (r#"{"users":["a",null]}"#, "users[1]", wrong(name, "null")),
        (r#"{"users":["a",{}]}"#, "users[1]", wrong(name, "an object")),
        (r#"{"broadcast":1}"#, "broadcast", wrong("true or false", "a number")),
        (r#"{"broadcast":"true"}"#, "broadcast", wrong("true or false", "a string")),
        (r#"{"topic":"a","except":["u"]}"#, "except", wrong("a JSON object", "a list")),
        (r#"{"topic":"a","except":{"users":[1,[]]}}"#, "except.users[1]", wrong(name, "a list")),
        (r#"{"topic":"a","event":1}"#, "event", wrong("a string", "a number")),
        (r#"{"topic":"a","ephemeral":"yes"}"#, "ephemeral", wrong("true or false", "a string")),
        (r#"{"topic":"a","ttl":"60"}"#, "ttl", wrong("a whole number", "a string")),
        (r#"{"topic":"a","idempotency_key":1}"#, "idempotency_key", wrong("a string", "a number")),
        (r#"{"target":1}"#, "target", wrong("a string", "a number")),
        // Numbers.
        (r#"{"topic":"a","retry":-1}"#, "retry", Range { unit: "milliseconds", min: 0, max: 86_400_000 }),
        (r#"{"topic":"a","retry":1.5}"#, "retry", Range { unit: "milliseconds", min: 0, max: 86_400_000 }),
        (
            r#"{"topic":"a","retry":86400001}"#,
            "retry",
            Range { unit: "milliseconds", min: 0, max: 86_400_000 },
        ),
        (r#"{"topic":"a","ttl":0}"#, "ttl", Range { unit: "seconds", min: 1, max: MAX_TTL }),
        (r#"{"topic":"a","ttl":1e2}"#, "ttl", Range { unit: "seconds", min: 1, max: MAX_TTL }),
        (r#"{"topic":"a","ttl":31536001}"#, "ttl", Range { unit: "seconds", min: 1, max: MAX_TTL }),
        (
            r#"{"topic":"a","ttl":99999999999999999999}"#,
            "ttl",
            Range { unit: "seconds", min: 1, max: MAX_TTL },
        ),
    ] {
        assert_eq!(refused(json), reason.at(field.to_owned()), "{json}");
    }
}

#[test]
fn a_refused_name_or_audience_is_named_with_the_reason() {
    use BadField::*;
    let long = |n: usize| "x".repeat(n);
    for (json, field, reason) in [
        (r#"{"topic":""}"#.into(), "topic", Name(BadName::Empty)),
        (r#"{"topics":["a",""]}"#.into(), "topics[1]", Name(BadName::Empty)),
        (format!(r#"{{"user":"{}"}}"#, long(257)), "user", Name(BadName::TooLong { max: 256 })),
        (format!(r#"{{"user":{}}}"#, "1".repeat(257)), "user", Name(BadName::TooLong { max: 256 })),
        (r#"{"session":"a\nb"}"#.into(), "session", Name(BadName::Control)),
        (r#"{"topic":"a","event":""}"#.into(), "event", Name(BadName::Empty)),
        (r#"{"topic":"a","event":"a\nid: 7"}"#.into(), "event", Name(BadName::Control)),
        (r#"{"topic":"a","event":"a\r"}"#.into(), "event", Name(BadName::Control)),
        (r#"{"topic":"a","event":"a\u0000"}"#.into(), "event", Name(BadName::Control)),
        (format!(r#"{{"topic":"a","event":"{}"}}"#, long(257)), "event", Name(BadName::TooLong { max: 256 })),
        (r#"{"topic":"a","idempotency_key":""}"#.into(), "idempotency_key", Name(BadName::Empty)),
        (r#"{"topic":"a","idempotency_key":"a\n"}"#.into(), "idempotency_key", Name(BadName::Control)),
        (
            format!(r#"{{"topic":"a","idempotency_key":"{}"}}"#, long(257)),
            "idempotency_key",
            Name(BadName::TooLong { max: 256 }),
        ),
        // Audience.
        (
            r#"{"topic":"a","except":{"broadcast":true}}"#.into(),
            "except.broadcast",
            Audience(BadAudience::ExceptAll),
        ),
        (r#"{"target":"everyone"}"#.into(), "target", Target),
        (r#"{"targetId":"a"}"#.into(), "targetId", IdWithoutTarget),
        (r#"{"topic":"a","targetIds":["a"]}"#.into(), "targetIds", IdWithoutTarget),
        (r#"{"target":"user"}"#.into(), "target", TargetWithoutId),
        (r#"{"target":"all","targetId":"a"}"#.into(), "targetId", IdWithTargetAll),
    ] {
        assert_eq!(refused(&json), reason.at(field.to_owned()), "{json}");
    }
    let too_many = format!(r#"{{"users":[{}]}}"#, vec!["1"; 10_001].join(","));
    assert_eq!(refused(&too_many).reason, Audience(BadAudience::TooMany { max: 10_000 }));
    let with_except = format!(r#"{{"topic":"a","except":{{"users":[{}]}}}}"#, vec!["1"; 10_000].join(","));
    assert_eq!(refused(&with_except), Audience(BadAudience::TooMany { max: 10_000 }).of_whole());
}

#[test]
fn an_event_that_names_nobody_is_refused() {
    for json in [
        "{}",
        r#"{"data":1}"#,
        r#"{"topics":[]}"#,
        r#"{"topic":null}"#,
        r#"{"broadcast":false}"#,
        r#"{"target":"user","targetIds":[]}"#,
        r#"{"except":{"user":"a"}}"#,
    ] {
        assert_eq!(refused(json), BadField::Audience(BadAudience::Nobody).of_whole(), "{json}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for json in [
        "",
        " ",
        "{",
        "}",
        r#"{"topic"}"#,
        r#"{"topic":}"#,
        r#"{"topic":"a",}"#,
        r#"{topic:"a"}"#,
        r#"{'topic':'a'}"#,
        r#"{"topic":"a"}x"#,
        r#"{"topic":"a"}{}"#,
        r#"{"topic":"a","data":01}"#,
        r#"{"topic":"a","data":[1,]}"#,
        r#"{"topic":"a","data":NaN}"#,
        r#"{"topic":"\x"}"#,
        "{\"topic\":\"a\nb\"}",
        "{\"topic\":\"a\",\"data\":\"\0\"}",
        "nul",
        "[1",
        "\u{feff}{\"topic\":\"a\"}",
    ] {
        let bad = refused(json);
        assert!(matches!(bad.reason, BadField::NotJson(_)), "{json}: {bad:?}");
        assert_eq!(bad.field, None, "{json}");
    }
    for (json, got) in [("[]", "a list"), ("\"a\"", "a string"), (" null", "null"), ("7", "a number")] {
        assert_eq!(refused(json), BadField::Type { wanted: "a JSON object", got }.of_whole());
    }
    for json in [&b"\xff"[..], b"{\"topic\":\"\xc3\"}", b"{\"topic\":\"a\",\"data\":\"\xed\xa0\x80\"}"] {
        let bad = parse_event(json, &EnvelopeDefaults::default()).unwrap_err();
        assert_eq!(bad, BadField::NotUtf8.of_whole());
    }
}

#[test]
fn half_a_character_is_replaced_wherever_it_stands() {
    let event = event(r#"{"topic":"a\ud83d","event":"e\ude00","data":{"x":["\ud800", "\ud83d\ude00"]}}"#);
    assert_eq!(event.audience.keys()[0].name(), "a\u{fffd}");
    assert_eq!(event.name.unwrap().as_str(), "e\u{fffd}");
    assert_eq!(&*event.data, r#"{"x":["\ufffd", "\ud83d\ude00"]}"#);
    assert_eq!(&*self::event(r#"{"topic":"a","data":"cut \ud83d"}"#).data, "cut \u{fffd}");
}

#[test]
fn the_streams_own_events_are_nobody_elses() {
    for name in ["connected", "reset", "token_expired", "closing", "refused"] {
        let bad = refused(&format!(r#"{{"topic":"a","event":"{name}"}}"#));
        assert_eq!(bad, BadField::Name(BadName::Reserved).at("event"), "{name}");
        let own = EnvelopeDefaults { is_own: true, ..EnvelopeDefaults::default() };
        assert!(parse_event(format!(r#"{{"topic":"a","event":"{name}"}}"#).as_bytes(), &own).is_ok());
    }
    assert_eq!(event(r#"{"topic":"a","event":"Closing"}"#).name.unwrap().as_str(), "Closing");
}

#[test]
fn defaults_stand_in_only_for_what_is_left_out() {
    let defaults = EnvelopeDefaults {
        audience: vec![Key::Topic(named("t"))],
        event: Some(EventName::parse("e").unwrap()),
        is_own: false,
    };
    let parse = |json: &str| parse_event(json.as_bytes(), &defaults);
    let plain = parse(r#"{"data":1}"#).unwrap();
    assert_eq!(plain.audience, Audience::new([Key::Topic(named("t"))], vec![]).unwrap());
    assert_eq!(plain.name, defaults.event);
    let own = parse(r#"{"user":"u","event":"x"}"#).unwrap();
    assert_eq!(own.audience.keys(), [Key::User(named("u"))]);
    assert_eq!(own.name, Some(EventName::parse("x").unwrap()));
    // An empty list of users is not a wish to reach the whole topic.
    assert_eq!(parse(r#"{"users":[]}"#).unwrap_err(), BadField::Audience(BadAudience::Nobody).of_whole());
    assert_eq!(parse(r#"{"except":{"user":"u"}}"#).unwrap().audience.except(), [Key::User(named("u"))]);
}

#[test]
fn a_refusal_reads_as_one_sentence() {
    for (json, text) in [
        (r#"{"topic":"a","tpoic":1}"#, "`tpoic` is not a field: did you mean topic?"),
        (r#"{"topic":"a","event":"a\n"}"#, "`event` holds a control character (CR, LF and NUL among them)"),
        (r#"{"users":[1,true]}"#, "`users[1]` must be a string or a whole number, not true or false"),
        (r#"{"topic":"a","ttl":0}"#, "`ttl` must be a whole number of seconds from 1 to 31536000"),
        (r#"{"topic":"a","topic":"b"}"#, "`topic` is given twice"),
        (r#"{"topic":"a" x}"#, "the event is not JSON: expected `,` or `}` at line 1 column 14"),
        ("[]", "the event must be a JSON object, not a list"),
        (
            r#"{"topic":"a","except":{"broadcast":true}}"#,
            "the event excludes everybody: except cannot hold broadcast",
        ),
    ] {
        assert_eq!(refused(json).to_string(), text);
    }
    let long = refused(&format!(r#"{{"topic":"a","{}":1}}"#, "é".repeat(100_000))).to_string();
    assert!(long.len() < 200, "{long}");
}
