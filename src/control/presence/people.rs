//! The presence of one instance among the others: its own counts, its view of all, and what it tells and is told.
//!
//! Invariant: no lock is held while something is told or spoken. This file must not know how a message travels.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::crowd::{Moment, Slot};
use super::local::Local;
use super::post::Post;
use super::view::{Edge, Entry, Kind, Piece, Says, View};
use super::wire::{Changed, Everybody, NAMES, People, Want};
use crate::config;
use crate::control::ask::Asks;
use crate::control::command::Command;
use crate::control::instances::{InstanceId, Instances};
use crate::event::Name;
use crate::fanout::{Fanout, Watcher};
use crate::shutdown::Drain;
use crate::telemetry::{PRESENCE_COMPLETE, PRESENCE_DROPPED, PRESENCE_RESYNCS, PRESENCE_USERS};

/// Somebody is there who was not, or is gone for longer than the grace: on all instances together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noticed {
    /// A user came online or went offline; a topic was occupied or is empty.
    pub kind: Kind,
    pub name: Name,
    pub here: bool,
    pub at: SystemTime,
}

/// Is told of edges, in their order, on the one instance that speaks of them. It must not wait.
///
/// At least once: when the instance that speaks dies, the next one repeats what it may not have said.
pub trait Heed: Send + Sync {
    fn noticed(&self, noticed: &Noticed);
}

/// Who is where.
pub struct Presence {
    pub(super) instances: Arc<Instances>,
    pub(super) asks: Arc<Asks>,
    pub(super) fanout: Arc<Fanout>,
    local: Arc<Local>,
    state: Mutex<State>,
    start: Instant,
    grace: Duration,
    /// Something has to be told to the others.
    pub(in crate::control) to_tell: Notify,
    /// Something has to be spoken.
    pub(super) to_speak: Notify,
    pub(super) heeds: OnceLock<Arc<dyn Heed>>,
    pub(super) settings: config::Presence,
}

struct State {
    post: Post,
    spoken: VecDeque<Edge>,
    resyncs: u64,
}

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// How many edges may wait to be spoken.
const MAX_SPOKEN: usize = 200_000;
/// Before the first moment of a view: nothing it looks at is older.
const BEFORE: u64 = 3_600_000;

/// Where a user is.
#[derive(Debug, Serialize)]
pub struct Where {
    pub user: String,
    pub online: bool,
    /// Open streams on all instances.
    pub streams: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    pub instances: Vec<OnInstance>,
    /// Whether every living instance could be heard.
    pub complete: bool,
}

/// How much is on an instance.
#[derive(Debug, Serialize)]
pub struct OnInstance {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<usize>,
    pub streams: u64,
}

/// Which of some users are here.
#[derive(Debug, Serialize)]
pub struct Here {
    pub users: BTreeMap<String, bool>,
    pub complete: bool,
}

/// Some of those who are here.
#[derive(Debug, Serialize)]
pub struct Page {
    pub users: Vec<String>,
    /// The cursor of the next page, where there is more.
    pub next: Option<String>,
    pub complete: bool,
}

/// How much there is in all.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Users with a stream, and those who left within the grace.
    pub users: usize,
    pub streams: u64,
    /// The instance that answers.
    pub here: String,
    pub instances: Vec<OnInstance>,
    pub complete: bool,
}

/// Why a list of users is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadWhom {
    #[error("the body is not what it has to be: {0}")]
    Json(String),
    #[error("more than {max} users at once")]
    TooMany { max: usize },
}

/// How many users may be asked for at once.
const MAX_ASKED: usize = 10_000;

impl Presence {
    /// Counts the streams of `fanout` from now on. With `topics`, topics are watched as well; `alone` says that there
    /// are no other instances.
    pub fn new(
        settings: &config::Presence,
        instances: Arc<Instances>,
        asks: Arc<Asks>,
        fanout: Arc<Fanout>,
        topics: bool,
        alone: bool,
    ) -> Self {
        let local = Arc::new(Local::new(topics));
        fanout.watch(&(Arc::clone(&local) as Arc<dyn Watcher>));
        let grace = u64::try_from(settings.grace.as_millis()).unwrap_or(u64::MAX / 2);
        let view = View::new(instances.me().id.clone(), grace, alone);
        let state = State { post: Post::new(view), spoken: VecDeque::new(), resyncs: 0 };
        Self {
            instances,
            asks,
            fanout,
            local,
            state: Mutex::new(state),
            start: Instant::now(),
            grace: settings.grace,
            to_tell: Notify::new(),
            to_speak: Notify::new(),
            heeds: OnceLock::new(),
            settings: settings.clone(),
        }
    }

    /// From now on `heeds` is told of the edges that this instance speaks. Once.
    pub fn heed(&self, heeds: Arc<dyn Heed>) {
        let _ = self.heeds.set(heeds);
    }

