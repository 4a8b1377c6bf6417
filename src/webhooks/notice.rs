//! What may happen, and its line of JSON.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use crate::config::HookEvent;
use crate::event::{ConnectionMeta, Key, Name, Pattern};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    Connected(StreamInfo<'a>),
    Disconnected {
        who: StreamInfo<'a>,
        /// One word of ours.
        reason: &'static str,
        /// How long the stream was open.
        after: Duration,
        /// How many events it was sent.
        sent: u64,
    },
    TopicOccupied(&'a Name),
    TopicEmpty(&'a Name),
    UserOnline(&'a Name),
    UserOffline(&'a Name),
}

/// A stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamInfo<'a> {
    pub client: &'a Name,
    /// Its user, its session and its topics.
    pub keys: &'a [Key],
    pub address: IpAddr,
    /// What is noted of it.
    pub meta: Option<&'a ConnectionMeta>,
}

/// What stands on the wire, in this order.
#[derive(Default, Serialize)]
struct Line<'a> {
    r#type: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(flatten)]
    stream: Option<StreamFields<'a>>,
    #[serde(flatten)]
    end: Option<EndFields>,
}

#[derive(Serialize)]
struct StreamFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    client: &'a str,
    topics: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<&'a str>,
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a ConnectionMeta>,
}

#[derive(Serialize)]
struct EndFields {
    reason: &'static str,
    seconds: f64,
    sent: u64,
}

impl Notice<'_> {
    pub(super) fn event(&self) -> HookEvent {
        match self {
            Self::Connected(_) => HookEvent::Connected,
            Self::Disconnected { .. } => HookEvent::Disconnected,
            Self::TopicOccupied(_) => HookEvent::TopicOccupied,
            Self::TopicEmpty(_) => HookEvent::TopicEmpty,
            Self::UserOnline(_) => HookEvent::UserOnline,
            Self::UserOffline(_) => HookEvent::UserOffline,
        }
    }

    /// A JSON object on one line.
    pub(super) fn line(&self, at: SystemTime) -> Bytes {
        let line = Line {
            r#type: self.event().as_str(),
            at: humantime::format_rfc3339_millis(at).to_string(),
            ..Line::default()
        };
        let line = match self {
            Self::Connected(who) => who.enter(line),
            Self::Disconnected { who, reason, after, sent } => {
                let seconds = after.as_millis() as f64 / 1000.0;
                who.enter(Line { end: Some(EndFields { reason, seconds, sent: *sent }), ..line })
            }
            Self::TopicOccupied(topic) | Self::TopicEmpty(topic) => {
                Line { topic: Some(topic.as_str()), ..line }
            }
            Self::UserOnline(user) | Self::UserOffline(user) => Line { user: Some(user.as_str()), ..line },
        };
        serde_json::to_vec(&line).expect("texts and numbers are JSON").into()
    }
}

impl<'a> StreamInfo<'a> {
    pub(super) fn topics(&self) -> impl Iterator<Item = &'a Name> {
        self.keys.iter().filter_map(|key| if let Key::Topic(topic) = key { Some(topic) } else { None })
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &'a Pattern> {
        self.keys.iter().filter_map(|key| if let Key::Pattern(pattern) = key { Some(pattern) } else { None })
    }

    fn enter<'l>(&self, line: Line<'l>) -> Line<'l>
    where
        'a: 'l,
    {
        let mut stream = StreamFields {
            session: None,
            client: self.client.as_str(),
            topics: self.topics().map(Name::as_str).collect(),
            patterns: self.patterns().map(Pattern::as_str).collect(),
            address: self.address,
            meta: self.meta,
        };
        let mut user = None;
        for key in self.keys {
            match key {
                Key::User(name) => user = Some(name.as_str()),
                Key::Session(name) => stream.session = Some(name.as_str()),
                _ => {}
            }
        }
        Line { user, stream: Some(stream), ..line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_to_whom() {
        let name = |text: &str| Name::parse(text).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_123);
        let client = name("c1");
        let keys = [
            Key::Topic(name("a")),
            Key::User(name("u\"1")),
            Key::Session(name("s")),
            Key::Client(client.clone()),
            Key::Broadcast,
        ];
        let address = IpAddr::from([127, 0, 0, 1]);
        let who = StreamInfo { client: &client, keys: &keys, address, meta: None };
        let (sent, after) = (7, Duration::from_millis(1250));
        let text = |notice: Notice<'_>| String::from_utf8(notice.line(at).to_vec()).unwrap();
        assert_eq!(
            text(Notice::Disconnected { who, reason: "stalled", after, sent }),
            r#"{"type":"disconnected","at":"2025-06-15T15:06:40.123Z","user":"u\"1","session":"s","client":"c1","topics":["a"],"address":"127.0.0.1","reason":"stalled","seconds":1.25,"sent":7}"#
        );
        let nobody = StreamInfo { keys: &[], ..who };
        assert_eq!(
            text(Notice::Connected(nobody)),
            r#"{"type":"connected","at":"2025-06-15T15:06:40.123Z","client":"c1","topics":[],"address":"127.0.0.1"}"#
        );
        let mut meta = ConnectionMeta::default();
        meta.insert("device", "phone");
        assert_eq!(
            text(Notice::Connected(StreamInfo { meta: Some(&meta), ..nobody })),
            r#"{"type":"connected","at":"2025-06-15T15:06:40.123Z","client":"c1","topics":[],"address":"127.0.0.1","meta":{"device":"phone"}}"#
        );
        assert_eq!(
            text(Notice::TopicEmpty(&name("a"))),
            r#"{"type":"topic_empty","at":"2025-06-15T15:06:40.123Z","topic":"a"}"#
        );
        assert_eq!(
            text(Notice::UserOnline(&name("u"))),
            r#"{"type":"user_online","at":"2025-06-15T15:06:40.123Z","user":"u"}"#
        );
    }
}
