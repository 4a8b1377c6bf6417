//! The network between the demo's pages and its daemon: a relay of bytes that can cut a reader's line, or slow it down.
//!
//! It reads no more of a request than its head, to know whose line it is. What it carries it does not change, but that
//! a request that is no stream has its connection to itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cli::demo::chat::Person;
use crate::net::dial;
use crate::server::ServeConnection;
use crate::shutdown::Drain;

/// Browsers open connections before they need them.
const IDLE: Duration = Duration::from_secs(75);
const CONNECT: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 32 << 10;
/// What a slow line carries at once, and how often: 8 KB a second.
const SIP: usize = 800;
const PAUSE: Duration = Duration::from_millis(100);
/// What the kernel holds for a line, so that what waits does so in the daemon's log.
const RECEIVE_BUFFER: u32 = 4 << 10;
/// A line does not stay as it was put for longer.
const LONGEST: Duration = Duration::from_secs(120);

/// What is done to a reader's line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct LineState {
    pub(super) cut: bool,
    pub(super) slow: bool,
}

pub(super) struct DemoNetwork {
    daemon: SocketAddr,
    anna: watch::Sender<LineState>,
    ben: watch::Sender<LineState>,
    drain: Drain,
}

impl DemoNetwork {
    /// Carries what comes to the daemon's public listener.
    pub(super) fn new(daemon: SocketAddr, drain: Drain) -> Self {
        let line = || watch::Sender::new(LineState::default());
        Self { daemon, anna: line(), ben: line(), drain }
    }

    pub(super) fn state(&self, reader: Person) -> LineState {
        *self.line(reader).borrow()
    }

    /// Puts a line into this state, for two minutes at most.
    pub(super) fn put(self: &Arc<Self>, reader: Person, state: LineState) {
        self.line(reader).send_replace(state);
        let network = Arc::clone(self);
        self.drain.spawn(async move {
            let mut line = network.line(reader).subscribe();
            tokio::select! {
                () = network.drain.started() => {}
                _ = line.changed() => {}
                () = sleep(LONGEST) => {
                    network.line(reader).send_replace(LineState::default());
                }
            }
        });
    }

    fn line(&self, reader: Person) -> &watch::Sender<LineState> {
        match reader {
            Person::Anna => &self.anna,
            Person::Ben => &self.ben,
        }
    }

    async fn carry(&self, mut browser: TcpStream) -> io::Result<()> {
        let Some(head) = read_head(&mut browser).await? else { return Ok(()) };
        let Some(reader) = stream_of(&head) else {
            let mut daemon = dial(self.daemon).await?;
            daemon.write_all(&alone(&head)).await?;
            tokio::io::copy_bidirectional(&mut browser, &mut daemon).await?;
            return Ok(());
        };
        let mut line = self.line(reader).subscribe();
        let cut = async {
            // The sender lives as long as the network.
            let _ = line.wait_for(|state| state.cut).await;
        };
        tokio::select! {
            biased;
            () = cut => Err(io::ErrorKind::ConnectionReset.into()),
            result = self.carry_stream(&mut browser, &head, reader) => result,
        }
    }

    async fn carry_stream(&self, browser: &mut TcpStream, head: &[u8], reader: Person) -> io::Result<()> {
        let socket = match self.daemon {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let mut daemon = socket.connect(self.daemon).await?;
        daemon.write_all(head).await?;
        let (mut from_browser, mut to_browser) = browser.split();
        let (mut from_daemon, mut to_daemon) = daemon.split();
        let mut line = self.line(reader).subscribe();
        let down = async {
            let mut bytes = [0; 4096];
            loop {
                let slow = line.borrow_and_update().slow;
                let most = if slow { SIP } else { bytes.len() };
                let read = from_daemon.read(&mut bytes[..most]).await?;
                if read == 0 {
                    return Ok(());
                }
                to_browser.write_all(&bytes[..read]).await?;
                if slow {
                    // A line that gets well does so at once.
                    let _ = timeout(PAUSE, line.changed()).await;
                }
            }
        };
        tokio::select! {
            result = down => result,
            result = tokio::io::copy(&mut from_browser, &mut to_daemon) => result.map(drop),
        }
    }
}

impl ServeConnection for DemoNetwork {
    async fn connection(self: Arc<Self>, browser: TcpStream, _: SocketAddr) {
        // Set first, for the end: whatever breaks off here is seen as a network's reset, not as the end of an answer.
        let socket = SockRef::from(&browser).try_clone();
        let carried = tokio::select! {
            carried = self.carry(browser) => carried,
            // The daemon has said its last words to everybody by then.
            () = self.drain.started() => Ok(()),
        };
        if let (Err(_), Ok(socket)) = (carried, socket) {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

/// A connection to a listener of this process.
pub(super) async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    timeout(CONNECT, dial::tcp(&to.ip().to_string(), to.port(), CONNECT)).await?
}

/// The head of a request with what came behind it; None when the browser leaves without one.
async fn read_head(browser: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let read = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || browser.read_buf(&mut head).await? == 0 {
                return Ok::<_, io::Error>(false);
            }
        }
        Ok(true)
    };
    match timeout(IDLE, read).await {
        Ok(whole) => Ok(whole?.then_some(head)),
        Err(_) => Ok(None),
    }
}

/// Whose stream a request is for.
fn stream_of(head: &[u8]) -> Option<Person> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix("/events?")?;
    let (_, user) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user")?;
    Person::parse(&user)
}

/// The same request, after which the connection ends: its next one may be for a stream.
fn alone(head: &[u8]) -> Vec<u8> {
    let end = head.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(head.len());
    let (lines, rest) = head.split_at(end);
    let is = |line: &[u8], name: &str| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
    let keeps = lines[0].starts_with(b"PRI ") || lines.iter().any(|line| is(line, "upgrade:"));
    if keeps {
        return head.to_vec();
    }
    let mut alone = Vec::with_capacity(head.len() + 24);
    for line in lines.into_iter().filter(|line| !is(line, "connection:")) {
        alone.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        alone.extend_from_slice(b"\r\n");
    }
    alone.extend_from_slice(b"connection: close");
    alone.extend_from_slice(rest);
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_the_user_of_a_streams_request() {
        for (line, reader) in [
            ("GET /events?user=anna HTTP/1.1", Some(Person::Anna)),
            ("GET /events?history=9&user=b%65n&lastEventId=1-0-a HTTP/1.1", Some(Person::Ben)),
            ("GET /events?user=eve HTTP/1.1", None),
            ("GET /events HTTP/1.1", None),
            ("GET /?user=anna HTTP/1.1", None),
            ("POST /events?user=anna HTTP/1.1", None),
        ] {
            let head = format!("{line}\r\nhost: a\r\n\r\n");
            assert_eq!(stream_of(head.as_bytes()), reader, "{line}");
        }
    }

    #[test]
    fn any_other_request_has_its_connection_to_itself_and_keeps_its_body() {
        for (head, wanted) in [
            (
                "POST /a HTTP/1.1\r\nConnection: keep-alive\r\nhost: a\r\n\r\n{\"connection: x\r\n\r\n\"}",
                "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{\"connection: x\r\n\r\n\"}",
            ),
            ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n"),
            (
                "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM", "PRI * HTTP/2.0\r\n\r\nSM"),
        ] {
            assert_eq!(String::from_utf8(alone(head.as_bytes())).unwrap(), wanted);
        }
    }
}
