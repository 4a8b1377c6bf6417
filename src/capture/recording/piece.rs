//! What other instances get of a recording: read piece by piece, as a reader reads it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::capture::blocks::BlockEdges;
use crate::capture::recording::{Forgotten, HeadState, RecordedHead, Recording, RecordingEnd, SEGMENT};

/// What there is of a recording for its copy.
pub(in crate::capture) struct CopyPiece {
    pub(in crate::capture) head: Option<Arc<RecordedHead>>,
    pub(in crate::capture) names: Vec<Box<str>>,
    pub(in crate::capture) base: u64,
    pub(in crate::capture) before: BlockEdges,
    /// From the place that was asked for, or from `base` if that is further.
    pub(in crate::capture) bytes: Bytes,
    /// How it ended and with which trailers, if `bytes` go up to its end.
    pub(in crate::capture) ended: Option<(RecordingEnd, Option<HeaderMap>)>,
    pub(in crate::capture) forgotten: Option<Forgotten>,
}

impl Recording {
    /// Another name by which clients know it.
    pub(in crate::capture) fn named(&self, name: &str) {
        self.state.lock().names.push(name.into());
        self.changed.notify_one();
    }

    /// Other instances know so many of its names.
    pub(in crate::capture) fn names_copied(&self, names: usize) {
        self.state.lock().names_copied = names;
    }

    /// Whether this is one of its names that other instances do not know yet.
    pub(in crate::capture) fn is_newly_named(&self, name: &str) -> bool {
        let state = self.state.lock();
        state.names[state.names_copied.min(state.names.len())..].iter().any(|new| **new == *name)
    }

    /// Completes when there may be something new for the copy of it, of which there is one. Cancel safe.
    pub(in crate::capture) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What there is for a copy that has everything up to `from`: of the bytes at most `most`.
    pub(in crate::capture) fn piece(&self, from: u64, most: usize) -> CopyPiece {
        let head = match &*self.head.borrow() {
            HeadState::Answered(head) => Some(Arc::clone(head)),
            HeadState::Asked | HeadState::Never => None,
        };
        let state = self.state.lock();
        let from = from.clamp(state.base, state.end);
        let mut skip = usize::try_from(from - state.base).expect("what is kept fits into memory");
        let mut bytes = Vec::with_capacity(most.min(state.len() - skip));
        for segment in state.segments.iter().skip(skip / SEGMENT) {
            skip %= SEGMENT;
            let part = &segment[skip..];
            bytes.extend_from_slice(&part[..part.len().min(most - bytes.len())]);
            skip = 0;
        }
        let ended = state.ended.filter(|_| from + bytes.len() as u64 == state.end);
        CopyPiece {
            head,
            names: state.names.clone(),
            base: state.base,
            before: state.before.clone(),
            bytes: bytes.into(),
            ended: ended.map(|how| (how, state.trailers.clone())),
            forgotten: state.forgotten,
        }
    }
}
