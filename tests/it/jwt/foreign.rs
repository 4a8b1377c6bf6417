//! Tokens of every algorithm, made by what applications make them with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::{SECRET, answer, claims};
use crate::harness::{Daemon, Program};

const ALL: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

#[tokio::test]
async fn tokens_of_npm_jsonwebtoken_are_taken() {
    // It has no EdDSA.
    takes_tokens_of(Program::node("tokens.mjs", &["jsonwebtoken"]), &ALL[..11]).await;
}

#[tokio::test]
async fn tokens_of_npm_jose_are_taken() {
    takes_tokens_of(Program::node("tokens.mjs", &["jose"]), ALL).await;
}

#[tokio::test]
async fn tokens_of_pyjwt_are_taken() {
    takes_tokens_of(Program::python("tokens.py", &[]), ALL).await;
}

async fn takes_tokens_of(mut maker: Program, algorithms: &[&str]) {
    let pair = |kind| KeyPair::generate_for(kind).expect("a key");
    let [rsa, p256, p384, ed] = [
        pair(&PKCS_RSA_SHA256),
        pair(&PKCS_ECDSA_P256_SHA256),
        pair(&PKCS_ECDSA_P384_SHA384),
        pair(&PKCS_ED25519),
    ];
    let mut config = format!(
        "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"{{claim.alg}}\"]\n\
         [[auth.jwt.key]]\nkid = \"HS\"\nsecret = \"{SECRET}\"\n"
    );
    for (kid, key) in [("RS", &rsa), ("ES256", &p256), ("ES384", &p384), ("EdDSA", &ed)] {
        let pem = key.public_key_pem();
        config.push_str(&format!("[[auth.jwt.key]]\nkid = \"{kid}\"\npublic_key = \"\"\"{pem}\"\"\"\n"));
    }
    let daemon = Daemon::start(&config).await;

    for &alg in algorithms {
        let (kid, key) = match alg {
            "HS256" | "HS384" | "HS512" => ("HS", SECRET.to_owned()),
            "ES256" => (alg, p256.serialize_pem()),
            "ES384" => (alg, p384.serialize_pem()),
            "EdDSA" => (alg, first_version(&ed)),
            _ => ("RS", rsa.serialize_pem()),
        };
        let mut make = async |claims| {
            maker.tell(&json!({ "alg": alg, "key": key, "kid": kid, "claims": claims })).await;
            maker.json().await.as_str().expect("a token").to_owned()
        };
        let token = make(claims(json!({ "alg": alg }))).await;
        let (status, connected) = answer(&daemon, "/events", &token).await;
        assert_eq!((status, &connected["topics"]), (200, &json!([alg])), "{connected}");

        // The signature of one token is none of another.
        let other = make(claims(json!({ "alg": alg, "sub": "u2" }))).await;
        let (message, _) = other.rsplit_once('.').expect("three parts");
        let (_, signature) = token.rsplit_once('.').expect("three parts");
        let (status, said) = answer(&daemon, "/events", &format!("{message}.{signature}")).await;
        assert_eq!((status, &said["reason"]), (401, &json!("bad_signature")), "{alg}");
    }
}

/// An Ed25519 key in the first version of PKCS#8, without its public half: OpenSSL reads no other.
fn first_version(pair: &KeyPair) -> String {
    let second = pair.serialize_der();
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let der = [&head[..], &second[16..48]].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}
