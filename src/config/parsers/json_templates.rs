//! Tables that become the data of events: values as they stand, and texts with placeholders.

use toml::de::{DeTable, DeValue};

use crate::config::parsers::parse::Parse;
use crate::config::parsers::templates::{segment_names, written};
use crate::config::raw::{RawValue, Rejection, kind};
use crate::event::{JsonTemplate, Placeholder};
use crate::suggest::nearest;

/// A table whose texts may have some placeholders.
pub(in crate::config) struct DataTable<'p> {
    /// What it is for, in a sentence about a placeholder that it cannot have.
    what: &'static str,
    names: &'static [&'static str],
    request: RequestNames<'p>,
    /// One of them has to be there.
    needs: Option<&'static str>,
}

/// What a table may take from the request.
#[derive(Clone, Copy)]
enum RequestNames<'p> {
    Nothing,
    /// `{query.name}` and `{claim.name}`.
    OfAnyRoute,
    /// `{query.name}`, the segments of this path, and `{claim.name}` where callers are verified.
    OfRoute(&'p str, bool),
}

const OF_CONNECTED: &[&str] =
    &["client", "user", "session", "topics", "resumed", "missed", "id", "now", "now.iso"];
const OF_HEARTBEAT: &[&str] = &["client", "user", "session", "topics", "now", "now.iso"];
const OF_TYPED: &[&str] = &["event", "data", "now", "now.iso", "user", "topic", "id"];
const OF_PRESENCE: &[&str] = &["user", "event", "online", "now", "now.iso"];

/// The data of `connected`; with a path, of the streams there, which are `verified` or not.
pub(in crate::config) fn connected_data(route: Option<(&str, bool)>) -> DataTable<'_> {
    let request = RequestNames::of(route);
    DataTable { what: "the data of a stream's first event", names: OF_CONNECTED, request, needs: None }
}

/// The data of heartbeats.
pub(in crate::config) fn heartbeat_data(route: Option<(&str, bool)>) -> DataTable<'_> {
    let request = RequestNames::of(route);
    DataTable { what: "the data of a heartbeat", names: OF_HEARTBEAT, request, needs: None }
}

/// The object that a typed event is.
pub(in crate::config) fn typed_data() -> DataTable<'static> {
    let request = RequestNames::Nothing;
    DataTable { what: "a typed event", names: OF_TYPED, request, needs: Some("data") }
}

/// The data of the events that say who comes and goes.
pub(in crate::config) fn presence_data() -> DataTable<'static> {
    let request = RequestNames::Nothing;
    DataTable { what: "the data of a presence event", names: OF_PRESENCE, request, needs: None }
}

impl<'p> RequestNames<'p> {
    fn of(route: Option<(&'p str, bool)>) -> Self {
        route.map_or(Self::OfAnyRoute, |(path, verified)| Self::OfRoute(path, verified))
    }
}

const WANTED: &str = "a table of the fields such as { type = \"connected\", id = \"{client}\" }";

impl Parse<JsonTemplate> for DataTable<'_> {
    fn parse(&self, raw: &RawValue<'_>) -> Result<JsonTemplate, Rejection> {
        let template = json_table(raw, &|placeholder| self.allow(placeholder))?.ok_or_else(|| match raw {
            RawValue::Toml(other) => format!("must be {WANTED}, not {}", kind(other)),
            RawValue::Text(_) => format!("must be {WANTED}"),
        })?;
        if let Some(needed) = self.needs
            && !template.placeholders().any(|placeholder| name_of(placeholder) == needed)
        {
            let message = format!("has no `{{{needed}}}`");
            return Err(Rejection::with(message, format!("name a field for it: data = \"{{{needed}}}\"")));
        }
        Ok(template)
    }

    fn accepts(&self) -> String {
        "a table of JSON's values, and of texts with placeholders".to_owned()
    }
}

/// Says why a placeholder cannot be in a table.
type Allow<'a> = &'a dyn Fn(&Placeholder) -> Result<(), Rejection>;

