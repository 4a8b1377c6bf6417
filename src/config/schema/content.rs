//! The keys that say what an event is made of, where an application's own messages come in.

use crate::config::parsers::content_templates::{
    ContentDataParser, ContentSource, ContentUse, conditions, content_template,
};
use crate::config::parsers::yes_or_no;
use crate::config::schema::table::key;
use crate::config::section_reader::SectionReader;
use crate::event::{ContentTemplates, Template, content_path};

/// The keys that only a message which is no envelope can have.
pub(super) const NOT_IN_ENVELOPES: [&str; 7] =
    ["client", "broadcast", "except_client", "data", "idempotency_key", "coalesce", "ttl"];

/// Reads them; what is not said is as in `preset`.
pub(super) fn read_content(
    s: &mut SectionReader<'_, '_>,
    source: ContentSource,
    preset: ContentTemplates,
) -> ContentTemplates {
    let name = || content_template(source, ContentUse::Name);
    let own_key = || content_template(source, ContentUse::Key);
    let about = "Template of the topic. `{data.room.id}` is a field of the message, `{data.room?}` one that may be \
                 missing, `{data.room:-lobby}` one with a default; of a list each value makes a topic.";
    let topic = s.optional(key!("topic", "conversation:{data.conversationId}", about), name());
    let user = s.optional(key!("user", "{data.user_id}", "Template of the user."), name());
    let session = s.optional(key!("session", "{data.session?}", "Template of the session."), name());
    let client = s
        .optional(key!("client", "{data.client?}", "Template of a single stream, by its client id."), name());
    let about = "Whether everybody gets the event.";
    let broadcast = s.value(key!("broadcast", false, about), yes_or_no);
    let about = "Template of the client that does not get the event, such as the one whose page caused it.";
    let except_client = s.optional(key!("except_client", "{data.socket?}", about), name());
    let about = "Template of the event's name. Without it the browser calls the event \"message\".";
    let event = s.optional(
        key!("event", "{data.type:-message:new}", about),
        content_template(source, ContentUse::Event),
    );
    let about = "Template of the data, or a table of templates: { id = \"{data.id}\", text = \"{data.body}\" }. One \
                 placeholder alone keeps the JSON type of its value. Without it the message as it is.";
    let data = s.optional(key!("data", "{data.payload}", about), ContentDataParser(source));
    let about = "Template of a key: what comes with the same one again within `log.idempotency_window` is no second \
                 event.";
    let idempotency_key = s.optional(key!("idempotency_key", "{data.id?}", about), own_key());
    let about =
        "Template of a key: of events with the same one a reader who is behind needs only the newest.";
    let coalesce = s.optional(key!("coalesce", "{data.cursor?}", about), own_key());
    let about = "Template of the seconds for which the event may be replayed.";
    let ttl = s.optional(key!("ttl", "{data.ttl:-60}", about), content_template(source, ContentUse::Text));
    let about = "What the message has to hold: fields and their values, one or a list of them, in which \"*\" stands \
                 for any text. Of several tables for the same messages the first that fits counts.";
    let when = s.optional(key!("when", { type = "message" }, about), conditions(source));
    ContentTemplates {
        topic: topic.or(preset.topic),
        user: user.or(preset.user),
        session: session.or(preset.session),
        client: client.or(preset.client),
        broadcast: broadcast || preset.broadcast,
        except_client: except_client.or(preset.except_client),
        event: event.or(preset.event),
        data: data.or(preset.data),
        idempotency_key: idempotency_key.or(preset.idempotency_key),
        coalesce: coalesce.or(preset.coalesce),
        ttl: ttl.or(preset.ttl),
        retry: preset.retry,
        when: when.unwrap_or(preset.when),
    }
}

/// Whether nothing says who gets the events.
pub(super) fn names_nobody(content: &ContentTemplates) -> bool {
    let ContentTemplates { topic, user, session, client, broadcast, .. } = content;
    !broadcast && [topic, user, session, client].iter().all(|template| template.is_none())
}

/// Whether any name is made of the message's content.
pub(super) fn names_fields(content: &ContentTemplates) -> bool {
    let ContentTemplates { topic, user, session, event, .. } = content;
    let of_content = |template: &Option<Template>| {
        template
            .as_ref()
            .is_some_and(|template| template.placeholders().any(|one| content_path(one).is_some()))
    };
    [topic, user, session, event].into_iter().any(of_content)
}
