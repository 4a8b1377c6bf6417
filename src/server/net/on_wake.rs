//! A future beside a busy one in a `select!`, which is polled only when it has been woken itself.
//!
//! A notice that every connection waits for would otherwise be checked, under a lock that all share, whenever anything
//! moves on any connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::lock::Mutex;

/// Polls `F` only after `F` has been woken.
pub(in crate::server) struct OnWake<F> {
    future: F,
    task: Option<Waker>,
    wakeup: Arc<Wakeup>,
}

struct Wakeup {
    woken: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.lock().wake_by_ref();
    }
}

impl<F: Future + Unpin> OnWake<F> {
    pub(in crate::server) fn new(future: F) -> Self {
        let wakeup = Wakeup { woken: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) };
        Self { future, task: None, wakeup: Arc::new(wakeup) }
    }
}

impl<F: Future + Unpin> Future for OnWake<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *this.wakeup.task.lock() = cx.waker().clone();
            this.task = Some(cx.waker().clone());
            // What was woken meanwhile woke another task.
            this.wakeup.woken.store(true, Ordering::Relaxed);
        }
        if !this.wakeup.woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&this.wakeup));
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_once_and_then_only_when_it_was_woken() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u32>(1);
        let mut polls = 0;
        let mut on_wake = OnWake::new(poll_fn(|cx| {
            polls += 1;
            receiver.poll_recv(cx)
        }));
        for _ in 0..3 {
            assert!(timeout(Duration::ZERO, &mut on_wake).await.is_err());
        }
        sender.send(7).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(5), &mut on_wake).await.unwrap(), Some(7));
        drop(on_wake);
        assert_eq!(polls, 2);
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_polled_it_last() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u32>(1);
        let mut on_wake = Box::pin(OnWake::new(Box::pin(async move { receiver.recv().await })));
        assert!(on_wake.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let waits = crate::shutdown::Drain::new().spawn(on_wake);
        tokio::task::yield_now().await;
        sender.send(7).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(5), waits).await.unwrap().unwrap(), Some(7));
    }
}
