//! `auth = "signed"`: names of streams that Rails's own code has signed open a stream, and no others do.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::foreign_publishers::page;
use crate::harness::{Browser, Daemon, Node, Stream, request, within};

const KEY: &str = "a key of the application, of more than thirty-two bytes";
const BASE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// As turbo-rails does it: `Turbo.signed_stream_verifier`, with the key of `config.turbo.signed_stream_verifier_key` or the
/// one that Rails derives; and a verifier as an application makes one without a word about the digest.
const SIGN: &str = r#"
require "json"
require "active_support"
require "active_support/message_verifier"
require "active_support/key_generator"
own, base, name = ARGV
derived = ActiveSupport::KeyGenerator.new(base, iterations: 1000).generate_key("turbo/signed_stream_verifier_key")
turbo = ->(key) { ActiveSupport::MessageVerifier.new(key, digest: "SHA256", serializer: JSON) }
bare = ActiveSupport::MessageVerifier.new(own, serializer: JSON)
puts JSON.generate(own: turbo[own].generate(name), derived: turbo[derived].generate(name), bare: bare.generate(name),
                   other: turbo["another key of thirty-two bytes or more"].generate(name),
                   purpose: turbo[own].generate(name, purpose: :login))
"#;

/// The same name, signed in each way.
async fn signed(name: &str) -> Value {
    let ruby = Command::new("ruby").arg("-e").arg(SIGN).args([KEY, BASE, name]).output();
    let output = within("Ruby's answer", ruby).await.expect("ruby");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn path(route: &str, name: &Value) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_str().expect("a text").as_bytes()).collect();
    format!("{route}?signed-stream-name={name}")
}

fn config() -> String {
    format!(
        r#"
[[stream]]
path       = "/turbo"
auth       = "signed"
signed_key = "{KEY}"

[[stream]]
path            = "/derived"
auth            = "signed"
topics          = ["turbo:{{claim.stream}}", "news"]
signed_key_base = "{BASE}"
meta            = ["query.*"]
"#
    )
}

async fn topics(daemon: &Daemon, path: &str) -> Value {
    let mut stream = daemon.stream(path).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    stream.block().await.json()["topics"].clone()
}

async fn refused(daemon: &Daemon, path: &str) -> (u16, Value) {
    let answer = daemon.get(path).await;
    (answer.status, answer.json()["reason"].clone())
}

#[tokio::test]
async fn a_name_that_rails_has_signed_opens_its_stream_and_no_other() {
    let daemon = Daemon::start(&config()).await;
    let name = "Z2lkOi8vYXBwL1Jvb20vMQ:messages>?";
    let names = signed(name).await;
    assert_eq!(topics(&daemon, &path("/turbo", &names["own"])).await, json!([name]));
    assert_eq!(
        topics(&daemon, &path("/turbo", &names["bare"])).await,
        json!([name]),
        "the digest of its release"
    );
    let derived = path("/derived", &names["derived"]);
    assert_eq!(topics(&daemon, &derived).await, json!([format!("turbo:{name}"), "news"]));
    for (route, kind) in
        [("/turbo", "other"), ("/turbo", "derived"), ("/derived", "own"), ("/turbo", "purpose")]
    {
        let bad = refused(&daemon, &path(route, &names[kind])).await;
        assert_eq!(bad, (401, json!("bad_signed_name")), "{kind} at {route}");
    }
    assert_eq!(refused(&daemon, "/turbo").await, (401, json!("no_signed_name")));
    assert_eq!(refused(&daemon, "/turbo?signed-stream-name=room").await.0, 401);

    // What is published to the name reaches it as Turbo's element takes it.
    let mut stream = daemon.stream(&path("/turbo", &names["own"])).await;
    stream.block().await;
    let html = "<turbo-stream action=\"append\" target=\"messages\"><template>hi</template></turbo-stream>";
    daemon.publish(&json!({ "topic": name, "data": html })).await;
    let event = stream.event().await;
    assert_eq!(
        (event.event.as_deref(), event.data()),
        (None, html),
        "an event without a name is a `message`"
    );

    // A name is a right: it is noted nowhere, and a page of another site does not use it.
    let noted = daemon.command("GET", "/connections", &[], b"").await.text();
    for place in [noted, daemon.log()] {
        let signature = names["own"].as_str().expect("a text").rsplit_once("--").expect("signed").1;
        assert!(!place.contains(signature), "{place}");
    }
    let foreign = [("origin", "https://evil.example")];
    let foreign = request(daemon.public, "GET", &path("/turbo", &names["own"]), &foreign, b"").await;
    assert_eq!(foreign.json()["reason"], "origin_not_allowed");
}

#[tokio::test]
async fn turbos_own_element_hears_by_a_signed_name_and_gives_up_with_a_forged_one() {
    let names = signed("room:1").await;
    let element = |kind: &str| {
        format!("<turbo-stream-source src=\"{}\"></turbo-stream-source>", path("/turbo", &names[kind]))
    };
    let html = format!(
        "<!doctype html><script src=\"/turbo.js\"></script>{}{}<div id=\"messages\"></div>",
        element("own"),
        element("other")
    );
    let backend = Node::start(&page(&html)).await;
    let daemon = Daemon::start(&backend.config(&config())).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.public)).await;
    let state = |nth: usize, state: u8| {
        let source = format!("document.querySelectorAll('turbo-stream-source')[{nth}].streamSource");
        format!("{source}.readyState === {state}")
    };
    browser.until(&state(0, 1)).await;
    browser.until(&state(1, 2)).await;
    let mut shown = Vec::new();
    for text in ["first", "second"] {
        shown.push(text.to_owned());
        let template = format!("<template><p>{text}</p></template>");
        let html = format!("<turbo-stream action=\"append\" target=\"messages\">{template}</turbo-stream>");
        daemon.publish(&json!({ "topic": "room:1", "data": html })).await;
    }
    browser.shows("#messages p", &shown).await;
}

#[tokio::test]
async fn a_signed_name_can_be_taken_back_by_its_topic() {
    let daemon = Daemon::start(&config()).await;
    let names = signed("room:1").await;
    let of_room = path("/turbo", &names["own"]);
    let mut stream = Stream::open(daemon.public, &of_room, &[]).await;
    stream.block().await;
    let revoked = crate::while_open::revoke(&daemon, &json!({ "topic": "room:1" })).await;
    assert_eq!(revoked.json()["ended"], 1);
    assert_eq!(crate::while_open::ended(&mut stream).await.as_deref(), Some("revoked"));
    assert_eq!(refused(&daemon, &of_room).await, (401, json!("revoked")));
}