/// The template of a table; None for another value, or for a text that is none.
pub(super) fn json_table(raw: &RawValue<'_>, allow: Allow<'_>) -> Result<Option<JsonTemplate>, Rejection> {
    match raw {
        RawValue::Toml(DeValue::Table(table)) => object(table, allow).map(Some),
        RawValue::Toml(_) => Ok(None),
        RawValue::Text(text) => {
            let document = format!("v = {text}");
            let Ok(read) = DeTable::parse(&document) else { return Ok(None) };
            match read.get_ref().get("v").map(|value| value.get_ref()) {
                Some(DeValue::Table(table)) if read.get_ref().len() == 1 => object(table, allow).map(Some),
                _ => Ok(None),
            }
        }
    }
}

/// The fields in the order in which they were written.
fn object(table: &DeTable<'_>, allow: Allow<'_>) -> Result<JsonTemplate, Rejection> {
    let mut fields: Vec<_> = table.iter().collect();
    fields.sort_by_key(|(name, _)| name.span().start);
    let fields: Result<Vec<_>, Rejection> = fields
        .into_iter()
        .map(|(name, field)| Ok((name.get_ref().as_ref(), value(field.get_ref(), allow)?)))
        .collect();
    Ok(JsonTemplate::object(fields?))
}

fn value(of: &DeValue<'_>, allow: Allow<'_>) -> Result<JsonTemplate, Rejection> {
    let number = || RawValue::Toml(of).number().and_then(|number| i64::try_from(number).ok());
    Ok(match of {
        DeValue::Table(table) => object(table, allow)?,
        DeValue::Array(values) => {
            let values: Result<Vec<_>, Rejection> =
                values.iter().map(|of| value(of.get_ref(), allow)).collect();
            JsonTemplate::list(values?)
        }
        DeValue::Boolean(yes) => JsonTemplate::literal(&(*yes).into()),
        DeValue::Integer(_) => {
            JsonTemplate::literal(&number().ok_or("has a number that is too large for JSON")?.into())
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().replace('_', "").parse().unwrap_or(f64::NAN);
            let number = serde_json::Number::from_f64(number).ok_or("has a number that JSON cannot write")?;
            JsonTemplate::literal(&number.into())
        }
        DeValue::Datetime(_) => {
            return Err(Rejection::with("has a date", "write it as a text: \"2026-01-31\""));
        }
        DeValue::String(text) if text.is_empty() => JsonTemplate::literal(&"".into()),
        DeValue::String(text) => {
            let template = written(&RawValue::Text(text.to_string()))?;
            template.placeholders().try_for_each(allow)?;
            JsonTemplate::text(&template)
        }
    })
}

impl DataTable<'_> {
    fn allow(&self, placeholder: &Placeholder) -> Result<(), Rejection> {
        let name = name_of(placeholder);
        let from_request = match self.request {
            RequestNames::Nothing => &[][..],
            RequestNames::OfAnyRoute | RequestNames::OfRoute(_, true) => &["query", "claim"][..],
            RequestNames::OfRoute(_, false) => &["query"][..],
        };
        let segments = match self.request {
            RequestNames::OfRoute(path, _) => segment_names(path),
            RequestNames::Nothing | RequestNames::OfAnyRoute => Vec::new(),
        };
        let is_segment = &*placeholder.source == "path" && segments.contains(&&*placeholder.name);
        if self.names.contains(&name.as_str()) || from_request.contains(&&*placeholder.source) || is_segment {
            return Ok(());
        }
        let mut known: Vec<String> = self.names.iter().map(|name| format!("{{{name}}}")).collect();
        known.extend(segments.iter().map(|segment| format!("{{path.{segment}}}")));
        known.extend(from_request.iter().map(|source| format!("{{{source}.name}}")));
        let suggestion = match nearest(&name, self.names.iter().copied()) {
            Some(meant) => format!("did you mean `{{{meant}}}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        let message = format!("has `{placeholder}`, which {} does not know", self.what);
        Err(Rejection::with(message, suggestion))
    }
}

/// A placeholder's name as it is written.
fn name_of(placeholder: &Placeholder) -> String {
    match &*placeholder.source {
        "" => placeholder.name.to_string(),
        source => format!("{source}.{}", placeholder.name),
    }
}
