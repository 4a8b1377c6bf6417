//! Connections to others: dialling, TLS, HTTP.

pub mod dial;
pub mod keepalive;
pub mod outbound;
pub mod tls;
