//! Paths of streams, patterns of channels, and the templates that may name their parts.
//!
//! A template that gets through here has a value for every placeholder, but for what a request leaves out.

use crate::config::raw::{RawValue, Rejection};
use crate::event::{Absent, BadTemplate, Name, Placeholder, Template};
use crate::suggest::{any_of, nearest};

/// The path of a stream: literal segments and `{name}`.
pub(in crate::config) fn path(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = raw.text("a path such as \"/events\"")?;
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Rejection::with("must start with `/`", format!("did you mean \"/{text}\"?")));
    };
    let mut names: Vec<&str> = Vec::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            if !is_word(name) {
                return Err(format!(
                    "has a segment `{{{name}}}` whose name is not a word of letters, digits and _"
                )
                .into());
            }
            if names.contains(&name) {
                return Err(format!("has two segments `{{{name}}}`").into());
            }
            names.push(name);
        } else if segment.contains(['{', '}']) {
            return Err("must have `{name}` as a whole segment, between two `/`".into());
        } else if segment.is_empty() && segments.peek().is_some() {
            return Err("has an empty segment (`//`)".into());
        } else if matches!(segment, "." | "..") {
            return Err(format!("has a segment `{segment}`, which clients resolve before they ask").into());
        } else if segment.contains(['?', '#']) {
            return Err(Rejection::with(
                "must be a path alone",
                "the query is matched by templates: topics = [\"{query.name}\"]",
            ));
        } else if !is_segment(segment) {
            return Err("holds what no request's path can: write other characters percent-encoded, as clients send them".into());
        }
    }
    Ok(text.to_owned())
}

