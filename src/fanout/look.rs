//! How the streams of a route look where they do not look as all others do: their layout, heartbeats and pauses.
//!
//! A stream without a look of its own is written what the log has rendered, and pays for a flag that is not set.

use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{Block, EventFormat, EventLayout, Frame, JsonTemplate, Key, Name, TemplateValue};
use crate::fanout::settings::Heartbeat;
use crate::log::{Entry, Position};

/// What the streams of a route have in common.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteLook {
    /// None: as the log has its events.
    pub layout: Option<Arc<EventLayout>>,
    /// How it has events that tell of others which were taken back, if otherwise.
    pub retractions: Option<Arc<EventLayout>>,
    /// None: that of all streams.
    pub heartbeat: Option<Heartbeat>,
    /// Bounds of the `retry:` of a `closing` event, in milliseconds.
    pub retry_ms: (u32, u32),
}

/// How one stream looks.
#[derive(Clone, Debug)]
pub struct StreamLook {
    pub route: Arc<RouteLook>,
    /// Whose it is.
    pub user: Option<Name>,
    /// The data of its heartbeats but for the time; None: `{}`.
    pub heartbeat_data: Option<JsonTemplate>,
}

impl RouteLook {
    /// A block of a stream's own, for a stream of `user`, where `log` is how the log has its events.
    pub fn block(&self, block: Block<'_>, user: Option<&Name>, log: EventFormat) -> Frame {
        let now = SystemTime::now();
        match &self.layout {
            Some(layout) => layout.block(block, user, now),
            None => log.block(block, now),
        }
    }
}

impl StreamLook {
    /// A block of the stream's own.
    pub(super) fn block(&self, block: Block<'_>, log: EventFormat) -> Frame {
        self.route.block(block, self.user.as_ref(), log)
    }

    /// An event for the stream, which holds `held`.
    pub(super) fn event(&self, entry: &Entry, log: EventFormat, held: impl FnOnce() -> Vec<Key>) -> Frame {
        let route = &self.route;
        let own = route.retractions.as_ref().filter(|_| entry.is_retraction());
        match own.or(route.layout.as_ref()) {
            Some(layout) => entry.in_layout(layout, log, held),
            None => entry.frame.clone(),
        }
    }

    /// Its heartbeat, where it is not that of all.
    pub(super) fn heartbeat(&self, log: EventFormat) -> Option<Frame> {
        let name = match self.route.heartbeat.as_ref()? {
            Heartbeat::Fixed(frame) => return Some(frame.clone()),
            Heartbeat::Event(name) => name,
        };
        let now = SystemTime::now();
        let data = self.heartbeat_data.as_ref();
        let data = data.map(|data| data.render(|placeholder| TemplateValue::of_time(placeholder, now)));
        let data = data.as_deref().unwrap_or("{}");
        Some(self.block(Block { event: Some(name.as_str()), data, ..Block::default() }, log))
    }
}

/// An event on its way to a sink.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) position: Position,
    pub(super) frame: &'a Frame,
}

impl<'a> Outgoing<'a> {
    /// As the log has it.
    pub(super) fn of(entry: &'a Entry) -> Self {
        Self { position: entry.position, frame: &entry.frame }
    }
}

/// An event as one subscriber gets it.
pub(super) struct OwnFrame {
    position: Position,
    frame: Frame,
}

impl OwnFrame {
    pub(super) fn new(entry: &Entry, frame: Frame) -> Self {
        Self { position: entry.position, frame }
    }

    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { position: self.position, frame: &self.frame }
    }
}
