//! How long a caller's grant is looked at: the words of `until`.

use crate::config::section_reader::SectionReader;

/// How long a caller's grant is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrantEnd {
    /// The stream ends when the grant does.
    Exp,
    /// It is looked at when the stream is opened, and not again.
    Open,
}

/// The words of `until`.
pub(super) const GRANT_ENDS: [(&str, GrantEnd); 2] = [("exp", GrantEnd::Exp), ("open", GrantEnd::Open)];

/// Complains of an end that no grant has; `verified` says whether the stream's callers are.
pub(super) fn check_until(s: &mut SectionReader<'_, '_>, until: Option<GrantEnd>, verified: bool) {
    if until == Some(GrantEnd::Open) && !verified {
        s.report(
            &["until", "auth"],
            "`until` is for callers who are verified: with auth = \"none\" there is no grant that could end",
            Some("set `auth`, or leave `until` out".to_owned()),
        );
    }
}
