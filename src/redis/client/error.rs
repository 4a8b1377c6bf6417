//! What goes wrong between us and Redis.

use std::io;
use std::time::Duration;

use crate::config::Secret;
use crate::redis::client::resp::NotResp;

/// Why there is no connection, or none any more, or why Redis refused. The text holds no user and no password.
#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum RedisError {
    #[error("cannot connect to Redis at {address}: {cause}")]
    Connect { address: String, cause: io::Error },
    #[error("Redis at {address} did not answer within {limit:?} ({doing})")]
    Timeout { address: String, limit: Duration, doing: &'static str },
    #[error("Redis refused {doing}: {text}")]
    Refused { doing: &'static str, text: String },
    #[error(
        "{cause} (at {address}, before it said anything: if it speaks TLS there, the URL begins with rediss://)"
    )]
    NotPlain { address: String, cause: String },
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
    #[error("nobody listens to the channel, not even this instance")]
    Unheard,
    #[error("Redis at {address} has version {version}, and 6.2 is the first that will do")]
    TooOld { address: String, version: String },
}

impl RedisError {
    /// One word for a metric's label.
    pub(in crate::redis) fn label(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "refused",
            Self::NotPlain { .. } | Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::NotRedis(_) | Self::Unexpected => "protocol",
            Self::NotMaster { .. } | Self::NoMaster { .. } | Self::NoNode { .. } => "no_master",
            Self::Unheard => "unheard",
            Self::TooOld { .. } => "version",
        }
    }

    /// Whether Redis refused because another server has what was asked for, or because this one cannot do it yet.
    /// Errors of scripts have the word somewhere in their text.
    pub(in crate::redis) fn is_elsewhere(&self) -> bool {
        const WORDS: [&str; 6] =
            ["MOVED ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN "];
        matches!(self, Self::Refused { text, .. } if WORDS.iter().any(|word| text.contains(word)))
    }

    /// Whether Redis refused for a reason that lasts and is not the command's own.
    pub(in crate::redis) fn is_lasting(&self) -> bool {
        const WORDS: [&str; 6] = ["OOM ", "MISCONF ", "NOPERM ", "NOAUTH ", "READONLY ", "NOREPLICAS "];
        matches!(self, Self::Refused { text, .. } if WORDS.iter().any(|word| text.contains(word)))
    }

    /// Redis answered `doing` with the error `text`.
    pub(in crate::redis) fn refused(doing: &'static str, text: &[u8], secret: Option<&Secret>) -> Self {
        let mut text = plain(text, secret);
        if text.starts_with("MOVED ") {
            text.push_str(" (it is a node of a Cluster, which `redis.nodes` is for)");
        }
        Self::Refused { doing, text }
    }
}

impl RedisError {
    /// As [`refused`](Self::refused) to subscribe: where rights are missing, with the names that they have to cover.
    pub(in crate::redis) fn refused_subscription<'n>(
        text: &[u8],
        secret: Option<&Secret>,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Self {
        let mut error = Self::refused("the subscriptions", text, secret);
        if let Self::Refused { text, .. } = &mut error
            && text.starts_with("NOPERM ")
        {
            let names: Vec<_> = names.map(|name| format!("&{}", String::from_utf8_lossy(name))).collect();
            let names: String = names.join(" ").chars().filter(|c| !c.is_control()).take(MAX_NAMES).collect();
            text.push_str(&format!(" (asked for: {names})"));
        }
        error
    }
}

/// Longest text of Redis that is passed on.
const MAX_TEXT: usize = 200;
/// As much as is shown of the names that were subscribed.
const MAX_NAMES: usize = 1000;

/// What Redis said, fit for a log. A server that does not know AUTH repeats its arguments.
fn plain(text: &[u8], secret: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(text);
    let repeats = secret.is_some_and(|secret| text.contains(secret.expose()));
    let shown = if repeats { text.split(' ').next().unwrap_or_default() } else { &text };
    shown.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_said_is_passed_on_without_the_password() {
        let secret = Secret::new("hunter2");
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(plain(wrong.as_bytes(), Some(&secret)), wrong);
        let echo = b"ERR unknown command 'AUTH', with args beginning with: 'hunter2' ";
        assert_eq!(plain(echo, Some(&secret)), "ERR");
        assert_eq!(plain(&[b'x'; 1000], None).len(), MAX_TEXT);
        assert_eq!(plain(b"ERR\x1b[1m\n", None), "ERR[1m");
    }
}
