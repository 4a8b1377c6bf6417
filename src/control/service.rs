//! What is asked of the streams of all instances: done here, and sent to the others over the bus, if there is one.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::auth::{Full, Grant, GrantSelector, Revocations};
use crate::config;
use crate::control::bus::{Bus, OthersTold};
use crate::control::callers::Callers;
use crate::control::cluster::members::Instances;
use crate::control::cluster::message::{BusCommand, Revoke, StayAway};
use crate::control::cluster::others::Cluster;
use crate::control::cluster::survey::Surveys;
use crate::control::connections::{CloseMode, Connections, StreamCount, StreamFilter};
use crate::control::presence::Presence;
use crate::control::revoke;
use crate::control::revoke::{BadRevoke, Revoked};
use crate::control::topics::TopicAssignments;
use crate::fanout::{CloseReason, Fanout, Renewed, Selector};
use crate::lock::Mutex;
use crate::pace::Rate;
use crate::telemetry::{COMMANDS, Throttle};

/// The streams of all instances.
pub struct Control {
    pub(super) fanout: Arc<Fanout>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) bus: OnceLock<Arc<dyn Bus>>,
    revoke_for: Mutex<Duration>,
    pub(super) topics: Arc<TopicAssignments>,
    /// Who asks for streams of other instances.
    pub(super) callers: Callers,
    connections: Connections,
    pub(super) instances: Arc<Instances>,
    surveys: Arc<Surveys>,
    pub(super) presence: Arc<Presence>,
    /// Somebody has come, and waits to hear that this instance lives.
    pub(super) answer_new: Notify,
    /// Bounds the lines about revocations for which there is no room.
    full: Throttle,
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
            bus: OnceLock::new(),
            revoke_for: Mutex::new(settings.revoke_for),
            topics,
            callers: Callers::new(page_changes),
            connections,
            instances: cluster.instances,
            surveys: cluster.surveys,
            presence: cluster.presence,
            answer_new: Notify::new(),
            full: Throttle::default(),
        }
    }

    /// From now on grants are revoked for as long as `settings` say, and pages change topics at this rate.
    pub fn set(&self, settings: &config::Auth, page_changes: Rate) {
        *self.revoke_for.lock() = settings.revoke_for;
        self.callers.set(page_changes);
    }

    /// The topics that users, sessions and clients are given.
    pub fn topics(&self) -> &TopicAssignments {
        &self.topics
    }

    /// The open streams of all instances.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Closes streams on every instance. Those that shall stay away are kept out by instances that come later, too; the
    /// second answer is whether these know.
    pub async fn close(&self, which: &StreamFilter, mode: CloseMode) -> (StreamCount, OthersTold) {
        let away = async {
            let (CloseMode::StayAway(until), Some(away)) = (mode, which.selector()) else {
                return OthersTold::Nobody;
            };
            let message = BusCommand::Away(StayAway::new(&away, until)).into_bytes();
            self.tell(message, Some(until)).await
        };
        let (totals, told) = tokio::join!(self.connections.close(which, mode), away);
        let (closed, complete) = (totals.total, totals.from.complete);
        info!(closed, complete, come_back = mode == CloseMode::ComeBack, "streams closed on request");
        (totals, told)
    }

    /// From now on `bus` carries commands to the other instances. Once.
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
        let (selector, time) = revoke::parse(body, *self.revoke_for.lock())?;
        let at = SystemTime::now();
        let until = at + time;
        let message = BusCommand::Revoke(Revoke::new(&selector, at, until)).into_bytes();
        let (ended, told) =
            tokio::join!(self.end_revoked(selector, at, until), self.tell(message, Some(until)));
        let ended = ended?;
        let others = match told {
            OthersTold::Nobody => "none",
            OthersTold::Yes => "told",
            OthersTold::No(_) => "not told",
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

    /// Does what another instance, or this one, has asked for. `left` is for how long it is still to hold, where that
    /// is known better than by the message.
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

    pub(super) async fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> OthersTold {
        let Some(bus) = self.bus.get() else { return OthersTold::Nobody };
        match bus.tell(message, kept).await {
            Ok(()) => OthersTold::Yes,
            Err(error) => OthersTold::No(error),
        }
    }
}
