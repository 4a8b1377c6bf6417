//! The servers under test: how each is started, asked for a stream, and published to.

mod dialect;
mod process;
mod servers;
mod sidestream;

pub(crate) use dialect::{Target, redis_publish};
pub(crate) use process::Running;
pub(crate) use servers::{Missing, Server, Setup, start_backend, start_redis, versions};
pub(crate) use sidestream::Settings;
