//! What came on bridged channels and is not known to be in the stream, in the order in which Redis said it.
//!
//! Redis says everything to all who listen in one order, markers among the messages. So "so many messages behind that
//! marker" means the same message to everybody who heard the marker and has listened ever since, also where a hundred
//! messages are alike. A *segment* is what was heard without a break. This file knows no connection and no clock.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Stretches that are kept; there is more than one only where nobody could append for long.
const MAX_SEGMENTS: usize = 8;
/// Markers of a segment that are kept.
const MAX_MARKERS: usize = 256;
/// What an entry costs beside its own size.
const OVERHEAD: usize = 64;

/// A place in the order that all instances hear, named by a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct Checkpoint {
    pub(in crate::redis) marker: u64,
    /// How many messages lie between; fewer than none for a place in front of the marker.
    pub(in crate::redis) behind: i64,
}

/// What is no [`Checkpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no position")]
pub(in crate::redis) struct BadCheckpoint;

/// A place in what was heard here: right before the message with this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct BacklogCursor {
    segment: u64,
    number: i64,
}

impl BacklogCursor {
    /// Whether it stands in that segment.
    pub(in crate::redis) fn is_in(&self, segment: u64) -> bool {
        self.segment == segment
    }
}

/// What knows how many bytes it takes.
pub(in crate::redis) trait Weigh {
    fn size(&self) -> usize;
}

/// The messages that were heard, numbered.
pub(in crate::redis) struct Backlog<T> {
    max_bytes: usize,
    bytes: usize,
    /// The number of the oldest that is kept.
    first: i64,
    /// None for one that is nothing to be appended, but counts.
    messages: VecDeque<Option<T>>,
    segments: VecDeque<HeardSegment>,
    begun: u64,
}

/// What was heard without a break.
struct HeardSegment {
    nth: u64,
    /// The number of its first message.
    start: i64,
    /// The number behind its last one; None while it goes on.
    end: Option<i64>,
    /// Each with the number of the message behind it.
    markers: VecDeque<(u64, i64)>,
}

/// What is to be appended next.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::redis) struct BacklogBatch<T> {
    /// Whether messages before it may be missing.
    pub(in crate::redis) gap: bool,
    pub(in crate::redis) messages: Vec<(T, Checkpoint)>,
    /// Where it ends.
    pub(in crate::redis) to: BacklogCursor,
    pub(in crate::redis) position: Checkpoint,
}

