//! Who may do what: from credentials to a grant, and who may publish.

mod backend;
mod bearer;
pub mod claims;
mod denied;
mod gate;
mod grant;
pub mod jwt;
mod origin;
mod publisher;
mod revocations;
mod strip;
mod ticket;

pub use crate::auth::backend::client::BadServer;
pub use crate::auth::bearer::Bearer;
pub use crate::auth::denied::{Answer, Denied};
pub use crate::auth::gate::{BadGate, Caller, Gates, Verified};
pub use crate::auth::grant::{Grant, Topics};
pub use crate::auth::origin::Sender;
pub use crate::auth::publisher::{BadKey, NotAllowed, Publisher, PublisherKeys, key_sha256};
pub use crate::auth::revocations::{Revocations, Whose};
pub use crate::auth::ticket::redeemed::Once;
pub use crate::auth::ticket::{BadMint, Minted, Tickets};
pub use crate::event::{BadPattern, Pattern};
