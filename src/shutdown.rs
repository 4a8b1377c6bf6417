//! The notice to stop, and who is still at work when it comes.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Gives its notice when it is dropped.
pub type DrainGuard = DropGuard;

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

    /// One whose notice is given with this one's, and sooner when the guard is dropped. [`Drain::finished`] of this one
    /// waits for its tasks, too.
    pub fn part(&self) -> (Self, DrainGuard) {
        let part = Self { notice: self.notice.child_token(), tasks: self.tasks.clone() };
        let guard = part.notice.clone().drop_guard();
        (part, guard)
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

    /// As [`spawn`](Self::spawn), for a task without which the daemon only looks well: one that accepts connections, or
    /// holds one to Redis. If it panics, the process is aborted, so that a supervisor starts it again, instead of going
    /// on without it in silence.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(async move {
            let _guard = AbortOnPanic(name);
            task.await;
        })
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

/// Ends the process when what it guards panics. The panic itself is in the log already, by the panic hook.
pub struct AbortOnPanic(pub &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "the daemon cannot go on without this task, so the process ends");
            // The log is written by a thread of its own, which gets a moment.
            std::thread::sleep(std::time::Duration::from_millis(100));
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_part_ends_with_its_guard_or_with_the_whole_which_waits_for_it() {
        let whole = Drain::new();
        let ((one, guard), (other, _kept)) = (whole.part(), whole.part());
        drop(guard);
        one.started().await;
        assert!(!other.has_started() && !whole.has_started());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        other.spawn(gone);
        whole.start();
        other.started().await;
        let mut finished = std::pin::pin!(whole.finished());
        assert!(is_pending(finished.as_mut()), "a task of the part is at work");
        drop(go);
        finished.await;
    }

    fn is_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut cx).is_pending()
    }

    /// Runs itself once more in a process of its own, which is the one to end.
    #[test]
    fn a_panic_in_what_the_daemon_needs_ends_the_process() {
        const NAME: &str = "shutdown::tests::a_panic_in_what_the_daemon_needs_ends_the_process";
        const INNER: &str = "SIDESTREAM_TEST_PANICS";
        let Ok(how) = std::env::var(INNER) else {
            for how in ["task", "thread"] {
                let program = std::env::current_exe().unwrap();
                let output = Command::new(program).args(["--exact", NAME]).env(INNER, how).output().unwrap();
                use std::os::unix::process::ExitStatusExt as _;
                const SIGABRT: i32 = 6;
                assert_eq!(output.status.signal(), Some(SIGABRT), "{how}: {:?}", output.status);
            }
            return;
        };
        if how == "task" {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            let task = async { Drain::new().spawn_essential("test", async { panic!("planted") }).await };
            let _ended = runtime.block_on(task);
        } else {
            let thread = std::thread::spawn(|| {
                let _guard = AbortOnPanic("test");
                panic!("planted");
            });
            let _ended = thread.join();
        }
    }
}
