//! Requests to hooks on the public listener, at the paths that the operator gave them.

use http::Request;
use hyper::body::Incoming;

use crate::publish::InboundHook;
use crate::server::hooks::HookDoor;
use crate::server::public::topics::refused_with;
use crate::server::public::transport::ConnectionContext;
use crate::server::respond::FullResponse;

/// Takes a request to `hook`.
pub(super) async fn take(
    hooks: &HookDoor,
    hook: &InboundHook,
    request: Request<Incoming>,
    connection: &ConnectionContext,
) -> FullResponse {
    connection.note_body();
    let (head, body) = request.into_parts();
    hooks.answer(hook, &head, body).await.unwrap_or_else(refused_with)
}
