//! Why a caller gets no grant, or not the topic: one word that a program can read, one sentence for people.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::event::Name;

/// Why a caller is not let in. Says nothing of what the token holds, but for the names that the caller gave.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    #[error("a token is needed")]
    NoToken,
    #[error("there are two different tokens in one place")]
    SeveralTokens,
    /// It cannot be read; the sentence says why.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// No key of ours is for it, or it is none that is known.
    #[error("the token is signed with an algorithm that is not accepted here")]
    UnsupportedAlgorithm,
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// The claim's name is the configuration's.
    #[error("the token has no `{0}`")]
    MissingClaim(Box<str>),
    #[error("the token's `{0}` is not what it has to be")]
    BadClaim(Box<str>),
    #[error("the token's `{0}` is too far ahead: it counts seconds since 1970, not milliseconds")]
    Milliseconds(&'static str),
    #[error("the topic `{0}` is not granted")]
    TopicNotGranted(Name),
    #[error("the grant was taken back")]
    Revoked,
    /// A renewal of a stream that is another user's, or of another session.
    #[error("the stream is not of this token's user and session")]
    NotYourStream,
    /// A claim that the route's templates need is not there, or is not a name.
    #[error("the grant has no `{0}` that makes a name")]
    NoClaim(String),
    /// The application sends the caller to a page for people.
    #[error("the application wants a login first")]
    LoginRequired,
    #[error("the ticket is not one of ours")]
    BadTicket,
    #[error("the ticket has been used, and its cookie is not here")]
    TicketUsed,
    #[error("the ticket has expired")]
    TicketExpired,
    /// A page would publish where it may only listen.
    #[error("the grant does not let its holder publish to this topic")]
    PublishNotGranted,
    #[error("pages may not publish this event here")]
    EventNotGranted,
    #[error("a signed name of a stream is needed")]
    NoSignedName,
    /// Or it is none that is a topic.
    #[error("the name of the stream is not signed with a key that is known here")]
    BadSignedName,
    /// The request is a page's of another site.
    #[error(
        "pages of this origin may not open this stream; behind a proxy, it has to keep Host or to be one of public.trusted_proxies"
    )]
    OriginNotAllowed,
    /// The authority's own answer, which the caller gets as it is.
    #[error("the application answered {}", .0.status.as_u16())]
    Answered(Box<DeniedResponse>),
    /// Nothing is wrong with the caller, as far as is known: the server that verifies them cannot be reached.
    #[error("{0}")]
    NotNow(&'static str),
}

/// An answer that is passed on.
#[derive(Clone, Debug)]
pub struct DeniedResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub retry_after: Option<Duration>,
}

impl Denied {
    /// The reason, on the wire, in the log and in the metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::SeveralTokens => "several_tokens",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::MissingClaim(_) => "missing_claim",
            Self::BadClaim(_) | Self::Milliseconds(_) => "bad_claim",
            Self::TopicNotGranted(_) => "topic_not_granted",
            Self::Revoked => "revoked",
            Self::NotYourStream => "not_your_stream",
            Self::NoClaim(_) => "no_claim",
            Self::LoginRequired => "login_required",
            Self::BadTicket => "bad_ticket",
            Self::TicketUsed => "ticket_used",
            Self::TicketExpired => "ticket_expired",
            Self::PublishNotGranted => "publish_not_granted",
            Self::EventNotGranted => "event_not_granted",
            Self::NoSignedName => "no_signed_name",
            Self::BadSignedName => "bad_signed_name",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Answered(_) => "backend_refused",
            Self::NotNow(_) => "auth_unavailable",
        }
    }

    /// Whether the caller is known, and merely may not have what was asked for (403, not 401).
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::TopicNotGranted(_)
                | Self::NotYourStream
                | Self::NoClaim(_)
                | Self::OriginNotAllowed
                | Self::PublishNotGranted
                | Self::EventNotGranted
        )
    }

    /// The topic that it was about.
    pub fn topic(&self) -> Option<&Name> {
        match self {
            Self::TopicNotGranted(topic) => Some(topic),
            _ => None,
        }
    }
}
