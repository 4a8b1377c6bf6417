//! Which instance reads a stream of the application for all: leases beside the stream in Redis, asked for over one
//! connection that is made when the first one is needed.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::event::Name;
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Repeat, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::supervise::Purpose;
use crate::redis::lease::commands::{
    LeaseCommands, LeaseKeys, LeaseState, LeasedAppend, LeasedEntry, LeasedOutcome, read_append, read_take,
};
use crate::redis::lease::place::LeasedState;
use crate::redis::log::entry::{EVENT, MARK, PATH, POLL, QUERY, UPSTREAM, UPSTREAM_ID};
use crate::shutdown::Drain;
use crate::upstream::{
    KeptState, LEFT_FOR, LeaseLook, LeaseStanding, LeasesAway, SharedAppend, SharedEntry, SharedOutcome,
    StreamLeases,
};

const PURPOSE: Purpose = Purpose {
    label: "upstream",
    connected: "connected to Redis for streams of the application",
    reconnected: "connected to Redis for streams of the application again",
    failed: "cannot reach Redis for streams of the application",
    meanwhile: "nothing is read of them",
};

/// Leases of streams of the application.
pub(in crate::redis) struct UpstreamLeases {
    outbox: Outbox<Leasing>,
    length: Duration,
    max_entry: usize,
}

/// What is asked of a lease.
enum LeaseRequest {
    Take { name: Name, known: Option<String> },
    Append(SharedAppend),
    Call { path: String, query: Option<String> },
}

enum LeaseAnswer {
    Told,
    Look(LeaseLook),
    Appended(SharedOutcome),
}

/// Leases as commands, and what the answers to them say.
struct Leasing {
    commands: LeaseCommands,
    prefix: Box<str>,
    stream: Box<str>,
}

impl UpstreamLeases {
    /// Starts the task that owns the connection; it ends when `drain` starts. The text of an entry may have `max_entry`
    /// bytes.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        (stream, prefix): (&config::RedisStream, &str),
        max_entry: usize,
        drain: &Drain,
    ) -> Self {
        let commands = LeaseCommands::new(stream, stream.source_lease, Some(LEFT_FOR), Duration::ZERO);
        let leasing = Leasing { commands, prefix: prefix.into(), stream: stream.key.as_str().into() };
        let config = OutboxConfig {
            limit: stream.timeout,
            max_answer: max_entry,
            ..OutboxConfig::new(endpoint, timing, &PURPOSE)
        };
        let outbox = Outbox::start(config, leasing, drain, Some(drain.clone()));
        Self { outbox, length: stream.source_lease, max_entry }
    }
}

impl StreamLeases for UpstreamLeases {
    fn length(&self) -> Duration {
        self.length
    }

    fn max_entry(&self) -> usize {
        self.max_entry
    }

    fn take<'a>(
        &'a self,
        name: &'a Name,
        known: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LeaseLook, LeasesAway>> {
        Box::pin(async move {
            let request = LeaseRequest::Take { name: name.clone(), known: known.map(str::to_owned) };
            match self.outbox.ask(request).await {
                Ok(LeaseAnswer::Look(look)) => Ok(look),
                Ok(_) | Err(_) => Err(LeasesAway),
            }
        })
    }

    fn call<'a>(&'a self, path: &'a str, query: Option<&'a str>) -> BoxFuture<'a, Result<(), LeasesAway>> {
        Box::pin(async move {
            let request = LeaseRequest::Call { path: path.to_owned(), query: query.map(str::to_owned) };
            self.outbox.ask(request).await.map(drop).map_err(|_| LeasesAway)
        })
    }

    fn append(&self, append: SharedAppend) -> BoxFuture<'_, Result<SharedOutcome, LeasesAway>> {
        Box::pin(async move {
            match self.outbox.ask(LeaseRequest::Append(append)).await {
                Ok(LeaseAnswer::Appended(outcome)) => Ok(outcome),
                Ok(_) | Err(_) => Err(LeasesAway),
            }
        })
    }
}

impl Leasing {
    fn keys(&self, name: &Name) -> LeaseKeys {
        LeaseKeys::new(&self.prefix, "upstream", &self.stream, Some(name.as_str()))
    }
}

