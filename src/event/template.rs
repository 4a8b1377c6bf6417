//! Names made from a request or a channel: `conversation:{query.id}`, `conversation:{1}`.
//!
//! Parsed once; a value is put in literally, so a template that joins two values with a text that they may hold
//! themselves can give two inputs the same name. Whether a placeholder has a meaning is its user's to say.

use std::fmt;

/// Why a text is not a template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTemplate {
    #[error("is empty")]
    Empty,
    #[error("has a `{{` that is not closed")]
    Open,
    #[error("has a `}}` that was not opened")]
    Close,
    #[error("has an empty placeholder")]
    EmptyPlaceholder,
    #[error("has a placeholder whose default is empty")]
    EmptyDefault,
}

/// A placeholder without a value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no value for {placeholder}")]
pub struct Missing {
    pub placeholder: Placeholder,
}

/// `{source.name}`; `{name}` alone has the empty source. `{source.name?}` and `{source.name:-default}` say what happens
/// without a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Placeholder {
    pub source: Box<str>,
    pub name: Box<str>,
    pub absent: Absent,
}

/// What a placeholder without a value means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Absent {
    /// An error.
    Refused,
    /// The template makes no name: `{name?}`.
    Omitted,
    /// This text is taken instead: `{name:-text}`. It is not empty.
    Default(Box<str>),
}

impl Placeholder {
    fn parse(inside: &str) -> Result<Self, BadTemplate> {
        let (written, absent) = if let Some((written, default)) = inside.split_once(":-") {
            if default.is_empty() {
                return Err(BadTemplate::EmptyDefault);
            }
            (written, Absent::Default(default.into()))
        } else if let Some(written) = inside.strip_suffix('?') {
            (written, Absent::Omitted)
        } else {
            (inside, Absent::Refused)
        };
        let (source, name) = written.split_once('.').unwrap_or(("", written));
        if name.is_empty() {
            return Err(BadTemplate::EmptyPlaceholder);
        }
        Ok(Self { source: source.into(), name: name.into(), absent })
    }

    /// What is taken when there is no value.
    pub fn default(&self) -> Option<&str> {
        match &self.absent {
            Absent::Default(text) => Some(text),
            Absent::Refused | Absent::Omitted => None,
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.source.is_empty() { "" } else { "." };
        write!(f, "{{{}{dot}{}", self.source, self.name)?;
        match &self.absent {
            Absent::Refused => f.write_str("}"),
            Absent::Omitted => f.write_str("?}"),
            Absent::Default(text) => write!(f, ":-{text}}}"),
        }
    }
}

/// Literal text with placeholders.
///
/// A value is put in as it is, and its braces stay braces. With one placeholder different values make different names.
/// With two, `{query.a}:{query.b}` makes one name of `x:y` and `z` and of `x` and `y:z`; a literal brace cannot be
/// written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    text: Box<str>,
    parts: Box<[TemplatePart]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TemplatePart {
    Literal(Box<str>),
    Value(Placeholder),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            if rest[at..].starts_with('}') {
                return Err(BadTemplate::Close);
            }
            if at > 0 {
                parts.push(TemplatePart::Literal(rest[..at].into()));
            }
            let inside = &rest[at + 1..];
            let end = inside
                .find(['{', '}'])
                .filter(|&end| inside[end..].starts_with('}'))
                .ok_or(BadTemplate::Open)?;
            parts.push(TemplatePart::Value(Placeholder::parse(&inside[..end])?));
            rest = &inside[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Literal(rest.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// In the order of the text; one that stands twice comes twice.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Value(placeholder) => Some(placeholder),
            TemplatePart::Literal(_) => None,
        })
    }

    /// The text with every placeholder replaced by its value. An empty value counts as none; a placeholder's default
    /// is its user's to put in.
    pub fn render<'v>(&self, value: impl Fn(&Placeholder) -> Option<&'v str>) -> Result<String, Missing> {
        let mut text = String::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Value(placeholder) => match value(placeholder) {
                    Some(value) if !value.is_empty() => text.push_str(value),
                    _ => return Err(Missing { placeholder: placeholder.clone() }),
                },
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_by_their_values() {
        let template = Template::parse("{0}/conversation:{query.id}:{path.room}").unwrap();
        let names: Vec<String> = template.placeholders().map(ToString::to_string).collect();
        assert_eq!(names, ["{0}", "{query.id}", "{path.room}"]);
        let value = |placeholder: &Placeholder| match &*placeholder.name {
            "0" => Some("all"),
            "id" => Some("4}2"),
            "room" => Some("r"),
            _ => None,
        };
        assert_eq!(template.render(value).unwrap(), "all/conversation:4}2:r");
        assert_eq!(Template::parse("plain").unwrap().render(|_| None).unwrap(), "plain");
    }

    #[test]
    fn a_missing_or_empty_value_is_named() {
        let template = Template::parse("a:{query.b}").unwrap();
        for value in [None, Some("")] {
            let missing = template.render(|_| value).unwrap_err();
            assert_eq!(missing.to_string(), "there is no value for {query.b}");
        }
    }

    #[test]
    fn what_an_absent_value_means_stands_in_the_placeholder() {
        let text = "{a}{query.b?}{claim.c.d:-x:-y?}";
        let template = Template::parse(text).unwrap();
        let absent: Vec<&Absent> = template.placeholders().map(|placeholder| &placeholder.absent).collect();
        assert_eq!(absent, [&Absent::Refused, &Absent::Omitted, &Absent::Default("x:-y?".into())]);
        let written: String = template.placeholders().map(ToString::to_string).collect();
        assert_eq!(written, text);
        assert_eq!(template.placeholders().filter_map(Placeholder::default).collect::<Vec<_>>(), ["x:-y?"]);
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for (text, why) in [
            ("", BadTemplate::Empty),
            ("a{b", BadTemplate::Open),
            ("a{b{c}}", BadTemplate::Open),
            ("a}b", BadTemplate::Close),
            ("{}", BadTemplate::EmptyPlaceholder),
            ("{query.}", BadTemplate::EmptyPlaceholder),
            ("{query.?}", BadTemplate::EmptyPlaceholder),
            ("{query.:-a}", BadTemplate::EmptyPlaceholder),
            ("{query.a:-}", BadTemplate::EmptyDefault),
        ] {
            assert_eq!(Template::parse(text), Err(why), "{text}");
        }
    }
}
