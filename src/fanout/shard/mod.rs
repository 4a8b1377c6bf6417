//! A shard: one thread with its subscribers and their sockets. What it owns is in `state`, its loop in `run`, and in
//! the other files what it does.

mod bind;
mod clock;
mod ended;
mod follow;
mod idle;
mod list;
mod pass;
mod run;
mod state;
mod watch;

pub(super) use crate::fanout::shard::state::Shard;
