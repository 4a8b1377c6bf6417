//! An HTTP/2 client that sees windows, resets and GOAWAY.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::sse::Block;
use super::{Answer, Authority, within};

/// A connection.
pub(crate) struct H2 {
    sender: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
    authority: String,
    scheme: &'static str,
}

impl H2 {
    /// In cleartext, with prior knowledge.
    pub(crate) async fn plain(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.expect("a connection");
        socket.set_nodelay(true).expect("an option set");
        Self::over(socket, to, "http", &settings()).await
    }

    /// Over TLS, as ALPN agreed.
    pub(crate) async fn tls(to: SocketAddr, authority: &Authority) -> Self {
        let socket = authority.connect(to, &[b"h2", b"http/1.1"]).await;
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(socket, to, "https", &settings()).await
    }

    /// Over any socket, with the client's own settings.
    pub(crate) async fn over<S>(socket: S, to: SocketAddr, scheme: &'static str, settings: &Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            within("a connection's beginning", settings.handshake(socket)).await.expect("HTTP/2");
        let driving = tokio::spawn(connection);
        Self { sender, driving, authority: format!("localhost:{}", to.port()), scheme }
    }

    /// Sends a request's head; the body is to follow unless `ends`.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let uri = format!("{}://{}{path}", self.scheme, self.authority);
        let mut request = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sender = self.sender.clone();
        let mut sender = within("room for a request", sender.ready()).await.expect("an open connection");
        let sent = sender.send_request(request.body(()).expect("a request"), ends);
        self.sender = sender;
        sent.expect("a request sent")
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response<RecvStream> {
        let (answer, mut sending) = self.send(method, path, headers, body.is_empty()).await;
        if !body.is_empty() {
            sending.send_data(Bytes::copy_from_slice(body), true).expect("a body sent");
        }
        within(&format!("{method} {path}"), answer).await.expect("an answer")
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let (head, mut body) = self.begin(method, path, headers, body).await.into_parts();
        let mut whole = Vec::new();
        while let Some(part) = within("more of an answer", body.data()).await {
            let part = part.expect("a whole answer");
            whole.extend_from_slice(&part);
            body.flow_control().release_capacity(part.len()).expect("room given back");
        }
        Answer { status: head.status.as_u16(), headers: head.headers, body: whole.into() }
    }

    /// Opens a stream.
    pub(crate) async fn stream(&mut self, path: &str, headers: &[(&str, &str)]) -> Events {
        let (head, body) = self.begin("GET", path, headers, b"").await.into_parts();
        Events { head, body, text: String::new(), blocks: VecDeque::new() }
    }

    /// Waits until the daemon has ended the connection, and gives what ended it.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        drop(self.sender);
        within("the connection ends", self.driving).await.expect("no panic")
    }
}

/// A client that lets many small events lie unread for a moment.
fn settings() -> Builder {
    let mut settings = Builder::new();
    settings.data_frame_budget(1 << 24);
    settings
}

/// An open stream.
pub(crate) struct Events {
    pub(crate) head: http::response::Parts,
    pub(crate) body: RecvStream,
    text: String,
    blocks: VecDeque<Block>,
}

impl Events {
    /// The next block; None at the end, an error when it was reset.
    pub(crate) async fn next(&mut self) -> Option<Result<Block, h2::Error>> {
        loop {
            while let Some(at) = self.text.find("\n\n") {
                let text: String = self.text.drain(..at + 2).collect();
                self.blocks.push_back(Block::parse(&text));
            }
            if let Some(block) = self.blocks.pop_front() {
                return Some(Ok(block));
            }
            match within("the next block of a stream", self.body.data()).await? {
                Ok(data) => {
                    self.body.flow_control().release_capacity(data.len()).expect("room given back");
                    self.text.push_str(str::from_utf8(&data).expect("text"));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next block, which must come.
    pub(crate) async fn block(&mut self) -> Block {
        self.next().await.expect("the stream has ended").expect("the stream was cut")
    }
}
