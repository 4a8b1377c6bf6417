//! An event made of a message that is no envelope: its audience, its name, its data and the rest have a template each.

use std::time::Duration;

use smallvec::SmallVec;

use crate::event::content::{FieldText, FoundFields, WantedFields, text};
use crate::event::content_data::{ContentData, DataTemplate};
use crate::event::content_template::{BadContent, ContentTemplate, ContentValue, OuterValue};
use crate::event::envelope::{MAX_RETRY, MAX_TTL};
use crate::event::{
    Audience, Event, EventName, Key, Name, Pattern, Placeholder, Template, check_idempotency_key,
};

/// What an event is made of, as the operator writes it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ContentTemplates {
    pub topic: Option<Template>,
    pub user: Option<Template>,
    pub session: Option<Template>,
    pub client: Option<Template>,
    pub broadcast: bool,
    pub except_client: Option<Template>,
    pub event: Option<Template>,
    /// Without one the message as it is.
    pub data: Option<DataTemplate>,
    pub idempotency_key: Option<Template>,
    pub coalesce: Option<Template>,
    pub ttl: Option<Template>,
    pub retry: Option<Template>,
    /// All have to hold.
    pub when: Vec<ContentCondition>,
}

/// Holds where a value fits one of the patterns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentCondition {
    pub value: Placeholder,
    pub any_of: Vec<Pattern>,
}

/// Templates that know where in a message their values are found.
#[derive(Debug)]
pub struct ContentMapping {
    audience: Vec<KeyTemplate>,
    broadcast: bool,
    except_client: Option<ContentTemplate>,
    event: Option<ContentTemplate>,
    data: Option<ContentData>,
    idempotency_key: Option<ContentTemplate>,
    coalesce: Option<ContentTemplate>,
    ttl: Option<ContentTemplate>,
    retry: Option<ContentTemplate>,
}

/// The key of the configuration, what its names make, and their template.
type KeyTemplate = (&'static str, fn(Name) -> Key, ContentTemplate);

/// Conditions on the content of a message.
#[derive(Default, Debug)]
pub struct ContentConditions(Box<[(ContentValue, Vec<Pattern>)]>);

impl ContentConditions {
    /// `wanted` learns which fields it has to find.
    pub fn new(conditions: &[ContentCondition], wanted: &mut WantedFields) -> Self {
        let one = |condition: &ContentCondition| {
            (ContentValue::new(&condition.value, wanted), condition.any_of.clone())
        };
        Self(conditions.iter().map(one).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold; of a list, for one of its values.
    pub fn hold(&self, content: &FoundFields<'_>, outer: &OuterValue<'_>) -> bool {
        self.0.iter().all(|(value, any_of)| {
            let fits = |text: &str| any_of.iter().any(|pattern| pattern.matches_text(text));
            match value.text(content, outer) {
                FieldText::Nothing => false,
                FieldText::Text(text) => fits(&text),
                FieldText::Other(_) => value.raw(content).is_some_and(fits),
                FieldText::List(list) => {
                    list.into_iter().any(|raw| matches!(text(raw), FieldText::Text(text) if fits(&text)))
                }
            }
        })
    }
}

impl ContentMapping {
    /// `wanted` learns which fields it has to find. The conditions are apart.
    pub fn new(templates: &ContentTemplates, wanted: &mut WantedFields) -> Self {
        let data = templates.data.as_ref().map(|data| ContentData::new(data, wanted));
        let mut template = |template: &Option<Template>| {
            template.as_ref().map(|template| ContentTemplate::new(template, wanted))
        };
        type Make = fn(Name) -> Key;
        let ContentTemplates { topic, user, session, client, .. } = templates;
        let audience = [
            ("topic", Key::Topic as Make, template(topic)),
            ("user", Key::User, template(user)),
            ("session", Key::Session, template(session)),
            ("client", Key::Client, template(client)),
        ];
        Self {
            audience: audience.into_iter().filter_map(|(key, make, one)| Some((key, make, one?))).collect(),
            broadcast: templates.broadcast,
            except_client: template(&templates.except_client),
            event: template(&templates.event),
            data,
            idempotency_key: template(&templates.idempotency_key),
            coalesce: template(&templates.coalesce),
            ttl: template(&templates.ttl),
            retry: template(&templates.retry),
        }
    }

    /// The event of a message, whose text is `whole`.
    pub fn event(
        &self,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
        whole: &str,
    ) -> Result<Event, BadContent> {
        let mut keys = SmallVec::<[Key; 1]>::new();
        for (key, make, template) in &self.audience {
            keys.extend(template.names(key, content, outer)?.into_iter().map(make));
        }
        if self.broadcast {
            keys.push(Key::Broadcast);
        }
        let one = |template: &Option<ContentTemplate>, key: &'static str| match template {
            Some(template) => template.one(key, content, outer),
            None => Ok(None),
        };
        let except = match &self.except_client {
            Some(template) => template.names("except_client", content, outer)?,
            None => Vec::new(),
        };
        let audience = Audience::new(keys, except.into_iter().map(Key::Client).collect())?;
        let bad = |key: &'static str| move |bad| BadContent::Name { key, bad };
        let name = one(&self.event, "event")?
            .map(|text| EventName::parse_published(&text).map_err(bad("event")))
            .transpose()?;
        let publishers_own = |template, key: &'static str| -> Result<Option<Box<str>>, BadContent> {
            let Some(text) = one(template, key)? else { return Ok(None) };
            check_idempotency_key(&text).map_err(bad(key))?;
            Ok(Some(text.into()))
        };
        let (data, is_text) = match &self.data {
            Some(data) => data.make(content, outer)?,
            None => (whole.into(), false),
        };
        let ttl =
            one(&self.ttl, "ttl")?.map(|text| number(&text, "ttl", "seconds", 1, MAX_TTL)).transpose()?;
        let retry = one(&self.retry, "retry")?
            .map(|text| number(&text, "retry", "milliseconds", 0, MAX_RETRY.into()))
            .transpose()?;
        Ok(Event {
            name,
            is_text,
            coalesce: publishers_own(&self.coalesce, "coalesce")?,
            idempotency_key: publishers_own(&self.idempotency_key, "idempotency_key")?,
            ttl: ttl.map(Duration::from_secs),
            retry: retry.and_then(|retry| u32::try_from(retry).ok()),
            ..Event::new(audience, data)
        })
    }
}

fn number(text: &str, key: &'static str, unit: &'static str, min: u64, max: u64) -> Result<u64, BadContent> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or(BadContent::Range { key, unit, min, max })
}

#[cfg(test)]
#[path = "content_mapping_tests.rs"]
mod tests;
