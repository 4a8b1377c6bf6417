//! What a request to the internal listener is refused with: the status, one sentence, and where in the body it was.

use std::time::Duration;

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::auth::{BadMint, HookDenied, NotAllowed, PublisherDenied};
use crate::control::{
    BadRevoke, BadTopics, BadUserList, NoPage, TakeBackError, TopicEditError, TopicEndError,
};
use crate::log::BadEdit;
use crate::server::respond::json::{FullResponse, json, retry_after};

/// The JSON of a problem.
#[derive(Serialize, Default)]
pub(super) struct ProblemText<'a> {
    pub(super) error: String,
    /// Which event of several, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<usize>,
    /// Which line of an NDJSON body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<&'a str>,
    /// What a publisher was not allowed, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<&'a str>,
    /// What is known of the fate of a publish that was to be relayed: `nothing` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<&'static str>,
}

/// Why a request is refused.
pub(in crate::server) struct ApiProblem {
    status: StatusCode,
    label: &'static str,
    sentence: String,
    /// The label stands in the answer, too, for callers that look at a word.
    says_label: bool,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiProblem {
    pub(super) fn new(status: StatusCode, label: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, label, sentence: sentence.into(), says_label: false, header: None }
    }

    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    /// It will pass: 503 with `Retry-After: 1`.
    pub(super) fn not_now(label: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, label, sentence).with(RETRY_AFTER, "1")
    }

    /// The metric's label.
    pub(in crate::server) fn label(&self) -> &'static str {
        self.label
    }

    pub(in crate::server) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(in crate::server) fn into_response(self) -> FullResponse {
        let reason = self.says_label.then_some(self.label);
        let text = ProblemText { error: self.sentence, reason, ..ProblemText::default() };
        let mut response = json(self.status, &text);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// About where a request comes from and where it goes.
impl ApiProblem {
    pub(in crate::server) fn unknown_host() -> Self {
        let say = "this name of the host is not known: ask by the address, or add the name to internal.hosts";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "host", say)
    }

    pub(in crate::server) fn from_a_page() -> Self {
        let say = "requests of web pages are not answered here: publish from your backend";
        Self::new(StatusCode::FORBIDDEN, "browser", say)
    }

    pub(in crate::server) fn no_route() -> Self {
        let say = "nothing is here: GET /openapi.json says what there is";
        Self::new(StatusCode::NOT_FOUND, "no_route", say)
    }

    /// `allowed` as it stands in the header `Allow`.
    pub(in crate::server) fn method_not_allowed(allowed: &str) -> Self {
        let say = format!("this path takes {allowed}");
        let allow = HeaderValue::from_str(allowed).expect("names of methods are a header value");
        Self { header: Some((ALLOW, allow)), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", say) }
    }

    pub(in crate::server) fn bad_query(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_query", sentence)
    }

    /// A name in the path, behind `/{segment}/`.
    pub(in crate::server) fn bad_name(segment: &str, error: impl std::fmt::Display) -> Self {
        let say = format!("the name behind /{segment}/ {error}");
        Self::new(StatusCode::BAD_REQUEST, "bad_name", say)
    }
}

/// About streams that are named by pages.
impl ApiProblem {
    pub(in crate::server) fn no_such_stream() -> Self {
        let say = "no stream of this name is open: open it anew";
        Self { says_label: true, ..Self::new(StatusCode::NOT_FOUND, "no_such_stream", say) }
    }
}

/// About recorded answers.
impl ApiProblem {
    pub(in crate::server) fn no_such_capture() -> Self {
        let say = "no answer with this id is recorded";
        Self { says_label: true, ..Self::new(StatusCode::NOT_FOUND, "no_such_capture", say) }
    }

    pub(in crate::server) fn captures_unknown() -> Self {
        let say = "Redis cannot be asked now whether another instance records an answer with this id";
        Self::not_now("captures_unknown", say)
    }
}

/// About answers that are polled.
impl ApiProblem {
    pub(in crate::server) fn no_poll() -> Self {
        let say = "no [[stream]] with source = \"poll\" has this path";
        Self { says_label: true, ..Self::new(StatusCode::NOT_FOUND, "no_poll", say) }
    }
}

/// About headers and the body.
impl ApiProblem {
    pub(in crate::server) fn compressed() -> Self {
        let say = "a compressed body is not taken: send it as it is";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", say)
    }

    pub(in crate::server) fn bad_idempotency_key(sentence: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "idempotency_key", sentence)
    }

    /// `bound` names the size and the key that sets it.
    pub(in crate::server) fn body_too_large(bound: &str) -> Self {
        let say = format!("the body is larger than {bound}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", say)
    }

    pub(in crate::server) fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off")
    }

    /// `bound` names the time and the key that sets it.
    pub(in crate::server) fn body_timeout(bound: &str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", format!("the body took longer than {bound}"))
    }

    /// The same, and the end of the HTTP/1 connection.
    pub(in crate::server) fn closing(self) -> Self {
        self.with(CONNECTION, "close")
    }
}

