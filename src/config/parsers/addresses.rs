//! Addresses, networks, names of hosts, and origins of web pages.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::listen_address::{ListenAddress, PeerRange};
use crate::config::origin::{HostName, OriginPattern};
use crate::config::raw::{RawValue, Rejection};
use crate::config::values::{Backend, socket_path};
use crate::net::tls;
use crate::net::via::{BadProxy, HttpProxy};

/// An address and port to listen on, or a Unix socket.
pub(in crate::config) fn listen_address(raw: &RawValue<'_>) -> Result<ListenAddress, Rejection> {
    const WANTED: &str = "an address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\", or unix:/path";
    let must = format!("must be {WANTED}");
    if let Some(port) = raw.number() {
        return Err(Rejection::with(must, format!("did you mean \"127.0.0.1:{port}\"?")));
    }
    let text = raw.text(WANTED)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(ListenAddress::Unix).map_err(|why| format!("{why}").into());
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_| match text.rsplit_once(':') {
        _ if text.starts_with('/') => Rejection::with(must, format!("did you mean \"unix:{text}\"?")),
        Some(("localhost", port)) => Rejection::with(must, format!("did you mean \"127.0.0.1:{port}\"?")),
        Some(("" | "*", port)) => Rejection::with(must, format!("did you mean \"0.0.0.0:{port}\"?")),
        _ if text.parse::<IpAddr>().is_ok() => Rejection::with(must, "the port is missing"),
        _ => must.into(),
    })
}

/// The application behind us.
pub(in crate::config) fn backend(raw: &RawValue<'_>) -> Result<Backend, Rejection> {
    let text = raw.text("http://host:port, https://host:port or unix:/path/to.sock")?;
    text.parse().map_err(|why| match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => {
            Rejection::with(format!("{why}"), format!("did you mean \"http://{text}\"?"))
        }
        // With an `@` it is no path, and what stands before that may be a password.
        _ if text.starts_with('/') && !text.contains('@') => {
            Rejection::with(format!("{why}"), format!("did you mean \"unix:{text}\"?"))
        }
        _ => format!("{why}").into(),
    })
}

/// A network, or one address.
fn network(raw: &RawValue<'_>) -> Result<IpNet, Rejection> {
    const WANTED: &str = "an address or a network such as \"10.0.0.0/8\" or \"::1\"";
    let text = raw.text(WANTED)?;
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| one())
        .map(|network| network.trunc())
        .map_err(|_| format!("must be {WANTED}").into())
}

/// A network, one address, or all that come over Unix sockets.
pub(in crate::config) fn peer_range(raw: &RawValue<'_>) -> Result<PeerRange, Rejection> {
    const WANTED: &str = "an address or a network such as \"10.0.0.0/8\" or \"::1\", or \"unix\"";
    match raw.text(WANTED)? {
        "unix" | "unix:" => Ok(PeerRange::Unix),
        _ => network(raw).map(PeerRange::Network).map_err(|_| format!("must be {WANTED}").into()),
    }
}

/// An origin of web pages, or a pattern of them.
pub(in crate::config) fn origin(raw: &RawValue<'_>) -> Result<OriginPattern, Rejection> {
    let text = raw.text("an origin such as \"https://app.example\"")?;
    text.parse().map_err(|why| match text.trim_end_matches('/') {
        shorter if shorter.len() < text.len() && shorter.parse::<OriginPattern>().is_ok() => {
            Rejection::with(format!("{why}"), format!("did you mean \"{shorter}\"?"))
        }
        name if !text.contains("://") && format!("https://{name}").parse::<OriginPattern>().is_ok() => {
            Rejection::with(format!("{why}"), format!("did you mean \"https://{name}\"?"))
        }
        _ => format!("{why}").into(),
    })
}

/// The name of a host.
pub(in crate::config) fn host_name(raw: &RawValue<'_>) -> Result<HostName, Rejection> {
    raw.text("the name of a host")?.parse().map_err(|why| format!("{why}").into())
}

/// A name, or an address, that a certificate has.
pub(in crate::config) fn certificate_name(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const WANTED: &str = "the name of a host or an address";
    let text = raw.text(WANTED)?;
    tls::server_name(text).map(|_| text.to_owned()).map_err(|_| format!("must be {WANTED}").into())
}

/// Where a server listens: a name or an address, and a port.
pub(in crate::config) fn host_and_port(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const WANTED: &str = "host:port";
    let text = raw.text(WANTED)?;
    let known = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.map_or_else(|| is_host(host), |bare| bare.parse::<Ipv6Addr>().is_ok());
        host && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if known { Ok(text.to_owned()) } else { Err(format!("must be {WANTED}").into()) }
}

/// An HTTP proxy; None for `none`.
pub(in crate::config) fn http_proxy(raw: &RawValue<'_>) -> Result<Option<HttpProxy>, Rejection> {
    let text = raw.text("\"none\" or http://[user:password@]host:port")?;
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why: BadProxy| why.to_string().into())
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}
