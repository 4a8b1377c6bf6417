//! A page's change of its own stream's topics, and how it is judged: on the stream's shard, by what is known at that
//! moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{Bearer, Denied, Revocations};
use crate::control::topics::TopicAssignments;
use crate::event::{Key, TopicFilter};
use crate::fanout::{Binding, MAX_TOKENS, Renewal, StreamView};
use crate::log::{BadEdit, Edited, TopicEdit};
use crate::pace::Rate;

/// A change that a page asks for, with the token that it presents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageChange {
    pub renewal: Renewal,
    pub bearer: Bearer,
    /// The path of the route, as it is configured: the stream's own.
    pub route: Arc<str>,
    pub add: Vec<TopicFilter>,
    pub remove: Vec<TopicFilter>,
}

/// Why it is not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PageChangeError {
    #[error("{0}")]
    Denied(Denied),
    #[error("this caller was sent away")]
    Away,
    #[error("{0}")]
    Edit(#[from] BadEdit),
    #[error("too often: limits.topic_changes_per_minute")]
    TooOften(Duration),
    #[error(
        "the stream lives by {MAX_TOKENS} tokens already: renew it with one that grants all of its topics"
    )]
    TooManyTokens,
    #[error(transparent)]
    NotPassedOn(#[from] NotPassedOn),
    /// The stream is not here; where it is, the change is made.
    #[error("no such stream is open on this instance; the others were asked")]
    PassedOn,
}

/// Why the other instances were not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPassedOn {
    #[error("no such stream is open here")]
    Nobody,
    #[error("too often: limits.topic_changes_per_minute")]
    TooOften(Duration),
}

impl PageChange {
    /// On the stream's own shard.
    pub(super) fn make(
        self,
        stream: StreamView<'_>,
        revocations: &Revocations,
        rate: Rate,
        topics: &TopicAssignments,
    ) -> Result<(Edited, Binding), PageChangeError> {
        let Self { renewal, bearer, route, add, remove } = self;
        if *stream.route != route || !bearer.owns(stream.asked) {
            return Err(PageChangeError::Denied(Denied::NotYourStream));
        }
        if let Some(topic) = add.iter().find(|topic| !bearer.grant.topics.allow(topic)) {
            return Err(PageChangeError::Denied(Denied::TopicNotGranted(topic.name().clone())));
        }
        revocations.check(&bearer.grant, &add).map_err(PageChangeError::Denied)?;
        if revocations.is_away(&bearer.grant, &add) {
            return Err(PageChangeError::Away);
        }
        stream.pace.take(rate, Instant::now()).map_err(PageChangeError::TooOften)?;
        let grants_all = bearer.may_hold(stream.asked).is_ok();
        let is_known = renewal.token.as_ref().is_none_or(|token| stream.tokens.contains(token));
        if !grants_all && !is_known && stream.tokens.len() >= MAX_TOKENS {
            return Err(PageChangeError::TooManyTokens);
        }
        let edited = topics.edit_by_page(&Key::Client(renewal.client), TopicEdit::Change { add, remove })?;
        Ok((edited, if grants_all { Binding::InPlace } else { Binding::Beside }))
    }
}
