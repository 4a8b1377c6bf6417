//! What operators and backends ask of the open streams, on every instance: to end, to go on for longer, to hear other
//! topics.
//!
//! Whatever is asked is done here and told to the other instances by a bus, if there is one. This room knows no
//! HTTP status and no Redis.

mod cluster;
mod connections;
mod history;
mod presence;
mod revoke;
mod topics;

pub use crate::control::cluster::members::{Instance, InstanceId, Instances};
pub use crate::control::cluster::survey::{Answers, Asks, Gathered, MAX_PART, MAX_PARTS, Whom};
pub use crate::control::connections::{
    CONNECTIONS, Connection, ConnectionPage, Connections, Heard, InstanceCount, MAX_CONNECTIONS, Parting,
    StreamCount, Which,
};
pub use crate::control::history::{EventPage, MAX_PAGE, NoPage, Since, history};
pub use crate::control::presence::{
    BadWhom, Heed, Here, Kind, NotSpoken, Noticed, OnInstance, OnTopic, Page, Presence, Speaking, Totals,
    Voice, Where,
};
pub use crate::control::revoke::{BadRevoke, Revoked};
pub use crate::control::topics::{
    Answer, BadTopics, NotSent, Owner, Peers, Refused, Topics, parse_change, parse_set,
};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tracing::{debug, info};

use crate::auth::{Bearer, Revocations, Whose};
use crate::config;
use crate::control::cluster::message::{Away, Command, Renew, Revoke};
use crate::fanout::{End, Fanout, Renewal, Renewed, Selector};
use crate::future::BoxFuture;
use crate::telemetry::COMMANDS;

/// Carries commands to every instance, this one included.
pub trait Bus: Send + Sync {
    /// Sends `message`; with `kept` it is also kept until then for instances that are away now, or not there yet.
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Telling<'_>;
}

/// A command on its way.
pub type Telling<'a> = BoxFuture<'a, Result<(), NotTold>>;

/// The other instances may not have been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is done on this instance, but the others could not be told: ask again when Redis is back")]
pub struct NotTold;

/// The streams of all instances.
pub struct Control {
    fanout: Arc<Fanout>,
    revocations: Arc<Revocations>,
    bus: std::sync::OnceLock<Arc<dyn Bus>>,
    revoke_for: Duration,
    topics: Arc<Topics>,
    connections: Connections,
    instances: Arc<Instances>,
    asks: Arc<Asks>,
    presence: Arc<Presence>,
    /// Somebody has come, and waits to hear that this instance lives.
    answer_new: tokio::sync::Notify,
}

/// The other instances, how they are asked, and who is on them.
#[derive(Clone)]
pub struct Cluster {
    pub instances: Arc<Instances>,
    pub asks: Arc<Asks>,
    pub presence: Arc<Presence>,
}

impl Control {
    pub fn new(
        settings: &config::Auth,
        fanout: Arc<Fanout>,
        revocations: Arc<Revocations>,
        topics: Arc<Topics>,
        cluster: Cluster,
        connections: Connections,
    ) -> Self {
        Self {
            fanout,
            revocations,
            bus: std::sync::OnceLock::new(),
            revoke_for: settings.revoke_for,
            topics,
            connections,
            instances: cluster.instances,
            asks: cluster.asks,
            presence: cluster.presence,
            answer_new: tokio::sync::Notify::new(),
        }
    }

    /// The topics that users, sessions and clients are given.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The open streams of all instances.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Closes streams on every instance. Who shall stay away is kept out by instances that come later, too; the second
    /// answer is whether these could be told, None when there is nothing to tell.
    pub async fn close(&self, which: &Which, parting: Parting) -> (StreamCount, Option<Result<(), NotTold>>) {
        let away = async {
            let Parting::StayAway(until) = parting else { return None };
            let message = Command::Away(Away::new(&which.whose()?, until)).into_bytes();
            self.tell(message, Some(until)).await
        };
        let (totals, told) = tokio::join!(self.connections.close(which, parting), away);
        let (closed, complete) = (totals.total, totals.from.complete);
        info!(closed, complete, come_back = parting == Parting::ComeBack, "streams closed on request");
        (totals, told)
    }

