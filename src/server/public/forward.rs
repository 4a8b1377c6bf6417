//! What is not ours goes to the backend, without the tokens that are for us.

use http::{Method, Request, Response, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::{debug, warn};

use crate::proxy::{ProxyBody, ProxyError};
use crate::server::net::connection::ErrorChain;
use crate::server::net::http2;
use crate::server::net::taking::WatchedBody;
use crate::server::public::service::Public;
use crate::server::public::transport::ConnectionContext;
use crate::server::respond;
use crate::server::respond::ResponseBody;

impl Public {
    /// Takes from a request what is not for the backend.
    pub(super) fn prepare(&self, request: &mut Request<Incoming>, connection: &ConnectionContext) {
        if !request.body().is_end_stream() {
            connection.note_body();
        }
        self.streams.strip_tokens(request);
    }

    /// The answer to a request with this method and target that was forwarded.
    pub(super) fn forwarded(
        &self,
        answered: Result<Response<ProxyBody>, ProxyError>,
        method: &Method,
        uri: &Uri,
    ) -> Response<ResponseBody> {
        let error = match answered {
            Ok(response) => {
                let watched = |body| WatchedBody::new(body, http2::taking_of_this_stream());
                return response.map(|body| ResponseBody::Backend(watched(body)));
            }
            Err(error) => error,
        };
        // The path without its query, which may hold a token.
        let path = uri.path();
        if error.is_the_clients() {
            debug!(%method, path, error = %ErrorChain(&error), "request not forwarded");
        } else if let Some(suppressed) = self.unforwarded.pass() {
            warn!(%method, path, suppressed, error = %ErrorChain(&error), "request not forwarded");
        }
        respond::not_forwarded(&error).map(ResponseBody::Full)
    }
}
