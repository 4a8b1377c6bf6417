//! The public listener: where browsers ask, for event streams and for everything else. See `service` for the way of a
//! request.

mod capture;
mod client_addr;
mod connection;
mod cors;
mod forward;
mod hooks;
mod marked;
mod marks;
mod page_presence;
mod page_publish;
mod service;
mod sourced;
mod stream;
mod topics;
mod transport;

pub use crate::server::public::connection::{PublicListener, PublicNotices};
pub use crate::server::public::service::Public;
