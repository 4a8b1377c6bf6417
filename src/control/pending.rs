//! Who waits for a command of this instance to come back to it, by the command's number.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::lock::Mutex;

/// Commands of this instance that have not come back yet, and what comes of them.
pub(super) struct PendingCommands<T> {
    all: Mutex<HashMap<String, oneshot::Sender<T>>>,
    /// How long one may take.
    patience: Duration,
}

/// One of them. Dropped, nobody waits any more.
pub(super) struct PendingCommand<'a, T> {
    of: &'a PendingCommands<T>,
    number: String,
    outcome: oneshot::Receiver<T>,
}

impl<T> PendingCommands<T> {
    pub(super) fn new(patience: Duration) -> Self {
        Self { all: Mutex::default(), patience }
    }

    /// A command with a number that nobody else gives. None when the system has no randomness.
    pub(super) fn begin(&self) -> Option<PendingCommand<'_, T>> {
        let number = format!("{:016x}", getrandom::u64().ok()?);
        let (sender, outcome) = oneshot::channel();
        self.all.lock().insert(number.clone(), sender);
        Some(PendingCommand { of: self, number, outcome })
    }

    /// The command of this number has come back.
    pub(super) fn made(&self, number: &str, outcome: T) {
        if let Some(waiting) = self.all.lock().remove(number) {
            // The caller may have gone.
            let _ = waiting.send(outcome);
        }
    }
}

impl<T> PendingCommand<'_, T> {
    pub(super) fn number(&self) -> &str {
        &self.number
    }

    /// What came of it; None when that is not known in time.
    pub(super) async fn outcome(mut self) -> Option<T> {
        tokio::time::timeout(self.of.patience, &mut self.outcome).await.ok()?.ok()
    }
}

impl<T> Drop for PendingCommand<'_, T> {
    fn drop(&mut self) {
        self.of.all.lock().remove(&self.number);
    }
}
