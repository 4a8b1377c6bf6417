//! `POST <a stream's path>?client=<id>` on the public listener: a page changes the topics of its own stream.
//!
//! Whoever asks presents a grant as for the stream itself; the grant says which topics may be added, and whose the
//! stream must be.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use crate::auth::{Denied, Sender, Verified};
use crate::control::{Owner, Refused, Topics, parse_change};
use crate::log::Edit;
use crate::server::internal::topics::{not_made, not_understood};
use crate::server::problem::Problem;
use crate::server::respond;
use crate::server::respond::json;
use crate::subscribe::{Route, Streams};

/// How large a change may be, and how long it may take to come.
const MAX_BODY: usize = 64 << 10;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Such a request, but for its body.
pub(in crate::server) struct Change<'a> {
    pub(in crate::server) route: &'a Route<'a>,
    pub(in crate::server) request: &'a Parts,
    pub(in crate::server) sender: Sender,
    pub(in crate::server) client: &'a str,
}

impl Change<'_> {
    pub(in crate::server) async fn answer(
        self,
        streams: &Streams,
        topics: &Topics,
        body: Incoming,
    ) -> Response<Full<Bytes>> {
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
        if let Edit::Change { add, .. } = &edit
            && let Some(topic) = add.iter().find(|topic| !grant.topics.allow(topic))
        {
            return refused(streams.turn_away(Denied::TopicNotGranted(topic.clone())));
        }
        let owner = Owner { user: grant.user, session: grant.session };
        let mut response = match topics.edit_own(client, owner, edit).await {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(refused @ Refused::PassedOn) => {
                json(StatusCode::ACCEPTED, &serde_json::json!({ "said": refused.to_string() }))
            }
            Err(Refused::NotYours) => refused(streams.turn_away(Denied::NotYourStream)),
            Err(refused) => not_made(refused).into_response(),
        };
        response.headers_mut().extend(headers);
        response
    }
}

async fn read(body: Incoming) -> Result<Edit, Problem> {
    let whole = tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect());
    let problem = |status, say: &str| Problem::new(status, "body", say);
    match whole.await {
        Ok(Ok(body)) => parse_change(&body.to_bytes()).map_err(|bad| not_understood(&bad)),
        Ok(Err(bad)) if bad.is::<http_body_util::LengthLimitError>() => {
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "a change of topics has at most 64 KiB"))
        }
        Ok(Err(_)) => Err(problem(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}
