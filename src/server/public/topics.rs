//! `POST <a stream's path>?client=<id>` with a body on the public listener: a page changes the topics of its own
//! stream, or publishes an event.
//!
//! The caller presents a grant as for the stream itself; the grant says which topics may be added or published to, and
//! whose the stream must be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::auth::RequestOrigin;
use crate::control::{Control, PageChange, PageChangeError, parse_page_change};
use crate::server::public::page_publish::{PagePublisher, PageRefused, is_publish};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};
use crate::subscribe::{Refusal, Route, StreamCaller, Streams};
use crate::telemetry::HTTP_REFUSED;

/// How large a change may be, and how long it may take to come.
const MAX_BODY: usize = 64 << 10;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Such a request, but for its body.
pub(super) struct TopicChange<'a> {
    pub(super) route: &'a Route<'a>,
    pub(super) request: &'a Parts,
    pub(super) origin: RequestOrigin,
    pub(super) client: &'a str,
}

impl TopicChange<'_> {
    pub(super) async fn answer(
        self,
        streams: &Streams,
        control: &Control,
        pages: &PagePublisher,
        body: Incoming,
    ) -> FullResponse {
        let Self { route, request, origin, client } = self;
        let refused = |refusal: Refusal| {
            count_refused(refusal.label());
            respond::refused(&refusal, streams.format())
        };
        let caller = match streams.caller(route, request, origin, client).await {
            Ok(caller) => caller,
            Err(refusal) => return refused(refusal),
        };
        let text = match read(body).await {
            Ok(text) => text,
            Err(problem) => return refused_with(problem),
        };
        if !route.page_publish().is_empty() && (is_publish(&text) || !route.changes_topics()) {
            let published = pages.publish(streams, route, &caller, origin.address, &text).await;
            let mut response = published.unwrap_or_else(|refused_by| match refused_by {
                PageRefused::Denied(refusal) => refused(refusal),
                PageRefused::Problem(problem) => refused_with(problem),
                PageRefused::Publish(bad) => {
                    count_refused(bad.label());
                    respond::refused_publish(&bad)
                }
            });
            response.headers_mut().extend(caller.headers);
            return response;
        }
        let StreamCaller { renewal, bearer, headers, .. } = caller;
        let (add, remove) = match parse_page_change(&text, route.has_patterns()) {
            Ok(change) => change,
            Err(bad) => return refused_with(ApiProblem::bad_topics(&bad)),
        };
        // The body may have taken seconds: whether the bearer may is looked at again where the stream is.
        let change = PageChange { renewal, bearer, route: Arc::clone(route.text()), add, remove };
        let mut response = match control.change_own(change, origin.address).await {
            Ok(topics) => respond::ok(&topics.for_page()),
            Err(PageChangeError::Denied(denied)) => refused(streams.turn_away(denied)),
            Err(PageChangeError::Away) => refused(Refusal::Away),
            Err(error) => respond::page_change_failed(error).unwrap_or_else(refused_with),
        };
        response.headers_mut().extend(headers);
        response
    }
}

/// Counts a request that is refused and asked for no stream.
pub(super) fn count_refused(reason: &'static str) {
    metrics::counter!(HTTP_REFUSED, "listener" => "public", "reason" => reason).increment(1);
}

/// The answer to such a request.
pub(super) fn refused_with(problem: ApiProblem) -> FullResponse {
    count_refused(problem.label());
    problem.into_response()
}

async fn read(body: Incoming) -> Result<Bytes, ApiProblem> {
    let whole = tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect());
    match whole.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(bad)) if bad.is::<http_body_util::LengthLimitError>() => {
            Err(ApiProblem::body_too_large("64 KiB, the most that a page may send of its stream"))
        }
        Ok(Err(_)) => Err(ApiProblem::body_broken()),
        Err(_) => Err(ApiProblem::body_timeout(&format!("{MAX_TIME:?}"))),
    }
}
