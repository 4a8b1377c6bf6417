use std::sync::Arc;

use super::*;
use crate::event::{Key, Name};
use crate::log::FeedBatch;
use crate::log::position::Position;

fn retention(events: usize) -> Retention {
    let age = Duration::from_secs(600);
    Retention { events, bytes: 10 << 20, age, idempotency_window: age }
}

fn id(ms: u64) -> EventId {
    EventId { ms, seq: 0, tag: None }
}

fn placed(ms: u64) -> LogRecord {
    LogRecord { id: id(ms), what: RecordKind::Event(event(ms)), age: Duration::ZERO }
}

fn event(ms: u64) -> Event {
    Event::new(Audience::new(vec![topic()], vec![]).unwrap(), ms.to_string())
}

fn topic() -> Key {
    Key::Topic(Name::parse("a").unwrap())
}

fn foreign(ms: u64) -> LogRecord {
    LogRecord { what: RecordKind::Nothing, ..placed(ms) }
}

/// A log with these places; `true` where the whole of them fits.
fn loaded(log: &Log, newest_first: impl IntoIterator<Item = LogRecord>, end: u64) -> bool {
    let mut history = log.history();
    let all = newest_first.into_iter().all(|placed| history.add_older(placed));
    log.restart(history, id(end), None);
    all
}

fn after(log: &Log, cursor: &str) -> Result<Vec<u64>, Reset> {
    let cursor = log.locate(cursor)?;
    let replay = log.replay(&[topic()], cursor.position, 100, usize::MAX)?;
    Ok(replay.entries.iter().map(|entry| entry.id.unwrap().ms).collect())
}

#[test]
fn a_cursor_is_served_by_order_and_only_within_what_was_loaded() {
    let log = Log::following(retention(100));
    assert!(!log.is_loaded());
    assert!(loaded(&log, [placed(30), foreign(20), placed(10)], 30));
    assert!(log.is_loaded());
    assert_eq!(after(&log, "10-0"), Ok(vec![30]));
    assert_eq!(after(&log, "15-7"), Ok(vec![30]), "no entry's own id");
    assert_eq!(after(&log, "20-0"), Ok(vec![30]), "what is no event has its place");
    assert_eq!(after(&log, "30-0"), Ok(vec![]));
    assert_eq!(after(&log, "9-9"), Err(Reset::TooOld), "nobody knows what stood before the first");
    assert_eq!(after(&log, "30-1"), Err(Reset::TooNew));
    assert_eq!(after(&log, "10-0-abcdef"), Err(Reset::OtherLog));
    assert_eq!(log.append_at(vec![placed(40), foreign(50)]).refused, 0);
    assert_eq!(after(&log, "30-0"), Ok(vec![40]));
    assert_eq!(log.head().id, id(50));
    assert_eq!(log.append_at(vec![placed(50), placed(45), placed(60)]).refused, 2);
    assert_eq!(after(&log, "40-0"), Ok(vec![60]));
}

#[test]
fn a_load_stops_at_the_retention() {
    let log = Log::following(retention(2));
    assert!(!loaded(&log, [placed(40), placed(30), placed(20), placed(10)], 40));
    assert_eq!(after(&log, "20-0"), Ok(vec![30, 40]), "the one that is not kept is known to be there");
    assert_eq!(after(&log, "19-0"), Err(Reset::TooOld));
    let old = LogRecord { age: Duration::from_secs(601), ..placed(30) };
    assert!(!loaded(&log, [placed(40), old], 40));
    assert_eq!(after(&log, "30-0"), Ok(vec![40]));
    assert_eq!(after(&log, "29-0"), Err(Reset::TooOld));
    let nothing: [LogRecord; 0] = [];
    assert!(loaded(&log, nothing, 70));
    assert_eq!(after(&log, "70-0"), Ok(vec![]));
    assert_eq!(after(&log, "69-0"), Err(Reset::TooOld));
}

