//! Requests for answers that are recorded: begun, come back to, stopped.

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tracing::{debug, info};

use crate::auth::Denied;
use crate::capture::{CaptureAnswer, CaptureMatch, Captures};
use crate::server::net::http2;
use crate::server::net::taking::WatchedBody;
use crate::server::public::service::Public;
use crate::server::public::transport::ConnectionContext;
use crate::server::respond;
use crate::server::respond::{FullResponse, ResponseBody};

impl Public {
    pub(super) async fn captured(
        &self,
        captures: &Captures,
        found: CaptureMatch,
        request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Response<ResponseBody> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (parts, body) = request.into_parts();
        let origin = self.origin(&parts.headers, connection);
        let asked_by = parts.headers.clone();
        // A page of another site may have its user's browser ask the backend, which decides; not us.
        let (answer, set) = if found.comes_back() && !self.admits(&parts, connection) {
            (CaptureAnswer::Denied(Denied::OriginNotAllowed), HeaderMap::new())
        } else {
            let request = Request::from_parts(parts, body);
            captures.answer(found, request, origin, &connection.forwarded).await
        };
        let mut own = match answer {
            CaptureAnswer::Passed(mut response) => {
                append(response.headers_mut(), &set);
                return self.forwarded(Ok(response), &method, &uri);
            }
            CaptureAnswer::Failed(error) => return self.forwarded(Err(error), &method, &uri),
            CaptureAnswer::Recorded(mut response) => {
                append(response.headers_mut(), &set);
                let watched = |body| WatchedBody::new(body, http2::taking_of_this_stream());
                return response.map(|body| ResponseBody::Recorded(watched(body)));
            }
            CaptureAnswer::Nothing | CaptureAnswer::Stopped => respond::nothing_recorded(),
            CaptureAnswer::EmptyStream => respond::stream_head(),
            CaptureAnswer::TooManyReaders => respond::too_many_readers(),
            CaptureAnswer::NotNow => respond::not_found_now(),
            CaptureAnswer::Denied(denied) => self.not_captured(&denied, uri.path(), origin.address),
        };
        append(own.headers_mut(), &set);
        self.cors.mark(&asked_by, own.headers_mut());
        own.map(ResponseBody::Full)
    }

    fn not_captured(&self, denied: &Denied, path: &str, client: std::net::IpAddr) -> FullResponse {
        let reason = denied.label();
        if let Denied::NotNow(_) = denied {
            debug!(%client, path, reason, "recorded answer refused: {denied}");
            return respond::not_verified_now();
        }
        if let Some(suppressed) = self.refused.pass() {
            info!(%client, path, reason, suppressed, "recorded answer refused: {denied}");
        }
        respond::not_let_in(denied, self.streams.is_terse())
    }
}

/// Sets these beside what an answer has already.
fn append(answer: &mut HeaderMap, set: &HeaderMap) {
    set.iter().for_each(|(name, value)| {
        answer.append(name, value.clone());
    });
}
