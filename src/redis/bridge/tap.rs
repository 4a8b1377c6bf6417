//! What the connection that listens tells the bridge: messages of bridged channels, markers, and when it listens.
//!
//! Markers go over a channel of their own, on the same connection. A marker counts only for those who listen to the
//! same channels at the same server: for them alone the order between it and the messages is the same.

use crate::lock::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use crate::event::{Envelope, Event, write_event};
use crate::redis::bridge::backlog::{Backlog, Weigh};
use crate::telemetry::{REDIS_BRIDGE_EVENTS, Throttle};

/// Tells that the lease was given up.
const FREE: &str = "free";

/// A message of a bridged channel that is an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) struct BridgedMessage {
    /// The envelope.
    pub(in crate::redis) json: Bytes,
    /// Its data stands in it as a text although it is none.
    pub(in crate::redis) is_quoted: bool,
    pub(in crate::redis) idempotency_key: Option<Box<str>>,
}

impl Weigh for BridgedMessage {
    fn size(&self) -> usize {
        size_of::<Self>() + self.json.len() + self.idempotency_key.as_ref().map_or(0, |key| key.len())
    }
}

/// Listens for the bridge. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct ChannelTap(Arc<Shared>);

struct Shared {
    /// Where markers are published.
    channel: Box<[u8]>,
    /// What decides on which messages are counted.
    subscriptions: u64,
    state: Mutex<State>,
    news: Notify,
    /// Whether the news is more than messages.
    notified: AtomicBool,
    full: Throttle,
}

struct State {
    backlog: Backlog<BridgedMessage>,
    /// Whose markers count.
    peers: u64,
}

impl ChannelTap {
    /// Keeps about `max_bytes` of messages. `subscriptions` are those of bridged channels; longer texts than
    /// `max_text` never come.
    pub(in crate::redis) fn new<'a>(
        prefix: &str,
        subscriptions: impl Iterator<Item = &'a [u8]>,
        max_text: usize,
        max_bytes: usize,
    ) -> Self {
        let mut subscriptions: Vec<_> = subscriptions.collect();
        subscriptions.sort_unstable();
        let max_text = max_text.to_string();
        let all = subscriptions.into_iter().chain([max_text.as_bytes()]);
        let subscriptions = all.fold(HASH, |hash, text| hash_on(hash_on(hash, text), b"\n"));
        Self(Arc::new(Shared {
            channel: format!("{prefix}:bridge").into_bytes().into(),
            subscriptions,
            state: Mutex::new(State { backlog: Backlog::new(max_bytes), peers: 0 }),
            news: Notify::new(),
            notified: AtomicBool::new(false),
            full: Throttle::default(),
        }))
    }

    /// Where markers are published.
    pub(in crate::redis) fn channel(&self) -> &[u8] {
        &self.0.channel
    }

    /// Everything is subscribed, at the `server` that calls itself so.
    pub(in crate::redis) fn begin(&self, server: &str) {
        let mut state = self.state();
        state.backlog.begin();
        state.peers = hash_on(self.0.subscriptions, server.as_bytes());
        drop(state);
        self.notify();
    }

    /// Nothing is heard any more.
    pub(in crate::redis) fn end(&self) {
        self.state().backlog.end();
        self.notify();
    }

    /// Takes what a message of a bridged channel stands for; None where that is nothing to be kept.
    pub(in crate::redis) fn hear(&self, event: Option<&Event>) {
        let message = event.map(|event| {
            let Envelope { json, is_quoted } = write_event(event);
            BridgedMessage { json: json.into(), is_quoted, idempotency_key: event.idempotency_key.clone() }
        });
        let dropped = self.state().backlog.hear(message);
        if dropped > 0 {
            metrics::counter!(REDIS_BRIDGE_EVENTS, "outcome" => "dropped").increment(dropped as u64);
            if let Some(suppressed) = self.0.full.pass() {
                warn!(
                    suppressed,
                    "redis.stream.bridge_buffer is full: what was not appended in time is missing, and every \
                     stream gets a reset"
                );
            }
        }
    }

    /// There are messages.
    pub(in crate::redis) fn wake(&self) {
        self.0.news.notify_one();
    }

    /// Takes what was said on [`ChannelTap::channel`].
    pub(in crate::redis) fn control(&self, text: &[u8]) {
        let Ok(text) = str::from_utf8(text) else { return };
        if text == FREE {
            self.notify();
        } else if let Some((peers, marker)) = text.split_once(':')
            && let (Ok(peers), Ok(marker)) = (u64::from_str_radix(peers, 16), u64::from_str_radix(marker, 16))
        {
            let mut state = self.state();
            if state.peers == peers {
                state.backlog.mark(marker);
                drop(state);
                self.notify();
            }
        }
    }

    /// What to say on [`ChannelTap::channel`] to set a marker.
    pub(in crate::redis) fn marker(&self, marker: u64) -> String {
        format!("{:016x}:{marker:016x}", self.state().peers)
    }

    /// What to say there when the lease is given up.
    pub(in crate::redis) fn free() -> &'static str {
        FREE
    }

    /// Looks at what was heard.
    pub(in crate::redis) fn look<R>(&self, look: impl FnOnce(&mut Backlog<BridgedMessage>) -> R) -> R {
        look(&mut self.state().backlog)
    }

    /// Waits for news. Cancel safe.
    pub(in crate::redis) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Whether the news since the last time was more than messages.
    pub(in crate::redis) fn was_notified(&self) -> bool {
        self.0.notified.swap(false, Ordering::AcqRel)
    }

    fn notify(&self) {
        self.0.notified.store(true, Ordering::Release);
        self.0.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// FNV-1a: the same on every instance, of whatever version.
const HASH: u64 = 0xcbf2_9ce4_8422_2325;

fn hash_on(hash: u64, text: &[u8]) -> u64 {
    text.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
