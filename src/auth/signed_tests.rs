use super::*;
use crate::config::Secret;

// Made with Python's hmac, hashlib.pbkdf2_hmac and base64, by the recipe of Rails.
const OWN: &str = "a key of an application, of more than thirty-two bytes";
const BASE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NAME: &str = "Z2lkOi8vYXBwL1Jvb20vMQ:messages";
const BY_OWN: &str = "IloybGtPaTh2WVhCd0wxSnZiMjB2TVE6bWVzc2FnZXMi--23088b5bde8ea67cb121fa31ca8b9f75cd02de09595b2e4d66fa87868684e0cb";
const BY_OWN_SHA1: &str =
    "IloybGtPaTh2WVhCd0wxSnZiMjB2TVE6bWVzc2FnZXMi--4a7822efe5613536a002da6aa8ca44d3382c68c8";
const BY_BASE: &str = "IloybGtPaTh2WVhCd0wxSnZiMjB2TVE6bWVzc2FnZXMi--59594f3a9a81b5e3356cf1f5955f321166637d99f4a7a11b57677e4b0a6de89c";
const BY_BASE_OF_OLD: &str = "IloybGtPaTh2WVhCd0wxSnZiMjB2TVE6bWVzc2FnZXMi--75917102931d9a0fb4c77669df4c7ea7143f0845942646fafe9b7642a2bba2ac";

fn names(key: Option<&str>, base: Option<&str>) -> SignedNames {
    let stream = config::Stream {
        signed_key: key.map(Secret::new),
        signed_key_base: base.map(Secret::new),
        ..config::Stream::default()
    };
    SignedNames::of(&stream).unwrap()
}

/// The topics that the names in this query are claimed and granted to be.
fn verified(signed: &SignedNames, query: &str) -> Result<Vec<String>, &'static str> {
    let request = http::Request::get(format!("/turbo?{query}")).body(()).unwrap();
    let Verified { grant, claims, .. } =
        signed.verify(&request.into_parts().0).map_err(|denied| denied.label())?;
    let names: Vec<String> = serde_json::from_value(claims[CLAIM].clone()).unwrap();
    assert!(names.iter().all(|name| grant.topics.allow(&Name::parse(name).unwrap().into())));
    assert!(!grant.topics.allow(&Name::parse("another").unwrap().into()));
    assert_eq!((grant.user, grant.until), (None, None));
    Ok(names)
}

/// As a page's form encodes it.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn parameter(text: &str) -> String {
    format!("{PARAMETER}={}", encoded(text))
}

#[test]
fn a_name_is_good_by_the_key_that_signed_it_however_it_is_derived() {
    let (own, base) = (names(Some(OWN), None), names(None, Some(BASE)));
    for (signed, good) in [(&own, BY_OWN), (&own, BY_OWN_SHA1), (&base, BY_BASE), (&base, BY_BASE_OF_OLD)] {
        assert_eq!(verified(signed, &parameter(good)), Ok(vec![NAME.to_owned()]), "{good}");
    }
    for (signed, bad) in [(&own, BY_BASE), (&base, BY_OWN), (&base, BY_OWN_SHA1)] {
        assert_eq!(verified(signed, &parameter(bad)), Err("bad_signed_name"), "{bad}");
    }
    // Not encoded, as a template that forgets it writes it.
    assert_eq!(verified(&own, &format!("{PARAMETER}={BY_OWN}")), Ok(vec![NAME.to_owned()]));
}

#[test]
fn whatever_is_not_a_signed_name_is_refused() {
    let own = names(Some(OWN), None);
    let (data, signature) = BY_OWN.rsplit_once("--").unwrap();
    let cut = &signature[..40];
    let other = BASE64.encode(r#""another""#);
    for bad in [
        data.to_owned(),
        format!("{data}--"),
        format!("--{signature}"),
        format!("{other}--{signature}"),
        format!("{data}--{cut}"),
        format!("{data}--{}", "0".repeat(64)),
        format!("{data}--{}", signature.to_uppercase()),
        format!("{data}{BY_OWN}"),
        "another".to_owned(),
    ] {
        assert_eq!(verified(&own, &parameter(&bad)), Err("bad_signed_name"), "{bad}");
    }
    assert_eq!(verified(&own, ""), Err("no_signed_name"));
    assert_eq!(verified(&own, &format!("{PARAMETER}=")), Err("no_signed_name"));
    // One that is good lets no other in.
    let both = format!("{}&{}", parameter(BY_OWN), parameter(BY_BASE));
    assert_eq!(verified(&own, &both), Err("bad_signed_name"));
}

#[test]
fn what_is_signed_has_to_be_a_text_that_is_a_name() {
    let sign = |json: &str| {
        let data = BASE64.encode(json);
        let key = hmac::Key::new(hmac::HMAC_SHA256, OWN.as_bytes());
        format!("{data}--{}", HEXLOWER.encode(hmac::sign(&key, data.as_bytes()).as_ref()))
    };
    let own = names(Some(OWN), None);
    for odd in ["7", "null", r#"["a"]"#, r#"{"_rails":{"message":"ImEi"}}"#, r#""a\u0000b""#, "\"\"", "a"] {
        assert_eq!(verified(&own, &parameter(&sign(odd))), Err("bad_signed_name"), "{odd}");
    }
    let two = format!("{}&{}", parameter(BY_OWN), parameter(&sign(r#""room:1""#)));
    assert_eq!(verified(&own, &two), Ok(vec![NAME.to_owned(), "room:1".to_owned()]));
}
