//! Topics of users, sessions and clients on the internal listener.
//!
//! This file knows paths and bodies, not what becomes of a change.

use crate::control::{TopicAssignments, parse_change, parse_set};
use crate::event::{Key, Name, TopicFilter};
use crate::log::TopicEdit;
use crate::server::internal::routes::TopicsHandler;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

pub(super) fn get(topics: &TopicAssignments, of: &Key) -> FullResponse {
    respond::ok(&topics.get(of))
}

/// Changes the topics of `of` as the method, the path's `topic` or the body say.
pub(super) async fn edit(
    topics: &TopicAssignments,
    of: &Key,
    handler: TopicsHandler,
    topic: Option<Name>,
    body: &[u8],
) -> Result<FullResponse, ApiProblem> {
    let topic = topic.into_iter().map(TopicFilter::Topic).collect();
    let edit = match handler {
        TopicsHandler::Get => return Ok(get(topics, of)),
        TopicsHandler::Set => parse_set(body).map_err(|bad| ApiProblem::bad_topics(&bad))?,
        TopicsHandler::Change => parse_change(body).map_err(|bad| ApiProblem::bad_topics(&bad))?,
        TopicsHandler::Clear => TopicEdit::Replace(vec![]),
        TopicsHandler::Add => TopicEdit::Change { add: topic, remove: vec![] },
        TopicsHandler::Remove => TopicEdit::Change { add: vec![], remove: topic },
    };
    respond::topics_edited(topics.edit(of, edit).await)
}
