//! The listeners: connections, which requests are ours and which the backend's, and every answer of our own.

mod hooks;
mod internal;
mod net;
mod public;
mod respond;

pub use crate::server::hooks::HookDoor;
pub use crate::server::internal::{Dashboard, Internal, Probes, ReloadOutcome, ReloadRequests};
pub use crate::server::net::certificate::{BadCertificate, Certificate, CertificateOf};
pub use crate::server::net::current::Current;
pub use crate::server::net::listen::{
    AcceptLimits, AcceptPulse, ConnectionSeats, ServeConnection, serve, serve_watched,
};
pub use crate::server::net::listener::{BindOptions, BoundListener, adopt, bind, bind_all};
pub use crate::server::public::{Public, PublicListener, PublicNotices};
