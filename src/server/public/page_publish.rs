//! An event that a page publishes: `{"publish": {"topic": …, "event": …, "data": …}}`.
//!
//! It is never stored, goes to everybody on the topic but the sender, and says whose page it is from: what a page says
//! of that counts for nothing.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::auth::Publisher;
use crate::event::{EventName, Name};
use crate::publish::{BadPublish, PublishOptions, PublishService};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};
use crate::subscribe::{Refusal, Route, StreamCaller, Streams};
use crate::telemetry::PAGE_PUBLISHES;

/// Publishes what pages do.
#[derive(Default)]
pub(super) struct PagePublisher {
    make: Option<Box<dyn Fn() -> PublishService + Send + Sync>>,
    made: OnceLock<(PublishService, Arc<Publisher>)>,
    /// How many bytes the data may have.
    max: usize,
}

/// Why an event of a page is not published.
pub(super) enum PageRefused {
    Denied(Refusal),
    Problem(ApiProblem),
    Publish(BadPublish),
}

/// The whole body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'b> {
    #[serde(borrow)]
    publish: PageEvent<'b>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageEvent<'b> {
    topic: String,
    event: String,
    #[serde(borrow, default)]
    data: Option<&'b RawValue>,
}

/// Whether a page's body is about publishing.
pub(super) fn is_publish(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body.get("publish").is_some())
}

impl PagePublisher {
    pub(super) fn new(make: impl Fn() -> PublishService + Send + Sync + 'static, max: usize) -> Self {
        Self { make: Some(Box::new(make)), made: OnceLock::new(), max }
    }

    /// Publishes the event that `body` holds, if `caller` may.
    pub(super) async fn publish(
        &self,
        streams: &Streams,
        route: &Route<'_>,
        caller: &StreamCaller,
        address: IpAddr,
        body: &[u8],
    ) -> Result<FullResponse, PageRefused> {
        let published = self.try_publish(streams, route, caller, address, body).await;
        let outcome = match &published {
            Ok(_) => "published",
            Err(PageRefused::Denied(refusal)) => refusal.label(),
            Err(PageRefused::Problem(problem)) => problem.label(),
            Err(PageRefused::Publish(bad)) => bad.label(),
        };
        metrics::counter!(PAGE_PUBLISHES, "outcome" => outcome).increment(1);
        published
    }

    async fn try_publish(
        &self,
        streams: &Streams,
        route: &Route<'_>,
        caller: &StreamCaller,
        address: IpAddr,
        body: &[u8],
    ) -> Result<FullResponse, PageRefused> {
        let bad = |say: String| PageRefused::Problem(ApiProblem::bad_page_event(say));
        let body: PublishBody<'_> = serde_json::from_slice(body).map_err(|why| {
            bad(format!(
                "the body has to be {{\"publish\": {{\"topic\": …, \"event\": …, \"data\": …}}}}: {why}"
            ))
        })?;
        let PageEvent { topic, event, data } = body.publish;
        let topic = Name::parse(&topic).map_err(|why| bad(format!("`topic` {why}")))?;
        let event = EventName::parse_published(&event).map_err(|why| bad(format!("`event` {why}")))?;
        if data.is_some_and(|data| data.get().len() > self.max) {
            let bound = format!("{} bytes of data (limits.page_event)", self.max);
            return Err(PageRefused::Problem(ApiProblem::body_too_large(&bound)));
        }
        let may = streams.may_publish(route, caller, address, (&topic, &event)).await;
        may.map_err(PageRefused::Denied)?;
        let Some(make) = &self.make else {
            return Err(PageRefused::Problem(ApiProblem::no_route()));
        };
        let (publish, publisher) = self.made.get_or_init(|| (make(), Arc::new(Publisher::own("pages"))));
        let event = json!({
            "topic": topic,
            "event": event.as_str(),
            "data": { "user": caller.bearer.grant.user, "data": data },
            "ephemeral": true,
            "except": { "client": caller.renewal.client },
        })
        .to_string();
        let published = publish.publish(event.as_bytes(), PublishOptions::default(), publisher);
        published.await.map_err(PageRefused::Publish)?;
        Ok(respond::published_by_page())
    }
}
