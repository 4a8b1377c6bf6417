//! `sidestream token`: what it makes, the daemon takes; what it says, the daemon does.

use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use super::{SECRET, answer, claims};
use crate::harness::{Daemon, Finished, Shell};

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
