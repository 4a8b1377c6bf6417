//! An event of a body on its way: checked against its publisher's bounds, with the key and the trace that it is known
//! by.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::auth::Publisher;
use crate::event::{Item, check_idempotency_key};
use crate::publish::bad_publish::BadPublish;
use crate::publish::relay::RelayedEnvelope;
use crate::trace::TraceContext;

/// An event that may be published, with the idempotency key that it is known by.
pub(super) struct AdmittedEvent<'a> {
    pub(super) item: Item<'a>,
    written: Written,
    /// Its place in a trace does not stand in its text.
    writes_trace: bool,
}

impl<'a> AdmittedEvent<'a> {
    /// Checks an event against the publisher's bounds and gives it its key: the request's, which goes along with
    /// whether the event is its only one. A key of its own has to be the same.
    pub(super) fn new(
        mut item: Item<'a>,
        request: Option<(&str, bool)>,
        publisher: &Publisher,
    ) -> Result<Self, BadPublish> {
        let Item { place, event, .. } = &mut item;
        let place = *place;
        let refuse = |not| BadPublish::NotAllowed { item: Some(place), not };
        publisher.may_send(event).map_err(refuse)?;
        let own = event.idempotency_key.is_some();
        if let Some((key, single)) = request {
            let key: Box<str> = if single { key.into() } else { format!("{key}/{place}").into() };
            check_idempotency_key(&key).map_err(BadPublish::Key)?;
            match &event.idempotency_key {
                Some(own) if *own != key => return Err(BadPublish::KeysDiffer { item: place }),
                _ => event.idempotency_key = Some(key),
            }
        }
        let mut written = if own { Written::AsItIs } else { Written::No };
        // Its keys are the publisher's own.
        if let Some(key) = &event.idempotency_key
            && let Some(apart) = publisher.own_idempotency_key(key)
        {
            event.idempotency_key = Some(apart);
            written = if own { Written::Otherwise } else { Written::No };
        }
        Ok(Self { item, written, writes_trace: false })
    }

    /// The same, published in the request at this place of a trace.
    pub(super) fn traced(mut self, trace: Option<TraceContext>) -> Self {
        if let (Some(trace), None) = (trace, &self.item.event.trace) {
            self.item.event.trace = Some(Box::new(trace));
            self.writes_trace = true;
        }
        self
    }

    pub(super) fn outgoing(&self) -> RelayedEnvelope {
        RelayedEnvelope {
            json: envelope(&self.text(), self.item.event.idempotency_key.as_deref(), self.written),
            idempotency_key: self.item.event.idempotency_key.clone(),
            ephemeral: self.item.event.ephemeral,
        }
    }

    /// Its own text, with its place in a trace where that does not stand there.
    fn text(&self) -> Cow<'_, str> {
        match self.item.event.trace.as_ref().filter(|_| self.writes_trace) {
            Some(trace) => with_field(self.item.json, "traceparent", &trace.to_string()).into(),
            None => self.item.json.into(),
        }
    }
}

/// Whether an event's idempotency key stands in its text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    AsItIs,
    /// It has become another one.
    Otherwise,
    No,
}

/// The JSON that is relayed: the event's text, with the key that it has.
fn envelope(text: &str, key: Option<&str>, written: Written) -> Bytes {
    const FIELD: &str = "idempotency_key";
    let key = match (key, written) {
        (Some(key), Written::No) => serde_json::Value::from(key),
        (Some(key), Written::Otherwise) => return with_field(text, FIELD, key).into(),
        (None, _) | (Some(_), Written::AsItIs) => return Bytes::copy_from_slice(text.as_bytes()),
    };
    // An event has at least one field, its audience, so a comma always belongs between; and where the field
    // stands with null it counts as not given, so it is not given twice.
    let rest = text.strip_prefix('{').expect("an item is an object");
    Bytes::from(format!("{{\"{FIELD}\":{key},{rest}"))
}

/// The same object with this text as its field `name`, whatever stood there.
fn with_field(text: &str, name: &str, value: &str) -> String {
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).expect("an item is an object");
    let value = serde_json::value::to_raw_value(value).expect("a text is JSON");
    fields.insert(name.into(), &value);
    serde_json::to_string(&fields).expect("what was JSON is JSON")
}
