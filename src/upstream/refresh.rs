//! Answers that are asked for before their time: something was published to a topic that their route names, or somebody
//! said so.
//!
//! Invariant: of each answer at most one question is under way and one more is waiting, however often it is called for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Uri;

use crate::config::{SourceKind, VaryBy};
use crate::event::{Key, Name, is_cursor_parameter};
use crate::lock::Mutex;
use crate::log::Log;
use crate::shutdown::Drain;
use crate::telemetry;
use crate::upstream::held::{HeldStream, SourceRequest};

/// Which answers are asked for when something is published to which topic.
#[derive(Default)]
pub(super) struct Refreshes {
    by_topic: Mutex<HashMap<Key, HashMap<Name, Arc<HeldStream>>>>,
    /// Whether somebody listens for what is published.
    listens: AtomicBool,
}

impl Refreshes {
    /// From now on `held` is asked for when something is published to its topics, if somebody listens; whether that is
    /// still to be begun.
    pub(super) fn add(&self, log: &Log, held: &Arc<HeldStream>) -> bool {
        let topics = held.state().asks.refresh_on.clone();
        if topics.is_empty() {
            return false;
        }
        let mut by_topic = self.by_topic.lock();
        for topic in topics {
            log.watch(topic.clone());
            by_topic.entry(topic).or_default().insert(held.name.clone(), Arc::clone(held));
        }
        !self.listens.swap(true, Ordering::Relaxed)
    }

    /// And from now on no more.
    pub(super) fn remove(&self, log: &Log, held: &HeldStream) {
        let topics = held.state().asks.refresh_on.clone();
        if topics.is_empty() {
            return;
        }
        let mut by_topic = self.by_topic.lock();
        for topic in topics {
            let Some(others) = by_topic.get_mut(&topic) else { continue };
            others.remove(&held.name);
            if others.is_empty() {
                by_topic.remove(&topic);
                log.unwatch(&topic);
            }
        }
    }

    /// Calls for answers until the drain begins.
    pub(super) async fn listen(&self, log: &Log, drain: &Drain) {
        loop {
            let topics = tokio::select! {
                biased;
                () = drain.started() => return,
                topics = log.published() => topics,
            };
            let called: HashMap<Name, Arc<HeldStream>> = {
                let by_topic = self.by_topic.lock();
                let held = topics.iter().filter_map(|topic| by_topic.get(topic)).flatten();
                held.map(|(name, held)| (name.clone(), Arc::clone(held))).collect()
            };
            count("publish", called.len());
            for held in called.values() {
                held.called_for.notify_one();
            }
        }
    }
}

/// What is called for by its path, and by its query where one is given.
pub struct PolledTarget {
    path: Vec<u8>,
    query: Option<Vec<(String, String)>>,
    /// As they were given.
    pub(super) said: (Box<str>, Option<Box<str>>),
}

impl PolledTarget {
    /// Both as they stand in a request. Without a query all that ask for the path are meant.
    pub fn new(path: &str, query: Option<&str>) -> Self {
        Self { path: decoded(path), query: query.map(pairs), said: (path.into(), query.map(Box::from)) }
    }

    /// Whether the answer of `held` is meant.
    pub(super) fn means(&self, held: &HeldStream) -> bool {
        self.is_of(&held.state().asks)
    }

    fn is_of(&self, SourceRequest { request, source, .. }: &SourceRequest) -> bool {
        let query = self.query.as_ref().filter(|_| source.vary_by.contains(&VaryBy::Query));
        let has_query =
            |uri: &Uri| query.is_none_or(|query| *query == pairs(uri.query().unwrap_or_default()));
        source.kind == SourceKind::Poll && decoded(request.uri.path()) == self.path && has_query(&request.uri)
    }
}

/// Counts answers that are called for.
pub(super) fn count(by: &'static str, answers: usize) {
    metrics::counter!(telemetry::POLL_REFRESHES, "by" => by).increment(answers as u64);
}

fn decoded(path: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(path).collect()
}

/// In an order of their own: two queries with the same parameters are one.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    let mut pairs: Vec<_> = pairs.filter(|(name, _)| !is_cursor_parameter(name)).collect();
    pairs.sort_unstable();
    pairs
}
