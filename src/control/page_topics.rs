//! The topics that a page changes of its own stream: made on the instance that has the stream, and nowhere else.
//!
//! What a page asks for stays out of what all streams share: it takes no place of the log's, and is asked only so
//! often. It is judged where the stream is, by what is known at that moment; and the stream lives no longer than the
//! token by which it was changed.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::debug;

use crate::auth::Bearer;
use crate::control::cluster::message::{BusCommand, ChangeOwn, Renew};
use crate::control::page_change::{NotPassedOn, PageChange, PageChangeError};
use crate::control::service::Control;
use crate::control::topics::HolderTopics;
use crate::event::{Key, TopicFilter};
use crate::fanout::{CloseReason, Renewal, Renewed, Selector};
use crate::log::Edited;

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
        let rate = self.callers.rate();
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
    fn end_if_revoked(&self, bearer: &Bearer, topics: &[TopicFilter], client: Key) {
        let end = match self.revocations.check(&bearer.grant, topics) {
            Err(_) => CloseReason::Revoked,
            Ok(()) if self.revocations.is_away(&bearer.grant, topics) => CloseReason::SentAway,
            Ok(()) => return,
        };
        self.fanout.end_soon(&Selector { keys: [client].into(), token: None }, end);
    }
}

fn topics_of(keys: &[Key]) -> Vec<TopicFilter> {
    keys.iter().filter_map(TopicFilter::of).collect()
}
