//! Everything that is not ours goes to the backend, and its answer comes back, byte for byte.

mod body;
mod connect;
mod error;
mod exchange;
mod fast_path;
mod fetch;
mod forward;
mod headers;
mod metrics;
mod pool;
mod request_body;
mod target;
mod tunnel;
mod upstream;
mod wait;

pub use crate::proxy::body::ProxyBody;
pub use crate::proxy::error::{BadAnswer, BadRequest, ProxyError};
pub use crate::proxy::forward::Proxy;
pub use crate::proxy::headers::Forwarded;
pub use crate::proxy::request_body::{BodyCount, ClientBody, PeekedBody};
pub use crate::proxy::upstream::MAX_FIELDS;
