//! An event made of a message that is no envelope, by templates whose values stand in the message:
//! `topic = "conversation:{data.conversationId}"`.
//!
//! `{data.…}` is a field of the message, `{data}` the whole of it; what other placeholders mean is its user's to say.
//! No error holds anything of the message.

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;

use crate::event::content::{FieldText, FoundFields, WantedFields, text};
use crate::event::envelope::{MAX_RETRY, MAX_TTL};
use crate::event::template::TemplatePart;
use crate::event::{
    Absent, Audience, BadAudience, BadName, Event, EventName, Key, Missing, Name, Pattern, Placeholder,
    Template, check_idempotency_key,
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
    pub data: Option<Template>,
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

/// Why a message makes no event. Nothing of the message stands in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadContent {
    #[error("it is not UTF-8")]
    NotUtf8,
    /// The parser's own words; they hold nothing of the input.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("{0}")]
    Missing(Missing),
    #[error("{placeholder} is {got}, which a template cannot put in")]
    Type { placeholder: Placeholder, got: &'static str },
    #[error("`{key}` is made of more than one list")]
    TwoLists { key: &'static str },
    #[error("`{key}` has more than one value")]
    Several { key: &'static str },
    #[error("`{key}` {bad}")]
    Name { key: &'static str, bad: BadName },
    #[error("`{key}` must be a whole number of {unit} from {min} to {max}")]
    Range { key: &'static str, unit: &'static str, min: u64, max: u64 },
    #[error("it {0}")]
    Audience(#[from] BadAudience),
}

impl BadContent {
    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotUtf8 | Self::NotJson(_) => "json",
            Self::Missing(_) => "field_missing",
            Self::Type { .. } | Self::TwoLists { .. } | Self::Several { .. } | Self::Range { .. } => "value",
            Self::Name { .. } => "name",
            Self::Audience(_) => "audience",
        }
    }

    /// The field that does not fit, by the operator's own word for it: `data.user.id`; or the key whose template makes
    /// no name.
    pub fn field(&self) -> Option<String> {
        match self {
            Self::Missing(Missing { placeholder }) | Self::Type { placeholder, .. } => {
                Some(bare(placeholder))
            }
            Self::TwoLists { key }
            | Self::Several { key }
            | Self::Name { key, .. }
            | Self::Range { key, .. } => Some((*key).to_owned()),
            Self::NotUtf8 | Self::NotJson(_) | Self::Audience(_) => None,
        }
    }
}

/// A placeholder without its braces and what it says of a missing value.
fn bare(placeholder: &Placeholder) -> String {
    let Placeholder { source, name, .. } = placeholder;
    if source.is_empty() { name.to_string() } else { format!("{source}.{name}") }
}

/// The value of a placeholder that is no field of the message.
pub type OuterValue<'o> = dyn Fn(&Placeholder) -> Option<Cow<'o, str>> + 'o;

/// The path that a placeholder means in the message: `{data.a.b}` is `a.b`, `{data}` the whole.
pub fn content_path(placeholder: &Placeholder) -> Option<&str> {
    match (&*placeholder.source, &*placeholder.name) {
        ("data", path) => Some(path),
        ("", "data") => Some(""),
        _ => None,
    }
}

/// Templates that know where in a message their values are found.
#[derive(Debug)]
pub struct ContentMapping {
    audience: Vec<KeyTemplate>,
    broadcast: bool,
    except_client: Option<ContentTemplate>,
    event: Option<ContentTemplate>,
    data: Option<ContentTemplate>,
    idempotency_key: Option<ContentTemplate>,
    coalesce: Option<ContentTemplate>,
    ttl: Option<ContentTemplate>,
    retry: Option<ContentTemplate>,
}

/// The key of the configuration, what its names make, and their template.
type KeyTemplate = (&'static str, fn(Name) -> Key, ContentTemplate);

/// Conditions on the content of a message.
#[derive(Default, Debug)]
pub struct ContentConditions(Box<[(ContentPart, Vec<Pattern>)]>);

#[derive(Debug)]
struct ContentTemplate(Box<[ContentPart]>);

#[derive(Debug)]
enum ContentPart {
    Literal(Box<str>),
    Field { slot: usize, placeholder: Placeholder },
    Outer(Placeholder),
}

/// What a template makes: nothing where a value that may be missing is, several texts where a value is a list.
type MadeTexts = SmallVec<[String; 1]>;

impl ContentConditions {
    /// `wanted` learns which fields it has to find.
    pub fn new(conditions: &[ContentCondition], wanted: &mut WantedFields) -> Self {
        let one = |condition: &ContentCondition| {
            (ContentPart::new(&condition.value, wanted), condition.any_of.clone())
        };
        Self(conditions.iter().map(one).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold; of a list, for one of its values.
    pub fn hold(&self, content: &FoundFields<'_>, outer: &OuterValue<'_>) -> bool {
        self.0.iter().all(|(part, any_of)| {
            let fits = |text: &str| any_of.iter().any(|pattern| pattern.matches_text(text));
            match part {
                ContentPart::Literal(text) => fits(text),
                ContentPart::Outer(placeholder) => {
                    outer(placeholder).is_some_and(|text| !text.is_empty() && fits(&text))
                }
                ContentPart::Field { slot, .. } => match content.text(*slot) {
                    FieldText::Nothing => false,
                    FieldText::Text(text) => fits(&text),
                    FieldText::Other(_) => content.json(*slot).is_some_and(fits),
                    FieldText::List(list) => {
                        list.into_iter().any(|raw| matches!(text(raw), FieldText::Text(text) if fits(&text)))
                    }
                },
            }
        })
    }
}

impl ContentMapping {
    /// `wanted` learns which fields it has to find. The conditions are apart.
    pub fn new(templates: &ContentTemplates, wanted: &mut WantedFields) -> Self {
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
            data: template(&templates.data),
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
            Some(template) => template.data(content, outer)?,
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

impl ContentPart {
    fn new(placeholder: &Placeholder, wanted: &mut WantedFields) -> Self {
        match content_path(placeholder) {
            Some(path) => Self::Field { slot: wanted.want(path), placeholder: placeholder.clone() },
            None => Self::Outer(placeholder.clone()),
        }
    }
}

impl ContentTemplate {
    fn new(template: &Template, wanted: &mut WantedFields) -> Self {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(text) => ContentPart::Literal(text.clone()),
            TemplatePart::Value(placeholder) => ContentPart::new(placeholder, wanted),
        };
        Self(template.parts().iter().map(part).collect())
    }

    fn texts(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<MadeTexts, BadContent> {
        let (mut before, mut list, mut after) = (String::new(), None, String::new());
        for part in &self.0 {
            let (value, placeholder) = match part {
                ContentPart::Literal(text) => {
                    if list.is_none() { &mut before } else { &mut after }.push_str(text);
                    continue;
                }
                ContentPart::Field { slot, placeholder } => (content.text(*slot), placeholder),
                ContentPart::Outer(placeholder) => {
                    let value = outer(placeholder).filter(|text| !text.is_empty());
                    (value.map_or(FieldText::Nothing, FieldText::Text), placeholder)
                }
            };
            let text = if list.is_none() { &mut before } else { &mut after };
            match value {
                FieldText::Text(value) => text.push_str(&value),
                FieldText::List(_) if list.is_some() => return Err(BadContent::TwoLists { key }),
                FieldText::List(values) => list = Some(items(&values, placeholder)?),
                FieldText::Other(got) => {
                    return Err(BadContent::Type { placeholder: placeholder.clone(), got });
                }
                FieldText::Nothing => match &placeholder.absent {
                    Absent::Default(default) => text.push_str(default),
                    Absent::Omitted => return Ok(MadeTexts::new()),
                    Absent::Refused => {
                        return Err(BadContent::Missing(Missing { placeholder: placeholder.clone() }));
                    }
                },
            }
        }
        Ok(match list {
            None => MadeTexts::from_elem(before, 1),
            Some(values) => values.into_iter().map(|value| format!("{before}{value}{after}")).collect(),
        })
    }

    fn names(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<Vec<Name>, BadContent> {
        let name = |text: String| Name::parse(&text).map_err(|bad| BadContent::Name { key, bad });
        self.texts(key, content, outer)?.into_iter().map(name).collect()
    }

    fn one(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<Option<String>, BadContent> {
        let mut texts = self.texts(key, content, outer)?;
        let text = texts.pop();
        if texts.is_empty() { Ok(text) } else { Err(BadContent::Several { key }) }
    }

    /// Data, and whether it is a text. A single placeholder keeps the JSON type of its value.
    fn data(
        &self,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<(Box<str>, bool), BadContent> {
        if let [ContentPart::Field { slot, placeholder }] = &*self.0 {
            return match (content.json(*slot), &placeholder.absent) {
                (Some(raw), _) if raw.starts_with('"') => {
                    let half =
                        |_| BadContent::Type { placeholder: placeholder.clone(), got: "half a character" };
                    Ok((crate::event::object::string(raw).map_err(half)?.into(), true))
                }
                (Some(raw), _) => Ok((raw.into(), false)),
                (None, Absent::Default(default)) => Ok((default.clone(), true)),
                (None, Absent::Omitted) => Ok(("null".into(), false)),
                (None, Absent::Refused) => {
                    Err(BadContent::Missing(Missing { placeholder: placeholder.clone() }))
                }
            };
        }
        Ok(self
            .one("data", content, outer)?
            .map_or_else(|| ("null".into(), false), |text| (text.into(), true)))
    }
}

/// The texts of a list's values.
fn items<'a>(values: &[&'a str], placeholder: &Placeholder) -> Result<Vec<Cow<'a, str>>, BadContent> {
    let refuse = |got| BadContent::Type { placeholder: placeholder.clone(), got };
    if values.len() > Audience::MAX {
        return Err(BadAudience::TooMany { max: Audience::MAX }.into());
    }
    let item = |raw: &&'a str| match text(raw) {
        FieldText::Text(text) => Ok(text),
        FieldText::Nothing => Err(refuse("a list with an empty value")),
        FieldText::List(_) => Err(refuse("a list of lists")),
        FieldText::Other(_) => Err(refuse("a list of objects")),
    };
    values.iter().map(item).collect()
}

#[cfg(test)]
#[path = "content_mapping_tests.rs"]
mod tests;
