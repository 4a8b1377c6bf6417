//! `sidestream token`: what it makes, the daemon takes; what it says, the daemon does.

use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use super::{SECRET, answer, claims};
use crate::harness::{Daemon, Finished, Shell, token_of};

const STREAMS: &str = r#"
public.backend = "http://127.0.0.1:3000"

[[stream]]
path   = "/events"
auth   = "jwt"
topics = ["conversation:{query.c}"]

[[stream]]
path   = "/rooms/{room}"
auth   = "jwt"
topics = ["tenant:{claim.tenant}", "room:{path.room}"]

[[stream]]
path   = "/open"
topics = ["news"]
"#;

fn file(folder: &Path, text: &str) -> String {
    let path = folder.join("sidestream.toml");
    std::fs::write(&path, format!("{STREAMS}{text}")).expect("a file");
    path.display().to_string()
}

async fn run(arguments: &[&str], input: &str) -> Finished {
    Shell::run(&[&["token"], arguments].concat(), &[], input).await
}

#[tokio::test]
async fn a_minted_token_is_taken_by_the_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let section = format!(
        "[auth.jwt]\nsecret = \"{SECRET}\"\nissuer = [\"me\"]\naudience = [\"push\"]\nuser = \"ctx.user\"\nalgorithms = [\"HS384\"]\n"
    );
    let config = file(folder.path(), &section);
    let arguments = [
        "mint",
        "--config",
        &config,
        "--user",
        "u1",
        "--session",
        "s1",
        "--topic",
        "conversation:*",
        "--for",
        "10m",
    ];
    let minted = run(&arguments, "").await;
    assert_eq!((minted.code, minted.stderr.as_str()), (Some(0), ""));
    let token = minted.stdout.trim();
    let daemon = Daemon::start(&format!("{}{section}", STREAMS)).await;
    let (status, connected) = answer(&daemon, "/events?c=42", token).await;
    assert_eq!((status, &connected["user"], &connected["session"]), (200, &json!("u1"), &json!("s1")));

    let verified = run(&["verify", "--config", &config], &format!("{token}\n")).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified.stdout.starts_with("ok\n  user     u1\n  session  s1\n  id       "),
        "{}",
        verified.stdout
    );
    assert!(
        verified.stdout.contains("  topics   conversation:*\n  time     ends in 9m"),
        "{}",
        verified.stdout
    );
    let verified = run(&["verify", "--config", &config, token], "").await;
    assert_eq!(verified.code, Some(0));

    // A claim that is given goes before the rest; what the daemon would refuse is reported at once.
    let minted = run(&["mint", "--config", &config, "--claim", "aud=web", "--claim", "n=7"], "").await;
    assert_eq!(minted.code, Some(0));
    assert!(
        minted
            .stderr
            .contains("the daemon would refuse it: the token is for another audience (wrong_audience)"),
        "{minted:?}"
    );
    let verified = run(&["verify", "--config", &config], &minted.stdout).await;
    assert_eq!(
        (verified.code, verified.stdout.as_str()),
        (Some(1), "wrong_audience: the token is for another audience\n")
    );
}

#[tokio::test]
async fn a_private_key_signs_under_an_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let private = folder.path().join("key.pem");
    std::fs::write(&private, pair.serialize_pem()).expect("a file");
    let config = file(
        folder.path(),
        &format!("[[auth.jwt.key]]\nkid = \"k1\"\npublic_key = \"\"\"{}\"\"\"\n", pair.public_key_pem()),
    );
    let private = private.display().to_string();
    let minted = run(&["mint", "--private-key", &private, "--key", "k1", "--user", "u1"], "").await;
    assert_eq!(minted.code, Some(0), "{minted:?}");
    assert_eq!(run(&["verify", "--config", &config], &minted.stdout).await.code, Some(0));
    let other = run(&["mint", "--private-key", &private, "--key", "k2"], "").await;
    let verified = run(&["verify", "--config", &config], &other.stdout).await;
    assert!(verified.stdout.starts_with("unknown_key: "), "{verified:?}");
    let none = run(&["mint", "--config", &config], "").await;
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no configured secret fits"), "{none:?}");
    let wrong = run(&["mint", "--private-key", &private, "--algorithm", "RS256"], "").await;
    assert!(wrong.stderr.contains("the key is for ES256, not for RS256"), "{wrong:?}");
}

#[tokio::test]
async fn explain_says_what_a_token_opens_and_what_it_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = file(
        folder.path(),
        &format!("[auth.jwt]\nsecret = \"{SECRET}\"\ngrant = [\"conversation:{{claim.tenant}}-*\"]\n"),
    );
    let mint = |more: &[&'static str]| {
        let arguments = [&["mint", "--config", &config, "--user", "u1", "--id", "t1"], more].concat();
        async move { run(&arguments, "").await.stdout }
    };
    let token = mint(&["--claim", "tenant=7", "--topic", "room:*"]).await;
    let said = run(&["explain", "--config", &config, "--topic", "conversation:7-x"], &token).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let expected = "\
the token is good
  user     u1
  id       t1
  topics   room:*, conversation:7-*
  time     ends in 59m";
    assert!(said.stdout.starts_with(expected), "{}", said.stdout);
    let expected = "
