//! `POST /reload`: the configuration is read anew. What that comes to is decided elsewhere; here it is asked for and
//! said.

use tokio::sync::{mpsc, oneshot};

use crate::config::{BadConfig, ConfigChanges};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// So many may wait for a reload.
const MAX_WAITING: usize = 64;

/// What came of a reload.
pub type ReloadOutcome = Result<ConfigChanges, BadConfig>;

/// Asks for reloads. Cloning shares.
#[derive(Clone)]
pub struct ReloadRequests(mpsc::Sender<oneshot::Sender<ReloadOutcome>>);

impl ReloadRequests {
    /// And the end at which they come in. When that is dropped, there are no reloads any more.
    pub fn new() -> (Self, mpsc::Receiver<oneshot::Sender<ReloadOutcome>>) {
        let (ask, asked) = mpsc::channel(MAX_WAITING);
        (Self(ask), asked)
    }

    pub(super) async fn answer(&self) -> Result<FullResponse, ApiProblem> {
        let (ask, answer) = oneshot::channel();
        self.0.try_send(ask).map_err(|why| match why {
            mpsc::error::TrySendError::Full(_) => ApiProblem::too_many_reloads(),
            mpsc::error::TrySendError::Closed(_) => ApiProblem::draining(),
        })?;
        // It goes on when this caller leaves.
        let outcome = answer.await.map_err(|_| ApiProblem::draining())?;
        Ok(match outcome {
            Ok(changes) => respond::reloaded(&changes),
            Err(bad) => respond::not_reloaded(&bad),
        })
    }
}
