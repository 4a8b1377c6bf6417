//! Fields of a JSON text that somebody wants, found in one pass: `user.id`, `items.0.name`.
//!
//! A value stays the text that it is within the input; nothing is copied, and nothing is built of what nobody wants.
//! Of a field that is given twice the last one counts, as in JavaScript. Only wanted paths are descended, so that the
//! depth of the input does not matter.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::event::object::{string, type_of};

/// The paths that are wanted.
#[derive(Default, Debug)]
pub struct WantedFields {
    root: WantedNode,
    count: usize,
}

/// The values of wanted paths, each as the JSON that stands in the input.
#[derive(Default, Debug)]
pub struct FoundFields<'a>(SmallVec<[Option<&'a str>; 8]>);

#[derive(Default, Debug)]
struct WantedNode {
    /// Where the value goes that stands here.
    slot: Option<usize>,
    /// By the name of a field; a number is also a place in a list.
    below: Vec<(Box<str>, WantedNode)>,
}

/// A value as a template can put it in.
pub(super) enum FieldText<'a> {
    /// There is none: nothing, `null`, or an empty text.
    Nothing,
    Text(Cow<'a, str>),
    List(Vec<&'a str>),
    /// An object, and what else is called so.
    Other(&'static str),
}

impl WantedFields {
    /// Wants the value at `path`, whose words have dots between them; the whole for an empty one. Gives the number by
    /// which it is found.
    pub(super) fn want(&mut self, path: &str) -> usize {
        let mut node = &mut self.root;
        for word in path.split('.').filter(|word| !word.is_empty()) {
            let at = node.below.iter().position(|(name, _)| **name == *word).unwrap_or_else(|| {
                node.below.push((word.into(), WantedNode::default()));
                node.below.len() - 1
            });
            node = &mut node.below[at].1;
        }
        *node.slot.get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        })
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads exactly one JSON value. An error holds nothing of it.
    pub fn find<'a>(&self, json: &'a str) -> Result<FoundFields<'a>, serde_json::Error> {
        let mut found = FoundFields(SmallVec::from_elem(None, self.count));
        let mut input = serde_json::Deserializer::from_str(json);
        let is_object = json.trim_ascii_start().starts_with('{');
        if is_object && self.root.slot.is_none() {
            input.deserialize_map(PartsVisitor { node: &self.root, found: &mut found.0 })?;
        } else {
            let whole = <&RawValue>::deserialize(&mut input)?;
            self.root.take(whole.get(), &mut found.0)?;
        }
        input.end()?;
        Ok(found)
    }
}

impl<'a> FoundFields<'a> {
    /// The JSON at the path of this number.
    pub(super) fn json(&self, slot: usize) -> Option<&'a str> {
        self.0.get(slot).copied().flatten()
    }

    /// The same for a template.
    pub(super) fn text(&self, slot: usize) -> FieldText<'a> {
        self.json(slot).map_or(FieldText::Nothing, text)
    }
}

/// What a JSON value is to a template.
pub(super) fn text(raw: &str) -> FieldText<'_> {
    match raw.as_bytes().first() {
        Some(b'"') => match string(raw) {
            Ok(text) if text.is_empty() => FieldText::Nothing,
            Ok(text) => FieldText::Text(text),
            Err(_) => FieldText::Other("half a character"),
        },
        Some(b'n') => FieldText::Nothing,
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(raw) {
            Ok(list) => FieldText::List(list.into_iter().map(RawValue::get).collect()),
            Err(_) => FieldText::Other("a list"),
        },
        Some(b'{') => FieldText::Other(type_of(raw)),
        _ => FieldText::Text(raw.into()),
    }
}

impl WantedNode {
    /// Takes a value that is JSON, and what is wanted of its parts.
    fn take<'a>(&self, raw: &'a str, found: &mut [Option<&'a str>]) -> Result<(), serde_json::Error> {
        if let Some(slot) = self.slot {
            found[slot] = Some(raw);
        }
        if self.below.is_empty() {
            return Ok(());
        }
        let visitor = PartsVisitor { node: self, found };
        let mut input = serde_json::Deserializer::from_str(raw);
        match raw.as_bytes().first() {
            Some(b'{') => input.deserialize_map(visitor),
            Some(b'[') => input.deserialize_seq(visitor),
            _ => Ok(()),
        }
    }
}

/// Takes what is wanted of an object or a list.
struct PartsVisitor<'n, 'f, 'a> {
    node: &'n WantedNode,
    found: &'f mut [Option<&'a str>],
}

impl<'a> Visitor<'a> for PartsVisitor<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(wanted) = object.next_key_seed(WantedName(self.node))? {
            match wanted {
                Some(node) => {
                    let value: &RawValue = object.next_value()?;
                    node.take(value.get(), self.found).map_err(A::Error::custom)?;
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let places: Vec<(usize, &WantedNode)> =
            self.node.below.iter().filter_map(|(name, node)| Some((name.parse().ok()?, node))).collect();
        let mut place = 0;
        while let Some(value) = list.next_element::<&RawValue>()? {
            if let Some((_, node)) = places.iter().find(|(wanted, _)| *wanted == place) {
                node.take(value.get(), self.found).map_err(A::Error::custom)?;
            }
            place += 1;
        }
        Ok(())
    }
}

/// Finds the node that a field's name leads to, without a copy of the name.
struct WantedName<'n>(&'n WantedNode);

impl<'a, 'n> DeserializeSeed<'a> for WantedName<'n> {
    type Value = Option<&'n WantedNode>;

    fn deserialize<D: serde::Deserializer<'a>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'a, 'n> Visitor<'a> for WantedName<'n> {
    type Value = Option<&'n WantedNode>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.below.iter().find(|(wanted, _)| **wanted == *name).map(|(_, node)| node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(paths: &[&str], json: &'a str) -> Vec<Option<&'a str>> {
        let mut wanted = WantedFields::default();
        let slots: Vec<usize> = paths.iter().map(|path| wanted.want(path)).collect();
        let found = wanted.find(json).unwrap();
        slots.into_iter().map(|slot| found.json(slot)).collect()
    }

    #[test]
    fn fields_parts_of_them_and_the_whole_are_found_as_they_stand() {
        let json = r#" {"a": {"b" : [1.50, {"c":"x"}]}, "d\u0065":null, "e":1e400, "a2":0} "#;
        let paths = ["a.b.0", "a.b.1.c", "a.b", "de", "e", "a.x", "a.b.2", "e.f", "", "a"];
        let list = r#"[1.50, {"c":"x"}]"#;
        let of_a = r#"{"b" : [1.50, {"c":"x"}]}"#;
        let whole = Some(json.trim());
        let expected = [
            Some("1.50"),
            Some("\"x\""),
            Some(list),
            Some("null"),
            Some("1e400"),
            None,
            None,
            None,
            whole,
            Some(of_a),
        ];
        assert_eq!(found(&paths, json), expected);
        assert_eq!(found(&["a.0", "0"], r#"[{"a":[7]}]"#), [None, Some(r#"{"a":[7]}"#)]);
        assert_eq!(found(&["", "a"], "\"text\""), [Some("\"text\""), None]);
        assert_eq!(found(&["a"], r#"{"a":1,"a":2}"#), [Some("2")]);
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        let mut wanted = WantedFields::default();
        wanted.want("a");
        for text in ["", "x", "{", r#"{"a":1}x"#, r#"{"a":}"#, r#"{"b":{"#, "[1", "{} {}"] {
            assert!(wanted.find(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_that_nobody_wants_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(found(&["b"], &deep)[0].is_none());
        assert!(found(&["a.0.0"], &deep)[0].is_some());
    }
}
