//! Events as Pusher's server libraries publish them: `{"name", "channel" or "channels", "data", "socket_id"}`, one of
//! them or a batch. They are mapped by templates as any other message. This file knows no HTTP status.

use serde_json::value::RawValue;

use crate::auth::{Publisher, PusherGate, PusherRequest, ReservedEvents};
use crate::clock::now_ms;
use crate::config;
use crate::event::{
    Absent, BadContent, ContentCondition, ContentConditions, ContentMapping, ContentTemplates, DataTemplate,
    Event, Pattern, Placeholder, Template, WantedFields, whole_characters, write_event,
};
use crate::publish::inbound::BadHook;
use crate::publish::service::{PublishOptions, PublishService, Published};
use crate::telemetry::{EVENTS_REFUSED, MESSAGES_UNFIT, Throttle};

/// The source's name in metrics.
const SOURCE: &str = "pusher";

/// Every app.
pub struct PusherApps {
    apps: Vec<PusherAppDoor>,
    publish: PublishService,
    /// What an event to one channel is made of, and one to several.
    to_one: ContentMapping,
    to_many: ContentMapping,
    has_many: ContentConditions,
    wanted: WantedFields,
    unfit: Throttle,
}

/// What is taken of one app.
pub struct PusherAppDoor {
    id: Box<str>,
    gate: PusherGate,
    publisher: Publisher,
}

impl PusherApps {
    /// None without any.
    pub fn new(
        apps: &[config::PusherApp],
        publish: PublishService,
        reserved: &ReservedEvents,
    ) -> Option<Self> {
        if apps.is_empty() {
            return None;
        }
        let template = |text: &str| Some(Template::parse(text).expect("a template of our own"));
        let templates = |topic| ContentTemplates {
            topic: template(topic),
            event: template("{data.name}"),
            data: template("{data.data}").map(DataTemplate::Text),
            except_client: template("{data.socket_id?}"),
            ..ContentTemplates::default()
        };
        let mut wanted = WantedFields::default();
        let to_one = ContentMapping::new(&templates("{data.channel}"), &mut wanted);
        let to_many = ContentMapping::new(&templates("{data.channels}"), &mut wanted);
        let value = Placeholder { source: "data".into(), name: "channels".into(), absent: Absent::Refused };
        let anything = Pattern::parse("*").expect("a pattern of our own");
        let has_many =
            ContentConditions::new(&[ContentCondition { value, any_of: vec![anything] }], &mut wanted);
        let door = |app: &config::PusherApp| PusherAppDoor {
            id: app.app_id.as_str().into(),
            gate: PusherGate::new(app),
            publisher: Publisher::hook(&format!("pusher:{}", app.app_id), app.rate, reserved),
        };
        let apps = apps.iter().map(door).collect();
        Some(Self { apps, publish, to_one, to_many, has_many, wanted, unfit: Throttle::default() })
    }

    pub fn find(&self, id: &str) -> Option<&PusherAppDoor> {
        self.apps.iter().find(|app| *app.id == *id)
    }

    /// Publishes the event of a body, or with `batch` the events: all of them, or none.
    pub async fn take(
        &self,
        app: &PusherAppDoor,
        request: PusherRequest<'_>,
        body: &[u8],
        batch: bool,
    ) -> Result<Published, BadHook> {
        let taken = self.try_take(app, request, body, batch).await;
        if let Err(bad) = &taken
            && !matches!(bad, BadHook::Publish(_))
        {
            metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => bad.label()).increment(1);
            if let BadHook::Content { bad, .. } = bad
                && let Some(field) = bad.field()
            {
                let app = app.id.to_string();
                metrics::counter!(MESSAGES_UNFIT, "source" => SOURCE, "mapping" => app, "field" => field)
                    .increment(1);
            }
            if let Some(suppressed) = self.unfit.pass() {
                let (app, reason) = (&*app.id, bad.label());
                tracing::warn!(app, reason, error = %bad, suppressed, "a request of a Pusher library made no event");
            }
        }
        taken
    }

    async fn try_take(
        &self,
        app: &PusherAppDoor,
        request: PusherRequest<'_>,
        body: &[u8],
        batch: bool,
    ) -> Result<Published, BadHook> {
        app.gate.check_body(request, body)?;
        let refuse = |item: Option<usize>| move |bad| BadHook::Content { item, bad };
        let text = str::from_utf8(body).map_err(|_| refuse(None)(BadContent::NotUtf8))?;
        let text = whole_characters(text);
        let events = if batch {
            let all = batch_of(&text).map_err(refuse(None))?;
            let one = |(item, raw): (usize, &RawValue)| self.event(raw.get()).map_err(refuse(Some(item)));
            all.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?
        } else {
            vec![self.event(text.trim_ascii()).map_err(refuse(None))?]
        };
        let envelopes: Vec<String> = events.iter().map(|event| write_event(event).json).collect();
        let body = format!("[{}]", envelopes.join(","));
        Ok(self.publish.publish(body.as_bytes(), PublishOptions::default(), &app.publisher).await?)
    }

    fn event(&self, json: &str) -> Result<Event, BadContent> {
        let found = self.wanted.find(json).map_err(|bad| BadContent::NotJson(bad.to_string()))?;
        let nothing = |_: &_| None;
        let mapping = if self.has_many.hold(&found, &nothing) { &self.to_many } else { &self.to_one };
        mapping.event(&found, &nothing, json)
    }
}

impl PusherAppDoor {
    /// Whether the sender may send, as far as can be said without the body.
    pub fn admit(&self, request: PusherRequest<'_>) -> Result<(), crate::auth::HookDenied> {
        self.gate.check_head(request, now_ms() / 1000)
    }
}

/// The events of `{"batch": […]}`.
fn batch_of(json: &str) -> Result<Vec<&RawValue>, BadContent> {
    #[derive(serde::Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        batch: Vec<&'a RawValue>,
    }
    let batch: Batch<'_> = serde_json::from_str(json).map_err(|bad| BadContent::NotJson(bad.to_string()))?;
    Ok(batch.batch)
}
