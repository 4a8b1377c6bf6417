//! What instances tell each other: JSON with a version, so that instances of different releases can live side by side.
//!
//! Times are wall-clock milliseconds of the sender. For how long something holds stands beside them as the time that is
//! left, so that instances whose clocks differ agree.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::{Bearer, Grant, GrantSelector, GrantedTopics};
use crate::clock::{from_unix_ms, now_ms, unix_ms};
use crate::control::cluster::wire::{Alive, Bye, SurveyAnswer, SurveyQuestion};
use crate::control::page_change::PageChange;
use crate::control::presence::{PresenceDelta, PresenceSnapshot, SnapshotRequest};
use crate::event::{Name, Pattern, TopicFilter};
use crate::fanout::{Renewal, Times};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct BusMessage {
    v: u32,
    #[serde(flatten)]
    command: BusCommand,
}

/// What is to be done by the instances that it concerns.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::control) enum BusCommand {
    Revoke(Revoke),
    Renew(Renew),
    ChangeOwn(ChangeOwn),
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
    selector: GrantSelector,
    at: u64,
    until: u64,
    /// The milliseconds left when it was sent; releases before 0.2 leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Revoke {
    pub(in crate::control) fn new(selector: &GrantSelector, at: SystemTime, until: SystemTime) -> Self {
        Self {
            selector: selector.clone(),
            at: unix_ms(at),
            until: unix_ms(until),
            left: Some(left_until(until)),
        }
    }

    /// GrantSelector grants, when they were taken back, and until when by the clock here; None when nobody is named.
    /// `known` is the time that is left where that is known better.
    pub(in crate::control) fn read(
        self,
        known: Option<Duration>,
    ) -> Option<(GrantSelector, SystemTime, SystemTime)> {
        let Self { selector, at, until, left } = self;
        let until = ends(until, left, known);
        (!selector.is_nobody()).then(|| (selector, from_unix_ms(at), until))
    }
}

/// Who shall stay away, and until when.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct StayAway {
    user: Option<Name>,
    session: Option<Name>,
    topic: Option<Name>,
    until: u64,
    /// As in [`Revoke`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl StayAway {
    pub(in crate::control) fn new(selector: &GrantSelector, until: SystemTime) -> Self {
        let GrantSelector { user, session, topic, .. } = selector.clone();
        Self { user, session, topic, until: unix_ms(until), left: Some(left_until(until)) }
    }

    /// Who, and until when by the clock here; None when nobody is named. `known` is as in [`Revoke::read`].
    pub(in crate::control) fn read(self, known: Option<Duration>) -> Option<(GrantSelector, SystemTime)> {
        let Self { user, session, topic, until, left } = self;
        let selector = GrantSelector { user, session, topic, token: None };
        let until = ends(until, left, known);
        (!selector.is_nobody()).then_some((selector, until))
    }
}

