//! Which feeds hear what: by keys, and by patterns.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::{Audience, Key};
use crate::log::entry::Entry;
use crate::log::feed::Feed;
use crate::log::memory::{Log, State};
use crate::log::patterns::{MatchedPatterns, PatternCounts, PatternReach};
use crate::log::position::Position;
use crate::log::topic_edit::AppliedEdit;

/// How many feeds there may be: the bits of a word.
const MAX_FEEDS: usize = 64;

/// How much may wait in a feed before its shard is sent to the log instead.
const FEED_BYTES: usize = 32 << 20;

/// The feeds that want an event, and the patterns by which more do.
pub(super) type Reach = (u64, Option<PatternReach>);

impl Log {
    /// A new inbox; `wake` is called, from any thread and under the log's lock, when an empty one gets an entry. It
    /// takes the place of one that only the log holds any more.
    ///
    /// # Panics
    /// When there are 64 already.
    pub fn open_feed(&self, wake: impl Fn() + Send + Sync + 'static) -> Arc<Feed> {
        let mut state = self.lock();
        let left = state.feeds.iter().position(|feed| Arc::strong_count(feed) == 1);
        let number = left.unwrap_or(state.feeds.len());
        assert!(number < MAX_FEEDS, "at most {MAX_FEEDS} feeds");
        let feed = Arc::new(Feed::new(number as u32, FEED_BYTES, Box::new(wake)));
        if left.is_some() {
            state.feeds[number] = Arc::clone(&feed);
            state.wanted.retain(|_, feeds| {
                *feeds &= !(1 << number);
                *feeds != 0
            });
            state.patterns.let_go_of_all(number as u32);
        } else {
            state.feeds.push(Arc::clone(&feed));
        }
        feed
    }

    /// From now on `feed` gets what is for `keys`. Everything after the returned position reaches it.
    pub fn subscribe<'a>(&self, feed: &Feed, keys: impl IntoIterator<Item = &'a Key>) -> Position {
        let mut state = self.lock();
        for key in keys {
            match key {
                Key::Pattern(pattern) => state.patterns.hold(pattern, feed.number),
                _ => *state.wanted.entry_ref(key).or_insert(0) |= 1 << feed.number,
            }
        }
        self.patterns.store(state.patterns.counts().held, Ordering::Relaxed);
        state.store.head().position
    }

    /// `feed` no longer gets what is for `keys`.
    pub fn unsubscribe<'a>(&self, feed: &Feed, keys: impl IntoIterator<Item = &'a Key>) {
        let mut state = self.lock();
        for key in keys {
            if let Key::Pattern(pattern) = key {
                state.patterns.let_go(pattern, feed.number);
            } else if let Some(feeds) = state.wanted.get_mut(key) {
                *feeds &= !(1 << feed.number);
                if *feeds == 0 {
                    state.wanted.remove(key);
                    if matches!(key, Key::Client(_)) {
                        state.store.members.forget(key);
                    }
                }
            }
        }
        self.patterns.store(state.patterns.counts().held, Ordering::Relaxed);
    }

    /// The patterns by which subscribers hear `audience`. Cheap where no pattern is held.
    pub fn patterns_of(&self, audience: &Audience) -> Option<MatchedPatterns> {
        if self.patterns.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.lock().patterns.reach(audience).map(|reach| reach.patterns)
    }

    /// What is held by patterns, and remembered for them.
    pub fn pattern_counts(&self) -> PatternCounts {
        self.lock().patterns.counts()
    }

    /// From now on so many topics' patterns are remembered at most.
    pub fn remember_topics(&self, most: usize) {
        self.lock().patterns.bound(most);
    }
}

impl State {
    pub(super) fn leave_change(&self, change: &Arc<AppliedEdit>) {
        self.each_feed(self.wanted.get(&change.of).copied().unwrap_or(0), |feed| feed.leave_change(change));
    }

    /// Leaves `entry` at the feeds that want it.
    pub(super) fn deliver(&self, entry: &Arc<Entry>, (feeds, patterns): Reach) {
        match patterns {
            None => self.each_feed(feeds, |feed| feed.push(entry)),
            Some(reach) => {
                self.each_feed(feeds | reach.feeds, |feed| feed.push_matched(entry, &reach.patterns));
            }
        }
    }

    /// Whom it reaches; its keys become the ones that the feeds hold.
    pub(super) fn reach(&mut self, audience: &mut Audience) -> Reach {
        if let Some(watched) = &mut self.watched {
            watched.note(audience);
        }
        let patterns = if self.patterns.is_empty() { None } else { self.patterns.reach(audience) };
        let mut feeds = 0_u64;
        audience.share(|key| {
            let (same, wanting) = self.wanted.get_key_value(key)?;
            feeds |= wanting;
            Some(same.clone())
        });
        (feeds, patterns)
    }

    /// Leaves something at each of `feeds`, which are given as bits.
    fn each_feed(&self, mut feeds: u64, push: impl Fn(&Feed)) {
        while feeds != 0 {
            let number = feeds.trailing_zeros();
            feeds &= feeds - 1;
            push(&self.feeds[number as usize]);
        }
    }
}
