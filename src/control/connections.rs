//! The open streams of all instances: a page of them, how many, one of them, and their end.
//!
//! Each instance answers for its own; whoever was asked puts the answers together and says who did not answer. This
//! file knows no HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use tracing::warn;

use crate::auth::{GrantSelector, Revocations};
use crate::clock::{from_unix_ms, unix_ms};
use crate::control::Cluster;
use crate::control::cluster::members::{Instance, InstanceId, Instances};
use crate::control::cluster::survey::{Collected, MAX_PART, MAX_PARTS, Recipients, SurveyResponder, Surveys};
use crate::event::{Key, Name};
use crate::fanout::{CloseReason, Fanout, Filter, Listed};
use crate::future::BoxFuture;
use crate::log::Log;

/// Connections on a page, at most and unless it is said.
pub const MAX_CONNECTIONS: usize = 1000;
pub const CONNECTIONS: usize = 100;

/// The kind of these questions.
const KIND: &str = "connections";
/// How long the other instances are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many events a stream is counted to be behind, and no more: counting holds the log's lock.
const COUNTED: usize = 1000;
/// How many of a stream's topics are named.
const TOPICS: usize = 100;
/// A part is filled up to here; one more connection fits.
const PART: usize = MAX_PART / 2;

/// Which streams are meant: all that is given has to be so.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The id or the name of an instance. It decides who is asked, so it is not part of the question.
    #[serde(skip)]
    pub instance: Option<String>,
}

/// How streams are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseMode {
    /// Their clients may come back.
    ComeBack,
    /// Whoever they are shall stay away until then.
    StayAway(SystemTime),
}

/// An open stream, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionInfo {
    pub client: String,
    pub user: Option<String>,
    pub session: Option<String>,
    /// In the order of their names; not all when there are very many.
    pub topics: Vec<String>,
    /// How many topics it holds.
    pub topics_total: usize,
    pub address: IpAddr,
    /// The path of its route, as it is configured.
    pub path: String,
    pub instance: Instance,
    /// RFC 3339.
    pub opened: String,
    pub age_seconds: u64,
    /// Events.
    pub sent: u64,
    /// The id up to which it has everything.
    pub position: String,
    pub behind: Behind,
    /// Its client takes no more for now.
    pub blocked: bool,
}

/// How many events are stored for a stream that it has not got.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Behind {
    pub events: usize,
    /// There are more; they were not counted.
    pub more: bool,
}

/// Some of the connections, by their clients.
#[derive(Debug, Serialize)]
pub struct ConnectionPage {
    pub connections: Vec<ConnectionInfo>,
    /// What the next page begins behind; none when there is none.
    pub next: Option<String>,
    #[serde(flatten)]
    pub from: Completeness,
}

/// How many streams there are, or were closed.
#[derive(Debug, Serialize)]
pub struct StreamCount {
    pub total: usize,
    pub instances: Vec<InstanceCount>,
    #[serde(flatten)]
    pub from: Completeness,
}

/// The same of one instance.
#[derive(Debug, Serialize)]
pub struct InstanceCount {
    #[serde(flatten)]
    pub instance: Instance,
    pub streams: usize,
}

/// Whether every living instance has answered.
#[derive(Debug, Serialize)]
pub struct Completeness {
    pub complete: bool,
    /// Who has not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<Instance>,
}

/// A question as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConnectionsQuestion {
    List {
        which: StreamFilter,
        after: Option<Name>,
        limit: usize,
    },
    Count {
        which: StreamFilter,
    },
    /// `away` is in milliseconds since the Unix epoch; None = they may come back.
    Close {
        which: StreamFilter,
        away: Option<u64>,
    },
}

/// A part of an instance's page.
#[derive(Serialize, Deserialize)]
struct ConnectionsPart {
    connections: Vec<ConnectionInfo>,
    /// It has more behind the last of the last part.
    more: bool,
}

