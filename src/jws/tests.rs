use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
    PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use serde_json::json;

use super::*;

fn jwk(key: &JwsKey) -> Value {
    serde_json::to_value(Jwk::from_decoding_key(&key.0.material, None).unwrap()).unwrap()
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn ids(text: &[u8], secrets: Secrets) -> Vec<String> {
    let keys = JwsKey::from_jwks(text, secrets).unwrap().keys;
    keys.iter().map(|key| format!("{} {:?}", key.id().unwrap_or("-"), key.algorithms())).collect()
}

#[test]
fn a_pem_is_read_for_what_it_is() {
    for (kind, algorithms) in [
        (&PKCS_ECDSA_P256_SHA256, &[Algorithm::ES256][..]),
        (&PKCS_ECDSA_P384_SHA384, &[Algorithm::ES384]),
        (&PKCS_ED25519, &[Algorithm::EdDSA]),
        (&PKCS_RSA_SHA256, AlgorithmFamily::Rsa.algorithms()),
    ] {
        let pair = KeyPair::generate_for(kind).unwrap();
        let key = JwsKey::from_pem(&pair.public_key_pem()).unwrap();
        assert_eq!(key.algorithms(), algorithms);
        let certificate =
            CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
        assert_eq!(JwsKey::from_pem(&certificate.pem()).unwrap(), key, "its certificate");
        assert_eq!(
            JwsKey::from_pem(&pair.public_key_pem().replace('\n', "\\n")).unwrap(),
            key,
            "in one line"
        );
        assert_eq!(JwsKey::from_pem(&pair.serialize_pem()), Err(BadKey::Private));
        assert!(SigningKey::from_pem(&pair.public_key_pem(), &[]).is_err());
    }
}

#[test]
fn what_is_no_key_that_can_be_used_is_told_apart() {
    let p521 = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    assert_eq!(JwsKey::from_pem(&p521.public_key_pem()), Err(BadKey::Unsupported));
    for text in ["", "secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(matches!(JwsKey::from_pem(text), Err(BadKey::NotPem | BadKey::Unsupported)), "{text}");
    }
    let weak = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB" });
    assert_eq!(JwsKey::from_jwks(&set(&[weak]), Secrets::Taken), Err(BadKey::NoKey));
    assert_eq!(JwsKey::from_secret(b""), Err(BadKey::Empty));
    assert_eq!(JwsKey::from_base64_secret("a b"), Err(BadKey::NotBase64));
    let ours = JwsKey::from_secret(b"\xfb\xff\xfe!").unwrap();
    for text in ["+//+IQ==", "-__-IQ", "-__-IQ=="] {
        assert_eq!(JwsKey::from_base64_secret(text), Ok(ours.clone()), "{text}");
    }
    let key = JwsKey::from_pem(&KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem()).unwrap();
    let not_for = BadKey::NotFor { algorithm: Algorithm::HS256, fits: "EdDSA".to_owned() };
    assert_eq!(key.only(&[Algorithm::HS256]), Err(not_for));
}

#[test]
fn a_large_rsa_key_is_taken() {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).unwrap();
    let key = JwsKey::from_pem(&pair.public_key_pem()).unwrap();
    assert_eq!(rsa_bits(&key.0.material), 3072);
}

#[test]
fn a_set_gives_the_keys_for_signatures_of_known_kinds() {
    let p256 =
        jwk(&JwsKey::from_pem(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().public_key_pem())
            .unwrap());
    let rsa =
        jwk(&JwsKey::from_pem(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().public_key_pem()).unwrap());
    let ed = jwk(&JwsKey::from_pem(&KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem()).unwrap());
    let but = |key: &Value, changes: Value| {
        let mut key = key.clone();
        changes.as_object().unwrap().iter().for_each(|(name, value)| key[name] = value.clone());
        key
    };
    let all = set(&[
        but(&p256, json!({ "kid": "a", "use": "sig", "x5c": ["ignored"] })),
        but(&rsa, json!({ "kid": "b", "alg": "RS256", "key_ops": ["verify"] })),
        but(&rsa, json!({ "kid": "c", "alg": "RSA-OAEP", "use": "enc" })),
        but(&rsa, json!({ "kid": "d", "alg": "RSA-OAEP" })),
        but(&rsa, json!({ "kid": "e", "alg": "HS256" })),
        but(&ed, json!({ "kid": "f", "alg": "Ed25519" })),
        but(&ed, json!({ "kid": "g", "alg": "EdDSA", "key_ops": ["sign"] })),
        but(&p256, json!({ "kid": "h", "crv": "P-521" })),
        but(&p256, json!({ "kid": "i", "x": "AAAA" })),
        but(&p256, json!({ "kid": 7 })),
        json!({ "kty": "oct", "kid": "j", "k": "c2VjcmV0" }),
        json!({ "kty": "oct", "kid": "k", "k": "" }),
        json!({ "kty": "new", "kid": "l" }),
        json!("no key"),
        ed.clone(),
    ]);
    let public = ["a [ES256]", "b [RS256]", "f [EdDSA]", "- [EdDSA]"];
    assert_eq!(ids(&all, Secrets::PassedOver), public, "a secret that travels is none");
    let j = "j [HS256, HS384, HS512]";
    assert_eq!(ids(&all, Secrets::Taken), [public[0], public[1], public[2], j, public[3]]);
    for (text, why) in [
        ("", BadKey::NotASet("it is not JSON")),
        ("[]", BadKey::NotASet("it has no array `keys`")),
        ("{\"keys\": {}}", BadKey::NotASet("it has no array `keys`")),
        ("{\"keys\": []}", BadKey::NoKey),
    ] {
        assert_eq!(JwsKey::from_jwks(text.as_bytes(), Secrets::Taken), Err(why), "{text}");
    }
}

#[test]
fn a_set_is_bounded() {
    let key =
        jwk(&JwsKey::from_pem(&KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem()).unwrap());
    let mut many = vec![key; MOST_KEYS + 1];
    many.push(json!("no key"));
    let many = set(&many);
    let JwkSet { keys, too_many, unusable } = JwsKey::from_jwks(&many, Secrets::PassedOver).unwrap();
    assert_eq!((keys.len(), too_many, unusable), (MOST_KEYS, 1, 1));
    let marked = [b"\xef\xbb\xbf", &many[..]].concat();
    assert_eq!(JwsKey::from_jwks(&marked, Secrets::PassedOver).unwrap().keys.len(), MOST_KEYS);
}

#[test]
fn a_key_does_not_show_itself() {
    let shown = format!("{:?}", JwsKey::from_secret(b"hunter2hunter2").unwrap());
    assert!(!shown.contains("hunter") && !shown.contains("104"), "{shown}");
}
