//! All recorded answers, by their ids and the names by which clients know them; bounded in number and bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::capture::copy::Copies;
use crate::capture::owner::{Owner, OwnerMark};
use crate::capture::recording::{Forgotten, Recording, RecordingEnd};
use crate::capture::shared::RecordingStore;
use crate::config;
use crate::lock::Mutex;
use crate::telemetry;

/// How many names an answer may have beside its id.
const NAMES: usize = 4;

/// Every answer that is being recorded, or was and is still kept. Outlives a reload.
pub struct Recordings {
    max: AtomicUsize,
    max_bytes: AtomicUsize,
    bytes: AtomicUsize,
    shelf: Mutex<Shelf>,
    /// What other instances have of them, where there are others.
    copies: OnceLock<Arc<Copies>>,
}

/// A name on a route, by its path.
type RouteName = (Arc<str>, Box<str>);

#[derive(Default)]
struct Shelf {
    all: HashMap<Box<str>, ListedCapture>,
    /// Several may have the same name, each of an owner's own; the newest is the last.
    named: HashMap<RouteName, Vec<Arc<Recording>>>,
    /// In the order in which they ended.
    ended: VecDeque<Arc<Recording>>,
}

/// A recording that is forgotten when this is dropped.
pub(super) struct ListedRecording {
    pub(super) recordings: Arc<Recordings>,
    pub(super) recording: Arc<Recording>,
}

struct ListedCapture {
    recording: Arc<Recording>,
    names: Vec<RouteName>,
}

impl Recordings {
    pub fn new(limits: &config::Limits) -> Arc<Self> {
        let all = Self {
            max: AtomicUsize::new(0),
            max_bytes: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shelf: Mutex::default(),
            copies: OnceLock::new(),
        };
        all.limit(limits);
        Arc::new(all)
    }

    /// From now on they are shared with other instances.
    pub fn share_by(&self, store: Arc<dyn RecordingStore>) {
        let _ = self.copies.set(Arc::new(Copies::new(store)));
    }

    pub fn is_shared(&self) -> bool {
        self.copies.get().is_some()
    }

    /// None where they are this instance's alone.
    pub(super) fn copies(&self) -> Option<&Arc<Copies>> {
        self.copies.get()
    }