/// The characters of RFC 3986's `pchar`.
fn is_segment(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let mut digit = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
                digit() && digit()
            }
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The names that a path gives to its segments.
pub(in crate::config) fn segment_names(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Whether every path that `later` matches is matched by `earlier` as well.
pub(in crate::config) fn covers(earlier: &str, later: &str) -> bool {
    let takes =
        |(earlier, later): (&str, &str)| earlier == later || (earlier.starts_with('{') && !later.is_empty());
    earlier.split('/').count() == later.split('/').count()
        && earlier.split('/').zip(later.split('/')).all(takes)
}

/// A template of a stream with this path; `verified` when it knows its callers.
pub(in crate::config) fn stream_template(
    path: &str,
    verified: bool,
) -> impl Fn(&RawValue<'_>) -> Result<Template, Rejection> {
    let sources: &[&str] = if verified { &["query", "path", "claim"] } else { &["query", "path"] };
    move |raw| {
        let template = written(raw).map_err(|rejection| match raw.text("a string").map(Template::parse) {
            Ok(Err(BadTemplate::EmptyPlaceholder)) => {
                Rejection::with(rejection.message, "name what it is: {query.name} is the value of ?name=")
            }
            Ok(Err(BadTemplate::EmptyDefault)) => Rejection::with(
                rejection.message,
                "give one, as in {query.name:-lobby}, or let the topic fall away with {query.name?}",
            ),
            _ => rejection,
        })?;
        literal(&template, Name::MAX, |text| Name::parse(text).map(drop))?;
        let names = segment_names(path);
        for placeholder in template.placeholders() {
            let (shown, name) = (placeholder.to_string(), &*placeholder.name);
            match &*placeholder.source {
                "query" => {}
                "claim" if verified => {}
                "claim" => {
                    return Err(Rejection::with(
                        format!("has `{shown}`, but with auth = \"none\" nothing is known of the caller"),
                        "set `auth`, or take the value from the query",
                    ));
                }
                "path" if names.contains(&name) && placeholder.absent != Absent::Refused => {
                    return Err(Rejection::with(
                        format!("has `{shown}`, but a segment of the path is never missing"),
                        format!("write it as `{{path.{name}}}`"),
                    ));
                }
                "path" if names.contains(&name) => {}
                "path" => {
                    let there: Vec<String> = names.iter().map(|name| format!("{{path.{name}}}")).collect();
                    let suggestion = match (nearest(name, names.iter().copied()), there.as_slice()) {
                        (Some(meant), _) => format!("did you mean `{{path.{meant}}}`?"),
                        (None, []) => format!("a segment of the path gets a name so: \"/rooms/{{{name}}}\""),
                        (None, there) => format!("the path has {}", any_of(there)),
                    };
                    return Err(Rejection::with(
                        format!("has `{shown}`, but its path has no segment `{{{name}}}`"),
                        suggestion,
                    ));
                }
                _ => {
                    let suggestion = match nearest(&placeholder.source, sources.iter().copied()) {
                        _ if placeholder.source.is_empty() && sources.contains(&name) => {
                            format!("say which: `{{{name}.name}}`")
                        }
                        Some(meant) => format!("did you mean `{{{meant}.{name}}}`?"),
                        None => "a stream's templates can have `{query.name}` and `{path.name}`".to_owned(),
                    };
                    return Err(Rejection::with(format!("has an unknown placeholder `{shown}`"), suggestion));
                }
            }
        }
        Ok(template)
    }
}

/// The path by which clients come back to an answer, or stop it: its name is the segment `{id}`.
pub(in crate::config) fn capture_path(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = path(raw)?;
    if segment_names(&text).contains(&"id") {
        return Ok(text);
    }
    Err(Rejection::with("does not say which answer", "write its name as a segment `{id}`"))
}

/// A template of the name of an answer on a route with this path.
pub(in crate::config) fn identity_template(
    path: &str,
) -> impl Fn(&RawValue<'_>) -> Result<Template, Rejection> {
    const SOURCES: [&str; 6] = ["body", "query", "path", "header", "answer", "data"];
    let names: Vec<String> = segment_names(path).into_iter().map(str::to_owned).collect();
    move |raw| {
        let template = template(raw)?;
        for placeholder in template.placeholders() {
            let source = &*placeholder.source;
            if !SOURCES.contains(&source) {
                let suggestion = match nearest(source, SOURCES) {
                    Some(meant) => format!("did you mean `{{{meant}.{}}}`?", placeholder.name),
                    None => format!("it can have `{{{}.name}}`", SOURCES.join(".name}`, `{")),
                };
                return Err(Rejection::with(
                    format!("has an unknown placeholder `{placeholder}`"),
                    suggestion,
                ));
            }
            if source == "path" && !names.iter().any(|name| **name == *placeholder.name) {
                let message =
                    format!("has `{placeholder}`, but its path has no segment `{{{}}}`", placeholder.name);
                return Err(message.into());
            }
        }
        if template.placeholders().next().is_none() {
            return Err(Rejection::with(
                "names every answer alike",
                "say where the name stands: {body.id}, {query.id}, {header.x-id}",
            ));
        }
        Ok(template)
    }
}

/// A template of a pattern of topics that a caller is granted: its values are claims.
pub(in crate::config) fn claim_template(raw: &RawValue<'_>) -> Result<Template, Rejection> {
    let template = template(raw)?;
    literal(&template, Name::MAX, |text| Name::parse(text).map(drop))?;
    if template.as_str().matches('*').count() > 4 {
        return Err("has more than 4 `*`".into());
    }
    if let Some(placeholder) = template.placeholders().find(|placeholder| &*placeholder.source != "claim") {
        return Err(Rejection::with(
            format!("has `{placeholder}`, but a grant is made of claims alone"),
            "write it as {claim.name}",
        ));
    }
    Ok(template)
}

/// A topic on which it is said who comes and goes.
pub(in crate::config) fn presence_template(raw: &RawValue<'_>) -> Result<Template, Rejection> {
    let template = template(raw)?;
    literal(&template, Name::MAX, |text| Name::parse(text).map(drop))?;
    if let Some(other) = template.placeholders().find(|placeholder| placeholder.to_string() != "{user}") {
        return Err(Rejection::with(
            format!("has an unknown placeholder `{other}`"),
            "these topics can have `{user}`, the user who comes or goes",
        ));
    }
    Ok(template)
}

/// A template all of whose values are there: nothing in it is optional.
fn template(raw: &RawValue<'_>) -> Result<Template, Rejection> {
    let template = written(raw)?;
    if let Some(placeholder) =
        template.placeholders().find(|placeholder| placeholder.absent != Absent::Refused)
    {
        let plain = Placeholder { absent: Absent::Refused, ..placeholder.clone() };
        return Err(Rejection::with(
            format!(
                "has `{placeholder}`, but only a stream's own templates have optional values and defaults"
            ),
            format!("write it as `{plain}`"),
        ));
    }
    Ok(template)
}

pub(super) fn written(raw: &RawValue<'_>) -> Result<Template, Rejection> {
    let text = raw.text("a string")?;
    let template = Template::parse(text).map_err(|error| Rejection::from(format!("{error}")))?;
    // What other languages put into braces is no part of a name here.
    let odd = |c: char| c.is_whitespace() || matches!(c, '?' | '!' | '|' | '&' | '=' | ';' | '$' | '{');
    if let Some(placeholder) = template.placeholders().find(|placeholder| placeholder.name.contains(odd)) {
        let name = placeholder.name.trim().split(odd).next().unwrap_or_default();
        let meant = match (&*placeholder.source, name) {
            (_, "") => None,
            ("", name) => Some(format!("did you mean `{{{name}}}`?")),
            (source, name) => Some(format!("did you mean `{{{source}.{name}}}`?")),
        };
        let message = format!("has `{placeholder}`, which is no placeholder");
        return Err(Rejection { message, suggestion: meant });
    }
    Ok(template)
}

/// Refuses a template that can never make a name, whatever its values are.
pub(super) fn literal<E: std::fmt::Display>(
    template: &Template,
    max: usize,
    check: impl Fn(&str) -> Result<(), E>,
) -> Result<(), Rejection> {
    let values: usize = template.placeholders().map(|placeholder| placeholder.to_string().len()).sum();
    let literal = template.as_str().len() - values;
    if literal + template.placeholders().count() > max {
        return Err(format!("makes names of more than {max} bytes").into());
    }
    // Each value is at least one character.
    match template.render(|_| Some("x")) {
        Ok(text) => check(&text).map_err(|why| format!("{why}").into()),
        Err(missing) => Err(format!("{missing}").into()),
    }
}

/// The pattern of a channel: only `*` is special.
pub(in crate::config) fn pattern(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 256;
    let text = raw.text("a channel's name such as \"chat:*\"")?;
    if text.is_empty() || text.len() > MAX || text.chars().any(char::is_control) {
        return Err(format!("must be 1 to {MAX} bytes without control characters").into());
    }
    if text.contains("**") {
        return Err("has two `*` side by side: what each stands for is unclear".into());
    }
    if text.contains('*') && text.contains(['?', '[', ']', '\\']) {
        return Err("cannot have ?, [, ] or \\ beside `*`, the only wildcard".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
