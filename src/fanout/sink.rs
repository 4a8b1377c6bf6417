//! What a subscriber is written to: a bare socket, or a channel to somebody who holds the connection.

use std::io::{self, IoSlice, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::event::Frame;

/// How a sink wants its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Each frame as one HTTP/1.1 chunk.
    Chunked,
    /// The SSE text alone.
    Plain,
}

impl Framing {
    pub(super) fn bytes(self, frame: &Frame) -> &[u8] {
        match self {
            Self::Chunked => frame.chunk(),
            Self::Plain => frame.payload(),
        }
    }

    pub(super) fn shared(self, frame: &Frame) -> Bytes {
        match self {
            Self::Chunked => frame.chunk_bytes(),
            Self::Plain => frame.payload_bytes(),
        }
    }
}

/// Where a subscriber's bytes go.
pub enum Sink {
    /// A non-blocking socket that nobody else uses.
    Socket(std::net::TcpStream, Framing),
    /// The other end of a [`ChannelReader`]. Takes plain frames.
    Channel(ChannelSink),
}

/// The shard's end of a channel.
pub struct ChannelSink {
    bytes: mpsc::Sender<Bytes>,
    shared: Arc<ChannelState>,
}

/// How many messages may wait in a channel, and how many bytes one may have.
const CHANNEL: usize = 2;
const MESSAGE: usize = 16 << 10;

/// What both ends of a channel see.
struct ChannelState {
    /// The shard met a full channel and wants to hear of room.
    waits: AtomicBool,
    /// Tells the shard: set when the subscriber has joined it.
    notify: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The stream was ended before all of it was taken.
    cut: AtomicBool,
    /// Notified when it is cut, as nobody may be reading by then.
    cut_notify: OnceLock<Arc<Notify>>,
}

/// The stream was ended in the middle: what comes after must not be taken for its end.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut")]
pub struct Cut;

impl Sink {
    /// A channel and its other end.
    pub fn channel() -> (Self, ChannelReader) {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let shared = Arc::new(ChannelState {
            waits: AtomicBool::new(false),
            notify: OnceLock::new(),
            cut: AtomicBool::new(false),
            cut_notify: OnceLock::new(),
        });
        (
            Self::Channel(ChannelSink { bytes: sender, shared: Arc::clone(&shared) }),
            ChannelReader { bytes: receiver, shared },
        )
    }
}

impl ChannelSink {
    /// `notify` tells the shard that there is room again, or that nobody reads any more.
    pub(super) fn notify_by(&self, notify: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.notify.set(Box::new(notify));
    }

    pub(super) fn is_closed(&self) -> bool {
        self.bytes.is_closed()
    }

    fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        if let Some(notify) = self.shared.cut_notify.get() {
            notify.notify_one();
        }
    }

    /// As much of `parts` as one message may hold.
    fn write(&self, parts: &[&[u8]]) -> io::Result<usize> {
        if self.bytes.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let permit = match self.bytes.try_reserve() {
            Ok(permit) => permit,
            Err(_) => {
                self.shared.waits.store(true, Ordering::SeqCst);
                // It may have been read empty before it could see the flag.
                self.bytes.try_reserve().map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?
            }
        };
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>().min(MESSAGE));
        for part in parts {
            bytes.extend_from_slice(&part[..part.len().min(MESSAGE - bytes.len())]);
        }
        let len = bytes.len();
        permit.send(bytes.into());
        Ok(len)
    }
}

/// The other end of a channel. Dropping it ends the subscriber.
pub struct ChannelReader {
    bytes: mpsc::Receiver<Bytes>,
    shared: Arc<ChannelState>,
}

impl ChannelReader {
    /// Tells `notify` when the stream is ended although not all of it was taken. A reader that nobody asks for more
    /// could not say so itself. To be called before the sink is handed over.
    pub fn notify_when_cut(&self, notify: Arc<Notify>) {
        let _ = self.shared.cut_notify.set(notify);
    }
}

impl ChannelState {
    fn notify(&self) {
        if let Some(notify) = self.notify.get() {
            notify();
        }
    }
}

impl ChannelReader {
    /// The next bytes; none after the stream's end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let polled = self.bytes.poll_recv(cx);
        if polled.is_ready() && self.shared.waits.swap(false, Ordering::SeqCst) {
            self.shared.notify();
        }
        polled.map(|bytes| match bytes {
            Some(bytes) => Some(Ok(bytes)),
            None => self.shared.cut.load(Ordering::SeqCst).then_some(Err(Cut)),
        })
    }
}

impl Drop for ChannelReader {
    fn drop(&mut self) {
        self.bytes.close();
        self.shared.notify();
    }
}

/// A sink inside its shard.
pub(super) enum OwnedSink {
    Socket(mio::net::TcpStream, Framing),
    Channel(ChannelSink),
}

impl OwnedSink {
    pub(super) fn framing(&self) -> Framing {
        match self {
            Self::Socket(_, framing) => *framing,
            Self::Channel(_) => Framing::Plain,
        }
    }

    /// Writes some of `parts`, in order; returns how many bytes. `WouldBlock` when it takes nothing now.
    pub(super) fn write(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        match self {
            Self::Socket(socket, _) => loop {
                let written = match parts {
                    [one] => socket.write(one),
                    many => {
                        let slices: smallvec::SmallVec<[IoSlice<'_>; 64]> =
                            many.iter().map(|part| IoSlice::new(part)).collect();
                        socket.write_vectored(&slices)
                    }
                };
                match written {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            },
            Self::Channel(channel) => channel.write(parts),
        }
    }

    /// Ends the sink: what was written is delivered, then the end is seen. A channel that was `blocked` is cut, as
    /// nobody knows whether it would ever be read to its end.
    pub(super) fn finish(&mut self, at_boundary: bool, blocked: bool) {
        match self {
            Self::Socket(socket, framing) => {
                // In the middle of a frame the missing last chunk tells the client that it was cut.
                if at_boundary && *framing == Framing::Chunked {
                    let _ = socket.write(b"0\r\n\r\n");
                }
                let _ = socket.shutdown(std::net::Shutdown::Write);
            }
            Self::Channel(channel) if blocked || !at_boundary => channel.cut(),
            Self::Channel(_) => {}
        }
    }
}