impl<T: Clone + Weigh> Backlog<T> {
    /// Keeps about `max_bytes`; the oldest give way.
    pub(in crate::redis) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, first: 0, messages: VecDeque::new(), segments: VecDeque::new(), begun: 0 }
    }

    fn next(&self) -> i64 {
        self.first + self.messages.len() as i64
    }

    /// Listening begins; nothing if it has.
    pub(in crate::redis) fn begin(&mut self) {
        if self.is_listening() {
            return;
        }
        if self.segments.len() == MAX_SEGMENTS {
            self.segments.pop_front();
            let until = self.segments.front().map_or(self.next(), |segment| segment.start);
            self.let_go(until);
        }
        self.begun += 1;
        let start = self.next();
        self.segments.push_back(HeardSegment { nth: self.begun, start, end: None, markers: VecDeque::new() });
    }

    /// Listening ends: what is said from now on is not heard.
    pub(in crate::redis) fn end(&mut self) {
        let next = self.next();
        if let Some(last) = self.segments.back_mut() {
            last.end.get_or_insert(next);
        }
    }

    pub(in crate::redis) fn is_listening(&self) -> bool {
        self.segments.back().is_some_and(|last| last.end.is_none())
    }

    /// Takes the next message; None for one that is nothing to be appended. Gives back how many older ones had to
    /// give way. Does nothing while nobody listens.
    pub(in crate::redis) fn hear(&mut self, message: Option<T>) -> usize {
        if !self.is_listening() {
            return 0;
        }
        self.bytes += cost(&message);
        self.messages.push_back(message);
        let mut dropped = 0;
        while self.bytes > self.max_bytes && self.messages.len() > 1 {
            self.let_go(self.first + 1);
            dropped += 1;
        }
        dropped
    }

    /// Takes a marker.
    pub(in crate::redis) fn mark(&mut self, marker: u64) {
        let next = self.next();
        let Some(last) = self.segments.back_mut().filter(|last| last.end.is_none()) else { return };
        if last.markers.len() == MAX_MARKERS {
            last.markers.pop_front();
        }
        last.markers.push_back((marker, next));
    }

    /// The segment that goes on, and whether a marker was heard in it.
    pub(in crate::redis) fn listening(&self) -> Option<(u64, bool)> {
        let last = self.segments.back().filter(|last| last.end.is_none())?;
        Some((last.nth, !last.markers.is_empty()))
    }

    /// How many messages are kept.
    pub(in crate::redis) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Where the oldest that is kept stands.
    pub(in crate::redis) fn oldest(&self) -> Option<BacklogCursor> {
        let in_it = |segment: &&HeardSegment| segment.end.is_none_or(|end| self.first < end);
        let segment = self.segments.iter().find(in_it).or(self.segments.back())?;
        Some(BacklogCursor { segment: segment.nth, number: self.first.max(segment.start) })
    }

    /// Where `position` is here; None where nobody can tell. It may lie ahead, at what has not been heard yet.
    pub(in crate::redis) fn locate(&self, position: Checkpoint) -> Option<BacklogCursor> {
        self.segments.iter().rev().find_map(|segment| {
            let (_, at) = segment.markers.iter().rev().find(|(marker, _)| *marker == position.marker)?;
            let number = at.checked_add(position.behind)?;
            // Behind the end of a segment there is what was not heard here.
            segment
                .end
                .is_none_or(|end| number <= end)
                .then_some(BacklogCursor { segment: segment.nth, number })
        })
    }

    /// Whether everything from `cursor` on is here, up to what is heard now.
    pub(in crate::redis) fn is_whole_from(&self, cursor: BacklogCursor) -> bool {
        self.segments.back().is_some_and(|last| {
            last.end.is_none() && last.nth == cursor.segment && cursor.number >= last.start.max(self.first)
        })
    }

    /// Whether everything up to `cursor`'s break is done and what comes behind it is another segment's.
    pub(in crate::redis) fn is_at_break(&self, cursor: BacklogCursor) -> bool {
        let mut segments = self.segments.iter().skip_while(|segment| segment.nth < cursor.segment);
        match segments.next() {
            Some(segment) if segment.nth == cursor.segment => {
                segment.end.is_some_and(|end| cursor.number >= end)
            }
            _ => true,
        }
    }

    /// What comes at `cursor`: at most so much, and of one segment. None where it cannot be said yet where it ends,
    /// because no marker was heard.
    pub(in crate::redis) fn batch(
        &self,
        mut cursor: BacklogCursor,
        max: usize,
        max_bytes: usize,
    ) -> Option<BacklogBatch<T>> {
        let mut gap = false;
        if self.is_at_break(cursor) {
            let segment = self.segments.iter().find(|segment| segment.nth > cursor.segment)?;
            cursor = BacklogCursor { segment: segment.nth, number: segment.start };
            gap = true;
        }
        let segment = self.segments.iter().find(|segment| segment.nth == cursor.segment)?;
        let from = self.first.max(segment.start);
        if cursor.number < from {
            cursor.number = from;
            gap = true;
        }
        let end = segment.end.unwrap_or(self.next()).max(cursor.number);
        let at = usize::try_from(cursor.number - self.first).ok()?;
        let (mut messages, mut bytes, mut number) = (Vec::new(), 0, cursor.number);
        for message in self.messages.iter().skip(at) {
            if number == end || messages.len() == max || bytes >= max_bytes {
                break;
            }
            number += 1;
            if let Some(message) = message {
                bytes += message.size();
                messages.push((message.clone(), segment.position(number)?));
            }
        }
        let position = segment.position(number)?;
        Some(BacklogBatch { gap, messages, to: BacklogCursor { number, ..cursor }, position })
    }

    /// Lets go of all that was heard before the last break: of that nobody can tell whether it was appended. Gives back
    /// whether there was any.
    pub(in crate::redis) fn keep_last_segment(&mut self) -> bool {
        let first = self.first;
        while self.segments.len() > 1 {
            self.segments.pop_front();
        }
        let start = self.segments.front().map_or(self.next(), |segment| segment.start);
        self.let_go(start);
        self.first > first
    }

    /// What the messages from the oldest on are, without those that are nothing.
    pub(in crate::redis) fn all(&self) -> impl Iterator<Item = &T> {
        self.messages.iter().flatten()
    }

    /// The place behind the first `count` messages that are something.
    pub(in crate::redis) fn behind(&self, count: usize) -> Option<BacklogCursor> {
        let mut cursor = self.oldest()?;
        if count > 0 {
            let nth = |(_, message): &(usize, &Option<T>)| message.is_some();
            let (at, _) = self.messages.iter().enumerate().filter(nth).nth(count - 1)?;
            cursor.number = self.first + at as i64 + 1;
            let in_it = |segment: &&HeardSegment| segment.end.is_none_or(|end| cursor.number <= end);
            cursor.segment = self.segments.iter().find(in_it)?.nth;
        }
        Some(cursor)
    }

    /// Lets go of what lies before `cursor`: it is in the stream.
    pub(in crate::redis) fn forget(&mut self, cursor: BacklogCursor) {
        while self.segments.front().is_some_and(|segment| segment.nth < cursor.segment) {
            self.segments.pop_front();
        }
        self.let_go(cursor.number.min(self.next()));
    }

    fn let_go(&mut self, until: i64) {
        while self.first < until
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= cost(&message);
            self.first += 1;
        }
    }
}

