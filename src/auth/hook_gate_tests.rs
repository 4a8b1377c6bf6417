use std::ffi::OsString;

use http::HeaderValue;

use super::*;
use crate::config::{CheckedConfig, CommandLine, Config};

/// The gate of a hook that the operator wrote so.
fn gate(hook: &str) -> HookGate {
    let text = format!(
        "[public]\nbackend = \"http://127.0.0.1:3000\"\n[[internal.hook]]\nname = \"h\"\nbroadcast = true\n{hook}"
    );
    let environment =
        [("SIDESTREAM_CONFIG", &*text)].map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let loaded: CheckedConfig = Config::load_to_serve(None, environment, &CommandLine::default()).unwrap();
    HookGate::new(&loaded.config.internal.hooks[0])
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields =
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
    fields.collect()
}

const KEY: &str = "key = \"0123456789abcdef0123\"\n";

#[test]
fn a_key_stands_where_the_operator_says() {
    let (bearer, in_header) = (gate(KEY), gate(&format!("{KEY}key_header = \"X-Key\"\n")));
    let in_query = gate(&format!("{KEY}key_query = \"token\"\n"));
    let right = "0123456789abcdef0123";
    let shown = headers(&[("authorization", "Bearer 0123456789abcdef0123")]);
    assert_eq!(bearer.check_key(&shown, None), Ok(()));
    assert_eq!(in_header.check_key(&shown, None), Err(HookDenied::NoKey));
    assert_eq!(in_header.check_key(&headers(&[("x-key", right)]), None), Ok(()));
    assert_eq!(in_header.check_key(&headers(&[("x-key", "0")]), None), Err(HookDenied::WrongKey));
    assert_eq!(in_query.check_key(&headers(&[]), Some("a=b&token=0123456789abcdef0123")), Ok(()));
    assert_eq!(in_query.check_key(&headers(&[]), Some("token=0")), Err(HookDenied::WrongKey));
    assert_eq!(in_query.check_key(&shown, None), Err(HookDenied::NoKey));
}

/// GitHub's own example, from "Validating webhook deliveries".
#[test]
fn githubs_example_is_signed() {
    let gate = gate("secret = \"It's a Secret to Everybody\"\nsignature = \"github\"\n");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let shown = headers(&[("x-hub-signature-256", signature)]);
    assert_eq!(gate.check_key(&shown, None), Ok(()));
    assert_eq!(gate.check_signature(&shown, b"Hello, World!", 0), Ok(()));
    assert_eq!(gate.check_signature(&shown, b"Hello, World", 0), Err(HookDenied::BadSignature));
    assert_eq!(gate.check_signature(&headers(&[]), b"Hello, World!", 0), Err(HookDenied::NotSigned));
    let cut = headers(&[("x-hub-signature-256", &signature[..40])]);
    assert_eq!(gate.check_signature(&cut, b"Hello, World!", 0), Err(HookDenied::BadSignature));
}

/// The example of the Standard Webhooks' specification.
#[test]
fn standard_webhooks_example_is_signed() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let gate = gate(&format!("secret = \"{secret}\"\nsignature = \"standard-webhooks\"\n"));
    let body = br#"{"test": 2432232314}"#;
    let signed = |signature: &str| {
        headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ])
    };
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(gate.check_signature(&signed(right), body, 1_614_265_330), Ok(()));
    let several = format!("v1,AAAA {right}");
    assert_eq!(gate.check_signature(&signed(&several), body, 1_614_265_330), Ok(()));
    assert_eq!(gate.check_signature(&signed(right), body, 1_614_266_330), Err(HookDenied::TooOld));
    assert_eq!(gate.check_signature(&signed("v1,AAAA"), body, 1_614_265_330), Err(HookDenied::BadSignature));
}

#[test]
fn stripes_way_takes_the_old_secret_too_and_minds_the_time() {
    let gate = gate("secret = \"whsec_new-0123456789\"\nprevious_secret = \"two\"\nsignature = \"stripe\"\n");
    // As `printf '1750000000.{}' | openssl dgst -sha256 -hmac two` says it.
    let right = "c3c05810b66cc04eb7d28e1d0e9353022c0ab8596f273e30b35df0f234f8767c";
    let shown =
        |time: &str, v1: &str| headers(&[("stripe-signature", &format!("t={time},v0=00,v1=00,v1={v1}"))]);
    assert_eq!(gate.check_signature(&shown("1750000000", right), b"{}", 1_750_000_300), Ok(()));
    assert_eq!(
        gate.check_signature(&shown("1750000000", right), b"{}", 1_750_000_301),
        Err(HookDenied::TooOld)
    );
    let other_time = gate.check_signature(&shown("1750000001", right), b"{}", 1_750_000_000);
    assert_eq!(other_time, Err(HookDenied::BadSignature));
    assert_eq!(gate.check_signature(&shown("x", right), b"{}", 1_750_000_000), Err(HookDenied::NotSigned));
}

#[test]
fn a_signature_of_the_body_has_the_form_that_the_operator_says() {
    // `printf '{}' | openssl dgst -sha1 -hmac 0123456789abcdef -binary | base64`
    let gate = gate(
        "secret = \"0123456789abcdef\"\nsignature_header = \"X-Sig\"\nsignature_hash = \"sha1\"\n\
         signature_encoding = \"base64\"\nsignature_prefix = \"sha1 \"\n",
    );
    let shown = headers(&[("x-sig", "sha1 Htmvnl6P8vgEvP+VozdknACV0Fc=")]);
    assert_eq!(gate.check_signature(&shown, b"{}", 0), Ok(()));
    assert_eq!(
        gate.check_signature(&headers(&[("x-sig", "Htmvnl6P8vgEvP+VozdknACV0Fc=")]), b"{}", 0),
        Err(HookDenied::NotSigned)
    );
}
