//! Tells the service manager how the daemon is, and, if it asks for it, that what the daemon is for still works: each
//! shard makes passes, and both listeners accept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::error;

use crate::fanout::Fanout;
use crate::health::{Health, ReadyFor, State};
use crate::server::AcceptPulse;
use crate::shutdown::Drain;
use crate::systemd;

/// How often the status line is renewed where no watchdog sets the pace.
const EVERY: Duration = Duration::from_secs(10);

/// What is watched.
pub(super) struct VitalParts {
    pub(super) fanout: Arc<Fanout>,
    pub(super) health: Health,
    pub(super) listeners: Vec<AcceptPulse>,
}

/// Goes on through a stop, which may take longer than the service manager waits for a sign of life, until `last`.
pub(super) async fn watch(parts: VitalParts, last: Drain) {
    let limit = systemd::watchdog();
    // Twice in the time that the service manager waits.
    let every = limit.map_or(EVERY, |limit| EVERY.min(limit / 2));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = last.started() => return,
            _ = ticks.tick() => {}
        }
        systemd::status(&parts.sentence());
        if limit.is_none() {
            continue;
        }
        let works = tokio::select! {
            biased;
            () = last.started() => return,
            works = timeout(every, parts.works()) => works,
        };
        match works {
            Ok(()) => systemd::alive(),
            Err(_) => error!(
                "a shard or a listener does not answer; the service manager is not told that all is well"
            ),
        }
    }
}

impl VitalParts {
    /// Completes when every shard has made a pass and every listener is ready to accept.
    async fn works(&self) {
        self.fanout.passes().await;
        for listener in &self.listeners {
            listener.beats().await;
        }
    }

    fn sentence(&self) -> String {
        let streams = self.fanout.open();
        let down = self.health.dependencies(ReadyFor::Events).into_iter().find_map(|(name, dependency)| {
            match dependency.state {
                State::Down(why) => Some(format!("; {name} is down: {why}")),
                _ => None,
            }
        });
        format!("{streams} streams{}", down.unwrap_or_default())
    }
}
