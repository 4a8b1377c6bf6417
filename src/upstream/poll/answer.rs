//! One question to the application, and what its answer is: the same as before, another, or none.
//!
//! An answer is held whole, since it is compared with the next one; never more of it than the route's bound.

use std::time::Duration;

use http::header::{ETAG, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::proxy::ProxyBody;
use crate::upstream::held::{SourceEnd, SourceRequest};
use crate::upstream::shared::state::SharedAnswer;
use crate::upstream::sharing::{AnswerKind, judge_whole};

/// What is known of the last answer.
#[derive(Default)]
pub(super) struct LastAnswer {
    pub(super) text: Option<Box<str>>,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// What the application answered.
pub(super) enum Answered {
    /// Another text than before.
    Changed(Box<str>),
    /// The same; without a body where the application knows that.
    Same { not_modified: bool },
    /// Its word for each caller.
    End(SourceEnd),
    /// None that is of any use now. The word is for the metric; it may say when to come back.
    Failed(&'static str, Option<Duration>),
}

/// How long an answer may take from its head to its end.
const WHOLE: Duration = Duration::from_secs(30);

impl LastAnswer {
    /// The one that another instance has got.
    pub(super) fn of(answer: SharedAnswer) -> Self {
        let value = |text: Option<String>| HeaderValue::from_str(&text?).ok();
        Self { text: Some(answer.text.into()), etag: value(answer.etag), modified: value(answer.modified) }
    }

    /// As another instance is to know it.
    pub(super) fn shared(&self) -> Option<SharedAnswer> {
        let text = |value: &Option<HeaderValue>| Some(value.as_ref()?.to_str().ok()?.to_owned());
        let (etag, modified) = (text(&self.etag), text(&self.modified));
        Some(SharedAnswer { text: self.text.as_ref()?.to_string(), etag, modified })
    }

    /// Asks the application, and keeps what it answers.
    pub(super) async fn ask(&mut self, asks: &SourceRequest) -> Answered {
        let mut request = asks.request.request("");
        for (name, value) in [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.modified)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let answer = match asks.proxy.fetch(request, &asks.request.caller).await {
            Ok(answer) => answer,
            Err(_) => return Answered::Failed("unreachable", None),
        };
        if answer.status() == StatusCode::NOT_MODIFIED && self.text.is_some() {
            return Answered::Same { not_modified: true };
        }
        match judge_whole(&asks.source, asks.request.is_own, &answer) {
            AnswerKind::Shared => self.take(asks, answer).await,
            AnswerKind::Unshared(why) => Answered::End(SourceEnd::Unshared(why)),
            AnswerKind::Final(status) => Answered::End(SourceEnd::Answered(status.as_u16())),
            AnswerKind::Away(pause) => Answered::Failed("status", pause),
        }
    }

    async fn take(&mut self, asks: &SourceRequest, answer: Response<ProxyBody>) -> Answered {
        let (head, body) = answer.into_parts();
        let max = usize::try_from(asks.source.max_event.0).unwrap_or(usize::MAX);
        let text = match timeout(WHOLE, whole(body, max)).await {
            Ok(Ok(text)) => text,
            Ok(Err(why)) => return Answered::Failed(why, None),
            Err(_) => return Answered::Failed("timeout", None),
        };
        let validator = |name| one(&head.headers, name);
        (self.etag, self.modified) = (validator(ETAG), validator(LAST_MODIFIED));
        if self.text.as_ref() == Some(&text) {
            return Answered::Same { not_modified: false };
        }
        Answered::Changed(text)
    }
}

fn one(headers: &HeaderMap, name: http::HeaderName) -> Option<HeaderValue> {
    headers.get(name).cloned()
}

/// The whole of a body, which has to be text.
async fn whole(mut body: ProxyBody, max: usize) -> Result<Box<str>, &'static str> {
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| "broken")?.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err("too_large");
        }
        bytes.extend_from_slice(&data);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err("not_text"),
    }
}
