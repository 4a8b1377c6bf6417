//! A client of an event stream that sees every byte.

use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// One block as it stood on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Block {
    pub(crate) event: Option<String>,
    /// None for a block without a `data` field.
    pub(crate) data: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: Vec<String>,
}

impl Block {
    pub(crate) fn data(&self) -> &str {
        self.data.as_deref().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(crate) fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.data()).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => block.comments.push(value.to_owned()),
                "event" => block.event = Some(value.to_owned()),
                "id" => block.id = Some(value.to_owned()),
                "retry" => block.retry = Some(value.parse().expect("a number")),
                "data" => match &mut block.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(value.to_owned()),
                },
                other => panic!("an unknown field {other:?} in {text:?}"),
            }
        }
        block
    }
}

/// A request as a simple client writes it.
fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n{headers}\r\n")
}

/// An open stream.
pub(crate) struct Stream {
    socket: TcpStream,
    /// The response's head, as it came.
    pub(crate) head: String,
    chunked: bool,
    raw: Vec<u8>,
    text: String,
    blocks: VecDeque<Block>,
    ended: bool,
    /// Whether the end came with the last chunk.
    pub(crate) ended_cleanly: bool,
}

impl Stream {
    /// Asks for `path` and reads the response's head, whatever its status.
    pub(crate) async fn open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::open_raw(to, get(to, path, headers).as_bytes()).await
    }

    /// As [`Stream::open`], but None when nobody listens there or the connection ends in the head.
    pub(crate) async fn try_open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Option<Self> {
        let request = get(to, path, headers);
        within("the head of a stream", async {
            let mut socket = TcpStream::connect(to).await.ok()?;
            socket.write_all(request.as_bytes()).await.ok()?;
            Self::try_read_head(socket).await
        })
        .await
    }

    /// Writes `request` as it stands and reads the response's head.
    pub(crate) async fn open_raw(to: SocketAddr, request: &[u8]) -> Self {
        within("the head of a stream", async {
            let mut socket = TcpStream::connect(to).await.expect("a connection");
            socket.write_all(request).await.expect("a request sent");
            Self::read_head(socket).await
        })
        .await
    }

    /// As [`Stream::open`], on a connection that is there.
    pub(crate) async fn open_on(mut socket: TcpStream, path: &str, headers: &[(&str, &str)]) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 80));
        within("the head of a stream", async {
            socket.write_all(get(nowhere, path, headers).as_bytes()).await.expect("a request sent");
            Self::read_head(socket).await
        })
        .await
    }

    /// Asks for `path` behind another request, in one piece with it, and reads that one's answer, which is JSON: the
    /// daemon has both requests then. [`Stream::read_head`] takes what is left.
    pub(crate) async fn ask_behind(
        first: &str,
        to: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> TcpStream {
        within("the answer to the first of two requests", async {
            let mut socket = TcpStream::connect(to).await.expect("a connection");
            let both = format!("{first}{}", get(to, path, headers));
            socket.write_all(both.as_bytes()).await.expect("requests sent");
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                assert_ne!(socket.read_buf(&mut answer).await.expect("more"), 0, "it ended");
            }
            socket
        })
        .await
    }

    /// Reads the head of an answer that is on its way.
    pub(crate) async fn read_head(socket: TcpStream) -> Self {
        Self::try_read_head(socket).await.expect("the connection ended in the head")
    }

    async fn try_read_head(mut socket: TcpStream) -> Option<Self> {
        let mut raw = Vec::new();
        let end = loop {
            if let Some(at) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut raw).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(raw.drain(..end).collect()).expect("text");
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some(Self {
            socket,
            head,
            chunked,
            raw,
            text: String::new(),
            blocks: VecDeque::new(),
            ended: false,
            ended_cleanly: false,
        })
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// The next block; None at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Block> {
        within("the next block of a stream", self.read_block()).await
    }

    /// The next block, which must come.
    pub(crate) async fn block(&mut self) -> Block {
        self.next().await.expect("the stream has ended")
    }

    /// The next block that is no heartbeat's comment and no `connected`.
    pub(crate) async fn event(&mut self) -> Block {
        // Bounded as a whole: heartbeats would keep a test waiting for ever.
        within("the next event of a stream", async {
            loop {
                let block = self.block().await;
                if block.data.is_some() && !block.is("connected") {
                    return block;
                }
            }
        })
        .await
    }

    /// The next `count` events' data.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::new();
        for _ in 0..count {
            data.push(self.event().await.data().to_owned());
        }
        data
    }

    async fn read_block(&mut self) -> Option<Block> {
        loop {
            // What came with the head, or with the block before, is looked at before there is a wait for more.
            self.decode();
            while let Some(at) = self.text.find("\n\n") {
                let text: String = self.text.drain(..at + 2).collect();
                self.blocks.push_back(Block::parse(&text));
            }
            if let Some(block) = self.blocks.pop_front() {
                return Some(block);
            }
            if self.ended {
                return None;
            }
            // An error is a cut.
            self.ended = self.socket.read_buf(&mut self.raw).await.unwrap_or_default() == 0;
        }
    }

    /// Moves what is whole from the raw bytes to the text.
    fn decode(&mut self) {
        if !self.chunked {
            self.text.push_str(&String::from_utf8(std::mem::take(&mut self.raw)).expect("text"));
            return;
        }
        while let Some(line) = self.raw.windows(2).position(|window| window == b"\r\n") {
            let size = str::from_utf8(&self.raw[..line]).expect("a chunk's size");
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            if self.raw.len() < line + 2 + size + 2 {
                return;
            }
            if size == 0 {
                self.ended = true;
                self.ended_cleanly = true;
                return;
            }
            let chunk = &self.raw[line + 2..line + 2 + size];
            self.text.push_str(str::from_utf8(chunk).expect("chunks end between characters"));
            assert_eq!(&self.raw[line + 2 + size..line + 4 + size], b"\r\n", "a chunk's end");
            self.raw.drain(..line + 4 + size);
        }
    }

    /// The body of an answer that is no stream, which says its length.
    pub(crate) async fn json(&mut self) -> serde_json::Value {
        let head = self.head.to_ascii_lowercase();
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        within("the body of an answer", async {
            while self.raw.len() < length {
                assert_ne!(self.socket.read_buf(&mut self.raw).await.expect("a body"), 0, "it broke off");
            }
        })
        .await;
        serde_json::from_slice(&self.raw[..length]).expect("JSON")
    }

    /// The bare socket, for a test that wants to be rude.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }
}
