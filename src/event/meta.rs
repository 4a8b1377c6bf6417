//! What is noted of a connection: short texts by name. Where they come from, and how many there may be, is their
//! maker's to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Texts by name, in the order of the names.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionMeta(BTreeMap<Box<str>, Box<str>>);

impl ConnectionMeta {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second text of one name takes the place of the first.
    pub fn insert(&mut self, name: &str, text: &str) {
        self.0.insert(name.into(), text.into());
    }

    /// Whether all that `wanted` names is here, and the same.
    pub fn has_all(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(name, text)| self.0.get(name) == Some(text))
    }

    /// By name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (&**name, &**text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> ConnectionMeta {
        let mut meta = ConnectionMeta::default();
        entries.iter().for_each(|(name, text)| meta.insert(name, text));
        meta
    }

    #[test]
    fn what_is_wanted_has_to_be_there_and_the_same() {
        let phone = of(&[("device", "phone"), ("plan", "pro")]);
        for wanted in [&[][..], &[("device", "phone")], &[("plan", "pro"), ("device", "phone")]] {
            assert!(phone.has_all(&of(wanted)), "{wanted:?}");
        }
        for wanted in [&[("device", "tablet")][..], &[("device", "phone"), ("os", "x")], &[("os", "")]] {
            assert!(!phone.has_all(&of(wanted)), "{wanted:?}");
        }
    }

    #[test]
    fn it_is_an_object_of_texts_as_json() {
        let meta = of(&[("b", "2"), ("a", "\"1\""), ("b", "3")]);
        let text = serde_json::to_string(&meta).unwrap();
        assert_eq!(text, r#"{"a":"\"1\"","b":"3"}"#);
        assert_eq!(serde_json::from_str::<ConnectionMeta>(&text).unwrap(), meta);
    }
}
