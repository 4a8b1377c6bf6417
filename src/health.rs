//! What the daemon depends on, and the state of each: the content of `/readyz`.

use crate::lock::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of one dependency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing is known yet.
    Unknown,
    Up,
    /// One plain sentence says why.
    Down(String),
}

/// One dependency as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// Without a required dependency the daemon is not ready; the others are only named.
    pub required: bool,
    pub state: State,
}

/// The dependencies of the daemon. Cloning shares.
#[derive(Clone, Default, Debug)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Dependency>>>);

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a dependency, of which nothing is known yet.
    pub fn depend_on(&self, name: &'static str, required: bool) -> Reporter {
        let reporter = Reporter { health: self.clone(), name };
        self.0.lock().insert(name, Dependency { required, state: State::Unknown });
        reporter
    }

    /// Every dependency by name.
    pub fn dependencies(&self) -> BTreeMap<&'static str, Dependency> {
        self.0.lock().clone()
    }

    /// Whether every required dependency is up.
    pub fn is_ready(&self) -> bool {
        let all = self.0.lock();
        all.values().all(|dependency| !dependency.required || dependency.state == State::Up)
    }
}

/// Says how one dependency stands. Cloning shares.
#[derive(Clone, Debug)]
pub struct Reporter {
    health: Health,
    name: &'static str,
}

impl Reporter {
    pub fn up(&self) {
        self.set(State::Up);
    }

    /// `why` is one plain sentence without secrets.
    pub fn down(&self, why: impl Into<String>) {
        self.set(State::Down(why.into()));
    }

    /// From now on the daemon is ready without it, too.
    pub fn no_longer_required(&self) {
        let mut all = self.health.0.lock();
        if let Some(dependency) = all.get_mut(self.name) {
            dependency.required = false;
        }
    }

    fn set(&self, state: State) {
        let mut all = self.health.0.lock();
        if let Some(dependency) = all.get_mut(self.name) {
            dependency.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_required_dependencies_decide_readiness() {
        let health = Health::new();
        assert!(health.is_ready());
        let backend = health.depend_on("backend", false);
        backend.down("refused");
        assert!(health.is_ready());
        let redis = health.depend_on("redis", true);
        assert!(!health.is_ready(), "unknown is not up");
        redis.up();
        assert!(health.is_ready());
        redis.down("gone");
        assert!(!health.is_ready());
        assert_eq!(health.dependencies()["redis"].state, State::Down("gone".to_owned()));
    }
}
