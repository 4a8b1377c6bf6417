//! `[[internal.publisher]]`: a key that may publish within bounds.

use crate::config::parsers::{label, publish_key, quota, sha256, topic_pattern, yes_or_no};
use crate::config::schema::table::{key, section};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;
use crate::event::Pattern;
use crate::pace::Quota;

/// How a publisher's key is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublisherKey {
    Plain(Secret),
    /// The SHA-256 of the key.
    Sha256([u8; 32]),
}

section! {
    /// A key that may publish within bounds. There may be several; none by default.
    pub struct Publisher without default checked by check {
        /// Whose key it is, for the log and the metrics.
        name: String = required(
            "chat",
            "say whose key it is, for the log and the metrics: name = \"chat\"",
            String::new(),
            label
        );
        key: PublisherKey = by(read_key);
        /// The topics that it may publish to; "*" stands for any text.
        topics: Vec<Pattern> = list_or_empty(["conversation:*"], topic_pattern);
        /// Whether it may publish to users, whatever their topics.
        users: bool = value(false, yes_or_no);
        /// To sessions.
        sessions: bool = value(false, yes_or_no);
        /// To single streams.
        clients: bool = value(false, yes_or_no);
        /// To everybody.
        broadcast: bool = value(false, yes_or_no);
        /// Whether it may take back events, too, that are for nobody to whom it may not publish (docs/taking-back.md).
        retract: bool = value(false, yes_or_no);
        /// How many events it may publish, instead of what `limits.publishes_per_key` says; 0 = as many as it likes.
        rate: Option<Quota> = optional("100/s burst=500", quota);
    }
}

fn read_key(s: &mut SectionReader<'_, '_>) -> PublisherKey {
    let about = "The key. `sidestream key new` makes one, and its hash.";
    let plain = s.secret(key!("key", "0123456789abcdef0123456789abcdef01234567", about), publish_key);
    let about = "Instead of the key its hash, so that reading this file is not enough to publish.";
    let sample =
        key!("key_sha256", "87d7d2b0b7c1ba8e2e4b6b3e38aabf7c0b5fcf6c6dd3e9d08ff8f8f3a7f5a6d1", about);
    match (plain, s.instead(sample, sha256)) {
        (None, Some(hash)) => PublisherKey::Sha256(hash),
        (Some(key), None) => PublisherKey::Plain(key),
        (Some(key), Some(_)) => {
            let message = "the key is given as it is and by its hash: only one of the two can be";
            s.report(&["key_sha256", "key", "key_file"], message, None);
            PublisherKey::Plain(key)
        }
        (None, None) => {
            s.report(
                &["key", "key_file", "key_sha256"],
                "`key` is missing in [[internal.publisher]]",
                Some("`sidestream key new` makes one, and its hash for `key_sha256`".to_owned()),
            );
            PublisherKey::Sha256([0; 32])
        }
    }
}

fn check(publisher: &Publisher, s: &mut SectionReader<'_, '_>) {
    if let PublisherKey::Plain(key) = &publisher.key {
        warn_of_weak_keys(s, &["key", "key_file"], std::slice::from_ref(key));
    }
    let people = publisher.users || publisher.sessions || publisher.clients || publisher.broadcast;
    if publisher.topics.is_empty() && !people {
        s.report(
            &["topics", "users", "sessions", "clients", "broadcast"],
            "this publisher may publish nothing",
            Some("say to which topics it may: topics = [\"conversation:*\"]".to_owned()),
        );
    }
}

/// Every table; their names and keys are all different.
pub(super) fn read_publishers(s: &mut SectionReader<'_, '_>) -> Vec<Publisher> {
    let publishers = s.tables("internal.publisher", "publisher", Publisher::read);
    for (at, publisher) in publishers.iter().enumerate() {
        let key = |at: usize, key: &str| format!("publisher[{}].{key}", at + 1);
        let earlier = &publishers[..at];
        if let Some(other) = earlier.iter().position(|earlier| earlier.name == publisher.name) {
            let keys = [key(at, "name"), key(other, "name")];
            s.report(
                &keys.each_ref().map(String::as_str),
                format!("`name` is {} for an earlier [[internal.publisher]] too", publisher.name),
                None,
            );
        }
        if let Some(other) = earlier.iter().position(|earlier| earlier.key == publisher.key) {
            let keys = [key(at, "key"), key(at, "key_sha256"), key(at, "key_file"), key(other, "name")];
            s.report(
                &keys.each_ref().map(String::as_str),
                "the key is that of an earlier [[internal.publisher]] too",
                Some("give each publisher a key of its own: `sidestream key new` makes one".to_owned()),
            );
        }
    }
    publishers
}
