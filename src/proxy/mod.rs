//! (placeholder until the proxy room is merged)
use std::net::IpAddr;
pub struct Forwarded {
    pub peer: IpAddr,
    pub trusted: bool,
    pub https: bool,
}
pub type ProxyBody = http_body_util::Empty<bytes::Bytes>;
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("not built")]
    NotBuilt,
}
#[derive(Clone)]
pub struct Proxy;
impl Proxy {
    pub fn new(
        _b: &crate::config::Backend,
        _s: &crate::config::Proxy,
        _h: crate::health::Reporter,
        _d: crate::shutdown::Drain,
    ) -> Self {
        Self
    }
    pub async fn forward(
        &self,
        _r: http::Request<hyper::body::Incoming>,
        _c: &Forwarded,
    ) -> Result<http::Response<ProxyBody>, ProxyError> {
        Err(ProxyError::NotBuilt)
    }
}
