//! What the doctor found: one thing that was looked at, how it is, and in words what was seen and what that means.

use std::process::ExitCode;

use serde::Serialize;

use super::cures::Obstacle;
use super::front::FrontProxy;

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    Reached,
    Certificate,
    Redirect,
    Http2,
    Stream,
    Buffering,
    Compression,
    CacheControl,
    Caching,
    OneAtATime,
    Heartbeats,
    OpenFor,
    Resuming,
    Authorization,
    Cors,
    Preflight,
    Head,
    ClientAddress,
    Clock,
}

impl Subject {
    /// In the margin of the report.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Certificate => "certificate",
            Self::Redirect => "redirect",
            Self::Http2 => "HTTP/2",
            Self::Stream => "stream",
            Self::Buffering => "buffering",
            Self::Compression => "compression",
            Self::CacheControl => "cache-control",
            Self::Caching => "caching",
            Self::OneAtATime => "one at a time",
            Self::Heartbeats => "heartbeats",
            Self::OpenFor => "kept open",
            Self::Resuming => "resuming",
            Self::Authorization => "authorization",
            Self::Cors => "CORS",
            Self::Preflight => "preflight",
            Self::Head => "HEAD",
            Self::ClientAddress => "address",
            Self::Clock => "clock",
        }
    }
}

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FindingState {
    Good,
    /// It was not looked at; the words say why.
    NotSeen,
    /// Streams work, but not as well as they could.
    Warn,
    /// Streams do not work as they should.
    Bad,
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) subject: Subject,
    pub(super) state: FindingState,
    /// What was seen.
    pub(super) seen: String,
    /// What it means for pages, and what to do where no proxy's configuration is the way.
    pub(super) means: String,
    /// What a line of some configuration removes.
    pub(super) obstacle: Option<Obstacle>,
}

impl Finding {
    fn new(subject: Subject, state: FindingState, seen: impl Into<String>, means: &str) -> Self {
        Self { subject, state, seen: seen.into(), means: means.to_owned(), obstacle: None }
    }

    pub(super) fn good(subject: Subject, seen: impl Into<String>) -> Self {
        Self::new(subject, FindingState::Good, seen, "")
    }

    pub(super) fn not_seen(subject: Subject, why: impl Into<String>) -> Self {
        Self::new(subject, FindingState::NotSeen, why, "")
    }

    pub(super) fn warn(subject: Subject, seen: impl Into<String>, means: &str) -> Self {
        Self::new(subject, FindingState::Warn, seen, means)
    }

    pub(super) fn bad(subject: Subject, seen: impl Into<String>, means: &str) -> Self {
        Self::new(subject, FindingState::Bad, seen, means)
    }

    /// The same with what a line of configuration removes.
    pub(super) fn by(self, obstacle: Obstacle) -> Self {
        Self { obstacle: Some(obstacle), ..self }
    }
}

/// All that was found.
pub(super) struct Diagnosis {
    /// The address in the end, for people.
    pub(super) address: String,
    /// The path by which a configuration names the stream.
    pub(super) path: String,
    pub(super) proxies: Vec<FrontProxy>,
    pub(super) findings: Vec<Finding>,
    /// Whether there was a stream to be looked at.
    pub(super) saw_a_stream: bool,
}

impl Diagnosis {
    pub(super) fn count(&self, state: FindingState) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }

    /// 0 when nothing stands in the way, 1 when something does, 2 when there was nothing to be looked at.
    pub(super) fn code(&self) -> u8 {
        match (self.count(FindingState::Bad), self.saw_a_stream) {
            (0, true) => 0,
            (0, false) => 2,
            _ => 1,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
