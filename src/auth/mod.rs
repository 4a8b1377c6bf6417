//! Who may do what: from credentials to a grant, and who may publish.

mod answer;
mod backend;
mod bearer;
mod cache;
pub mod claims;
mod conceal;
mod denied;
mod fetch;
mod flights;
mod gate;
mod grant;
pub mod jwt;
mod publisher;
mod question;
mod revocations;
mod seal;
mod sender;
mod subrequest;
mod ticket;
mod used;

pub use crate::event::{BadPattern, Pattern};
pub use bearer::Bearer;
pub use denied::{Answer, Denied};
pub use gate::{BadGate, Caller, Gates, Verified};
pub use grant::{Grant, Topics};
pub use publisher::{BadKey, NotAllowed, Publisher, PublisherKeys, key_sha256};
pub use revocations::{Revocations, Whose};
pub use sender::Sender;
pub use subrequest::BadServer;
pub use ticket::{BadMint, Minted, Tickets};
pub use used::Once;
