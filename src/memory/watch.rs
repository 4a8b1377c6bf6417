//! Looks at the memory again and again. While it is short, the instance is not ready and takes no new streams, so that
//! those it has go on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::MemoryBound;
use crate::health::Health;
use crate::lock::Mutex;
use crate::memory::kernel::{Kernel, Limited, MemoryUse};
use crate::shutdown::Drain;
use crate::telemetry::{MEMORY_LIMIT, MEMORY_USED};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// It is short no longer when so much of the bound is free again: a twentieth.
const SPARE: u64 = 20;

/// Whether memory is short.
pub struct Memory {
    short: AtomicBool,
    bound: Mutex<MemoryBound>,
}

/// What there is, and what of it may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Measured {
    memory: MemoryUse,
    most: u64,
}

impl Memory {
    pub fn new(bound: MemoryBound) -> Arc<Self> {
        Arc::new(Self { short: AtomicBool::new(false), bound: Mutex::new(bound) })
    }

    /// From the next look on this holds.
    pub fn set(&self, bound: MemoryBound) {
        *self.bound.lock() = bound;
    }

    /// Whether more of it is used than may be.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Looks until `last`, and tells `health`.
    pub async fn watch(self: Arc<Self>, health: Health, last: Drain) {
        let kernel = Kernel::at("/");
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = last.started() => return,
                _ = ticks.tick() => {}
            }
            let bound = *self.bound.lock();
            self.judge(measure(&kernel, bound), &health);
        }
    }

    fn judge(&self, measured: Option<Measured>, health: &Health) {
        let before = self.is_short();
        let short = measured.is_some_and(|measured| measured.is_short(before));
        self.short.store(short, Ordering::Relaxed);
        let (used, most) = measured.map_or((0, 0), |measured| (measured.memory.used, measured.most));
        metrics::gauge!(MEMORY_USED).set(used as f64);
        metrics::gauge!(MEMORY_LIMIT).set(most as f64);
        health.set_trouble("memory", measured.filter(|_| short).map(|measured| measured.to_string()));
        if short && !before {
            warn!(used, most, "memory is short: not ready, and no new streams until it is not");
        } else if before && !short {
            info!(used, most, "memory is no longer short");
        }
    }
}

/// None where there is no bound, or nothing is known.
fn measure(kernel: &Kernel, bound: MemoryBound) -> Option<Measured> {
    match bound {
        MemoryBound::Off => None,
        MemoryBound::Bytes(most) => {
            let memory = MemoryUse { used: kernel.resident()?, limit: most.0, of: Limited::Process };
            Some(Measured { memory, most: most.0 })
        }
        MemoryBound::Percent(percent) => {
            let memory = kernel.nearest()?;
            let most = u128::from(memory.limit) * u128::from(percent) / 100;
            Some(Measured { memory, most: u64::try_from(most).unwrap_or(u64::MAX) })
        }
    }
}

impl Measured {
    /// Whether it is short now, if it was `before`.
    fn is_short(&self, before: bool) -> bool {
        let spare = if before { self.most / SPARE } else { 0 };
        self.memory.used >= self.most - spare
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let (used, most, limit) = (mib(self.memory.used), mib(self.most), mib(self.memory.limit));
        match self.memory.of {
            Limited::Group => {
                write!(
                    f,
                    "{used} MiB of the {limit} MiB of the control group are used; limits.memory allows {most}"
                )
            }
            Limited::Machine => {
                write!(
                    f,
                    "the process takes {used} of the machine's {limit} MiB; limits.memory allows {most}"
                )
            }
            Limited::Process => write!(f, "the process takes {used} MiB; limits.memory allows {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ReadyFor;

    #[test]
    fn it_is_short_until_a_twentieth_is_free_again() {
        let (memory, health) = (Memory::new(MemoryBound::Percent(90)), Health::default());
        let mut look = |used| {
            let memory_use = MemoryUse { used, limit: 1000, of: Limited::Group };
            memory.judge(Some(Measured { memory: memory_use, most: 900 }), &health);
            assert_eq!(memory.is_short(), !health.is_ready(ReadyFor::Serving));
            assert_eq!(memory.is_short(), !health.is_ready(ReadyFor::Events));
            memory.is_short()
        };
        assert_eq!(
            [0, 899, 900, 890, 856, 855, 899, 5000].map(&mut look),
            [false, false, true, true, true, true, true, true]
        );
        assert!(!look(854));
        assert!(!look(899));
        memory.judge(None, &health);
        assert!(!memory.is_short() && health.dependencies(ReadyFor::Serving).is_empty());
    }
}
