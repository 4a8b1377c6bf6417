//! `[[webhook]]`: who is told over HTTP of comings and goings.
//!
//! Types, defaults and keys of this one section.

use std::time::Duration;

use crate::config::forms::{label, size, time, time_or_zero, topic_pattern, whole, word};
use crate::config::http_url::HttpUrl;
use crate::config::jwt::authorities;
use crate::config::raw::{Raw, Refusal};
use crate::config::section::Section;
use crate::config::values::{ByteSize, Secret};
use crate::event::Pattern;

/// `[[webhook]]`: a URL that is told what happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// Names it in the log and the metrics.
    pub name: String,
    pub url: HttpUrl,
    /// Signs what is sent.
    pub secret: Secret,
    /// Signs it as well, while the secret changes.
    pub previous_secret: Option<Secret>,
    /// What it is told of.
    pub events: Vec<HookEvent>,
    /// Topics that it is told of, and of whose streams; empty = all.
    pub topics: Vec<Pattern>,
    /// PEM of the authorities that its certificate may come from; None = the system's.
    pub ca: Option<String>,
    /// Events that one request may carry.
    pub max_batch: usize,
    /// How large a request's body may be, unless one event alone is larger.
    pub max_body: ByteSize,
    /// How long an event may wait for others to go with it.
    pub max_delay: Duration,
    /// How long one request may take until the head of its answer.
    pub timeout: Duration,
    /// Events that wait; beyond it the oldest are dropped.
    pub max_queue: usize,
    /// Memory for them.
    pub max_queue_bytes: ByteSize,
    /// A failed request is sent again after a time drawn at random below a bound that grows from the first to the second.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// How long a batch is tried.
    pub give_up_after: Duration,
}

/// What a webhook can be told of.
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

const KIB: u64 = 1 << 10;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Webhook {
    /// The defaults for `url`.
    pub fn at(name: String, url: HttpUrl, secret: Secret) -> Self {
        Self {
            name,
            url,
            secret,
            previous_secret: None,
            events: HookEvent::ALL.to_vec(),
            topics: Vec::new(),
            ca: None,
            max_batch: 100,
            max_body: ByteSize(64 * KIB),
            max_delay: MILLIS(500),
            timeout: 10 * SECOND,
            max_queue: 10_000,
            max_queue_bytes: ByteSize(8192 * KIB),
            retry_min: SECOND,
            retry_max: 60 * SECOND,
            give_up_after: HOUR,
        }
    }

    /// Every table; their names are all different.
    pub(super) fn read_all(s: &mut Section<'_, '_>) -> Vec<Self> {
        let webhooks = s.each("webhook", "webhook", Self::read);
        for (at, webhook) in webhooks.iter().enumerate() {
            let Some(other) = webhooks[..at].iter().position(|earlier| earlier.name == webhook.name) else {
                continue;
            };
            let key = |at: usize| format!("webhook[{}].name", at + 1);
            let message = format!("`name` is {} for an earlier [[webhook]] too", webhook.name);
            s.complain(&[&key(at), &key(other)], message, None);
        }
        webhooks
    }

    fn read(s: &mut Section<'_, '_>) -> Self {
        let lack = "name it for the log and the metrics: name = \"app\"";
        let name = s.required("name", String::new(), lack, label);
        // Hidden: such addresses often hold a key.
        let url = s.hidden("url", url);
        if url.is_none() {
            s.lacks("url", "say who is told: url = \"http://127.0.0.1:3000/hooks/sidestream\"");
        }
        let nowhere = || HttpUrl { https: true, host: String::new(), port: 443, target: String::new() };
        let own = s.secret("secret", secret);
        if own.is_none() {
            let message = "`secret` is missing in [[webhook]]".to_owned();
            let lack = "what is sent is signed with it: `openssl rand -hex 32` makes a good one";
            s.complain(&["secret", "secret_file"], message, Some(lack.to_owned()));
        }
        let d = Self::at(name, url.unwrap_or_else(nowhere), own.unwrap_or_else(|| Secret::new("")));
        let events = s.list("events", d.events, word(HookEvent::ALL.map(|event| (event.as_str(), event))));
        if events.is_empty() {
            s.complain(&["events"], "`events` names nothing that this webhook could be told of", None);
        }
        let webhook = Self {
            previous_secret: s.secret("previous_secret", secret),
            events,
            topics: s.list("topics", d.topics, topic_pattern),
            ca: s.file("ca_file", authorities),
            max_batch: s.take("max_batch", d.max_batch, whole(1..=10_000)),
            max_body: s.take("max_body", d.max_body, size(ByteSize(4 * KIB)..=ByteSize(16_384 * KIB))),
            max_delay: s.take("max_delay", d.max_delay, time_or_zero(MILLIS(1)..=60 * SECOND)),
            timeout: s.take("timeout", d.timeout, time(MILLIS(100)..=300 * SECOND)),
            max_queue: s.take("max_queue", d.max_queue, whole(1..=10_000_000)),
            max_queue_bytes: s.take(
                "max_queue_bytes",
                d.max_queue_bytes,
                size(ByteSize(64 * KIB)..=ByteSize(4 << 30)),
            ),
            retry_min: s.take("retry_min", d.retry_min, time(MILLIS(10)..=HOUR)),
            retry_max: s.take("retry_max", d.retry_max, time(MILLIS(10)..=HOUR)),
            give_up_after: s.take("give_up_after", d.give_up_after, time(SECOND..=7 * 24 * HOUR)),
            name: d.name,
            url: d.url,
            secret: d.secret,
        };
        if webhook.retry_min > webhook.retry_max {
            s.complain(&["retry_min", "retry_max"], "`retry_min` is longer than `retry_max`", None);
        }
        if webhook.ca.is_some() && !webhook.url.https {
            s.complain(&["ca_file", "url"], "`ca_file` is given, but `url` is not https", None);
        }
        webhook
    }
}

fn url(raw: &Raw<'_>) -> Result<HttpUrl, Refusal> {
    let text = raw.text("a URL such as \"https://app.example/hooks/sidestream\"")?;
    text.parse::<HttpUrl>().map_err(|why| format!("{why}").into())
}

fn secret(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    const MIN: usize = 32;
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if !(MIN..=MAX).contains(&text.len()) {
        return Err(Refusal::with(
            format!("must have {MIN} to {MAX} bytes"),
            "`openssl rand -hex 32` makes a good one",
        ));
    }
    Ok(Secret::new(text))
}
