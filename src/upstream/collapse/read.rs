//! The body of one answer of the application, read to its end and put into the log message by message.
//!
//! No more of it is held than its largest event.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::config::StreamSource;
use crate::event::sse::{Message, Parser};
use crate::proxy::{ProxyBody, ProxyError};
use crate::upstream::collapse::append::append;
use crate::upstream::held::HeldStream;
use crate::upstream::shared::destination::{Destination, left_out};
use crate::upstream::shared::holding::LeaseLost;

/// How one answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReadEnd {
    /// As the application meant it.
    Ended,
    /// The connection broke.
    Broken,
    /// Nothing came for too long.
    Silent,
}

impl ReadEnd {
    /// The word in the metric and in the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Broken => "broken",
            Self::Silent => "silent",
        }
    }
}

/// Reads one answer.
pub(super) struct AnswerReader {
    parser: Parser,
    silence: Duration,
}

/// A stream that lasts for so long is sound, even if nothing is said on it.
const SOUND: Duration = Duration::from_secs(5);

impl AnswerReader {
    /// `last_event_id` is the one that was asked for.
    pub(super) fn new(source: &StreamSource, last_event_id: String) -> Self {
        let max = usize::try_from(source.max_event.0).unwrap_or(usize::MAX);
        Self { parser: Parser::new(last_event_id, max), silence: source.silence }
    }

    /// The pause before a reconnect that the application asked for.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// Reads to the end, and says whether the answer was worth the request.
    pub(super) async fn read(
        &mut self,
        to: Destination<'_>,
        held: &HeldStream,
        mut body: ProxyBody,
    ) -> Result<(ReadEnd, bool), LeaseLost> {
        let (begun, mut heard) = (Instant::now(), false);
        let end = loop {
            match self.next(&mut body).await {
                Ok(Some(bytes)) => heard |= self.take(to, held, &bytes).await?,
                Ok(None) => break ReadEnd::Ended,
                Err(end) => break end,
            }
        };
        Ok((end, heard || begun.elapsed() >= SOUND))
    }

    async fn next(&self, body: &mut ProxyBody) -> Result<Option<Bytes>, ReadEnd> {
        loop {
            let frame = if self.silence.is_zero() {
                body.frame().await
            } else {
                timeout(self.silence, body.frame()).await.map_err(|_| ReadEnd::Silent)?
            };
            match frame {
                None => return Ok(None),
                Some(Err::<_, ProxyError>(_)) => return Err(ReadEnd::Broken),
                // Trailers are nothing to a stream.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_) => continue,
                },
            }
        }
    }

    /// Puts the messages of `bytes` into the log; whether there were any.
    async fn take(
        &mut self,
        to: Destination<'_>,
        held: &HeldStream,
        mut bytes: &[u8],
    ) -> Result<bool, LeaseLost> {
        let mut messages: Vec<Message> = Vec::new();
        let mut any = false;
        loop {
            match self.parser.next(&mut bytes) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => {
                    let before = std::mem::take(&mut messages);
                    any |= append(to, held, before, self.parser.last_event_id()).await?;
                    self.parser.skip_block();
                    // In the place of the event that is left out.
                    left_out("too_large");
                    to.gap(held).await?;
                }
            }
        }
        Ok(any | append(to, held, messages, self.parser.last_event_id()).await?)
    }
}
