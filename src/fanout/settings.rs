//! What all subscribers have in common.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use socket2::SockRef;

use crate::config;
use crate::event::{Block, EventFormat, EventName, Frame};
use crate::net::keepalive;

/// What all subscribers have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads; at least one, at most 64.
    pub shards: usize,
    /// A stream that has been silent for so long gets a heartbeat; None = never.
    pub heartbeat: Option<Duration>,
    pub heartbeat_as: Heartbeat,
    /// A stream whose sink takes nothing for so long is closed.
    pub write_timeout: Duration,
    /// Bounds of the `retry:` of a `closing` event, in milliseconds.
    pub retry_ms: (u32, u32),
}

/// What a heartbeat is.
#[derive(Clone, PartialEq, Debug)]
pub enum Heartbeat {
    /// These bytes.
    Fixed(Frame),
    /// An event of this name, in the log's shape and with the time of its own.
    Event(EventName),
}

impl From<&config::Heartbeat> for Heartbeat {
    fn from(form: &config::Heartbeat) -> Self {
        match form {
            config::Heartbeat::Comment => Self::Fixed(Frame::comment(": hb\n\n")),
            config::Heartbeat::Line => Self::Fixed(Frame::comment(": hb\n")),
            config::Heartbeat::Event(name) => Self::Event(name.clone()),
        }
    }
}

impl Heartbeat {
    pub(super) fn frame(&self, format: EventFormat) -> Frame {
        match self {
            Self::Fixed(frame) => frame.clone(),
            Self::Event(name) => {
                let block = Block { event: Some(name.as_str()), data: "{}", ..Block::default() };
                format.block(block, SystemTime::now())
            }
        }
    }
}

impl Settings {
    /// Makes the kernel notice a dead peer. What is unsent is kept short, so that a stalled reader does not hide in the
    /// kernel's buffer.
    pub(super) fn tune(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        keepalive::notice_vanished(socket, self.write_timeout)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&socket).set_tcp_notsent_lowat(16 << 10)?;
        Ok(())
    }
}

#[cfg(test)]
impl Settings {
    /// For tests: without heartbeats, and so that nobody is cut for reading slowly.
    pub(crate) fn silent(shards: usize) -> Self {
        Self {
            shards,
            heartbeat: None,
            heartbeat_as: Heartbeat::Fixed(Frame::comment(": hb\n\n")),
            write_timeout: Duration::from_secs(60),
            retry_ms: (1, 2),
        }
    }
}
