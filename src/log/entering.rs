//! What a subscriber holds that enters the log at some position: what its user, session and client were given there.

use crate::event::Key;
use crate::log::entry::Membership;
use crate::log::position::Position;
use crate::log::store::Store;
use crate::log::topic_edit::HeldTopics;

impl Store {
    /// What the user, session and client among `keys` give at `after`, and from where a subscriber of theirs goes on:
    /// `after`, or, where changes have been let go of with all events before them, behind those.
    pub(super) fn enter(&self, keys: &[Key], after: Position) -> (HeldTopics, Position) {
        if !self.holds(after) {
            // It begins with a reset.
            return (self.members.at(keys, self.head().position), after);
        }
        let after = after.max(self.members.trimmed());
        let at = if self.members.has_lost(keys, after) { self.head().position } else { after };
        (self.members.at(keys, at), after)
    }

    /// What the user, session and client among `keys` give now, and what was taken from them after `since`.
    pub(super) fn membership(&self, keys: &[Key], since: Position) -> Membership {
        let known = !self.members.has_lost(keys, since);
        Membership {
            head: self.head(),
            held: self.members.at(keys, self.head().position),
            removed: known.then(|| self.members.removed(keys, since)),
            added_by_page: self.members.added_by_page(keys, since),
        }
    }
}