/// The milliseconds from now to `until`.
fn left_until(until: SystemTime) -> u64 {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

/// When something ends by the clock here: after what is left, as it is known from somebody who has kept the message, or
/// as the sender said; or at the sender's `until` where neither is there.
fn ends(until: u64, left: Option<u64>, known: Option<Duration>) -> SystemTime {
    match known.or(left.map(Duration::from_millis)) {
        Some(left) => {
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            from_unix_ms(now_ms().saturating_add(ms))
        }
        None => from_unix_ms(until),
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
    of_route: Vec<TopicFilter>,
    /// When the token was issued, if it says so; releases before 0.2 leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued: Option<u64>,
}

impl Renew {
    pub(in crate::control) fn new(renewal: &Renewal, bearer: &Bearer) -> Self {
        let at = |instant: Option<Instant>| {
            let left = instant?.saturating_duration_since(Instant::now());
            Some(unix_ms(SystemTime::now() + left))
        };
        let Grant { user, session, topics, issued, .. } = bearer.grant.clone();
        let topics = match topics {
            GrantedTopics::Any => None,
            GrantedTopics::Only(patterns) => Some(patterns.into()),
        };
        Self {
            client: renewal.client.clone(),
            token: renewal.token.clone(),
            expires: at(renewal.times.expires),
            warns: at(renewal.times.warns),
            user,
            session,
            topics,
            of_route: bearer.of_route.clone(),
            issued: issued.map(unix_ms),
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
        let grant = Grant {
            user,
            session,
            token: token.clone(),
            topics,
            issued: self.issued.map(from_unix_ms),
            until: self.expires.map(from_unix_ms),
        };
        (Renewal { client, times, token }, Bearer { grant, of_route })
    }
}

/// A change that a page makes of the topics of its own stream.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct ChangeOwn {
    #[serde(flatten)]
    by: Renew,
    route: Box<str>,
    #[serde(default)]
    add: Vec<TopicFilter>,
    #[serde(default)]
    remove: Vec<TopicFilter>,
}

impl ChangeOwn {
    pub(in crate::control) fn new(change: &PageChange) -> Self {
        let PageChange { renewal, bearer, route, add, remove } = change.clone();
        Self { by: Renew::new(&renewal, &bearer), route: (*route).into(), add, remove }
    }

    pub(in crate::control) fn read(self) -> PageChange {
        let Self { by, route, add, remove } = self;
        let (renewal, bearer) = by.read();
        PageChange { renewal, bearer, route: route.into(), add, remove }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_command_is_read_as_it_was_told() {
        let named = |text: &str| Some(Name::parse(text).unwrap());
        let selector = GrantSelector { user: named("u"), topic: named("c:1"), ..GrantSelector::default() };
        let (at, until) = (from_unix_ms(1_750_000_000_123), from_unix_ms(1_750_003_600_123));
        let bytes = BusCommand::Revoke(Revoke::new(&selector, at, until)).into_bytes();
        let Some(BusCommand::Revoke(revoke)) = BusCommand::parse(&bytes) else { panic!("{bytes:?}") };
        let (read, since, _) = revoke.read(None).unwrap();
        assert_eq!((read, since), (selector, at));

        let expires = Instant::now() + Duration::from_secs(60);
        let grant = Grant {
            token: named("t"),
            topics: GrantedTopics::Only([Pattern::parse("c:*").unwrap()].into()),
            issued: Some(from_unix_ms(1_750_000_000_000)),
            ..Grant::open(named("u"), None)
        };
        let bearer = Bearer { grant, of_route: vec![Name::parse("news").unwrap().into()] };
        let times = Times { expires: Some(expires), warns: None };
        let renewal = Renewal { client: Name::parse("abc").unwrap(), times, token: named("t") };
        let change = PageChange {
            renewal,
            bearer,
            route: "/events".into(),
            add: vec![Name::parse("a").unwrap().into(), TopicFilter::parse_pattern("a*").unwrap()],
            remove: vec![],
        };
        let bytes = BusCommand::ChangeOwn(ChangeOwn::new(&change)).into_bytes();
        let Some(BusCommand::ChangeOwn(told)) = BusCommand::parse(&bytes) else { panic!("{bytes:?}") };
        let mut read = told.read();
        let apart = read.renewal.times.expires.unwrap().duration_since(expires - Duration::from_secs(1));
        read.renewal.times = times;
        read.bearer.grant.until = None;
        assert_eq!(read, change);
        assert!(apart < Duration::from_secs(2), "{apart:?}");
    }

    #[test]
    fn what_is_left_counts_and_not_the_senders_clock() {
        let left = |text: &str, known: Option<Duration>| {
            let Some(BusCommand::Revoke(revoke)) = BusCommand::parse(text.as_bytes()) else {
                panic!("{text}")
            };
            let (_, _, until) = revoke.read(known).unwrap();
            until.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64().round() as u64
        };
        let behind = r#"{"v":1,"revoke":{"user":"u","at":1,"until":2,"left":90000}}"#;
        assert_eq!(left(behind, None), 90);
        assert_eq!(left(behind, Some(Duration::from_secs(30))), 30, "somebody has kept it for a minute");
        let older = format!(r#"{{"v":1,"revoke":{{"user":"u","at":1,"until":{}}}}}"#, now_ms() + 60_000);
        assert_eq!(left(&older, None), 60);
        let selector = GrantSelector { user: Some(Name::parse("u").unwrap()), ..GrantSelector::default() };
        let away = StayAway::new(&selector, SystemTime::now() + Duration::from_secs(60));
        let (_, until) = away.read(None).unwrap();
        assert!(until > SystemTime::now() + Duration::from_secs(58));
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
        assert_eq!(revoke.read(None), None);
    }
}
