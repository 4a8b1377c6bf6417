//! From a request to the internal listener to its answer, by the table in `routes.rs`.
//!
//! The key is checked before a byte of the body is read. Every answer is JSON but the metrics; a problem says in one
//! sentence what is wrong. Nothing here is meant for browsers, so requests of pages of other sites are refused.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::Full;
use tracing::debug;

use crate::server::internal::body::ReadableBody;
use crate::server::internal::caller::Authenticated;
use crate::server::internal::health::Probes;
use crate::server::internal::hosts::comes_from_a_page;
use crate::server::internal::listener::Internal;
use crate::server::internal::query::QueryParams;
use crate::server::internal::routes::{Access, Handler, Holder, RouteMatch, TopicsHandler};
use crate::server::internal::{captures, connections, dashboard, history, openapi, presence, routes, topics};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse, InternalBody};
use crate::telemetry::HTTP_REFUSED;

impl Internal {
    /// Answers a request of a caller that may do everything, whatever it presents. Never fails either.
    pub async fn answer_trusted(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let answered = self.dispatch(&head, Full::new(body), Authenticated::Trusted).await;
        answered.unwrap_or_else(ApiProblem::into_response)
    }

    /// Answers one request. Never fails: what is wrong with a request is its answer.
    pub(super) async fn answer(
        &self,
        request: Request<impl ReadableBody>,
        peer: IpAddr,
    ) -> Response<InternalBody> {
        let (head, body) = request.into_parts();
        let answered = if dashboard::is_ours(head.uri.path()) {
            Box::pin(self.dashboard(&head, body, peer)).await
        } else {
            self.admit(&head, body).await.map(dashboard::whole)
        };
        answered.unwrap_or_else(|problem| {
            let (status, reason) = (problem.status(), problem.label());
            metrics::counter!(HTTP_REFUSED, "listener" => "internal", "reason" => reason).increment(1);
            debug!(status, reason, "internal request refused");
            dashboard::whole(problem.into_response())
        })
    }

    /// Looks where the request comes from first.
    async fn admit(
        &self,
        head: &request::Parts,
        body: impl ReadableBody,
    ) -> Result<FullResponse, ApiProblem> {
        if !self.hosts.know(head) {
            return Err(ApiProblem::unknown_host());
        }
        if comes_from_a_page(&head.headers) {
            return Err(ApiProblem::from_a_page());
        }
        self.dispatch(head, body, Authenticated::ByKey).await
    }

    pub(super) async fn dispatch(
        &self,
        head: &request::Parts,
        body: impl ReadableBody,
        caller: Authenticated,
    ) -> Result<FullResponse, ApiProblem> {
        if head.uri.path() == routes::PUBLISH.path {
            return match routes::PUBLISH.handler(&head.method) {
                Some(_) => self.publish(head, body, caller).await,
                None => Err(ApiProblem::method_not_allowed(&routes::PUBLISH.allowed())),
            };
        }
        // Boxed: what the others need would be room, to be moved about, in every publish.
        Box::pin(self.dispatch_rare(head, body, caller)).await
    }

