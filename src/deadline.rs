//! Time limits of work that is mostly done long before them: of heads, bodies and answers.
//!
//! A timer of its own for each of them would be entered into the runtime's timers and taken out again, both under their
//! lock. Here the timer stays entered: a limit that moves to a later time is only noted, and what is left of it is
//! waited for when the old one is over.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::lock::Mutex;

/// A time limit that can be set again and again.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub fn new(at: Instant) -> Self {
        Self { at, timer: None }
    }

    /// Moves it. A waiter has to poll it again.
    pub fn set(&mut self, at: Instant) {
        self.at = at;
    }

    /// Ready when it is over. May wake the task earlier, and the task that has polled it before.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.at)));
        if timer.deadline() > self.at {
            timer.as_mut().reset(self.at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.at);
        }
    }
}

/// Deadlines that are used in turn. What is put back may wake the task that had it, once.
#[derive(Default, Debug)]
pub struct DeadlinePool(Mutex<Vec<Deadline>>);

/// So many are kept for later.
const MOST_IDLE: usize = 256;

/// A deadline that goes back to its pool.
pub struct PooledDeadline<'a> {
    pool: &'a DeadlinePool,
    at: Instant,
    /// From the first wait on.
    taken: Option<Deadline>,
}

impl DeadlinePool {
    /// The limit of a piece of work.
    pub fn at(&self, at: Instant) -> PooledDeadline<'_> {
        PooledDeadline { pool: self, at, taken: None }
    }

    /// The output of `work`, or nothing when it takes longer than `time`.
    pub async fn within<F: Future>(&self, time: Duration, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut deadline = self.at(Instant::now() + time);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        })
        .await
    }
}

impl PooledDeadline<'_> {
    /// See [`Deadline::set`].
    pub fn set(&mut self, at: Instant) {
        self.at = at;
    }

    /// See [`Deadline::poll`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = || self.pool.0.lock().pop();
        let deadline = self.taken.get_or_insert_with(|| idle().unwrap_or_else(|| Deadline::new(self.at)));
        deadline.set(self.at);
        deadline.poll(cx)
    }
}

impl Drop for PooledDeadline<'_> {
    fn drop(&mut self) {
        let Some(deadline) = self.taken.take() else { return };
        let mut idle = self.pool.0.lock();
        if idle.len() < MOST_IDLE {
            idle.push(deadline);
        } else {
            drop(idle);
            drop(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::timeout;

    use super::*;

    const STEP: Duration = Duration::from_millis(40);
    /// Never in a test.
    const HOUR: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_secs(10);

    async fn reached(deadline: &mut Deadline) -> Instant {
        timeout(SOON, poll_fn(|cx| deadline.poll(cx))).await.expect("it is over");
        Instant::now()
    }

    async fn is_not_reached(deadline: &mut Deadline) -> bool {
        timeout(2 * STEP, poll_fn(|cx| deadline.poll(cx))).await.is_err()
    }

    #[tokio::test]
    async fn it_is_over_when_it_says_however_it_was_moved() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(begun + STEP);
        deadline.set(begun + 3 * STEP);
        assert!(reached(&mut deadline).await - begun >= 3 * STEP);
        // Later while it runs, sooner again, and once more after its end.
        deadline.set(Instant::now() + STEP);
        assert!(timeout(Duration::ZERO, poll_fn(|cx| deadline.poll(cx))).await.is_err());
        deadline.set(Instant::now() + HOUR);
        assert!(is_not_reached(&mut deadline).await);
        let at = Instant::now() + STEP;
        deadline.set(at);
        assert!(reached(&mut deadline).await >= at);
        deadline.set(Instant::now() + HOUR);
        assert!(is_not_reached(&mut deadline).await);
    }

    #[tokio::test]
    async fn work_that_takes_too_long_ends_whichever_timer_it_has() {
        let pool = DeadlinePool::default();
        assert_eq!(pool.within(STEP, async { 7 }).await, Some(7));
        assert!(pool.0.lock().is_empty(), "what is done at once needs no timer");
        for _ in 0..3 {
            // The timer that is left behind is the long one's.
            let work = async { tokio::time::sleep(STEP).await };
            assert_eq!(pool.within(HOUR, work).await, Some(()));
            let begun = Instant::now();
            assert_eq!(timeout(SOON, pool.within(STEP, pending::<()>())).await, Ok(None));
            assert!(begun.elapsed() >= STEP);
            assert_eq!(pool.0.lock().len(), 1);
        }
    }
}