impl Exchange for Leasing {
    type Request = LeaseRequest;
    type Answer = LeaseAnswer;

    const DOING: &'static str = "a lease of a stream of the application";

    fn size(request: &LeaseRequest) -> usize {
        const AROUND: usize = 2000;
        const AROUND_ENTRY: usize = 100;
        match request {
            LeaseRequest::Take { .. } => AROUND,
            LeaseRequest::Call { path, query } => {
                AROUND_ENTRY + path.len() + query.as_ref().map_or(0, String::len)
            }
            LeaseRequest::Append(append) => {
                let entries = append.entries.iter().map(|entry| match entry {
                    SharedEntry::Event { json, theirs } => {
                        AROUND_ENTRY + json.len() + theirs.as_ref().map_or(0, String::len)
                    }
                    SharedEntry::Mark => AROUND_ENTRY,
                });
                AROUND + append.state.len() + entries.sum::<usize>()
            }
        }
    }

    fn write(&mut self, to: &mut Vec<u8>, request: &LeaseRequest) {
        match request {
            LeaseRequest::Take { name, known } => {
                self.commands.write_take(to, &self.keys(name), known.as_deref());
            }
            LeaseRequest::Append(append) => {
                let SharedAppend { name, from, to: version, state, leaves, entries, .. } = append;
                let entries: Vec<_> = entries.iter().map(|entry| leased(name.as_str(), entry)).collect();
                let append = LeasedAppend { from, to: version, state, leaves: *leaves, entries: &entries };
                self.commands.write_append(to, &self.keys(name), &append);
            }
            LeaseRequest::Call { path, query } => {
                let mut fields = vec![MARK, POLL, PATH, path.as_bytes()];
                if let Some(query) = query {
                    fields.extend([QUERY, query.as_bytes()]);
                }
                self.commands.write_entry(to, &fields);
            }
        }
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &LeaseRequest,
    ) -> Result<Verdict<LeaseAnswer>, RedisError> {
        let answer = match request {
            LeaseRequest::Take { .. } => {
                read_take(connection, limit, Self::DOING).await.map(|(standing, place)| {
                    let standing = match standing {
                        LeaseState::Free => LeaseStanding::Free,
                        LeaseState::Ours => LeaseStanding::Ours,
                        LeaseState::Others(left) => LeaseStanding::Others(left),
                    };
                    let kept = place.state.map(|LeasedState { id, text }| KeptState { id, text });
                    LeaseAnswer::Look(LeaseLook { standing, version: place.version, kept })
                })
            }
            LeaseRequest::Call { .. } => match connection.token(limit, Self::DOING).await? {
                RespToken::Error(text) => Err(RedisError::refused(Self::DOING, &text, None)),
                _ => Ok(LeaseAnswer::Told),
            },
            LeaseRequest::Append(_) => read_append(connection, limit, Self::DOING).await.map(|outcome| {
                LeaseAnswer::Appended(match outcome {
                    LeasedOutcome::Done { last, .. } => SharedOutcome::Done(last),
                    LeasedOutcome::Lost => SharedOutcome::Lost,
                })
            }),
        };
        match answer {
            Ok(answer) => Ok(Verdict::Done(answer)),
            Err(error @ RedisError::Refused { .. }) => Ok(Verdict::Refused(error)),
            Err(error) => Err(error),
        }
    }

    /// Either may be done twice: the second time changes nothing.
    fn repeat(request: &LeaseRequest) -> Repeat {
        match request {
            LeaseRequest::Take { .. } | LeaseRequest::Call { .. } => Repeat::OnFreshConnection,
            LeaseRequest::Append(append) => Repeat::Until(append.until),
        }
    }
}

fn leased<'e>(name: &'e str, entry: &'e SharedEntry) -> LeasedEntry<'e> {
    let mut fields: Vec<&[u8]> = match entry {
        SharedEntry::Event { json, .. } => vec![EVENT, json.as_bytes()],
        SharedEntry::Mark => vec![MARK, UPSTREAM],
    };
    fields.extend([UPSTREAM, name.as_bytes()]);
    if let SharedEntry::Event { theirs: Some(theirs), .. } = entry {
        fields.extend([UPSTREAM_ID, theirs.as_bytes()]);
    }
    LeasedEntry { fields, once: None }
}
