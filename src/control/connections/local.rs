//! What this instance answers about its own streams.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tracing::warn;

use crate::auth::Revocations;
use crate::clock::from_unix_ms;
use crate::control::cluster::members::Instance;
use crate::control::cluster::survey::{MAX_PART, MAX_PARTS, SurveyResponder};
use crate::control::connections::filter::StreamFilter;
use crate::control::connections::wire::{
    Behind, ConnectionInfo, ConnectionsPart, ConnectionsQuestion, MAX_CONNECTIONS,
};
use crate::event::{Key, Name};
use crate::fanout::{CloseReason, Fanout, Listed};
use crate::future::BoxFuture;
use crate::log::Log;

/// How many events a stream is counted to be behind, and no more: counting holds the log's lock.
const COUNTED: usize = 1000;
/// How many of a stream's topics are named.
const TOPICS: usize = 100;
/// A part is filled up to here; one more connection fits.
const PART: usize = MAX_PART / 2;

/// This instance's answers.
pub(super) struct LocalConnections {
    me: Instance,
    fanout: Arc<Fanout>,
    log: Arc<Log>,
    revocations: Arc<Revocations>,
}

impl SurveyResponder for LocalConnections {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            match serde_json::from_value(question) {
                Ok(ConnectionsQuestion::List { which, after, limit }) => {
                    self.list(&which, after.as_ref(), limit.min(MAX_CONNECTIONS)).await
                }
                Ok(ConnectionsQuestion::Count { which }) => {
                    vec![self.fanout.count(&which.filter()).await.into()]
                }
                Ok(ConnectionsQuestion::Close { which, away }) => {
                    vec![self.close(&which, away.map(from_unix_ms)).await.into()]
                }
                // Of a later release.
                Err(_) => Vec::new(),
            }
        })
    }
}

impl LocalConnections {
    pub(super) fn new(
        me: Instance,
        fanout: Arc<Fanout>,
        log: Arc<Log>,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self { me, fanout, log, revocations }
    }

    async fn list(&self, which: &StreamFilter, after: Option<&Name>, limit: usize) -> Vec<Value> {
        // One more than is listed, to know whether there is more.
        let mut listed = self.fanout.list(&which.filter(), after, limit + 1).await;
        let mut more = listed.len() > limit;
        listed.truncate(limit);
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut connections = Vec::new();
        for one in listed {
            if bytes > PART {
                if parts.len() + 1 == MAX_PARTS {
                    more = true;
                    break;
                }
                parts.push(ConnectionsPart { connections: std::mem::take(&mut connections), more: true });
                bytes = 0;
            }
            let connection = self.tell(one);
            bytes += serde_json::to_vec(&connection).map_or(0, |text| text.len());
            connections.push(connection);
            // Counting what somebody is behind takes its time.
            tokio::task::yield_now().await;
        }
        parts.push(ConnectionsPart { connections, more });
        parts.iter().map(|part| serde_json::to_value(part).expect("texts and numbers are JSON")).collect()
    }

    fn tell(&self, one: Listed) -> ConnectionInfo {
        let named =
            |kind: fn(&Key) -> bool| one.keys.iter().find(|key| kind(key)).map(|key| key.name().to_owned());
        let (user, session) =
            (named(|key| matches!(key, Key::User(_))), named(|key| matches!(key, Key::Session(_))));
        let topics = one.keys.iter().filter(|key| matches!(key, Key::Topic(_)));
        let mut topics: Vec<String> = topics.map(|key| key.name().to_owned()).collect();
        topics.sort_unstable();
        let topics_total = topics.len();
        topics.truncate(TOPICS);
        let patterns = one.keys.iter().filter(|key| matches!(key, Key::Pattern(_)));
        let mut patterns: Vec<String> = patterns.map(|key| key.name().to_owned()).collect();
        patterns.sort_unstable();
        patterns.truncate(TOPICS);
        let behind = if one.live { 0 } else { self.log.count(&one.keys, one.cursor, COUNTED + 1) };
        ConnectionInfo {
            client: one.client.to_string(),
            user,
            session,
            topics,
            topics_total,
            patterns,
            address: one.address,
            path: one.route.as_ref().to_owned(),
            meta: one.meta.as_deref().cloned(),
            instance: self.me.clone(),
            start: Some(one.start),
            opened: humantime::format_rfc3339_millis(one.opened).to_string(),
            age_seconds: one.open_for.as_secs(),
            sent: one.sent,
            position: self.log.id_at(one.cursor).to_string(),
            behind: Behind { events: behind.min(COUNTED), more: behind > COUNTED },
            blocked: one.blocked,
        }
    }

    async fn close(&self, which: &StreamFilter, away: Option<SystemTime>) -> usize {
        let end = match (away, which.selector()) {
            (None, _) => CloseReason::Kicked,
            (Some(until), Some(selector)) => {
                // First, so that nobody slips in behind the end.
                if let Err(error) = self.revocations.send_away(selector, until) {
                    warn!(%error, "streams are closed, but their clients may come back");
                }
                CloseReason::SentAway
            }
            (Some(_), None) => CloseReason::SentFarAway,
        };
        self.fanout.end_all(&which.filter(), end).await
    }
}
