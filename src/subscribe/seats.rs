//! How many streams there may be: in all, from an address, of a user. A seat is given back when it is dropped.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::config;
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
}

impl SeatLimits {
    pub(super) fn of(limits: &config::Limits) -> Self {
        Self {
            streams: limits.streams,
            per_address: limits.streams_per_address,
            per_user: limits.streams_per_user,
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
    by_user: HashMap<Name, usize>,
}

/// One stream's place.
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: ClientNetwork,
    user: Option<Name>,
}

impl Seats {
    pub(super) fn new(bounds: SeatLimits) -> Arc<Self> {
        let (by_address, by_user) = (HashMap::new(), HashMap::new());
        Arc::new(Self { taken: Mutex::new(SeatCounts { bounds, streams: 0, by_address, by_user }) })
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
        Ok(Seat { seats: Arc::clone(self), address, user: None })
    }
}

impl Seat {
    /// The same seat as `user`'s, or that they have as many as they may.
    pub(super) fn of(mut self, user: Option<&Name>) -> Result<Self, RetryReason> {
        let Some(user) = user else { return Ok(self) };
        let mut taken = self.seats.taken.lock();
        let limit = taken.bounds.per_user;
        let count = taken.by_user.entry_ref(user).or_insert(0);
        if limit != 0 && *count >= limit {
            return Err(RetryReason::StreamsPerUser);
        }
        *count += 1;
        drop(taken);
        self.user = Some(user.clone());
        Ok(self)
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
        if let Some(user) = &self.user
            && let Some(count) = taken.by_user.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                taken.by_user.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_holds_and_a_seat_comes_back() {
        let seats = Seats::new(SeatLimits { streams: 4, per_address: 2, per_user: 1 });
        let user = |text: &str| Name::parse(text).unwrap();
        let at = |text: &str| ClientNetwork::of(text.parse().unwrap(), 64);
        let first = seats.take(at("192.0.2.1")).unwrap().of(Some(&user("u"))).ok().unwrap();
        assert_eq!(
            seats.take(at("192.0.2.2")).unwrap().of(Some(&user("u"))).err(),
            Some(RetryReason::StreamsPerUser)
        );
        let _second = seats.take(at("::ffff:192.0.2.1")).unwrap();
        assert_eq!(seats.take(at("192.0.2.1")).err(), Some(RetryReason::StreamsPerAddress));
        let _third = seats.take(at("2001:db8::1")).unwrap();
        let _fourth = seats.take(at("2001:db8::2")).unwrap();
        drop(first);
        assert_eq!(seats.take(at("2001:db8::3")).err(), Some(RetryReason::StreamsPerAddress));
        let _fifth = seats.take(at("192.0.2.2")).unwrap().of(Some(&user("u"))).ok().unwrap();
        assert_eq!(seats.take(at("192.0.2.3")).err(), Some(RetryReason::Streams));
    }

    #[test]
    fn other_limits_hold_for_those_who_come() {
        let seats = Seats::new(SeatLimits { streams: 0, per_address: 0, per_user: 0 });
        let at = |last: u8| ClientNetwork::of([192, 0, 2, last].into(), 64);
        let sitting: Vec<_> = (0..3).map(|last| seats.take(at(last)).ok()).collect();
        seats.limit(SeatLimits { streams: 3, per_address: 0, per_user: 0 });
        assert_eq!(seats.take(at(9)).err(), Some(RetryReason::Streams));
        drop(sitting);
        assert!(seats.take(at(9)).is_ok());
    }

    #[test]
    fn nothing_is_left_when_all_are_gone() {
        let seats = Seats::new(SeatLimits { streams: 0, per_address: 0, per_user: 0 });
        let user = Name::parse("u").unwrap();
        let at = |n| ClientNetwork::of([10, 0, 0, n].into(), 64);
        let held: Vec<_> = (0..9).map(|n| seats.take(at(n)).unwrap().of(Some(&user)).ok()).collect();
        drop(held);
        let taken = seats.taken.lock();
        assert_eq!((taken.streams, taken.by_address.len(), taken.by_user.len()), (0, 0, 0));
    }
}
