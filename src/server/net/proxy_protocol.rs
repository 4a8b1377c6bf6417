//! The PROXY protocol, versions 1 and 2: a header by which a balancer of connections says whose connection it is.
//!
//! It stands in front of everything else, TLS included, and is read to its last byte and no further. Only peers that
//! the operator lists are asked for one, so nobody else can say who they are.
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, its line end included.
const LONGEST_LINE: usize = 107;
/// The longest rest of a header of version 2 that is read: addresses and what else a balancer says.
const LONGEST_REST: usize = 4096;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum BadProxyHeader {
    #[error("the connection begins without a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header is malformed")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header. `None` where the balancer speaks for itself (a health check) or cannot tell.
pub(in crate::server) async fn read(
    socket: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, BadProxyHeader> {
    // No header is shorter.
    let mut first = [0; SIGNATURE.len()];
    socket.read_exact(&mut first).await?;
    if first == SIGNATURE {
        return version_2(socket).await;
    }
    if !first.starts_with(b"PROXY ") {
        return Err(BadProxyHeader::Missing);
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(BadProxyHeader::Malformed);
        }
        line.push(socket.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    version_1(&line)
}

/// The source that the line names; none where it says that it does not know.
fn version_1(line: &[u8]) -> Result<Option<SocketAddr>, BadProxyHeader> {
    let words: Vec<_> = str::from_utf8(line).unwrap_or_default().split(' ').collect();
    if words.get(1) == Some(&"UNKNOWN") {
        return Ok(None);
    }
    let source = match words[..] {
        [_, "TCP4", source, _, port, to] => source_1(source.parse::<Ipv4Addr>().ok(), port, to),
        [_, "TCP6", source, _, port, to] => source_1(source.parse::<Ipv6Addr>().ok(), port, to),
        _ => None,
    };
    source.map(Some).ok_or(BadProxyHeader::Malformed)
}

/// The source of a line that is well formed.
fn source_1(source: Option<impl Into<IpAddr>>, port: &str, to: &str) -> Option<SocketAddr> {
    to.parse::<u16>().ok()?;
    Some(SocketAddr::new(source?.into(), port.parse().ok()?))
}

async fn version_2(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, BadProxyHeader> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let [command, family, length @ ..] = head;
    let length = usize::from(u16::from_be_bytes(length));
    if command >> 4 != 2 || length > LONGEST_REST {
        return Err(BadProxyHeader::Malformed);
    }
    let mut rest = vec![0; length];
    socket.read_exact(&mut rest).await?;
    let source = match (command & 0xf, family) {
        // A word of the balancer's own.
        (0, _) => return Ok(None),
        (1, 0x11) => ipv4(&rest),
        (1, 0x21) => ipv6(&rest),
        // Neither TCP over IPv4 nor over IPv6.
        (1, _) => return Ok(None),
        _ => None,
    };
    source.map(Some).ok_or(BadProxyHeader::Malformed)
}

/// Source and destination, then the two ports.
fn ipv4(rest: &[u8]) -> Option<SocketAddr> {
    let &[a, b, c, d, _, _, _, _, high, low, _, _] = rest.first_chunk()?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn ipv6(rest: &[u8]) -> Option<SocketAddr> {
    let rest: &[u8; 36] = rest.first_chunk()?;
    let source: [u8; 16] = *rest.first_chunk()?;
    Some((Ipv6Addr::from(source), u16::from_be_bytes([rest[32], rest[33]])).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bad: BadProxyHeader) -> &'static str {
        match bad {
            BadProxyHeader::Missing => "missing",
            BadProxyHeader::Malformed => "malformed",
            BadProxyHeader::Io(_) => "disconnected",
        }
    }

    /// What is read of a header, with bytes behind it that have to stay.
    async fn read_all(header: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
        let bytes = [header, b"GET "].concat();
        let mut rest = &bytes[..];
        let source = read(&mut rest).await.map_err(word)?;
        assert_eq!(rest, b"GET ");
        Ok(source)
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_source_and_leave_what_follows() {
        let v4: SocketAddr = "192.0.2.1:56324".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
        assert_eq!(read_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n").await, Ok(Some(v4)));
        assert_eq!(read_all(b"PROXY TCP6 2001:db8::1 ::2 443 8080\r\n").await, Ok(Some(v6)));
        assert_eq!(read_all(b"PROXY UNKNOWN\r\n").await, Ok(None));
        assert_eq!(read_all(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").await, Ok(None));
        let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(read_all(&version_2(0x21, 0x11, &addresses)).await, Ok(Some(v4)));
        // What else a balancer says comes behind the addresses.
        let more = [&addresses[..], &[4, 0, 2, 0, 0]].concat();
        assert_eq!(read_all(&version_2(0x21, 0x11, &more)).await, Ok(Some(v4)));
        let mut addresses = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        addresses.extend([0; 16]);
        addresses.extend([1, 0xbb, 0, 80]);
        assert_eq!(read_all(&version_2(0x21, 0x21, &addresses)).await, Ok(Some(v6)));
        assert_eq!(read_all(&version_2(0x20, 0, &[])).await, Ok(None));
        assert_eq!(read_all(&version_2(0x21, 0x31, &[0; 216])).await, Ok(None));
    }

    #[tokio::test]
    async fn what_is_none_is_refused() {
        assert_eq!(read_all(b"GET / HTTP/1.1\r\n\r\n").await, Err("missing"));
        let tls = [0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3, 0, 0];
        assert_eq!(read_all(&tls).await, Err("missing"));
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 99999 443\r\n",
            "PROXY TCP4 2001:db8::1 ::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        ] {
            assert_eq!(read_all(line.as_bytes()).await, Err("malformed"), "{line}");
        }
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        assert_eq!(read_all(&endless).await, Err("malformed"));
        assert_eq!(read_all(&version_2(0x21, 0x11, &[1, 2, 3])).await, Err("malformed"));
        assert_eq!(read_all(&version_2(0x11, 0x11, &[0; 12])).await, Err("malformed"));
        assert_eq!(read_all(&version_2(0x22, 0x11, &[0; 12])).await, Err("malformed"));
        assert_eq!(read_all(&version_2(0x21, 0x11, &[0; 5000])).await, Err("malformed"));
        let mut cut = &b"PROXY TCP4 192"[..];
        assert_eq!(read(&mut cut).await.map_err(word), Err("disconnected"));
    }
}
