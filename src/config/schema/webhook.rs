//! `[[webhook]]`: requests to applications when streams and users come and go.

use std::time::Duration;

use crate::config::http_url::HttpUrl;
use crate::config::parsers::{
    Parse, authorities, label, shared_secret, size, time, time_or_zero, topic_pattern, whole, word,
};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::expiry::warn_of_old_authorities;
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, GIB, HOUR, KIB, MIB, MILLIS, SECOND};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::{ByteSize, Secret};
use crate::event::Pattern;

/// What a webhook can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookEvent {
    /// A stream was opened.
    Connected,
    /// A stream ended.
    Disconnected,
    /// The first stream of all instances holds a topic.
    TopicOccupied,
    /// The last one that held it is gone.
    TopicEmpty,
    /// A user's first stream of all instances was opened.
    UserOnline,
    /// A user's last one is gone, and none came within the grace.
    UserOffline,
}

impl HookEvent {
    pub const ALL: [Self; 6] = [
        Self::Connected,
        Self::Disconnected,
        Self::TopicOccupied,
        Self::TopicEmpty,
        Self::UserOnline,
        Self::UserOffline,
    ];

    /// The word in the configuration and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::TopicOccupied => "topic_occupied",
            Self::TopicEmpty => "topic_empty",
            Self::UserOnline => "user_online",
            Self::UserOffline => "user_offline",
        }
    }
}

section! {
    /// A URL that gets a signed request for what happens to streams: see docs/webhooks.md. There may be several; none
    /// by default.
    pub struct Webhook without default checked by check {
        /// Names it in the log and the metrics.
        name: String = required("app", "name it for the log and the metrics: name = \"app\"", String::new(), label);
        /// Where what happens is sent by POST.
        // Hidden: such addresses often hold a key.
        url: HttpUrl = required_hidden(
            "http://127.0.0.1:3000/hooks/sidestream",
            "say where events go: url = \"http://127.0.0.1:3000/hooks/sidestream\"",
            HttpUrl { https: true, host: String::new(), port: 443, target: String::new() },
            url
        );
        /// What is sent is signed with this secret of 32 bytes or more.
        secret: Secret = required_secret(
            "please-make-another-with-openssl-rand-hex-32",
            "what is sent is signed with it: `openssl rand -hex 32` makes a good one",
            Secret::new(""),
            shared_secret
        );
        /// While the secret changes: signs it as well.
        previous_secret: Option<Secret> = secret("the-one-that-was-used-until-this-morning", shared_secret);
        /// What is sent.
        events: Vec<HookEvent> = list(
            ["connected", "disconnected", "topic_occupied", "topic_empty", "user_online", "user_offline"],
            event_word
        );
        /// Only of these topics, and of streams that hold one of them; "*" stands for any text, and empty = all. Users
        /// come and go whatever their topics.
        topics: Vec<Pattern> = list([], topic_pattern);
        /// The authorities that its certificate may come from are the system's. Here those of a PEM file alone.
        ca: Option<String> = file("webhook-ca.pem", authorities) as "ca_file";
        /// How many events one request may carry.
        max_batch: usize = value(100, whole(1..=10_000));
        /// How large a request's body may be, unless one event alone is larger.
        max_body: ByteSize = value("64KiB", size(4 * KIB..=16 * MIB));
        /// How long an event may wait for others to go with it; 0 = not at all.
        max_delay: Duration = value("500ms", time_or_zero(MILLIS(1)..=60 * SECOND));
        /// How long the head of an answer may take.
        timeout: Duration = value("10s", time(MILLIS(100)..=300 * SECOND));
        /// How many events may wait while it does not answer; beyond it the oldest are dropped, and the next request
        /// says how many.
        max_queue: usize = value(10000, whole(1..=10_000_000));
        /// Memory for them.
        max_queue_bytes: ByteSize = value("8MiB", size(64 * KIB..=4 * GIB));
        /// What failed is sent again after a time drawn at random, whose bound grows from `retry_min` to `retry_max`.
        retry_min: Duration = value("1s", time(MILLIS(10)..=HOUR));
        /// The greatest bound.
        retry_max: Duration = value("1m", time(MILLIS(10)..=HOUR));
        /// How long a request is tried again and again before it is dropped.
        give_up_after: Duration = value("1h", time(SECOND..=7 * DAY));
    }
}

fn check(webhook: &Webhook, s: &mut SectionReader<'_, '_>) {
    // An empty one stands for one that is not there.
    if !webhook.secret.expose().is_empty() {
        warn_of_weak_keys(s, &["secret", "secret_file"], std::slice::from_ref(&webhook.secret));
    }
    warn_of_old_authorities(s, "ca_file", webhook.ca.as_ref());
    if webhook.events.is_empty() {
        s.report(&["events"], "`events` names nothing that this webhook could get", None);
    }
    if webhook.retry_min > webhook.retry_max {
        s.report(&["retry_min", "retry_max"], "`retry_min` is longer than `retry_max`", None);
    }
    if webhook.ca.is_some() && !webhook.url.https {
        s.report(&["ca_file", "url"], "`ca_file` is given, but `url` is not https", None);
    }
}

impl Webhook {
    /// The defaults for `url`.
    pub fn at(name: String, url: HttpUrl, secret: Secret) -> Self {
        Self { name, url, secret, ..Self::defaults() }
    }
}

/// Every table; their names are all different.
pub(super) fn read_webhooks(s: &mut SectionReader<'_, '_>) -> Vec<Webhook> {
    let webhooks = s.tables("webhook", "webhook", Webhook::read);
    for (at, webhook) in webhooks.iter().enumerate() {
        let Some(other) = webhooks[..at].iter().position(|earlier| earlier.name == webhook.name) else {
            continue;
        };
        let key = |at: usize| format!("webhook[{}].name", at + 1);
        let message = format!("`name` is {} for an earlier [[webhook]] too", webhook.name);
        s.report(&[&key(at), &key(other)], message, None);
    }
    webhooks
}

/// The words of `events`.
fn event_word(raw: &RawValue<'_>) -> Result<HookEvent, Rejection> {
    word(HookEvent::ALL.map(|event| (event.as_str(), event))).parse(raw)
}

fn url(raw: &RawValue<'_>) -> Result<HttpUrl, Rejection> {
    let text = raw.text("a URL such as \"https://app.example/hooks/sidestream\"")?;
    text.parse::<HttpUrl>().map_err(|why| format!("{why}").into())
}
