//! A connection over its whole life: made, used, lost, and made again until the daemon stops; and what metrics, health
//! and the log say of it.
//!
//! Every connection to Redis has a [`ConnectionStatus`]. Those that work on their own are run by [`supervise`]; those
//! that answer requests belong to an [`outbox`](crate::redis::client::outbox). This file knows no command.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::health::Reporter;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, Throttle};

/// The pause before the second attempt to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What a connection is for, in the words of metrics, log and health.
#[derive(Debug)]
pub(in crate::redis) struct Purpose {
    /// The label `purpose` of metrics.
    pub(in crate::redis) label: &'static str,
    /// Logged when it is made, and, after a error, when it is made again.
    pub(in crate::redis) connected: &'static str,
    pub(in crate::redis) reconnected: &'static str,
    /// Logged when it fails.
    pub(in crate::redis) failed: &'static str,
    /// What its loss means until it is back.
    pub(in crate::redis) meanwhile: &'static str,
}

/// Work on a connection of its own.
pub(in crate::redis) trait Supervised: Send {
    /// Connects and works until `drain` starts or the connection fails. Reports to `status` once it is connected.
    fn run(
        &mut self,
        status: &mut ConnectionStatus,
        drain: &Drain,
    ) -> impl Future<Output = Result<(), RedisError>> + Send;

    /// The connection failed: cleans up, and says since when nothing has come over it.
    fn on_disconnected(&mut self, _error: &RedisError) -> Instant {
        Instant::now()
    }

