//! From what Redis delivers to events in the log.
//!
//! Whatever is there is appended in one go. A bad message is counted and now and then logged, never fatal, and
//! nothing of it stands in the log line. What is bridged goes to the bridge instead, and comes back by the stream. This
//! file knows no connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Counter;

use crate::event::Event;
use crate::log::{Appended, Log};
use crate::redis::bridge::tap::ChannelTap;
use crate::redis::channels::alternatives::Alternatives;
use crate::redis::channels::mapping::{BadMessage, Unmapped};
use crate::redis::channels::subscriptions::Channels;
use crate::redis::client::resp::RespReply;
use crate::telemetry::{EVENTS, EVENTS_DUPLICATE, EVENTS_REFUSED, MESSAGES_UNFIT, line_enabled, log_line};

/// The source's name in metrics.
const SOURCE: &str = "redis";
/// How many events are appended under one turn of the log's lock.
const MAX_BATCH: usize = 1024;
/// How often refusals for one reason are logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Takes what instances tell each other; whether it was understood. Called in the order of the events.
pub(in crate::redis) type CommandHandler = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Where the messages of a subscribed connection go.
pub(in crate::redis) struct Ingest {
    channels: Channels,
    /// Those that are being subscribed to, to take the place of these.
    coming: Option<Channels>,
    /// Subscriptions have been ended, which Redis confirms.
    has_left: bool,
    log: Arc<Log>,
    commands: CommandHandler,
    /// Where the messages of bridged channels go.
    tap: Option<ChannelTap>,
    /// How the Redis calls itself that the tap listens to.
    server: String,
    listens: bool,
    /// Whether the tap has something new.
    heard: bool,
    batch: Vec<Event>,
    /// Whether an event ever came that its publisher would miss: one that is not ephemeral.
    lasting: bool,
    taken: Counter,
    duplicates: Counter,
    /// By reason, of which there are a handful.
    refusals: Vec<RefusalLog>,
}

/// What a reply on a subscribed connection was.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::redis) enum IngestOutcome<'a> {
    /// A message.
    Message,
    /// The confirmation of a subscription.
    Subscribed,
    /// The answer to a ping.
    Pong,
    Refused(&'a [u8]),
    /// Nothing that a subscribed connection says.
    Unexpected,
}

/// Refusals for one reason.
struct RefusalLog {
    reason: &'static str,
    logged: Instant,
    /// Since then.
    suppressed: u64,
}

impl Ingest {
    /// `tap` gets the messages of bridged channels.
    pub(in crate::redis) fn new(
        channels: Channels,
        log: Arc<Log>,
        commands: CommandHandler,
        tap: Option<ChannelTap>,
    ) -> Self {
        Self {
            channels,
            coming: None,
            has_left: false,
            log,
            commands,
            tap,
            server: String::new(),
            listens: false,
            heard: false,
            batch: Vec::new(),
            lasting: false,
            taken: metrics::counter!(EVENTS, "source" => SOURCE),
            duplicates: metrics::counter!(EVENTS_DUPLICATE, "source" => SOURCE),
            refusals: Vec::new(),
        }
    }

    pub(in crate::redis) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// From now on messages of these channels are taken, too, until it is decided which are listened to.
    pub(in crate::redis) fn prepare(&mut self, channels: Channels) {
        self.coming = Some(channels);
    }

    /// Decides for the channels that were prepared, or against them; gives back the others.
    pub(in crate::redis) fn decide(&mut self, for_them: bool) -> Option<Channels> {
        let coming = self.coming.take()?;
        self.has_left = true;
        Some(if for_them { std::mem::replace(&mut self.channels, coming) } else { coming })
    }

    /// The channel on which the bridge tells its own, if there is one.
    pub(in crate::redis) fn bridge_channel(&self) -> Option<&[u8]> {
        self.tap.as_ref().map(ChannelTap::channel)
    }

    /// How the Redis calls itself whose messages come next.
    pub(in crate::redis) fn comes_from(&mut self, server: String) {
        self.server = server;
    }

    /// Nothing comes any more.
    pub(in crate::redis) fn silence(&mut self) {
        self.listens = false;
        if let Some(tap) = &self.tap {
            tap.end();
        }
    }

    /// Everything is subscribed. What came before that may have holes, which nobody could number.
    fn stands(&mut self) {
        if let Some(tap) = self.tap.as_ref().filter(|_| !self.listens) {
            self.listens = true;
            tap.begin(&self.server);
        }
    }

