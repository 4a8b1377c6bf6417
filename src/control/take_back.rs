//! What a backend takes back: one event, or all that is kept of a topic, on every instance.
//!
//! Alone, it is done at once. Where the log is a stream in Redis, it is a record there, which every copy heeds in its
//! place. With channels each instance has ids of its own: the one whose id it is tells what the event says, and all let
//! go of what says the same. This file knows neither HTTP nor Redis.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::info;

use crate::control::pending::PendingCommands;
use crate::control::topics::TopicBusError;
use crate::event::{
    Audience, EnvelopeDefaults, Event, EventId, EventName, Key, Name, parse_event, write_event,
};
use crate::future::BoxFuture;
use crate::log::{
    ContentHash, FoundEvent, Located, Log, RecordKind, Reset, TakeBack, TakeBackOutcome, TakeBackRequest,
    TakenBack, notice_data,
};
use crate::shutdown::Drain;
use crate::telemetry::TAKEN_BACK;

/// How what is taken back gets to every instance, this one too.
pub trait TakeBackBus: Send + Sync {
    fn tell(&self, record: TakeBackRecord) -> BoxFuture<'_, Result<(), TopicBusError>>;
}

/// What is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakeBackRecord {
    /// The command, as JSON; none where there are only more ids of one that was told before.
    pub command: Option<Vec<u8>>,
    /// The event that tells the readers, as an envelope.
    pub notice: String,
    /// The ids whose content need not be kept any longer, where the log is a stream.
    pub ids: Vec<EventId>,
}

/// Takes events back.
pub struct TakeBacks {
    log: Arc<Log>,
    peers: OnceLock<Arc<dyn TakeBackBus>>,
    made: PendingCommands<TakenBack>,
    found: PendingCommands<FoundEvent>,
    drain: Drain,
}

/// Why nothing is taken back, or it is not known to be. `N` is why the caller may not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TakeBackError<N> {
    #[error("{0}")]
    NotAllowed(N),
    #[error("this is no id of an event")]
    Malformed,
    #[error("the topic has no event with this id, or the log does not have it any more")]
    Unknown,
    #[error("the log is not loaded yet: ask again")]
    NotReady,
    #[error("the other instances cannot be reached now, and nothing was taken back")]
    NotTold,
    #[error("{0}: nothing was taken back")]
    NotCarried(Box<str>),
    #[error(
        "it was sent to all instances, and has not come back to this one: it may or may not be taken back"
    )]
    Perhaps,
}

/// How many ids go with one record.
const MAX_IDS: usize = 500;
/// How long an id is waited for that another instance gave away a moment ago.
const AHEAD: Duration = Duration::from_secs(3);
/// The name of the event in a record. Each instance puts its own in its place.
const NOTICE: &str = "retracted";

/// A command as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
struct TakeBackCommand {
    number: String,
    #[serde(flatten)]
    asked: TakeBackStep,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TakeBackStep {
    /// Take this back.
    TakeBack { topic: Name, id: Option<EventIdText>, print: Option<String> },
    /// The instance whose id it is shall tell what the event is.
    Find { topic: Name, id: EventIdText },
    /// It does.
    Found(FoundEventFields),
}

/// What is found.
#[derive(Serialize, Deserialize)]
struct FoundEventFields {
    state: FoundEventState,
    /// The audience, as an envelope.
    #[serde(default)]
    audience: String,
    #[serde(default)]
    print: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FoundEventState {
    Kept,
    TakenBack,
    Unknown,
}

type EventIdText = String;

impl TakeBacks {
    /// A command that is sent to all is waited for as long as `patience`; `drain` waits for what others are answered.
    pub fn new(log: Arc<Log>, patience: Duration, drain: Drain) -> Self {
        let (made, found) = (PendingCommands::new(patience), PendingCommands::new(patience));
        Self { log, peers: OnceLock::new(), made, found, drain }
    }

    /// From now on `peers` carries it to all instances. Once.
    pub fn connect(&self, peers: Arc<dyn TakeBackBus>) {
        let _ = self.peers.set(peers);
    }

    /// Takes back the event of `topic` with this id, from all of its recipients, if the caller may do that to them.
    /// Tells how many events it was on this instance: none when it was taken back before.
    pub async fn event<N>(
        &self,
        topic: &Name,
        id: &str,
        may: impl Fn(&Audience) -> Result<(), N>,
    ) -> Result<TakenBack, TakeBackError<N>> {
        may(&Audience::of(Key::Topic(topic.clone()))).map_err(TakeBackError::NotAllowed)?;
        let id: EventId = id.parse().map_err(|_| TakeBackError::Malformed)?;
        let (audience, print, coalesce) = match self.find(topic, id).await? {
            FoundEvent::Kept { audience, print, coalesce } => (audience, print, coalesce),
            FoundEvent::TakenBack => return Ok(TakenBack::default()),
            FoundEvent::Unknown => return Err(TakeBackError::Unknown),
        };
        may(&audience).map_err(TakeBackError::NotAllowed)?;
        let what = match self.is_by_content() {
            true => TakeBack::Alike { topic: topic.clone(), print },
            false => TakeBack::Event { topic: topic.clone(), id },
        };
        let notice = Event { coalesce, ..notice(audience, topic, Some(id)) };
        let taken = self.take_back(what, notice, vec![id]).await?;
        info!(%topic, %id, count = taken.count, "event taken back");
        Ok(taken)
    }

