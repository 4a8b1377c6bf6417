//! JSON with placeholders in its texts: the data of an event as a table of the configuration gives it.
//!
//! A text that is one placeholder and nothing else becomes its value with the type that the value has in JSON, `null`
//! where there is none. In a longer text a value is put in as text. Which placeholders have a meaning is its user's to
//! say.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::Value;

use crate::clock::unix_ms;
use crate::event::template::{Absent, Placeholder, Template, TemplatePart};

/// A JSON value with placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonTemplate {
    pieces: Vec<JsonPiece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum JsonPiece {
    /// JSON text as it stands.
    Literal(String),
    /// A whole value.
    Value(Placeholder),
    /// Part of a JSON string.
    Within(Placeholder),
}

/// What a placeholder stands for.
#[derive(Clone, Debug)]
pub enum TemplateValue<'v> {
    /// Nothing: the placeholder's default, or `null`.
    Nothing,
    Text(Cow<'v, str>),
    /// JSON, put in as it is.
    Json(Cow<'v, str>),
}

impl JsonTemplate {
    /// A value without placeholders.
    pub fn literal(value: &Value) -> Self {
        Self { pieces: vec![JsonPiece::Literal(value.to_string())] }
    }

    /// A text of a template.
    pub fn text(template: &Template) -> Self {
        if let [TemplatePart::Value(placeholder)] = template.parts() {
            return Self { pieces: vec![JsonPiece::Value(placeholder.clone())] };
        }
        let mut all = Self { pieces: Vec::new() };
        all.push_literal("\"");
        for part in template.parts() {
            match part {
                TemplatePart::Literal(text) => all.push_literal(&escaped(text)),
                TemplatePart::Value(placeholder) => all.pieces.push(JsonPiece::Within(placeholder.clone())),
            }
        }
        all.push_literal("\"");
        all
    }

    /// An object with these fields, in this order.
    pub fn object<'n>(fields: impl IntoIterator<Item = (&'n str, Self)>) -> Self {
        let mut all = Self { pieces: Vec::new() };
        all.push_literal("{");
        for (nth, (name, value)) in fields.into_iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            all.push_literal(&format!("{comma}{}:", Value::from(name)));
            all.append(value);
        }
        all.push_literal("}");
        all
    }

    /// An array of these values.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self { pieces: Vec::new() };
        all.push_literal("[");
        for (nth, value) in values.into_iter().enumerate() {
            if nth > 0 {
                all.push_literal(",");
            }
            all.append(value);
        }
        all.push_literal("]");
        all
    }

    pub(super) fn pieces(&self) -> &[JsonPiece] {
        &self.pieces
    }

    /// In the order of the text; one that stands twice comes twice.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            JsonPiece::Literal(_) => None,
            JsonPiece::Value(placeholder) | JsonPiece::Within(placeholder) => Some(placeholder),
        })
    }

    /// The same with the placeholders filled in that `value` knows; the others stay.
    pub fn fill<'v>(&self, value: impl Fn(&Placeholder) -> Option<TemplateValue<'v>>) -> Self {
        let mut filled = Self { pieces: Vec::with_capacity(self.pieces.len()) };
        for piece in &self.pieces {
            match piece {
                JsonPiece::Literal(text) => filled.push_literal(text),
                JsonPiece::Value(placeholder) => match value(placeholder) {
                    Some(value) => filled.push_literal(&value.or_default(placeholder).into_json()),
                    None => filled.pieces.push(piece.clone()),
                },
                JsonPiece::Within(placeholder) => match value(placeholder) {
                    Some(value) => filled.push_literal(&value.or_default(placeholder).within()),
                    None => filled.pieces.push(piece.clone()),
                },
            }
        }
        filled
    }

    /// The JSON. What `value` does not know is nothing.
    pub fn render<'v>(&self, value: impl Fn(&Placeholder) -> Option<TemplateValue<'v>>) -> String {
        let known = |placeholder: &Placeholder| Some(value(placeholder).unwrap_or(TemplateValue::Nothing));
        let mut filled = self.fill(known).pieces;
        match filled.pop() {
            Some(JsonPiece::Literal(json)) if filled.is_empty() => json,
            _ => unreachable!("a template is not empty, and literals that touch are one"),
        }
    }

    fn push_literal(&mut self, json: &str) {
        if let Some(JsonPiece::Literal(last)) = self.pieces.last_mut() {
            last.push_str(json);
        } else {
            self.pieces.push(JsonPiece::Literal(json.to_owned()));
        }
    }

    fn append(&mut self, value: Self) {
        for piece in value.pieces {
            match piece {
                JsonPiece::Literal(json) => self.push_literal(&json),
                piece => self.pieces.push(piece),
            }
        }
    }
}

