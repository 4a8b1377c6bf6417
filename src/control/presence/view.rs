//! The people of all instances as one of them sees it, and which edges it has to speak.
//!
//! Every instance tells the others how many streams each user (and, where somebody wants to know, each topic) has on
//! it, in numbered messages; an instance that misses one asks for the whole. Invariant: when nothing moves any more,
//! every view that hears the others is the same, and each edge was spoken by somebody. Knows no clock, no channel and
//! no lock.

use std::collections::{BTreeMap, VecDeque};

use crate::control::cluster::members::InstanceId;
use crate::control::presence::counts::{
    Announcer, CountChange, InstanceSlot, Moment, NameCounts, NameSummary,
};
use crate::event::Name;

/// What a name is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    User,
    Topic,
}

/// How many streams a name has on an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NameCount {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) streams: u32,
    /// Since when it is there, or when it left.
    pub(super) at: u64,
}

/// Somebody has come or gone, for all instances together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transition {
    pub(super) kind: Kind,
    pub(super) change: CountChange,
}

/// What one instance says of itself every second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Summary {
    /// How many messages of its people it has sent.
    pub(super) seq: u64,
    /// It knows enough to speak.
    pub(super) settled: bool,
    /// Its open streams, those of nobody among them.
    pub(super) streams: u64,
}

/// A piece of everything that an instance has.
pub(super) struct SnapshotPart {
    /// The number of its last message before.
    pub(super) seq: u64,
    pub(super) nth: usize,
    pub(super) last: bool,
    pub(super) entries: Vec<NameCount>,
}

pub(super) struct View {
    me: InstanceId,
    grace: u64,
    counts: [NameCounts; 2],
    others: BTreeMap<InstanceId, Other>,
    slots: InstanceSlot,
    free: Vec<InstanceSlot>,
    /// Nothing is said: too little is known.
    frozen: bool,
    /// It has been thawed once.
    settled_once: bool,
    hearing_since: Option<u64>,
    /// What another one had to speak, in case that it died before.
    held: VecDeque<(u64, Transition)>,
    /// Who had to speak last, and when it said last that it does.
    spoke: InstanceId,
    last_word: u64,
    pub(super) resyncs: u64,
}

/// Another instance.
struct Other {
    slot: InstanceSlot,
    summary: Summary,
    /// The last message that was heard, if none before it was missed.
    seq: Option<u64>,
    /// When everything was asked for.
    asked: Option<u64>,
    /// Everything, as far as it has come.
    pieces: Option<SnapshotParts>,
}

struct SnapshotParts {
    seq: u64,
    next: usize,
    entries: Vec<NameCount>,
}

/// The slot of the instance itself.
const ME: InstanceSlot = 0;
/// How long others are listened to before anything is said.
const LISTEN: u64 = 1200;
/// After so long, an instance that has not sent everything is not waited for.
const ENOUGH: u64 = 6000;
/// How long an edge is held for another one, and how long before its last word one may have kept an edge to itself.
const HELD: u64 = 8000;
const MARGIN: u64 = 1000;
const MAX_HELD: usize = 100_000;
/// More names than this are nonsense on the channel.
const MAX_ENTRIES: usize = 10_000_000;
/// How long everything is waited for before it is asked for again.
const PATIENCE: u64 = 2000;

impl View {
    /// Of an instance without others, `alone` for good or not.
    pub(super) fn new(me: InstanceId, grace: u64, alone: bool) -> Self {
        Self {
            grace,
            counts: Default::default(),
            others: BTreeMap::new(),
            slots: 1,
            free: Vec::new(),
            frozen: !alone,
            settled_once: alone,
            hearing_since: None,
            held: VecDeque::new(),
            spoke: me.clone(),
            last_word: 0,
            me,
            resyncs: 0,
        }
    }

    /// Sets what this instance has. Returns what has to be spoken.
    pub(super) fn here(
        &mut self,
        entries: impl IntoIterator<Item = (Kind, Name, u32)>,
        now: Moment,
    ) -> Vec<Transition> {
        let mut edges = Vec::new();
        for (kind, name, streams) in entries {
            self.set(&NameCount { kind, name, streams, at: now.wall }, ME, now.mono + self.grace, &mut edges);
        }
        self.announce(edges, now)
    }

    /// What this instance has to tell of `name`.
    pub(super) fn entry(&self, kind: Kind, name: Name, now: Moment) -> NameCount {
        let (streams, at) = self.counts(kind).entry(&name, ME).unwrap_or((0, now.wall));
        NameCount { kind, name, streams, at }
    }

    /// Everything that this instance has.
    pub(super) fn everything(&self, now: Moment) -> Vec<NameCount> {
        let of = |kind| self.counts(kind).on(ME).into_iter().map(move |name| self.entry(kind, name, now));
        of(Kind::User).chain(of(Kind::Topic)).collect()
    }

