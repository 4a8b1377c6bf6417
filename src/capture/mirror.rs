//! A recording that another instance holds, as it is read here: filled from the store's copy while somebody reads it
//! here, and otherwise a recording like all others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::capture::blocks::BlockEdges;
use crate::capture::head_text::fields_of;
use crate::capture::recording::{RecordedHead, Recording, RecordingEnd};
use crate::capture::recordings::Recordings;
use crate::capture::shared::{CopyFollower, HolderMessage, RecordingStore};
use crate::shutdown::Drain;

/// How often the holder is told that somebody reads here, and for how long it believes that.
const TELL: Duration = Duration::from_secs(2);
pub(super) const BELIEVED: Duration = Duration::from_secs(6);
/// How long it is kept without a reader: one who reloads comes back to it.
const LINGER: Duration = Duration::from_secs(5);
/// How long its readers wait for a store that is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What fills a recording from its copy.
pub(super) struct Mirror {
    pub(super) recording: Arc<Recording>,
    pub(super) recordings: Arc<Recordings>,
}

impl CopyFollower for Mirror {
    fn begins(&self, base: u64, edges: &str) {
        self.recording.starts_at(base, BlockEdges::of_text(edges).unwrap_or_default());
    }

    fn head(&self, head: &[u8]) {
        match RecordedHead::of_text(head) {
            Some(head) => self.recording.answered(Arc::new(head)),
            None => self.lost(),
        }
    }

    fn bytes(&self, end: u64, bytes: &[u8]) -> bool {
        let at = self.recording.standing().bytes;
        let Some(new) = end.checked_sub(at).and_then(|new| usize::try_from(new).ok()) else { return true };
        if new > bytes.len() {
            return false;
        }
        let new = &bytes[bytes.len() - new..];
        let dropped = self.recording.append(new);
        self.recordings.changed(&self.recording, new.len(), dropped);
        true
    }

    fn caught_up(&self) {
        self.recording.loaded.cancel();
    }

    fn ends(&self, how: &[u8], trailers: &[u8]) {
        let how = RecordingEnd::of_word(how).unwrap_or(RecordingEnd::Cut);
        let trailers = fields_of(trailers).filter(|trailers| !trailers.is_empty());
        self.recording.end(how, trailers);
    }

    fn lost(&self) {
        self.recording.end(RecordingEnd::Cut, None);
        self.recording.loaded.cancel();
    }

    fn presses(&self) -> bool {
        self.recording.presses()
    }
}

impl Mirror {
    /// Follows the copy as long as somebody reads, and tells its holder so.
    pub(super) async fn run(self: Arc<Self>, store: Arc<dyn RecordingStore>, holder: Box<str>, drain: Drain) {
        let listed = ListedMirror(&self, &*store);
        store.follow(&self.recording.id, &holder, Arc::clone(&self) as Arc<dyn CopyFollower>);
        let attendance = &self.recording.attendance;
        let mut told: Option<(usize, Instant)> = None;
        let (mut read_last, mut was_read) = (Instant::now(), false);
        loop {
            let changed = attendance.changed();
            let readers = attendance.here();
            let ended = self.recording.standing().ended;
            if readers > 0 {
                (read_last, was_read) = (Instant::now(), true);
            }
            // One that was cut may go on where it was: who comes back looks anew.
            let is_over = drain.has_started() || (was_read && ended == Some(RecordingEnd::Cut));
            let is_idle = readers == 0 && (is_over || read_last.elapsed() >= LINGER);
            let is_news = told
                .map_or(readers > 0, |(count, at)| count != readers || (readers > 0 && at.elapsed() >= TELL));
            if ended.is_none() && is_news {
                let (id, from) = (self.recording.id.clone(), store.me().into());
                told = Some((readers, Instant::now()));
                let message = HolderMessage::Readers { id, from, readers };
                // Given up where the store hangs: readers here wait for what follows.
                let _ = timeout(TICK, store.tell(holder.clone(), message)).await;
            }
            if is_idle {
                break;
            }
            if ended.is_none() && store.heard().elapsed() >= PATIENCE {
                self.lost();
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = drain.started(), if readers == 0 => {}
                () = sleep(TICK) => {}
            }
        }
        drop(listed);
    }
}

/// A mirror that is forgotten when its task ends.
struct ListedMirror<'m>(&'m Mirror, &'m dyn RecordingStore);

impl Drop for ListedMirror<'_> {
    fn drop(&mut self) {
        let Self(mirror, store) = self;
        store.unfollow(&mirror.recording.id);
        mirror.lost();
        mirror.recordings.remove(&mirror.recording);
    }
}
