//! Sections of the configuration as the rooms below want them.

use std::time::Duration;

use crate::auth::ReservedEvents;
use crate::config;
use crate::config::Config;
use crate::event::EventName;
use crate::fanout;
use crate::fanout::Heartbeat;
use crate::log::{EndBounds, MemberBounds, Retention, StateBounds};
use crate::pace::Rate;
use crate::rate::RateSettings;
use crate::telemetry::LineKind;

pub(super) fn retention(log: &config::Log) -> Retention {
    Retention {
        events: log.max_events,
        bytes: usize::try_from(log.max_bytes.0).unwrap_or(usize::MAX),
        age: log.max_age,
        idempotency_window: log.idempotency_window,
    }
}

/// The lines that are in the log whatever its level.
pub fn shown_lines(settings: &config::Telemetry) -> Vec<LineKind> {
    let kinds = [
        (settings.log_streams, LineKind::Streams),
        (settings.log_requests, LineKind::Requests),
        (settings.log_publishes, LineKind::Publishes),
    ];
    kinds.into_iter().filter(|(is_shown, _)| *is_shown).map(|kind| kind.1).collect()
}

/// How often who may do what.
pub(super) fn rate_settings(limits: &config::Limits) -> RateSettings {
    RateSettings {
        requests_per_address: limits.requests_per_address,
        openings_per_address: limits.openings_per_address,
        openings_per_user: limits.openings_per_user,
        publishes_per_key: limits.publishes_per_key,
        page_publishes: limits.page_publishes,
        page_presence: limits.page_presence,
        keys: limits.rate_keys,
        ipv6_prefix: u8::try_from(limits.ipv6_prefix).unwrap_or(128),
    }
}

/// How often pages may change the topics of a stream.
pub(super) fn page_changes(limits: &config::Limits) -> Rate {
    Rate { per_minute: u32::try_from(limits.topic_changes_per_minute).unwrap_or(u32::MAX) }
}

/// How much may be given.
pub(super) fn member_bounds(limits: &config::Limits) -> MemberBounds {
    MemberBounds {
        topics: limits.topics_per_stream,
        patterns: limits.patterns_per_stream,
        all: limits.given_topics,
        all_patterns: limits.patterns,
    }
}

/// The names of the events that the daemon itself sends, beside those that nobody may publish.
pub(super) fn reserved_events(config: &Config) -> ReservedEvents {
    let streams = config.streams.iter().map(|stream| stream.sse(&config.sse));
    let own = streams.chain([config.sse.clone()]).flat_map(|sse| {
        let heartbeat = match sse.heartbeat_as {
            config::Heartbeat::Event(name) => Some(name),
            config::Heartbeat::Comment | config::Heartbeat::Line => None,
        };
        heartbeat.into_iter().chain([sse.connected_as]).chain(sse.retracted_as.0)
    });
    let presence = &config.presence;
    let presence = [&presence.online, &presence.offline].into_iter().filter(|_| !presence.topics.is_empty());
    let ended = EventName::parse("topic_ended").expect("a name of our own");
    own.chain(presence.cloned()).chain([ended]).collect()
}

/// How much state is kept for snapshots; None where no route gives any.
pub(super) fn state_bounds(config: &Config) -> Option<StateBounds> {
    let bytes = usize::try_from(config.log.snapshot_bytes.0).unwrap_or(usize::MAX);
    let patterns = config.streams.iter().any(|stream| stream.snapshot && stream.patterns);
    let bounds = StateBounds { keys: config.log.snapshot_keys, bytes, patterns };
    config.streams.iter().any(|stream| stream.snapshot).then_some(bounds)
}

/// How many ended topics are remembered.
pub(super) fn end_bounds(limits: &config::Limits) -> EndBounds {
    EndBounds { topics: limits.ended_topics, age: limits.ended_for }
}

pub(super) fn fanout_settings(config: &Config) -> fanout::Settings {
    let sse = &config.sse;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    fanout::Settings {
        shards: if config.fanout.shards == 0 { cores.min(64) } else { config.fanout.shards },
        heartbeat: (!sse.heartbeat.is_zero()).then_some(sse.heartbeat),
        heartbeat_as: Heartbeat::from(&sse.heartbeat_as),
        write_timeout: sse.write_timeout,
        retry_ms: (ms(sse.retry_min), ms(sse.retry_max)),
    }
}
