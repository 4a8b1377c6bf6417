//! The topics that a page changes of its own stream: made on the instance that has the stream, and nowhere else.
//!
//! What a page asks for stays out of what all streams share: it takes no place of the log's, and is asked only so often.
//! It is judged where the stream is, by what is known at that moment; and the stream lives no longer than the token by
//! which it was changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::auth::{Bearer, Denied, Revocations};
use crate::control::Control;
use crate::control::cluster::message::{BusCommand, ChangeOwn, Renew};
use crate::control::topics::{HolderTopics, TopicAssignments};
use crate::event::{Key, Name};
use crate::expiring::ExpiringMap;
use crate::fanout::{Binding, CloseReason, MAX_TOKENS, Renewal, Renewed, Selector, StreamView};
use crate::lock::Mutex;
use crate::log::{BadEdit, Edited, TopicEdit};
use crate::pace::{Pace, Rate};

/// A change that a page asks for, with the token that it presents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageChange {
    pub renewal: Renewal,
    pub bearer: Bearer,
    /// The path of the route, as it is configured: the stream's own.
    pub route: Arc<str>,
    pub add: Vec<Name>,
    pub remove: Vec<Name>,
}

/// Why it is not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PageChangeError {
    #[error("{0}")]
    Denied(Denied),
    #[error("whoever this is was sent away")]
    Away,
    #[error("{0}")]
    Edit(#[from] BadEdit),
    #[error("too often: limits.topic_changes_per_minute")]
    TooOften(Duration),
    #[error(
        "the stream lives by {MAX_TOKENS} tokens already: renew it with one that grants all of its topics"
    )]
    TooManyTokens,
    #[error(transparent)]
    NotPassedOn(#[from] NotPassedOn),
    /// The stream is not here; where it is, the change is made.
    #[error("no such stream is open on this instance; the others were told")]
    PassedOn,
}

/// Why the other instances were not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPassedOn {
    #[error("no such stream is open here")]
    Nobody,
    #[error("too often: limits.topic_changes_per_minute")]
    TooOften(Duration),
}

/// How often callers ask for streams that are not here.
pub(super) struct Callers {
    rate: Rate,
    paces: Mutex<ExpiringMap<Box<str>, Pace>>,
}

/// How many callers are remembered.
const MAX_CALLERS: usize = 10_000;

/// A caller may have several streams, and all of them elsewhere.
const STREAMS_OF_A_CALLER: u32 = 10;

impl Callers {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, paces: Mutex::new(ExpiringMap::new(MAX_CALLERS)) }
    }

    fn take(&self, bearer: &Bearer, address: IpAddr) -> Result<(), Duration> {
        let grant = &bearer.grant;
        let caller = match (&grant.user, &grant.session, &grant.token) {
            (Some(user), ..) => format!("user {user}"),
            (None, Some(session), _) => format!("session {session}"),
            (None, None, Some(token)) => format!("token {token}"),
            (None, None, None) => address.to_string(),
        };
        let (now, rate) =
            (Instant::now(), Rate { per_minute: self.rate.per_minute.saturating_mul(STREAMS_OF_A_CALLER) });
        let mut paces = self.paces.lock();
        let mut pace = paces.get(&*caller, now).copied().unwrap_or_default();
        pace.take(rate, now)?;
        let free = pace.free().unwrap_or(now);
        paces.insert(caller.into(), pace, free, now);
        Ok(())
    }
}

impl Control {
    /// Changes the topics of a page's own stream: here, or on the instance that has it.
    pub async fn change_own(
        &self,
        change: PageChange,
        from: IpAddr,
    ) -> Result<HolderTopics, PageChangeError> {
        match self.change_here(change.clone()).await {
            Renewed::Yes(edited) => Ok(self.topics.answer(&Key::Client(change.renewal.client), edited)),
            Renewed::No(error) => Err(error),
            Renewed::NotHere => {
                self.pass_on(BusCommand::ChangeOwn(ChangeOwn::new(&change)), &change.bearer, from).await?;
                Err(PageChangeError::PassedOn)
            }
        }
    }

    /// Has the stream of `renewal` renewed on another instance, if `bearer` may.
    pub async fn renew_elsewhere(
        &self,
        renewal: &Renewal,
        bearer: &Bearer,
        from: IpAddr,
    ) -> Result<(), NotPassedOn> {
        self.pass_on(BusCommand::Renew(Renew::new(renewal, bearer)), bearer, from).await
    }

    async fn pass_on(&self, command: BusCommand, bearer: &Bearer, from: IpAddr) -> Result<(), NotPassedOn> {
        let bus = self.bus.get().ok_or(NotPassedOn::Nobody)?;
        self.callers.take(bearer, from).map_err(NotPassedOn::TooOften)?;
        bus.tell(command.into_bytes(), None).await.map_err(|_| NotPassedOn::Nobody)
    }

