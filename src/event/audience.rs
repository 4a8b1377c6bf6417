//! The recipients of an event, and by what a subscriber can be reached.

use std::fmt;
use std::fmt::Write as _;

use smallvec::SmallVec;

use crate::event::name::Name;
use crate::event::pattern::Pattern;

/// One way to reach subscribers. A subscriber holds a set of keys; an event names the keys that it is for.
///
/// User, session and client are kinds of their own, never topics with a prefix: a topic of any name reaches
/// nobody by another kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    Topic(Name),
    /// Held by subscribers that hear every topic that it matches. No audience names it.
    Pattern(Pattern),
    User(Name),
    Session(Name),
    Client(Name),
    /// A stream of the application's own that is read once for all who ask for it. No envelope can name it.
    Upstream(Name),
    /// Held by every subscriber.
    Broadcast,
}

impl Key {
    /// The name; empty for [`Key::Broadcast`].
    pub fn name(&self) -> &str {
        match self {
            Self::Topic(name)
            | Self::User(name)
            | Self::Session(name)
            | Self::Client(name)
            | Self::Upstream(name) => name.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
            Self::Broadcast => "",
        }
    }

    /// Whether a subscriber that holds this key is reached by `named`.
    pub fn hears(&self, named: &Self) -> bool {
        match (self, named) {
            (Self::Pattern(pattern), Self::Topic(topic)) => pattern.matches(topic),
            _ => self == named,
        }
    }
}

/// For people: `topic:news`, `user:7`, `broadcast`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Topic(_) => "topic",
            Self::Pattern(_) => "pattern",
            Self::User(_) => "user",
            Self::Session(_) => "session",
            Self::Client(_) => "client",
            Self::Upstream(_) => "upstream",
            Self::Broadcast => return f.write_str("broadcast"),
        };
        write!(f, "{kind}:{}", self.name())
    }
}

/// Why an audience is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAudience {
    #[error(
        "names nobody: give at least one of topic, topics, user, users, session, sessions, client, clients or broadcast"
    )]
    Nobody,
    #[error("names more than {max} topics, users, sessions and clients")]
    TooMany { max: usize },
    #[error("excludes everybody: except cannot hold broadcast")]
    ExceptAll,
}

/// The recipients of an event: every subscriber that holds one of the keys and none of the excepted ones.
/// A subscriber that holds several is still reached once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Audience {
    keys: SmallVec<[Key; 1]>,
    except: Box<[Key]>,
}

impl Audience {
    /// How many keys an audience may name, the excepted ones included.
    pub const MAX: usize = 10_000;

    pub fn new(keys: impl IntoIterator<Item = Key>, except: Vec<Key>) -> Result<Self, BadAudience> {
        let mut keys: SmallVec<[Key; 1]> = keys.into_iter().collect();
        if keys.contains(&Key::Broadcast) {
            // Everybody is reached once whatever else is named.
            keys = SmallVec::from_buf([Key::Broadcast]);
        }
        if keys.is_empty() {
            return Err(BadAudience::Nobody);
        }
        if keys.len() + except.len() > Self::MAX {
            return Err(BadAudience::TooMany { max: Self::MAX });
        }
        if except.contains(&Key::Broadcast) {
            return Err(BadAudience::ExceptAll);
        }
        Ok(Self { keys, except: except.into() })
    }

    /// Every subscriber.
    pub fn everybody() -> Self {
        Self { keys: SmallVec::from_buf([Key::Broadcast]), except: Box::default() }
    }

    /// At least one.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The audience of one key.
    pub fn of(key: Key) -> Self {
        Self { keys: [key].into_iter().collect(), except: Box::default() }
    }

    pub fn except(&self) -> &[Key] {
        &self.except
    }

    /// For people, in a line of the log: the first few keys, and how many more there are.
    pub fn in_short(&self) -> String {
        const SHOWN: usize = 5;
        let mut text = String::new();
        for (nth, key) in self.keys.iter().take(SHOWN).enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            // Into a text: it cannot fail.
            let _ = write!(text, "{comma}{key}");
        }
        if self.keys.len() > SHOWN {
            let _ = write!(text, ",… {} more", self.keys.len() - SHOWN);
        }
        text
    }

    /// Calls `known` with each key. A key of the same name that it gives takes the place of this one, so that both
    /// share one name in memory.
    pub fn share(&mut self, mut known: impl FnMut(&Key) -> Option<Key>) {
        for key in &mut self.keys {
            if let Some(same) = known(key) {
                debug_assert_eq!(*key, same);
                *key = same;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Key {
        Key::Topic(Name::parse(text).unwrap())
    }

    #[test]
    fn an_audience_names_somebody_and_excludes_not_everybody() {
        assert_eq!(Audience::new([], vec![]).unwrap_err(), BadAudience::Nobody);
        assert_eq!(Audience::new([topic("a")], vec![Key::Broadcast]).unwrap_err(), BadAudience::ExceptAll);
        let many = (0..=Audience::MAX).map(|n| topic(&n.to_string()));
        assert_eq!(Audience::new(many, vec![]).unwrap_err(), BadAudience::TooMany { max: Audience::MAX });
    }

    #[test]
    fn a_key_that_is_known_shares_its_name() {
        let known = topic("a");
        let mut audience = Audience::new([topic("a"), topic("b")], vec![]).unwrap();
        audience.share(|key| (*key == known).then(|| known.clone()));
        assert_eq!(audience.keys(), [topic("a"), topic("b")]);
        assert!(std::ptr::eq(audience.keys()[0].name(), known.name()));
    }

    #[test]
    fn a_large_audience_is_written_in_short() {
        assert_eq!(Audience::everybody().in_short(), "broadcast");
        let user = Key::User(Name::parse("7").unwrap());
        assert_eq!(Audience::new([topic("a b"), user], vec![]).unwrap().in_short(), "topic:a b,user:7");
        let many = (0..8).map(|n| topic(&n.to_string()));
        let short = Audience::new(many, vec![]).unwrap().in_short();
        assert_eq!(short, "topic:0,topic:1,topic:2,topic:3,topic:4,… 3 more");
    }

    #[test]
    fn broadcast_swallows_what_else_is_named() {
        let audience = Audience::new([topic("a"), Key::Broadcast], vec![topic("b")]).unwrap();
        assert_eq!(audience.keys(), [Key::Broadcast]);
        assert_eq!(audience.except(), [topic("b")]);
    }
}
