//! What users and sessions are given, when the log is loaded: read from its hash, which becomes one of the stream's
//! newest life.
//!
//! Invariant: nobody loads from a hash of a life that has ended and goes on beside others who have not. This file knows
//! no entry of the stream.

use tracing::warn;

use crate::event::EventId;
use crate::log::History;
use crate::redis::client::error::RedisError;
use crate::redis::log::position::BEFORE_ALL;
use crate::redis::log::reader::StreamReader;
use crate::redis::topics::store::{MAX_SET, StoreOutcome, StoredAt, StoredTopics};
use crate::redis::topics::writer::seed;

/// Longest text of an answer of a script.
const MAX_ANSWER: usize = 4096;

/// What a claim of the hash has come to.
pub(in crate::redis) enum ClaimOutcome {
    /// Up to where the sets hold and for which epoch; None = nothing is known of them.
    At(Option<StoredAt>),
    /// Another instance was there first: everything is to be read again.
    ReadAgain,
}

impl StreamReader {
    /// Reads what users and sessions are given, and up to where that holds.
    pub(in crate::redis) async fn assigned(&self, history: &mut History) -> Result<StoredTopics, RedisError> {
        // A set may be longer than an entry.
        let mut connection = self.endpoint.open(self.reading.limit, MAX_SET).await?;
        let mut kept = connection.assigned(&self.store.name, self.reading.limit).await?;
        match &mut kept {
            StoredTopics::Sets(Some(at), assigned) => {
                history.known_at(at.id);
                for (of, topics) in std::mem::take(assigned) {
                    history.give(&of, topics);
                }
            }
            StoredTopics::Nothing if self.at.is_none() => history.known_at(BEFORE_ALL),
            StoredTopics::Nothing | StoredTopics::Unreadable | StoredTopics::Sets(None, _) => {}
        }
        Ok(kept)
    }

    /// Begins a new epoch where the stream has a mark of which the hash does not know yet. Where there is no hash, what
    /// this instance knows becomes it. Gives back up to where the sets are known, or that the hash has changed and
    /// is to be read again.
    pub(in crate::redis) async fn claim(
        &self,
        kept: StoredTopics,
        mark: Option<EventId>,
        history: &History,
    ) -> Result<ClaimOutcome, RedisError> {
        let limit = self.reading.limit;
        let mark = mark.unwrap_or(BEFORE_ALL);
        match kept {
            StoredTopics::Sets(Some(at), _) if mark.order() > at.epoch.order() => {
                let id = if at.id.order() > mark.order() { mark } else { at.id };
                let new = StoredAt { id, epoch: mark };
                let mut connection = self.endpoint.open(limit, MAX_ANSWER).await?;
                match connection.claim_assigned(&self.store.name, at, new, limit).await {
                    Ok(StoreOutcome::Made) => Ok(ClaimOutcome::At(Some(new))),
                    Ok(_) => Ok(ClaimOutcome::ReadAgain),
                    Err(RedisError::Refused { text, .. }) if text.starts_with("NOPERM") => {
                        Ok(ClaimOutcome::At(Some(new)))
                    }
                    Err(error) => Err(error),
                }
            }
            StoredTopics::Sets(Some(at), _) => Ok(ClaimOutcome::At(Some(at))),
            StoredTopics::Nothing if self.at.is_none() => {
                Ok(ClaimOutcome::At(history.known().map(|id| StoredAt { id, epoch: mark })))
            }
            StoredTopics::Nothing => {
                let mut connection = self.endpoint.open(limit, MAX_ANSWER).await?;
                match seed(&mut connection, &self.store.name, &self.log, Some(mark), limit).await {
                    Ok(_) => Ok(ClaimOutcome::ReadAgain),
                    Err(RedisError::Refused { .. }) => Ok(ClaimOutcome::At(None)),
                    Err(error) => Err(error),
                }
            }
            StoredTopics::Unreadable | StoredTopics::Sets(None, _) => {
                warn!(redis = %self.endpoint, hash = self.store.name, "what users and sessions are given cannot be read from Redis: this instance knows only of changes that it has seen");
                Ok(ClaimOutcome::At(None))
            }
        }
    }
}
