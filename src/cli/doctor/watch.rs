//! What a stream that was watched shows: whether it was cut and by what, whether heartbeats came, whether events came
//! one at a time.

use std::time::Duration;

use super::cures::Obstacle;
use super::finding::{Finding, Subject};
use super::publisher::{FIRST_EVENTS, TestEvents};
use super::stream::{OpenedStream, SeenEnd};

/// Times that are as good as the same on the way through a network.
const CLOSE: Duration = Duration::from_millis(1500);
/// An event that takes longer than that has been waiting somewhere; a busy machine is not that slow.
const HELD: Duration = Duration::from_secs(2);
/// The same where several arrive in one piece.
const HELD_TOGETHER: Duration = Duration::from_millis(700);

/// What a stream that nobody publishes to shows by how long it lived; `busy` is one to which something was sent all the
/// time.
pub(super) fn lived(idle: &OpenedStream, busy: Option<&OpenedStream>) -> Finding {
    let Some(end) = idle.end else {
        // Some limits are noticed only when something is written.
        if let Some(end) = busy.and_then(|busy| busy.end.filter(|_| busy.closing.is_none())) {
            let age = seconds(end.age);
            return whole_answer(format!("a stream on which events flow is {} after {age}", how(end)), end);
        }
        let silence = idle.longest_silence.max(idle.silence());
        let seen = format!("{} so far, silent for up to {}", seconds(idle.age()), seconds(silence));
        return Finding::good(Subject::OpenFor, seen);
    };
    if let Some(reason) = &idle.closing {
        let seen = format!("sidestream closed the stream after {} itself: {reason}", seconds(end.age));
        return match reason.as_str() {
            "max_age" => Finding::good(Subject::OpenFor, seen),
            _ => Finding::warn(
                Subject::OpenFor,
                seen,
                "Clients come back by themselves. Look again when that is over.",
            ),
        };
    }
    cut(idle, end, busy)
}

fn cut(idle: &OpenedStream, end: SeenEnd, busy: Option<&OpenedStream>) -> Finding {
    let how = how(end);
    let (age, silence) = (seconds(end.age), seconds(end.silence));
    let outlived = |other: &OpenedStream| other.end.is_none_or(|other| other.age > end.age + CLOSE);
    let is_whole = match busy {
        Some(busy) => Some(!outlived(busy)),
        // It has survived such a silence before, so the silence is not what ended it.
        None if end.silence <= idle.longest_silence + CLOSE && !idle.longest_silence.is_zero() => Some(true),
        None => None,
    };
    match is_whole {
        Some(true) => whole_answer(format!("every stream is {how} after {age}, whatever flows on it"), end),
        Some(false) => Finding::bad(
            Subject::OpenFor,
            format!("an idle stream is {how} after {silence} of silence; one on which events flow lives on"),
            "The limit on silence is shorter than the time between heartbeats. Pages reconnect whenever it is quiet.",
        )
        .by(Obstacle::IdleLimit(rounded(end.silence))),
        None => {
            let means = "A limit on silence that is shorter than the time between heartbeats, or one on the whole \
                         answer: with a publish key (--key-file) this command tells which. Pages reconnect that often.";
            Finding::bad(Subject::OpenFor, format!("the stream is {how} after {age}, silent for {silence}"), means)
                .by(Obstacle::SomeLimit(rounded(end.silence)))
        }
    }
}

fn whole_answer(seen: String, end: SeenEnd) -> Finding {
    let means =
        "Something bounds the time of a whole answer. Pages reconnect that often, all of them, for ever.";
    Finding::bad(Subject::OpenFor, seen, means).by(Obstacle::WholeLimit(rounded(end.age)))
}

fn how(end: SeenEnd) -> &'static str {
    if end.is_cut { "cut" } else { "ended" }
}

/// As somebody has written it into a configuration.
fn rounded(time: Duration) -> u64 {
    time.as_secs_f64().round().max(1.0) as u64
}

/// Whether what keeps a silent stream alive gets through.
pub(super) fn heartbeats(idle: &OpenedStream, heartbeat: Duration) -> Finding {
    let watched = idle.age();
    let patience = heartbeat.mul_f64(1.25);
    let longest = idle.longest_silence.max(idle.silence());
    if longest > patience + CLOSE {
        let seen = format!("nothing came for {}", seconds(longest));
        let means = "sidestream sends a heartbeat on a silent stream, so something holds small pieces back (or \
                     sse.heartbeat is longer than that: say so by --heartbeat).";
        return Finding::bad(Subject::Heartbeats, seen, means).by(Obstacle::Buffering);
    }
    match idle.later_reads {
        0 => Finding::not_seen(
            Subject::Heartbeats,
            format!(
                "none was due within {}; watch longer than {} for one (--for)",
                seconds(watched),
                seconds(patience)
            ),
        ),
        1 => Finding::good(Subject::Heartbeats, "one came"),
        many => {
            Finding::good(Subject::Heartbeats, format!("{many} came, at most {} apart", seconds(longest)))
        }
    }
}

/// Whether each published event came by itself and soon.
pub(super) fn one_at_a_time(busy: &OpenedStream, published: &TestEvents) -> Finding {
    let subject = Subject::OneAtATime;
    if let (true, Some(why)) = (published.at.is_empty(), &published.failed) {
        return Finding::not_seen(
            subject,
            format!("the test event was not published: {}", crate::cli::output::chain(why)),
        );
    }
    let arrived: Vec<_> =
        busy.test_events.iter().filter(|(number, ..)| *number < published.at.len()).collect();
    if arrived.is_empty() {
        let seen = format!("none of {} test events arrived", published.at.len());
        return Finding::bad(
            subject,
            seen,
            "Events wait on the way. Pages show nothing until much more has come.",
        )
        .by(Obstacle::Buffering);
    }
    let delays = arrived.iter().map(|(number, at, _)| at.saturating_duration_since(published.at[*number]));
    let mut delays: Vec<Duration> = delays.collect();
    delays.sort_unstable();
    let (median, longest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    let together = arrived.windows(2).filter(|pair| pair[0].2 == pair[1].2).count();
    if longest > HELD || together > 1 && longest > HELD_TOGETHER {
        let seen = format!("events wait up to {} on the way, and arrive together", milliseconds(longest));
        return Finding::bad(subject, seen, "Something gathers small pieces before it passes them on.")
            .by(Obstacle::Buffering);
    }
    // Of a stream that was cut, the later ones could not arrive.
    let expected = if busy.end.is_some() { 0 } else { published.at.len().min(FIRST_EVENTS) };
    if arrived.len() < expected {
        let seen = format!("{} of {} test events arrived", arrived.len(), published.at.len());
        return Finding::bad(subject, seen, "Events are lost or held back on the way.")
            .by(Obstacle::Buffering);
    }
    let seen = format!(
        "{} test events, {} from publishing to here, {} at most",
        arrived.len(),
        milliseconds(median),
        milliseconds(longest)
    );
    Finding::good(subject, seen)
}

/// A time for people.
pub(super) fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(950) {
        milliseconds(time)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis().max(1))
}
