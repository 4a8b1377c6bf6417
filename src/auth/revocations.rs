//! Grants that were taken back before their time, and for how long whoever they were for is kept out.
//!
//! A grant that was issued after it was taken back is a new one, and good: a new login works. One that does not say when
//! it was issued is kept out until the time is over. Bounded: at the bound the one that ends first is forgotten.
//!
//! Beside them those who were sent away: their grants are good, and still they shall not come back for a while.

use crate::lock::Mutex;
use std::time::SystemTime;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::auth::denied::Denied;
use crate::auth::grant::Grant;
use crate::event::{Key, Name};

/// Whose grants are taken back: what is named has to match, all of it.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct GrantSelector {
    pub user: Option<Name>,
    pub session: Option<Name>,
    /// The id of a token (`jti`).
    pub token: Option<Name>,
    pub topic: Option<Name>,
}

impl GrantSelector {
    /// Whether nothing is named.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }

    /// The keys that an open stream of theirs holds.
    pub fn keys(&self) -> Box<[Key]> {
        let user = self.user.clone().map(Key::User);
        let session = self.session.clone().map(Key::Session);
        let topic = self.topic.clone().map(Key::Topic);
        user.into_iter().chain(session).chain(topic).collect()
    }

    /// Where it is found: by what is named that says most.
    fn handle(&self) -> Option<Handle> {
        let token = self.token.clone().map(Handle::Token);
        let session = || self.session.clone().map(Handle::Session);
        let user = || self.user.clone().map(Handle::User);
        let topic = || self.topic.clone().map(Handle::Topic);
        token.or_else(session).or_else(user).or_else(topic)
    }

    fn matches(&self, grant: &Grant, topics: &[Name]) -> bool {
        let same = |named: &Option<Name>, has: &Option<Name>| named.is_none() || named == has;
        same(&self.user, &grant.user)
            && same(&self.session, &grant.session)
            && same(&self.token, &grant.token)
            && self.topic.as_ref().is_none_or(|topic| topics.contains(topic))
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Handle {
    Token(Name),
    Session(Name),
    User(Name),
    Topic(Name),
}

/// When grants were taken back, and until when whoever they were for is kept out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    at: SystemTime,
    until: SystemTime,
}

/// All that are in force.
pub struct Revocations {
    max: usize,
    spans: Mutex<Spans>,
    away: Mutex<Spans>,
}

type Spans = HashMap<Handle, Vec<(GrantSelector, Span)>>;

impl Revocations {
    /// At most `max` are kept.
    pub fn new(max: usize) -> Self {
        Self { max, spans: Mutex::default(), away: Mutex::default() }
    }

    /// From now on keeps them out until `until`; `at` is when their grants were taken back. The same ones again: the
    /// later times count.
    pub fn add(&self, whose: GrantSelector, at: SystemTime, until: SystemTime) {
        self.enter(&self.spans, whose, Span { at, until });
    }

    /// From now on whoever they are is sent away until `until`, whatever they come with.
    pub fn send_away(&self, whose: GrantSelector, until: SystemTime) {
        // No grant is newer than one that will be issued when it is over.
        self.enter(&self.away, whose, Span { at: until, until });
    }

    fn enter(&self, spans: &Mutex<Spans>, whose: GrantSelector, Span { at, until }: Span) {
        let Some(handle) = whose.handle() else { return };
        let mut spans = spans.lock();
        let same = spans.entry(handle).or_default();
        match same.iter_mut().find(|(known, _)| *known == whose) {
            Some((_, span)) => *span = Span { at: span.at.max(at), until: span.until.max(until) },
            None => same.push((whose, Span { at, until })),
        }
        if spans.values().map(Vec::len).sum::<usize>() > self.max {
            trim(&mut spans, SystemTime::now());
            while spans.values().map(Vec::len).sum::<usize>() > self.max {
                forget_first(&mut spans);
            }
        }
    }

    /// Whether a stream for `topics` may be opened with `grant`.
    pub fn check(&self, grant: &Grant, topics: &[Name]) -> Result<(), Denied> {
        if has(&self.spans, grant, topics) { Err(Denied::Revoked) } else { Ok(()) }
    }

    /// Whether whoever comes with `grant` for `topics` was sent away.
    pub fn is_away(&self, grant: &Grant, topics: &[Name]) -> bool {
        has(&self.away, grant, topics)
    }

