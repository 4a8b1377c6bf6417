//! What operators and backends ask of the open streams, on every instance: to end, to go on for longer, to hear other
//! topics.
//!
//! Whatever is asked is done here and told to the other instances by a bus, if there is one. This room knows no
//! HTTP status and no Redis.

mod cluster;
mod connections;
mod history;
mod page_topics;
mod presence;
mod revoke;
mod topic_list;
mod topics;

pub use crate::control::cluster::members::{Instance, InstanceId, Instances};
pub use crate::control::cluster::survey::{
    Collected, MAX_PART, MAX_PARTS, Recipients, SurveyResponder, Surveys,
};
pub use crate::control::connections::{
    CONNECTIONS, CloseMode, Completeness, ConnectionInfo, ConnectionPage, Connections, InstanceCount,
    MAX_CONNECTIONS, StreamCount, StreamFilter,
};
pub use crate::control::history::{EventPage, MAX_PAGE, NoPage, Since, history};
pub use crate::control::page_topics::{NotPassedOn, PageChange, PageChangeError};
pub use crate::control::presence::{
    BadUserList, EventPublisher, Kind, OnInstance, OnTopic, OnlineUsers, Presence, PresenceChange,
    PresenceListener, PresencePage, PublishError, Publishing, Totals, UserPresence,
};
pub use crate::control::revoke::{BadRevoke, Revoked};
pub use crate::control::topic_list::{ListedTopic, MAX_TOPICS, TopicList, TopicPage};
pub use crate::control::topics::{
    BadTopics, HolderTopics, TopicAssignments, TopicBus, TopicBusError, TopicEditError, parse_change,
    parse_page_change, parse_set,
};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::auth::{Full, Grant, GrantSelector, Revocations};
use crate::config;
use crate::control::cluster::message::{BusCommand, Revoke, StayAway};
use crate::control::page_topics::Callers;
use crate::fanout::{CloseReason, Fanout, Renewed, Selector};
use crate::future::BoxFuture;
use crate::pace::Rate;
use crate::telemetry::{COMMANDS, Throttle};

/// Carries commands to every instance, this one included.
pub trait Bus: Send + Sync {
    /// Sends `message`; with `kept` it is also kept until then for instances that are away now, or not there yet.
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Sending<'_>;
}

/// A command on its way.
pub type Sending<'a> = BoxFuture<'a, Result<(), BusError>>;

/// The other instances may not have been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is done on this instance, but the others could not be told: ask again when Redis is back")]
pub struct BusError;

/// The streams of all instances.
pub struct Control {
    fanout: Arc<Fanout>,
    revocations: Arc<Revocations>,
    bus: std::sync::OnceLock<Arc<dyn Bus>>,
    revoke_for: Duration,
    topics: Arc<TopicAssignments>,
    /// Who asks for streams of other instances.
    callers: Callers,
    connections: Connections,
    instances: Arc<Instances>,
    surveys: Arc<Surveys>,
    presence: Arc<Presence>,
    /// Somebody has come, and waits to hear that this instance lives.
    answer_new: tokio::sync::Notify,
    /// Bounds the lines about revocations for which there is no room.
    full: Throttle,
}

/// The other instances, how they are asked, and who is on them.
#[derive(Clone)]
pub struct Cluster {
    pub instances: Arc<Instances>,
    pub surveys: Arc<Surveys>,
    pub presence: Arc<Presence>,
}

impl Control {
    pub fn new(
        settings: &config::Auth,
        page_changes: Rate,
        fanout: Arc<Fanout>,
        revocations: Arc<Revocations>,
        topics: Arc<TopicAssignments>,
        cluster: Cluster,
        connections: Connections,
    ) -> Self {
        Self {
            fanout,
            revocations,
            bus: std::sync::OnceLock::new(),
            revoke_for: settings.revoke_for,
            topics,
            callers: Callers::new(page_changes),
            connections,
            instances: cluster.instances,
            surveys: cluster.surveys,
            presence: cluster.presence,
            answer_new: tokio::sync::Notify::new(),
            full: Throttle::default(),
        }
    }

    /// The topics that users, sessions and clients are given.
    pub fn topics(&self) -> &TopicAssignments {
        &self.topics
    }

    /// The open streams of all instances.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Closes streams on every instance. Who shall stay away is kept out by instances that come later, too; the second
    /// answer is whether these could be told, None when there is nothing to tell.
    pub async fn close(
        &self,
        which: &StreamFilter,
        mode: CloseMode,
    ) -> (StreamCount, Option<Result<(), BusError>>) {
        let away = async {
            let CloseMode::StayAway(until) = mode else { return None };
            let message = BusCommand::Away(StayAway::new(&which.selector()?, until)).into_bytes();
            self.tell(message, Some(until)).await
        };
        let (totals, told) = tokio::join!(self.connections.close(which, mode), away);
        let (closed, complete) = (totals.total, totals.from.complete);
        info!(closed, complete, come_back = mode == CloseMode::ComeBack, "streams closed on request");
        (totals, told)
    }

    /// From now on the other instances are told by `bus`. Once.
    pub fn connect(&self, bus: Arc<dyn Bus>) {
        self.surveys.connect(Arc::clone(&bus));
        let _ = self.bus.set(bus);
    }

