//! Connections to others: dialling, TLS, HTTP.

pub mod descriptors;
pub mod dial;
pub mod keepalive;
pub mod outbound;
pub mod tls;
pub mod via;
