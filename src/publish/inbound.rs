//! Requests of other services that become events: who may send is checked, then the body is mapped by templates.
//!
//! A key is checked before a byte of the body is read, a signature before anything of it is understood. Nothing of a
//! body stands in an answer or in the log. This file knows no HTTP status.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use crate::auth::{HookDenied, HookGate, Publisher, ReservedEvents};
use crate::clock::now_ms;
use crate::config;
use crate::config::HookFormat;
use crate::event::{
    BadContent, ContentConditions, ContentMapping, Event, Placeholder, WantedFields, whole_characters,
    write_event,
};
use crate::publish::bad_publish::BadPublish;
use crate::publish::cloud_events::{BadCloudEvent, CloudEvent};
use crate::publish::service::{PublishOptions, PublishService, Published};
use crate::telemetry::{EVENTS_REFUSED, MESSAGES_UNFIT, Throttle};
use crate::trace::TraceContext;

/// The source's name in metrics.
const SOURCE: &str = "hook";
/// How many fields a form may have.
const MAX_FORM_FIELDS: usize = 1000;

/// Every hook.
pub struct InboundHooks {
    hooks: Vec<InboundHook>,
    publish: PublishService,
    unfit: Throttle,
}

/// What is taken at one path.
pub struct InboundHook {
    name: Box<str>,
    public_path: Option<Box<str>>,
    gate: HookGate,
    format: HookFormat,
    alternatives: Vec<(ContentConditions, ContentMapping)>,
    wanted: WantedFields,
    publisher: Publisher,
}

/// A request but for its body.
#[derive(Clone, Copy, Debug)]
pub struct HookRequest<'a> {
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
}

/// What became of a request that was taken.
#[derive(Debug)]
pub enum HookOutcome {
    Published(Published),
    /// No condition fits, of a batch for none of its events.
    Ignored,
}

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHook {
    #[error("{0}")]
    Denied(#[from] HookDenied),
    #[error("{}{bad}", item.map_or(String::new(), |item| format!("item {item} (counted from 0): ")))]
    Content { item: Option<usize>, bad: BadContent },
    #[error("{0}")]
    CloudEvent(#[from] BadCloudEvent),
    #[error("the form has more than {MAX_FORM_FIELDS} fields")]
    Form,
    #[error("{0}")]
    Publish(#[from] BadPublish),
}

impl BadHook {
    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Denied(denied) => denied.label(),
            Self::Content { bad, .. } => bad.label(),
            Self::CloudEvent(_) => "cloud_event",
            Self::Form => "too_many",
            Self::Publish(bad) => bad.label(),
        }
    }
}

/// A body, or one of several that it holds.
struct HookMessage<'a> {
    json: Cow<'a, str>,
    attributes: Option<CloudEvent<'a>>,
}

impl InboundHooks {
    /// None without any.
    pub fn new(
        hooks: &[config::InboundHook],
        publish: PublishService,
        reserved: &ReservedEvents,
    ) -> Option<Self> {
        let mut all: Vec<InboundHook> = Vec::new();
        for hook in hooks {
            let known = all.iter_mut().position(|known| *known.name == *hook.name);
            let at = known.unwrap_or_else(|| {
                all.push(InboundHook::new(hook, reserved));
                all.len() - 1
            });
            all[at].add(hook);
        }
        (!all.is_empty()).then(|| Self { hooks: all, publish, unfit: Throttle::default() })
    }

    pub fn find(&self, name: &str) -> Option<&InboundHook> {
        self.hooks.iter().find(|hook| *hook.name == *name)
    }

    /// The hook that is taken at this path of the public listener.
    pub fn at_public_path(&self, path: &str) -> Option<&InboundHook> {
        self.hooks.iter().find(|hook| hook.public_path.as_deref() == Some(path))
    }

    /// Publishes what a body holds: all of it, or nothing.
    pub async fn take(
        &self,
        hook: &InboundHook,
        request: HookRequest<'_>,
        body: &[u8],
    ) -> Result<HookOutcome, BadHook> {
        let taken = self.try_take(hook, request, body).await;
        match &taken {
            // The door of events counts what it refuses itself.
            Ok(_) | Err(BadHook::Publish(_)) => {}
            Err(bad) => {
                metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => bad.label()).increment(1);
                if let BadHook::Content { bad, .. } = bad
                    && let Some(field) = bad.field()
                {
                    hook.count_unfit(field);
                }
                if let Some(suppressed) = self.unfit.pass() {
                    let (hook, reason) = (&*hook.name, bad.label());
                    tracing::warn!(hook, reason, error = %bad, suppressed, "a request to a hook made no event");
                }
            }
        }
        taken
    }

    async fn try_take(
        &self,
        hook: &InboundHook,
        request: HookRequest<'_>,
        body: &[u8],
    ) -> Result<HookOutcome, BadHook> {
        hook.gate.check_signature(request.headers, body, now_ms() / 1000)?;
        let (messages, single) = hook.messages(request.headers, body)?;
        let mut envelopes = Vec::with_capacity(messages.len());
        for (item, message) in messages.iter().enumerate() {
            let event = hook.event(request, message).map_err(|bad| {
                let item = (!single).then_some(item);
                BadHook::Content { item, bad }
            })?;
            match event {
                Some(event) => envelopes.push(write_event(&event).json),
                None => hook.count_unfit("when".to_owned()),
            }
        }
        if envelopes.is_empty() {
            return Ok(HookOutcome::Ignored);
        }
        let body = if single { envelopes.concat() } else { format!("[{}]", envelopes.join(",")) };
        let options =
            PublishOptions { trace: TraceContext::of(request.headers), ..PublishOptions::default() };
        let published = self.publish.publish(body.as_bytes(), options, &hook.publisher).await?;
        Ok(HookOutcome::Published(published))
    }
}

