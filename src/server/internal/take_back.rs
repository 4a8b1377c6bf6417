//! `DELETE /topics/{topic}/events/{id}`, `DELETE /topics/{topic}`, and `POST` to its `/close` and `/open` on the
//! internal listener.
//!
//! The key is checked before anything else of the request is looked at. This file must not know how events are found.

use http::request;

use crate::event::{Audience, Key};
use crate::server::internal::caller::Authenticated;
use crate::server::internal::listener::Internal;
use crate::server::internal::query::QueryParams;
use crate::server::internal::routes::{Handler, RouteMatch};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

impl Internal {
    pub(super) async fn take_back(
        &self,
        handler: Handler,
        found: &RouteMatch<'_>,
        head: &request::Parts,
        caller: Authenticated,
    ) -> Result<FullResponse, ApiProblem> {
        let publisher = self.publisher(&head.headers, caller).await?;
        QueryParams::parse(head.uri.query())?.end()?;
        let names = found.names()?;
        let (take_backs, ends) = self.take_backs.as_ref().ok_or_else(ApiProblem::no_route)?;
        if let Err(bad) = self.publish.admit(&publisher, 1) {
            return Ok(respond::refused_publish(&bad));
        }
        let may = |audience: &_| publisher.may_take_back(audience);
        if let (Handler::CloseTopic | Handler::OpenTopic, [topic]) = (handler, &names[..]) {
            may(&Audience::of(Key::Topic(topic.clone()))).map_err(|not| ApiProblem::not_allowed(&not))?;
            return respond::topic_ended(ends.set(topic, handler == Handler::OpenTopic).await);
        }
        respond::taken_back(match (handler, &names[..]) {
            (Handler::TakeBackEvent, [topic, id]) => take_backs.event(topic, id.as_str(), may).await,
            (Handler::TakeBackTopic, [topic]) => take_backs.topic(topic, may).await,
            _ => return Err(ApiProblem::no_route()),
        })
    }
}
