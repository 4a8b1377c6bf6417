//! What a page may choose of its stream, and the parameters by which it does.

use crate::config::schema::stream::Stream;
use crate::config::section_reader::SectionReader;
use crate::event::Template;

impl Stream {
    /// Whether its topics, or who its caller is, are made of the query's parameter `name`.
    pub fn names_parameter(&self, name: &str) -> bool {
        let templates = self.topics.iter().chain(&self.user).chain(&self.session);
        let mut placeholders = templates.flat_map(Template::placeholders);
        placeholders.any(|placeholder| &*placeholder.source == "query" && &*placeholder.name == name)
    }
}

/// Complains of parameters that would mean two things.
pub(super) fn check_choices(s: &mut SectionReader<'_, '_>, streams: &[Stream]) {
    for (at, stream) in streams.iter().enumerate() {
        check_choice(s, at + 1, stream);
    }
}

fn check_choice(s: &mut SectionReader<'_, '_>, at: usize, stream: &Stream) {
    let twice = ["event", "except"].into_iter().find(|name| stream.names_parameter(name));
    if let Some(name) = twice.filter(|_| stream.choose_events) {
        s.report(
            &[&format!("stream[{at}].choose_events"), &format!("stream[{at}].topics")],
            format!("`choose_events` takes the parameter `{name}`, of which a template of this stream makes a name"),
            Some("call the template's parameter otherwise".to_owned()),
        );
    }
}
