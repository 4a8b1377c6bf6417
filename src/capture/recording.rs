//! One recorded answer: its head, its bytes as far as they are kept, and how it ended. Readers read from it, each at
//! its own place.
//!
//! What it holds is bounded: of a long answer the oldest part is let go of, and a reader who was still there is cut
//! off. Adding to it never waits for a reader.

pub(super) mod piece;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::capture::attendance::Attendance;
use crate::capture::blocks::BlockEdges;
use crate::capture::owner::OwnerMark;
use crate::config::OnDisconnect;
use crate::lock::Mutex;
use crate::telemetry;

/// Bytes are let go of so many at a time.
pub(super) const SEGMENT: usize = 16 << 10;

/// The head of a recorded answer.
#[derive(Debug)]
pub(super) struct RecordedHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RecordingEnd {
    /// The backend had said everything.
    Complete,
    /// The backend broke off.
    Cut,
    /// Somebody asked for it.
    Stopped,
    /// Nobody read it any more.
    Abandoned,
}

impl RecordingEnd {
    /// The word in metrics, lists and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Stopped => "stopped",
            Self::Abandoned => "abandoned",
        }
    }

    /// The end that a word stands for.
    pub(super) fn of_word(word: &[u8]) -> Option<Self> {
        let all = [Self::Complete, Self::Cut, Self::Stopped, Self::Abandoned];
        all.into_iter().find(|how| how.as_str().as_bytes() == word)
    }

    /// Whether readers see an answer that is over, not one that broke off.
    pub(super) fn is_orderly(self) -> bool {
        matches!(self, Self::Complete | Self::Stopped)
    }
}

/// What is known of the head.
#[derive(Clone)]
enum HeadState {
    Asked,
    Answered(Arc<RecordedHead>),
    /// There is nothing to read, and there will not be.
    Never,
}

pub(super) struct Recording {
    pub(super) id: Box<str>,
    /// The path of its route.
    pub(super) route: Arc<str>,
    pub(super) owner: OwnerMark,
    pub(super) began: SystemTime,
    /// The instance that reads it from the backend, if that is another one.
    pub(super) holder: Option<Box<str>>,
    pub(super) attendance: Attendance,
    /// Given when all of what other instances have had of it so far is here.
    pub(super) loaded: CancellationToken,
    /// Given when other instances can have all of it.
    pub(super) copied: CancellationToken,
    max_bytes: usize,
    max_readers: usize,
    head: watch::Sender<HeadState>,
    state: Mutex<State>,
    /// There is something for its copy, or it is forgotten.
    changed: Notify,
    stop: CancellationToken,
    let_go: CancellationToken,
}

struct State {
    /// All full but the last.
    segments: VecDeque<Vec<u8>>,
    /// Where the first of them begins, and what stands in front of it.
    base: u64,
    before: BlockEdges,
    end: u64,
    trailers: Option<HeaderMap>,
    ended: Option<RecordingEnd>,
    next_reader: u64,
    waiting: Vec<(u64, Waker)>,
    /// Where each reader is.
    places: Vec<(u64, u64)>,
    /// By which clients know it.
    names: Vec<Box<str>>,
    /// How many of them other instances know.
    names_copied: usize,
    forgotten: Option<Forgotten>,
}

/// Why a recording is not kept any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forgotten {
    /// Its time is over.
    Past,
    /// There was no room for it.
    Evicted,
}

/// What there is for a reader.
pub(super) enum ReadStep {
    Data(Bytes),
    End(RecordingEnd, Option<HeaderMap>),
    /// What comes next has been let go of.
    Lost,
    /// Nothing yet; it is woken.
    Pending,
}

/// Everything that is kept of an answer at one moment.
pub(super) struct Kept {
    pub(super) text: Vec<u8>,
    pub(super) base: u64,
    pub(super) before: BlockEdges,
    pub(super) ended: Option<RecordingEnd>,
}

/// How an answer stands.
pub(super) struct Standing {
    pub(super) bytes: u64,
    pub(super) kept: u64,
    pub(super) readers: usize,
    pub(super) ended: Option<RecordingEnd>,
}

impl Recording {
    pub(super) fn new(id: Box<str>, route: Arc<str>, owner: OwnerMark, max: (usize, usize)) -> Self {
        let (max_bytes, max_readers) = max;
        Self {
            id,
            route,
            owner,
            began: SystemTime::now(),
            holder: None,
            attendance: Attendance::new(),
            loaded: CancellationToken::new(),
            copied: CancellationToken::new(),
            max_bytes,
            max_readers,
            head: watch::Sender::new(HeadState::Asked),
            state: Mutex::new(State {
                segments: VecDeque::new(),
                base: 0,
                before: BlockEdges::new(),
                end: 0,
                trailers: None,
                ended: None,
                next_reader: 0,
                waiting: Vec::new(),
                places: Vec::new(),
                names: Vec::new(),
                names_copied: 0,
                forgotten: None,
            }),
            changed: Notify::new(),
            stop: CancellationToken::new(),
            let_go: CancellationToken::new(),
        }
    }

    /// The same, of an answer that another instance reads from the backend.
    pub(super) fn held_by(self, holder: Box<str>) -> Self {
        Self { holder: Some(holder), ..self }
    }

    /// The head, once it is there; None when there is nothing to read.
    pub(super) async fn head(&self) -> Option<Arc<RecordedHead>> {
        let mut head = self.head.subscribe();
        let known = head.wait_for(|state| !matches!(state, HeadState::Asked)).await;
        match &*known.ok()? {
            HeadState::Answered(head) => Some(Arc::clone(head)),
            HeadState::Asked | HeadState::Never => None,
        }
    }

    pub(super) fn answered(&self, head: Arc<RecordedHead>) {
        self.head.send_replace(HeadState::Answered(head));
        self.changed.notify_one();
    }

