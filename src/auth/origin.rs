//! Who a request comes from, as the socket and trusted proxies tell it.

use std::net::IpAddr;

use http::HeaderMap;

/// The other end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestOrigin {
    /// The client's address: the peer's own, or what a trusted proxy says.
    pub address: IpAddr,
    /// The socket's peer.
    pub peer: IpAddr,
    /// The peer is a trusted proxy: its `X-Forwarded-*` count.
    pub trusted: bool,
    /// Our own listener spoke TLS.
    pub https: bool,
}

impl RequestOrigin {
    /// Whether the client itself speaks https, as far as is known.
    pub fn is_https(&self, headers: &HeaderMap) -> bool {
        let said = || {
            let proto = headers.get("x-forwarded-proto")?.to_str().ok()?;
            Some(proto.split(',').next()?.trim().eq_ignore_ascii_case("https"))
        };
        // The proxy's word goes before ours: between it and us another scheme may be spoken.
        let said = if self.trusted { said() } else { None };
        said.unwrap_or(self.https)
    }
}
