//! Bytes on the wire: chunked coding and SSE text in, the load's own mark in every event.

mod answer;
mod chunked;
mod mark;
mod sse;

pub(crate) use answer::{Answer, head_end, length};
pub(crate) use chunked::Chunked;
pub(crate) use mark::{Mark, Stamp, topic};
pub(crate) use sse::{Block, blocks};
