//! The configuration read anew while the daemon serves: what is taken up, what stays, and what is said of it.

mod channels;
mod refused;
mod taken_up;
mod webhooks;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, KEY, request};

/// Asks for a reload.
async fn ask(daemon: &Daemon) -> Answer {
    daemon.command("POST", "/reload", &[], b"").await
}

/// Rewrites the configuration's file and asks for a reload, which must be taken up; gives back the names of the keys
/// that were applied, and of those that need a restart.
async fn reloaded(daemon: &Daemon, config: &str) -> (Vec<String>, Vec<String>) {
    daemon.rewrite(config);
    let answer = ask(daemon).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let names = |value: &Value| -> Vec<String> {
        value.as_array().expect("names").iter().map(|name| name.as_str().expect("text").to_owned()).collect()
    };
    let said = answer.json();
    (names(&said["applied"]), names(&said["needs_restart"]))
}

/// Publishes with this key; gives back the status.
async fn publish_with(daemon: &Daemon, key: &str) -> u16 {
    let key = format!("Bearer {key}");
    let body = json!({ "topic": "a", "data": 1 }).to_string();
    request(daemon.internal, "POST", "/publish", &[("authorization", &key)], body.as_bytes()).await.status
}

/// A configuration whose key is [`KEY`], with `more` of the other sections.
fn keyed(more: &str) -> String {
    format!("internal.publish_keys = [\"{KEY}\"]\n{more}")
}