impl InboundHook {
    fn new(hook: &config::InboundHook, reserved: &ReservedEvents) -> Self {
        Self {
            name: hook.name.as_str().into(),
            public_path: hook.public_path.as_deref().map(Into::into),
            gate: HookGate::new(hook),
            format: hook.format,
            alternatives: Vec::new(),
            wanted: WantedFields::default(),
            publisher: Publisher::hook(&format!("hook:{}", hook.name), hook.rate, reserved),
        }
    }

    fn add(&mut self, hook: &config::InboundHook) {
        let conditions = ContentConditions::new(&hook.content.when, &mut self.wanted);
        self.alternatives.push((conditions, ContentMapping::new(&hook.content, &mut self.wanted)));
    }

    /// Whether the sender may send, as far as can be said without the body.
    pub fn admit(&self, request: HookRequest<'_>) -> Result<(), HookDenied> {
        self.gate.check_key(request.headers, request.query)
    }

    /// The messages of a body, and whether it is one alone.
    fn messages<'a>(
        &self,
        headers: &HeaderMap,
        body: &'a [u8],
    ) -> Result<(Vec<HookMessage<'a>>, bool), BadHook> {
        if self.format == HookFormat::CloudEvents {
            let (events, single) = CloudEvent::all(headers, body)?;
            let message = |(event, json): (CloudEvent<'a>, _)| HookMessage { json, attributes: Some(event) };
            return Ok((events.into_iter().map(message).collect(), single));
        }
        let text =
            str::from_utf8(body).map_err(|_| BadHook::Content { item: None, bad: BadContent::NotUtf8 })?;
        let json = if is_form(headers) { form(text)?.into() } else { whole_characters(text) };
        Ok((vec![HookMessage { json, attributes: None }], true))
    }

    /// The event of a message; none where no condition fits.
    fn event(
        &self,
        request: HookRequest<'_>,
        message: &HookMessage<'_>,
    ) -> Result<Option<Event>, BadContent> {
        let outer = |placeholder: &Placeholder| outer(request, message, placeholder);
        let json = message.json.trim_ascii();
        let found = self.wanted.find(json).map_err(|bad| BadContent::NotJson(bad.to_string()))?;
        let fits = self.alternatives.iter().find(|(when, _)| when.is_empty() || when.hold(&found, &outer));
        fits.map(|(_, mapping)| mapping.event(&found, &outer, json)).transpose()
    }

    fn count_unfit(&self, field: String) {
        let mapping = self.name.to_string();
        metrics::counter!(MESSAGES_UNFIT, "source" => SOURCE, "mapping" => mapping, "field" => field)
            .increment(1);
    }
}

/// What a placeholder stands for that is no field of the body.
fn outer<'a>(
    request: HookRequest<'a>,
    message: &'a HookMessage<'_>,
    placeholder: &Placeholder,
) -> Option<Cow<'a, str>> {
    let name = &*placeholder.name;
    match &*placeholder.source {
        "header" => request.headers.get(name)?.to_str().ok().map(Cow::Borrowed),
        "query" => {
            let mut pairs = form_urlencoded::parse(request.query.unwrap_or_default().as_bytes());
            pairs.find(|(other, _)| *other == *name).map(|(_, value)| value)
        }
        "ce" => message.attributes.as_ref()?.attribute(name).map(Cow::Borrowed),
        _ => None,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    let kind = kind.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// A form as a JSON object; of a name that stands several times, the values are a list.
fn form(body: &str) -> Result<String, BadHook> {
    let mut fields = serde_json::Map::new();
    for (count, (name, value)) in form_urlencoded::parse(body.as_bytes()).enumerate() {
        if count == MAX_FORM_FIELDS {
            return Err(BadHook::Form);
        }
        let value = Value::from(value.into_owned());
        match fields.get_mut(&*name) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(Value::Object(fields).to_string())
}
