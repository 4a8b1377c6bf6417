//! The data of an event that is made of a message: a text with placeholders, or a table of them.

use crate::event::content::{FoundFields, WantedFields};
use crate::event::content_template::{BadContent, ContentTemplate, ContentValue, OuterValue};
use crate::event::json_template::{JsonPiece, JsonTemplate, TemplateValue};
use crate::event::object::string;
use crate::event::{Placeholder, Template};

/// What data is made of, as the operator writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataTemplate {
    /// A text. One placeholder alone keeps the JSON type of its value.
    Text(Template),
    /// A JSON object.
    Table(JsonTemplate),
}

/// The same, knowing where in a message the values are found.
#[derive(Debug)]
pub(super) enum ContentData {
    Text(ContentTemplate),
    Table(Box<[DataPiece]>),
}

#[derive(Debug)]
pub(super) enum DataPiece {
    /// JSON text as it stands.
    Literal(Box<str>),
    /// A whole value.
    Value(ContentValue),
    /// Part of a JSON string.
    Within(ContentValue),
}

impl ContentData {
    /// `wanted` learns which fields it has to find.
    pub(super) fn new(data: &DataTemplate, wanted: &mut WantedFields) -> Self {
        let table = match data {
            DataTemplate::Text(template) => return Self::Text(ContentTemplate::new(template, wanted)),
            DataTemplate::Table(table) => table,
        };
        let mut value = |placeholder: &Placeholder| ContentValue::new(placeholder, wanted);
        let piece = |piece: &JsonPiece| match piece {
            JsonPiece::Literal(json) => DataPiece::Literal(json.as_str().into()),
            JsonPiece::Value(placeholder) => DataPiece::Value(value(placeholder)),
            JsonPiece::Within(placeholder) => DataPiece::Within(value(placeholder)),
        };
        Self::Table(table.pieces().iter().map(piece).collect())
    }

    /// The data, and whether it is a text.
    pub(super) fn make(
        &self,
        content: &FoundFields<'_>,
        outer: &OuterValue<'_>,
    ) -> Result<(Box<str>, bool), BadContent> {
        match self {
            Self::Text(template) => match template.sole() {
                Some(value) => Ok(match value.whole(content, outer)? {
                    // What is half a character has been mended where messages come in.
                    TemplateValue::Json(raw) if raw.starts_with('"') => match string(&raw) {
                        Ok(text) => (text.into(), true),
                        Err(_) => return Err(value.refused("half a character")),
                    },
                    TemplateValue::Json(raw) => (raw.into(), false),
                    TemplateValue::Text(text) => (text.into(), true),
                    TemplateValue::Nothing => ("null".into(), false),
                }),
                None => {
                    let text = template.one("data", content, outer)?;
                    Ok(text.map_or_else(|| ("null".into(), false), |text| (text.into(), true)))
                }
            },
            Self::Table(pieces) => {
                let mut json = String::new();
                for piece in pieces {
                    match piece {
                        DataPiece::Literal(text) => json.push_str(text),
                        DataPiece::Value(value) => json.push_str(&value.whole(content, outer)?.into_json()),
                        DataPiece::Within(value) => json.push_str(&value.within(content, outer)?.within()),
                    }
                }
                Ok((json.into(), false))
            }
        }
    }
}