/events: opens
  conversation:{query.c}: for a {query.c} that makes it one of conversation:7-*

/rooms/{room}: opens
  tenant:7: heard, because the stream gives it to everybody
  room:{path.room}: for any {path.room}, by room:*

/open: open to anyone; no token is looked at

conversation:7-x: may be asked for, by conversation:7-*
";
    assert!(said.stdout.ends_with(expected), "{}", said.stdout);

    let said = run(&["explain", "--config", &config, "--topic", "room:1"], &mint(&[]).await).await;
    assert_eq!(said.code, Some(1));
    let expected = "
/events: refused
  conversation:{query.c}: topic_not_granted, whatever the request says

/rooms/{room}: refused
  tenant:{claim.tenant}: no_claim, the token has no `tenant` that makes a name
  room:{path.room}: topic_not_granted, whatever the request says

/open: open to anyone; no token is looked at

room:1: topic_not_granted
";
    assert!(said.stdout.ends_with(expected), "{}", said.stdout);

    let old = mint(&["--claim", "exp=1000", "--claim", "iss=somebody"]).await;
    let said = run(&["explain", "--config", &config], &old).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stdout.starts_with("the token is refused: expired: the token has expired\n"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("  iss  \"somebody\"; accepted: any\n"), "{}", said.stdout);
    assert!(said.stdout.contains("  alg  \"HS256\"; accepted: HS256, HS384, HS512\n"), "{}", said.stdout);
    assert!(said.stdout.contains("  exp  ") && said.stdout.contains(" ago\n"), "{}", said.stdout);
}

#[tokio::test]
async fn the_environment_alone_is_enough() {
    let variables = [("SIDESTREAM_AUTH_JWT_SECRET", SECRET)];
    let minted = Shell::run(&["token", "mint", "--user", "u1"], &variables, "").await;
    assert_eq!(minted.code, Some(0), "{minted:?}");
    let verified = Shell::run(&["token", "verify"], &variables, &minted.stdout).await;
    assert!(verified.stdout.starts_with("ok\n"), "{verified:?}");
    let other =
        Shell::run(&["token", "verify"], &[("SIDESTREAM_AUTH_JWT_SECRET", "other")], &minted.stdout).await;
    assert!(other.stdout.starts_with("bad_signature: "), "{other:?}");
    let none = Shell::run(&["token", "verify"], &[], &minted.stdout).await;
    assert!(none.stderr.contains("there is no [auth.jwt]"), "{none:?}");
    // What somebody else has made is judged alike.
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token =
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims(json!({})), &key).expect("a token");
    assert!(Shell::run(&["token", "verify"], &variables, &token).await.stdout.starts_with("ok\n"));
}

#[tokio::test]
async fn a_publishers_token_is_minted_and_publishes_where_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let section = format!("[internal.publisher_jwt]\nsecret = \"{SECRET}\"\naudience = [\"push\"]\n");
    let path = folder.path().join("sidestream.toml");
    std::fs::write(&path, format!("public.backend = \"http://127.0.0.1:3000\"\n{section}")).expect("a file");
    let config = path.display().to_string();
    let of = ["--publisher", "--config", &config];
    let minted = run(&[&["mint", "--user", "chat", "--topic", "room:*"], &of[..]].concat(), "").await;
    assert_eq!((minted.code, minted.stderr.as_str()), (Some(0), ""), "{minted:?}");
    let daemon = Daemon::start(&section).await;
    let url = format!("http://{}", daemon.internal);
    for (topic, code, say) in [("room:1", 0, ""), ("news", 1, "may not publish to the topic `news`")] {
        let arguments = ["publish", "--topic", topic, "--url", &url, "hi"];
        let environment = [("SIDESTREAM_PUBLISH_KEY", minted.stdout.trim())];
        let finished = Shell::run(&arguments, &environment, "").await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(finished.stderr.contains(say), "{finished:?}");
    }
    let verified = run(&[&["verify"], &of[..]].concat(), &minted.stdout).await;
    assert!(verified.code == Some(0) && verified.stdout.contains("  topics   room:*\n"), "{verified:?}");
    let asked = ["--topic", "room:1", "--topic", "news"];
    let said = run(&[&["explain"], &of[..], &asked].concat(), &minted.stdout).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.ends_with("\nroom:1: may be published to, by room:*\n\nnews: topic_not_allowed\n"),
        "{said:?}"
    );
    // A caller's token is another thing, and the other way round.
    let none = run(&["verify", "--config", &config], &minted.stdout).await;
    assert!(none.stderr.contains("there is no [auth.jwt]"), "{none:?}");
    let nowhere = run(&[&["mint"], &of[..]].concat(), "").await;
    assert!(nowhere.stderr.contains("it may publish to no topic"), "{nowhere:?}");
    assert_eq!(run(&[&["mint", "--session", "s"], &of[..]].concat(), "").await.code, Some(2));
}

