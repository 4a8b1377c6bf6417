//! Templates whose values stand in a message that is no envelope: `conversation:{data.conversationId}`.
//!
//! `{data.…}` is a field of the message, `{data}` the whole of it; what other placeholders mean is its user's to say.
//! No error holds anything of the message.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::event::content::{FieldText, FoundFields, WantedFields, text};
use crate::event::json_template::TemplateValue;
use crate::event::template::TemplatePart;
use crate::event::{Absent, Audience, BadAudience, BadName, Missing, Name, Placeholder, Template};

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

/// A template that knows where in a message its values are found.
#[derive(Debug)]
pub(super) struct ContentTemplate(Box<[ContentPart]>);

#[derive(Debug)]
enum ContentPart {
    Literal(Box<str>),
    Value(ContentValue),
}

/// Where the value of a placeholder is found.
#[derive(Debug)]
pub(super) enum ContentValue {
    Field { slot: usize, placeholder: Placeholder },
    Outer(Placeholder),
}

/// What a template makes: nothing where a value that may be missing is, several texts where a value is a list.
type MadeTexts = SmallVec<[String; 1]>;

impl ContentValue {
    /// `wanted` learns which field it has to find.
    pub(super) fn new(placeholder: &Placeholder, wanted: &mut WantedFields) -> Self {
        match content_path(placeholder) {
            Some(path) => Self::Field { slot: wanted.want(path), placeholder: placeholder.clone() },
            None => Self::Outer(placeholder.clone()),
        }
    }

    /// The value as it is put into a text.
    pub(super) fn text<'v, 'a: 'v, 'o: 'v>(
        &self,
        content: &FoundFields<'a>,
        outer: &OuterValue<'o>,
    ) -> FieldText<'v> {
        match self {
            Self::Field { slot, .. } => content.text(*slot),
            Self::Outer(placeholder) => {
                outer(placeholder).filter(|text| !text.is_empty()).map_or(FieldText::Nothing, FieldText::Text)
            }
        }
    }

    /// The value with its type in JSON. An empty text and `null` are values, too.
    pub(super) fn whole<'v, 'a: 'v, 'o: 'v>(
        &'v self,
        content: &FoundFields<'a>,
        outer: &OuterValue<'o>,
    ) -> Result<TemplateValue<'v>, BadContent> {
        match self {
            Self::Field { placeholder, .. } => self
                .raw(content)
                .map_or_else(|| absent(placeholder), |raw| Ok(TemplateValue::Json(raw.into()))),
            Self::Outer(_) => self.within(content, outer),
        }
    }

    /// The one text of the value, as part of a longer one.
    pub(super) fn within<'v, 'a: 'v, 'o: 'v>(
        &'v self,
        content: &FoundFields<'a>,
        outer: &OuterValue<'o>,
    ) -> Result<TemplateValue<'v>, BadContent> {
        match self.text(content, outer) {
            FieldText::Text(text) => Ok(TemplateValue::Text(text)),
            FieldText::Nothing => absent(self.placeholder()),
            FieldText::List(_) => Err(self.refused("a list")),
            FieldText::Other(got) => Err(self.refused(got)),
        }
    }

    /// The JSON of a field.
    pub(super) fn raw<'a>(&self, content: &FoundFields<'a>) -> Option<&'a str> {
        match self {
            Self::Field { slot, .. } => content.json(*slot),
            Self::Outer(_) => None,
        }
    }

    /// That the value is none that can be put in.
    pub(super) fn refused(&self, got: &'static str) -> BadContent {
        BadContent::Type { placeholder: self.placeholder().clone(), got }
    }

    fn placeholder(&self) -> &Placeholder {
        match self {
            Self::Field { placeholder, .. } | Self::Outer(placeholder) => placeholder,
        }
    }
}

/// What stands for a value that is missing.
fn absent(placeholder: &Placeholder) -> Result<TemplateValue<'_>, BadContent> {
    match &placeholder.absent {
        Absent::Default(default) => Ok(TemplateValue::Text((&**default).into())),
        Absent::Omitted => Ok(TemplateValue::Nothing),
        Absent::Refused => Err(BadContent::Missing(Missing { placeholder: placeholder.clone() })),
    }
}

impl ContentTemplate {
    /// `wanted` learns which fields it has to find.
    pub(super) fn new(template: &Template, wanted: &mut WantedFields) -> Self {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(text) => ContentPart::Literal(text.clone()),
            TemplatePart::Value(placeholder) => ContentPart::Value(ContentValue::new(placeholder, wanted)),
        };
        Self(template.parts().iter().map(part).collect())
    }

    /// The placeholder that is all of it.
    pub(super) fn sole(&self) -> Option<&ContentValue> {
        match &*self.0 {
            [ContentPart::Value(value)] => Some(value),
            _ => None,
        }
    }

    fn texts(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<MadeTexts, BadContent> {
        let (mut before, mut list, mut after) = (String::new(), None, String::new());
        for part in &self.0 {
            let text = if list.is_none() { &mut before } else { &mut after };
            let value = match part {
                ContentPart::Literal(literal) => {
                    text.push_str(literal);
                    continue;
                }
                ContentPart::Value(value) => value,
            };
            match value.text(content, outer) {
                FieldText::Text(value) => text.push_str(&value),
                FieldText::List(_) if list.is_some() => return Err(BadContent::TwoLists { key }),
                FieldText::List(values) => list = Some(items(&values, value)?),
                FieldText::Other(got) => return Err(value.refused(got)),
                FieldText::Nothing => match absent(value.placeholder())? {
                    TemplateValue::Text(default) => text.push_str(&default),
                    _ => return Ok(MadeTexts::new()),
                },
            }
        }
        Ok(match list {
            None => MadeTexts::from_elem(before, 1),
            Some(values) => values.into_iter().map(|value| format!("{before}{value}{after}")).collect(),
        })
    }

    /// The names that it makes: none where a value that may be missing is.
    pub(super) fn names(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<Vec<Name>, BadContent> {
        let name = |text: String| Name::parse(&text).map_err(|bad| BadContent::Name { key, bad });
        self.texts(key, content, outer)?.into_iter().map(name).collect()
    }

    /// The one text that it makes, or none.
    pub(super) fn one(
        &self,
        key: &'static str,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<Option<String>, BadContent> {
        let mut texts = self.texts(key, content, outer)?;
        let text = texts.pop();
        if texts.is_empty() { Ok(text) } else { Err(BadContent::Several { key }) }
    }
}

/// The texts of a list's values.
fn items<'a>(values: &[&'a str], of: &ContentValue) -> Result<Vec<Cow<'a, str>>, BadContent> {
    if values.len() > Audience::MAX {
        return Err(BadAudience::TooMany { max: Audience::MAX }.into());
    }
    let item = |raw: &&'a str| match text(raw) {
        FieldText::Text(text) => Ok(text),
        FieldText::Nothing => Err(of.refused("a list with an empty value")),
        FieldText::List(_) => Err(of.refused("a list of lists")),
        FieldText::Other(_) => Err(of.refused("a list of objects")),
    };
    values.iter().map(item).collect()
}
