//! All webhooks: what happens is noted here, for those that asked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::config;
use crate::config::HookEvent;
use crate::event::{Name, Pattern};
use crate::fanout::{StreamEnd, Watched, Watcher};
use crate::lock::RwLock;
use crate::shutdown::{AbortOnPanic, Drain};
use crate::telemetry::{Throttle, WEBHOOK_EVENTS};
use crate::webhooks::notice::{Notice, StreamInfo};
use crate::webhooks::queue::Queue;
use crate::webhooks::sender::{Delivery, Finish, WebhookSender};
use crate::webhooks::sink::BadSink;

/// How long what is queued for a webhook that is no longer configured may still be sent.
const RETIRED: Duration = Duration::from_secs(10);

/// How much longer than their time their tasks are waited for, to say what was not sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// All webhooks. Dropping it stops nothing; [`Webhooks::finish`] does.
pub struct Webhooks {
    hooks: RwLock<Arc<[Arc<Hook>]>>,
    instance: Value,
    tasks: Drain,
    /// Whether it has ever been shown a stream.
    watching: AtomicBool,
}

/// One of them, as what happens sees it.
struct Hook {
    name: Arc<str>,
    settings: config::Webhook,
    queue: Arc<Queue>,
    overflows: Arc<Throttle>,
    delivery: watch::Sender<Arc<Delivery>>,
    finish: watch::Sender<Option<Finish>>,
}

/// Webhooks of which it is known that they can be told.
pub struct PreparedHooks(Vec<(config::Webhook, Option<Delivery>)>);

impl Webhooks {
    /// None yet. `instance` is said in every request.
    pub fn new(instance: Value) -> Self {
        Self {
            hooks: RwLock::new(Arc::from([])),
            instance,
            tasks: Drain::new(),
            watching: AtomicBool::new(false),
        }
    }

    /// Reads the system's authorities from disk for a webhook over TLS, and changes nothing.
    pub fn prepare(
        &self,
        settings: &[config::Webhook],
        outbound: &config::Outbound,
    ) -> Result<PreparedHooks, BadSink> {
        let hooks = self.hooks();
        let prepare = |settings: &config::Webhook| {
            let same = hooks.iter().any(|hook| hook.settings == *settings);
            Ok((settings.clone(), if same { None } else { Some(Delivery::new(settings, outbound)?) }))
        };
        settings.iter().map(prepare).collect::<Result<_, BadSink>>().map(PreparedHooks)
    }

    /// From now on these webhooks are told, and no others. One with the name of one before takes over what is queued
    /// for that. What is queued for one that is gone is still sent, for some seconds. Connects to nobody before
    /// something happens.
    pub fn tell(&self, PreparedHooks(prepared): PreparedHooks) {
        let before = self.hooks();
        let named = |name: &str| before.iter().find(|hook| *hook.name == *name);
        let hook = |(settings, delivery): (config::Webhook, Option<Delivery>)| {
            match (named(&settings.name), delivery) {
                (Some(hook), None) => Some(Arc::clone(hook)),
                (Some(hook), Some(delivery)) => Some(Arc::new(hook.changed(settings, delivery))),
                (None, Some(delivery)) => Some(Arc::new(self.begin(settings, delivery))),
                // It was to be kept, and is not there.
                (None, None) => None,
            }
        };
        let after: Arc<[Arc<Hook>]> = prepared.into_iter().filter_map(hook).collect();
        for gone in before.iter().filter(|hook| !after.iter().any(|kept| kept.name == hook.name)) {
            let now = Instant::now();
            let _ = gone.finish.send(Some(Finish { asked: now, until: now + RETIRED }));
        }
        *self.hooks.write() = after;
    }

    fn begin(&self, settings: config::Webhook, delivery: Delivery) -> Hook {
        let name: Arc<str> = settings.name.as_str().into();
        let queue = Arc::new(Queue::new(&settings));
        let (delivery, delivers) = watch::channel(Arc::new(delivery));
        let (finish, heard) = watch::channel(None);
        let sender =
            WebhookSender::new(Arc::clone(&name), &self.instance, Arc::clone(&queue), delivers, heard);
        self.tasks.spawn(async move {
            let _guard = AbortOnPanic("webhook");
            sender.run().await;
        });
        Hook { name, settings, queue, overflows: Arc::default(), delivery, finish }
    }

    fn hooks(&self) -> Arc<[Arc<Hook>]> {
        Arc::clone(&self.hooks.read())
    }

    /// Whether there is any.
    pub fn are_told(&self) -> bool {
        !self.hooks.read().is_empty()
    }

    /// Notes that it is shown the streams from now on; whether it was before.
    pub fn watches(&self) -> bool {
        self.watching.swap(true, Ordering::Relaxed)
    }

    /// Whether any webhook asks for `event`.
    pub fn wants(&self, event: HookEvent) -> bool {
        self.hooks().iter().any(|hook| hook.settings.events.contains(&event))
    }

    /// Queues what happened at `at` for the webhooks that ask for it. Never waits: where a queue is full, its oldest
    /// are dropped.
    pub fn note(&self, notice: &Notice<'_>, at: SystemTime) {
        let mut line = None;
        for hook in self.hooks().iter().filter(|hook| hook.is_told_of(notice)) {
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
        for hook in self.hooks().iter() {
            let _ = hook.finish.send(Some(Finish { asked: Instant::now(), until }));
        }
        self.tasks.start();
        // Those that are no longer configured may have had more time.
        let _ = tokio::time::timeout_at(until + LAST_WORDS, self.tasks.finished()).await;
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
    StreamInfo { client: stream.client, keys: stream.keys, address: stream.address, meta: stream.meta }
}

impl Hook {
    /// The same one, told otherwise: the queue and its task go on.
    fn changed(&self, settings: config::Webhook, delivery: Delivery) -> Self {
        self.queue.limit(&settings);
        self.delivery.send_replace(Arc::new(delivery));
        Self {
            name: Arc::clone(&self.name),
            settings,
            queue: Arc::clone(&self.queue),
            overflows: Arc::clone(&self.overflows),
            delivery: self.delivery.clone(),
            finish: self.finish.clone(),
        }
    }

    fn is_told_of(&self, notice: &Notice<'_>) -> bool {
        let config::Webhook { events, topics, .. } = &self.settings;
        let heeded = |topic: &Name| topics.iter().any(|pattern: &Pattern| pattern.matches(topic));
        events.contains(&notice.event())
            && (topics.is_empty()
                || match notice {
                    Notice::Connected(who) | Notice::Disconnected { who, .. } => {
                        let covered = |asked: &Pattern| topics.iter().any(|pattern| pattern.covers(asked));
                        who.topics().any(heeded) || who.patterns().any(covered)
                    }
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
