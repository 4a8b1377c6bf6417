//! The notice to stop, and who is still at work when it comes.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Spreads the notice to stop and waits for the tasks that were spawned under it. Cloning shares.
#[derive(Clone, Default, Debug)]
pub struct Drain {
    notice: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the notice. A second time changes nothing.
    pub fn start(&self) {
        self.notice.cancel();
        self.tasks.close();
    }

    pub fn has_started(&self) -> bool {
        self.notice.is_cancelled()
    }

    /// Completes when the notice is given. Cancel safe.
    pub fn started(&self) -> WaitForCancellationFuture<'_> {
        self.notice.cancelled()
    }

    /// Runs `task` so that [`Drain::finished`] waits for it. It is not stopped: it has to heed the notice itself.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Makes [`Drain::finished`] wait until the token is dropped.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Completes when the notice has been given and every spawned task has ended. Cancel safe.
    pub async fn finished(&self) {
        self.tasks.wait().await;
    }
}
