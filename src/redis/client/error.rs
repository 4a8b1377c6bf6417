//! What goes wrong between us and Redis, and how often it is said.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Secret;
use crate::redis::client::resp::NotResp;

/// Why there is no connection, or none any more. The text holds no user and no password.
#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum Failure {
    #[error("cannot connect to Redis at {address}: {cause}")]
    Connect { address: String, cause: io::Error },
    #[error("Redis at {address} did not answer within {limit:?} ({doing})")]
    Timeout { address: String, limit: Duration, doing: &'static str },
    #[error("Redis refused {doing}: {text}")]
    Refused { doing: &'static str, text: String },
    #[error("Redis closed the connection")]
    Closed,
    #[error("the connection to Redis broke: {0}")]
    Broken(#[from] io::Error),
    #[error("what answers is no Redis: {0}")]
    NotRedis(#[from] NotResp),
    #[error("Redis gave an answer that nobody asked for")]
    Unexpected,
    #[error("Redis at {address} is no master: it says that it is a {role}")]
    NotMaster { address: String, role: String },
    #[error("no Sentinel knows a master of the name {name} (the last one said: {last})")]
    NoMaster { name: String, last: String },
    #[error("no node of the cluster says who holds the slot {slot} (the last one said: {last})")]
    NoNode { slot: u16, last: String },
    #[error("Redis at {address} has version {version}, and 6.2 is the first that will do")]
    TooOld { address: String, version: String },
}

impl Failure {
    /// One word for a metric's label.
    pub(in crate::redis) fn word(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "refused",
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::NotRedis(_) | Self::Unexpected => "protocol",
            Self::NotMaster { .. } | Self::NoMaster { .. } | Self::NoNode { .. } => "no_master",
            Self::TooOld { .. } => "version",
        }
    }

    /// Redis answered `doing` with the error `text`.
    pub(in crate::redis) fn refused(doing: &'static str, text: &[u8], secret: Option<&Secret>) -> Self {
        Self::Refused { doing, text: plain(text, secret) }
    }
}

/// Longest text of Redis that is said on.
const MAX_SAID: usize = 200;

/// What Redis said, fit for a log. A server that does not know AUTH repeats its arguments.
fn plain(text: &[u8], secret: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(text);
    let repeats = secret.is_some_and(|secret| text.contains(secret.expose()));
    let said = if repeats { text.split(' ').next().unwrap_or_default() } else { &text };
    said.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect()
}

/// Lets one failure of a kind be said, and the next ones only after a while.
#[derive(Default)]
pub(in crate::redis) struct Told(Option<(&'static str, Instant)>);

impl Told {
    const AGAIN: Duration = Duration::from_secs(30);

    /// Whether `reason` is to be said now; it counts as said.
    pub(in crate::redis) fn say(&mut self, reason: &'static str) -> bool {
        let now = Instant::now();
        if self.0.is_some_and(|(said, at)| said == reason && now.duration_since(at) < Self::AGAIN) {
            return false;
        }
        self.0 = Some((reason, now));
        true
    }

    /// It works again: the next failure is news.
    pub(in crate::redis) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_said_is_said_on_without_the_password() {
        let secret = Secret::new("hunter2");
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(plain(wrong.as_bytes(), Some(&secret)), wrong);
        let echo = b"ERR unknown command 'AUTH', with args beginning with: 'hunter2' ";
        assert_eq!(plain(echo, Some(&secret)), "ERR");
        assert_eq!(plain(&[b'x'; 1000], None).len(), MAX_SAID);
        assert_eq!(plain(b"ERR\x1b[1m\n", None), "ERR[1m");
    }

    #[test]
    fn a_failure_is_said_once_in_a_while() {
        let mut told = Told::default();
        assert!(told.say("connect"));
        assert!(!told.say("connect"));
        assert!(told.say("timeout"));
        told.forget();
        assert!(told.say("timeout"));
    }
}
