//! Starting daemons and the servers around them, and talking to them. Everything started here ends with its value.

mod backend;
mod browser;
mod daemon;
mod express;
mod h2;
mod http;
mod peer;
mod program;
mod redis;
mod redis_group;
mod session_app;
mod shell;
mod sse;
mod tls;
mod token;
mod wire;

use std::future::Future;
use std::time::Duration;

pub(crate) use backend::{Backend, Node};
pub(crate) use browser::Browser;
pub(crate) use daemon::{Daemon, KEY};
pub(crate) use express::{Express, say};
pub(crate) use h2::{Events, H2};
pub(crate) use http::{Answer, request};
pub(crate) use peer::{Head, Peer};
pub(crate) use program::{Program, repository};
pub(crate) use redis::Redis;
pub(crate) use redis_group::{Cluster, Sentinels};
pub(crate) use session_app::SessionApp;
pub(crate) use shell::{Finished, Shell};
pub(crate) use sse::{Block, Stream};
pub(crate) use tls::Authority;
pub(crate) use token::{SECRET, token, token_of};
pub(crate) use wire::Wire;

/// How long anything may take that should take no time to speak of. Generous: a busy machine is no failure.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits for `work`, but not for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {SOON:?}"),
    }
}

/// Asks again and again until `check` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
