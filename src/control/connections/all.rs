//! The open streams of all instances: a page of them, how many, one of them, and their end.
//!
//! Each instance answers for its own; the instance that is asked puts the answers together and names those that did not
//! answer. This file knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::auth::Revocations;
use crate::clock::unix_ms;
use crate::control::cluster::members::{Instance, InstanceId, Instances};
use crate::control::cluster::others::Cluster;
use crate::control::cluster::survey::{Collected, Recipients, Surveys};
use crate::control::connections::filter::{CloseMode, StreamFilter};
use crate::control::connections::local::LocalConnections;
use crate::control::connections::wire::{
    Completeness, ConnectionInfo, ConnectionPage, ConnectionsPart, ConnectionsQuestion, InstanceCount,
    StreamCount,
};
use crate::event::Name;
use crate::fanout::Fanout;
use crate::log::Log;

/// The kind of these questions.
const KIND: &str = "connections";
/// How long the other instances are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The streams of all instances.
pub struct Connections {
    surveys: Arc<Surveys>,
    instances: Arc<Instances>,
}

impl Connections {
    /// Answers for the streams of `fanout` from now on.
    pub fn new(fanout: Arc<Fanout>, log: Arc<Log>, revocations: Arc<Revocations>, cluster: &Cluster) -> Self {
        let Cluster { instances, surveys, .. } = cluster.clone();
        let here = LocalConnections::new(instances.me().clone(), fanout, log, revocations);
        surveys.register(KIND, Arc::new(here));
        Self { surveys, instances }
    }

    /// At most `limit` connections behind the client `after`.
    pub async fn list(&self, which: &StreamFilter, after: Option<&Name>, limit: usize) -> ConnectionPage {
        let question = ConnectionsQuestion::List { which: which.clone(), after: after.cloned(), limit };
        let collected = self.ask(&question, which).await;
        let from = Completeness::of(&collected);
        let pages = collected.answers.into_iter().map(|(_, parts)| {
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
    pub(in crate::control) async fn close(&self, which: &StreamFilter, mode: CloseMode) -> StreamCount {
        let away = match mode {
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
        let recipients = named.as_deref().map_or(Recipients::All, Recipients::Only);
        self.surveys.ask(KIND, question, recipients, PATIENCE).await
    }
}

/// The first `limit` of the instances' pages, each in order and with the word whether it goes on; and what the next
/// page begins behind.
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

fn totals(collected: Collected) -> StreamCount {
    let from = Completeness::of(&collected);
    let number = |parts: &[Value]| parts.first().and_then(Value::as_u64).unwrap_or(0) as usize;
    let instances: Vec<InstanceCount> = collected
        .answers
        .into_iter()
        .map(|(instance, parts)| InstanceCount { instance, streams: number(&parts) })
        .collect();
    StreamCount { total: instances.iter().map(|one| one.streams).sum(), instances, from }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::control::connections::wire::Behind;

    fn connection(client: &str) -> ConnectionInfo {
        ConnectionInfo {
            client: client.to_owned(),
            user: None,
            session: None,
            topics: vec![],
            topics_total: 0,
            patterns: vec![],
            address: IpAddr::from([127, 0, 0, 1]),
            path: "/events".to_owned(),
            start: None,
            meta: None,
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
}
