//! Templates of what comes from applications: a channel's messages, and the bodies of requests. `{data.name}` is a
//! field of the message; what else there is depends on the way by which it came.

use toml::de::{DeTable, DeValue};

use crate::config::parsers::json_templates::json_table;
use crate::config::parsers::parse::Parse;
use crate::config::parsers::templates::{literal, written};
use crate::config::raw::{RawValue, Rejection, kind};
use crate::event::{
    Absent, BadName, ContentCondition, DataTemplate, EventName, Name, Pattern, Placeholder, Template,
    check_idempotency_key, content_path,
};
use crate::suggest::nearest;

/// The deepest field that a template may name.
const MAX_DEPTH: usize = 16;
/// How many conditions there may be, and values of one.
const MAX_CONDITIONS: usize = 32;

/// What a template may name beside the fields of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::config) enum ContentSource {
    /// A channel whose pattern has so many `*`.
    Channel { stars: usize },
    /// A request; with `cloud` a CloudEvent.
    Request { cloud: bool },
}

/// What a template makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::config) enum ContentUse {
    /// Of a topic, a user, a session or a client.
    Name,
    Event,
    /// A key of the publisher's own.
    Key,
    /// Any text.
    Text,
}

impl ContentSource {
    /// What there is, in words.
    fn there(self) -> String {
        let beside = match self {
            Self::Channel { stars: 0 } => {
                "its pattern has no `*`: a template can have `{0}`, the whole channel".to_owned()
            }
            Self::Channel { stars: 1 } => {
                "a template can have `{0}`, the whole channel, `{1}`, what the `*` stands for".to_owned()
            }
            Self::Channel { stars } => format!(
                "a template can have `{{0}}`, the whole channel, `{{1}}` to `{{{stars}}}`, what each `*` stands for"
            ),
            Self::Request { cloud: false } => {
                "a template can have `{header.name}` and `{query.name}` of the request".to_owned()
            }
            Self::Request { cloud: true } => {
                "a template can have `{ce.type}`, an attribute, `{header.name}` and `{query.name}`".to_owned()
            }
        };
        format!("{beside}, and `{{data.name}}`, a field of the message")
    }

    /// The words before the dot.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Channel { .. } => &["data"],
            Self::Request { cloud: false } => &["data", "header", "query"],
            Self::Request { cloud: true } => &["data", "header", "query", "ce"],
        }
    }

    fn check(self, placeholder: &Placeholder) -> Result<(), Rejection> {
        if let Some(path) = content_path(placeholder) {
            return check_path(path).map_err(|why| format!("has `{placeholder}`, {why}").into());
        }
        let unknown = || {
            let shown = placeholder.to_string();
            let suggestion = match nearest(&placeholder.source, self.words().iter().copied()) {
                Some(meant) => format!("did you mean `{{{meant}.{}}}`?", placeholder.name),
                None => self.there(),
            };
            Err(Rejection::with(format!("has an unknown placeholder `{shown}`"), suggestion))
        };
        let Self::Channel { stars } = self else {
            return if self.words().contains(&&*placeholder.source) { Ok(()) } else { unknown() };
        };
        let number: Option<usize> = match &*placeholder.source {
            "" if placeholder.name.bytes().all(|b| b.is_ascii_digit()) => placeholder.name.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number <= stars && placeholder.absent == Absent::Refused => Ok(()),
            Some(number) if number <= stars => Err(Rejection::with(
                format!("has `{placeholder}`, but a part of the channel's name is never missing"),
                format!("write it as `{{{number}}}`"),
            )),
            Some(number) => {
                Err(Rejection::with(format!("has `{{{number}}}`, which stands for nothing"), self.there()))
            }
            None => unknown(),
        }
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Ok(());
    }
    if path.split('.').any(str::is_empty) {
        return Err("in which a field has no name".to_owned());
    }
    if path.split('.').count() > MAX_DEPTH {
        return Err(format!("which is more than {MAX_DEPTH} fields deep"));
    }
    Ok(())
}

/// A template of a message from `source`.
pub(in crate::config) fn content_template(
    source: ContentSource,
    makes: ContentUse,
) -> impl Fn(&RawValue<'_>) -> Result<Template, Rejection> {
    move |raw| {
        let template = written(raw)?;
        match makes {
            ContentUse::Name => literal(&template, Name::MAX, |text| Name::parse(text).map(drop))?,
            ContentUse::Event => {
                literal(&template, EventName::MAX, |text| EventName::parse_published(text).map(drop))?;
            }
            ContentUse::Key => literal(&template, Name::MAX, check_idempotency_key)?,
            ContentUse::Text => literal(&template, 4096, |_| Ok::<(), BadName>(()))?,
        }
        template.placeholders().try_for_each(|placeholder| source.check(placeholder))?;
        Ok(template)
    }
}

/// The data of a message from its source: a text, or a table of them.
pub(in crate::config) struct ContentDataParser(pub(in crate::config) ContentSource);

