//! Connections to others: dialling, TLS, HTTP.

pub mod outbound;
pub mod tls;