/// This instance's answers.
struct LocalConnections {
    me: Instance,
    fanout: Arc<Fanout>,
    log: Arc<Log>,
    revocations: Arc<Revocations>,
}

/// The streams of all instances.
pub struct Connections {
    asks: Arc<Surveys>,
    instances: Arc<Instances>,
}

impl StreamFilter {
    /// Whether nothing is said of them: all are meant.
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether whoever they are is known again, and can be kept out.
    pub fn is_remembered(&self) -> bool {
        self.whose().is_some()
    }

    /// Whose streams they are, when a user or a session says so and nothing that a new connection has not got.
    pub(super) fn whose(&self) -> Option<GrantSelector> {
        let known = self.client.is_none() && self.address.is_none() && self.instance.is_none();
        let named = self.user.is_some() || self.session.is_some();
        (known && named).then(|| GrantSelector {
            user: self.user.clone(),
            session: self.session.clone(),
            topic: self.topic.clone(),
            token: None,
        })
    }

    fn filter(&self) -> Filter {
        let user = self.user.clone().map(Key::User);
        let session = self.session.clone().map(Key::Session);
        let client = self.client.clone().map(Key::Client);
        let topic = self.topic.clone().map(Key::Topic);
        let keys = user.into_iter().chain(session).chain(client).chain(topic).collect();
        Filter { keys, address: self.address }
    }
}

impl Connections {
    /// Answers for the streams of `fanout` from now on.
    pub fn new(fanout: Arc<Fanout>, log: Arc<Log>, revocations: Arc<Revocations>, cluster: &Cluster) -> Self {
        let Cluster { instances, asks, .. } = cluster.clone();
        let here = LocalConnections { me: instances.me().clone(), fanout, log, revocations };
        asks.teach(KIND, Arc::new(here));
        Self { asks, instances }
    }

    /// At most `limit` connections behind the client `after`.
    pub async fn list(&self, which: &StreamFilter, after: Option<&Name>, limit: usize) -> ConnectionPage {
        let question = ConnectionsQuestion::List { which: which.clone(), after: after.cloned(), limit };
        let gathered = self.ask(&question, which).await;
        let from = Completeness::of(&gathered);
        let pages = gathered.answers.into_iter().map(|(_, parts)| {
            let parts =
                parts.into_iter().filter_map(|part| serde_json::from_value::<ConnectionsPart>(part).ok());
            parts.fold((Vec::new(), false), |(mut all, _), mut part| {
                all.append(&mut part.connections);
                (all, part.more)
            })
        });
        let (connections, next) = merge(pages, limit);
        ConnectionPage { connections, next, from }
    }

    /// The connection of a client: the other instances are asked only if it is not here.
    pub async fn one(&self, which: &StreamFilter) -> ConnectionPage {
        let here = StreamFilter { instance: Some(self.instances.me().id.to_string()), ..which.clone() };
        let page = self.list(&here, None, 1).await;
        if page.connections.is_empty() { self.list(which, None, 1).await } else { page }
    }

    /// How many streams there are, by instance.
    pub async fn count(&self, which: &StreamFilter) -> StreamCount {
        totals(self.ask(&ConnectionsQuestion::Count { which: which.clone() }, which).await)
    }

    /// Closes them.
    pub(super) async fn close(&self, which: &StreamFilter, parting: CloseMode) -> StreamCount {
        let away = match parting {
            CloseMode::ComeBack => None,
            CloseMode::StayAway(until) => Some(unix_ms(until)),
        };
        totals(self.ask(&ConnectionsQuestion::Close { which: which.clone(), away }, which).await)
    }

    async fn ask(&self, question: &ConnectionsQuestion, which: &StreamFilter) -> Collected {
        let question = serde_json::to_value(question).expect("texts and numbers are JSON");
        let named: Option<Vec<InstanceId>> = which.instance.as_ref().map(|named| {
            let living = self.instances.living();
            let is_meant = |one: &&Instance| one.name == *named || one.id.as_str() == named;
            living.iter().filter(is_meant).map(|one| one.id.clone()).collect()
        });
        let whom = named.as_deref().map_or(Recipients::All, Recipients::Only);
        self.asks.ask(KIND, question, whom, PATIENCE).await
    }
}

