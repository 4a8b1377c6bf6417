//! Other channels for a connection that delivers: what is listened to from now on, and what came of that.
//!
//! Channels that stay are never let go of in between, so nothing of theirs is missed. This file must not know how a
//! connection is kept.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config;
use crate::redis::channels::subscriptions::Channels;
use crate::redis::client::resp::write_command;

/// Changes the channels that this instance listens to.
pub struct ChannelUpdates {
    settings: config::Redis,
    sharded: Option<String>,
    send: mpsc::Sender<ChannelUpdate>,
}

/// Other channels, and who waits to hear what came of them.
pub(in crate::redis) struct ChannelUpdate {
    pub(in crate::redis) channels: Channels,
    pub(in crate::redis) done: oneshot::Sender<Result<(), String>>,
}

impl ChannelUpdates {
    pub(in crate::redis) fn new(
        settings: &config::Redis,
        sharded: Option<String>,
    ) -> (Self, mpsc::Receiver<ChannelUpdate>) {
        let (send, receive) = mpsc::channel(1);
        (Self { settings: settings.clone(), sharded, send }, receive)
    }

    /// Listens to these mapped channels, beside sidestream's own. `Err` is why Redis refuses them: then nothing has
    /// changed. While Redis is away they are listened to when it is back.
    pub async fn listen_to(&self, channels: &[config::Channel]) -> Result<(), String> {
        let settings = config::Redis { channels: channels.to_vec(), ..self.settings.clone() };
        let mut channels = Channels::new(&settings);
        if let Some(sharded) = &self.sharded {
            channels.add_sharded(sharded);
        }
        let (done, answer) = oneshot::channel();
        let patience = 2 * self.settings.timeout + Duration::from_millis(100);
        // A subscriber that does not take it within the time is not connected; it is taken up with the next connection.
        match timeout(patience, self.send.send(ChannelUpdate { channels, done })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err("Redis is away, and other channels wait for it already".to_owned()),
        }
        timeout(patience, answer).await.ok().and_then(Result::ok).unwrap_or(Ok(()))
    }
}

/// The commands that subscribe to what is in `wanted` and not in `had`, with a ping behind them.
pub(in crate::redis) fn subscribe_to_added(had: &Channels, wanted: &Channels) -> Vec<u8> {
    commands([b"SUBSCRIBE", b"PSUBSCRIBE"], had, wanted)
}

/// The commands that end what is in `had` and not in `wanted`, with a ping behind them.
pub(in crate::redis) fn unsubscribe_from_removed(had: &Channels, wanted: &Channels) -> Vec<u8> {
    commands([b"UNSUBSCRIBE", b"PUNSUBSCRIBE"], wanted, had)
}

fn commands([exact, pattern]: [&[u8]; 2], without: &Channels, all: &Channels) -> Vec<u8> {
    let mut bytes = Vec::new();
    let others: Vec<&[u8]> = all.exact().filter(|name| !without.exact().any(|one| one == *name)).collect();
    let patterns: Vec<&[u8]> =
        all.patterns().filter(|name| !without.patterns().any(|one| one == *name)).collect();
    for (command, names) in [(exact, others), (pattern, patterns)] {
        // Without a name it would be about all of them.
        if !names.is_empty() {
            write_command(&mut bytes, &[&[command], &names[..]].concat());
        }
    }
    write_command(&mut bytes, &[b"PING"]);
    bytes
}
