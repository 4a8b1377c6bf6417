//! Keys with patterns among them, for a look at many entries: which of them a holder hears.

use std::collections::HashSet;

use crate::event::{Key, Pattern};
use crate::log::entry::Entry;

/// How many entries are looked through at once for a holder of patterns; few in tests, whose logs are short.
pub(super) const AT_ONCE: usize = if cfg!(test) { 7 } else { 2048 };

/// Keys, for a look at many entries.
pub(super) struct HeldKeys<'a> {
    others: HashSet<&'a Key>,
    pub(super) patterns: Vec<&'a Pattern>,
}

impl<'a> HeldKeys<'a> {
    /// None where no pattern is among them.
    pub(super) fn with_patterns(keys: &'a [Key]) -> Option<Self> {
        let pattern = |key: &'a Key| if let Key::Pattern(pattern) = key { Some(pattern) } else { None };
        let patterns: Vec<&Pattern> = keys.iter().filter_map(pattern).collect();
        (!patterns.is_empty()).then(|| Self { others: keys.iter().collect(), patterns })
    }

    /// Whether an entry is for a holder. Of the keys of several, some may have been taken back from it: `lists` says
    /// which it still has.
    pub(super) fn hear(&self, entry: &Entry, lists: impl Fn(&Key) -> bool) -> bool {
        let keys = entry.audience.keys();
        keys.iter().any(|named| {
            let matches = |topic| self.patterns.iter().any(|pattern| pattern.matches(topic));
            let hears = self.others.contains(named) || matches!(named, Key::Topic(topic) if matches(topic));
            hears && (keys.len() == 1 || lists(named))
        })
    }
}
