//! Grants that were taken back before their time, and for how long their holders are kept out.
//!
//! A grant that was issued after it was taken back is a new one, and good: a new login works. One that does not say
//! when it was issued is kept out until the time is over. Bounded: at the bound a new one is refused, so that nobody
//! who was kept out gets in again.
//!
//! Beside them those who were sent away: their grants are good, and still they shall not come back for a while.

use crate::lock::Mutex;
use crate::telemetry::REVOCATIONS_REFUSED;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::auth::denied::Denied;
use crate::auth::grant::Grant;
use crate::event::{Key, Name, TopicFilter};

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

    fn matches(&self, grant: &Grant, topics: &[TopicFilter]) -> bool {
        let same = |named: &Option<Name>, has: &Option<Name>| named.is_none() || named == has;
        same(&self.user, &grant.user)
            && same(&self.session, &grant.session)
            && same(&self.token, &grant.token)
            && self.topic.as_ref().is_none_or(|topic| topics.iter().any(|asked| asked.hears(topic)))
    }
}

/// In an order in which topics come first, and those that begin alike stand together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Handle {
    Topic(Name),
    Token(Name),
    Session(Name),
    User(Name),
}

/// When grants were taken back, and until when their holders are kept out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    at: SystemTime,
    /// By a clock that nobody sets: a wall clock that goes wrong for a while lets nobody in.
    until: Instant,
}

/// All that are in force.
pub struct Revocations {
    max: AtomicUsize,
    spans: Mutex<Spans>,
    away: Mutex<Spans>,
}

/// Longer than anything may be asked for.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// There is no room for one more revocation: `auth.max_revocations` are in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("auth.max_revocations are in force: this one is not kept, and nothing else is forgotten for it")]
pub struct Full;

/// Spans by what they are found by, and in the order of their ends. Both hold the same ones.
#[derive(Default)]
struct Spans {
    by_handle: BTreeMap<Handle, Vec<Revocation>>,
    by_end: BTreeMap<(Instant, u64), Handle>,
    /// How many there ever were.
    count: u64,
}

struct Revocation {
    number: u64,
    selector: GrantSelector,
    span: Span,
}

impl Revocations {
    /// At most `max` are kept, and as many of those who were sent away.
    pub fn new(max: usize) -> Self {
        Self { max: max.into(), spans: Mutex::default(), away: Mutex::default() }
    }

    /// From now on at most `max` are kept. Those in force stay, also where they are more.
    pub fn bound(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// From now on keeps them out until `until`; `at` is when their grants were taken back. The same ones again: the
    /// later times count. One more than there is room for is refused: those in force are not forgotten for it.
    pub fn add(&self, selector: GrantSelector, at: SystemTime, until: SystemTime) -> Result<(), Full> {
        self.enter(&self.spans, selector, at, until)
    }

    /// From now on these are sent away until `until`, whatever they come with. Refused as in [`add`](Self::add).
    pub fn send_away(&self, selector: GrantSelector, until: SystemTime) -> Result<(), Full> {
        // No grant is newer than one that will be issued when it is over.
        self.enter(&self.away, selector, until, until)
    }

    fn enter(
        &self,
        spans: &Mutex<Spans>,
        selector: GrantSelector,
        at: SystemTime,
        until: SystemTime,
    ) -> Result<(), Full> {
        let left = until.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST);
        let span = Span { at, until: Instant::now() + left };
        let Some(handle) = selector.handle() else { return Ok(()) };
        let entered = spans.lock().enter(handle, selector, span, self.max.load(Ordering::Relaxed));
        if entered.is_err() {
            metrics::counter!(REVOCATIONS_REFUSED).increment(1);
        }
        entered
    }

    /// Whether a stream for `topics` may be opened with `grant`.
    pub fn check(&self, grant: &Grant, topics: &[TopicFilter]) -> Result<(), Denied> {
        if has(&self.spans, grant, topics) { Err(Denied::Revoked) } else { Ok(()) }
    }

    /// Whether the holder of `grant`, coming for `topics`, was sent away.
    pub fn is_away(&self, grant: &Grant, topics: &[TopicFilter]) -> bool {
        has(&self.away, grant, topics)
    }

