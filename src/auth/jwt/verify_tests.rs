//! Every algorithm, and every way in which a token can be wrong. All keys are made here.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::jws::{ALGORITHMS, Algorithm, SigningKey};

/// When it is, in these tests.
const NOW: u64 = 1_800_000_000;

struct Pair {
    signing: SigningKey,
    key: JwsKey,
    /// The public key, as anybody may have it.
    public: String,
}

const SECRET: &str = "a secret of more than thirty-two bytes";

fn pair_of(algorithm: Algorithm, pair: &KeyPair) -> Pair {
    let signing = SigningKey::from_pem(&pair.serialize_pem(), &[algorithm]).unwrap();
    assert_eq!(signing.algorithm(), algorithm);
    let public = pair.public_key_pem();
    Pair { signing, key: JwsKey::from_pem(&public).unwrap(), public }
}

static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
static P256: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
static P384: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
static ED: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ED25519).unwrap());

/// A pair of keys for `algorithm`.
fn pair(algorithm: Algorithm) -> Pair {
    match format!("{algorithm:?}").as_bytes() {
        [b'H', ..] => {
            let key = JwsKey::from_secret(SECRET.as_bytes()).unwrap();
            let signing = key.clone().only(&[algorithm]).unwrap().signing().unwrap();
            Pair { signing, key, public: SECRET.to_owned() }
        }
        [b'R' | b'P', ..] => pair_of(algorithm, &RSA),
        b"ES256" => pair_of(algorithm, &P256),
        b"ES384" => pair_of(algorithm, &P384),
        _ => pair_of(algorithm, &ED),
    }
}

fn rules() -> Rules {
    Rules {
        issuer: ["https://login.example".to_owned()].into(),
        audience: ["push".to_owned(), "other".to_owned()].into(),
        leeway: Duration::from_secs(5),
        require: ["org.id".to_owned()].into(),
        allow_without_exp: false,
    }
}

fn claims() -> Value {
    json!({
        "sub": "u1", "iss": "https://login.example", "aud": ["web", "push"], "exp": NOW + 60, "nbf": NOW, "iat": NOW,
        "org": { "id": 7 },
    })
}

