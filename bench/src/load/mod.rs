//! The load: one thread and one epoll that read thousands of streams and publish to them.

mod door;
mod engine;
mod flights;
mod publisher;
mod requests;
mod stream;
mod tally;

pub(crate) use door::Door;
pub(crate) use engine::Load;
pub(crate) use publisher::{Pace, Publisher, Spread};
pub(crate) use requests::requests;
pub(crate) use stream::Plan;
pub(crate) use tally::{Faults, Tally};
