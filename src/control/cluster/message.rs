//! What instances tell each other: JSON with a version, so that instances of different releases can live side by side.
//!
//! Times are wall-clock milliseconds: the instances' clocks are taken to agree to about a second.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::{Bearer, GrantSelector, GrantedTopics};
use crate::clock::{from_unix_ms, unix_ms};
use crate::control::cluster::heartbeat::{Alive, Bye};
use crate::control::cluster::survey::{SurveyAnswer, SurveyQuestion};
use crate::control::presence::{PresenceDelta, PresenceSnapshot, SnapshotRequest};
use crate::event::{Name, Pattern};
use crate::fanout::{Renewal, Times};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct BusMessage {
    v: u32,
    #[serde(flatten)]
    command: BusCommand,
}

/// What is to be done by whoever it concerns.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::control) enum BusCommand {
    Revoke(Revoke),
    Renew(Renew),
    Away(StayAway),
    Alive(Alive),
    Bye(Bye),
    Ask(SurveyQuestion),
    Answer(SurveyAnswer),
    Changed(PresenceDelta),
    Everybody(PresenceSnapshot),
    Want(SnapshotRequest),
}

impl BusCommand {
    pub(in crate::control) fn into_bytes(self) -> Bytes {
        serde_json::to_vec(&BusMessage { v: VERSION, command: self }).expect("a command is JSON").into()
    }

    /// None for what this release does not know.
    pub(in crate::control) fn parse(message: &[u8]) -> Option<Self> {
        let message: BusMessage = serde_json::from_slice(message).ok()?;
        (message.v == VERSION).then_some(message.command)
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Revoke {
    #[serde(flatten)]
    whose: GrantSelector,
    at: u64,
    until: u64,
}

impl Revoke {
    pub(in crate::control) fn new(whose: &GrantSelector, at: SystemTime, until: SystemTime) -> Self {
        Self { whose: whose.clone(), at: unix_ms(at), until: unix_ms(until) }
    }

    /// Whose grants, when they were taken back, and until when; None when nobody is named.
    pub(in crate::control) fn read(self) -> Option<(GrantSelector, SystemTime, SystemTime)> {
        let Self { whose, at, until } = self;
        (!whose.is_nobody()).then(|| (whose, from_unix_ms(at), from_unix_ms(until)))
    }
}

/// Who shall stay away, and until when.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct StayAway {
    user: Option<Name>,
    session: Option<Name>,
    topic: Option<Name>,
    until: u64,
}

impl StayAway {
    pub(in crate::control) fn new(whose: &GrantSelector, until: SystemTime) -> Self {
        let GrantSelector { user, session, topic, .. } = whose.clone();
        Self { user, session, topic, until: unix_ms(until) }
    }

    /// None when nobody is named.
    pub(in crate::control) fn read(self) -> Option<(GrantSelector, SystemTime)> {
        let Self { user, session, topic, until } = self;
        let whose = GrantSelector { user, session, topic, token: None };
        (!whose.is_nobody()).then(|| (whose, from_unix_ms(until)))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Renew {
    client: Name,
    token: Option<Name>,
    expires: Option<u64>,
    warns: Option<u64>,
    user: Option<Name>,
    session: Option<Name>,
    /// None = any.
    topics: Option<Vec<Pattern>>,
    of_route: Vec<Name>,
}

impl Renew {
    pub(in crate::control) fn new(renewal: &Renewal, bearer: &Bearer) -> Self {
        let at = |instant: Option<Instant>| {
            let left = instant?.saturating_duration_since(Instant::now());
            Some(unix_ms(SystemTime::now() + left))
        };
        let topics = match &bearer.topics {
            GrantedTopics::Any => None,
            GrantedTopics::Only(patterns) => Some(patterns.to_vec()),
        };
        Self {
            client: renewal.client.clone(),
            token: renewal.token.clone(),
            expires: at(renewal.times.expires),
            warns: at(renewal.times.warns),
            user: bearer.user.clone(),
            session: bearer.session.clone(),
            topics,
            of_route: bearer.of_route.clone(),
        }
    }

    pub(in crate::control) fn read(self) -> (Renewal, Bearer) {
        let at = |ms: Option<u64>| {
            let left = from_unix_ms(ms?).duration_since(SystemTime::now()).unwrap_or_default();
            Some(Instant::now() + left)
        };
        let times = Times { expires: at(self.expires), warns: at(self.warns) };
        let topics = self.topics.map_or(GrantedTopics::Any, |topics| GrantedTopics::Only(topics.into()));
        let Self { client, token, user, session, of_route, .. } = self;
        (Renewal { client, times, token }, Bearer { user, session, topics, of_route })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_command_is_read_as_it_was_told() {
        let named = |text: &str| Some(Name::parse(text).unwrap());
        let whose = GrantSelector { user: named("u"), topic: named("c:1"), ..GrantSelector::default() };
        let (at, until) = (from_unix_ms(1_750_000_000_123), from_unix_ms(1_750_003_600_123));
        let bytes = BusCommand::Revoke(Revoke::new(&whose, at, until)).into_bytes();
        let Some(BusCommand::Revoke(revoke)) = BusCommand::parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(revoke.read(), Some((whose, at, until)));

        let bearer = Bearer {
            user: named("u"),
            session: None,
            topics: GrantedTopics::Only([Pattern::parse("c:*").unwrap()].into()),
            of_route: vec![Name::parse("news").unwrap()],
        };
        let expires = Instant::now() + Duration::from_secs(60);
        let times = Times { expires: Some(expires), warns: None };
        let renewal = Renewal { client: Name::parse("abc").unwrap(), times, token: named("t") };
        let bytes = BusCommand::Renew(Renew::new(&renewal, &bearer)).into_bytes();
        let Some(BusCommand::Renew(renew)) = BusCommand::parse(&bytes) else { panic!("{bytes:?}") };
        let (read, by) = renew.read();
        assert_eq!((by, read.client, read.token), (bearer, renewal.client, renewal.token));
        let apart = read.times.expires.unwrap().duration_since(expires - Duration::from_secs(1));
        assert!(apart < Duration::from_secs(2), "{apart:?}");
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        for message in [
            "",
            "{}",
            "[]",
            r#"{"v":1}"#,
            r#"{"v":2,"revoke":{"user":"u","at":1,"until":2}}"#,
            r#"{"v":1,"dance":{}}"#,
            r#"{"v":1,"revoke":{"user":"","at":1,"until":2}}"#,
        ] {
            assert!(BusCommand::parse(message.as_bytes()).is_none(), "{message}");
        }
        let nobody = br#"{"v":1,"revoke":{"at":1,"until":2}}"#;
        let Some(BusCommand::Revoke(revoke)) = BusCommand::parse(nobody) else { panic!() };
        assert_eq!(revoke.read(), None);
    }
}
