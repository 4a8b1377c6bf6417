//! What the application says, as events for all who hear its stream.

use crate::event::sse::Message;
use crate::event::{Audience, Event, EventName};
use crate::telemetry;
use crate::upstream::held::HeldStream;
use crate::upstream::shared::destination::{Destination, SourceEvent, left_out};
use crate::upstream::shared::holding::LeaseLost;

/// How many events are put into the log in one step.
const MAX_TOGETHER: usize = 256;

/// Appends the messages in their order, after which the application's own last id is `last_event_id`; whether there
/// were any.
pub(super) async fn append(
    to: Destination<'_>,
    held: &HeldStream,
    messages: Vec<Message>,
    last_event_id: &str,
) -> Result<bool, LeaseLost> {
    let any = !messages.is_empty();
    let mut last = held.state().last_event_id.clone();
    let mut messages = messages.into_iter();
    loop {
        let mut events = Vec::new();
        for message in messages.by_ref().take(MAX_TOGETHER) {
            if let Some(id) = &message.id {
                last.clone_from(id);
            }
            events.extend(event(held, message));
        }
        let is_end = messages.len() == 0;
        if is_end {
            last_event_id.clone_into(&mut last);
        }
        let is_news = !events.is_empty() || held.state().last_event_id != last;
        if is_news {
            let count = events.len() as u64;
            to.put(held, events, |state| state.last.clone_from(&last)).await?;
            metrics::counter!(telemetry::EVENTS, "source" => "backend").increment(count);
            held.state().last_event_id.clone_from(&last);
        }
        if is_end {
            return Ok(any);
        }
    }
}

/// The message as an event for all who hear the stream.
fn event(held: &HeldStream, message: Message) -> Option<SourceEvent> {
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
    Some(SourceEvent { event, theirs: id.filter(|id| !id.is_empty()) })
}
