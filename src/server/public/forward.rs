//! What is not ours goes to the backend, without the tokens that are for us.

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::{debug, warn};

use crate::server::net::connection::ErrorChain;
use crate::server::net::http2;
use crate::server::net::taking::WatchedBody;
use crate::server::public::connection::ConnectionContext;
use crate::server::public::service::Public;
use crate::server::respond;
use crate::server::respond::ResponseBody;

impl Public {
    pub(super) async fn forward(
        &self,
        mut request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Response<ResponseBody> {
        if !request.body().is_end_stream() {
            connection.note_body();
        }
        self.streams.conceal(&mut request);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        match self.proxy.forward(request, &connection.forwarded).await {
            Ok(response) => {
                let watched = |body| WatchedBody::new(body, http2::taking_of_this_stream());
                response.map(|body| ResponseBody::Backend(watched(body)))
            }
            Err(error) => {
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
    }
}
