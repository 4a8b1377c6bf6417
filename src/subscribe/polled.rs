//! Routes of answers that are asked for again and again: which paths are theirs, and what makes them ask at once.

use serde_json::Map;

use crate::config::SourceKind;
use crate::event::Key;
use crate::subscribe::query::StreamQuery;
use crate::subscribe::route::{Route, Values};
use crate::subscribe::streams::Streams;

impl Streams {
    /// Whether a route polls `path`, as it stands in a request.
    pub fn polls(&self, path: &str) -> bool {
        let is_polled =
            |route: Route<'_>| route.source().is_some_and(|source| source.kind == SourceKind::Poll);
        self.routes.all(path).any(is_polled)
    }
}

impl Route<'_> {
    /// The topics that make the answer to a request with this query be asked for at once. A template whose value is
    /// missing makes none.
    pub fn refresh_on(&self, query: Option<&str>) -> Vec<Key> {
        let templates = self.refresh_templates();
        if templates.is_empty() {
            return Vec::new();
        }
        let (query, claims) = (StreamQuery::new(query), Map::new());
        let values = Values { query: &query, claims: &claims };
        let mut topics = Vec::new();
        for template in templates {
            let _ = self.each(template, values, MAX_TOPICS, &mut |name, _| {
                topics.push(Key::Topic(name));
                Ok(())
            });
        }
        topics
    }
}

/// How many topics one template may make: a query's parameter may come many times.
const MAX_TOPICS: usize = 100;
