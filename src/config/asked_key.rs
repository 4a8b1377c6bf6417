//! A key that was asked for while the configuration was read, to be shown later: with no secret.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use toml::Spanned;
use toml::de::{DeString, DeValue};

use crate::config::environment::PORT;
use crate::config::location::Location;
use crate::config::raw::RawValue;
use crate::config::source::without_credentials;

/// A key that was asked for.
pub(super) struct AskedKey {
    /// As it is documented.
    pub(super) section: &'static str,
    pub(super) full: String,
    pub(super) name: String,
    /// What was written, and where.
    pub(super) written: Option<(String, &'static str)>,
    pub(super) fingerprint: Fingerprint,
    /// It is the platform's word, not the operator's.
    pub(super) platform: bool,
}

/// By which a value is seen to be another one, a secret's too, or that of a file: it says nothing of the value.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.trim_matches('"').hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl AskedKey {
    pub(super) fn new(
        section: &'static str,
        full: String,
        name: String,
        secret: bool,
        written: Option<(&RawValue<'_>, &Location)>,
    ) -> Self {
        let fingerprint = written.map(|(raw, _)| Fingerprint::of(&text_of(raw, true))).unwrap_or_default();
        let platform = matches!(written, Some((_, Location::Variable(name))) if name == PORT);
        let written = written.map(|(raw, place)| {
            let text =
                if secret { "set, and hidden".to_owned() } else { without_credentials(&text_of(raw, false)) };
            let from = match place {
                Location::File(_) => "file",
                Location::Variable(_) => "environment",
                Location::Argument(..) => "arguments",
                Location::Missing => "default",
            };
            (text, from)
        });
        Self { section, full, name, written, fingerprint, platform }
    }

    /// Notes what the file holds that a key names.
    pub(super) fn note_content(asked: &mut [Self], full: &str, name: &str, content: &str) {
        if let Some(key) = asked.iter_mut().rev().find(|key| key.full == full && key.name == name) {
            key.fingerprint = Fingerprint::of(content);
        }
    }
}

/// A table is shown by its keys alone: nobody knows what is secret in it.
fn text_of(raw: &RawValue<'_>, in_full: bool) -> String {
    match raw {
        RawValue::Text(text) => text.clone(),
        RawValue::Toml(value) => text_of_toml(value, in_full),
    }
}

fn text_of_toml(value: &DeValue<'_>, in_full: bool) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|entry| text_of_toml(entry.get_ref(), in_full)).collect();
            format!("[{}]", entries.join(", "))
        }
        DeValue::Table(table) => {
            let shown = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: &DeString<'_> = key.get_ref();
                if in_full {
                    format!("{key} = {}", text_of_toml(value.get_ref(), true))
                } else {
                    key.to_string()
                }
            };
            let fields: Vec<String> = table.iter().map(shown).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}
