use super::*;

#[test]
fn a_set_comes_out_as_it_went_in() {
    let name = |text: &str| Name::parse(text).unwrap();
    for of in [Key::User(name("a:b")), Key::Session(name("☂ x"))] {
        assert_eq!(holder(&field(&of)), Some(of));
    }
    assert_eq!((holder(b"@"), holder(b"client:c"), holder(b"user:")), (None, None, None));
    let all = vec![name("a\"b").into(), name("☂").into(), TopicFilter::parse_pattern("a*").unwrap()];
    assert_eq!(topics(&value(&all)), Some(all));
    assert_eq!(value(&[]), b"");
    assert_eq!(topics(br#"{"topics":["a",""]}"#), None);
}

#[test]
fn a_place_comes_out_as_it_went_in() {
    let at = StoredAt {
        id: EventId { ms: 17, seq: u64::MAX, tag: None },
        epoch: EventId { ms: 0, seq: 0, tag: None },
    };
    assert_eq!(StoredAt::parse(at.text().as_bytes()), Some(at));
    assert_eq!((StoredAt::parse(b"1-0"), StoredAt::parse(b"1-0-abcdef 0-0")), (None, None));
    assert_eq!(hash_name("p", "a{b}c"), "p:given:{b}");
}
