//! What a caller may receive, and until when. There is no way into a stream without one.

use std::time::Instant;

use crate::event::{Key, Name};

/// What a verified caller may receive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub user: Option<Name>,
    pub session: Option<Name>,
    /// When it ends; None = with the stream.
    pub until: Option<Instant>,
}

impl Grant {
    /// The grant of a route that asks nobody who they are (`auth = "none"`): every topic that the route's templates
    /// name, as whoever the request says.
    pub fn open(user: Option<Name>, session: Option<Name>) -> Self {
        Self { user, session, until: None }
    }

    /// The keys of a stream that asks for `topics`, but for the client's own.
    pub fn keys(&self, topics: &[Name]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(topics.len() + 4);
        keys.extend(topics.iter().cloned().map(Key::Topic));
        keys.extend(self.user.clone().map(Key::User));
        keys.extend(self.session.clone().map(Key::Session));
        keys.push(Key::Broadcast);
        keys
    }
}