impl Parse<DataTemplate> for ContentDataParser {
    fn parse(&self, raw: &RawValue<'_>) -> Result<DataTemplate, Rejection> {
        let Self(source) = *self;
        if let Some(table) = json_table(raw, &|placeholder| source.check(placeholder))? {
            return Ok(DataTemplate::Table(table));
        }
        if let RawValue::Toml(other) = raw
            && !matches!(other, DeValue::String(_))
        {
            return Err(format!("must be {}, not {}", self.accepts(), kind(other)).into());
        }
        content_template(source, ContentUse::Text)(raw).map(DataTemplate::Text)
    }

    fn accepts(&self) -> String {
        "a text with placeholders, or a table of such texts and JSON's values".to_owned()
    }
}

/// Conditions on a message from `source`: a table of fields and the values that they have to have.
pub(in crate::config) fn conditions(
    source: ContentSource,
) -> impl Fn(&RawValue<'_>) -> Result<Vec<ContentCondition>, Rejection> {
    move |raw| {
        const WANTED: &str = "a table of fields and their values";
        let table = match raw {
            RawValue::Toml(DeValue::Table(table)) if !table.is_empty() => table,
            RawValue::Toml(DeValue::Table(_)) => return Err(format!("must be {WANTED}").into()),
            RawValue::Toml(other) => return Err(format!("must be {WANTED}, not {}", kind(other)).into()),
            RawValue::Text(_) => return Err(format!("must be {WANTED}, not a string").into()),
        };
        let mut conditions = Vec::new();
        collect(source, table, "", &mut conditions)?;
        Ok(conditions)
    }
}

/// Tables within tables are written with dots.
fn collect(
    source: ContentSource,
    table: &DeTable<'_>,
    above: &str,
    conditions: &mut Vec<ContentCondition>,
) -> Result<(), Rejection> {
    for (key, value) in table {
        let key = key.get_ref();
        let name = if above.is_empty() { key.to_string() } else { format!("{above}.{key}") };
        let any_of = match value.get_ref() {
            DeValue::Table(below) => {
                collect(source, below, &name, conditions)?;
                continue;
            }
            DeValue::Array(values) if !values.is_empty() && values.len() <= MAX_CONDITIONS => {
                values.iter().map(|value| wanted_value(&name, value.get_ref())).collect::<Result<_, _>>()?
            }
            one => vec![wanted_value(&name, one)?],
        };
        if conditions.len() == MAX_CONDITIONS {
            return Err(format!("has more than {MAX_CONDITIONS} fields").into());
        }
        let (of, path) = match name.split_once('.') {
            Some((of, path)) if source.words().contains(&of) => (of, path),
            _ => ("data", name.as_str()),
        };
        let value = Placeholder { source: of.into(), name: path.into(), absent: Absent::Refused };
        source.check(&value)?;
        conditions.push(ContentCondition { value, any_of });
    }
    Ok(())
}

/// A value that a field may have; `*` in a text stands for any text.
fn wanted_value(name: &str, value: &DeValue<'_>) -> Result<Pattern, Rejection> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => {
            let message =
                format!("wants {} of `{name}`, where a text, a number or a boolean can stand", kind(other));
            return Err(Rejection::with(message, "several values are written as a list: [\"a\", \"b\"]"));
        }
    };
    Pattern::parse(&text).map_err(|why| format!("wants a value of `{name}` that {why}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> RawValue<'static> {
        RawValue::Text(text.to_owned())
    }

    #[test]
    fn a_channels_template_names_its_stars_and_fields_of_the_message() {
        let channel = content_template(ContentSource::Channel { stars: 2 }, ContentUse::Name);
        for good in ["news", "{0}", "{1}-{2}", "{data.a.b.0}", "{data}", "{data.a?}", "{1}:{data.a:-b}"] {
            assert_eq!(channel(&text(good)).unwrap().as_str(), good);
        }
        let deep = format!("{{data{}}}", ".a".repeat(MAX_DEPTH + 1));
        for bad in [
            "{3}",
            "{-1}",
            "{+1}",
            "{x}",
            "{query.a}",
            "{path.1}",
            "{99999999999999999999}",
            "{1?}",
            "{2:-x}",
            "{data.}",
            "{data.a..b}",
            "{data.a.}",
            "{data.a b}",
            "{date.a}",
            &deep,
        ] {
            assert!(channel(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_template_makes_has_to_be_possible() {
        let makes =
            |makes, it: &str| content_template(ContentSource::Channel { stars: 0 }, makes)(&text(it)).is_ok();
        assert!(!makes(ContentUse::Event, "reset"));
        assert!(!makes(ContentUse::Name, "a\nb") && makes(ContentUse::Text, "a\nb"));
        let long = "x".repeat(300);
        assert!(!makes(ContentUse::Key, &long) && makes(ContentUse::Text, &long));
    }
}