    /// The last that is done, when the daemon stops.
    fn stop(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Runs `work` until `drain` starts: after each error again, with pauses that grow.
pub(in crate::redis) async fn supervise(
    mut work: impl Supervised,
    mut status: ConnectionStatus,
    drain: Drain,
) {
    while let Err(error) = work.run(&mut status, &drain).await {
        let since = work.on_disconnected(&error);
        status.on_disconnected(&error, since);
        tokio::select! {
            biased;
            () = drain.started() => break,
            () = sleep(status.pause()) => {}
        }
    }
    work.stop().await;
}

/// Drives `work`, which ends only by failing, until `drain` starts.
pub(in crate::redis) async fn until_drain(
    drain: &Drain,
    work: impl Future<Output = Result<Infallible, RedisError>>,
) -> Result<(), RedisError> {
    tokio::select! {
        biased;
        () = drain.started() => Ok(()),
        ended = work => match ended {
            Ok(never) => match never {},
            Err(error) => Err(error),
        }
    }
}

/// Whether a connection stands, and all that is said of it.
pub(in crate::redis) struct ConnectionStatus {
    endpoint: Arc<Endpoint>,
    purpose: &'static Purpose,
    backoff: Backoff,
    max_backoff: Duration,
    state: State,
    health: Option<Reporter>,
    /// The daemon is ready without it, unless Redis takes what it should not.
    is_optional: bool,
    up: Option<Gauge>,
    connects: Counter,
    /// What failed last, and what has been logged since the connection stood last: by reason, of which there are ten.
    last_error: Option<String>,
    logged: Vec<(&'static str, Instant)>,
    /// Bounds what a connection that comes and goes may log.
    lines: Throttle,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is no connection, since then.
    Away {
        since: Instant,
        attempts: u64,
    },
    Connected {
        since: Instant,
    },
}

/// What it means that a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum ConnectionChange {
    /// It stood already.
    None,
    /// It is the first, or nothing had failed before it.
    First,
    /// It was lost, or attempts to make it had failed.
    Again,
}

impl ConnectionStatus {
    /// How long a error that lasts is not logged again.
    const REPEAT_AFTER: Duration = Duration::from_secs(30);

    /// The status of a connection that is not there yet. Pauses between attempts grow to `max_backoff`.
    pub(in crate::redis) fn new(
        endpoint: Arc<Endpoint>,
        purpose: &'static Purpose,
        max_backoff: Duration,
    ) -> Self {
        Self {
            endpoint,
            purpose,
            backoff: Backoff::new(FIRST_PAUSE, max_backoff),
            max_backoff,
            state: State::Away { since: Instant::now(), attempts: 0 },
            health: None,
            is_optional: false,
            up: None,
            connects: metrics::counter!(REDIS_CONNECTS, "purpose" => purpose.label),
            last_error: None,
            logged: Vec::new(),
            lines: Throttle::default(),
        }
    }

    /// The same, telling the daemon's health.
    pub(in crate::redis) fn with_health(self, health: Reporter) -> Self {
        Self { health: Some(health), ..self }
    }

    /// The same, telling the daemon's health of something that it is ready without; not so while the server is no
    /// master, which takes what reaches nobody.
    pub(in crate::redis) fn with_optional_health(self, health: Reporter) -> Self {
        Self { health: Some(health), is_optional: true, ..self }
    }

    /// The same, with a gauge that is 1 while the connection stands.
    pub(in crate::redis) fn with_gauge(self, up: Gauge) -> Self {
        up.set(0.0);
        Self { up: Some(up), ..self }
    }

    pub(in crate::redis) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// The connection stands and does its work. The daemon's health is not touched.
    pub(in crate::redis) fn on_connected(&mut self) -> ConnectionChange {
        let State::Away { since, attempts } = self.state else { return ConnectionChange::None };
        self.state = State::Connected { since: Instant::now() };
        self.logged.clear();
        self.connects.increment(1);
        if let Some(up) = &self.up {
            up.set(1.0);
        }
        let last_error = self.last_error.take();
        let redis = &self.endpoint;
        if attempts == 0 {
            match self.lines.pass() {
                Some(_) => info!(%redis, "{}", self.purpose.connected),
                None => debug!(%redis, "{}", self.purpose.connected),
            }
            return ConnectionChange::First;
        }
        let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last_error = last_error.unwrap_or_default();
        match self.lines.pass() {
            Some(suppressed) => {
                warn!(%redis, away_ms, attempts, last_error, suppressed, "{}", self.purpose.reconnected);
            }
            None => debug!(%redis, away_ms, attempts, last_error, "{}", self.purpose.reconnected),
        }
        ConnectionChange::Again
    }

    /// What the connection is for works.
    pub(in crate::redis) fn healthy(&self) {
        if let Some(health) = &self.health {
            health.up();
            if self.is_optional {
                health.set_required(false);
            }
        }
    }

    /// The connection failed, or could not be made; nothing has come over it since `since`.
    pub(in crate::redis) fn on_disconnected(&mut self, error: &RedisError, since: Instant) {
        self.state = match self.state {
            State::Away { since, attempts } => State::Away { since, attempts: attempts + 1 },
            State::Connected { since: stood } => {
                if stood.elapsed() >= self.max_backoff {
                    self.backoff.reset();
                }
                State::Away { since, attempts: 1 }
            }
        };
        self.endpoint.doubt();
        if let Some(up) = &self.up {
            up.set(0.0);
        }
        if let Some(health) = &self.health {
            health.down(format!("{error}; {}", self.purpose.meanwhile));
            // It answers, and what it takes is lost: nothing else would notice.
            if self.is_optional && matches!(error, RedisError::NotMaster { .. }) {
                health.set_required(true);
            }
        }
        self.last_error = Some(error.to_string());
        self.count_and_log(error);
    }

    /// A connection on which nothing was asked is gone: nothing is lost by it.
    pub(in crate::redis) fn on_idle_lost(&mut self) {
        debug!(redis = %self.endpoint, purpose = self.purpose.label, "an idle connection to Redis is gone");
        self.state = State::Away { since: Instant::now(), attempts: 0 };
        if let Some(up) = &self.up {
            up.set(0.0);
        }
    }

    /// Redis refused what was asked; the connection stands.
    pub(in crate::redis) fn on_refused(&mut self, error: &RedisError) {
        if let Some(health) = self.health.as_ref().filter(|_| error.is_lasting()) {
            health.down(format!("{error}; {}", self.purpose.meanwhile));
        }
        self.count_and_log(error);
    }

    /// How long to wait before the next attempt.
    pub(in crate::redis) fn pause(&mut self) -> Duration {
        self.backoff.pause()
    }

    fn count_and_log(&mut self, error: &RedisError) {
        let reason = error.label();
        metrics::counter!(REDIS_FAILURES, "purpose" => self.purpose.label, "reason" => reason).increment(1);
        let (redis, now) = (&self.endpoint, Instant::now());
        let logged = self.logged.iter_mut().find(|(logged, _)| *logged == reason);
        let is_news = logged.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= Self::REPEAT_AFTER);
        match self.lines.pass().filter(|_| is_news) {
            Some(suppressed) => {
                match logged {
                    Some((_, at)) => *at = now,
                    None => self.logged.push((reason, now)),
                }
                warn!(%redis, reason, %error, suppressed, "{}", self.purpose.failed);
            }
            None => debug!(%redis, reason, %error, "{}", self.purpose.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ReadyFor;
    use crate::redis::double::{TIMING, nobody, within};

    const PURPOSE: Purpose =
        Purpose { label: "test", connected: "", reconnected: "", failed: "", meanwhile: "nothing is done" };

    /// Connects at the third attempt, and is lost at once.
    struct Third(u32, Arc<tokio::sync::Notify>);

    impl Supervised for Third {
        async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
            self.0 += 1;
            if self.0 < 3 {
                return Err(RedisError::Closed);
            }
            assert_eq!(status.on_connected(), ConnectionChange::Again);
            assert_eq!(status.on_connected(), ConnectionChange::None);
            status.healthy();
            self.1.notify_one();
            until_drain(drain, std::future::pending()).await
        }

        async fn stop(&mut self) {
            self.0 = 100;
            self.1.notify_one();
        }
    }

    #[tokio::test]
    async fn it_is_tried_again_until_it_stands_and_stopped_in_the_end() {
        let (_socket, address) = nobody();
        let health = crate::health::Health::new(&[]);
        let status = ConnectionStatus::new(Arc::new(Endpoint::at(address)), &PURPOSE, TIMING.max_backoff)
            .with_health(health.depend_on("test", true));
        let (drain, event) = (Drain::new(), Arc::new(tokio::sync::Notify::new()));
        drain.spawn(supervise(Third(0, Arc::clone(&event)), status, drain.clone()));
        within("it stands", event.notified()).await;
        assert!(health.is_ready(ReadyFor::Events));
        drain.start();
        within("it stops", event.notified()).await;
        within("it ends", drain.finished()).await;
    }

    #[test]
    fn a_failure_that_lasts_is_logged_once_and_flapping_is_bounded() {
        let (_socket, address) = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _guard = runtime.enter();
            nobody()
        };
        let mut status = ConnectionStatus::new(Arc::new(Endpoint::at(address)), &PURPOSE, TIMING.max_backoff);
        for _ in 0..3 {
            status.on_disconnected(&RedisError::Closed, Instant::now());
        }
        let reasons =
            |status: &ConnectionStatus| status.logged.iter().map(|(reason, _)| *reason).collect::<Vec<_>>();
        assert_eq!(reasons(&status), ["closed"]);
        status.on_disconnected(&RedisError::Unexpected, Instant::now());
        status.on_disconnected(&RedisError::Closed, Instant::now());
        assert_eq!(reasons(&status), ["closed", "protocol"], "taking turns does not make them news");
        assert_eq!(status.on_connected(), ConnectionChange::Again);
        assert!(reasons(&status).is_empty());
        for _ in 0..100 {
            status.on_disconnected(&RedisError::Closed, Instant::now());
            status.on_connected();
        }
        assert_eq!(status.lines.pass(), None, "no more than so many lines in a while");
    }
}
