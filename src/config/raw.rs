//! A value as it was found, before it has a type; and why it may be refused.

use toml::de::DeValue;

/// A value as it was found.
pub(super) enum RawValue<'a> {
    /// From the environment, the command line or a secret's file.
    Text(String),
    Toml(&'a DeValue<'a>),
}

/// Why a value is refused: the rest of a sentence that begins with the key.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl<T: Into<String>> From<T> for Rejection {
    fn from(message: T) -> Self {
        Self { message: message.into(), suggestion: None }
    }
}

impl Rejection {
    pub(super) fn with(message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: Some(suggestion.into()) }
    }
}

impl RawValue<'_> {
    /// The text of a string; `wanted` says what would have been right.
    pub(super) fn text(&self, wanted: &str) -> Result<&str, Rejection> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Toml(DeValue::String(text)) => Ok(text),
            Self::Toml(other) => Err(format!("must be {wanted}, not {}", kind(other)).into()),
        }
    }

    /// A whole number, if it is one; one that is far too large is the largest.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Toml(DeValue::Integer(number)) => {
                Some(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
            }
            Self::Toml(_) => None,
        }
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