    /// From now on there may be so many.
    pub fn limit(&self, limits: &config::Limits) {
        self.max.store(limits.captures, Ordering::Relaxed);
        let bytes = usize::try_from(limits.capture_bytes.0).unwrap_or(usize::MAX);
        self.max_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A new one; None when there are too many that have not ended.
    pub(super) fn begin(
        &self,
        route: &Arc<str>,
        owner: &Owner,
        max: (usize, usize),
    ) -> Option<Arc<Recording>> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).ok()?;
        let id: Box<str> = data_encoding::HEXLOWER.encode(&id).into();
        let owner = OwnerMark::of(owner)?;
        let recording = Arc::new(Recording::new(id, Arc::clone(route), owner, max));
        self.add(recording)
    }

    /// Adds one to the list, unless one with its id is: then it is that one. None when there are too many that
    /// have not ended.
    pub(super) fn add(&self, recording: Arc<Recording>) -> Option<Arc<Recording>> {
        let mut shelf = self.shelf.lock();
        if let Some(listed) = shelf.all.get(&recording.id) {
            return Some(Arc::clone(&listed.recording));
        }
        let (mut evicted, mut full) = (Vec::new(), false);
        while !full && shelf.all.len() >= self.max.load(Ordering::Relaxed) {
            let one = shelf.evict();
            full = one.is_none();
            evicted.extend(one);
        }
        if !full {
            let listed = ListedCapture { recording: Arc::clone(&recording), names: Vec::new() };
            shelf.all.insert(recording.id.clone(), listed);
        }
        drop(shelf);
        // Also where that was not enough, as after a reload with a lower limit.
        self.forget(evicted, Forgotten::Evicted);
        if full {
            return None;
        }
        metrics::gauge!(recording.gauge()).increment(1);
        Some(recording)
    }

    /// From now on `name` is this one's on its route, for its owner.
    pub(super) fn name(&self, recording: &Arc<Recording>, name: &str) {
        let mut shelf = self.shelf.lock();
        let key: RouteName = (Arc::clone(&recording.route), name.into());
        let Some(listed) = shelf.all.get_mut(&recording.id) else { return };
        if listed.names.len() >= NAMES {
            return;
        }
        listed.names.push(key.clone());
        shelf.named.entry(key).or_default().push(Arc::clone(recording));
        drop(shelf);
        recording.named(name);
    }

    /// The one here that has this name or id on a route, and is this owner's.
    pub(super) fn find(&self, route: &Arc<str>, name: &str, owner: &Owner) -> Option<Arc<Recording>> {
        let shelf = self.shelf.lock();
        let named = shelf.named.get(&(Arc::clone(route), name.into())).cloned().unwrap_or_default();
        let by_id = shelf.all.get(name).map(|listed| Arc::clone(&listed.recording));
        drop(shelf);
        let by_id = by_id.filter(|one| one.route == *route);
        named.into_iter().rev().chain(by_id).find(|one| one.owner.is(owner))
    }

    /// The one here with this id.
    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Recording>> {
        self.shelf.lock().all.get(id).map(|listed| Arc::clone(&listed.recording))
    }

    /// So many bytes have come to one, and so many were let go of. Makes room where there are too many.
    pub(super) fn changed(&self, recording: &Recording, more: usize, fewer: usize) {
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes.fetch_sub(fewer, Ordering::Relaxed);
        let max = self.max_bytes.load(Ordering::Relaxed);
        if before + more - fewer > max {
            let evicted = self.shelf.lock().evict();
            if let Some(evicted) = evicted {
                self.forget([evicted], Forgotten::Evicted);
            } else {
                let over = self.bytes.load(Ordering::Relaxed).saturating_sub(max);
                let dropped = recording.keep(recording.kept_bytes().saturating_sub(over));
                self.bytes.fetch_sub(dropped, Ordering::Relaxed);
            }
        }
        metrics::gauge!(telemetry::CAPTURE_BYTES).set(self.bytes.load(Ordering::Relaxed) as f64);
    }

    /// It has ended: it may be forgotten for others.
    pub(super) fn ended(&self, recording: &Arc<Recording>) {
        let mut shelf = self.shelf.lock();
        if shelf.all.contains_key(&recording.id) {
            shelf.ended.push_back(Arc::clone(recording));
        }
    }

    /// Forgets it, if that has not happened yet.
    pub(super) fn remove(&self, recording: &Recording) {
        let removed = self.shelf.lock().take(&recording.id);
        self.forget(removed, Forgotten::Past);
    }

    /// Every one that this instance holds, by id.
    pub(super) fn all(&self) -> Vec<(Arc<Recording>, Vec<Box<str>>)> {
        let shelf = self.shelf.lock();
        let of = |listed: &ListedCapture| {
            let names = listed.names.iter().map(|(_, name)| name.clone()).collect();
            (Arc::clone(&listed.recording), names)
        };
        let held = shelf.all.values().filter(|listed| listed.recording.holder.is_none());
        let mut all: Vec<_> = held.map(of).collect();
        drop(shelf);
        all.sort_unstable_by(|(one, _), (other, _)| (one.began, &one.id).cmp(&(other.began, &other.id)));
        all
    }

    /// Gives back what those took that are not listed any more.
    fn forget(&self, gone: impl IntoIterator<Item = Arc<Recording>>, why: Forgotten) {
        for recording in gone {
            let held = recording.clear(why);
            self.bytes.fetch_sub(held, Ordering::Relaxed);
            metrics::gauge!(recording.gauge()).decrement(1);
            metrics::gauge!(telemetry::CAPTURE_BYTES).set(self.bytes.load(Ordering::Relaxed) as f64);
        }
    }
}

impl ListedRecording {
    pub(super) fn new(recordings: &Arc<Recordings>, recording: &Arc<Recording>) -> Self {
        Self { recordings: Arc::clone(recordings), recording: Arc::clone(recording) }
    }
}

impl Drop for ListedRecording {
    fn drop(&mut self) {
        self.recording.end(RecordingEnd::Abandoned, None);
        self.recordings.remove(&self.recording);
    }
}

impl Shelf {
    /// Takes out the one that ended first.
    fn evict(&mut self) -> Option<Arc<Recording>> {
        let first = self.ended.front()?.id.clone();
        self.take(&first)
    }

    fn take(&mut self, id: &str) -> Option<Arc<Recording>> {
        let ListedCapture { recording, names } = self.all.remove(id)?;
        for name in names {
            let Some(named) = self.named.get_mut(&name) else { continue };
            named.retain(|one| !Arc::ptr_eq(one, &recording));
            if named.is_empty() {
                self.named.remove(&name);
            }
        }
        self.ended.retain(|ended| !Arc::ptr_eq(ended, &recording));
        Some(recording)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn what_is_forgotten_for_one_that_is_not_recorded_all_the_same_is_given_back() {
        let limits = |captures| config::Limits { captures, ..config::Limits::default() };
        let recordings = Recordings::new(&limits(3));
        let owner = Owner::by_credentials(&HeaderMap::new(), &[], &[]);
        let route = Arc::from("/");
        let begin = || recordings.begin(&route, &owner, (1 << 20, 1));
        let all = [begin(), begin(), begin()].map(Option::unwrap);
        recordings.changed(&all[0], 9, all[0].append(b"123456789"));
        recordings.ended(&all[0]);
        // As a reload does it: one has to go, and two are too many still.
        recordings.limit(&limits(1));
        assert!(begin().is_none());
        assert_eq!((recordings.all().len(), all[0].kept_bytes()), (2, 0));
        assert_eq!(recordings.bytes.load(Ordering::Relaxed), 0);
    }
}
