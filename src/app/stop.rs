//! The order of stopping: each step gets its notice when the one before has ended, or has had its time.
//!
//! 1. `serving`: no new connections; requests are finished, streams are closed spread over the window.
//! 2. `announcing`: what tells other instances and publishes presence, which still has to tell of the last streams.
//! 3. `last`: Redis, tickets, and the internal listener, whose `/readyz` tells of the drain until the end.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::shutdown::Drain;

/// How long it may take to tell the other instances that this one stops.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);

/// How long requests to the internal listener may still take when everything else has ended.
const LAST: Duration = Duration::from_secs(2);

/// What webhooks get at least for their last requests, when the drain has taken all of its time.
pub(super) const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What a part of the daemon waits for before it ends. Cloning shares.
#[derive(Clone, Default)]
pub(super) struct StopOrder {
    pub(super) serving: Drain,
    pub(super) announcing: Drain,
    pub(super) last: Drain,
}

impl StopOrder {
    /// Gives the notices one after the other. `drain_streams` begins to close the streams; `open` counts those that are
    /// left.
    pub(super) async fn stop(
        &self,
        drain_streams: impl FnOnce(),
        open: impl Fn() -> usize,
        deadline: Duration,
    ) {
        self.serving.start();
        drain_streams();
        if timeout(deadline, self.serving.finished()).await.is_err() {
            warn!(streams = open(), "the drain's deadline has passed; what is still open is cut");
        }
        self.announcing.start();
        if timeout(ANNOUNCEMENT, self.announcing.finished()).await.is_err() {
            warn!("the other instances could not be told that this one stops");
        }
        self.last.start();
        if timeout(LAST, self.last.finished()).await.is_err() {
            warn!("requests to the internal listener are cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::lock::Mutex;

    type Seen = Arc<Mutex<Vec<String>>>;

    /// Notes the notice and, `work` later, the end.
    fn part(drain: &Drain, name: &'static str, work: Duration, seen: &Seen) {
        let (notice, seen) = (drain.clone(), Arc::clone(seen));
        drain.spawn(async move {
            notice.started().await;
            seen.lock().push(format!("{name} has notice"));
            sleep(work).await;
            seen.lock().push(format!("{name} ended"));
        });
    }

    async fn stopped(order: &StopOrder, seen: &Seen, deadline: Duration) -> Duration {
        let began = Instant::now();
        order.stop(|| seen.lock().push("streams drain".to_owned()), || 0, deadline).await;
        began.elapsed()
    }

    #[tokio::test]
    async fn each_step_has_its_notice_when_the_one_before_has_ended() {
        let (order, seen) = (StopOrder::default(), Seen::default());
        let work = Duration::from_millis(50);
        part(&order.last, "last", work, &seen);
        part(&order.announcing, "announcing", work, &seen);
        part(&order.serving, "serving", work, &seen);
        assert!(stopped(&order, &seen, Duration::from_secs(30)).await >= 3 * work);
        let expected = [
            "streams drain",
            "serving has notice",
            "serving ended",
            "announcing has notice",
            "announcing ended",
            "last has notice",
            "last ended",
        ];
        assert_eq!(*seen.lock(), expected);
    }

    #[tokio::test]
    async fn what_does_not_end_holds_up_the_stop_for_its_time_only() {
        let (order, seen) = (StopOrder::default(), Seen::default());
        let never = Duration::from_secs(86_400);
        for (drain, name) in
            [(&order.serving, "serving"), (&order.announcing, "announcing"), (&order.last, "last")]
        {
            part(drain, name, never, &seen);
        }
        let deadline = Duration::from_millis(100);
        let took = stopped(&order, &seen, deadline).await;
        let most = deadline + ANNOUNCEMENT + LAST;
        assert!((most..most + Duration::from_secs(5)).contains(&took), "{took:?}");
        assert_eq!(seen.lock().len(), 4, "{:?}", seen.lock());
    }
}