impl HeardSegment {
    /// How `number` is called: by the newest marker before it, or by the first one behind it.
    fn position(&self, number: i64) -> Option<Checkpoint> {
        let before = self.markers.iter().rev().find(|(_, at)| *at <= number);
        let (marker, at) = before.or(self.markers.front())?;
        Some(Checkpoint { marker: *marker, behind: number - at })
    }
}

fn cost<T: Weigh>(message: &Option<T>) -> usize {
    OVERHEAD + message.as_ref().map_or(0, Weigh::size)
}

/// How many of the first ones of `heard` stand at the end of `tail` already: as many as can be. `is_cut` says that more
/// stands before `tail`.
pub(in crate::redis) fn overlap<T: PartialEq>(tail: &[T], is_cut: bool, heard: &[T]) -> usize {
    if is_cut
        && !tail.is_empty()
        && let Some(at) = heard.windows(tail.len()).rposition(|part| part == tail)
    {
        return at + tail.len();
    }
    let heard = &heard[..heard.len().min(tail.len())];
    // Knuth, Morris and Pratt: how far `heard` has matched wherever `tail` ends.
    let mut borders = vec![0; heard.len()];
    let mut matched = 0;
    for at in 1..heard.len() {
        while matched > 0 && heard[at] != heard[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(heard[at] == heard[matched]);
        borders[at] = matched;
    }
    let mut matched = 0;
    for item in tail {
        while matched > 0 && (matched == heard.len() || *item != heard[matched]) {
            matched = borders[matched - 1];
        }
        if matched < heard.len() {
            matched += usize::from(*item == heard[matched]);
        }
    }
    matched
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.marker, self.behind)
    }
}

impl FromStr for Checkpoint {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let (marker, behind) = text.split_once(':').ok_or(BadCheckpoint)?;
        let marker = u64::from_str_radix(marker, 16).map_err(|_| BadCheckpoint)?;
        Ok(Self { marker, behind: behind.parse().map_err(|_| BadCheckpoint)? })
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