impl<'v> TemplateValue<'v> {
    /// A text, or nothing.
    pub fn of(text: Option<&'v str>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.into()))
    }

    /// `{now}`, in milliseconds since 1970, and `{now.iso}`; None for another placeholder.
    pub fn of_time(placeholder: &Placeholder, now: SystemTime) -> Option<Self> {
        match (&*placeholder.source, &*placeholder.name) {
            ("", "now") => Some(Self::Json(unix_ms(now).to_string().into())),
            ("now", "iso") => Some(Self::Text(humantime::format_rfc3339_millis(now).to_string().into())),
            _ => None,
        }
    }

    fn or_default(self, placeholder: &'v Placeholder) -> Self {
        match (self, &placeholder.absent) {
            (Self::Nothing, Absent::Default(text)) => Self::Text((&**text).into()),
            (value, _) => value,
        }
    }

    pub(super) fn into_json(self) -> String {
        match self {
            Self::Nothing => "null".to_owned(),
            Self::Text(text) => Value::from(&*text).to_string(),
            Self::Json(json) => json.into_owned(),
        }
    }

    /// As part of a JSON string.
    pub(super) fn within(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => escaped(&text),
            Self::Json(json) => match serde_json::from_str(&json) {
                Ok(Value::String(text)) => escaped(&text),
                _ => escaped(&json),
            },
        }
    }
}

/// `text` as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(template: &str) -> JsonTemplate {
        JsonTemplate::text(&Template::parse(template).unwrap())
    }

    #[test]
    fn a_text_that_is_one_placeholder_keeps_its_type_and_others_are_texts() {
        let template = JsonTemplate::object([
            ("id", text("{client}")),
            ("user", text("{user}")),
            ("count", text("{missed}")),
            ("said", text("a \"{user}\" b {missed}{client}")),
            ("deep \"", JsonTemplate::list([text("{topics}"), JsonTemplate::object([("x", text("plain"))])])),
            ("n", JsonTemplate::literal(&Value::from(1))),
            ("lobby", text("{query.room:-lobby}")),
        ]);
        let value = |placeholder: &Placeholder| match &*placeholder.name {
            "client" => Some(TemplateValue::Text("c\n".into())),
            "missed" => Some(TemplateValue::Json("3".into())),
            "topics" => Some(TemplateValue::Json("[\"a\"]".into())),
            _ => Some(TemplateValue::Nothing),
        };
        let json = template.render(value);
        assert_eq!(
            json,
            "{\"id\":\"c\\n\",\"user\":null,\"count\":3,\"said\":\"a \\\"\\\" b 3c\\n\",\
             \"deep \\\"\":[[\"a\"],{\"x\":\"plain\"}],\"n\":1,\"lobby\":\"lobby\"}"
        );
        assert!(serde_json::from_str::<Value>(&json).is_ok());
    }

    #[test]
    fn what_is_known_early_is_filled_in_early() {
        let template = JsonTemplate::object([("a", text("{client} at {now}")), ("b", text("{now.iso}"))]);
        let client = |placeholder: &Placeholder| {
            (&*placeholder.name == "client").then_some(TemplateValue::Text("c".into()))
        };
        let filled = template.fill(client);
        assert_eq!(
            filled.placeholders().map(ToString::to_string).collect::<Vec<_>>(),
            ["{now}", "{now.iso}"]
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_123);
        let json = filled.render(|placeholder| TemplateValue::of_time(placeholder, now));
        assert_eq!(json, "{\"a\":\"c at 1750000000123\",\"b\":\"2025-06-15T15:06:40.123Z\"}");
        assert_eq!(JsonTemplate::object([]).render(|_| None), "{}");
    }
}
