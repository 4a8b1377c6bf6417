//! Who reads a recorded answer, here and on other instances, and what it means that nobody does any more.
//!
//! Readers of another instance count as long as that instance says so; what it said last holds for a while only, so
//! that one that has crashed holds nothing up.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::OnDisconnect;
use crate::lock::Mutex;

pub(super) struct Attendance {
    state: Mutex<Attending>,
    /// Somebody came or left.
    changed: Notify,
}

struct Attending {
    here: usize,
    elsewhere: Vec<ReadersElsewhere>,
    /// Since when nobody reads.
    unread: Option<Instant>,
}

/// What another instance said last.
struct ReadersElsewhere {
    instance: Box<str>,
    readers: usize,
    until: Instant,
}

impl Attendance {
    /// Nobody reads yet.
    pub(super) fn new() -> Self {
        let state = Attending { here: 0, elsewhere: Vec::new(), unread: Some(Instant::now()) };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Somebody reads here; false when there are `most` already.
    pub(super) fn enter(&self, most: usize) -> bool {
        let mut state = self.state.lock();
        if state.here >= most {
            return false;
        }
        state.here += 1;
        state.unread = None;
        drop(state);
        self.changed.notify_waiters();
        true
    }

    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.here -= 1;
        state.settle(Instant::now());
        drop(state);
        self.changed.notify_waiters();
    }

    /// So many read on another instance, which holds until then.
    pub(super) fn elsewhere(&self, instance: &str, readers: usize, until: Instant) {
        let mut state = self.state.lock();
        state.elsewhere.retain(|known| *known.instance != *instance);
        if readers > 0 {
            state.elsewhere.push(ReadersElsewhere { instance: instance.into(), readers, until });
        }
        state.settle(Instant::now());
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many read here.
    pub(super) fn here(&self) -> usize {
        self.state.lock().here
    }

    /// How many read, on all instances.
    pub(super) fn everywhere(&self) -> usize {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        state.here + state.elsewhere.iter().map(|known| known.readers).sum::<usize>()
    }

    /// Completes when somebody has come or left since this was called. Cancel safe.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Completes when nobody has read for as long as `policy` lets an answer go on without readers. Cancel safe.
    pub(super) async fn given_up(&self, policy: OnDisconnect, drain_for: Duration) {
        loop {
            let changed = self.changed.notified();
            let (unread, recheck) = self.look();
            let due = match (unread, policy) {
                (Some(_), OnDisconnect::Cancel) => return,
                (Some(since), OnDisconnect::Drain) if since + drain_for <= Instant::now() => return,
                (Some(since), OnDisconnect::Drain) => Some(since + drain_for),
                (None, _) | (_, OnDisconnect::Shield) => recheck,
            };
            wait(changed, due).await;
        }
    }

    /// Completes when nobody reads. Cancel safe.
    pub(super) async fn unread(&self) {
        loop {
            let changed = self.changed.notified();
            let (unread, recheck) = self.look();
            if unread.is_some() {
                return;
            }
            wait(changed, recheck).await;
        }
    }

    /// Since when nobody reads, and when what others said ends.
    fn look(&self) -> (Option<Instant>, Option<Instant>) {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        (state.unread, state.elsewhere.iter().map(|known| known.until).min())
    }
}

impl Attending {
    /// Forgets what does not hold any more.
    fn settle(&mut self, now: Instant) {
        self.elsewhere.retain(|known| known.until > now);
        if self.here > 0 || !self.elsewhere.is_empty() {
            self.unread = None;
        } else {
            self.unread.get_or_insert(now);
        }
    }
}

async fn wait(changed: impl Future<Output = ()>, due: Option<Instant>) {
    match due {
        None => changed.await,
        Some(due) => tokio::select! {
            biased;
            () = changed => {}
            () = sleep_until(due) => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(attendance: &Attendance, policy: OnDisconnect) -> bool {
        let mut waiting = std::pin::pin!(attendance.given_up(policy, Duration::from_secs(60)));
        waiting.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn readers_of_other_instances_count_as_long_as_they_are_said_to_read() {
        let attendance = Attendance::new();
        assert!(attendance.enter(1) && !attendance.enter(1));
        let later = Instant::now() + Duration::from_secs(60);
        attendance.elsewhere("b", 2, later);
        attendance.leave();
        assert_eq!((attendance.here(), attendance.everywhere()), (0, 2));
        assert!(!is_over(&attendance, OnDisconnect::Cancel));
        attendance.elsewhere("c", 1, later);
        attendance.elsewhere("b", 0, later);
        assert!(!is_over(&attendance, OnDisconnect::Cancel));
        // It is not heard of any more.
        attendance.elsewhere("c", 1, Instant::now());
        assert_eq!(attendance.everywhere(), 0);
        assert!(is_over(&attendance, OnDisconnect::Cancel));
        assert!(!is_over(&attendance, OnDisconnect::Drain) && !is_over(&attendance, OnDisconnect::Shield));
    }

    #[tokio::test]
    async fn an_instance_that_falls_silent_is_noticed_without_anybody_coming_or_leaving() {
        let attendance = Attendance::new();
        let (begun, silence) = (Instant::now(), Duration::from_millis(60));
        attendance.elsewhere("b", 1, begun + silence);
        attendance.given_up(OnDisconnect::Drain, silence).await;
        assert!(begun.elapsed() >= 2 * silence);
        attendance.unread().await;
    }
}
