//! One request over one connection, until the head of its answer.
//!
//! Knows no headers. Says how much of a failed request may have reached the backend, as that decides on a retry.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep};

use crate::deadline::PooledDeadline;
use crate::proxy::error::ProxyError;
use crate::proxy::request_body::{RequestBody, RequestBodyState};
use crate::proxy::upstream::UpstreamConnection;

/// How long a body that waits for `100 Continue` is held back from a backend that says nothing: many never do.
const CONTINUE_AFTER: Duration = Duration::from_secs(1);

/// Why there is no answer.
pub(super) enum ExchangeError {
    /// Nothing was sent; here is the request again.
    Unsent(Box<Request<RequestBody>>, hyper::Error),
    /// Some or all of the request may have reached the backend. `heard`: the backend had begun to answer.
    Sent { error: ProxyError, heard: bool },
}

/// Sends `request` and waits for the head of its answer: for `patience` from the last movement of its body; `late`
/// tells when that may be over. Takes the connection out of `slot` when it is over. Dropping the future leaves the
/// connection in the middle of things.
pub(super) async fn exchange(
    slot: &mut Option<Box<UpstreamConnection>>,
    request: Request<RequestBody>,
    body_state: Option<&Arc<RequestBodyState>>,
    patience: Duration,
    late: &mut PooledDeadline<'_>,
) -> Result<Response<Incoming>, ExchangeError> {
    let upstream = slot.as_mut().expect("an exchange begins with a connection");
    let sender = match upstream.sender().await {
        Ok(sender) => sender,
        Err(error) => return Err(ExchangeError::Unsent(Box::new(request), error)),
    };
    // Only polling the connection, just before, can make it ready: it needs to wake nobody, and it must not make use
    // of the budget by which tokio may put a task off.
    let mut answer = pin!(unconstrained(sender.try_send_request(request)));
    let mut held = body_state.filter(|body_state| body_state.is_held());
    let mut go_on = pin!(held.map(|_| sleep(CONTINUE_AFTER)));
    poll_fn(|cx| {
        let mut nobody = Context::from_waker(Waker::noop());
        let over = slot.as_mut().is_some_and(|upstream| upstream.poll(cx).is_ready());
        let heard = slot.as_ref().is_some_and(|upstream| upstream.has_heard());
        let mut polled = answer.as_mut().poll(&mut nobody);
        if over && polled.is_pending() {
            // A request that was still to be sent comes back when its connection is dropped.
            *slot = None;
            polled = answer.as_mut().poll(&mut nobody);
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(|mut failed| match failed.take_message() {
                Some(request) => ExchangeError::Unsent(Box::new(request), failed.into_error()),
                None => {
                    let error = ProxyError::from_exchange(failed.into_error(), body_state.is_some());
                    ExchangeError::Sent { error, heard }
                }
            }));
        }
        if let (Some(body_state), Some(timer)) = (held, go_on.as_mut().as_pin_mut())
            && timer.poll(cx).is_ready()
        {
            body_state.open();
            held = None;
        }
        while late.poll(cx).is_ready() {
            let quiet = body_state.map_or(patience, |body_state| body_state.quiet_for());
            if quiet >= patience {
                let stalled = body_state.is_some_and(|body_state| body_state.waits_for_client());
                let error = if stalled { ProxyError::ClientStalled } else { ProxyError::HeadTimeout };
                return Poll::Ready(Err(ExchangeError::Sent { error: error(patience), heard }));
            }
            late.set(Instant::now() + (patience - quiet));
        }
        Poll::Pending
    })
    .await
}
