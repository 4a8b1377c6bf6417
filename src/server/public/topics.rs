//! `POST <a stream's path>?client=<id>` with a body on the public listener: a page changes the topics of its own stream.
//!
//! The caller presents a grant as for the stream itself; the grant says which topics may be added, and whose the stream
//! must be.

use std::time::Duration;

use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::auth::{Denied, RequestOrigin, Verified};
use crate::control::{Owner, TopicAssignments, TopicEditError, parse_change};
use crate::log::TopicEdit;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};
use crate::subscribe::{Route, Streams};

/// How large a change may be, and how long it may take to come.
const MAX_BODY: usize = 64 << 10;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Such a request, but for its body.
pub(super) struct TopicChange<'a> {
    pub(super) route: &'a Route<'a>,
    pub(super) request: &'a Parts,
    pub(super) sender: RequestOrigin,
    pub(super) client: &'a str,
}

impl TopicChange<'_> {
    pub(super) async fn answer(
        self,
        streams: &Streams,
        topics: &TopicAssignments,
        body: Incoming,
    ) -> FullResponse {
        let Self { route, request, sender, client } = self;
        let refused = |refusal| respond::refused(&refusal, streams.shape());
        let (client, verified) = match streams.caller(route, request, sender, client).await {
            Ok(caller) => caller,
            Err(refusal) => return refused(refusal),
        };
        let Verified { grant, headers, .. } = verified;
        let edit = match read(body).await {
            Ok(edit) => edit,
            Err(problem) => return problem.into_response(),
        };
        // Behind the body: it may have taken seconds, and something may have been taken back meanwhile.
        if let TopicEdit::Change { add, .. } = &edit
            && let Err(refusal) = streams.may_add(&grant, add)
        {
            return refused(refusal);
        }
        let owner = Owner { user: grant.user, session: grant.session };
        let mut response = match topics.edit_own(client, owner, edit).await {
            Err(TopicEditError::NotYours) => refused(streams.turn_away(Denied::NotYourStream)),
            result => respond::topics_edited(result).unwrap_or_else(ApiProblem::into_response),
        };
        response.headers_mut().extend(headers);
        response
    }
}

async fn read(body: Incoming) -> Result<TopicEdit, ApiProblem> {
    let whole = tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect());
    match whole.await {
        Ok(Ok(body)) => parse_change(&body.to_bytes()).map_err(|bad| ApiProblem::bad_topics(&bad)),
        Ok(Err(bad)) if bad.is::<http_body_util::LengthLimitError>() => {
            Err(ApiProblem::body_too_large("64 KiB, the most that a change of topics may have"))
        }
        Ok(Err(_)) => Err(ApiProblem::body_broken()),
        Err(_) => Err(ApiProblem::body_timeout(&format!("{MAX_TIME:?}"))),
    }
}
