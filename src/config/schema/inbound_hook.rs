//! `[[internal.hook]]`: requests of other services that become events.

use std::time::Duration;

use http::HeaderName;

use crate::config::parsers::content_templates::ContentSource;
use crate::config::parsers::templates::path;
use crate::config::parsers::{
    claim_name, header_name, hook_secret, label, publish_key, quota, sha256, short_text, time, word,
};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::content::{names_nobody, read_content};
use crate::config::schema::publisher::PublisherKey;
use crate::config::schema::table::{key, section};
use crate::config::schema::units::{DAY, SECOND};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;
use crate::event::ContentTemplates;
use crate::pace::Quota;

/// What the body of a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookFormat {
    /// Any JSON, or a form.
    Any,
    /// CloudEvents in any of their HTTP modes.
    CloudEvents,
}

/// What a signature is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureScheme {
    /// Of the body, in a header that the operator names.
    Body,
    GitHub,
    Stripe,
    /// <https://www.standardwebhooks.com>
    StandardWebhooks,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureHash {
    Sha1,
    Sha256,
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureEncoding {
    Hex,
    Base64,
}

section! {
    /// Requests of other services that become events: `POST /hooks/<name>`, see docs/hooks.md. There may be several;
    /// none by default.
    pub struct InboundHook without default checked by check {
        /// Its name in the path `/hooks/<name>`, in the log and in the metrics. Of several tables of one name the first
        /// says who may send, and for each request the first counts whose `when` holds.
        name: String = required(
            "github",
            "name it for its path, /hooks/<name>: name = \"github\"",
            String::new(),
            label
        );
        key: Option<PublisherKey> = by(read_key);
        /// The header in which the key stands, instead of `Authorization: Bearer <key>`.
        key_header: Option<HeaderName> = optional("X-Webhook-Secret", header_name);
        /// The parameter of the query in which the key stands, for services that can send it nowhere else.
        key_query: Option<String> = instead("key", claim_name);
        /// The secret with which the sender signs (HMAC).
        secret: Option<Secret> = secret("the-secret-that-is-set-at-the-service", hook_secret);
        /// While the secret changes: one more that is taken.
        previous_secret: Option<Secret> = secret("the-one-that-was-set-there-before", hook_secret);
        /// What is signed: "body" (the body alone, with the header and the form that the keys below say), or the way of
        /// "github", "stripe" or "standard-webhooks" (Supabase, Svix and others).
        scheme: SignatureScheme = value(
            "body",
            word([
                ("body", SignatureScheme::Body),
                ("github", SignatureScheme::GitHub),
                ("stripe", SignatureScheme::Stripe),
                ("standard-webhooks", SignatureScheme::StandardWebhooks),
            ])
        ) as "signature";
        /// The header of a signature of the body.
        signature_header: Option<HeaderName> = optional("X-Signature", header_name);
        /// What stands before the signature there.
        signature_prefix: Option<String> = optional("sha256=", short_text);
        /// Its hash.
        signature_hash: SignatureHash = value(
            "sha256",
            word([
                ("sha1", SignatureHash::Sha1),
                ("sha256", SignatureHash::Sha256),
                ("sha512", SignatureHash::Sha512),
            ])
        );
        /// How it is written: "hex" or "base64".
        signature_encoding: SignatureEncoding = value(
            "hex",
            word([("hex", SignatureEncoding::Hex), ("base64", SignatureEncoding::Base64)])
        );
        /// How old or how far ahead a signed time may be ("stripe", "standard-webhooks").
        tolerance: Duration = value("5m", time(SECOND..=DAY));
        /// What a body is: "any" (JSON or a form) or "cloudevents" (structured, binary or a batch; `{ce.type}` is an
        /// attribute, `{data.…}` a field of the event's data).
        format: HookFormat = value(
            "any",
            word([("any", HookFormat::Any), ("cloudevents", HookFormat::CloudEvents)])
        );
        content: ContentTemplates = by(|s: &mut SectionReader<'_, '_>| {
            let cloud = format == HookFormat::CloudEvents;
            read_content(s, ContentSource::Request { cloud }, ContentTemplates::default())
        });
        /// How many events it may publish, instead of what `limits.publishes_per_key` says; 0 = as many as it likes.
        rate: Option<Quota> = optional("100/s burst=500", quota);
        /// A path of the public listener at which requests are taken as well. Needs `secret`.
        public_path: Option<String> = optional("/hooks/github", plain_path);
    }
}

fn read_key(s: &mut SectionReader<'_, '_>) -> Option<PublisherKey> {
    let about = "The key that the sender shows. `sidestream key new` makes one, and its hash.";
    let plain = s.secret(key!("key", "abcdef0123456789abcdef0123456789abcdef01", about), publish_key);
    let about = "Instead of the key its hash.";
    let sample =
        key!("key_sha256", "3f6b1f6a6b1c7c7ae1f0e6b3f2b6a1d3c8d94f0a5b7e2c1d0f9e8a7b6c5d4e3f", about);
    match (plain, s.instead(sample, sha256)) {
        (Some(key), None) => Some(PublisherKey::Plain(key)),
        (plain, Some(hash)) => {
            if plain.is_some() {
                let message = "the key is given as it is and by its hash: only one of the two can be";
                s.report(&["key_sha256", "key", "key_file"], message, None);
            }
            Some(PublisherKey::Sha256(hash))
        }
        (None, None) => None,
    }
}

/// A path without names for its segments.
fn plain_path(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = path(raw)?;
    if text.contains('{') { Err("must be a path without `{…}`".into()) } else { Ok(text) }
}

fn check(hook: &InboundHook, s: &mut SectionReader<'_, '_>) {
    if let Some(PublisherKey::Plain(key)) = &hook.key {
        warn_of_weak_keys(s, &["key", "key_file"], std::slice::from_ref(key));
    }
    if let Some(secret) = &hook.secret {
        warn_of_weak_keys(s, &["secret", "secret_file"], std::slice::from_ref(secret));
    }
    if names_nobody(&hook.content) {
        s.report(
            &["topic", "user", "session", "client", "broadcast"],
            "a hook does not say who gets its events",
            Some("give it a topic, a user or a session: topic = \"orders:{data.id}\"".to_owned()),
        );
    }
    let is_signed = hook.secret.is_some();
    for key in ["key_header", "key_query"] {
        if s.given(key) && hook.key.is_none() {
            s.report(&[key], format!("`{key}` is given, but there is no `key`"), None);
        }
    }
    if hook.key_header.is_some() && hook.key_query.is_some() {
        s.report(&["key_query", "key_header"], "a key cannot stand in a header and in the query", None);
    }
    for key in ["previous_secret", "signature", "signature_header", "signature_prefix"] {
        if s.given(key) && !is_signed {
            s.report(&[key], format!("`{key}` is given, but there is no `secret`"), None);
        }
    }
    if is_signed && hook.scheme == SignatureScheme::Body && hook.signature_header.is_none() {
        s.report(
            &["signature_header", "signature"],
            "`signature_header` is missing: nothing says where the signature stands",
            Some("signature_header = \"X-Signature\", or signature = \"github\"".to_owned()),
        );
    }
    for key in ["signature_header", "signature_prefix", "signature_hash", "signature_encoding"] {
        if s.given(key) && hook.scheme != SignatureScheme::Body {
            s.report(
                &[key, "signature"],
                format!("`{key}` does not go with a `signature` whose form is known"),
                Some("signature = \"body\" leaves its form to you".to_owned()),
            );
        }
    }
    if hook.public_path.is_some() && !is_signed {
        s.report(
            &["public_path", "secret"],
            "`public_path` needs a `secret`: from outside only signed requests are taken",
            None,
        );
    }
}

/// Every table. Those of one name follow the first of them, which alone says who may send.
pub(super) fn read_hooks(s: &mut SectionReader<'_, '_>) -> Vec<InboundHook> {
    const OF_THE_FIRST: [&str; 12] = [
        "key",
        "key_file",
        "key_sha256",
        "key_header",
        "key_query",
        "secret",
        "secret_file",
        "previous_secret",
        "signature",
        "format",
        "rate",
        "public_path",
    ];
    let hooks = s.tables("internal.hook", "hook", InboundHook::read);
    for (at, hook) in hooks.iter().enumerate() {
        let named = |at: usize, key: &str| format!("hook[{}].{key}", at + 1);
        let earlier = &hooks[..at];
        let same: Vec<usize> = (0..at).filter(|&other| earlier[other].name == hook.name).collect();
        let Some(&first) = same.first() else {
            if hook.key.is_none() && hook.secret.is_none() {
                let keys =
                    ["key", "key_file", "key_sha256", "secret", "secret_file"].map(|key| named(at, key));
                s.report(
                    &keys.each_ref().map(String::as_str),
                    "nothing says who may send to this hook: it needs a `key` or a `secret`",
                    Some("`sidestream key new` makes a key".to_owned()),
                );
            }
            continue;
        };
        if let Some(key) = OF_THE_FIRST.iter().map(|key| named(at, key)).find(|key| s.given(key)) {
            let word = key.rsplit('.').next().unwrap_or_default();
            let message =
                format!("`{word}` belongs to the first [[internal.hook]] of the name {}", hook.name);
            s.report(&[&key, &named(first, "name")], message, None);
        }
        if let Some(&all) = same.iter().find(|&&other| hooks[other].content.when.is_empty()) {
            s.report(
                &[&named(at, "name"), &named(all, "name")],
                format!("an earlier [[internal.hook]] takes every request of the name {}", hook.name),
                Some("say which ones that is for: when = { type = \"message\" }".to_owned()),
            );
        }
    }
    for (at, hook) in hooks.iter().enumerate() {
        let same =
            |earlier: &InboundHook| earlier.public_path.is_some() && earlier.public_path == hook.public_path;
        if let Some(other) = hooks[..at].iter().position(same) {
            let key = |at: usize| format!("hook[{}].public_path", at + 1);
            s.report(&[&key(at), &key(other)], "`public_path` is that of an earlier [[internal.hook]]", None);
        }
    }
    hooks
}
