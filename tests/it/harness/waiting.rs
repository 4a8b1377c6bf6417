//! Time in tests: what a test waits for, and how long at most.
//!
//! A test waits for an event under a deadline. Where the passing of time is itself what is tested, [`let_time_pass`]
//! and [`holds_for`] say why. Nothing else in `tests/it` sleeps; `tests/architecture/` holds that.

use std::future::Future;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::time::{Interval, interval, sleep, timeout};

/// How long anything may take that should take no time to speak of. Generous: a busy machine is no failure.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// How long lies between two looks at something that does not report its changes.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for `work`, but not for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    within_time(SOON, what, work).await
}

/// Waits for `work` under a deadline of its own.
pub(crate) async fn within_time<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match timeout(limit, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {limit:?}"),
    }
}

/// What `work` gives, or None once the time is over. For clients that leave or give up; never to show that nothing
/// happens.
pub(crate) async fn unless_over<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}

/// Looks again and again until `check` gives a value.
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(SOON, what, check).await
}

/// Looks again and again, under a deadline of its own.
pub(crate) async fn eventually_within<T>(
    limit: Duration,
    what: &str,
    check: impl AsyncFnMut() -> Option<T>,
) -> T {
    // A look may hang, too.
    within_time(limit, what, look_for(limit, check))
        .await
        .unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Looks again and again until `check` gives a value; None when the time is over. No look is cut short.
pub(super) async fn look_for<T>(limit: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let (begun, pause) = (Instant::now(), LOOK.max(limit / 2000));
    while begun.elapsed() < limit {
        if let Some(value) = check().await {
            return Some(value);
        }
        sleep(pause).await;
    }
    None
}

/// Does something every so often until `until` is there; gives that.
pub(crate) async fn repeating<T>(
    every: Duration,
    mut act: impl AsyncFnMut(),
    until: impl Future<Output = T>,
) -> T {
    let repeated = async {
        loop {
            act().await;
            sleep(every).await;
        }
    };
    tokio::select! {
        value = until => value,
        () = repeated => unreachable!("it never ends"),
    }
}

/// Lets time pass because its passing is what is tested: `_why` says what passes.
pub(crate) async fn let_time_pass(_why: &str, time: Duration) {
    sleep(time).await;
}

/// A steady pace: so many times a second, however long each time takes. Where a rate is what is tested.
pub(crate) struct Pace(Interval);

impl Pace {
    pub(crate) fn of(every: Duration) -> Self {
        Self(interval(every))
    }

    /// Waits until it is time.
    pub(crate) async fn next(&mut self) {
        self.0.tick().await;
    }
}

/// Looks again and again, for as long as it would take to go wrong, whether `check` holds.
pub(crate) async fn holds_for(time: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert!(check().await, "{what}: no longer after {:?}", begun.elapsed());
        sleep(LOOK).await;
    }
}

/// Waits for a process in a value's drop, where nothing can be awaited. None when it has not ended in time.
pub(super) fn block_on_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(LOOK),
            ended => return ended.ok().flatten(),
        }
    }
}