impl SurveyResponder for LocalConnections {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            match serde_json::from_value(question) {
                Ok(ConnectionsQuestion::List { which, after, limit }) => {
                    self.list(&which, after.as_ref(), limit.min(MAX_CONNECTIONS)).await
                }
                Ok(ConnectionsQuestion::Count { which }) => {
                    vec![self.fanout.count(&which.filter()).await.into()]
                }
                Ok(ConnectionsQuestion::Close { which, away }) => {
                    vec![self.close(&which, away.map(from_unix_ms)).await.into()]
                }
                // Of a later release.
                Err(_) => Vec::new(),
            }
        })
    }
}

impl LocalConnections {
    async fn list(&self, which: &StreamFilter, after: Option<&Name>, limit: usize) -> Vec<Value> {
        // One more than is told, to know whether there is more.
        let mut listed = self.fanout.list(&which.filter(), after, limit + 1).await;
        let mut more = listed.len() > limit;
        listed.truncate(limit);
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut connections = Vec::new();
        for one in listed {
            if bytes > PART {
                if parts.len() + 1 == MAX_PARTS {
                    more = true;
                    break;
                }
                parts.push(ConnectionsPart { connections: std::mem::take(&mut connections), more: true });
                bytes = 0;
            }
            let connection = self.tell(one);
            bytes += serde_json::to_vec(&connection).map_or(0, |text| text.len());
            connections.push(connection);
            // Counting what somebody is behind takes its time.
            tokio::task::yield_now().await;
        }
        parts.push(ConnectionsPart { connections, more });
        parts.iter().map(|part| serde_json::to_value(part).expect("texts and numbers are JSON")).collect()
    }

    fn tell(&self, one: Listed) -> ConnectionInfo {
        let named =
            |kind: fn(&Key) -> bool| one.keys.iter().find(|key| kind(key)).map(|key| key.name().to_owned());
        let (user, session) =
            (named(|key| matches!(key, Key::User(_))), named(|key| matches!(key, Key::Session(_))));
        let topics = one.keys.iter().filter(|key| matches!(key, Key::Topic(_)));
        let mut topics: Vec<String> = topics.map(|key| key.name().to_owned()).collect();
        topics.sort_unstable();
        let topics_total = topics.len();
        topics.truncate(TOPICS);
        let behind = if one.live { 0 } else { self.log.count(&one.keys, one.cursor, COUNTED + 1) };
        ConnectionInfo {
            client: one.client.to_string(),
            user,
            session,
            topics,
            topics_total,
            address: one.address,
            path: one.route.as_ref().to_owned(),
            instance: self.me.clone(),
            opened: humantime::format_rfc3339_millis(one.opened).to_string(),
            age_seconds: one.open_for.as_secs(),
            sent: one.sent,
            position: self.log.id_at(one.cursor).to_string(),
            behind: Behind { events: behind.min(COUNTED), more: behind > COUNTED },
            blocked: one.blocked,
        }
    }

    async fn close(&self, which: &StreamFilter, away: Option<SystemTime>) -> usize {
        let end = match (away, which.whose()) {
            (None, _) => CloseReason::Kicked,
            (Some(until), Some(whose)) => {
                // First, so that nobody slips in behind the end.
                if let Err(error) = self.revocations.send_away(whose, until) {
                    warn!(%error, "streams are closed, but their clients may come back");
                }
                CloseReason::SentAway
            }
            (Some(_), None) => CloseReason::SentFarAway,
        };
        self.fanout.end_all(&which.filter(), end).await
    }
}

impl Completeness {
    fn of(gathered: &Collected) -> Self {
        Self { complete: gathered.is_complete(), silent: gathered.silent.clone() }
    }
}

