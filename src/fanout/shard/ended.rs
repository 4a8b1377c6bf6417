//! How a topic's end reaches its readers: a stream that holds others as well is told by an event, one that has lost its
//! last topic is closed.

use serde_json::json;

use crate::event::{Block, Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::shard::state::Shard;
use crate::fanout::subscriber::{Progress, State, WriteOutcome};
use crate::log::{AppliedEdit, Position};

impl Shard {
    /// The topic whose end `change` is, if it is one.
    pub(super) fn ended_by(change: &AppliedEdit) -> Option<&Name> {
        match &change.of {
            Key::Topic(topic) => Some(topic),
            _ => None,
        }
    }

    /// Whether the end of `topic` at `position` is one for a subscriber: for one that opened behind it only as long as
    /// the topic has not begun anew.
    pub(super) fn ends_for(&self, slot: SubscriberSlot, topic: &Name, position: Position) -> bool {
        let decided = self.subscribers[slot as usize].about.decided;
        position > decided || self.log.end_of(topic) == Some(position)
    }

    /// Tells a subscriber that has everything before `position`, and has just lost `topic` there.
    pub(super) fn tell_end(&mut self, slot: SubscriberSlot, topic: &Name, position: Position) -> Progress {
        let is_last = self.index(|index| index.topics_of(slot)) == 0;
        let id = Some(self.log.id_at(position));
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return Progress::Gone };
        let ended = json!({ "reason": CloseReason::Ended.as_str(), "topic": topic, "reconnect": false });
        let told = json!({ "topic": topic });
        let retry = is_last.then_some(self.settings.retry_ms.0);
        let (event, data) = if is_last { ("closing", ended) } else { ("topic_ended", told) };
        let block = Block { event: Some(event), data: &data.to_string(), id, retry };
        let frame = subscriber.block(block, self.log.format());
        match subscriber.write_frame(&frame, self.now, &mut self.counts) {
            _ if is_last => Progress::Ended,
            WriteOutcome::All => Progress::More,
            WriteOutcome::Blocked => Progress::Blocked,
            WriteOutcome::Gone => Progress::Gone,
        }
    }

    /// Lets a live subscriber that has lost `topic` know.
    pub(super) fn tell_live_end(&mut self, slot: SubscriberSlot, topic: &Name, position: Position) {
        match self.tell_end(slot, topic, position) {
            Progress::Ended => self.close(slot, CloseReason::Ended),
            Progress::Gone => self.close(slot, CloseReason::ClientGone),
            Progress::Blocked if self.subscribers[slot as usize].state == State::Live => self.block(slot),
            _ => {}
        }
    }
}
