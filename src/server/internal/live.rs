//! The dashboard's event streams: a snapshot a second, and a topic's events as they come.
//!
//! Each is one task that ends with its reader or with the listener. A reader who is slow gets fewer snapshots, and of a
//! topic what the log still has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::control::{EventPage, NoPage, Since, history};
use crate::dashboard::Watching;
use crate::event::{Audience, Key, Name};
use crate::fanout::Fanout;
use crate::log::Log;
use crate::server::respond::EventsBody;
use crate::shutdown::Drain;

/// Blocks that may wait for a reader.
const WAITING: usize = 2;
/// How often the log is looked at for a topic.
const EVERY: Duration = Duration::from_millis(250);
/// The events of a topic that are shown first, and at a time.
const FIRST: usize = 20;
const AT_ONCE: usize = 100;
/// How much of an event's data is shown.
const SHOWN: usize = 64 << 10;

/// Snapshots.
pub(super) fn watch(mut watching: Watching, close: &Drain) -> EventsBody {
    let (blocks, body) = mpsc::channel(WAITING);
    let drain = close.clone();
    close.spawn(async move {
        let all = async {
            blocks.send(watching.history.clone()).await.ok()?;
            loop {
                let next = tokio::select! {
                    biased;
                    () = blocks.closed() => return None::<()>,
                    next = watching.next() => next?,
                };
                blocks.send(next).await.ok()?;
            }
        };
        tokio::select! {
            biased;
            () = drain.started() => {}
            _ = all => {}
        }
    });
    EventsBody::new(body)
}

/// The events of `topic`: the newest ones first, then each as it comes.
pub(super) fn topic(
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    topic: Name,
    seat: OwnedSemaphorePermit,
    close: &Drain,
) -> EventsBody {
    let (blocks, body) = mpsc::channel(WAITING);
    let drain = close.clone();
    close.spawn(async move {
        let _seat = seat;
        tokio::select! {
            biased;
            () = drain.started() => {}
            () = blocks.closed() => {}
            _ = follow(&log, &fanout, &topic, &blocks) => {}
        }
    });
    EventsBody::new(body)
}

/// Ends when nobody reads.
async fn follow(log: &Log, fanout: &Fanout, topic: &Name, blocks: &mpsc::Sender<Bytes>) -> Option<()> {
    let audience = Audience::of(Key::Topic(topic.clone()));
    let mut since = Since::Last(FIRST);
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Says at once that it is live, also where there is nothing yet.
    blocks.send(Bytes::from_static(b"event: live\ndata: {}\n\n")).await.ok()?;
    loop {
        every.tick().await;
        let page = match history(log, topic.clone(), since.clone(), AT_ONCE).await {
            Ok(page) => page,
            Err(NoPage::NotNow) => continue,
            Err(NoPage::Malformed) => return None,
        };
        since = Since::Id(page.next.to_string());
        if !page.events.is_empty() || page.reset.is_some() {
            blocks.send(block(&page, fanout.reach(&audience))).await.ok()?;
        }
    }
}

fn block(page: &EventPage, readers: usize) -> Bytes {
    let events = page.events.iter().map(|event| {
        let end = (0..=SHOWN.min(event.data.len())).rev().find(|end| event.data.is_char_boundary(*end));
        json!({
            "id": event.id,
            "event": event.event,
            "at": event.at,
            "size": event.data.len(),
            "data": &event.data[..end.unwrap_or(0)],
        })
    });
    let events: Vec<serde_json::Value> = events.collect();
    let data = json!({ "events": events, "readers": readers, "reset": page.reset });
    format!("event: events\ndata: {data}\n\n").into()
}