/// The claims with some of them replaced; null takes one out.
fn but(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn word(token: &str, keys: &[JwsKey]) -> &'static str {
    verify(token, keys, &rules(), now()).map_or_else(|denied| denied.label(), |_| "ok")
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header, its signature that of `pair` all the same.
fn with_header(header: &Value, pair: &Pair) -> String {
    let signed = pair.signing.sign(None, &claims()).unwrap();
    let signature = signed.rsplit('.').next().unwrap();
    format!("{}.{}.{signature}", encode(header), encode(&claims()))
}

#[test]
fn every_algorithm_is_verified_and_every_wrong_claim_is_told_apart() {
    for algorithm in ALGORITHMS {
        let pair = pair(algorithm);
        let keys = [pair.key.clone()];
        let sign = |claims: &Value| pair.signing.sign(None, claims).unwrap();
        let good = sign(&claims());
        assert_eq!(word(&good, &keys), "ok", "{algorithm:?}");

        for (changes, expected) in [
            (json!({ "exp": NOW - 6 }), "expired"),
            (json!({ "exp": NOW - 5 }), "expired"),
            (json!({ "exp": NOW - 4 }), "ok"),
            (json!({ "exp": -1 }), "expired"),
            (json!({ "exp": NOW + 1, "nbf": NOW + 6 }), "not_yet_valid"),
            (json!({ "nbf": NOW + 5 }), "ok"),
            (json!({ "nbf": null, "iat": null }), "ok"),
            (json!({ "exp": null }), "missing_claim"),
            (json!({ "exp": (NOW + 60).to_string() }), "bad_claim"),
            (json!({ "exp": 9e10 }), "ok"),
            (json!({ "exp": 1e300 }), "bad_claim"),
            (json!({ "nbf": "soon" }), "bad_claim"),
            (json!({ "nbf": 9e10 }), "not_yet_valid"),
            (json!({ "nbf": 1e300 }), "bad_claim"),
            (json!({ "iat": [1] }), "bad_claim"),
            (json!({ "aud": "push" }), "ok"),
            (json!({ "aud": "web" }), "wrong_audience"),
            (json!({ "aud": [] }), "wrong_audience"),
            (json!({ "aud": { "push": 1 } }), "wrong_audience"),
            (json!({ "aud": null }), "missing_claim"),
            (json!({ "iss": "https://login.example/" }), "wrong_issuer"),
            (json!({ "iss": 7 }), "wrong_issuer"),
            (json!({ "iss": null }), "missing_claim"),
            (json!({ "org": { "id": null } }), "missing_claim"),
            (json!({ "org": "7" }), "missing_claim"),
        ] {
            assert_eq!(word(&sign(&but(changes.clone())), &keys), expected, "{algorithm:?} {changes}");
        }
        assert_eq!(word(&sign(&json!(["exp", NOW])), &keys), "malformed", "{algorithm:?}");
    }
}

#[test]
fn a_signature_of_anything_else_is_refused() {
    for algorithm in ALGORITHMS {
        let pair = pair(algorithm);
        let keys = [pair.key.clone()];
        let good = pair.signing.sign(None, &claims()).unwrap();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let other_claims = format!(
            "{}.{}.{signature}",
            message.split('.').next().unwrap(),
            encode(&but(json!({ "sub": "u2" })))
        );
        for (token, expected) in [
            (format!("{message}."), "bad_signature"),
            (format!("{message}.{first}{}", &signature[1..]), "bad_signature"),
            (format!("{message}.{}", &signature[..signature.len() - 4]), "bad_signature"),
            (format!("{message}.{signature}AAAA"), "bad_signature"),
            (format!("{message}.not*base64"), "bad_signature"),
            (other_claims, "bad_signature"),
            (message.to_owned(), "malformed"),
            (format!("{good}."), "malformed"),
            (format!("{good}.x"), "malformed"),
            (format!(".{good}"), "malformed"),
            (format!("={good}"), "malformed"),
            (format!("{good}\n"), "bad_signature"),
            ("..".to_owned(), "malformed"),
            (String::new(), "malformed"),
            ("x".repeat(MAX + 1), "malformed"),
        ] {
            assert_eq!(word(&token, &keys), expected, "{algorithm:?} {}", token.len());
        }
    }
}

#[test]
fn a_header_that_asks_for_anything_else_is_refused() {
    for algorithm in ALGORITHMS {
        let pair = pair(algorithm);
        let keys = [pair.key.clone()];
        let name = format!("{algorithm:?}");
        for (header, expected) in [
            (json!({ "alg": "none" }), "unsupported_algorithm"),
            (json!({ "alg": "None" }), "unsupported_algorithm"),
            (json!({ "alg": "" }), "unsupported_algorithm"),
            (json!({ "alg": name.to_lowercase() }), "unsupported_algorithm"),
            (json!({ "alg": "ES512" }), "unsupported_algorithm"),
            (json!({ "alg": name, "crit": ["exp"] }), "malformed"),
            (json!({ "alg": name, "crit": null }), "malformed"),
            (json!({ "alg": name, "typ": "logout+jwt" }), "malformed"),
            (json!({ "alg": name, "typ": "application/dpop+JWT" }), "malformed"),
            (json!({ "alg": name, "b64": false, "crit": ["b64"] }), "malformed"),
            (json!({ "alg": [name] }), "malformed"),
            (json!({ "typ": "JWT" }), "malformed"),
            (json!([name]), "malformed"),
        ] {
            let token = with_header(&header, &pair);
            assert_eq!(word(&token, &keys), expected, "{algorithm:?} {header}");
            // And without any signature at all.
            let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
            assert_eq!(word(&bare, &keys), expected, "{algorithm:?} {header}");
        }
        let twice = format!("{{\"alg\":\"none\",\"alg\":\"{name}\"}}");
        let good = pair.signing.sign(None, &claims()).unwrap();
        let signature = good.rsplit('.').next().unwrap();
        let twice = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(twice), encode(&claims()));
        assert_eq!(word(&twice, &keys), "malformed");
    }
}

