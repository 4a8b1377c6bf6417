//! Whether the templates of a `[[stream]]` with `patterns` keep within what is meant.

use crate::config::section_reader::SectionReader;
use crate::event::Template;

/// Complains of a template among `topics`, which anyone may fill in, by which they could ask for every topic.
pub(super) fn check_patterns(s: &mut SectionReader<'_, '_>, topics: &[Template]) {
    let is_open = |template: &&Template| {
        let asks = template.placeholders().any(|placeholder| &*placeholder.source != "claim");
        asks && template.as_str().starts_with('{')
    };
    if let Some(open) = topics.iter().find(is_open) {
        s.report(
            &["patterns", "auth", "topics"],
            format!("with `patterns` and auth = \"none\", `{}` lets anyone hear every topic", open.as_str()),
            Some("begin the template with text: topics = [\"room:{query.room}\"]".to_owned()),
        );
    }
}
