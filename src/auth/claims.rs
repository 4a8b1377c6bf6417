//! What a verified caller's claims say, found by name. A claim is data: this file gives it no meaning.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::event::{Name, Pattern};

/// The claim of this name, which may lead into objects by dots. A name with dots of its own goes before a way into
/// objects. `null` counts as none.
pub fn find<'v>(claims: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let found = claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, key| value.get(key))
    });
    found.filter(|value| !value.is_null())
}

/// A text that is not empty, or a number, as text.
pub fn plain(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The values of a claim: a text, a number, or a list of them.
pub fn values<'v>(claims: &'v Map<String, Value>, name: &str) -> Vec<Cow<'v, str>> {
    match find(claims, name) {
        Some(Value::Array(list)) => list.iter().filter_map(plain).collect(),
        Some(value) => plain(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A text or a whole number as a name.
pub(super) fn id_of(value: &Value) -> Option<Name> {
    match value {
        Value::String(text) => Name::parse(text).ok(),
        Value::Number(number) if number.is_i64() || number.is_u64() => Name::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// A list of topics and patterns.
pub(super) fn patterns(value: &Value) -> Option<Vec<Pattern>> {
    let parse = |value: &Value| Pattern::parse(value.as_str()?).ok();
    value.as_array()?.iter().map(parse).collect()
}
