//! One open stream as it arrives: its own events, test events, and the times between them. Keeps no data of other
//! events.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::exchange::{BodyPart, PublicAnswer};
use crate::event::sse::{Message, Parser};

/// How much one event may be.
const MAX_EVENT: usize = 16 << 20;

/// The field by which a test event is known.
pub(super) const MARK: &str = "sidestreamDoctor";

/// A stream that is being read.
pub(super) struct OpenedStream {
    pub(super) head: PublicAnswer,
    parser: Parser,
    /// All times are from the request on.
    pub(super) first: Option<Duration>,
    last: Duration,
    /// The longest time without a byte that the stream has survived.
    pub(super) longest_silence: Duration,
    /// Reads behind the first event, whatever they held.
    pub(super) later_reads: usize,
    pub(super) greeting: Option<Greeting>,
    /// The first event was something else.
    pub(super) is_foreign: bool,
    /// The reasons of the stream's own events.
    pub(super) closing: Option<String>,
    pub(super) reset: Option<String>,
    pub(super) refused: Option<String>,
    /// Number of the event, when it came, and in which read.
    pub(super) test_events: Vec<(usize, Instant, usize)>,
    pub(super) end: Option<SeenEnd>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenEnd {
    pub(super) age: Duration,
    pub(super) silence: Duration,
    /// The connection broke; the answer was not ended.
    pub(super) is_cut: bool,
}

/// What the first event of a stream says of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Greeting {
    pub(super) client: String,
    pub(super) topics: Vec<String>,
    pub(super) resumed: bool,
    #[serde(skip)]
    pub(super) id: String,
}

impl OpenedStream {
    pub(super) fn new(head: PublicAnswer) -> Self {
        Self {
            head,
            parser: Parser::new("", MAX_EVENT),
            first: None,
            last: Duration::ZERO,
            longest_silence: Duration::ZERO,
            later_reads: 0,
            greeting: None,
            is_foreign: false,
            closing: None,
            reset: None,
            refused: None,
            test_events: Vec::new(),
            end: None,
        }
    }

    /// Reads until `deadline`, until the stream ends, or until `enough` holds after a read.
    pub(super) async fn read(&mut self, deadline: Instant, enough: impl Fn(&Self) -> bool) {
        while self.end.is_none() && !enough(self) {
            match self.head.next(deadline).await {
                BodyPart::Data(bytes) => self.take(&bytes),
                BodyPart::End => self.ended(false),
                BodyPart::Cut => self.ended(true),
                BodyPart::Silence => return,
            }
        }
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        self.age().saturating_sub(self.last)
    }

    pub(super) fn age(&self) -> Duration {
        self.end.map_or_else(|| self.head.asked.elapsed(), |end| end.age)
    }

    fn ended(&mut self, is_cut: bool) {
        let age = self.head.asked.elapsed();
        self.end = Some(SeenEnd { age, silence: age.saturating_sub(self.last), is_cut });
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let now = self.head.asked.elapsed();
        if self.first.is_some() {
            self.longest_silence = self.longest_silence.max(now.saturating_sub(self.last));
        }
        self.first.get_or_insert(now);
        self.last = now;
        if self.greeting.is_some() {
            self.later_reads += 1;
        }
        // What is no event stream is no event stream's fault.
        while let Ok(Some(message)) = self.parser.next(&mut bytes) {
            self.take_message(&message);
        }
    }

    fn take_message(&mut self, message: &Message) {
        let data: Value = serde_json::from_str(&message.data).unwrap_or_default();
        // The same with a type within the data, as `sse.events = "typed"` has it.
        let (name, data) = match data["type"].as_str() {
            Some(name) if !data["data"].is_null() => (name, &data["data"]),
            _ => (message.event.as_str(), &data),
        };
        let reason = || data["reason"].as_str().map(str::to_owned);
        if let Some(number) = data[MARK].as_u64().and_then(|number| usize::try_from(number).ok()) {
            self.test_events.push((number, Instant::now(), self.later_reads));
            return;
        }
        match name {
            "closing" => self.closing = reason(),
            "reset" => self.reset = reason(),
            "refused" => self.refused = reason(),
            _ if self.greeting.is_none() => match Greeting::deserialize(data) {
                Ok(greeting) => {
                    self.greeting = Some(Greeting { id: message.id.clone().unwrap_or_default(), ..greeting });
                }
                Err(_) => self.is_foreign = true,
            },
            _ => {}
        }
    }
}