    /// Takes back all that is kept of `topic`. What is for others as well stays with them.
    pub async fn topic<N>(
        &self,
        topic: &Name,
        may: impl Fn(&Audience) -> Result<(), N>,
    ) -> Result<TakenBack, TakeBackError<N>> {
        let audience = Audience::of(Key::Topic(topic.clone()));
        may(&audience).map_err(TakeBackError::NotAllowed)?;
        if !self.log.is_loaded() {
            return Err(TakeBackError::NotReady);
        }
        let ids = if self.log.is_following() { self.log.ids_of(topic) } else { Vec::new() };
        let notice = notice(audience, topic, None);
        let taken = self.take_back(TakeBack::Topic(topic.clone()), notice, ids).await?;
        info!(%topic, count = taken.count, "all events of a topic taken back");
        Ok(taken)
    }

    /// What some instance has put among the events. `Err` when it is no such command.
    pub fn read(&self, command: &[u8], notice: &Event) -> Option<RecordKind> {
        let TakeBackCommand { number, asked } = serde_json::from_slice(command).ok()?;
        let what = asked.what()?;
        let (audience, coalesce) = (Some(notice.audience.clone()), notice.coalesce.clone());
        Some(RecordKind::TakeBack(TakeBackRequest { number: Some(number.into()), what, audience, coalesce }))
    }

    /// Does what some instance has sent to all over a channel; false when the text is no command of this kind.
    pub fn heard(self: &Arc<Self>, text: &[u8]) -> bool {
        let Ok(TakeBackCommand { number, asked }) = serde_json::from_slice(text) else { return false };
        match asked {
            TakeBackStep::Find { topic, id } => {
                let Ok(id) = id.parse() else { return false };
                if self.log.is_own(id) {
                    let found = TakeBackStep::Found(self.log.find(&topic, id).into());
                    let this = Arc::clone(self);
                    // Where it is not sent, the one who asks learns that nobody has answered.
                    self.drain.spawn(async move {
                        let _ = this.tell::<Infallible>(number, found, String::new(), Vec::new()).await;
                    });
                }
            }
            TakeBackStep::Found(found) => {
                if let Some(found) = found.read() {
                    self.found.made(&number, found);
                }
            }
            step => {
                let Some(what) = step.what() else { return false };
                let taken = self.log.take_back(what);
                self.made(vec![TakeBackOutcome { number: Some(number.into()), taken }]);
            }
        }
        true
    }

    /// Takes note of what the log has let go of, and tells those who asked here.
    pub fn made(&self, all: Vec<TakeBackOutcome>) {
        for TakeBackOutcome { number, taken } in all {
            metrics::counter!(TAKEN_BACK).increment(taken.count as u64);
            if let Some(number) = number {
                self.made.made(&number, taken);
            }
        }
    }

    /// Whether every instance has ids of its own.
    fn is_by_content(&self) -> bool {
        self.peers.get().is_some() && !self.log.is_following()
    }

    async fn find<N>(&self, topic: &Name, id: EventId) -> Result<FoundEvent, TakeBackError<N>> {
        if !self.log.is_loaded() {
            return Err(TakeBackError::NotReady);
        }
        if self.is_by_content() && !self.log.is_own(id) {
            let pending = self.found.begin().ok_or(TakeBackError::NotTold)?;
            let find = TakeBackStep::Find { topic: topic.clone(), id: id.to_string() };
            self.tell(pending.number().to_owned(), find, String::new(), Vec::new()).await?;
            // No instance that is there has given this id away.
            return Ok(pending.outcome().await.unwrap_or(FoundEvent::Unknown));
        }
        // Another instance has it, and we will in a moment.
        match self.log.locate_soon(&id.to_string(), AHEAD).await {
            Located::NotNow => Err(TakeBackError::NotReady),
            Located::Reset(Reset::TooOld) | Located::At(_) => Ok(self.log.find(topic, id)),
            Located::Reset(_) => Ok(FoundEvent::Unknown),
        }
    }

    async fn take_back<N>(
        &self,
        what: TakeBack,
        notice: Event,
        ids: Vec<EventId>,
    ) -> Result<TakenBack, TakeBackError<N>> {
        if self.peers.get().is_none() {
            let taken = self.log.take_back(what);
            self.made(vec![TakeBackOutcome { number: None, taken }]);
            return Ok(taken);
        }
        let notice = write_event(&notice).json;
        let pending = self.made.begin().ok_or(TakeBackError::NotTold)?;
        let mut parts = ids.chunks(MAX_IDS);
        let first = parts.next().unwrap_or_default().to_vec();
        self.tell(pending.number().to_owned(), what.into(), notice, first).await?;
        let taken = pending.outcome().await.ok_or(TakeBackError::Perhaps)?;
        for ids in parts {
            // They are in no replay any more: whether Redis still has them matters to nobody's stream.
            let record = TakeBackRecord { command: None, notice: String::new(), ids: ids.to_vec() };
            if let Some(peers) = self.peers.get()
                && let Err(error) = peers.tell(record).await
            {
                tracing::warn!(
                    ?error,
                    "content that was taken back stays in the stream in Redis until it is trimmed"
                );
                break;
            }
        }
        Ok(taken)
    }

