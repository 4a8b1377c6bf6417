//! What pages may beside listening: `page_publish` and `page_presence` of `[[stream]]`.

use crate::config::section_reader::SectionReader;
use crate::event::EventName;

/// Complains of rights of pages where nobody knows who asks.
pub(super) fn check_page(
    s: &mut SectionReader<'_, '_>,
    verified: bool,
    publish: &[EventName],
    presence: bool,
) {
    let keys = [("page_publish", !publish.is_empty()), ("page_presence", presence)];
    for (key, _) in keys.into_iter().filter(|(_, given)| *given && !verified) {
        s.report(
            &[key, "auth"],
            format!("`{key}` needs callers who are verified: nobody else has a grant"),
            Some("auth = \"jwt\"".to_owned()),
        );
    }
}

/// Complains of events of stream `number` (from 1) that pages may publish, and that are the daemon's `own`.
pub(super) fn check_page_events(
    s: &mut SectionReader<'_, '_>,
    number: usize,
    publish: &[EventName],
    own: &[(&str, &EventName)],
) {
    for (key, name) in own.iter().filter(|(_, name)| publish.contains(name)) {
        s.report(
            &[&format!("stream[{number}].page_publish"), key],
            format!("`page_publish` has `{}`, which is sidestream's own ({key})", name.as_str()),
            Some("pages could pretend to be the server: give them another name".to_owned()),
        );
    }
}
