//! Every metric's name, once.
//!
//! No label holds what a user typed: a label's values are words of ours, or the operator's.

/// A metric: name, unit as Prometheus names carry it, one sentence.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// Of seconds.
    Histogram,
}

macro_rules! metrics_table {
    ($($constant:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// Every metric of the daemon.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: MetricKind::$kind, help: $help }),*];
    };
}

metrics_table! {
    BUILD_INFO = Gauge "sidestream_build_info", "1; which version runs stands in the label.";
    STREAMS_OPEN = Gauge "sidestream_streams_open", "Streams that are open now.";
    STREAMS_OPENED = Counter "sidestream_streams_opened_total", "Streams opened, by how the socket is held (sink).";
    STREAMS_CLOSED = Counter "sidestream_streams_closed_total", "Streams closed, by reason.";
    STREAMS_REFUSED = Counter "sidestream_streams_refused_total", "Streams refused, by reason.";
    META_LEFT_OUT = Counter "sidestream_meta_left_out_total", "Entries of connections' metadata that were left out: beyond limits.meta_entries or meta_bytes, or with control characters.";
    RATE_LIMITED = Counter "sidestream_rate_limited_total", "Requests, stream openings and publishes that were refused for their rate, by what it was and whose rate.";
    MEMORY_USED = Gauge "sidestream_memory_used_bytes", "What counts against limits.memory, in bytes; 0 without a bound.";
    MEMORY_LIMIT = Gauge "sidestream_memory_limit_bytes", "How much of it may be used before the instance is not ready, in bytes; 0 without a bound.";
    REPLAYS = Counter "sidestream_replays_total", "Streams opened with a cursor, by outcome: resumed, or the reason of the reset.";
    RESETS = Counter "sidestream_resets_total", "Open streams that were too slow for the log, missed events and got a reset.";
    EVENTS = Counter "sidestream_events_total", "Events taken in, by source.";
    EVENTS_REFUSED = Counter "sidestream_events_refused_total", "Events refused, by source and reason.";
    MESSAGES_UNFIT = Counter "sidestream_messages_unfit_total", "Messages of mapped channels and requests to hooks that made no event, by source, mapping and the field that does not fit.";
    EVENTS_DUPLICATE = Counter "sidestream_events_duplicate_total", "Events not appended because their idempotency key was known, by source.";
    PUBLISHES = Counter "sidestream_publishes_total", "Publishes over HTTP that were accepted, by publisher.";
    PAGE_PUBLISHES = Counter "sidestream_page_publishes_total", "Events that pages published, or were not allowed to, by outcome.";
    DELIVERIES = Counter "sidestream_deliveries_total", "Events written to subscribers, live and replayed.";
    BYTES_WRITTEN = Counter "sidestream_stream_bytes_written_total", "Bytes written to subscribers.";
    HEARTBEATS = Counter "sidestream_heartbeats_total", "Heartbeats written.";
    STREAMS_BEHIND = Gauge "sidestream_streams_behind", "Streams whose socket takes no more for now.";
    PUBLISH_TO_WRITE = Histogram "sidestream_publish_to_write_seconds", "From an event's place in the log to its write to the last subscriber of a shard, in seconds.";
    LOG_EVENTS = Gauge "sidestream_log_events", "Events kept for replay.";
    LOG_BYTES = Gauge "sidestream_log_bytes", "Bytes kept for replay, the index included.";
    STATE_EVENTS = Gauge "sidestream_state_events", "Newest events of their keys that the log has let go of, kept for snapshots.";
    STATE_BYTES = Gauge "sidestream_state_bytes", "Bytes of those.";
    PATTERNS = Gauge "sidestream_patterns", "Different patterns of topics that open streams hold.";
    PATTERN_TOPICS = Gauge "sidestream_pattern_topics", "Topics of which it is remembered what patterns match them.";
    PATTERN_LOOKUPS = Counter "sidestream_pattern_lookups_total", "Times that the patterns of a topic were looked for among all.";
    REDIS_UP = Gauge "sidestream_redis_up", "1 while the connection that delivers Redis messages answers its pings.";
    REDIS_CONNECTS = Counter "sidestream_redis_connects_total", "Connections made to Redis, by purpose.";
    REDIS_FAILURES = Counter "sidestream_redis_failures_total", "Connections to Redis that failed or were lost, by purpose and reason.";
    REDIS_GAPS = Counter "sidestream_redis_gaps_total", "Times that Redis was away; what was published on its channels meanwhile is lost here.";
    REDIS_STREAM_UP = Gauge "sidestream_redis_stream_up", "1 while the connection that follows the stream in Redis answers.";
    REDIS_STREAM_DELAY = Histogram "sidestream_redis_stream_delay_seconds", "From an entry's append, by the clock of Redis, until it was read here, in seconds.";
    REDIS_STREAM_LOAD = Histogram "sidestream_redis_stream_load_seconds", "Time taken to load the log from the stream, in seconds.";
    REDIS_STREAM_ENTRIES = Gauge "sidestream_redis_stream_entries", "Entries that the stream in Redis holds, as this instance saw it last.";
    REDIS_STREAM_BYTES = Gauge "sidestream_redis_stream_bytes", "About how much memory of Redis the stream takes, in bytes.";
    REDIS_STREAM_RESETS = Counter "sidestream_redis_stream_resets_total", "Times that every stream got a reset for a gap in the stream in Redis, by reason.";
    REDIS_STREAM_APPENDED = Counter "sidestream_redis_stream_appended_total", "Events that this instance appended to the stream in Redis.";
    REDIS_BRIDGE_LEADER = Gauge "sidestream_redis_bridge_leader", "1 while this instance appends what comes on bridged channels to the stream in Redis.";
    REDIS_BRIDGE_WAITING = Gauge "sidestream_redis_bridge_waiting", "Messages of bridged channels that were heard here and are not known to be in the stream.";
    REDIS_BRIDGE_EVENTS = Counter "sidestream_redis_bridge_events_total", "Messages of bridged channels, by outcome: appended, duplicate, dropped.";
    REDIS_BRIDGE_GAPS = Counter "sidestream_redis_bridge_gaps_total", "Times that messages of bridged channels may have been missed; every stream got a reset.";
    REDIS_REQUESTS = Counter "sidestream_redis_requests_total", "Requests taken from the list in Redis, by outcome.";
    JWKS_FETCHES = Counter "sidestream_jwks_fetches_total", "Fetches of the keys of tokens from their URL, by outcome.";
    RENEWALS = Counter "sidestream_renewals_total", "New tokens presented for open streams, by outcome.";
    REVOCATIONS = Gauge "sidestream_revocations", "Revocations in force.";
    REVOCATIONS_REFUSED = Counter "sidestream_revocations_refused_total", "Revocations and sendings away that were not kept, because auth.max_revocations are in force.";
    INSTANCES = Gauge "sidestream_instances", "Living instances that share the Redis, this one too, as far as it can hear them.";
    PRESENCE_USERS = Gauge "sidestream_presence_users", "Users online on any instance, and those who left within the grace.";
    PRESENCE_COMPLETE = Gauge "sidestream_presence_complete", "1 while this instance knows the users of all living instances.";
    PRESENCE_EVENTS = Counter "sidestream_presence_events_total", "Events of users coming online and going offline that this instance published.";
    PRESENCE_DROPPED = Counter "sidestream_presence_dropped_total", "Users coming and going that were not published: more than can wait, or refused.";
    PRESENCE_RESYNCS = Counter "sidestream_presence_resyncs_total", "Times that another instance was asked for all of its users.";
    TOPIC_CHANGES = Counter "sidestream_topic_changes_total", "Changes of the topics that users, sessions and clients are given, made on this instance.";
    TAKEN_BACK = Counter "sidestream_taken_back_total", "Events that were taken back on this instance.";
    TOPICS_ENDED = Gauge "sidestream_topics_ended", "Topics that have ended, as far as they are remembered.";
    TOPICS_KEPT = Counter "sidestream_topics_kept_total", "Times that what users and sessions are given was to be written to Redis, by result.";
    TOPICS_UNKEPT_SECONDS = Gauge "sidestream_topics_unkept_seconds", "For how long the oldest change that is not known to be kept in Redis has been waiting, in seconds.";
    CAPTURES = Counter "sidestream_captures_total", "Answers on captured routes, by route and outcome: recorded; or not, for their status, type or encoding, or because too many are recorded (full).";
    CAPTURES_ENDED = Counter "sidestream_captures_ended_total", "Recorded answers that ended, by reason: complete, cut, stopped, abandoned.";
    CAPTURES_KEPT = Gauge "sidestream_captures", "Recorded answers that are under way or kept.";
    CAPTURE_BYTES = Gauge "sidestream_capture_bytes", "Bytes of recorded answers that are kept.";
    CAPTURE_READERS = Gauge "sidestream_capture_readers", "Readers of recorded answers.";
    CAPTURE_RESUMES = Counter "sidestream_capture_resumes_total", "Readers that came to a recorded answer that had begun, by route.";
    CAPTURES_MIRRORED = Gauge "sidestream_captures_mirrored", "Recorded answers of other instances that are read on this one.";
    CAPTURES_SHARED = Counter "sidestream_captures_shared_total", "Recorded answers that this instance has forgotten, by what Redis got of them: whole, or lost (not all).";
    CAPTURE_READERS_CUT = Counter "sidestream_capture_readers_cut_total", "Readers of recorded answers that were cut off, because what they had not read yet was let go of.";
    COMMANDS = Counter "sidestream_commands_total", "Commands of instances to each other that came in, by kind.";
    CONNECTIONS_OPEN = Gauge "sidestream_connections_open", "Connections held by the HTTP server, by listener; a stream that has a socket to itself is not among them.";
    CONNECTIONS_OPENED = Counter "sidestream_connections_opened_total", "Connections of the public listener on which HTTP began, by protocol and whether over TLS.";
    CLIENTS_STALLED = Counter "sidestream_clients_stalled_total", "Answers and tunnels that were cut because their client took nothing for public.write_timeout.";
    HTTP_PARSER_REFUSED = Counter "sidestream_http_parser_refused_total", "Requests that could not be read as HTTP, by listener and reason.";
    PROXY_PROTOCOL_FAILED = Counter "sidestream_proxy_protocol_failed_total", "Connections of the addresses in public.proxy_protocol that were closed for want of a sound header, by reason.";
    HTTP2_FLOODS = Counter "sidestream_http2_floods_total", "HTTP/2 connections that were closed because their client sent too much that leads to nothing, by whose count: frames, protocol.";
    TLS_FAILED = Counter "sidestream_tls_handshakes_failed_total", "TLS handshakes that came to nothing, by reason.";
    HTTP_REFUSED = Counter "sidestream_http_refused_total", "Requests that were refused, by listener and reason; those for streams, publishing and the backend are counted on their own.";
    AUTH_CALLERS = Counter "sidestream_auth_callers_total", "Callers that the application had to verify, by way: asked, shared, cached, turned_away.";
    AUTH_REQUESTS = Counter "sidestream_auth_requests_total", "Requests that asked the application who a caller is, by result.";
    AUTH_REQUESTS_IN_FLIGHT = Gauge "sidestream_auth_requests_in_flight", "Requests that ask the application now.";
    AUTH_SECONDS = Histogram "sidestream_auth_seconds", "From such a request to the whole of its answer, in seconds.";
    TICKETS = Counter "sidestream_tickets_total", "Tickets, by outcome: minted, redeemed, known_by_cookie.";
    WEBHOOK_EVENTS = Counter "sidestream_webhook_events_total", "Events for webhooks, by webhook and outcome: delivered, refused, given_up, dropped, unsent.";
    WEBHOOK_REQUESTS = Counter "sidestream_webhook_requests_total", "Requests to webhooks, by webhook and result.";
    WEBHOOK_SECONDS = Histogram "sidestream_webhook_seconds", "From a request to a webhook to its answer or failure, in seconds.";
    WEBHOOK_WAITING = Gauge "sidestream_webhook_waiting", "Events that wait for a webhook, by webhook.";
    RELOADS = Counter "sidestream_reloads_total", "Times that the configuration was read anew, by outcome: applied, unchanged, refused.";
    RELOAD_OK = Gauge "sidestream_reload_ok", "0 from a reload that was refused until one that was not; else 1.";
    LOG_LINES_LOST = Counter "sidestream_log_lines_lost_total", "Lines of the log that were not written: more than its reader takes, or the write failed.";
    SPANS = Counter "sidestream_spans_total", "Spans for an OpenTelemetry collector, by outcome: exported, failed, dropped.";
    PROXY_REQUESTS = Counter "sidestream_proxy_requests_total", "Requests sent on to the backend, by outcome.";
    PROXY_SECONDS = Histogram "sidestream_proxy_seconds", "From a request's arrival to the head of the backend's answer, in seconds.";
    UPSTREAMS_OPEN = Gauge "sidestream_upstreams_open", "Streams of the application that are read once for all who hear them.";
    UPSTREAM_READERS = Gauge "sidestream_upstream_readers", "Clients that hear such a stream.";
    UPSTREAM_REQUESTS = Counter "sidestream_upstream_requests_total", "Requests for such a stream, by outcome: shared, unshared, answered, failed.";
    UPSTREAM_RECONNECTS = Counter "sidestream_upstream_reconnects_total", "Times that such a stream ended and was opened anew, by reason: ended, broken, silent.";
    UPSTREAM_UNSHARED = Counter "sidestream_upstream_unshared_total", "Requests for streams of the application that went there by themselves, by reason.";
    POLL_REFRESHES = Counter "sidestream_poll_refreshes_total", "Answers that are polled and were called for before their time, by what did: request, publish.";
    UPSTREAMS_FOLLOWED = Gauge "sidestream_upstreams_followed", "Streams of the application that another instance reads for clients of this one.";
    UPSTREAM_TAKEOVERS = Counter "sidestream_upstream_takeovers_total", "Times that this instance went on with a stream of the application that another one had read.";
    POLLS = Counter "sidestream_polls_total", "Times that the application was asked for an answer that is polled, by outcome.";
    CONNECTIONS_REFUSED = Counter "sidestream_connections_refused_total", "Connections that were closed at once or could not be accepted, by reason.";
    CERTIFICATE_EXPIRY = Gauge "sidestream_certificate_expiry_seconds", "When a certificate of ours ends, in seconds since 1970.";
    PROCESS_CPU = Counter "process_cpu_seconds_total", "Processor time that the process has taken, in seconds.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes", "Memory of the process that is in use, in bytes.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes", "Memory that the process has reserved, in bytes.";
    PROCESS_THREADS = Gauge "process_threads", "Threads of the process.";
    PROCESS_FDS = Gauge "process_open_fds", "Files and sockets that the process has open.";
    PROCESS_MAX_FDS = Gauge "process_max_fds", "How many it may have open.";
    PROCESS_START = Gauge "process_start_time_seconds", "When the process was started, in seconds since 1970.";
    PROXY_WAITING = Gauge "sidestream_proxy_waiting", "Requests that wait for a backend that refuses connections.";
    PROXY_WAITS = Counter "sidestream_proxy_waits_total", "Requests that have waited for the backend or had no place to, by outcome.";
    PROXY_IN_FLIGHT = Gauge "sidestream_proxy_in_flight", "Requests and upgraded connections that are with the backend now.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_kind_as_prometheus_expects() {
        for metric in METRICS {
            let known = ["sidestream_", "process_"].iter().any(|prefix| metric.name.starts_with(prefix));
            assert!(known, "{}", metric.name);
            assert_eq!(
                metric.kind == MetricKind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            if metric.kind == MetricKind::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
