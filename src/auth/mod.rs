//! Who may do what: from credentials to a grant, and who may publish.

mod denied;
mod gate;
mod grant;
mod publisher;

pub use crate::event::{BadPattern, Pattern};
pub use denied::{Answer, Denied};
pub use gate::{Caller, Gates, Verified};
pub use grant::{Grant, Topics};
pub use publisher::{BadKey, NotAllowed, Publisher, PublisherKeys, key_sha256};
