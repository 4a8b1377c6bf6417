//! Log lines of one kind, bounded in number.

use std::time::{Duration, Instant};

use crate::lock::Mutex;

/// Lets some log lines of a kind through, so that a crowd of them cannot fill a disk: ten in ten seconds.
#[derive(Default)]
pub struct Throttle(Mutex<Window>);

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl Throttle {
    const LINES: u32 = 10;
    const SPAN: Duration = Duration::from_secs(10);

    /// How many lines were suppressed since the last one that was let through, if this one may be written.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= Self::SPAN) {
            window.began = Some(now);
            window.passed = 0;
        }
        if window.passed >= Self::LINES {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_lines_is_counted_instead() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let passed = (0..25).filter_map(|_| throttle.pass_at(start)).collect::<Vec<_>>();
        assert_eq!(passed, [0; 10]);
        assert_eq!(throttle.pass_at(start + Throttle::SPAN), Some(15));
    }
}
