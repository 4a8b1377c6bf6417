//! How many different patterns the streams of this process may ask for. A place is given back when it is dropped.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::{Pattern, TopicFilter};
use crate::lock::Mutex;
use crate::subscribe::refusal::RetryReason;

/// Which patterns are asked for, and by how many streams.
#[derive(Default)]
pub(super) struct PatternSeats {
    taken: Mutex<AskedPatterns>,
}

#[derive(Default)]
struct AskedPatterns {
    /// 0 = no limit.
    max: usize,
    streams: HashMap<Pattern, usize>,
}

/// The patterns of one stream.
pub(super) struct PatternSeat {
    seats: Arc<PatternSeats>,
    patterns: Vec<Pattern>,
}

impl PatternSeats {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let seats = Self::default();
        seats.limit(max);
        Arc::new(seats)
    }

    /// From now on there may be so many. A stream that has its place keeps it.
    pub(super) fn limit(&self, max: usize) {
        self.taken.lock().max = max;
    }

    /// A place for the patterns of `topics`: None when these need none. `Err` when there is no room.
    pub(super) fn take(self: &Arc<Self>, topics: &[TopicFilter]) -> Result<Option<PatternSeat>, RetryReason> {
        let pattern = |topic: &TopicFilter| match topic {
            TopicFilter::Pattern(pattern) => Some(pattern.clone()),
            TopicFilter::Topic(_) => None,
        };
        let patterns: Vec<Pattern> = topics.iter().filter_map(pattern).collect();
        if patterns.is_empty() {
            return Ok(None);
        }
        let AskedPatterns { max, streams } = &mut *self.taken.lock();
        let new = patterns.iter().filter(|pattern| !streams.contains_key(*pattern)).count();
        if *max != 0 && new > 0 && streams.len() + new > *max {
            return Err(RetryReason::Patterns);
        }
        for pattern in &patterns {
            *streams.entry_ref(pattern).or_insert(0) += 1;
        }
        Ok(Some(PatternSeat { seats: Arc::clone(self), patterns }))
    }
}

impl Drop for PatternSeat {
    fn drop(&mut self) {
        let taken = &mut *self.seats.taken.lock();
        for pattern in &self.patterns {
            if let Some(streams) = taken.streams.get_mut(pattern) {
                *streams -= 1;
                if *streams == 0 {
                    taken.streams.remove(pattern);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_patterns_are_counted_and_a_place_comes_back() {
        let seats = PatternSeats::new(2);
        let take = |texts: &[&str]| {
            let topics: Vec<_> = texts.iter().map(|text| TopicFilter::parse_pattern(text).unwrap()).collect();
            seats.take(&topics)
        };
        assert!(take(&["a", "b"]).unwrap().is_none(), "topics need no place");
        let first = take(&["a*", "t"]).unwrap();
        let _same = take(&["a*", "b*"]).unwrap();
        assert_eq!(take(&["c*"]).err(), Some(RetryReason::Patterns));
        let third = take(&["b*", "a*"]).unwrap();
        drop(first);
        assert_eq!(take(&["c*"]).err(), Some(RetryReason::Patterns), "another stream has it still");
        drop((_same, third));
        assert!(take(&["c*", "d*"]).unwrap().is_some());
        assert!(seats.taken.lock().streams.is_empty());
    }
}
