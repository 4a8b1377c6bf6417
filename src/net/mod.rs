//! Connections to others: dialling, TLS, HTTP.

pub mod dial;
pub mod outbound;
pub mod tls;
