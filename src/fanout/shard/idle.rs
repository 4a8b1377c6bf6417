//! Streams to which nothing is sent: closed after a while, where the configuration says so.

use crate::fanout::index::SubscriberSlot;
use crate::fanout::shard::state::Shard;
use crate::fanout::subscriber::State;

impl Shard {
    /// Whether the subscriber was sent nothing but heartbeats for as long as it may be. If not, sets when it is looked
    /// at again.
    pub(super) fn is_idle(&mut self, slot: SubscriberSlot) -> bool {
        let now = self.now;
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return false };
        let (sent, last_write) = (subscriber.sent, subscriber.last_write);
        let is_live = subscriber.state == State::Live;
        let about = &mut *subscriber.about;
        let Some(quiet) = &mut about.quiet else { return false };
        quiet.note(sent, last_write);
        if !is_live {
            quiet.interrupt(now);
        }
        about.deadlines.idle = quiet.ends();
        is_live && about.deadlines.idle <= now
    }

    /// Notes what the subscriber was sent, before it is written something that is no event.
    pub(super) fn note_quiet(&mut self, slot: SubscriberSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        let (sent, last_write) = (subscriber.sent, subscriber.last_write);
        if let Some(quiet) = &mut subscriber.about.quiet {
            quiet.note(sent, last_write);
        }
    }
}