    /// Lets go of those whose time is over.
    pub fn trim(&self) {
        for spans in [&self.spans, &self.away] {
            trim(&mut spans.lock(), SystemTime::now());
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.spans.lock().values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether one that is in force is for `grant` and `topics`.
fn has(spans: &Mutex<Spans>, grant: &Grant, topics: &[Name]) -> bool {
    let now = SystemTime::now();
    let spans = spans.lock();
    if spans.is_empty() {
        return false;
    }
    let token = grant.token.clone().map(Handle::Token);
    let session = grant.session.clone().map(Handle::Session);
    let user = grant.user.clone().map(Handle::User);
    let handles = token.into_iter().chain(session).chain(user);
    let handles = handles.chain(topics.iter().cloned().map(Handle::Topic));
    let in_force = |(whose, span): &(GrantSelector, Span)| {
        let newer = grant.issued.is_some_and(|issued| issued > span.at);
        span.until > now && !newer && whose.matches(grant, topics)
    };
    handles.filter_map(|handle| spans.get(&handle)).flatten().any(in_force)
}

fn trim(spans: &mut Spans, now: SystemTime) {
    spans.retain(|_, same| {
        same.retain(|(_, span)| span.until > now);
        !same.is_empty()
    });
}

fn forget_first(spans: &mut Spans) {
    let ends = spans.iter().flat_map(|(handle, same)| same.iter().map(move |(_, span)| (span.until, handle)));
    let Some((until, handle)) =
        ends.min_by_key(|(until, _)| *until).map(|(until, handle)| (until, handle.clone()))
    else {
        return;
    };
    if let Some(same) = spans.get_mut(&handle) {
        same.retain(|(_, span)| span.until != until);
        if same.is_empty() {
            spans.remove(&handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::GrantedTopics;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn grant(user: &str, session: &str, token: &str, issued: Option<SystemTime>) -> Grant {
        Grant {
            token: Some(name(token)),
            issued,
            topics: GrantedTopics::Any,
            ..Grant::open(Some(name(user)), Some(name(session)))
        }
    }

    #[test]
    fn who_was_sent_away_is_kept_out_whatever_they_come_with() {
        let now = SystemTime::now();
        let later = now + Duration::from_secs(60);
        let revocations = Revocations::new(10);
        let user = GrantSelector { user: Some(name("u")), ..GrantSelector::default() };
        revocations.send_away(user.clone(), later);
        for issued in [None, Some(now), Some(now + Duration::from_secs(30))] {
            let grant = grant("u", "s", "t", issued);
            assert!(revocations.is_away(&grant, &[]));
            assert!(revocations.check(&grant, &[]).is_ok(), "the grant is good");
        }
        assert!(!revocations.is_away(&grant("v", "s", "t", None), &[]));
        revocations.send_away(GrantSelector { user: Some(name("w")), ..user }, now);
        assert!(!revocations.is_away(&grant("w", "s", "t", None), &[]), "its time is over");
        assert!(revocations.is_empty(), "nothing was revoked");
    }

    #[test]
    fn all_that_is_named_has_to_match() {
        let now = SystemTime::now();
        let revocations = Revocations::new(10);
        let refused = |whose: GrantSelector, topics: &[&str]| {
            let revocations = Revocations::new(10);
            revocations.add(whose, now, now + Duration::from_secs(60));
            let topics: Vec<Name> = topics.iter().map(|topic| name(topic)).collect();
            revocations.check(&grant("u", "s", "t", None), &topics).is_err()
        };
        let whose = |user: &str, session: &str, token: &str, topic: &str| {
            let named = |text: &str| (!text.is_empty()).then(|| name(text));
            GrantSelector {
                user: named(user),
                session: named(session),
                token: named(token),
                topic: named(topic),
            }
        };
        for (them, hit) in [
            (whose("u", "", "", ""), true),
            (whose("", "s", "", ""), true),
            (whose("", "", "t", ""), true),
            (whose("", "", "", "a"), true),
            (whose("u", "s", "t", "a"), true),
            (whose("u", "", "", "b"), false),
            (whose("v", "s", "", ""), false),
            (whose("", "", "", "b"), false),
            (whose("v", "", "", ""), false),
        ] {
            assert_eq!(refused(them.clone(), &["a"]), hit, "{them:?}");
        }
        revocations.add(GrantSelector::default(), now, now + Duration::from_secs(60));
        assert!(revocations.is_empty(), "nobody is not everybody");
    }

    #[test]
    fn a_grant_that_was_issued_later_is_good() {
        let now = SystemTime::now();
        let revocations = Revocations::new(10);
        let whose = GrantSelector { user: Some(name("u")), ..GrantSelector::default() };
        revocations.add(whose.clone(), now, now + Duration::from_secs(60));
        let second = Duration::from_secs(1);
        assert!(revocations.check(&grant("u", "s", "t", Some(now - second)), &[]).is_err());
        assert!(revocations.check(&grant("u", "s", "t", None), &[]).is_err());
        assert!(revocations.check(&grant("u", "s", "t", Some(now + second)), &[]).is_ok());
        revocations.add(whose, now - second, now - second);
        assert!(revocations.check(&grant("u", "s", "t", None), &[]).is_err(), "the later end counts");
    }

    #[test]
    fn what_is_over_or_too_much_is_forgotten() {
        let now = SystemTime::now();
        let revocations = Revocations::new(3);
        let whose = |n: u64| GrantSelector { user: Some(name(&n.to_string())), ..GrantSelector::default() };
        revocations.add(whose(0), now, now - Duration::from_secs(1));
        assert!(revocations.check(&grant("0", "s", "t", None), &[]).is_ok());
        revocations.trim();
        assert!(revocations.is_empty());
        for n in 1..=5 {
            revocations.add(whose(n), now, now + Duration::from_secs(60 * n));
        }
        let kept: Vec<u64> = (1..=5)
            .filter(|n| revocations.check(&grant(&n.to_string(), "s", "t", None), &[]).is_err())
            .collect();
        assert_eq!(kept, [3, 4, 5]);
    }
}
