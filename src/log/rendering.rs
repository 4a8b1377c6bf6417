//! An entry as a stream gets it whose layout is not the log's: rendered once for each such layout, or for each reader
//! where the layout tells by which of the event's keys it came.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::from_unix_ms;
use crate::event::{EventFormat, EventLayout, Frame, Key, LaidOut, Via};
use crate::log::entry::Entry;

impl Entry {
    /// The event's name; `log` is the form in which its log has it.
    pub fn name(&self, log: EventFormat) -> Cow<'_, str> {
        let name = match &self.source {
            Some(source) => source.name().map(Cow::Borrowed),
            None => log.read_name(&self.frame).map(Cow::Owned),
        };
        name.unwrap_or(Cow::Borrowed("message"))
    }

    /// The event in another layout than its log's, which is `log`. Who gets it holds `held`, which is asked for only
    /// where it matters.
    pub fn in_layout(
        &self,
        layout: &Arc<EventLayout>,
        log: EventFormat,
        held: impl FnOnce() -> Vec<Key>,
    ) -> Frame {
        let keys = self.audience.keys();
        let for_all = keys.len() == 1 || !layout.tells_via();
        let via = |held: &[Key]| Via::of(keys, |key| for_all || held.contains(key));
        let held = if for_all { Vec::new() } else { held() };
        let Some(source) = &self.source else {
            return self.read_again(layout, log, via(&held));
        };
        if for_all && let Some(frame) = source.rendered(layout) {
            return frame;
        }
        let frame = source.render(layout, self.id, via(&held));
        if for_all {
            source.keep(layout, &frame);
        }
        frame
    }

    /// From before there was a stream with another layout, or no event of a publisher's.
    fn read_again(&self, layout: &EventLayout, log: EventFormat, via: Via<'_>) -> Frame {
        let Some(read) = log.read_event(&self.frame) else { return self.frame.clone() };
        layout.event(LaidOut {
            name: read.event.as_deref(),
            data: &read.data,
            // What was JSON is; of a text that is JSON, too, nobody knows any more.
            is_text: false,
            retry: None,
            id: read.id,
            at: read.id.map_or_else(SystemTime::now, |id| from_unix_ms(id.ms)),
            via,
        })
    }
}
