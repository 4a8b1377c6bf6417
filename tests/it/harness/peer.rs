//! One end of a connection as bytes: a client that writes what it likes, or a backend that does.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::waiting::{unless_over, within};

/// A client's connection that comes from an address of its own.
pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("the address");
    socket.connect(&to.into()).expect("a connection");
    socket.set_nonblocking(true).expect("an option set");
    TcpStream::from_std(socket.into()).expect("a socket")
}

/// A client's connection over a Unix socket, of the type that all the others here have.
pub(crate) fn connect_unix(path: &Path) -> TcpStream {
    let socket = UnixStream::connect(path).expect("a connection");
    socket.set_nonblocking(true).expect("an option set");
    TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(socket))).expect("a socket")
}

pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// One end of a connection, in bytes. Everything that waits, waits for a while only.
pub(crate) struct Peer {
    socket: Box<dyn Socket>,
    read: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::new(socket), read: Vec::new() }
    }

    /// A client's connection.
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.expect("a connection");
        socket.set_nodelay(true).expect("an option set");
        Self::new(socket)
    }

    /// A client's connection that has sent something.
    pub(crate) async fn send_to(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut peer = Self::connect(to).await;
        peer.send(bytes).await;
        peer
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("sending", self.socket.write_all(bytes.as_ref())).await.expect("bytes sent");
    }

    /// Sends what the other side may not want to hear.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("sending", self.socket.write_all(bytes.as_ref())).await
    }

    /// Sends one chunk.
    pub(crate) async fn send_chunk(&mut self, data: &str) {
        self.send(format!("{:x}\r\n{data}\r\n", data.len())).await;
    }

    /// Sends until nothing more is taken for a while.
    pub(crate) async fn fill(&mut self) {
        let piece = [b'f'; 1 << 16];
        // Silence is the only sign that a peer's buffers are full.
        let full = Duration::from_millis(300);
        while let Some(written) = unless_over(full, self.socket.write(&piece)).await {
            written.expect("bytes sent");
        }
    }

    /// Ends the sending half.
    pub(crate) async fn finish(&mut self) {
        within("ending", self.socket.shutdown()).await.expect("an end sent");
    }

    /// What came up to `end`, and `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                let taken = self.read.drain(..at + end.len()).collect();
                return String::from_utf8(taken).expect("text");
            }
            assert!(self.more().await, "the connection ended before {end:?}: {:?}", self.seen());
        }
    }

    /// The next `count` bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "the connection ended before {count} bytes: {:?}", self.seen());
        }
        self.read.drain(..count).collect()
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        let taken = self.take(text.len()).await;
        assert_eq!(String::from_utf8_lossy(&taken), text);
    }

    /// The head of a request or an answer; None when the connection ends before it.
    pub(crate) async fn try_head(&mut self) -> Option<Head> {
        while !self.read.windows(4).any(|window| window == b"\r\n\r\n") {
            if !self.more().await {
                return None;
            }
        }
        Some(self.head().await)
    }

    /// The head of a request or an answer.
    pub(crate) async fn head(&mut self) -> Head {
        Head::parse(&self.until("\r\n\r\n").await)
    }

    /// The next chunk's data; empty for the last one, whose trailers are still to be read.
    pub(crate) async fn chunk(&mut self) -> String {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        if size == 0 {
            return String::new();
        }
        let data = self.take(size).await;
        self.expect("\r\n").await;
        String::from_utf8(data).expect("text")
    }

    /// The next `count` bytes of chunks, however they were cut.
    pub(crate) async fn chunks(&mut self, count: usize) -> String {
        let mut data = String::new();
        while data.len() < count {
            let chunk = self.chunk().await;
            assert!(!chunk.is_empty(), "the body ended after {data:?}");
            data.push_str(&chunk);
        }
        data
    }

    /// The whole body that `head` announces.
    pub(crate) async fn body(&mut self, head: &Head) -> String {
        if let Some(length) = head.get("content-length") {
            let data = self.take(length.parse().expect("a length")).await;
            return String::from_utf8(data).expect("text");
        }
        assert_eq!(head.get("transfer-encoding"), Some("chunked"), "{head:?}");
        let mut body = String::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                self.expect("\r\n").await;
                return body;
            }
            body.push_str(&chunk);
        }
    }

    /// Everything up to the other side's end, whether it ended or cut the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        let rest = self.seen();
        self.read.clear();
        rest
    }

    /// The same as bytes, which may end within a character.
    pub(crate) async fn rest_bytes(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// Waits for the other side's end; nothing may come before it.
    pub(crate) async fn ended(&mut self) {
        let rest = self.rest().await;
        assert_eq!(rest, "", "the connection was to end");
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    async fn more(&mut self) -> bool {
        match within("bytes", self.socket.read_buf(&mut self.read)).await {
            Ok(read) => read > 0,
            // Reset.
            Err(_) => false,
        }
    }
}

/// The head of a request or an answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let line = lines.next().expect("a first line").to_owned();
        let headers = lines.map(|line| line.split_once(": ").expect("a header"));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { line, headers }
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a target")
    }

    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} stands there {} times", values.len());
        values.first().copied()
    }
}
