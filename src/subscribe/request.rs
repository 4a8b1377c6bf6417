//! What a client asks for, whatever dialect it said it in.

use http::request::Parts;
use serde_json::{Map, Value};

use crate::event::{EventFilter, Name};
use crate::subscribe::query::StreamQuery;
use crate::subscribe::refusal::TemplateError;
use crate::subscribe::route::{RequestedTopic, Route, Values};

/// A request for a stream, understood and not judged yet. A dialect makes it (`native`).
pub(super) struct SubscribeRequest<'a> {
    /// As it came: verifying looks at it.
    pub(super) head: &'a Parts,
    pub(super) route: &'a Route<'a>,
    pub(super) query: StreamQuery<'a>,
    /// The id that the client has last seen; it need not be one.
    pub(super) last_event_id: Option<String>,
    /// How many of its topics' last events a fresh stream asks for.
    pub(super) history: usize,
    /// From when on a fresh stream asks for events, in milliseconds since 1970.
    pub(super) since: Option<u64>,
    /// Which events it wants; None = all.
    pub(super) names: Option<EventFilter>,
    /// Whether a fresh stream begins with the newest event of each key.
    pub(super) snapshot: bool,
}

impl<'a> SubscribeRequest<'a> {
    /// From now on, without history.
    pub(super) fn new(route: &'a Route<'a>, head: &'a Parts) -> Self {
        let query = StreamQuery::new(head.uri.query());
        Self {
            head,
            route,
            query,
            last_event_id: None,
            history: 0,
            since: None,
            names: None,
            snapshot: false,
        }
    }

    /// The topics that are known before the caller is, at most `max` (0 = no limit).
    pub(super) fn topics_before(&self, max: usize) -> Result<Vec<Name>, TemplateError> {
        self.route.topics_before(&self.query, max)
    }

    /// All topics, for a caller with these claims.
    pub(super) fn topics(
        &self,
        claims: &Map<String, Value>,
        max: usize,
    ) -> Result<Vec<RequestedTopic<'_>>, TemplateError> {
        self.route.topics(Values { query: &self.query, claims }, max)
    }

    /// The user and the session that it names, where nobody is verified.
    pub(super) fn claimed(&self) -> Result<(Option<Name>, Option<Name>), TemplateError> {
        self.route.claimed(&self.query)
    }
}