/// About what was asked.
impl ApiProblem {
    /// The caller may not publish.
    pub(in crate::server) fn bad_key(bad: &PublisherDenied) -> Self {
        Self::bad_key_because(bad, bad.to_string())
    }

    pub(in crate::server) fn no_hook() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_hook", "no [[internal.hook]] has this name")
    }

    pub(in crate::server) fn no_app() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_app", "no [[internal.pusher]] has this app_id")
    }

    /// The sender may not send to this hook.
    pub(in crate::server) fn hook_denied(denied: HookDenied) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, denied.label(), denied.to_string());
        match denied {
            HookDenied::NoKey | HookDenied::WrongKey => problem.with(WWW_AUTHENTICATE, "Bearer"),
            HookDenied::NotSigned | HookDenied::BadSignature | HookDenied::TooOld => {
                problem.with(WWW_AUTHENTICATE, "Signature")
            }
        }
    }

    /// The caller may not ask for tickets.
    pub(in crate::server) fn bad_ticket_key(bad: &PublisherDenied) -> Self {
        let say = match bad {
            PublisherDenied::Off => {
                "nobody may ask for tickets: set auth.ticket.keys or internal.publish_keys".to_owned()
            }
            // Who may publish to some has no say in who somebody is.
            PublisherDenied::Bounded => {
                "this is the key of a publisher within bounds: one of auth.ticket.keys or \
                internal.publish_keys is needed"
                    .to_owned()
            }
            bad => bad.to_string(),
        };
        Self::bad_key_because(bad, say)
    }

    fn bad_key_because(bad: &PublisherDenied, sentence: String) -> Self {
        let status = match bad {
            PublisherDenied::Off | PublisherDenied::Bounded => StatusCode::FORBIDDEN,
            PublisherDenied::Missing | PublisherDenied::Wrong | PublisherDenied::Token { .. } => {
                StatusCode::UNAUTHORIZED
            }
            PublisherDenied::NotNow(_) => return Self::not_now(bad.label(), sentence),
        };
        let problem = Self::new(status, bad.label(), sentence);
        match bad {
            PublisherDenied::Off | PublisherDenied::Bounded | PublisherDenied::NotNow(_) => problem,
            PublisherDenied::Missing => problem.with(WWW_AUTHENTICATE, "Bearer"),
            PublisherDenied::Wrong | PublisherDenied::Token { .. } => {
                problem.with(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
            }
        }
    }

    pub(in crate::server) fn bad_ticket_request(bad: &BadMint) -> Self {
        let status = match bad {
            BadMint::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, "bad_ticket_request", bad.to_string())
    }

    pub(in crate::server) fn bad_revoke(bad: &BadRevoke) -> Self {
        let (status, label) = match bad {
            BadRevoke::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "revocations_full"),
            _ => (StatusCode::BAD_REQUEST, "bad_revocation"),
        };
        Self::new(status, label, bad.to_string())
    }

    pub(in crate::server) fn bad_topics(bad: &BadTopics) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_topics", bad.to_string())
    }

    /// What a page would publish is none that can be.
    pub(in crate::server) fn bad_page_event(sentence: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_page_event", sentence)
    }

    pub(in crate::server) fn topics_not_edited(refused: TopicEditError) -> Self {
        match refused {
            TopicEditError::Edit(bad) => Self::bad_edit(bad),
            TopicEditError::PassedOn => Self::new(StatusCode::ACCEPTED, "passed_on", refused.to_string()),
            TopicEditError::NotTold | TopicEditError::NotCarried(_) => {
                Self::not_now("not_told", refused.to_string())
            }
            TopicEditError::Unknown => Self::not_now("unknown", refused.to_string()),
        }
    }

    pub(in crate::server) fn not_allowed(not: &NotAllowed) -> Self {
        Self { says_label: true, ..Self::new(StatusCode::FORBIDDEN, not.label(), not.to_string()) }
    }

    pub(in crate::server) fn topic_not_ended(why: &TopicEndError) -> Self {
        let label = if *why == TopicEndError::Unknown { "unknown" } else { "not_told" };
        Self::not_now(label, why.to_string())
    }

    pub(in crate::server) fn not_taken_back(why: TakeBackError<NotAllowed>) -> Self {
        let say = why.to_string();
        match why {
            TakeBackError::NotAllowed(not) => Self::not_allowed(&not),
            TakeBackError::Malformed => Self::new(StatusCode::BAD_REQUEST, "bad_id", say),
            TakeBackError::Unknown => Self::new(StatusCode::NOT_FOUND, "no_such_event", say),
            TakeBackError::NotReady => Self::not_now("not_ready", say),
            TakeBackError::NotTold | TakeBackError::NotCarried(_) => Self::not_now("not_told", say),
            TakeBackError::Perhaps => Self::not_now("unknown", say),
        }
    }

    pub(in crate::server) fn bad_edit(bad: BadEdit) -> Self {
        let (status, label) = match bad {
            BadEdit::NoSuchClient => (StatusCode::NOT_FOUND, "no_such_client"),
            BadEdit::TooManyTopics { .. } => (StatusCode::CONFLICT, "too_many_topics"),
            BadEdit::TooManyPatterns { .. } => (StatusCode::CONFLICT, "too_many_patterns"),
            BadEdit::FullOfPatterns { .. } => (StatusCode::CONFLICT, "patterns_full"),
            BadEdit::Full { .. } => (StatusCode::CONFLICT, "topics_full"),
            BadEdit::NoHolder => (StatusCode::BAD_REQUEST, "bad_name"),
            BadEdit::Behind => return Self::too_often(bad.to_string(), Duration::from_secs(1)),
        };
        Self::new(status, label, bad.to_string())
    }

    /// The caller has to wait.
    pub(in crate::server) fn too_often(sentence: impl Into<String>, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", sentence);
        Self { header: Some((RETRY_AFTER, retry_after(wait))), ..problem }
    }

    pub(in crate::server) fn too_many_tokens(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "too_many_tokens", sentence)
    }

    pub(in crate::server) fn bad_users(bad: &BadUserList) -> Self {
        let label = match bad {
            BadUserList::Json(_) => "bad_users",
            BadUserList::TooMany { .. } => "too_many_users",
        };
        Self::new(StatusCode::BAD_REQUEST, label, bad.to_string())
    }

    pub(in crate::server) fn no_page(no: NoPage) -> Self {
        match no {
            NoPage::Malformed => Self::bad_query(no.to_string()),
            NoPage::NotNow => Self::not_now("not_ready", no.to_string()),
        }
    }

    pub(in crate::server) fn no_position() -> Self {
        Self::not_now("not_ready", "Redis cannot be asked now where the log ends: ask again")
    }

    /// `complete` says whether every instance has answered.
    pub(in crate::server) fn no_such_client(complete: bool) -> Self {
        if complete {
            return Self::new(StatusCode::NOT_FOUND, "no_such_client", "no open stream has this client id");
        }
        let say = "no instance that has answered has this client, and not all have: ask again";
        Self::not_now("not_all_answered", say)
    }

    pub(in crate::server) fn not_all_answered() -> Self {
        Self::not_now("not_all_answered", "not every instance has answered: ask again")
    }
}
