//! The body of a request to the internal listener: bounded in size and time.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::deadline::DeadlinePool;
use crate::server::respond::ApiProblem;

/// What the listener, Redis and tests give as a body.
pub(in crate::server) trait ReadableBody:
    Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
{
}

impl<B> ReadableBody for B
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
}

/// The bounds of a body.
#[derive(Debug)]
pub(in crate::server) struct BodyLimits {
    size: u64,
    time: Duration,
    deadlines: DeadlinePool,
}

impl BodyLimits {
    pub(in crate::server) fn new(size: u64, time: Duration) -> Self {
        Self { size, time, deadlines: DeadlinePool::default() }
    }

    /// The whole body.
    pub(in crate::server) async fn read(&self, body: impl ReadableBody) -> Result<Bytes, ApiProblem> {
        let too_large = || ApiProblem::body_too_large(&format!("{} bytes (internal.max_body)", self.size));
        if body.size_hint().lower() > self.size {
            return Err(too_large());
        }
        let limited = Limited::new(body, usize::try_from(self.size).unwrap_or(usize::MAX));
        match self.deadlines.within(self.time, limited.collect()).await {
            Some(Ok(body)) => Ok(body.to_bytes()),
            Some(Err(bad)) if bad.is::<LengthLimitError>() => Err(too_large()),
            Some(Err(_)) => Err(ApiProblem::body_broken()),
            None => {
                let bound = format!("{:?} (internal.body_timeout)", self.time);
                Err(ApiProblem::body_timeout(&bound).closing())
            }
        }
    }
}
