//! How the streams of a route look: what `[sse]` and `[[stream]]` say of it, and the parts of it that a request makes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::auth::{Grant, claims};
use crate::config;
use crate::event::{EventFormat, EventLayout, JsonTemplate, Name, Placeholder, TemplateValue, TopicFilter};
use crate::fanout::{Heartbeat, RouteLook, StreamLook};
use crate::subscribe::query::StreamQuery;

/// Up to where missed events are counted.
pub(super) const COUNTED: usize = 1000;

/// A route's look.
pub(super) struct CompiledLook {
    sse: config::Sse,
    route: Arc<RouteLook>,
    /// A stream of this route is not written what all others are.
    is_own: bool,
    /// Whether its streams are told of events that were taken back.
    pub(super) retractions: bool,
    /// Whether its pages may choose among their events.
    pub(super) choose_events: bool,
    /// Whether a stream may begin with the newest event of each key.
    pub(super) snapshot: bool,
    /// Whether a history is asked for of each topic.
    pub(super) history_per_topic: bool,
    /// Whether `since` is a parameter of its templates.
    pub(super) names_since: bool,
}

/// The look of a stream whose request is known.
pub(super) struct RequestLook {
    pub(super) route: Arc<RouteLook>,
    is_own: bool,
    pub(super) connected_as: crate::event::EventName,
    /// The data of its first event and of its heartbeats, filled in from the request.
    pub(super) connected_data: Option<JsonTemplate>,
    heartbeat_data: Option<JsonTemplate>,
    /// Bounds of the `retry:` of the first event.
    pub(super) retry: (Duration, Duration),
}

/// What the texts of a look may name of a request.
#[derive(Clone, Copy)]
pub(super) struct RequestValues<'a> {
    pub(super) path: &'a [(&'a str, String)],
    pub(super) query: &'a StreamQuery<'a>,
    pub(super) claims: &'a Map<String, Value>,
}

/// What is known of a stream when it is let in.
pub(super) struct StreamFacts<'a> {
    pub(super) client: &'a Name,
    pub(super) grant: &'a Grant,
    pub(super) topics: &'a [TopicFilter],
    pub(super) resumed: bool,
    pub(super) missed: usize,
    pub(super) id: Option<String>,
}

impl CompiledLook {
    /// The look of the routes of `stream`; `all` is what holds where it says nothing.
    pub(super) fn new(stream: &config::Stream, all: &config::Sse) -> Self {
        let sse = stream.sse(all);
        let layout: EventLayout = sse.layout();
        let as_all = layout.is_plain() && layout.format == all.events;
        let heartbeat = (sse.heartbeat_as != all.heartbeat_as || sse.heartbeat_data.is_some())
            .then(|| Heartbeat::from(&sse.heartbeat_as));
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let retry_ms = (ms(sse.retry_min), ms(sse.retry_max));
        // Named otherwise than in the log, or not at all.
        let retracted = Some(&sse.retracted_as).filter(|own| **own != all.retracted_as);
        let renamed = retracted.and_then(|own| own.0.clone());
        let retractions = renamed.map(|name| EventLayout { renamed: Some(name), ..layout.clone() });
        let is_own = !as_all
            || retractions.is_some()
            || heartbeat.is_some()
            || retry_ms != (ms(all.retry_min), ms(all.retry_max));
        let route = RouteLook {
            layout: (!as_all).then(|| Arc::new(layout)),
            retractions: retractions.map(Arc::new),
            heartbeat,
            retry_ms,
        };
        Self {
            retractions: sse.retracted_as.0.is_some(),
            sse,
            route: Arc::new(route),
            is_own,
            choose_events: stream.choose_events,
            snapshot: stream.snapshot,
            history_per_topic: stream.history_per_topic,
            names_since: stream.names_parameter("since"),
        }
    }

    /// Whether its streams need more of an event than what a log of this form has rendered.
    pub(super) fn needs_sources(&self, log: EventFormat) -> bool {
        self.route.layout.is_some() || self.choose_events && log != EventFormat::Named
    }

    pub(super) fn route(&self) -> &Arc<RouteLook> {
        &self.route
    }

    /// The longest pause that clients are told.
    pub(super) fn retry_max(&self) -> Duration {
        self.sse.retry_max
    }

    /// The look of a stream that is asked for with these values.
    pub(super) fn of_request(&self, values: RequestValues<'_>) -> RequestLook {
        let fill = |data: &Option<JsonTemplate>| {
            data.as_ref().map(|data| data.fill(|placeholder| values.of(placeholder)))
        };
        RequestLook {
            route: Arc::clone(&self.route),
            is_own: self.is_own,
            connected_as: self.sse.connected_as.clone(),
            connected_data: fill(&self.sse.connected_data),
            heartbeat_data: fill(&self.sse.heartbeat_data),
            retry: (self.sse.retry_min, self.sse.retry_max),
        }
    }
}

impl<'a> RequestValues<'a> {
    /// The value of a placeholder of the request's; None for another one.
    fn of(self, placeholder: &Placeholder) -> Option<TemplateValue<'a>> {
        let name = &*placeholder.name;
        Some(match &*placeholder.source {
            "query" => TemplateValue::of(self.query.first(name)),
            "path" => TemplateValue::of(
                self.path.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value),
            ),
            "claim" => claims::find(self.claims, name)
                .map_or(TemplateValue::Nothing, |value| TemplateValue::Json(value.to_string().into())),
            _ => return None,
        })
    }
}

impl RequestLook {
    /// The data of the first event, if the operator has said what they are.
    pub(super) fn connected(&self, facts: &StreamFacts<'_>) -> Option<String> {
        let now = SystemTime::now();
        let value = |placeholder: &Placeholder| {
            facts.of(placeholder).or_else(|| TemplateValue::of_time(placeholder, now))
        };
        self.connected_data.as_ref().map(|data| data.render(value))
    }

    /// How the stream looks, if not as all do.
    pub(super) fn of_stream(self, facts: &StreamFacts<'_>) -> Option<Box<StreamLook>> {
        let heartbeat_data = self.heartbeat_data.map(|data| data.fill(|placeholder| facts.of(placeholder)));
        let look = || StreamLook { route: self.route, user: facts.grant.user.clone(), heartbeat_data };
        self.is_own.then(|| Box::new(look()))
    }
}

impl<'a> StreamFacts<'a> {
    /// The value of a placeholder of the stream's; None for another one.
    fn of(&self, placeholder: &Placeholder) -> Option<TemplateValue<'a>> {
        if !placeholder.source.is_empty() {
            return None;
        }
        let json = |json: String| TemplateValue::Json(Cow::Owned(json));
        Some(match &*placeholder.name {
            "client" => TemplateValue::Text(self.client.as_str().into()),
            "user" => TemplateValue::of(self.grant.user.as_ref().map(Name::as_str)),
            "session" => TemplateValue::of(self.grant.session.as_ref().map(Name::as_str)),
            "topics" => json(Value::from_iter(self.topics.iter().map(TopicFilter::as_str)).to_string()),
            "resumed" => json(self.resumed.to_string()),
            "missed" => json(self.missed.min(COUNTED).to_string()),
            "id" => self.id.clone().map_or(TemplateValue::Nothing, |id| TemplateValue::Text(id.into())),
            _ => return None,
        })
    }
}
