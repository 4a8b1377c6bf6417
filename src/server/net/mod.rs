//! Connections: accepted, encrypted, HTTP/1 and HTTP/2, and the takeover of a socket.

pub(super) mod accept;
pub(super) mod certificate;
pub(super) mod client_socket;
pub(super) mod connection;
pub(super) mod current;
pub(super) mod frame_budget;
mod frames;
pub(super) mod head_watch;
pub(super) mod http1;
pub(super) mod http2;
pub(super) mod listen;
pub(super) mod listener;
pub(super) mod on_wake;
pub(super) mod proxy_protocol;
mod refused_heads;
pub(super) mod request_line;
pub(super) mod socket_file;
pub(super) mod takeover;
pub(super) mod taking;
