//! A subscriber's way in: request → grant → topics → cursor → handed to the fan-out.
//!
//! No stream opens without a grant, and no cursor opens what the grant does not. This room knows requests, not
//! sockets.

mod admit;
mod ended;
mod look;
mod meta;
mod native;
mod open;
mod page;
mod pattern_seats;
mod polled;
mod preamble;
mod query;
mod refusal;
mod renew;
mod request;
mod route;
mod route_path;
mod route_patterns;
mod seats;
mod sourced;
mod streams;

pub use crate::subscribe::admit::{Admission, Judged};
pub use crate::subscribe::page::PageTopics;
pub use crate::subscribe::refusal::{BadStreamRequest, Refusal, RetryReason};
pub use crate::subscribe::renew::{RenewalOutcome, RenewalRequest, StreamCaller};
pub use crate::subscribe::route::Route;
pub use crate::subscribe::sourced::{SourceHold, SourceStart};
pub use crate::subscribe::streams::{Settings, Streams};
