//! What is known of a subscriber and seldom looked at: behind a pointer, as there are many subscribers.

use std::net::IpAddr;
use std::sync::Arc;

use crate::event::{ConnectionMeta, Name};
use crate::fanout::deadlines::Deadlines;
use crate::fanout::look::StreamLook;
use crate::fanout::quiet::QuietTime;
use crate::fanout::requests::{StreamStart, TokenIds};
use crate::fanout::snapshot::SnapshotCursor;
use crate::fanout::wheel::Tick;
use crate::log::{Position, ReaderChoice};
use crate::pace::Pace;
use crate::trace::TraceContext;

/// What is seldom looked at.
pub(super) struct SubscriberMeta {
    pub(super) client: Name,
    pub(super) address: IpAddr,
    pub(super) route: Arc<str>,
    pub(super) start: StreamStart,
    /// What is noted of it.
    pub(super) meta: Option<Arc<ConnectionMeta>>,
    pub(super) opened: Tick,
    /// The log's head when the keys were decided upon.
    pub(super) decided: Position,
    /// The ids of the tokens that it lives by.
    pub(super) tokens: TokenIds,
    /// Of the changes that its page makes of its topics.
    pub(super) pace: Pace,
    /// It gets a snapshot after a reset, too.
    pub(super) wants_snapshots: bool,
    /// The one that is on its way.
    pub(super) snapshot: Option<Box<SnapshotCursor>>,
    pub(super) deadlines: Deadlines,
    /// Where it may not be quiet for ever.
    pub(super) quiet: Option<Box<QuietTime>>,
    /// The place of its opening in a trace. Only where spans are collected: there are many subscribers.
    pub(super) trace: Option<Box<TraceContext>>,
    /// How it looks, if not as all do.
    pub(super) look: Option<Box<StreamLook>>,
    /// What it wants, if not everything.
    pub(super) choice: Option<Box<ReaderChoice>>,
    /// Held for its drop.
    pub(super) _seat: Box<dyn Send>,
}

impl SubscriberMeta {
    /// Whether it is written something else than all that the log has rendered.
    pub(super) fn is_special(&self) -> bool {
        self.look.is_some() || self.choice.is_some()
    }

    /// The history that it began with has been written, if `cursor` is behind it.
    pub(super) fn forget_history(&mut self, cursor: Position) {
        if let Some(choice) = &mut self.choice {
            choice.is_past(cursor);
            if choice.is_all() {
                self.choice = None;
            }
        }
    }
}
