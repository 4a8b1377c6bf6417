//! What is said of a span.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::trace::TraceContext;

/// Which side of what a span is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    Internal,
    /// It answers a request.
    Server,
    /// It sends a message.
    Producer,
}

/// What is said of a span.
#[derive(Clone, PartialEq, Debug)]
pub enum AttributeValue {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// A span that is over.
#[derive(Debug)]
pub(super) struct SpanRecord {
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) context: TraceContext,
    pub(super) parent: Option<TraceContext>,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// A word on why it failed.
    pub(super) failure: Option<&'static str>,
}

/// The most of a text that is said.
const LONGEST: usize = 512;

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        let end = (0..=LONGEST.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        Self::Text(text[..end].to_owned())
    }
}

impl From<IpAddr> for AttributeValue {
    fn from(address: IpAddr) -> Self {
        Self::Text(address.to_string())
    }
}

impl From<u64> for AttributeValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for AttributeValue {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<bool> for AttributeValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