    pub(super) async fn change_here(&self, change: PageChange) -> Renewed<Edited, PageChangeError> {
        let (bearer, add) = (change.bearer.clone(), change.add.clone());
        let client = Key::Client(change.renewal.client.clone());
        let (topics, revocations) = (Arc::clone(&self.topics), Arc::clone(&self.revocations));
        let rate = self.callers.rate;
        let renewal = change.renewal.clone();
        let changed =
            self.fanout.bind(renewal, move |stream| change.make(stream, &revocations, rate, &topics)).await;
        if matches!(changed, Renewed::Yes(_)) {
            self.end_if_revoked(&bearer, &add, client);
        }
        changed
    }

    /// Renews a stream for which another instance has verified the token.
    pub(super) async fn renew_here(&self, renewal: Renewal, bearer: Bearer) {
        let client = Key::Client(renewal.client.clone());
        let judge = {
            let (bearer, revocations) = (bearer.clone(), Arc::clone(&self.revocations));
            move |keys: &[Key]| {
                bearer.may_hold(keys)?;
                revocations.check(&bearer.grant, &topics_of(keys))
            }
        };
        let renewed = self.fanout.renew(renewal, judge).await;
        let done = matches!(renewed, Renewed::Yes(()));
        if done {
            self.end_if_revoked(&bearer, &[], client);
        }
        debug!(done, "a renewal that another instance verified");
    }

    /// Ends a stream whose token was taken back between the judgement and now.
    fn end_if_revoked(&self, bearer: &Bearer, topics: &[Name], client: Key) {
        let end = match self.revocations.check(&bearer.grant, topics) {
            Err(_) => CloseReason::Revoked,
            Ok(()) if self.revocations.is_away(&bearer.grant, topics) => CloseReason::SentAway,
            Ok(()) => return,
        };
        self.fanout.end_soon(&Selector { keys: [client].into(), token: None }, end);
    }
}

impl PageChange {
    /// On the stream's own shard.
    fn make(
        self,
        stream: StreamView<'_>,
        revocations: &Revocations,
        rate: Rate,
        topics: &TopicAssignments,
    ) -> Result<(Edited, Binding), PageChangeError> {
        let Self { renewal, bearer, route, add, remove } = self;
        if *stream.route != route || !bearer.owns(stream.asked) {
            return Err(PageChangeError::Denied(Denied::NotYourStream));
        }
        if let Some(topic) = add.iter().find(|topic| !bearer.grant.topics.allow(topic)) {
            return Err(PageChangeError::Denied(Denied::TopicNotGranted(topic.clone())));
        }
        revocations.check(&bearer.grant, &add).map_err(PageChangeError::Denied)?;
        if revocations.is_away(&bearer.grant, &add) {
            return Err(PageChangeError::Away);
        }
        stream.pace.take(rate, Instant::now()).map_err(PageChangeError::TooOften)?;
        let grants_all = bearer.may_hold(stream.asked).is_ok();
        let is_known = renewal.token.as_ref().is_none_or(|token| stream.tokens.contains(token));
        if !grants_all && !is_known && stream.tokens.len() >= MAX_TOKENS {
            return Err(PageChangeError::TooManyTokens);
        }
        let edited = topics.edit_by_page(&Key::Client(renewal.client), TopicEdit::Change { add, remove })?;
        Ok((edited, if grants_all { Binding::InPlace } else { Binding::Beside }))
    }
}

fn topics_of(keys: &[Key]) -> Vec<Name> {
    let topic = |key: &Key| if let Key::Topic(name) = key { Some(name.clone()) } else { None };
    keys.iter().filter_map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;

    #[test]
    fn callers_are_told_apart_by_what_is_known_of_them() {
        let callers = Callers::new(Rate { per_minute: 1 });
        let name = |text: &str| Name::parse(text).ok();
        let bearer = |user: &str, session: &str, token: &str| Bearer {
            grant: Grant { token: name(token), ..Grant::open(name(user), name(session)) },
            of_route: vec![],
        };
        let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        // Everybody behind one proxy has its address: it counts for those of whom nothing else is known.
        for caller in [bearer("u", "", ""), bearer("", "u", ""), bearer("", "", "u"), bearer("", "", "")] {
            for _ in 0..STREAMS_OF_A_CALLER {
                assert_eq!(callers.take(&caller, here), Ok(()), "{caller:?}");
            }
            assert!(callers.take(&caller, here).is_err(), "{caller:?}");
        }
        assert!(callers.take(&bearer("u", "s", "t"), there).is_err(), "the same user, wherever they are");
        assert_eq!(callers.take(&bearer("", "", ""), there), Ok(()));
    }
}
