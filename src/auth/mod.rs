//! Who may do what: from credentials to a grant, and who may publish.

mod bearer;
pub mod claims;
mod conceal;
mod denied;
mod fetch;
mod gate;
mod grant;
pub mod jwt;
mod publisher;
mod revocations;

pub use crate::event::{BadPattern, Pattern};
pub use bearer::Bearer;
pub use denied::{Answer, Denied};
pub use gate::{BadGate, Caller, Gates, Verified};
pub use grant::{Grant, Topics};
pub use publisher::{BadKey, NotAllowed, Publisher, PublisherKeys, key_sha256};
pub use revocations::{Revocations, Whose};
