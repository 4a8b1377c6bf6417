//! Requests of a backend over Redis: taken from the list `<prefix>:requests`, each by one instance, done as the internal
//! listener would, and answered in the list that the request names.
//!
//! What has been taken is gone from Redis, so there is a place for it before it is taken. This file must not know what is
//! asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::clock::now_ms;
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::client::FIRST_PAUSE;
use crate::redis::client::connection::Connection;
use crate::redis::client::decode::Token;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::write_command;
use crate::redis::rpc::codec::{Keys, Malformed, Question, answer, refusal};
use crate::redis::rpc::replies::{Answer, Answers, PATIENCE};
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, REDIS_REQUESTS};

/// What this connection is for, in metrics.
const PURPOSE: &str = "requests";
/// How many are in progress at once.
const MAX_BUSY: usize = 64;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long Redis waits for a request before it says that there is none: so it is known to be there.
const WAIT: Duration = Duration::from_secs(1);

/// What comes of a request.
pub type Serving<'a> = BoxFuture<'a, Response<Bytes>>;

/// Answers requests of somebody who may do everything.
pub trait Answering: Send + Sync {
    fn answer(&self, request: Request<Bytes>) -> Serving<'_>;
}

/// Takes requests, one after the other.
pub(in crate::redis) struct Requests {
    server: Arc<Server>,
    timing: Timing,
    list: Box<[u8]>,
    keys: Keys,
    /// Longer requests are passed over.
    max_text: usize,
    desk: Desk,
    busy: Arc<Semaphore>,
    /// Of connections.
    told: Told,
    /// Of requests: never forgotten, so that nobody can fill the log.
    scolded: Told,
}

/// What a request is answered by.
#[derive(Clone)]
struct Desk {
    clerk: Arc<dyn Answering>,
    answers: mpsc::Sender<Answer>,
}

impl Requests {
    /// Starts to take requests, until `drain` starts; what was taken before is answered while it lasts.
    pub(in crate::redis) fn start(
        server: Arc<Server>,
        timing: Timing,
        prefix: &str,
        max_text: usize,
        clerk: Arc<dyn Answering>,
        drain: &Drain,
    ) {
        // Every one that waits there has a place.
        let (answers, waiting) = mpsc::channel(MAX_BUSY);
        drain.spawn_essential("redis replies", Answers::new(Arc::clone(&server), timing).run(waiting));
        let requests = Self {
            list: Keys::list(prefix).into_bytes().into(),
            keys: Keys::new(prefix, server.slot()),
            server,
            timing,
            max_text,
            desk: Desk { clerk, answers },
            busy: Arc::new(Semaphore::new(MAX_BUSY)),
            told: Told::default(),
            scolded: Told::default(),
        };
        drain.spawn_essential("redis requests", requests.run(drain.clone()));
    }

    async fn run(mut self, drain: Drain) {
        let mut connection = None;
        let mut backoff = Backoff::new(FIRST_PAUSE, self.timing.max_backoff);
        loop {
            let place = tokio::select! {
                biased;
                () = drain.started() => return,
                place = Arc::clone(&self.busy).acquire_owned() => place.expect("it is never closed"),
            };
            // Not given up by a drain: Redis might hand one out to nobody.
            match self.take(&mut connection).await {
                Ok(taken) => {
                    backoff.reset();
                    if let Some(text) = taken {
                        self.begin(text, place, &drain).await;
                    }
                }
                Err(failure) => {
                    connection = None;
                    let reason = failure.word();
                    metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
                    if self.told.say(reason) {
                        warn!(redis = %self.server, reason, %failure, "cannot take requests from Redis");
                    }
                    tokio::select! {
                        biased;
                        () = drain.started() => return,
                        () = sleep(backoff.pause()) => {}
                    }
                }
            }
        }
    }

    /// The next request, or what there is of one that is too long; None when none has come for a while.
    async fn take(&mut self, connection: &mut Option<Connection>) -> Result<Option<Token>, Failure> {
        const DOING: &str = "waiting for requests";
        let limit = self.timing.timeout;
        let connection = match connection {
            Some(connection) => connection,
            none => {
                let made = self.server.open(limit, self.max_text).await?;
                self.told.forget();
                metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
                info!(redis = %self.server, "taking requests from Redis");
                none.insert(made)
            }
        };
        let mut command = Vec::new();
        write_command(&mut command, &[b"BRPOP", &self.list, WAIT.as_secs().to_string().as_bytes()]);
        let late = || Failure::Timeout { address: self.server.to_string(), limit, doing: DOING };
        timeout(limit, connection.send(&command)).await.unwrap_or_else(|_| Err(late()))?;
        match connection.token(WAIT + limit, DOING).await? {
            Token::Nil => Ok(None),
            Token::Array(2) => {
                let _list = connection.token(limit, DOING).await?;
                match connection.token(limit, DOING).await? {
                    taken @ (Token::Bulk(_) | Token::TooLarge) => Ok(Some(taken)),
                    _ => Err(Failure::Unexpected),
                }
            }
            Token::Error(text) => Err(Failure::refused("to give requests", &text, self.server.secret())),
            _ => Err(Failure::Unexpected),
        }
    }

    /// Sees to what was taken, in a task of its own if it is a request.
    async fn begin(&mut self, taken: Token, place: OwnedSemaphorePermit, drain: &Drain) {
        let Token::Bulk(text) = taken else {
            count("too_large");
            if self.scolded.say("request") {
                warn!(reason = "too_large", "a text from Redis is no request");
            }
            return;
        };
        match self.keys.read(&text) {
            Ok(question) if question.expires.is_some_and(|expires| expires <= now_ms()) => {
                count("expired");
            }
            Ok(question) => {
                let desk = self.desk.clone();
                drain.spawn(desk.serve(question, place));
            }
            Err(Malformed { why, reply }) => {
                count("malformed");
                // The sentence may repeat what was sent.
                if self.scolded.say("request") {
                    warn!(reason = why.word(), "a text from Redis is no request");
                }
                self.desk.leave(reply, refusal(400, &why.to_string()), place).await;
            }
        }
    }
}

impl Desk {
    async fn serve(self, question: Question, place: OwnedSemaphorePermit) {
        let Ok(response) = timeout(LIMIT, self.clerk.answer(question.request)).await else {
            count("failed");
            let text = refusal(504, "this took too long; it may or may not have been done");
            return self.leave(question.reply, text, place).await;
        };
        count(outcome(response.status()));
        self.leave(question.reply, answer(&response), place).await;
    }

    async fn leave(&self, list: Option<String>, text: Vec<u8>, place: OwnedSemaphorePermit) {
        let Some(list) = list else { return };
        let until = Instant::now() + PATIENCE;
        // The other end goes after the last of us.
        let _ = self.answers.send(Answer { list, text, until, _place: place }).await;
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
