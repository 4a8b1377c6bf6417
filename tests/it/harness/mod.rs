//! Starting daemons and the servers around them, and talking to them. Everything started here ends with its value.

mod backend;
mod browser;
mod daemon;
mod express;
mod front;
mod h2;
mod http;
mod managed;
mod peer;
mod program;
mod redis;
mod redis_group;
mod session_app;
mod shell;
mod sse;
mod successors;
mod tls;
mod token;
mod waiting;
mod wire;

pub(crate) use backend::{Backend, Node};
pub(crate) use browser::Browser;
pub(crate) use daemon::{Daemon, KEY, LogReader, listening, log_lines, ready, start};
pub(crate) use express::{Express, say};
pub(crate) use front::FrontServer;
pub(crate) use h2::{Events, H2};
pub(crate) use http::{Answer, request};
pub(crate) use managed::Managed;
pub(crate) use peer::{Head, Peer, connect_from, connect_unix};
pub(crate) use program::{Program, repository};
pub(crate) use redis::Redis;
pub(crate) use redis_group::{Cluster, Sentinels, TlsSentinel};
pub(crate) use session_app::SessionApp;
pub(crate) use shell::{Finished, Shell};
pub(crate) use sse::{Block, Stream};
pub(crate) use successors::successors;
pub(crate) use tls::Authority;
pub(crate) use token::{SECRET, token, token_of};
pub(crate) use waiting::{
    Pace, eventually, eventually_within, holds_for, let_time_pass, repeating, unless_over, within,
    within_time,
};
pub(crate) use wire::Wire;
