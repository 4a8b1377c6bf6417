//! Everything that is not ours goes to the backend, and its answer comes back, byte for byte.

mod body;
mod connect;
mod error;
mod exchange;
mod forward;
mod headers;
mod link;
mod plain;
mod pool;
mod tally;
mod target;
mod tunnel;
mod upload;

pub use body::ProxyBody;
pub use error::{BadAnswer, BadRequest, ProxyError};
pub use forward::Proxy;
pub use headers::Forwarded;