#[test]
fn a_key_verifies_its_own_algorithms_and_no_other() {
    for signed_by in ALGORITHMS {
        let token = pair(signed_by).signing.sign(None, &claims()).unwrap();
        for held in ALGORITHMS {
            let key = pair(held).key.only(&[held]).unwrap();
            let expected = if signed_by == held { "ok" } else { "unsupported_algorithm" };
            assert_eq!(word(&token, &[key]), expected, "{signed_by:?} at a key of {held:?}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The classic: what everybody knows, taken as the secret of an HS256 signature.
    for algorithm in ALGORITHMS {
        let pair = pair(algorithm);
        if pair.key.secret_length().is_some() {
            continue;
        }
        for secret in [pair.public.clone(), pair.public.trim().to_owned(), pair.public.replace('\n', "\r\n")]
        {
            let forged = JwsKey::from_secret(secret.as_bytes()).unwrap().signing().unwrap();
            let token = forged.sign(None, &claims()).unwrap();
            assert_eq!(
                word(&token, std::slice::from_ref(&pair.key)),
                "unsupported_algorithm",
                "{algorithm:?}"
            );
            // Nor where a secret of ours is a key, too.
            let ours = JwsKey::from_secret(SECRET.as_bytes()).unwrap();
            assert_eq!(word(&token, &[pair.key.clone(), ours]), "bad_signature", "{algorithm:?}");
        }
    }
}

#[test]
fn a_key_of_the_same_kind_is_still_another_key() {
    for (algorithm, kind) in [
        (Algorithm::RS256, &PKCS_RSA_SHA256),
        (Algorithm::PS256, &PKCS_RSA_SHA256),
        (Algorithm::ES256, &PKCS_ECDSA_P256_SHA256),
        (Algorithm::EdDSA, &PKCS_ED25519),
    ] {
        let other = pair_of(algorithm, &KeyPair::generate_for(kind).unwrap());
        let token = pair(algorithm).signing.sign(None, &claims()).unwrap();
        assert_eq!(word(&token, &[other.key]), "bad_signature", "{algorithm:?}");
    }
}

#[test]
fn an_id_chooses_the_key() {
    let [first, second] = [pair(Algorithm::ES256), pair(Algorithm::EdDSA)];
    let keys = [first.key.clone().named("a"), second.key.clone().named("b")];
    let signed = |pair: &Pair, id: Option<&str>| pair.signing.sign(id, &claims()).unwrap();
    assert_eq!(word(&signed(&first, Some("a")), &keys), "ok");
    assert_eq!(word(&signed(&second, Some("b")), &keys), "ok");
    assert_eq!(word(&signed(&second, None), &keys), "ok", "without an id every key is tried");
    assert_eq!(word(&signed(&first, Some("c")), &keys), "unknown_key");
    assert_eq!(word(&signed(&first, Some("b")), &keys), "unsupported_algorithm");
    assert_eq!(
        word(&signed(&first, Some("c")), std::slice::from_ref(&first.key)),
        "ok",
        "a key without an id answers to all"
    );
    assert_eq!(word(&signed(&first, Some("a")), &[]), "unsupported_algorithm");
    // Two keys with one id: either may have signed.
    let other = pair_of(Algorithm::ES256, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let twins = [other.key.named("a"), first.key.clone().named("a")];
    assert_eq!(word(&signed(&first, Some("a")), &twins), "ok");

    let token = signed(&first, Some("a"));
    assert!(knows_key(&token, &keys) && !knows_key(&token, &keys[1..]));
    assert!(knows_key(&signed(&first, None), &keys) && !knows_key(&signed(&first, None), &[first.key]));
    assert!(knows_key("x.y.z", &[]));
}

#[test]
fn a_grant_ends_when_its_token_opens_nothing_any_more() {
    let pair = pair(Algorithm::HS256);
    let until = |changes: Value, rules: &Rules| {
        let token = pair.signing.sign(None, &but(changes)).unwrap();
        verify(&token, std::slice::from_ref(&pair.key), rules, now())
            .map(|claims| claims.until)
            .map_err(|denied| denied.label())
    };
    let at = |seconds: f64| Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)));
    let exact = Rules { leeway: Duration::ZERO, ..rules() };
    assert_eq!(until(json!({}), &exact), at((NOW + 60) as f64));
    assert_eq!(until(json!({}), &rules()), at((NOW + 65) as f64));
    assert_eq!(until(json!({ "exp": NOW as f64 + 0.5 }), &rules()), at(NOW as f64 + 5.5));
    assert_eq!(until(json!({ "exp": NOW - 3 }), &rules()), at((NOW + 2) as f64));
    assert_eq!(until(json!({ "exp": 9e10 }), &exact), Ok(Some(now() + FAR)));
    for claim in ["exp", "nbf", "iat"] {
        let milliseconds = json!({ claim: NOW * 1000 });
        assert_eq!(until(milliseconds, &rules()), Err("bad_claim"), "{claim} in milliseconds");
    }
    assert_eq!(until(json!({ "exp": 1e300 }), &rules()), Err("bad_claim"));
    assert_eq!(until(json!({ "iss": ["https://login.example"] }), &rules()), Err("wrong_issuer"));
    let for_ever = Rules { allow_without_exp: true, ..rules() };
    assert_eq!(until(json!({ "exp": null }), &for_ever), Ok(None));
    assert_eq!(until(json!({ "exp": NOW - 60 }), &for_ever), Err("expired"));
    let lenient = Rules { issuer: [].into(), audience: [].into(), require: [].into(), ..rules() };
    let anything = json!({ "iss": null, "aud": { "x": 1 }, "org": null });
    assert_eq!(until(anything, &lenient), at((NOW + 65) as f64));
}

#[test]
fn a_token_dated_ahead_counts_as_issued_now() {
    let pair = pair(Algorithm::HS256);
    let issued = |iat: u64| {
        let token = pair.signing.sign(None, &but(json!({ "iat": iat }))).unwrap();
        verify(&token, std::slice::from_ref(&pair.key), &rules(), now()).unwrap().issued
    };
    assert_eq!(issued(NOW - 30), Some(now() - Duration::from_secs(30)));
    assert_eq!(issued(NOW + 30), Some(now()), "else it would outlive a revocation of today");
}
