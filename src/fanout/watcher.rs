//! Those that learn of the streams that come, change and go: presence and webhooks, each a watcher.
//!
//! A watcher is called on the shard's thread; this room must not know what it does with the word.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::event::{ConnectionMeta, Key, Name};
use crate::fanout::end::CloseReason;

/// Hears of every stream of this process, on the thread of the shard that owns it: it must not wait, and hold a lock
/// for no longer than a look into a table takes.
///
/// The calls for one stream come in their order. Those for two streams may come at the same time, from two shards.
pub trait Watcher: Send + Sync {
    /// The stream has joined. It may end at once: in a drain, or when its client has left already.
    fn opened(&self, stream: &Watched<'_>);

    /// The stream's topics have changed: `stream` holds what it has now.
    fn changed(&self, _stream: &Watched<'_>, _gained: &[Key], _lost: &[Key]) {}

    /// The stream has ended. `stream` holds what it had until then.
    fn ended(&self, stream: &Watched<'_>, how: StreamEnd);
}

/// An open stream, as a watcher sees it.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    pub client: &'a Name,
    /// How it is reached: its user and session, if it has them, its client and its topics.
    pub keys: &'a [Key],
    /// Where its client is.
    pub address: IpAddr,
    /// What is noted of it.
    pub meta: Option<&'a ConnectionMeta>,
    pub opened: SystemTime,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamEnd {
    pub why: CloseReason,
    /// To a twentieth of a second.
    pub open_for: Duration,
    /// Events that were begun.
    pub sent: u64,
}

impl Watched<'_> {
    /// Whose it is.
    pub fn user(&self) -> Option<&Name> {
        self.keys.iter().find_map(|key| if let Key::User(user) = key { Some(user) } else { None })
    }

    pub fn session(&self) -> Option<&Name> {
        self.keys.iter().find_map(|key| if let Key::Session(session) = key { Some(session) } else { None })
    }

    pub fn topics(&self) -> impl Iterator<Item = &Name> {
        self.keys.iter().filter_map(|key| if let Key::Topic(topic) = key { Some(topic) } else { None })
    }
}
