//! Ways in for applications whose code stays as it is: their own answers, read once and given to all who ask.
//!
//! Invariant: what reaches one reader of a shared stream may reach every other one: nothing of a request that does not
//! tell streams apart reaches the application, unless the route says so. This room knows no verdicts on callers and no
//! sockets to clients.

mod collapse;
mod held;
mod identity;
mod ids;
mod open;
mod poll;
mod refresh;
mod registry;
mod shared;
mod sharing;

pub use crate::upstream::held::{ReaderStart, UpstreamReader};
pub use crate::upstream::identity::{SharedRequest, SharedRequestParts, identify};
pub use crate::upstream::refresh::PolledTarget;
pub use crate::upstream::registry::{LEFT_FOR, UpstreamCaller, UpstreamJoin, Upstreams};
pub use crate::upstream::shared::leases::{
    KeptState, LeaseLook, LeaseStanding, LeasesAway, SharedAppend, SharedEntry, SharedOutcome, StreamLeases,
};
pub use crate::upstream::sharing::Unshared;
