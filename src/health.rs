//! What the daemon depends on, and the state of each: the content of `/readyz` and `/readyz/events`.
//!
//! They answer two questions. Whether this instance can serve HTTP is what a proxy in front has to know; whether events
//! flow is what an operator has to know, and no reason to take pages out of service.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lock::Mutex;

/// The state of one dependency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing is known yet.
    Unknown,
    Up,
    /// One plain sentence says why.
    Down(String),
}

/// One dependency as it stands, for one purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// While a required dependency is not up, the answer is no; the others are only named.
    pub required: bool,
    pub state: State,
}

/// What an instance may be ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadyFor {
    /// Can this instance serve HTTP?
    Serving,
    /// Are events published, delivered and shared with the other instances?
    Events,
}

/// The dependencies of the daemon. Cloning shares.
#[derive(Clone, Default, Debug)]
pub struct Health {
    all: Arc<Mutex<BTreeMap<&'static str, Status>>>,
    /// The names of those that serving requires.
    serving: Arc<[String]>,
}

#[derive(Debug)]
struct Status {
    /// Events require it.
    events: bool,
    /// Everything requires it.
    always: bool,
    state: State,
    /// How many have been made to say how it stands; the last one's word counts.
    reporter: u64,
}

impl Health {
    /// Serving HTTP requires the dependencies with these names, and no other.
    pub fn new(serving: &[String]) -> Self {
        Self { all: Arc::default(), serving: serving.into() }
    }

    /// Enters a dependency, of which nothing is known yet. `events` says whether events require it. Of one that is
    /// there already the state stays until the new reporter has something to say; the one before says nothing any more.
    pub fn depend_on(&self, name: &'static str, events: bool) -> Reporter {
        let mut all = self.all.lock();
        let status =
            all.entry(name).or_insert(Status { events, always: false, state: State::Unknown, reporter: 0 });
        status.events = events;
        status.reporter += 1;
        Reporter { health: self.clone(), name, number: status.reporter }
    }

    /// Nothing depends on it any more.
    pub fn forget(&self, name: &'static str) {
        self.all.lock().remove(name);
    }

    /// Says what keeps the instance from serving anything well, whatever is required; or that it is over. `why` is one
    /// plain sentence.
    pub fn set_trouble(&self, name: &'static str, why: Option<String>) {
        let mut all = self.all.lock();
        match why {
            Some(why) => drop(
                all.insert(name, Status { events: true, always: true, state: State::Down(why), reporter: 0 }),
            ),
            None => drop(all.remove(name)),
        }
    }

    /// Every dependency by name.
    pub fn dependencies(&self, purpose: ReadyFor) -> BTreeMap<&'static str, Dependency> {
        let all = self.all.lock();
        let all = all.iter().map(|(name, status)| {
            let required = match purpose {
                ReadyFor::Serving => self.serving.iter().any(|required| required == name),
                ReadyFor::Events => status.events,
            };
            let required = required || status.always;
            (*name, Dependency { required, state: status.state.clone() })
        });
        all.collect()
    }

    /// Whether every dependency that is required is up.
    pub fn is_ready(&self, purpose: ReadyFor) -> bool {
        let up = |dependency: &Dependency| !dependency.required || dependency.state == State::Up;
        self.dependencies(purpose).values().all(up)
    }
}

/// Says how one dependency stands. Cloning shares.
#[derive(Clone, Debug)]
pub struct Reporter {
    health: Health,
    name: &'static str,
    number: u64,
}

impl Reporter {
    pub fn up(&self) {
        self.set(State::Up);
    }

    /// `why` is one plain sentence without secrets.
    pub fn down(&self, why: impl Into<String>) {
        self.set(State::Down(why.into()));
    }

    /// Whether events require it from now on.
    pub fn set_required(&self, required: bool) {
        self.change(|dependency| dependency.events = required);
    }

    fn set(&self, state: State) {
        self.change(|dependency| dependency.state = state);
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut all = self.health.all.lock();
        if let Some(dependency) = all.get_mut(self.name).filter(|status| status.reporter == self.number) {
            change(dependency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_question_requires_decides_its_answer() {
        let health = Health::new(&["backend".to_owned()]);
        assert!(health.is_ready(ReadyFor::Serving) && health.is_ready(ReadyFor::Events));
        let redis = health.depend_on("redis", true);
        assert!(!health.is_ready(ReadyFor::Events), "unknown is not up");
        assert!(health.is_ready(ReadyFor::Serving), "pages do not need Redis");
        redis.up();
        assert!(health.is_ready(ReadyFor::Events));
        redis.down("gone");
        assert!(!health.is_ready(ReadyFor::Events));
        assert_eq!(health.dependencies(ReadyFor::Events)["redis"].state, State::Down("gone".to_owned()));
        redis.set_required(false);
        assert!(health.is_ready(ReadyFor::Events));
        let backend = health.depend_on("backend", false);
        backend.down("refused");
        assert!(!health.is_ready(ReadyFor::Serving), "it was named");
        assert!(health.is_ready(ReadyFor::Events));
    }

    #[test]
    fn who_takes_over_a_dependency_begins_with_its_state_and_has_the_only_word() {
        let health = Health::default();
        let before = health.depend_on("jwks", true);
        before.up();
        before.set_required(false);
        let after = health.depend_on("jwks", true);
        before.down("of the URL before");
        let jwks = || health.dependencies(ReadyFor::Events)["jwks"].clone();
        assert_eq!(jwks(), Dependency { required: true, state: State::Up });
        after.down("refused");
        assert_eq!(jwks().state, State::Down("refused".to_owned()));
        health.forget("jwks");
        after.up();
        assert!(health.dependencies(ReadyFor::Events).is_empty());
    }
}