    /// What counts it while it is listed.
    pub(super) fn gauge(&self) -> &'static str {
        if self.holder.is_some() { telemetry::CAPTURES_MIRRORED } else { telemetry::CAPTURES_KEPT }
    }

    /// It begins there, not at the answer's first byte. Nothing has been added yet.
    pub(super) fn starts_at(&self, base: u64, before: BlockEdges) {
        let mut state = self.state.lock();
        (state.base, state.end, state.before) = (base, base, before);
    }

    /// Adds what the backend said. How many bytes were let go of for it.
    pub(super) fn append(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let mut rest = bytes;
        while !rest.is_empty() {
            if state.segments.back().is_none_or(|last| last.len() == SEGMENT) {
                state.segments.push_back(Vec::new());
            }
            let last = state.segments.back_mut().expect("there is one with room");
            let (now, later) = rest.split_at(rest.len().min(SEGMENT - last.len()));
            last.extend_from_slice(now);
            rest = later;
        }
        state.end += bytes.len() as u64;
        let dropped = state.keep(self.max_bytes);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        self.changed.notify_one();
        dropped
    }

    /// Whether what a reader has not read yet is the next to be let go of.
    pub(super) fn presses(&self) -> bool {
        let state = self.state.lock();
        let (full, edge) = (state.len() + SEGMENT > self.max_bytes, state.base + SEGMENT as u64);
        full && state.places.iter().any(|(_, at)| (state.base..edge).contains(at))
    }

    /// Lets go of the oldest bytes but for so many. How many that were.
    pub(super) fn keep(&self, most: usize) -> usize {
        self.state.lock().keep(most)
    }

    /// How many bytes are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.state.lock().len()
    }

    /// There will be nothing more. The first end counts.
    pub(super) fn end(&self, how: RecordingEnd, trailers: Option<HeaderMap>) {
        self.head.send_if_modified(|state| {
            let is_open = matches!(state, HeadState::Asked);
            if is_open {
                *state = HeadState::Never;
            }
            is_open
        });
        let mut state = self.state.lock();
        state.ended.get_or_insert(how);
        state.trailers = trailers;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        self.changed.notify_one();
    }

    /// Lets go of everything, and says how much that was: who still reads is cut off.
    pub(super) fn clear(&self, why: Forgotten) -> usize {
        self.let_go.cancel();
        let mut state = self.state.lock();
        let held = state.len();
        (state.base, state.before) = (state.end, BlockEdges::default());
        state.segments.clear();
        state.forgotten.get_or_insert(why);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        self.changed.notify_one();
        held
    }

    /// Completes when everything has been let go of. Cancel safe.
    pub(super) async fn let_go(&self) {
        self.let_go.cancelled().await;
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.lock().ended.is_none()
    }

    /// Asks that the backend is not read any more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn kept(&self) -> Kept {
        let state = self.state.lock();
        let mut text = Vec::with_capacity(state.len());
        state.segments.iter().for_each(|segment| text.extend_from_slice(segment));
        Kept { text, base: state.base, before: state.before.clone(), ended: state.ended }
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock();
        let (bytes, kept) = (state.end, state.len() as u64);
        let ended = state.ended;
        drop(state);
        Standing { bytes, kept, readers: self.attendance.everywhere(), ended }
    }

    /// A place among the readers, given back by [`leave`](Self::leave); None when there are too many.
    pub(super) fn enter(&self) -> Option<u64> {
        if !self.attendance.enter(self.max_readers) {
            return None;
        }
        let mut state = self.state.lock();
        state.next_reader += 1;
        let reader = state.next_reader;
        state.places.push((reader, u64::MAX));
        Some(reader)
    }

    pub(super) fn leave(&self, reader: u64) {
        let mut state = self.state.lock();
        state.waiting.retain(|(other, _)| *other != reader);
        state.places.retain(|(other, _)| *other != reader);
        drop(state);
        self.attendance.leave();
    }

    /// What there is for `reader` at this place.
    pub(super) fn read(&self, reader: u64, at: u64, cx: &Context<'_>) -> ReadStep {
        let mut state = self.state.lock();
        if let Some((_, place)) = state.places.iter_mut().find(|(other, _)| *other == reader) {
            *place = at;
        }
        if at < state.base {
            return ReadStep::Lost;
        }
        if at < state.end {
            let from = usize::try_from(at - state.base).expect("what is kept fits into memory");
            let segment = &state.segments[from / SEGMENT];
            return ReadStep::Data(Bytes::copy_from_slice(&segment[from % SEGMENT..]));
        }
        if let Some(how) = state.ended {
            return ReadStep::End(how, state.trailers.clone());
        }
        match state.waiting.iter_mut().find(|(other, _)| *other == reader) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.waiting.push((reader, cx.waker().clone())),
        }
        ReadStep::Pending
    }

    /// Completes when the backend is not to be read any more, and says why. Cancel safe.
    pub(super) async fn given_up(&self, policy: OnDisconnect, drain_for: Duration) -> RecordingEnd {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => RecordingEnd::Stopped,
            () = self.attendance.given_up(policy, drain_for) => RecordingEnd::Abandoned,
        }
    }
}

impl State {
    fn len(&self) -> usize {
        usize::try_from(self.end - self.base).expect("what is kept fits into memory")
    }

    fn keep(&mut self, most: usize) -> usize {
        let before = self.base;
        while self.len() > most && self.segments.len() > 1 {
            let dropped = self.segments.pop_front().expect("there are two");
            let mut at = 0;
            while let Some(step) = self.before.step(&dropped[at..]) {
                at += step;
            }
            self.base += dropped.len() as u64;
        }
        usize::try_from(self.base - before).expect("it was kept in memory")
    }
}
