//! A backend ends a topic, or lets it begin anew, on every instance.
//!
//! Alone, it is done at once. With others it is sent to all of them, this one too, by the way that the events take, and
//! done where it is heard. This file knows neither HTTP nor Redis.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::info;

use crate::control::pending::PendingCommands;
use crate::control::topics::{TopicBus, TopicBusError};
use crate::event::Name;
use crate::log::{EndOutcome, EndRequest, Log, RecordKind};
use crate::telemetry::TOPICS_ENDED;

/// Ends topics.
pub struct TopicEnds {
    log: Arc<Log>,
    peers: OnceLock<Arc<dyn TopicBus>>,
    pending: PendingCommands<bool>,
}

/// Why a topic has not ended, or is not known to have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicEndError {
    #[error("the log is not loaded yet, or the other instances cannot be reached now: nothing was done")]
    NotTold,
    #[error("{0}: nothing was done")]
    NotCarried(Box<str>),
    #[error("it was sent to all instances, and has not come back to this one: it may or may not be done")]
    Unknown,
}

/// A command as it goes from instance to instance; a backend may write it, too, without a number.
#[derive(Serialize, Deserialize)]
struct EndCommand {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[serde(flatten)]
    asked: EndStep,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndStep {
    CloseTopic(Name),
    OpenTopic(Name),
}

impl TopicEnds {
    /// A command that is sent to all is waited for as long as `patience`.
    pub fn new(log: Arc<Log>, patience: Duration) -> Self {
        Self { log, peers: OnceLock::new(), pending: PendingCommands::new(patience) }
    }

    /// From now on `peers` carries it to all instances. Once.
    pub fn connect(&self, peers: Arc<dyn TopicBus>) {
        let _ = self.peers.set(peers);
    }

    /// Ends `topic`, or lets it begin anew with `opens`. Tells whether that changed anything.
    pub async fn set(&self, topic: &Name, opens: bool) -> Result<bool, TopicEndError> {
        let Some(peers) = self.peers.get() else { return Ok(self.set_here(topic, opens)) };
        if !self.log.is_loaded() {
            // It would not come back to us.
            return Err(TopicEndError::NotTold);
        }
        let pending = self.pending.begin().ok_or(TopicEndError::NotTold)?;
        let topic = topic.clone();
        let asked = if opens { EndStep::OpenTopic(topic) } else { EndStep::CloseTopic(topic) };
        let command = EndCommand { number: Some(pending.number().to_owned()), asked };
        let command = serde_json::to_vec(&command).expect("texts are JSON");
        peers.tell(command).await.map_err(|why| match why {
            TopicBusError::Nothing => TopicEndError::NotTold,
            TopicBusError::Refused(error) => TopicEndError::NotCarried(error),
            TopicBusError::Perhaps => TopicEndError::Unknown,
        })?;
        pending.outcome().await.ok_or(TopicEndError::Unknown)
    }

    /// Does what some instance has sent to all over a channel; false when the text is no command of this kind.
    pub fn heard(&self, text: &[u8]) -> bool {
        let Some(RecordKind::End(EndRequest { number, topic, opens })) = self.read(text) else {
            return false;
        };
        let changed = if opens { self.log.open(&topic) } else { self.log.end(&topic) };
        self.made(vec![EndOutcome { number, topic, opens, changed }]);
        true
    }

    /// What some instance, or the backend itself, has put among the events. None when it is no command of this kind.
    pub fn read(&self, text: &[u8]) -> Option<RecordKind> {
        let EndCommand { number, asked } = serde_json::from_slice(text).ok()?;
        let (topic, opens) = match asked {
            EndStep::CloseTopic(topic) => (topic, false),
            EndStep::OpenTopic(topic) => (topic, true),
        };
        Some(RecordKind::End(EndRequest { number: number.map(String::into_boxed_str), topic, opens }))
    }

    /// Takes note of what the log has made of it, and tells those who asked here.
    pub fn made(&self, all: Vec<EndOutcome>) {
        for EndOutcome { number, topic, opens, changed } in all {
            if changed {
                info!(%topic, opens, "a topic has ended, or begins anew");
            }
            metrics::gauge!(TOPICS_ENDED).set(self.log.ends() as f64);
            if let Some(number) = number {
                self.pending.made(&number, changed);
            }
        }
    }

    fn set_here(&self, topic: &Name, opens: bool) -> bool {
        let changed = if opens { self.log.open(topic) } else { self.log.end(topic) };
        self.made(vec![EndOutcome { number: None, topic: topic.clone(), opens, changed }]);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_out_as_it_went_in_and_others_are_none() {
        let text = r#"{"number":"7","close_topic":"a ☂"}"#;
        let command: EndCommand = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&command).unwrap(), text);
        for other in
            ["{}", r#"{"number":"1"}"#, r#"{"topics":{"user":"u","set":[]}}"#, r#"{"close_topic":""}"#]
        {
            assert!(serde_json::from_str::<EndCommand>(other).is_err(), "{other}");
        }
    }
}
