//! `POST /hooks/{name}`: requests of other services, on the internal listener and where the operator says so on the
//! public one.
//!
//! The sender's key is checked before a byte of the body is read. This file must not know what a body looks like.

use http::header::CONTENT_ENCODING;
use http::request;

use crate::auth::PusherRequest;
use crate::publish::{HookRequest, InboundHook, InboundHooks, PusherAppDoor, PusherApps};
use crate::server::internal::body::{BodyLimits, ReadableBody};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// What answers requests to hooks.
pub struct HookDoor {
    hooks: Option<InboundHooks>,
    pusher: Option<PusherApps>,
    body: BodyLimits,
}

impl HookDoor {
    pub fn new(
        hooks: Option<InboundHooks>,
        pusher: Option<PusherApps>,
        section: &crate::config::Internal,
    ) -> Self {
        Self { hooks, pusher, body: BodyLimits::new(section.max_body.0, section.body_timeout) }
    }

    pub(in crate::server) fn find(&self, name: &str) -> Option<&InboundHook> {
        self.hooks.as_ref()?.find(name)
    }

    pub(in crate::server) fn at_public_path(&self, path: &str) -> Option<&InboundHook> {
        self.hooks.as_ref()?.at_public_path(path)
    }

    pub(in crate::server) async fn answer(
        &self,
        hook: &InboundHook,
        head: &request::Parts,
        body: impl ReadableBody,
    ) -> Result<FullResponse, ApiProblem> {
        let request = HookRequest { headers: &head.headers, query: head.uri.query() };
        hook.admit(request).map_err(ApiProblem::hook_denied)?;
        let mut codings = head.headers.get_all(CONTENT_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(ApiProblem::compressed());
        }
        let body = self.body.read(body).await?;
        let hooks = self.hooks.as_ref().ok_or_else(ApiProblem::no_hook)?;
        respond::hook_taken(hooks.take(hook, request, &body).await)
    }

    pub(in crate::server) fn pusher_app(&self, id: &str) -> Option<&PusherAppDoor> {
        self.pusher.as_ref()?.find(id)
    }

    /// Whether a request of a Pusher library is signed, as far as can be said without a body.
    pub(in crate::server) fn admit_pusher(
        app: &PusherAppDoor,
        head: &request::Parts,
    ) -> Result<(), ApiProblem> {
        app.admit(pusher_request(head)).map_err(ApiProblem::hook_denied)
    }

    /// Answers a request of a Pusher library; with `batch` its body has several events.
    pub(in crate::server) async fn answer_pusher(
        &self,
        app: &PusherAppDoor,
        head: &request::Parts,
        body: impl ReadableBody,
        batch: bool,
    ) -> Result<FullResponse, ApiProblem> {
        Self::admit_pusher(app, head)?;
        let body = self.body.read(body).await?;
        let apps = self.pusher.as_ref().ok_or_else(ApiProblem::no_app)?;
        respond::pusher_taken(apps.take(app, pusher_request(head), &body, batch).await)
    }
}

fn pusher_request(head: &request::Parts) -> PusherRequest<'_> {
    PusherRequest { method: head.method.as_str(), path: head.uri.path(), query: head.uri.query() }
}
