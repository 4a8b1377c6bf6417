//! A request of our own to the backend, on behalf of those whose requests it stands for. It goes the way of the
//! others, but has no body and no client that could leave.

use http::{Request, Response};

use crate::proxy::body::ProxyBody;
use crate::proxy::error::ProxyError;
use crate::proxy::forward::{Inner, Proxy, UpstreamRequest};
use crate::proxy::headers;
use crate::proxy::headers::{Forwarded, Kinds};
use crate::proxy::metrics::RequestMetrics;
use crate::proxy::request_body::RequestBody;
use crate::proxy::target;

impl Proxy {
    /// Asks the backend in the name of `caller`, and returns the head of the answer with a body that streams. Dropping
    /// the future or the body cancels the request.
    pub async fn fetch(
        &self,
        request: Request<()>,
        caller: &Forwarded,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let inner = self.inner();
        let (version, mut metrics) = (request.version(), RequestMetrics::new(inner.metrics()));
        let asked = async { inner.answer(inner.bare(request, caller)?, &metrics).await };
        let answered = asked.await;
        let answer = answered.inspect_err(|error| metrics.failed(error))?;
        Ok(self.deliver(answer, version, metrics))
    }
}

impl Inner {
    fn bare(&self, request: Request<()>, caller: &Forwarded) -> Result<UpstreamRequest<'static>, ProxyError> {
        let (mut head, ()) = request.into_parts();
        target::prepare(&mut head, self.host()).map_err(ProxyError::BadRequest)?;
        let kinds = Kinds::of(&head.headers);
        headers::say_who(&mut head.headers, kinds, caller).map_err(|_| ProxyError::Loop)?;
        let request = Request::from_parts(head, RequestBody::empty());
        Ok(UpstreamRequest::bare(request))
    }
}
