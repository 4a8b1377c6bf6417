//! Tells other servers what happens to streams, by signed requests.
//!
//! What happens is noted without waiting, in one bounded queue a webhook; a task of its own sends it, one request at a
//! time and in order. This room knows no Redis: what finds out what happens on all instances says so here.

mod hooks;
mod notice;
mod queue;
mod sender;
mod signature;
mod sink;

pub use crate::webhooks::hooks::{PreparedHooks, Webhooks};
pub use crate::webhooks::notice::{Notice, StreamInfo};
pub use crate::webhooks::sink::BadSink;