    /// Another instance lives.
    pub(super) fn alive(&mut self, id: &InstanceId, summary: Summary, now: Moment) {
        if *id == self.me {
            return;
        }
        let mut slot = || {
            let free = self.free.pop();
            free.unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            })
        };
        let mut fresh = || Other { slot: slot(), summary, seq: None, asked: None, pieces: None };
        let other = self.others.entry(id.clone()).or_insert_with(&mut fresh);
        other.summary = summary;
        if summary.seq == 0 {
            other.seq.get_or_insert(0);
        }
        if other.seq.is_some_and(|seq| seq < summary.seq) {
            other.seq = None;
        }
        if summary.settled && self.announcer() == id {
            self.last_word = now.mono;
        }
    }

    /// Another instance tells what has changed there.
    pub(super) fn told(
        &mut self,
        id: &InstanceId,
        seq: u64,
        entries: &[NameCount],
        now: Moment,
    ) -> Vec<Transition> {
        let Some(other) = self.others.get_mut(id) else { return Vec::new() };
        match other.seq {
            // It came twice, or late.
            Some(known) if seq <= known => return Vec::new(),
            Some(known) if seq == known + 1 => other.seq = Some(seq),
            None if seq == 1 && other.asked.is_none() => other.seq = Some(1),
            _ => {
                other.seq = None;
                // What is under way began before it.
                other.pieces = None;
                return Vec::new();
            }
        }
        let slot = other.slot;
        let mut edges = Vec::new();
        for entry in entries {
            self.set(entry, slot, now.mono + self.grace, &mut edges);
        }
        self.announce(edges, now)
    }

    /// Another instance tells a piece of everything.
    pub(super) fn piece(&mut self, id: &InstanceId, piece: SnapshotPart, now: Moment) -> Vec<Transition> {
        let SnapshotPart { seq, nth, last, entries } = piece;
        let Some(other) = self.others.get_mut(id) else { return Vec::new() };
        if other.seq.is_some_and(|known| known >= seq) {
            return Vec::new();
        }
        other.asked = Some(now.mono);
        match &mut other.pieces {
            Some(pieces) if pieces.seq == seq && nth < pieces.next => return Vec::new(),
            Some(pieces) if pieces.seq == seq && nth == pieces.next && pieces.entries.len() < MAX_ENTRIES => {
                pieces.next += 1;
                pieces.entries.extend(entries);
            }
            _ if nth == 0 => other.pieces = Some(SnapshotParts { seq, next: 1, entries }),
            _ => {
                // One was lost.
                other.pieces = None;
                return Vec::new();
            }
        }
        if !last {
            return Vec::new();
        }
        let Some(pieces) = other.pieces.take() else { return Vec::new() };
        (other.seq, other.asked) = (Some(seq), None);
        let slot = other.slot;
        self.replace(slot, pieces.entries, now)
    }

    fn replace(&mut self, slot: InstanceSlot, mut entries: Vec<NameCount>, now: Moment) -> Vec<Transition> {
        let mut edges = Vec::new();
        entries.sort_unstable_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        for kind in [Kind::User, Kind::Topic] {
            for name in self.counts(kind).on(slot) {
                let there = entries.binary_search_by(|entry| (entry.kind, &entry.name).cmp(&(kind, &name)));
                if there.is_err() {
                    let gone = NameCount { kind, name, streams: 0, at: now.wall };
                    self.set(&gone, slot, now.mono + self.grace, &mut edges);
                }
            }
        }
        for entry in &entries {
            self.set(entry, slot, now.mono + self.grace, &mut edges);
        }
        self.announce(edges, now)
    }

    /// Another instance is gone, and was last heard of at `heard`: so are its people.
    pub(super) fn left(&mut self, id: &InstanceId, heard: Moment, now: Moment) -> Vec<Transition> {
        let word = self.as_announcer();
        let Some(other) = self.others.remove(id) else { return Vec::new() };
        let gone_at = (heard.mono + MARGIN + self.grace).max(now.mono);
        for counts in &mut self.counts {
            counts.remove(other.slot, heard.wall, gone_at, word);
        }
        self.free.push(other.slot);
        self.announce(Vec::new(), now)
    }

    /// Time passes; `hearing` says whether the others are heard. Returns what has to be spoken.
    pub(super) fn turn(&mut self, hearing: bool, now: Moment) -> Vec<Transition> {
        let mut edges = Vec::new();
        while self.held.front().is_some_and(|(at, _)| at + HELD < now.mono) {
            self.held.pop_front();
        }
        if !hearing {
            self.hearing_since = None;
            self.frozen = true;
            return edges;
        }
        let since = *self.hearing_since.get_or_insert(now.mono);
        // Who started before has the first word: two that begin at once would both speak.
        let mut others = self.others.iter();
        let known = others.all(|(id, other)| other.seq.is_some() && (other.summary.settled || *id > self.me));
        if self.frozen && now.mono >= since + if known { LISTEN } else { ENOUGH } {
            // Those who are there have said who was there before us.
            let told = !self.settled_once && self.others.values().any(|other| other.summary.settled);
            (self.frozen, self.settled_once) = (false, true);
            for kind in [Kind::User, Kind::Topic] {
                let mut changes = Vec::new();
                let gone_at = now.mono + self.grace;
                self.counts[kind as usize].thaw(gone_at, told, &mut changes);
                edges.extend(changes.into_iter().map(|change| Transition { kind, change }));
            }
        }
        if !self.frozen {
            for kind in [Kind::User, Kind::Topic] {
                let mut changes = Vec::new();
                self.counts[kind as usize].gone(now.mono, &mut changes);
                edges.extend(changes.into_iter().map(|change| Transition { kind, change }));
            }
        }
        self.announce(edges, now)
    }

    /// Who has to be asked for everything now.
    pub(super) fn ask_for(&mut self, now: Moment) -> Vec<InstanceId> {
        let mut ask = Vec::new();
        for (id, other) in &mut self.others {
            let waited = other.asked.is_none_or(|asked| now.mono >= asked + PATIENCE);
            if other.seq.is_none() && waited {
                other.asked = Some(now.mono);
                other.pieces = None;
                self.resyncs += 1;
                ask.push(id.clone());
            }
        }
        ask
    }

    fn set(&mut self, entry: &NameCount, slot: InstanceSlot, gone_at: u64, edges: &mut Vec<Transition>) {
        let NameCount { kind, name, streams, at } = entry;
        let word = self.as_announcer();
        let counts = &mut self.counts[*kind as usize];
        let change = counts.set(name, (slot, *streams, *at), gone_at, word);
        edges.extend(change.map(|change| Transition { kind: *kind, change }));
    }

    /// Gives back what this instance has to speak, and holds what another one has to.
    fn announce(&mut self, edges: Vec<Transition>, now: Moment) -> Vec<Transition> {
        let announcer = self.announcer();
        if !self.frozen && *announcer == self.me {
            if self.spoke != self.me {
                // What the one before may have kept to itself.
                let from = self.last_word.saturating_sub(MARGIN);
                let kept = self.held.drain(..).filter(|(at, _)| *at >= from).map(|(_, edge)| edge);
                self.spoke = self.me.clone();
                return kept.chain(edges).collect();
            }
            return edges;
        }
        self.spoke = announcer.clone();
        self.held.extend(edges.into_iter().map(|edge| (now.mono, edge)));
        let over = self.held.len().saturating_sub(MAX_HELD);
        self.held.drain(..over);
        Vec::new()
    }

    /// Who says it when somebody comes now.
    fn as_announcer(&self) -> Announcer {
        if !self.frozen {
            Announcer::Ours
        } else if self.hearing_since.is_some() && self.others.values().any(|other| other.summary.settled) {
            Announcer::Others
        } else {
            Announcer::Nobodys
        }
    }

    /// The one who speaks: of those who know enough, the one who started first.
    fn announcer(&self) -> &InstanceId {
        let first = self.others.iter().find(|(_, other)| other.summary.settled).map(|(id, _)| id);
        match first {
            Some(first) if self.frozen || *first < self.me => first,
            _ => &self.me,
        }
    }

    fn counts(&self, kind: Kind) -> &NameCounts {
        &self.counts[kind as usize]
    }

    /// Whether it knows enough to speak.
    pub(super) fn is_settled(&self) -> bool {
        !self.frozen
    }

    /// Whether everything is known that the others have.
    pub(super) fn is_complete(&self) -> bool {
        !self.frozen && self.others.values().all(|other| other.seq.is_some())
    }

    pub(super) fn is_here(&self, kind: Kind, name: &Name) -> bool {
        self.counts(kind).is_here(name, self.frozen)
    }

    pub(super) fn standing(&self, kind: Kind, name: &Name) -> Option<NameSummary> {
        self.counts(kind).standing(name, self.frozen)
    }

    pub(super) fn page(&self, kind: Kind, after: Option<&Name>, limit: usize) -> Vec<Name> {
        self.counts(kind).page(after, limit, self.frozen)
    }

    pub(super) fn len(&self, kind: Kind) -> usize {
        self.counts(kind).len()
    }

    /// How many of a kind are on each instance.
    pub(super) fn by_slot(&self, kind: Kind) -> BTreeMap<InstanceSlot, usize> {
        self.counts(kind).by_slot()
    }

    /// The instance with this number.
    pub(super) fn at(&self, slot: InstanceSlot) -> Option<&InstanceId> {
        if slot == ME {
            return Some(&self.me);
        }
        self.others.iter().find(|(_, other)| other.slot == slot).map(|(id, _)| id)
    }

    /// What the others say of themselves.
    pub(super) fn others(&self) -> impl Iterator<Item = (&InstanceId, InstanceSlot, Summary)> {
        self.others.iter().map(|(id, other)| (id, other.slot, other.summary))
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
