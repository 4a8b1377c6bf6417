//! An event as it was published, for the streams whose layout is not the log's own: rendered once for each such layout,
//! when the first stream with it is to get the event.
//!
//! Kept only where there are such streams: the others pay for a pointer that is empty.

use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use crate::event::{Event, EventId, EventLayout, EventName, Frame, LaidOut, Via};
use crate::lock::Mutex;

/// What an event is made of, but for its audience and its id.
#[derive(Debug)]
pub(super) struct EventSource {
    name: Option<EventName>,
    data: Box<str>,
    is_text: bool,
    retry: Option<u32>,
    at: SystemTime,
    rendered: Mutex<Rendered>,
}

/// In each of these layouts, for all readers of it.
type Rendered = SmallVec<[(Arc<EventLayout>, Frame); 1]>;

/// How many layouts of an event are kept: as many as a configuration has, in all likelihood.
const KEPT: usize = 8;

impl EventSource {
    /// Of an event that was published at `at`, whose data are no longer needed there.
    pub(super) fn take(event: &mut Event, at: SystemTime) -> Box<Self> {
        Box::new(Self {
            name: event.name.clone(),
            data: std::mem::take(&mut event.data),
            is_text: event.is_text,
            retry: event.retry,
            at,
            rendered: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_ref().map(EventName::as_str)
    }

    /// The event with this id in a layout, for a reader who gets it by `via`.
    pub(super) fn render(&self, layout: &EventLayout, id: Option<EventId>, via: Via<'_>) -> Frame {
        let Self { data, is_text, retry, at, .. } = self;
        layout.event(LaidOut { name: self.name(), data, is_text: *is_text, retry: *retry, id, at: *at, via })
    }

    /// The event as it has been rendered in this layout for all of its readers.
    pub(super) fn rendered(&self, layout: &Arc<EventLayout>) -> Option<Frame> {
        let rendered = self.rendered.lock();
        rendered.iter().find(|(of, _)| of == layout).map(|(_, frame)| frame.clone())
    }

    /// Keeps it, unless another thread was faster.
    pub(super) fn keep(&self, layout: &Arc<EventLayout>, frame: &Frame) {
        let mut rendered = self.rendered.lock();
        if rendered.len() < KEPT && !rendered.iter().any(|(of, _)| of == layout) {
            rendered.push((Arc::clone(layout), frame.clone()));
        }
    }

    /// Roughly the bytes that it takes once it has been rendered: its data twice.
    pub(super) fn cost(&self) -> usize {
        const AROUND: usize = 192;
        AROUND + 2 * self.data.len()
    }
}
