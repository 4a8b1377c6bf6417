//! Who may do what: from credentials to a grant, and who may publish.

pub mod claims;
mod conceal;
mod denied;
mod fetch;
mod gate;
mod grant;
pub mod jwt;
mod publisher;

pub use crate::event::{BadPattern, Pattern};
pub use denied::{Answer, Denied};
pub use gate::{BadGate, Caller, Gates, Verified};
pub use grant::{Grant, Topics};
pub use publisher::{BadKey, NotAllowed, Publisher, PublisherKeys, key_sha256};