#[tokio::test]
async fn explain_names_the_claim_that_nearly_says_who_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = file(folder.path(), &format!("[auth.jwt]\nsecret = \"{SECRET}\"\n"));
    for (claims, hint) in [
        (json!({ "userId": "u1" }), "no user: the token has `userId`; set auth.jwt.user = \"userId\""),
        (json!({ "user": { "id": 7 } }), "no user: the token has `user.id`; set auth.jwt.user = \"user.id\""),
        (json!({ "tenant": "t" }), "no user: the token has no `sub`, so what is for users does not reach it"),
        (
            json!({ "sub": "u1", "rooms": ["a"] }),
            "no topics: the token has `rooms`; set auth.jwt.topics = \"rooms\"",
        ),
        (
            json!({ "sub": "u1", "sessionId": "s" }),
            "no session: the token has `sessionId`; set auth.jwt.session = \"sessionId\"",
        ),
        (json!({ "sub": "u1" }), "or give some to everybody by auth.jwt.grant"),
    ] {
        let said = run(&["explain", "--config", &config], &token_of(SECRET, &claims)).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains(&format!("{hint}\n")), "{hint}: {}", said.stdout);
    }
    let said =
        run(&["explain", "--config", &config], &token_of(SECRET, &json!({ "sub": "u1", "topics": ["a"] })))
            .await;
    assert!(!said.stdout.contains("\nno "), "{}", said.stdout);
}

#[tokio::test]
async fn explain_says_the_next_step_for_each_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    let section = format!(
        "[auth.jwt]\nsecret = \"{SECRET}\"\nissuer = [\"me\"]\naudience = [\"push\"]\nrequire = [\"tid\"]\n"
    );
    let config = file(folder.path(), &section);
    let good = || json!({ "iss": "me", "aud": "push", "tid": 1, "sub": "u1" });
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    let other = token_of("another secret of the tests, just as long", &good());
    let [header, payload, signature] = other.split('.').collect::<Vec<_>>()[..] else { panic!("{other}") };
    // {"alg":"none"} and {"alg":"RS256"}.
    let (none, rs256) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJSUzI1NiJ9");
    for (token, label, step) in [
        (token_of(SECRET, &with("exp", json!(1000))), "expired", "make a new one; if it is new, the clock"),
        (token_of(SECRET, &with("nbf", json!(4_000_000_000_u64))), "not_yet_valid", "wait until its `nbf`"),
        (token_of(SECRET, &with("exp", json!(4_000_000_000_000_u64))), "bad_claim", "divide `exp` by 1,000"),
        (
            token_of(SECRET, &with("aud", json!("web"))),
            "wrong_audience",
            "add its `aud` to auth.jwt.audience",
        ),
        (token_of(SECRET, &without("aud")), "missing_claim", "set `aud` to one of auth.jwt.audience"),
        (token_of(SECRET, &with("iss", json!("you"))), "wrong_issuer", "add its `iss` to auth.jwt.issuer"),
        (token_of(SECRET, &without("iss")), "missing_claim", "set `iss` to one of auth.jwt.issuer"),
        (token_of(SECRET, &without("tid")), "missing_claim", "let its issuer set `tid`"),
        (token_of(SECRET, &with("sub", json!({ "id": 1 }))), "bad_claim", "set auth.jwt.user = \"sub.id\""),
        (other.clone(), "bad_signature", "compare both to the last byte"),
        (format!("{none}.{payload}."), "unsupported_algorithm", "sign it: a token without a signature"),
        (
            format!("{rs256}.{payload}.{signature}"),
            "unsupported_algorithm",
            "sign it with an algorithm that is accepted",
        ),
        (format!("{header}.a.b.c.{signature}"), "malformed", "an encrypted token (JWE)"),
        ("0123456789abcdef".to_owned(), "malformed", "an opaque token"),
    ] {
        let said = run(&["explain", "--config", &config], &token).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let starts = format!("the token is refused: {label}: ");
        assert!(
            said.stdout.starts_with(&starts) && said.stdout.contains(step),
            "{label}, {step}: {}",
            said.stdout
        );
    }
    let keyed = format!("[[auth.jwt.key]]\nkid = \"k1\"\nsecret = \"{SECRET}\"\n");
    let keyed = file(folder.path(), &keyed);
    // {"alg":"HS256","kid":"k2"}
    let token = format!("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsyIn0.{payload}.{signature}");
    let said = run(&["explain", "--config", &keyed], &token).await;
    assert!(
        said.stdout.contains("unknown_key") && said.stdout.contains("as a [[auth.jwt.key]]"),
        "{}",
        said.stdout
    );
}