#[test]
fn a_log_that_begins_anew_says_why_to_every_older_cursor_and_to_open_streams() {
    let log = Log::following(retention(100));
    loaded(&log, [placed(30), placed(10)], 30);
    let feed = log.open_feed(|| {});
    log.subscribe(&feed, &[topic(), Key::Broadcast]);
    let old = log.locate("10-0").unwrap().position;
    let mut history = log.history();
    history.add_older(placed(25));
    log.restart(history, id(27), Some(Reset::LogLost));
    assert_eq!(log.replay(&[topic()], old, 10, 1000).err(), Some(Reset::LogLost));
    assert_eq!(after(&log, "10-0"), Err(Reset::LogLost));
    assert_eq!(after(&log, "25-0"), Ok(vec![]));
    assert_eq!(log.head().id, id(27));
    let mut taken = FeedBatch::default();
    feed.take(&mut taken);
    let [reset] = &taken.entries[..] else { panic!("{taken:?}") };
    let text = String::from_utf8(reset.frame.payload().to_vec()).unwrap();
    assert_eq!(text, "event: reset\ndata: {\"reason\":\"log_lost\"}\nid: 27-0\n\n");
    assert_eq!(reset.position, log.head().position, "the loaded part is not delivered");
    log.append_at(vec![placed(28)]);
    feed.take(&mut taken);
    assert_eq!(taken.entries.len(), 1);
}

#[test]
fn what_has_no_id_is_live_only() {
    let log = Log::following(retention(100));
    loaded(&log, [placed(10)], 10);
    let feed = log.open_feed(|| {});
    log.subscribe(&feed, &[topic(), Key::Broadcast]);
    assert_eq!(log.append(event(0)).id, None);
    assert_eq!(log.append_gap().id, None);
    log.append_at(vec![placed(20)]);
    let mut taken = FeedBatch::default();
    feed.take(&mut taken);
    let ids: Vec<_> = taken.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [None, None, Some(id(20))]);
    assert_eq!(after(&log, "10-0"), Ok(vec![20]));
    let Position(positions) = log.head().position;
    assert_eq!(log.id_at(Position(positions - 1)), id(10));
}

#[test]
fn a_time_to_live_counts_from_the_append() {
    let log = Log::following(retention(100));
    let seconds = Duration::from_secs;
    let with_ttl = |ms, age| {
        let mut placed = LogRecord { age: seconds(age), ..placed(ms) };
        placed.what = RecordKind::Event(Event { ttl: Some(seconds(60)), ..event(ms) });
        placed
    };
    loaded(&log, [with_ttl(30, 59), with_ttl(20, 61)], 30);
    assert_eq!(after(&log, "19-9"), Err(Reset::TooOld));
    assert_eq!(after(&log, "20-0"), Ok(vec![30]));
    log.append_at(vec![with_ttl(40, 61), with_ttl(50, 1)]);
    assert_eq!(after(&log, "20-0"), Ok(vec![30, 50]));
    assert_eq!(after(&log, "40-0"), Ok(vec![50]));
}

#[tokio::test]
async fn a_cursor_ahead_is_waited_for() {
    let log = Arc::new(Log::following(retention(100)));
    loaded(&log, [placed(10)], 10);
    let limit = Duration::from_millis(20);
    assert_eq!(log.locate_soon("11-0", limit).await, Located::NotNow, "nobody knows");
    let other = Arc::clone(&log);
    let append = async move {
        tokio::task::yield_now().await;
        other.append_at(vec![placed(11)]);
        tokio::task::yield_now().await;
        other.append_at(vec![placed(12)]);
    };
    let (located, ()) = tokio::join!(log.locate_soon("12-0", Duration::from_secs(20)), append);
    assert!(matches!(located, Located::At(cursor) if cursor.id == id(12)), "{located:?}");
    let looks = async {
        log.confirm();
        tokio::task::yield_now().await;
        log.confirm();
    };
    let (located, ()) = tokio::join!(log.locate_soon("13-0", Duration::from_secs(20)), looks);
    assert_eq!(located, Located::Reset(Reset::TooNew), "the log that is followed has none such");
    let memory = Log::new(retention(1));
    let ahead = memory.head().id;
    let ahead = EventId { ms: ahead.ms + 1_000_000, ..ahead }.to_string();
    assert_eq!(memory.locate_soon(&ahead, Duration::from_secs(20)).await, Located::Reset(Reset::TooNew));
}

#[test]
fn a_feed_that_nobody_reads_any_more_gives_its_place_to_the_next_one() {
    let log = Log::new(retention(100));
    for _ in 0..100 {
        let ended = log.open_feed(|| {});
        log.subscribe(&ended, &[topic()]);
    }
    let kept = log.open_feed(|| {});
    let last = log.open_feed(|| {});
    log.subscribe(&last, &[topic()]);
    log.append(event(1));
    let mut taken = FeedBatch::default();
    last.take(&mut taken);
    assert_eq!(taken.entries.len(), 1);
    kept.take(&mut taken);
    assert!(taken.entries.is_empty(), "what an earlier one wanted is not its successor's: {taken:?}");
}
