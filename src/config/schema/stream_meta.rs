//! What is noted of each connection: `meta` of `[[stream]]`.

use toml::de::DeValue;

use crate::config::parsers::templates::stream_template;
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::jwt::{Jwt, TokenSource};
use crate::config::section_reader::SectionReader;
use crate::event::Template;

/// What is noted of each connection of a stream.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MetaTemplates {
    /// Texts by name, made of the request and the caller's claims.
    pub named: Vec<(String, Template)>,
    /// Each parameter of the query that the stream itself has no use for.
    pub query: bool,
}

/// The most entries that a file may name.
const MOST: usize = 64;
/// How long a name may be.
const MAX_NAME: usize = 64;

const WANTED: &str = "a table of templates such as { device = \"{query.device}\" }, or [\"query.*\"]";

/// A table of templates by name, or a list of sources: `query.*`, `query.device`, `claim.plan`.
pub(super) fn meta(path: &str, verified: bool) -> impl Fn(&RawValue<'_>) -> Result<MetaTemplates, Rejection> {
    let template = stream_template(path, verified);
    move |raw| {
        let mut meta = MetaTemplates::default();
        match raw {
            RawValue::Toml(DeValue::Table(table)) if !table.is_empty() => {
                for (name, value) in table.iter() {
                    let name = entry_name(name.get_ref())?;
                    let of = |rejection: Rejection| Rejection {
                        message: format!("has `{name}`, which {}", rejection.message),
                        suggestion: rejection.suggestion,
                    };
                    meta.named
                        .push((name.to_owned(), template(&RawValue::Toml(value.get_ref())).map_err(of)?));
                }
            }
            RawValue::Toml(DeValue::Array(entries)) if !entries.is_empty() => {
                for entry in entries.iter() {
                    let text = RawValue::Toml(entry.get_ref());
                    let text = text.text("a list of sources such as \"query.*\" and \"claim.plan\"")?;
                    if text == "query.*" {
                        meta.query = true;
                        continue;
                    }
                    let name = entry_name(text.split_once('.').map_or(text, |(_, name)| name))?;
                    let made = template(&RawValue::Text(format!("{{{text}}}")))?;
                    meta.named.push((name.to_owned(), made));
                }
            }
            _ => return Err(format!("must be {WANTED}").into()),
        }
        if meta.named.len() > MOST {
            return Err(format!("may name at most {MOST} entries").into());
        }
        Ok(meta)
    }
}

fn entry_name(name: &str) -> Result<&str, Rejection> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        let must =
            format!("has the name `{name}`; names are 1 to {MAX_NAME} letters, digits, `_`, `-` and `.`");
        return Err(must.into());
    }
    Ok(name)
}

/// Complains of a stream (`numbered` from 1) that would note a caller's token: what is noted is shown to operators.
pub(super) fn check_no_token(s: &mut SectionReader<'_, '_>, number: usize, meta: &MetaTemplates, jwt: &Jwt) {
    let is_token = |name: &str| {
        jwt.from.iter().any(|source| matches!(source, TokenSource::Query(parameter) if parameter == name))
    };
    for (entry, template) in &meta.named {
        let token = template.placeholders().find(|one| &*one.source == "query" && is_token(&one.name));
        if let Some(token) = token {
            s.report(
                &[&format!("stream[{number}].meta")],
                format!("`meta` would note the token itself: `{entry}` has `{token}` (auth.jwt.from)"),
                Some("note a claim of it: {claim.plan}".to_owned()),
            );
        }
    }
}
