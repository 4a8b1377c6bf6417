//! HTTP/2 on the public listener, in cleartext with prior knowledge: connections, streams, forwarded requests. What
//! TLS adds stands in `tls.rs`.

mod connections;
mod floods;
mod proxied;
mod streams;

/// A stream that waits long for its heartbeats: they do not disturb what a test looks at.
const QUIET: &str = "[sse]\nheartbeat = \"10m\"\n";
