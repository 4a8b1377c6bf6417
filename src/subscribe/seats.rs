//! How many streams there may be: in all, from an address, of a user. A seat is given back when it is dropped.
//!
//! Where the oldest of a user's streams gives way to a new one, they are known by their order: the oldest is found, and
//! one that has ended is forgotten, without a look at the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;

use crate::config;
use crate::config::WhenFull;
use crate::event::Name;
use crate::lock::Mutex;
use crate::rate::ClientNetwork;
use crate::subscribe::refusal::RetryReason;

/// The limits; 0 = none.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatLimits {
    pub(super) streams: usize,
    pub(super) per_address: usize,
    pub(super) per_user: usize,
    /// What happens at `per_user`.
    pub(super) when_full: WhenFull,
}

impl SeatLimits {
    pub(super) fn of(limits: &config::Limits) -> Self {
        Self {
            streams: limits.streams,
            per_address: limits.streams_per_address,
            per_user: limits.streams_per_user,
            when_full: limits.when_full,
        }
    }
}

/// Who sits where.
pub(super) struct Seats {
    taken: Mutex<SeatCounts>,
}

struct SeatCounts {
    bounds: SeatLimits,
    streams: usize,
    by_address: HashMap<ClientNetwork, usize>,
    by_user: HashMap<Name, UserSeats>,
    /// How many seats of users there ever were that may have to give way.
    numbered: u64,
}

#[derive(Default)]
struct UserSeats {
    count: usize,
    /// Those that may have to give way, by their age; none where nobody has to.
    #[expect(clippy::box_collection, reason = "there is one of these for every user, and mostly it is none")]
    by_age: Option<Box<BTreeMap<u64, (Name, GivesWay)>>>,
}

/// Whether a stream has to end because its user has another one in its place.
#[derive(Clone, Default)]
pub(super) struct GivesWay(Arc<AtomicBool>);

impl GivesWay {
    pub(super) fn is_due(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// One stream's place.
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: ClientNetwork,
    of: Option<OfUser>,
}

/// Whose it is.
struct OfUser {
    user: Name,
    /// Its age among those that may have to give way.
    number: Option<(u64, GivesWay)>,
}

impl Seats {
    pub(super) fn new(bounds: SeatLimits) -> Arc<Self> {
        let (by_address, by_user) = (HashMap::new(), HashMap::new());
        let counts = SeatCounts { bounds, streams: 0, by_address, by_user, numbered: 0 };
        Arc::new(Self { taken: Mutex::new(counts) })
    }

    /// From now on these limits hold. A stream that has a seat keeps it.
    pub(super) fn limit(&self, bounds: SeatLimits) {
        self.taken.lock().bounds = bounds;
    }

    /// A seat of nobody yet, or which limit is reached.
    pub(super) fn take(self: &Arc<Self>, address: ClientNetwork) -> Result<Seat, RetryReason> {
        let mut taken = self.taken.lock();
        let full = |limit: usize, count: usize| limit != 0 && count >= limit;
        if full(taken.bounds.streams, taken.streams) {
            return Err(RetryReason::Streams);
        }
        if full(taken.bounds.per_address, taken.by_address.get(&address).copied().unwrap_or(0)) {
            return Err(RetryReason::StreamsPerAddress);
        }
        taken.streams += 1;
        *taken.by_address.entry(address).or_insert(0) += 1;
        Ok(Seat { seats: Arc::clone(self), address, of: None })
    }
}

impl Seat {
    /// The same seat as `user`'s for the stream of `client`, or that they have as many as they may; and the clients of
    /// the streams that have to end for it. The seats of these count for the user no longer.
    pub(super) fn of(mut self, user: Option<&Name>, client: &Name) -> Result<(Self, Vec<Name>), RetryReason> {
        let Some(user) = user else { return Ok((self, Vec::new())) };
        let mut taken = self.seats.taken.lock();
        let SeatCounts { bounds, by_user, numbered, .. } = &mut *taken;
        let limit = bounds.per_user;
        let sitting = by_user.entry_ref(user).or_default();
        let mut replaced = Vec::new();
        while limit != 0 && sitting.count >= limit {
            let oldest = match bounds.when_full {
                WhenFull::Replace => sitting.by_age.as_mut().and_then(|by_age| by_age.pop_first()),
                WhenFull::Refuse => None,
            };
            let Some((_, (client, gives_way))) = oldest else { return Err(RetryReason::StreamsPerUser) };
            gives_way.0.store(true, Ordering::SeqCst);
            sitting.count -= 1;
            replaced.push(client);
        }
        sitting.count += 1;
        let number = (bounds.when_full == WhenFull::Replace && limit != 0).then(|| {
            *numbered += 1;
            let gives_way = GivesWay::default();
            let of_client = (client.clone(), gives_way.clone());
            sitting.by_age.get_or_insert_default().insert(*numbered, of_client);
            (*numbered, gives_way)
        });
        drop(taken);
        self.of = Some(OfUser { user: user.clone(), number });
        Ok((self, replaced))
    }

    /// Tells whether it has to end for another one; None where none has to.
    pub(super) fn gives_way(&self) -> Option<GivesWay> {
        self.of.as_ref()?.number.as_ref().map(|(_, gives_way)| gives_way.clone())
    }
}

impl UserSeats {
    /// Forgets one; `number` is its age, where it has one. One that has given way is forgotten already.
    fn leave(&mut self, number: Option<u64>) {
        let is_counted = match (number, &mut self.by_age) {
            (None, _) => true,
            (Some(number), Some(by_age)) => by_age.remove(&number).is_some(),
            (Some(_), None) => false,
        };
        if is_counted {
            self.count -= 1;
        }
        if self.by_age.as_ref().is_some_and(|by_age| by_age.is_empty()) {
            self.by_age = None;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.streams -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
        if let Some(of) = &self.of
            && let Some(sitting) = taken.by_user.get_mut(&of.user)
        {
            sitting.leave(of.number.as_ref().map(|(number, _)| *number));
            if sitting.count == 0 {
                taken.by_user.remove(&of.user);
            }
        }
    }
}

#[cfg(test)]
#[path = "seats_tests.rs"]
mod tests;