    /// The same, for what is not asked a hundred thousand times a second.
    async fn dispatch_rare(
        &self,
        head: &request::Parts,
        body: impl ReadableBody,
        caller: Authenticated,
    ) -> Result<FullResponse, ApiProblem> {
        let found = routes::find(head.uri.path()).ok_or_else(ApiProblem::no_route)?;
        if self.mint.is_none() && found.route.handler(&http::Method::POST) == Some(Handler::MintTicket) {
            return Err(ApiProblem::no_route());
        }
        let Some(handler) = found.route.handler(&head.method) else {
            return Err(ApiProblem::method_not_allowed(&found.route.allowed()));
        };
        if caller == Authenticated::ByKey && found.route.access == Access::Key {
            // Callers that may not ask do not learn what is wrong with the question.
            self.keys.check(&head.headers).map_err(|bad| ApiProblem::bad_key(&bad))?;
        }
        match handler {
            Handler::Publish => self.publish(head, body, caller).await,
            Handler::MintTicket => {
                let mint = self.mint.as_ref().ok_or_else(ApiProblem::no_route)?;
                mint.check(caller, &head.headers, &self.keys)?;
                mint.mint(&self.body.read(body).await?)
            }
            Handler::Hook => {
                let hooks = self.hooks.as_ref().ok_or_else(ApiProblem::no_route)?;
                let names = found.names()?;
                let name = names.first().ok_or_else(ApiProblem::no_route)?;
                let hook = hooks.find(name.as_str()).ok_or_else(ApiProblem::no_hook)?;
                hooks.answer(hook, head, body).await
            }
            Handler::Pusher { batch } => {
                let door = self.hooks.as_ref().ok_or_else(ApiProblem::no_route)?;
                let names = found.names()?;
                let app = names.first().and_then(|name| door.pusher_app(name.as_str()));
                door.answer_pusher(app.ok_or_else(ApiProblem::no_app)?, head, body, batch).await
            }
            Handler::PusherReads(read) => self.pusher_asks(read, &found, head).await,
            Handler::Liveness => Ok(Probes::liveness()),
            Handler::Readiness(purpose) => Ok(self.probes.readiness(purpose)),
            Handler::Metrics => Ok(self.probes.metrics(&self.log)),
            Handler::Description => Ok(openapi::answer()),
            Handler::Reload => {
                QueryParams::parse(head.uri.query())?.end()?;
                self.reload.as_ref().ok_or_else(ApiProblem::no_reload)?.answer().await
            }
            Handler::TakeBackEvent | Handler::TakeBackTopic | Handler::CloseTopic | Handler::OpenTopic => {
                self.take_back(handler, &found, head, caller).await
            }
            Handler::PollNow => {
                let polls = self.polls.as_ref().ok_or_else(ApiProblem::no_poll)?;
                polls.answer(found.last(), head.uri.query())
            }
            handler => self.about_streams(handler, &found, head.uri.query(), body).await,
        }
    }

    /// What takes a key without bounds: topics, connections, presence, the log.
    async fn about_streams(
        &self,
        handler: Handler,
        found: &RouteMatch<'_>,
        query: Option<&str>,
        body: impl ReadableBody,
    ) -> Result<FullResponse, ApiProblem> {
        let mut names = found.names()?.into_iter();
        let mut name = || names.next().ok_or_else(ApiProblem::no_route);
        let query = QueryParams::parse(query)?;
        let (control, presence) = (&self.control, self.control.presence());
        match handler {
            Handler::Revoke => {
                query.end()?;
                let body = self.body.read(body).await?;
                respond::revoked(control.revoke(&body).await)
            }
            Handler::Position => history::position(&self.publish, query).await,
            Handler::TopicEvents => history::events(&self.log, name()?, query).await,
            Handler::Connections => connections::list(control.connections(), query).await,
            Handler::ConnectionCount => connections::count(control.connections(), query).await,
            Handler::Connection => connections::one(control.connections(), name()?, query).await,
            Handler::CloseConnections => connections::close_chosen(control, query).await,
            Handler::CloseConnection => connections::close_of(control, Holder::Client, name()?, query).await,
            Handler::CloseConnectionsOf(of) => connections::close_of(control, of, name()?, query).await,
            Handler::Captures => captures::list(&self.recordings, query),
            Handler::StopCapture => captures::stop(&self.recordings, &name()?, query).await,
            Handler::Presence => presence::totals(presence, query),
            Handler::PresentUsers => presence::page(presence, query),
            Handler::ArePresent => presence::present(presence, query, &self.body.read(body).await?),
            Handler::UserPresence => presence::user(control, &name()?, query).await,
            Handler::TopicPresence => presence::topic(control, &name()?, query).await,
            Handler::Topics(of, edit) => {
                query.end()?;
                let (of, topics) = (of.key(name()?), control.topics());
                let topic = names.next();
                if edit == TopicsHandler::Get {
                    return Ok(topics::get(topics, &of));
                }
                topics::edit(topics, &of, edit, topic, &self.body.read(body).await?).await
            }
            // Answered before.
            Handler::Page
            | Handler::PageFile
            | Handler::Dashboard(_)
            | Handler::Publish
            | Handler::MintTicket
            | Handler::Hook
            | Handler::Pusher { .. }
            | Handler::PusherReads(_)
            | Handler::Reload
            | Handler::TakeBackEvent
            | Handler::TakeBackTopic
            | Handler::CloseTopic
            | Handler::OpenTopic
            | Handler::PollNow
            | Handler::Liveness
            | Handler::Readiness(_)
            | Handler::Metrics
            | Handler::Description => Err(ApiProblem::no_route()),
        }
    }
}
