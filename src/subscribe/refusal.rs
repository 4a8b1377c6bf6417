//! Why a stream is not opened.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::auth::Denied;
use crate::config::RefuseWith;
use crate::event::{BadName, BadPattern, EventId, EventLayout};

/// A refusal; `server` picks how it is said.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Final: the same request will never do.
    #[error("{0}")]
    BadRequest(#[from] BadStreamRequest),
    /// Final until the caller comes with something better.
    #[error("{denied}")]
    Denied {
        denied: Denied,
        /// Which of the route's templates made the topic that it is about.
        template: Option<Box<str>>,
        /// The caller is not told why.
        terse: bool,
    },
    /// What is asked for is asked of a stream that cannot be.
    #[error("no stream of this name is open: open it anew")]
    NoSuchStream,
    /// The client shall not come back.
    #[error("this caller was sent away")]
    Away,
    /// The client shall not come back: there is nothing to come any more.
    #[error("its topics have ended")]
    Ended,
    /// It will pass: the client should come back after `retry`.
    #[error("{}", why.sentence())]
    Later {
        why: RetryReason,
        retry: Duration,
        /// The cursor that the client came with, to be given back.
        cursor: Option<EventId>,
        /// Say it as 429 or 503, for clients that are not `EventSource`.
        as_status: bool,
        /// In which layout; None = in that of all.
        layout: Option<Arc<EventLayout>>,
        /// To be set on the answer.
        headers: Box<HeaderMap>,
    },
}

impl Refusal {
    /// The same with these headers on its answer, if it is one that will pass.
    pub(super) fn with(mut self, more: &HeaderMap) -> Self {
        if let Self::Later { headers, .. } = &mut self {
            headers.extend(more.clone());
        }
        self
    }

    /// The same, said as `refuse_with` of its route says, if that says it.
    pub(super) fn said_as(mut self, with: Option<RefuseWith>) -> Self {
        if let (Self::Later { as_status, .. }, Some(with)) = (&mut self, with) {
            *as_status = with == RefuseWith::Status;
        }
        self
    }

    /// The sentence for the log, which holds nothing of what the caller sent.
    pub fn for_log(&self) -> String {
        match self {
            Self::Denied { denied: Denied::TopicNotGranted(_), template: Some(template), .. } => {
                format!("a topic of `{template}` is not granted")
            }
            Self::Denied { denied: Denied::TopicNotGranted(_), .. } => "a topic is not granted".to_owned(),
            other => other.to_string(),
        }
    }

    /// The word in the metric and in the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadRequest(problem) => problem.as_str(),
            Self::Denied { denied, .. } => denied.label(),
            Self::NoSuchStream => "no_such_stream",
            Self::Away => "sent_away",
            Self::Ended => "ended",
            Self::Later { why, .. } => why.as_str(),
        }
    }
}

/// What is wrong with a request for a stream.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadStreamRequest {
    #[error("the query parameter `{0}` is missing or empty")]
    MissingQuery(String),
    #[error("`{name}` makes a name that {why}")]
    BadName { name: String, why: BadName },
    #[error("`{name}` makes a pattern that {why}")]
    BadPattern { name: String, why: BadPattern },
    #[error("`{0}` makes a topic of which one `*` is a claim's own and another is not")]
    MixedStars(String),
    #[error("a stream may hold at most {max} topics (limits.topics_per_stream)")]
    TooManyTopics { max: usize },
    #[error("a stream may hold at most {max} patterns (limits.patterns_per_stream)")]
    TooManyPatterns { max: usize },
    #[error(
        "`history` must be a whole number: how many of the topics' last events a fresh stream begins with"
    )]
    History,
    #[error("`since` must be a time: milliseconds since 1970, or RFC 3339 such as 2026-01-31T12:00:00Z")]
    Since,
    #[error("`since` and `history` say in two ways where the stream begins: give one of them")]
    SinceAndHistory,
    #[error("`event` and `except` may name at most {max} events")]
    TooManyEvents { max: usize },
    #[error(
        "`snapshot` must be true or false: whether a fresh stream begins with the newest event of each key"
    )]
    Snapshot,
    #[error("`{0}` is given more than once")]
    Repeated(&'static str),
}

impl BadStreamRequest {
    /// The word in the metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::MissingQuery(_) => "missing_query",
            Self::BadName { .. } => "bad_name",
            Self::BadPattern { .. } | Self::MixedStars(_) => "bad_pattern",
            Self::TooManyTopics { .. } => "too_many_topics",
            Self::TooManyPatterns { .. } => "too_many_patterns",
            Self::History => "bad_history",
            Self::Since | Self::SinceAndHistory => "bad_since",
            Self::TooManyEvents { .. } => "too_many_events",
            Self::Snapshot => "bad_snapshot",
            Self::Repeated(_) => "repeated",
        }
    }
}

/// Why a template makes no name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TemplateError {
    Request(BadStreamRequest),
    /// A claim that the verified caller does not have.
    Claim(String),
}

impl From<BadStreamRequest> for TemplateError {
    fn from(bad: BadStreamRequest) -> Self {
        Self::Request(bad)
    }
}

/// A reason that will pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RetryReason {
    Draining,
    Streams,
    StreamsPerAddress,
    StreamsPerUser,
    /// All streams together hold as many patterns as they may.
    Patterns,
    /// Too many streams were opened of late.
    RatePerAddress,
    RatePerUser,
    /// A page publishes, or asks who is there, more often than it may.
    PageRate,
    /// The process has nearly used up its memory.
    Memory,
    /// The server that verifies callers cannot be reached.
    Unverified,
    /// The log has not been loaded, or is cut off and lies behind the caller's cursor.
    NotReady,
    /// The application cannot be asked for the stream that is to be read.
    SourceAway,
}

impl RetryReason {
    /// The word on the wire and in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Streams => "limit_streams",
            Self::StreamsPerAddress => "limit_streams_per_address",
            Self::StreamsPerUser => "limit_streams_per_user",
            Self::Patterns => "limit_patterns",
            Self::RatePerAddress => "rate_per_address",
            Self::RatePerUser => "rate_per_user",
            Self::PageRate => "page_rate",
            Self::Memory => "memory",
            Self::Unverified => "auth_unavailable",
            Self::NotReady => "not_ready",
            Self::SourceAway => "source_away",
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            Self::Draining => "the server is about to stop; come back in a moment",
            Self::Streams => "the server holds as many streams as it may",
            Self::StreamsPerAddress => "this address holds as many streams as it may",
            Self::StreamsPerUser => "this user holds as many streams as they may",
            Self::Patterns => "the server's streams hold as many patterns as they may",
            Self::RatePerAddress => "this address opens streams faster than it may",
            Self::RatePerUser => "this user opens streams faster than they may",
            Self::PageRate => "this page asks for more than it may; come back in a moment",
            Self::Memory => "the server has no memory to spare; come back in a moment",
            Self::Unverified => "it cannot be verified now who you are; come back in a moment",
            Self::SourceAway => "the application cannot be reached; come back in a moment",
            Self::NotReady => "the server has not got its log from Redis yet; come back in a moment",
        }
    }

    /// Whether the caller, not the server, is at a limit.
    pub fn is_the_callers(self) -> bool {
        matches!(
            self,
            Self::StreamsPerAddress
                | Self::StreamsPerUser
                | Self::RatePerAddress
                | Self::RatePerUser
                | Self::PageRate
        )
    }
}