    /// The open streams of this instance.
    pub fn fanout(&self) -> Arc<Fanout> {
        Arc::clone(&self.fanout)
    }

    /// The living instances.
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Who is there, on all instances.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// How the other instances are asked.
    pub fn surveys(&self) -> &Surveys {
        &self.surveys
    }

    /// Takes grants back: their users are kept out from now on, and their streams end. `body` is the JSON
    /// that says whose.
    pub async fn revoke(&self, body: &[u8]) -> Result<Revoked, BadRevoke> {
        let (selector, time) = revoke::parse(body, self.revoke_for)?;
        let at = SystemTime::now();
        let until = at + time;
        let message = BusCommand::Revoke(Revoke::new(&selector, at, until)).into_bytes();
        let (ended, told) =
            tokio::join!(self.end_revoked(selector, at, until), self.tell(message, Some(until)));
        let ended = ended?;
        let others = match told {
            None => "none",
            Some(Ok(())) => "told",
            Some(Err(BusError)) => "not told",
        };
        info!(ended, others, for_seconds = time.as_secs(), "grants revoked");
        Ok(Revoked { ended, told, until })
    }

    /// Why the holder of `grant` would not be let in although the grant is good: it was taken back, or they were sent
    /// away.
    pub fn keeps_out(&self, grant: &Grant) -> Option<&'static str> {
        if self.revocations.is_away(grant, &[]) {
            return Some("sent_away");
        }
        self.revocations.check(grant, &[]).is_err().then_some("revoked")
    }

    /// Does what another instance, or this one, has asked for. `left` is for how long it is still to hold, where that is
    /// known better than by the message.
    pub async fn receive(&self, message: &[u8], left: Option<Duration>) {
        let command = BusCommand::parse(message);
        let kind = match &command {
            Some(BusCommand::Revoke(_)) => "revoke",
            Some(BusCommand::Renew(_)) => "renew",
            Some(BusCommand::ChangeOwn(_)) => "change_own",
            Some(BusCommand::Away(_)) => "away",
            Some(BusCommand::Alive(_)) => "alive",
            Some(BusCommand::Bye(_)) => "bye",
            Some(BusCommand::Ask(_)) => "ask",
            Some(BusCommand::Answer(_)) => "answer",
            Some(BusCommand::Changed(_) | BusCommand::Everybody(_) | BusCommand::Want(_)) => "presence",
            None => "unknown",
        };
        metrics::counter!(COMMANDS, "kind" => kind).increment(1);
        match command {
            Some(BusCommand::Revoke(revoke)) => {
                // Open streams end, whatever time is left.
                let Some((selector, at, until)) = revoke.read(left) else { return };
                match self.end_revoked(selector, at, until).await {
                    Ok(ended) => debug!(ended, "grants revoked by another instance"),
                    Err(error) => self.warn_full(&error),
                }
            }
            Some(BusCommand::Renew(renew)) => {
                let (renewal, bearer) = renew.read();
                self.renew_here(renewal, bearer).await;
            }
            Some(BusCommand::ChangeOwn(change)) => {
                let changed = self.change_here(change.read()).await;
                debug!(
                    done = matches!(changed, Renewed::Yes(_)),
                    "a page's change that another instance verified"
                );
            }
            Some(BusCommand::Away(away)) => {
                let Some((selector, until)) = away.read(left) else { return };
                if until > SystemTime::now()
                    && let Err(error) = self.revocations.send_away(selector, until)
                {
                    self.warn_full(&error);
                }
            }
            Some(BusCommand::Alive(alive)) => self.on_alive(&alive),
            Some(BusCommand::Bye(bye)) => self.on_bye(&bye),
            Some(BusCommand::Ask(ask)) => self.surveys.asked(ask),
            Some(BusCommand::Answer(answer)) => self.surveys.answered(answer),
            Some(BusCommand::Changed(changed)) => self.presence.on_changed(changed),
            Some(BusCommand::Everybody(everybody)) => self.presence.on_snapshot(everybody),
            Some(BusCommand::Want(want)) => self.presence.on_snapshot_request(&want),
            None => debug!("a command that is not known here is passed over"),
        }
    }

    /// Ends the streams also where the revocation cannot be kept.
    async fn end_revoked(
        &self,
        selector: GrantSelector,
        at: SystemTime,
        until: SystemTime,
    ) -> Result<usize, Full> {
        let which = Selector { keys: selector.keys(), token: selector.token.clone() };
        // First, so that nobody slips in behind the end.
        let kept = self.revocations.add(selector, at, until);
        let ended = self.fanout.end(&which, CloseReason::Revoked).await;
        kept.map(|()| ended)
    }

    fn warn_full(&self, error: &Full) {
        if let Some(suppressed) = self.full.pass() {
            warn!(suppressed, %error, "a revocation of another instance is not kept here");
        }
    }

    /// None when there is nobody to tell.
    async fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Option<Result<(), BusError>> {
        match self.bus.get() {
            Some(bus) => Some(bus.tell(message, kept).await),
            None => None,
        }
    }
}
