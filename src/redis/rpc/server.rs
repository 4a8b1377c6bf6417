//! RpcServer of a backend over Redis: taken from the list `<prefix>:requests`, each by one instance, done as the
//! internal listener would, and answered in the list that the request names.
//!
//! What has been taken is gone from Redis, so there is a place for it before it is taken. This file must not know what
//! is asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::clock::now_ms;
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise};
use crate::redis::rpc::codec::{MalformedRequest, RpcKeys, RpcRequest, answer, refusal};
use crate::redis::rpc::replies::RpcReplies;
use crate::shutdown::Drain;
use crate::telemetry::REDIS_REQUESTS;

const PURPOSE: Purpose = Purpose {
    label: "requests",
    connected: "taking requests from Redis",
    reconnected: "taking requests from Redis again",
    failed: "cannot take requests from Redis",
    meanwhile: "requests over Redis wait",
};
/// How many are in progress at once.
const MAX_BUSY: usize = 64;
/// How often malformed requests are logged.
const WARN_EVERY: Duration = Duration::from_secs(30);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long Redis waits for a request before it says that there is none: so it is known to be there.
const WAIT: Duration = Duration::from_secs(1);

/// Answers requests of somebody who may do everything.
pub trait RequestHandler: Send + Sync {
    fn handle(&self, request: Request<Bytes>) -> Handling<'_>;
}

/// An answer to a request, in time.
pub type Handling<'a> = BoxFuture<'a, Response<Bytes>>;

/// Takes requests, one after the other.
pub(in crate::redis) struct RpcServer {
    endpoint: Arc<Endpoint>,
    timing: Timing,
    list: Box<[u8]>,
    keys: RpcKeys,
    /// Longer requests are passed over.
    max_text: usize,
    responder: Responder,
    /// A place for each request that is in progress.
    places: Arc<Semaphore>,
    /// When a malformed request was logged last, and how many have come since.
    warned: Option<Instant>,
    suppressed: u64,
}

/// What answers requests.
#[derive(Clone)]
struct Responder {
    handler: Arc<dyn RequestHandler>,
    replies: RpcReplies,
}

impl RpcServer {
    /// Starts to take requests, until `drain` starts; what was taken before is answered while it lasts.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        prefix: &str,
        max_text: usize,
        handler: Arc<dyn RequestHandler>,
        drain: &Drain,
    ) {
        // Every one that waits there has a place.
        let replies = RpcReplies::start(Arc::clone(&endpoint), timing, MAX_BUSY, drain);
        let status = ConnectionStatus::new(Arc::clone(&endpoint), &PURPOSE, timing.max_backoff);
        let server = Self {
            list: RpcKeys::list(prefix).into_bytes().into(),
            keys: RpcKeys::new(prefix, endpoint.slot()),
            endpoint,
            timing,
            max_text,
            responder: Responder { handler, replies },
            places: Arc::new(Semaphore::new(MAX_BUSY)),
            warned: None,
            suppressed: 0,
        };
        drain.spawn_essential("redis requests", supervise(server, status, drain.clone()));
    }

    /// The next request, or what there is of one that is too long; None when none has come for a while.
    async fn take(&self, connection: &mut RedisConnection) -> Result<Option<RespToken>, RedisError> {
        const DOING: &str = "waiting for requests";
        let limit = self.timing.timeout;
        let mut command = Vec::new();
        write_command(&mut command, &[b"BRPOP", &self.list, WAIT.as_secs().to_string().as_bytes()]);
        let late = || RedisError::Timeout { address: self.endpoint.to_string(), limit, doing: DOING };
        timeout(limit, connection.send(&command)).await.unwrap_or_else(|_| Err(late()))?;
        match connection.token(WAIT + limit, DOING).await? {
            RespToken::Nil => Ok(None),
            RespToken::Array(2) => {
                let _list = connection.token(limit, DOING).await?;
                match connection.token(limit, DOING).await? {
                    taken @ (RespToken::Bulk(_) | RespToken::TooLarge) => Ok(Some(taken)),
                    _ => Err(RedisError::Unexpected),
                }
            }
            RespToken::Error(text) => {
                Err(RedisError::refused("to give requests", &text, self.endpoint.secret().as_ref()))
            }
            _ => Err(RedisError::Unexpected),
        }
    }

    /// Sees to what was taken, in a task of its own.
    fn begin(&mut self, taken: RespToken, place: OwnedSemaphorePermit, drain: &Drain) {
        let RespToken::Bulk(text) = taken else {
            return self.pass_over("too_large");
        };
        let responder = self.responder.clone();
        match self.keys.read(&text) {
            Ok(request) if request.expires.is_some_and(|expires| expires <= now_ms()) => {
                count("expired");
            }
            Ok(request) => {
                drain.spawn(responder.serve(request, place));
            }
            Err(MalformedRequest { why, reply }) => {
                // The sentence may repeat what was sent.
                self.pass_over(why.label());
                let text = refusal(400, &why.to_string());
                drain.spawn(async move { responder.reply(reply, text, place).await });
            }
        }
    }

    fn pass_over(&mut self, reason: &'static str) {
        count(if reason == "too_large" { reason } else { "malformed" });
        if self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            self.suppressed += 1;
            return;
        }
        self.warned = Some(Instant::now());
        let suppressed = std::mem::take(&mut self.suppressed);
        warn!(reason, suppressed, "a text from Redis is no request");
    }
}

impl Supervised for RpcServer {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        let mut connection = self.endpoint.open(self.timing.timeout, self.max_text).await?;
        status.on_connected();
        loop {
            let place = tokio::select! {
                biased;
                () = drain.started() => return Ok(()),
                place = Arc::clone(&self.places).acquire_owned() => place.expect("it is never closed"),
            };
            // Not given up by a drain: Redis might hand one out to nobody.
            if let Some(taken) = self.take(&mut connection).await? {
                self.begin(taken, place, drain);
            }
        }
    }
}

impl Responder {
    /// The place is given back when the answer is left or given up.
    async fn serve(self, request: RpcRequest, place: OwnedSemaphorePermit) {
        let Ok(response) = timeout(LIMIT, self.handler.handle(request.request)).await else {
            count("failed");
            let text = refusal(504, "this took too long; it may or may not have been done");
            return self.reply(request.reply, text, place).await;
        };
        count(outcome(response.status()));
        self.reply(request.reply, answer(&response), place).await;
    }

    async fn reply(&self, list: Option<String>, text: Vec<u8>, _place: OwnedSemaphorePermit) {
        if let Some(list) = list {
            self.replies.reply(list, text).await;
        }
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..400 => "done",
        400..500 => "refused",
        _ => "failed",
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(REDIS_REQUESTS, "outcome" => outcome).increment(1);
}
