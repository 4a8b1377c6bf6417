//! What the application says, and what is missing of it, in the log under our ids.

use std::sync::LazyLock;

use tracing::warn;

use crate::event::sse::Message;
use crate::event::{Audience, Event, EventName};
use crate::log::Reset;
use crate::telemetry;
use crate::telemetry::Throttle;
use crate::upstream::held::HeldStream;
use crate::upstream::registry::Upstreams;

/// The application chooses what it sends, and how often.
static LEFT_OUT: LazyLock<Throttle> = LazyLock::new(Throttle::default);

/// Notes where a stream begins. Those who have heard it before hear that something is missing, unless it goes on where
/// it was.
pub(super) fn begin(upstreams: &Upstreams, held: &HeldStream) {
    if held.began_behind.is_empty() {
        gap(upstreams, held);
    } else {
        held.state().began = Some(upstreams.log.head());
    }
}

/// Says to all who hear the stream that something before this is missing.
pub(super) fn gap(upstreams: &Upstreams, held: &HeldStream) {
    let mut event = Event::new(Audience::of(held.key.clone()), Reset::SourceGap.data());
    event.name = EventName::parse(Reset::EVENT).ok();
    upstreams.log.append(event);
    held.state().began = Some(upstreams.log.head());
}

/// Appends the messages in their order, after which the application's own last id is `last_event_id`; whether there
/// were any.
pub(super) fn append(
    upstreams: &Upstreams,
    held: &HeldStream,
    messages: Vec<Message>,
    last_event_id: &str,
) -> bool {
    let any = !messages.is_empty();
    let (events, theirs): (Vec<Event>, Vec<Option<String>>) =
        messages.into_iter().filter_map(|message| event(held, message)).unzip();
    let appended = if events.is_empty() { Vec::new() } else { upstreams.log.append_all(events) };
    metrics::counter!(telemetry::EVENTS, "source" => "backend").increment(appended.len() as u64);
    let mut state = held.state();
    for (appended, theirs) in appended.iter().zip(theirs) {
        if let (Some(ours), Some(theirs)) = (appended.id, theirs.filter(|id| !id.is_empty())) {
            state.ids.insert(&theirs, ours);
        }
    }
    if state.last_event_id != last_event_id {
        last_event_id.clone_into(&mut state.last_event_id);
    }
    any
}

/// The message as an event for all who hear the stream, and the application's id of it.
fn event(held: &HeldStream, message: Message) -> Option<(Event, Option<String>)> {
    let Message { event: name, data, id } = message;
    let mut event = Event::new(Audience::of(held.key.clone()), data);
    event.is_text = true;
    if name != "message" {
        let Ok(name) = EventName::parse(&name) else {
            left_out("name");
            return None;
        };
        event.name = Some(name);
    }
    Some((event, id))
}

/// Counts an event that cannot be passed on.
pub(super) fn left_out(reason: &'static str) {
    metrics::counter!(telemetry::EVENTS_REFUSED, "source" => "backend", "reason" => reason).increment(1);
    if let Some(suppressed) = LEFT_OUT.pass() {
        warn!(reason, suppressed, "an event of the application is left out");
    }
}