    /// Takes a reply; a message's events wait for [`Ingest::flush`].
    pub(in crate::redis) fn take<'a>(&mut self, reply: RespReply<'a>) -> IngestOutcome<'a> {
        match &reply {
            RespReply::Array(parts) => match *parts.as_slice() {
                [b"message", channel, text] if self.bridge_channel() == Some(channel) => {
                    if let Some(tap) = &self.tap {
                        tap.control(text);
                    }
                    return IngestOutcome::Message;
                }
                // A mapping that takes every channel does not mean that one.
                [b"pmessage", _, channel, _] if self.bridge_channel() == Some(channel) => {
                    return IngestOutcome::Message;
                }
                [b"pong", _] => self.stands(),
                _ => {}
            },
            RespReply::Status(b"PONG") => self.stands(),
            _ => {}
        }
        if let RespReply::Array(parts) = &reply
            && let [b"message", channel, command] = *parts.as_slice()
            && self.channels.is_given(channel)
        {
            // What was published before it comes before it.
            self.flush();
            if !(self.commands)(command) {
                refuse(&mut self.refusals, "command", None, &"it is no command that this version knows");
            }
        }
        let Self { channels, coming, has_left, tap, heard, batch, refusals, lasting, .. } = self;
        let meant = |find: FindMappings, name| mappings_of((channels, coming.as_ref()), find, name);
        let (mappings, channel, message) = match &reply {
            RespReply::Array(parts) => match *parts.as_slice() {
                [b"message" | b"smessage", channel, message] => {
                    (meant(Channels::of_channel, channel), channel, message)
                }
                [b"pmessage", pattern, channel, message] => {
                    (meant(Channels::of_pattern, pattern), channel, message)
                }
                [b"pong", _] => return IngestOutcome::Pong,
                [b"unsubscribe" | b"punsubscribe", ..] if *has_left => return IngestOutcome::Subscribed,
                [b"subscribe" | b"psubscribe" | b"ssubscribe", ..] => return IngestOutcome::Subscribed,
                _ => return IngestOutcome::Unexpected,
            },
            RespReply::TooLarge => {
                refuse(refusals, "too_large", None, &"it is larger than internal.max_body");
                return IngestOutcome::Message;
            }
            RespReply::Status(b"PONG") => return IngestOutcome::Pong,
            // Before Redis 7 a Cluster's channels have no shards: every node has all of them.
            RespReply::Error(text) if is_without_shards(text) => return IngestOutcome::Subscribed,
            RespReply::Error(text) => return IngestOutcome::Refused(text),
            _ => return IngestOutcome::Unexpected,
        };
        let Some(mappings) = mappings else { return IngestOutcome::Message };
        let mapped = mappings.event(channel, message);
        let is_bridged = mappings.is_bridged() && tap.is_some();
        if let Some(tap) = tap.as_ref().filter(|_| is_bridged) {
            // One that is not kept counts as well, so that every version of sidestream counts alike.
            tap.hear(mapped.as_ref().ok().filter(|event| !event.ephemeral));
            *heard = true;
        }
        match mapped {
            Ok(event) if is_bridged && !event.ephemeral => {}
            Ok(event) => {
                *lasting |= !event.ephemeral;
                batch.push(event);
            }
            Err(Unmapped::Unmatched) => count_unfit(mappings, "when".to_owned()),
            Err(Unmapped::Bad(bad)) => refuse_message(refusals, mappings, &bad),
        }
        if self.batch.len() >= MAX_BATCH {
            self.flush();
        }
        IngestOutcome::Message
    }

    /// Tells every stream that messages may be missing here. Not where the log is a stream in Redis and nobody uses
    /// the channels but for what is ephemeral.
    pub(in crate::redis) fn gap(&mut self) {
        self.flush();
        if self.lasting || self.channels.mapped || !self.log.is_following() {
            self.log.append_gap();
        }
    }

    /// Appends what was taken.
    pub(in crate::redis) fn flush(&mut self) {
        if let Some(tap) = self.tap.as_ref().filter(|_| std::mem::take(&mut self.heard)) {
            tap.wake();
        }
        if self.batch.is_empty() {
            return;
        }
        let count = self.batch.len();
        // The next batch will be about as large.
        let events = std::mem::replace(&mut self.batch, Vec::with_capacity(count));
        let about =
            |event: &Event| (event.audience.in_short(), event.trace.as_ref().map(|trace| trace.trace_id()));
        let lines: Vec<_> =
            if line_enabled!(publishes) { events.iter().map(about).collect() } else { Vec::new() };
        let appended = self.log.append_all(events);
        for ((audience, trace_id), Appended { id, duplicate }) in lines.into_iter().zip(&appended) {
            let id = id.map(|id| id.to_string());
            log_line!(publishes, id, audience, duplicate, trace_id, "event taken from a channel");
        }
        let duplicates = appended.iter().filter(|appended| appended.duplicate).count();
        self.taken.increment((count - duplicates) as u64);
        self.duplicates.increment(duplicates as u64);
    }
}

type FindMappings = for<'c> fn(&'c Channels, &[u8]) -> Option<&'c Alternatives>;

/// What a message of the subscription to `name` stands for. Of one that comes and is there already, the mapping of
/// before counts until it is decided.
fn mappings_of<'c>(
    (channels, coming): (&'c Channels, Option<&'c Channels>),
    find: FindMappings,
    name: &[u8],
) -> Option<&'c Alternatives> {
    find(channels, name).or_else(|| find(coming?, name))
}

/// Whether Redis refused a command on shards' channels because it knows none.
pub(in crate::redis) fn is_without_shards(text: &[u8]) -> bool {
    text.starts_with(b"ERR unknown command")
        && [&b"SSUBSCRIBE"[..], b"SPUBLISH"]
            .iter()
            .any(|word| text.windows(word.len()).any(|part| part == *word))
}

