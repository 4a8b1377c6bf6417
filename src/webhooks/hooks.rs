//! All webhooks: what happens is noted here, for those that asked for it.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::config;
use crate::config::HookEvent;
use crate::event::{Name, Pattern};
use crate::fanout::{StreamEnd, Watched, Watcher};
use crate::shutdown::AbortOnPanic;
use crate::shutdown::Drain;
use crate::telemetry::{Throttle, WEBHOOK_EVENTS};
use crate::webhooks::notice::{Notice, StreamInfo};
use crate::webhooks::queue::Queue;
use crate::webhooks::sender::{Finish, WebhookSender};
use crate::webhooks::sink::BadSink;

/// All webhooks. Dropping it stops nothing; [`Webhooks::finish`] does.
pub struct Webhooks {
    hooks: Vec<Hook>,
    tasks: Drain,
    finish: watch::Sender<Option<Finish>>,
}

/// One of them, as what happens sees it.
struct Hook {
    name: Arc<str>,
    events: Vec<HookEvent>,
    topics: Vec<Pattern>,
    queue: Arc<Queue>,
    overflows: Throttle,
}

impl Webhooks {
    /// Connects to nobody before something happens. `instance` is said in every request. Reads the system's
    /// authorities from disk for a webhook over TLS.
    pub fn start(settings: &[config::Webhook], instance: &Value) -> Result<Self, BadSink> {
        let (finish, heard) = watch::channel(None);
        let tasks = Drain::new();
        let mut hooks = Vec::with_capacity(settings.len());
        for settings in settings {
            let queue = Arc::new(Queue::new(settings));
            let sender = WebhookSender::new(settings, instance, Arc::clone(&queue), heard.clone())?;
            tasks.spawn(async move {
                let _guard = AbortOnPanic("webhook");
                sender.run().await;
            });
            hooks.push(Hook {
                name: settings.name.as_str().into(),
                events: settings.events.clone(),
                topics: settings.topics.clone(),
                queue,
                overflows: Throttle::default(),
            });
        }
        Ok(Self { hooks, tasks, finish })
    }

    /// Whether any webhook asks for `event`.
    pub fn wants(&self, event: HookEvent) -> bool {
        self.hooks.iter().any(|hook| hook.events.contains(&event))
    }

    /// Queues what happened at `at` for the webhooks that ask for it. Never waits: where a queue is full, its oldest
    /// are dropped.
    pub fn note(&self, notice: &Notice<'_>, at: SystemTime) {
        let mut line = None;
        for hook in self.hooks.iter().filter(|hook| hook.is_told_of(notice)) {
            // Written once, and only if anybody reads it.
            let line = line.get_or_insert_with(|| notice.line(at));
            let dropped = hook.queue.push(line.clone());
            if dropped > 0 {
                hook.count_dropped(dropped);
            }
        }
    }

    /// Sends what is still queued, until `until` at the longest; a receiver that fails is given two seconds. What is
    /// noted from now on may be lost.
    pub async fn finish(&self, until: Instant) {
        let _ = self.finish.send(Some(Finish { asked: Instant::now(), until }));
        self.tasks.start();
        self.tasks.finished().await;
    }
}

/// Streams are reported by the instance that holds them.
impl Watcher for Webhooks {
    fn opened(&self, stream: &Watched<'_>) {
        self.note(&Notice::Connected(who(stream)), stream.opened);
    }

    fn ended(&self, stream: &Watched<'_>, how: StreamEnd) {
        let StreamEnd { why, open_for: after, sent } = how;
        let notice = Notice::Disconnected { who: who(stream), reason: why.as_str(), after, sent };
        self.note(&notice, SystemTime::now());
    }
}

fn who<'a>(stream: &Watched<'a>) -> StreamInfo<'a> {
    StreamInfo { client: stream.client, keys: stream.keys, address: stream.address }
}

impl Hook {
    fn is_told_of(&self, notice: &Notice<'_>) -> bool {
        let heeded = |topic: &Name| self.topics.iter().any(|pattern| pattern.matches(topic));
        self.events.contains(&notice.event())
            && (self.topics.is_empty()
                || match notice {
                    Notice::Connected(who) | Notice::Disconnected { who, .. } => who.topics().any(heeded),
                    Notice::TopicOccupied(topic) | Notice::TopicEmpty(topic) => heeded(topic),
                    Notice::UserOnline(_) | Notice::UserOffline(_) => true,
                })
    }

    fn count_dropped(&self, dropped: u64) {
        metrics::counter!(WEBHOOK_EVENTS, "webhook" => Arc::clone(&self.name), "outcome" => "dropped")
            .increment(dropped);
        if let Some(suppressed) = self.overflows.pass() {
            warn!(
                webhook = %self.name,
                dropped,
                suppressed,
                "a webhook's queue is full: its oldest events are dropped"
            );
        }
    }
}