    /// From now on the other instances are told by `bus`. Once.
    pub fn connect(&self, bus: Arc<dyn Bus>) {
        self.asks.connect(Arc::clone(&bus));
        let _ = self.bus.set(bus);
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
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Takes grants back: whoever they were for is kept out from now on, and their streams end. `body` is the JSON
    /// that says whose.
    pub async fn revoke(&self, body: &[u8]) -> Result<Revoked, BadRevoke> {
        let (whose, time) = revoke::parse(body, self.revoke_for)?;
        let at = SystemTime::now();
        let until = at + time;
        let message = Command::Revoke(Revoke::new(&whose, at, until)).into_bytes();
        let (ended, told) = tokio::join!(self.end_revoked(whose, at, until), self.tell(message, Some(until)));
        let others = match told {
            None => "none",
            Some(Ok(())) => "told",
            Some(Err(NotTold)) => "not told",
        };
        info!(ended, others, for_seconds = time.as_secs(), "grants revoked");
        Ok(Revoked { ended, told, until })
    }

    /// Gives the stream of `renewal` on another instance its new time, if `bearer` may. False when there is no other
    /// instance to ask, or none could be asked.
    pub async fn renew_elsewhere(&self, renewal: &Renewal, bearer: &Bearer) -> bool {
        let message = Command::Renew(Renew::new(renewal, bearer)).into_bytes();
        matches!(self.tell(message, None).await, Some(Ok(())))
    }

    /// Does what another instance, or this one, has asked for.
    pub async fn hear(&self, message: &[u8]) {
        let command = Command::parse(message);
        let kind = match &command {
            Some(Command::Revoke(_)) => "revoke",
            Some(Command::Renew(_)) => "renew",
            Some(Command::Away(_)) => "away",
            Some(Command::Alive(_)) => "alive",
            Some(Command::Bye(_)) => "bye",
            Some(Command::Ask(_)) => "ask",
            Some(Command::Answer(_)) => "answer",
            Some(Command::Changed(_) | Command::Everybody(_) | Command::Want(_)) => "presence",
            None => "unknown",
        };
        metrics::counter!(COMMANDS, "kind" => kind).increment(1);
        match command {
            Some(Command::Revoke(revoke)) => {
                let Some((whose, at, until)) = revoke.read() else { return };
                if until <= SystemTime::now() {
                    return;
                }
                let ended = self.end_revoked(whose, at, until).await;
                debug!(ended, "grants revoked by another instance's word");
            }
            Some(Command::Renew(renew)) => {
                let (renewal, bearer) = renew.read();
                let renewed = self.fanout.renew(renewal, move |keys| bearer.may_hold(keys)).await;
                debug!(done = matches!(renewed, Renewed::Yes), "a renewal that another instance verified");
            }
            Some(Command::Away(away)) => {
                let Some((whose, until)) = away.read() else { return };
                if until > SystemTime::now() {
                    self.revocations.send_away(whose, until);
                }
            }
            Some(Command::Alive(alive)) => self.hear_alive(&alive),
            Some(Command::Bye(bye)) => self.hear_bye(&bye),
            Some(Command::Ask(ask)) => self.asks.asked(ask),
            Some(Command::Answer(answer)) => self.asks.answered(answer),
            Some(Command::Changed(changed)) => self.presence.hear_changed(changed),
            Some(Command::Everybody(everybody)) => self.presence.hear_everybody(everybody),
            Some(Command::Want(want)) => self.presence.hear_want(&want),
            None => debug!("a command that is not known here is passed over"),
        }
    }

    async fn end_revoked(&self, whose: Whose, at: SystemTime, until: SystemTime) -> usize {
        let which = Selector { keys: whose.keys(), token: whose.token.clone() };
        // First, so that nobody slips in behind the end.
        self.revocations.add(whose, at, until);
        self.fanout.end(&which, End::Revoked).await
    }

    /// None when there is nobody to tell.
    async fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Option<Result<(), NotTold>> {
        match self.bus.get() {
            Some(bus) => Some(bus.tell(message, kept).await),
            None => None,
        }
    }
}