/// Counts a message that made no event, by the operator's word for what does not fit.
fn count_unfit(mappings: &Alternatives, field: String) {
    let mapping = mappings.pattern().to_owned();
    metrics::counter!(MESSAGES_UNFIT, "source" => SOURCE, "mapping" => mapping, "field" => field)
        .increment(1);
}

fn refuse_message(refusals: &mut Vec<RefusalLog>, mappings: &Alternatives, bad: &BadMessage) {
    if let Some(field) = bad.field() {
        count_unfit(mappings, field);
    }
    refuse(refusals, bad.label(), Some(mappings.pattern()), bad);
}

/// Counts a refusal, and logs it unless one for the same reason was logged just now.
fn refuse(
    refusals: &mut Vec<RefusalLog>,
    reason: &'static str,
    pattern: Option<&str>,
    why: &dyn std::fmt::Display,
) {
    metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => reason).increment(1);
    let now = Instant::now();
    let suppressed = match refusals.iter_mut().find(|refusal| refusal.reason == reason) {
        None => {
            refusals.push(RefusalLog { reason, logged: now, suppressed: 0 });
            0
        }
        Some(refusal) if now.duration_since(refusal.logged) >= LOG_EVERY => {
            refusal.logged = now;
            std::mem::take(&mut refusal.suppressed)
        }
        Some(refusal) => {
            refusal.suppressed += 1;
            return;
        }
    };
    tracing::warn!(reason, pattern, error = %why, suppressed, "a message from Redis is no event and was passed over");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Redis, Secret};
    use crate::log::Retention;
    use crate::redis::client::resp::{Received, write_command};

    fn ingest() -> Ingest {
        let age = Duration::from_secs(600);
        let retention = Retention { events: 10_000, bytes: 10 << 20, age, idempotency_window: age };
        let settings = Redis::at(Secret::new("redis://h"));
        Ingest::new(
            Channels::new(&settings),
            Arc::new(Log::new(retention)),
            Arc::new(|command| command == b"known"),
            None,
        )
    }

    fn take(ingest: &mut Ingest, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        write_command(&mut bytes, words);
        let mut received = Received::new(1 << 20);
        received.space().extend_from_slice(&bytes);
        assert_eq!(ingest.take(received.next().unwrap().unwrap()), IngestOutcome::Message);
    }

    #[test]
    fn messages_are_appended_together_and_bad_ones_are_left_out() {
        let mut ingest = ingest();
        take(&mut ingest, &[b"message", b"sidestream", br#"{"topic":"a","data":1}"#]);
        take(&mut ingest, &[b"message", b"sidestream", b"no JSON"]);
        take(&mut ingest, &[b"pmessage", b"sidestream:topic:*", b"sidestream:topic:a", br#"{"data":2}"#]);
        take(&mut ingest, &[b"message", b"of a subscription that we do not have", b"x"]);
        assert_eq!(ingest.log.size().0, 0);
        ingest.flush();
        assert_eq!(ingest.log.size().0, 2);
    }

    #[test]
    fn a_command_is_no_event_and_comes_in_its_place() {
        let mut ingest = ingest();
        take(&mut ingest, &[b"message", b"sidestream", br#"{"topic":"a","data":1}"#]);
        take(&mut ingest, &[b"message", b"sidestream:topics", b"known"]);
        assert_eq!((ingest.log.size().0, ingest.refusals.len()), (1, 0), "the event is appended before it");
        take(&mut ingest, &[b"message", b"sidestream:topics", br#"{"topic":"a"}"#]);
        ingest.flush();
        assert_eq!((ingest.log.size().0, ingest.refusals.len()), (1, 1));
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut ingest = ingest();
        for _ in 0..MAX_BATCH {
            take(&mut ingest, &[b"message", b"sidestream", br#"{"topic":"a"}"#]);
        }
        assert_eq!(ingest.log.size().0, MAX_BATCH);
    }

    #[test]
    fn refusals_for_one_reason_are_logged_once_in_a_while() {
        let mut refusals = Vec::new();
        for _ in 0..5 {
            refuse(&mut refusals, "json", None, &"x");
        }
        refuse(&mut refusals, "audience", None, &"x");
        let seen: Vec<_> = refusals.iter().map(|refusal| (refusal.reason, refusal.suppressed)).collect();
        assert_eq!(seen, [("json", 4), ("audience", 0)]);
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let mut ingest = ingest();
        for (bytes, took) in [
            (&b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"[..], IngestOutcome::Pong),
            (b"+PONG\r\n", IngestOutcome::Pong),
            (b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", IngestOutcome::Subscribed),
            (b"-NOPERM no\r\n", IngestOutcome::Refused(b"NOPERM no")),
            (b"+OK\r\n", IngestOutcome::Unexpected),
            (b":1\r\n", IngestOutcome::Unexpected),
            (b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n", IngestOutcome::Unexpected),
        ] {
            let mut received = Received::new(100);
            received.space().extend_from_slice(bytes);
            assert_eq!(ingest.take(received.next().unwrap().unwrap()), took);
        }
    }
}