    /// For how long somebody may be away without being gone.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Gathers what changes here, until `life` starts.
    pub(in crate::control) async fn gather_all(self: Arc<Self>, life: Drain) {
        loop {
            tokio::select! {
                biased;
                () = life.started() => return,
                () = self.local.changed.notified() => {}
            }
            // A crowd that comes at once is told of in few messages.
            tokio::time::sleep(GATHER).await;
            self.gather();
        }
    }

    /// Takes over what has changed here.
    pub(in crate::control) fn gather(&self) {
        let changed = self.local.take();
        if changed.is_empty() {
            return;
        }
        let now = self.now();
        let mut state = self.state();
        let others = state.post.has_others();
        let edges = state.post.here(changed, now);
        self.speak(state, edges);
        if others {
            self.to_tell.notify_one();
        }
    }

    /// What goes along with a sign of life.
    pub(in crate::control) fn says(&self) -> People {
        let streams = self.local.streams();
        let state = self.state();
        People::new(Says { seq: state.post.seq, settled: state.post.view.is_settled(), streams })
    }

    /// The next message to the others; None when all is told. What is wanted as a whole comes by `everybody`.
    pub(in crate::control) fn next_message(&self) -> Option<Command> {
        let now = self.now();
        let (seq, entries) = self.state().post.next(NAMES, now)?;
        let changed = Changed::new(self.instances.me().id.clone(), seq, entries);
        Some(Command::Changed(changed))
    }

    /// Everything that is here, in pieces, if somebody wants it.
    pub(in crate::control) fn everybody(&self) -> Option<impl Iterator<Item = Command> + use<>> {
        let now = self.now();
        let (seq, entries) = self.state().post.everything(now)?;
        debug!(names = entries.len(), "another instance is told everybody who is here");
        let from = self.instances.me().id.clone();
        let count = entries.len().div_ceil(NAMES).max(1);
        let mut entries = entries.into_iter();
        Some((0..count).map(move |nth| {
            let entries: Vec<Entry> = entries.by_ref().take(NAMES).collect();
            let piece = Piece { seq, nth, last: nth + 1 == count, entries };
            Command::Everybody(Everybody::new(from.clone(), piece))
        }))
    }

    /// Whom to ask for everything now.
    pub(in crate::control) fn to_ask(&self) -> Vec<Command> {
        let now = self.now();
        let mut state = self.state();
        let ask = state.post.view.ask_for(now);
        let resyncs = state.post.view.resyncs;
        metrics::counter!(PRESENCE_RESYNCS)
            .increment(resyncs - std::mem::replace(&mut state.resyncs, resyncs));
        ask.into_iter().map(|of| Command::Want(Want { of })).collect()
    }

    pub(in crate::control) fn hear_alive(&self, from: &InstanceId, people: People) {
        let now = self.now();
        self.state().post.view.alive(from, people.read(), now);
        self.to_tell.notify_one();
    }

    pub(in crate::control) fn hear_changed(&self, changed: Changed) {
        let (from, seq, now) = (changed.from.clone(), changed.seq, self.now());
        let entries = changed.read();
        let mut state = self.state();
        let edges = state.post.view.told(&from, seq, &entries, now);
        self.speak(state, edges);
    }

    pub(in crate::control) fn hear_everybody(&self, everybody: Everybody) {
        let (from, now) = (everybody.from.clone(), self.now());
        let piece = everybody.read();
        let mut state = self.state();
        let edges = state.post.view.piece(&from, piece, now);
        self.speak(state, edges);
    }

    pub(in crate::control) fn hear_want(&self, want: &Want) {
        if want.of == self.instances.me().id {
            self.state().post.wanted = true;
            self.to_tell.notify_one();
        }
    }

    /// Another instance is gone, and was last heard of then.
    pub(in crate::control) fn left(&self, id: &InstanceId, heard: Instant) {
        let now = self.now();
        let mono = BEFORE + millis(heard.saturating_duration_since(self.start));
        let heard = Moment { mono, wall: now.wall.saturating_sub(now.mono.saturating_sub(mono)) };
        let mut state = self.state();
        let edges = state.post.view.left(id, heard, now);
        self.speak(state, edges);
    }

    /// Time passes; `hearing` says whether the others are heard. Returns whether this instance has come to know enough
    /// to speak, or does so no longer: the others want to know at once.
    pub(in crate::control) fn turn(&self, hearing: bool) -> bool {
        let now = self.now();
        let mut state = self.state();
        let before = state.post.view.is_settled();
        let edges = state.post.view.turn(hearing, now);
        metrics::gauge!(PRESENCE_USERS).set(state.post.view.len(Kind::User) as f64);
        metrics::gauge!(PRESENCE_COMPLETE).set(f64::from(u8::from(state.post.view.is_complete())));
        let after = state.post.view.is_settled();
        self.speak(state, edges);
        self.to_tell.notify_one();
        before != after
    }

