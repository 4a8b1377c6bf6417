//! The name by which clients know an answer: made of the request, of the answer's head, or of its first event.
//!
//! Bodies are looked at up to a bound, and go on as they are.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::request::Parts;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::capture::path;
use crate::capture::path::PathValues;
use crate::event::{Placeholder, Template};

/// The longest name, in bytes.
const LONGEST: usize = 512;

/// What is known so far of a request and its answer.
#[derive(Clone, Copy, Default)]
pub(super) struct KnownSoFar<'a> {
    pub(super) head: Option<&'a Parts>,
    pub(super) path: Option<&'a PathValues>,
    pub(super) body: &'a [u8],
    pub(super) answer: Option<&'a HeaderMap>,
    /// Of the answer's first event.
    pub(super) data: &'a [u8],
}

/// The name that the first of `templates` makes for which everything is known.
pub(super) fn name(templates: &[Template], known: KnownSoFar<'_>) -> Option<String> {
    templates.iter().find_map(|template| {
        let values: Vec<(&Placeholder, Cow<'_, str>)> =
            template.placeholders().filter_map(|one| Some((one, value(one, known)?))).collect();
        let made = template.render(|wanted| {
            let found = values.iter().find(|(placeholder, _)| *placeholder == wanted);
            found.map(|(_, value)| &**value)
        });
        made.ok().filter(|name| name.len() <= LONGEST)
    })
}

/// Whether any of `templates` needs something of this source.
pub(super) fn needs(templates: &[Template], source: &str) -> bool {
    templates.iter().flat_map(Template::placeholders).any(|placeholder| &*placeholder.source == source)
}

fn value<'a>(placeholder: &Placeholder, known: KnownSoFar<'a>) -> Option<Cow<'a, str>> {
    let name = &*placeholder.name;
    let header = |headers: &'a HeaderMap| headers.get(name)?.to_str().ok().map(Cow::Borrowed);
    match &*placeholder.source {
        "body" => field(known.body, name).map(Cow::Owned),
        "data" => field(known.data, name).map(Cow::Owned),
        "header" => header(&known.head?.headers),
        "answer" => header(known.answer?),
        "path" => path::value(known.path?, name).map(Cow::Borrowed),
        "query" => query_value(known.head?.uri.query()?, name),
        _ => None,
    }
}

/// The last value of a query's parameter that is not empty.
pub(super) fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(key, value)| key == name && !value.is_empty()).last().map(|(_, value)| value)
}

/// The text, number or truth value of a field of the JSON object that `text` is, or begins with; dots lead into
/// objects.
pub(super) fn field(text: &[u8], name: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let path: Vec<&str> = name.split('.').collect();
    let mut found = None;
    let mut json = serde_json::Deserializer::from_slice(text);
    // The text may be cut: what was found in front of that holds.
    let _ = FieldSeed { path: &path, found: &mut found }.deserialize(&mut json);
    found
}

struct FieldSeed<'f> {
    path: &'f [&'f str],
    found: &'f mut Option<String>,
}

impl FieldSeed<'_> {
    fn take(self, text: impl fmt::Display) {
        if self.path.is_empty() {
            *self.found = Some(text.to_string());
        }
    }
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (first, rest) =
            self.path.split_first().map_or((None, &[][..]), |(first, rest)| (Some(*first), rest));
        while let Some(key) = map.next_key::<String>()? {
            if Some(key.as_str()) == first {
                map.next_value_seed(FieldSeed { path: rest, found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.take(text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.take(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.take(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.take(number);
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.take(truth);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_field_is_found_at_its_place_alone_and_in_a_text_that_is_cut() {
        let text = br#"{"messages":[{"id":"m"}],"id":"c-1","run":{"id":7,"on":true},"x":[1,"#;
        assert_eq!(field(text, "id").as_deref(), Some("c-1"));
        assert_eq!(field(text, "run.id").as_deref(), Some("7"));
        assert_eq!(field(text, "run.on").as_deref(), Some("true"));
        for nothing in ["run", "messages", "messages.id", "m", "id.x", "x", ""] {
            assert_eq!(field(text, nothing), None, "{nothing}");
        }
        assert_eq!(field(br#"{"id":"c-"#, "id"), None, "what is cut is no value");
        for other in [&b""[..], b"id", b"[]", b"\xff", b"{\"id\":null}"] {
            assert_eq!(field(other, "id"), None);
        }
    }

    #[test]
    fn the_first_template_with_all_its_values_names_the_answer() {
        let request = Request::get("/c?a=1&a=&b=x%20y").header("x-id", "h").body(()).unwrap();
        let (head, ()) = request.into_parts();
        let path: PathValues = vec![("room".into(), "r".to_owned())];
        let known = KnownSoFar {
            head: Some(&head),
            path: Some(&path),
            body: br#"{"id":"b"}"#,
            ..KnownSoFar::default()
        };
        let named = |texts: &[&str]| {
            let templates: Vec<Template> = texts.iter().map(|text| Template::parse(text).unwrap()).collect();
            name(&templates, known)
        };
        assert_eq!(named(&["{body.id}:{path.room}"]).as_deref(), Some("b:r"));
        assert_eq!(named(&["{query.c}", "{query.a}{query.b}"]).as_deref(), Some("1x y"));
        assert_eq!(named(&["{header.x-id}"]).as_deref(), Some("h"));
        assert_eq!(named(&["{answer.x-id}", "{data.id}"]), None);
        assert_eq!(named(&[]), None);
    }
}
