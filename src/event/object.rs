//! A JSON object whose fields are known by name, read so that every value is still the text that it was; and what
//! such a text may stand for.
//!
//! serde's own errors are only text; here a refusal keeps the field and the reason.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::bad_envelope::{BadEnvelope, BadField};
use crate::event::{Audience, BadAudience, Name};
use crate::suggest::nearest;

/// A value's own text within the input.
pub(super) type RawField<'a> = Option<&'a str>;

/// An object whose fields are known by name.
pub(super) trait Slots<'a>: Default {
    const NAMES: &'static [&'static str];

    /// Where the value of `name` belongs, with the name as a text of ours.
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut RawField<'a>)>;
}

/// Reads exactly one object and leaves every value as the text that it is. Boxed: a refusal is larger than what
/// it stands beside.
pub(super) fn read_object<'a, T: Slots<'a>>(text: &'a str) -> Result<T, Box<BadEnvelope>> {
    let mut slots = T::default();
    let mut refusal = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') | None => json.deserialize_map(ObjectVisitor { slots: &mut slots, refusal: &mut refusal }),
        // Parsed to the end, so that what is not JSON at all is called so.
        Some(_) => <&RawValue>::deserialize(&mut json).map(|raw| {
            refusal = Some(BadField::Type { wanted: "a JSON object", got: type_of(raw.get()) }.of_whole());
        }),
    };
    let read = read.and_then(|()| json.end());
    match (refusal, read) {
        (Some(refusal), _) => Err(Box::new(refusal)),
        (None, Err(bad)) => Err(Box::new(not_json(&bad))),
        (None, Ok(())) => Ok(slots),
    }
}

struct ObjectVisitor<'s, T> {
    slots: &'s mut T,
    /// Beside serde's own error, which is only text.
    refusal: &'s mut Option<BadEnvelope>,
}

impl<'a, T: Slots<'a>> Visitor<'a> for ObjectVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(found) = object.next_key_seed(SlotOf(&mut *self.slots))? {
            match found {
                Ok((field, slot)) => {
                    let value = object.next_value::<&RawValue>()?.get();
                    if value == "null" && field != "data" {
                        continue;
                    }
                    if slot.replace(value).is_some() {
                        *self.refusal = Some(BadField::Twice.at(field));
                        return Err(A::Error::custom("refused"));
                    }
                }
                Err(refusal) => {
                    *self.refusal = Some(*refusal);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        Ok(())
    }
}

/// Finds the slot that a field's name stands for, without a copy of the name.
struct SlotOf<'s, T>(&'s mut T);

impl<'a, 's, T: Slots<'a>> DeserializeSeed<'a> for SlotOf<'s, T>
where
    'a: 's,
{
    type Value = Result<(&'static str, &'s mut RawField<'a>), Box<BadEnvelope>>;

    fn deserialize<D: Deserializer<'a>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'a, 's, T: Slots<'a>> Visitor<'a> for SlotOf<'s, T>
where
    'a: 's,
{
    type Value = Result<(&'static str, &'s mut RawField<'a>), Box<BadEnvelope>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.slot(name).ok_or_else(|| Box::new(unknown(name, T::NAMES))))
    }
}

/// How much of a name that is not ours is said back.
const SHOWN: usize = 64;

fn unknown(name: &str, names: &'static [&'static str]) -> BadEnvelope {
    let start: String = name.chars().take(SHOWN).collect();
    let reason = if name == "id" {
        BadField::IdOfTheLog
    } else {
        BadField::Unknown { meant: nearest(&start, names.iter().copied()) }
    };
    let cut = if start.len() < name.len() { "…" } else { "" };
    reason.at(format!("{}{cut}", start.escape_debug()))
}

/// What a JSON value is; `raw` is one.
pub(super) fn type_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

pub(super) fn string(raw: &str) -> Result<Cow<'_, str>, BadField> {
    let Some(text) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else {
        return Err(BadField::Type { wanted: "a string", got: type_of(raw) });
    };
    if text.as_bytes().contains(&b'\\') {
        serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|bad| BadField::NotJson(bad.to_string()))
    } else {
        Ok(Cow::Borrowed(text))
    }
}

/// A name is a string or, as many apps count their users, a whole number, which stands for its decimal text.
pub(super) fn name(raw: &str) -> Result<Name, BadField> {
    if raw.starts_with('"') {
        return Ok(Name::parse(&string(raw)?)?);
    }
    if raw.strip_prefix('-').unwrap_or(raw).bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Name::parse(raw)?);
    }
    let got = if type_of(raw) == "a number" { "a fraction" } else { type_of(raw) };
    Err(BadField::Type { wanted: "a string or a whole number", got })
}

/// Hands over the names of a list; `path` and `field` say in a refusal where it stands.
pub(super) fn names(
    raw: &str,
    path: &str,
    field: &'static str,
    mut add: impl FnMut(Name),
) -> Result<(), BadEnvelope> {
    if !raw.starts_with('[') {
        return Err(BadField::Type { wanted: "a list", got: type_of(raw) }.at(format!("{path}{field}")));
    }
    let list: Vec<&RawValue> = serde_json::from_str(raw).map_err(|bad| not_json(&bad))?;
    if list.len() > Audience::MAX {
        return Err(
            BadField::Audience(BadAudience::TooMany { max: Audience::MAX }).at(format!("{path}{field}"))
        );
    }
    for (index, raw) in list.into_iter().enumerate() {
        add(name(raw.get()).map_err(|bad| bad.at(format!("{path}{field}[{index}]")))?);
    }
    Ok(())
}

pub(super) fn flag(raw: RawField<'_>) -> Result<bool, BadField> {
    match raw {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(raw) => Err(BadField::Type { wanted: "true or false", got: type_of(raw) }),
    }
}

pub(super) fn whole_number(raw: &str, unit: &'static str, min: u64, max: u64) -> Result<u64, BadField> {
    if type_of(raw) != "a number" {
        return Err(BadField::Type { wanted: "a whole number", got: type_of(raw) });
    }
    let number = raw.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or(BadField::Range { unit, min, max })
}

fn not_json(bad: &serde_json::Error) -> BadEnvelope {
    BadField::NotJson(bad.to_string()).of_whole()
}