    /// Lets go of those whose time is over.
    pub fn trim(&self) {
        for spans in [&self.spans, &self.away] {
            spans.lock().trim(Instant::now());
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.spans.lock().by_end.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Spans {
    fn enter(&mut self, handle: Handle, selector: GrantSelector, span: Span, max: usize) -> Result<(), Full> {
        let same = self.by_handle.get_mut(&handle);
        let known = same.and_then(|same| same.iter_mut().find(|known| known.selector == selector));
        if let Some(known) = known {
            self.by_end.remove(&(known.span.until, known.number));
            known.span = Span { at: known.span.at.max(span.at), until: known.span.until.max(span.until) };
            self.by_end.insert((known.span.until, known.number), handle);
            return Ok(());
        }
        if self.by_end.len() >= max {
            self.trim(Instant::now());
            if self.by_end.len() >= max {
                return Err(Full);
            }
        }
        let number = self.count;
        self.count += 1;
        self.by_end.insert((span.until, number), handle.clone());
        self.by_handle.entry(handle).or_default().push(Revocation { number, selector, span });
        Ok(())
    }

    /// Those that name nothing but a topic that `pattern` matches: of all topics only those are looked at that begin
    /// as it does.
    fn of_topics<'s>(&'s self, pattern: &'s TopicFilter) -> impl Iterator<Item = &'s Revocation> {
        let head = pattern.as_str().split('*').next().unwrap_or_default();
        let from = Name::parse(head).map_or(Bound::Unbounded, |head| Bound::Included(Handle::Topic(head)));
        let topics = self.by_handle.range((from, Bound::Unbounded));
        let alike = topics.take_while(
            move |(handle, _)| matches!(handle, Handle::Topic(topic) if topic.as_str().starts_with(head)),
        );
        let matched =
            alike.filter(|(handle, _)| matches!(handle, Handle::Topic(topic) if pattern.hears(topic)));
        matched.flat_map(|(_, revocations)| revocations)
    }

    fn trim(&mut self, now: Instant) {
        while let Some(first) = self.by_end.first_entry()
            && first.key().0 <= now
        {
            let ((_, number), handle) = first.remove_entry();
            let Some(same) = self.by_handle.get_mut(&handle) else { continue };
            same.retain(|known| known.number != number);
            if same.is_empty() {
                self.by_handle.remove(&handle);
            }
        }
    }
}

/// Whether one that is in force is for `grant` and `topics`.
fn has(spans: &Mutex<Spans>, grant: &Grant, topics: &[TopicFilter]) -> bool {
    let now = Instant::now();
    let spans = spans.lock();
    if spans.by_end.is_empty() {
        return false;
    }
    let token = grant.token.clone().map(Handle::Token);
    let session = grant.session.clone().map(Handle::Session);
    let user = grant.user.clone().map(Handle::User);
    let handles = token.into_iter().chain(session).chain(user);
    let named = |topic: &TopicFilter| match topic {
        TopicFilter::Topic(name) => Some(Handle::Topic(name.clone())),
        TopicFilter::Pattern(_) => None,
    };
    let handles = handles.chain(topics.iter().filter_map(named));
    let in_force = |Revocation { selector, span, .. }: &Revocation| {
        let newer = grant.issued.is_some_and(|issued| issued > span.at);
        span.until > now && !newer && selector.matches(grant, topics)
    };
    let patterns = topics.iter().filter(|topic| topic.is_pattern());
    handles.filter_map(|handle| spans.by_handle.get(&handle)).flatten().any(in_force)
        || patterns.flat_map(|asked| spans.of_topics(asked)).any(in_force)
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
        revocations.send_away(user.clone(), later).unwrap();
        for issued in [None, Some(now), Some(now + Duration::from_secs(30))] {
            let grant = grant("u", "s", "t", issued);
            assert!(revocations.is_away(&grant, &[]));
            assert!(revocations.check(&grant, &[]).is_ok(), "the grant is good");
        }
        assert!(!revocations.is_away(&grant("v", "s", "t", None), &[]));
        revocations.send_away(GrantSelector { user: Some(name("w")), ..user }, now).unwrap();
        assert!(!revocations.is_away(&grant("w", "s", "t", None), &[]), "its time is over");
        assert!(revocations.is_empty(), "nothing was revoked");
    }

    #[test]
    fn all_that_is_named_has_to_match() {
        let now = SystemTime::now();
        let revocations = Revocations::new(10);
        let refused = |selector: GrantSelector, topics: &[&str]| {
            let revocations = Revocations::new(10);
            revocations.add(selector, now, now + Duration::from_secs(60)).unwrap();
            let topics: Vec<TopicFilter> =
                topics.iter().map(|topic| TopicFilter::parse_pattern(topic).unwrap()).collect();
            revocations.check(&grant("u", "s", "t", None), &topics).is_err()
        };
        let selector = |user: &str, session: &str, token: &str, topic: &str| {
            let named = |text: &str| (!text.is_empty()).then(|| name(text));
            GrantSelector {
                user: named(user),
                session: named(session),
                token: named(token),
                topic: named(topic),
            }
        };
        for (them, hit) in [
            (selector("u", "", "", ""), true),
            (selector("", "s", "", ""), true),
            (selector("", "", "t", ""), true),
            (selector("", "", "", "a"), true),
            (selector("u", "s", "t", "a"), true),
            (selector("u", "", "", "b"), false),
            (selector("v", "s", "", ""), false),
            (selector("", "", "", "b"), false),
            (selector("v", "", "", ""), false),
            (selector("", "", "", "p:1"), true),
            (selector("u", "", "", "p:1"), true),
            (selector("v", "", "", "p:1"), false),
            (selector("", "", "", "p"), false),
            (selector("", "", "", "p:1:x"), false),
        ] {
            assert_eq!(refused(them.clone(), &["a", "p:*1"]), hit, "{them:?}");
        }
        revocations.add(GrantSelector::default(), now, now + Duration::from_secs(60)).unwrap();
        assert!(revocations.is_empty(), "nobody is not everybody");
    }

    #[test]
    fn a_grant_that_was_issued_later_is_good() {
        let now = SystemTime::now();
        let revocations = Revocations::new(10);
        let selector = GrantSelector { user: Some(name("u")), ..GrantSelector::default() };
        revocations.add(selector.clone(), now, now + Duration::from_secs(60)).unwrap();
        let second = Duration::from_secs(1);
        assert!(revocations.check(&grant("u", "s", "t", Some(now - second)), &[]).is_err());
        assert!(revocations.check(&grant("u", "s", "t", None), &[]).is_err());
        assert!(revocations.check(&grant("u", "s", "t", Some(now + second)), &[]).is_ok());
        revocations.add(selector, now - second, now - second).unwrap();
        assert!(revocations.check(&grant("u", "s", "t", None), &[]).is_err(), "the later end counts");
    }

    #[test]
    fn what_is_over_is_forgotten_and_what_is_too_much_is_refused() {
        let now = SystemTime::now();
        let revocations = Revocations::new(3);
        let selector =
            |n: u64| GrantSelector { user: Some(name(&n.to_string())), ..GrantSelector::default() };
        revocations.add(selector(0), now, now - Duration::from_secs(1)).unwrap();
        assert!(revocations.check(&grant("0", "s", "t", None), &[]).is_ok());
        revocations.trim();
        assert!(revocations.is_empty());
        for n in 1..=3 {
            revocations.add(selector(n), now, now + Duration::from_secs(60 * n)).unwrap();
        }
        let later = now + Duration::from_secs(600);
        assert_eq!(revocations.add(selector(4), now, later), Err(Full), "nobody is let in again for it");
        assert_eq!(revocations.add(selector(1), now, later), Ok(()), "one that is known may last longer");
        let kept: Vec<u64> = (1..=5)
            .filter(|n| revocations.check(&grant(&n.to_string(), "s", "t", None), &[]).is_err())
            .collect();
        assert_eq!(kept, [1, 2, 3]);
    }

    #[test]
    fn one_more_costs_nothing_with_100_000_in_force() {
        let now = SystemTime::now();
        let revocations = Revocations::new(100_000);
        let selector =
            |n: u64| GrantSelector { user: Some(name(&n.to_string())), ..GrantSelector::default() };
        // With a walk through all for each, these would take hours.
        for n in 0..200_000 {
            let _ = revocations.add(selector(n), now, now + Duration::from_secs(60 + n % 7));
        }
        assert_eq!(revocations.len(), 100_000);
    }
}
