//! `auth = "signed"` of `[[stream]]`: what it needs, and what needs it.

use crate::config::section_reader::SectionReader;
use crate::event::Template;

/// What is said of signed names in one table.
pub(super) struct SignedKeys<'t> {
    /// Whether its callers present them.
    pub(super) signed: bool,
    pub(super) key: bool,
    pub(super) base: bool,
    pub(super) topics: &'t [Template],
}

/// The topics of a stream for signed names that says nothing of them: the names.
pub(super) fn signed_topics() -> Vec<Template> {
    vec![Template::parse("{claim.stream}").expect("it is one")]
}

pub(super) fn check_signed(s: &mut SectionReader<'_, '_>, said: &SignedKeys<'_>) {
    let has_key = said.key || said.base;
    if said.signed && !has_key {
        s.report(
            &["auth", "signed_key", "signed_key_base"],
            "`auth` is \"signed\", but there is no key to verify names with",
            Some("say `signed_key`, or `signed_key_base` (Rails's secret_key_base)".to_owned()),
        );
    }
    if !said.signed && has_key {
        let key = if said.key { "signed_key" } else { "signed_key_base" };
        s.report(
            &[key, "auth"],
            format!("`{key}` is for auth = \"signed\" alone: it keeps nobody out here"),
            Some("set auth = \"signed\", or leave it out".to_owned()),
        );
    }
    if said.key && said.base {
        s.report(
            &["signed_key", "signed_key_base"],
            "`signed_key` is the key itself, and `signed_key_base` what it is derived from: only one of the two can",
            None,
        );
    }
    let placeholders = said.topics.iter().flat_map(Template::placeholders);
    let other = placeholders.into_iter().find(|one| &*one.source == "claim" && &*one.name != "stream");
    if let Some(other) = other.filter(|_| said.signed) {
        s.report(
            &["topics"],
            format!("`topics` has `{other}`, but a signed name is all that is known of the caller"),
            Some("the name is {claim.stream}".to_owned()),
        );
    }
}
