//! `POST /publish` on the internal listener: who publishes, and how the body is to be read.
//!
//! The key is checked before a byte of the body is read. This file must not know what an event looks like.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, request};

use crate::auth::Publisher;
use crate::publish::{BadPublish, PublishOptions, Published, Receipt};
use crate::server::internal::body::ReadableBody;
use crate::server::internal::caller::Authenticated;
use crate::server::internal::listener::Internal;
use crate::server::internal::query::QueryParams;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};
use crate::spans::{SpanKind, TraceSpan};
use crate::trace::TraceContext;

impl Internal {
    /// Who a caller is that publishes, or takes back.
    pub(super) async fn publisher(
        &self,
        headers: &HeaderMap,
        caller: Authenticated,
    ) -> Result<Arc<Publisher>, ApiProblem> {
        match caller {
            Authenticated::ByKey => {
                self.keys.publisher(headers).await.map_err(|bad| ApiProblem::bad_key(&bad))
            }
            Authenticated::Trusted => Ok(Arc::clone(&self.trusted)),
            Authenticated::FromDashboard => {
                let dashboard = self.dashboard.as_ref().ok_or_else(ApiProblem::dashboard_off)?;
                Ok(Arc::clone(&dashboard.publisher))
            }
        }
    }

    pub(super) async fn publish(
        &self,
        head: &request::Parts,
        body: impl ReadableBody,
        caller: Authenticated,
    ) -> Result<FullResponse, ApiProblem> {
        let headers = &head.headers;
        let publisher = self.publisher(headers, caller).await?;
        if headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(ApiProblem::compressed());
        }
        let key = idempotency_key(headers)?;
        let mut query = QueryParams::parse(head.uri.query())?;
        let partial = query.flag("partial")?.unwrap_or(false);
        query.end()?;
        let body = self.body.read(body).await?;
        // Callers that have shown a key are believed.
        let caller = TraceContext::of(headers);
        let span = TraceSpan::begin("publish", SpanKind::Producer, caller);
        let trace = span.as_ref().map(TraceSpan::context).or(caller);
        let options = PublishOptions { key, lines: is_ndjson(headers), partial, trace };
        let published = self.publish.publish(&body, options, &publisher).await;
        if let Some(span) = span {
            end_span(span, &published, publisher.name());
        }
        match published {
            Ok(done) => Ok(respond::published(&done)),
            Err(bad) => Ok(respond::refused_publish(&bad)),
        }
    }
}

fn end_span(mut span: TraceSpan, published: &Result<Published, BadPublish>, publisher: &str) {
    span.note("messaging.system", "sidestream");
    span.note("messaging.operation.name", "publish");
    span.note("sidestream.publisher", publisher);
    match published {
        Ok(Published::One(Receipt { id, matched, duplicate, .. })) => {
            if let Some(id) = id {
                span.note("messaging.message.id", &*id.to_string());
            }
            span.note("sidestream.matched", *matched);
            span.note("sidestream.duplicate", *duplicate);
        }
        Ok(Published::Many(events)) => span.note("messaging.batch.message_count", events.len()),
        Ok(Published::Each(events)) => span.note("messaging.batch.message_count", events.len()),
        Err(bad) => {
            span.note("error.type", bad.label());
            span.fail(bad.label());
        }
    }
    span.end();
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiProblem> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(ApiProblem::bad_idempotency_key("the header Idempotency-Key is given twice"));
    }
    let bad = |_| ApiProblem::bad_idempotency_key("the header Idempotency-Key is not UTF-8");
    str::from_utf8(field.as_bytes()).map(Some).map_err(bad)
}

/// Whether the body says that it is NDJSON. Any other content type is JSON to us: curl calls everything a form.
fn is_ndjson(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}
