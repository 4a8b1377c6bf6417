//! The order of stopping: each step gets its notice when the one before has ended, or has had its time.
//!
//! 1. `leaving`: `/readyz` says so; for the drain's delay everything else goes on.
//! 2. `streams`: streams are closed spread over the window, as are connections that have switched protocols, and new
//!    streams are refused. Connections are still accepted and requests forwarded.
//! 3. `serving`: no new connections; requests are finished.
//! 4. `announcing`: what tells other instances and publishes presence, which still has to tell of the last streams.
//! 5. `last`: Redis, tickets, and the internal listener, whose `/readyz` reports the drain until the end.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::config;
use crate::shutdown::Drain;

/// How long it may take to tell the other instances that this one stops.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);

/// How long requests to the internal listener may still take when everything else has ended.
const LAST: Duration = Duration::from_secs(2);

/// So long before the deadline requests that wait for the backend are answered.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What webhooks get at least for their last requests, when the drain has taken all of its time.
pub(super) const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What a collector gets for the last spans.
pub(super) const LAST_SPANS: Duration = Duration::from_secs(1);

/// How long the process may live on after the drain's deadline: the steps behind it, and the last lines of the log.
pub(super) const AFTER_DEADLINE: Duration = Duration::from_secs(8);

/// What a part of the daemon waits for before it ends. Cloning shares.
#[derive(Clone, Default)]
pub(super) struct StopOrder {
    pub(super) leaving: Drain,
    pub(super) streams: Drain,
    /// Given before the deadline: nobody waits for the backend any more, so that they get an answer still.
    pub(super) no_waiting: Drain,
    pub(super) serving: Drain,
    pub(super) announcing: Drain,
    pub(super) last: Drain,
}

impl StopOrder {
    /// Gives the notices one after the other. `close_streams` begins to close the streams; `open` counts those that are
    /// left. Gives back when the drain's deadline is.
    pub(super) async fn stop(
        &self,
        config::Drain { delay, deadline, .. }: &config::Drain,
        close_streams: impl FnOnce(),
        open: impl Fn() -> usize,
    ) -> Instant {
        self.leaving.start();
        if !delay.is_zero() {
            info!(
                streams = open(),
                seconds = delay.as_secs_f64(),
                "not ready; everything goes on for the drain's delay"
            );
            sleep(*delay).await;
        }
        let end = Instant::now() + *deadline;
        info!(streams = open(), "draining");
        self.streams.start();
        close_streams();
        let finish = async {
            let told = timeout_at(end, self.streams.finished()).await;
            self.serving.start();
            if told.is_err() || timeout_at(end, self.serving.finished()).await.is_err() {
                warn!(streams = open(), "the drain's deadline has passed; what is still open is cut");
            }
        };
        let hurry = async {
            sleep_until(end - LAST_ANSWERS.min(*deadline / 4)).await;
            self.no_waiting.start();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = finish => {}
            () = hurry => {}
        }
        self.no_waiting.start();
        self.announcing.start();
        if timeout(ANNOUNCEMENT, self.announcing.finished()).await.is_err() {
            warn!("the other instances may not know that this one stops");
        }
        self.last.start();
        if timeout(LAST, self.last.finished()).await.is_err() {
            warn!("requests to the internal listener are cut");
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let drain = config::Drain { delay: Duration::from_millis(20), window: Duration::ZERO, deadline };
        order.stop(&drain, || seen.lock().push("streams are closed".to_owned()), || 0).await;
        began.elapsed()
    }

    #[tokio::test]
    async fn each_step_has_its_notice_when_the_one_before_has_ended() {
        let (order, seen) = (StopOrder::default(), Seen::default());
        let work = Duration::from_millis(50);
        part(&order.last, "last", work, &seen);
        part(&order.announcing, "announcing", work, &seen);
        part(&order.serving, "serving", work, &seen);
        part(&order.streams, "streams", work, &seen);
        part(&order.leaving, "leaving", Duration::ZERO, &seen);
        assert!(stopped(&order, &seen, Duration::from_secs(30)).await >= 4 * work);
        let expected = [
            "leaving has notice",
            "leaving ended",
            "streams are closed",
            "streams has notice",
            "streams ended",
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
        for (drain, name) in [
            (&order.streams, "streams"),
            (&order.serving, "serving"),
            (&order.announcing, "announcing"),
            (&order.last, "last"),
        ] {
            part(drain, name, never, &seen);
        }
        let deadline = Duration::from_millis(100);
        let took = stopped(&order, &seen, deadline).await;
        let most = deadline + ANNOUNCEMENT + LAST;
        assert!((most..most + Duration::from_secs(5)).contains(&took), "{took:?}");
        assert_eq!(seen.lock().len(), 5, "{:?}", seen.lock());
    }
}
