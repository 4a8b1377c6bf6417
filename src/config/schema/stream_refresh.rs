//! The topics that make the answer of a `[[stream]]` with source = "poll" be asked for at once.

use crate::config::parsers::templates::stream_template;
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::stream_source::{SourceKind, StreamSource, VaryBy};
use crate::config::section_reader::SectionReader;
use crate::event::Template;

/// A template of a topic, for answers that are shared.
pub(super) fn refresh_template(path: &str) -> impl Fn(&RawValue<'_>) -> Result<Template, Rejection> {
    let of_path = stream_template(path, true);
    move |raw| {
        let template = of_path(raw)?;
        if let Some(placeholder) = template.placeholders().find(|placeholder| &*placeholder.source == "claim")
        {
            return Err(Rejection::with(
                format!("has `{placeholder}`, but callers with different claims may share an answer"),
                "name the topic by the path or the query: {path.name}, {query.name}",
            ));
        }
        Ok(template)
    }
}

/// What does not fit together.
pub(super) fn check_refresh(s: &mut SectionReader<'_, '_>, source: &StreamSource, topics: &[Template]) {
    if topics.is_empty() {
        return;
    }
    if source.kind != SourceKind::Poll {
        s.report(
            &["refresh_on", "source"],
            "`refresh_on` is for answers that are asked for again and again",
            Some("set source = \"poll\", or leave it out".to_owned()),
        );
    }
    let mut placeholders = topics.iter().flat_map(Template::placeholders);
    let of_query = placeholders.find(|placeholder| &*placeholder.source == "query");
    if let Some(placeholder) = of_query.filter(|_| !source.vary_by.contains(&VaryBy::Query)) {
        s.report(
            &["refresh_on", "vary_by"],
            format!("`refresh_on` has `{placeholder}`, but requests share an answer whatever their query is"),
            Some("add \"query\" to `vary_by`, or name the topic without it".to_owned()),
        );
    }
}