    async fn tell<N>(
        &self,
        number: String,
        asked: TakeBackStep,
        notice: String,
        ids: Vec<EventId>,
    ) -> Result<(), TakeBackError<N>> {
        let peers = self.peers.get().ok_or(TakeBackError::NotTold)?;
        let command = serde_json::to_vec(&TakeBackCommand { number, asked }).expect("texts are JSON");
        peers.tell(TakeBackRecord { command: Some(command), notice, ids }).await.map_err(|why| match why {
            TopicBusError::Nothing => TakeBackError::NotTold,
            TopicBusError::Refused(error) => TakeBackError::NotCarried(error),
            TopicBusError::Perhaps => TakeBackError::Perhaps,
        })
    }
}

/// The event that tells the readers.
fn notice(audience: Audience, topic: &Name, id: Option<EventId>) -> Event {
    Event { name: EventName::parse(NOTICE).ok(), ..Event::new(audience, notice_data(topic, id)) }
}

impl TakeBackStep {
    /// What is to be taken back.
    fn what(self) -> Option<TakeBack> {
        let Self::TakeBack { topic, id, print } = self else { return None };
        match (id, print) {
            (Some(id), None) => Some(TakeBack::Event { topic, id: id.parse().ok()? }),
            (None, Some(print)) => Some(TakeBack::Alike { topic, print: ContentHash::parse(&print)? }),
            (None, None) => Some(TakeBack::Topic(topic)),
            (Some(_), Some(_)) => None,
        }
    }
}

impl From<TakeBack> for TakeBackStep {
    fn from(what: TakeBack) -> Self {
        let (topic, id, print) = match what {
            TakeBack::Event { topic, id } => (topic, Some(id.to_string()), None),
            TakeBack::Alike { topic, print } => (topic, None, Some(print.as_str().to_owned())),
            TakeBack::Topic(topic) => (topic, None, None),
        };
        Self::TakeBack { topic, id, print }
    }
}

impl From<FoundEvent> for FoundEventFields {
    fn from(found: FoundEvent) -> Self {
        let (state, audience, print) = match found {
            // By what it says each instance finds its own, with its key.
            FoundEvent::Kept { audience, print, .. } => (
                FoundEventState::Kept,
                write_event(&Event::new(audience, "")).json,
                print.as_str().to_owned(),
            ),
            FoundEvent::TakenBack => (FoundEventState::TakenBack, String::new(), String::new()),
            FoundEvent::Unknown => (FoundEventState::Unknown, String::new(), String::new()),
        };
        Self { state, audience, print }
    }
}

impl FoundEventFields {
    fn read(self) -> Option<FoundEvent> {
        Some(match self.state {
            FoundEventState::TakenBack => FoundEvent::TakenBack,
            FoundEventState::Unknown => FoundEvent::Unknown,
            FoundEventState::Kept => {
                let event = parse_event(self.audience.as_bytes(), &EnvelopeDefaults::default()).ok()?;
                let print = ContentHash::parse(&self.print)?;
                FoundEvent::Kept { audience: event.audience, print, coalesce: None }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_out_as_it_went_in() {
        let topic = || Name::parse("a ☂").unwrap();
        let print = ContentHash::parse("00112233445566778899aabbccddeeff").unwrap();
        for what in [
            TakeBack::Event { topic: topic(), id: "5-1".parse().unwrap() },
            TakeBack::Alike { topic: topic(), print: print.clone() },
            TakeBack::Topic(topic()),
        ] {
            let command = TakeBackCommand { number: "7".to_owned(), asked: what.clone().into() };
            let text = serde_json::to_vec(&command).unwrap();
            let back: TakeBackCommand = serde_json::from_slice(&text).unwrap();
            assert_eq!(back.asked.what(), Some(what));
        }
        let keys = [Key::Topic(topic()), Key::User(Name::parse("u").unwrap())];
        let audience = Audience::new(keys, vec![Key::Session(topic())]).unwrap();
        let kept = FoundEvent::Kept { audience, print, coalesce: None };
        for found in [kept, FoundEvent::TakenBack, FoundEvent::Unknown] {
            let text = serde_json::to_vec(&FoundEventFields::from(found.clone())).unwrap();
            let back: FoundEventFields = serde_json::from_slice(&text).unwrap();
            assert_eq!(back.read(), Some(found));
        }
    }

    #[test]
    fn a_command_of_another_kind_is_none_of_these() {
        for text in ["{}", r#"{"number":"1"}"#, r#"{"number":"1","topics":{"user":"u","set":[]}}"#] {
            assert!(serde_json::from_str::<TakeBackCommand>(text).is_err(), "{text}");
        }
    }
}