    /// Leaves the edges to the herald, in their order.
    fn speak(&self, mut state: MutexGuard<'_, State>, edges: Vec<Edge>) {
        if edges.is_empty() {
            return;
        }
        state.spoken.extend(edges);
        let over = state.spoken.len().saturating_sub(MAX_SPOKEN);
        state.spoken.drain(..over);
        drop(state);
        if over > 0 {
            metrics::counter!(PRESENCE_DROPPED).increment(over as u64);
            warn!(over, "more people come and go than can be told; some are not told of");
        }
        self.to_speak.notify_one();
    }

    /// What has to be spoken, oldest first, `limit` at most.
    pub(super) fn spoken(&self, limit: usize) -> Vec<Noticed> {
        let mut state = self.state();
        let limit = limit.min(state.spoken.len());
        let noticed = |Edge { kind, change }: Edge| Noticed {
            kind,
            name: change.name,
            here: change.here,
            at: UNIX_EPOCH + Duration::from_millis(change.at),
        };
        state.spoken.drain(..limit).map(noticed).collect()
    }

    /// Where a user is.
    pub fn user(&self, user: &Name) -> Where {
        let state = self.state();
        let complete = state.post.view.is_complete();
        let standing = state.post.view.standing(Kind::User, user);
        let on = standing.iter().flat_map(|standing| &standing.on);
        let on: Vec<(InstanceId, u64)> = on
            .filter_map(|(slot, count)| Some((state.post.view.at(*slot)?.clone(), u64::from(*count))))
            .collect();
        drop(state);
        let instances: Vec<OnInstance> =
            on.into_iter().map(|(id, streams)| self.on_instance(&id, None, streams)).collect();
        let since = standing.as_ref().map(|standing| time(standing.since));
        Where {
            user: user.to_string(),
            online: standing.is_some(),
            streams: instances.iter().map(|one| one.streams).sum(),
            since,
            instances,
            complete,
        }
    }

    /// Which of the users that `body` names are here: a JSON array, or an object with it as `users`.
    pub fn users(&self, body: &[u8]) -> Result<Here, BadWhom> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whom {
            users: Vec<String>,
        }
        let bad = |bad: serde_json::Error| BadWhom::Json(bad.to_string());
        let is_array = body.trim_ascii_start().starts_with(b"[");
        let users: Vec<String> = if is_array {
            serde_json::from_slice(body).map_err(bad)?
        } else {
            serde_json::from_slice::<Whom>(body).map_err(bad)?.users
        };
        if users.len() > MAX_ASKED {
            return Err(BadWhom::TooMany { max: MAX_ASKED });
        }
        let state = self.state();
        let here =
            |user: &String| Name::parse(user).is_ok_and(|user| state.post.view.is_here(Kind::User, &user));
        let complete = state.post.view.is_complete();
        let users =
            users.into_iter().map(|user| (here(&user), user)).map(|(here, user)| (user, here)).collect();
        Ok(Here { users, complete })
    }

    /// Up to `limit` users who are here, after the one that `cursor` names.
    pub fn page(&self, cursor: Option<&Name>, limit: usize) -> Page {
        let state = self.state();
        let complete = state.post.view.is_complete();
        let mut users = state.post.view.page(Kind::User, cursor, limit + 1);
        drop(state);
        let more = users.len() > limit;
        users.truncate(limit);
        let next = users.last().filter(|_| more).map(ToString::to_string);
        Page { users: users.iter().map(ToString::to_string).collect(), next, complete }
    }

    /// How much there is in all, and where.
    pub fn totals(&self) -> Totals {
        let own = self.local.streams();
        let state = self.state();
        let complete = state.post.view.is_complete();
        let users = state.post.view.len(Kind::User);
        let by_slot = state.post.view.by_slot(Kind::User);
        let count = |slot: Slot| Some(by_slot.get(&slot).copied().unwrap_or(0));
        let me = self.instances.me().id.clone();
        let mut all = vec![(me.clone(), count(0), own)];
        all.extend(state.post.view.others().map(|(id, slot, says)| (id.clone(), count(slot), says.streams)));
        drop(state);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let streams = all.iter().map(|(.., streams)| streams).sum();
        let instances =
            all.iter().map(|(id, users, streams)| self.on_instance(id, *users, *streams)).collect();
        Totals { users, streams, here: me.to_string(), instances, complete }
    }

    /// Whether everything is known that the others have.
    pub(super) fn hears_all(&self) -> bool {
        self.state().post.view.is_complete()
    }

    fn on_instance(&self, id: &InstanceId, users: Option<usize>, streams: u64) -> OnInstance {
        let living = self.instances.living();
        let name = living.iter().find(|one| one.id == *id).map_or_else(String::new, |one| one.name.clone());
        OnInstance { id: id.to_string(), name, users, streams }
    }

    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { mono: BEFORE + millis(self.start.elapsed()), wall: millis(wall) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

fn time(ms: u64) -> String {
    // A time that cannot be written is none of ours.
    const FAR: u64 = 1 << 47;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(FAR))).to_string()
}
