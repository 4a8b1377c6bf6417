//! One flight for all who ask the same at once, and a bound on flights.
//!
//! A flight goes on when the one who began it leaves, and is given up when nobody waits any more.

use crate::lock::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, MutexGuard};

use tokio::sync::watch;

use crate::auth::backend::request::Digest;

/// What is under way.
pub(in crate::auth) struct SingleFlight<T> {
    under_way: Mutex<HashMap<Digest, Arc<FlightSender<T>>>>,
    most: usize,
}

type FlightSender<T> = watch::Sender<Option<T>>;

/// A place among those who wait for one outcome.
pub(in crate::auth) struct FlightWaiter<T>(watch::Receiver<Option<T>>);

/// What becomes of somebody who asks.
pub(in crate::auth) enum Joined<T, K> {
    /// The outcome is known already.
    Known(K),
    /// Somebody asks the same already.
    Another(FlightWaiter<T>),
    /// Nobody did: the flight has to be flown.
    First(FlightWaiter<T>, Flight<T>),
    /// There is room for no more.
    Full,
}

/// A flight that is under way until it is dropped.
pub(in crate::auth) struct Flight<T> {
    flights: Arc<SingleFlight<T>>,
    digest: Digest,
    sender: Arc<FlightSender<T>>,
}

impl<T: Clone + Send + Sync> SingleFlight<T> {
    pub(in crate::auth) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default(), most })
    }

    /// Waits with the others, or begins. `known` is asked once more when nobody else is on the way: what has just
    /// landed may be there.
    pub(in crate::auth) fn join<K>(
        self: &Arc<Self>,
        digest: Digest,
        known: impl FnOnce() -> Option<K>,
    ) -> Joined<T, K> {
        let mut under_way = self.lock();
        if let Some(sender) = under_way.get(&digest) {
            return Joined::Another(FlightWaiter(sender.subscribe()));
        }
        if let Some(known) = known() {
            return Joined::Known(known);
        }
        if under_way.len() >= self.most {
            return Joined::Full;
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        under_way.insert(digest, Arc::clone(&sender));
        let flight = Flight { flights: Arc::clone(self), digest, sender };
        Joined::First(FlightWaiter(receiver), flight)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<FlightSender<T>>>> {
        self.under_way.lock()
    }
}

impl<T: Clone> FlightWaiter<T> {
    /// The outcome; None when the flight ended without one.
    pub(in crate::auth) async fn outcome(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<T: Clone + Send + Sync> Flight<T> {
    /// Flies until `work` has an outcome or nobody waits for it.
    pub(in crate::auth) async fn fly(self, work: impl Future<Output = T>) {
        tokio::select! {
            biased;
            outcome = work => {
                self.sender.send_replace(Some(outcome));
            }
            () = self.abandoned() => {}
        }
    }

    /// Completes when nobody waits, and nobody will any more.
    async fn abandoned(&self) {
        loop {
            self.sender.closed().await;
            let mut under_way = self.flights.lock();
            // Callers join under this lock.
            if self.sender.receiver_count() == 0 {
                if self.is_listed(&under_way) {
                    under_way.remove(&self.digest);
                }
                return;
            }
        }
    }
}

impl<T> Flight<T> {
    fn is_listed(&self, under_way: &HashMap<Digest, Arc<FlightSender<T>>>) -> bool {
        under_way.get(&self.digest).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender))
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        if self.is_listed(&under_way) {
            under_way.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(flights: &Arc<SingleFlight<u32>>, n: u8) -> Joined<u32, u32> {
        flights.join([n; 32], || None)
    }

    #[tokio::test]
    async fn who_asks_the_same_waits_for_the_same_outcome() {
        let flights = SingleFlight::new(2);
        let Joined::First(first, flight) = join(&flights, 1) else { panic!("it is the first") };
        let Joined::Another(second) = join(&flights, 1) else { panic!("it is the second") };
        let Joined::First(_other, _flight) = join(&flights, 2) else { panic!("it is another") };
        assert!(matches!(join(&flights, 3), Joined::Full));
        // The one who began may leave.
        drop(first);
        flight.fly(async { 7 }).await;
        assert_eq!(second.outcome().await, Some(7));
        assert!(matches!(join(&flights, 1), Joined::First(..)));
        assert!(matches!(flights.join([1; 32], || Some(8)), Joined::Known(8)));
    }

    #[tokio::test]
    async fn a_flight_that_nobody_waits_for_is_given_up() {
        let flights = SingleFlight::new(1);
        let Joined::First(waiting, flight) = join(&flights, 1) else { panic!("it is the first") };
        drop(waiting);
        flight.fly(std::future::pending()).await;
        assert!(matches!(join(&flights, 1), Joined::First(..)));
    }

    #[tokio::test]
    async fn a_flight_that_is_lost_leaves_nobody_waiting() {
        let flights = SingleFlight::<u32>::new(1);
        let Joined::First(waiting, flight) = join(&flights, 1) else { panic!("it is the first") };
        drop(flight);
        assert_eq!(waiting.outcome().await, None);
    }
}
