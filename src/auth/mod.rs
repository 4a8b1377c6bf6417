//! Who may do what: from credentials to a grant, and who may publish.

mod backend;
mod bearer;
mod caller;
pub mod claims;
mod denied;
mod explain;
mod gate;
mod grant;
mod hints;
mod hook_gate;
pub mod jwt;
mod origin;
mod page_grant;
mod publisher;
mod pusher_gate;
mod revocations;
mod signed;
mod strip;
mod ticket;

pub use crate::auth::backend::client::BadServer;
pub use crate::auth::bearer::Bearer;
pub use crate::auth::caller::{Caller, Verified};
pub use crate::auth::denied::{Denied, DeniedResponse};
pub use crate::auth::explain::{
    ClaimCheck, StreamExplanation, TopicExplanation, allowing, compare_claims, explain_stream,
};
pub use crate::auth::gate::{BadGate, Gates};
pub use crate::auth::grant::{Grant, GrantedTopics};
pub use crate::auth::hints::{near_misses, near_misses_of_publisher, next_step};
pub use crate::auth::hook_gate::{HookDenied, HookGate};
pub use crate::auth::origin::RequestOrigin;
pub use crate::auth::page_grant::PublishGrant;
pub use crate::auth::publisher::{
    NotAllowed, Publisher, PublisherDenied, PublisherKeys, ReservedEvents, key_sha256,
};
pub use crate::auth::pusher_gate::{PusherGate, PusherRequest};
pub use crate::auth::revocations::{Full, GrantSelector, Revocations};
pub use crate::auth::signed::SignedNames;
pub use crate::auth::ticket::redeemed::FirstUse;
pub use crate::auth::ticket::{BadMint, Minted, Tickets};
pub use crate::event::{BadPattern, Pattern};