/// The first `limit` of the instances' pages, each in order and with the word whether it goes on; and what the next page
/// begins behind.
fn merge(
    pages: impl Iterator<Item = (Vec<ConnectionInfo>, bool)>,
    limit: usize,
) -> (Vec<ConnectionInfo>, Option<String>) {
    let mut all: Vec<ConnectionInfo> = Vec::new();
    // Behind the end of a page that goes on, nothing is known of that instance.
    let mut known: Option<String> = None;
    for (page, more) in pages {
        if let Some(last) = page.last().filter(|_| more)
            && known.as_ref().is_none_or(|known| last.client < *known)
        {
            known = Some(last.client.clone());
        }
        all.extend(page);
    }
    all.sort_unstable_by(|one, other| one.client.cmp(&other.client));
    let before = all.len();
    if let Some(known) = &known {
        all.retain(|one| one.client <= *known);
    }
    all.truncate(limit);
    let more = known.is_some() || all.len() < before;
    let next = all.last().filter(|_| more).map(|last| last.client.clone());
    (all, next)
}

fn totals(gathered: Collected) -> StreamCount {
    let from = Completeness::of(&gathered);
    let number = |parts: &[Value]| parts.first().and_then(Value::as_u64).unwrap_or(0) as usize;
    let instances: Vec<InstanceCount> = gathered
        .answers
        .into_iter()
        .map(|(instance, parts)| InstanceCount { instance, streams: number(&parts) })
        .collect();
    StreamCount { total: instances.iter().map(|one| one.streams).sum(), instances, from }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(client: &str) -> ConnectionInfo {
        ConnectionInfo {
            client: client.to_owned(),
            user: None,
            session: None,
            topics: vec![],
            topics_total: 0,
            address: IpAddr::from([127, 0, 0, 1]),
            path: "/events".to_owned(),
            instance: Instance { id: "a".to_owned().try_into().unwrap(), name: "a".to_owned() },
            opened: String::new(),
            age_seconds: 0,
            sent: 0,
            position: "1-0".to_owned(),
            behind: Behind::default(),
            blocked: false,
        }
    }

    fn merged(pages: &[(&[&str], bool)], limit: usize) -> (Vec<String>, Option<String>) {
        let pages = pages
            .iter()
            .map(|(clients, more)| (clients.iter().map(|client| connection(client)).collect(), *more));
        let (page, next) = merge(pages, limit);
        (page.into_iter().map(|one| one.client).collect(), next)
    }

    #[test]
    fn pages_of_instances_become_one_that_leaves_nobody_out() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(merged(&[], 3), (vec![], None));
        assert_eq!(merged(&[(&["a", "c"], false), (&["b"], false)], 3), (texts(&["a", "b", "c"]), None));
        let (page, next) = merged(&[(&["a", "c"], false), (&["b", "d"], false)], 3);
        assert_eq!((page, next.as_deref()), (texts(&["a", "b", "c"]), Some("c")));
        // The first instance was cut short at `b`: it may have one between `b` and `c`.
        let (page, next) = merged(&[(&["a", "b"], true), (&["c", "d"], false)], 3);
        assert_eq!((page, next.as_deref()), (texts(&["a", "b"]), Some("b")));
    }

    #[test]
    fn only_who_can_be_known_again_is_remembered() {
        let name = |text: &str| Some(Name::parse(text).unwrap());
        let user = StreamFilter { user: name("u"), ..StreamFilter::default() };
        assert_eq!(user.whose(), Some(GrantSelector { user: name("u"), ..GrantSelector::default() }));
        assert_eq!(StreamFilter { client: name("c"), ..user.clone() }.whose(), None);
        assert_eq!(StreamFilter { address: Some(IpAddr::from([127, 0, 0, 1])), ..user }.whose(), None);
        assert_eq!(StreamFilter { topic: name("t"), ..StreamFilter::default() }.whose(), None);
    }
}
